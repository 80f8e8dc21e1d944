"""Source wired to analyser: what the path between them does, to be taken off what the ring does."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from instruments.bench import Bench
from instruments.envelope_use import EnvelopeUse
from instruments.magnonic_ring import MagnonicRing
from instruments.magnonic_ring_config import MagnonicRingConfig
from labpgt.device import Setting
from labpgt.errors import DeviceFault

_LEAST_MATCH = 0.9
"""Correlation of what comes with what was sent, below which it is not the same waveform."""


class LoopbackConfig(MagnonicRingConfig):
    """Settings of a cable between source and analyser."""

    use: Literal["envelope"] = Field("envelope", description='pulses from waveform memory: "envelope"')
    readout: Literal["envelope", "iq"] = Field(
        "iq", description='"iq": both quadratures of half as many windows; "envelope": magnitude of each window'
    )
    memory_time_s: float = Field(0.0, ge=0, le=1.0, description="time constant of the cable's decay, in s")


class Path(NamedTuple):
    """What the path from source to analyser does to a pulse; the first two are settings of a ring on the same path.

    Rounded, so that noise changes them rarely: they are among the settings of a run.
    """

    path_delay_s: float
    """Time from the trigger to the arrival of the waveform, in steps of the analyser's sampling."""
    phase_rad: float
    """Phase at the analyser of a pulse of phase 0."""
    full_scale_v: float
    """V peak at the analyser of a drive of 1."""
    match: float
    """Correlation of what came with what was sent; 1 is a perfect path."""


class Loopback(MagnonicRing):
    """A cable as a `Reservoir`: its response to a drive is the drive, in the windows in which the pulse is on."""

    Config: ClassVar[type[MagnonicRingConfig]] = LoopbackConfig
    name: ClassVar[str] = "loopback"
    _advice: ClassVar[str] = "look for another signal on the cable"

    def __init__(self, _guarded: bool = True, /, **settings: Any) -> None:
        super().__init__(_guarded, **settings)
        self._path: Path | None = None

    def open(self) -> None:
        """Connect, check and set up, turn RF on, and measure the path once. `DeviceFault` as for a ring."""
        with self._lock:
            if self._running is None:
                super().open()
                try:
                    self._path = self.measure_path()
                except BaseException as error:
                    self._let_go(error)
                    raise

    def _misplaced(self, bench: Bench) -> list[str]:
        loop = [role for role in ("attenuator", "amplifier") if role in bench.entries()]
        if not loop:
            return []
        return [
            f"the bench has {' and '.join(f'an {role}' for role in loop)}, so a ring and no cable; take the device "
            "magnonic-ring, or wire source to analyser and describe that bench without them"
        ]

    def settings(self) -> Mapping[str, Setting]:
        """Every setting, and while the instruments are connected what the path does ("measured_...")."""
        found = super().settings()
        if self._running is None or self._path is None:
            return found
        return {
            **found,
            "measured_path_delay_s": Setting(self._path.path_delay_s, "s"),
            "measured_phase_rad": Setting(self._path.phase_rad, "rad"),
            "measured_full_scale_v": Setting(self._path.full_scale_v, "V"),
            "measured_match": Setting(self._path.match),
        }

    def measure_path(self) -> Path:
        """Find delay, phase and level of the path from one capture of a known waveform.

        The delay is where the cross-correlation of the capture with the pulses sent is largest. Raises `DeviceFault`
        when nothing like the waveform is found.
        """
        with self._lock:
            running = self._opened()
            use = running.use
            assert isinstance(use, EnvelopeUse)
            self._forget_interruption()
            with self._faults_make_safe(running):
                self._hold_on(running, check_health=True)
                sent, got = use.echo()
                self._check_interruption(running)
        shifts = np.arange(len(got) - len(sent) + 1)
        windows = np.lib.stride_tricks.sliding_window_view(got, len(sent))
        inner = windows @ sent.conj()
        best = int(np.argmax(np.abs(inner)))
        energy = float(np.vdot(sent, sent).real)
        match = float(np.abs(inner[best]) / np.sqrt(energy * np.vdot(windows[best], windows[best]).real))
        if not match >= _LEAST_MATCH:
            raise DeviceFault(
                f"{self.name}: what arrives matches what is sent by {match:.2f} only, expected {_LEAST_MATCH:g} or "
                "more; is the source wired to the analyser, and its marker 1 to the trigger input?"
            )
        return Path(
            float(shifts[best] / use.rate_hz),
            round(float(np.angle(inner[best])), 2),
            float(f"{np.abs(inner[best]) / energy:.3g}"),
            round(match, 2),
        )

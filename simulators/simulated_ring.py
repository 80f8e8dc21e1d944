"""What every simulated ring does around its equations: open, refuse, share a batch among threads, add noise."""

import os
from abc import abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from labpgt.device import DeviceBase, Setting, checked_drives
from labpgt.errors import DeviceFault
from labpgt.rng import Draw, generator
from labpgt.units import unit_of
from labpgt.validation import validated
from simulators.llg_ring_config import LLGRingConfig

_LOUDEST_GAIN = 4.0
"""Loop gain that `forward_tuned` goes up to, as a share of the threshold."""

_QUIETEST_DB = 80.0

Each = Mapping[str, NDArray[np.float64]]
"""Value of every tunable setting for each shot."""


class SimulatedRing(DeviceBase):
    """A ring with the settings of `LLGRingConfig`; a `Reservoir`, `Seekable` and `Tunable`.

    A kind of ring says what it prepares, which settings can differ from shot to shot, and what it answers.
    """

    Config: ClassVar[type[LLGRingConfig]] = LLGRingConfig
    name: ClassVar[str]

    def __init__(self, **settings: Any) -> None:
        self.config = validated(self.Config, settings, "device")
        self.rf_on = False
        self._pool: ThreadPoolExecutor | None = None
        self._shot = 0

    @abstractmethod
    def _prepare(self, threads: int) -> None:
        """Get ready for the first shot, or raise `DeviceFault` or `InputError`."""

    @abstractmethod
    def _answer(
        self, pulses: NDArray[np.complex128], each: Each, numbers: range, pool: ThreadPoolExecutor
    ) -> NDArray[np.float64]:
        """Pulses (shots, symbols) to responses (shots, symbols, n_nodes) without readout noise.

        A pulse is amplitude and phase of the carrier, as a share of the drive field. `numbers` are those of the
        shots in the run, which key their thermal noise.
        """

    @property
    @abstractmethod
    def tunable(self) -> Mapping[str, tuple[float, float]]:
        """Settings that `forward_tuned` takes for each shot, and their limits."""

    @property
    @abstractmethod
    def _derived(self) -> Mapping[str, Setting]:
        """What follows from the settings."""

    @property
    def n_nodes(self) -> int:
        """Response values per drive symbol; of the detector `iq`, the first half are in phase, the others not."""
        return self.config.n_nodes

    @property
    def max_symbols(self) -> int:
        """Longest shot, in symbols."""
        return 65_536

    @property
    def drive_limits(self) -> tuple[float, float]:
        """Drive values accepted."""
        return (0.0 if self.config.encoding == "amplitude" else -1.0, 1.0)

    @property
    def _attenuation_limits(self) -> tuple[float, float]:
        loudest = -20 * np.log10(_LOUDEST_GAIN / self.config.gain) if self.config.gain else 0.0
        return (float(loudest), _QUIETEST_DB)

    def open(self) -> None:
        """Get ready for shots, some seconds the first time. Raises `DeviceFault` when the ring cannot answer."""
        if self._pool is not None:
            return
        threads = self.config.threads or os.cpu_count() or 1
        self._prepare(threads)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=self.name)

    def close(self) -> None:
        """RF off and refuse shots from now on."""
        self.make_safe()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def make_safe(self) -> None:
        """RF off."""
        self.rf_on = False

    def settings(self) -> Mapping[str, Setting]:
        """Every setting, and what follows from them."""
        found = {key: Setting(value, unit_of(key)) for key, value in self.config.model_dump().items()}
        return {**found, **self._derived}

    def seek(self, shot: int) -> None:
        """Set the number of the next shot, which keys its noise."""
        self._shot = shot

    def forward(self, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        """Drives (shots, symbols) within `drive_limits` to responses (shots, symbols, n_nodes), dimensionless.

        Raises `ValueError` for a drive that cannot be sent and `DeviceFault` when the device is closed or a response
        is not finite.
        """
        return self.forward_tuned(drives, {})

    def forward_tuned(
        self, drives: NDArray[np.float64], tuning: Mapping[str, NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Like `forward`, each shot with its own value (shots,) of some of the settings in `tunable`.

        Answers above the threshold of auto-oscillation too: it is for measuring the ring, not for training with it.
        """
        if self._pool is None:
            raise self._closed()
        drives = checked_drives(self, drives)
        return self._taken(self.config.pulses(drives), tuning)

    def forward_pulses(
        self, pulses: NDArray[np.complex128], tuning: Mapping[str, NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Like `forward_tuned`, of carrier pulses (shots, symbols) instead of drives, whatever the encoding.

        A pulse is the amplitude of the carrier, 1 at most, and its phase. A shot can be as long as memory allows.
        """
        if self._pool is None:
            raise self._closed()
        pulses = np.ascontiguousarray(pulses, dtype=np.complex128)
        # Written so that NaN fails it; the last bit of a rounded pulse may be above 1.
        if pulses.ndim != 2 or not pulses.shape[1] or not (np.abs(pulses) <= 1 + 1e-4).all():
            raise ValueError(
                f"{self.name}: expected pulses of shape (shots, symbols) and of amplitude 1 at most, got shape "
                f"{pulses.shape}, largest amplitude {np.abs(pulses).max(initial=0):g}"
            )
        return self._taken(pulses, tuning)

    def _closed(self) -> DeviceFault:
        return DeviceFault(f"{self.name}: a shot was asked of a closed device; call open() first")

    def _taken(self, pulses: NDArray[np.complex128], tuning: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Take shots of pulses that are known to be good."""
        if self._pool is None:
            raise self._closed()
        each = self._checked_tuning(len(pulses), tuning)
        self.rf_on = True
        numbers = range(self._shot, self._shot + len(pulses))
        try:
            responses = self._answer(pulses, each, numbers, self._pool)
        except RuntimeError as error:
            # Closed by another thread while shots were under way.
            if self._pool is not None:
                raise
            raise DeviceFault(f"{self.name}: closed while shots were being taken") from error
        finally:
            self.rf_on = self.rf_on and self._pool is not None
        if not np.isfinite(responses).all():
            raise DeviceFault(
                f"{self.name}: a response is not finite any more at a drive field of "
                f"{each['drive_field_a_per_m'].max():g} A/m; lower drive_field_a_per_m"
            )
        if self.config.noise:
            for number, response in zip(numbers, responses, strict=True):
                noise = generator(self.config.noise_seed, number, Draw.NOISE).standard_normal(response.shape)
                response += self.config.noise * noise
        self._shot += len(pulses)
        return responses

    def _checked_tuning(self, shots: int, tuning: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
        limits = self.tunable
        each = {key: np.full(shots, float(getattr(self.config, key))) for key in limits}
        for key, values in tuning.items():
            if key not in limits:
                raise ValueError(
                    f"{self.name}: {key!r} cannot differ from shot to shot; these can: {', '.join(limits)}"
                )
            low, high = limits[key]
            array = np.asarray(values, dtype=np.float64)
            if array.shape != (shots,) or not ((array >= low) & (array <= high)).all():
                raise ValueError(
                    f"{self.name}: expected {key} of shape ({shots},) from {low:g} to {high:g}, got shape "
                    f"{array.shape}, {array}"
                )
            each[key] = array
        return each

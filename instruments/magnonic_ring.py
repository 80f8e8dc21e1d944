"""The magnonic ring on the bench: source, analyser and gain control as one reservoir."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from instruments.bench import Bench, load_bench
from instruments.envelope_use import EnvelopeUse
from instruments.levels import dbm_of
from instruments.magnonic_ring_config import UNITS, MagnonicRingConfig
from instruments.rack import Rack
from instruments.ring_use import RingUse
from instruments.safety import make_all_safe
from instruments.spectrum_use import SpectrumUse
from labpgt.device import DeviceBase, Setting, checked_drives
from labpgt.errors import DeviceFault
from labpgt.events import Flag
from labpgt.validation import validated

_MOST_SYMBOLS = 65_536
_ABOVE_NOISE = 4.0
"""How far above the noise the pilot shot must be."""
_GONE = 0.25
"""Share of its usual amplitude below which a pilot shot is gone: nothing that drifts comes to this."""
_TURN_S = 0.1
"""Time that another thread gets to come to an end before RF is turned off over its head."""
_END_S = 10.0
"""Time that another thread gets to come to an end before its connections are closed."""


class MagnonicRing(DeviceBase):
    """A ring between a source and an analyser; a `Reservoir` that is also `Flagging`, `Recoverable` and `Tunable`.

    `forward` never tries again by itself: after any fault it has made safe what still answers, and `recover` brings
    back what was lost. All methods may be called from any thread; shots are taken by one at a time.
    """

    Config = MagnonicRingConfig
    name: ClassVar[str] = "magnonic-ring"
    _has_ring: ClassVar[bool] = True
    """Whether there is something between source and analyser that can oscillate by itself."""

    def __init__(self, _guarded: bool = True, /, **settings: Any) -> None:
        self.config = validated(self.Config, settings, "device")
        self._guarded = _guarded  # False is for tests alone
        self._lock = threading.RLock()
        self._rack: Rack | None = None
        self._use: RingUse | None = None
        self._ready = False
        """RF is on, gain is up, and the ring was found healthy."""
        self._interrupting = threading.Lock()
        self._interrupted: str | None = None
        """What another thread has done to the device while shots were being taken."""
        self._interrupters = 0
        """Threads that are at it."""
        self._healthy_at = 0.0
        """When it was last found so, on the monotonic clock."""
        self._pilot: NDArray[np.float64] | None = None
        """Response to the pilot shot when the run began."""
        self._drifted = False
        self._flags = np.zeros(0, np.uint32)

    @property
    def n_nodes(self) -> int:
        """Response values per drive symbol."""
        return self.config.n_nodes

    @property
    def max_symbols(self) -> int:
        """Longest shot, in symbols; shorter where the instruments, once connected, do not hold so much."""
        return _MOST_SYMBOLS if self._use is None else min(_MOST_SYMBOLS, self._use.longest)

    @property
    def drive_limits(self) -> tuple[float, float]:
        """Drive values accepted."""
        return self.config.drive_limits

    @property
    def tunable(self) -> Mapping[str, tuple[float, float]]:
        """Settings that `forward_tuned` takes for each shot, and their limits."""
        bench = self._bench
        found = {"carrier_hz": bench.limits.frequency_hz}
        if bench.attenuator is not None:
            low, high = bench.limits.attenuation_db
            if self._rack is not None:
                high = min(high, self._rack.drivers["attenuator"].maximum)
            found = {"attenuation_db": (low, high), **found}
        return found

    @property
    def _bench(self) -> Bench:
        return load_bench(self.config.bench) if self._rack is None else self._rack.bench

    def open(self) -> None:
        """Connect the instruments, check them, set them up, and turn RF on.

        Raises one `DeviceFault` with a line for each thing that is not as it should be; RF was not on then.
        """
        with self._lock:
            if self._rack is not None:
                return
            bench = load_bench(self.config.bench)
            problems = self._beyond_limits(bench)
            try:
                rack = Rack(bench, self._guarded)
                rack.connect()
            except DeviceFault as fault:
                raise DeviceFault("\n".join([*problems, str(fault)])) from fault
            self._rack = rack
            self._forget_interruption()
            try:
                self._use = self._new_use(rack)
                problems += self._use.problems() + self._beyond_attenuator(rack)
                if problems:
                    raise DeviceFault("\n".join(f"{self.name}: {problem}" for problem in problems))
                rack.start_guard()
                self._pilot = None
                self._set_up(rack)
            except BaseException as error:
                self._let_go(error)
                raise

    def _beyond_limits(self, bench: Bench) -> list[str]:
        config, limits = self.config, bench.limits
        found = []
        if config.power_dbm > limits.power_dbm:
            found.append(f"power_dbm = {config.power_dbm:g}: the bench's limit is {limits.power_dbm:g} dBm")
        for key, value, (low, high), unit in (
            ("carrier_hz", config.carrier_hz, limits.frequency_hz, "Hz"),
            ("attenuation_db", config.attenuation_db, limits.attenuation_db, "dB"),
        ):
            if key == "attenuation_db" and bench.attenuator is None:
                continue
            if not low <= value <= high:
                found.append(f"{key} = {value:.12g}: the bench's limits are {low:.12g} to {high:.12g} {unit}")
        return found

    def _beyond_attenuator(self, rack: Rack) -> list[str]:
        if "attenuator" not in rack.drivers or self.config.attenuation_db <= rack.drivers["attenuator"].maximum:
            return []
        return [
            f"attenuation_db = {self.config.attenuation_db:g}: the {rack.identities['attenuator'].model} goes up to "
            f"{rack.drivers['attenuator'].maximum:g} dB"
        ]

    def _new_use(self, rack: Rack) -> RingUse:
        kind = EnvelopeUse if self.config.use == "envelope" else SpectrumUse
        return kind(self.config, rack.bench, rack.drivers["source"], rack.drivers["analyzer"], rack.talking)

    def _set_up(self, rack: Rack) -> None:
        """Bring every instrument into the state of the settings, RF off first, and see that the ring is healthy."""
        assert self._use is not None
        rack.rf(False)
        self._use.prepare()
        self._get_ready(rack)

    def _get_ready(self, rack: Rack) -> None:
        rack.gain_up(self.config.attenuation_db)
        self._check_health(rack)
        self._ready = True

    def _check_health(self, rack: Rack) -> None:
        """See that nothing comes out of the ring with RF off, and what it makes of the pilot shot; RF is on then."""
        assert self._use is not None
        rack.rf(False)
        idle = self._use.idle()
        loud = dbm_of(idle.line_v)
        limit = rack.bench.limits.oscillation_dbm
        if loud > limit:
            raise DeviceFault(
                f"{self.name}: the ring oscillates by itself: {loud:.1f} dBm at the analyser with RF off, limit "
                f"{limit:g} dBm (limits.oscillation_dbm); raise attenuation_db, now {self.config.attenuation_db:g} dB"
                if self._has_ring
                else f"{self.name}: {loud:.1f} dBm at the analyser with RF off, limit {limit:g} dBm "
                "(limits.oscillation_dbm); look for another signal on the cable"
            )
        rack.rf(True)
        pilot = self._use.pilot()
        if self._pilot is None and pilot is not None:
            if _rms(pilot) <= _ABOVE_NOISE * idle.noise:
                raise DeviceFault(
                    f"{self.name}: nothing of the pilot shot arrives at the analyser: {_rms(pilot):.3g} with RF on, "
                    f"{idle.noise:.3g} with RF off; look at the cables, carrier_hz and power_dbm"
                )
            self._pilot = pilot
        self._look_at(pilot, rack)
        self._healthy_at = time.monotonic()

    def _look_at(self, pilot: NDArray[np.float64] | None, rack: Rack) -> None:
        """Compare a pilot shot with the first one: `DeviceFault` when it is gone, a flag for what follows on drift."""
        if pilot is None or self._pilot is None:
            return
        usual = _rms(self._pilot)
        if _rms(pilot) < _GONE * usual:
            raise DeviceFault(
                f"{self.name}: the pilot shot is gone: {_rms(pilot):.3g} at the analyser, {usual:.3g} at the start; "
                "was RF turned off? look at cables, amplifier and attenuator"
            )
        self._drifted = _rms(pilot - self._pilot) > rack.bench.limits.drift * usual

    def forward(self, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        """Drives (shots, symbols) within `drive_limits` to responses (shots, symbols, n_nodes), dimensionless.

        Raises `ValueError`, before anything is sent, for a drive that cannot be sent, and `DeviceFault` for everything
        else, when what still answers has been made safe.
        """
        return self._forward(drives, None)

    def forward_tuned(
        self, drives: NDArray[np.float64], tuning: Mapping[str, NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Like `forward`, each shot with its own value (shots,) of some of the settings in `tunable`.

        Shots of the same values share captures. Answers above the threshold of auto-oscillation too. An attenuation is
        rounded to the attenuator's step.
        """
        return self._forward(drives, tuning)

    def _forward(
        self, drives: NDArray[np.float64], tuning: Mapping[str, NDArray[np.float64]] | None
    ) -> NDArray[np.float64]:
        with self._lock:
            rack, use = self._opened()
            drives = checked_drives(self, drives)
            groups = self._groups(len(drives), tuning or {})
            self._flags = np.zeros(len(drives), np.uint32)
            responses = np.empty((*drives.shape, self.n_nodes))
            if not len(drives):
                return responses
            self._forget_interruption()
            with self._faults_make_safe(rack):
                if rack.lost:
                    raise DeviceFault(f"{self.name}: the connection to {', '.join(sorted(rack.lost))} is lost")
                for tuned, rows in groups:
                    if tuned:
                        self._tune(rack, tuned)
                    for some in self._parts(rows, drives.shape[1]):
                        self._hold_on(rack, check_health=not tuned)
                        taken = use.take(drives[some])
                        if not tuned:
                            self._look_at(taken.pilot, rack)
                        responses[some] = taken.responses
                        self._flags[some] = taken.flags | (Flag.DRIFT if self._drifted else 0)
                if any(tuned for tuned, _ in groups):
                    self._tune(rack, {})
                self._check_interruption(rack)
            return responses

    def _opened(self) -> tuple[Rack, RingUse]:
        if self._rack is None or self._use is None:
            raise DeviceFault(f"{self.name}: a shot was asked of a closed device; call open() first")
        return self._rack, self._use

    def _groups(
        self, shots: int, tuning: Mapping[str, NDArray[np.float64]]
    ) -> list[tuple[dict[str, float], NDArray[np.intp]]]:
        """Return the shots of each combination of tuned values, combinations in the order of their first shot."""
        if not tuning:
            return [({}, np.arange(shots))]
        limits, columns = self.tunable, []
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
            columns.append(array)
        table, first, inverse = np.unique(np.stack(columns, axis=1), axis=0, return_index=True, return_inverse=True)
        inverse = inverse.reshape(-1)
        return [
            (dict(zip(tuning, table[kind].tolist(), strict=True)), np.flatnonzero(inverse == kind))
            for kind in np.argsort(first)
        ]

    def _parts(self, rows: NDArray[np.intp], symbols: int) -> list[NDArray[np.intp]]:
        """Return the shots of each capture."""
        assert self._use is not None
        return np.split(rows, np.cumsum(self._use.parts(len(rows), symbols))[:-1])

    def _tune(self, rack: Rack, tuned: Mapping[str, float]) -> None:
        assert self._use is not None
        self._hold_on(rack, check_health=False)
        self._use.retune(tuned.get("carrier_hz", self.config.carrier_hz))
        rack.set_attenuation(tuned.get("attenuation_db", self.config.attenuation_db))

    def _hold_on(self, rack: Rack, check_health: bool) -> None:
        """Before each capture: see that nobody turned RF off, and whether it is time to check the ring's health."""
        self._check_interruption(rack)
        if not self._ready:
            self._get_ready(rack)
        elif check_health and time.monotonic() - self._healthy_at >= self.config.health_s:
            self._check_health(rack)

    def _check_interruption(self, rack: Rack) -> None:
        if self._interrupted is not None:
            raise DeviceFault(f"{self.name}: {self._interrupted} while shots were being taken")
        rack.check_guard()

    @contextmanager
    def _faults_make_safe(self, rack: Rack) -> Iterator[None]:
        """Make safe after whatever goes wrong; what cannot be made safe becomes a note of it."""
        try:
            yield
        except BaseException as error:
            self._ready = False
            for problem in rack.make_safe():
                error.add_note(problem)
            if isinstance(error, Exception) and not isinstance(error, DeviceFault):
                raise DeviceFault(f"{self.name}: taking shots: {type(error).__name__}: {error}") from error
            raise

    def flags(self) -> NDArray[np.uint32]:
        """Bits of `labpgt.events.Flag` for each shot of the last `forward`, (shots,)."""
        return self._flags.copy()

    def recover(self) -> None:
        """Try once: connect again what was lost, set everything as it was, check the ring's health, and turn RF on.

        Raises `DeviceFault` while something is still ill; what answers is safe then.
        """
        with self._lock:
            if self._rack is None:
                raise DeviceFault(f"{self.name}: a closed device cannot recover; call open() first")
            rack = self._rack
            with self._faults_make_safe(rack):
                self._ready = False
                self._forget_interruption()
                rack.reconnect()
                rack.start_guard()
                self._use = self._new_use(rack)
                self._set_up(rack)
                if self._drifted:
                    raise DeviceFault(
                        f"{self.name}: the response to the pilot shot differs from that at the start by more than "
                        f"limits.drift = {rack.bench.limits.drift:g}; let the ring settle, or begin a new run"
                    )
                self._check_interruption(rack)

    def make_safe(self) -> None:
        """RF off first, then gain down; the next `forward` turns both on again.

        `DeviceFault` with a line for each instrument that could not be made safe. When another thread is in the middle
        of a shot, RF is turned off over a connection of its own, and that thread makes the rest safe.
        """
        rack = self._rack
        if rack is None:
            return
        with self._interruption("the device was made safe"):
            if not self._lock.acquire(timeout=_TURN_S):
                self._ready = False
                rack.force_safe("source")
                return
            try:
                if self._rack is not rack:
                    return
                self._ready = False
                problems = rack.make_safe()
            finally:
                self._lock.release()
        if problems:
            raise DeviceFault("\n".join(f"{self.name}: {problem}" for problem in problems))

    def close(self) -> None:
        """Make safe, close every connection and let the guard go; `DeviceFault` with a line for all that failed."""
        rack = self._rack
        if rack is None:
            return
        problems: list[str] = []
        with self._interruption("the device was closed"):
            held = self._lock.acquire(timeout=_TURN_S)
            try:
                if not held:
                    problems += make_all_safe([("source: RF off", lambda: rack.force_safe("source"))])
                    held = self._lock.acquire(timeout=_END_S)
                if self._rack is rack:
                    self._rack, self._use, self._ready = None, None, False
                    problems += rack.close()
            finally:
                if held:
                    self._lock.release()
        if problems:
            raise DeviceFault("\n".join(f"{self.name}: {problem}" for problem in problems))

    @contextmanager
    def _interruption(self, what: str) -> Iterator[None]:
        """Let shots that are being taken end with a fault: RF may be off before their thread knows of it."""
        with self._interrupting:
            self._interrupted = what
            self._interrupters += 1
        try:
            yield
        finally:
            with self._interrupting:
                self._interrupters -= 1

    def _forget_interruption(self) -> None:
        with self._interrupting:
            if not self._interrupters:
                self._interrupted = None

    def _let_go(self, error: BaseException) -> None:
        try:
            self.close()
        except DeviceFault as fault:
            error.add_note(str(fault))

    def settings(self) -> Mapping[str, Setting]:
        """Every setting, and once the instruments are connected who they are and what follows from their limits."""
        found = {
            key: Setting(value, UNITS.get(key, ""))
            for key, value in self.config.model_dump().items()
            if key != "bench"  # where a file is has no effect on a response; what is in it follows
        }
        rack, use = self._rack, self._use
        if rack is None or use is None:
            return found
        for role, identity in rack.identities.items():
            found[role] = Setting(f"{identity.maker} {identity.model}")
            found[f"{role}_serial"] = Setting(identity.serial)
            found[f"{role}_firmware"] = Setting(identity.firmware)
        for role in ("amplifier", "magnet"):
            entry = rack.bench.entries().get(role)
            if entry is not None:
                found[f"{role}_voltage_v"] = Setting(entry.voltage_v, "V")  # type: ignore[attr-defined]
                found[f"{role}_current_a"] = Setting(entry.current_a, "A")  # type: ignore[attr-defined]
        wiring, limits = rack.bench.wiring, rack.bench.limits
        found["full_scale_v"] = Setting(wiring.full_scale_v, "V")
        found["tesla_per_ampere"] = Setting(wiring.tesla_per_ampere, "T/A")
        found["oscillation_limit_dbm"] = Setting(limits.oscillation_dbm, "dBm")
        found["drift_limit"] = Setting(limits.drift)
        return {**found, **use.settings()}


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.square(values).mean()))

"""The magnonic ring on the bench: source, analyser and gain control as one reservoir."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from instruments.bench import Bench, SupplyEntry, load_bench
from instruments.envelope_use import EnvelopeUse
from instruments.health import Health
from instruments.magnonic_ring_config import MagnonicRingConfig
from instruments.rack import Rack
from instruments.ring_use import RingUse
from instruments.safety import make_all_safe
from instruments.spectrum_use import SpectrumUse
from instruments.tuning import beyond_attenuator, beyond_limits, groups_of
from labpgt.device import DeviceBase, Setting, checked_drives
from labpgt.errors import DeviceFault, LabpgtError
from labpgt.events import Flag
from labpgt.units import unit_of
from labpgt.validation import validated

_MOST_SYMBOLS = 65_536
_TURN_S = 0.1
"""Time that another thread gets to come to an end before RF is turned off over its head."""
_END_S = 10.0
"""Time that another thread gets to come to an end before its connections are closed."""


@dataclass
class _Running:
    """What there is between `open` and `close`."""

    rack: Rack
    use: RingUse
    health: Health
    ready: bool = False
    """RF is on, gain is up, and the ring was found well."""


class MagnonicRing(DeviceBase):
    """A ring between a source and an analyser; a `Reservoir` that is also `Flagging`, `Recoverable` and `Tunable`.

    `forward` never tries again by itself: after any fault it has made safe what still answers, and `recover` brings
    back what was lost. All methods may be called from any thread; shots are taken by one at a time.
    """

    Config: ClassVar[type[MagnonicRingConfig]] = MagnonicRingConfig
    name: ClassVar[str] = "magnonic-ring"
    _advice: ClassVar[str] = "the ring oscillates by itself; raise attenuation_db"
    """What to do when something comes from it with RF off."""

    def __init__(self, _guarded: bool = True, /, **settings: Any) -> None:
        self.config = validated(self.Config, settings, "device")
        self._guarded = _guarded  # False is for tests alone
        self._lock = threading.RLock()
        self._running: _Running | None = None
        self._interrupting = threading.Lock()
        self._interrupted: str | None = None
        """What another thread has done to the device while shots were being taken."""
        self._interrupters = 0
        """Threads that are at it."""
        self._flags = np.zeros(0, np.uint32)

    @property
    def n_nodes(self) -> int:
        """Response values per drive symbol."""
        return self.config.n_nodes

    @property
    def max_symbols(self) -> int:
        """Longest shot, in symbols; shorter where the instruments, once connected, do not hold so much."""
        running = self._running
        return _MOST_SYMBOLS if running is None else min(_MOST_SYMBOLS, running.use.longest)

    @property
    def drive_limits(self) -> tuple[float, float]:
        """Drive values accepted."""
        return self.config.drive_limits

    @property
    def tunable(self) -> Mapping[str, tuple[float, float]]:
        """Settings that `forward_tuned` takes for each shot, and their limits; `DeviceFault` if there is no bench."""
        running = self._running
        bench = load_bench(self.config.bench) if running is None else running.rack.bench
        found = {"carrier_hz": bench.limits.frequency_hz}
        if bench.attenuator is not None:
            low, high = bench.limits.attenuation_db
            if running is not None:
                attenuator = running.rack.drivers["attenuator"]
                high = min(high, attenuator.maximum) // attenuator.step * attenuator.step
            found = {"attenuation_db": (low, high), **found}
        return found

    def refusals(self) -> Mapping[str, str]:
        """Return what the bench's file does not allow, by setting; it is looked at, and no instrument is asked."""
        try:
            bench = load_bench(self.config.bench)
        except LabpgtError as error:
            return {"bench": str(error)}
        beyond = (line.partition(" = ") for line in beyond_limits(self.config, bench))
        found = {key: said.partition(": ")[2] for key, _, said in beyond}
        misplaced = self._misplaced(bench)
        return {**found, "bench": "; ".join(misplaced)} if misplaced else found

    def open(self) -> None:
        """Connect the instruments, check them, set them up, and turn RF on.

        Raises one `DeviceFault`: when another run has the bench, nothing was sent to any instrument; else it has a line
        for each thing that is not as it should be, and RF is off, whoever had turned it on.
        """
        with self._lock:
            if self._running is not None:
                return
            bench = load_bench(self.config.bench)
            beyond = self._misplaced(bench) + beyond_limits(self.config, bench)
            problems = [f"{self.name}: {problem}" for problem in beyond]
            try:
                rack = Rack(bench, self._guarded)
                rack.connect()
            except DeviceFault as fault:
                together = DeviceFault("\n".join([*problems, str(fault)]))
                for note in getattr(fault, "__notes__", ()):
                    together.add_note(note)
                raise together from fault
            try:
                running = _Running(rack, self._new_use(rack), Health(self.name, bench.limits, self._advice))
            except BaseException:
                rack.close()
                raise
            self._running = running
            self._forget_interruption()
            try:
                more = running.use.problems() + beyond_attenuator(self.config, rack)
                problems += [f"{self.name}: {problem}" for problem in more]
                if problems:
                    raise DeviceFault("\n".join(problems))
                rack.start_guard()
                self._set_up(running)
            except BaseException as error:
                self._let_go(error)
                raise

    def _misplaced(self, bench: Bench) -> list[str]:
        """Say why this device cannot be on such a bench."""
        return []

    def _new_use(self, rack: Rack) -> RingUse:
        kind = EnvelopeUse if self.config.use == "envelope" else SpectrumUse
        return kind(self.config, rack.bench, rack.drivers["source"], rack.drivers["analyzer"], rack.talking)

    def _set_up(self, running: _Running) -> None:
        """Bring every instrument into the state of the settings, RF off first, and see that the ring is well."""
        running.rack.rf(False)
        running.use.prepare()
        self._get_ready(running)

    def _get_ready(self, running: _Running) -> None:
        running.use.retune(self.config.carrier_hz, usual=True)  # a fault may have left it at a tuned one
        running.rack.gain_up(self.config.attenuation_db)
        running.health.check(running.rack, running.use)
        running.ready = True

    def forward(self, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        """Drives (shots, symbols) within `drive_limits` to responses (shots, symbols, n_nodes), dimensionless.

        Raises `ValueError`, before anything is sent, for a drive that cannot be sent, and `DeviceFault` for everything
        else, when what still answers has been made safe.
        """
        return self.forward_tuned(drives, {})

    def forward_tuned(
        self, drives: NDArray[np.float64], tuning: Mapping[str, NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Like `forward`, each shot with its own value (shots,) of some of the settings in `tunable`.

        Shots of the same values share captures. Answers above the threshold of auto-oscillation too. An attenuation is
        rounded up to the attenuator's step.
        """
        with self._lock:
            running = self._opened()
            drives = checked_drives(self, drives)
            groups = groups_of(self.name, self.tunable, len(drives), tuning)
            self._flags = np.zeros(len(drives), np.uint32)
            responses = np.empty((*drives.shape, self.n_nodes))
            if not len(drives):
                return responses
            self._forget_interruption()
            with self._faults_make_safe(running):
                if running.rack.lost:
                    raise DeviceFault(f"{self.name}: the connection to {', '.join(sorted(running.rack.lost))} is lost")
                for tuned, rows in groups:
                    if tuned:
                        self._tune(running, tuned)
                    parts = running.use.parts(len(rows), drives.shape[1])
                    for some in np.split(rows, np.cumsum(parts)[:-1]):
                        self._hold_on(running, check_health=not tuned)
                        with running.rack.watching():
                            taken = running.use.take(drives[some])
                        drift = 0
                        if not tuned:
                            running.health.look_at(taken.pilot)
                            drift = Flag.DRIFT if running.health.drifted else 0
                        responses[some], self._flags[some] = taken.responses, taken.flags | drift
                if tuning:
                    self._tune(running, {})
                self._check_interruption(running)
            return responses

    def _opened(self, asked: str = "a shot was asked of") -> _Running:
        if self._running is None:
            raise DeviceFault(f"{self.name}: {asked} a closed device; call open() first")
        return self._running

    def _tune(self, running: _Running, tuned: Mapping[str, float]) -> None:
        self._hold_on(running, check_health=False)
        running.use.retune(tuned.get("carrier_hz", self.config.carrier_hz), usual=not tuned)
        running.rack.set_attenuation(tuned.get("attenuation_db", self.config.attenuation_db))

    def _hold_on(self, running: _Running, check_health: bool) -> None:
        """Before each capture: see that nobody turned RF off, and whether it is time to check the ring's health."""
        self._check_interruption(running)
        if not running.ready:
            self._get_ready(running)
        elif check_health and running.health.age_s >= self.config.health_s:
            running.health.check(running.rack, running.use)

    def _check_interruption(self, running: _Running) -> None:
        if self._interrupted is not None:
            raise DeviceFault(f"{self.name}: {self._interrupted} while shots were being taken")
        running.rack.check_guard()

    @contextmanager
    def _faults_make_safe(self, running: _Running) -> Iterator[None]:
        """Make safe after whatever goes wrong; what cannot be made safe becomes a note of it."""
        try:
            yield
        except BaseException as error:
            running.ready = False
            problems = running.rack.make_safe()
            worded = self._worded(error)
            for problem in problems:
                worded.add_note(problem)
            if worded is error:
                raise
            raise worded from error

    def _worded(self, error: BaseException) -> BaseException:
        """Say what an error comes from when it is known: another thread that turned RF off, or none of the bench's."""
        if self._interrupted is not None and isinstance(error, Exception):
            # Else it would be said that RF was off, by whomever.
            return DeviceFault(f"{self.name}: {self._interrupted} while shots were being taken")
        if isinstance(error, Exception) and not isinstance(error, DeviceFault):
            return DeviceFault(f"{self.name}: taking shots: {type(error).__name__}: {error}")
        return error

    def flags(self) -> NDArray[np.uint32]:
        """Bits of `labpgt.events.Flag` for each shot of the last `forward`, (shots,)."""
        return self._flags.copy()

    def recover(self) -> None:
        """Try once: connect again what was lost, set everything as it was, check the ring's health, and turn RF on.

        Raises `DeviceFault` while something is still ill; what answers is safe then.
        """
        with self._lock:
            running = self._opened("recovery was asked of")
            self._forget_interruption()
            with self._faults_make_safe(running):
                running.ready = False
                running.rack.reconnect()
                running.rack.start_guard()
                running.use = self._new_use(running.rack)
                self._set_up(running)
                running.health.check_drift()
                self._check_interruption(running)

    def make_safe(self) -> None:
        """RF off first, then gain down; the next `forward` turns both on again.

        `DeviceFault` with a line for each instrument that could not be made safe. When another thread is in the middle
        of a shot, RF is turned off over a connection of its own, and that thread makes the rest safe.
        """
        running = self._running
        if running is None:
            return
        with self._interruption("the device was made safe"):
            if not self._lock.acquire(timeout=_TURN_S):
                running.ready = False
                running.rack.force_safe("source")
                return
            try:
                running.ready = False
                problems = running.rack.make_safe()
            finally:
                self._lock.release()
        self._complain(problems)

    def close(self) -> None:
        """Make safe, close every connection and let the guard go; `DeviceFault` with a line for all that failed."""
        running = self._running
        if running is None:
            return
        problems: list[str] = []
        with self._interruption("the device was closed"):
            held = self._lock.acquire(timeout=_TURN_S)
            try:
                if not held:
                    problems += make_all_safe([("source: RF off", lambda: running.rack.force_safe("source"))])
                    held = self._lock.acquire(timeout=_END_S)
                if self._running is running:
                    self._running = None
                    problems += running.rack.close()
            finally:
                if held:
                    self._lock.release()
        self._complain(problems)

    def _complain(self, problems: list[str]) -> None:
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

    def health(self) -> Mapping[str, Setting]:
        """Noise, margin to auto-oscillation, pilot and drift as they were found last; `DeviceFault` when it is closed.

        See `Health.found`.
        """
        return self._opened("its health was asked of").health.found()

    def settings(self) -> Mapping[str, Setting]:
        """Every setting, and once the instruments are connected who they are and what follows from their limits."""
        found = {
            key: Setting(value, unit_of(key))
            for key, value in self.config.model_dump().items()
            if key != "bench"  # where a file is has no effect on a response; what is in it follows
        }
        running = self._running
        if running is None:
            return found
        if "attenuator" in running.rack.drivers:
            found["attenuation_db"] = Setting(running.rack.on_steps(self.config.attenuation_db), "dB")
        return {**found, **_settings_of(running.rack), **running.use.settings()}


def _settings_of(rack: Rack) -> dict[str, Setting]:
    """Return who the instruments are, and what the bench's file says that affects a response."""
    found = {}
    for role, identity in rack.identities.items():
        found[role] = Setting(f"{identity.maker} {identity.model}")
        found[f"{role}_serial"] = Setting(identity.serial)
        found[f"{role}_firmware"] = Setting(identity.firmware)
    for role, entry in rack.bench.entries().items():
        if isinstance(entry, SupplyEntry):
            found[f"{role}_voltage_v"] = Setting(entry.voltage_v, "V")
            found[f"{role}_current_a"] = Setting(entry.current_a, "A")
    bench: Bench = rack.bench
    found["full_scale_v"] = Setting(bench.wiring.full_scale_v, "V")
    found["tesla_per_ampere"] = Setting(bench.wiring.tesla_per_ampere, "T/A")
    found["oscillation_limit_dbm"] = Setting(bench.limits.oscillation_dbm, "dBm")
    found["drift_limit"] = Setting(bench.limits.drift)
    return found

"""Looking at the instruments of a bench while no run has it: who they are, and how they are set.

Nothing is set and no lock is taken. Before each question it is asked whether a run has the bench; as soon as one has,
connections are closed and nothing is asked any more. So a run is never refused or held up for somebody who looked.
"""

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from instruments.asking import Asked
from instruments.bench import Bench, Entry
from instruments.connect import WrongInstrument, close, connect, visa_errors
from instruments.guard_process import visa
from instruments.safety import places
from labpgt import locks
from labpgt.errors import DeviceFault, InputError

CONNECTED, WRONG = "connected", "wrong instrument"
_PATIENCE_S = 2.0
"""Longest wait for one answer: an instrument that nobody uses answers at once."""
_LOST_S = 0.5
"""Time within which a connection that was kept shows that it is lost; what fails later has hung."""
_SWITCHED = ("source", "amplifier", "magnet")
"""Roles that are on or off."""


@dataclass
class Seen:
    """One instrument as it was found."""

    role: str
    model: str
    address: str
    state: str
    """"connected", "unreachable: why", "wrong instrument" or "in use by process N"."""
    ok: bool
    identity: str | None = None
    """Maker, model, serial number and firmware, once it was connected."""
    rf: str | None = None
    """Whether what it puts out is "on", "off" or "unknown"; `None` for one that puts out nothing."""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Value and unit of each setting, by name."""
    detail: str = ""
    """What is wrong and what to do, or an empty text."""


class _InUse(Exception):
    """A run has the bench."""


class BenchWatch:
    """Looks at one bench again and again, over connections that it keeps while no run wants it."""

    def __init__(self, bench: Bench, path: Path) -> None:
        self._bench, self._path, self._places = bench, path, places(bench)
        visa()  # Here, so that it does not count as an instrument's time.
        self._instruments = {
            role: _Instrument(role, entry, min(bench.timeout_of(role), _PATIENCE_S), self._places)
            for role, entry in bench.entries().items()
        }
        self._asked = {role: Asked(role, instrument) for role, instrument in self._instruments.items()}
        self._last: dict[str, Seen] = {}

    def look(self, wait_s: float) -> dict[str, Any]:
        """Return what `labpgt bench --json` says; an instrument that hangs is not waited for longer than `wait_s`."""
        in_use = locks.holder(self._places)
        if in_use:
            self.let_go()
            found = [instrument.in_use(in_use) for instrument in self._instruments.values()]
        else:
            for asked in self._asked.values():
                asked.ask()
            deadline = time.monotonic() + wait_s
            found = [self._answer(role, deadline, wait_s) for role in self._instruments]
            in_use = locks.holder(self._places)
        return {
            "bench": self._bench.name,
            "file": str(self._path),
            "time": time.time(),
            "in_use": in_use,
            "limits": self._bench.limits.model_dump(),
            "instruments": [asdict(seen) for seen in found],
        }

    def _answer(self, role: str, deadline: float, wait_s: float) -> Seen:
        seen = self._asked[role].answer(deadline)
        if seen is not None:
            self._last[role] = seen
            return seen
        last = self._last.get(role)
        # What is wrong with it is known from the question before, and worded better there.
        if last is not None and not last.ok:
            return last
        return self._instruments[role].unreachable(f"no answer within {wait_s:g} s", "")

    def let_go(self) -> None:
        """Close every connection on which nothing is being asked; a question in hand ends by closing its own."""
        for role, asked in self._asked.items():
            if not asked.busy:
                self._instruments[role].close()

    def rest(self, until: float) -> None:
        """Wait until then (of `time.monotonic`), and let go of the instruments as soon as a run wants them."""
        while (left := until - time.monotonic()) > 0:
            if locks.holder(self._places):
                self.let_go()
            time.sleep(min(left, 0.05))


class _Instrument:
    """One instrument, with the connection that is kept to it."""

    def __init__(self, role: str, entry: Entry, timeout_s: float, places: dict[str, str]) -> None:
        self._role, self._entry, self._timeout_s, self._places = role, entry, timeout_s, places
        self._driver: Any = None
        self._identity: str | None = None

    def __call__(self) -> Seen:
        """Look at it; a connection that was kept and is lost is made anew at once. Never raises."""
        kept, begun = self._driver is not None, time.monotonic()
        try:
            return self._look()
        except Exception as error:
            if not kept or isinstance(error, _InUse) or time.monotonic() - begun > _LOST_S:
                return self._ill(error)
        try:
            return self._look()
        except Exception as error:
            return self._ill(error)

    def _look(self) -> Seen:
        where = f"{self._role} at {self._entry.address}"
        settings: dict[str, dict[str, Any]] = {}
        try:
            self._see_free()
            if self._driver is None:
                self._identity = None
                self._driver = connect(self._role, self._entry, self._timeout_s, empty_errors=False)
                self._see_free()
            with visa_errors(where, "asking how it is set"):
                if self._identity is None:
                    self._identity = ", ".join(self._driver.identify())
                self._see_free()
                for name, setting in self._driver.live():
                    settings[name] = setting._asdict()
                    self._see_free()
        except BaseException:
            # Anything may still be on its way over a connection on which something went wrong.
            self.close()
            raise
        rf = self._rf(settings.get("output", {}).get("value"))
        return self._seen(CONNECTED, True, identity=self._identity, rf=rf, settings=settings)

    def _see_free(self) -> None:
        if process := locks.holder(self._places):
            raise _InUse(process)

    def _ill(self, error: Exception) -> Seen:
        match error:
            case _InUse():
                return self.in_use(str(error))
            case WrongInstrument():
                return self._seen(WRONG, False, rf=self._rf(None), detail=str(error))
            case DeviceFault() | InputError():
                why = str(error).removeprefix(f"{self._role} at {self._entry.address}: ").partition(";")[0]
                return self.unreachable(why, str(error))
        return self.unreachable(f"{type(error).__name__}: {error}", "")

    def in_use(self, process: str) -> Seen:
        """Say that a run has it."""
        return self._seen(f"in use by {process}", True, identity=self._identity, rf=self._rf(None))

    def unreachable(self, why: str, detail: str) -> Seen:
        """Say that it does not answer."""
        return self._seen(f"unreachable: {why}", False, rf=self._rf(None), detail=detail)

    def _rf(self, output: bool | None) -> str | None:
        if self._role not in _SWITCHED:
            return None
        return "unknown" if output is None else "on" if output else "off"

    def _seen(self, state: str, ok: bool, **found: Any) -> Seen:
        return Seen(self._role, self._entry.model, self._entry.address, state, ok, **found)

    def close(self) -> None:
        """Close the connection that is kept, if there is one; never raises."""
        driver, self._driver = self._driver, None
        if driver is not None:
            close(driver)

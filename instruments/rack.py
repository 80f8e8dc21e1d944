"""The instruments of a bench while in use: their connections, which of them are lost, and how they are made safe.

A connection on which anything went wrong is lost: it is never read again, for a late answer would be taken for that to
a later question. What has to be done to a lost instrument is done over a fresh connection.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from math import ceil, nan
from typing import Any

from instruments.bench import Bench, SupplyEntry
from instruments.connect import close, connect, connect_each, lost, visa_errors
from instruments.guard import Guard
from instruments.safety import GUARDED, force_off, make_all_safe
from instruments.scpi import Identity
from labpgt.errors import DeviceFault

log = logging.getLogger(__name__)

_LONG_S = 0.1
"""Duration of a capture from which on the attenuator is asked after it as well: a round trip more is nothing then."""
_EXACT = 1e-9
"""Steps of an attenuator that are an error of floating point."""


class Rack:
    """Every instrument that `bench` names, connected by `open`, with a guard over them."""

    def __init__(self, bench: Bench, guarded: bool) -> None:
        self.bench = bench
        self.drivers: dict[str, Any] = {}
        self.identities: dict[str, Identity] = {}
        self.lost: set[str] = set()
        self._guard = Guard(bench) if guarded else None
        self._attenuation_db = nan
        """What the attenuator was set to and must be at; not a number while that is not known."""
        self._asked = False
        """Whether the attenuator was asked something whose answer has not been read."""

    def connect(self) -> None:
        """Connect every instrument and turn RF off, whoever had turned it on.

        Raises `DeviceFault`: when another run has the bench, nothing is sent at all; else it has a line for each
        instrument that is not as it should be, and those that are have been made safe.
        """
        self._claim()
        try:
            self.drivers, fault = connect_each(self.bench)
            self.lost, self._asked = set(), False
            if fault is not None:
                raise fault
            for role, driver in self.drivers.items():
                with self.talking(role, "asking who it is"):
                    self.identities[role] = driver.identify()
            self._narrow()
            self.rf(False)
        except BaseException as error:
            for problem in self.close():
                error.add_note(problem)
            raise

    def _claim(self) -> None:
        if self._guard is not None:
            self._guard.claim()

    def _narrow(self) -> None:
        """Have the source's driver itself refuse what is beyond the bench's limits: a second net."""
        source, limits = self.drivers["source"], self.bench.limits
        lowest = source.limits("power")[0]
        source.power_values = (lowest, max(lowest, min(source.limits("power")[1], limits.power_dbm)))

    def start_guard(self) -> None:
        """Have RF turned off from outside should this process die or fall silent; again, if it was."""
        if self._guard is not None:
            self._guard.start()

    def check_guard(self) -> None:
        """Raise `DeviceFault` when the guard may have turned RF off, or is no more."""
        if self._guard is not None:
            self._guard.check()

    def reconnect(self) -> None:
        """Connect what was lost again, or raise one `DeviceFault` with a line for each that is still not there.

        When another run has the bench by now, nothing is sent.
        """
        self._claim()
        problems = []
        for role in [role for role in self.bench.entries() if role in self.lost]:
            close(self.drivers[role])
            try:
                driver = connect(role, self.bench.entries()[role], self.bench.timeout_of(role))
                self.drivers[role] = driver
                self.lost.discard(role)
                if role == "attenuator":
                    self._asked = False
                with self.talking(role, "asking who it is"):
                    identity = driver.identify()
            except DeviceFault as error:
                problems.append(str(error))
                continue
            before = self.identities[role]
            if identity != before:
                self.lost.add(role)
                problems.append(
                    f"{role}: expected the {before.model} with serial number {before.serial} and firmware "
                    f"{before.firmware} that the run began with, found number {identity.serial} and firmware "
                    f"{identity.firmware}; put it back, or begin a new run"
                )
        if problems:
            raise DeviceFault("\n".join(problems))
        self._narrow()

    @contextmanager
    def talking(self, role: str, doing: str) -> Iterator[None]:
        """Word what goes wrong with an instrument as a `DeviceFault`; its connection is lost then.

        So it is after an interruption, which may have come in the middle of a message.
        """
        if role in self.lost:
            raise DeviceFault(f"{role}: {doing}: the connection is lost")
        try:
            with visa_errors(self._where(role), doing):
                yield
        except BaseException as error:
            if lost(error) or not isinstance(error, Exception):
                self.lost.add(role)
            raise

    def _where(self, role: str) -> str:
        return f"{role} at {self.bench.entries()[role].address}"

    def gain_up(self, attenuation_db: float) -> None:
        """Make the ring what it is while in use: attenuator set, then magnet and amplifier supplied."""
        # Never an amplifier on a loop whose attenuation is not known: it may be above its threshold.
        self.set_attenuation(attenuation_db)
        wait_s = 0.0
        for role in ("magnet", "amplifier"):
            entry = self.bench.entries().get(role)
            if isinstance(entry, SupplyEntry):
                supply = self.drivers[role]
                with self.talking(role, "switching it on"):
                    if not supply.output_enabled:
                        wait_s = max(wait_s, entry.settle_s)
                    with supply.group("switching it on"):
                        supply.voltage_v = entry.voltage_v
                        supply.current_a = entry.current_a
                        supply.output_enabled = True
        time.sleep(wait_s)

    def on_steps(self, attenuation_db: float) -> float:
        """Return the attenuation that the attenuator takes for one that is asked for, dB: in doubt, less gain."""
        step: float = self.drivers["attenuator"].step
        return ceil(attenuation_db / step - _EXACT) * step

    def set_attenuation(self, attenuation_db: float) -> None:
        """Set the attenuator, where there is one, on its steps, and be sure of it."""
        if "attenuator" not in self.drivers:
            return
        wanted, (low, high) = self.on_steps(attenuation_db), self.bench.limits.attenuation_db
        if not low <= wanted <= high:
            raise DeviceFault(
                f"attenuator: {wanted:g} dB for attenuation_db = {attenuation_db:g}: the bench's limits are {low:g} to "
                f"{high:g} dB"
            )
        self._set_attenuator(wanted, f"setting {wanted:g} dB")

    def _set_attenuator(self, wanted: float, doing: str) -> None:
        attenuator, self._attenuation_db = self.drivers["attenuator"], nan
        with self.talking("attenuator", doing):
            self._read_answer()
            attenuator.attenuation = wanted
            found = attenuator.attenuation
            if found != wanted:
                raise DeviceFault(
                    f"attenuator: is at {found:g} dB although it was set to {wanted:g} dB; look at its front panel"
                )
        self._attenuation_db = wanted

    def _read_answer(self) -> float:
        """Read what the attenuator was asked for, if it was: else an answer may be taken for that to the next."""
        if not self._asked:
            return nan
        self._asked = False
        answer: float = self.drivers["attenuator"].answered_attenuation()
        return answer

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around a capture: `DeviceFault` when the attenuator is not where it was set.

        It is asked before and its answer is read after, so that a short capture takes no longer for it; after a long
        one it is asked once more.
        """
        if "attenuator" not in self.drivers:
            yield
            return
        self._ask_attenuator()
        begun = time.monotonic()
        yield
        self._see_attenuator()
        if time.monotonic() - begun > _LONG_S:
            self._ask_attenuator()
            self._see_attenuator()

    def _ask_attenuator(self) -> None:
        with self.talking("attenuator", "asking where it is"):
            self._read_answer()
            self._asked = True
            self.drivers["attenuator"].ask_attenuation()

    def _see_attenuator(self) -> None:
        with self.talking("attenuator", "asking where it is"):
            found = self._read_answer()
        if found != self._attenuation_db:
            raise DeviceFault(
                f"attenuator: is at {found:g} dB although it was set to {self._attenuation_db:g} dB: somebody has "
                "turned it, or it was switched off and on; look at its front panel"
            )

    def check_gain(self) -> None:
        """Raise `DeviceFault` unless attenuator and supplies are as `gain_up` has left them."""
        if "attenuator" in self.drivers:
            self._ask_attenuator()
            self._see_attenuator()
        for role in ("magnet", "amplifier"):
            if role in self.drivers:
                with self.talking(role, "asking whether it is on"):
                    on = self.drivers[role].output_enabled
                if not on:
                    raise DeviceFault(
                        f"{role}: is off although it was switched on; look at its front panel (over-current, or "
                        "somebody has switched it off)"
                    )

    def rf(self, on: bool) -> None:
        """Turn RF on or off and be sure of it."""
        source = self.drivers["source"]
        with self.talking("source", f"turning RF {'on' if on else 'off'}"):
            if on:
                source.rf_on()
            else:
                source.rf_off()
            if source.output_enabled is not on:
                now, wanted = ("off", "on") if on else ("on", "off")
                raise DeviceFault(f"source: RF is {now} although it was turned {wanted}; look at its front panel")

    def make_safe(self) -> list[str]:
        """RF off, then gain down, each on its own and each verified; return a line for each that failed.

        Nothing is sent to a bench that is another run's by now: the guard made it safe before it let go of it.
        """
        with self._ours() as other:
            return [_untouched(other)] if other else self._make_safe()

    def _ours(self) -> AbstractContextManager[str]:
        """Have the bench to this run alone while inside; yields who else has it, or ""."""
        return nullcontext("") if self._guard is None else self._guard.held()

    def _make_safe(self) -> list[str]:
        return make_all_safe(
            [(f"{role}: making it safe", self._step(role)) for role in GUARDED if role in self.drivers]
        )

    def _step(self, role: str) -> Callable[[], None]:
        def step() -> None:
            if role not in self.lost:
                try:
                    self._safe(role)
                    return
                except Exception as error:
                    log.info("%s; trying again over a new connection", error)
                    self.lost.add(role)
            self._force_safe(role)

        return step

    def _safe(self, role: str) -> None:
        """Make one instrument safe over its connection."""
        driver = self.drivers[role]
        if role == "source":
            self.rf(False)
        elif role == "attenuator":
            self._set_attenuator(driver.maximum, "setting its highest attenuation")
        else:
            with self.talking(role, "switching it off"):
                driver.off()
                if driver.output_enabled:
                    raise DeviceFault(f"{role}: is on although it was switched off; look at its front panel")

    def force_safe(self, role: str) -> None:
        """Make one instrument safe over a fresh connection, which any thread may do at any time."""
        with self._ours() as other:
            if other:
                raise DeviceFault(_untouched(other))
            self._force_safe(role)

    def _force_safe(self, role: str) -> None:
        force_off(role, self.bench.entries()[role], self.bench.timeout_of(role))

    def close(self) -> list[str]:
        """Make safe, magnet off, guard away, connections closed; return a line for each thing that failed."""
        problems: list[str] = []
        try:
            with self._ours() as other:
                if other:
                    problems.append(_untouched(other))
                else:
                    problems += self._make_safe()
                    if "magnet" in self.drivers and "magnet" not in self.lost:
                        problems += make_all_safe([("magnet: switching it off", lambda: self._safe("magnet"))])
        finally:
            if self._guard is not None:
                # A guard that has no connections yet is needed only where this run did not get through.
                problems += self._guard.stop() if self._guard.on_watch or problems else self._guard.leave()
            for driver in self.drivers.values():
                close(driver)
            self.drivers, self.lost = {}, set()
        return problems


def _untouched(other: str) -> str:
    return f"nothing was sent to the bench: {other}"

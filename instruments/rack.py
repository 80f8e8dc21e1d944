"""The instruments of a bench while in use: their connections, which of them are lost, and how they are made safe.

A connection on which anything went wrong is lost: it is never read again, for a late answer would be taken for that to
a later question. What has to be done to a lost instrument is done over a fresh connection.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from instruments.bench import Bench, SupplyEntry
from instruments.connect import close, connect, connect_all, lost, visa_errors
from instruments.guard import Guard
from instruments.safety import GUARDED, force_off, make_all_safe
from instruments.scpi import Identity
from labpgt.errors import DeviceFault

log = logging.getLogger(__name__)


class Rack:
    """Every instrument that `bench` names, connected by `open`, with a guard over them."""

    def __init__(self, bench: Bench, guarded: bool) -> None:
        self.bench = bench
        self.drivers: dict[str, Any] = {}
        self.identities: dict[str, Identity] = {}
        self.lost: set[str] = set()
        self._guard = Guard(bench) if guarded else None

    def connect(self) -> None:
        """Connect every instrument, or raise one `DeviceFault` with a line for each that is not as it should be."""
        self.drivers, self.lost = connect_all(self.bench), set()
        try:
            for role, driver in self.drivers.items():
                with self.talking(role, "asking who it is"):
                    self.identities[role] = driver.identify()
            self._narrow()
        except BaseException:
            for driver in self.drivers.values():
                close(driver)
            raise

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
        """Connect what was lost again, or raise one `DeviceFault` with a line for each that is still not there."""
        problems = []
        for role in [role for role in self.bench.entries() if role in self.lost]:
            close(self.drivers[role])
            try:
                driver = connect(role, self.bench.entries()[role], self.bench.timeout_of(role))
                self.drivers[role] = driver
                self.lost.discard(role)
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
        """Make the ring what it is while in use: magnet and amplifier supplied, attenuator set."""
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
        self.set_attenuation(attenuation_db)

    def set_attenuation(self, attenuation_db: float) -> None:
        """Set the attenuator, where there is one, to the nearest it can be."""
        if "attenuator" in self.drivers:
            attenuator = self.drivers["attenuator"]
            with self.talking("attenuator", f"setting {attenuation_db:g} dB"):
                attenuator.attenuation = round(attenuation_db / attenuator.step) * attenuator.step

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
        """RF off, then gain down, each on its own and each verified; return a line for each that failed."""
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
            self.force_safe(role)

        return step

    def _safe(self, role: str) -> None:
        """Make one instrument safe over its connection."""
        driver = self.drivers[role]
        if role == "source":
            self.rf(False)
        elif role == "attenuator":
            with self.talking(role, "setting its highest attenuation"):
                driver.attenuation = driver.maximum
        else:
            with self.talking(role, "switching it off"):
                driver.off()
                if driver.output_enabled:
                    raise DeviceFault(f"{role}: is on although it was switched off; look at its front panel")

    def force_safe(self, role: str) -> None:
        """Make one instrument safe over a fresh connection, which any thread may do at any time."""
        force_off(role, self.bench.entries()[role], self.bench.timeout_of(role))

    def close(self) -> list[str]:
        """Make safe, magnet off, guard away, connections closed; return a line for each thing that failed."""
        problems: list[str] = []
        try:
            problems += self.make_safe()
            if "magnet" in self.drivers and "magnet" not in self.lost:
                problems += make_all_safe([("magnet: switching it off", lambda: self._safe("magnet"))])
        finally:
            if self._guard is not None:
                problems += self._guard.stop()
            for driver in self.drivers.values():
                close(driver)
            self.drivers, self.lost = {}, set()
        return problems

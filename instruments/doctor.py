"""What `labpgt doctor --bench FILE` finds at the instruments themselves, and what to do about it.

Every instrument is asked below the level of its driver, for a driver only works where all of this is right. Nothing is
set: questions are asked, and the error queue is read, which empties it.
"""

import os
import statistics
import time
import warnings
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from pyvisa.errors import Error as VisaError

from instruments.bench import Bench, Entry, load_bench
from instruments.guard_process import visa
from instruments.models import driver_class
from instruments.raw_line import RawLine, Silence
from instruments.safety import GUARDED, SafeCommands, about, places, safe_commands
from instruments.scpi import ERRORS_READ
from instruments.sockets import explained
from labpgt.checks import Check
from labpgt.errors import DeviceFault, LabpgtError
from labpgt.locks import Locks

SLOW_S = 0.1
"""Round trip from which a connection counts as slow."""
ROUND_TRIPS = 20
_BUSY = 4
"""Times the time-out that an instrument which does not answer is listened to before it is given up."""

_ENDS = {b"\n": "a line feed", b"\r\n": "carriage return and line feed", b"\r": "a carriage return", b"": "nothing"}
_STRANGERS = {
    b"HTTP/": "a web page's port",
    b"<": "a web page's port",
    b"SSH-": "the port of a secure shell",
    b"\xff": "a telnet console",
}
"""How the answers of services that are no instrument begin."""


def bench_checks(path: Path) -> list[Check]:
    """Look at every instrument of the bench in the TOML file `path`, all at the same time, and at VISA around them.

    Never raises for what is wrong with bench or instruments: each problem is a failed `Check` that says what to do.
    While a run is on the bench nothing is asked of any instrument: that would take its errors and its time.
    """
    try:
        bench = load_bench(path)
    except LabpgtError as fault:
        return [
            Check(
                "bench",
                False,
                line,
                "Correct the bench's file; `labpgt virtual-bench --config-out FILE` writes a whole one.",
            )
            for line in str(fault).splitlines()
        ]
    entries = bench.entries()
    found = [Check("bench", True, f"{path}: {', '.join(entries)}")]
    locks = Locks(places(bench), about(bench))
    try:
        # Whoever looks for benches in use touches a lock for some microseconds.
        locks.take(0.1, os.getpid())
    except (RuntimeError, OSError) as error:
        advice = "Nothing was asked of the instruments. Wait for the run to end, or stop it, and ask again."
        return [*found, Check("bench: in use", False, str(error), advice)]
    try:
        manager = visa()
        with ThreadPoolExecutor(len(entries), thread_name_prefix="doctor") as pool:
            for checks in pool.map(lambda role: _examined(bench, role, manager), entries):
                found += checks
        return [*found, _loose(bench, manager)]
    finally:
        locks.free()


def _examined(bench: Bench, role: str, manager: Any) -> list[Check]:
    """Return the checks of one instrument; they end at the first thing without which the next makes no sense."""
    found: list[Check] = []
    entry = bench.entries()[role]
    try:
        for check in _Examination(bench, role, entry, manager).checks():
            found.append(check)  # noqa: PERF402 - what was found before a fault counts
    except Silence:
        found.append(_silent(role, "a later question", bench.timeout_of(role)))
    except (VisaError, OSError, EOFError, ValueError) as error:
        found.append(
            Check(
                f"{role}: connection",
                False,
                f"{entry.address}: {explained(error)}",
                "Check cable and network; look whether another program resets or takes over this instrument.",
            )
        )
    return found


def _silent(role: str, question: str, waited_s: float) -> Check:
    return Check(
        f"{role}: answers",
        False,
        f"connected, but no answer to {question} within {waited_s:g} s",
        "It may still be busy with a sweep, a self test or another program: wait or abort that, or press Local or "
        "Preset; otherwise switch it off and on. If it always takes as long, raise timeout_s in the bench's file.",
    )


class _Examination:
    """The questions to one instrument."""

    def __init__(self, bench: Bench, role: str, entry: Entry, manager: Any) -> None:
        self._bench, self._role, self._entry, self._manager = bench, role, entry, manager
        self._timeout_s = bench.timeout_of(role)
        try:
            self._safe: SafeCommands | None = safe_commands(entry)
        except DeviceFault:
            self._safe = None
        # The families that do not speak SCPI are among those with commands of their own.
        self._identity = self._safe.identity if self._safe else "*IDN?"
        self._end = self._safe.termination.encode() if self._safe else b"\n"
        self._scpi = self._identity == "*IDN?"

    def checks(self) -> Iterator[Check]:
        """Yield what was found, from the cable upwards."""
        yield from self._driver()
        try:
            first = self._open()
        except Exception as error:  # pyvisa-py raises bare exceptions here
            yield self._unreachable(explained(error))
            return
        with closing(first):
            try:
                answer, took_s = first.listen(self._identity.encode() + self._end, _BUSY * self._timeout_s)
            except (ConnectionError, VisaError) as error:
                yield self._unreachable(explained(error))
                return
            if not answer:
                yield from self._other_ends()
                return
            yield Check(f"{self._role}: reachable", True, self._entry.address)
            yield from self._ending(answer)
            if took_s > self._timeout_s:
                yield _silent(self._role, self._identity, self._timeout_s)
                # It did answer in the end, so the rest can be asked.
            identity = yield from self._identify(answer)
            if not identity or not answer.endswith(b"\n"):
                return
            yield from self._ask_on(first)

    def _driver(self) -> Iterator[Check]:
        try:
            driver_class(self._entry.model)
        except LabpgtError as error:
            yield Check(
                f"{self._role}: driver",
                False,
                str(error),
                "Write the model as its identity has it.",
            )
        if self._role in GUARDED and self._safe is None:
            yield Check(
                f"{self._role}: safety",
                False,
                f"no commands are known that make a {self._entry.model} safe",
                "Use a model that labpgt can make safe; a run on this bench is refused.",
            )

    def _ask_on(self, line: "RawLine") -> Iterator[Check]:
        """Ask what needs an instrument that answers with whole lines."""
        if self._scpi:
            yield self._errors(line)
            yield self._options(line)
        yield self._round_trip(line)
        yield from self._state(line)
        if self._role in GUARDED:
            yield self._second()

    def _open(self) -> "RawLine":
        return RawLine(self._manager, self._entry.address, self._timeout_s)

    def _unreachable(self, why: str) -> Check:
        return Check(
            f"{self._role}: reachable",
            False,
            f"{self._entry.address}: {why}",
            "Switch the instrument on, check cable and address, and enable remote control over this interface; "
            "instruments that take SCPI over a socket mostly listen at port 5025.",
        )

    def _other_ends(self) -> Iterator[Check]:
        """Try whether an instrument that does not answer waits for another end of the message."""
        for end in (b"\n", b"\r\n", b"\r"):
            if end == self._end:
                continue
            # A new connection each: what was sent before is still in the instrument's buffer.
            with suppress(Exception), closing(self._open()) as line:
                answer, _ = line.listen(self._identity.encode() + end, self._timeout_s)
                if answer:
                    yield Check(
                        f"{self._role}: termination",
                        False,
                        f"answers only to messages that end with {_ENDS[end]}, not with {_ENDS[self._end]}",
                        f"Set the end of messages to {_ENDS[self._end]} in its menu for remote control, or use its "
                        "other port or interface.",
                    )
                    return
        yield _silent(self._role, self._identity, _BUSY * self._timeout_s)

    def _ending(self, answer: bytes) -> Iterator[Check]:
        end = answer[len(answer.rstrip(b"\r\n")) :]
        if end.endswith(b"\n"):
            yield Check(f"{self._role}: termination", True, f"answers end with {_ENDS.get(end, repr(end))}")
        elif not any(answer.startswith(start) for start in _STRANGERS):
            yield Check(
                f"{self._role}: termination",
                False,
                f"the answer {answer[:60]!r} ends with {_ENDS.get(end, repr(end))}, a line feed is expected",
                "Set the end of answers to a line feed in its menu for remote control, or use its other port.",
            )

    def _identify(self, answer: bytes) -> Generator[Check, None, bool]:
        """Compare who answers with the bench's file; the value of the generator is whether an instrument does."""
        name, wanted = f"{self._role}: identity", self._entry
        text = answer.decode("ascii", errors="replace").strip()
        fields = [field.strip() for field in text.split(",")]
        model = text.removeprefix("MN=") if not self._scpi else fields[1] if len(fields) >= 4 else ""
        stranger = next((what for start, what in _STRANGERS.items() if answer.startswith(start)), None)
        if stranger or not model or not text.isprintable() or "\ufffd" in text:
            yield Check(
                name,
                False,
                f"{answer[:60]!r} is not an identity" + (f"; this is {stranger}" if stranger else ""),
                "Give the port at which the instrument takes commands (5025 for most, 23 for an RCDAT), and see that "
                "no other program talks to it at the same time.",
            )
            return False
        others = [
            role
            for role, entry in self._bench.entries().items()
            if role != self._role and entry.model.upper() == model.upper()
        ]
        if model.upper() != wanted.model.upper():
            yield Check(
                name,
                False,
                f"expected the model {wanted.model} at {wanted.address}, found {text}",
                f"Are the addresses of {self._role} and {others[0]} exchanged in the bench's file?"
                if others
                else f"Correct address or model of [{self._role}] in the bench's file.",
            )
        elif self._scpi and wanted.serial and fields[2] != wanted.serial:
            yield Check(
                name,
                False,
                f"expected serial number {wanted.serial}, found {text}",
                f"Correct address or serial of [{self._role}] in the bench's file.",
            )
        else:
            yield Check(name, True, text)
        return True

    def _errors(self, line: "RawLine") -> Check:
        errors: list[str] = []
        while len(errors) < ERRORS_READ:
            entry = line.ask("SYST:ERR?")
            if entry.lstrip("+-").startswith("0,"):
                break
            errors.append(entry)
        if not errors:
            return Check(f"{self._role}: error queue", True, "empty")
        return Check(
            f"{self._role}: error queue",
            False,
            "; ".join(errors),
            "These were read and are gone from the instrument. Ask again; if there are new ones, another program "
            "talks to it, or it needs service.",
        )

    def _options(self, line: "RawLine") -> Check:
        if not self._entry.options:
            return Check(f"{self._role}: options", True, "none needed")
        installed = [field.strip(" \"'") for field in line.ask("*OPT?").split(",")]
        missing = [option for option in self._entry.options if option not in installed]
        detail = f"needed {', '.join(self._entry.options)}; installed {', '.join(filter(None, installed)) or 'none'}"
        return Check(
            f"{self._role}: options",
            not missing,
            detail,
            f"Choose an instrument with option {', '.join(missing)}, or a use of the ring that needs none."
            if missing
            else "",
        )

    def _round_trip(self, line: "RawLine") -> Check:
        times = []
        for _ in range(ROUND_TRIPS):
            begun = time.perf_counter()
            line.ask(self._identity)
            times.append(time.perf_counter() - begun)
        median_s = statistics.median(times)
        return Check(
            f"{self._role}: round trip",
            median_s < SLOW_S,
            f"{1e3 * median_s:.2f} ms (median of {ROUND_TRIPS}, longest {1e3 * max(times):.2f} ms)",
            "Connect it by a cable to the same switch, not over a wireless network or a gateway, and end other "
            "programs that talk to it."
            if median_s >= SLOW_S
            else "",
        )

    def _state(self, line: "RawLine") -> Iterator[Check]:
        """Say what the instrument puts out now; RF that is on although nobody asked for it is a problem."""
        if self._role not in GUARDED or self._safe is None:
            return
        answer = line.ask(self._safe.verify)
        if self._role != "source":
            yield Check(f"{self._role}: state", True, f"{self._safe.verify} {answer}")
            return
        off = answer.lstrip("+") == self._safe.expected
        yield Check(
            f"{self._role}: RF",
            off,
            "off" if off else f"on ({self._safe.verify} answers {answer})",
            "" if off else "If no run is using the bench, press RF Off at the instrument.",
        )

    def _second(self) -> Check:
        """See whether the guard can have a connection besides the run's."""
        name = f"{self._role}: second connection"
        why = "no answer"
        try:
            with closing(self._open()) as line:
                answer, _ = line.listen(self._identity.encode() + self._end, self._timeout_s)
        except Exception as error:
            answer, why = b"", explained(error)
        if answer:
            return Check(name, True, "for the guard")
        return Check(
            name,
            False,
            f"{self._entry.address} takes one connection only ({why})",
            "The guard, which turns RF off when a run dies, needs one of its own: close other programs, or use an "
            "interface that takes several.",
        )


def _loose(bench: Bench, manager: Any) -> Check:
    """List what VISA finds besides the bench; most instruments on a network do not announce themselves."""
    try:
        with warnings.catch_warnings():
            # pyvisa-py's advice to install zeroconf, of no use for finding sockets.
            warnings.simplefilter("ignore", UserWarning)
            resources = manager.list_resources("?*")
    except (VisaError, OSError, ValueError) as error:
        return Check("VISA resources", True, f"cannot be listed here ({explained(error)})")
    known = {entry.address.casefold() for entry in bench.entries().values()}
    loose = [resource for resource in resources if resource.casefold() not in known]
    return Check("VISA resources", True, f"besides the bench: {', '.join(loose) or 'none'}")

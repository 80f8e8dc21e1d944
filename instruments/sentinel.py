"""Turning the RF of a bench off from outside, whoever uses it, and telling whether it is on.

Light, as the guard is: pyvisa and the bench's file, no driver. No lock is taken: a run keeps the bench, and finds out
by its own checks what was done to it.
"""

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from instruments.asking import Asked
from instruments.bench import Bench, SupplyEntry, same_address
from instruments.guard_process import LEAD_S, Line, Stranger, Target, is_safe, make_safe
from instruments.safety import GUARDED, places, safe_target
from labpgt import locks
from labpgt.errors import DeviceFault

LONGEST_S = 5.0
"""How long it is tried at most to make an instrument safe, where its file does not say less."""
ANSWER_S = 1.0
"""Longest wait for an answer to the question whether an instrument is on."""
STUCK_S = 10.0
"""On top of all that an instrument is tried for: a driver that is not back by then is stuck in its library."""
_SPARE_S = 0.2
"""Time on top of it to say in words what went wrong."""


@dataclass
class Off:
    """What came of turning RF off."""

    done: list[str] = field(default_factory=list)
    """A line for each instrument that is safe."""
    problems: list[str] = field(default_factory=list)
    """A line for each that is not, or about which nobody can say."""
    in_use: str | None = None
    """Which process has the bench, "process 123"."""
    rf_off_s: float | None = None
    """Time until the source had said that RF is off, s; `None` when it has not."""
    took_s: float = 0.0
    """Time until the last instrument was safe or given up, s."""

    @property
    def off(self) -> bool:
        """Whether every instrument is safe."""
        return not self.problems


class Sentinel:
    """Makes the guarded instruments of one bench safe when told, each on its own, and asks them whether they are."""

    def __init__(self, bench: Bench, *others: Bench, notes: Sequence[str] = ()) -> None:
        """`others` are what runs that still have the bench have read in its file before it was changed.

        `notes` are told with the state.
        """
        self.name = bench.name
        self._places: dict[str, str] = {}
        self._targets: dict[str, Target] = {}
        """By role; those of `others` by role and address."""
        self.notes = list(notes)
        self._problems: list[str] = []
        """Instruments that nobody knows how to make safe."""
        self._shared: set[str] = set()
        for described in (bench, *others):
            self._places |= places(described)
            self._add(described, first=described is bench)
        self._questions = {role: Asked(role, _State(target)) for role, target in self._targets.items()}

    def _add(self, bench: Bench, first: bool) -> None:
        known = [_who(target) for target in self._targets.values()]
        for role, entry in bench.entries().items():
            if role not in GUARDED:
                continue
            try:
                target = safe_target(role, entry, min(bench.timeout_of(role), LONGEST_S))
            except DeviceFault as error:
                self._problems.append(f"{error}; make it safe by hand")
                continue
            if _who(target) not in known:
                name = role if first else _where(target)
                self._targets[name] = target
                if role in _shared_selection(bench):
                    self._shared.add(name)

    @property
    def roles(self) -> list[str]:
        """Roles of the instruments that are made safe, RF first."""
        return list(self._targets)

    def off(self) -> Off:
        """RF off first, then gain down and amplifier off, over fresh connections, each verified; never raises.

        The others are connected while the source is dealt with, and wait for it, but not longer than `LEAD_S`. An
        instrument of another model than the bench's file says is left alone. May be called by several threads.
        """
        begun = time.monotonic()
        found = Off(problems=list(self._problems), in_use=locks.holder(self._places))
        rf_off, outcomes = threading.Event(), queue.SimpleQueue[tuple[Target, bool, str, float]]()
        sources = [target for target in self._targets.values() if target["role"] == "source"]
        outstanding, off_at = len(sources), list[float]()
        if not sources:
            rf_off.set()
        for target in self._targets.values():
            threading.Thread(target=_secure, args=(target, rf_off, outcomes), daemon=True).start()
        waiting = list(self._targets.values())
        deadline = begun + 2 * max((target["timeout_s"] for target in waiting), default=0.0) + STUCK_S
        while waiting:
            try:
                target, safe, text, at = outcomes.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                found.problems += [
                    f"{_where(target)}: no word within {deadline - begun:g} s; make it safe by hand"
                    for target in waiting
                ]
                break
            waiting.remove(target)
            (found.done if safe else found.problems).append(text)
            if target["role"] == "source":
                off_at += [at] if safe else []
                outstanding -= 1
                if not outstanding:
                    rf_off.set()
        if sources and len(off_at) == len(sources):
            found.rf_off_s = max(off_at) - begun
        found.took_s = time.monotonic() - begun
        return found

    def state(self) -> dict[str, Any]:
        """Ask whether RF is on, over connections that are kept; an instrument that hangs is not waited for long.

        Returns "rf" of the source ("on", "off" or "unknown"; "on" also while one that the file named before is on),
        "in_use", and for each role whether it is "on" (not in its safe state), with its answer.
        """
        in_use = locks.holder(self._places)
        asked = [role for role in self._questions if not (in_use and role in self._shared)]
        for role in asked:
            self._questions[role].ask()
        deadline = time.monotonic() + ANSWER_S + _SPARE_S
        roles, problems = {}, [*self.notes, *self._problems]
        for role, target in self._targets.items():
            where = _where(target)
            if role not in asked:
                found = _Found(problem="not asked while a run selects the channels of the same supply")
            else:
                found = self._questions[role].answer(deadline) or _Found(problem=f"no answer within {ANSWER_S:g} s")
            roles[role] = {"rf": found.rf, "answer": found.answer}
            if found.problem:
                problems.append(f"{where}: {found.problem}")
        rf = roles["source"]["rf"] if "source" in roles else "unknown"
        if any(roles[role]["rf"] == "on" for role, target in self._targets.items() if target["role"] == "source"):
            rf = "on"
        return {"rf": rf, "since": None, "in_use": in_use, "roles": roles, "problems": problems}


@dataclass
class _Found:
    """What an instrument has said of its state."""

    rf: str = "unknown"
    answer: str | None = None
    problem: str = ""


class _State:
    """The question to one instrument whether it is safe, over a connection that is kept until it fails."""

    def __init__(self, target: Target) -> None:
        self._target: Target = {**target, "timeout_s": ANSWER_S}
        self._line: Line | None = None

    def __call__(self) -> _Found:
        """Ask; a connection that was kept and has been lost meanwhile is replaced at once. Never raises."""
        kept, begun = self._line is not None, time.monotonic()
        try:
            return self._ask()
        except Exception as error:
            if not kept or time.monotonic() - begun > ANSWER_S / 2:
                return _Found(problem=_why(error))
        try:
            return self._ask()
        except Exception as error:
            return _Found(problem=_why(error))

    def _ask(self) -> _Found:
        try:
            if self._line is None:
                self._line = Line(self._target, ANSWER_S)
                self._line.identify()
            answer = self._line.ask(self._target["verify"])
        except BaseException:
            # A late answer could be taken for the next one's.
            line, self._line = self._line, None
            if line is not None:
                line.close()
            raise
        if is_safe(self._target, answer):
            return _Found("off", answer)
        try:
            float(answer)
        except ValueError:
            return _Found(answer=answer, problem=f"answers {answer!r} to {self._target['verify']}")
        return _Found("on", answer)


def _secure(
    target: Target, rf_off: threading.Event, outcomes: "queue.SimpleQueue[tuple[Target, bool, str, float]]"
) -> None:
    """Make one instrument safe, the source before the others, and say what was reached."""
    is_source = target["role"] == "source"
    try:
        text, safe = _reached(target, rf_off, first=is_source), True
    except Stranger as error:
        text, safe = f"{_where(target)}: {error}; it was left alone: correct the bench's file", False
    except Exception as error:
        text = (
            f"{_where(target)}: {target['meaning']} could not be reached within {target['timeout_s']:g} s "
            f"({_why(error)}); make it safe by hand"
        )
        safe = False
    outcomes.put((target, safe, text, time.monotonic()))


def _reached(target: Target, rf_off: threading.Event, first: bool) -> str:
    """Make one instrument safe and say how; raises what kept it from being so."""
    line = None if first else _greeted(target)
    if not first:
        rf_off.wait(LEAD_S)
    try:
        return make_safe(target, line, target["timeout_s"], known=line is not None)
    except Stranger:
        # A spoiled answer looks like a stranger too: RF stays on for two of them only.
        return make_safe(target, None, target["timeout_s"], known=False)


def _greeted(target: Target) -> Line | None:
    """Return a connection to an instrument of the right model, or `None` when there is none yet."""
    line = None
    try:
        line = Line(target, LEAD_S)
        line.identify()
    except Exception:
        if line is not None:
            line.close()
        return None
    return line


def _why(error: Exception) -> str:
    from instruments.sockets import explained  # Late, as pyvisa itself: the bench's file is looked at before.

    return explained(error)


def _who(target: Target) -> tuple[object, ...]:
    """Return what two descriptions of one instrument have in common."""
    return same_address(target["address"]), target["model"].upper(), tuple(target["send"])


def _where(target: Target) -> str:
    return f"{target['role']} at {target['address']}"


def _shared_selection(bench: Bench) -> set[str]:
    """Return the roles that cannot be asked without selecting a channel under the hands of a run.

    An HMP answers for the channel that is selected, and a run may have selected that of the magnet to set it.
    """
    amplifier, magnet = bench.amplifier, bench.magnet
    if not isinstance(amplifier, SupplyEntry) or magnet is None:
        return set()
    shared = same_address(amplifier.address) == same_address(magnet.address)
    return {"amplifier"} if shared and amplifier.model.upper().startswith("HMP") else set()

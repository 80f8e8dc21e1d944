"""What can be made to go wrong on the virtual bench, and when."""

import random
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

REPLY_KINDS = ("late", "missing", "truncated", "garbage", "identity", "nan")
"""What happens to a reply: strikes at the first fitting reply from the chosen message on."""
ARRIVAL_KINDS = ("drop", "drop-after", "hang", "unplugged", "error")
"""What happens when a message arrives: strikes at the chosen message."""
BENCH_KINDS = ("overload", "oscillate", "drift")
"""What happens to the signal: begins at the chosen message."""
SILENT_KINDS = ("stale", "ignored", "stuck")
"""What is not done although all seems well: strikes the first fitting thing that is to be done from the message on."""
PANEL_KINDS = ("rf-off", "turned")
"""What somebody does at the front panel: at the chosen message."""
KINDS = REPLY_KINDS + ARRIVAL_KINDS + BENCH_KINDS + SILENT_KINDS + PANEL_KINDS
ONLY = {
    "overload": "analyzer",
    "stale": "analyzer",
    "ignored": "source",
    "rf-off": "source",
    "stuck": "attenuator",
    "turned": "attenuator",
}
"""The one role that can have a fault of a kind, where it is not any."""
_ARRIVING = (*ARRIVAL_KINDS, *PANEL_KINDS, "oscillate", "drift")
TIMED = {"late": 3.0, "hang": 3.0, "unplugged": 3.0, "oscillate": 3.0, "drift": 3.0}
"""Kinds that last, and for how many seconds unless told otherwise."""
_NAN = b"9.91E+37"
"""Not a number, in SCPI text (SCPI-99, volume 1, 7.2.1.5)."""


@dataclass
class Fault:
    """One thing that goes wrong: kind, the instrument's role, and from which of its messages on."""

    role: str
    kind: str
    after: int
    """Messages to that instrument that still go well, counted when the fault was added."""
    seconds: float
    count: int
    """How many messages, replies or things to be done in a row it strikes."""
    struck: int = 0
    """How many it has struck."""

    def __str__(self) -> str:
        lasting = f" for {self.seconds:g} s" if self.kind in TIMED else ""
        return f"{self.kind} at {self.role}{lasting}"


@dataclass
class _Role:
    messages: int = 0
    waiting: list[tuple[int, Fault]] = field(default_factory=list)


class Faults:
    """Faults of the whole bench; may be added from any thread at any time."""

    def __init__(self, roles: Iterable[str]) -> None:
        self._roles = {role: _Role() for role in roles}
        self._lock = threading.Lock()
        self.added: list[Fault] = []

    def add(self, role: str, kind: str, *, after: int = 0, seconds: float | None = None, count: int = 1) -> Fault:
        """Let `kind` strike the instrument with this role when `after` more messages have come to it.

        `seconds` is how long it lasts (kinds in `TIMED`), `count` how many in a row it strikes. Raises `ValueError`
        for a role that is not on the bench, an unknown kind, or one that this instrument cannot have.
        """
        if role not in self._roles:
            raise ValueError(f"fault {kind} at {role!r}: no such instrument; expected {', '.join(self._roles)}")
        if kind not in KINDS:
            raise ValueError(f"fault {kind!r} at {role}: no such kind; expected {', '.join(KINDS)}")
        if ONLY.get(kind, role) != role:
            raise ValueError(f"fault {kind} at {role}: only the {ONLY[kind]} can have it")
        seconds = TIMED.get(kind, 0.0) if seconds is None else seconds
        if after < 0 or count < 1 or not 0 <= seconds < float("inf"):
            raise ValueError(
                f"fault {kind} at {role}: expected after >= 0, count >= 1 and seconds >= 0, got {after}, {count}, "
                f"{seconds:g}"
            )
        fault = Fault(role, kind, after, seconds, count)
        with self._lock:
            state = self._roles[role]
            state.waiting.append((state.messages + after, fault))
            self.added.append(fault)
        return fault

    def clear(self) -> None:
        """Forget every fault that has not struck yet."""
        with self._lock:
            for state in self._roles.values():
                state.waiting.clear()

    def arriving(self, role: str) -> list[Fault]:
        """Count one message to an instrument and return what strikes it before it is looked at."""
        with self._lock:
            state = self._roles[role]
            number = state.messages
            state.messages += 1
            return [
                self._strike(state, start, fault)
                for start, fault in list(state.waiting)
                if start <= number and fault.kind in _ARRIVING
            ]

    def doing(self, role: str, kind: str) -> Fault | None:
        """Return the fault of this kind that strikes what the instrument does now, if there is one."""
        return self._next(role, (kind,))

    def replying(self, role: str, message: bytes, reply: bytes) -> list[Fault]:
        """Return what strikes this reply."""
        kinds = ["late", "missing", "truncated", "garbage"]
        if b"*IDN?" in message.upper() or message.upper().startswith(b":MN?"):
            kinds.append("identity")
        if has_numbers(reply):
            kinds.append("nan")
        fault = self._next(role, tuple(kinds))
        return [] if fault is None else [fault]

    def _next(self, role: str, kinds: tuple[str, ...]) -> Fault | None:
        with self._lock:
            state = self._roles[role]
            for start, fault in state.waiting:
                # The message that this belongs to has been counted already.
                if start < state.messages and fault.kind in kinds:
                    return self._strike(state, start, fault)
        return None

    @staticmethod
    def _strike(state: _Role, start: int, fault: Fault) -> Fault:
        fault.struck += 1
        if fault.struck == fault.count:
            state.waiting.remove((start, fault))
        return fault


def spoiled(fault: Fault, reply: bytes, terminator: bytes) -> bytes:
    """Return what goes over the wire instead of `reply`, for the kinds that change it."""
    match fault.kind:
        case "truncated":
            return reply[: (len(reply) - len(terminator)) // 2]
        case "garbage":
            noise = random.Random(f"{fault.role} {fault.after} {fault.struck} {len(reply)}").randbytes(
                min(max(len(reply), 8), 4096)
            )
            return noise.replace(b"\n", b"\xff") + terminator
        case "identity":
            return b"MN=RCDAT-9999-1" + terminator if reply[:3] == b"MN=" else b"ACME,MODEL X,0,0" + terminator
        case "nan":
            return _without_numbers(reply, terminator)
    return reply


def has_numbers(reply: bytes) -> bool:
    """Whether a reply is a block, or a list of numbers with a fraction or an exponent."""
    if reply[:1] == b"#":
        return True
    first = reply.split(b",")[0].strip()
    try:
        float(first)
    except ValueError:
        return False
    return b"." in first or b"E" in first.upper()


def _without_numbers(reply: bytes, terminator: bytes) -> bytes:
    """Replace the second half of the numbers in a reply (its only one, if it is one) with not-a-number."""
    if reply[:1] != b"#":
        parts = reply[: -len(terminator)].split(b",")
        middle = len(parts) // 2
        return b",".join(parts[:middle] + [_NAN] * (len(parts) - middle)) + terminator
    start = 2 + int(reply[1:2])
    data = bytearray(reply[start : -len(terminator)])
    middle = len(data) // 8 * 4
    # All bits set is a NaN in either byte order and in single and double precision.
    data[middle:] = b"\xff" * (len(data) - middle)
    return reply[:start] + bytes(data) + terminator

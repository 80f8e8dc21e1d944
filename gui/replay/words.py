"""Numbers, states and times of a recorded run in words."""

import math
from datetime import datetime

from gui.plots import words as plots
from labpgt.events import Flag, Status

SHAPES = {
    Status.RUNNING: ("▶", "accent"),
    Status.SUCCESS: ("✔", "ok"),
    Status.ABORTED: ("■", "warn"),
    Status.FAILED: ("✖", "error"),
    Status.CRASHED: ("◆", "error"),
}
"""A shape for each state, and the role of its colour: the word stands beside it."""

_FLAGS = {
    Flag.OVERLOAD: "overload: the analyser's range was exceeded",
    Flag.DRIFT: "drift: the device answered otherwise than at the start",
    Flag.OSCILLATION: "oscillation: the ring sounded by itself",
    Flag.RETAKEN: "retaken: taken again for a spoiled shot",
    Flag.TORN: "torn: the device failed between the halves of the pair",
}


def state(status: str) -> str:
    """Return a state with its shape."""
    shape, _ = SHAPES.get(status, ("○", "muted"))  # type: ignore[call-overload]
    return f"{shape} {status}"


def flags(value: int) -> str:
    """Return what a shot suffered from."""
    if not value:
        return "none"
    told = [text for flag, text in _FLAGS.items() if value & flag]
    unknown = value & ~sum(_FLAGS)
    return "\n".join([*told, *([f"unknown flag {unknown}"] if unknown else [])])


def number(value: float | None, digits: int = 4) -> str:
    """Return a number with so many digits; a dash for what was not measured."""
    return "–" if value is None or math.isnan(value) else plots.number(value, digits)


def percent(value: float | None) -> str:
    """Return a share."""
    return "–" if value is None or math.isnan(value) else f"{value:.1%}"


def moment(seconds: float) -> str:
    """Return a time of this computer's zone, to the millisecond."""
    try:
        return datetime.fromtimestamp(seconds).isoformat(" ", "milliseconds")
    except (ValueError, OSError, OverflowError):
        return "no time"


def date(iso: str) -> str:
    """Return a recorded time (ISO 8601) in this computer's zone, to the minute."""
    try:
        return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return iso

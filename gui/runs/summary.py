"""What an estimate says, in words."""

from typing import Any

_PARTS = (
    ("training_shots", "training", ""),
    ("calibration_shots", "calibration", "at most "),
    ("baseline_shots", "baseline", ""),
    ("evaluation_shots", "evaluation", ""),
)


def estimate_words(estimate: dict[str, Any] | None, why: str) -> str:
    """Word the shots and the time that a run takes, and what that rests on; or why nobody knows."""
    if estimate is None:
        return f"No estimate: {why}"
    parts = [f"{before}{estimate[key]:,} {name}" for key, name, before in _PARTS if estimate.get(key)]
    shots = f"{estimate['total_shots']:,} shots ({', '.join(parts)}) in {estimate['steps']:,} steps"
    seconds = estimate.get("seconds")
    time = "" if seconds is None else f"about {duration_words(seconds)}: "
    parameters = f"{estimate['parameters']:,} parameters" if estimate.get("parameters") else ""
    return "; ".join(part for part in (f"{time}{shots}", parameters, str(estimate.get("how") or "")) if part)


def duration_words(seconds: float) -> str:
    """Word a time to about two figures."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 9.5 else f"{seconds:.1g} s"
    minutes = seconds / 60
    if minutes < 100:
        return f"{minutes:.0f} min"
    hours, minutes = divmod(round(minutes), 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours / 24:.1f} days"

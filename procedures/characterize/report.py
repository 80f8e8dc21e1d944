"""A characterisation as one object and as a table."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from labpgt.characterisation import Outcome
from labpgt.characterisation.outcome import OUTCOMES, VALUES
from labpgt.characterisation.reader import Characterisation
from procedures.text import printable

NOT_ASKED = "not asked for"
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))
_SI = ("s", "Hz")
_TITLES = {
    "noise": "Noise",
    "repeatability": "Repeatability",
    "threshold": "Auto-oscillation",
    "memory": "Memory",
    "stm": "Short-term memory",
    "pc": "Parity",
    "narma10": "NARMA-10",
    "mackey-glass": "Mackey-Glass",
    "compression": "Compression",
    "transmission": "Transmission",
}


def report(
    *,
    status: str,
    reason: str,
    session: str,
    device: str,
    seed: int,
    quick: bool,
    measures: Sequence[str],
    outcomes: Mapping[str, Outcome],
    shots: int,
    symbols: int,
    device_s: float,
    wall_s: float,
) -> dict[str, Any]:
    """Return what `--json` prints: every value, None where it was not measured, and in `unmeasured` why."""
    values: dict[str, float] = {}
    missing: dict[str, str] = {}
    state = ""
    for outcome in outcomes.values():
        values |= outcome.values
        missing |= outcome.missing
        state = outcome.state or state
    return {
        "status": status,
        "reason": reason,
        "session": session,
        "device": device,
        "state": state or None,
        **_complete(values),
        "unmeasured": _reasons(values, missing, measures, tuple(outcomes)),
        "measures": list(measures),
        "seed": seed,
        "quick": quick,
        "shots": shots,
        "symbols": symbols,
        "device_s": device_s,
        "wall_s": wall_s,
    }


def describe(recorded: Characterisation) -> dict[str, Any]:
    """Return everything in a file but shots and curves, as plain numbers and texts."""
    values = recorded.values
    return {
        "kind": "characterisation",
        "session": str(recorded.path),
        "status": str(recorded.status),
        "reason": recorded.reason,
        "start_time": recorded.start_time,
        "end_time": recorded.end_time,
        "schema_version": recorded.schema_version,
        "device": recorded.device,
        "state": recorded.device_state or None,
        **_complete(values),
        "unmeasured": _reasons(values, recorded.missing, recorded.measures, recorded.done),
        "measures": list(recorded.measures),
        "seed": recorded.seed,
        "settings": {key: {"value": s.value, "unit": s.unit} for key, s in recorded.settings.items()},
        "tunable": {key: list(limits) for key, limits in recorded.tunable.items()},
        "effort": recorded.effort,
        "nodes": recorded.nodes,
        "recorded_shots": sum(recorded.n_shots.values()),
        "recorded_shots_by_table": recorded.n_shots,
        "curves": {name: list(columns) for name, columns in recorded.curves.items()},
        "provenance": recorded.provenance,
        "configuration": recorded.configuration,
    }


def _complete(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: values.get(name) for name in VALUES}


def _reasons(
    values: Mapping[str, float], missing: Mapping[str, str], measures: Sequence[str], done: Sequence[str]
) -> dict[str, str]:
    """Say of every value that is not there why."""
    found = {}
    for measure, (names, _) in OUTCOMES.items():
        for name in names:
            if name in values:
                continue
            if measure not in measures:
                found[name] = NOT_ASKED
            elif measure not in done:
                found[name] = "not reached"
            elif name in missing:
                found[name] = missing[name]
            else:
                # A companion of a value that has the reason, or one that has nothing to say here.
                others = [missing[other] for other in names if other in missing]
                found[name] = others[0] if others else "does not apply"
    return found


def print_table(console: Console, description: Mapping[str, Any]) -> None:
    """Print what was measured, and in a line each why something was not."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("measure", "quantity", "value"):
        table.add_column(column, no_wrap=True)
    reasons: dict[str, list[str]] = {}
    for measure, (names, _) in OUTCOMES.items():
        title = _TITLES[measure]
        for name in names:
            value = description[name]
            if value is None:
                reason = description["unmeasured"].get(name, "")
                if reason not in (NOT_ASKED, "does not apply"):
                    reasons.setdefault(reason, []).append(name)
                continue
            table.add_row(Text(title), Text(name), Text(formatted(value, VALUES[name].unit)))
            title = ""
        if measure == "threshold" and description["state"]:
            table.add_row(Text(title), Text("state"), Text(printable(description["state"])))
    console.print(table)
    for reason, names in reasons.items():
        line = f"not measured: {', '.join(names)}: {reason}"
        console.print(printable(line), style="dim", highlight=False, markup=False, soft_wrap=True)


def print_summary(console: Console, description: Mapping[str, Any]) -> None:
    """Print the table and how the run ended."""
    print_table(console, description)
    lines = [f"{'status':<12}{description['status']}"]
    if description["reason"]:
        lines.append(f"{'reason':<12}{description['reason']}")
    lines.append(f"{'session':<12}{description['session']}")
    lines.append(f"{'device':<12}{description['device']}")
    if "shots" in description:
        lines.append(f"{'shots':<12}{description['shots']:,} ({description['symbols']:,} symbols)")
        wall, device = description["wall_s"], description["device_s"]
        lines.append(f"{'wall time':<12}{wall:.1f} s, {device:.1f} s of it in the device")
    if description.get("plots"):
        lines.append(f"{'plots':<12}{description['plots']}")
    for line in lines:
        console.print(printable(line), highlight=False, markup=False, soft_wrap=True)


def print_description(console: Console, description: Mapping[str, Any]) -> None:
    """Print what `describe` returned, for reading."""
    sections = [
        ("Configuration", [line for line in description["configuration"].splitlines() if line[:1] not in ("", "#")]),
        (
            f"Device {description['device']}",
            [f"{name} = {s['value']} {s['unit']}".rstrip() for name, s in description["settings"].items()],
        ),
        (
            f"Shots: {description['recorded_shots']:,} recorded",
            [", ".join(f"{n:,} {table}" for table, n in description["recorded_shots_by_table"].items() if n)],
        ),
        ("Provenance", [f"{key}: {value}" for key, value in description["provenance"].items() if value]),
        ("Run", [f"started {description['start_time']}", f"ended {description['end_time'] or '-'}"]),
    ]
    for title, lines in sections:
        console.print(Text(printable(title), style="bold"))
        for line in lines:
            console.print(printable(f"  {line}"), highlight=False, markup=False, soft_wrap=True)
    console.print(Text("Characterisation", style="bold"))
    print_summary(console, description)


def formatted(value: float, unit: str) -> str:
    """Return a value with four digits and its unit, such as 86.1 ns."""
    if not math.isfinite(value):
        return str(value)
    if unit in _SI and value:
        # Rounded first, for 999.96 MHz is 1 GHz.
        size = abs(float(f"{value:.3e}"))
        factor, prefix = next((p for p in _PREFIXES if size >= p[0]), _PREFIXES[-1])
        return f"{value / factor:.4g} {prefix}{unit}"
    if unit == "dB":
        return f"{value:.2f} dB"
    return f"{value:.4g} {unit}".rstrip()

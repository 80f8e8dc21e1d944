"""What a session holds, in words and as one object."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from labpgt.characterisation.reader import Characterisation
from labpgt.events import EPOCH_DTYPE, Flag, Purpose
from labpgt.session import Session
from labpgt.session.recorded import definition_of
from procedures.characterize import report as characterize_report
from procedures.console import epoch_line, measured_lines, print_summary
from procedures.text import printable

_KNOWN = frozenset(Purpose)


def described(path: Path) -> tuple[dict[str, Any], Callable[[Console, dict[str, Any]], None]]:
    """Return what a file holds, whichever kind it is, and what prints that. Raises `InputError`, `StorageFault`."""
    if definition_of(path) == Characterisation.definition:
        with Characterisation(path) as recorded:
            return characterize_report.describe(recorded), characterize_report.print_description
    with Session(path) as session:
        return describe(session), print_description


def describe(session: Session) -> dict[str, Any]:
    """Return everything but the shots and the parameters, as plain numbers and texts."""
    counts = dict.fromkeys((p.name.lower() for p in Purpose), 0)
    flagged = dict.fromkeys((str(flag.name).lower() for flag in Flag), 0)
    for rows in session.iter_shots():
        for purpose, count in zip(*_unique(rows["purpose"]), strict=True):
            name = Purpose(purpose).name.lower() if purpose in _KNOWN else f"unknown purpose {purpose}"
            counts[name] = counts.get(name, 0) + count
        for flag in Flag:
            flagged[str(flag.name).lower()] += int(((rows["flags"] & flag) != 0).sum())
    return {
        "session": str(session.path),
        "status": str(session.status),
        "reason": session.reason,
        "start_time": session.start_time,
        "end_time": session.end_time,
        "schema_version": session.schema_version,
        "device": session.device,
        "settings": {key: {"value": s.value, "unit": s.unit} for key, s in session.settings.items()},
        "symbols": session.symbols,
        "nodes": session.nodes,
        "recorded_shots": session.n_shots,
        "recorded_shots_by_purpose": counts,
        "recorded_shots_by_flag": flagged,
        "updates": len(session.steps()),
        "results": session.results,
        "epochs": [{name: _plain(row[name]) for name in EPOCH_DTYPE.names or ()} for row in session.epochs()],
        "parameters_sha256": session.parameters_sha256,
        "warnings": session.warnings,
        "resumptions": [resumption._asdict() for resumption in session.resumptions],
        "provenance": session.provenance,
        "configuration": session.configuration,
    }


def print_description(console: Console, description: dict[str, Any]) -> None:
    """Print what `describe` returned, for reading."""
    for title, lines in _sections(description):
        if lines:
            console.print(f"[bold]{title}[/bold]")
            for line in lines:
                console.print(printable(f"  {line}"), highlight=False, markup=False, soft_wrap=True)
    console.print("[bold]Summary[/bold]")
    counted = {k: int(v) for k, v in description["results"].items() if k.endswith("shots") and math.isfinite(v)}
    print_summary(console, {**description, **description["results"], **counted})


def _sections(description: dict[str, Any]) -> list[tuple[str, list[str]]]:
    settings = [f"{name} = {s['value']} {s['unit']}".rstrip() for name, s in description["settings"].items()]
    counts = ", ".join(f"{count:,} {name}" for name, count in description["recorded_shots_by_purpose"].items())
    flags = ", ".join(f"{count:,} {name}" for name, count in description["recorded_shots_by_flag"].items() if count)
    configuration = [line for line in description["configuration"].splitlines() if line and not line.startswith("#")]
    results = description["results"]
    return [
        ("Configuration", configuration),
        (f"Device {description['device']}", settings),
        (f"Shots: {description['recorded_shots']:,} recorded", [counts, *([f"flagged: {flags}"] if flags else [])]),
        ("Before training", measured_lines(results) if "response_noise" in results else []),
        ("Training", [epoch_line(row) for row in description["epochs"]]),
        ("Warnings", description["warnings"]),
        ("Provenance", [f"{key}: {value}" for key, value in description["provenance"].items() if value]),
        (
            "Resumptions",
            [
                f"{r['time']}: resumed at shot {r['shot']:,} after it was {r['status']} ({r['reason'] or 'no reason'})"
                for r in description["resumptions"]
            ],
        ),
        ("Run", [f"started {description['start_time']}", f"ended {description['end_time'] or '-'}"]),
    ]


def _unique(values: Any) -> tuple[list[int], list[int]]:
    import numpy as np

    found, counts = np.unique(values, return_counts=True)
    return found.tolist(), counts.tolist()


def _plain(value: Any) -> Any:
    """Return a numpy scalar as a plain value: bytes as text."""
    plain = value.item()
    return plain.decode("utf-8", "replace") if isinstance(plain, bytes) else plain

"""What the commands share: arguments, options and JSON."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from labpgt.errors import LabpgtError, RunAborted

SessionFile = Annotated[Path, typer.Argument(metavar="FILE.h5", help="A session file.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Allowed = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODULE:NAME", help="Own network or device code that the session may import.", show_default=False
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Change one configuration value; may be repeated.",
        show_default=False,
    ),
]


def given(overrides: Sequence[str] | None, options: Mapping[str, str | int | None]) -> list[str]:
    """Return the changes of a configuration: those of --set, then the options, for what stands on its own wins."""
    return [*(overrides or []), *(f"{key}={json.dumps(v)}" for key, v in options.items() if v is not None)]


def failure(error: LabpgtError, path: Path) -> dict[str, Any]:
    """Return what `--json` prints of a run that ended in an error."""
    from labpgt.events import Status

    status = Status.ABORTED if isinstance(error, RunAborted) else Status.FAILED
    return {"status": str(status), "reason": str(error), "session": str(path) if path.exists() else None}


def print_json(report: Any) -> None:
    """Write one JSON object on standard output."""
    sys.stdout.write(json.dumps(without_nan(report), default=str, allow_nan=False) + "\n")


def without_nan(value: Any) -> Any:
    """Return the value with null for NaN and infinity, which JSON does not have."""
    match value:
        case dict():
            return {key: without_nan(inner) for key, inner in value.items()}
        case list() | tuple():
            return [without_nan(inner) for inner in value]
        case float() if not math.isfinite(value):
            return None
    return value

"""What can be wrong with an installation, asked of each room, and whose packages these really are.

A room (or another distribution) registers a function without arguments that returns `list[Check]` under the
entry-point group `labpgt.checks`; `labpgt doctor` shows what they find. Under `labpgt.bench_checks` it registers one of
the path of a bench's configuration, for `labpgt doctor --bench FILE`.
"""

import base64
import csv
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labpgt.errors import LabpgtError

CHECKS_GROUP = "labpgt.checks"
BENCH_CHECKS_GROUP = "labpgt.bench_checks"
ROOMS = ("instruments", "simulators", "procedures", "gui")
"""The top-level packages that labpgt installs besides itself, under names that others may use too."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: `detail` is what was found, `advice` what to do when it is not `ok`."""

    name: str
    ok: bool
    detail: str
    advice: str = ""


def collect() -> list[Check]:
    """Return the checks of every room, in the order of their entry points' names.

    Never raises: a room that cannot be asked becomes a failed check with the name of its entry point.
    """
    return _asked(CHECKS_GROUP)


def collect_bench(path: Path) -> list[Check]:
    """Return what every room finds about the bench configured in a file; never raises, as `collect`.

    When no room can look at a bench, that is a failed check.
    """
    return _asked(BENCH_CHECKS_GROUP, path) or [
        Check(
            name="bench",
            ok=False,
            detail=f"nothing here can look at {path}",
            advice="Install labpgt again: no package has registered a check of a bench.",
        )
    ]


def _asked(group: str, *arguments: Any) -> list[Check]:
    # Imported late: `labpgt --help` uses this module too, and has no need of it.
    from importlib import metadata

    found: list[Check] = []
    for entry in sorted(metadata.entry_points(group=group), key=lambda entry: entry.name):
        try:
            checks = entry.load()(*arguments)
            if not isinstance(checks, list) or not all(isinstance(check, Check) for check in checks):
                raise TypeError(f"expected a list of labpgt.checks.Check, got {checks!r}")
        except LabpgtError as error:  # what a person can mend, in words
            checks = [Check(entry.name, ok=False, detail=str(error), advice="Mend that and try again.")]
        except Exception as error:
            brought_by = entry.dist.name if entry.dist else "whoever registered it"
            checks = [
                Check(
                    name=entry.name,
                    ok=False,
                    detail=f"asking {entry.value} failed: {type(error).__name__}: {error}",
                    advice=f"Install {brought_by} again; if that changes nothing, report this to {brought_by}.",
                )
            ]
        found.extend(checks)
    return found


def foreign_packages() -> list[str]:
    """Return a message for each room that would be imported from a stranger's package, or from nowhere.

    A room is ours when it lies beside the package `labpgt` and, in an installed wheel, when its `__init__.py` is the
    one that the wheel brought: another distribution with a package of that name overwrites it in the same place.
    Nothing is imported, so this is cheap enough for every start.
    """
    root = Path(__file__).resolve().parents[1]
    installed = _installed_hashes(root)
    return [message for room in ROOMS if (message := _fault(room, root, installed.get(room)))]


def _fault(room: str, root: Path, sha256: str | None) -> str:
    """Return what is wrong with this room, or an empty text."""
    spec = importlib.util.find_spec(room)
    if spec is None:
        return (
            f"labpgt's package '{room}' was expected in {root} and is missing. Install labpgt again, "
            f"in an environment of its own (a fresh venv, or pipx)."
        )
    places = [Path(place).resolve() for place in spec.submodule_search_locations or [spec.origin or ""]]
    if places != [root / room]:
        return f"labpgt's package '{room}' was expected in {root}, but {places[0]}{_owner(room)} comes first. {_ADVICE}"
    if sha256 is not None and sha256 != _sha256(root / room / "__init__.py"):
        return f"labpgt's package {root / room} was overwritten{_owner(room)}. {_ADVICE}"
    return ""


_ADVICE = (
    "Install labpgt in an environment of its own (a fresh venv, or pipx), "
    "and keep folders with a package of that name off PYTHONPATH."
)


def _owner(room: str) -> str:
    """Name the distributions besides labpgt that brought a package of this name. Slow: reads every RECORD."""
    from importlib import metadata

    others = sorted(set(metadata.packages_distributions().get(room, [])) - {"labpgt"})
    return f" (installed by {', '.join(others)})" if others else ""


def _installed_hashes(root: Path) -> dict[str, str]:
    """Return SHA-256 (base64, as in RECORD) of each room's `__init__.py`; empty for an editable install."""
    records = sorted(root.glob("labpgt-*.dist-info/RECORD"))
    if not records:
        return {}
    with records[-1].open(newline="", encoding="utf-8") as lines:
        hashes = {row[0]: row[1].removeprefix("sha256=") for row in csv.reader(lines) if len(row) > 1}
    return {room: hashes[f"{room}/__init__.py"] for room in ROOMS if f"{room}/__init__.py" in hashes}


def _sha256(path: Path) -> str:
    """Return the file's SHA-256 as RECORD writes it; empty when there is no such file."""
    if not path.is_file():
        return ""
    return base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).decode().rstrip("=")

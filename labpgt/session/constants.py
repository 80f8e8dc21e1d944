"""What is known of a run when a process begins to write it, and never changes while it does."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from labpgt.device import Setting
from labpgt.session.checked import Value


class Resumption(NamedTuple):
    """One time that the run went on after it had ended too early."""

    time: str
    """ISO 8601, UTC."""
    shot: int
    """The first shot taken by the process that resumed it."""
    status: str
    """How the run had ended."""
    reason: str
    provenance: dict[str, str]
    settings: dict[str, Setting]
    """The device's, where they had changed and the change was accepted."""


def there(values: Mapping[str, Value], path: str) -> Value:
    """Return the value at a path; `ValueError` when it is missing."""
    if path not in values:
        raise ValueError(f"/{path} is missing")
    return values[path]


def inside(values: Mapping[str, Value], group: str) -> Iterator[tuple[str, Value]]:
    """Yield the values right inside a group, with their names."""
    for path, value in values.items():
        parent, _, name = path.rpartition("/")
        if parent == group:
            yield name, value


def resumption(values: Mapping[str, Value], group: str) -> Resumption:
    """Return what a group says of a resumption."""
    return Resumption(
        there(values, f"{group}/time").text(),
        there(values, f"{group}/shot").integer(),
        there(values, f"{group}/status").text(),
        there(values, f"{group}/reason").text(),
        {name: value.text() for name, value in inside(values, f"{group}/provenance")},
        {name: Setting(v.scalar(), v.units) for name, v in inside(values, f"{group}/settings")},
    )

"""Commands that other rooms and other packages bring, found by name and imported only when they are asked for.

Who brings one registers a function, written as those here are (arguments and options by `typer`), under the entry-point
group `labpgt.commands`; the entry point's name is the command's.
"""

import ast
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from labpgt.errors import LabpgtError

GROUP = "labpgt.commands"


def registered() -> dict[str, EntryPoint]:
    """Return the entry points of the commands that others bring, by name. Nothing is imported."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, entry)
    return dict(sorted(found.items()))


class CommandGroup(TyperGroup):
    """The commands of the command line, and after them those that others have registered; its own names come first."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, in the order of `labpgt --help`."""
        own = super().list_commands(ctx)
        return [*own, *(name for name in registered() if name not in own)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, one of others' as a stand-in that has not been imported; None when there is none."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        entry = registered().get(cmd_name)
        return None if entry is None else Unloaded(entry)


class Unloaded(TyperCommand):
    """Stands in for a registered command: knows its name and help line, and imports it when it is run."""

    def __init__(self, entry: EntryPoint) -> None:
        super().__init__(name=entry.name, help=help_line(entry))
        self.entry = entry

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        """Import the command and let it read the arguments; `LabpgtError` when that cannot be."""
        return loaded(self.entry).make_context(info_name, args, parent, **extra)


def loaded(entry: EntryPoint) -> Any:
    """Import a registered command. Raises `LabpgtError` for one that cannot be imported or is no function."""
    brought_by = entry.dist.name if entry.dist else "whoever registered it"
    try:
        function = entry.load()
        if not callable(function):
            raise TypeError(f"expected a function, got {function!r}")
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
        app.command(entry.name)(function)
        return typer.main.get_command(app)
    except LabpgtError:
        raise
    except Exception as error:
        raise LabpgtError(
            f"command {entry.name}: {entry.value} cannot be loaded: {type(error).__name__}: {error}. Install "
            f"{brought_by} again; if that changes nothing, report this to {brought_by}"
        ) from error


def help_line(entry: EntryPoint) -> str:
    """Return the first paragraph of the function's docstring, read from its source without running any of it.

    Where there is no such source, the line says where the command comes from.
    """
    try:
        tree = ast.parse(_source(entry.module).read_bytes())
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == entry.attr:
                paragraph = (ast.get_docstring(node) or "").split("\n\n")[0]
                if paragraph:
                    return " ".join(paragraph.split())
    except (OSError, SyntaxError, ValueError, ImportError):
        pass
    return f"From {entry.dist.name if entry.dist else entry.module}."


def _source(module: str) -> Path:
    """Return the file of a module; `ImportError` when it is none of Python's. Its packages are not imported either."""
    name, *rest = module.split(".")
    spec = find_spec(name)
    for part in rest:
        name = f"{name}.{part}"
        spec = spec and PathFinder.find_spec(name, list(spec.submodule_search_locations or ()))
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise ImportError(f"{module} has no source in a file")
    return Path(spec.origin)

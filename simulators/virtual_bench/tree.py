"""The command tree of an instrument: which headers it knows, in all the ways they may be written.

Patterns are written as in programming guides: `[:SOURce]:FREQuency[:CW|FIXed]`, capitals for the short form, brackets
for what may be left out, bars for other names of the same node; `#` after a node takes a numeric suffix, as in
`:CALCulate#:MARKer#:X`. Source: SCPI-99, volume 1, chapter 6.2.
"""

import itertools
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from simulators.virtual_bench.scpi import Argument, ScpiError, forms

Reply = str | bytes | None
Handler = Callable[["Call"], "Reply | Awaitable[Reply]"]


@dataclass(frozen=True)
class Call:
    """One command on its way to its handler."""

    arguments: list[Argument]
    suffixes: tuple[int, ...] = ()
    """Numbers of the nodes marked `#`, 1 where none was written."""
    client: Any = None
    """Who asks; has an `asyncio.Event` called `gone`."""

    def only(self, least: int = 0, most: int | None = None) -> list[Argument]:
        """Return the parameters when their number is right, else raise `ScpiError`."""
        if len(self.arguments) < least:
            raise ScpiError(-109)
        if len(self.arguments) > (least if most is None else most):
            raise ScpiError(-108)
        return self.arguments

    def one(self) -> Argument:
        """Return the only parameter."""
        return self.only(1)[0]

    def text(self) -> str:
        """Return the only parameter, which is text, quoted or not."""
        argument = self.one()
        if not isinstance(argument, str):
            raise ScpiError(-104, "expected text")
        return argument


@dataclass
class _Node:
    children: dict[str, "_Node"] = field(default_factory=dict)
    suffix: bool = False
    command: tuple[Handler, tuple[bool, ...]] | None = None
    query: tuple[Handler, tuple[bool, ...]] | None = None


_PATTERN = re.compile(r"(\[?):([A-Za-z|]+)(#?)(\]?)")
_TOKEN = re.compile(r"([A-Za-z_]+)([0-9]{0,6})")


class Tree:
    """Headers and their handlers."""

    def __init__(self) -> None:
        self._root = _Node()
        self._common: dict[tuple[str, bool], Handler] = {}

    def common(self, name: str, *, command: Handler | None = None, query: Handler | None = None) -> None:
        """Add a common command such as "*CLS"."""
        for is_query, handler in ((False, command), (True, query)):
            if handler is not None:
                self._common[name, is_query] = handler

    def add(self, pattern: str, *, command: Handler | None = None, query: Handler | None = None) -> None:
        """Add a header with what sets it, what answers it, or both; a later one replaces an earlier one."""
        parts = _PATTERN.findall(pattern)
        if "".join("".join((a, ":", b, c, d)) for a, b, c, d in parts) != pattern:
            raise ValueError(f"header pattern {pattern!r}: expected nodes such as [:SOURce] or :MARKer#")
        optional = [bool(bracket) for bracket, *_ in parts]
        for kept in itertools.product(*((True, False) if o else (True,) for o in optional)):
            node = self._root
            marks = []
            for keep, (_, names, mark, _) in zip(kept, parts, strict=True):
                if keep:
                    node = self._child(node, names, bool(mark))
                    marks.append(bool(mark))
            if node is self._root:
                continue
            # A node that was left out has no number; handlers see those that were written.
            flags = tuple(marks)
            node.command = (command, flags) if command is not None else node.command
            node.query = (query, flags) if query is not None else node.query

    @staticmethod
    def _child(node: _Node, names: str, mark: bool) -> _Node:
        spellings = [form for name in names.split("|") for form in forms(name)]
        child = next((node.children[s] for s in spellings if s in node.children), None) or _Node()
        child.suffix |= mark
        for spelling in spellings:
            node.children[spelling] = child
        return child

    def find(self, header: str, path: list[str], is_query: bool) -> tuple[Handler, tuple[int, ...], list[str]]:
        """Return handler, suffixes and the path that the next header of the message goes on from.

        Raises `ScpiError` -113 for a header that this instrument does not have and -114 for a number it cannot take.
        """
        if header.startswith("*"):
            handler = self._common.get((header.upper(), is_query))
            if handler is None:
                raise ScpiError(-113, header[:40])
            return handler, (), path
        words = header[1:].split(":") if header.startswith(":") else [*path, *header.split(":")]
        node, numbers = self._root, []
        for word in words:
            found = _TOKEN.fullmatch(word)
            child = node.children.get(found[1].upper()) if found else None
            if found is None or child is None:
                raise ScpiError(-113, header[:40])
            number = int(found[2] or 1)
            if number != 1 and not child.suffix:
                raise ScpiError(-114, header[:40])
            node = child
            numbers.append(number)
        entry = node.query if is_query else node.command
        if entry is None:
            raise ScpiError(-113, header[:40] + ("?" if is_query else ""))
        handler, marks = entry
        return handler, tuple(n for n, mark in zip(numbers, marks, strict=True) if mark), words[:-1]

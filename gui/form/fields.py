"""What a form knows of one key of a configuration, taken from the JSON schema of its section. No Qt in here."""

import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Any

import tomlkit

from labpgt.units import unit_of

_HUGE = 2.0**53
"""A limit that is larger says nothing to a person."""
_PATHS = ("path", "file", "bench")
_PLAIN = {"integer": "must be a whole number", "number": "must be a number, with a point for decimals"}


class Kind(StrEnum):
    """How a value is entered."""

    CHOICE = "choice"
    YES_NO = "yes or no"
    INTEGER = "whole number"
    NUMBER = "number"
    TEXT = "text"
    PATH = "file"
    LIST = "list"
    TABLE = "table"
    ANY = "TOML"


@dataclass(frozen=True)
class Field:
    """One key of a section."""

    section: str
    key: str
    kind: Kind
    default: Any = None
    """None: not set."""
    required: bool = False
    description: str = ""
    unit: str = ""
    choices: tuple[str, ...] = ()
    """All that may be entered; of a number the words that may stand in its place."""
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    """Whether `low` itself is too low."""
    high_open: bool = False
    example: Any = None
    known: bool = True
    """Whether the section has such a key."""

    @property
    def name(self) -> str:
        """The key with its section."""
        return f"{self.section}.{self.key}"

    @cached_property
    def label(self) -> str:
        """The key in words, without the unit at its end."""
        parts = self.key.split("_")
        unit = unit_of(self.key)
        ends = (n for n in range(1, len(parts)) if unit and unit_of("_" + "_".join(parts[-n:])) == unit)
        words = " ".join(parts[: len(parts) - next(ends, 0)])
        return words[:1].upper() + words[1:]

    @cached_property
    def limits(self) -> str:
        """What may be entered, in words; nothing if anything may."""
        low, high = (f"{n:,}" if isinstance(n, int) else number_text(n) for n in (self.low, self.high))
        sides = []
        if self.low > -_HUGE:
            sides.append(f"more than {low}" if self.low_open else f"at least {low}")
        if self.high < _HUGE:
            sides.append(f"less than {high}" if self.high_open else f"at most {high}")
        if len(sides) == 2 and not self.low_open and not self.high_open:
            sides = [f"{low} to {high}"]
        text = ", ".join(sides)
        if self.kind in (Kind.INTEGER, Kind.NUMBER) and self.choices:
            text = " or ".join([text or self.kind, *map(repr, self.choices)]).replace("'", '"')
        return f"each {text}" if text and self.kind is Kind.LIST else text

    def parse(self, text: str) -> Any:
        """Return the value that a text stands for. Raises `ValueError` that says what was expected."""
        text = text.strip()
        if self.kind in (Kind.INTEGER, Kind.NUMBER):
            return text if text in self.choices else _number(text, self.kind, self.choices)
        if self.kind is Kind.LIST:
            listed = text if text.startswith("[") else f"[{text}]"
            return _toml(listed, "must be a list, such as 200, 200")
        if self.kind is Kind.TABLE:
            table = text if text.startswith("{") else f"{{{text}}}"
            return _toml(table, "must be keys and values, such as gamma = 0.9")
        if self.kind is Kind.YES_NO:
            known = {"true": True, "yes": True, "false": False, "no": False}
            if text.lower() not in known:
                raise ValueError("must be yes or no")
            return known[text.lower()]
        if self.kind is Kind.ANY:
            try:
                return _toml(text, "")
            except ValueError:
                return text
        return text

    def problem(self, value: Any) -> str:
        """Say what is wrong with a value by its limits alone; nothing if they allow it."""
        values = value if isinstance(value, list) else [value]
        for each in values:
            if isinstance(each, bool) or not isinstance(each, int | float):
                continue
            if each < self.low or (each == self.low and self.low_open):
                return f"must be {'greater than' if self.low_open else 'at least'} {number_text(self.low)}"
            if each > self.high or (each == self.high and self.high_open):
                return f"must be {'less than' if self.high_open else 'at most'} {number_text(self.high)}"
        return ""

    def show(self, value: Any) -> str:
        """Return a value as it would be entered."""
        if value is None:
            return ""
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, float):
            return number_text(value)
        if value in ([], {}):
            return "[]" if value == [] else "{}"
        if isinstance(value, list):
            return ", ".join(_item(each) for each in value)
        if isinstance(value, Mapping):
            return ", ".join(f"{key} = {_item(each)}" for key, each in value.items())
        return str(value)


def fields_of(section: str, schema: Mapping[str, Any]) -> list[Field]:
    """Return the fields of a section from the JSON schema of its model."""
    required = schema.get("required", ())
    return [_field(section, key, found, key in required) for key, found in schema.get("properties", {}).items()]


def number_text(value: float) -> str:
    """Return the shortest text of a number that reads back as the same."""
    if not math.isfinite(value) or isinstance(value, int):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return repr(value).removesuffix(".0")
    return f"{Decimal(repr(value)).normalize():e}".replace("e+", "e")


def _field(section: str, key: str, found: Mapping[str, Any], required: bool) -> Field:
    options = [part for part in found.get("anyOf", [found]) if part.get("type") != "null"]
    main = options[0]
    words = [part["const"] for part in options if "const" in part]
    kind = _kind(key, main)
    if kind is Kind.CHOICE:
        words = list(main.get("enum", words))
    elif len(options) > 1 and kind not in (Kind.INTEGER, Kind.NUMBER):
        kind = Kind.ANY
    limited = main.get("items", {}) if kind is Kind.LIST else main
    low_open, high_open = "exclusiveMinimum" in limited, "exclusiveMaximum" in limited
    return Field(
        section=section,
        key=key,
        kind=kind,
        default=found.get("default"),
        required=required,
        description=_sentence(found.get("description", "")),
        unit=unit_of(key),
        choices=tuple(map(str, words)),
        low=limited.get("exclusiveMinimum", limited.get("minimum", -math.inf)),
        high=limited.get("exclusiveMaximum", limited.get("maximum", math.inf)),
        low_open=low_open,
        high_open=high_open,
        example=next(iter(found.get("examples", ())), None),
    )


def _kind(key: str, found: Mapping[str, Any]) -> Kind:
    match found:
        case {"enum": [*values]} if all(isinstance(value, str) for value in values):
            return Kind.CHOICE
        case {"const": str()}:
            return Kind.CHOICE
        case {"type": "string"}:
            return Kind.PATH if key in _PATHS else Kind.TEXT
        case {"type": "boolean"}:
            return Kind.YES_NO
        case {"type": "integer"}:
            return Kind.INTEGER
        case {"type": "number"}:
            return Kind.NUMBER
        case {"type": "array"}:
            return Kind.LIST
        case {"type": "object"}:
            return Kind.TABLE
    return Kind.ANY


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if not text or text.endswith((".", "?")) else f"{text}."


def _number(text: str, kind: Kind, words: Iterable[str]) -> int | float:
    expected = " or ".join([_PLAIN["integer" if kind is Kind.INTEGER else "number"], *(f'"{word}"' for word in words)])
    text = re.sub(r"(?<=\d)[ _  ](?=\d)", "", text)  # 10 000 is a number to a person
    with suppress(ValueError):
        return int(text) if kind is Kind.INTEGER else float(int(text))
    try:
        value = float(text)
    except ValueError:
        raise ValueError(expected) from None
    if not math.isfinite(value):
        raise ValueError(expected)
    if kind is Kind.NUMBER:
        return value
    if not value.is_integer():
        raise ValueError(expected)
    return int(value)


def _toml(text: str, expected: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        raise ValueError(expected) from None
    if len(parsed) != 1:
        raise ValueError(expected)
    return parsed["value"]


def _item(value: Any) -> str:
    return number_text(value) if isinstance(value, float) else tomlkit.item(value).as_string()

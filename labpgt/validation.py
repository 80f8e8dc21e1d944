"""From what a person wrote to a checked model, or to one error that says what is wrong and what to write instead."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from labpgt.errors import InputError

M = TypeVar("M", bound=BaseModel)

_LONGEST_VALUE = 60

_PLAIN = {
    "int": "must be a whole number",
    "float": "must be a number",
    "bool": "must be true or false",
    "string_type": "must be text",
    "list": "must be a list",
    "tuple": "must be a list",
    "dict": "must be a table of keys and values",
    "model": "must be a table of keys and values",
    "finite": "must be a finite number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}
"""Plain words for pydantic's error types, by type or by its first word; any other keeps pydantic's sentence."""


def validated(model: type[M], data: Mapping[str, Any], section: str, *, written: bool = False) -> M:
    """Return `data` as a `model`, or raise one `InputError` with a line for each problem.

    A line gives the full key (`section.key`), the value, what was expected (type, limit or allowed values) and, for
    an unknown key or choice, the nearest valid name and all valid ones. `section` may be empty. With `written`, the
    values come from a file or a form, where they have types: a text that stands for a number is not one.
    """
    try:
        return _made(model, data, written)
    except ValidationError as error:
        found = error.errors(include_url=False)
    raise InputError("\n".join(_line(section, place, said) for place, said in _said(model, data, found)))


def problems(model: type[BaseModel], data: Mapping[str, Any], section: str, *, written: bool = False) -> dict[str, str]:
    """Return what `validated` would raise, by `section.key`, each as a sentence without key and value.

    With an empty `section` the first two names of a place are its key. What is wrong inside a value says where: `[1] =
    0: must be at least 1`. A problem across keys stands under their section.
    """
    try:
        _made(model, data, written)
    except ValidationError as error:
        found = error.errors(include_url=False)
    else:
        return {}
    depth = 1 if section else 2
    sentences: dict[str, list[str]] = {}
    for place, said in _said(model, data, found):
        inner = _line("", place[depth:], said) if place[depth:] else said.sentence
        sentences.setdefault(_key(section, place[:depth]), []).append(inner)
    return {key: "; ".join(texts) for key, texts in sentences.items()}


def _made(model: type[M], data: Mapping[str, Any], written: bool) -> M:
    # In JSON as in TOML a list may stand for a tuple and a text for a path, while numbers and texts are told apart.
    return (
        model.model_validate_json(json.dumps(data, default=str), strict=True) if written else model.model_validate(data)
    )


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ` Did you mean "x"?` for the valid name most like `name`, or an empty text when none is like it."""
    by_folded = {candidate.casefold(): candidate for candidate in valid}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.5)
    return f' Did you mean "{by_folded[close[0]]}"?' if close else ""


def _place(problem: ErrorDetails, data: Any) -> tuple[int | str, ...]:
    """Return where the problem is in the data: pydantic's location without the names it gives to union members."""
    location = problem["loc"]
    if problem["type"] == "missing":
        return location
    for depth, part in enumerate(location):
        inside = part in data if isinstance(data, Mapping) else isinstance(part, int) and isinstance(data, Sequence)
        if not inside:
            return location[:depth]
        data = data[part]
    return location


class _Said(NamedTuple):
    """What is wrong at one place."""

    value: str | None
    """As written; None where it says nothing."""
    sentence: str


def _said(
    model: type[BaseModel], data: Mapping[str, Any], found: Iterable[ErrorDetails]
) -> Iterator[tuple[tuple[int | str, ...], _Said]]:
    """Yield each place with what is wrong there.

    The members of a union each report a problem of their own; a person sees one key with alternatives.
    """
    by_place: dict[tuple[int | str, ...], list[ErrorDetails]] = {}
    for problem in found:
        by_place.setdefault(_place(problem, data), []).append(problem)
    for place, there in by_place.items():
        yield place, _worded(model, place, there)


def _key(section: str, place: tuple[int | str, ...]) -> str:
    key = section
    for part in place:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
    return key


def _line(section: str, place: tuple[int | str, ...], said: _Said) -> str:
    """Return what is wrong at a place, such as `training.learning_rate = -1: must be greater than 0`."""
    key = _key(section, place)
    if said.value is not None:
        key += f" = {said.value}"
    return f"{key}: {said.sentence}" if key else said.sentence


def _worded(model: type[BaseModel], place: tuple[int | str, ...], problems: list[ErrorDetails]) -> _Said:
    """Word the problems at one place."""
    kind = problems[0]["type"]
    if kind == "extra_forbidden":
        names = _fields_at(model, place[:-1])
        return _Said(None, f"unknown key.{nearest(str(place[-1]), names)} Valid: {', '.join(sorted(names))}")
    if kind == "missing":
        return _Said(None, "must be given")
    value = problems[0]["input"]
    sentence = " or ".join(
        text if number == 0 else text.removeprefix("must be ") for number, text in enumerate(map(_sentence, problems))
    )
    if kind in ("literal_error", "enum") and len(problems) == 1 and isinstance(value, str):
        choices = re.findall(r"'([^']*)'", problems[0]["ctx"]["expected"])
        name = str(place[-1]) if place else "value"
        sentence = f"unknown {name}.{nearest(value, choices)} Valid: {', '.join(choices)}"
    # A check across several keys: its own sentence names them.
    across = isinstance(value, Mapping) and kind in ("value_error", "assertion_error")
    return _Said(None if across else _shown(value), sentence)


def _sentence(problem: ErrorDetails) -> str:
    """Say what was expected, without key and value."""
    kind, context = problem["type"], problem.get("ctx", {})
    if "error" in context:
        return str(context["error"])
    plain = _PLAIN.get(kind, _PLAIN.get(kind.split("_")[0]))
    if plain is not None:
        return plain.format(**{k: f"{v:g}" if isinstance(v, float) else v for k, v in context.items()})
    return re.sub(r"^\w+ should ", "must ", problem["msg"]).replace("'", '"')


def _fields_at(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Return the valid keys of the model nested at `place`."""
    for part in place:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the first model inside an annotation such as `list[Model] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for found in map(_model_in, get_args(annotation)) if found is not None), None)


def _shown(value: object) -> str:
    """Return a value as it would be written in the configuration, shortened if long."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"

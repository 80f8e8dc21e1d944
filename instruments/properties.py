"""Properties of drivers that check what is set and what comes back.

A value outside the limits is refused before anything is sent (`SettingRefused`, with name, value, limits and unit); an
answer that is not of the expected kind is an `InstrumentFault`. All digits are kept.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from typing import Any

from pymeasure.instruments import Instrument
from pymeasure.instruments.common_base import DynamicProperty

from instruments.scpi import NOT_A_NUMBER, InstrumentFault, SettingRefused


def number(value: Any) -> float:
    """Return a reply as a finite float; `InstrumentFault` for a text, several values or SCPI's not-a-number."""
    if isinstance(value, float) and abs(value) < NOT_A_NUMBER:
        return value
    raise InstrumentFault(f"expected one number as an answer, got {value!r}")


def whole(value: Any) -> int:
    """Return a reply as a whole number; `InstrumentFault` for anything else."""
    if number(value) != int(value):
        raise InstrumentFault(f"expected a whole number as an answer, got {value!r}")
    return int(value)


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Say what it is that takes no such value, when the body raises `SettingRefused`."""
    try:
        yield
    except SettingRefused as refused:
        raise SettingRefused(f"{what}: {refused}") from None


class Setting(DynamicProperty):
    """A property of pymeasure's that names itself and its instrument when it refuses a value."""

    limits: tuple[float, float]
    """Lowest and highest value of a number, unless an instance has others."""

    @classmethod
    def of(cls, control: property, limits: tuple[float, float] | None = None) -> "Setting":
        """Return a property that does what one made by pymeasure does."""
        dynamic = isinstance(control, DynamicProperty)
        found = cls(
            control.fget,
            control.fset,
            fget_params_list=control.fget_params_list if dynamic else None,
            fset_params_list=control.fset_params_list if dynamic else None,
            prefix=control.prefix if dynamic else "",
        )
        if limits is not None:
            found.limits = limits
        return found

    def __set__(self, instrument: Any, value: Any) -> None:
        """Set it, or raise `SettingRefused` before anything is sent."""
        with refusing(f"{instrument.name}: {self.name}"):
            super().__set__(instrument, value)
        instrument.was_set(self.name, value)


def real_control(
    command: str, docs: str, values: tuple[float, float], *, unit: str = "", auto: bool = False
) -> property:
    """A property that is a float within limits, sent with 15 digits: nothing is truncated, nothing is rounded.

    The limits are pymeasure's dynamic `values`: an instance narrows them with `<property>_values`. With `auto` the
    property also takes "AUTO", which is sent as `COMMAND:AUTO ON`.
    """

    def process(value: float | str) -> str:
        return ":AUTO ON" if value == "AUTO" else f" {value:.15g}{unit and ' ' + unit}"

    control = Instrument.control(
        f"{command}?",
        f"{command}%s",
        docs,
        validator=_within(_unit(docs), auto),
        values=values,
        get_process=number,
        get_process_list=number,
        set_process=process,
        dynamic=True,
    )
    return Setting.of(control, values)


def whole_control(command: str, docs: str, values: tuple[int, int]) -> property:
    """A property that is a whole number within limits, which an instance narrows with `<property>_values`."""

    within = _within("")

    def check(value: int, limits: Sequence[int]) -> int:
        if within(value, limits) != int(value):
            raise SettingRefused(f"expected a whole number, got {value:.12g}")
        return int(value)

    control = Instrument.control(
        f"{command}?",
        f"{command} %d",
        docs,
        validator=check,
        values=values,
        get_process=whole,
        get_process_list=whole,
        dynamic=True,
    )
    return Setting.of(control, values)


def choice_control(command: str, docs: str, choices: Mapping[Any, str]) -> property:
    """A property that is one of the keys of `choices`; the values are the words of the instrument, short form."""

    def check(value: Any, words: Mapping[Any, str]) -> str:
        if value not in words:
            raise SettingRefused(f"expected one of {', '.join(map(repr, words))}, got {value!r}")
        return words[value]

    def read(reply: Any) -> Any:
        for value, word in choices.items():
            if reply == word:
                return value
        raise InstrumentFault(f"{command}?: expected one of {', '.join(choices.values())} as an answer, got {reply!r}")

    control = Instrument.control(
        f"{command}?",
        f"{command} %s",
        docs,
        validator=check,
        values=choices,
        cast=str,
        get_process=read,
        get_process_list=read,
    )
    return Setting.of(control)


def measured(command: str, docs: str, process: Callable[[Any], Any] = number) -> property:
    """A property that can only be read: a number, processed by `process`."""
    return Instrument.measurement(f"{command}?", docs, get_process=process, get_process_list=process)


def switch_control(command: str, docs: str) -> property:
    """A property that is True or False, sent and answered as 1 or 0."""
    return choice_control(command, docs, {True: "1", False: "0"})


def checked_value(value: Any, limits: Sequence[float], unit: str) -> float:
    """Return a number that is within limits, or raise `SettingRefused`; NaN is within none."""
    if isinstance(value, Real) and min(limits) <= value <= max(limits):
        return value
    got = f"{value:.12g}" if isinstance(value, Real) else repr(value)
    raise SettingRefused(f"expected {min(limits):.12g} to {max(limits):.12g}{unit and ' ' + unit}, got {got}")


def _within(unit: str, auto: bool = False) -> Callable[[Any, Sequence[float]], Any]:
    def check(value: Any, limits: Sequence[float]) -> Any:
        return value if auto and value == "AUTO" else checked_value(value, limits, unit)

    return check


def _unit(docs: str) -> str:
    """Return the unit that a property's documentation names: "Control the span in Hz (float ..."."""
    found = re.search(r" in (\S+) \(", docs)
    if found is None:
        raise ValueError(f"{docs!r} names no unit")
    return found[1]

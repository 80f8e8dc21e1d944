"""Every property of every driver, word for word on the wire: what is asked and sent, and what is refused.

A property that has no case fails here, and so does a case without a property.
"""

import re
from typing import Any

import pytest
from pymeasure.test import expected_protocol

from instruments.minicircuits_rcdat import MiniCircuitsRCDAT
from instruments.scpi import InstrumentFault, SettingRefused
from instruments.supplies import SupplyE36312A, SupplyHMP4040
from tests.instruments.driver_cases import DRIVERS, IDENTITY, Case

CASES = [
    pytest.param(driver, name, case, id=f"{driver.__name__}.{name}")
    for driver, cases in DRIVERS.items()
    for name, case in cases.items()
]
SETTABLE = [param for param in CASES if param.values[2].sets]


def properties(driver: type[Any]) -> set[str]:
    return {name for name in dir(driver) if isinstance(getattr(driver, name), property)}


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.__name__)
def test_every_property_has_a_case(driver: type[Any]) -> None:
    not_scpi = {"complete", "status", "options", "id", "next_error"} if driver is MiniCircuitsRCDAT else set()
    assert properties(driver) - not_scpi == set(DRIVERS[driver])


@pytest.mark.parametrize(("driver", "name", "case"), CASES)
def test_answers_are_understood(driver: type[Any], name: str, case: Case) -> None:
    assert case.answers
    for reply, value in case.answers.items():
        rest = IDENTITY[1:] if name in ("maximum", "step") else []
        asked = [(case.ask, reply)] if case.ask else []
        with expected_protocol(driver, [*case.before, *asked, *rest]) as instrument:
            found = getattr(instrument, name)
            assert found == value
            assert type(found) is type(value)


@pytest.mark.parametrize(("driver", "name", "case"), CASES)
def test_an_answer_that_is_no_value_is_a_fault(driver: type[Any], name: str, case: Case) -> None:
    for reply in case.nonsense:
        rest = IDENTITY[1:] if reply == "MN=RCDAT-1" else []
        with (
            expected_protocol(driver, [*case.before, (case.ask, reply), *rest]) as instrument,
            pytest.raises(InstrumentFault, match=r"expected|but this driver is for"),
        ):
            getattr(instrument, name)


@pytest.mark.parametrize(("driver", "name", "case"), SETTABLE)
def test_values_are_sent_in_full(driver: type[Any], name: str, case: Case) -> None:
    rcdat = driver is MiniCircuitsRCDAT
    for value, message in case.sets.items():
        before = IDENTITY if rcdat else case.before
        with expected_protocol(driver, [*before, (message, "1" if rcdat else None)]) as instrument:
            setattr(instrument, name, value)


@pytest.mark.parametrize(("driver", "name", "case"), SETTABLE)
def test_values_out_of_range_are_refused_and_nothing_is_sent(driver: type[Any], name: str, case: Case) -> None:
    if (driver.__name__, name) != ("SupplyHMP4040", "output_enabled"):
        assert case.refused
    for value in case.refused:
        with expected_protocol(driver, IDENTITY if driver is MiniCircuitsRCDAT else []) as instrument:
            if driver is MiniCircuitsRCDAT:
                instrument.check_identity()
            with pytest.raises(SettingRefused, match=rf"^{re.escape(instrument.name)}: {name}: expected") as refused:
                setattr(instrument, name, value)
            assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize(("driver", "name", "case"), SETTABLE)
def test_limits_are_those_of_the_docstring_and_of_the_cases(driver: type[Any], name: str, case: Case) -> None:
    control = getattr(driver, name)
    said = re.search(r"strictly from (\S+) to ([^\s,;)]+)", control.__doc__)
    if not hasattr(control, "limits"):
        with expected_protocol(driver, []) as instrument:
            if (driver, name) not in LIMITED:
                with pytest.raises(AttributeError, match=f"{instrument.name}: {name} has no limits"):
                    instrument.limits(name)
        return
    assert said, f"{control.__doc__} names no limits"
    numbers = [value for value in case.sets if not isinstance(value, str)]
    assert (float(said[1]), float(said[2])) == tuple(control.limits) == (min(numbers), max(numbers))
    assert min(case.refused[:-1]) < min(numbers)


@pytest.mark.parametrize(("driver", "name", "case"), CASES)
def test_what_can_only_be_read_cannot_be_set(driver: type[Any], name: str, case: Case) -> None:
    if case.sets:
        return
    with expected_protocol(driver, []) as instrument, pytest.raises((AttributeError, LookupError)):
        setattr(instrument, name, 1)


LIMITED = {
    (MiniCircuitsRCDAT, "attenuation"): (0, 90),
    (SupplyE36312A, "voltage_v"): (0, 6),
    (SupplyE36312A, "current_a"): (0, 5),
    (SupplyHMP4040, "voltage_v"): (0, 32.05),
    (SupplyHMP4040, "current_a"): (0, 10),
}
"""Limits of properties that are not pymeasure's."""


@pytest.mark.parametrize(("driver", "name"), LIMITED)
def test_limits_of_what_is_set_in_its_own_way(driver: type[Any], name: str) -> None:
    with expected_protocol(driver, IDENTITY if driver is MiniCircuitsRCDAT else []) as instrument:
        assert instrument.limits(name) == LIMITED[driver, name]


def test_limits_of_one_instrument_can_be_narrowed() -> None:
    driver = next(iter(DRIVERS))
    with expected_protocol(driver, [(":POW 10 dBm", None)]) as instrument:
        assert instrument.limits("power") == (-135, 25)
        instrument.power_values = (-135, 10)
        assert instrument.limits("power") == (-135, 10)
        instrument.power = 10
        with pytest.raises(SettingRefused, match=r"source: power: expected -135 to 10 dBm, got 10\.5"):
            instrument.power = 10.5
    with expected_protocol(driver, [(":POW 25 dBm", None)]) as another:
        another.power = 25

"""The table of models: every driver is found by every model that it is for, and by no other name."""

from typing import Any

import pytest

from instruments.models import DRIVERS, driver_class
from labpgt.errors import InputError
from tests.instruments import driver_cases


def classes() -> set[type[Any]]:
    return {driver_class(model) for model in DRIVERS}


def test_the_table_and_the_drivers_agree() -> None:
    assert {(model, driver_class(model)) for model in DRIVERS} == {
        (model, driver) for driver in classes() for model in driver.MODELS
    }


def test_the_models_of_the_bench_are_there() -> None:
    for model in ("E8257D", "N5182B", "N5172B", "N9020A", "FSV-7", "FSL-6", "RCDAT-6000-90", "E36312A", "HMP4040"):
        assert model in DRIVERS


def test_every_driver_is_checked_on_the_wire() -> None:
    assert classes() == set(driver_cases.DRIVERS)


def test_every_driver_names_its_guide() -> None:
    for driver in classes():
        assert len(driver.GUIDE) > 20


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("n5182b", r"no driver for model 'n5182b'; did you mean N5182B, N5182A, N5172B\?"),
        ("FSV", r"did you mean FSV-"),
        ("RCDAT-6000-95", r"did you mean RCDAT-6000-90"),
        ("toaster", r"no driver for model 'toaster'; known are E36312A, E8257D, FSL-18"),
        ("", r"no driver for model ''; known are"),
    ],
)
def test_an_unknown_model_is_refused_with_the_nearest(model: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        driver_class(model)

"""What a form knows of a key: taken from the schema of its section, read from text, and shown again."""

from typing import Any

import pytest
from pydantic import BaseModel, Field

from gui.form.fields import Field as FormField
from gui.form.fields import Kind, fields_of, number_text
from labpgt.config import Config
from procedures.desk import forms


class Settings(BaseModel):
    carrier_hz: float = Field(3.2e9, gt=0, le=2e10, description="frequency of the carrier")
    seed: int = Field(0, ge=0, lt=2**63)
    bench: str
    windows: list[int] = Field([1, 2])
    start: tuple[float, float] | str | None = None


def _field(name: str) -> FormField:
    section, key = name.split(".")
    schema = type(getattr(Config(), section)).model_json_schema()
    return next(field for field in fields_of(section, schema) if field.key == key)


def test_every_key_of_the_configuration_has_an_editor_of_its_kind() -> None:
    kinds = {
        field.name: field.kind
        for section, model in Config()
        for field in fields_of(section, type(model).model_json_schema())
    }
    assert len(kinds) == sum(len(type(model).model_fields) for _, model in Config())
    assert kinds["task.name"] is Kind.CHOICE
    assert kinds["task.path"] is Kind.PATH
    assert kinds["task.standardize"] is Kind.YES_NO
    assert kinds["network.hidden"] is Kind.LIST
    assert kinds["training.delta"] is Kind.NUMBER
    assert kinds["training.max_shots"] is Kind.INTEGER
    assert kinds["training.optimizer_options"] is Kind.TABLE
    assert Kind.ANY not in kinds.values()


@pytest.mark.parametrize("device", forms.devices())
def test_every_setting_of_every_device_has_an_editor_and_help(device: str) -> None:
    found = forms.device(device)
    fields = fields_of("device", found["schema"])
    assert {field.key: field.unit for field in fields if field.unit} == found["units"]
    assert all(field.description and field.kind is not Kind.ANY for field in fields)
    for field in fields:
        if not field.required:
            assert field.parse(field.show(field.default)) == field.default or field.default == ""
            assert not field.problem(field.default)


def test_a_schema_gives_unit_limits_and_whether_a_key_must_be_given() -> None:
    carrier, seed, bench, windows, start = fields_of("device", Settings.model_json_schema())
    assert (carrier.unit, carrier.label) == ("Hz", "Carrier")
    assert carrier.limits == "more than 0, at most 2e10"
    assert carrier.description == "Frequency of the carrier."
    assert seed.limits == "at least 0"  # the other limit says nothing to a person
    assert (bench.required, bench.kind) == (True, Kind.PATH)
    assert windows.show(windows.default) == "1, 2"
    assert start.kind is Kind.ANY


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("training.batch", "8", 8),
        ("training.batch", "1e3", 1000),
        ("task.samples", "100 000", 100_000),
        ("training.learning_rate", "1e-3", 1e-3),
        ("training.learning_rate", "1", 1.0),
        ("training.delta", "auto", "auto"),
        ("training.delta", "0.02", 0.02),
        ("network.hidden", "32, 16", [32, 16]),
        ("network.hidden", "[]", []),
        ("training.scheduler_options", "gamma = 0.9, last_epoch = -1", {"gamma": 0.9, "last_epoch": -1}),
        ("training.scheduler_options", "{}", {}),
        ("task.path", " a b.csv ", "a b.csv"),
        ("task.standardize", "no", False),
    ],
)
def test_text_becomes_a_value_and_the_value_the_same_text_again(name: str, text: str, value: Any) -> None:
    field = _field(name)
    assert field.parse(text) == value
    assert type(field.parse(text)) is type(value)
    assert field.parse(field.show(value)) == value


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("training.batch", "2.5", "must be a whole number"),
        ("training.learning_rate", "0,5", "must be a number, with a point for decimals"),
        ("training.learning_rate", "inf", "must be a number, with a point for decimals"),
        ("training.delta", "automatic", 'must be a number, with a point for decimals or "auto"'),
        ("network.hidden", "200, x", "must be a list, such as 200, 200"),
        ("network.hidden", "1]\na=[2", "must be a list, such as 200, 200"),
        ("training.scheduler_options", "gamma", "must be keys and values, such as gamma = 0.9"),
        ("task.standardize", "perhaps", "must be yes or no"),
    ],
)
def test_text_that_is_no_value_says_what_is_expected(name: str, text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"^must") as raised:
        _field(name).parse(text)
    assert str(raised.value) == why


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("training.batch", 0),
        ("training.batch", 5000),
        ("training.dropout", 1.0),
        ("training.learning_rate", 0.0),
        ("network.hidden", [8, 0]),
    ],
)
def test_limits_are_told_in_the_words_of_the_check(name: str, value: Any) -> None:
    section, key = name.split(".")
    told = forms.check({section: {key: value}}, None)["problems"][name]
    assert _field(name).problem(value) == told.rpartition(": ")[2]
    assert not _field(name).problem(value if value == "auto" else _field(name).default)


@pytest.mark.parametrize("value", [3.1234567e9, 6.3e-9, 0.1, 1e-5, 1.0, 123456.5, -2e22, 0.0, 1 / 3])
def test_numbers_are_shown_without_loss(value: float) -> None:
    assert float(number_text(value)) == value
    assert len(number_text(value)) <= len(repr(value))

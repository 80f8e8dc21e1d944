"""One error that names every problem, with value, limit and nearest valid name."""

import string
from enum import StrEnum
from typing import Annotated, Literal, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, model_validator

from labpgt.errors import InputError
from labpgt.validation import nearest, validated
from labpgt.validation import problems as problems_by_key


class Window(StrEnum):
    HANN = "hann"
    FLAT_TOP = "flat-top"


class Source(BaseModel):
    model_config = ConfigDict(extra="forbid")

    address: str
    power_dbm: float = Field(0.0, ge=-130, le=25)
    window: Window = Window.HANN


class Bench(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    span_hz: float = Field(1e6, gt=0)
    points: int = Field(1001, ge=2, le=32001)
    delta: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    detector: Literal["rms", "peak", "sample"] = "rms"
    hidden: list[Annotated[int, Field(ge=1)]] = []
    limits: tuple[float, float] = (0.0, 1.0)
    average: bool = False
    label: str = Field("x", min_length=1)
    gains: dict[str, float] = {}
    source: Source | None = None
    sources: list[Source] = []

    @model_validator(mode="after")
    def _points_fit(self) -> Self:
        if self.span_hz < self.points:
            raise ValueError(f"points = {self.points} do not fit into span_hz = {self.span_hz:g}")
        return self


def problems(**data: object) -> list[str]:
    with pytest.raises(InputError) as refused:
        validated(Bench, data, "analyser")
    return str(refused.value).splitlines()


def test_valid_data_become_the_model() -> None:
    bench = validated(Bench, {"points": 11, "delta": 0.5, "source": {"address": "a", "power_dbm": -3.0}}, "analyser")
    assert (bench.points, bench.delta) == (11, 0.5)
    assert bench.source is not None
    assert bench.source.power_dbm == -3.0


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("span_hz", -1, "analyser.span_hz = -1: must be greater than 0"),
        ("span_hz", "fast", 'analyser.span_hz = "fast": must be a number'),
        ("span_hz", float("nan"), "analyser.span_hz = NaN: must be a finite number"),
        ("span_hz", float("inf"), "analyser.span_hz = Infinity: must be a finite number"),
        ("points", 1, "analyser.points = 1: must be at least 2"),
        ("points", 40000, "analyser.points = 40000: must be at most 32001"),
        ("points", 10.5, "analyser.points = 10.5: must be a whole number"),
        ("points", True, "analyser.points = true: must be a whole number"),
        ("average", 1, "analyser.average = 1: must be true or false"),
        ("label", 3, "analyser.label = 3: must be text"),
        ("label", "", 'analyser.label = "": must have at least 1 character'),
        ("hidden", 3, "analyser.hidden = 3: must be a list"),
        ("hidden", [4, 0], "analyser.hidden[1] = 0: must be at least 1"),
        ("limits", (0.0,), "analyser.limits[1]: must be given"),
        ("gains", [1], "analyser.gains = [1]: must be a table of keys and values"),
        ("gains", {"lna": "x"}, 'analyser.gains.lna = "x": must be a number'),
        ("source", 3, "analyser.source = 3: must be a table of keys and values"),
        ("source", {"power_dbm": 0.0}, "analyser.source.address: must be given"),
        ("sources", [{"address": "a", "power_dbm": 30.0}], "analyser.sources[0].power_dbm = 30.0: must be at most 25"),
        ("delta", -1.0, 'analyser.delta = -1.0: must be greater than 0 or "auto"'),
        ("delta", "aut", 'analyser.delta = "aut": must be a number or "auto"'),
        ("detector", 3, 'analyser.detector = 3: must be "rms", "peak" or "sample"'),
    ],
)
def test_a_value_is_refused_with_key_value_and_expectation(key: str, value: object, line: str) -> None:
    assert problems(**{key: value}) == [line]


def test_an_unknown_key_gets_the_nearest_name_and_all_valid_ones() -> None:
    [line] = problems(point=3)
    assert line.startswith('analyser.point: unknown key. Did you mean "points"? Valid: average, delta, detector, ')
    assert line.endswith(", sources, span_hz")


def test_an_unknown_key_of_a_nested_model_gets_the_names_of_that_model() -> None:
    hint = 'unknown key. Did you mean "address"? Valid: address, power_dbm, window'
    assert problems(source={"address": "a", "adress": "b"}) == [f"analyser.source.adress: {hint}"]
    assert problems(sources=[{"address": "a", "adress": "b"}]) == [f"analyser.sources[0].adress: {hint}"]


def test_an_unknown_choice_gets_the_nearest_and_all_valid_ones() -> None:
    assert problems(detector="RMS") == [
        'analyser.detector = "RMS": unknown detector. Did you mean "rms"? Valid: rms, peak, sample'
    ]
    assert problems(detector="zzzz") == ['analyser.detector = "zzzz": unknown detector. Valid: rms, peak, sample']
    assert problems(source={"address": "a", "window": "flat_top"}) == [
        'analyser.source.window = "flat_top": unknown window. Did you mean "flat-top"? Valid: hann, flat-top'
    ]


def test_a_check_across_keys_speaks_for_itself() -> None:
    assert problems(span_hz=10.0) == ["analyser: points = 1001 do not fit into span_hz = 10"]
    with pytest.raises(InputError, match=r"^points = 1001 do not fit"):
        validated(Bench, {"span_hz": 10.0}, "")


def test_every_problem_gets_its_line() -> None:
    lines = problems(span_hz=-1, points=0, detector="x", delta="x", pints=3)
    assert [line.partition(":")[0].partition(" =")[0] for line in lines] == [
        "analyser.span_hz",
        "analyser.points",
        "analyser.delta",
        "analyser.detector",
        "analyser.pints",
    ]


def test_without_a_section_the_key_stands_alone() -> None:
    with pytest.raises(InputError, match=r"^points = 0: must be at least 2$"):
        validated(Bench, {"points": 0}, "")


def test_a_long_value_is_shortened() -> None:
    [line] = problems(points="7" * 10_000)
    assert len(line) < 150
    assert "…: must be a whole number" in line


def test_pydantic_does_not_show_through() -> None:
    with pytest.raises(InputError) as refused:
        validated(Bench, {"points": 0}, "analyser")
    assert refused.value.__context__ is None
    assert "pydantic" not in str(refused.value)


def test_nearest_names_nothing_where_nothing_is_like_it() -> None:
    assert nearest("voltage", ["rms", "peak"]) == ""
    assert nearest("x", []) == ""


@settings(deadline=None)
@given(st.text(string.ascii_lowercase, min_size=4, max_size=12), st.data())
def test_nearest_survives_one_slip(name: str, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(name) - 1))
    slip = name[:position] + data.draw(st.sampled_from(["", "_", name[position] * 2])) + name[position + 1 :]
    assert nearest(slip.upper(), ["0123456789", name]) == f' Did you mean "{name}"?'


def test_problems_by_key_say_what_the_error_says() -> None:
    data = {"span_hz": -1, "pints": 3, "delta": "x", "hidden": [3, 0], "source": {"power_dbm": 99}}
    found = problems_by_key(Bench, data, "analyser")
    assert found == {
        "analyser.span_hz": "must be greater than 0",
        "analyser.pints": 'unknown key. Did you mean "points"? Valid: ' + ", ".join(sorted(Bench.model_fields)),
        "analyser.delta": 'must be a number or "auto"',
        "analyser.hidden": "[1] = 0: must be at least 1",
        "analyser.source": "address: must be given; power_dbm = 99: must be at most 25",
    }
    for key, sentence in found.items():
        assert any(line.startswith(key) and sentence.split("; ")[0] in line for line in problems(**data))


def test_a_problem_across_keys_is_the_sections() -> None:
    data = {"span_hz": 10.0}
    assert problems_by_key(Bench, data, "analyser") == {"analyser": "points = 1001 do not fit into span_hz = 10"}


def test_without_a_section_the_first_two_names_are_the_key() -> None:
    class Lab(BaseModel):
        analyser: Bench = Bench()

    found = problems_by_key(Lab, {"analyser": {"points": 0, "hidden": [0]}}, "")
    assert found == {"analyser.points": "must be at least 2", "analyser.hidden": "[0] = 0: must be at least 1"}
    assert problems_by_key(Lab, {"analyser": {"span_hz": 10.0}}, "") == {
        "analyser": "points = 1001 do not fit into span_hz = 10"
    }


def test_written_values_are_what_their_type_says() -> None:
    lax = {"address": "a", "power_dbm": "-3"}
    assert validated(Source, lax, "source").power_dbm == -3
    assert problems_by_key(Source, lax, "source", written=True) == {"source.power_dbm": "must be a number"}
    written = {"address": "a", "power_dbm": -3, "window": "flat-top"}
    assert validated(Source, written, "source", written=True).window is Window.FLAT_TOP
    assert validated(Bench, {"limits": [0, 2]}, "analyser", written=True).limits == (0, 2)

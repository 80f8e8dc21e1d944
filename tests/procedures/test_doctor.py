"""`labpgt doctor`: what is in order, and what to do about what is not."""

from importlib.metadata import EntryPoint, version

import pytest

from labpgt.checks import Check
from labpgt.registry import registered
from procedures import doctor as doctor_module
from tests.procedures.conftest import Labpgt


def test_this_installation_is_in_order(labpgt: Labpgt) -> None:
    done = labpgt("doctor", "--json")
    assert done.code == 0
    report = done.json
    assert report["ok"]
    assert report["versions"]["torch"] == version("torch")
    assert {device["name"] for device in report["devices"]} == set(registered())
    assert {"VISA", "Qt"} <= {check["name"] for check in report["checks"]}
    assert all(check["ok"] for check in report["checks"])
    assert report["foreign_packages"] == []


def test_what_is_wrong_is_said_with_what_to_do(labpgt: Labpgt, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = Check("Qt", ok=False, detail="no platform [xcb]", advice="apt-get install [libegl1]")
    monkeypatch.setattr(doctor_module, "collect", lambda: [failed])
    broken = EntryPoint("spectrum", "no_such_driver:Ring", "labpgt.reservoirs")
    monkeypatch.setattr(doctor_module, "registered", lambda: {"spectrum": broken})
    done = labpgt("doctor")
    assert done.code == 1
    for expected in ("no platform [xcb]", "Qt: apt-get install [libegl1]", "No module named 'no_such_driver'"):
        assert expected in done.out
    assert "in order" not in done.out
    report = labpgt("doctor", "--json").json
    assert not report["ok"]
    assert report["devices"][0]["error"] == "ModuleNotFoundError: No module named 'no_such_driver'"


def test_one_broken_part_is_enough(labpgt: Labpgt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_module, "collect", list)
    assert labpgt("doctor").code == 0
    monkeypatch.setattr(doctor_module, "foreign_packages", lambda: ["labpgt's package 'gui' is a stranger's"])
    done = labpgt("doctor")
    assert done.code == 1
    assert "a stranger's" in done.out


def test_a_missing_library_is_not_in_order(labpgt: Labpgt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_module, "_version", lambda name: "" if name == "torch" else "1.0")
    done = labpgt("doctor")
    assert done.code == 1
    assert "mend: torch:" in done.out
    assert "in order" not in done.out

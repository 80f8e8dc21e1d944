"""Devices by name."""

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from labpgt import registry
from labpgt.device import Reservoir
from labpgt.errors import DeviceFault, InputError
from labpgt.registry import complete_settings, device_class, make_device, registered
from labpgt.replay import ReplayReservoir
from simulators.echo_state import EchoStateRing
from tests.runs import configured, record

OWN = """
from simulators.echo_state import EchoStateRing

class Mine(EchoStateRing):
    name = "mine"

class Plain:
    name = "plain"
    def __init__(self, gain=1.0):
        pass
    def open(self):
        pass

class Odd(Mine):
    class Config:
        pass

not_a_class = 3.0
"""


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_device.py").write_text(OWN)
    (tmp_path / "broken_device.py").write_text("import no_such_driver\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_every_registered_device_is_a_reservoir_with_settings_it_accepts() -> None:
    assert {"llg-ring", "echo-state-ring"} <= set(registered())
    for name in ("llg-ring", "echo-state-ring"):
        settings = complete_settings(name, {})
        device = make_device(name, settings)
        assert isinstance(device, Reservoir)
        assert device.name == name
        assert {key: device.settings()[key].value for key in settings} == dict(settings)


def test_settings_reach_the_device() -> None:
    device = make_device("echo-state-ring", {"n_nodes": 7, "noise": 0.25})
    assert device.n_nodes == 7
    assert device.settings()["noise"].value == 0.25


def test_own_class_by_module_and_name() -> None:
    assert issubclass(device_class("own_device:Mine"), EchoStateRing)
    assert make_device("own_device:Mine", {"n_nodes": 3}).name == "mine"
    assert complete_settings("own_device:Mine", {})["n_nodes"] == 10
    assert complete_settings("own_device:Plain", {}) == {}


def test_settings_are_checked_before_there_is_a_device() -> None:
    with pytest.raises(InputError, match=r"device\.noise = -1: must be at least 0"):
        complete_settings("echo-state-ring", {"noise": -1})
    given = {"anything": 3}
    assert complete_settings("own_device:Odd", given) == given, "this Config is something else"


def test_a_session_is_a_device(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    record(configured(training={"max_shots": 16}), path)
    device = make_device(f"replay:{path}", {})
    assert isinstance(device, ReplayReservoir)
    assert device.n_nodes == 5
    assert complete_settings(f"replay:{path}", {}) == {}
    device.close()
    with pytest.raises(InputError, match=r"device\.gain: a recorded session has no settings to change"):
        make_device(f"replay:{path}", {"gain": 1.0})


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("lgl-ring", {}, r'device\.name = "lgl-ring": no such device\. Did you mean "llg-ring"\? Registered: .*echo'),
        ("", {}, r'device\.name = "": no such device\.'),
        ("no_such_module:Ring", {}, r"cannot be imported \(No module named 'no_such_module'\)\. Expected"),
        ("own_device:Nine", {}, r"cannot be imported .*Nine"),
        (":Mine", {}, "cannot be imported"),
        ("broken_device:Ring", {}, "No module named 'no_such_driver'"),
        ("own_device:Plain", {}, r"not a labpgt\.Reservoir; it lacks close, make_safe, settings, .*forward"),
        ("own_device:Plain", {"power": 1}, r"'own_device:Plain' with settings \{'power': 1\}: .*power"),
        ("own_device:not_a_class", {}, "not callable"),
        ("echo-state-ring", {"noise": -1}, r"device\.noise = -1: must be at least 0"),
        ("replay:no_such.h5", {}, r"session no_such\.h5 cannot be opened"),
    ],
)
def test_what_is_wrong_is_an_input_error_that_says_so(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_device(name, settings)


def test_a_registered_device_whose_driver_cannot_be_loaded_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("spectrum", "broken_device:Ring", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry] if group == registry.GROUP else [])
    with pytest.raises(DeviceFault, match=r'"spectrum": broken_device:Ring cannot be loaded: .*no_such_driver.*doctor'):
        make_device("spectrum", {})


def test_asking_for_names_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("spectrum", "broken_device:Ring", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    assert list(registered()) == ["spectrum"]

"""A session file may come from anywhere: nothing in it is imported because it says so."""

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from labpgt.config import Config
from labpgt.errors import InputError
from labpgt.session import Session
from procedures.replay import replay_session, trusted_configuration
from procedures.train import StopRequest
from simulators.echo_state import EchoStateRing
from tests.runs import configured, record

MODULE = """
from pathlib import Path
from torch import nn

Path(__file__).with_name("imported").touch()

def layers(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 6), nn.Tanh(), nn.Linear(6, outputs))
"""
SMALL = {"max_shots": 32}


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a module `foreign_code` that leaves a file called `imported` there when it is imported."""
    (tmp_path / "foreign_code.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "foreign_code", raising=False)
    return tmp_path


def recorded(config: Config, folder: Path) -> Path:
    """Record a run, then forget everything about its module."""
    path = folder / "run.h5"
    record(config, path, EchoStateRing(n_nodes=5, noise=0.01))
    sys.modules.pop("foreign_code", None)
    (folder / "imported").unlink(missing_ok=True)
    return path


def quiet() -> Console:
    return Console(file=io.StringIO())


@pytest.mark.parametrize("key", ["pre", "readout"])
@pytest.mark.parametrize("allowed", [[], ["foreign_code"], ["foreign_code:other"], ["other:layers"]])
def test_code_that_only_the_file_names_is_not_imported(key: str, allowed: list[str], module: Path) -> None:
    path = recorded(configured(network={key: "foreign_code:layers"}, training=SMALL), module)
    with pytest.raises(InputError, match=rf"network\.{key} = 'foreign_code:layers'.*--allow foreign_code:layers"):
        replay_session(path, allowed, quiet(), StopRequest())
    assert not (module / "imported").exists()
    assert "foreign_code" not in sys.modules


@pytest.mark.parametrize("key", ["pre", "readout"])
def test_code_that_the_person_names_too_is_used(key: str, module: Path) -> None:
    path = recorded(configured(network={key: "foreign_code:layers"}, training=SMALL), module)
    report = replay_session(path, ["foreign_code:layers"], quiet(), StopRequest())
    assert (module / "imported").exists()
    assert report["verified"]
    assert report["shots"] == report["recorded_shots"]
    assert "difference" not in report


def test_both_of_two_must_be_allowed(module: Path) -> None:
    network = {"pre": "foreign_code:layers", "readout": "foreign_code:layers"}
    path = recorded(configured(network=network, training=SMALL), module)
    with Session(path) as session:
        with pytest.raises(InputError, match=r"network\.pre"):
            trusted_configuration(session, [])
        config = trusted_configuration(session, ["foreign_code:layers"])
    assert config.network.pre == config.network.readout == "foreign_code:layers"
    assert not (module / "imported").exists(), "looking at the configuration imports nothing"


def test_the_device_that_a_file_names_is_not_imported(module: Path) -> None:
    """A replay needs no device: the recording is one."""
    config = configured(device={"name": "foreign_code:Ring"}, training=SMALL)
    path = recorded(config, module)
    report = replay_session(path, [], quiet(), StopRequest())
    assert report["verified"]
    assert not (module / "imported").exists()


def test_a_run_of_plain_layers_needs_no_permission(module: Path) -> None:
    path = recorded(configured(training=SMALL), module)
    report = replay_session(path, [], quiet(), StopRequest())
    assert report["verified"]
    assert report["status"] == "success"
    assert report["parameter_hashes"] == 2
    assert report["tolerance"] == 0.0

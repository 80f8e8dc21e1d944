"""The desk: what a form asks, in this process and as the process that it is."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from labpgt.config import Config, from_toml_text
from labpgt.errors import InputError
from procedures.desk import forms
from procedures.desk.beginnings import refusals
from procedures.desk.estimate import Estimator
from procedures.desk.forms import check, checked, device, devices, presets
from procedures.desk.service import Service
from simulators.echo_state import EchoStateRing
from simulators.virtual_bench.bench import VirtualBench
from tests.runs import SMALL, configured, record

COUNTS = ["training_shots", "calibration_shots", "baseline_shots", "evaluation_shots", "total_shots", "steps"]


def small(**sections: dict[str, Any]) -> dict[str, Any]:
    """The small configuration as a form sends it."""
    return {name: {**SMALL.get(name, {}), **sections.get(name, {})} for name in {*SMALL, *sections}}


def test_devices_are_the_registered_ones() -> None:
    assert {"llg-ring", "echo-state-ring", "magnonic-ring"} <= set(devices())


@pytest.mark.parametrize("name", devices())
def test_a_device_says_what_a_form_needs(name: str) -> None:
    found = device(name)
    keys = set(found["schema"]["properties"])
    required = set(found["schema"].get("required", []))
    assert set(found["defaults"]) == keys - required
    assert found["units"].keys() <= keys
    assert found["description"].endswith(".")
    json.dumps(found, allow_nan=False)


def test_units_and_limits_come_with_a_device() -> None:
    found = device("llg-ring")
    assert found["units"]["carrier_hz"] == "Hz"
    assert "n_nodes" not in found["units"]
    assert found["schema"]["properties"]["n_nodes"]["maximum"] == 200
    assert found["defaults"]["carrier_hz"] == 3.205e9


def test_a_device_of_ones_own_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert device("evil:Device")["schema"] is None
    config = small(device={"name": "evil:Device", "gain": 3}, network={"pre": "evil:build"})
    assert check({**config, "device": {"name": "evil:Device", "gain": 3}}, refusals)["problems"] == {}
    assert Estimator().estimate(checked({**config, "device": {"name": "evil:Device"}}))["parameters"] is None
    assert "evil" not in sys.modules


def test_an_unknown_device_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match='Did you mean "llg-ring"'):
        device("lgl-ring")


def test_a_good_configuration_comes_back_whole() -> None:
    found = check(small(), None)
    assert (found["problems"], found["complete"]) == ({}, False)
    whole = from_toml_text(found["toml"])
    assert whole.training == configured().training
    assert whole.device.settings["feedback"] == 0.5
    assert "# gain of the round trip" in found["toml"]
    assert found["path"].startswith("sessions")
    assert found["path"].endswith("-iris-jacobian-twin.h5")
    assert check(small(session={"file": "mine.h5"}), None)["path"] == "mine.h5"


def test_problems_are_by_key_of_configuration_and_device() -> None:
    config = {
        "task": {"name": "csv"},
        "network": {"hidden": [3, 0]},
        "device": {"name": "llg-ring", "n_nodes": "10", "gian": 1, "noise": None},
        "training": {"epochs": 0, "learning_rate": "0.1", "loss": "msee", "max_shots": None},
        "sesion": {},
        "seed": 3,
    }
    found = check(config, None)
    assert (found["toml"], found["path"]) == (None, None)
    assert found["problems"].pop("device.gian").startswith('unknown key. Did you mean "gain"? Valid: ')
    assert found["problems"] == {
        "task": 'path must be given when name = "csv": the file to read',
        "network.hidden": "[1] = 0: must be at least 1",
        "device.n_nodes": "must be a whole number",
        "training.epochs": "must be at least 1",
        "training.learning_rate": "must be a number",
        "training.loss": 'unknown loss. Did you mean "mse"? Valid: mse, cross-entropy',
        "sesion": 'unknown section. Did you mean "session"? Valid: task, network, device, training, session',
        "seed": "stands in no section. Write training.seed.",
    }


@pytest.mark.parametrize(
    ("section", "problems"),
    [
        ({"name": "lgl-ring"}, {"device.name": "no such device"}),
        ({"name": "llg-ring", "detector": "iq", "n_nodes": 3}, {"device": "n_nodes = 3: the detector"}),
        ({"name": "magnonic-ring"}, {"device.bench": "must be given"}),
        ({"name": "replay:a.h5", "gain": 1}, {"device.gain": "a recorded session has no settings"}),
        ({"name": 3}, {"device.name": "must be text"}),
        ("ring", {"device": "must be a table"}),
    ],
)
def test_problems_of_the_device(section: Any, problems: dict[str, str]) -> None:
    found = check({"device": section}, None)["problems"]
    assert found.keys() == problems.keys()
    for key, sentence in problems.items():
        assert found[key].startswith(sentence)


@pytest.mark.parametrize(
    ("sections", "key", "sentence"),
    [
        ({"training": {"optimizer": "Adamm"}}, "training.optimizer", "torch.optim has no such class"),
        ({"training": {"optimizer_options": {"a": 1}}}, "training.optimizer", "with optimizer_options = {'a': 1}: "),
        ({"training": {"scheduler_options": {"a": 1}}}, "training.scheduler_options", "CosineAnnealingLR: "),
        ({"training": {"max_shots": 3}}, "training.max_shots", "one update costs 16 shots"),
        ({"network": {"symbols": 70_000}}, "network.symbols", "echo-state-ring takes at most"),
        ({"task": {"name": "csv", "path": "nowhere.csv"}}, "task.path", "cannot read task.path = nowhere.csv"),
        ({"task": {"test_fraction": 0.001}}, "task", "task iris, test_fraction = 0.001: "),
        ({"device": {"name": "replay:nowhere.h5"}}, "device.name", "session nowhere.h5 cannot be opened"),
    ],
)
def test_what_a_run_would_refuse_is_told_before(
    sections: dict[str, Any], key: str, sentence: str, folder: Path
) -> None:
    config = small(**sections)
    if "device" in sections:
        config["device"] = sections["device"]
    found = check(config, refusals)
    assert found["complete"]
    assert list(found["problems"]) == [key]
    assert found["problems"][key].startswith(sentence)
    with pytest.raises(InputError, match=key):
        Estimator().estimate(checked(config))


def write_bench(path: Path) -> None:
    """Write the file of a bench that is not there any more."""
    with VirtualBench("loopback") as bench:
        path.write_text(bench.config_text())


def test_what_a_bench_does_not_allow_is_told_before(folder: Path) -> None:
    write_bench(folder / "bench.toml")
    config = small()
    config["device"] = {"name": "loopback", "bench": "bench.toml", "n_nodes": 4, "power_dbm": 39.0}
    found = check(config, refusals)
    assert found["problems"] == {"device.power_dbm": "the bench's limit is 10 dBm"}
    config["device"]["bench"] = "nowhere.toml"
    assert list(check(config, refusals)["problems"]) == ["device.bench"]


def test_presets_can_be_used_as_they_are() -> None:
    found = {preset["name"]: preset for preset in presets()}
    assert from_toml_text(found["defaults"]["toml"]) == Config()
    assert found["pgt"]["title"].startswith("PGT (arXiv 2506.04523)")
    assert found["pgt"]["description"].startswith("It learns, and slowly")
    for preset in found.values():
        assert check(json.loads(json.dumps(from_toml_text(preset["toml"]).model_dump())), refusals)["problems"] == {}


def test_a_folder_of_something_else_gives_no_presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "_PRESETS", tmp_path)
    (tmp_path / "other.toml").write_text("[tool]\nx = 1\n")
    (tmp_path / "bare.toml").write_text("[training]\nepochs = 1\n")
    assert [(preset["name"], preset["title"]) for preset in presets()] == [("defaults", "Defaults"), ("bare", "bare")]


def test_an_estimate_counts_and_times(folder: Path) -> None:
    config = small(training={"epochs": 4, "baseline": True, "delta": 0.1})
    found = Estimator().estimate(checked(config))
    last = record(Config.model_validate(config), folder / "run.h5")
    kinds = ["", "calibration_", "baseline_", "evaluation_"]
    taken = [int(last.results[f"{kind}shots"]) for kind in kinds]
    assert [found[key] for key in COUNTS] == [*taken, sum(taken), 4 * 15]
    assert found["parameters"] == 5 * 8 + 9 * 4 + 21 * 3
    assert found["seconds"] > found["per_shot_s"] * found["training_shots"] > 0
    assert "a short run here just now" in found["how"]


@pytest.mark.parametrize("estimator", ["pgt", "node", "readout", "backprop"])
def test_every_estimator_is_tried(estimator: str) -> None:
    found = Estimator().estimate(checked(small(training={"estimator": estimator, "target_loss": 0.1})))
    assert found["per_shot_s"] > 0
    assert "less if training.target_loss is reached sooner" in found["how"]


@pytest.mark.parametrize(
    ("network", "slow_s", "how"),
    [
        ({"hidden": [30_000, 30_000]}, 60, "without the layers, which are too large to try"),
        ({"symbols": 2000}, 60, "without the updates, which are too large to try"),
        ({"symbols": 128}, 0, "64 of 128 symbols"),
    ],
)
def test_what_is_too_large_is_not_tried(
    network: dict[str, Any], slow_s: float, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("procedures.desk.estimate._SLOW_SHOT_S", slow_s)
    found = Estimator().estimate(checked(small(network=network)))
    assert how in found["how"]
    assert found["seconds"] > 0


def test_an_instrument_is_never_opened_but_looked_up(folder: Path) -> None:
    config = small(session={"file": "sessions/next.h5"})
    write_bench(folder / "bench.toml")
    config["device"] = {"name": "loopback", "bench": "bench.toml", "n_nodes": 6}
    found = Estimator().estimate(checked(config))
    assert (found["seconds"], found["per_shot_s"]) == (None, None)
    assert found["how"] == "the time is not known: no ended run of loopback with 4 symbols is in sessions"
    assert found["training_shots"] == 240
    (folder / "sessions").mkdir()
    (folder / "sessions" / "foreign.h5").write_text("not HDF5")
    ring = EchoStateRing(n_nodes=6, ring_nodes=6)
    last = record(Config.model_validate(config), folder / "sessions" / "last.h5", ring)
    record(configured(training={"max_shots": 16}), folder / "sessions" / "other.h5")
    found = Estimator().estimate(checked(config))
    assert "the last run of loopback with 4 symbols, last.h5" in found["how"]
    assert found["per_shot_s"] > last.results["device_s"] / found["total_shots"]


class Desk:
    """The process, asked one thing at a time."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path(forms.__file__).parents[2])}
        command = [sys.executable, "-m", "procedures.desk"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=folder, env=environment, stdin=pipe, stdout=pipe, text=True)
        self.states: list[str] = []

    def say(self, *lines: object) -> None:
        assert self.process.stdin is not None
        for line in lines:
            self.process.stdin.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """The next answer; what it says of its state is kept."""
        assert self.process.stdout is not None
        while "state" in (answer := json.loads(self.process.stdout.readline())):
            self.states.append(answer["state"])
        return dict(answer)

    def ask(self, **request: Any) -> dict[str, Any]:
        self.say(request)
        return self.hear()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = Desk(tmp_path_factory.mktemp("desk"))
    yield desk
    assert desk.process.stdin is not None
    desk.process.stdin.close()
    assert desk.process.wait(30) == 0
    assert desk.process.stdout is not None
    desk.process.stdout.close()


def test_what_needs_no_torch_is_answered_before_it_is_there(desk: Desk) -> None:
    assert desk.ask(id=1, do="devices")["value"] == devices()
    assert desk.ask(id="two", do="check", config=small(training={"epochs": 0}))["value"]["problems"] == {
        "training.epochs": "must be at least 1"
    }
    assert "ready" not in desk.states


def test_nothing_that_is_said_to_it_ends_it(desk: Desk) -> None:
    desk.say("no JSON", "[]", "3", "", '{"id": 5', "{}", {"id": 6, "do": "dance"}, {"id": 7, "do": "check"})
    desk.say({"id": 8, "do": "device", "name": ["x"]}, {"id": 9, "do": "check", "config": {"device": {"name": "x"}}})
    answers = [desk.hear() for _ in range(9)]
    assert [answer["id"] for answer in answers] == [None, None, None, None, None, 6, 7, 8, 9]
    assert [answer["ok"] for answer in answers] == [False] * 8 + [True]
    assert answers[5]["error"] == 'do = "dance": expected devices, device, presets, check or estimate'
    assert answers[6]["error"] == "check: config = null: expected an object"


def test_only_the_newest_of_waiting_estimates_is_made(desk: Desk) -> None:
    bad, good = small(training={"epochs": 0}), small()
    desk.say(*({"id": 10 + n, "do": "estimate", "config": config} for n, config in enumerate([good, good, bad, good])))
    answers = {answer["id"]: answer for answer in (desk.hear() for _ in range(4))}
    assert answers[13]["value"]["training_shots"] == 240
    assert {answers[11]["error"], answers[12]["error"]} <= {"superseded", "training.epochs: must be at least 1"}
    assert desk.ask(id=14, do="estimate", config=bad)["error"] == "training.epochs: must be at least 1"
    assert desk.states[-1] == "ready"
    assert desk.ask(id=15, do="check", config=good)["value"]["complete"]


def test_without_torch_the_form_still_has_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "procedures.desk.estimate", None)
    heard: Queue[dict[str, Any]] = Queue()

    class Answers(io.StringIO):
        def write(self, text: str) -> int:
            heard.put(json.loads(text))
            return len(text)

    def requests() -> Iterator[bytes]:
        yield json.dumps({"id": 1, "do": "estimate", "config": small()}).encode()
        while (answer := heard.get(timeout=60)).get("id") != 1:
            states.append(answer["state"])
        answers.append(answer)
        yield json.dumps({"id": 2, "do": "check", "config": small()}).encode()
        answers.append(heard.get(timeout=60))

    states: list[str] = []
    answers: list[dict[str, Any]] = []
    Service(Answers()).serve(requests())
    assert states[-1] == "failed"
    assert answers[0]["error"].startswith("cannot load what estimates need: ")
    assert (answers[1]["value"]["problems"], answers[1]["value"]["complete"]) == ({}, False)

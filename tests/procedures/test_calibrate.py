"""`labpgt calibrate`: what it measures of rings known on paper, what it sets, what it writes, and how it ends."""

import math
import os
import re
import signal
import sys
from datetime import datetime, tzinfo
from pathlib import Path

import pytest

from labpgt import pause
from labpgt.characterisation.reader import Characterisation
from labpgt.config import load_config
from labpgt.events import Status
from labpgt.session import Session
from procedures.calibrate.report import QUANTITIES, SETTINGS
from procedures.calibrate.run import MEASURES, StepBegins, calibrate, default_folder
from procedures.characterize.run import Done
from tests.procedures.conftest import Labpgt, Outcome
from tests.runs import configured

RING = '''
from tests.rings import TunableRing


class Ring(TunableRing):
    """A ring with gain 2 at 0 dB that is told its memory, and can be told to fail at a shot."""

    def __init__(self, memory_time_s=1e-6, dies_at=None, attenuation_db=30.0, **settings):
        super().__init__(attenuation_db=attenuation_db, **settings)
        self.memory_time_s, self.dies_at = memory_time_s, dies_at

    def noisy(self, responses):
        if self.dies_at is not None and self._shot + len(responses) > self.dies_at:
            raise OSError("the amplifier is gone")
        return super().noisy(responses)
'''
SMALL = ("--set", "task.name=iris", "--set", "network.hidden=[8]", "--set", "network.symbols=4", "--quick")


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Options for a ring whose threshold and memory are known."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "known_ring.py").write_text(RING)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.delitem(sys.modules, "known_ring", raising=False)
    return ("--device", "known_ring:Ring", "--set", "device.noise=1e-3", *SMALL)


def test_gain_memory_and_delta_are_measured_set_and_written(
    labpgt: Labpgt, ring: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "new" / "calibrated.toml"
    done = labpgt("calibrate", *ring, "--gain-share", "0.5", "--out", out, "--sessions", tmp_path / "s", "--json")
    assert done.code == 0
    report = done.json
    assert report["status"] == "success"
    assert report.keys() >= {*QUANTITIES, "suggestions", "unmeasured", "sessions", "config", "shots"}
    # Gain 2 at 0 dB: the threshold is at 20 log10(2) dB, half of that gain 6.02 dB above; rounded up to 12.25 dB.
    threshold = 20 * math.log10(2)
    assert report["threshold_attenuation_db"] == pytest.approx(threshold, abs=0.05)
    assert report["suggestions"]["device.attenuation_db"] == 12.25
    share = 2 * 10 ** (-12.25 / 20)
    assert report["gain_share"] == pytest.approx(share, rel=0.01)
    assert report["wanted_gain_share"] == 0.5
    assert report["margin_db"] == pytest.approx(12.25 - threshold, abs=0.05)
    # A round trip of one symbol of 6.25 ns.
    memory = -6.25e-9 / math.log(share)
    assert report["memory_time_s"] == pytest.approx(memory, rel=0.05)
    assert report["suggestions"]["device.memory_time_s"] == report["memory_time_s"]
    assert report["noise_floor"] == pytest.approx(1e-3, rel=0.2)
    assert report["suggestions"]["training.delta"] == report["delta"]
    assert "network.drive_gain" not in report["suggestions"]
    assert "strong enough" in report["unmeasured"]["network.drive_gain"]
    for told in ("step 1 of 3", "step 3 of 3", "set device.attenuation_db = 12.25", "set training.delta ="):
        assert told in done.err

    config = load_config(out)
    assert report["config"] == str(out)
    assert config.device.settings["attenuation_db"] == 12.25
    assert config.device.settings["memory_time_s"] == report["memory_time_s"]
    assert config.training.delta == report["delta"]
    assert (config.task.name, config.network.hidden) == ("iris", [8])


def test_every_shot_is_in_the_steps_files(labpgt: Labpgt, ring: tuple[str, ...], tmp_path: Path) -> None:
    report = labpgt("calibrate", *ring, "--sessions", tmp_path / "s", "--json").json
    gain, device, run = (tmp_path / "s" / f"{name}.h5" for name in ("gain", "ring", "run"))
    assert report["sessions"] == [str(gain), str(device), str(run)]
    with Characterisation(gain) as first, Characterisation(device) as second, Session(run) as third:
        assert first.status == second.status == third.status == "success"
        assert first.done == ("threshold", "memory")
        assert set(second.done) == {"noise", "repeatability", "compression"}
        # As it was found, and then as it was set.
        assert first.settings["attenuation_db"].value == 30.0
        assert second.settings["attenuation_db"].value == report["suggestions"]["device.attenuation_db"]
        assert third.settings["attenuation_db"] == second.settings["attenuation_db"]
        shots = sum(first.n_shots.values()) + sum(second.n_shots.values()) + third.n_shots
        assert shots == report["shots"] > 100
        assert third.n_steps == 0
        assert third.results["delta"] == report["delta"]


def test_what_is_written_is_what_a_run_then_measures(labpgt: Labpgt, ring: tuple[str, ...], tmp_path: Path) -> None:
    """Same shots, same scale and noise: the calibration of a run that is started as the file says."""
    found = labpgt("calibrate", *ring, "--out", tmp_path / "a.toml", "--json").json
    again = ("--set", "training.epochs=1", "--set", 'training.delta="auto"', "--out", tmp_path / "run.h5")
    assert labpgt("train", tmp_path / "a.toml", *again).code == 0
    with Session(tmp_path / "run.h5") as session:
        for name in ("delta", "response_scale", "response_noise", "response_offset"):
            assert session.results[name] == found[name]


def test_weak_drives_are_made_stronger_while_the_noise_is_too_loud(labpgt: Labpgt, ring: tuple[str, ...]) -> None:
    report = labpgt("calibrate", *ring, "--set", "device.noise=2e-2", "--json").json
    assert report["suggestions"]["network.drive_gain"] in (2.0, 4.0)
    tries = [Path(path).name for path in report["sessions"][2:]]
    assert tries == ["run.h5", "run-2.h5", "run-3.h5"][: len(tries)]
    with Session(Path(report["sessions"][2])) as first, Session(Path(report["sessions"][-1])) as last:
        spread = [session.shots(0, 64)["drive"].std(axis=0).mean() for session in (first, last)]
    assert spread[1] > 1.5 * spread[0]
    assert report["drive_deviation"] == pytest.approx(spread[1], rel=0.1)


def test_a_device_without_such_settings_keeps_what_it_has(labpgt: Labpgt) -> None:
    done = labpgt("calibrate", "--device", "echo-state-ring", "--estimator", "readout", *SMALL, "--json")
    report = done.json
    assert done.code == 0
    assert report["suggestions"] == {}
    assert report["unmeasured"].keys() == {name for name in QUANTITIES if report[name] is None} | {*SETTINGS}
    assert "not labpgt.Tunable" in report["unmeasured"]["device.attenuation_db"]
    assert "symbol_s" in report["unmeasured"]["device.memory_time_s"]
    assert report["unmeasured"]["training.delta"] == "the estimator readout takes no ± pairs"
    assert report["memory_symbols"] > 1
    assert Path(report["folder"]).parent.name == "sessions"
    text = labpgt("calibrate", "--device", "echo-state-ring", *SMALL).out
    for shown in ("compression_db", "memory_symbols", "set training.delta =", "not measured: threshold_gain"):
        assert shown in text


def test_two_in_a_second_have_folders_of_their_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Stopped":
            return cls(2030, 1, 2, 3, 4, 5)

    monkeypatch.setattr("procedures.calibrate.run.datetime", Stopped)
    names = []
    for _ in range(3):
        place = default_folder(configured())
        place.mkdir(parents=True)
        names.append(place.name)
    first = "20300102-030405-calibrate-echo-state-ring"
    assert names == [first, f"{first}-2", f"{first}-3"]
    assert folder.joinpath("sessions", first).is_dir()


def test_a_gain_that_the_attenuator_cannot_reach_is_the_nearest(labpgt: Labpgt, ring: tuple[str, ...]) -> None:
    report = labpgt("calibrate", *ring, "--gain-share", "0.01", "--json").json
    assert report["suggestions"]["device.attenuation_db"] == 40.0
    assert report["gain_share"] == pytest.approx(0.02, rel=0.02)


BAD = {
    "--gain-share 1.5": "--gain-share",
    "--device no-ring": "no such device",
    "--set training.epoch=3": 'training.epoch: unknown key. Did you mean "epochs"?',
    "--out there.toml": "there.toml exists already; choose another --out",
    "--out there.toml/a.toml": "there.toml is not a folder that can be written; choose another --out",
    "--sessions full": "full/gain.h5 exists already; choose another --sessions",
    "none.toml": "none.toml: No such file or directory",
}


@pytest.mark.parametrize(("options", "message"), BAD.items())
def test_bad_input_is_one_message_and_leaves_nothing(options: str, message: str, labpgt: Labpgt, folder: Path) -> None:
    (folder / "there.toml").write_text("precious")
    (folder / "full").mkdir()
    (folder / "full" / "gain.h5").write_text("precious")
    device = [] if "--device" in options else ["--device", "echo-state-ring"]
    done = labpgt("calibrate", *device, *options.split(), "--json")
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert sorted(path.name for path in folder.iterdir()) == ["full", "there.toml"]
    assert (folder / "there.toml").read_text() == (folder / "full" / "gain.h5").read_text() == "precious"


def on_bench(labpgt: Labpgt, tmp_path: Path, *options: str) -> Outcome:
    """Calibrate a device that writes down when it is opened, made safe and closed."""
    device = ("--device", "bench:Bench", "--set", f"device.log={tmp_path / 'log'}")
    done = labpgt("calibrate", *device, *SMALL, *options, "--out", tmp_path / "a.toml", "--json")
    log = (tmp_path / "log").read_text().split()
    assert log[-2:] == ["safe", "close"]
    assert log.count("open") == log.count("close") >= 1
    return done


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize("number", [1, 2, 3])
def test_ctrl_c_ends_it_in_any_step_without_a_configuration(
    labpgt: Labpgt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.delitem(sys.modules, "only", raising=False)
    (tmp_path / "modules" / "only.py").write_text(ONLY.format(number=number))
    done = labpgt(
        *("calibrate", "--device", "only:Only", *SMALL, "--set", f"device.log={tmp_path / 'log'}"),
        *("--out", tmp_path / "a.toml", "--sessions", tmp_path / "s", "--json"),
    )
    steps = ["gain", "ring", "run"][:number]
    assert done.code == 4
    assert done.json["status"] == "aborted"
    assert done.json["reason"] == "Ctrl-C"
    assert done.json["config"] is None
    assert [Path(path).stem for path in done.json["sessions"]] == steps
    assert not (tmp_path / "a.toml").exists()
    with (Session if number == 3 else Characterisation)(tmp_path / "s" / f"{steps[-1]}.h5") as ended:
        assert ended.status == "aborted"
    assert (tmp_path / "log").read_text().split()[-2:] == ["safe", "close"]


ONLY = '''
from bench import Bench

class Only(Bench):
    """Sends Ctrl-C in the third shot after it was opened for the nth time."""

    opened = 0

    def open(self):
        Only.opened += 1
        super().open()
        if Only.opened == {number}:
            self.signals, self.signal_at = ["SIGINT"], 3
'''


@pytest.mark.usefixtures("bench")
def test_a_device_that_fails_leaves_its_shots_and_the_reason(labpgt: Labpgt, tmp_path: Path) -> None:
    done = on_bench(labpgt, tmp_path, "--set", "device.nan_at=20", "--sessions", str(tmp_path / "s"))
    assert done.code == 3
    assert done.json["status"] == "failed"
    assert "shot 20 came back with a value that is not finite" in done.err
    assert not (tmp_path / "a.toml").exists()
    with Characterisation(tmp_path / "s" / "ring.h5") as recorded:
        assert recorded.status == "failed"
        assert sum(recorded.n_shots.values()) > 0


def test_a_configuration_that_cannot_be_written_is_a_storage_fault(
    labpgt: Labpgt, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *arguments: object, **options: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    done = labpgt("calibrate", "--device", "echo-state-ring", *SMALL, "--out", "a.toml")
    assert done.code == 5
    assert "a.toml: writing the configuration failed: No space left on device" in done.err
    assert not Path("a.toml").exists()


SPOILING = """
from labpgt.events import Flag
from simulators.echo_state import EchoStateRing
from tests.faults import Ill


class Spoiling(Ill):
    def __init__(self, spoilt=True, **settings):
        spoils = {0: {3: Flag.OVERLOAD}, 1: {0: Flag.OSCILLATION}} if spoilt else {}
        super().__init__(EchoStateRing(n_nodes=5, ring_nodes=5), flags_at=spoils, fails_at=[4] if spoilt else [])
"""


def test_spoiled_shots_are_taken_again_and_an_ill_device_is_waited_for(
    labpgt: Labpgt, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "spoiling.py").write_text(SPOILING)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.delitem(sys.modules, "spoiling", raising=False)
    monkeypatch.setattr(pause, "FIRST_WAIT_S", 1e-3)
    small.write_text(re.sub(r"(?ms)^\[device\].*?^\[", '[device]\nname = "spoiling:Spoiling"\n[', small.read_text()))
    undisturbed = labpgt("calibrate", small, "--quick", "--set", "device.spoilt=false", "--json").json
    # So that the calls that are counted are those of the last step.
    monkeypatch.setattr("procedures.calibrate.run.MEASURES", {"gain": (), "ring": ()})
    done = labpgt("calibrate", small, "--quick", "--json")
    assert done.code == 0, done.err
    report = done.json
    for name in ("drive_deviation", "response_deviation", "noise_to_signal", "response_scale", "delta"):
        assert report[name] == pytest.approx(undisturbed[name], rel=1e-9)
    assert "paused" in done.err
    assert "the run goes on after a pause of" in done.err


def test_the_small_configuration_of_the_tests_can_be_calibrated(labpgt: Labpgt, small: Path) -> None:
    report = labpgt("calibrate", small, "--quick", "--json").json
    assert report["estimator"] == configured().training.estimator
    assert report["delta"] > 0


def test_a_signal_in_the_last_call_of_a_step_ends_the_calibration_after_it(tmp_path: Path) -> None:
    config = configured()
    seen: list[str] = []

    def watch(event: object) -> None:
        if isinstance(event, StepBegins):
            seen.append(event.name)
        if isinstance(event, Done) and event.measure == MEASURES["ring"][-1]:
            os.kill(os.getpid(), signal.SIGINT)

    found = calibrate(config, tmp_path, gain_share=0.6, quick=True, watcher=watch)
    assert (found.status, found.reason) == (Status.ABORTED, "Ctrl-C")
    assert seen == ["gain", "ring"], "the steps that were left are not begun"

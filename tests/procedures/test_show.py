"""`labpgt show` and `labpgt replay` on sessions of any kind; nothing that a file says is run."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from labpgt.session import Session
from simulators.echo_state import EchoStateRing
from tests.forging import forged, renew
from tests.procedures.conftest import Labpgt
from tests.runs import configured, record


@pytest.fixture
def session(tmp_path: Path) -> Path:
    path = tmp_path / "run.h5"
    record(configured(training={"epochs": 2, "baseline": True, "evaluation": "full"}), path)
    return path


def test_show_json_says_what_is_in_the_file(labpgt: Labpgt, session: Path) -> None:
    done = labpgt("show", session, "--json")
    assert (done.code, done.err) == (0, "")
    shown = done.json
    with Session(session) as recorded:
        shots = recorded.shots()
        assert shown["recorded_shots"] == len(shots) == recorded.n_shots
        assert shown["recorded_shots_by_purpose"] == {
            name: np.count_nonzero(shots["purpose"] == number)
            for number, name in enumerate(("train", "calibration", "baseline", "evaluation"))
        }
        assert shown["results"] == recorded.results
        assert shown["parameters_sha256"] == recorded.parameters_sha256
        assert shown["configuration"] == recorded.configuration
        assert shown["provenance"] == recorded.provenance
    assert (shown["status"], shown["device"], shown["symbols"], shown["nodes"]) == ("success", "echo-state-ring", 4, 5)
    assert shown["settings"]["ring_nodes"] == {"value": 5, "unit": ""}
    assert [epoch["shots"] for epoch in shown["epochs"]] == [240, 480]
    assert shown["epochs"][1]["test_loss"] == shown["results"]["test_loss"]
    assert shown["updates"] == 30


def test_show_in_words(labpgt: Labpgt, session: Path) -> None:
    done = labpgt("show", session)
    assert (done.code, done.err) == (0, "")
    for expected in (
        *("Configuration", 'estimator = "jacobian-twin"', "Device echo-state-ring", "ring_nodes = 5"),
        *("480 train", "epoch 2: 480 shots", "class-prior loss", "0.22222", "success", "training.epochs = 2 done"),
        *("nonlinear in the drive", "a readout alone reaches", "started 20", "numpy: "),
    ):
        assert expected in done.out


def test_show_of_a_run_that_measured_little(labpgt: Labpgt, tmp_path: Path) -> None:
    """Without evaluation there is no test loss: no number in words, null in JSON."""
    record(configured(), tmp_path / "run.h5")
    done = labpgt("show", tmp_path / "run.h5")
    assert done.code == 0
    assert "epoch 1: 240 shots" in done.out
    assert " nan" not in done.out
    shown = labpgt("show", tmp_path / "run.h5", "--json").json
    assert shown["epochs"][0]["test_loss"] is None
    assert shown["epochs"][0]["train_loss"] == shown["results"]["train_loss"]


def test_show_of_odd_contents(labpgt: Labpgt, session: Path) -> None:
    """A file that somebody else has written into is shown all the same."""
    with forged(session) as file:
        rows = file["entry/shots"][:2]
        rows["purpose"] = 77
        file["entry/shots"][:2] = rows
        epochs = file["entry/epochs"][:]
        epochs["train_loss"] = np.inf
        epochs["parameters_sha256"] = b"\xff\xfe"
        file["entry/epochs"][:] = epochs
        file["entry/results/train_loss"][()] = np.inf
    done = labpgt("show", session, "--json")
    assert done.code == 0
    assert done.json["recorded_shots_by_purpose"]["unknown purpose 77"] == 2
    assert done.json["results"]["train_loss"] is None
    assert labpgt("show", session).code == 0


def test_markup_in_a_file_is_text(labpgt: Labpgt, tmp_path: Path) -> None:
    path = tmp_path / "[red]run[/blue].h5"
    record(configured(training={"max_shots": 32}), path)
    for command in ("show", "replay"):
        done = labpgt(command, path)
        assert done.code == 0
        assert "[red]run[/blue].h5" in done.out


def test_replay_verifies(labpgt: Labpgt, session: Path) -> None:
    before = session.read_bytes()
    done = labpgt("replay", session, "--verify", "--json")
    assert done.code == 0
    report = done.json
    assert (report["verified"], report["tolerance"], report["parameter_hashes"]) == (True, 0.0, 3)
    assert report["shots"] == report["recorded_shots"]
    assert session.read_bytes() == before
    in_words = labpgt("replay", session)
    assert in_words.code == 0
    assert "verified: True" in in_words.out


@pytest.mark.parametrize(("column", "says"), [("drive", "drive"), ("response", ""), ("loss", "loss"), ("seed", "")])
def test_a_changed_byte_is_found(column: str, says: str, labpgt: Labpgt, session: Path) -> None:
    row = flip_a_bit(session, column)
    done = labpgt("replay", session, "--verify", "--json")
    assert (done.code, done.out) == (5, "")
    assert f"row {row} does not match its checksum; the file is damaged there" in done.err
    with h5py.File(session, "r+") as file:
        renew(file)
    done = labpgt("replay", session, "--verify", "--json")
    assert done.code == 1
    report = done.json
    assert not report["verified"]
    assert f"shot {row} differs: {says}" in report["difference"]
    assert "was recorded as" in report["difference"]
    assert labpgt("replay", session, "--json").code == 0, "without --verify a difference is a finding, not a failure"


def flip_a_bit(session: Path, column: str) -> int:
    """Change the second byte of a training shot's column; return the shot's number."""
    with Session(session) as recorded:
        rows = recorded.shots()
    # A training shot: the perturbation of others has no seed.
    row = int(np.flatnonzero(rows["purpose"] == 0)[100])
    with h5py.File(session, "r") as file:
        shots = file["entry/shots"]
        chunk = shots.id.get_chunk_info_by_coord((row,))
        place = chunk.byte_offset + row % shots.chunks[0] * shots.dtype.itemsize
        place += shots.dtype.fields[column][1] + 1
    with session.open("rb+") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 0x40]))
    return row


def test_a_response_that_is_no_number_is_a_difference(labpgt: Labpgt, session: Path) -> None:
    with forged(session) as file:
        rows = file["entry/shots"][300:301]
        rows["response"][0, 0, 0] = np.nan
        file["entry/shots"][300:301] = rows
    done = labpgt("replay", session, "--verify", "--json")
    assert done.code == 1
    assert "shot 300 came back with a value that is not finite" in done.json["difference"]


def test_a_changed_hash_is_found(labpgt: Labpgt, session: Path) -> None:
    with forged(session) as file:
        file["entry/parameters_sha256"][()] = b"0" * 64
    done = labpgt("replay", session, "--verify", "--json")
    assert done.code == 1
    assert "parameters at the end hash to 0000000000000000… in the file" in done.json["difference"]


EVIL = """
import os
from pathlib import Path
Path(os.environ["EVIL_MARK"]).touch()
raise RuntimeError("imported because a file said so")
"""


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Exists once the module `evil` was imported."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "evil.py").write_text(EVIL)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.setitem(os.environ, "EVIL_MARK", str(tmp_path / "mark"))
    return tmp_path / "mark"


def test_a_device_that_a_file_names_is_not_imported(labpgt: Labpgt, mark: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    record(configured(device={"name": "evil:Class"}, training={"max_shots": 32}), path, EchoStateRing(n_nodes=5))
    assert '"evil:Class"' in labpgt("show", path).out
    assert labpgt("show", path, "--json").code == 0
    assert labpgt("replay", path, "--verify").code == 0
    assert not mark.exists()


def test_layers_that_a_file_names_are_not_imported(labpgt: Labpgt, mark: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    record(configured(training={"max_shots": 32}), path)
    with forged(path) as file:
        configuration = file["entry/configuration"]
        text = (
            configuration[()]
            .decode()
            .replace('# pre = "mynetwork:build"  # an example: not set', 'pre = "evil:layers"')
        )
        assert 'pre = "evil:layers"' in text
        configuration[()] = text.encode()
    assert 'pre = "evil:layers"' in labpgt("show", path).out
    done = labpgt("replay", path, "--verify", "--json")
    assert (done.code, done.out) == (2, "")
    assert "--allow evil:layers" in done.err
    assert not mark.exists()
    done = labpgt("replay", path, "--allow", "evil:layers")
    assert done.code == 2
    assert "cannot be imported (imported because a file said so)" in done.err
    assert mark.exists()

"""`labpgt sweep`: every combination and seed once, however often it is stopped; what it says and what it refuses."""

import csv
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from labpgt.events import Status
from labpgt.session import Session
from procedures.sweep.plan import split_values
from tests import forked
from tests.procedures.conftest import Labpgt, Outcome

ROOT = Path(__file__).resolve().parents[2]
OVER = ("--over", "training.estimator=pgt,node", "--over", "training.batch=8,16", "--seeds", "2")
DEVICE = """
import time
from pathlib import Path
from bench import Bench


class Moody(Bench):
    \"\"\"Fails, or sends Ctrl-C, at the shot that a file beside its log names; told nothing by its settings.\"\"\"

    def forward(self, drives):
        for name in ("fails", "interrupts", "waits"):
            mood = self.log.with_name(name)
            if mood.exists() and self.next <= int(mood.read_text()) < self.next + len(drives):
                if name == "waits":
                    time.sleep(60)
                mood.unlink()
                if name == "fails":
                    raise OSError("the cable fell out")
                import os, signal
                os.kill(os.getpid(), signal.SIGINT)
        return super().forward(drives)
"""


def index(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def hashes(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.glob("*.h5")):
        with Session(path) as session:
            assert session.status is Status.SUCCESS
            found[path.name] = session.parameters_sha256
    return found


def test_every_combination_and_seed_is_the_run_that_train_makes(labpgt: Labpgt, small: Path, folder: Path) -> None:
    done = labpgt("sweep", small, *OVER, "--set", "training.evaluation=test", "--out", "s", "--json")
    assert done.code == 0
    report = done.json
    assert (report["status"], report["runs"], report["done"], report["failed"]) == ("success", 8, 8, 0)
    assert report["seeds"] == [0, 1]
    rows = index(folder / "s")
    assert [(r["training.estimator"], r["training.batch"], r["seed"]) for r in rows] == [
        (estimator, batch, seed) for estimator in ("pgt", "node") for batch in ("8", "16") for seed in ("0", "1")
    ]
    assert rows[3]["file"] == "estimator=pgt-batch=16-seed=1.h5"
    found = hashes(folder / "s")
    assert {row["file"]: row["parameters_sha256"] for row in rows} == found
    assert len(set(found.values())) == 8
    options = ("--set", "training.evaluation=test", "--set", "training.batch=16", "--estimator", "node", "--seed", "1")
    alone = labpgt("train", small, *options, "--json").json
    assert found["estimator=node-batch=16-seed=1.h5"] == alone["parameters_sha256"]
    last = report["combinations"][-1]
    assert last["values"] == {"training.estimator": "node", "training.batch": "16"}
    losses = [float(row["train_loss"]) for row in rows[-2:]]
    assert alone["train_loss"] == losses[1]
    assert last["train_loss"] == {"median": np.median(losses), "min": min(losses), "max": max(losses)}
    assert last["test_accuracy"]["max"] == max(float(row["test_accuracy"]) for row in rows[-2:])
    assert last["readout_only_loss"] is None
    assert [line.split()[0] for line in done.err.splitlines() if "/8 " in line] == [f"{i}/8" for i in range(1, 9)]


def test_what_is_done_stays_and_more_values_are_added(labpgt: Labpgt, small: Path, folder: Path) -> None:
    assert labpgt("sweep", small, "--over", "training.batch=8", "--out", "s").code == 0
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (folder / "s").glob("*.h5")}
    done = labpgt("sweep", small, "--over", "training.batch=16,8", "--seeds", "2", "--out", "s")
    assert done.code == 0
    assert "4 runs, 1 of them done already" in done.err
    assert "4 of 4 done, 1 of them before" in done.out
    assert "training.batch" in done.out
    for name, (data, changed) in before.items():
        assert (folder / "s" / name).read_bytes() == data
        assert (folder / "s" / name).stat().st_mtime_ns == changed
    assert [(row["training.batch"], row["seed"]) for row in index(folder / "s")] == [
        *(("8", "0"), ("16", "0"), ("16", "1"), ("8", "1"))
    ]
    # Only these rows are summed up, but the index keeps what it had.
    assert labpgt("sweep", small, "--over", "training.batch=16", "--out", "s", "--json").json["done_before"] == 1
    assert len(index(folder / "s")) == 4


def test_seeds_alone_and_seeds_by_name(labpgt: Labpgt, small: Path, folder: Path) -> None:
    assert labpgt("sweep", small, "--seeds", "2", "--set", "training.seed=5", "--out", "a").code == 0
    done = labpgt("sweep", small, "--over", "training.seed=6,5", "--out", "b", "--json")
    assert done.code == 0
    assert hashes(folder / "a") == hashes(folder / "b")
    assert sorted(hashes(folder / "a")) == ["seed=5.h5", "seed=6.h5"]
    (combined,) = done.json["combinations"]
    assert (combined["values"], combined["done"]) == ({}, 2)
    assert [row["seed"] for row in index(folder / "b")] == ["6", "5"]


@pytest.fixture
def moody(bench: Path, tmp_path: Path) -> Path:
    """The configuration of a device whose mood is a file; `tmp_path / "log"` is its log."""
    (tmp_path / "modules" / "moody.py").write_text(DEVICE)
    bench.write_text(bench.read_text().replace("bench:Bench", "moody:Moody"))
    return bench


def on_bench(labpgt: Labpgt, moody: Path, *options: str) -> Outcome:
    return labpgt("sweep", moody, "--over", "training.estimator=pgt,node", *options)


@pytest.fixture
def undisturbed(labpgt: Labpgt, moody: Path, folder: Path) -> dict[str, str]:
    """Hashes of a sweep that nothing stops."""
    assert on_bench(labpgt, moody, "--out", "undisturbed").code == 0
    return hashes(folder / "undisturbed")


@pytest.mark.parametrize(("mood", "code", "status"), [("fails", 3, "failed"), ("interrupts", 4, "aborted")])
def test_a_sweep_that_was_stopped_goes_on_to_the_same_results(
    labpgt: Labpgt,
    moody: Path,
    folder: Path,
    tmp_path: Path,
    undisturbed: dict[str, str],
    mood: str,
    code: int,
    status: str,
) -> None:
    (tmp_path / mood).write_text("150")
    done = on_bench(labpgt, moody, "--out", "s", "--json")
    assert done.code == code
    assert done.json["status"] == status
    assert (tmp_path / "log").read_text().split()[-2:] == ["safe", "close"]
    row, other = index(folder / "s")
    assert (row["status"], other["status"]) == (status, "planned")
    assert row["reason"] == ("Ctrl-C" if code == 4 else row["reason"]) != ""
    assert int(float(row["shots"])) < 240
    if code == 3:
        assert "the cable fell out" in row["reason"]
        assert "start the same sweep again" in done.err
    done = on_bench(labpgt, moody, "--out", "s", "--json")
    assert done.code == 0
    assert "1/2 estimator=pgt-seed=0: going on" in done.err
    assert done.json["done"] == 2
    assert hashes(folder / "s") == undisturbed
    assert [row["status"] for row in index(folder / "s")] == ["success", "success"]


def test_a_sweep_that_was_killed_goes_on_to_the_same_results(
    labpgt: Labpgt, moody: Path, folder: Path, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    (tmp_path / "waits").write_text("150")
    arguments = ["sweep", str(moody), "--over", "training.estimator=pgt,node", "--out", "s"]
    process = forked.start_command(arguments, folder, tmp_path / "out", tmp_path / "err")
    path = folder / "s" / "estimator=pgt-seed=0.h5"
    try:
        deadline = time.monotonic() + 60
        while not path.exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        # Who looks at the same sweep meanwhile is told.
        done = on_bench(labpgt, moody, "--out", "s")
        assert done.code == 2
        assert "still going on in another process" in done.err
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    (tmp_path / "waits").unlink()
    assert index(folder / "s")[0]["status"] == "running"
    assert on_bench(labpgt, moody, "--out", "s").code == 0
    assert hashes(folder / "s") == undisturbed


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_a_run_that_diverges_is_noted_and_the_others_are_made(labpgt: Labpgt, small: Path, folder: Path) -> None:
    over = ("--over", "training.learning_rate=1e30,2e-3", "--set", "training.optimizer=SGD")
    over += ("--set", "training.estimator=backprop")
    done = labpgt("sweep", small, *over, "--out", "s", "--json")
    assert done.code == 1
    report = done.json
    assert (report["status"], report["done"], report["failed"]) == ("success", 1, 1)
    assert [(c["done"], c["failed"]) for c in report["combinations"]] == [(0, 1), (1, 0)]
    assert report["combinations"][0]["train_loss"] is None
    rows = index(folder / "s")
    assert [row["status"] for row in rows] == ["failed", "success"]
    assert "diverged" in rows[0]["reason"]
    done = labpgt("sweep", small, *over, "--out", "s")
    assert done.code == 1
    assert "1 of 2 done, 1 of them before, 1 failed" in done.out


BAD = {
    "": "nothing to sweep: give --over section.key=a,b,c or --seeds N",
    "--over training.delta": "--over training.delta: expected section.key=a,b,c",
    "--over training.delta=0.1,,0.2": "expected section.key=a,b,c",
    "--over batch=4,8": "expected section.key=a,b,c",
    "--over training.batc=4,8": 'training.batc: unknown key. Did you mean "batch"?',
    "--over training.batch=4,x": 'training.batch = "x": must be a whole number',
    "--over training.batch=4,4": "are the same run: give each value once",
    "--over training.learning_rate=0.1,1e-1": "are the same run: give each value once",
    "--over training.batch=4,8 --over training.batch=16": "every key may be given once",
    "--over training.seed=1,2 --seeds 2": "--seeds 2 and --over training.seed: give one of them",
    "--over session.file=a.h5,b.h5": "where and how a session is kept makes no other run",
    "--over device.nose=1,2": 'device.nose: unknown key. Did you mean "noise"?',
    "--seeds 0": "--seeds",
    "--over network.symbols=4,100000": "takes at most 65536",
}


@pytest.mark.parametrize(("options", "message"), BAD.items())
def test_bad_input_is_one_message_before_the_first_shot(
    options: str, message: str, labpgt: Labpgt, small: Path, folder: Path
) -> None:
    done = labpgt("sweep", small, *options.split(), "--json")
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    if "100000" not in options:
        assert list(folder.iterdir()) == []


def test_a_folder_of_other_runs_is_refused(labpgt: Labpgt, small: Path, folder: Path) -> None:
    over = ("--over", "training.batch=8,16", "--out", "s")
    assert labpgt("sweep", small, *over).code == 0
    before = hashes(folder / "s")
    done = labpgt("sweep", small, *over, "--set", "training.epochs=2")
    assert done.code == 2
    assert "batch=8-seed=0.h5: was made with training.epochs = 1, and now it is 2; choose another --out" in done.err
    done = labpgt("sweep", small, "--over", "training.estimator=pgt", "--out", "s")
    assert done.code == 2
    assert "index.csv: is the index of another sweep, with columns file, training.batch, seed" in done.err
    assert hashes(folder / "s") == before
    (folder / "s" / "batch=8-seed=0.h5").write_text("precious")
    done = labpgt("sweep", small, *over)
    assert done.code == 2
    assert "batch=8-seed=0.h5" in done.err
    assert (folder / "s" / "batch=8-seed=0.h5").read_text() == "precious"


def test_an_index_that_cannot_be_written_is_a_storage_fault(
    labpgt: Labpgt, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    done = labpgt("sweep", small, "--seeds", "2", "--out", "s")
    assert done.code == 5
    assert "writing the index of the sweep failed: No space left on device" in done.err


def test_values_are_split_at_commas_outside_of_brackets_and_quotes() -> None:
    assert split_values("a,b , c") == ["a", "b", "c"]
    assert split_values("[8],[16, 4],[]") == ["[8]", "[16, 4]", "[]"]
    assert split_values("{a = 1, b = [2, 3]},'x,y',\"p,q\"") == ["{a = 1, b = [2, 3]}", "'x,y'", '"p,q"']
    assert split_values("") == [""]


def test_files_have_names_that_every_disk_takes(labpgt: Labpgt, small: Path, folder: Path) -> None:
    assert labpgt("sweep", small, "--over", "network.hidden=[8],[8, 4]", "--out", "s").code == 0
    names = sorted(hashes(folder / "s"))
    assert len(names) == 2
    assert all(set("[]{}'\",/ ").isdisjoint(name) for name in names)
    assert {row["network.hidden"] for row in index(folder / "s")} == {"[8]", "[8, 4]"}

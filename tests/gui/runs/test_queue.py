"""The queue: order, one at a time, what holds it, what is said of failures, and what outlives the window."""

import json
import os
import shutil
import tomllib
from pathlib import Path

import pytest
from PyQt6.QtCore import QModelIndex, Qt
from PyQt6.QtTest import QAbstractItemModelTester
from pytestqt.qtbot import QtBot

from gui.jobs import Jobs, JobState
from gui.lab import Lab
from gui.runs import queue as module
from gui.runs.entry import Entry
from gui.runs.queue import RunQueue
from tests.gui.runs.conftest import Scripted

CRASHED = Path(__file__).parents[2] / "labpgt" / "sessions" / "schema-1-crashed.h5"


def copied(lab: Lab) -> Path:
    """Return a session of a run that crashed, for this test alone."""
    session = Path(shutil.copy(CRASHED, lab.sessions / "crashed.h5"))
    os.utime(session, (0, 0))  # written lately on another computer, it would be taken for a run that goes on
    return session


@pytest.fixture
def queue(scripted: Scripted, lab: Lab) -> RunQueue:
    queue = RunQueue(lab)
    QAbstractItemModelTester(queue, QAbstractItemModelTester.FailureReportingMode.Fatal, queue)
    return queue


def _run(seed: int = 0) -> Entry:
    return Entry({"training": {"seed": seed}}, f"seed = {seed}")


def _order(queue: RunQueue) -> list[str]:
    return [entry.note for entry in queue.entries]


def test_runs_go_one_after_the_other_in_their_order(
    queue: RunQueue, scripted: Scripted, lab: Lab, qtbot: QtBot, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    figures = "5/20, loss 0.2104, test 66.7%, 1,382/s, 1 day, 2:03:04 left"
    told = {"progress": {"description": "training", "figures": figures, "completed": 5, "total": 20}}
    scripted.then(told, until=go)
    scripted.then(report={"status": "success", "train_loss": 0.0123, "test_accuracy": 0.951})
    first, second = _run(1), _run(2)
    queue.add([first, second])
    qtbot.waitUntil(lambda: first.share == 0.25)
    assert (first.standing, second.standing) == (JobState.RUNNING, JobState.WAITING)
    assert (first.loss, first.accuracy, first.left) == ("0.2104", "66.7%", "1 day, 2:03:04")
    go.touch()
    qtbot.waitUntil(lambda: second.standing is JobState.DONE)
    assert first.standing is JobState.DONE
    assert (second.loss, second.accuracy, second.share) == ("0.0123", "95.1%", 1.0)
    for entry, argv in zip((first, second), scripted.commands, strict=True):
        assert entry.session is not None
        assert entry.session.parent == lab.sessions
        assert list(argv) == ["train", argv[1], "--out", str(entry.session), "--json"]
        assert tomllib.loads(Path(argv[1]).read_text()) == entry.config
    assert first.session != second.session


def test_several_may_go_at_a_time_but_not_on_one_bench(
    queue: RunQueue, scripted: Scripted, lab: Lab, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[Path] = []
    monkeypatch.setattr(lab.rf, "watch_over", watched.append)
    queue.allow(3)
    ring = {"device": {"name": "magnonic-ring", "bench": "bench.toml"}}
    entries = [Entry(ring), Entry(ring), _run(), _run()]
    for _ in entries:
        scripted.then(until=tmp_path / "go")
    queue.add(entries)
    qtbot.waitUntil(lambda: len(queue.going) == 3)
    assert entries[1].standing is JobState.WAITING
    assert set(watched) == {tmp_path / "bench.toml"}
    (tmp_path / "go").touch()
    qtbot.waitUntil(lambda: all(entry.standing is JobState.DONE for entry in entries))


@pytest.mark.parametrize("words", [["characterize", "--json"], ["bench", "bench.toml", "--health", "--json"]])
def test_a_measurement_has_the_device_for_itself(
    queue: RunQueue, scripted: Scripted, lab: Lab, qtbot: QtBot, tmp_path: Path, words: list[str]
) -> None:
    scripted.then(until=tmp_path / "go")
    measuring = lab.jobs.start("a measurement", words)
    entry = _run()
    queue.add([entry])
    with qtbot.waitSignal(measuring.ended):
        assert entry.standing is JobState.WAITING
        (tmp_path / "go").touch()
    qtbot.waitUntil(lambda: entry.standing is JobState.DONE)


@pytest.mark.parametrize(
    ("code", "said", "why", "advice", "held"),
    [
        (1, "Traceback\nValueError: x", "failed: Traceback\nValueError: x", "See in the log", False),
        (2, "labpgt: training.batch = 0: must be at least 1", "bad input: training.batch = 0", "Press To form", False),
        (2, "x.h5: is yours, say so with --allow a:B", "bad input: x.h5: is yours", "Resume it: you are asked", False),
        (3, "source: nothing listens there", "device fault: source: nothing listens", "Look at the bench", True),
        (3, "make sure by hand that its RF is off", "device fault: ", "Make sure by hand that RF is off. Look", True),
        (5, "disk full", "storage fault: disk full", "Look at the disk: is there room", True),
    ],
)
def test_a_failure_says_why_and_what_to_do_and_holds_what_would_meet_the_same(
    code: int, said: str, why: str, advice: str, held: bool, queue: RunQueue, scripted: Scripted, qtbot: QtBot
) -> None:
    scripted.then({"error": f"{said}\nlabpgt: to go on once that is mended: labpgt resume x.h5"}, code=code)
    first, second = _run(1), _run(2)
    queue.add([first, second])
    qtbot.waitUntil(lambda: first.standing is JobState.FAILED)
    assert first.why.startswith(why)
    assert "labpgt resume" not in first.why
    assert first.advice.startswith(advice)
    assert not first.resumable  # there is no session
    assert queue.data(queue.index_of(first)).endswith(first.advice)
    if held:
        assert queue.held
        assert second.standing is JobState.WAITING
    else:
        qtbot.waitUntil(lambda: second.standing is JobState.DONE)


def test_a_run_that_was_stopped_holds_the_queue_and_can_go_on(
    queue: RunQueue, scripted: Scripted, qtbot: QtBot, tmp_path: Path
) -> None:
    scripted.then({"say": "begun"}, until=tmp_path / "never")
    first, second = _run(1), _run(2)
    queue.add([first, second])
    qtbot.waitUntil(lambda: first.standing is JobState.RUNNING)
    assert first.session is not None
    first.session.touch()
    assert first.job is not None
    first.job.stop()
    assert first.standing is JobState.STOPPING
    qtbot.waitUntil(lambda: first.standing is JobState.STOPPED)
    assert (first.why, first.advice) == ("stopped by hand", "Resume it to go on where it was.")
    assert (queue.held, queue.why_held) == (True, "a run was stopped")
    session = first.session
    queue.again(first, resume=True)
    qtbot.waitUntil(lambda: first.standing is JobState.DONE)
    assert second.standing is JobState.WAITING  # the queue is still held
    queue.release()
    qtbot.waitUntil(lambda: second.standing is JobState.DONE)
    assert list(scripted.commands[1]) == ["resume", str(session), "--json"]
    assert (first.standing, first.session) == (JobState.DONE, session)
    assert queue.rowCount() == 2  # the same entry went on


def test_retrying_begins_in_another_file(queue: RunQueue, scripted: Scripted, qtbot: QtBot) -> None:
    scripted.then({"error": "x"}, code=3)
    entry = Entry({"session": {"file": "asked.h5", "checkpoint_s": 5.0}})
    queue.add([entry])
    qtbot.waitUntil(lambda: entry.standing is JobState.FAILED)
    queue.again(entry, resume=False)
    qtbot.waitUntil(lambda: entry.standing is JobState.DONE)
    assert [argv[0] for argv in scripted.commands] == ["train", "train"]
    first, second = (Path(argv[argv.index("--out") + 1]).name for argv in scripted.commands)
    assert first == "asked.h5" != second
    assert entry.config == {"session": {"checkpoint_s": 5.0}}


def test_rf_off_holds_the_queue(queue: RunQueue, lab: Lab, qtbot: QtBot) -> None:
    lab.rf.turn_off()  # no bench is known, and nothing is running
    entry = _run()
    queue.add([entry])
    assert queue.why_held == "RF OFF was pressed"
    qtbot.wait(50)
    assert entry.standing is JobState.WAITING


def test_a_run_that_cannot_be_started_says_so(queue: RunQueue, lab: Lab, tmp_path: Path, qtbot: QtBot) -> None:
    (tmp_path / "file").touch()
    lab.choose_sessions(tmp_path / "file" / "sessions")
    entry = _run()
    with qtbot.waitSignal(lab.noticed):
        queue.add([entry])
    assert entry.standing is JobState.FAILED
    assert entry.why.startswith("cannot be started: ")
    assert not entry.resumable


def test_entries_can_be_moved_dragged_and_taken_out(queue: RunQueue) -> None:
    queue.hold()
    a, b, c = _run(1), _run(2), _run(3)
    queue.add([a, b, c])
    queue.move(c, 0)
    assert _order(queue) == ["seed = 3", "seed = 1", "seed = 2"]
    data = queue.mimeData([queue.index_of(c)])
    queue.dropMimeData(data, Qt.DropAction.MoveAction, 2, 0, QModelIndex())
    assert _order(queue) == ["seed = 1", "seed = 3", "seed = 2"]
    queue.dropMimeData(queue.mimeData([queue.index_of(a)]), Qt.DropAction.MoveAction, -1, -1, QModelIndex())
    assert _order(queue) == ["seed = 3", "seed = 2", "seed = 1"]
    queue.add([_run(4)], next_one=True)
    assert _order(queue)[0] == "seed = 4"
    assert queue.remove(b)
    assert not queue.remove(b)
    assert _order(queue) == ["seed = 4", "seed = 3", "seed = 1"]


def test_what_waits_and_what_goes_on_is_there_in_the_next_window(
    queue: RunQueue, scripted: Scripted, lab: Lab, qtbot: QtBot, tmp_path: Path
) -> None:
    scripted.then({"progress": {"description": "training", "completed": 1, "total": 2}}, until=tmp_path / "go")
    going, waiting = _run(1), _run(2)
    queue.add([going, waiting])
    qtbot.waitUntil(lambda: going.share == 0.5)
    queue.move(waiting, 0)
    kept = lab.state.folder / "queue.json"
    qtbot.waitUntil(lambda: json.loads(kept.read_text())["entries"][0]["note"] == "seed = 2")
    process = going.job.process if going.job is not None else None

    lab.jobs.close()  # the window is gone
    lab.jobs = Jobs(lab.state.jobs, standby=False)
    later = RunQueue(lab)
    lab.jobs.find_again()
    assert [entry.standing for entry in later.entries] == [JobState.WAITING, JobState.STARTING]
    assert later.held
    assert "waiting when the window was closed" in later.why_held
    found = later.entries[1]
    qtbot.waitUntil(lambda: found.share == 0.5)
    assert found.config == going.config
    (tmp_path / "go").touch()
    assert process is not None
    process.wait()  # type: ignore[union-attr]
    qtbot.waitUntil(lambda: found.standing.over)
    later.release()
    qtbot.waitUntil(lambda: later.entries[0].standing is JobState.DONE)


def test_a_run_that_ended_while_there_was_no_window_is_told_from_its_session(
    scripted: Scripted, lab: Lab, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FOUND_AGAIN_MS", 0)
    crashed, gone = _run(1), _run(2)
    crashed.session, gone.session = copied(lab), lab.sessions / "gone.h5"
    crashed.standing = gone.standing = JobState.RUNNING
    module.Store(lab.state.folder / "queue.json").save([crashed, gone], 2)
    queue = RunQueue(lab)
    assert queue.at_once == 2
    qtbot.waitUntil(lambda: all(entry.standing is JobState.FAILED for entry in queue.entries))
    first, second = queue.entries
    assert (first.why, first.resumable) == ("its process is gone", True)
    assert "gone.h5" in second.why
    assert not second.resumable


@pytest.mark.parametrize("text", ["", "[]", '{"at_once": 1, "entries": [{"config": 3}]}', "\0"])
def test_a_damaged_file_of_the_queue_is_no_queue(text: str, lab: Lab) -> None:
    (lab.state.folder / "queue.json").write_text(text)
    assert RunQueue(lab).entries == []


def test_a_run_that_somebody_else_has_started_is_in_the_queue(
    queue: RunQueue, scripted: Scripted, lab: Lab, qtbot: QtBot, tmp_path: Path
) -> None:
    scripted.then(until=tmp_path / "go")
    session = copied(lab)
    lab.jobs.start("resume", ["resume", str(session), "--json"], session=session)
    (entry,) = queue.entries
    qtbot.waitUntil(lambda: bool(entry.config))
    assert entry.standing.going
    (tmp_path / "go").touch()
    qtbot.waitUntil(lambda: entry.standing is JobState.DONE)

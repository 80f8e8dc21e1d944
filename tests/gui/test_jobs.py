"""Jobs of the window: real command lines in processes of their own."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from pytestqt.qtbot import QtBot

from gui import kept
from gui.jobs import Job, Jobs, JobState
from gui.lab import Lab
from labpgt.config import DeviceConfig, to_toml
from labpgt.session import Session
from tests.runs import configured

SECONDS = 60_000
"""Longest wait for anything, in ms."""


ENDLESS = 100_000
"""Epochs of a run that a test ends."""


def write_config(path: Path, device: dict[str, Any] | None = None, **training: Any) -> Path:
    """Write the small configuration, with these settings of the training and another device if one is given.

    A run without end is one of a device that takes its time, lest it keep a processor busy beside the window.
    """
    config = configured(training=training)
    if device is None and training.get("epochs") == ENDLESS:
        device = {"name": "tests.paced:PacedRing"}
    if device is not None:
        config = config.model_copy(update={"device": DeviceConfig(**device)})
    path.write_text(to_toml(config), encoding="utf-8")
    return path


def start(lab: Lab, folder: Path, epochs: int = 1) -> Job:
    """Start a small run of so many epochs."""
    config = write_config(folder / "run.toml", epochs=epochs)
    session = folder / "run.h5"
    words = ["train", str(config), "--out", str(session), "--json"]
    return lab.jobs.start("a run", words, session=session)


def over(qtbot: QtBot, job: Job) -> None:
    qtbot.waitUntil(lambda: job.state.over, timeout=SECONDS)


def under_way(qtbot: QtBot, job: Job) -> None:
    qtbot.waitUntil(lambda: job.state.over or job.progress.description == "training", timeout=SECONDS)
    assert not job.state.over, job.message


@pytest.mark.usefixtures("started_anew")
def test_a_run_is_started_watched_paused_and_stopped(lab: Lab, qtbot: QtBot, tmp_path: Path) -> None:
    job = start(lab, tmp_path, epochs=ENDLESS)
    under_way(qtbot, job)
    assert job.state is JobState.RUNNING
    assert 0 <= job.progress.share < 1
    job.pause()
    qtbot.waitUntil(lambda: job.state is JobState.PAUSED, timeout=SECONDS)
    job.go_on()
    qtbot.waitUntil(lambda: job.state is JobState.RUNNING, timeout=SECONDS)
    job.stop()
    over(qtbot, job)
    assert (job.state, job.exit_code, job.outcome) == (JobState.STOPPED, 4, "stopped")
    assert job.report["status"] == "aborted"
    with Session(tmp_path / "run.h5") as session:
        assert session.status == "aborted"
        assert [w.split(":")[0].split(" ")[0] for w in session.warnings] == ["paused", "goes"]


def test_a_run_that_is_refused_says_why(lab: Lab, qtbot: QtBot, tmp_path: Path) -> None:
    said: list[tuple[str, str]] = []
    config = write_config(tmp_path / "run.toml", device={"name": "echo-state-ring", "n_nodes": -3})
    job = lab.jobs.start("a run", ["train", str(config), "--json"])
    job.said.connect(lambda level, text: said.append((level, text)))
    over(qtbot, job)
    assert (job.state, job.outcome) == (JobState.FAILED, "bad input")
    assert "device.n_nodes = -3: must be at least 1" in job.message
    assert said[-1] == ("error", job.message)


def test_a_killed_run_is_told_apart_from_a_stopped_one(lab: Lab, qtbot: QtBot, tmp_path: Path) -> None:
    job = start(lab, tmp_path, epochs=ENDLESS)
    under_way(qtbot, job)
    job.kill()
    over(qtbot, job)
    assert (job.state, job.outcome) == (JobState.FAILED, "its process was killed")


def test_the_next_window_finds_a_run_again(lab: Lab, qtbot: QtBot, tmp_path: Path) -> None:
    job = start(lab, tmp_path, epochs=ENDLESS)
    under_way(qtbot, job)
    (lab.state.jobs / "stale.job").write_text(json.dumps({"title": "x", "argv": [], "session": None, "pid": 1}))
    (lab.state.jobs / "torn.job").write_text("{")
    other = Jobs(lab.state.jobs, standby=False)
    found: list[Job] = []
    other.started.connect(found.append)
    other.find_again()
    again = found[0]
    assert (len(found), again.title, again.session, again.pid) == (1, "a run", tmp_path / "run.h5", job.pid)
    assert not list(lab.state.jobs.glob("stale.job")) + list(lab.state.jobs.glob("torn.job"))
    under_way(qtbot, again)
    again.stop()
    over(qtbot, again)
    assert again.state is JobState.STOPPED
    other.close()


@pytest.mark.skipif(os.name != "posix", reason="processes in sessions of their own")
@pytest.mark.usefixtures("started_anew")
def test_a_window_that_dies_takes_no_run_with_it(lab: Lab, qtbot: QtBot, tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from PyQt6.QtCore import QCoreApplication, QTimer\n"
        "from gui.jobs import Jobs\n"
        "app = QCoreApplication([]); jobs = Jobs(Path(sys.argv[1]), standby=False)\n"
        "jobs.start('a run', ['train', sys.argv[2], '--out', sys.argv[3], '--json'], session=Path(sys.argv[3]))\n"
        "def die():\n"
        "    if Path(sys.argv[3]).exists(): os.kill(os.getpid(), signal.SIGKILL)\n"
        "timer = QTimer(); timer.timeout.connect(die); timer.start(20); app.exec()\n"
    )
    config = write_config(tmp_path / "run.toml", epochs=ENDLESS)
    session = tmp_path / "run.h5"
    words = [sys.executable, "-c", program, str(lab.state.jobs), str(config), str(session)]
    died = subprocess.run(words, check=False, timeout=60)
    assert died.returncode == -signal.SIGKILL
    lab.jobs.find_again()
    (job,) = lab.jobs.going
    under_way(qtbot, job)
    with Session(session) as recorded:
        shots = recorded.n_shots
        qtbot.waitUntil(lambda: recorded.refresh() or recorded.n_shots > shots, timeout=SECONDS)  # type: ignore[func-returns-value]
    job.stop()
    over(qtbot, job)
    assert job.report["status"] == "aborted"
    assert not psutil.pid_exists(job.pid or 0) or psutil.Process(job.pid).status() == psutil.STATUS_ZOMBIE


def test_a_process_that_stands_by_becomes_the_run(lab: Lab, qtbot: QtBot, tmp_path: Path) -> None:
    said: list[str] = []
    jobs = Jobs(lab.state.jobs, ["echo-state-ring"], standby=True)
    jobs.standby_changed.connect(said.append)
    jobs.begin()
    qtbot.waitUntil(lambda: "ready for a run" in said, timeout=SECONDS)
    config = write_config(tmp_path / "run.toml")
    words = ["train", str(config), "--out", str(tmp_path / "run.h5"), "--json"]
    job = jobs.start("a run", words, session=tmp_path / "run.h5", ready=True)
    over(qtbot, job)
    assert (job.state, job.report["status"], job.progress.share) == (JobState.DONE, "success", 1.0)
    jobs.close()


def test_a_run_is_found_again_though_the_clock_was_set(lab: Lab, qtbot: QtBot, tmp_path: Path) -> None:
    job = start(lab, tmp_path, epochs=ENDLESS)
    under_way(qtbot, job)
    file = job.files.with_suffix(".job")
    told = json.loads(file.read_text())
    stepped = told | {"created": told["created"] - 3600}
    others = {"another": stepped | {"mark": "x:1"}}
    file.write_text(json.dumps(stepped))
    for name, content in others.items():
        (lab.state.jobs / f"{name}.job").write_text(json.dumps(content))
    other = Jobs(lab.state.jobs, standby=False)
    other.find_again()
    found = {again.files.name for again in other.going}
    assert found == ({job.files.name} if told["mark"] else set())
    assert (lab.state.jobs / "another.job").exists() is not bool(told["mark"])
    other.close()


def test_what_is_kept_of_a_process_of_labpgt_is_not_forgotten_in_doubt(tmp_path: Path) -> None:
    told = {"title": "x", "argv": ["train", "x.toml"], "session": None, "created": 1.0}
    # It says that it is there: right after the start the system may not know its words yet.
    program = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", "labpgt"]
    for words, same, in_doubt in (([], False, True), (["train", "x.toml"], True, True)):
        pipe = subprocess.PIPE
        with subprocess.Popen([*program, *words], stdin=pipe, stdout=pipe) as process:
            assert process.stdout is not None
            process.stdout.readline()
            (tmp_path / "x.job").write_text(json.dumps(told | {"pid": process.pid}))
            found = kept.read(tmp_path / "x.job")
            assert (found.process is not None, found.in_doubt) == (same, in_doubt)
            process.communicate()
        assert (found.process, found.in_doubt) == (None, False)


@pytest.fixture
def unwritable(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let the folder of the jobs be one in which nothing can be written or removed any more, also for root."""

    def refuse(self: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    def close() -> None:
        for name in ("write_text", "write_bytes", "unlink", "replace"):
            monkeypatch.setattr(Path, name, refuse)

    return close


def test_a_job_ends_though_nothing_can_be_removed_and_no_other_is_kept_waiting(
    lab: Lab, qtbot: QtBot, unwritable: Callable[[], None]
) -> None:
    jobs = [lab.jobs.start(name, ["train", "none.toml", "--json"]) for name in ("first", "second")]
    unwritable()
    for job in jobs:
        over(qtbot, job)
        assert job.outcome == "bad input"


def test_what_fails_about_one_job_is_reported_and_the_others_are_heard(
    lab: Lab, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (lab.jobs.start(name, ["train", "none.toml", "--json"]) for name in ("first", "second"))

    def fail() -> None:
        monkeypatch.undo()
        raise ZeroDivisionError

    monkeypatch.setattr(first, "listen", fail)
    with qtbot.captureExceptions() as errors:
        over(qtbot, second)
        over(qtbot, first)
    assert [kind for kind, *_ in errors] == [ZeroDivisionError]


def test_a_run_that_cannot_be_kept_for_the_next_window_is_watched_all_the_same(
    lab: Lab, qtbot: QtBot, tmp_path: Path, unwritable: Callable[[], None]
) -> None:
    said: list[str] = []
    lab.jobs.started.connect(lambda job: job.said.connect(lambda level, text: said.append(f"{level}: {text}")))
    config = write_config(tmp_path / "run.toml", epochs=ENDLESS)
    unwritable()
    job = lab.jobs.start("a run", ["train", str(config), "--out", "run.h5", "--json"], session=tmp_path / "run.h5")
    assert "warning: a run goes on, but a later window will not find it again" in said[0]
    assert "(Read-only file system)" in said[0]
    assert lab.jobs.going == [job]
    job.stop()
    over(qtbot, job)


@pytest.mark.parametrize(
    ("out", "err", "state", "outcome"),
    [
        ('{"health": {"noise": 1}}', "", JobState.DONE, "done"),
        ('{"status": "aborted"}', "", JobState.STOPPED, "stopped"),
        ("", '{"error": "no answer", "exit_code": 3}', JobState.FAILED, "device fault"),
        ('{"health": {"no', "", JobState.FAILED, "its process was killed"),
    ],
)
def test_how_a_job_that_was_found_again_ended_is_seen_in_what_it_said(
    tmp_path: Path, out: str, err: str, state: JobState, outcome: str
) -> None:
    (tmp_path / "x.out").write_text(out)
    (tmp_path / "x.err").write_text(err)
    job = Job("health check", ["bench", "b.toml", "--health", "--json"], tmp_path / "x")
    job.listen()
    assert (job.state, job.outcome) == (state, outcome)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at what a process has loaded")
def test_a_run_is_stopped_while_what_stands_by_still_loads(lab: Lab, qtbot: QtBot, tmp_path: Path) -> None:
    jobs = Jobs(lab.state.jobs, standby=True)
    jobs.begin()
    words = ["train", str(write_config(tmp_path / "run.toml", epochs=ENDLESS)), "--out", str(tmp_path / "run.h5")]
    job = jobs.start("a run", words, session=tmp_path / "run.h5", ready=True)
    maps = Path(f"/proc/{job.pid}/maps")
    qtbot.waitUntil(lambda: "libtorch" in maps.read_text(), timeout=SECONDS)
    job.stop()
    over(qtbot, job)
    assert (job.state, job.outcome) == (JobState.STOPPED, "stopped")
    assert not (tmp_path / "run.h5").exists()
    jobs.close()

"""What is done with a recorded run, by real processes, and how that is told."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from PyQt6.QtWidgets import QCheckBox, QFileDialog

from gui.jobs import Job, JobState
from gui.lab import Lab
from gui.replay import ReplayPage
from gui.replay.work import outcome_of

Until = Callable[[Callable[[], object]], None]


def test_an_aborted_run_is_resumed_and_then_verified(
    page: ReplayPage, opened: Callable[[str], Path], lab: Lab, until: Until
) -> None:
    path = opened("aborted.h5")
    live: list[Path] = []
    lab.live_wanted.connect(live.append)
    lab.actions["replay.resume"].trigger()
    assert live == [path]
    assert not page.work.verify.isEnabled()
    until(lambda: page.work.job.state.over)
    assert page.work.job.state is JobState.DONE, page.work.outcome.text()
    # The file that took the place of the one that was open.
    until(lambda: "✔ success" in page.header.text())
    assert not page.work.resume.isEnabled()
    lab.actions["replay.verify"].trigger()
    until(lambda: page.work.job.argv[0] == "replay" and page.work.job.state.over)
    shots = page.shots._count
    assert page.work.outcome.text().startswith(f"✔ verified: {shots} shots reproduced bit for bit")


@pytest.mark.skipif(os.name != "posix", reason="no such signals here")
def test_a_run_is_exported_and_files_are_not_replaced_unasked(
    page: ReplayPage, opened: Callable[[str], Path], sessions: Path, until: Until, lab: Lab, tmp_path: Path
) -> None:
    opened("pgt.h5")
    (sessions / "pgt-steps.csv").write_text("mine")
    lab.actions["replay.export"].trigger()
    until(lambda: page.work.job.state.over)
    assert page.work.outcome.text().startswith("✖ export pgt.h5: bad input")
    assert "exists already" in page.work.outcome.text()
    assert (sessions / "pgt-steps.csv").read_text() == "mine"
    page.findChild(QCheckBox, "replay.replace").setChecked(True)
    lab.actions["replay.export"].trigger()
    until(lambda: page.work.job.state.over)
    assert page.work.outcome.text().startswith(f"✔ exported into {sessions}: pgt-shots.csv, pgt-steps.csv")
    assert "gradient_norm" in (sessions / "pgt-steps.csv").read_text()
    lab.actions["replay.export-to"].trigger()
    dialog = page.findChild(QFileDialog, "replay.export-folder")
    assert dialog is not None
    (tmp_path / "there").mkdir()
    dialog.fileSelected.emit(str(tmp_path / "there"))
    dialog.reject()
    # What takes long can be stopped: this one is held, lest it be done before.
    os.kill(page.work.job.pid, signal.SIGSTOP)
    lab.actions["replay.stop"].trigger()
    os.kill(page.work.job.pid, signal.SIGCONT)
    until(lambda: page.work.job.state.over)
    assert page.work.outcome.text() == "■ export pgt.h5: stopped"
    assert list((tmp_path / "there").iterdir()) == []


def test_outcomes_that_are_rare(tmp_path: Path) -> None:
    def ended(*argv: str, code: int, state: JobState, report: dict[str, object] | None = None) -> tuple[str, str]:
        job = Job("verify run.h5", argv, tmp_path / "job")
        job.exit_code, job.state, job.report, job.message = code, state, report or {}, "why"
        return outcome_of(job)

    elsewhere = {"verified": True, "shots": 1200, "parameter_hashes": 0, "tolerance": 1e-4, "note": "to the end"}
    assert ended("replay", code=0, state=JobState.DONE, report=elsewhere) == (
        "ok",
        "✔ verified: 1,200 shots reproduced within 0.0001, as this is another machine, to the end",
    )
    differs = {"verified": False, "difference": "shot 40 differs: loss was recorded as 1, replay computes 2"}
    assert ended("replay", code=1, state=JobState.FAILED, report=differs) == (
        "error",
        "✖ not reproduced: shot 40 differs: loss was recorded as 1, replay computes 2",
    )
    assert ended("replay", code=4, state=JobState.STOPPED) == ("warn", "■ verify run.h5: stopped")
    assert ended("replay", code=5, state=JobState.FAILED) == ("error", "✖ verify run.h5: storage fault: why")

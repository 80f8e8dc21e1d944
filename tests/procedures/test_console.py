"""What a run looks like on a terminal and elsewhere."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from labpgt.config import load_config
from labpgt.subscribers import Queued
from procedures import display
from procedures.console import ConsoleWatcher
from procedures.train import run

SMALL = ("task.name=iris", "device.name=echo-state-ring", "network.hidden=[16]", "training.epochs=2")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_run_is_shown_from_calibration_to_its_end(tmp_path: Path, terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=80)
    with ConsoleWatcher(console, "session file: run.h5") as watcher, Queued(watcher) as queued:
        run(load_config(None, SMALL), tmp_path / "run.h5", [queued])
    assert queued.error is None
    text = out.getvalue()
    for part in ("session file: run.h5", "echo-state-ring: 8 symbols", "baseline:", "epoch 1:", "epoch 2:"):
        assert part in text
    assert ("left" in text) == terminal


def test_a_live_display_survives_an_unknown_total() -> None:
    """Before training nobody knows how many shots calibration takes; the display is drawn all the same."""
    out = io.StringIO()
    with ConsoleWatcher(Console(file=out, force_terminal=True, width=80)) as watcher:
        watcher._task = watcher._progress.add_task("calibrating", total=None, figures="")
        watcher._progress.refresh()
    assert "calibrating" in out.getvalue()


def test_a_program_reads_progress_once_a_second_and_what_is_begun_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setenv("LABPGT_PROGRESS", "json")
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    file = io.StringIO()
    shown = display.Display(Console(file=file))
    shown._begin("calibrating")
    for n in range(1, 101):
        now[0] = n / 20
        shown._show(description="training" if n > 50 else "calibrating", completed=n)
    with shown:
        pass
    told = [json.loads(line)["progress"] for line in file.getvalue().splitlines()]
    assert [figures["completed"] for figures in told] == [None, 20, 40, 51, 71, 91, 100]

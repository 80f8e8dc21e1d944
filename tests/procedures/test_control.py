"""A run is paused, let go on and stopped from the command line."""

import threading
from pathlib import Path

from labpgt.events import Event, RunContinued, RunPaused, RunStopped, StepDone
from procedures.train import run
from tests.procedures.conftest import Labpgt
from tests.runs import configured


def test_the_commands(tmp_path: Path, labpgt: Labpgt) -> None:
    path = tmp_path / "run.h5"
    started, paused, continued = threading.Event(), threading.Event(), threading.Event()
    ended: list[RunStopped] = []

    def watch(event: Event) -> None:
        for kind, seen in ((StepDone, started), (RunPaused, paused), (RunContinued, continued)):
            if isinstance(event, kind):
                seen.set()

    config = configured(training={"epochs": 100_000})
    running = threading.Thread(target=lambda: ended.append(run(config, path, [watch])))
    running.start()
    assert started.wait(60)
    done = labpgt("pause", path)
    assert (done.code, done.out) == (0, f"{path}: the run was asked to pause after the device call in hand\n")
    assert paused.wait(60)
    assert labpgt("continue", path, "--json").json == {"session": str(path), "request": "continue"}
    assert continued.wait(60)
    report = labpgt("stop", path, "--wait", "--json").json
    assert (report["request"], report["status"]) == ("stop", "aborted")
    assert report["reason"].startswith("asked to stop by ")
    running.join(60)
    assert ended[0].reason == report["reason"]
    done = labpgt("stop", path)
    assert (done.code, done.out) == (2, "")
    assert "has ended (aborted: asked to stop by " in done.err

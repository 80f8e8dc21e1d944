"""Draws the window's pages for the documentation, from runs that are made for it.

    python -m tests.window_pictures [FOLDER]

Everything in the pictures was measured: a virtual bench is started, a run is trained on it, two on a simulated ring. It
takes two or three minutes. Look at the pictures before they are committed.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("QT_SCALE_FACTOR", "1")

from PyQt6.QtWidgets import QApplication

from gui.jobs import JobState
from gui.lab import Lab
from gui.state import State
from gui.theme import Mode, Theme
from gui.window import MainWindow

SIZE = 1280, 720
LONGEST_S = 240.0

RUN = """
[task]
name = "breast-cancer"
[network]
hidden = [32, 16]
[training]
epochs = {epochs}
batch = 16
estimator = "{estimator}"
[device]
{device}
"""
ECHO = 'name = "echo-state-ring"\nn_nodes = 8'
RING = 'name = "magnonic-ring"\nbench = "{bench}"\nn_nodes = 4\nsymbol_s = 40e-9'


def until(condition: Callable[[], object], what: str) -> None:
    """Let the window work until something is so."""
    end = time.monotonic() + LONGEST_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not so after {LONGEST_S:g} s")
        rest(0.02)


def rest(seconds: float) -> None:
    """Let the window work for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.005)


class Photographer:
    """The window in a folder of its own, and where its pictures go."""

    def __init__(self, window: MainWindow, folder: Path) -> None:
        self.window, self.lab, self.folder = window, window.lab, folder

    def take(self, name: str) -> None:
        """Save a picture of the window as it is."""
        rest(0.6)
        place = self.folder / f"window-{name}.png"
        if not self.window.grab().save(str(place)):
            raise OSError(f"{place} cannot be written")
        sys.stderr.write(f"{place}\n")

    def press(self, name: str) -> None:
        """Do an action by its name, once it can be done."""
        until(self.lab.actions[name].isEnabled, name)
        self.lab.actions[name].trigger()

    def configure(self, file: str, device: str, estimator: str, epochs: int) -> None:
        """Fill the form from a file, and put the run into the queue."""
        path = Path(file)
        path.write_text(RUN.format(device=device, estimator=estimator, epochs=epochs), encoding="utf-8")
        entries = len(self.window.runs.queue.entries)
        self.lab.configuration_wanted.emit(path.resolve())
        rest(1.5)
        self.press("run.add")
        until(lambda: len(self.window.runs.queue.entries) > entries, f"{file} in the queue")


def pictures(window: MainWindow, folder: Path) -> None:
    """Work as an operator does, and take pictures on the way."""
    lab = window.lab
    camera = Photographer(window, folder)
    lab.desk.begin()
    until(lambda: lab.desk.state.startswith("ready"), "desk")
    window.go("Bench")
    camera.press("bench.simulate")
    until(lambda: "instruments answer" in window.bench.state.text(), "virtual bench")
    for action in ("bench.health", "bench.characterise"):
        camera.press(action)
        until(lambda: not lab.jobs.working, action)
        if any(job.state is JobState.FAILED for job in lab.jobs):
            raise RuntimeError([job.message for job in lab.jobs])
    camera.take("bench")

    window.go("Runs")
    queue = window.runs.queue
    camera.configure("node.toml", ECHO, "node", 10)
    camera.configure("twin.toml", ECHO, "jacobian-twin", 60)
    camera.configure("ring.toml", RING.format(bench=window.bench.bench), "jacobian-twin", 6)
    camera.configure("pgt.toml", ECHO, "pgt", 3)
    until(lambda: queue.entries[0].standing is JobState.DONE, "the first run")
    second = queue.entries[1]
    until(lambda: second.job is not None and second.job.progress.share > 0.3, "the second run")
    camera.take("runs")
    assert second.job is not None
    assert second.job.session is not None
    window.show_live(second.job.session)
    until(lambda: second.job is None or second.job.progress.share > 0.6 or second.job.state.over, "the second run")
    camera.take("live")
    until(lambda: not lab.jobs.working and all(e.standing is JobState.DONE for e in queue.entries), "the queue")

    ring = queue.entries[2].session
    window.open_session(ring)
    rest(2.0)
    window.replay.shots.spin.setValue(6001)
    camera.take("replay")
    model = window.replay.browser.model
    for row in range(model.rowCount()):
        model.tick(row, model.entry(row).is_run)
    camera.press("replay.tab.overlay")
    rest(1.5)
    camera.take("overlay")
    camera.press("replay.tab.settings")
    lab.theme.choose(Mode.DARK)
    camera.take("settings-dark")
    window.show_live(ring)
    rest(2.0)
    camera.take("live-dark")
    lab.theme.choose(Mode.LIGHT)
    window.go("Log")
    camera.take("log")
    for job in lab.jobs.going:
        job.stop()
    until(lambda: not lab.jobs.going, "the end")


def main() -> None:
    """Take the pictures into a folder, docs/figures unless another is given."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/figures").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    app = QApplication([])
    with tempfile.TemporaryDirectory(prefix="labpgt-") as place:
        os.chdir(place)
        lab = Lab(State(Path(place) / "window"), Theme(app, Mode.LIGHT))
        window = MainWindow(lab)
        window.resize(*SIZE)
        window.show()
        try:
            pictures(window, folder)
        finally:
            for job in lab.jobs.going:
                job.kill()
            window.leave()
            os.chdir(folder)


if __name__ == "__main__":
    main()

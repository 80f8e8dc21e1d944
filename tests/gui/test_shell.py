"""What every page of the window stands on: actions, colours, log, crash reports, state."""

import json
import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PyQt6.QtCore import QItemSelectionModel
from PyQt6.QtGui import QDesktopServices
from PyQt6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from gui import theme as colours
from gui.actions import Actions
from gui.crash import CrashReport
from gui.jobs import JobState
from gui.lab import Lab
from gui.log import LogPage
from gui.log import model as log_model
from gui.log.model import Handler, LogModel
from gui.main import main
from gui.runs.entry import Entry
from gui.runs.queue import RunQueue
from gui.runs.store import Store
from gui.state import State
from gui.theme import Mode, Theme
from labpgt.errors import StorageFault


def test_the_window_loads_nothing_heavy() -> None:
    program = (
        "import sys, gui.main; heavy = {'torch', 'numba', 'pyvisa', 'pymeasure', 'pandas', 'scipy', 'sklearn', "
        "'matplotlib', 'xarray'}; print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_actions_that_would_take_each_others_shortcut_are_found(qtbot: QtBot) -> None:
    owner = QWidget()
    qtbot.addWidget(owner)
    inner, other = QWidget(owner), QWidget(owner)
    actions = Actions()
    done: list[str] = []
    actions.add(owner, "one", "One", "Ctrl+1", "Does one", lambda: done.append("one"))
    with pytest.raises(ValueError, match="taken"):
        actions.add(owner, "one", "Two", "Ctrl+2", "Does two", lambda: done.append("two"))
    with pytest.raises(ValueError, match="no shortcut"):
        actions.add(owner, "none", "None", "", "Does none", lambda: done.append("three"))
    actions.add(inner, "two", "Two", "Ctrl+2", "Does two", lambda: done.append("two"))
    actions.add(other, "three", "Three", "Ctrl+2", "Does three", lambda: done.append("three"))
    assert actions.clashes() == []
    actions.add(inner, "four", "Four", "Ctrl+1", "Does four", lambda: done.append("four"))
    assert actions.clashes() == [("one", "four")]
    button = actions.button(actions["one"])
    button.click()
    assert done == ["one"]
    assert "Ctrl+1" in button.toolTip()


def _luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.1)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", [Mode.LIGHT, Mode.DARK])
def test_text_is_readable_and_curves_are_seen(qapp: QApplication, mode: Mode) -> None:
    theme = Theme(qapp, mode)
    c = theme.colours
    for ground in ("window", "base", "raised"):
        for text in ("text", "muted", "ok", "warn", "error"):
            assert _contrast(c[text], c[ground]) >= (3.9 if ground == "raised" else 4.5), (text, ground)
    for text, ground in (("on_danger", "danger"), ("on_accent", "accent")):
        assert _contrast(c[text], c[ground]) >= 4.5
    for curve in theme.series:
        assert _contrast(curve, c["base"]) >= 3.0, curve


# Machado, Oliveira and Fernandes, IEEE TVCG 15 (2009) 1291: severe deuteranomaly and protanomaly, linear RGB.
_BLIND = {
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
}


@pytest.mark.parametrize("kind", _BLIND)
@pytest.mark.parametrize("mode", [Mode.LIGHT, Mode.DARK])
def test_curves_stay_apart_for_the_colour_blind(qapp: QApplication, mode: Mode, kind: str) -> None:
    theme = Theme(qapp, mode)

    def seen(colour: str) -> list[float]:
        linear = [((int(colour[i : i + 2], 16) / 255 + 0.055) / 1.055) ** 2.4 for i in (1, 3, 5)]
        mixed = [sum(w * v for w, v in zip(row, linear, strict=True)) for row in _BLIND[kind]]
        return [255 * min(1.0, max(0.0, v)) ** (1 / 2.4) for v in mixed]

    # The first four are what a plot has beside each other.
    first = [seen(colour) for colour in theme.series[:4]]
    for i, one in enumerate(first):
        for other in first[i + 1 :]:
            assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5 > 35


def test_colours_change_at_once(qapp: QApplication) -> None:
    theme = Theme(qapp, Mode.LIGHT)
    told: list[bool] = []
    theme.changed.connect(lambda: told.append(theme.dark))
    theme.choose(Mode.DARK)
    assert told == [True]
    assert theme.colours is not colours._LIGHT
    assert qapp.palette().window().color().name() == theme.colours["window"]
    theme.choose(Mode.LIGHT)


@pytest.fixture
def log(lab: Lab, qtbot: QtBot) -> LogPage:
    page = LogPage(lab, LogModel(lab.theme, lab.state.log))
    qtbot.addWidget(page)
    yield page
    page.model.close()


def _shown(page: LogPage) -> list[str]:
    page.model.take_in()
    proxy = page.table.model()
    assert proxy is not None
    return [str(proxy.index(row, 3).data()) for row in range(proxy.rowCount())]


def test_the_log_is_filtered_by_level_and_text_and_is_on_disk(log: LogPage, lab: Lab) -> None:
    log.add("info", "the first")
    log.add("warning", "the second")
    log.add("error", "a third")
    assert _shown(log) == ["the first", "the second", "a third"]
    log.level.setCurrentText("Warnings and errors")
    assert _shown(log) == ["the second", "a third"]
    log.filter.setText("SECOND")
    assert _shown(log) == ["the second"]
    log.level.setCurrentText("Everything")
    log.filter.clear()
    lab.actions["log.clear"].trigger()
    assert _shown(log) == []
    assert [line.split(": ", 1)[1] for line in lab.state.log.read_text().splitlines()] == [
        "the first",
        "the second",
        "a third",
    ]


def test_the_log_takes_lines_from_any_thread_and_stays_bounded(log: LogPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_model, "MOST", 100)
    logger = logging.getLogger("labpgt.test")
    handler = Handler(log.model.add)
    logger.addHandler(handler)
    try:
        for part in range(5):
            thread = threading.Thread(target=lambda p=part: [logger.warning("%d.%d", p, i) for i in range(50)])
            thread.start()
            thread.join()
            log.model.take_in()
    finally:
        logger.removeHandler(handler)
    shown = _shown(log)
    assert len(shown) <= 100
    assert shown[-1] == "4.49"
    assert shown == [f"{n // 50}.{n % 50}" for n in range(250)][-len(shown) :]


def test_filter_and_folder_are_at_hand(log: LogPage, lab: Lab, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    with qtbot.waitActive(log):
        log.show()
        log.activateWindow()
    lab.actions["log.find"].trigger()
    assert log.filter.hasFocus()
    lab.actions["log.folder"].trigger()
    assert opened == [str(lab.state.folder)]


def test_a_chosen_line_is_copied(log: LogPage, lab: Lab) -> None:
    log.add("warning", "look here")
    log.model.take_in()
    chosen, lines = log.table.selectionModel(), log.table.model()
    assert chosen is not None
    assert lines is not None
    flags = QItemSelectionModel.SelectionFlag
    # Not `selectRow`, which heeds the keys that Qt takes to be down, also those of another test.
    chosen.select(lines.index(0, 0), flags.ClearAndSelect | flags.Rows)
    lab.actions["log.copy"].trigger()
    clipboard = QApplication.clipboard()
    assert clipboard is not None
    assert clipboard.text().endswith("warning\twindow\tlook here")


def test_an_error_that_nobody_catches_is_reported_and_kept(tmp_path: Path) -> None:
    told: list[str] = []
    report = CrashReport(tmp_path / "crashes.log", told.append)
    before = sys.excepthook, threading.excepthook
    try:
        report.install()
        try:
            raise RuntimeError("in the window")
        except RuntimeError as error:
            sys.excepthook(type(error), error, error.__traceback__)

        def fail() -> None:
            raise ValueError("in a thread")

        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    finally:
        report.uninstall()
        sys.excepthook, threading.excepthook = before
    text = report.path.read_text()
    assert "RuntimeError: in the window" in text
    assert "ValueError: in a thread" in text
    assert "test_an_error_that_nobody_catches" in text  # the stack is there
    assert [line.split(": ")[2].split(".")[0] for line in told] == ["in the window", "in a thread"]


def test_an_error_that_comes_with_every_picture_does_not_fill_the_disk(tmp_path: Path) -> None:
    told: list[str] = []
    report = CrashReport(tmp_path / "crashes.log", told.append)
    for number in range(1000):
        try:
            raise RuntimeError(f"picture {number}")
        except RuntimeError as error:
            report._caught(type(error), error, error.__traceback__)
    report.uninstall()
    text = report.path.read_text()
    assert text.count("Traceback") == len(told) == 10
    assert "so far 512 times" in text
    assert "picture 511" in text


def test_a_crash_of_the_interpreter_is_kept_too(tmp_path: Path) -> None:
    program = (
        "import faulthandler, sys; from pathlib import Path; from gui.crash import CrashReport; "
        "CrashReport(Path(sys.argv[1]), print).install(); faulthandler._sigsegv()"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path / "crashes.log")], check=False)
    assert ended.returncode != 0
    assert "Segmentation fault" in (tmp_path / "crashes.log").read_text()


def test_a_window_that_was_not_closed_is_told_of(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from gui.state import State; print(State(Path(sys.argv[1])).begins())"
    )
    first = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert first.stdout.strip() == ""
    (tmp_path / "crashes.log").write_text("something")
    state = State(tmp_path)
    assert state.begins() == f"its report is in {tmp_path / 'crashes.log'}"
    state.ends()
    assert State(tmp_path).begins() == ""
    assert json.loads(str(int(State(tmp_path).settings.value("crashes", 0)))) == len("something")


def test_damaged_settings_are_no_reason_not_to_begin(tmp_path: Path) -> None:
    (tmp_path / "window.ini").write_text("[General]\nopen=abc\ncrashes=1e99\n")
    state = State(tmp_path)
    assert state.begins() == ""
    state.ends()


def test_the_queue_of_a_second_window_is_taken_over_once_it_is_gone(lab: Lab) -> None:
    folder = lab.state.folder
    first, second = lab.state, State(folder)
    assert first.queue == folder / "queue.json"
    assert second.queue != first.queue
    shared, waiting = Entry({}, "shared", folder / "shared.h5"), Entry({"training": {"seed": 3}}, "seed = 3")
    shared.standing = JobState.STOPPED  # both windows have shown this run
    Store(first.queue).save([shared], 2)
    Store(second.queue).save([shared, waiting], 1)
    queue = RunQueue(lab)
    assert [entry.note for entry in queue.entries] == ["shared"]  # the other window is open still
    assert second.queue.exists()

    second.ends()
    queue = RunQueue(lab)
    assert [entry.note for entry in queue.entries] == ["shared", "seed = 3"]
    assert queue.entries[1].config == {"training": {"seed": 3}}
    assert (queue.at_once, queue.held) == (2, True)
    assert not second.queue.exists()
    assert [entry.note for entry in Store(first.queue).load()[0]] == ["shared", "seed = 3"]


def test_a_second_window_takes_nothing_over_and_what_cannot_be_kept_stays(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = lab.state.folder / "queue-1.json"
    Store(left).save([Entry({}, "left")], 1)
    other = State(lab.state.folder)
    assert lab.state.first
    assert list(other.left_queues()) == []

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "save", full)
    assert [entry.note for entry in RunQueue(lab).entries] == ["left"]
    assert left.exists()


def test_the_folder_is_the_next_ones_when_a_window_ends(tmp_path: Path) -> None:
    first, second = State(tmp_path), State(tmp_path)
    first.begins()
    assert second.begins() == ""
    second.ends()
    first.ends()
    assert State(tmp_path).first


def test_a_folder_in_which_nothing_can_be_written_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABPGT_WINDOW_STATE", str(tmp_path))
    (tmp_path / "crashes.log").mkdir()
    with pytest.raises(StorageFault, match=r"crashes\.log cannot be made or written .*LABPGT_WINDOW_STATE"):
        main()

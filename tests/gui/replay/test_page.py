"""The page of recorded runs: what is opened, compared, and what is said of files that are not as they should be."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QFileDialog, QLineEdit
from pytestqt.qtbot import QtBot

from gui.lab import Lab
from gui.replay import ReplayPage
from gui.replay.curves import Run
from labpgt.session import Session

Until = Callable[[Callable[[], object]], None]


def row_of(page: ReplayPage, name: str) -> int:
    model = page.browser.model
    return next(row for row in range(model.rowCount()) if model.entry(row).name == name)


def listed(page: ReplayPage, until: Until) -> None:
    until(lambda: page.browser.model.rowCount() == 4)


def test_the_table_tells_of_every_file_and_is_filtered_by_words(page: ReplayPage, until: Until) -> None:
    listed(page, until)
    model = page.browser.model
    entries = {model.entry(row).name: model.entry(row) for row in range(4)}
    assert (entries["node.h5"].task, entries["node.h5"].estimator) == ("iris", "node")
    assert entries["node.h5"].status == "success"
    assert entries["node.h5"].loss is not None
    assert entries["node.h5"].accuracy is not None
    assert entries["aborted.h5"].status == "aborted"
    assert "not an HDF5 file" in entries["foreign.h5"].problem
    page.browser.filter.setText("NODE success")
    proxy = page.browser.table.model()
    assert proxy is not None
    assert [proxy.index(row, 0).data() for row in range(proxy.rowCount())] == ["node.h5"]
    assert page.browser.count.text() == "1 of 4 sessions"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files here")
def test_a_pipe_with_the_name_of_a_session_stops_nothing(page: ReplayPage, sessions: Path, until: Until) -> None:
    listed(page, until)
    os.mkfifo(sessions / "pipe.h5")
    (sessions / "later.h5").write_text("not a session")
    until(lambda: page.browser.model.rowCount() == 5)
    assert "pipe.h5" not in {page.browser.model.entry(row).name for row in range(5)}


def test_a_new_session_appears_and_a_deleted_one_goes(page: ReplayPage, sessions: Path, until: Until) -> None:
    listed(page, until)
    page.browser.model.tick(row_of(page, "pgt.h5"), True)
    (sessions / "pgt.h5").rename(sessions / "renamed.h5")
    page.browser.look()
    until(lambda: "renamed.h5" in [page.browser.model.entry(row).name for row in range(page.browser.model.rowCount())])
    assert page.browser.model.rowCount() == 4
    assert page._ticked == []


def test_enter_opens_the_marked_run(page: ReplayPage, qtbot: QtBot, until: Until) -> None:
    listed(page, until)
    page.activate()
    table = page.browser.table
    proxy = table.model()
    assert proxy is not None
    page.browser.filter.setText("pgt")
    table.setCurrentIndex(proxy.index(0, 0))
    qtbot.keyClick(table, Qt.Key.Key_Return)
    until(lambda: page.shots.shown is not None)
    assert page.header.text().startswith("pgt.h5: ✔ success")


def test_sessions_are_found_ticked_and_opened(
    page: ReplayPage, lab: Lab, until: Until, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(page, until)
    do = lab.actions
    do["replay.filter"].trigger()
    until(page.browser.filter.hasFocus)
    page.browser.filter.setText("pgt.h5")
    table, proxy = page.browser.table, page.browser.table.model()
    assert proxy is not None
    table.setCurrentIndex(proxy.index(0, 0))
    do["replay.tick"].trigger()
    assert [path.name for path in page._ticked] == ["pgt.h5"]
    do["replay.tick"].trigger()
    assert page._ticked == []
    do["replay.open"].trigger()
    until(lambda: page.header.text().startswith("pgt.h5"))
    for number, name in enumerate(("shots", "overlay", "settings")):
        do[f"replay.tab.{name}"].trigger()
        assert page.tabs.currentIndex() == number
    page.open_session(lab.sessions / "foreign.h5")
    until(page.notice.isVisible)
    do["replay.dismiss"].trigger()
    assert not page.notice.isVisible()
    live: list[Path] = []
    lab.live_wanted.connect(live.append)
    do["replay.live"].trigger()
    assert live == [lab.sessions / "pgt.h5"]
    chosen = [str(tmp_path / "window"), ""]
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: chosen.pop(0))
    for _ in range(2):  # the second time it is cancelled
        do["replay.folder"].trigger()
        until(lambda: page.browser.count.text() == "No sessions here")
    assert (lab.sessions, chosen) == (tmp_path / "window", [])


def test_what_is_no_session_is_refused_in_the_page_and_the_open_one_stays(
    page: ReplayPage, opened: Callable[[str], Path], lab: Lab, sessions: Path, until: Until
) -> None:
    opened("pgt.h5")
    noticed: list[tuple[str, str]] = []
    lab.noticed.connect(lambda level, text: noticed.append((level, text)))
    page.open_session(sessions / "foreign.h5")
    until(page.notice.isVisible)
    assert "foreign.h5 is not an HDF5 file" in page.notice.text()
    assert noticed[0][0] == "warning"
    page.open_session(sessions / "none.h5")
    until(lambda: "cannot be opened" in page.notice.text())
    assert page.header.text().startswith("pgt.h5")
    page.shots._go(5)
    until(lambda: page.shots.shown is not None and page.shots.shown.index == 5)
    opened("node.h5")
    assert not page.notice.isVisible()


def test_a_folder_that_is_dropped_becomes_the_one_of_the_table(page: ReplayPage, lab: Lab, tmp_path: Path) -> None:
    page.open_session(tmp_path)
    assert lab.sessions == tmp_path
    assert page.browser.place.text() == str(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows does not delete an open file")
def test_a_session_deleted_while_open_is_told_and_can_still_be_gone_through(
    page: ReplayPage, opened: Callable[[str], Path], until: Until
) -> None:
    path = opened("pgt.h5")
    content = path.read_bytes()
    path.unlink()
    until(lambda: "was deleted or moved away" in page.notice.text())
    page.shots._go(page.shots._count - 1)
    until(lambda: page.shots.shown.index == page.shots._count - 1)
    path.write_bytes(content)
    until(lambda: not page.notice.isVisible())


def test_a_damaged_shot_is_named_and_the_others_are_shown(
    page: ReplayPage, opened: Callable[[str], Path], sessions: Path, until: Until
) -> None:
    with Session(sessions / "pgt.h5") as session:
        response = session.shots(10, 11)["response"].tobytes()
    data = bytearray((sessions / "pgt.h5").read_bytes())
    place = data.find(response)
    assert place > 0
    data[place] ^= 0xFF
    (sessions / "pgt.h5").write_bytes(data)
    opened("pgt.h5")
    page.shots.spin.setValue(10)
    until(page.notice.isVisible)
    assert "shot 10 cannot be shown" in page.notice.text()
    assert "row 10 does not match its checksum" in page.notice.text()
    page.shots.spin.setValue(20)
    until(lambda: page.shots.shown.index == 20)
    assert not page.notice.isVisible()


def test_ticked_runs_are_laid_over_each_other_and_their_settings_compared(
    page: ReplayPage, qtbot: QtBot, until: Until
) -> None:
    listed(page, until)
    table, proxy = page.browser.table, page.browser.table.model()
    assert proxy is not None
    page.browser.filter.setText("node")
    table.setFocus()
    for row in range(2):
        table.setCurrentIndex(proxy.index(row, 0))
        qtbot.keyClick(table, Qt.Key.Key_T, Qt.KeyboardModifier.ControlModifier)
    assert page.tabs.currentWidget() is page.overlay
    until(lambda: len(page.overlay._runs) == 2)
    curves = {curve.name: curve for curve in page.overlay.plot.curves}
    assert set(curves) == {"node", "node, test", "aborted"}
    with Session(page.browser.model.entry(row_of(page, "node.h5")).path) as session:
        assert curves["node"].y.tolist() == session.steps()["loss"].tolist()
        assert curves["node"].x.tolist() == session.steps()["shots"].tolist()
        baseline = session.results["readout_only_loss"]
    assert any(line.y == pytest.approx(baseline) for line in page.overlay.plot.lines)
    assert page.overlay.plot.log_y
    page.overlay.plot.set_x_range(0, 10)
    page.overlay.show_runs(page.overlay._runs)
    assert page.overlay.plot.x_range() == pytest.approx((0, 10)), "the same runs, grown, leave the view alone"
    page.overlay.quantity.setCurrentIndex(1)
    assert not page.overlay.plot.log_y
    page.overlay.axis.setCurrentIndex(1)
    assert {curve.name: curve.x.tolist() for curve in page.overlay.plot.curves}["node, test"] == [1.0]

    lines = {(line.section, line.key): line.values for line in page.settings.lines()}
    assert set(lines) == {("device", "input_gain"), ("settings of the device", "input_gain")}
    assert set(lines[("settings of the device", "input_gain")]) == {"0.8", "1"}
    page._lab.actions["replay.all"].trigger()
    assert len(page.settings.lines()) > 40
    page.findChild(QLineEdit, "replay.settings.filter").setText("flush_ms")
    assert [(line.unit, line.differs) for line in page.settings.lines()] == [("ms", False)]
    page._lab.actions["replay.untick"].trigger()
    until(lambda: page.settings._runs == [])


def test_one_open_run_shows_everything_it_was_set_to(
    page: ReplayPage, opened: Callable[[str], Path], until: Until
) -> None:
    opened("pgt.h5")
    until(lambda: len(page.settings._runs) == 1)
    keys = {(line.section, line.key) for line in page.settings.lines()}
    assert {("training", "dropout"), ("task", "name"), ("settings of the device", "noise")} <= keys


def test_runs_that_go_on_are_looked_at_while_they_are_seen_and_long_ones_less_often(
    page: ReplayPage, sessions: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, problems = page._runs.read([sessions / "pgt.h5"])
    page._runs.took_s = 0.0

    def read(paths: Sequence[Path]) -> tuple[list[Run], dict[Path, str]]:
        return [replace(runs[0], status="running")], problems

    shown: list[object] = []
    monkeypatch.setattr(page._runs, "read", read)
    monkeypatch.setattr(page.overlay, "show_runs", shown.append)
    page._compare()
    until(page._timer.isActive)
    assert page._timer.interval() == 2000
    page._runs.took_s = 1.0
    page._compare()
    until(lambda: page._timer.interval() == 20_000)
    page.hide()
    assert not page._timer.isActive()
    before = len(shown)
    page._compare()
    until(lambda: len(shown) > before)
    assert not page._timer.isActive()
    page.show()
    until(page._timer.isActive)
    assert len(shown) > before + 1

"""The queue as it is shown, and everything that can be done with it."""

from collections.abc import Callable

from PyQt6.QtCore import QItemSelectionModel, QModelIndex, Qt, pyqtSignal
from PyQt6.QtGui import QAction, QResizeEvent
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QLabel,
    QListView,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from gui.flow import Flow
from gui.form.form import Values
from gui.form.reading import InThread, configuration_in
from gui.jobs import JobState
from gui.lab import Lab
from gui.own_code import ask, named_in
from gui.runs.delegate import EntryDelegate
from gui.runs.entry import Entry
from gui.runs.queue import RunQueue

MOST_AT_ONCE = 16


class QueueView(QListView):
    """A list of entries, which are as tall as what is said in them."""

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802  (Qt's name)
        """Lay out anew: the texts wrap otherwise."""
        super().resizeEvent(event)
        self.scheduleDelayedItemsLayout()


class QueuePanel(QWidget):
    """The list, and the buttons that act on the entry that is selected."""

    edit_wanted = pyqtSignal(object)
    """Take this entry into the form."""

    def __init__(self, lab: Lab, queue: RunQueue, page: QWidget) -> None:
        """`page` is where the shortcuts work."""
        super().__init__()
        self._lab = lab
        self.queue = queue
        self._lines: dict[Entry, object] = {}
        """What stood in each when it was last laid out."""
        self.view = QueueView(self)
        self.view.setObjectName("queue")
        self.view.setAccessibleName("Queue of runs")
        self.view.setToolTip("Runs in their order; double click shows one on the page Live; drag to move it")
        self.view.setModel(queue)
        self._delegate = EntryDelegate(self.view, lab.theme)
        self.view.setItemDelegate(self._delegate)
        self.view.setDragDropMode(QAbstractItemView.DragDropMode.InternalMove)
        self.view.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.view.doubleClicked.connect(lambda _index: self._live())
        self.empty = QLabel("No runs yet. Fill in the form and press Start.", self)
        self.empty.setWordWrap(True)
        self.held = QLabel(self)
        self.held.setObjectName("queue-held")
        self.held.setWordWrap(True)
        self.at_once = QSpinBox(self)
        self.at_once.setObjectName("queue-at-once")
        self.at_once.setAccessibleName("Runs at a time")
        self.at_once.setToolTip("How many runs go at the same time; two on one bench never do")
        self.at_once.setRange(1, MOST_AT_ONCE)
        self.at_once.setValue(queue.at_once)
        self.at_once.valueChanged.connect(self._set_at_once)
        self._make_actions(page)
        self._lay_out()
        selection = self.view.selectionModel()
        assert selection is not None
        selection.currentChanged.connect(lambda _now, _before: self._follow())
        queue.dataChanged.connect(self._changed)
        queue.rowsInserted.connect(self._inserted)
        queue.rowsAboutToBeRemoved.connect(self._leaving)
        queue.rowsRemoved.connect(lambda *_: self._follow())
        queue.rowsMoved.connect(lambda *_: self._follow())
        queue.held_changed.connect(self._follow)
        lab.theme.changed.connect(self._repaint)
        self._follow()

    @property
    def selected(self) -> Entry | None:
        """The entry that is selected."""
        entry = self.view.currentIndex().data(Qt.ItemDataRole.UserRole)
        return entry if isinstance(entry, Entry) else None

    @property
    def in_hand(self) -> Entry | None:
        """The run that pause and stop are for: the selected one if it goes on, else the first that does."""
        going = self.queue.going
        return self.selected if self.selected in going else next(iter(going), None)

    def select(self, entry: Entry) -> None:
        """Select an entry."""
        selection = self.view.selectionModel()
        index = self.queue.index_of(entry)
        if selection is not None and index.isValid():
            selection.setCurrentIndex(index, QItemSelectionModel.SelectionFlag.ClearAndSelect)
            self.view.scrollTo(index)

    def _make_actions(self, page: QWidget) -> None:
        def add(name: str, text: str, keys: str, tip: str, do: Callable[[], object]) -> QAction:
            return self._lab.actions.add(page, f"queue.{name}", text, keys, tip, do)

        self._hold = self._lab.actions.add(
            *(page, "queue.hold", "Hold", "Ctrl+Shift+H", "Start no further run until pressed again"),
            self._set_held,
            checkable=True,
        )
        self._pause = add(
            "pause",
            "Pause",
            "Ctrl+Shift+P",
            "Pause the run in hand with the device made safe; or go on",
            self._pause_it,
        )
        self._stop = add(
            "stop", "Stop", "Ctrl+Shift+K", "Stop the run in hand after the device call; twice: at once", self._stop_it
        )
        self._live_action = add("live", "Live", "Ctrl+Shift+L", "Show the run on the page Live", self._live)
        self._resume = add(
            "resume", "Resume", "Ctrl+Shift+R", "Go on with a run that failed or was stopped, in its file", self._go_on
        )
        self._retry = add("retry", "Retry", "Ctrl+Shift+T", "Begin a run anew, in another file", self._begin_anew)
        self._edit = add("edit", "To form", "Ctrl+Shift+E", "Take the run's configuration into the form", self._to_form)
        self._up = add("up", "Up", "Ctrl+Shift+Up", "Move the run up", lambda: self._move(-1))
        self._down = add("down", "Down", "Ctrl+Shift+Down", "Move the run down", lambda: self._move(1))
        self._remove = add("remove", "Remove", "Ctrl+Shift+X", "Take the run out; its session stays", self._take_out)
        self._clear = add("clear", "Clear", "Ctrl+Shift+Delete", "Take out every run that is done", self._take_out_done)

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(self.fontMetrics().averageCharWidth() // 2, 0, 0, 0)
        top = Flow()
        for action in (self._hold, self._pause, self._stop, self._live_action):
            top.add(self._lab.actions.button(action, self))
        label = QLabel("At a &time", self)
        label.setBuddy(self.at_once)
        together = QWidget(self)
        at_once = QHBoxLayout(together)
        at_once.setContentsMargins(0, 0, 0, 0)
        at_once.addWidget(label)
        at_once.addWidget(self.at_once)
        top.add(together)
        below = Flow()
        for action in (self._up, self._down, self._resume, self._retry, self._edit, self._remove, self._clear):
            below.add(self._lab.actions.button(action, self))
        for line in (top, below):
            line.set_spacing(self.fontMetrics().averageCharWidth() // 2)
            column.addWidget(line)
        column.addWidget(self.held)
        column.addWidget(self.empty)
        column.addWidget(self.view, 1)

    def _inserted(self, _parent: QModelIndex, first: int, _last: int) -> None:
        if self.selected is None:
            self.select(self.queue.entries[first])
        self._follow()

    def _leaving(self, _parent: QModelIndex, first: int, last: int) -> None:
        for entry in self.queue.entries[first : last + 1]:
            self._lines.pop(entry, None)
            self._delegate.forget(entry)

    def _changed(self, first: QModelIndex, _last: QModelIndex) -> None:
        entry: Entry = first.data(Qt.ItemDataRole.UserRole)
        lines = (entry.standing, entry.share is None, tuple(entry.words))
        if self._lines.get(entry) != lines:  # it may have become taller or lower
            self._lines[entry] = lines
            self._delegate.forget(entry)
            self._delegate.sizeHintChanged.emit(first)
            self._follow()

    def _follow(self) -> None:
        """Let the buttons be on for what can be done."""
        entry, going = self.selected, self.in_hand
        standing = entry.standing if entry is not None else None
        at = self.queue.entries.index(entry) if entry is not None else -1
        self._pause.setEnabled(going is not None and going.standing in (JobState.RUNNING, JobState.PAUSED))
        self._pause.setText("Go on" if going is not None and going.standing is JobState.PAUSED else "Pause")
        self._stop.setEnabled(going is not None)
        self._live_action.setEnabled(entry is not None and entry.session is not None and standing != JobState.WAITING)
        self._resume.setEnabled(entry is not None and entry.resumable)
        self._retry.setEnabled(entry is not None and entry.standing.over and bool(entry.config))
        self._edit.setEnabled(entry is not None and bool(entry.config))
        self._up.setEnabled(at > 0)
        self._down.setEnabled(0 <= at < self.queue.rowCount() - 1)
        self._remove.setEnabled(entry is not None and not entry.standing.going)
        self._clear.setEnabled(any(one.standing is JobState.DONE for one in self.queue.entries))
        self.empty.setVisible(self.queue.rowCount() == 0)
        if self._hold.isChecked() != self.queue.held:
            self._hold.setChecked(self.queue.held)
        self._hold.setText("Release" if self.queue.held else "Hold")
        why = f": {self.queue.why_held}" if self.queue.why_held else ""
        self.held.setText(f"‖ The queue is held{why}. Release it to go on.")
        self.held.setVisible(self.queue.held)

    def _repaint(self) -> None:
        viewport = self.view.viewport()
        if viewport is not None:
            viewport.update()

    def _set_held(self, on: bool) -> None:
        if on and not self.queue.held:
            self.queue.hold()
        elif not on and self.queue.held:
            self.queue.release()

    def _set_at_once(self, number: int) -> None:
        self.queue.allow(number)

    def _pause_it(self) -> None:
        entry = self.in_hand
        if entry is None or entry.job is None:
            return
        if entry.standing is JobState.PAUSED:
            entry.job.go_on()
        else:
            entry.job.pause()

    def _stop_it(self) -> None:
        entry = self.in_hand
        if entry is not None and entry.job is not None:
            entry.job.stop()

    def _live(self) -> None:
        if self.selected is not None and self.selected.session is not None and self._live_action.isEnabled():
            self._lab.live_wanted.emit(self.selected.session)

    def _go_on(self) -> None:
        entry = self.selected
        if entry is None or entry.session is None:
            return
        session = entry.session

        def read(found: Values) -> None:
            # What the session says counts, for that is what the run will read.
            ask(
                *(self, f"resume {session.name}", named_in(found)),
                lambda allowed: self.queue.again(entry, resume=True, allowed=allowed),
            )

        # A session that cannot be read now is for the command to refuse, in its own words.
        InThread(lambda: configuration_in(session), read, lambda why: read({}))

    def _begin_anew(self) -> None:
        entry = self.selected
        if entry is not None:
            named = named_in(entry.config)
            ask(self, f"run {entry.title} anew", named, lambda _names: self.queue.again(entry, resume=False))

    def _to_form(self) -> None:
        if self.selected is not None:
            self.edit_wanted.emit(self.selected)

    def _move(self, by: int) -> None:
        if self.selected is not None:
            self.queue.move(self.selected, self.queue.entries.index(self.selected) + by)

    def _take_out(self) -> None:
        if self.selected is not None:
            self.queue.remove(self.selected)

    def _take_out_done(self) -> None:
        for entry in self.queue.entries:
            if entry.standing is JobState.DONE:
                self.queue.remove(entry)

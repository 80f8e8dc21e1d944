"""The page of the bench."""

from datetime import datetime
from itertools import starmap
from pathlib import Path
from typing import Any

from PyQt6.QtCore import Qt
from PyQt6.QtGui import QCloseEvent
from PyQt6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from gui.bench.instruments import Instruments
from gui.bench.measuring import LOOPBACK, Measuring
from gui.bench.watch import BenchWatch
from gui.jobs import Job
from gui.lab import Lab
from labpgt.units import unit_of, worded

_KINDS = ("envelope", "spectrum", "loopback")
_REMEMBERED = 8
_NOT_CONNECTED = (
    "No bench is connected. Choose its file (TOML) and connect, or let labpgt simulate one: virtual instruments around "
    "a simulated ring, at addresses of this computer."
)


class BenchPage(QWidget):
    """Choose a bench, connect, look at its instruments, and measure the device."""

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self._lab = lab
        self._watch: BenchWatch | None = None
        self._bench: Path | None = None
        self._in_use = False
        self._simulation: Job | None = None
        self._awaited: Path | None = None
        self.file = QComboBox(objectName="bench.file")
        self.file.setEditable(True)
        self.file.setAccessibleName("Bench file")
        self.file.setToolTip("TOML file that describes the instruments, their addresses and limits")
        edit = self.file.lineEdit()
        assert edit is not None
        edit.setPlaceholderText("bench.toml")
        self.file.addItems(self._remembered())
        self.kind = QComboBox(objectName="bench.kind")
        self.kind.addItems(_KINDS)
        self.kind.setAccessibleName("Kind of virtual bench")
        self.kind.setToolTip("What the virtual bench is: a ring by envelopes, by spectra, or source wired to analyser")
        self.state = QLabel(_NOT_CONNECTED, objectName="bench.state")
        self.state.setWordWrap(True)
        self.state.setTextFormat(Qt.TextFormat.PlainText)
        self.limits = QLabel(objectName="bench.limits")
        self.limits.setWordWrap(True)
        self.limits.setTextFormat(Qt.TextFormat.PlainText)
        self.instruments = Instruments(lab.theme)
        self.measuring = Measuring(lab, self)
        self._add_actions()
        self._lay_out()
        lab.jobs.started.connect(self._job_started)
        self._show_what_can_be_done()

    @property
    def bench(self) -> Path | None:
        """The file of the bench that is connected."""
        return self._bench

    def activate(self) -> None:
        """Go to the bench's file."""
        self.file.setFocus()

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802  # Qt's own
        """Disconnect, and end a virtual bench that no run needs any more."""
        self.disconnect_bench()
        if self._simulation is not None and not self._lab.jobs.working:
            self._simulation.stop()
        super().closeEvent(event)

    def _add_actions(self) -> None:
        add, button = self._lab.actions.add, self._lab.actions.button
        browse = add(self, "bench.browse", "Browse…", "Ctrl+Alt+O", "Choose the bench's file", self._browse)
        self._connect = add(
            self, "bench.connect", "Connect", "Ctrl+Return", "Look at the instruments of this bench", self.connect_bench
        )
        self._disconnect = add(
            self, "bench.disconnect", "Disconnect", "Ctrl+Shift+Return", "Look no more", self.disconnect_bench
        )
        self._simulate = add(
            self, "bench.simulate", "Simulate", "Ctrl+Alt+V", "Start a virtual bench and connect to it", self.simulate
        )
        self._buttons = {a: button(a) for a in (browse, self._connect, self._disconnect, self._simulate)}

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.addWidget(QLabel("Bench"))
        row.addWidget(self.file, 1)
        browse, connect, disconnect, simulate = self._buttons.values()
        for widget in (browse, connect, disconnect, simulate, self.kind):
            row.addWidget(widget)
        left = QWidget()
        column = QVBoxLayout(left)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.state)
        column.addWidget(self.instruments, 1)
        column.addWidget(self.limits)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # what is in it has the focus, and is brought into view
        scroll.setWidget(self.measuring)
        bar = scroll.verticalScrollBar()
        scroll.setMinimumWidth(
            self.measuring.minimumSizeHint().width() + (bar.sizeHint().width() if bar is not None else 0)
        )
        split = QSplitter()
        split.addWidget(left)
        split.addWidget(scroll)
        split.setStretchFactor(0, 3)
        split.setStretchFactor(1, 1)
        letter = self.fontMetrics().averageCharWidth()
        split.setSizes([116 * letter, 55 * letter])
        split.setChildrenCollapsible(False)
        box = QVBoxLayout(self)
        box.addLayout(row)
        box.addWidget(split, 1)

    def connect_bench(self) -> None:
        """Look at the instruments of the bench in the chosen file from now on."""
        text = self.file.currentText().strip()
        if not text:
            self._lab.notice("error", "Which bench? Choose the TOML file that describes it, or simulate one")
            return
        path = Path(text).expanduser().resolve()
        if not path.is_file():
            self._lab.notice("error", f"{path}: no such file; choose the TOML file that describes the bench")
            return
        self.disconnect_bench()
        self._bench = path
        self._remember(str(path))
        self._lab.rf.watch_over(path)
        self._watch = BenchWatch(path)
        self._watch.looked.connect(self._looked)
        self._watch.failed.connect(self._not_seen)
        self.state.setText(f"Connecting to {path.name} …")
        self._show_what_can_be_done()

    def disconnect_bench(self) -> None:
        """Look no more; RF stays as it is."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._bench is not None:
            self._lab.rf.leave(self._bench)
            self._bench = None
        self._in_use = False
        self.instruments.empty()
        self.limits.clear()
        self.state.setText(_NOT_CONNECTED)
        self._show_what_can_be_done()

    def simulate(self) -> None:
        """Start a virtual bench, and connect to it when it serves."""
        if self._simulation is not None and not self._simulation.state.over:
            self._simulation.stop()
        kind = self.kind.currentText()
        stamp = f"{datetime.now():%Y%m%d-%H%M%S}"
        self._awaited = self._lab.state.jobs / f"{stamp}-virtual-{kind}.toml"
        words = ["virtual-bench", "--kind", kind, "--config-out", str(self._awaited)]
        try:
            self._simulation = self._lab.jobs.start(f"virtual bench ({kind})", words)
        except OSError as error:
            self._awaited = None
            self._lab.notice("error", f"The virtual bench cannot be started: {error}")
            return
        self._simulation.said.connect(self._simulation_said)
        self._simulation.ended.connect(self._show_what_can_be_done)
        self._show_what_can_be_done()
        self.state.setText("The virtual bench is starting; the first time on a computer takes some seconds longer …")

    def _simulation_said(self, _level: str, _text: str) -> None:
        if self._awaited is not None and self._awaited.is_file():
            self.file.setEditText(str(self._awaited))
            self._awaited = None
            if self.kind.currentText() == LOOPBACK:
                self.measuring.device.setCurrentText(LOOPBACK)
            self.connect_bench()

    def _looked(self, said: dict[str, Any]) -> None:
        in_use = said.get("in_use")
        if bool(in_use) != self._in_use:
            self._in_use = bool(in_use)
            self._show_what_can_be_done()
        bad = [i for i in said["instruments"] if not i["ok"]]
        name = said["bench"]
        if in_use:
            ill = "".join(f"\n✖ {line}" for line in self._lab.rf.problems(self._bench))
            self.state.setText(f"▶ {name}: in use by {in_use}; its instruments are the run's until it ends{ill}")
        elif bad:
            details = "\n".join(f"✖ {i.get('detail') or i['role'] + ': ' + i['state']}" for i in bad)
            self.state.setText(
                f"{name}: {len(bad)} of {len(said['instruments'])} instruments are not in order\n{details}"
            )
        else:
            self.state.setText(f"✔ {name}: all {len(said['instruments'])} instruments answer")
        self.instruments.show_bench(said)
        limits = said.get("limits") or {}
        self.limits.setText("Limits: " + ", ".join(starmap(_limit, limits.items())) if limits else "")

    def _not_seen(self, why: str) -> None:
        self.state.setText(f"✖ {self._bench.name if self._bench else 'bench'}: {why}")
        self._lab.notice("error", why)

    def _show_what_can_be_done(self) -> None:
        self._disconnect.setEnabled(self._bench is not None)
        starting = self._simulation is not None and not self._simulation.state.over and self._awaited is not None
        self._simulate.setEnabled(not starting)
        self.measuring.on_bench(self._bench, in_use=self._in_use)

    def _job_started(self, job: Job) -> None:
        if job.serves and self._simulation is None and self._lab.state.first:
            self._simulation = job  # of an earlier window; were another one open, it would be that one's to end

    def _browse(self) -> None:
        start = self.file.currentText() or str(Path.cwd())
        path, _ = QFileDialog.getOpenFileName(self, "Bench", start, "Bench files (*.toml);;All (*)")
        if path:
            self.file.setEditText(path)

    def _remembered(self) -> list[str]:
        found = self._lab.state.settings.value("benches", []) or []
        return [str(found)] if isinstance(found, str) else [str(path) for path in found]

    def _remember(self, path: str) -> None:
        kept = [path, *(other for other in self._remembered() if other != path)][:_REMEMBERED]
        self._lab.state.settings.setValue("benches", kept)
        self.file.clear()
        self.file.addItems(kept)


def _limit(key: str, value: Any) -> str:
    unit = unit_of(key)
    name = key.removesuffix(f"_{unit.lower()}").replace("_", " ")
    if isinstance(value, list | tuple):
        return f"{name} {worded(value[0], unit)} to {worded(value[1], unit)}"
    return f"{name} {worded(value, unit)}"

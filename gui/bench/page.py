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
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from gui.bench.health import Health
from gui.bench.instruments import Instruments, worded
from gui.bench.watch import BenchWatch
from gui.jobs import Job, JobState
from gui.lab import Lab
from labpgt.units import unit_of

_KINDS = ("envelope", "spectrum", "loopback")
_REMEMBERED = 8
_RING = "magnonic-ring"
_LOOPBACK = "loopback"
_MEASURING = ("bench", "characterize", "calibrate")
"""Commands of what is measured on this page."""
_ON_BENCH = "device.bench="
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
        self._measuring: dict[str, Job] = {}
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
        self.device = QComboBox(objectName="bench.device")
        self.device.setAccessibleName("Device")
        self.device.setToolTip("Device that is characterised and calibrated")
        self.device.addItem(_RING)
        self.device.currentTextChanged.connect(lambda _name: self._show_what_can_be_done())
        self.state = QLabel(_NOT_CONNECTED, objectName="bench.state")
        self.state.setWordWrap(True)
        self.state.setTextFormat(Qt.TextFormat.PlainText)
        self.limits = QLabel(objectName="bench.limits")
        self.limits.setWordWrap(True)
        self.limits.setTextFormat(Qt.TextFormat.PlainText)
        self.instruments = Instruments(lab.theme)
        self.health = Health()
        self.measured = QLabel("", objectName="bench.measured")
        self.measured.setWordWrap(True)
        self.measured.setTextFormat(Qt.TextFormat.PlainText)
        self.measured.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._add_actions()
        self._lay_out()
        lab.desk.state_changed.connect(self._desk_changed)
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
        self._check = add(
            self, "bench.health", "Check health", "Ctrl+H",
            "Measure noise, margin and pilot shot: RF is on for a moment", self.check_health,
        )  # fmt: skip
        self._characterise = add(
            self, "bench.characterise", "Characterise", "Ctrl+Alt+C",
            "Measure memory, capacities, noise and threshold of the device (quick)", self.characterise,
        )  # fmt: skip
        self._calibrate = add(
            self, "bench.calibrate", "Calibrate", "Ctrl+Alt+K",
            "Measure gain, noise and delta on the device, and fill the form with them", self.calibrate,
        )  # fmt: skip
        self._use = add(
            self, "bench.use", "Use for runs", "Ctrl+Alt+U", "Put this device, on this bench, into the next run's form",
            self.use_for_runs,
        )  # fmt: skip
        self._end_measuring = add(
            self, "bench.stop", "Stop measuring", "Ctrl+Shift+X", "Stop what is being measured on this page",
            self.stop_measuring,
        )  # fmt: skip
        self._buttons = {a: button(a) for a in (browse, self._connect, self._disconnect, self._simulate)}
        measuring = (self._check, self._characterise, self._calibrate, self._end_measuring, self._use)
        self._measure_buttons = [button(action) for action in measuring]

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
        side = QWidget()
        health = QVBoxLayout(side)
        device = QFormLayout()
        device.addRow("Device", self.device)
        health.addLayout(device)
        measuring = QGridLayout()
        for number, button in enumerate(self._measure_buttons):
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            measuring.addWidget(button, *divmod(number, 2))
        health.addLayout(measuring)
        health.addWidget(self.health)
        health.addWidget(self.measured)
        health.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # what is in it has the focus, and is brought into view
        scroll.setWidget(side)
        bar = scroll.verticalScrollBar()
        scroll.setMinimumWidth(side.minimumSizeHint().width() + (bar.sizeHint().width() if bar is not None else 0))
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
        self.health.forget()
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

    def use_for_runs(self) -> None:
        """Have the form of the next run on the chosen device, and on the bench that is connected."""
        device = {"name": self.device.currentText()}
        if self._needs_bench and self._bench is not None:
            device["bench"] = str(self._bench)
        self._lab.device_wanted.emit(device)

    @property
    def _needs_bench(self) -> bool:
        return self.device.currentText() in (_RING, _LOOPBACK)

    def check_health(self) -> None:
        """Open the ring of this bench, measure how well it is, and leave it safe."""
        if self._bench is not None:
            self._measure("health check", ["bench", str(self._bench), "--health", "--json"])

    def characterise(self) -> None:
        """Measure what the chosen device is like, quickly."""
        place = self._place("characterisation")
        only = ["--only", "noise,repeatability,threshold,memory,stm,pc"]
        words = ["characterize", *self._device_words(), "--quick", *only, "--out", str(place), "--no-plots", "--json"]
        self._measure("characterisation", words)

    def calibrate(self) -> None:
        """Measure what a run needs to know of the chosen device; the form gets the settings found."""
        place = self._place("calibrated").with_suffix(".toml")
        folder = place.with_suffix("")
        words = [
            *("calibrate", *self._device_words(), "--quick"),
            *("--out", str(place), "--sessions", str(folder), "--json"),
        ]
        job = self._measure("calibration", words)
        if job is not None:
            job.ended.connect(lambda: self._calibrated(job, place))

    def stop_measuring(self) -> None:
        """Stop what is being measured; the device is left safe."""
        for job in self._measuring.values():
            job.stop()

    def _measure(self, what: str, words: list[str]) -> Job | None:
        if any(not job.state.over for job in self._measuring.values()):
            self._lab.notice("warning", f"No {what} now: something else is being measured; stop it, or wait for it")
            return None
        try:
            self._lab.sessions.mkdir(parents=True, exist_ok=True)  # what is measured is written there
            return self._lab.jobs.start(what, words, ready=words[0] != "bench")
        except OSError as error:
            self._lab.notice("error", f"The {what} cannot be started: {error}")
            return None

    def _take_up(self, job: Job) -> None:
        """Show how a measurement goes, of this window or found again, and watch over its bench."""
        what = job.title
        if (bench := _bench_of(job)) is not None:
            self._lab.rf.watch_over(bench)
        self._measuring = {what: job}
        job.changed.connect(lambda: self._measuring_changed(what, job))
        job.ended.connect(lambda: self._measuring_ended(what, job))
        self._measuring_changed(what, job)

    def _measuring_changed(self, what: str, job: Job) -> None:
        if not job.state.over:
            parts = (what, str(job.state), job.progress.description, job.progress.figures)
            self.measured.setText(" · ".join(part for part in parts if part))
        self._show_what_can_be_done()

    def _measuring_ended(self, what: str, job: Job) -> None:
        now = f"{datetime.now():%H:%M:%S}"
        if job.state is JobState.DONE:
            device = str(job.report.get("device") or self.device.currentText())
            self.health.show_values(job.report.get("health") or job.report, device)
            where = job.report.get("session")
            self.measured.setText(f"{what} done at {now}" + (f": {where}" if where else ""))
        else:
            self.measured.setText(f"{what}: {job.outcome} at {now}\n{job.message}")
        self._show_what_can_be_done()

    def _calibrated(self, job: Job, place: Path) -> None:
        if job.state is JobState.DONE and place.is_file():
            self._lab.notice("info", f"calibrated: {place}")
            self._lab.configuration_wanted.emit(place)

    def _device_words(self) -> list[str]:
        name = self.device.currentText()
        words = ["--device", name]
        if self._needs_bench and self._bench is not None:
            words += ["--set", f"{_ON_BENCH}{self._bench}"]
        return words

    def _place(self, what: str) -> Path:
        return self._lab.sessions / f"{datetime.now():%Y%m%d-%H%M%S}-{self.device.currentText()}-{what}.h5"

    def _simulation_said(self, _level: str, _text: str) -> None:
        if self._awaited is not None and self._awaited.is_file():
            self.file.setEditText(str(self._awaited))
            self._awaited = None
            if self.kind.currentText() == _LOOPBACK:
                self.device.setCurrentText(_LOOPBACK)
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
        connected = self._bench is not None
        measuring = any(not job.state.over for job in self._measuring.values())
        self._disconnect.setEnabled(connected)
        starting = self._simulation is not None and not self._simulation.state.over and self._awaited is not None
        self._simulate.setEnabled(not starting)
        # A bench that somebody has is refused anyhow, but only after seconds.
        free = connected and not self._in_use and not measuring
        self._check.setEnabled(free)
        for action in (self._characterise, self._calibrate):
            action.setEnabled(free or not (self._needs_bench or measuring))
        self._use.setEnabled(connected or not self._needs_bench)
        self._end_measuring.setEnabled(measuring)

    def _job_started(self, job: Job) -> None:
        if job.serves and self._simulation is None and self._lab.state.first:
            self._simulation = job  # of an earlier window; were another one open, it would be that one's to end
        if job.argv[:1] and job.argv[0] in _MEASURING:
            self._take_up(job)

    def _desk_changed(self, _state: str) -> None:
        if self.device.count() <= 1:
            self._lab.desk.ask("devices", self._take_devices)

    def _take_devices(self, names: list[str]) -> None:
        for name in names:
            if self.device.findText(name) < 0:
                self.device.addItem(name)

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


def _bench_of(job: Job) -> Path | None:
    """Return the bench that is measured on."""
    if job.argv[0] == "bench":
        return Path(job.argv[1])
    given = (word.removeprefix(_ON_BENCH) for word in job.argv if word.startswith(_ON_BENCH))
    return next(map(Path, given), None)


def _limit(key: str, value: Any) -> str:
    unit = unit_of(key)
    name = key.removesuffix(f"_{unit.lower()}").replace("_", " ")
    if isinstance(value, list | tuple):
        return f"{name} {worded(value[0], unit)} to {worded(value[1], unit)}"
    return f"{name} {worded(value, unit)}"

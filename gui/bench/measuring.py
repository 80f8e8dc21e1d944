"""What is measured on the bench, or on another device: which one, how it goes, and how well the device is."""

from datetime import datetime
from pathlib import Path

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QComboBox, QFormLayout, QGridLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from gui.bench.health import Health
from gui.jobs import Job, JobState
from gui.lab import Lab

_RING = "magnonic-ring"
LOOPBACK = "loopback"
_COMMANDS = ("bench", "characterize", "calibrate")
"""Commands of what is measured here."""
_ON_BENCH = "device.bench="


class Measuring(QWidget):
    """Choose a device, measure it, and use it for runs."""

    def __init__(self, lab: Lab, page: QWidget) -> None:
        """`page` is where the shortcuts work."""
        super().__init__()
        self._lab = lab
        self._bench: Path | None = None
        self._in_use = False
        self._measuring: dict[str, Job] = {}
        self.device = QComboBox(objectName="bench.device")
        self.device.setAccessibleName("Device")
        self.device.setToolTip("Device that is characterised and calibrated")
        self.device.addItem(_RING)
        self.device.currentTextChanged.connect(lambda _name: self._follow())
        self.health = Health()
        self.measured = QLabel("", objectName="bench.measured")
        self.measured.setWordWrap(True)
        self.measured.setTextFormat(Qt.TextFormat.PlainText)
        self.measured.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._add_actions(page)
        self._lay_out()
        lab.desk.state_changed.connect(self._desk_changed)
        lab.jobs.started.connect(self._job_started)
        self._follow()

    def on_bench(self, bench: Path | None, *, in_use: bool = False) -> None:
        """Measure on this bench from now on; nothing is while a run has it."""
        if bench != self._bench:
            self.health.forget()
        self._bench, self._in_use = bench, in_use
        self._follow()

    def _add_actions(self, page: QWidget) -> None:
        add, button = self._lab.actions.add, self._lab.actions.button
        self._check = add(
            page, "bench.health", "Check health", "Ctrl+H",
            "Measure noise, margin and pilot shot: RF is on for a moment", self.check_health,
        )  # fmt: skip
        self._characterise = add(
            page, "bench.characterise", "Characterise", "Ctrl+Alt+C",
            "Measure memory, capacities, noise and threshold of the device (quick)", self.characterise,
        )  # fmt: skip
        self._calibrate = add(
            page, "bench.calibrate", "Calibrate", "Ctrl+Alt+K",
            "Measure gain, noise and delta on the device, and fill the form with them", self.calibrate,
        )  # fmt: skip
        self._use = add(
            page, "bench.use", "Use for runs", "Ctrl+Alt+U", "Put this device, on this bench, into the next run's form",
            self.use_for_runs,
        )  # fmt: skip
        self._end_measuring = add(
            page, "bench.stop", "Stop measuring", "Ctrl+Shift+X", "Stop what is being measured on this page",
            self.stop_measuring,
        )  # fmt: skip
        in_order = (self._check, self._characterise, self._calibrate, self._end_measuring, self._use)
        self._buttons = [button(action) for action in in_order]

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        device = QFormLayout()
        device.addRow("Device", self.device)
        column.addLayout(device)
        buttons = QGridLayout()
        for number, button in enumerate(self._buttons):
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            buttons.addWidget(button, *divmod(number, 2))
        column.addLayout(buttons)
        column.addWidget(self.health)
        column.addWidget(self.measured)
        column.addStretch(1)

    def use_for_runs(self) -> None:
        """Have the form of the next run on the chosen device, and on the bench that is connected."""
        device = {"name": self.device.currentText()}
        if self._needs_bench and self._bench is not None:
            device["bench"] = str(self._bench)
        self._lab.device_wanted.emit(device)

    @property
    def _needs_bench(self) -> bool:
        return self.device.currentText() in (_RING, LOOPBACK)

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
        self._follow()

    def _measuring_ended(self, what: str, job: Job) -> None:
        now = f"{datetime.now():%H:%M:%S}"
        if job.state is JobState.DONE:
            device = str(job.report.get("device") or self.device.currentText())
            self.health.show_values(job.report.get("health") or job.report, device)
            where = job.report.get("session")
            self.measured.setText(f"{what} done at {now}" + (f": {where}" if where else ""))
        else:
            self.measured.setText(f"{what}: {job.outcome} at {now}\n{job.message}")
        self._follow()

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

    def _follow(self) -> None:
        """Let the buttons be on for what can be done."""
        connected = self._bench is not None
        measuring = any(not job.state.over for job in self._measuring.values())
        # A bench that somebody has is refused anyhow, but only after seconds.
        free = connected and not self._in_use and not measuring
        self._check.setEnabled(free)
        for action in (self._characterise, self._calibrate):
            action.setEnabled(free or not (self._needs_bench or measuring))
        self._use.setEnabled(connected or not self._needs_bench)
        self._end_measuring.setEnabled(measuring)

    def _job_started(self, job: Job) -> None:
        if job.argv[:1] and job.argv[0] in _COMMANDS:
            self._take_up(job)

    def _desk_changed(self, _state: str) -> None:
        if self.device.count() <= 1:
            self._lab.desk.ask("devices", self._take_devices)

    def _take_devices(self, names: list[str]) -> None:
        for name in names:
            if self.device.findText(name) < 0:
                self.device.addItem(name)


def _bench_of(job: Job) -> Path | None:
    """Return the bench that is measured on."""
    if job.argv[0] == "bench":
        return Path(job.argv[1])
    given = (word.removeprefix(_ON_BENCH) for word in job.argv if word.startswith(_ON_BENCH))
    return next(map(Path, given), None)

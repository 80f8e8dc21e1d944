"""What can be done with an open session: verify, resume, export, look at it live; and how that goes."""

from pathlib import Path

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtWidgets import QCheckBox, QComboBox, QFileDialog, QHBoxLayout, QLabel, QProgressBar, QVBoxLayout, QWidget

from gui.flow import Flow
from gui.jobs import Job, JobState
from gui.lab import Lab
from gui.own_code import allowing, ask, named_in
from gui.replay.opened import Overview
from labpgt.events import Status

_FORMATS = {"csv": "CSV", "parquet": "Parquet", "netcdf": "netCDF"}
_RESUMABLE = (Status.CRASHED, Status.ABORTED, Status.FAILED)
_PARTS = 1000


class WorkBar(QWidget):
    """Buttons for the open session, and below them the job in hand or the last one's outcome."""

    refused = pyqtSignal(str)
    """A job cannot be started, and why."""

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self._lab = lab
        self._overview: Overview | None = None
        self._jobs: dict[Path, Job] = {}
        """The last job of each session."""
        add = lab.actions.add
        self.verify = add(
            self,
            "replay.verify",
            "Verify",
            "Ctrl+Shift+V",
            "Train again from the record: every shot, loss and update has to come out",
            self._verify,
        )
        self.resume = add(
            self,
            "replay.resume",
            "Resume",
            "Ctrl+Shift+R",
            "Go on with a run that crashed, was aborted or failed, in the same file",
            self._resume,
        )
        self.live = add(
            self, "replay.live", "Open in Live", "Ctrl+Shift+L", "Show the run on the page of live plots", self._go_live
        )
        self.export = add(
            self,
            "replay.export",
            "Export",
            "Ctrl+Shift+E",
            "Write shots, steps and epochs for other tools, beside the session",
            self._export,
        )
        self.export_to = add(
            self, "replay.export-to", "Export to…", "Ctrl+Alt+E", "Export into another folder", self._export_to
        )
        self.stop = add(self, "replay.stop", "Stop", "Ctrl+Shift+X", "Stop verifying or exporting", self._stop)
        self.format = QComboBox(objectName="replay.format")
        self.format.setAccessibleName("Format of the export")
        self.format.setToolTip("Format of the files that an export writes")
        for key, text in _FORMATS.items():
            self.format.addItem(text, key)
        self.replace = QCheckBox("Replace files", objectName="replay.replace")
        self.replace.setAccessibleName("Replace files that exist")
        self.replace.setToolTip("Whether an export replaces files of an earlier one")
        self.progress = QProgressBar(objectName="replay.progress")
        self.progress.setAccessibleName("Progress of the job")
        self.progress.setRange(0, _PARTS)
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(self.fontMetrics().height())
        self.outcome = QLabel(objectName="replay.outcome")
        self.outcome.setAccessibleName("How the job goes")
        self.outcome.setTextFormat(Qt.TextFormat.PlainText)
        self.outcome.setWordWrap(True)
        self.outcome.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._lay_out()
        lab.theme.changed.connect(self._tell)
        self.show_session(None)

    def _lay_out(self) -> None:
        button = self._lab.actions.button
        top, bottom = Flow(), QHBoxLayout()
        for action in (self.verify, self.resume, self.live, self.export, self.export_to):
            top.add(button(action))
        top.add(self.format)
        top.add(self.replace)
        bottom.addWidget(self.progress, 1)
        bottom.addWidget(self.outcome, 3)
        self._stop_button = button(self.stop)
        bottom.addWidget(self._stop_button, 0, Qt.AlignmentFlag.AlignTop)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(top)
        column.addLayout(bottom)

    @property
    def job(self) -> Job | None:
        """The last job of the open session."""
        return None if self._overview is None else self._jobs.get(self._overview.path)

    def show_session(self, overview: Overview | None) -> None:
        """Work on this session."""
        self._overview = overview
        self._tell()

    def _verify(self) -> None:
        path, title = self._path(), f"verify {self._path().name}"
        # The record stands in for the device, whose code is not needed.
        named = {name: key for name, key in self._own_code().items() if key != "device.name"}
        argv = ["replay", str(path), "--verify", "--json"]
        ask(self, title, named, lambda allowed: self._start(title, [*argv, *allowing(allowed)], path))

    def _resume(self) -> None:
        path, title = self._path(), f"resume {self._path().name}"

        def run(allowed: list[str]) -> None:
            if self._start(title, ["resume", str(path), "--json", *allowing(allowed)], path, ready=True):
                self._lab.live_wanted.emit(path)

        ask(self, title, self._own_code(), run)

    def _own_code(self) -> dict[str, str]:
        assert self._overview is not None
        return named_in(self._overview.configuration)

    def _go_live(self) -> None:
        self._lab.live_wanted.emit(self._path())

    def _export(self) -> None:
        self._write_to(self._path().parent)

    def _export_to(self) -> None:
        dialog = QFileDialog(self, "Folder for the export", str(self._path().parent))
        dialog.setObjectName("replay.export-folder")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(lambda folder: self._write_to(Path(folder)))
        dialog.open()

    def _write_to(self, folder: Path) -> None:
        path = self._path()
        argv = ["export", str(path), "--to", self.format.currentData(), "--out", str(folder), "--json"]
        self._start(f"export {path.name}", [*argv, "--force"] if self.replace.isChecked() else argv, path)

    def _stop(self) -> None:
        if self.job is not None:
            self.job.stop()

    def _path(self) -> Path:
        assert self._overview is not None
        return self._overview.path

    def _start(self, title: str, argv: list[str], path: Path, *, ready: bool = False) -> bool:
        try:
            job = self._lab.jobs.start(title, argv, session=path if argv[0] == "resume" else None, ready=ready)
        except OSError as error:
            self.refused.emit(f"{title}: no process can be started ({error.strerror or error})")
            return False
        self._jobs[path] = job
        job.changed.connect(self._tell)
        job.ended.connect(lambda: self._ended(job))
        self._tell()
        return True

    def _ended(self, job: Job) -> None:
        _, text = outcome_of(job)
        level = {JobState.DONE: "info", JobState.STOPPED: "warning"}.get(job.state, "error")
        # What went wrong stands on this page; the log has it too.
        self._lab.notice("warning" if level == "error" else level, f"{job.title}: {text}")
        self._tell()

    def _tell(self) -> None:
        job, there = self.job, self._overview
        busy = job is not None and not job.state.over
        for action in (self.verify, self.export, self.export_to):
            action.setEnabled(there is not None and not busy)
        self.live.setEnabled(there is not None)
        self.resume.setEnabled(there is not None and not busy and there.status in _RESUMABLE)
        self.stop.setEnabled(busy)
        for widget in (self.progress, self.outcome, self._stop_button):
            widget.setVisible(job is not None and (busy or widget is self.outcome))
        if job is None:
            return
        role, text = outcome_of(job) if job.state.over else ("text", _going(job))
        self.outcome.setText(text)
        self.outcome.setStyleSheet(f"color: {self._lab.theme.colours[role]};")
        self.progress.setRange(0, _PARTS if job.progress.total else 0)
        self.progress.setValue(round(job.progress.share * _PARTS))


def _going(job: Job) -> str:
    """Return how far a job is."""
    told = [part for part in (job.progress.description, job.progress.figures) if part]
    stopping = ["stopping"] if job.state is JobState.STOPPING else []
    return ": ".join([job.title, ", ".join([*stopping, *told]) or job.message or "starting"])


def outcome_of(job: Job) -> tuple[str, str]:
    """Return how a job ended: the role of its colour, and words."""
    report, kind = job.report, job.argv[0]
    if kind == "replay" and report.get("verified"):
        tolerance = float(report["tolerance"])
        how = "bit for bit" if not tolerance else f"within {tolerance:g}, as this is another machine"
        hashes = int(report["parameter_hashes"])
        parameters = f", and {hashes} hashes of the parameters" if hashes else ""
        return "ok", f"✔ verified: {int(report['shots']):,} shots reproduced {how}{parameters}, {report['note']}"
    if kind == "replay" and "difference" in report:
        return "error", f"✖ not reproduced: {report['difference']}"
    if kind == "export" and job.state is JobState.DONE:
        files = [Path(file["path"]) for file in report.get("files", [])]
        names = ", ".join(file.name for file in files)
        return "ok", f"✔ exported into {files[0].parent}: {names}" if files else "✔ exported"
    if job.state is JobState.DONE:
        return "ok", f"✔ {job.title}: {report.get('reason') or 'done'}"
    if job.state is JobState.STOPPED:
        return "warn", f"■ {job.title}: stopped"
    return "error", f"✖ {job.title}: {job.outcome}: {job.message.removeprefix('labpgt: ')}"

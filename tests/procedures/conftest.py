"""The command line as a person uses it, in this process, and a device that fails on request."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from labpgt.config import to_toml
from procedures.cli import main
from tests.runs import configured

BENCH = """
import os
import signal
import time
from pathlib import Path

from simulators.echo_state import EchoStateRing
from tests.faults import Faulty


class Bench(Faulty):
    \"\"\"A tanh ring that fails as its settings say, and writes down when it was opened, made safe and closed.\"\"\"

    def __init__(self, log, fails=(), signals=(), signal_at=None, signal_in_make_safe=False, pause_s=0.0, **faults):
        super().__init__(EchoStateRing(n_nodes=5, ring_nodes=5), **faults)
        self.log, self.fails, self.pause_s = Path(log), fails, pause_s
        self.signals, self.signal_at, self.signal_in_make_safe = list(signals), signal_at, signal_in_make_safe

    def happened(self, what):
        with self.log.open("a") as log:
            log.write(what + " ")
        if what in self.fails:
            raise OSError(f"no answer to {what}")

    def open(self):
        self.happened("open")
        super().open()

    def make_safe(self):
        if self.signal_in_make_safe:
            os.kill(os.getpid(), signal.SIGINT)
        self.happened("safe")
        super().make_safe()

    def close(self):
        self.happened("close")
        super().close()

    def forward(self, drives):
        time.sleep(self.pause_s * len(drives))
        if self.signal_at is not None and self.next <= self.signal_at < self.next + len(drives):
            for name in self.signals:
                os.kill(os.getpid(), signal.Signals[name])
        return super().forward(drives)
"""


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output, which must be exactly one JSON object on one line."""
        assert self.out.count("\n") == 1, self.out
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


Labpgt = Callable[..., Outcome]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def labpgt(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Labpgt:
    """Runs the command line with these arguments."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["labpgt", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The configuration file of a run that takes a tenth of a second."""
    path = tmp_path / "small.toml"
    path.write_text(to_toml(configured()))
    return path


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration file of that run with the device `bench:Bench`; its log is `tmp_path / "log"`."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "bench.py").write_text(BENCH)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.delitem(sys.modules, "bench", raising=False)
    path = tmp_path / "bench.toml"
    path.write_text(to_toml(configured().model_copy(update={"device": _device(tmp_path / "log")})))
    return path


def _device(log: Path) -> Any:
    return type(configured().device)(name="bench:Bench", log=str(log))

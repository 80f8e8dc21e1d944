"""A process that waits loaded becomes the run it is told, or leaves when nobody needs it; what it says can be read."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from labpgt.session import Session
from procedures.standby import received
from tests.procedures.conftest import Labpgt

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def standby(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "procedures.standby", "echo-state-ring", "no-such-ring"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    with process:
        yield process
        process.kill()


def order(folder: Path, *argv: object, **env: str) -> bytes:
    files = {"cwd": str(folder), "stdout": str(folder / "out.txt"), "stderr": str(folder / "err.txt")}
    return json.dumps({"argv": [str(argument) for argument in argv], **files, "env": env}).encode() + b"\n"


def give(process: "subprocess.Popen[bytes]", line: bytes) -> None:
    """Write what it is to do, as one who then dies."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line)
    process.stdin.close()
    process.stdout.close()
    process.stdin = None


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_order_given_while_it_loads_is_carried_out_though_nobody_is_there_any_more(
    standby: "subprocess.Popen[bytes]", tmp_path: Path, small: Path
) -> None:
    give(standby, order(tmp_path, "train", small, "--out", "run.h5", "--json", LABPGT_PROGRESS="json"))
    assert standby.wait(60) == 0
    [report] = lines(tmp_path / "out.txt")
    assert report["status"] == "success"
    told = lines(tmp_path / "err.txt")
    assert {"say": "session file: run.h5"} in told
    shown = [line["progress"] for line in told if "progress" in line]
    assert [figure["description"] for figure in shown][:1] == ["calibrating"]
    assert all(set(figure) == {"description", "figures", "completed", "total"} for figure in shown)
    assert shown[-1]["completed"] == shown[-1]["total"] == report["shots"]
    assert all(first != second for first, second in pairwise(shown))
    with Session(tmp_path / "run.h5") as session:
        assert session.provenance["pid"] == str(standby.pid)


def test_ready_it_leaves_whoever_started_it_for_a_place_of_its_own(
    standby: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    assert standby.stdout is not None
    assert standby.stdin is not None
    assert json.loads(standby.stdout.readline())["ready"] > 0
    standby.stdin.write(order(tmp_path, "watch", "none.h5"))
    standby.stdin.flush()
    said = tmp_path / "err.txt"
    while not (said.exists() and "none.h5 is not there yet; waiting for it" in said.read_text()):
        assert standby.poll() is None
    if hasattr(os, "getsid"):
        assert os.getsid(standby.pid) == standby.pid != os.getsid(0)


LOADING = """
import os, time
from procedures import standby

obeyed = standby._interrupted
heard = []

def interrupted(lines):
    obeyed(lines)
    heard.append(True)

def load(devices):
    os.write(1, b"loading\\n")
    while not heard:
        time.sleep(0.01)
    os.write(1, b"interrupted\\n")

standby._interrupted, standby.load = interrupted, load
standby.main()
"""


@pytest.mark.skipif(os.name != "posix", reason="no such signals here")
@pytest.mark.parametrize("ordered", [True, False])
def test_an_interrupt_while_it_loads_stops_what_it_was_told_and_nothing_before(tmp_path: Path, ordered: bool) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LOADING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"loading\n"
        if ordered:
            process.stdin.write(order(tmp_path, "--version", LABPGT_PROGRESS="json"))
            process.stdin.flush()
        process.send_signal(signal.SIGINT)
        if not ordered:
            assert process.stdout.readline() == b"interrupted\n"
            process.stdin.write(order(tmp_path, "--version"))
            process.stdin.flush()
        assert process.wait(60) == (4 if ordered else 0)
    if ordered:
        assert lines(tmp_path / "err.txt") == [{"error": "stopped by Ctrl-C before it began", "exit_code": 4}]
    assert bool((tmp_path / "out.txt").read_text()) is not ordered


@pytest.mark.parametrize("line", [b"", b'{"argv": ["train"], "cwd"'])
def test_without_an_order_it_leaves(standby: "subprocess.Popen[bytes]", line: bytes) -> None:
    give(standby, line)
    assert standby.wait(60) == 0
    assert standby.stderr is not None
    assert standby.stderr.read() == b""


@pytest.mark.parametrize("line", [b'{"argv": ["train"]}', b"[]", b"3", b"{", order(Path(), 1).replace(b'"1"', b"1")])
def test_what_is_no_order_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="is no order"):
        received(line)


def test_a_program_reads_why_a_command_is_refused(labpgt: Labpgt, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABPGT_PROGRESS", "json")
    done = labpgt("train", small, "--set", "training.epochs=0")
    told = json.loads(done.err)
    assert "training.epochs = 0: must be at least 1" in told["error"]
    assert (done.code, told["exit_code"]) == (2, 2)

"""Asking a run of somebody else to stop, and nothing else."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from labpgt.interrupt import interrupt

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a run is asked by a signal")
SLEEP = "import time; print('up', flush=True); time.sleep(60)"


@pytest.fixture
def run() -> Iterator["subprocess.Popen[str]"]:
    """A process of Python that waits."""
    words = [sys.executable, "-c", SLEEP]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()


def test_a_run_is_asked_as_by_ctrl_c_and_one_that_is_gone_is_not(run: "subprocess.Popen[str]") -> None:
    assert interrupt(run.pid)
    assert run.wait(10) == -signal.SIGINT
    assert not interrupt(run.pid)


def test_a_number_that_is_something_else_by_now_is_left_alone() -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        assert not interrupt(other.pid)
        assert other.poll() is None
        other.kill()


def _ask(pid: int, found: Any) -> None:
    os.setuid(20_001)
    try:
        found.put(str(interrupt(pid)))
    except PermissionError as error:
        found.put(f"refused: {error}")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only an administrator can be another user")
def test_a_run_of_another_user_may_not_be_asked(run: "subprocess.Popen[str]") -> None:
    context = multiprocessing.get_context("forkserver")
    found = context.Queue()
    process = context.Process(target=_ask, args=(run.pid, found))
    process.start()
    assert "refused: " in found.get(timeout=60)
    process.join()
    found.close()
    assert run.poll() is None

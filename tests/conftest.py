"""How the suite is shared among processes."""

import contextlib
import itertools
import os
import signal
import sys
from collections.abc import Iterator

import pytest

from labpgt import locks

# For this process and those that tests start: without it pyvisa looks for another library each time, 0.1 s of work.
os.environ.setdefault("PYVISA_LIBRARY", "@py")
# Dozens of processes import the same modules: compiled once, whatever the environment says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A shell lets what it starts in the background, and so all that the tests start, ignore Ctrl-C, of which tests are.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A process more than there are cores, four at most, for many tests wait for processes and instruments.

    Timing tables are printed by this one, with nothing beside it.
    """
    if config.option.markexpr == "benchmark" or config.option.usepdb:
        return 0
    return min((os.cpu_count() or 1) + 1, 4)


_numbers = itertools.count()


@pytest.fixture(scope="session", autouse=True)
def _locks_of_this_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is started for many tests sees no run of another process of the suite, nor one of this computer's users."""
    before = os.environ.get(locks.VARIABLE)
    os.environ[locks.VARIABLE] = str(tmp_path_factory.mktemp("locks"))
    yield
    os.environ.pop(locks.VARIABLE)
    if before is not None:
        os.environ[locks.VARIABLE] = before


@pytest.fixture(autouse=True)
def _own_locks(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test, with all that it starts, sees the locks of nobody else.

    Ports come back, and with them the names of the locks of a guard that another test left behind.
    """
    folder = tmp_path_factory.getbasetemp() / f"locks-{next(_numbers)}"
    folder.mkdir()
    monkeypatch.setenv(locks.VARIABLE, str(folder))
    yield
    with contextlib.suppress(OSError):
        folder.rmdir()

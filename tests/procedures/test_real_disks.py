"""Small disks of one's own, filled up and made read-only: what a run does on them, not what a test says they do.

They are file systems in memory, which only an administrator may mount; elsewhere these tests are skipped.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from labpgt.errors import InputError
from labpgt.events import Status
from labpgt.session import Session
from tests.kills import ESTIMATORS, reference, running, start_forked, write_config


def mount(*arguments: str) -> int:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty disk of 80 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        refused = mount("-t", "tmpfs", "-o", "size=80m", "tmpfs", str(place))
    except OSError:
        refused = 1
    if refused:
        pytest.skip("only an administrator may mount a file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_full(disk: Path, tmp_path: Path) -> None:
    """Another program takes all the space at once, faster than the run can look."""
    estimator = ESTIMATORS[1]
    whole = reference(start_forked, tmp_path / "whole", estimator, epochs=40)
    path = disk / "run.h5"
    config = write_config(tmp_path, estimator, epochs=40)
    with running(start_forked, tmp_path, "train", config, "--out", path, "--json") as child:
        while child.acknowledged < 1000:
            assert child.process.poll() is None, child.err
            time.sleep(0.002)
        with (disk / "hog").open("wb", buffering=0) as hog, suppress(OSError):
            while hog.write(bytes(1 << 20)):
                pass
        assert child.process.wait() == 5, child.err
        assert "shots are safe" in child.err
        assert "Traceback" not in child.err
        assert json.loads(child.out)["status"] == "failed"
        acknowledged = child.acknowledged
    with Session(path) as session:
        assert session.status in (Status.FAILED, Status.CRASHED)
        assert session.n_shots >= acknowledged >= 1000
        kept = session.shots()
    assert kept["response"].tobytes() == whole.shots["response"][: len(kept)].tobytes()
    with running(start_forked, tmp_path, "resume", path, "--json") as child:
        assert child.process.wait() == 5, child.err
        assert "MB are free" in child.err
    (disk / "hog").unlink()
    with running(start_forked, tmp_path, "resume", path, "--json") as child:
        assert child.process.wait() == 0, child.err
        assert json.loads(child.out)["parameters_sha256"] == whole.sha256


def test_a_disk_that_is_read_only(disk: Path, tmp_path: Path) -> None:
    estimator = ESTIMATORS[1]
    whole = reference(start_forked, disk / "whole", estimator, epochs=4)
    path = disk / "whole" / "whole.h5"
    with Session(path) as session:
        expected = session.n_shots
    assert mount("-o", "remount,ro", str(disk)) == 0
    with running(start_forked, tmp_path, "train", whole.config, "--out", disk / "new.h5", "--json") as child:
        assert child.process.wait() in (2, 5), child.err
        assert "labpgt: " in child.err
        assert "Read-only file system" in child.err or "cannot be written" in child.err
        assert "Traceback" not in child.err
    with Session(path) as session:
        assert session.n_shots == expected
    with pytest.raises(InputError, match="No such file"):
        Session(disk / "new.h5")

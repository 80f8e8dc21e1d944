"""Where a run came from: versions, code, machine and process."""

import hashlib
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import h5py
import psutil

from labpgt.processes import is_same, start_mark

_ROOT = Path(__file__).resolve().parents[2]
"""The checkout that labpgt runs from, or the folder it is installed in."""
_GIT_TIMEOUT_S = 5.0


def provenance(dataset_sha256: str) -> dict[str, str]:
    """Return what a result depends on besides configuration and device, as text; empty where it is not known."""
    commit, dirty = git_state(_ROOT)
    constraints = _ROOT / "constraints.txt"
    # Importing torch only to ask it takes seconds; whoever trains has imported it already.
    torch = sys.modules.get("torch")
    process = psutil.Process()
    return {
        "labpgt": _version("labpgt"),
        "python": platform.python_version(),
        "numpy": _version("numpy"),
        "torch": _version("torch"),
        "numba": _version("numba"),
        "h5py": _version("h5py"),
        "libhdf5": h5py.version.hdf5_version,
        "git_commit": commit,
        "git_dirty": dirty,
        "constraints_sha256": hashlib.sha256(constraints.read_bytes()).hexdigest() if constraints.is_file() else "",
        "dataset_sha256": dataset_sha256,
        "host": platform.node(),
        "machine": platform.machine(),
        "platform": platform.platform(),
        "threads": str(torch.get_num_threads()) if torch is not None else "",
        "pid": str(process.pid),
        "process_create_time": repr(process.create_time()),
        "process_start": start_mark(process.pid),
    }


def process_runs(pid: str, created: str, start: str = "") -> bool:
    """Say whether the process with this number and beginning still runs on this machine.

    `created` is its creation time (seconds since 1970), `start` its `start_mark`, which counts if there is one: files
    of before have none.
    """
    try:
        process = psutil.Process(int(pid))
        return process.status() != psutil.STATUS_ZOMBIE and is_same(process, float(created), start)
    except (psutil.Error, ValueError, OverflowError):
        return False


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def git_state(root: Path) -> tuple[str, str]:
    """Return the commit of a checkout and whether tracked files differ from it ("yes" or "no"); empty if unknown."""
    # An installed package may lie inside somebody else's repository: only the checkout's own root counts.
    if not (root / ".git").exists():
        return "", ""
    command = ["git", "-C", str(root), "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        # Without optional locks, asking never gets in the way of a git command that a person runs meanwhile.
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=True,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
        ).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return "", ""
    oid = "# branch.oid "
    commit = next((line.removeprefix(oid) for line in answer if line.startswith(oid)), "")
    return commit, "yes" if any(not line.startswith("#") for line in answer) else "no"

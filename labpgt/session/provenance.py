"""Where a run came from: versions, code, machine and process."""

import hashlib
import math
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import h5py
import psutil

_ROOT = Path(__file__).resolve().parents[2]
"""The checkout that labpgt runs from, or the folder it is installed in."""
_GIT_TIMEOUT_S = 5.0
_SAME_PROCESS_S = 2.0
"""A process's creation time is derived from the boot time, which moves a little when the clock is set."""


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
    }


def process_runs(pid: str, created: str) -> bool:
    """Say whether the process with this number and creation time (seconds since 1970) still runs on this machine."""
    try:
        began = float(created)
        process = psutil.Process(int(pid))
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return math.isfinite(began) and abs(process.create_time() - began) < _SAME_PROCESS_S
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

"""Machine code on disk: never that of another source, never made in silence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import simulators

ANSWER = """
import numpy as np
from simulators.llg import record
from simulators.strip import Loop, Strip
field = np.full((1, 201), 0.01)
print(repr(float(record(Strip(), Loop(2e-10, 5.0, 1e-5), 1e-11, field)[0, -1])))
"""


def test_a_change_of_what_the_solver_calls_is_compiled_and_said(tmp_path: Path) -> None:
    # A copy of the package: an edit of lanes.py alone must be seen, and numba looks at llg.py only.
    package = tmp_path / "simulators"
    package.mkdir()
    for source in Path(simulators.__file__).parent.glob("*.py"):
        (package / source.name).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    root = Path(simulators.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])}

    def run() -> tuple[float, str]:
        done = subprocess.run(
            [sys.executable, "-c", ANSWER], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return float(done.stdout), done.stderr

    first, said = run()
    assert "compiled in" in said
    again, said = run()
    assert again == first
    assert "compiled in" not in said
    lanes = package / "lanes.py"
    changed = lanes.read_text(encoding="utf-8").replace(
        '_teach(operator.truediv, "fdiv")', '_teach(operator.truediv, "fmul")'
    )
    lanes.write_text(changed, encoding="utf-8")
    after, said = run()
    assert "compiled in" in said
    assert after != pytest.approx(first, rel=1e-6)

"""Examining, connecting and guarding the virtual bench, whose instruments speak the dialects of the real ones."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import pyvisa

from instruments.bench import load_bench
from instruments.connect import close, connect_each
from instruments.doctor import bench_checks
from simulators.virtual_bench.bench import VirtualBench
from tests.instruments.plain_server import wait_for

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", ["envelope", "spectrum"])
def test_a_killed_run_leaves_every_instrument_safe(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyvisa.ResourceManager, "list_resources", lambda self, query: ())
    path = tmp_path / "bench.toml"
    with VirtualBench(kind) as virtual:
        path.write_text(virtual.config_text())
        bench = load_bench(path)
        assert [check for check in bench_checks(path) if not check.ok] == []
        drivers, fault = connect_each(bench)
        assert fault is None
        description = tmp_path / "bench.json"
        description.write_text(bench.model_dump_json())
        with subprocess.Popen(
            [sys.executable, "-m", "tests.instruments.guarded_run", str(description)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as run:
            assert run.stdout is not None
            guard = int(run.stdout.readline())
            assert run.stdout.readline() == "running\n"
            drivers["source"].rf_on()
            drivers["attenuator"].attenuation = 20
            drivers["amplifier"].output_enabled = True
            assert drivers["source"].output_enabled
            assert drivers["amplifier"].output_enabled
            run.send_signal(signal.SIGKILL)
            assert wait_for(lambda: not drivers["source"].output_enabled)
            assert wait_for(lambda: not drivers["amplifier"].output_enabled)
            assert wait_for(lambda: drivers["attenuator"].attenuation == drivers["attenuator"].maximum)
        # While its instruments are still there: without them it would go on trying for a minute.
        assert wait_for(lambda: not psutil.pid_exists(guard) or psutil.Process(guard).status() == psutil.STATUS_ZOMBIE)
        for driver in drivers.values():
            # The guard's commands were taken without an error.
            assert driver.empty_errors() == []
            close(driver)

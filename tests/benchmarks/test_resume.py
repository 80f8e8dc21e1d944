"""How long a long run takes to be live again after a crash, and what a replay costs beside the digital work alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from labpgt.config import Config, from_toml_text, load_config, to_toml
from labpgt.events import Purpose
from labpgt.replay import Verdict, replay
from labpgt.session import Session
from labpgt.tasks import load_dataset
from procedures.train import run as train_into_file
from tests.kills import ROOT, running, start_anew

SHOTS = 1_000_000
FAST = ("device.name=echo-state-ring", "device.n_nodes=4", "device.ring_nodes=4", "device.noise=0.01")


def seconds_until_live(path: Path) -> float:
    """From the command to the first shot that the device answers, in a new process."""
    began = time.perf_counter()
    command = [str(Path(sys.executable).with_name("labpgt")), "resume", str(path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    out, err = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(command, env=environment, text=True, stdout=out, stderr=err) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "the device answers" in line:
                break
        seconds = time.perf_counter() - began
        process.send_signal(signal.SIGINT)
        process.communicate()
    return seconds


def seconds_to_copy(path: Path) -> float:
    """Plain copy of the same bytes, with fsync."""
    copy = path.with_suffix(".copy")
    began = time.perf_counter()
    with path.open("rb") as source, copy.open("wb") as target:
        while data := source.read(16 << 20):
            target.write(data)
        target.flush()
        os.fsync(target.fileno())
    seconds = time.perf_counter() - began
    copy.unlink()
    return seconds


@pytest.mark.benchmark
@pytest.mark.timeout(1200)
def test_live_again_after_a_crash(tmp_path: Path) -> None:
    print("\nbreast-cancer network, 8 symbols of 4 nodes a shot; killed, then resumed in a new process")
    print(f"{'shots':>10} {'file':>9} {'live after':>11} {'plain copy + fsync':>19}")
    for shots in (10_000, SHOTS):
        config = load_config(
            None,
            [
                *FAST,
                "training.batch=64",
                "training.estimator=readout",
                "training.epochs=9999",
                "training.evaluation=none",
            ],
        )
        (tmp_path / "long.toml").write_text(to_toml(config))
        path = tmp_path / f"{shots}.h5"
        with running(start_anew, tmp_path, "train", tmp_path / "long.toml", "--out", path) as child:
            while child.acknowledged < shots:
                assert child.process.poll() is None, child.err
                time.sleep(0.01)
            child.process.kill()
            child.process.wait()
        copied = seconds_to_copy(path)
        live = seconds_until_live(path)
        print(f"{shots:>10,} {path.stat().st_size / 1e6:>6.0f} MB {live:>9.1f} s {copied:>17.1f} s")


def replay_rate(path: Path, config: Config) -> float:
    """Shots a second of a replay, verification included."""
    dataset = load_dataset(config.task, config.training.seed)
    with Session(path) as session:
        began = time.perf_counter()
        *_, verdict = replay(session, config, dataset)
        assert isinstance(verdict, Verdict)
        return verdict.shots / (time.perf_counter() - began)


def digital_rate(path: Path, config: Config) -> float:
    """Shots a second of the same modules and optimiser in plain torch, forward and backward on each step's shots."""
    from labpgt.registry import make_device
    from labpgt.training import Trainer

    device = make_device(config.device.name, config.device.settings)
    with device:
        trainer = Trainer(config, device, load_dataset(config.task, config.training.seed))
    network = trainer.network
    with Session(path) as session:
        rows = session.shots()
    steps = rows[rows["purpose"] == Purpose.TRAIN]
    size = 2 * config.training.batch
    threads = torch.get_num_threads()
    torch.set_num_threads(config.training.threads)  # as a run has it: for arrays this small, one is fastest
    began = time.perf_counter()
    for start in range(0, len(steps) - size, size):
        block = steps[start : start + size]
        drives = network.encode(trainer.x[block["sample"][::2].astype("i8")])
        responses = torch.from_numpy(block["response"].reshape(size, -1).copy()).requires_grad_()
        losses = trainer.loss.per_shot(network.read(responses), trainer.targets[block["sample"].astype("i8")])
        losses.mean().backward()  # type: ignore[no-untyped-call]
        drives.backward(torch.ones_like(drives))  # type: ignore[no-untyped-call]
        trainer.optimizer.step()
    seconds = time.perf_counter() - began
    torch.set_num_threads(threads)
    return len(steps) / seconds


@pytest.mark.benchmark
@pytest.mark.timeout(600)
def test_replay(tmp_path: Path) -> None:
    print("\nbreast-cancer network, 48 074 parameters, batches of 4; shots a second")
    print(f"{'estimator':16} {'replay --verify':>16} {'plain torch, training shots alone':>34} {'ratio':>6}")
    for estimator in ("jacobian-twin", "node"):
        path = tmp_path / f"{estimator}.h5"
        config = load_config(
            None, [*FAST, f"training.estimator={estimator}", "training.epochs=8", "training.evaluation=none"]
        )
        train_into_file(config, path)
        with Session(path) as session:
            recorded = from_toml_text(session.configuration)
        replay_rate(path, recorded)
        ours, peer = replay_rate(path, recorded), digital_rate(path, recorded)
        print(f"{estimator:16} {ours:>16,.0f} {peer:>34,.0f} {ours / peer:>6.2f}")

"""One run at a time: a run that is refused a bench, or has lost it to another, sends nothing to it."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from instruments import guard as guard_module
from instruments.bench import load_bench
from instruments.magnonic_ring import MagnonicRing
from instruments.safety import places
from labpgt import locks
from labpgt.errors import DeviceFault
from tests.instruments.benches import TriedBench
from tests.instruments.plain_server import wait_for

DRIVES = np.random.default_rng(4).uniform(0, 1, (3, 4))


def test_a_second_run_is_refused_and_the_first_one_notices_nothing(
    bench: TriedBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_module, "_OTHERS_S", 0.1)
    with MagnonicRing(bench=str(bench.path)) as first:
        good = first.forward(DRIVES)
        bench.forget()
        second = MagnonicRing(bench=str(bench.path))
        with pytest.raises(DeviceFault, match=f"another run is using it .process {os.getpid()}, its guard is"):
            second.open()
        second.make_safe()
        second.close()
        assert bench.sent == []
        assert bench.rf_on
        assert np.array_equal(first.forward(DRIVES), good)
        assert not first.flags().any()
    # And it is free again at once.
    with second:
        assert np.array_equal(second.forward(DRIVES), good)


def test_a_bench_that_cannot_be_opened_is_free_again_at_once(bench: TriedBench, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(bench.path.read_text().replace('"N9020A"', '"FSV-7"'))
    for _ in range(2):
        with pytest.raises(DeviceFault, match="expected the model FSV-7"):
            MagnonicRing(bench=str(path)).open()
        assert list(locks.folder().iterdir()) == []


def test_a_run_that_has_lost_the_bench_to_another_leaves_it_alone(
    bench: TriedBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_module, "_OTHERS_S", 0.1)
    ring = MagnonicRing(bench=str(bench.path))
    ring.open()
    good = ring.forward(DRIVES)
    guard = ring._running.rack._guard  # type: ignore[union-attr]
    assert guard is not None
    assert guard.pid is not None
    os.kill(guard.pid, signal.SIGKILL)
    assert wait_for(lambda: guard.fired is not None)
    other = locks.Locks(places(load_bench(bench.path)))
    other.take(5.0, 4711)
    bench.forget()
    with pytest.raises(DeviceFault, match="guard: its process") as caught:
        ring.forward(DRIVES)
    assert any("nothing was sent to the bench: " in note and "process 4711" in note for note in caught.value.__notes__)
    with pytest.raises(DeviceFault, match="another run is using it"):
        ring.recover()
    with pytest.raises(DeviceFault, match="nothing was sent to the bench"):
        ring.make_safe()
    assert bench.sent == []
    assert bench.rf_on
    other.free()
    # Without anybody else on it, the bench is this run's to make safe, guard or not.
    ring.make_safe()
    assert not bench.rf_on
    ring.recover()
    assert np.array_equal(ring.forward(DRIVES), good)
    ring.close()

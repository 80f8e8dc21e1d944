"""Shots: what is stored is what the device saw, and what a device does wrong is said by shot."""

import numpy as np
import pytest
from numpy.typing import NDArray

from labpgt.errors import DeviceFault, LabpgtError, RunAborted, StorageFault, TakingStopped
from labpgt.events import Purpose
from labpgt.shots import ShotTaker
from simulators.echo_state import EchoStateRing
from tests.faults import Faulty
from tests.runs import Analytic

SYMBOLS, NODES = 3, 2


def drives(n: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).uniform(-1, 1, (n, SYMBOLS))


def ring(noise: float = 0.0) -> EchoStateRing:
    device = EchoStateRing(n_nodes=NODES, noise=noise)
    device.open()
    return device


def test_rows_say_what_was_asked_and_what_came_back() -> None:
    device = Faulty(ring())
    rows = ShotTaker(device, SYMBOLS).take(
        drives(4),
        np.array([7, 7, 1 << 30, 2]),
        purpose=Purpose.EVALUATION,
        epoch=3,
        step=12,
        sign=np.array([1, -1, 1, -1]),
        seed=99,
        delta=0.05,
    )
    assert rows["sample"].tolist() == [7, 7, 1 << 30, 2]
    assert rows["sign"].tolist() == [1, -1, 1, -1]
    for column, value in {"purpose": 3, "epoch": 3, "step": 12, "seed": 99, "delta": 0.05, "flags": 0}.items():
        assert (rows[column] == value).all(), column
    assert np.isnan(rows["loss"]).all()
    assert np.ptp(rows["time"]) == 0
    assert (rows["duration"] > 0).all()
    assert rows["response"].shape == (4, SYMBOLS, NODES)


def test_the_device_sees_exactly_what_is_stored_and_what_is_stored_is_float32() -> None:
    device = Faulty(ring(noise=0.1))
    rows = ShotTaker(device, SYMBOLS).take(drives(6), np.arange(6))
    seen = np.concatenate(device.seen)
    assert seen.dtype == np.float64
    assert np.array_equal(seen, rows["drive"].astype(np.float64))
    assert np.array_equal(rows["drive"], drives(6).astype(np.float32))
    assert not np.array_equal(seen, drives(6)), "the double-precision drives were rounded first"
    device.seek(0)
    assert np.array_equal(rows["response"], device.forward(seen).astype(np.float32))


def test_drives_are_clipped_to_limits_that_float32_cannot_hold() -> None:
    low, high = 0.1, 0.7
    # float32(0.7) lies below 0.7 and float32(0.1) above 0.1; the negated limits are rounded outwards.
    for limits in ((low, high), (-high, -low), (low + 1e-10, high - 2e-8)):
        device = Faulty(Analytic(lambda u, _: u[..., np.newaxis], nodes=1, limits=limits))
        edges = np.array([[*limits], [np.nextafter(limits[0], -1.0), np.nextafter(limits[1], 1.0)]])
        rows = ShotTaker(device, 2).take(edges, np.arange(2))
        assert (np.concatenate(device.seen) >= limits[0]).all()
        assert (np.concatenate(device.seen) <= limits[1]).all()
        assert np.abs(rows["drive"] - np.array(limits)).max() <= np.spacing(np.float32(high))


def test_drives_inside_the_limits_are_not_clipped() -> None:
    inside = np.array([[-1.0, 1.0, 0.0], [-0.99999994, 0.99999994, 1e-30]])
    rows = ShotTaker(ring(), SYMBOLS).take(inside, np.arange(2))
    assert np.array_equal(rows["drive"], inside.astype(np.float32))


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 100])
def test_device_batch_changes_calls_but_not_rows(batch: int) -> None:
    whole, device = ring(noise=0.1), Faulty(ring(noise=0.1))
    expected = ShotTaker(whole, SYMBOLS).take(drives(7), np.arange(7))
    rows = ShotTaker(device, SYMBOLS, batch).take(drives(7), np.arange(7))
    assert [len(call) for call in device.seen] == [batch] * (7 // batch) + [7 % batch] * (7 % batch > 0)
    for column in rows.dtype.names or ():
        if column not in ("time", "duration"):
            assert np.array_equal(rows[column], expected[column], equal_nan=True), column


def test_shots_are_numbered_through_and_counted_by_purpose() -> None:
    device = ring(noise=0.1)
    taker = ShotTaker(device, SYMBOLS, device_batch=2)
    rows = [taker.take(drives(n), np.arange(n), purpose=purpose) for n, purpose in ((3, 0), (2, 1), (4, 0))]
    assert np.concatenate(rows)["index"].tolist() == list(range(9))
    assert taker.index == 9
    assert taker.taken == {Purpose.TRAIN: 7, Purpose.CALIBRATION: 2}
    # The number keys the noise: the same drives as a later shot get other noise.
    assert not np.array_equal(rows[0]["response"], rows[2]["response"][:3])
    device.seek(5)
    assert np.array_equal(rows[2]["response"], device.forward(rows[2]["drive"].astype("f8")).astype("f4"))


def test_device_time_is_the_sum_of_durations() -> None:
    taker = ShotTaker(ring(), SYMBOLS, device_batch=2)
    rows = taker.take(drives(5), np.arange(5))
    assert rows["duration"].sum() == pytest.approx(taker.device_s, rel=1e-9)


@pytest.mark.parametrize("batch", [None, 1, 4])
def test_a_nan_is_a_device_fault_naming_the_shot(batch: int | None) -> None:
    taker = ShotTaker(Faulty(ring(), nan_at=9), SYMBOLS, batch)
    taker.take(drives(4), np.arange(4))
    with pytest.raises(DeviceFault, match=r"faulty echo-state-ring: shot 9 came back with a value .* not finite"):
        taker.take(drives(8), np.arange(8))


def test_a_response_too_large_for_float32_is_a_device_fault() -> None:
    huge = Faulty(ring(), constant=1e39)
    with pytest.warns(RuntimeWarning, match="overflow"), pytest.raises(DeviceFault, match=r"shot 0 .* overflow"):
        ShotTaker(huge, SYMBOLS).take(drives(1), np.arange(1))


def test_a_wrong_shape_is_a_device_fault_with_both_shapes() -> None:
    taker = ShotTaker(Faulty(ring(), shape_at=5), SYMBOLS)
    taker.take(drives(4), np.arange(4))
    with pytest.raises(DeviceFault, match=r"shot 4 came back with shape \(2, 3, 1\), expected \(2, 3, 2\)"):
        taker.take(drives(2), np.arange(2))


@pytest.mark.parametrize("error", [RuntimeError("no trigger"), OSError(5, "no trigger"), TimeoutError("no trigger")])
def test_any_exception_of_the_device_is_a_device_fault_naming_the_shot(error: Exception) -> None:
    taker = ShotTaker(Faulty(ring(), raise_at=4, error=error), SYMBOLS)
    taker.take(drives(4), np.arange(4))
    with pytest.raises(DeviceFault, match=rf"shot 4 failed: {type(error).__name__}: .*no trigger") as caught:
        taker.take(drives(1), np.arange(1))
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("kind", [DeviceFault, RunAborted, StorageFault, LabpgtError, KeyboardInterrupt])
def test_errors_that_say_enough_pass_unchanged(kind: type[BaseException]) -> None:
    error = kind("gain limit of 12 dB reached")
    with pytest.raises(kind) as caught:
        ShotTaker(Faulty(ring(), raise_at=0, error=error), SYMBOLS).take(drives(1), np.arange(1))
    assert caught.value is error


def test_shots_that_failed_are_not_counted() -> None:
    device = Faulty(ring(), raise_at=3)
    taker = ShotTaker(device, SYMBOLS)
    taker.take(drives(2), np.arange(2))
    with pytest.raises(DeviceFault):
        taker.take(drives(4), np.arange(4))
    assert taker.index == 2
    assert taker.taken.total() == 2
    device.raise_at = None
    assert taker.take(drives(1), np.arange(1))["index"].tolist() == [2]


def test_a_drive_that_is_no_number_blames_the_network_not_the_device() -> None:
    device = Faulty(ring())
    taker = ShotTaker(device, SYMBOLS)
    taker.take(drives(2), np.arange(2))
    bad = drives(3)
    bad[1, 2] = np.nan
    with pytest.raises(LabpgtError, match=r"shot 3: .*diverged; lower training\.learning_rate") as caught:
        taker.take(bad, np.arange(3))
    assert not isinstance(caught.value, DeviceFault)
    assert len(device.seen) == 1, "nothing was sent"


@pytest.mark.parametrize(("batch", "kept"), [(1, 4), (2, 4), (3, 6), (5, 10)])
def test_a_request_to_stop_ends_between_two_calls_but_never_inside_a_pair(batch: int, kept: int) -> None:
    device = Faulty(ring())
    taker = ShotTaker(device, SYMBOLS, batch)
    taker.stop = lambda: "Ctrl-C" if len(np.concatenate(device.seen)) > 2 else None
    sign = np.resize((1, -1), 12)
    with pytest.raises(TakingStopped) as stopped:
        taker.take(drives(12), np.arange(12), sign=sign, seed=3)
    answered = stopped.value.answered
    assert stopped.value.reason == "Ctrl-C"
    assert answered is not None
    assert answered["sign"].tolist() == [1, -1] * (kept // 2)
    assert taker.index == taker.taken[Purpose.TRAIN] == len(answered) == kept == len(np.concatenate(device.seen))
    assert np.isnan(answered["loss"]).all()
    whole = ShotTaker(ring(), SYMBOLS).take(drives(12), np.arange(12), sign=sign, seed=3)
    assert np.array_equal(answered["response"], whole["response"][:kept])


def test_single_shots_may_stop_after_any_call_and_nobody_asks_before_the_first() -> None:
    device = Faulty(ring())
    taker = ShotTaker(device, SYMBOLS, 1)
    taker.stop = lambda: "SIGTERM"
    with pytest.raises(TakingStopped) as stopped:
        taker.take(drives(3), np.arange(3))
    assert stopped.value.answered is not None
    assert len(stopped.value.answered) == len(device.seen) == 1
    # In one call there is nowhere to stop.
    assert len(ShotTaker(ring(), SYMBOLS).take(drives(3), np.arange(3))) == 3

"""What every reservoir must do, asked of each implementation; and the physics of the tanh ring."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from instruments.loopback import Loopback
from instruments.magnonic_ring import MagnonicRing
from labpgt.device import Device, Differentiable, Reservoir, Seekable, Setting
from labpgt.errors import DeviceFault, InputError
from labpgt.replay import RecordingEnded, ReplayMismatch, ReplayReservoir
from labpgt.session import Session
from simulators.echo_state import EchoStateRing
from simulators.envelope_ring import EnvelopeRing
from simulators.llg_ring import LLGRing
from tests.faults import Faulty
from tests.instruments.benches import TriedBench
from tests.runs import configured, record

SHOTS = 5


class Case(NamedTuple):
    make: Callable[[], Reservoir]
    drives: NDArray[np.float64]
    """Shots that this device can answer, (5, symbols)."""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recorded") / "run.h5"
    record(configured(training={"max_shots": 16}), path)
    return path


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Path]]:
    """Files of virtual benches, with a ring and with a cable."""
    envelope = TriedBench(tmp_path_factory.mktemp("envelope"))
    loopback = TriedBench(tmp_path_factory.mktemp("loopback"), "loopback")
    envelope.open()
    loopback.open()
    with envelope.virtual, loopback.virtual:
        yield {"envelope": envelope.path, "loopback": loopback.path}


def rewind(device: Reservoir) -> None:
    """Have the next shot be number 0, where noise depends on the number."""
    if isinstance(device, Seekable):
        device.seek(0)


@pytest.fixture(
    params=[
        *("llg-ring", "envelope-ring", "echo-state-ring", "noisy-echo-state-ring", "replay", "faulty"),
        *("magnonic-ring", "loopback"),
    ]
)
def case(request: pytest.FixtureRequest) -> Case:
    signed = np.random.default_rng(0).uniform(-1, 1, (SHOTS, 3))
    match request.param:
        case "llg-ring":
            return Case(lambda: LLGRing(n_nodes=2, symbol_s=1e-9, threads=2), np.abs(signed))
        case "envelope-ring":
            return Case(lambda: EnvelopeRing(n_nodes=2, symbol_s=1e-9, threads=2), np.abs(signed))
        case "echo-state-ring":
            return Case(lambda: EchoStateRing(n_nodes=4, ring_nodes=6), signed)
        case "noisy-echo-state-ring":
            return Case(lambda: EchoStateRing(n_nodes=4, ring_nodes=6, noise=0.1), signed)
        case "magnonic-ring":
            path = request.getfixturevalue("benches")["envelope"]
            return Case(lambda: MagnonicRing(False, bench=str(path)), np.abs(signed))
        case "loopback":
            path = request.getfixturevalue("benches")["loopback"]
            return Case(lambda: Loopback(False, bench=str(path), encoding="phase", duty=1.0), signed)
        case "faulty":
            return Case(lambda: Faulty(EchoStateRing(n_nodes=4, noise=0.1)), signed)
    path = request.getfixturevalue("session")
    with Session(path) as recorded:
        return Case(lambda: ReplayReservoir(path), recorded.shots(0, SHOTS)["drive"].astype(np.float64))


def test_is_a_reservoir(case: Case) -> None:
    device = case.make()
    assert isinstance(device, Device)
    assert isinstance(device, Reservoir)
    assert device.name
    assert device.n_nodes >= 1
    assert device.max_symbols >= case.drives.shape[1]
    low, high = device.drive_limits
    assert low < high
    device.close()


def test_answers_each_symbol_of_each_shot_with_each_node(case: Case) -> None:
    with case.make() as device:
        responses = device.forward(case.drives)
        assert responses.shape == (*case.drives.shape, device.n_nodes)
    assert responses.dtype == np.float64
    assert np.isfinite(responses).all()
    assert responses.std(axis=0).min() > 0, "every value depends on the drive"


def test_answers_no_shots_with_none(case: Case) -> None:
    with case.make() as device:
        assert device.forward(case.drives[:0]).shape == (0, case.drives.shape[1], device.n_nodes)


def test_does_not_change_what_it_was_given(case: Case) -> None:
    drives = case.drives.copy()
    with case.make() as device:
        device.forward(drives)
    assert np.array_equal(drives, case.drives)


def test_batch_is_shot_by_shot_bit_for_bit(case: Case) -> None:
    with case.make() as device:
        together = device.forward(case.drives)
        rewind(device)
        one_by_one = np.concatenate([device.forward(drive[np.newaxis]) for drive in case.drives])
        rewind(device)
        split = np.concatenate([device.forward(case.drives[:2]), device.forward(case.drives[2:])])
    assert np.array_equal(together, one_by_one)
    assert np.array_equal(together, split)


def test_seek_repeats_a_shot_in_any_order(case: Case) -> None:
    with case.make() as device:
        if not isinstance(device, Seekable):
            pytest.skip("its noise is that of the real world")
        together = device.forward(case.drives)
        for shot in (3, 0, 4, 3):
            device.seek(shot)
            assert np.array_equal(device.forward(case.drives[shot : shot + 1])[0], together[shot])
    with case.make() as another:
        another.seek(2)
        assert np.array_equal(another.forward(case.drives[2:]), together[2:])


@pytest.mark.parametrize(
    "order",
    ["make_safe", "close close", "open open", "make_safe open make_safe make_safe", "close open close make_safe close"],
)
def test_opens_closes_and_makes_safe_in_any_order(case: Case, order: str) -> None:
    device = case.make()
    for call in order.split():
        getattr(device, call)()
    device.open()
    rewind(device)
    after = device.forward(case.drives)
    device.make_safe()
    device.close()
    with case.make() as fresh:
        assert np.array_equal(after, fresh.forward(case.drives))


def test_answers_again_after_make_safe(case: Case) -> None:
    with case.make() as device:
        before = device.forward(case.drives)
        device.make_safe()
        rewind(device)
        assert np.array_equal(device.forward(case.drives), before)


def test_a_closed_device_refuses_shots_and_says_what_to_do(case: Case) -> None:
    device = case.make()
    with device:
        device.forward(case.drives)
    rewind(device)
    with pytest.raises(DeviceFault, match=r"closed device; call open\(\) first"):
        device.forward(case.drives)


def test_leaving_by_an_exception_closes(case: Case) -> None:
    device = case.make()
    with pytest.raises(ValueError, match="expected drives of shape"), device:
        device.forward(np.zeros(3))
    rewind(device)
    with pytest.raises(DeviceFault, match="closed device"):
        device.forward(case.drives)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, "above", "below"])
def test_a_drive_outside_the_limits_is_refused_by_shot_and_symbol(case: Case, value: float | str) -> None:
    with case.make() as device:
        low, high = device.drive_limits
        wrong = {"above": np.nextafter(high, np.inf), "below": np.nextafter(low, -np.inf)}.get(str(value), value)
        drives = case.drives.copy()
        drives[3, 1] = wrong
        with pytest.raises(ValueError, match="of shot 3, symbol 1 is outside the limits") as caught:
            device.forward(drives)
        assert f"{low:g} to {high:g}" in str(caught.value)
        assert device.name in str(caught.value)
        rewind(device)
        assert np.isfinite(device.forward(case.drives)).all(), "it goes on after a refusal"


def test_a_wrong_shape_is_refused_with_what_was_expected(case: Case) -> None:
    with case.make() as device:
        with pytest.raises(ValueError, match=r"expected drives of shape \(shots, symbols\), got shape \(3,\)"):
            device.forward(np.zeros(3))
        with pytest.raises(ValueError, match=rf"expected 1 to {device.max_symbols} symbols a shot, got 0"):
            device.forward(np.zeros((2, 0)))
        too_long = device.max_symbols + 1
        with pytest.raises(ValueError, match=rf"symbols a shot, got {too_long}"):
            device.forward(np.zeros((1, too_long)))


def test_settings_are_plain_values_with_units(case: Case) -> None:
    device = case.make()
    settings = device.settings()
    assert len(settings) > 3
    for name, setting in settings.items():
        assert isinstance(setting, Setting), name
        assert type(setting.value) in (float, int, bool, str), name
        assert isinstance(setting.unit, str), name
        for suffix, unit in (("_hz", "Hz"), ("_s", "s"), ("_t", "T"), ("_a_per_m", "A/m")):
            assert not name.endswith(suffix) or setting.unit == unit, name
    assert json.loads(json.dumps({name: setting.value for name, setting in settings.items()})) == {
        name: setting.value for name, setting in settings.items()
    }
    device.close()


@pytest.mark.parametrize("device", [EchoStateRing, LLGRing, EnvelopeRing])
def test_an_unknown_setting_is_refused_with_the_nearest(device: type) -> None:
    with pytest.raises(InputError, match=r'device\.nodes: unknown key\. Did you mean "n_nodes"\?'):
        device(nodes=3)
    with pytest.raises(InputError, match=r"device\.n_nodes = 0: must be at least 1"):
        device(n_nodes=0)


def test_a_replay_refuses_other_drives_and_names_both_values(session: Path) -> None:
    with ReplayReservoir(session) as device:
        drives = device.recorded(0, 3)["drive"].astype(np.float64)
        drives[2, 1] = 0.125
        with pytest.raises(ReplayMismatch, match=r"shot 2 differs: drive symbol 1 was .* replay computes 0\.125"):
            device.forward(drives)
        with pytest.raises(ReplayMismatch, match=r"shots of 2 symbols were asked, 4 symbols are recorded"):
            device.forward(drives[:, :2])


def test_a_replay_ends_where_the_recording_ends(session: Path) -> None:
    with Session(session) as recorded, ReplayReservoir(session) as device:
        rows = recorded.shots()
        device.seek(len(rows) - 1)
        with pytest.raises(RecordingEnded, match=f"ends after {len(rows)} shots"):
            device.forward(np.repeat(rows["drive"][-1:], 2, axis=0).astype(np.float64))


def test_a_fault_wrapper_spoils_only_what_it_was_told_to() -> None:
    drives = np.random.default_rng(0).uniform(-1, 1, (4, 3))
    with EchoStateRing(n_nodes=2) as ring:
        right = ring.forward(drives)
        assert np.argwhere(np.isnan(Faulty(ring, nan_at=2).forward(drives))).tolist() == [[2, 2, 1]]
        assert Faulty(ring, shape_at=3).forward(drives).shape == (4, 3, 1)
        assert np.unique(Faulty(ring, constant=0.5).forward(drives)).tolist() == [0.5]
        drifting = Faulty(ring, drift_per_shot=0.1)
        drifting.seek(10)
        assert np.allclose(drifting.forward(drives) / right, np.array([2.0, 2.1, 2.2, 2.3])[:, None, None])
        broken = Faulty(ring, raise_at=1)
        broken.forward(drives[:1])
        with pytest.raises(RuntimeError, match="cable"):
            broken.forward(drives[:1])


@pytest.mark.parametrize(("nodes", "ring"), [(4, 4), (3, 7), (5, 2)])
def test_the_tanh_ring_is_the_recursion_of_its_reference(nodes: int, ring: int) -> None:
    """Against the map written down in plain Python; its parameters are found from the answers themselves."""
    settings = {"n_nodes": nodes, "ring_nodes": ring, "mask_seed": 3}
    drives = np.random.default_rng(1).uniform(-1, 1, (1, 6))
    # Without feedback and coupling, a drive of 0 shows the biases and a drive of 1 the mask.
    with EchoStateRing(**settings, feedback=0.0, coupling=0.0) as bare:
        bias = np.arctanh(bare.forward(np.zeros((1, 1)))[0, 0])
        mask = np.arctanh(bare.forward(np.ones((1, 1)))[0, 0]) - bias
    assert np.all((np.abs(mask) >= 0.5) & (np.abs(mask) <= 1.0))
    x: list[float] = []
    for n in range(6 * nodes):
        y = mask[n % nodes] * drives[0, n // nodes] + bias[n % nodes]
        y += 0.6 * x[n - ring] if n >= ring else 0.0
        y += 0.2 * x[n - 1] if n else 0.0
        x.append(float(np.tanh(y)))
    with EchoStateRing(**settings, feedback=0.6, coupling=0.2) as device:
        assert np.allclose(device.forward(drives).ravel(), x, rtol=0, atol=1e-13)


@pytest.mark.parametrize("ring_nodes", [2, 5, 9])
def test_vjp_is_the_derivative_by_finite_differences(ring_nodes: int) -> None:
    device = EchoStateRing(n_nodes=5, ring_nodes=ring_nodes, feedback=0.7, coupling=0.4, input_gain=1.5, noise=0.1)
    assert isinstance(device, Differentiable)
    random = np.random.default_rng(2)
    drives = random.uniform(-0.9, 0.9, (3, 4))
    cotangents = random.normal(size=(3, 4, 5))
    step = 1e-5
    expected = np.empty_like(drives)
    with device:
        for symbol in range(4):
            moved = step * np.eye(4)[symbol]
            sides = []
            for sign in (1, -1):
                device.seek(0)  # the same noise on both sides, so that it cancels
                sides.append(device.forward(drives + sign * moved))
            expected[:, symbol] = np.sum(cotangents * (sides[0] - sides[1]), axis=(1, 2)) / (2 * step)
        assert np.allclose(device.vjp(drives, cotangents), expected, rtol=1e-7, atol=1e-8)


def test_the_tanh_ring_forgets_and_is_causal() -> None:
    """One drive value changed: nothing before it changes, and the echo dies out geometrically."""
    drives = np.random.default_rng(3).uniform(-1, 1, (2, 40))
    drives[1] = drives[0]
    drives[1, 5] = -drives[0, 5]
    with EchoStateRing(n_nodes=6, ring_nodes=6, feedback=0.5, coupling=0.2) as device:
        first, second = device.forward(drives)
    echo = np.abs(first - second).max(axis=1)
    assert np.all(echo[:5] == 0)
    assert echo[5] > 0.1
    assert 0 < echo[7] < echo[5]
    assert echo[25:].max() < 1e-5
    with EchoStateRing(n_nodes=6, ring_nodes=6, feedback=0.0, coupling=0.0) as deaf:
        first, second = deaf.forward(drives)
    assert np.all(first[6:] == second[6:]), "no feedback, no memory"


def test_the_noise_has_its_deviation_is_white_and_differs_between_shots_and_keys() -> None:
    drives = np.zeros((400, 5))
    with EchoStateRing(n_nodes=10) as quiet, EchoStateRing(n_nodes=10, noise=0.02) as noisy:
        noise = (noisy.forward(drives) - quiet.forward(drives)).reshape(400, 50) / 0.02
    # 20 000 normal values: the mean is within 4/sqrt(20000), the deviation within 4/sqrt(2*20000).
    assert abs(noise.mean()) < 0.028
    assert abs(noise.std() - 1) < 0.02
    assert abs(np.mean(noise**4) - 3) < 4 * np.sqrt(96 / 20_000)
    correlations = np.corrcoef(noise, rowvar=False)[np.triu_indices(50, 1)]
    assert abs(correlations.std() - 1 / np.sqrt(400)) < 0.005
    assert abs(np.mean(noise[1:] * noise[:-1])) < 0.03
    with EchoStateRing(n_nodes=10, noise=0.02, noise_seed=1) as other, EchoStateRing(n_nodes=10) as quiet:
        another = (other.forward(drives) - quiet.forward(drives)).reshape(400, 50) / 0.02
    assert abs(np.mean(another * noise)) < 0.03

"""Gradients: against finite differences of independent code, and against the statistics that theory gives."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from labpgt.config import NetworkConfig, TrainingConfig
from labpgt.device import Reservoir
from labpgt.errors import DeviceFault, InputError
from labpgt.estimators import ESTIMATORS, Batch, Estimator, PairEstimator, StepReport
from labpgt.estimators.jacobian_twin import JacobianTwin
from labpgt.events import Purpose
from labpgt.losses import Loss
from labpgt.network import Network, build_network
from labpgt.perturbations import draw_perturbation
from labpgt.rng import Draw, generator
from labpgt.shots import ShotTaker
from simulators.echo_state import EchoStateRing
from tests.faults import Faulty
from tests.runs import Analytic, Linear

FEATURES, CLASSES = 4, 3
VARIANCE = 170 / 256
"""Of a value of PM in {-1, 0, 1}: 85 of 256 bytes for each sign."""


def make(
    name: str,
    reservoir: Reservoir | None = None,
    *,
    symbols: int = 4,
    hidden: Sequence[int] = (5,),
    seed: int = 3,
    drive_gain: float = 2.0,
    **training: Any,
) -> Estimator:
    """An estimator over a small network, whose responses are scaled as after a calibration."""
    reservoir = reservoir or EchoStateRing(n_nodes=3, ring_nodes=4)
    reservoir.open()
    config = NetworkConfig(hidden=list(hidden), symbols=symbols, drive_gain=drive_gain, readout_deviation=1.0)
    network = build_network(config, FEATURES, reservoir.n_nodes, CLASSES, reservoir.drive_limits, seed)
    network.offset, network.scale = 0.1, 0.6
    settings = TrainingConfig(**{"loss": "mse", "batch": 8, "twin_rate": 0.1, **training})
    loss = Loss(settings.loss, CLASSES)
    made = ESTIMATORS[name](network, ShotTaker(reservoir, symbols), loss, settings, seed)
    if isinstance(made, PairEstimator):
        made.delta = 0.02
    return made


def batch_of(estimator: Estimator, n: int, step: int = 0, copies: int = 1) -> Batch:
    random = np.random.default_rng(11)
    x = np.repeat(random.normal(size=(n, FEATURES)).astype(np.float32), copies, axis=0)
    labels = np.repeat(random.integers(CLASSES, size=n), copies)
    return Batch(step, 0, np.arange(n * copies), torch.from_numpy(x), estimator.loss.targets(labels))


def take_step(estimator: Estimator, batch: Batch) -> tuple[NDArray[np.void], StepReport, NDArray[np.float64]]:
    """The rows, the report and the gradient of one step."""
    estimator.network.gradient.fill(0)
    step, rows = estimator.step(batch), []
    while True:
        try:
            rows.append(next(step).rows)
        except StopIteration as stop:
            return np.concatenate(rows), stop.value, estimator.network.gradient.astype(np.float64)


def loss_of(network: Network, device: EchoStateRing, flat: NDArray[np.float64], batch: Batch, loss: str) -> float:
    """The mean loss in double precision, in numpy alone: one hidden tanh layer, the ring, a linear readout."""
    shapes = [p.shape for p in (*network.pre.parameters(), *network.readout.parameters())]
    sizes = [int(np.prod(shape)) for shape in shapes]
    parts = np.split(flat, np.cumsum(sizes)[:-1])
    w1, b1, w2, b2, w3, b3 = (part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))
    hidden = np.tanh(batch.x.numpy().astype(np.float64) @ w1.T + b1)
    drives = 2 / (1 + np.exp(-(hidden @ w2.T + b2))) - 1
    responses = device.forward(drives).reshape(len(drives), -1)
    out = (responses - network.offset) / network.scale @ w3.T + b3
    if loss == "mse":
        return float(np.mean((out - batch.targets.numpy()) ** 2))
    shifted = out - out.max(axis=1, keepdims=True)
    chosen = shifted[np.arange(len(out)), batch.targets.numpy()]
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - chosen))


def by_finite_differences(estimator: Estimator, device: EchoStateRing, batch: Batch, loss: str) -> NDArray[np.float64]:
    centre = estimator.network.values.astype(np.float64)
    gradient = np.empty_like(centre)
    for i in range(len(centre)):
        moved = np.zeros_like(centre)
        moved[i] = 1e-5
        above, below = (loss_of(estimator.network, device, centre + s * moved, batch, loss) for s in (1, -1))
        gradient[i] = (above - below) / 2e-5
    return gradient


@pytest.mark.parametrize("loss", ["mse", "cross-entropy"])
def test_backprop_is_the_derivative_of_the_loss_by_every_parameter(loss: str) -> None:
    device = EchoStateRing(n_nodes=3, ring_nodes=4)
    estimator = make("backprop", device, loss=loss)
    batch = batch_of(estimator, 6)
    rows, report, gradient = take_step(estimator, batch)
    expected = by_finite_differences(estimator, device, batch, loss)
    assert np.linalg.norm(expected) > 0.05
    assert np.linalg.norm(gradient - expected) < 1e-5 * np.linalg.norm(expected)
    value = loss_of(estimator.network, device, estimator.network.values.astype(np.float64), batch, loss)
    assert report.loss == pytest.approx(value, rel=1e-6)
    assert rows["loss"].mean() == pytest.approx(value, rel=1e-6)
    assert len(rows) == 6 * estimator.shots_per_sample


@pytest.mark.parametrize("loss", ["mse", "cross-entropy"])
def test_readout_is_exact_on_the_readout_and_zero_before_it(loss: str) -> None:
    device = EchoStateRing(n_nodes=3, ring_nodes=4)
    estimator = make("readout", device, loss=loss)
    batch = batch_of(estimator, 6)
    _, _, gradient = take_step(estimator, batch)
    mask = estimator.network.readout_mask
    expected = by_finite_differences(estimator, device, batch, loss)
    assert np.linalg.norm((gradient - expected)[mask]) < 1e-5 * np.linalg.norm(expected[mask])
    assert (gradient[~mask] == 0).all()


def test_backprop_refuses_a_device_without_a_derivative() -> None:
    with pytest.raises(InputError, match=r"cannot be differentiated\. Choose \"jacobian-twin\""):
        make("backprop", Faulty(EchoStateRing(n_nodes=3)))


def drive_slopes(estimator: Estimator, gradient: NDArray[np.float64], x: torch.Tensor) -> NDArray[np.float64]:
    """dL/du (symbols,) from the gradient of the last pre-layer's biases b: u = 2 sigmoid(z + b) - 1 of one sample."""
    with torch.no_grad():
        drives = estimator.network.encode(x[:1]).numpy()[0].astype(np.float64)
    symbols = len(drives)
    biases = gradient[~estimator.network.readout_mask][-symbols:]
    return biases / ((1 - drives**2) / 2)


@pytest.mark.parametrize("copies", [50, 800])
def test_node_converges_to_the_gradient_at_the_rate_of_theory(copies: int) -> None:
    """<|g - grad|²> = (n - 1)/K |grad|² for K random sign vectors of n symbols: copies of one sample are directions."""
    symbols, repeats = 8, 40
    reference = make("backprop", symbols=symbols)
    batch = batch_of(reference, 1)
    exact = drive_slopes(reference, take_step(reference, batch)[2], batch.x)
    estimator = make("node", symbols=symbols)
    found = []
    for step in range(repeats):
        many = batch_of(estimator, 1, step, copies)
        found.append(drive_slopes(estimator, take_step(estimator, many)[2], many.x))
    errors = np.array(found) - exact
    square = np.mean(np.sum(errors**2, axis=1)) / np.sum(exact**2)
    # 40 repeats of an error in 8 dimensions: about 11 % of scatter.
    assert square == pytest.approx((symbols - 1) / copies, rel=0.3)
    # The mean of all of them is nearer by the root of their number: there is no bias that remains.
    bias = np.sum(errors.mean(axis=0) ** 2) / np.sum(exact**2)
    assert bias < 3 * (symbols - 1) / (copies * repeats)


@pytest.mark.parametrize("name", ["node", "jacobian-twin"])
def test_pairs_at_the_drive_leave_the_exact_readout_gradient(name: str) -> None:
    """Averaged over ±delta, it differs from that at the centre by curvature, of order delta²."""
    reference = make("backprop")
    exact = take_step(reference, batch_of(reference, 6))[2][reference.network.readout_mask]
    errors = []
    for delta in (0.02, 0.04):
        estimator = make(name, directions=3)
        assert isinstance(estimator, PairEstimator)
        estimator.delta = delta
        found = take_step(estimator, batch_of(estimator, 6))[2][estimator.network.readout_mask]
        errors.append(np.linalg.norm(found - exact) / np.linalg.norm(exact))
    assert errors[0] < 2e-3
    assert errors[1] == pytest.approx(4 * errors[0], rel=0.5)


def test_directions_of_node_are_averaged() -> None:
    """The gradient of three directions is the mean of three gradients of one, with the seeds 3, 4 and 5."""
    three = make("node", directions=3)
    rows, report, gradient = take_step(three, batch_of(three, 5, step=1))
    assert sorted(set(rows["seed"].tolist())) == [3, 4, 5]
    assert len(rows) == 5 * three.shots_per_sample == 30
    singles = [take_step(one := make("node"), batch_of(one, 5, step=seed)) for seed in (3, 4, 5)]
    assert np.allclose(gradient, np.mean([single[2] for single in singles], axis=0), rtol=1e-5, atol=1e-8)
    assert report.loss == pytest.approx(np.mean([single[1].loss for single in singles]))
    assert report.difference**2 == pytest.approx(np.mean([single[1].difference ** 2 for single in singles]))


@pytest.mark.parametrize("limits", [(-1.0, 1.0), (0.0, 1.0), (0.1, 0.7)])
@pytest.mark.parametrize("name", ["node", "jacobian-twin"])
def test_pairs_at_the_limits_are_moved_inside_whole(name: str, limits: tuple[float, float]) -> None:
    device = Faulty(Analytic(lambda u, _: u[..., np.newaxis] ** 2, nodes=1, limits=limits))
    estimator = make(name, device, drive_gain=300.0)
    assert isinstance(estimator, PairEstimator)
    estimator.delta = 0.1
    rows, _, gradient = take_step(estimator, batch_of(estimator, 20))
    low, high = limits
    sent = np.concatenate(device.seen)
    assert low <= sent.min() < low + 1e-6
    assert high - 1e-6 < sent.max() <= high
    half = (rows["drive"][0::2] - rows["drive"][1::2]) / 2
    assert np.allclose(np.abs(half), 0.1 * (high - low) / 2, rtol=1e-5)
    assert np.isfinite(gradient).all()
    assert rows["sign"].tolist() == [1, -1] * 20
    assert (rows["sample"][0::2] == rows["sample"][1::2]).all()


def tiny(directions: int, **training: Any) -> tuple[Estimator, NDArray[np.float64]]:
    """pgt over 34 parameters, and the exact gradient there."""
    shape: dict[str, Any] = {"symbols": 2, "hidden": [2]}
    reference = make("backprop", EchoStateRing(n_nodes=2), **shape)
    exact = take_step(reference, batch_of(reference, 4))[2]
    estimator = make("pgt", EchoStateRing(n_nodes=2), directions=directions, **shape, **training)
    assert isinstance(estimator, PairEstimator)
    estimator.delta = 1e-2
    return estimator, exact


@pytest.mark.parametrize(
    ("training", "variance", "fourth"),
    [
        ({}, VARIANCE, VARIANCE),
        # Integers uniform in [-3, 3] with probability 1/2: variance 4/2, fourth moment (1 + 16 + 81) 2/7 / 2.
        ({"perturbation_range": 3, "dropout": 0.5}, 2.0, 14.0),
    ],
)
def test_pgt_converges_to_the_variance_of_pm_times_the_gradient(
    training: dict[str, Any], variance: float, fourth: float
) -> None:
    """E[(PM·g) PM] = v g, and the relative error after K directions is sqrt((n - 2 + m4/v²)/K)."""
    count, repeats = 100, 16
    estimator, exact = tiny(count, **training)
    n = len(exact)
    found = np.array([take_step(estimator, batch_of(estimator, 4, step))[2] for step in range(repeats)])
    along = found @ exact / (exact @ exact)
    scatter = along.std() / np.sqrt(repeats)
    assert scatter < 0.05 * variance
    assert along.mean() == pytest.approx(variance, abs=4 * scatter)
    square = np.mean(np.sum((found - variance * exact) ** 2, axis=1)) / (variance**2 * (exact @ exact))
    assert square == pytest.approx((n - 2 + fourth / variance**2) / count, rel=0.3)


def test_pgt_leaves_the_parameters_bit_for_bit() -> None:
    for training in ({}, {"dropout": 0.7}, {"perturbation_range": 5}):
        estimator = make("pgt", directions=3, **training)
        before = estimator.network.values.copy()
        rows, _, _ = take_step(estimator, batch_of(estimator, 4))
        assert estimator.network.values.tobytes() == before.tobytes()
        assert len(rows) == 4 * 6
        assert rows["sign"].tolist() == [1, -1] * 12


def test_pgt_leaves_the_parameters_bit_for_bit_when_the_device_fails() -> None:
    estimator = make("pgt", Faulty(EchoStateRing(n_nodes=3), nan_at=5))
    before = estimator.network.values.copy()
    with pytest.raises(DeviceFault, match="shot 5"):
        take_step(estimator, batch_of(estimator, 4))
    assert estimator.network.values.tobytes() == before.tobytes()


def test_pgt_reads_and_drives_each_half_with_the_parameters_perturbed() -> None:
    """The rows of a pair are what the network at values ± delta PM gives, PM drawn again from the seed of the row."""
    device = EchoStateRing(n_nodes=3, ring_nodes=4)
    estimator = make("pgt", device)
    batch = batch_of(estimator, 4, step=6)
    rows, report, gradient = take_step(estimator, batch)
    assert (rows["seed"] == 6).all()
    assert (rows["delta"] == 0.02).all()
    _, pm = draw_perturbation(len(gradient), 1, 0.0, generator(estimator.seed, 6, Draw.PERTURBATION))
    centre = estimator.network.values.astype(np.float64)
    losses = [loss_of(estimator.network, device, centre + s * 0.02 * pm, batch, "mse") for s in (1, -1)]
    assert rows["loss"][0::2].mean() == pytest.approx(losses[0], rel=1e-5)
    assert rows["loss"][1::2].mean() == pytest.approx(losses[1], rel=1e-5)
    assert np.allclose(gradient, (losses[0] - losses[1]) / 0.04 * pm, rtol=1e-3, atol=1e-7)
    differences = rows["loss"][0::2] - rows["loss"][1::2]
    assert report.difference == pytest.approx(np.sqrt(np.mean(differences**2)))


def test_pm_takes_each_integer_in_its_range_equally_often() -> None:
    random = np.random.default_rng(0)
    for limit in (1, 2, 5, 127):
        where, values = draw_perturbation(300_000, limit, 0.0, random)
        assert where == slice(None)
        assert values.dtype == np.float32
        found, counts = np.unique(values, return_counts=True)
        assert found.tolist() == list(range(-limit, limit + 1))
        expected = 300_000 / (2 * limit + 1)
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected) + 0.006 * expected
        assert abs(values.mean()) < 5 * values.std() / np.sqrt(300_000)
    _, values = draw_perturbation(4_000_000, 1, 0.0, random)
    # The scatter of this mean is 0.00024, so 2/3 is 11 of them away.
    assert np.mean(values**2) == pytest.approx(VARIANCE, abs=1e-3)


@pytest.mark.parametrize("dropout", [0.01, 0.5, 0.8, 0.999])
def test_dropout_leaves_each_parameter_out_with_its_probability(dropout: float) -> None:
    size, draws = 40, 20_000
    random = np.random.default_rng(1)
    kept = np.zeros(size)
    for _ in range(draws):
        where, values = draw_perturbation(size, 1, dropout, random)
        assert isinstance(where, np.ndarray)
        assert len(where) == len(values)
        kept[where] += 1
        assert np.all(np.diff(where) > 0), "each at most once"
    share = kept / draws
    scatter = np.sqrt(dropout * (1 - dropout) / draws)
    # First and last included: 40 values, the largest of which may be 4.5 deviations off.
    assert np.abs(share - (1 - dropout)).max() < 4.5 * scatter


def linear_device(symbols: int = 4, nodes: int = 3) -> Linear:
    return Linear(np.random.default_rng(5).normal(size=(symbols * nodes, symbols)) / 2)


def test_the_twin_learns_the_jacobian_of_a_linear_device() -> None:
    device = linear_device()
    twin = make("jacobian-twin", device, twin_rate=0.5)
    assert isinstance(twin, JacobianTwin)
    assert twin.cosine == 0
    cosines = []
    for step in range(80):
        batch = batch_of(twin, 8, step)
        _, report, gradient = take_step(twin, batch)
        cosines.append(report.cosine)
    assert np.abs(twin.jacobian - device.jacobian).max() < 1e-3
    assert cosines[-1] > 0.999
    assert cosines[0] < cosines[20] < cosines[-1]
    reference = make("backprop", device)
    exact = take_step(reference, batch)[2]
    assert np.linalg.norm(gradient - exact) < 1e-3 * np.linalg.norm(exact)


def test_the_twin_s_error_decays_as_nlms_does() -> None:
    """For random signs one pair leaves the share 1 - mu (2 - mu)/n of the squared error (Haykin, NLMS, no noise)."""
    symbols, rate, pairs = 4, 0.2, 60
    device = linear_device()
    errors = []
    for seed in range(20):
        twin = make("jacobian-twin", device, twin_rate=rate, seed=seed)
        assert isinstance(twin, JacobianTwin)
        for step in range(pairs):
            take_step(twin, batch_of(twin, 1, step))
        errors.append(np.sum((twin.jacobian - device.jacobian) ** 2) / np.sum(device.jacobian**2))
    decay = np.exp(np.mean(np.log(errors)) / pairs)
    assert decay == pytest.approx(1 - rate * (2 - rate) / symbols, abs=0.02)


def flipping(symbols: int = 4, nodes: int = 3) -> Analytic:
    """A linear device whose sign changes at random from pair to pair: nothing about its past helps."""
    linear = linear_device(symbols, nodes)
    signs = np.random.default_rng(9).choice([-1.0, 1.0], 10_000)
    return Analytic(lambda u, n: signs[n // 2][:, None, None] * (linear.forward(u) - 0.3), nodes)


def test_the_twin_sees_that_it_is_wrong_and_falls_back_to_node() -> None:
    twin, node = make("jacobian-twin", flipping()), make("node", flipping())
    cosines, same = [], 0
    for step in range(150):
        rows, report, gradient = take_step(twin, batch_of(twin, 4, step))
        expected_rows, _, expected = take_step(node, batch_of(node, 4, step))
        assert np.array_equal(rows["drive"], expected_rows["drive"]), "the same pairs"
        cosines.append(report.cosine)
        same += np.array_equal(gradient, expected)
        if report.cosine <= 1 / np.sqrt(4):
            assert np.array_equal(gradient, expected)
    assert abs(np.mean(cosines[20:])) < 0.15
    assert same > 140


def test_the_twin_finds_back_when_the_device_changes_under_it() -> None:
    """The device's sign flips once: the cosine falls below 1/√symbols, node steps in, and the twin learns anew."""
    linear = linear_device()
    device = Analytic(lambda u, n: np.where(n < 400, 1, -1)[:, None, None] * (linear.forward(u) - 0.3), 3)
    twin = make("jacobian-twin", device)
    cosines = [take_step(twin, batch_of(twin, 4, step))[1].cosine for step in range(150)]
    assert cosines[49] > 0.95
    assert min(cosines[50:70]) < 1 / np.sqrt(4)
    assert cosines[-1] > 0.95


@pytest.mark.parametrize("name", ["pgt", "node", "jacobian-twin"])
def test_what_is_measured_before_training_changes_neither_gradient_nor_parameters(name: str) -> None:
    estimator = make(name)
    assert isinstance(estimator, PairEstimator)
    before = estimator.network.values.copy()
    rows = estimator.pairs(batch_of(estimator, 3), 0.05, 0, Purpose.CALIBRATION)
    assert (rows["purpose"] == Purpose.CALIBRATION).all()
    assert (rows["delta"] == 0.05).all()
    assert rows["sign"].tolist() == [1, -1] * 3
    assert np.isfinite(rows["loss"]).all()
    assert estimator.network.values.tobytes() == before.tobytes()


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_a_batch_s_gradient_is_the_mean_of_its_samples(name: str) -> None:
    """Twice the same samples in a batch: the same mean loss, and where nothing is random the same gradient."""
    estimator = make(name)
    single = batch_of(estimator, 3)
    double = Batch(0, 0, np.tile(single.samples, 2), single.x.repeat(2, 1), single.targets.repeat(2, 1))
    _, once, gradient = take_step(estimator, single)
    _, twice, doubled = take_step(make(name), double)
    assert twice.loss == pytest.approx(once.loss, rel=1e-3)
    chosen = estimator.network.readout_mask if name in ("node", "jacobian-twin") else slice(None)
    assert np.linalg.norm((doubled - gradient)[chosen]) < 1e-2 * np.linalg.norm(gradient[chosen])

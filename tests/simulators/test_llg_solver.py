"""The solver in double precision against theory and against an independent integrator."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.constants import mu_0
from scipy.interpolate import CubicSpline
from scipy.optimize import curve_fit

from simulators.dipolar import demagnetising_factor
from simulators.lanes import WIDTH
from simulators.llg import film_of, solve, state_at_rest, wiring_of
from simulators.strip import GYROMAGNETIC_RATIO, Loop, Strip

OPEN = Loop(delay_s=1e-9)


def pickup(
    strip: Strip,
    loop: Loop,
    step_s: float,
    drive: NDArray[np.float64],
    state: NDArray[Any] | None = None,
    precision: type[np.float32] | type[np.float64] = np.float64,
) -> NDArray[Any]:
    """Pick-up (steps + 1, 8) for one drive field, in units of Ms at half steps, into all eight lanes."""
    steps = len(drive) // 2
    wiring = wiring_of(strip, loop, step_s, precision)
    trace = np.zeros((wiring.history + 1 + steps, WIDTH), precision)
    state = state_at_rest(strip, precision) if state is None else state
    film = film_of(strip, step_s, precision)
    solve(film, wiring, state, drive.astype(precision), np.ones(WIDTH, precision), steps, 0, trace.ravel())
    return trace[wiring.history :]


def carrier(step_s: float, duration_s: float, field: float, carrier_hz: float) -> NDArray[np.float64]:
    time = 0.5 * step_s * np.arange(2 * round(duration_s / step_s) + 1)
    return field * np.sin(2 * np.pi * carrier_hz * time)


def components(state: NDArray[Any]) -> NDArray[Any]:
    """(cells, 3, 8) view of a flat state: mx, mz, my."""
    return state.reshape(-1, 3, WIDTH)[1:-1]


def integrated(strip: Strip, loop: Loop, step_s: float, duration_s: float, field: float, hz: float) -> Any:
    """Pick-up by an independent code: all pairs of cells with the exact kernel, a spline through the past."""
    cells = np.arange(strip.cells)
    nxx = demagnetising_factor(np.abs(cells[:, None] - cells), strip.cell_m, strip.thickness_m)
    into, out = strip.antennas
    damping = strip.damping_profile
    m = np.zeros((strip.cells, 3))
    m[:, 1] = 1
    past = [0.0] * 4
    ms = strip.saturation_magnetisation_a_per_m

    def rate(m: NDArray[np.float64], antenna: float) -> NDArray[np.float64]:
        h = strip.exchange * (np.roll(np.pad(m, ((1, 1), (0, 0)), "edge"), 1, 0)[1:-1] - m)
        h += strip.exchange * (np.roll(np.pad(m, ((1, 1), (0, 0)), "edge"), -1, 0)[1:-1] - m)
        h[:, 1] += strip.bias_t / (mu_0 * ms)
        h[:, 0] -= nxx @ m[:, 0]
        h[:, 2] -= m[:, 2] - nxx @ m[:, 2]
        h[into, 0] += antenna
        torque = np.cross(m, h)
        scale = -GYROMAGNETIC_RATIO * mu_0 * ms / (1 + damping**2)
        return scale[:, None] * (torque + damping[:, None] * np.cross(m, torque))

    for n in range(round(duration_s / step_s)):
        times = step_s * np.arange(n - len(past) + 1, n + 1)
        spline = CubicSpline(times, past)

        def antenna(t: float, spline: CubicSpline = spline) -> float:
            y = loop.gain / loop.saturation * float(spline(t - loop.delay_s)) if t > loop.delay_s else 0.0
            return field * np.sin(2 * np.pi * hz * t) + loop.saturation * y / np.hypot(1, y)

        t = n * step_s
        k1 = rate(m, antenna(t))
        k2 = rate(m + 0.5 * step_s * k1, antenna(t + 0.5 * step_s))
        k3 = rate(m + 0.5 * step_s * k2, antenna(t + 0.5 * step_s))
        k4 = rate(m + step_s * k3, antenna(t + step_s))
        m = m + step_s / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        m /= np.linalg.norm(m, axis=1, keepdims=True)
        past.append(float(m[out, 0].mean()))
    return np.array(past[3:])


def nrmse(value: NDArray[Any], reference: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean((value - reference) ** 2) / np.mean(reference**2)))


def test_ring_agrees_with_an_independent_integrator_that_sums_over_all_pairs_of_cells() -> None:
    # Short enough for a dense sum, long enough for two rounds of a strong, saturating signal.
    strip = Strip(cells=40, absorber_cells=8, antenna_distance_m=1.2e-6)
    loop = Loop(delay_s=0.613e-9, gain=0.1, saturation=5e-3)
    reference = integrated(strip, loop, 10e-12, 5e-9, 2e-2, 3.2e9)
    ours = pickup(strip, loop, 10e-12, carrier(10e-12, 5e-9, 2e-2, 3.2e9))[:, 3]
    assert np.abs(reference).max() > 0.05
    assert nrmse(ours, reference) < 5e-4


def test_closed_ring_converges_with_the_fourth_order() -> None:
    strip = Strip(cells=40, absorber_cells=8, antenna_distance_m=1.2e-6)
    # A delay that is no whole number of any of the steps, and a feedback that saturates.
    loop = Loop(delay_s=0.6137e-9, gain=0.08, saturation=5e-3)
    finest = pickup(strip, loop, 1.25e-12, carrier(1.25e-12, 6e-9, 2e-2, 3.2e9))[:, 0]
    errors = [
        nrmse(pickup(strip, loop, step, carrier(step, 6e-9, 2e-2, 3.2e9))[:, 0], finest[:: round(step / 1.25e-12)])
        for step in (10e-12, 5e-12)
    ]
    assert errors[0] < 1e-3
    assert np.log2(errors[0] / errors[1]) > 3.9


@pytest.mark.parametrize(("step_s", "tolerance"), [(10e-12, 4e-5), (2.5e-12, 1e-6)])
def test_single_cell_precesses_and_decays_as_kittel_says(step_s: float, tolerance: float) -> None:
    strip = Strip(cells=1, absorber_cells=0, antenna_cells=1, antenna_distance_m=0)
    state = state_at_rest(strip, np.float64)
    components(state)[:, 0] = 1e-4
    time = step_s * np.arange(round(20e-9 / step_s) + 1)
    signal = pickup(strip, OPEN, step_s, np.zeros(2 * len(time) - 1), state)[1:, 0]
    nxx = float(demagnetising_factor(np.array(0), strip.cell_m, strip.thickness_m))
    ms_t = mu_0 * strip.saturation_magnetisation_a_per_m
    along_x, along_z = strip.bias_t + ms_t * nxx, strip.bias_t + ms_t * (1 - nxx)
    undamped = GYROMAGNETIC_RATIO * np.sqrt(along_x * along_z)
    decay = strip.damping * GYROMAGNETIC_RATIO * (along_x + along_z) / 2 / (1 + strip.damping**2)
    expected = np.sqrt(undamped**2 / (1 + strip.damping**2) - decay**2) / (2 * np.pi)

    def model(t: NDArray[Any], size: float, hz: float, phase: float, rate: float) -> NDArray[Any]:
        return size * np.cos(2 * np.pi * hz * t + phase) * np.exp(-rate * t)

    found, _ = curve_fit(model, time[1:] * 1e9, signal * 1e4, p0=(1, expected * 1e-9, 0, decay * 1e-9))
    assert found[1] * 1e9 == pytest.approx(expected, rel=tolerance)
    assert found[3] * 1e9 == pytest.approx(decay, rel=1e-2)


def test_dispersion_follows_kalinikos_and_slavin() -> None:
    # Eight lanes carry standing packets of eight wavenumbers; each beats at its own frequency.
    strip = Strip(cells=500, absorber_cells=0, damping=1e-6)
    wavenumbers = np.linspace(0.5e6, 6e6, WIDTH)
    position = strip.cell_m * (np.arange(strip.cells) - strip.cells / 2)
    shape = np.exp(-((position / 5e-6) ** 2))[:, None] * np.cos(position[:, None] * wavenumbers)
    state = state_at_rest(strip, np.float64)
    components(state)[:, 0] = 1e-5 * shape
    time = 40e-12 * np.arange(1, 101)
    overlap = np.empty((len(time), WIDTH))
    for i in range(len(time)):
        pickup(strip, OPEN, 10e-12, np.zeros(9), state)
        overlap[i] = (components(state)[:, 0] * shape).sum(axis=0)

    def model(t: NDArray[Any], size: float, hz: float, phase: float, width: float) -> NDArray[Any]:
        return size * np.cos(2 * np.pi * hz * t + phase) * np.exp(-((t / width) ** 2))

    for k, signal in zip(wavenumbers, overlap.T, strict=True):
        # Kalinikos and Slavin, J. Phys. C 19, 7013 (1986): lowest mode, unpinned, wave across the magnetisation.
        w_h = GYROMAGNETIC_RATIO * strip.bias_t
        w_m = GYROMAGNETIC_RATIO * mu_0 * strip.saturation_magnetisation_a_per_m
        stiffness = w_h + w_m * strip.exchange * (strip.cell_m * k) ** 2
        p = 1 - (1 - np.exp(-k * strip.thickness_m)) / (k * strip.thickness_m)
        expected = np.sqrt(stiffness * (stiffness + w_m) + w_m**2 * p * (1 - p)) / (2 * np.pi)
        found, _ = curve_fit(model, time * 1e9, signal / signal[0], p0=(1, expected * 1e-9, 0, 10))
        assert found[1] * 1e9 == pytest.approx(expected, rel=1e-2)


def test_magnetisation_keeps_its_length_and_stays_at_rest_without_drive() -> None:
    strip = Strip(cells=40, absorber_cells=8, antenna_distance_m=1.2e-6)
    state = state_at_rest(strip, np.float64)
    assert not pickup(strip, OPEN, 10e-12, np.zeros(401), state).any()
    np.testing.assert_array_equal(state, state_at_rest(strip, np.float64))
    pickup(strip, OPEN, 10e-12, carrier(10e-12, 3e-9, 5e-2, 3.2e9), state)
    assert np.abs(components(state)[:, 0]).max() > 0.05
    np.testing.assert_allclose(np.linalg.norm(components(state), axis=1), 1, atol=1e-12)


def test_absorbers_swallow_waves_shorter_than_they_are() -> None:
    def listen(**geometry: int) -> NDArray[Any]:
        # 3.8 GHz is a wave of 0.9 um, half an absorber; the last 5 ns of 30 are long after the first pass.
        drive = carrier(10e-12, 30e-9, 1e-4, 3.8e9)
        return pickup(Strip(**geometry), OPEN, 10e-12, drive)[-500:, 0]

    endless = listen(cells=300)
    assert nrmse(listen(), endless) < 0.03
    assert nrmse(listen(absorber_cells=0), endless) > 0.5


def test_short_delay_and_antennas_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="at least three steps of 1e-11 s, got 2e-11 s"):
        wiring_of(Strip(), Loop(delay_s=20e-12), 10e-12)
    with pytest.raises(ValueError, match=r"1e-05 m apart need a strip longer than 96 cells"):
        wiring_of(Strip(antenna_distance_m=10e-6), OPEN, 10e-12)


def test_solver_refuses_arrays_shorter_than_its_steps() -> None:
    strip, step_s = Strip(), 10e-12
    wiring, film = wiring_of(strip, OPEN, step_s, np.float64), film_of(strip, step_s, np.float64)
    state, waveform, amplitudes = state_at_rest(strip, np.float64), np.zeros(21), np.ones(WIDTH)
    trace = np.zeros((wiring.history + 1 + 10) * WIDTH)
    with pytest.raises(ValueError, match="too short"):
        solve(film, wiring, state, waveform[:-1], amplitudes, 10, 0, trace)
    with pytest.raises(ValueError, match="too short"):
        solve(film, wiring, state, waveform, amplitudes, 10, 0, trace[:-1])
    solve(film, wiring, state, waveform, amplitudes, 10, 0, trace)

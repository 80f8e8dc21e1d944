"""Zero span and spectra of the virtual bench against theory, and against the ring asked as a device."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from labpgt.errors import InputError
from simulators.envelope_ring import EnvelopeRing
from simulators.virtual_bench.spectra import NOISE_BANDWIDTH, Lines, trace
from simulators.virtual_bench.world import World

CARRIER_HZ = 3.205e9
RANGE_V = 0.5
FULL_V = 0.25
RMS_V = FULL_V / np.sqrt(2)
SETTINGS: dict[str, Any] = {"symbol_s": 40e-9, "n_nodes": 4, "detector": "iq", "noise": 0.0}


def playing(world: World) -> World:
    world.output.rf_on = True
    world.output.power_dbm = 0.0
    return world


@pytest.fixture
def cable() -> World:
    """Source wired to analyser, without noise."""
    return playing(World(loopback=True, noise_v=0.0))


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    with World(settings=SETTINGS, noise_v=0.0) as world:
        yield world


@pytest.fixture
def world(shared: World) -> World:
    rings = shared.rings
    shared.__init__(settings=SETTINGS, noise_v=0.0)  # type: ignore[misc]
    shared.rings = rings
    return playing(shared)


def pulsed(world: World, period_s: float, width_s: float) -> None:
    world.output.pulse_period_s, world.output.pulse_width_s = period_s, width_s


def peaks(values: NDArray[np.float64]) -> NDArray[np.intp]:
    inner = values[1:-1]
    return 1 + np.flatnonzero((inner > values[:-2]) & (inner >= values[2:]) & (inner > 1e-6 * values.max()))


@pytest.mark.parametrize(("period_s", "width_s"), [(1e-6, 100e-9), (400e-9, 90e-9), (1e-6, 500e-9)])
def test_lines_of_a_pulse_train_are_a_sinc_at_multiples_of_its_rate(
    cable: World, period_s: float, width_s: float
) -> None:
    pulsed(cable, period_s, width_s)
    order = np.arange(-12, 13)
    span_hz = 24 / period_s
    points = 24 * 50 + 1
    found = cable.spectrum(points, CARRIER_HZ, span_hz, 0.02 / period_s, RANGE_V).values
    duty = width_s / period_s
    expected = RMS_V * duty * np.abs(np.sinc(order * duty))
    assert np.allclose(found[::50], expected, rtol=1e-9, atol=1e-12)
    # Between the lines there is nothing.
    assert found[25::50].max() < 1e-6 * RMS_V


def test_all_lines_together_have_the_power_of_the_pulses(cable: World) -> None:
    period_s, width_s = 200e-9, 40e-9
    pulsed(cable, period_s, width_s)
    lines_hz = np.arange(-4000, 4001) / period_s
    # A trace in steps of a line, so that each point is one of them.
    found = cable.spectrum(len(lines_hz), CARRIER_HZ, 8000 / period_s, 0.02 / period_s, RANGE_V).values
    # The lines beyond those fall as 1 / n**2: of the power, 1 / (pi**2 duty n) is left.
    duty = width_s / period_s
    assert np.sum(found**2) / (RMS_V**2 * duty) == pytest.approx(1 - 1 / (np.pi**2 * duty * 4000), abs=2e-5)


def test_a_line_is_seen_through_a_gaussian_of_the_resolution_bandwidth(cable: World) -> None:
    rbw_hz = 1e6
    found = cable.spectrum(401, CARRIER_HZ + 0.5e6, 4e6, rbw_hz, RANGE_V).values
    offset_hz = np.linspace(-1.5e6, 2.5e6, 401)
    assert found[np.argmin(np.abs(offset_hz))] == pytest.approx(RMS_V)
    level_db = 20 * np.log10(found / RMS_V)
    for edge in (-0.5e6, 0.5e6):
        assert level_db[np.argmin(np.abs(offset_hz - edge))] == pytest.approx(-3.0103, abs=1e-3)
    assert level_db[np.argmin(np.abs(offset_hz - 1e6))] == pytest.approx(-12.041, abs=1e-3)


def test_lines_too_close_for_the_filter_are_seen_as_one_by_one() -> None:
    offset_hz = np.arange(-3000, 3001) * 1e3
    power = np.random.default_rng(1).random((2, len(offset_hz)))
    points_hz = np.linspace(-2e6, 2e6, 81)
    rbw_hz = 0.3e6
    found = trace(Lines(offset_hz, power), points_hz, rbw_hz)
    apart = (points_hz[:, None] - offset_hz) / (rbw_hz / 2)
    assert np.allclose(found, power @ (2.0 ** -(apart**2)).T, rtol=1e-3)


def test_spectra_of_a_list_are_those_of_each_power(cable: World) -> None:
    powers = np.array([-10.0, -3.0, 0.0])
    found = cable.spectra(powers, 101, CARRIER_HZ, 10e6, 1e6, RANGE_V)
    assert not found.overload
    assert found.values.max(axis=1) == pytest.approx(RMS_V * 10 ** (powers / 20))
    for power_dbm, values in zip(powers, found.values, strict=True):
        cable.output.power_dbm = power_dbm
        assert np.array_equal(cable.spectrum(101, CARRIER_HZ, 10e6, 1e6, RANGE_V).values, values)
    assert cable.spectra([3.0, 7.0], 11, CARRIER_HZ, 10e6, 1e6, RANGE_V).overload


def test_noise_is_that_of_the_filter_and_repeats() -> None:
    world = playing(World(loopback=True, noise_v=1e-5))
    world.output.rf_on = False
    rbw_hz = 3e6
    found = world.spectrum(4001, CARRIER_HZ, 100e6, rbw_hz, RANGE_V).values
    floor = 1e-5 * np.sqrt(NOISE_BANDWIDTH * rbw_hz / 1e6)
    assert np.sqrt(np.mean(found**2)) == pytest.approx(floor, rel=0.02)
    assert 0.05 < found.std() / found.mean() < 0.3
    assert not np.array_equal(found, world.spectrum(4001, CARRIER_HZ, 100e6, rbw_hz, RANGE_V).values)
    again = World(loopback=True, noise_v=1e-5)
    assert np.array_equal(found, again.spectrum(4001, CARRIER_HZ, 100e6, rbw_hz, RANGE_V).values)
    # The same density at the input of a capture: its band is as wide as its rate.
    idle = world.idle_iq(4000, 50e6, CARRIER_HZ, 0.01).values
    assert np.sqrt(np.mean(np.abs(idle) ** 2) / 2) == pytest.approx(1e-5 * np.sqrt(50), rel=0.05)
    # And in zero span, that of the filter.
    quiet = world.zero_span(1000, 1e-3, CARRIER_HZ, 1e6, RANGE_V).values
    assert np.sqrt(np.mean(quiet**2)) == pytest.approx(1e-5 * np.sqrt(NOISE_BANDWIDTH), rel=0.1)


def test_lines_of_the_driven_ring_are_those_of_a_long_shot(world: World) -> None:
    period_s, width_s = 200e-9, 80e-9
    pulsed(world, period_s, width_s)
    world.attenuation_db = 12.0
    found = world.spectrum(9, CARRIER_HZ, 8 / period_s, 0.05 / period_s, RANGE_V).values
    # The same, as a device: symbols of 40 ns; the last period of many, by a plain Fourier transform.
    windows = 7
    with EnvelopeRing(symbol_s=40e-9, duty=1.0, n_nodes=2 * windows, detector="iq", noise=0.0) as ring:
        drives = np.tile([1.0, 1.0, 0.0, 0.0, 0.0], 30)[None]
        response = ring.forward_tuned(drives, {"attenuation_db": np.full(1, -8.0)})
    signal = (response[0, -5:, :windows] + 1j * response[0, -5:, windows:]).ravel()
    line = np.abs(np.fft.fft(signal) / len(signal))
    expected = RMS_V * np.roll(line, 4)[:9]
    assert found == pytest.approx(expected, rel=0.03, abs=0.01 * expected.max())
    assert found.max() > 0.02


def test_a_settled_ring_is_the_same_however_long_the_pulses(world: World) -> None:
    """Pulses long enough to settle within are not simulated to their end."""
    constant = world.spectrum(3, CARRIER_HZ, 40e6, 1e5, RANGE_V).values[1]
    pulsed(world, 20.08e-6, 10.04e-6)
    half = world.spectrum(3, CARRIER_HZ, 40e6, 1e3, RANGE_V).values[1]
    assert half == pytest.approx(constant / 2, rel=0.01)


def test_too_long_a_period_is_refused_with_what_to_do(cable: World) -> None:
    pulsed(cable, 1.0, 1e-9)
    with pytest.raises(InputError, match="pulse period 1 s"):
        cable.spectrum(11, CARRIER_HZ, 1e6, 1e5, RANGE_V)


def test_zero_span_shows_a_pulse_through_the_filter(cable: World) -> None:
    cable.output.codes = np.zeros((400, 2), np.int16)
    cable.output.codes[100:200, 0] = 32767
    cable.output.rate_hz = 100e6
    rbw_hz, points, sweep_s = 5e6, 400, 4e-6
    found = cable.zero_span(points, sweep_s, CARRIER_HZ, rbw_hz, RANGE_V)
    # The filter by its frequency response, on samples ten times as close, well padded.
    rate_hz = 1e9
    signal = np.concatenate([np.repeat(cable.output.codes[:, 0] / 32767.0, 10), np.zeros(4000)])
    frequency = np.fft.fftfreq(len(signal), 1 / rate_hz)
    passed = np.fft.ifft(np.fft.fft(signal) * 2.0 ** (-0.5 * (2 * frequency / rbw_hz) ** 2))[:4000]
    expected = RMS_V * np.sqrt(np.mean(np.abs(passed.reshape(points, 10)) ** 2, axis=1))
    assert found.values == pytest.approx(expected, abs=0.005 * RMS_V)
    assert found.values[150] == pytest.approx(RMS_V, rel=1e-6)
    assert not found.overload
    assert cable.zero_span(points, sweep_s, CARRIER_HZ, rbw_hz, 0.2).overload


def test_zero_span_points_are_mean_powers_of_their_time(cable: World) -> None:
    cable.output.codes = np.zeros((1000, 2), np.int16)
    cable.output.codes[250:500, 1] = -32767
    cable.output.rate_hz = 100e6
    # Seven points of 10 us: the third is a part of the pulse.
    found = cable.zero_span(7, 10e-6, CARRIER_HZ, 20e6, RANGE_V).values
    share = np.array([0, 1 - (2.5 - 10 / 7) / (10 / 7), 1, (5 - 30 / 7) / (10 / 7), 0, 0, 0])
    assert found**2 == pytest.approx(RMS_V**2 * share, abs=0.01 * RMS_V**2)


def test_zero_span_beside_the_carrier_is_filtered(cable: World) -> None:
    for offset_hz in (5e6, -5e6):
        found = cable.zero_span(50, 10e-6, CARRIER_HZ + offset_hz, 10e6, RANGE_V).values
        assert found[10:-10] == pytest.approx(RMS_V / np.sqrt(2), rel=1e-3)


def test_zero_span_of_the_ring_is_its_capture_through_the_filter(world: World) -> None:
    codes = np.zeros((4, 12, 4, 2), np.int16)
    codes[:, :6, :2, 0] = 16000
    world.output.codes, world.output.rate_hz = codes.reshape(-1, 2), 100e6
    world.output.marks = np.arange(4) * 48
    rate_hz, rbw_hz = 7 / 40e-9, 40e6
    fine = np.pad(world.capture_iq(4 * 12 * 7, rate_hz, CARRIER_HZ, RANGE_V).values, (0, 100))
    found = world.zero_span(4 * 12, 4 * 12 * 40e-9, CARRIER_HZ, rbw_hz, RANGE_V).values
    frequency = np.fft.fftfreq(len(fine), 1 / rate_hz)
    passed = np.fft.ifft(np.fft.fft(fine) * 2.0 ** (-0.5 * (2 * frequency / rbw_hz) ** 2))[:-100]
    expected = np.sqrt(np.mean(np.abs(passed.reshape(48, 7)) ** 2 / 2, axis=1))
    assert found == pytest.approx(expected, rel=0.02, abs=0.02 * expected.max())
    assert expected.max() > 0.005


def test_the_cable_carries_the_waveform_as_it_is(cable: World) -> None:
    rng = np.random.default_rng(2)
    codes = rng.integers(-32767, 32768, (300, 2)).astype(np.int16)
    cable.output.codes, cable.output.rate_hz = codes, 100e6
    exact = FULL_V * (codes[:, 0] + 1j * codes[:, 1]) / 32767
    step_v = RANGE_V / 2**15
    for rate_hz, expected in (
        (100e6, exact),
        (300e6, np.repeat(exact, 3)),
        (50e6, exact.reshape(-1, 2).mean(axis=1)),
        (40e6, np.repeat(exact, 2).reshape(-1, 5).mean(axis=1)),
    ):
        found = cable.capture_iq(len(expected) + 5, rate_hz, CARRIER_HZ, RANGE_V).values
        assert np.abs(found[:-5] - expected).max() < step_v
        assert not found[-5:].any()
    cable.output.power_dbm = -20.0
    weak = cable.capture_iq(300, 100e6, CARRIER_HZ, RANGE_V).values
    assert np.abs(weak - exact / 10).max() < step_v
    cable.output.modulation_on = False
    assert np.unique(cable.capture_iq(10, 100e6, CARRIER_HZ, RANGE_V).values) == pytest.approx(FULL_V / 10, abs=step_v)

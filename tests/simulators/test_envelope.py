"""The reduced strip against the solver, against torques in the time domain and against a plain recursion."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simulators.envelope import STATES, full_source, reduced, source_terms, stepper
from simulators.envelope_fit import Feedback, closeness, fit, trajectory
from simulators.envelope_kernel import PAIR, describing_function, run
from simulators.envelope_model import EnvelopeRingConfig, responses_of, steps_of
from simulators.fields import total_field
from simulators.lanes import WIDTH
from simulators.strip import Geometry, Loop, Strip
from simulators.threshold import pulse_response

CARRIER_HZ = 3.205e9
GEOMETRIES: dict[Geometry, tuple[float, float]] = {
    "surface": (50e-3, 3.205e9),
    "backward-volume": (60e-3, 2.9e9),
    "forward-volume": (280e-3, 3.3e9),
}


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_reduced_strip_transmits_what_a_pulse_through_the_solver_does(geometry: Geometry) -> None:
    bias_t, carrier_hz = GEOMETRIES[geometry]
    strip, step_s = Strip(geometry=geometry, bias_t=bias_t), 10e-12
    pulse, pickup = pulse_response(strip, Loop(2e-9), step_s)
    offset = np.linspace(-0.15e9, 0.15e9, 31)
    kernel = np.exp(-2j * np.pi * np.outer(carrier_hz + offset, step_s * np.arange(len(pulse))))
    expected = (kernel @ pickup) / (kernel @ pulse)
    found = reduced(strip, carrier_hz).transfer(offset)
    assert np.linalg.norm(found - expected) < 0.03 * np.linalg.norm(expected)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_source_is_the_carrier_component_of_the_torque_in_the_time_domain(geometry: Geometry) -> None:
    """Independent: the whole field of the whole magnetisation at 64 phases of the carrier, less its linear part."""
    strip = Strip(geometry=geometry, bias_t=GEOMETRIES[geometry][0])
    model = reduced(strip, GEOMETRIES[geometry][1])
    draw = np.random.default_rng(0)
    z = 0.04 * (draw.normal(size=STATES) + 1j * draw.normal(size=STATES))
    drive = 0.02 + 0.01j
    a, c = "xyz".index(strip.antenna_axis), "xyz".index(strip.bias_axis)
    b = 3 - a - c

    def rates(scale: float) -> tuple[NDArray[Any], NDArray[Any]]:
        """Envelopes of dm/dt along a and b over |turn|, undamped, at `scale` times the envelopes and the drive."""
        found = np.zeros((2, strip.cells), complex)
        for phase in 2 * np.pi * np.arange(64) / 64:
            turning = np.exp(1j * phase)
            m = np.zeros((strip.cells, 3))
            for axis, matrix in zip((a, b), model.spread, strict=False):
                m[:, axis] = scale * (matrix @ z * turning).real
            m[:, c] = np.sqrt(1 - m[:, a] ** 2 - m[:, b] ** 2)
            h = total_field(strip.terms, m) / strip.saturation_magnetisation_a_per_m
            h[:, a] += scale * (drive * turning).real * model.antenna
            torque = np.cross(h, m)
            found += 2 / 64 * torque[:, (a, b)].T * np.conj(turning)
        return found[0], found[1]

    small = 1e-4
    handed = 1 if (b - a) % 3 == 1 else -1
    nonlinear = [handed * (whole - part / small) for whole, part in zip(rates(1.0), rates(small), strict=True)]
    expected = sum(torque @ matrix.T for torque, matrix in zip(nonlinear, model.gather, strict=True))
    found = full_source(model, z[None], np.array([drive]))[0]
    # What is left are the seventh order, and turns of the carrier's third harmonic.
    assert np.linalg.norm(found - expected) < 0.02 * np.linalg.norm(expected)


def test_amplifier_gain_for_the_fundamental_is_its_fourier_integral() -> None:
    angle = 2 * np.pi * np.arange(4096) / 4096
    for size in (1e-3, 0.3, 1.0, 3.0, 30.0, 300.0):
        y = size * np.cos(angle)
        exact = 2 * np.mean(y / np.sqrt(1 + y**2) * np.cos(angle)) / size
        t = 1 / np.sqrt(1 + size**2)
        assert t * np.polyval(describing_function()[::-1], t) == pytest.approx(exact, rel=2e-4)


@pytest.mark.parametrize("detector", ["diode", "iq"])
def test_kernel_follows_the_plain_recursion(detector: Any) -> None:
    """A strip that is weakly driven, for which the fitted source is nothing, and an amplifier that saturates."""
    config = EnvelopeRingConfig(detector=detector, n_nodes=6, duty=0.4, delay_s=2.05e-9, mask="uniform")
    strip = Strip()
    model = reduced(strip, config.carrier_hz)
    step_s, count = steps_of(config)
    windows = 3 if detector == "iq" else 6
    per_symbol = windows * count
    on = np.clip(0.4 * per_symbol - np.arange(per_symbol), 0, 1)
    gate = on * np.repeat(config.mask_values(windows), count)
    pulses = 1e-7 * np.exp(1j * np.arange(12.0).reshape(3, 4)) * np.linspace(0.2, 1, 4)
    saturation = config.saturation_a_per_m / config.saturation_magnetisation_a_per_m
    gain, shrink = 0.2, 1e-4
    turn = np.exp(-2j * np.pi * config.carrier_hz * config.delay_s)
    drive = -1j * np.repeat(pulses, per_symbol, axis=1) * np.tile(gate, 4)
    feedback = Feedback(gain, shrink * saturation, config.delay_s / step_s, turn)
    _, _, pickup, _ = trajectory(model, step_s, drive.T, feedback)
    _, _, linear, _ = trajectory(model, step_s, drive.T, feedback._replace(saturation=saturation))
    assert np.abs(pickup - linear).max() > 0.01 * np.abs(pickup).max(), "the amplifier saturates"
    # The envelope as a straight line between steps, on a fine grid, with its carrier.
    fine = (np.arange(per_symbol * 4 * 50) + 0.5) / 50
    envelope = np.concatenate([np.zeros((1, 3)), pickup])
    path = np.array([np.interp(fine, np.arange(len(envelope)), x.real) for x in envelope.T]) + 1j * np.array(
        [np.interp(fine, np.arange(len(envelope)), x.imag) for x in envelope.T]
    )
    carrier = np.exp(2j * np.pi * config.carrier_hz * step_s * fine)
    signal = (path * carrier).real.reshape(3, 4, windows, -1)
    if detector == "iq":
        quadratures = 2j * (signal * carrier.conj().reshape(4, windows, -1)).mean(axis=3)
        expected = np.concatenate([quadratures.real, quadratures.imag], axis=2) / config.full_scale
    else:
        expected = np.sqrt(2 * (signal**2).mean(axis=3)) / config.full_scale
    none = np.zeros((STATES, 8), complex)
    constants = stepper(model, none, config.delay_s, step_s, gate, count)
    smaller = config.model_copy(update={"saturation_a_per_m": shrink * config.saturation_a_per_m})
    with ThreadPoolExecutor(1) as pool:
        found = responses_of(smaller, constants, pulses, np.full(3, gain), pool)
    assert np.linalg.norm(found - expected) < 5e-3 * np.linalg.norm(expected)


def test_fitted_terms_make_up_the_source_of_other_shots() -> None:
    model, step_s = reduced(Strip(), CARRIER_HZ), 0.21e-9
    feedback = Feedback(0.01, 2e-3, 9.6, np.exp(1j))
    first, second = (-0.015j * np.repeat(np.random.default_rng(i).random((30, 6)), 10, axis=0) for i in (1, 2))
    coefficients = fit(model, step_s, first, feedback)
    states, fields, _, sources = trajectory(model, step_s, second, feedback)
    terms = source_terms(states.reshape(-1, STATES), fields.ravel())
    found = np.einsum("kts,sk->ts", terms, coefficients)
    expected = sources.reshape(-1, STATES)
    assert np.linalg.norm(found - expected) < 0.15 * np.linalg.norm(expected)
    # The first term is above all a shift of the frequency by the square of the envelope: it takes nothing away.
    busy = np.abs(states).mean(axis=(0, 1)).argmax()
    assert abs(coefficients[busy, 0].imag) > 3 * abs(coefficients[busy, 0].real)


def test_a_delay_shorter_than_three_steps_and_arrays_too_short_are_refused() -> None:
    model = reduced(Strip(), CARRIER_HZ)
    none, gate = np.zeros((STATES, 8), complex), np.ones(10)
    with pytest.raises(ValueError, match="at least three steps of 2e-10 s, got 5e-10 s"):
        stepper(model, none, 5e-10, 2e-10, gate, 5)
    constants = stepper(model, none, 2e-9, 2e-10, gate, 5)
    pulses, turns, out = np.zeros(PAIR, np.float32), np.zeros(22, np.float32), np.zeros(2 * PAIR, np.float32)
    steep = np.zeros(WIDTH, np.float32)
    run(constants, pulses, steep, np.float32(1), turns, False, out)
    with pytest.raises(ValueError, match="too short"):
        run(constants, pulses, steep, np.float32(1), turns[:-1], False, out)
    with pytest.raises(ValueError, match="too short"):
        run(constants, pulses, steep, np.float32(1), turns, False, out[:-1])


def test_closeness_of_equal_constant_and_broken_responses() -> None:
    reference = np.array([1.0, 2.0, 3.0])
    assert closeness(reference, reference) == (pytest.approx(1.0), 0.0)
    assert closeness(np.array([1.0, np.nan, 3.0]), reference) == (0.0, np.inf)
    assert closeness(np.zeros(3), np.zeros(3)) == (1.0, 0.0)
    assert closeness(np.ones(3), 2 * np.ones(3)) == (0.0, 0.5)
    assert closeness(2 * reference, reference) == (pytest.approx(1.0), pytest.approx(1.0))

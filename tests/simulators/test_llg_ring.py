import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from labpgt.device import Reservoir, Seekable, Tunable
from labpgt.errors import DeviceFault, InputError
from simulators import llg_ring
from simulators.checks import checks
from simulators.llg import record
from simulators.llg_ring import LLGRing
from simulators.llg_ring_config import LLGRingConfig
from simulators.strip import Loop
from simulators.threshold import oscillation_threshold, ring_down, ring_time

LINEAR = {"carrier_hz": 3.1417e9, "drive_field_a_per_m": 28.0, "full_scale": 0.02, "duty": 1.0}
"""The paper-like operating point, at any gain."""


def drives(shots: int, symbols: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).random((shots, symbols))


def respond(u: NDArray[np.float64], **settings: Any) -> NDArray[np.float64]:
    with LLGRing(**{"noise": 0.0, **settings}) as ring:
        return ring.forward(u)


@pytest.fixture
def ring() -> Iterator[LLGRing]:
    with LLGRing() as device:
        yield device


def test_it_is_a_seekable_reservoir_with_the_shapes_it_promises(ring: LLGRing) -> None:
    assert isinstance(ring, Reservoir)
    assert isinstance(ring, Seekable)
    response = ring.forward(drives(3, 2))
    assert response.shape == (3, 2, ring.n_nodes)
    assert response.dtype == np.float64
    assert ring.forward(np.empty((0, 2))).shape == (0, 2, ring.n_nodes)
    # The default full scale makes the strongest steady drive read as about 1.
    assert 0.7 < respond(np.ones((1, 8))).max() < 1.5


def test_single_precision_device_agrees_with_double_precision_at_a_quarter_of_the_step() -> None:
    device = LLGRing(noise=0.0, n_nodes=10, drive_field_a_per_m=2800.0)
    u = drives(1, 2)
    step_s, on = device.step_s / 4, 1260
    loop = Loop(device.config.delay_s, device.config.gain * device.threshold_gain, 280.0 / 140e3)
    time = 0.5 * step_s * np.arange(4 * on + 1)
    wave = 0.02 * np.sin(2 * np.pi * 3.205e9 * np.concatenate([time, time[-1] + time[1:]]))
    field = wave * np.repeat(u[0], 4 * on + 1)[1:]
    # The switch opens between two steps: a step sees the field of its own side at both of its ends.
    field[2 * on + 1 : 4 * on + 1] = 0
    field[6 * on + 1 :] = 0
    power = record(device.strip, loop, step_s, field[None], np.float64)[0, 4::4] ** 2
    reference = np.sqrt(2 * power.reshape(2, 10, -1).mean(axis=2)) / device.config.full_scale
    with device:
        error = device.forward(u)[0] - reference
    assert np.sqrt(np.mean(error**2) / np.mean(reference**2)) < 2e-3


def test_reference_tier_is_double_precision_at_half_the_step() -> None:
    u = drives(2, 3)
    reference = LLGRing(tier="reference")
    assert reference.step_s == pytest.approx(5e-12)
    error = respond(u) - respond(u, tier="reference")
    # The slower turning of the longer step, and rounding.
    assert 1e-8 < np.abs(error).max() < 3e-3


def test_a_shot_does_not_depend_on_its_batch_lane_or_thread_in_any_bit() -> None:
    u = drives(16, 2)
    with LLGRing(threads=2) as device:
        together = device.forward(u)
        for order in (range(1), range(3), range(8), [11, 2, 15, 0, 7, 3, 9, 1, 5]):
            for i, response in zip(order, _with_noise_of(device, u, list(order)), strict=True):
                np.testing.assert_array_equal(response, together[i])
    with LLGRing(threads=1) as device:
        np.testing.assert_array_equal(device.forward(u), together)
        device.seek(0)
        one_by_one = np.concatenate([device.forward(u[i : i + 1]) for i in range(16)])
        np.testing.assert_array_equal(one_by_one, together)


def _with_noise_of(device: LLGRing, u: NDArray[np.float64], order: list[int]) -> NDArray[np.float64]:
    """Shots in this order, each with the readout noise of its number among all."""
    noiseless = respond(u[order])
    noise = np.empty_like(noiseless)
    for k, i in enumerate(order):
        device.seek(i)
        quiet = np.zeros((1, u.shape[1]))
        noise[k] = device.forward(quiet)[0]
    # A quiet shot responds with its noise alone.
    return noiseless + noise


def test_noise_is_white_gaussian_and_keyed_by_the_number_of_the_shot() -> None:
    quiet = np.zeros((64, 4))
    with LLGRing(noise=0.01, noise_seed=5) as device:
        noise = device.forward(quiet)
        following = device.forward(quiet)
        device.seek(60)
        np.testing.assert_array_equal(device.forward(quiet[:4]), noise[60:])
        np.testing.assert_array_equal(device.forward(quiet[:1]), following[:1])
    # 2560 values: standard errors are 1.4 % of the deviation and 2 % of it for the mean.
    assert noise.std() == pytest.approx(0.01, rel=0.06)
    assert abs(noise.mean()) < 8e-4
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 0.08
    assert abs(np.corrcoef(noise.ravel(), following.ravel())[0, 1]) < 0.08
    assert not np.allclose(respond(quiet, noise=0.01, noise_seed=6), noise)


def test_response_never_runs_ahead_of_its_drive() -> None:
    u = np.tile(drives(1, 4), (2, 1))
    u[1, 2] = 1 - u[1, 2]
    early, late = np.split(respond(u), 2, axis=1)
    np.testing.assert_array_equal(early[0], early[1])
    assert np.abs(late[0] - late[1]).max() > 0.1


def test_carrier_is_on_for_the_duty_of_each_symbol_and_off_for_the_rest() -> None:
    # The same field twice: two long symbols, each half on; four short ones, on and off in turn.
    long = respond(np.array([[1.0, 0.4]]), symbol_s=12.6e-9, n_nodes=20, duty=0.5)
    short = respond(np.array([[1.0, 0.0, 0.4, 0.0]]), symbol_s=6.3e-9, n_nodes=10, duty=1.0)
    np.testing.assert_allclose(long.ravel(), short.ravel(), rtol=1e-4)


@pytest.mark.parametrize(("gain", "expected_ns"), [(0.6, 19.5), (0.8, 42.0)])
def test_an_echo_of_the_first_symbol_fades_the_slower_the_higher_the_gain(gain: float, expected_ns: float) -> None:
    u = np.zeros((1, 25))
    u[0, 0] = 1.0
    energy = np.square(respond(u, **LINEAR, gain=gain)[0]).sum(axis=1)
    times_ns = 6.3 * np.arange(25)
    slope = np.polyfit(times_ns[8:], np.log(energy[8:]) / 2, 1)[0]
    assert -1 / slope == pytest.approx(expected_ns, rel=0.15)


def test_weak_drives_add_up_and_strong_ones_do_not() -> None:
    u = np.array([[0.5, 0.0], [1.0, 0.0]])
    half, whole = respond(u, **{**LINEAR, "drive_field_a_per_m": 1.0}, gain=0.5)
    np.testing.assert_allclose(whole, 2 * half, rtol=2e-3)
    half, whole = respond(u, gain=0.5)
    assert np.abs(whole - 2 * half).max() > 0.05 * whole.max()


def test_signed_drive_flips_the_phase_of_the_carrier() -> None:
    same, flipped, opposite = respond(np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]]), **LINEAR, encoding="signed")
    np.testing.assert_allclose(flipped[0], same[0], rtol=1e-6)
    np.testing.assert_allclose(opposite, flipped, rtol=1e-4)
    # A pulse of the other sign takes away what is still under way.
    assert np.linalg.norm(flipped[1]) < 0.9 * np.linalg.norm(same[1])


def test_phase_drive_turns_the_carrier_and_leaves_the_first_envelope() -> None:
    u = np.array([[0.0], [0.5], [-0.25]])
    phase = respond(u, **LINEAR, encoding="phase", detector="iq", n_nodes=20)
    amplitude = phase[:, 0, :10] + 1j * phase[:, 0, 10:]
    turned = amplitude / amplitude[0]
    # The switch-on of a sine differs from that of a cosine; the last windows have forgotten it.
    np.testing.assert_allclose(turned[:, -3:], np.exp(1j * np.pi * u) @ np.ones((1, 3)), atol=0.05)


def test_iq_detector_sees_the_same_envelope_as_the_diode_and_its_phase() -> None:
    # Windows of two periods of the carrier, so that both averages are clean.
    point = {**LINEAR, "carrier_hz": 3.2e9, "symbol_s": 6.25e-9}
    diode = respond(np.ones((1, 3)), **point, n_nodes=10)[0]
    both = respond(np.ones((1, 3)), **point, n_nodes=20, detector="iq")[0]
    amplitude = both[:, :10] + 1j * both[:, 10:]
    np.testing.assert_allclose(np.abs(amplitude[1:]), diode[1:], rtol=0.02)
    # In the carrier's frame a steady wave stands still.
    assert np.abs(np.angle(amplitude[2, -1] / amplitude[2, -2])) < 0.1


def test_mask_multiplies_the_windows_of_each_symbol() -> None:
    masked = LLGRing(**LINEAR, mask="binary", mask_seed=3, n_nodes=10, encoding="signed")
    signs = masked.config.mask_values(10)
    assert set(signs) == {-1.0, 1.0}
    # The same field, a window at a time.
    one_by_one = respond(signs[None], **LINEAR, n_nodes=1, symbol_s=0.63e-9, encoding="signed")
    together = respond(np.ones((1, 1)), **LINEAR, mask="binary", mask_seed=3, n_nodes=10, encoding="signed")
    np.testing.assert_allclose(together[0, 0], one_by_one[0, :, 0], rtol=1e-4, atol=1e-6)
    assert np.ptp(LLGRing(mask="uniform").config.mask_values(100)) > 1.5


def test_shots_with_settings_of_their_own_answer_as_devices_set_like_that() -> None:
    u = np.tile(drives(1, 3), (5, 1))
    tuning = {
        "attenuation_db": np.array([0.0, 3.0, 0.0, 0.0, 6.0]),
        "carrier_hz": np.array([3.205e9, 3.205e9, 3.15e9, 3.205e9, 3.3e9]),
        "drive_field_a_per_m": np.array([4200.0, 4200.0, 4200.0, 42.0, 420.0]),
        "saturation_a_per_m": np.array([280.0, 280.0, 280.0, 28.0, 280.0]),
    }
    with LLGRing(noise=0.0, gain=0.5) as device:
        assert isinstance(device, Tunable)
        together = device.forward_tuned(u, tuning)
    for i, response in enumerate(together):
        alone = respond(u[:1], gain=0.5, **{key: float(values[i]) for key, values in tuning.items()})
        np.testing.assert_array_equal(alone[0], response)


def test_attenuator_takes_as_many_decibels_off_the_gain() -> None:
    u = drives(1, 4)
    np.testing.assert_allclose(respond(u, gain=0.8, attenuation_db=6.0206), respond(u, gain=0.4), rtol=1e-5, atol=1e-7)


def test_above_threshold_a_tuned_shot_rings_on_and_a_device_set_so_is_refused() -> None:
    u = np.zeros((2, 40))
    u[:, 0] = 1.0
    with LLGRing(**LINEAR, noise=0.0, gain=0.9) as device:
        below, above = device.forward_tuned(u, {"attenuation_db": np.array([0.0, -3.0])})
    assert below[-1].max() < 0.1 * below[2].max()
    # It grows until the amplifier is saturated.
    assert above[-1].max() > 5 * above[2].max()


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        ({"delay_s": np.ones(2)}, "'delay_s' cannot differ from shot to shot; these can: attenuation_db"),
        ({"carrier_hz": np.full(3, 3.2e9)}, r"expected carrier_hz of shape \(2,\)"),
        ({"attenuation_db": np.array([0.0, np.nan])}, "expected attenuation_db"),
        ({"attenuation_db": np.array([0.0, -60.0])}, "expected attenuation_db"),
    ],
)
def test_tuning_that_cannot_be_is_refused(ring: LLGRing, tuning: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ring.forward_tuned(drives(2, 1), tuning)
    assert not ring.rf_on


def test_a_long_shot_begins_like_a_short_one() -> None:
    u = drives(1, 40)
    np.testing.assert_array_equal(respond(u)[:, :3], respond(u[:, :3]))


@pytest.mark.parametrize(
    "settings",
    [
        {"geometry": "backward-volume", "carrier_hz": 2.85e9},
        {"geometry": "forward-volume", "bias_t": 0.25, "carrier_hz": 2.2e9},
    ],
)
def test_the_other_geometries_answer_and_remember(settings: dict[str, Any]) -> None:
    u = np.zeros((1, 8))
    u[0, 0] = 1.0
    weak = {"drive_field_a_per_m": 28.0, "full_scale": 0.02, "duty": 1.0}
    open_strip, ring = respond(u, **weak, gain=0.0, **settings), respond(u, **weak, gain=0.8, **settings)
    assert ring[0].max() > 1e-3
    assert np.linalg.norm(ring[0, 5:]) > 2 * np.linalg.norm(open_strip[0, 5:])


def test_long_cells_of_another_film_are_remarked_on(caplog: pytest.LogCaptureFixture) -> None:
    with LLGRing(cell_m=100e-9, noise=0.0):
        pass
    assert "longer than the exchange length of 1.69e-08 m" in caplog.text
    caplog.clear()
    with LLGRing():
        pass
    assert "exchange" not in caplog.text


def test_full_scale_only_scales() -> None:
    u = drives(2, 1)
    np.testing.assert_allclose(respond(u, full_scale=0.5), respond(u, full_scale=0.25) / 2, rtol=1e-12)


def test_threshold_of_barkhausen_agrees_with_bisection_in_the_time_domain() -> None:
    device = LLGRing()
    threshold, frequency = oscillation_threshold(device.strip, 2e-9, device.step_s)
    assert threshold == pytest.approx(0.05735, rel=2e-3)
    assert frequency == pytest.approx(3.1414e9, rel=1e-3)
    quiet, loud = 0.8 * threshold, 1.3 * threshold
    while loud - quiet > 2e-3 * threshold:
        middle = (quiet + loud) / 2
        if ring_down(device.strip, Loop(2e-9, middle, 2e-3), device.step_s) < 1:
            quiet = middle
        else:
            loud = middle
    assert quiet == pytest.approx(threshold, rel=3e-3)


def test_opening_a_ring_that_oscillates_by_itself_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    # An amplifier half as strong again as the ring was told.
    monkeypatch.setattr(llg_ring, "oscillation_threshold", lambda *_: (1.5 * 0.0572, 3.14e9))
    device = LLGRing(gain=0.8)
    with pytest.raises(DeviceFault, match=r"oscillates by itself at gain 0\.8 .* lower the gain"):
        device.open()
    with pytest.raises(DeviceFault, match="closed"):
        device.forward(drives(1, 1))


def test_a_ring_in_which_nothing_is_left_of_a_pulse_opens() -> None:
    with LLGRing(damping=0.1, gain=0.9, noise=0.0) as device:
        assert not device.forward(np.zeros((1, 1))).any()


def test_a_field_that_the_solver_cannot_follow_is_a_fault_not_a_response(
    ring: LLGRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = ring.forward(drives(1, 1))
    monkeypatch.setattr(LLGRingConfig, "pulses", lambda self, u: np.full(u.shape, 1e6 + 0j))
    with pytest.raises(DeviceFault, match="not finite"):
        ring.forward(drives(1, 1))
    monkeypatch.undo()
    ring.seek(0)
    np.testing.assert_array_equal(ring.forward(drives(1, 1)), sound)


def test_closed_device_refuses_and_reopens() -> None:
    device = LLGRing()
    with pytest.raises(DeviceFault, match=r"closed device; call open\(\)"):
        device.forward(drives(1, 1))
    device.make_safe()
    device.open()
    device.open()
    first = device.forward(drives(1, 1))
    assert device.rf_on
    device.make_safe()
    device.make_safe()
    assert not device.rf_on
    device.forward(drives(1, 1))
    device.close()
    device.close()
    assert not device.rf_on
    with pytest.raises(DeviceFault, match="closed"):
        device.forward(drives(1, 1))
    device.open()
    device.seek(0)
    np.testing.assert_array_equal(device.forward(drives(1, 1)), first)
    device.close()


@pytest.mark.parametrize(
    ("u", "message"),
    [
        (np.full((1, 2), -0.1), "outside the limits 0 to 1"),
        (np.full((1, 2), 1.1), "outside the limits 0 to 1"),
        (np.full((1, 2), np.nan), "outside the limits 0 to 1"),
        (np.zeros(3), "shape"),
        (np.zeros((1, 65_537)), "1 to 65536 symbols"),
    ],
)
def test_drives_that_cannot_be_sent_are_refused(ring: LLGRing, u: NDArray[np.float64], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ring.forward(u)
    assert not ring.rf_on


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gain": 1.0}, r"device\.gain = 1\.0: must be less than 1"),
        ({"carier_hz": 3e9}, 'Did you mean "carrier_hz"'),
        ({"delay_s": 1e-12}, r"device\.delay_s"),
        ({"damping": -1e-3}, r"device\.damping = -0\.001: must be greater than 0"),
        ({"attenuation_db": -14.0}, r"would oscillate by itself.* more than -14 dB"),
        ({"carrier_hz": 2.5e9}, r"carries no wave there, at a bias of 0\.05 T .* band is 2\.979 to"),
        ({"geometry": "backward-volume", "carrier_hz": 3.2e9}, r"band is 2\.59\d to 2\.979 GHz"),
        ({"geometry": "forward-volume", "bias_t": 0.15}, r"not saturated along its bias.* 0\.176 T.* Raise the bias"),
        ({"cell_m": 8e-9, "antenna_distance_m": 400e-9}, r"rad in a step of .* Runge-Kutta is unstable"),
        ({"antenna_distance_m": 10e-6}, r"device\.antenna_distance_m = 1e-05: .* longer than 96 cells"),
        ({"absorber_cells": 40}, r"inside the absorbers, which swallow the wave .* at most 22"),
        ({"detector": "iq", "n_nodes": 5}, r"reads two values a window: expected an even number"),
        ({"preset": "pgt-papr"}, r'Did you mean "pgt-paper"'),
    ],
)
def test_settings_out_of_range_or_unknown_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LLGRing(**settings)


def test_settings_hold_every_setting_with_its_unit_and_what_follows_from_them(ring: LLGRing) -> None:
    found = ring.settings()
    assert set(LLGRing.Config.model_fields) < set(found)
    assert found["carrier_hz"] == (3.205e9, "Hz")
    assert found["threshold_gain"].value == pytest.approx(0.05735, rel=2e-3)
    assert found["threshold_hz"] == (pytest.approx(3.1414e9, rel=1e-3), "Hz")
    assert found["step_s"] == (pytest.approx(10e-12), "s")


@pytest.mark.parametrize(("symbol_s", "n_nodes"), [(6.3e-9, 10), (5e-9, 7), (6.3e-9, 15)])
def test_a_window_is_a_whole_number_of_steps_of_at_most_10_ps(symbol_s: float, n_nodes: int) -> None:
    device = LLGRing(symbol_s=symbol_s, n_nodes=n_nodes)
    steps = symbol_s / n_nodes / device.step_s
    assert steps == pytest.approx(round(steps), abs=1e-9)
    assert device.step_s <= 10e-12 * (1 + 1e-9)
    assert respond(np.ones((1, 1)), symbol_s=symbol_s, n_nodes=n_nodes).shape == (1, 1, n_nodes)


def test_doctor_hears_that_the_solver_is_compiled(ring: LLGRing) -> None:
    ring.forward(drives(1, 1))
    found = {check.name: check for check in checks()}
    assert found["LLG solver"].ok
    assert found["LLG solver"].detail.startswith("compiled in ")


@pytest.mark.parametrize(("delay_s", "gain"), [(150e-9, 0.2), (124e-9, 0.5), (200e-9, 0.9)])
def test_a_long_delay_is_no_oscillation(delay_s: float, gain: float) -> None:
    with LLGRing(delay_s=delay_s, gain=gain, noise=0.0) as device:
        assert not device.forward(np.zeros((1, 1))).any()
    loop = Loop(delay_s, 1.2 * device.threshold_gain, 2e-3)
    assert ring_down(device.strip, loop, device.step_s) > 1


def test_threshold_of_a_strip_that_rings_for_microseconds_is_its_own() -> None:
    # Without absorbers and with little damping a strip is a resonator.
    device = LLGRing(absorber_cells=0, damping=5e-4, noise=0.0)
    assert ring_time(device.strip, device.step_s) >= 1e-6
    loop = Loop(2e-9, 0.8 * device.threshold_gain, 2e-3)
    assert ring_down(device.strip, loop, device.step_s) < 1
    assert ring_down(device.strip, loop._replace(gain=1.5 * device.threshold_gain), device.step_s) > 1


def test_closing_during_shots_is_a_fault_and_ends_with_rf_off() -> None:
    device = LLGRing(threads=1)
    device.open()
    closer = threading.Timer(0.05, device.close)
    closer.start()

    def go_on() -> None:
        for _ in range(1000):
            device.forward(drives(64, 8))

    with pytest.raises(DeviceFault, match=r"closed while shots were being taken|closed device"):
        go_on()
    closer.join()
    assert not device.rf_on


def test_a_strip_too_long_for_the_fit_of_its_dipolar_field_is_remarked_on(caplog: pytest.LogCaptureFixture) -> None:
    with LLGRing(cells=400):
        pass
    assert "the dipolar field of 400 cells are 0.0" in caplog.text

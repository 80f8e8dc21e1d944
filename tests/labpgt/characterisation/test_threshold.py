"""Threshold, memory and decay of a ring whose every number is known."""

import math

import numpy as np
import pytest

from labpgt.characterisation import QUICK, Bench
from labpgt.characterisation.decay import decay_of, kick_drives, quiet_from
from labpgt.characterisation.threshold import Kicks, auto_oscillation, memory
from tests.rings import DelayLine, Paper, TunableRing


def kicks(device: Paper, **changed: int) -> Kicks:
    device.open()
    return Kicks(Bench(device, QUICK._replace(**changed), seed=3))


@pytest.mark.parametrize("noise", [0.0, 1e-2])
@pytest.mark.parametrize(("gain", "saturation"), [(1.3, None), (2.0, None), (1.3, 0.3), (2.0, 0.3), (30.0, 0.3)])
def test_the_threshold_is_where_the_loop_gain_is_one(noise: float, gain: float, saturation: float | None) -> None:
    found = auto_oscillation(kicks(TunableRing(gain=gain, attenuation_db=36, noise=noise, saturation=saturation)))
    values = found.values
    error = values["threshold_attenuation_db"] - 20 * math.log10(gain)
    assert abs(error) < min(0.05, 2 * values["threshold_uncertainty_db"])
    # Half of the last step of the search where nothing disturbs; with noise, a weak oscillation is lost in it.
    assert values["threshold_uncertainty_db"] < (0.02 if noise < 1e-2 else 0.1)
    assert values["threshold_gain"] == pytest.approx(1 / gain, rel=0.006)
    assert values["margin_db"] == pytest.approx(36 - values["threshold_attenuation_db"])
    assert found.state == "quiet"
    assert not found.missing


def test_a_linear_ring_without_noise_gives_its_threshold_to_a_hundredth_of_a_decibel() -> None:
    found = auto_oscillation(kicks(TunableRing(gain=2.0)))
    assert found.values["threshold_attenuation_db"] == pytest.approx(20 * math.log10(2), abs=0.01)
    curve = found.curves["threshold"]
    quiet = (curve["oscillates"] == 0) & np.isfinite(curve["growth_db_per_symbol"])
    # With a round trip of one symbol the response grows by the loop gain in each.
    expected = 20 * math.log10(2) - curve["attenuation_db"]
    np.testing.assert_allclose(curve["growth_db_per_symbol"][quiet], expected[quiet], atol=0.02)


def test_a_ring_set_beyond_its_threshold_is_oscillating_with_a_negative_margin() -> None:
    ring = TunableRing(gain=2.0, attenuation_db=4.0, saturation=0.3, noise=1e-3)
    shared = kicks(ring)
    found = auto_oscillation(shared)
    assert found.state == "oscillating"
    assert found.values["margin_db"] == pytest.approx(4 - 20 * math.log10(2), abs=0.15)
    remembered = memory(shared)
    assert remembered.state == "oscillating"
    assert "oscillates as it is set" in remembered.missing["memory_time_s"]
    assert not remembered.values


@pytest.mark.parametrize(("trip", "noise"), [(1, 0.0), (3, 0.0), (1, 1e-3), (3, 1e-3), (7, 1e-3)])
def test_the_memory_time_is_that_of_the_loop(trip: int, noise: float) -> None:
    ring = TunableRing(gain=2.0, attenuation_db=8.0, trip=trip, noise=noise, carrier_hz=3.2e9)
    found = memory(kicks(ring))
    # The amplitude falls by g A in a round trip.
    expected = -trip / math.log(2.0 * 10 ** (-8 / 20))
    assert found.values["memory_symbols"] == pytest.approx(expected, rel=0.08)
    assert found.values["memory_time_s"] == pytest.approx(found.values["memory_symbols"] * 6.25e-9)


def test_the_memory_grows_towards_the_threshold_as_it_should() -> None:
    curve = memory(kicks(TunableRing(gain=2.0, noise=1e-3))).curves["memory"]
    share = curve["share_of_threshold"]
    assert share.max() == pytest.approx(0.95, rel=0.01)
    seen = np.isfinite(curve["memory_symbols"])
    assert seen[share > 0.3].all()
    np.testing.assert_allclose(curve["memory_symbols"][seen], -1 / np.log(share[seen]), rtol=0.15)
    np.testing.assert_allclose(curve["memory_time_s"][seen], curve["memory_symbols"][seen] * 6.25e-9)
    assert (np.diff(curve["attenuation_db"]) > 0).all()


def test_a_threshold_out_of_reach_is_not_invented() -> None:
    quiet = auto_oscillation(kicks(TunableRing(gain=0.9, attenuation_db=0.0)))
    assert "quiet even at 0 dB" in quiet.missing["threshold_gain"]
    assert "threshold_gain" not in quiet.values
    assert quiet.values["threshold_extrapolated_db"] == pytest.approx(20 * math.log10(0.9), abs=0.1)
    loud = auto_oscillation(kicks(TunableRing(gain=500.0, saturation=1.0)))
    assert "oscillates even at 40 dB" in loud.missing["threshold_gain"]
    deaf = auto_oscillation(kicks(TunableRing(gain=2.0, saturation=1e-6, high=1e-6, noise=1.0)))
    assert "does not stand out of the noise" in deaf.missing["threshold_gain"]


def test_a_threshold_that_drowns_in_noise_is_not_invented() -> None:
    found = auto_oscillation(kicks(TunableRing(gain=2.0, noise=0.05, saturation=0.2)))
    assert "drown in the noise" in found.missing["threshold_gain"]
    assert "threshold_gain" not in found.values


def test_a_device_without_an_attenuator_says_so_and_still_knows_whether_it_is_quiet() -> None:
    found = auto_oscillation(kicks(DelayLine(4)))
    assert found.state == "quiet"
    assert "not labpgt.Tunable" in found.missing["threshold_gain"]
    other = auto_oscillation(kicks(TunableRing(ranges={"carrier_hz": (3e9, 3.1e9)})))
    assert "cannot tune its attenuation_db; it can: carrier_hz" in other.missing["threshold_gain"]


def test_a_response_gone_within_a_few_symbols_has_no_time_constant() -> None:
    found = memory(kicks(DelayLine(2)))
    assert "too soon for a time constant" in found.missing["memory_time_s"]


def test_a_device_without_a_symbol_time_remembers_in_symbols() -> None:
    class Untimed(TunableRing):
        def settings(self):  # type: ignore[no-untyped-def]
            return {k: v for k, v in super().settings().items() if k != "symbol_s"}

    found = memory(kicks(Untimed(gain=0.5, attenuation_db=0.0)))
    assert found.values["memory_symbols"] == pytest.approx(1 / math.log(2), rel=0.1)
    assert "no setting symbol_s" in found.missing["memory_time_s"]


def test_noise_alone_is_never_heard_as_a_response() -> None:
    draw = np.random.default_rng(0)
    quiet = quiet_from(draw.normal(size=(8, 100, 4)))
    heard = [decay_of(draw.normal(size=(1, 100, 4)), quiet).is_seen for _ in range(200)]
    assert not any(heard)


def test_the_kick_is_one_symbol() -> None:
    np.testing.assert_array_equal(kick_drives(2, 4, 0.5, 1.0), [[1, 0.5, 0.5, 0.5]] * 2)

"""Noise, repeatability, compression and transmission against what the device was made to have."""

import math

import numpy as np
import pytest

from labpgt.characterisation import QUICK, Bench
from labpgt.characterisation.still import compression, noise, repeatability, transmission
from tests.rings import DelayLine, Memoryless, Paper, TunableRing


def bench(device: Paper, **changed: int) -> Bench:
    device.open()
    return Bench(device, QUICK._replace(**changed), seed=3)


@pytest.mark.parametrize("deviation", [1e-3, 0.2])
def test_the_noise_floor_is_the_deviation_of_the_noise(deviation: float) -> None:
    found = noise(bench(DelayLine(6, noise=deviation), repeats=32))
    assert found.values["noise_floor"] == pytest.approx(deviation, rel=0.05)
    np.testing.assert_allclose(found.curves["noise"]["deviation"], deviation, rtol=0.15)
    assert noise(bench(DelayLine(3))).values["noise_floor"] == 0


def test_repeatability_is_the_noise_over_what_it_disturbs() -> None:
    # A uniform drive over a range of 1 deviates by 1/sqrt(12).
    found = repeatability(bench(Memoryless(1e9, noise=0.05), repeats=32, still_symbols=400))
    assert found.values["noise_driven"] == pytest.approx(0.05, rel=0.05)
    assert found.values["repeatability"] == pytest.approx(0.05 * math.sqrt(12), rel=0.08)
    np.testing.assert_allclose(found.curves["repeatability"]["deviation"], 0.05 * math.sqrt(12), rtol=0.2)


def test_a_device_that_answers_with_noise_alone_has_no_repeatability() -> None:
    found = repeatability(bench(Memoryless(1e-9, noise=0.1)))
    assert "do not differ by more than their noise" in found.missing["repeatability"]


@pytest.mark.parametrize("saturation", [0.3, 0.6])
@pytest.mark.parametrize("deviation", [0.0, 2e-3])
def test_compression_is_that_of_the_tanh(saturation: float, deviation: float) -> None:
    found = compression(bench(Memoryless(saturation, noise=deviation), levels=40)).values
    behind = 20 * math.log10(1 / (saturation * math.tanh(1 / saturation)))
    assert found["compression_db"] == pytest.approx(behind, abs=0.15)
    # tanh(x)/x is 1 dB below 1 at x = 0.6302.
    assert found["compression_1db_drive"] == pytest.approx(0.6302 * saturation, rel=0.06)


def test_a_linear_device_has_no_compression_point() -> None:
    found = compression(bench(Memoryless(1e9)))
    assert found.values["compression_db"] == pytest.approx(0, abs=1e-3)
    assert "not 1 dB behind" in found.missing["compression_1db_drive"]


def test_a_response_that_drowns_in_noise_is_not_compared() -> None:
    found = compression(bench(Memoryless(1e9, noise=20.0)))
    assert not found.values
    assert (
        "stands out of the noise" in found.missing["compression_db"]
        or "small-signal" in found.missing["compression_db"]
    )


def test_transmission_is_the_comb_of_the_ring() -> None:
    ring = TunableRing(gain=1.0, attenuation_db=3.0)
    found = transmission(bench(ring, frequencies=80, still_symbols=120))
    curve = found.curves["transmission"]
    expected = [0.3 / abs(1 - ring.loop(3.0, f)) for f in curve["frequency_hz"]]
    np.testing.assert_allclose(curve["response"] * math.sqrt(2), expected, rtol=1e-4)
    opened = [0.3 / abs(1 - ring.loop(40.0, f)) for f in curve["frequency_hz"]]
    np.testing.assert_allclose(curve["response_open"] * math.sqrt(2), opened, rtol=1e-4)
    # Resonances where the phase is a whole number of turns: every 160 MHz.
    assert found.values["transmission_peak_hz"] % 160e6 == pytest.approx(0, abs=1.5e6) or found.values[
        "transmission_peak_hz"
    ] % 160e6 == pytest.approx(160e6, abs=1.5e6)
    assert not found.missing


def test_transmission_needs_a_carrier_and_tells_what_else_is_missing() -> None:
    assert "not labpgt.Tunable" in transmission(bench(DelayLine(3))).missing["transmission_peak"]
    found = transmission(bench(TunableRing(ranges={"carrier_hz": (3.0e9, 3.16e9)})))
    assert np.isnan(found.curves["transmission"]["response_open"]).all()
    assert "cannot tune its attenuation_db" in found.missing["transmission_open_peak"]

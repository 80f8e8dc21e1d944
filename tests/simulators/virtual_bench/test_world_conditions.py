"""A world that is ill: oscillating, drifting, overloaded, answering what is not a number; and calls from threads."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from simulators.envelope_ring import EnvelopeRing
from simulators.virtual_bench.world import World

CARRIER_HZ = 3.205e9
RANGE_V = 0.3162
SETTINGS: dict[str, Any] = {"symbol_s": 40e-9, "n_nodes": 4, "detector": "iq", "noise": 0.0}
ABOVE_DB = 5.5
"""Attenuation at which the loop gain is 1.06 of the threshold."""


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    with World(settings=SETTINGS) as world:
        yield world


@pytest.fixture
def world(shared: World) -> World:
    rings = shared.rings
    shared.__init__(settings=SETTINGS)  # type: ignore[misc]
    shared.rings = rings
    shared.output.rf_on, shared.output.power_dbm, shared.output.rate_hz = True, 0.0, 100e6
    codes = np.zeros((3, 20, 4, 2), np.int16)
    codes[:, :8, :2, 0] = np.random.default_rng(0).integers(0, 32767, (3, 8, 1))
    shared.output.codes, shared.output.marks = codes.reshape(-1, 2), np.arange(3) * 80
    return shared


def capture(world: World) -> Any:
    return world.capture_iq(120, 50e6, CARRIER_HZ, RANGE_V)


def silences(world: World) -> Any:
    """End of each gap, (shots, values)."""
    return capture(world).values.reshape(3, 40)[:, -12:]


def test_above_the_threshold_the_ring_oscillates_with_the_source_off(world: World) -> None:
    assert not world.oscillating
    assert not silences(world).any()
    world.output.rf_on = False
    world.attenuation_db = 6.1
    assert not world.oscillating
    quiet = np.abs(world.idle_iq(2000, 500e6, CARRIER_HZ, RANGE_V).values)
    world.attenuation_db = ABOVE_DB
    assert world.oscillating
    found = world.idle_iq(2000, 500e6, CARRIER_HZ, RANGE_V).values
    assert np.abs(found).mean() > 5 * quiet.max()
    # It does so where the ring as a device says.
    threshold_hz = EnvelopeRing(**SETTINGS).settings()["threshold_hz"].value
    spectrum = np.abs(np.fft.fft(found))
    assert isinstance(threshold_hz, float)
    found_hz = CARRIER_HZ + np.fft.fftfreq(2000, 1 / 500e6)[np.argmax(spectrum)]
    assert found_hz == pytest.approx(threshold_hz, abs=5e6)
    # Silent gaps are not silent any more, and without the amplifier nothing oscillates.
    world.output.rf_on = True
    assert np.abs(silences(world)).min(axis=1).min() > 0
    world.amplifier_on = False
    assert not world.oscillating
    assert not silences(world).any()


def test_an_oscillation_shows_in_the_spectrum(world: World) -> None:
    world.output.codes = None
    world.output.rf_on = False
    below = world.spectrum(201, CARRIER_HZ, 200e6, 2e6, RANGE_V).values
    world.attenuation_db = ABOVE_DB
    above = world.spectrum(201, CARRIER_HZ, 200e6, 2e6, RANGE_V).values
    tone = np.sqrt(np.mean(np.abs(world.idle_iq(4000, 1e9, CARRIER_HZ, RANGE_V).values) ** 2) / 2)
    assert above.max() == pytest.approx(tone, rel=0.15)
    assert above.max() > 30 * below.max()


def test_a_forced_oscillation_lasts_as_many_captures_as_were_asked_for(world: World) -> None:
    world.oscillate = 2
    assert world.oscillating
    found = [silences(world) for _ in range(3)]
    assert [bool(part.any(axis=1).all()) for part in found] == [True, True, False]
    assert not world.oscillating
    power_dbm = 10 * np.log10(np.mean(np.abs(found[0]) ** 2) / 2 / 50 / 1e-3)
    assert power_dbm > -50


def test_drift_scales_what_comes(world: World) -> None:
    before = capture(world).values
    world.drift = 0.5
    after = capture(world).values
    assert np.abs(after - before / 2).max() <= 1.5 * RANGE_V / 2**15
    assert before.any()


def test_an_overload_is_flagged_and_at_the_end_of_the_range(world: World) -> None:
    world.overload_next = 1
    spoilt = capture(world)
    assert spoilt.overload
    assert (spoilt.values.real == RANGE_V * (1 - 2**-15)).all()
    assert not capture(world).overload
    # So is one that the signal itself makes.
    own = world.capture_iq(120, 50e6, CARRIER_HZ, 0.01)
    assert own.overload
    assert np.abs(own.values.view(np.float64)).max() <= 0.01


def test_what_is_not_a_number_comes_once(world: World) -> None:
    world.nan_next = 1
    spoilt = capture(world).values
    assert np.isnan(spoilt.real[60:]).all()
    assert np.isnan(spoilt.imag[60:]).all()
    assert np.isfinite(spoilt[:60]).all()
    assert np.isfinite(capture(world).values).all()
    cable = World(loopback=True)
    cable.nan_next = 2
    traces = [cable.zero_span(10, 1e-6, CARRIER_HZ, 10e6, RANGE_V).values]
    traces += [cable.spectrum(10, CARRIER_HZ, 1e6, 1e5, RANGE_V).values for _ in range(2)]
    assert [int(np.isnan(values).sum()) for values in traces] == [5, 5, 0]


def test_threads_take_turns(world: World) -> None:
    world.seek(0)
    expected = capture(world).values
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: capture(world).values, range(8)))
    assert all(np.array_equal(values, expected) for values in found)
    assert world._shot == 27

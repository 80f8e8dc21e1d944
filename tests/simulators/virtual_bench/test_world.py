"""Captures of the world behind the virtual bench against the same ring asked as a device."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from labpgt.errors import DeviceFault, InputError
from simulators.envelope_ring import EnvelopeRing
from simulators.llg_ring import LLGRing
from simulators.virtual_bench.receiver import digitised
from simulators.virtual_bench.world import World

CARRIER_HZ = 3.205e9
RATE_HZ = 100e6
RANGE_V = 0.3162
FULL_SCALE_V = 0.25
SYMBOLS, GAP = 8, 6

SETTINGS: dict[str, Any] = {"symbol_s": 40e-9, "n_nodes": 4, "detector": "iq", "noise": 0.02}
QUIET: dict[str, Any] = {**SETTINGS, "noise": 0.0}
LOUD_DB = 7.0
"""Attenuation at which the loop gain is 0.89 of the threshold: the ring remembers 0.5 us."""


@pytest.fixture(scope="module")
def direct() -> Iterator[EnvelopeRing]:
    with EnvelopeRing(**SETTINGS) as ring:
        yield ring


@pytest.fixture(scope="module")
def quiet() -> Iterator[EnvelopeRing]:
    with EnvelopeRing(**QUIET) as ring:
        yield ring


@pytest.fixture(scope="module")
def shared() -> Iterator[dict[str, World]]:
    with World(settings=SETTINGS) as noisy, World(settings=QUIET) as silent:
        yield {"noisy": noisy, "quiet": silent}


@pytest.fixture
def world(shared: dict[str, World]) -> World:
    return reset(shared["noisy"])


@pytest.fixture
def quiet_world(shared: dict[str, World]) -> World:
    return reset(shared["quiet"])


def reset(world: World) -> World:
    """A world as new but for the models that it has made."""
    world.__dict__.update({k: v for k, v in World(settings=SETTINGS).__dict__.items() if k != "rings"})
    world.output.rf_on = True
    world.output.power_dbm = 0.0
    world.output.rate_hz = RATE_HZ
    return world


def codes_of(pulses: NDArray[Any], gap: int = GAP) -> NDArray[np.int16]:
    """Codes (samples, 2) of shots of pulses (shots, symbols), each followed by so many silent symbols."""
    shots, symbols = pulses.shape
    codes = np.zeros((shots, symbols + gap, 4, 2), np.int16)
    for part, values in enumerate((np.real(pulses), np.imag(pulses))):
        codes[:, :symbols, :2, part] = np.round(values * 32767)[:, :, None]
    return codes.reshape(-1, 2)


def play(world: World, pulses: NDArray[Any], gap: int = GAP, marked: bool = True) -> NDArray[np.complex128]:
    """Capture shots: (shots, symbols + gap, windows)."""
    shots, symbols = pulses.shape
    world.output.codes = codes_of(pulses, gap)
    world.output.marks = np.arange(shots) * (symbols + gap) * 4 if marked else None
    capture = world.capture_iq(shots * (symbols + gap) * 2, 50e6, CARRIER_HZ, RANGE_V)
    assert not capture.overload
    return np.asarray(capture.values.reshape(shots, symbols + gap, 2))


def volts(responses: NDArray[np.float64]) -> NDArray[np.complex128]:
    """What the bench makes of responses (shots, symbols, 4) of the detector `iq`."""
    signal = FULL_SCALE_V * (responses[..., :2] + 1j * responses[..., 2:])
    return digitised(signal.ravel(), RANGE_V, 16)[0].reshape(signal.shape)


def drives(shots: int, seed: int = 1, symbols: int = SYMBOLS) -> NDArray[np.float64]:
    return np.random.default_rng(seed).random((shots, symbols))


def quantised(u: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.round(u * 32767) / 32767


@pytest.mark.parametrize("batches", [[19], [1, 1, 17], [3, 16]], ids=str)
def test_shots_are_those_of_the_ring_as_a_device_bit_for_bit_in_any_batch(
    world: World, direct: EnvelopeRing, batches: list[int]
) -> None:
    u = drives(19)
    # What a waveform cannot tell from a gap: silence at either end of a shot, and a shot that is silent throughout.
    u[2, :3], u[4, -2:], u[5], u[-1] = 0, 0, 0, 0
    direct.seek(40)
    expected = volts(direct.forward(quantised(u)))
    world.seek(40)
    found = np.concatenate([play(world, part) for part in np.split(u, np.cumsum(batches)[:-1])])[:, :SYMBOLS]
    assert np.array_equal(found, expected)
    assert np.abs(expected).max() > 1000 * RANGE_V / 2**15


def test_a_shot_of_another_number_has_other_noise(world: World) -> None:
    u = drives(1)
    first, second = play(world, u), play(world, u)
    assert np.array_equal(play(reset(world), u), first)
    spread = (first - second).std() / FULL_SCALE_V
    assert spread == pytest.approx(2 * SETTINGS["noise"], rel=0.3)


def test_a_waveform_without_marks_is_cut_at_its_silences(quiet_world: World, quiet: EnvelopeRing) -> None:
    u = drives(5) + 1e-3
    found = play(quiet_world, np.minimum(u, 1), marked=False)
    assert np.array_equal(found[:, :SYMBOLS], volts(quiet.forward(quantised(np.minimum(u, 1)))))
    assert quiet_world._shot == 5


def test_too_short_a_gap_leaks_as_one_long_shot_does(quiet_world: World, quiet: EnvelopeRing) -> None:
    quiet_world.attenuation_db = LOUD_DB
    u = drives(4)
    tuning = {"attenuation_db": np.full(1, LOUD_DB - 20)}
    apart = volts(quiet.forward_tuned(quantised(u), {"attenuation_db": np.full(4, LOUD_DB - 20)}))
    long_gap = play(quiet_world, u, gap=20)
    assert np.array_equal(long_gap[:, :SYMBOLS], apart)

    gap = 3
    found = play(quiet_world, u, gap=gap)
    assert np.array_equal(found[0, :SYMBOLS], apart[0])
    step_v = RANGE_V / 2**15
    assert np.abs(found[1:, :SYMBOLS] - apart[1:]).max() > 20 * step_v
    # The last gap is cut short by the end of the waveform, as it is here.
    one = np.pad(quantised(u), ((0, 0), (0, gap))).reshape(1, -1)
    assert np.array_equal(found.reshape(1, -1, 2), volts(quiet.forward_tuned(one, tuning)))


def test_the_ring_is_forgotten_when_the_rest_of_any_shot_is_below_a_quarter_of_a_step(
    quiet_world: World, quiet: EnvelopeRing
) -> None:
    quiet_world.attenuation_db = LOUD_DB
    play(quiet_world, drives(1))
    least = 0.25 * RANGE_V / 2**15 / FULL_SCALE_V
    (forgotten_s,) = {
        value
        for (_, around, level), value in quiet_world.rings._forgotten.items()
        if around.attenuation_db == LOUD_DB - 20 and level == least
    }
    u = np.pad(drives(16, seed=3, symbols=30).round(), ((0, 0), (0, 40)))
    found = quiet.forward_tuned(u, {"attenuation_db": np.full(16, LOUD_DB - 20)})
    size = np.hypot(found[..., :2], found[..., 2:]).reshape(16, -1).max(axis=0)
    last_s = (np.flatnonzero(size >= least)[-1] + 1) * 20e-9 - (29 * 40e-9 + 20e-9)
    assert last_s <= forgotten_s + 20e-9
    assert forgotten_s < 1.5 * last_s


def test_the_memory_is_measured_once_for_an_attenuation(quiet_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[float] = []
    measure = quiet_world.rings._measured
    monkeypatch.setattr(
        quiet_world.rings,
        "_measured",
        lambda grid, around, least: measured.append(around.attenuation_db) or measure(grid, around, least),
    )
    for attenuation_db in (11.0, 12.0, 11.0, 12.0, 11.0):
        quiet_world.attenuation_db = attenuation_db
        play(quiet_world, drives(2))
    assert measured == [-9.0, -8.0]


def test_power_scaling_and_attenuator_act_where_they_are(quiet_world: World, quiet: EnvelopeRing) -> None:
    u = drives(2)
    quiet_world.output.power_dbm, quiet_world.output.scaling = -6.0, 0.7
    quiet_world.attenuation_db = 23.25
    factor = 0.7 * 10 ** (-6 / 20)
    expected = quiet.forward_tuned(quantised(u) * factor, {"attenuation_db": np.full(2, 3.25)})
    assert np.array_equal(play(quiet_world, u)[:, :SYMBOLS], volts(expected))
    quiet_world.amplifier_on = False
    open_loop = quiet.forward_tuned(quantised(u) * factor, {"attenuation_db": np.full(2, 80.0)})
    assert np.array_equal(play(quiet_world, u)[:, :SYMBOLS], volts(open_loop))


def test_a_source_stronger_than_full_drive_drives_the_film_harder() -> None:
    u = drives(2)
    weak = {**QUIET, "drive_field_a_per_m": 1400.0}
    stronger = 10 ** (3 / 20)
    with (
        reset(World(settings=weak)) as world,
        EnvelopeRing(**{**weak, "drive_field_a_per_m": 1400.0 * stronger}) as ring,
    ):
        world.output.power_dbm = 2.0
        expected = volts(ring.forward(quantised(u) * 10 ** (2 / 20) / stronger))
        assert np.array_equal(play(world, u)[:, :SYMBOLS], expected)


def test_where_the_model_runs_away_the_llg_ring_answers(
    quiet_world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    u = drives(1, symbols=3)
    play(quiet_world, u)

    def runs_away(*_: object) -> None:
        raise DeviceFault("not finite")

    with monkeypatch.context() as patch:
        patch.setattr(EnvelopeRing, "forward_pulses", runs_away)
        found = play(quiet_world, u)
    with LLGRing(**{**QUIET, "drive_field_a_per_m": 2800.0}) as llg:
        assert np.array_equal(found[:, :3], volts(llg.forward(quantised(u))))
    assert "not finite" in caplog.text
    # Only for those shots.
    assert not np.array_equal(play(quiet_world, u), found)


def test_a_film_that_carries_no_wave_at_the_carrier_is_silent(quiet_world: World) -> None:
    u = drives(1)
    assert play(quiet_world, u).any()
    quiet_world.bias_t = 0.0
    assert not play(quiet_world, u).any()
    quiet_world.bias_t = None
    quiet_world.output.carrier_hz = 1e9
    quiet_world.output.codes = codes_of(u)
    assert not quiet_world.capture_iq(64, 50e6, 1e9, RANGE_V).values.any()


def test_phase_drives_are_those_of_the_device_and_silence_between_them_is_silence() -> None:
    pulses = np.exp(1j * np.pi * (2 * drives(3) - 1))
    parts = np.round(32767 * pulses.real) + 1j * np.round(32767 * pulses.imag)
    phase = {**QUIET, "encoding": "phase"}
    with reset(World(settings=phase)) as world, EnvelopeRing(**phase) as ring:
        found = play(world, pulses)
        assert np.array_equal(found[:, :SYMBOLS], volts(ring.forward(np.angle(parts) / np.pi)))
        assert not found[:, -2:].any()


def test_a_waveform_that_is_not_on_the_symbol_grid_is_played_sample_by_sample(quiet_world: World) -> None:
    codes = codes_of(drives(1), gap=2)
    codes[9:11] = codes[8]
    quiet_world.output.codes, quiet_world.output.marks = codes, np.zeros(1, np.intp)
    found = quiet_world.capture_iq(len(codes) // 2, RATE_HZ / 2, CARRIER_HZ, RANGE_V).values
    with EnvelopeRing(symbol_s=1 / RATE_HZ, duty=1.0, n_nodes=2, detector="iq", noise=0.0) as fine:
        response = fine.forward(codes[None, :, 0] / 32767)[0]
    means = (response[:, 0] + 1j * response[:, 1]).reshape(-1, 2).mean(axis=1)
    assert np.array_equal(found, digitised(FULL_SCALE_V * means, RANGE_V, 16)[0])


def test_a_capture_beside_the_carrier_turns_and_one_far_off_sees_nothing(quiet_world: World) -> None:
    at_carrier = play(quiet_world, drives(1)).ravel()
    offset_hz = 3e6
    beside = quiet_world.capture_iq(len(at_carrier), 50e6, CARRIER_HZ - offset_hz, RANGE_V).values
    turned = at_carrier * np.exp(2j * np.pi * offset_hz * (np.arange(len(at_carrier)) + 0.5) / 50e6)
    assert np.allclose(beside, turned, rtol=0, atol=1.5 * RANGE_V / 2**15)
    assert not quiet_world.capture_iq(len(at_carrier), 50e6, CARRIER_HZ - 30e6, RANGE_V).values.any()


def test_another_ring_can_be_behind_the_bench() -> None:
    small = {**SETTINGS, "n_nodes": 2, "symbol_s": 8e-9, "cells": 64, "antenna_distance_m": 1.6e-6}
    u = drives(3, symbols=4)
    with World("llg-ring", small) as world, LLGRing(**small) as ring:
        world.output.rf_on, world.output.power_dbm, world.output.rate_hz = True, 0.0, 250e6
        codes = np.zeros((3, 40, 2, 2), np.int16)
        codes[:, :4, 0, 0] = np.round(32767 * u)
        world.output.codes, world.output.marks = codes.reshape(-1, 2), np.arange(3) * 80
        found = world.capture_iq(120, 125e6, CARRIER_HZ, RANGE_V).values.reshape(3, 40)[:, :4]
        response = ring.forward(quantised(u))
        expected = digitised((FULL_SCALE_V * (response[..., 0] + 1j * response[..., 1])).ravel(), RANGE_V, 16)[0]
        assert np.array_equal(found.ravel(), expected)


def test_settings_that_cannot_be_a_ring_are_refused_at_once() -> None:
    with pytest.raises(InputError, match="gain"):
        World(settings={"gain": 1.5})
    with pytest.raises(InputError, match='ring = "echo-state-ring": not a ring that a virtual bench'):
        World("echo-state-ring")

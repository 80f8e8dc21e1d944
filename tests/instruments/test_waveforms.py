"""Shots to waveform and capture to shots: checked against a simple delay line played sample by sample."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from instruments.waveforms import (
    SHIFTS,
    Grid,
    Layout,
    capture_length,
    cut,
    pulse_codes,
    shares,
    symbols_of,
    waveform,
    whole_samples,
)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    source = draw(st.integers(1, 6))
    return Grid(source, draw(st.integers(1, source)), draw(st.integers(1, 5)), draw(st.integers(1, 3)))


@st.composite
def batches(draw: st.DrawFn) -> tuple[NDArray[np.float64], Layout]:
    shots, symbols = draw(st.integers(1, 7)), draw(st.integers(1, 6))
    drives = draw(arrays(np.float64, (shots, symbols), elements=st.floats(-1, 1)))
    lead, gap, pilot, filling = (draw(st.integers(low, 4)) for low in (1, 1, 0, 0))
    return drives, Layout(shots, symbols, lead, gap, pilot, filling, draw(st.integers(0, SHIFTS - 1)))


def played(codes: NDArray[np.int16], grid: Grid) -> NDArray[np.complex128]:
    """The capture of a wire from source to analyser: each window sees the symbol's first code, in order."""
    volts = (codes[:, 0] + 1j * codes[:, 1]).reshape(-1, grid.source_samples)[:, 0]
    ramp = 1 + np.arange(grid.capture_samples)
    return (volts[:, None] * ramp).ravel()


@given(batches(), grids(), st.sampled_from(["signed", "phase"]))
@settings(max_examples=150, deadline=None)
def test_every_drive_comes_back_at_its_shot_symbol_and_window(
    batch: tuple[NDArray[np.float64], Layout], grid: Grid, encoding: str
) -> None:
    drives, layout = batch
    pilot = np.linspace(-0.5, 1, layout.pilot)
    codes = waveform(drives, pilot, encoding, layout, grid)
    assert codes.dtype == np.int16
    assert codes.shape == (layout.length * grid.source_samples, 2)
    capture = played(codes, grid)
    assert len(capture) == capture_length(layout, grid)
    found = cut(capture, layout, grid)
    ramp = (1 + np.arange(grid.capture_samples)).reshape(grid.windows, -1).mean(axis=1)
    sent, ahead = (pulse_codes(values, encoding).astype(float) @ [1, 1j] for values in (drives, pilot))
    assert np.allclose(found.windows, sent[..., None] * ramp, rtol=1e-12)
    assert np.allclose(found.pilot(layout), ahead[..., None] * ramp, rtol=1e-12)
    assert np.allclose(found.peak, np.abs(sent).max(axis=1) * grid.capture_samples)
    assert not found.before.any()
    assert not found.after.any()
    assert found.rest == 0


@given(batches(), grids())
@settings(max_examples=60, deadline=None)
def test_the_pulse_is_on_for_its_share_and_nothing_is_sent_in_lead_in_gap_and_filling(
    batch: tuple[NDArray[np.float64], Layout], grid: Grid
) -> None:
    drives, layout = batch
    codes = waveform(np.where(drives == 0, 0.5, drives), np.full(layout.pilot, 0.5), "phase", layout, grid)
    on = (codes != 0).any(axis=1)
    expected = np.zeros((layout.length, grid.source_samples), bool)
    starts = []
    for shot in range(layout.shots):
        starts.append(layout.lead + shot * (layout.symbols + layout.gap))
        expected[starts[-1] : starts[-1] + layout.symbols, : grid.on_samples] = True
    if layout.pilot:
        starts.append(layout.lead + layout.shots * (layout.symbols + layout.gap) + layout.shift)
        expected[starts[-1] : starts[-1] + layout.pilot, : grid.on_samples] = True
        behind = SHIFTS - 1 - layout.shift
        assert layout.length == starts[-1] + layout.pilot + layout.gap + behind + layout.filling
    assert np.array_equal(on, expected.ravel())
    assert layout.starts(grid.source_samples).tolist() == [start * grid.source_samples for start in starts]


def test_what_the_filter_smears_into_the_end_of_a_silence_is_not_heard() -> None:
    grid, layout = Grid(2, 1, 2, 2), Layout(2, 1, 2, 3)
    capture = np.zeros(capture_length(layout, grid), complex)
    starts = layout.starts(grid.capture_samples)
    for blur in (0, 1, 3, 4, 6):
        capture[:] = 0
        for start in starts:
            capture[start - blur : start] = 1
        assert not cut(capture, layout, grid, blur).before.any()
        capture[starts - blur - 1] = 3
        assert np.allclose(cut(capture, layout, grid, blur).before, 9 / max(1, grid.capture_samples - blur))
        assert cut(capture, layout, grid, blur).after.tolist() == [9 / max(1, grid.capture_samples - blur), 0]


@given(batches(), grids(), st.data())
@settings(max_examples=100, deadline=None)
def test_what_rings_at_the_end_of_a_gap_is_told_of_the_shots_beside_it(
    batch: tuple[NDArray[np.float64], Layout], grid: Grid, data: st.DataObject
) -> None:
    _, layout = batch
    capture = np.zeros(capture_length(layout, grid), complex)
    gap = data.draw(st.integers(-1, layout.shots - 1), "gap, -1 for the lead-in")
    end = (layout.lead + (gap + 1) * layout.period) * grid.capture_samples
    capture[end - 1] = 3j
    found = cut(capture, layout, grid)
    loud = 9 / grid.capture_samples
    assert np.allclose(found.after, [loud if shot == gap else 0 for shot in range(layout.shots)])
    assert np.allclose(found.before, [loud if shot == gap + 1 else 0 for shot in range(layout.shots)])


@pytest.mark.parametrize("shift", range(SHIFTS))
def test_what_is_not_silent_beside_the_pilot_is_told(shift: int) -> None:
    grid, layout = Grid(2, 1, 2, 1), Layout(1, 1, 1, 2, 3, 1, shift)
    tail = SHIFTS - 1 + layout.pilot + layout.gap
    for symbol in range(tail):
        capture = np.zeros(capture_length(layout, grid), complex)
        capture[(layout.end + symbol) * grid.capture_samples] = 3j
        silent = not shift <= symbol < shift + layout.pilot + layout.gap
        assert (cut(capture, layout, grid).rest > 0) == silent


def test_a_pilot_can_be_alone() -> None:
    layout, grid = Layout(0, 1, 2, 3, 2, shift=5), Grid(2, 1, 2, 1)
    codes = waveform(np.empty((0, 1)), np.array([0.5, 1.0]), "signed", layout, grid)
    found = cut(played(codes, grid), layout, grid)
    assert found.windows.shape == (0, 1, 2)
    assert found.pilot(layout).tolist() == [[16384, 32768], [32767, 65534]]
    assert found.peak.shape == found.before.shape == found.after.shape == (0,)


@given(st.integers(0, 300), st.integers(1, 50))
@settings(max_examples=100, deadline=None)
def test_a_batch_is_shared_evenly_among_as_few_captures_as_fit(shots: int, most: int) -> None:
    found = shares(shots, most)
    assert sum(found) == shots
    assert all(1 <= share <= most for share in found)
    assert (len(found) - 1) * most < shots or not found
    assert not found or max(found) - min(found) <= 1


@pytest.mark.parametrize(
    ("duration_s", "rate_hz", "expected"),
    [
        (40e-9, 100e6, 4),
        (40e-9, 75e6, 3),
        (40e-9, 62.5e6, None),
        (6.3e-9, 1e9, None),
        (1e-12, 1e9, None),
        (0.1, 3.0, None),
    ],
)
def test_samples_are_whole_or_none(duration_s: float, rate_hz: float, expected: int | None) -> None:
    assert whole_samples(duration_s, rate_hz) == expected


@pytest.mark.parametrize(
    ("duration_s", "expected"), [(0.0, 0), (1e-9, 1), (40e-9, 1), (40.00000000001e-9, 1), (40.1e-9, 2), (280e-9, 7)]
)
def test_durations_are_rounded_up_to_symbols(duration_s: float, expected: int) -> None:
    assert symbols_of(duration_s, 40e-9) == expected


def test_codes_are_the_drives_in_units_of_the_full_code() -> None:
    drives = np.array([[0.0, 1.0, -1.0, 0.5, 1 / 32767, 0.4 / 32767]])
    assert pulse_codes(drives, "signed")[0, :, 0].tolist() == [0, 32767, -32767, 16384, 1, 0]
    assert not pulse_codes(drives, "signed")[0, :, 1].any()
    assert pulse_codes(np.array([[0.0, 0.5, -0.5, 1.0]]), "phase")[0].tolist() == [
        [32767, 0],
        [0, 32767],
        [0, -32767],
        [-32767, 0],
    ]

"""The ring by envelopes against the LLG ring, which it is a model of."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from labpgt.device import Reservoir, Seekable, Tunable
from labpgt.errors import DeviceFault, InputError
from simulators import envelope_model, envelope_ring
from simulators.envelope_fit import closeness
from simulators.envelope_model import fitted
from simulators.envelope_ring import EnvelopeRing
from simulators.llg_ring import LLGRing

PAPER = {"carrier_hz": 3.1417e9, "gain": 0.9, "duty": 1.0, "n_nodes": 10, "drive_field_a_per_m": 28.0}
BETWEEN = {"carrier_hz": 3.175e9, "gain": 0.6, "duty": 0.5, "n_nodes": 10, "drive_field_a_per_m": 1400.0}
PARITY = {"carrier_hz": 3.205e9, "gain": 0.2, "duty": 0.5, "n_nodes": 10, "drive_field_a_per_m": 2800.0}


def drives(shots: int, symbols: int, seed: int = 7) -> NDArray[np.float64]:
    return np.random.default_rng(seed).random((shots, symbols))


def both(u: NDArray[np.float64], **settings: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Responses of the envelope ring and of the LLG ring, without noise."""
    with EnvelopeRing(**{"noise": 0.0, **settings}) as ring, LLGRing(**{"noise": 0.0, **settings}) as llg:
        return ring.forward(u), llg.forward(u)


@pytest.fixture
def ring() -> Iterator[EnvelopeRing]:
    with EnvelopeRing(noise=0.0, **PARITY) as device:
        yield device


def test_it_is_a_seekable_tunable_reservoir_like_the_llg_ring(ring: EnvelopeRing) -> None:
    assert isinstance(ring, Reservoir)
    assert isinstance(ring, Seekable)
    assert isinstance(ring, Tunable)
    assert set(LLGRing.Config.model_fields) == set(EnvelopeRing.Config.model_fields)
    llg = LLGRing(**PARITY)
    assert (ring.n_nodes, ring.max_symbols, ring.drive_limits) == (llg.n_nodes, llg.max_symbols, llg.drive_limits)
    assert set(llg.settings()) < set(ring.settings())


@pytest.mark.parametrize(
    "settings",
    [
        PAPER,
        {**PAPER, "drive_field_a_per_m": 1400.0, "encoding": "signed"},
        BETWEEN,
        PARITY,
        {**PARITY, "detector": "iq", "mask": "binary", "n_nodes": 12},
        {**BETWEEN, "encoding": "phase", "symbol_s": 7.7e-9, "n_nodes": 7, "duty": 0.37, "delay_s": 0.73e-9},
        {**BETWEEN, "geometry": "forward-volume", "bias_t": 0.28, "carrier_hz": 3.3e9},
    ],
    ids=["paper", "signed", "between", "parity", "iq and mask", "phase", "forward volume"],
)
def test_it_correlates_with_the_llg_ring_as_it_states_on_shots_of_its_own(settings: dict[str, Any]) -> None:
    mine, llg = both(drives(8, 30), **settings)
    correlation, error = closeness(mine, llg)
    assert correlation >= 0.999
    stated = EnvelopeRing(**settings).settings()
    assert stated["fit_correlation"].value >= 0.999
    assert error < 2 * stated["fit_error"].value + 2e-3
    assert stated["valid_drive_a_per_m"] == (settings["drive_field_a_per_m"], "A/m")
    # What the drive does, not what is always there.
    assert np.corrcoef((mine - mine.mean(axis=0)).ravel(), (llg - llg.mean(axis=0)).ravel())[0, 1] > 0.998


def test_a_drive_outside_the_range_is_refused_with_a_field_that_can_be_used() -> None:
    settings = {**BETWEEN, "drive_field_a_per_m": 7000.0}
    device = EnvelopeRing(**settings)
    with pytest.raises(InputError, match=r"drive_field_a_per_m = 7000: outside the range .* use the device") as refusal:
        device.open()
    assert "limits 0.999 and 5 %" in str(refusal.value)
    valid = device.settings()["valid_drive_a_per_m"].value
    assert f"to {valid:g} A/m" in str(refusal.value)
    assert 2000 < valid < 7000
    with pytest.raises(DeviceFault, match="closed"):
        device.forward(drives(1, 1))
    mine, llg = both(drives(4, 30), **{**BETWEEN, "drive_field_a_per_m": valid})
    assert closeness(mine, llg)[0] >= 0.998


def test_a_model_that_is_good_at_no_drive_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope_ring, "fitted", fitted.__wrapped__)  # models that were made already stay
    monkeypatch.setattr(envelope_model, "LEAST_CORRELATION", 1.1)
    monkeypatch.setattr(envelope_model, "_TRIES", 2)  # each is a model more
    device = EnvelopeRing(n_nodes=2, symbol_s=2e-9)
    with pytest.raises(InputError, match="good at no drive field"):
        device.open()
    assert device.settings()["valid_drive_a_per_m"].value == 0


def test_attenuation_and_drive_field_of_each_shot_are_followed() -> None:
    settings = {**BETWEEN, "noise": 0.0}
    tuning = {
        "attenuation_db": np.array([-3.0, 0.0, 6.0, 40.0, 0.0, 0.0]),
        "drive_field_a_per_m": np.array([1400.0, 1400.0, 1400.0, 1400.0, 14.0, 700.0]),
    }
    u = np.repeat(drives(1, 30), 6, axis=0)
    with EnvelopeRing(**settings) as ring, LLGRing(**settings) as llg:
        mine, expected = ring.forward_tuned(u, tuning), llg.forward_tuned(u, tuning)
        for shot in range(6):
            assert closeness(mine[shot], expected[shot])[0] >= 0.999
            assert np.linalg.norm(mine[shot]) == pytest.approx(np.linalg.norm(expected[shot]), rel=0.01)
        assert np.abs(mine[0] - mine[2]).max() > 0.1 * mine.max(), "the gain matters"
        np.testing.assert_array_equal(ring.forward(u[:1])[0], mine[1], "for that call only")
        for wrong, message in (
            ({"gain": np.ones(6)}, "'gain' cannot differ from shot to shot; these can: attenuation_db"),
            ({"attenuation_db": np.ones(5)}, r"expected attenuation_db of shape \(6,\) from .* to 80"),
            ({"drive_field_a_per_m": np.full(6, 1401.0)}, "drive_field_a_per_m .* from 0 to 1400"),
        ):
            with pytest.raises(ValueError, match=message):
                ring.forward_tuned(u, wrong)
    quiet = EnvelopeRing(**settings, attenuation_db=6.0)
    with quiet:
        assert closeness(quiet.forward(u[:1])[0], expected[2])[0] >= 0.999


@pytest.mark.parametrize("gain", [0.8, 0.9])
def test_an_echo_fades_as_fast_as_in_the_llg_ring(gain: float) -> None:
    u = np.zeros((1, 30))
    u[0, 0] = 1
    mine, llg = (np.square(r[0]).sum(axis=1) for r in both(u, **{**PAPER, "gain": gain}))
    slopes = [np.polyfit(np.arange(8, 30), np.log(energy[8:]) / 2, 1)[0] for energy in (mine, llg)]
    assert slopes[1] < 0
    assert slopes[0] == pytest.approx(slopes[1], rel=0.02)


def test_above_the_threshold_it_oscillates_where_the_llg_ring_does() -> None:
    u = np.zeros((3, 150))
    u[:, 0] = 1
    shares = np.array([0.97, 1.03, 1.3])
    tuning = {"attenuation_db": -20 * np.log10(shares / 0.9)}
    settings = {**PAPER, "n_nodes": 2, "noise": 0.0, "saturation_a_per_m": 14.0}
    with EnvelopeRing(**settings) as ring, LLGRing(**settings) as llg:
        mine, expected = ring.forward_tuned(u, tuning), llg.forward_tuned(u, tuning)
    level = np.sqrt(np.mean(np.square(mine[:, -10:]), axis=(1, 2)))
    theirs = np.sqrt(np.mean(np.square(expected[:, -10:]), axis=(1, 2)))
    assert level[0] < 0.1 * level[1] < level[2]
    np.testing.assert_allclose(level[2], theirs[2], rtol=0.03)


def test_a_shot_does_not_depend_on_its_batch_lane_or_thread_in_any_bit(ring: EnvelopeRing) -> None:
    u = drives(40, 3)
    together = ring.forward(u)
    for order in (range(1), range(5), [39, 2, 17, 16, 0, 31, 9]):
        np.testing.assert_array_equal(ring.forward(u[list(order)]), together[list(order)])
    with EnvelopeRing(noise=0.0, threads=1, **PARITY) as single:
        np.testing.assert_array_equal(single.forward(u), together)
        np.testing.assert_array_equal(np.concatenate([single.forward(u[i : i + 1]) for i in range(40)]), together)


def test_the_model_is_made_the_same_every_time(ring: EnvelopeRing) -> None:
    first = ring.forward(drives(2, 4))
    fitted.cache_clear()
    with EnvelopeRing(noise=0.0, threads=1, **PARITY) as again:
        np.testing.assert_array_equal(again.forward(drives(2, 4)), first)


def test_noise_is_that_of_the_llg_ring_with_the_same_key() -> None:
    quiet = np.zeros((3, 4))
    settings = {**PARITY, "noise": 0.02, "noise_seed": 5}
    with EnvelopeRing(**settings) as ring, LLGRing(**settings) as llg:
        ring.seek(11)
        llg.seek(11)
        noise = ring.forward(quiet)
        np.testing.assert_array_equal(noise, llg.forward(quiet))
        assert noise.std() == pytest.approx(0.02, rel=0.3)
        ring.seek(12)
        np.testing.assert_array_equal(ring.forward(quiet[:1])[0], noise[1])


def test_full_scale_only_scales_and_needs_no_other_model(ring: EnvelopeRing) -> None:
    u = drives(2, 2)
    made = fitted.cache_info().misses
    with EnvelopeRing(noise=0.0, **PARITY, full_scale=0.7) as half:
        np.testing.assert_allclose(half.forward(u), ring.forward(u) / 2, rtol=1e-12)
    assert fitted.cache_info().misses == made


def test_response_never_runs_ahead_of_its_drive(ring: EnvelopeRing) -> None:
    u = np.tile(drives(1, 4), (2, 1))
    u[1, 2] = 1 - u[1, 2]
    early, late = np.split(ring.forward(u), 2, axis=1)
    np.testing.assert_array_equal(early[0], early[1])
    assert np.abs(late[0] - late[1]).max() > 0.1


def test_a_long_shot_answers_late_as_it_does_early() -> None:
    # Sixteen periods of the carrier a symbol: after a rest, a pulse finds the ring as at the start.
    settings = {**PARITY, "carrier_hz": 3.2e9, "symbol_s": 5e-9, "n_nodes": 2, "noise": 0.0}
    u = np.zeros((1, 20_000))
    u[0, :5] = u[0, 19_000:19_005] = drives(1, 5)[0]
    with EnvelopeRing(**settings) as ring:
        response = ring.forward(u)[0]
    np.testing.assert_allclose(response[19_000:19_050], response[:50], atol=1e-5)


def test_what_it_cannot_model_is_refused() -> None:
    with pytest.raises(InputError, match=r"device\.temperature_k = 300"):
        EnvelopeRing(temperature_k=300.0)
    with pytest.raises(InputError, match=r"device\.cells = 4096"):
        EnvelopeRing(cells=4096)
    with pytest.raises(InputError, match=r"device\.attenuation_db = -20"):
        EnvelopeRing(gain=0.5, attenuation_db=-20.0)


def test_closed_device_refuses_and_reopens(ring: EnvelopeRing) -> None:
    first = ring.forward(drives(1, 1))
    assert ring.rf_on
    ring.make_safe()
    assert not ring.rf_on
    ring.close()
    with pytest.raises(DeviceFault, match=r"closed device; call open\(\)"):
        ring.forward(drives(1, 1))
    ring.open()
    ring.seek(0)
    np.testing.assert_array_equal(ring.forward(drives(1, 1)), first)


def test_a_response_that_is_not_finite_is_a_fault(ring: EnvelopeRing, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = ring._fitted.model._replace(source=np.full_like(ring._fitted.model.source, 1e30))
    monkeypatch.setitem(ring.__dict__, "_fitted", ring._fitted._replace(model=broken))
    with pytest.raises(DeviceFault, match="not finite"):
        ring.forward(drives(1, 2))

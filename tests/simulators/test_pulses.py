"""Simulated rings asked by pulses of the carrier instead of drives."""

from typing import Any

import numpy as np
import pytest

from labpgt.errors import DeviceFault
from simulators.envelope_ring import EnvelopeRing
from simulators.llg_ring import LLGRing
from simulators.simulated_ring import SimulatedRing

SETTINGS: dict[str, Any] = {"symbol_s": 40e-9, "n_nodes": 4, "detector": "iq"}


@pytest.mark.parametrize("kind", [EnvelopeRing, LLGRing])
def test_pulses_are_answered_as_the_drives_that_make_them(kind: type[SimulatedRing]) -> None:
    u = np.random.default_rng(0).random((3, 2))
    tuning = {"attenuation_db": np.array([0.0, 1.0, -3.0])}
    with kind(**SETTINGS) as ring:
        expected = ring.forward_tuned(u, tuning)
        ring.seek(0)
        assert np.array_equal(ring.forward_pulses(u.astype(np.complex128), tuning), expected)
        # A carrier turned by half a turn is no drive of this encoding, but a pulse.
        assert not np.array_equal(ring.forward_pulses(-u.astype(np.complex128), tuning), expected)


def test_a_pulse_that_cannot_be_is_refused() -> None:
    ring = EnvelopeRing(**SETTINGS)
    with pytest.raises(DeviceFault, match="closed device"):
        ring.forward_pulses(np.ones((1, 2), np.complex128), {})
    with ring:
        for wrong in (np.full((1, 2), 1.1 + 0j), np.full((1, 2), 0.9 + 0.9j), np.full((1, 2), np.nan), np.ones(2)):
            with pytest.raises(ValueError, match="expected pulses of shape"):
                ring.forward_pulses(wrong, {})

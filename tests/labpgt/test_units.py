"""Units by the ending of a key."""

import pytest

from labpgt.units import unit_of


@pytest.mark.parametrize(
    ("key", "unit"),
    [
        ("carrier_hz", "Hz"),
        ("flush_ms", "ms"),
        ("attenuation_db", "dB"),
        ("power_dbm", "dBm"),
        ("exchange_j_per_m", "J/m"),
        ("anisotropy_j_per_m3", "J/m3"),
        ("waveform_scaling_percent", "%"),
        ("n_nodes", ""),
        ("test_fraction", ""),
    ],
)
def test_a_key_ends_in_its_unit(key: str, unit: str) -> None:
    assert unit_of(key) == unit

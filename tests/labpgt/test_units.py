"""Units by the ending of a key."""

import pytest

from labpgt.units import unit_of, worded


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


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (4.2e9, "Hz", "4.2 GHz"),
        (5.123456789e9, "Hz", "5.123456789 GHz"),
        (-2.5e-8, "s", "-25 ns"),
        (0.1, "A", "100 mA"),
        (0.0, "V", "0 V"),
        (-8.0, "dBm", "-8 dBm"),
        (100_001, "", "100001"),
        (True, "", "on"),
        ("SA", "", "SA"),
        ("", "", "none"),
        (None, "Hz", "none"),
    ],
)
def test_a_value_is_told_with_its_unit(value: object, unit: str, words: str) -> None:
    assert worded(value, unit) == words

"""Units of settings: a key ends in its unit."""

_UNITS = {
    "_s": "s",
    "_ms": "ms",
    "_hz": "Hz",
    "_db": "dB",
    "_dbm": "dBm",
    "_percent": "%",
    "_rad": "rad",
    "_t": "T",
    "_m": "m",
    "_v": "V",
    "_k": "K",
    "_a_per_m": "A/m",
    "_j_per_m": "J/m",
    "_j_per_m3": "J/m3",
}


def unit_of(key: str) -> str:
    """Return the unit that a key such as `carrier_hz` ends in; empty for a pure number or a text."""
    fitting = [ending for ending in _UNITS if key.endswith(ending)]
    return _UNITS[max(fitting, key=len)] if fitting else ""

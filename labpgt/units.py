"""Units of settings: a key ends in its unit, and a value is told with it."""

from typing import Any

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


_SCALES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))
_SCALED = ("Hz", "s", "V", "A", "T", "W")


def worded(value: Any, unit: str) -> str:
    """Return a value with its unit as a person reads it: 4.2 GHz, -8 dBm, on; "none" for no value."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int | float) and unit in _SCALED and value:
        scale, prefix = next(((s, p) for s, p in _SCALES if abs(value) >= s), _SCALES[-1])
        return f"{value / scale:.10g} {prefix}{unit}"
    if isinstance(value, float):
        return f"{value:.6g} {unit}".rstrip()
    return "none" if value is None or value == "" else f"{value} {unit}".rstrip()

"""Numbers and quantities as people read them."""

import math

_SPACE = "\u00a0"
"""Never a line's end."""

_LETTERS = (1e9, "G"), (1e6, "M"), (1e3, "k")


def number(value: float, digits: int = 4) -> str:
    """Return a number with so many digits that count; whole numbers in full, in groups of three."""
    if not math.isfinite(value):
        return "none" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if abs(value) >= 1000 and (value == int(value) or abs(value) >= 10**digits):
        text = f"{value:,.0f}".replace(",", _SPACE) if abs(value) < 1e12 else f"{value:.{digits}g}"
    else:
        text = f"{value:.{digits}g}"
    return text.replace("-", "−")


def quantity(value: float, unit: str, digits: int = 4) -> str:
    """Return a number with its unit."""
    return f"{number(value, digits)}{_SPACE}{unit}" if unit else number(value, digits)


def signed(value: float, digits: int = 4) -> str:
    """Return a difference with its sign."""
    return f"+{number(value, digits)}" if value > 0 else number(value, digits)


def short_numbers(values: list[float], spacing: float) -> list[str]:
    """Return the numbers at the ticks of an axis, thousands and millions by letters (12.5k, 3M)."""
    largest = max((abs(value) for value in values), default=0.0)
    scale, letter = next(((s, name) for s, name in _LETTERS if largest >= 10 * s), (1.0, ""))
    if not letter and largest >= 1e3 and spacing >= 500:
        scale, letter = 1e3, "k"
    step = spacing / scale
    if 0 < step < 1e-4 or largest / scale >= 1e6:
        return [number(value, 3) for value in values]
    places = max(0, math.ceil(-math.log10(step) - 1e-6)) if step > 0 else 0
    places = min(places, 6)
    # 2.5 takes a place more than the size of the step says
    if round(step, places) != step and places < 6 and abs(round(step, places) - step) > 1e-3 * step:
        places += 1
    texts = [f"{value / scale:.{places}f}" for value in values]
    return ["0" if float(text) == 0 else f"{text.replace('-', '−')}{letter}" for text in texts]

"""What a characterisation can find: every number and every curve, with its unit and what it means."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Quantity(NamedTuple):
    """A number, or one column of a curve."""

    label: str
    unit: str = ""
    """SI symbol or "dB"; empty for a pure number."""


class CurveKind(NamedTuple):
    """A curve: its columns by name, the axis first and the main signal second; all columns are equally long."""

    title: str
    columns: Mapping[str, Quantity]

    @property
    def axis(self) -> str:
        """Column that the others are drawn over."""
        return next(iter(self.columns))

    @property
    def signals(self) -> list[str]:
        """The other columns, the main one first."""
        return list(self.columns)[1:]


VALUES: Mapping[str, Quantity] = {
    "stm": Quantity("short-term memory capacity: sum over delays of r², corrected for chance"),
    "stm_uncorrected": Quantity("the same without the correction for chance"),
    "pc": Quantity("parity capacity: sum over delays of r², corrected for chance"),
    "pc_uncorrected": Quantity("the same without the correction for chance"),
    "narma10_nmse": Quantity("NARMA-10: held-out mean square error over the target's variance"),
    "narma10_nrmse": Quantity("NARMA-10: square root of narma10_nmse"),
    "mackey_glass_nrmse": Quantity("Mackey-Glass: held-out error over the target's deviation, 6 steps ahead"),
    "mackey_glass_nrmse_84": Quantity("Mackey-Glass: held-out error over the target's deviation, 84 steps ahead"),
    "threshold_gain": Quantity("loop gain where the ring starts to oscillate, as a share of the gain at 0 dB"),
    "threshold_attenuation_db": Quantity("attenuation where the ring starts to oscillate", "dB"),
    "threshold_uncertainty_db": Quantity("standard uncertainty of that, with half the step of the search", "dB"),
    "threshold_extrapolated_db": Quantity("where the decay rates of a ring that is quiet throughout lead to", "dB"),
    "margin_db": Quantity("attenuation above that of the threshold; negative in an oscillating ring", "dB"),
    "memory_time_s": Quantity("time constant of the response's decay after a kick", "s"),
    "memory_symbols": Quantity("time constant of the response's decay after a kick, in symbols"),
    "noise_floor": Quantity("standard deviation of a response value between repeats without drive"),
    "noise_driven": Quantity("standard deviation of a response value between repeats of one random shot"),
    "repeatability": Quantity("noise_driven over the standard deviation of the responses within the shot"),
    "compression_db": Quantity("response at full drive below what small drives lead to expect", "dB"),
    "compression_1db_drive": Quantity("drive at which the response is 1 dB below that"),
    "transmission_peak": Quantity("largest response over the carrier's frequency"),
    "transmission_peak_hz": Quantity("carrier frequency of the largest response", "Hz"),
    "transmission_open_peak": Quantity("the same with the loop attenuated as far as it goes"),
    "transmission_open_peak_hz": Quantity("carrier frequency of that", "Hz"),
}

CURVES: Mapping[str, CurveKind] = {
    "short_term_memory": CurveKind(
        "Short-term memory",
        {
            "delay": Quantity("delay D", "symbols"),
            "r2": Quantity("r² of u(n-D), corrected for chance"),
            "r2_uncorrected": Quantity("r² of u(n-D)"),
        },
    ),
    "parity": CurveKind(
        "Parity",
        {
            "delay": Quantity("delay D", "symbols"),
            "r2": Quantity("r² of the parity of u(n-D) to u(n), corrected for chance"),
            "r2_uncorrected": Quantity("r² of the parity of u(n-D) to u(n)"),
        },
    ),
    "narma10": CurveKind(
        "NARMA-10, a held-out shot",
        {
            "symbol": Quantity("symbol"),
            "target": Quantity("target"),
            "prediction": Quantity("readout"),
        },
    ),
    "mackey_glass": CurveKind(
        "Mackey-Glass prediction",
        {
            "horizon": Quantity("steps ahead", "symbols"),
            "nrmse": Quantity("NRMSE, held out"),
            "nrmse_last_value": Quantity("NRMSE of a linear map of the last value alone"),
        },
    ),
    "threshold": CurveKind(
        "Auto-oscillation threshold",
        {
            "attenuation_db": Quantity("attenuation in the loop", "dB"),
            "growth_db_per_symbol": Quantity("growth of the response after a kick", "dB/symbol"),
            "oscillates": Quantity("1 where the response stays or grows"),
        },
    ),
    "memory": CurveKind(
        "Memory time constant against gain",
        {
            "attenuation_db": Quantity("attenuation in the loop", "dB"),
            "memory_symbols": Quantity("memory time constant", "symbols"),
            "share_of_threshold": Quantity("loop gain as a share of the threshold"),
            "memory_time_s": Quantity("memory time constant", "s"),
        },
    ),
    "decay": CurveKind(
        "Decay after a kick, as set",
        {
            "symbol": Quantity("symbols after the kick"),
            "amplitude": Quantity("response to the kick"),
            "fit": Quantity("exponential fit"),
            "floor": Quantity("noise floor of the amplitude"),
        },
    ),
    "noise": CurveKind(
        "Noise without drive",
        {"node": Quantity("node"), "deviation": Quantity("standard deviation between repeats")},
    ),
    "repeatability": CurveKind(
        "Repeats of one random shot",
        {"repeat": Quantity("repeat"), "deviation": Quantity("relative deviation from the mean of the repeats")},
    ),
    "compression": CurveKind(
        "Compression",
        {
            "drive": Quantity("constant drive above rest"),
            "response": Quantity("response"),
            "small_signal": Quantity("small-signal line"),
        },
    ),
    "transmission": CurveKind(
        "Transmission",
        {
            "frequency_hz": Quantity("carrier frequency", "Hz"),
            "response": Quantity("response, as set"),
            "response_open": Quantity("response, loop attenuated"),
        },
    ),
}

OUTCOMES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "noise": (("noise_floor",), ("noise",)),
    "repeatability": (("noise_driven", "repeatability"), ("repeatability",)),
    "stm": (("stm", "stm_uncorrected"), ("short_term_memory",)),
    "pc": (("pc", "pc_uncorrected"), ("parity",)),
    "narma10": (("narma10_nmse", "narma10_nrmse"), ("narma10",)),
    "mackey-glass": (("mackey_glass_nrmse", "mackey_glass_nrmse_84"), ("mackey_glass",)),
    "compression": (("compression_db", "compression_1db_drive"), ("compression",)),
    "threshold": (
        (
            "threshold_gain",
            "threshold_attenuation_db",
            "threshold_uncertainty_db",
            "threshold_extrapolated_db",
            "margin_db",
        ),
        ("threshold",),
    ),
    "memory": (("memory_time_s", "memory_symbols"), ("decay", "memory")),
    "transmission": (
        ("transmission_peak", "transmission_peak_hz", "transmission_open_peak", "transmission_open_peak_hz"),
        ("transmission",),
    ),
}
"""Values and curves of each measure."""


@dataclass
class Outcome:
    """What one measure found."""

    values: dict[str, float] = field(default_factory=dict)
    """By the names of `VALUES`; only what was measured."""
    missing: dict[str, str] = field(default_factory=dict)
    """Why a value was not measured."""
    curves: dict[str, dict[str, NDArray[np.float64]]] = field(default_factory=dict)
    """By the names of `CURVES`."""
    state: str = ""
    """"quiet" or "oscillating", when this measure has seen it."""

    def lack(self, reason: str, *names: str) -> "Outcome":
        """Say why these values are missing."""
        self.missing |= dict.fromkeys(names, reason)
        return self

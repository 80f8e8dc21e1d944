"""The curves of a characterisation as PNG files."""

from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from labpgt.characterisation.outcome import CURVES
from labpgt.errors import StorageFault
from procedures.characterize.report import formatted

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#8c8c8c"
_STYLE = {"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False}
_DPI = 140
_NARMA_SHOWN = 80
_NEAR_DB = 3.0
"""On either side of the threshold: what its plot shows."""

Curve = Mapping[str, NDArray[np.float64]]
Values = Mapping[str, float | None]


def draw(curves: Mapping[str, Curve], values: Values, title: str, folder: Path) -> list[Path]:
    """Draw each curve into a file of its own, and all of them into overview.png; return the files.

    Raises `StorageFault` when the folder cannot be written.
    """
    drawn = [name for name in CURVES if name in curves]
    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Without pyplot: it would keep figures, and choose a window system.
        with mpl.rc_context(_STYLE):
            for name in drawn:
                figure = Figure(figsize=(5.2, 3.6), layout="constrained")
                _panel(figure.subplots(), name, curves[name], values)
                files.append(_save(figure, folder / f"{name}.png"))
            if drawn:
                columns = min(3, len(drawn))
                rows = -(-len(drawn) // columns)
                figure = Figure(figsize=(4.6 * columns, 3.2 * rows + 0.4), layout="constrained")
                figure.suptitle(title)
                axes = figure.subplots(rows, columns, squeeze=False).ravel()
                for name, panel in zip(drawn, axes, strict=False):
                    _panel(panel, name, curves[name], values)
                for panel in axes[len(drawn) :]:
                    panel.set_axis_off()
                files.append(_save(figure, folder / "overview.png"))
    except OSError as error:
        raise StorageFault(
            f"plots in {folder}: {error.strerror or error}; the session is whole. Choose another --plots"
        ) from error
    return files


def _save(figure: Figure, path: Path) -> Path:
    FigureCanvasAgg(figure).print_png(path, pil_kwargs={"dpi": (_DPI, _DPI)})
    return path


def _panel(axes: Axes, name: str, curve: Curve, values: Values) -> None:
    kind = CURVES[name]
    axes.set_title(kind.title)
    axis = kind.columns[kind.axis]
    axes.set_xlabel(f"{axis.label} ({axis.unit})" if axis.unit else axis.label)
    _DRAWN[name](axes, curve, values)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)


def _bars(axes: Axes, curve: Curve, value: float | None, label: str) -> None:
    delay, r2 = curve["delay"], curve["r2"]
    heard = np.flatnonzero(r2 > 0.01)
    shown = max(10, int(heard[-1]) + 4 if len(heard) else 0)
    axes.bar(delay[:shown], r2[:shown], color=BLUE)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set_ylim(min(-0.02, float(r2.min()) * 1.1), 1.05)
    axes.set_ylabel("r², held out")
    if value is not None:
        axes.text(0.97, 0.92, f"{label} = {round(value, 2) + 0.0:.2f}", transform=axes.transAxes, ha="right")


def _short_term_memory(axes: Axes, curve: Curve, values: Values) -> None:
    _bars(axes, curve, values.get("stm"), "sum")


def _parity(axes: Axes, curve: Curve, values: Values) -> None:
    _bars(axes, curve, values.get("pc"), "sum")


def _narma10(axes: Axes, curve: Curve, values: Values) -> None:
    shown = slice(0, _NARMA_SHOWN)
    axes.plot(curve["symbol"][shown], curve["target"][shown], color=GREY, label="target")
    axes.plot(curve["symbol"][shown], curve["prediction"][shown], color=BLUE, linewidth=1, label="readout")
    axes.set_ylabel("y(n+1)")
    # Room for the legend above the lines.
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.3 * (high - low))
    if (nmse := values.get("narma10_nmse")) is not None:
        axes.text(0.03, 0.92, f"NMSE {nmse:.3g}", transform=axes.transAxes)


def _mackey_glass(axes: Axes, curve: Curve, values: Values) -> None:
    axes.plot(curve["horizon"], curve["nrmse_last_value"], color=GREY, marker=".", label="last value alone")
    axes.plot(curve["horizon"], curve["nrmse"], color=BLUE, marker=".", label="responses")
    axes.set_ylim(0, None)
    axes.set_ylabel("NRMSE, held out")


def _threshold(axes: Axes, curve: Curve, values: Values) -> None:
    attenuation, growth = curve["attenuation_db"], curve["growth_db_per_symbol"]
    threshold = values.get("threshold_attenuation_db")
    near = np.full(len(attenuation), True) if threshold is None else np.abs(attenuation - threshold) < _NEAR_DB
    loud = curve["oscillates"] > 0
    for mask, colour, label in ((~loud, BLUE, "quiet"), (loud, ORANGE, "oscillates")):
        axes.plot(attenuation[mask & near], growth[mask & near], "o", ms=4, color=colour, label=label)
    axes.axhline(0, color=GREY, linewidth=0.8)
    if threshold is not None:
        axes.axvline(threshold, color=GREY, linestyle="--", linewidth=0.8, label=f"threshold {threshold:.2f} dB")
    axes.set_ylabel("growth after a kick (dB/symbol)")


def _memory(axes: Axes, curve: Curve, values: Values) -> None:
    timed = np.isfinite(curve["memory_time_s"]).any()
    time = curve["memory_time_s"] * 1e9 if timed else curve["memory_symbols"]
    shares = np.isfinite(curve["share_of_threshold"]).all()
    x = curve["share_of_threshold"] if shares else curve["attenuation_db"]
    axes.plot(x, time, "o-", color=BLUE, ms=4)
    if np.isfinite(time).any():
        axes.set_yscale("log")
        _plain_ticks(axes)
    if shares:
        axes.set_xlabel("loop gain, share of the threshold")
    axes.set_ylabel("memory time constant (ns)" if timed else "memory time constant (symbols)")


def _decay(axes: Axes, curve: Curve, values: Values) -> None:
    heard = curve["amplitude"] > 0
    top = float(curve["amplitude"].max())
    above = np.flatnonzero(curve["amplitude"] > curve["floor"])
    last = int(above[-1]) if len(above) else 1
    shown = slice(0, min(len(heard), max(12, 2 * last)))
    mask = heard[shown]
    axes.plot(curve["symbol"][shown][mask], curve["amplitude"][shown][mask], "o", ms=3, color=BLUE, label="response")
    axes.plot(curve["symbol"][shown], curve["fit"][shown], color=ORANGE, label="fit")
    axes.plot(curve["symbol"][shown], curve["floor"][shown], color=GREY, linestyle="--", label="noise floor")
    if top > 0:
        axes.set_yscale("log")
        low = max(float(curve["floor"].min()) / 10, top * 1e-7)
        axes.set_ylim(low, top * 3)
    axes.set_ylabel("amplitude of the response")


def _noise(axes: Axes, curve: Curve, values: Values) -> None:
    axes.bar(curve["node"], curve["deviation"], color=BLUE)
    _from_zero(axes, curve["deviation"])
    _whole_ticks(axes, len(curve["node"]))
    axes.set_ylabel("standard deviation of the response")


def _repeatability(axes: Axes, curve: Curve, values: Values) -> None:
    axes.bar(curve["repeat"], curve["deviation"], color=BLUE)
    _from_zero(axes, curve["deviation"])
    _whole_ticks(axes, len(curve["repeat"]))
    axes.set_ylabel("relative deviation")


def _compression(axes: Axes, curve: Curve, values: Values) -> None:
    axes.plot(curve["drive"], curve["small_signal"], color=GREY, linestyle="--", label="small-signal line")
    axes.plot(
        curve["drive"],
        np.where(curve["response"] > 0, curve["response"], np.nan),
        "o-",
        color=BLUE,
        ms=3,
        label="response",
    )
    if (point := values.get("compression_1db_drive")) is not None:
        axes.axvline(point, color=ORANGE, linestyle=":", label=f"1 dB behind at {point:.2g}")
    if (curve["response"] > 0).any():
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_ylabel("response")


def _transmission(axes: Axes, curve: Curve, values: Values) -> None:
    frequency = curve["frequency_hz"] / 1e9
    with np.errstate(divide="ignore"):
        opened, closed = (20 * np.log10(curve[name]) for name in ("response_open", "response"))
    if np.isfinite(opened).any():
        axes.plot(frequency, opened, color=GREY, label="loop attenuated")
    axes.plot(frequency, closed, color=BLUE, label="as set")
    seen = np.concatenate([opened[np.isfinite(opened)], closed[np.isfinite(closed)]])
    if len(seen):
        axes.set_ylim(max(seen.min(), seen.max() - 60) - 2, seen.max() + 8)
    axes.set_xlabel("carrier frequency (GHz)")
    axes.set_ylabel("response (dB re 1)")
    if (peak := values.get("transmission_peak_hz")) is not None:
        axes.text(0.03, 0.92, f"peak {formatted(peak, 'Hz')}", transform=axes.transAxes)


def _from_zero(axes: Axes, values: NDArray[np.float64]) -> None:
    """Let an axis begin at 0, and say so where there is nothing to see."""
    if values.any():
        axes.set_ylim(0, None)
    else:
        axes.set_ylim(0, 1)
        axes.set_yticks([0])
        axes.text(0.5, 0.5, "0: repeats are equal", transform=axes.transAxes, ha="center")


def _whole_ticks(axes: Axes, count: int) -> None:
    axes.set_xticks(np.arange(0, count, max(1, -(-count // 8))))


def _plain_ticks(axes: Axes) -> None:
    """Label a short logarithmic axis with plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())


_DRAWN: Mapping[str, Callable[[Axes, Curve, Values], None]] = {
    "short_term_memory": _short_term_memory,
    "parity": _parity,
    "narma10": _narma10,
    "mackey_glass": _mackey_glass,
    "threshold": _threshold,
    "memory": _memory,
    "decay": _decay,
    "noise": _noise,
    "repeatability": _repeatability,
    "compression": _compression,
    "transmission": _transmission,
}

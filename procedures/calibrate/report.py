"""A calibration as one object and as a table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from labpgt.characterisation.outcome import VALUES, Quantity
from procedures.calibrate.run import ATTENUATION, DELTA, DRIVE_GAIN, MEMORY, Calibration
from procedures.characterize.report import formatted
from procedures.text import printable

SETTINGS = (ATTENUATION, MEMORY, DRIVE_GAIN, DELTA)
QUANTITIES: Mapping[str, Quantity] = {
    **{
        name: VALUES[name]
        for name in (
            *("noise_floor", "noise_driven", "repeatability", "compression_db", "compression_1db_drive"),
            *("threshold_attenuation_db", "threshold_uncertainty_db", "threshold_gain"),
        )
    },
    "gain_share": Quantity("loop gain that is set, as a share of that at which the ring starts to oscillate"),
    **{name: VALUES[name] for name in ("margin_db", "memory_time_s", "memory_symbols")},
    "drive_deviation": Quantity("deviation of the untrained network's drives between samples, as a share of the range"),
    "response_deviation": Quantity("deviation of a response value between samples, without the noise"),
    "noise_to_signal": Quantity("deviation of a repeated response, in units of response_deviation"),
    "response_offset": Quantity("subtracted from every response before the readout"),
    "response_scale": Quantity("divides every response before the readout"),
    "response_noise": Quantity("standard deviation of a repeated response, in units of response_scale"),
    "nonlinearity": Quantity("share of the response's deviation that no affine map of the drives explains"),
    "delta": Quantity("size of the perturbation that stands out of the noise"),
}
"""What a calibration measures; with the gain that it sets, where it can set one."""


def report(found: Calibration, folder: Path, out: Path | None) -> dict[str, Any]:
    """Return what `--json` prints: every value, None where it was not measured, and in `unmeasured` why."""
    names = [*QUANTITIES, *SETTINGS]
    config = found.config
    return {
        "status": str(found.status),
        "reason": found.reason,
        "sessions": [str(path) for path in found.sessions],
        "folder": str(folder),
        "config": None if out is None else str(out),
        "device": config.device.name,
        "estimator": config.training.estimator,
        "seed": config.training.seed,
        "state": found.state or None,
        "wanted_gain_share": found.gain_share,
        **{name: found.values.get(name) for name in QUANTITIES},
        "suggestions": dict(found.suggestions),
        "unmeasured": {
            name: found.missing.get(name, "not reached")
            for name in names
            if name not in found.values and name not in found.suggestions
        },
        "warnings": list(found.warnings),
        "shots": found.shots,
        "device_s": found.device_s,
        "wall_s": found.wall_s,
    }


def print_summary(console: Console, description: Mapping[str, Any]) -> None:
    """Print what was measured and what to set, and in a line each why something was not."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("quantity", "value", "meaning"):
        table.add_column(column, no_wrap=column != "meaning")
    for name, quantity in QUANTITIES.items():
        if description[name] is not None:
            table.add_row(Text(name), Text(formatted(description[name], quantity.unit)), Text(quantity.label))
    if description["state"]:
        table.add_row(Text("state"), Text(printable(description["state"])), Text("of the ring as it was found"))
    console.print(table)

    def say(line: str) -> None:
        console.print(printable(line), highlight=False, markup=False, soft_wrap=True)

    for name, reason in description["unmeasured"].items():
        if name in QUANTITIES:
            say(f"not measured: {name}: {reason}")
    for key, value in description["suggestions"].items():
        say(f"set {key} = {value:g}")
    for name, reason in description["unmeasured"].items():
        if name not in QUANTITIES:
            say(f"left: {name}: {reason}")
    for key in ("status", "reason", "device", "folder", "config"):
        if description[key]:
            say(f"{key:<12}{description[key]}")
    wall, device = description["wall_s"], description["device_s"]
    say(f"{'shots':<12}{description['shots']:,}")
    say(f"{'wall time':<12}{wall:.1f} s, {device:.1f} s of it in the device")

"""How well the device is, as far as it has been measured."""

from collections.abc import Mapping
from typing import Any

from PyQt6.QtWidgets import QFormLayout, QGroupBox, QLabel

from labpgt.units import worded

ROWS = {
    "noise_floor": ("Noise floor", "", "Deviation of a response between repeats without drive"),
    "noise_dbm": ("Noise at the analyser", "dBm", "Power of the noise that the analyser hears with RF off"),
    "oscillation_margin_db": ("Below oscillation limit", "dB", "How far the line heard with RF off is below its limit"),
    "margin_db": ("Auto-oscillation margin", "dB", "How far the attenuator is from where the ring sounds by itself"),
    "threshold_gain": (
        "Threshold gain",
        "",
        "Loop gain where it begins to oscillate, as a share of that at 0 dB",
    ),
    "drift": ("Drift", "", "Change of the pilot shot since the beginning, as a share of it"),
    "drift_limit": ("Drift limit", "", "Above it shots are flagged and taken again"),
    "pilot": ("Pilot shot", "", "Root mean square of its response"),
    "repeatability": ("Repeatability", "", "Deviation between repeats of one shot, over the deviation within it"),
    "memory_time_s": ("Memory", "s", "Time constant with which a response fades"),
    "stm": ("Short-term memory", "bit", "Capacity for earlier drive symbols"),
    "pc": ("Parity capacity", "bit", "Nonlinear memory"),
}
"""What may be known: heading, unit and meaning, by the name that the command gives it."""

_ALSO = {"noise": "noise_floor"}
"""Other names for the same."""


class Health(QGroupBox):
    """Numbers under each other, each with what it means; what has not been measured says so."""

    def __init__(self) -> None:
        super().__init__("Health", objectName="bench.health")
        self._device = ""
        self._form = QFormLayout(self)
        self._values: dict[str, QLabel] = {}
        for name, (heading, _unit, meaning) in ROWS.items():
            label, value = QLabel(heading), QLabel("not measured", objectName=f"health.{name}")
            value.setAccessibleName(heading)
            for widget in (label, value):
                widget.setToolTip(meaning)
            self._form.addRow(label, value)
            self._values[name] = value

    def show_values(self, values: Mapping[str, Any], device: str) -> None:
        """Show what was measured on a device; the rest stays as it was, unless that was another device."""
        if device != self._device:
            self.forget()
            self._device = device
            self.setTitle(f"Health of {device}")
        for name, value in values.items():
            name = _ALSO.get(name, name)
            unit = ROWS.get(name, ("", "", ""))[1]
            if isinstance(value, Mapping):
                value, unit = value.get("value"), value.get("unit") or unit
            if name in self._values and value is not None:
                measured = float(f"{value:.4g}") if isinstance(value, float) else value
                self._values[name].setText(worded(measured, unit))

    def forget(self) -> None:
        """Show that nothing is known: another device, or another bench."""
        self._device = ""
        self.setTitle("Health")
        for value in self._values.values():
            value.setText("not measured")

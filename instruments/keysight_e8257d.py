"""Microwave source Keysight (Agilent) E8257D: continuous wave, list sweep of power, pulse and amplitude modulation."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from instruments.scpi import LabInstrument, choice_control, real_control, switch_control

TRIGGERS: Mapping[str, str] = {"bus": "BUS", "external": "EXT", "immediate": "IMM", "key": "KEY"}


class KeysightE8257D(LabInstrument):
    """The source of the spectrum use of a ring: one power a drive symbol, stepped by triggers."""

    MODELS: ClassVar[tuple[str, ...]] = ("E8257D",)
    GUIDE: ClassVar[str] = "E8257D/67D, E8663D PSG Signal Generators, SCPI Command Reference (E8251-90356)"
    LIST_POINTS: ClassVar[tuple[int, int]] = (1, 1601)
    """Fewest and most points of a list."""

    def __init__(self, adapter: Any, name: str = "Keysight E8257D microwave source", **kwargs: Any) -> None:
        super().__init__(adapter, name, **kwargs)

    frequency = real_control(
        ":FREQ", "Control the carrier frequency in Hz (float strictly from 250e3 to 67e9).", (250e3, 67e9), unit="Hz"
    )
    power = real_control(
        ":POW", "Control the output power in dBm (float strictly from -135 to 25).", (-135, 25), unit="dBm"
    )
    output_enabled = switch_control(":OUTP", "Control whether RF leaves the output connector (bool).")
    modulation_enabled = switch_control(":OUTP:MOD", "Control whether any modulation reaches the carrier (bool).")

    pulse_enabled = switch_control(":PULM:STAT", "Control whether the carrier is pulse modulated (bool).")
    pulse_source = choice_control(
        ":PULM:SOUR",
        "Control where pulses come from ('internal', 'external' or 'scalar').",
        {"internal": "INT", "external": "EXT", "scalar": "SCAL"},
    )
    pulse_input = choice_control(
        ":PULM:SOUR:INT",
        "Control how internal pulses are made ('square', 'free-run', 'triggered', 'doublet' or 'gated').",
        {"square": "SQU", "free-run": "FRUN", "triggered": "TRIG", "doublet": "DOUB", "gated": "GATE"},
    )
    pulse_period = real_control(
        ":PULM:INT:PER", "Control the period of internal pulses in s (float strictly from 70e-9 to 42).", (70e-9, 42)
    )
    pulse_width = real_control(
        ":PULM:INT:PWID", "Control the width of internal pulses in s (float strictly from 10e-9 to 42).", (10e-9, 42)
    )

    am_enabled = switch_control(":AM:STAT", "Control whether the carrier is amplitude modulated (bool).")
    am_depth = real_control(
        ":AM:DEPT", "Control the depth of amplitude modulation in % (float strictly from 0 to 100).", (0, 100)
    )
    am_source = choice_control(
        ":AM:SOUR",
        "Control where amplitude modulation comes from ('internal', 'internal 2', 'external' or 'external 2').",
        {"internal": "INT", "internal 2": "INT2", "external": "EXT", "external 2": "EXT2"},
    )

    list_trigger = choice_control(
        ":LIST:TRIG:SOUR",
        "Control what takes a list to its next point ('bus', 'external', 'immediate' or 'key').",
        TRIGGERS,
    )
    list_points = LabInstrument.measurement(
        ":LIST:POW:POIN?", "Get the number of points in the list of powers.", cast=int
    )

    def rf_off(self) -> None:
        """RF off: one write, from any state, nothing is asked."""
        self.write(":OUTP OFF")

    def rf_on(self) -> None:
        """RF on."""
        self.write(":OUTP ON")

    def load_list(self, power_dbm: Sequence[float], dwell_s: float) -> None:
        """Load a list of powers (dBm), each for `dwell_s` (1 ms to 60 s) at least, at the present frequency."""
        with self.group(f"loading a list of {len(power_dbm)} powers"):
            self.write(":LIST:TYPE LIST")
            self.write(":LIST:POW " + ",".join(f"{power:.15g}" for power in power_dbm))
            self.write(":LIST:DWEL " + ",".join([f"{dwell_s:.15g}"] * len(power_dbm)))

    def arm_list(self) -> None:
        """Get ready to step through the list: `trigger` puts out its first point, `list_trigger` each further one."""
        with self.group("arming the list"):
            self.write(":FREQ:MODE FIX")
            self.write(":POW:MODE LIST")
            self.write(":LIST:DIR UP")
            self.write(":TRIG:SOUR BUS")
            self.write(":INIT:CONT OFF")
            self.write(":INIT")

    def trigger(self) -> None:
        """Trigger what waits for the bus."""
        self.write("*TRG")

    def stop_list(self) -> None:
        """Leave the list: constant power again."""
        with self.group("stopping the list"):
            self.write(":ABOR")
            self.write(":POW:MODE FIX")

    def shutdown(self) -> None:
        """RF off."""
        self.rf_off()
        super().shutdown()

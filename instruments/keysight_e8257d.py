"""Microwave source Keysight (Agilent) E8257D: continuous wave, list sweep of power, pulse and amplitude modulation."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pymeasure.instruments import SCPIMixin
from pymeasure.instruments.agilent import Agilent8257D

from instruments.properties import choice_control, measured, number, real_control, switch_control, whole_control
from instruments.scpi import LINES, InstrumentFault, LabInstrument, SettingRefused

AM_SOURCES: Mapping[str, str] = {"internal": "INT", "internal 2": "INT2", "external": "EXT", "external 2": "EXT2"}
SHAPES: Mapping[str, str] = {
    "sine": "SINE",
    "triangle": "TRI",
    "square": "SQU",
    "ramp": "RAMP",
    "noise": "NOIS",
    "dual-sine": "DUAL",
    "swept-sine": "SWEP",
}
CARRIER_HZ = (250e3, 67e9)
POWER_DBM = (-135.0, 25.0)


def _state(value: Any) -> bool:
    """Return the answer to the state of a switch, or raise `InstrumentFault`."""
    if number(value) not in (0, 1):
        raise InstrumentFault(f"expected 0 or 1 as an answer, got {value!r}")
    return bool(value)


class KeysightE8257D(LabInstrument, Agilent8257D):
    """The source of the spectrum use of a ring: one power a drive symbol, stepped by triggers.

    It is pymeasure's driver with what is wrong there mended: all digits are sent, a value out of range is refused and
    not brought into range unasked, an answer that is no value raises, and modulation is switched without also
    driving the low frequency output. Added are the list sweep and the timing of pulses.
    """

    MODELS: ClassVar[tuple[str, ...]] = ("E8257D",)
    GUIDE: ClassVar[str] = "Agilent E8257D/67D and E8663D PSG Signal Generators, SCPI Command Reference"
    LIVE: ClassVar[Mapping[str, tuple[str, str]]] = {
        "output": ("output_enabled", ""),
        "frequency": ("frequency", "Hz"),
        "power": ("power", "dBm"),
        "modulation": ("modulation_enabled", ""),
        "pulses": ("pulse_enabled", ""),
    }
    LIST_POINTS: ClassVar[tuple[int, int]] = (1, 1601)
    """Fewest and most points of a list."""
    DWELL_S: ClassVar[tuple[float, float]] = (1e-3, 60.0)
    """Shortest and longest dwell of a point of a list."""

    def __init__(self, adapter: Any, name: str = "Keysight E8257D microwave source", **kwargs: Any) -> None:
        kwargs.setdefault("tcpip", LINES)
        # Past Agilent8257D's own, which warns that nobody knows whether this source speaks SCPI. It does.
        SCPIMixin.__init__(self, adapter, name, **kwargs)

    frequency = real_control(
        ":FREQ", "Control the carrier frequency in Hz (float strictly from 250e3 to 67e9).", CARRIER_HZ, unit="Hz"
    )
    power = real_control(
        ":POW", "Control the output power in dBm (float strictly from -135 to 25).", POWER_DBM, unit="dBm"
    )
    output_enabled = switch_control(":OUTP", "Control whether RF leaves the output connector (bool).")
    modulation_enabled = switch_control(":OUTP:MOD", "Control whether any modulation reaches the carrier (bool).")
    is_enabled = measured(":OUTP", "Get whether RF leaves the output connector (bool).", _state)
    has_modulation = measured(":OUTP:MOD", "Get whether any modulation reaches the carrier (bool).", _state)

    # Pulse modulation

    pulse_enabled = switch_control(":PULM:STAT", "Control whether the carrier is pulse modulated (bool).")
    has_pulse_modulation = measured(":PULM:STAT", "Get whether the carrier is pulse modulated (bool).", _state)
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
    pulse_frequency = real_control(
        ":PULM:INT:FREQ",
        "Control the rate of internal square pulses in Hz (float strictly from 0.1 to 10e6).",
        (0.1, 10e6),
    )
    pulse_period = real_control(
        ":PULM:INT:PER", "Control the period of internal pulses in s (float strictly from 70e-9 to 42).", (70e-9, 42)
    )
    pulse_width = real_control(
        ":PULM:INT:PWID", "Control the width of internal pulses in s (float strictly from 10e-9 to 42).", (10e-9, 42)
    )

    # Amplitude modulation

    am_enabled = switch_control(":AM:STAT", "Control whether the carrier is amplitude modulated (bool).")
    has_amplitude_modulation = measured(":AM:STAT", "Get whether the carrier is amplitude modulated (bool).", _state)
    am_depth = real_control(
        ":AM:DEPT", "Control the depth of amplitude modulation in % (float strictly from 0 to 100).", (0, 100)
    )
    amplitude_depth = real_control(
        ":AM:DEPT", "Control the depth of amplitude modulation in % (float strictly from 0 to 100).", (0, 100)
    )
    am_source = choice_control(
        ":AM:SOUR",
        "Control where amplitude modulation comes from ('internal', 'internal 2', 'external' or 'external 2').",
        AM_SOURCES,
    )
    amplitude_source = choice_control(
        ":AM:SOUR",
        "Control where amplitude modulation comes from ('internal', 'internal 2', 'external' or 'external 2').",
        AM_SOURCES,
    )
    internal_frequency = real_control(
        ":AM:INT:FREQ",
        "Control the frequency of the internal oscillator in Hz (float strictly from 0.5 to 1e6).",
        (0.5, 1e6),
    )
    internal_shape = choice_control(
        ":AM:INT:FUNC:SHAP", f"Control the shape of the internal oscillator (one of {', '.join(SHAPES)}).", SHAPES
    )

    # List of powers

    list_trigger = choice_control(
        ":LIST:TRIG:SOUR",
        "Control what takes a list to its next point ('bus', 'external', 'immediate' or 'key').",
        {"bus": "BUS", "external": "EXT", "immediate": "IMM", "key": "KEY"},
    )

    # Step sweep and low frequency output, as pymeasure has them

    start_frequency = real_control(
        ":FREQ:STAR", "Control the first frequency of a sweep in Hz (float strictly from 250e3 to 67e9).", CARRIER_HZ
    )
    center_frequency = real_control(
        ":FREQ:CENT", "Control the centre of a sweep in Hz (float strictly from 250e3 to 67e9).", CARRIER_HZ
    )
    stop_frequency = real_control(
        ":FREQ:STOP", "Control the last frequency of a sweep in Hz (float strictly from 250e3 to 67e9).", CARRIER_HZ
    )
    start_power = real_control(
        ":POW:STAR", "Control the first power of a sweep in dBm (float strictly from -135 to 25).", POWER_DBM
    )
    stop_power = real_control(
        ":POW:STOP", "Control the last power of a sweep in dBm (float strictly from -135 to 25).", POWER_DBM
    )
    dwell_time = real_control(
        ":SWE:DWEL", "Control the dwell of a point of a step sweep in s (float strictly from 1e-3 to 60).", (1e-3, 60)
    )
    step_points = whole_control(
        ":SWE:POIN", "Control the points of a step sweep (int strictly from 2 to 65535).", (2, 65535)
    )
    low_freq_out_amplitude = real_control(
        ":LFO:AMPL",
        "Control the peak voltage of the low frequency output in V (float strictly from 0 to 3.5).",
        (0, 3.5),
        unit="VP",
    )
    low_freq_out_source = choice_control(
        ":LFO:SOUR",
        "Control the source of the low frequency output ('internal', 'internal 2', 'function' or 'function 2').",
        {"internal": "INT", "internal 2": "INT2", "function": "FUNC", "function 2": "FUNC2"},
    )

    def rf_off(self) -> None:
        """RF off: one write, from any state, nothing is asked."""
        self.write(":OUTP OFF")

    def rf_on(self) -> None:
        """RF on."""
        self.write(":OUTP ON")

    def enable_modulation(self) -> None:
        """Let modulation reach the carrier; the low frequency output stays as it is."""
        self.modulation_enabled = True

    def disable_modulation(self) -> None:
        """Keep modulation from the carrier; the low frequency output stays as it is."""
        self.modulation_enabled = False

    def load_list(self, power_dbm: Sequence[float], dwell_s: float) -> None:
        """Load a list of powers (dBm), each for `dwell_s` (s) at least. `SettingRefused` before anything is sent."""
        few, many = self.LIST_POINTS
        if not few <= len(power_dbm) <= many:
            raise SettingRefused(f"{self.name}: expected a list of {few} to {many} powers, got {len(power_dbm)}")
        low, high = self.limits("power")
        for point, power in enumerate(power_dbm):
            if not low <= power <= high:
                raise SettingRefused(
                    f"{self.name}: expected powers of {low:g} to {high:g} dBm in a list, got {power:g} at point {point}"
                )
        short, long = self.DWELL_S
        if not short <= dwell_s <= long:
            raise SettingRefused(f"{self.name}: expected a dwell of {short:g} to {long:g} s, got {dwell_s:g}")
        with self.group(f"loading a list of {len(power_dbm)} powers"):
            self.write(":LIST:TYPE LIST")
            self.write(":LIST:DWEL:TYPE LIST")
            self.write(":LIST:POW " + ",".join(f"{power:.15g}" for power in power_dbm))
            # The lists of a sweep must be of equal length.
            self.write(":LIST:DWEL " + ",".join([f"{dwell_s:.15g}"] * len(power_dbm)))

    def arm_list(self) -> None:
        """Get ready to run through the list once: `trigger` puts out its first point, `list_trigger` each further one.

        With `list_trigger` "bus" that is one `trigger` a point; with "immediate" the dwell paces the list.
        """
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
        """RF off first, then modulation off."""
        self.rf_off()
        super().shutdown()

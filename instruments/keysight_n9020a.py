"""Signal analyser Keysight (Agilent) N9020A/B MXA: spectrum, zero span, and capture of I and Q."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from instruments.properties import choice_control, measured, real_control, switch_control, whole, whole_control
from instruments.scpi import InstrumentFault, LabInstrument
from labpgt.device import Setting

TRIGGERS: Mapping[str, str] = {"external": "EXT1", "immediate": "IMM"}


class KeysightN9020A(LabInstrument):
    """The analyser of the envelope use of a ring: one capture of I and Q holds a whole batch of shots."""

    MODELS: ClassVar[tuple[str, ...]] = ("N9020A", "N9020B")
    GUIDE: ClassVar[str] = (
        "Keysight X-Series Signal Analyzers, Spectrum Analyzer Mode and IQ Analyzer (Basic) Mode, User's "
        "and Programmer's References"
    )
    LIVE: ClassVar[Mapping[str, tuple[str, str]]] = {
        "center": ("center", "Hz"),
        "span": ("span", "Hz"),
        "bandwidth": ("resolution_bandwidth", "Hz"),
        "reference_level": ("reference_level", "dBm"),
        "points": ("points", ""),
    }
    LIVE_IQ: ClassVar[Mapping[str, tuple[str, str]]] = {
        "center": ("center", "Hz"),
        "sample_rate": ("iq_sample_rate", "Hz"),
        "duration": ("iq_duration", "s"),
        "reference_level": ("iq_reference_level", "dBm"),
        "attenuation": ("attenuation", "dB"),
    }
    """What a look shows while I and Q are captured: some of the others' commands are unknown in that mode."""
    WIDEST: ClassVar[Mapping[str, float]] = {
        "B25": 25e6,
        "B40": 40e6,
        "B85": 85e6,
        "B1A": 125e6,
        "B1X": 160e6,
    }
    """Analysis bandwidth in Hz that an option gives; without any it is 10 MHz. The sample rate is 1.25 times it."""
    OVERLOAD: ClassVar[int] = 0b110000
    """Bits of the questionable integrity register: input overload, over range."""

    def __init__(self, adapter: Any, name: str = "Keysight N9020A signal analyser", **kwargs: Any) -> None:
        super().__init__(adapter, name, **kwargs)
        self._arm = ""
        self._values = 0
        self._duration_s = 0.0

    center = real_control(
        ":FREQ:CENT", "Control the centre frequency in Hz (float strictly from 10 to 26.5e9).", (10, 26.5e9), unit="Hz"
    )
    span = real_control(
        ":FREQ:SPAN",
        "Control the span in Hz (float strictly from 0 to 26.5e9; 0 is zero span).",
        (0, 26.5e9),
        unit="Hz",
    )
    resolution_bandwidth = real_control(
        ":BAND", "Control the resolution bandwidth in Hz (float strictly from 1 to 8e6).", (1, 8e6), unit="Hz"
    )
    video_bandwidth = real_control(
        ":BAND:VID", "Control the video bandwidth in Hz (float strictly from 1 to 50e6).", (1, 50e6), unit="Hz"
    )
    points = whole_control(":SWE:POIN", "Control the points of a sweep (int strictly from 1 to 40001).", (1, 40001))
    sweep_time = real_control(
        ":SWE:TIME",
        "Control the time of a sweep in s (float strictly from 1e-6 to 6000, or 'AUTO').",
        (1e-6, 6000),
        auto=True,
    )
    reference_level = real_control(
        ":DISP:WIND:TRAC:Y:RLEV",
        "Control the reference level in dBm (float strictly from -170 to 30).",
        (-170, 30),
        unit="dBm",
    )
    iq_reference_level = measured(
        ":DISP:WAV:VIEW:WIND:TRAC:Y:RLEV", "Get the reference level of the screen for I and Q in dBm (float)."
    )
    attenuation = real_control(
        ":POW:ATT", "Control the input attenuator in dB (float strictly from 0 to 70).", (0, 70), unit="dB"
    )
    detector = choice_control(
        ":DET",
        "Control the detector ('average', 'sample', 'positive', 'negative' or 'normal').",
        {"average": "AVER", "sample": "SAMP", "positive": "POS", "negative": "NEG", "normal": "NORM"},
    )
    unit = choice_control(":UNIT:POW", "Control the unit of levels ('V' or 'dBm').", {"V": "V", "dBm": "DBM"})
    continuous = switch_control(":INIT:CONT", "Control whether a new sweep begins when one ends (bool).")
    trigger_source = choice_control(":TRIG:SOUR", "Control what starts a sweep ('external' or 'immediate').", TRIGGERS)
    iq_trigger_source = choice_control(
        ":TRIG:WAV:SOUR", "Control what starts a capture of I and Q ('external' or 'immediate').", TRIGGERS
    )
    iq_sample_rate = real_control(
        ":WAV:SRAT", "Control the rate of I and Q samples in Hz (float strictly from 100 to 200e6).", (100, 200e6)
    )
    iq_duration = real_control(
        ":WAV:SWE:TIME",
        "Control the length of a capture of I and Q in s (float strictly from 1e-6 to 100).",
        (1e-6, 100),
    )

    questionable_integrity = measured(
        ":STAT:QUES:INT",
        "Get the bits that rose in the questionable integrity register since they were last read (int).",
        whole,
    )

    def live(self) -> Iterator[tuple[str, Setting]]:
        """Ask for what a look at the bench shows of the mode that is on; nothing is set."""
        mode = self.ask(":INST:SEL?").strip()
        yield "mode", Setting(mode)
        # Another mode has other commands, and does not answer to a question that it does not know.
        yield from self._live({"SA": self.LIVE, "BASIC": self.LIVE_IQ}.get(mode, {}))

    def setup_zero_span(
        self,
        center_hz: float,
        rbw_hz: float,
        points: int,
        sweep_time_s: float,
        reference_level_dbm: float,
        trigger: str,
    ) -> None:
        """Set up one sweep in time at one frequency; levels V rms by the detector that averages power."""
        self._arm = ""
        with self.group("setting up zero span"):
            self._setup_sweep(center_hz, 0.0, rbw_hz, points, reference_level_dbm, trigger)
            self.sweep_time = sweep_time_s
        self._arm, self._values, self._duration_s = ":INIT:IMM", points, sweep_time_s

    def setup_spectrum(
        self, center_hz: float, span_hz: float, rbw_hz: float, points: int, reference_level_dbm: float, trigger: str
    ) -> None:
        """Set up one sweep over frequency; levels V rms by the detector that averages power."""
        self._arm = ""
        with self.group("setting up a spectrum"):
            self._setup_sweep(center_hz, span_hz, rbw_hz, points, reference_level_dbm, trigger)
            self.sweep_time = "AUTO"
        self._arm, self._values, self._duration_s = ":INIT:IMM", points, self.sweep_time

    def _setup_sweep(
        self, center_hz: float, span_hz: float, rbw_hz: float, points: int, reference_level_dbm: float, trigger: str
    ) -> None:
        self.write(":INST:SEL SA")
        self.continuous = False
        self.center = center_hz
        self.span = span_hz
        self.resolution_bandwidth = rbw_hz
        self.video_bandwidth = min(10 * rbw_hz, 50e6)
        self.points = points
        self.detector = "average"
        self.write(":AVER:TYPE RMS")
        self.reference_level = reference_level_dbm
        self.unit = "V"
        self.trigger_source = trigger
        self._formats()

    def setup_iq(
        self, center_hz: float, sample_rate_hz: float, duration_s: float, reference_level_dbm: float, trigger: str
    ) -> None:
        """Set up a capture of I and Q: `round(sample_rate_hz * duration_s)` samples from the trigger on."""
        self._arm = ""
        with self.group("setting up a capture of I and Q"):
            self.write(":INST:SEL BASIC")
            self.write(":CONF:WAV")
            self.continuous = False
            self.center = center_hz
            self.iq_sample_rate = sample_rate_hz
            self.iq_duration = duration_s
            # In this mode the attenuator decides what fills the converter, the level scales the screen.
            self.attenuation = min(max(2 * math.ceil((reference_level_dbm + 10) / 2), 0), 70)
            self.write(f":DISP:WAV:VIEW:WIND:TRAC:Y:RLEV {reference_level_dbm:.15g} dBm")
            self.iq_trigger_source = trigger
            self._formats()
        if not math.isclose(rate := self.iq_sample_rate, sample_rate_hz, rel_tol=1e-9):
            raise InstrumentFault(
                f"{self.name}: asked for {sample_rate_hz:.12g} samples of I and Q a second, the analyser takes "
                f"{rate:.12g}; with its options ({', '.join(sorted(self.installed_options())) or 'none'}) it reaches "
                f"{1.25 * self.widest():.12g}"
            )
        self._arm, self._values, self._duration_s = ":INIT:WAV", round(sample_rate_hz * duration_s), duration_s

    def widest(self) -> float:
        """Analysis bandwidth of the installed options in Hz; the sample rate can be 1.25 times it."""
        installed = self.installed_options()
        return max([10e6, *(width for option, width in self.WIDEST.items() if option in installed)])

    def _formats(self) -> None:
        self.write(":FORM REAL,32")
        self.write(":FORM:BORD SWAP")

    def arm(self) -> None:
        """Start one acquisition, which waits for its trigger; returns at once."""
        if not self._arm:
            raise InstrumentFault(f"{self.name}: nothing was set up to acquire")
        self.write(self._arm)

    def fetch_trace(self) -> NDArray[np.float64]:
        """Wait for the sweep and return its levels in V rms, `(points,)`."""
        if self._arm != ":INIT:IMM":
            raise InstrumentFault(f"{self.name}: fetching a trace: no sweep was set up")
        with self.patience(self._duration_s):
            return self.ask_floats("*WAI;:TRAC? TRACE1", self._values)

    def fetch_iq(self) -> NDArray[np.complex128]:
        """Wait for the capture and return I + jQ in V peak, `(samples,)`.

        Without `*WAI` the analyser may answer with the capture before.
        """
        if self._arm != ":INIT:WAV":
            raise InstrumentFault(f"{self.name}: fetching I and Q: no capture was set up")
        with self.patience(self._duration_s):
            pairs = self.ask_floats("*WAI;:FETC:WAV0?", 2 * self._values, spare=2 * 2)
        return pairs.view(np.complex128)

    def overloaded(self) -> bool:
        """Whether the input was too strong for the range, for however short, since this was last asked.

        The register holds what happened until it is read, so that what happened before a capture may be told after it.
        """
        return bool(self.questionable_integrity & self.OVERLOAD)

    def abort(self) -> None:
        """Stop waiting for a trigger and acquiring."""
        self.write(":ABOR")

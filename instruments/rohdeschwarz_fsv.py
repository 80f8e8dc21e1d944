"""Spectrum analysers Rohde & Schwarz FSV and FSL: spectrum, zero span; FSV also many spectra in one go."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pymeasure.instruments.rohdeschwarz import FSL
from pymeasure.instruments.rohdeschwarz.fsseries import FSSeries

from instruments.properties import choice_control, measured, real_control, switch_control, whole, whole_control
from instruments.scpi import Identity, InstrumentFault, LabInstrument, SettingRefused

TRIGGERS: Mapping[str, str] = {"external": "EXT", "immediate": "IMM"}
TRACE_MODES = ("WRIT", "MAXH", "MINH", "AVER", "VIEW")


class _Analyzer(LabInstrument, FSSeries):
    """What FSV and FSL have in common: pymeasure's driver with limits, all digits, trigger and binary traces."""

    LIVE: ClassVar[Mapping[str, tuple[str, str]]] = {
        "center": ("freq_center", "Hz"),
        "span": ("freq_span", "Hz"),
        "bandwidth": ("res_bandwidth", "Hz"),
        "reference_level": ("reference_level", "dBm"),
        "points": ("points", ""),
    }
    TOPS: ClassVar[Mapping[str, float]]
    """Highest frequency of each model in Hz."""
    OVERLOAD: ClassVar[int] = 0b101
    """Bits of the questionable power register: overload at the RF input, overload in the IF path."""

    def __init__(self, adapter: Any, name: str, **kwargs: Any) -> None:
        super().__init__(adapter, name, **kwargs)
        self._points = 0
        self._duration_s = 0.0

    freq_center = real_control(
        "FREQ:CENT", "Control the centre frequency in Hz (float strictly from 0 to 40e9).", (0, 40e9), unit="HZ"
    )
    freq_span = real_control(
        "FREQ:SPAN", "Control the span in Hz (float strictly from 0 to 40e9; 0 is zero span).", (0, 40e9), unit="HZ"
    )
    freq_start = real_control(
        "FREQ:STAR", "Control the lowest frequency in Hz (float strictly from 0 to 40e9).", (0, 40e9), unit="HZ"
    )
    freq_stop = real_control(
        "FREQ:STOP", "Control the highest frequency in Hz (float strictly from 0 to 40e9).", (0, 40e9), unit="HZ"
    )
    reference_level = real_control(
        "DISP:WIND:TRAC:Y:RLEV",
        "Control the reference level in dBm (float strictly from -130 to 30).",
        (-130, 30),
        unit="DBM",
    )
    attenuation = real_control(
        "INP:ATT", "Control the input attenuator in dB (float strictly from 0 to 75).", (0, 75), unit="DB"
    )
    res_bandwidth = real_control(
        "BAND:RES",
        "Control the resolution bandwidth in Hz (float strictly from 1 to 10e6, or 'AUTO').",
        (1, 10e6),
        auto=True,
    )
    video_bandwidth = real_control(
        "BAND:VID",
        "Control the video bandwidth in Hz (float strictly from 1 to 10e6, or 'AUTO').",
        (1, 10e6),
        auto=True,
    )
    sweep_time = real_control(
        "SWE:TIME",
        "Control the time of a sweep in s (float strictly from 1e-6 to 16000, or 'AUTO').",
        (1e-6, 16000),
        auto=True,
    )
    points = whole_control("SWE:POIN", "Control the points of a sweep (int strictly from 101 to 32001).", (101, 32001))
    sweep_count = whole_control(
        "SWE:COUN", "Control how many sweeps one start makes (int strictly from 0 to 32767).", (0, 32767)
    )
    detector = choice_control(
        "DET1",
        "Control the detector of trace 1 ('rms', 'average', 'sample', 'positive', 'negative' or 'auto peak').",
        {"rms": "RMS", "average": "AVER", "sample": "SAMP", "positive": "POS", "negative": "NEG", "auto peak": "APE"},
    )
    unit = choice_control("CALC:UNIT:POW", "Control the unit of levels ('V' or 'dBm').", {"V": "V", "dBm": "DBM"})
    trace_mode = choice_control(
        "DISP:TRAC:MODE",
        f"Control what a new sweep does to the trace (one of {', '.join(TRACE_MODES)}).",
        {mode: mode for mode in TRACE_MODES},
    )
    trigger_source = choice_control("TRIG:SOUR", "Control what starts a sweep ('external' or 'immediate').", TRIGGERS)

    continuous_sweep_enabled = switch_control("INIT:CONT", "Control whether a new sweep begins when one ends (bool).")
    questionable_power = measured(
        "STAT:QUES:POW",
        "Get the bits that rose in the questionable power register since they were last read (int).",
        whole,
    )

    @property
    def has_frames(self) -> bool:
        """Get whether many spectra can be taken in one go (bool)."""
        return False

    def check_identity(self) -> Identity:
        """Return who answers and narrow the limits of frequencies to its model, or raise `InstrumentFault`."""
        identity = super().check_identity()
        for name in ("freq_center", "freq_span", "freq_start", "freq_stop"):
            setattr(self, f"{name}_values", (0, self.TOPS[identity.model]))
        return identity

    def setup_zero_span(
        self,
        center_hz: float,
        rbw_hz: float,
        points: int,
        sweep_time_s: float,
        reference_level_dbm: float,
        trigger: str,
    ) -> None:
        """Set up one sweep in time at one frequency; levels V rms by the RMS detector."""
        self._points = 0
        with self.group("setting up zero span"):
            self._setup_sweep(center_hz, 0.0, rbw_hz, points, reference_level_dbm, trigger)
            self.sweep_time = sweep_time_s
        self._points, self._duration_s = points, sweep_time_s

    def setup_spectrum(
        self, center_hz: float, span_hz: float, rbw_hz: float, points: int, reference_level_dbm: float, trigger: str
    ) -> None:
        """Set up one sweep over frequency; levels V rms by the RMS detector."""
        self._points = 0
        with self.group("setting up a spectrum"):
            self._setup_sweep(center_hz, span_hz, rbw_hz, points, reference_level_dbm, trigger)
            self.sweep_time = "AUTO"
        self._points, self._duration_s = points, self.sweep_time

    def _setup_sweep(
        self, center_hz: float, span_hz: float, rbw_hz: float, points: int, reference_level_dbm: float, trigger: str
    ) -> None:
        self.continuous_sweep_enabled = False
        self.freq_center = center_hz
        self.freq_span = span_hz
        self.res_bandwidth = rbw_hz
        self.video_bandwidth = min(10 * rbw_hz, 10e6)
        self.points = points
        self.sweep_count = 1
        self.detector = "rms"
        self.reference_level = reference_level_dbm
        self.unit = "V"
        self.trigger_source = trigger
        self.write("FORM REAL,32")

    def setup_frames(self, frames: int) -> None:
        """Have the next acquisitions take `frames` sweeps each; `InstrumentFault` where that does not exist."""
        raise InstrumentFault(f"{self.name}: taking {frames} spectra in one go is not possible with this model")

    def fetch_frames(self, frames: int) -> NDArray[np.float64]:
        """Wait for the sweeps and return their levels in V rms, `(frames, points)`, first sweep first."""
        raise InstrumentFault(f"{self.name}: taking {frames} spectra in one go is not possible with this model")

    def arm(self) -> None:
        """Start one acquisition, which waits for its trigger; returns at once."""
        self._check_setup()
        self.write("INIT")

    def fetch_trace(self) -> NDArray[np.float64]:
        """Wait for the sweep and return its levels in V rms, `(points,)`."""
        self._check_setup()
        with self.patience(self._duration_s):
            return self.ask_floats("*WAI;:TRAC? TRACE1", self._points)

    def _check_setup(self) -> None:
        if not self._points:
            raise InstrumentFault(f"{self.name}: nothing was set up to acquire")

    def overloaded(self) -> bool:
        """Whether the input was too strong for the range, for however short, since this was last asked.

        The register holds what happened until it is read, so that what happened before a capture may be told after it.
        """
        return bool(self.questionable_power & self.OVERLOAD)

    def abort(self) -> None:
        """Stop waiting for a trigger and acquiring."""
        self.write("ABOR")


class RohdeSchwarzFSV(_Analyzer):
    """The analyser of the spectrum use of a ring: the spectra of a whole batch of shots in one reply."""

    MODELS: ClassVar[tuple[str, ...]] = ("FSV-3", "FSV-4", "FSV-7", "FSV-13", "FSV-30", "FSV-40")
    GUIDE: ClassVar[str] = "R&S FSVA/FSV Signal and Spectrum Analyzer, Operating Manual (1176.7510.02)"
    TOPS: ClassVar[Mapping[str, float]] = {
        "FSV-3": 3.6e9,
        "FSV-4": 4e9,
        "FSV-7": 7e9,
        "FSV-13": 13.6e9,
        "FSV-30": 30e9,
        "FSV-40": 40e9,
    }
    FRAMES: ClassVar[tuple[int, int]] = (1, 20000)
    """Fewest and most spectra in one go."""

    def __init__(self, adapter: Any, name: str = "Rohde & Schwarz FSV analyser", **kwargs: Any) -> None:
        super().__init__(adapter, name, **kwargs)
        self._spectrogram: bool | None = None
        self._frames = 0

    @property
    def has_frames(self) -> bool:
        """Get whether the spectrogram (option K14), many spectra in one go, is installed (bool; asked once)."""
        if self._spectrogram is None:
            self._spectrogram = "K14" in self.installed_options()
        return self._spectrogram

    def _setup_sweep(
        self, center_hz: float, span_hz: float, rbw_hz: float, points: int, reference_level_dbm: float, trigger: str
    ) -> None:
        if self._frames:
            self.write("CALC:SGR OFF")
            self._frames = 0
        super()._setup_sweep(center_hz, span_hz, rbw_hz, points, reference_level_dbm, trigger)

    def setup_frames(self, frames: int) -> None:
        """Have the next acquisitions take `frames` sweeps each, one a trigger, kept as a spectrogram (option K14)."""
        self._check_setup()
        if not self.has_frames:
            self.require_options(["K14"], f"taking {frames} spectra in one go")
        low, high = self.FRAMES
        if not low <= frames <= high:
            raise SettingRefused(f"{self.name}: expected {low} to {high} spectra in one go, got {frames}")
        with self.group(f"setting up {frames} spectra in one go"):
            self.write("CALC:SGR ON")
            self.write("CALC:SGR:CONT OFF")
            self.write(f"CALC:SGR:HDEP {max(frames, 781)}")
            self.write(f"CALC:SGR:FRAM:COUN {frames}")
        self._frames = frames

    def arm(self) -> None:
        """Start one acquisition, which waits for its trigger; returns at once."""
        self._check_setup()
        if self._frames:
            self.write("CALC:SGR:CLE")
        self.write("INIT")

    def fetch_frames(self, frames: int) -> NDArray[np.float64]:
        """Wait for the sweeps and return their levels in V rms, `(frames, points)`, first sweep first."""
        if frames != self._frames or not frames:
            raise InstrumentFault(f"{self.name}: fetching {frames} spectra, but {self._frames} were set up")
        with self.patience(self._duration_s * frames):
            levels = self.ask_floats("*WAI;:TRAC? SPEC", frames * self._points)
        # The analyser answers the latest sweep first.
        return levels.reshape(frames, self._points)[::-1].copy()


class RohdeSchwarzFSL(_Analyzer, FSL):
    """A smaller analyser for the spectrum use of a ring: one sweep a reply."""

    MODELS: ClassVar[tuple[str, ...]] = ("FSL-3", "FSL-6", "FSL-18")
    GUIDE: ClassVar[str] = "R&S FSL Spectrum Analyzer, Operating Manual (1300.2519.12)"
    TOPS: ClassVar[Mapping[str, float]] = {"FSL-3": 3e9, "FSL-6": 6e9, "FSL-18": 18e9}

    def __init__(self, adapter: Any, name: str = "Rohde & Schwarz FSL analyser", **kwargs: Any) -> None:
        super().__init__(adapter, name, **kwargs)

    def read_trace(self, n_trace: int = 1) -> NDArray[np.float64]:
        """Read a trace as it is: its axis and its levels in the present unit, `(2, points)`.

        The axis is frequency in Hz, or in zero span time in s. pymeasure's own has a frequency axis in zero span too,
        and fails on traces that were set to be sent as numbers of 4 bytes.
        """
        self.write("FORM REAL,32")
        levels = self.ask_floats(f"TRAC{n_trace}? TRACE{n_trace}", self.points)
        first, last = (self.freq_start, self.freq_stop) if self.freq_span else (0.0, self.sweep_time)
        return np.array([np.linspace(first, last, len(levels)), levels])

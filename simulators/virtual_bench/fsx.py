"""Spectrum analysers FSV and FSL."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from simulators.virtual_bench import scpi
from simulators.virtual_bench.analyzer import LEVELS, Analyzer, range_v, trace_number
from simulators.virtual_bench.markers import Markers
from simulators.virtual_bench.scpi import ScpiError
from simulators.virtual_bench.tree import Call
from simulators.virtual_bench.world import SourceOutput

_OVERLOAD = 1
"""Bit of the questionable power register: the input mixer is overloaded."""


class FSL(Analyzer):
    """Rohde & Schwarz FSL: swept spectra and zero span, one trace a reply."""

    MAKER = "Rohde&Schwarz"
    FIRMWARE = "2.30"
    OPTIONS: ClassVar[tuple[str, ...]] = ("B4", "B10", "K5")
    GUIDE = "R&S FSL Spectrum Analyzer Operating Manual (1300.2519.12), chapter Remote Control - Commands"
    FREQUENCY = (0.0, 6e9)
    POINTS = (101, 32001, 501)

    def build(self) -> None:
        """Add sweeps, levels, formats and markers."""
        super().build()
        tree = self.tree
        self.number("sweeps", "[:SENSe#]:SWEep:COUNt", 0, 32767, default=0, integer=True)
        tree.add(":INITiate#:CONMeas", command=lambda call: self.initiate())
        self.number("attenuation_db", ":INPut#:ATTenuation", 0.0, 75.0, "DB", default=10.0)
        self.boolean("attenuation_auto", ":INPut#:ATTenuation:AUTO", default=True)
        detectors = "APEak|NEGative|POSitive|SAMPle|RMS|AVERage|QPEak"
        self.choice("detector", "[:SENSe#]:DETector#[:FUNCtion]", detectors, default="APE")
        self.choice("trigger", ":TRIGger#[:SEQuence]:SOURce", "IMMediate|EXTernal|IFPower|VIDeo", default="IMM")
        window = ":DISPlay[:WINDow#]:TRACe#"
        self.number("reference_dbm", f"{window}:Y[:SCALe]:RLEVel", -130.0, 30.0, "DBM", default=-20.0)
        modes = "WRITe|VIEW|AVERage|MAXHold|MINHold|BLANk"
        self.choice("trace_mode", f"{window}:MODE", modes, default="WRIT")
        units = "DBM|V|W|DBMV|DBUV"
        self.choice("unit", ":CALCulate#:UNIT:POWer", units, default="DBM", other=(":UNIT#:POWer",))
        self._defaults["format"] = ("ASC", 0)
        tree.add(":FORMat[:DATA]", command=self._set_format, query=self._format)
        tree.add(":TRACe#[:DATA]", query=self._trace)
        self.register(":STATus:QUEStionable:POWer", _OVERLOAD)
        tree.add(":STATus:QUEStionable:CONDition", query=lambda call: str(8 * self.overload))
        tree.add(":STATus:OPERation:CONDition", query=lambda call: str(32 * self.armed))
        self.markers = Markers(self)

    def questionable(self) -> bool:
        """Whether a bit of the questionable status is set."""
        return self.overload

    def reset(self) -> None:
        """Set everything as after `*RST`."""
        self.markers.clear()
        super().reset()

    def changed(self, name: str) -> None:
        """Keep a new setting from meeting an old acquisition."""
        if name == "attenuation_db":
            self.values["attenuation_auto"] = False
        if name not in ("unit", "format", "continuous", "trace_mode", ""):
            self.abort()

    # --- acquiring ---

    def external(self) -> bool:
        """Whether an acquisition waits for the trigger input."""
        return bool(self.values["trigger"] == "EXT")

    def pulses_needed(self) -> int:
        """Sweeps of one `INITiate`, each with a trigger of its own."""
        return max(1, int(self.values["sweeps"]))

    def sweep_s(self) -> float:
        """Time of a sweep, in which triggers are missed."""
        return self.value("sweep_time")

    def acquire(self, emissions: list[SourceOutput]) -> Any:
        """Sweep once for each trigger: V rms (sweeps, points)."""
        values, world = self.values, self.setup.world
        range_ = range_v(values["reference_dbm"])
        points, center, rbw = int(values["points"]), values["center"], self.rbw_hz
        found, overload = [], False
        if values["span"] == 0:
            for emission in emissions:
                world.output = emission
                trace, over = world.zero_span(points, self.value("sweep_time"), center, rbw, range_)
                found.append(trace)
                overload |= over
            return np.array(found), overload
        for first, last in _alike(emissions):
            world.output = emissions[first]
            powers = [emission.power_dbm for emission in emissions[first:last]]
            traces, over = world.spectra(powers, points, center, values["span"], rbw, range_)
            found.extend(traces)
            overload |= over
        return np.array(found), overload

    async def trace(self, call: Call) -> NDArray[np.float64]:
        """Return what trace 1 shows (points,), in the unit that is set."""
        sweeps: NDArray[np.float64] = await self.measured(call)
        match self.values["trace_mode"]:
            case "MAXH":
                volts = sweeps.max(axis=0)
            case "MINH":
                volts = sweeps.min(axis=0)
            case "AVER":
                volts = np.sqrt(np.mean(sweeps**2, axis=0))
            case _:
                volts = sweeps[-1]
        return LEVELS[self.values["unit"]](volts)

    async def _trace(self, call: Call) -> str | bytes:
        trace_number(call)
        return self.floats(await self.trace(call), self.values["format"], "<")


class FSV(FSL):
    """Rohde & Schwarz FSV: like the FSL, and the sweeps of many triggers in one reply (spectrogram, option K14)."""

    OPTIONS: ClassVar[tuple[str, ...]] = ("B4", "K14")
    GUIDE = "R&S FSVA/FSV Signal and Spectrum Analyzer Operating Manual (1176.7510.02), chapter Remote Commands"
    FREQUENCY = (0.0, 7e9)
    POINTS = (101, 32001, 691)

    def build(self) -> None:
        """Add the spectrogram."""
        self.history: list[NDArray[np.float64]] = []
        """Frames, oldest first, V rms (points,) each."""
        super().build()
        spectrogram = ":CALCulate#:SGRam|SPECtrogram"
        self.boolean("frames_on", f"{spectrogram}[:STATe]")
        self.boolean("frames_kept", f"{spectrogram}:CONTinuous")
        self.number("frames", f"{spectrogram}:FRAMe:COUNt", 1, 20000, default=1, integer=True)
        self.number("history_depth", f"{spectrogram}:HDEPth", 781, 20000, default=3000, integer=True)
        self.tree.add(f"{spectrogram}:CLEar[:IMMediate]", command=lambda call: self.history.clear())

    def reset(self) -> None:
        """Set everything as after `*RST`."""
        self.history.clear()
        super().reset()

    def pulses_needed(self) -> int:
        """Sweeps of one `INITiate`: frames of the spectrogram while it is on."""
        return int(self.values["frames"]) if self.values["frames_on"] else super().pulses_needed()

    def initiate(self) -> None:
        """Start an acquisition."""
        if not self.values["frames_kept"]:
            self.history.clear()
        super().initiate()

    def finished(self) -> None:
        """Keep the sweeps as frames."""
        if self.values["frames_on"]:
            self.history = [*self.history, *self.result][-int(self.values["history_depth"]) :]

    async def _trace(self, call: Call) -> str | bytes:
        if not any(scpi.matches(call.text(), name) for name in ("SPECtrogram", "SGRam")):
            return await super()._trace(call)
        if not self.values["frames_on"]:
            raise ScpiError(-221, "the spectrogram is off")
        await self.measured(call)
        # The guide: the most recent frame comes first.
        frames = LEVELS[self.values["unit"]](np.array(self.history[::-1]))
        return self.floats(frames.ravel(), self.values["format"], "<")


def _alike(emissions: list[SourceOutput]) -> list[tuple[int, int]]:
    """Return ranges of emissions that differ in power alone."""
    keys = [(e.rf_on, e.modulation_on, e.carrier_hz, id(e.codes), e.pulse_period_s, e.pulse_width_s) for e in emissions]
    starts = [i for i in range(len(keys)) if i == 0 or keys[i] != keys[i - 1]]
    return list(zip(starts, [*starts[1:], len(keys)], strict=True))

"""Signal analyser with IQ capture."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.virtual_bench.analyzer import LEVELS, OHM, Analyzer, range_v, trace_number
from simulators.virtual_bench.scpi import ScpiError
from simulators.virtual_bench.tree import Call
from simulators.virtual_bench.world import SourceOutput

LONGEST = 4_999_999
"""Samples of a capture at most."""
_SOURCES = "EXTernal1|EXTernal2|IMMediate|VIDeo|LINE|FRAMe|RFBurst|EXTernal"
_OVERLOAD = 16
"""Bit of the questionable integrity register: input overload."""


class N9020A(Analyzer):
    """Keysight N9020A, MXA: spectra and zero span (SA mode), waveform captures (BASIC mode)."""

    MAKER = "Agilent Technologies"
    FIRMWARE = "A.14.16"
    OPTIONS = ("508", "B1X", "B40", "EDP", "N9060A-2FP", "PFR")
    GUIDE = (
        "Keysight X-Series Signal Analyzers: Spectrum Analyzer Mode and IQ Analyzer Mode "
        "User's and Programmer's References"
    )
    CLIPS = True
    FREQUENCY = (0.0, 8.4e9)
    POINTS = (1, 40001, 1001)

    def build(self) -> None:
        """Add modes, IQ captures, levels and formats."""
        super().build()
        tree = self.tree
        self.choice("mode", ":INSTrument[:SELect]", "SA|BASIC", default="SA")
        for name in ("WAVeform", "SANalyzer"):
            tree.add(f":CONFigure:{name}", command=partial(self._configure, name))
            tree.add(f":INITiate:{name}", command=partial(self._initiate_as, name))
        tree.add(":INITiate:RESTart", command=lambda call: self.initiate())
        self.number("iq_rate_hz", "[:SENSe]:WAVeform:SRATe", 100.0, 200e6, "HZ", default=10e6)
        tree.add(
            "[:SENSe]:WAVeform:DIF:BANDwidth|BWIDth",
            command=lambda call: self.assign("iq_rate_hz", 1.25 * self.limited(call.one(), 80.0, 160e6, "HZ")),
            query=lambda call: self.shown(self.values["iq_rate_hz"] / 1.25),
        )
        self.number("iq_time_s", "[:SENSe]:WAVeform:SWEep:TIME", 1e-6, 100.0, "S", default=2e-3)
        self.choice("iq_trigger", ":TRIGger:WAVeform[:SEQuence]:SOURce", _SOURCES, default="IMM")
        self.choice("trigger", ":TRIGger[:SEQuence][:RF]:SOURce", _SOURCES, default="IMM")
        level = ":TRACe:Y[:SCALe]:RLEVel"
        self.number("reference_dbm", f":DISPlay:WINDow#{level}", -170.0, 30.0, "DBM", default=0.0)
        self.number("iq_reference_dbm", f":DISPlay:WAVeform:VIEW#:WINDow#{level}", -170.0, 30.0, "DBM", default=0.0)
        self.number("attenuation_db", "[:SENSe]:POWer[:RF]:ATTenuation", 0.0, 70.0, "DB", default=10.0)
        self.boolean("attenuation_auto", "[:SENSe]:POWer[:RF]:ATTenuation:AUTO", default=True)
        self.choice("unit", ":UNIT:POWer", "DBM|DBMV|DBUV|V|W", default="DBM")
        detector = "NORMal|AVERage|POSitive|SAMPle|NEGative|QPEak"
        self.choice(
            "detector", "[:SENSe]:DETector[:FUNCtion]", detector, default="NORM", other=("[:SENSe]:DETector:TRACe#",)
        )
        self.choice("average_type", "[:SENSe]:AVERage:TYPE", "RMS|LOG|SCALar", default="LOG")
        self.boolean("averaging", "[:SENSe]:AVERage[:STATe]")
        self.number("averages", "[:SENSe]:AVERage:COUNt", 1, 10000, default=100, integer=True)
        self._defaults |= {"format": ("ASC", 8), "measurement": "SANalyzer"}
        tree.add(":FORMat[:TRACe][:DATA]", command=self._set_format, query=self._format)
        self.choice("order", ":FORMat:BORDer", "NORMal|SWAPped", default="NORM")
        for verb in ("FETCh", "READ", "MEASure"):
            tree.add(f":{verb}:WAVeform#", query=self._waveform if verb == "FETCh" else self._fresh_waveform)
        tree.add(":TRACe[:DATA]", query=self._trace)
        self.register(":STATus:QUEStionable:INTegrity", _OVERLOAD)
        tree.add(":STATus:QUEStionable:CONDition", query=lambda call: str(512 * self.overload))
        tree.add(":STATus:OPERation:CONDition", query=lambda call: str(32 * self.armed))

    def shown(self, value: float) -> str:
        """Return a number as Keysight's analysers write it."""
        return str(value) if isinstance(value, int) else f"{value:.11E}"

    def no_error(self) -> str:
        """Return the answer of an empty error queue."""
        return '+0,"No error"'

    def questionable(self) -> bool:
        """Whether a bit of the questionable status is set."""
        return self.overload

    def changed(self, name: str) -> None:
        """Keep mode and measurement together, and a new setting from meeting an old acquisition."""
        values = self.values
        for trigger in ("trigger", "iq_trigger"):
            if values[trigger] == "EXT":
                values[trigger] = "EXT1"
        if name == "mode":
            values["measurement"] = "SANalyzer" if values["mode"] == "SA" else "WAVeform"
        if values["iq_rate_hz"] * values["iq_time_s"] > LONGEST + 0.5 and name in ("iq_rate_hz", "iq_time_s"):
            values["iq_time_s"] = LONGEST / values["iq_rate_hz"]
            self.add_error(ScpiError(-222, f"capture shortened to {LONGEST} samples"))
        if name == "attenuation_db":
            values["attenuation_auto"] = False
        if name not in ("unit", "format", "order", "continuous", ""):
            self.abort()

    def _configure(self, name: str, call: Call) -> None:
        call.only()
        self._measurement(name)

    def _initiate_as(self, name: str, call: Call) -> None:
        call.only()
        self._initiate(name)

    def _measurement(self, name: str) -> None:
        if (name == "WAVeform") != (self.values["mode"] == "BASIC"):
            raise ScpiError(-221, f"{name} is not a measurement of mode {self.values['mode']}")
        self.abort()
        self.values["measurement"] = name

    def _initiate(self, name: str) -> None:
        self._measurement(name)
        self.initiate()

    # --- acquiring ---

    @property
    def _captures(self) -> bool:
        return bool(self.values["measurement"] == "WAVeform")

    def external(self) -> bool:
        """Whether an acquisition waits for the trigger input 1."""
        return bool(self.values["iq_trigger" if self._captures else "trigger"] == "EXT1")

    def acquire(self, emissions: list[SourceOutput]) -> Any:
        """Capture, sweep, or stay at one frequency."""
        values, world = self.values, self.setup.world
        world.output = emissions[0]
        if self._captures:
            samples = max(1, round(values["iq_rate_hz"] * values["iq_time_s"]))
            plan = samples, values["iq_rate_hz"], values["center"], range_v(values["iq_reference_dbm"])
            return world.capture_iq(*plan) if emissions[0].rf_on else world.idle_iq(*plan)
        range_ = range_v(values["reference_dbm"])
        points, center, rbw = int(values["points"]), values["center"], self.rbw_hz
        if values["span"] == 0:
            return world.zero_span(points, self.value("sweep_time"), center, rbw, range_)
        return world.spectrum(points, center, values["span"], rbw, range_)

    @property
    def pending(self) -> bool:
        """Whether a capture is under way and there is an earlier one to fetch."""
        return not self.done and np.iscomplexobj(self.before)

    def _floats(self, values: NDArray[np.float64]) -> str | bytes:
        return self.floats(values, self.values["format"], "<" if self.values["order"] == "SWAP" else ">")

    async def _fresh_waveform(self, call: Call) -> str | bytes:
        self._initiate("WAVeform")
        await self.settled(call)
        return await self._waveform(call)

    async def _waveform(self, call: Call) -> str | bytes:
        """0: I and Q by turns in V; 1: what the guide's table of scalar results lists; 2: the envelope in dBm.

        While a capture is pending the answer is the one before, if there was one: `*WAI` waits for the new one.
        """
        call.only()
        if not self._captures:
            raise ScpiError(-221, "select WAVeform first")
        samples: NDArray[np.complex128] = self.before if self.pending else await self.measured(call)
        if call.suffixes == (0,):
            return self._floats(samples.view(np.float64))
        power_dbm = LEVELS["DBM"](np.abs(samples) / np.sqrt(2))
        if call.suffixes == (2,):
            return self._floats(power_dbm)
        if call.suffixes != (1,):
            raise ScpiError(-114, f"WAVeform{call.suffixes[0]}")
        mean = 10 * np.log10(max(float(np.mean(np.abs(samples) ** 2)) / 2 / OHM / 1e-3, 1e-30))
        low, high = power_dbm.min(), power_dbm.max()
        return self._floats(np.array([1 / self.values["iq_rate_hz"], mean, mean, len(samples), high - mean, high, low]))

    async def _trace(self, call: Call) -> str | bytes:
        trace_number(call)
        if self._captures:
            raise ScpiError(-221, "mode BASIC has no traces")
        return self._floats(LEVELS[self.values["unit"]](await self.measured(call)))

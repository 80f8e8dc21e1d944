"""Microwave source with list and step sweeps and pulse modulation."""

import asyncio
from dataclasses import dataclass, replace

import numpy as np

from simulators.virtual_bench.scpi import ScpiError
from simulators.virtual_bench.setup import Setup
from simulators.virtual_bench.source import Source
from simulators.virtual_bench.tree import Call
from simulators.virtual_bench.world import SourceOutput

LONGEST = 1601
"""Points of a list at most."""
_TRIGGERS = "BUS|IMMediate|EXTernal|KEY"


@dataclass(frozen=True)
class Point:
    """One point of a sweep."""

    frequency_hz: float
    power_dbm: float
    dwell_s: float


class E8257D(Source):
    """Keysight (Agilent) E8257D, PSG: each point of a sweep sends a pulse to the analyser's trigger input.

    Amplitude modulation and the low-frequency output can be set and asked; the ring does not see them.
    """

    FIRMWARE = "C.06.26"
    OPTIONS = ("1E1", "520", "UNT", "UNW")
    GUIDE = "Keysight E8257D/67D & E8663D PSG Signal Generators, SCPI Command Reference"
    FREQUENCY = (100e3, 20e9)
    POWER = (-135.0, 25.0)

    def __init__(self, serial: str, setup: Setup, model: str) -> None:
        self._sweep: list[Point] = []
        self._index = -1
        """Point that is out; -1: before the first."""
        self._waits = ""
        """Trigger that the sweep waits for; empty: none."""
        self._timer: asyncio.TimerHandle | None = None
        self._ignored = False
        """The last list of powers was not taken, nor are its dwells."""
        super().__init__(serial, setup, model)

    def build(self) -> None:
        """Add sweeps, their triggers, and modulation."""
        super().build()
        self._build_sweeps()
        self._build_modulation()

    def _build_sweeps(self) -> None:
        low, high = self.FREQUENCY
        self.choice("frequency_mode", "[:SOURce]:FREQuency:MODE", "CW|FIXed|SWEep|LIST", default="CW")
        self.choice("power_mode", "[:SOURce]:POWer:MODE", "FIXed|SWEep|LIST", default="FIX")
        self.number("start_hz", "[:SOURce]:FREQuency:STARt", low, high, "HZ", default=high)
        self.number("stop_hz", "[:SOURce]:FREQuency:STOP", low, high, "HZ", default=high)
        self.tree.add(
            "[:SOURce]:FREQuency:CENTer",
            command=self._set_center,
            query=lambda call: self.shown((self.values["start_hz"] + self.values["stop_hz"]) / 2),
        )
        self.number("start_dbm", "[:SOURce]:POWer:STARt", *self.POWER, "DBM", default=self.POWER[0])
        self.number("stop_dbm", "[:SOURce]:POWer:STOP", *self.POWER, "DBM", default=self.POWER[0])
        self.number("step_dwell_s", "[:SOURce]:SWEep:DWELl#", 1e-3, 60.0, "S", default=2e-3)
        self.number("step_points", "[:SOURce]:SWEep:POINts", 2, 65535, default=2, integer=True)
        self.choice("generation", "[:SOURce]:SWEep:GENeration", "ANALog|STEPped", default="STEP")
        self.choice("sweep_mode", "[:SOURce]:SWEep:MODE", "AUTO|MANual", default="AUTO")
        self.choice("list_type", "[:SOURce]:LIST:TYPE", "LIST|STEP", default="STEP")
        self.choice("dwell_type", "[:SOURce]:LIST:DWELl:TYPE", "LIST|STEP", default="LIST")
        self.choice("direction", "[:SOURce]:LIST:DIRection", "UP|DOWN", default="UP")
        self.choice("point_trigger", "[:SOURce]:LIST:TRIGger:SOURce", _TRIGGERS, default="IMM")
        self.choice("sweep_trigger", ":TRIGger[:SEQuence]:SOURce", _TRIGGERS, default="IMM")
        self.boolean("retrace", "[:SOURce]:LIST:RETRace", default=True)
        for name, header, unit, limits in (
            ("list_hz", "FREQuency", "HZ", self.FREQUENCY),
            ("list_dbm", "POWer", "DBM", self.POWER),
            ("list_s", "DWELl", "S", (1e-3, 60.0)),
        ):
            self._list(name, f"[:SOURce]:LIST:{header}", unit, limits)
        self.boolean("continuous", ":INITiate:CONTinuous[:ALL]", other=("[:SOURce]:SWEep:CONTinuous[:STATe]",))
        self.tree.add(":INITiate[:IMMediate][:ALL]", command=lambda call: self.initiate())
        self.tree.add("[:SOURce]:TSWeep", command=lambda call: self.single())
        self.tree.add(":TRIGger[:SEQuence][:IMMediate]", command=lambda call: self._trigger_now())
        self.tree.add(":ABORt", command=lambda call: self.abort())

    def _build_modulation(self) -> None:
        self.boolean("pulse", "[:SOURce]:PULM[:STATe]")
        self.choice("pulse_source", "[:SOURce]:PULM:SOURce", "INTernal|EXTernal|SCALar", default="INT")
        self.choice(
            "pulse_input",
            "[:SOURce]:PULM:SOURce:INTernal",
            "SQUare|FRUN|TRIGgered|DOUBlet|GATEd",
            default="FRUN",
        )
        internal = "[:SOURce]:PULM:INTernal#"
        self.number("pulse_hz", f"{internal}:FREQuency", 0.1, 10e6, "HZ", default=400.0)
        self.number("pulse_period_s", f"{internal}:PERiod", 70e-9, 42.0, "S", default=80e-6)
        self.number("pulse_width_s", f"{internal}:PWIDth", 10e-9, 42.0, "S", default=40e-6)
        self.boolean("am", "[:SOURce]:AM#[:STATe]")
        self.number("am_depth", "[:SOURce]:AM#:DEPTh[:LINear]", 0.0, 100.0, "PCT", default=0.1)
        self.choice("am_source", "[:SOURce]:AM#:SOURce", "INT|INT2|EXT|EXT2", default="INT")
        self.number("am_hz", "[:SOURce]:AM#:INTernal#:FREQuency", 0.5, 1e6, "HZ", default=400.0)
        shapes = "SINE|TRIangle|SQUare|RAMP|NOISe|DUALsine|SWEPtsine"
        self.choice("am_shape", "[:SOURce]:AM#:INTernal#:FUNCtion:SHAPe", shapes, default="SINE")
        self.number("lf_v", "[:SOURce]:LFOutput:AMPLitude", 0.0, 3.5, "V", default=0.0)
        self.choice("lf_source", "[:SOURce]:LFOutput:SOURce", "INT|INT2|FUNCtion|FUNCtion2", default="INT")
        self.boolean("lf", "[:SOURce]:LFOutput[:STATe]")

    def _list(self, name: str, pattern: str, unit: str, limits: tuple[float, float]) -> None:
        self._defaults[name] = [limits[0]]

        def command(call: Call) -> None:
            values = [self.limited(argument, *limits, unit) for argument in call.only(1, LONGEST)]
            if not self._ignores(name):
                self.assign(name, values)

        self.tree.add(pattern, command=command, query=lambda call: ",".join(self.shown(v) for v in self.values[name]))
        self.tree.add(f"{pattern}:POINts", query=lambda call: str(len(self.values[name])))

    def _ignores(self, name: str) -> bool:
        """Whether this list is silently not taken (fault `ignored`)."""
        if name == "list_dbm":
            self._ignored = self.setup.faults.doing(self.ROLE, "ignored") is not None
            return self._ignored
        ignored, self._ignored = self._ignored and name == "list_s", False
        return ignored

    def _set_center(self, call: Call) -> None:
        half = (self.values["stop_hz"] - self.values["start_hz"]) / 2
        center = self.limited(call.one(), *self.FREQUENCY, "HZ")
        self.values["start_hz"] = max(self.FREQUENCY[0], center - half)
        self.assign("stop_hz", min(self.FREQUENCY[1], center + half))

    # --- sweeping ---

    def points(self) -> list[Point]:
        """Return the points of the sweep as it is set up; `ScpiError` -221 when the lists do not fit together."""
        values = self.values
        sweeps_frequency = values["frequency_mode"] in ("SWE", "LIST")
        sweeps_power = values["power_mode"] in ("SWE", "LIST")
        if values["list_type"] == "STEP":
            count = int(values["step_points"])
            hz = np.linspace(values["start_hz"], values["stop_hz"], count).tolist()
            dbm = np.linspace(values["start_dbm"], values["stop_dbm"], count).tolist()
            dwell = [values["step_dwell_s"]]
        else:
            hz, dbm = values["list_hz"], values["list_dbm"]
            dwell = values["list_s"] if values["dwell_type"] == "LIST" else [values["step_dwell_s"]]
        columns = [
            hz if sweeps_frequency else [values["frequency"]],
            dbm if sweeps_power else [values["power"]],
            dwell,
        ]
        count = max(len(column) for column in columns[:2])
        if any(len(column) not in (1, count) for column in columns):
            raise ScpiError(-221, f"lists of {', '.join(str(len(column)) for column in columns)} points")
        points = [Point(*row) for row in zip(*(c * count if len(c) == 1 else c for c in columns), strict=True)]
        return points if values["direction"] == "UP" else points[::-1]

    @property
    def sweeps(self) -> bool:
        """Whether a sweep sets frequency or power."""
        return self.values["frequency_mode"] in ("SWE", "LIST") or self.values["power_mode"] in ("SWE", "LIST")

    def initiate(self) -> None:
        """Arm the sweep: it goes to its first point at the sweep trigger."""
        if not self.sweeps:
            raise ScpiError(-213, "neither frequency nor power is swept")
        self._stop()
        self._sweep = self.points()
        self._wait_for(self.values["sweep_trigger"])

    def single(self) -> None:
        """Abort, arm and trigger one sweep."""
        self.initiate()
        if self._waits:
            self._advance(asyncio.get_running_loop().time())

    def abort(self) -> None:
        """Leave the sweep; with continuous sweeps on, arm the next."""
        self._stop()
        self.changed("")

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._waits, self._index = "", -1

    def _wait_for(self, trigger: str) -> None:
        """Wait for this trigger before the next point."""
        loop = asyncio.get_running_loop()
        if trigger == "IMM":
            dwell = self._sweep[self._index].dwell_s if self._index >= 0 else 0.0
            at = loop.time() + dwell
            self._timer = loop.call_at(at, self._advance, at)
        else:
            self._waits = trigger
        self.changed("")

    def _advance(self, at: float) -> None:
        """Put out the next point."""
        self._waits = ""
        self._index += 1
        self.changed("")
        self.setup.wire.pulse(self.output(), at)
        if self._index + 1 < len(self._sweep):
            if self.values["point_trigger"] == "IMM":
                # By the times that were meant, so that a late event loop does not stretch the sweep.
                due = at + self._sweep[self._index].dwell_s
                self._timer = asyncio.get_running_loop().call_at(due, self._advance, due)
            else:
                self._waits = self.values["point_trigger"]
        elif self.values["continuous"]:
            self._index = -1
            self._wait_for(self.values["sweep_trigger"])
        elif self.values["retrace"]:
            self._index = -1
            self.changed("")

    def trigger(self) -> None:
        """Go on when the sweep waits for the bus."""
        if self._waits != "BUS":
            raise ScpiError(-211)
        self._advance(asyncio.get_running_loop().time())

    def _trigger_now(self) -> None:
        if not self._waits:
            raise ScpiError(-211)
        self._advance(asyncio.get_running_loop().time())

    def changed(self, name: str) -> None:
        """Start and stop sweeps with the settings that decide about them."""
        if name == "continuous" and self.values["continuous"] and self.sweeps and not self._waits:
            self.initiate()
        elif name in ("frequency_mode", "power_mode", "list_dbm", "list_hz", "list_s", "list_type"):
            self._stop()
            self._sweep = []
        super().changed(name)

    def reset(self) -> None:
        """Set everything as after `*RST`."""
        self._stop()
        self._sweep = []
        super().reset()

    def close(self) -> None:
        """Give up what is pending."""
        super().close()
        self._stop()

    # --- output ---

    def output(self) -> SourceOutput:
        """Return what leaves the connector, at the present point of a sweep (the first one before it begins)."""
        output = super().output()
        if self.sweeps and self._sweep:
            point = self._sweep[max(self._index, 0)]
            output = replace(output, carrier_hz=point.frequency_hz, power_dbm=point.power_dbm)
        if output.modulation_on and self.values["pulse"] and self.values["pulse_source"] == "INT":
            square = self.values["pulse_input"] == "SQU"
            period = 1 / self.values["pulse_hz"] if square else self.values["pulse_period_s"]
            width = period / 2 if square else min(self.values["pulse_width_s"], period)
            output = replace(output, pulse_period_s=period, pulse_width_s=width)
        return output

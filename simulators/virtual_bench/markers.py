"""Markers on the trace of an FSV or FSL."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simulators.virtual_bench import scpi
from simulators.virtual_bench.scpi import ScpiError
from simulators.virtual_bench.tree import Call

if TYPE_CHECKING:
    from simulators.virtual_bench.fsx import FSL

_MARKERS = 4


@dataclass
class Marker:
    """One marker: whether it is shown, and its frequency in Hz (time in s in zero span)."""

    on: bool = False
    x: float = 0.0
    excursion_db: float = 6.0


class Markers:
    """The commands `CALCulate:MARKer` and `CALCulate:DELTamarker`; a delta marker's level is relative to marker 1."""

    def __init__(self, analyzer: "FSL") -> None:
        self._analyzer = analyzer
        self._markers: dict[tuple[bool, int], Marker] = {}
        for delta, name in ((False, "MARKer"), (True, "DELTamarker")):
            self._build(f":CALCulate#:{name}#", delta)

    def clear(self) -> None:
        """Take all markers off."""
        self._markers.clear()

    def _build(self, pattern: str, delta: bool) -> None:
        tree, analyzer = self._analyzer.tree, self._analyzer

        def of(call: Call) -> Marker:
            return self._find(delta, call.suffixes[-1])

        def place(call: Call) -> None:
            of(call).x = analyzer.limited(call.one(), *self._axis_limits(), "S" if self._in_time else "HZ")

        def excursion(call: Call) -> None:
            of(call).excursion_db = analyzer.limited(call.one(), 0.0, 80.0, "DB")

        tree.add(
            f"{pattern}[:STATe]",
            command=lambda call: self._switch(of(call), scpi.boolean(call.one())),
            query=lambda call: str(int(of(call).on)),
        )
        tree.add(f"{pattern}:AOFF", command=lambda call: self.clear())
        tree.add(f"{pattern}:X", command=place, query=lambda call: analyzer.shown(of(call).x))
        tree.add(f"{pattern}:Y", query=lambda call: self._level(call, delta))
        tree.add(f"{pattern}:PEXCursion", command=excursion, query=lambda call: analyzer.shown(of(call).excursion_db))
        tree.add(
            f"{pattern}:TRACe",
            command=lambda call: self._only_trace(call),
            query=lambda call: "1",
        )
        tree.add(f"{pattern}:MAXimum[:PEAK]", command=lambda call: self._seek(call, of(call), 0))
        tree.add(f"{pattern}:MAXimum:RIGHt", command=lambda call: self._seek(call, of(call), 1))
        tree.add(f"{pattern}:MAXimum:LEFT", command=lambda call: self._seek(call, of(call), -1))
        tree.add(f"{pattern}:FUNCtion:ZOOM", command=lambda call: self._zoom(call, of(call)))

    def _find(self, delta: bool, number: int) -> Marker:
        if not 1 <= number <= _MARKERS:
            raise ScpiError(-114, f"marker {number}")
        default = Marker(x=sum(self._axis_limits()) / 2)
        return self._markers.setdefault((delta, number), default)

    @staticmethod
    def _switch(marker: Marker, on: bool) -> None:
        marker.on = on

    def _only_trace(self, call: Call) -> None:
        if self._analyzer.limited(call.one(), 1, 6, integer=True) != 1:
            raise ScpiError(-221, "this trace is blank")

    @property
    def _in_time(self) -> bool:
        return bool(self._analyzer.values["span"] == 0)

    def _axis_limits(self) -> tuple[float, float]:
        if self._in_time:
            return 0.0, self._analyzer.value("sweep_time")
        return self._analyzer.edge(-1), self._analyzer.edge(1)

    def _axis(self, points: int) -> NDArray[np.float64]:
        return np.linspace(*self._axis_limits(), points)

    async def _level(self, call: Call, delta: bool) -> str:
        marker = self._find(delta, call.suffixes[-1])
        if not marker.on:
            raise ScpiError(-221, "the marker is off")
        trace = await self._analyzer.trace(call)
        axis = self._axis(len(trace))
        level = float(trace[np.abs(axis - marker.x).argmin()])
        if delta:
            level -= float(trace[np.abs(axis - self._find(False, 1).x).argmin()])
        return self._analyzer.shown(level)

    async def _seek(self, call: Call, marker: Marker, side: int) -> None:
        """Go to the highest point, or to the next local maximum to the right (1) or left (-1)."""
        call.only()
        trace = await self._analyzer.trace(call)
        axis = self._axis(len(trace))
        marker.on = True
        if not side:
            marker.x = float(axis[trace.argmax()])
            return
        inner = (trace[1:-1] > trace[:-2]) & (trace[1:-1] >= trace[2:])
        peaks = axis[1:-1][inner]
        beyond = peaks[(peaks - marker.x) * side > 0]
        if not len(beyond):
            raise ScpiError(-221, "no further peak")
        marker.x = float(beyond[np.abs(beyond - marker.x).argmin()])

    def _zoom(self, call: Call, marker: Marker) -> None:
        """Span about the marker: a frequency, or a factor by which the span becomes smaller."""
        analyzer = self._analyzer
        argument = call.text()
        value = scpi.number(argument, "HZ")
        is_factor = not argument.upper().endswith("HZ") and value < 100
        if value <= 0 or self._in_time:
            raise ScpiError(-222 if value <= 0 else -221, argument[:24])
        analyzer.values["center"] = marker.x
        analyzer.assign("span", analyzer.values["span"] / value if is_factor else value)
        analyzer.initiate()

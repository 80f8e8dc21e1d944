"""Laboratory supply with three outputs."""

import re
from functools import partial

from simulators.virtual_bench import scpi
from simulators.virtual_bench.scpi import Argument, ScpiError
from simulators.virtual_bench.supplies import Supply
from simulators.virtual_bench.tree import Call


class E36312A(Supply):
    """Keysight E36312A, triple output: channels are named by a list in each command."""

    MAKER = "Keysight Technologies"
    FIRMWARE = "2.1.0-1.0.4-1.12"
    GUIDE = "Keysight E36300 Series Programmable DC Power Supplies, Programming Guide"
    LIMITS = ((6.18, 5.15), (25.75, 1.03), (25.75, 1.03))

    def build(self) -> None:
        """Add levels, output switches and measurements, each for the listed or the selected channels."""
        self._defaults["selected"] = 1
        tree = self.tree
        tree.add(":INSTrument:NSELect", command=self._select, query=lambda call: str(self.values["selected"]))
        tree.add(":INSTrument[:SELect]", command=self._select, query=lambda call: f"CH{self.values['selected']}")
        tree.add(
            "[:SOURce]:VOLTage[:LEVel][:IMMediate][:AMPLitude]",
            command=partial(self._set, "voltage_v"),
            query=partial(self._get, "voltage_v"),
        )
        tree.add(
            "[:SOURce]:CURRent[:LEVel][:IMMediate][:AMPLitude]",
            command=partial(self._set, "current_a"),
            query=partial(self._get, "current_a"),
        )
        tree.add("[:SOURce]:APPLy", command=self._apply)
        tree.add(":OUTPut[:STATe]", command=self._switch, query=self._switched)
        for quantity, index in (("VOLTage", 0), ("CURRent", 1)):
            tree.add(f":MEASure[:SCALar]:{quantity}[:DC]", query=partial(self._measure, index))

    def shown(self, value: float) -> str:
        """Return a number as this supply writes it."""
        return str(value) if isinstance(value, int) else f"{value:+.8E}"

    def no_error(self) -> str:
        """Return the answer of an empty error queue."""
        return '+0,"No error"'

    def _select(self, call: Call) -> None:
        name = call.text().upper()
        names = {f"{prefix}{n}": n for n in (1, 2, 3) for prefix in ("CH", "")} | {"P6V": 1, "P25V": 2, "N25V": 3}
        if name not in names:
            raise ScpiError(-224, f"{name[:24]}, expected CH1 to CH3")
        self.assign("selected", names[name])

    def _listed(self, arguments: list[Argument]) -> tuple[list[Argument], list[int]]:
        """Split off a list such as (@1,3:4); return the rest and the channels' indices."""
        if not arguments or not str(arguments[-1]).startswith("("):
            return arguments, [self.values["selected"] - 1]
        found = re.fullmatch(r"\(@(\s*\d+(\s*:\s*\d+)?\s*(,\s*\d+(\s*:\s*\d+)?\s*)*)\)", str(arguments[-1]))
        if found is None:
            raise ScpiError(-171, str(arguments[-1])[:24])
        channels: list[int] = []
        for part in found[1].split(","):
            first, _, last = part.partition(":")
            if not 1 <= int(first) <= int(last or first) <= len(self.channels):
                raise ScpiError(-222, f"channels {part.strip()[:20]}")
            channels.extend(range(int(first) - 1, int(last or first)))
        return arguments[:-1], channels

    def _set(self, name: str, call: Call) -> None:
        (value, *more), channels = self._listed(call.only(1, 2))
        if more:
            raise ScpiError(-108)
        for index in channels:
            self._assign_level(index, name, value)
        self.changed(name)

    def _assign_level(self, index: int, name: str, argument: Argument) -> None:
        channel = self.channels[index]
        unit, most = ("V", channel.most_v) if name == "voltage_v" else ("A", channel.most_a)
        limits = {"MINimum": 0.0, "MAXimum": most, "DEFault": 0.0}
        setattr(channel, name, self.limited(argument, 0.0, most, unit, limits))

    def _get(self, name: str, call: Call) -> str:
        rest, channels = self._listed(call.only(0, 2))
        if rest:
            most = "most_v" if name == "voltage_v" else "most_a"
            highest = scpi.choice(rest[0], ("MINimum", "MAXimum")) == "MAX"
            return ",".join(self.shown(getattr(self.channels[i], most) if highest else 0.0) for i in channels)
        return ",".join(self.shown(float(getattr(self.channels[i], name))) for i in channels)

    def _apply(self, call: Call) -> None:
        name, *levels = call.only(2, 3)
        self._select(Call([name]))
        for level, argument in zip(("voltage_v", "current_a"), levels, strict=False):
            self._assign_level(self.values["selected"] - 1, level, argument)
        self.changed("")

    def _switch(self, call: Call) -> None:
        (value, *more), channels = self._listed(call.only(1, 2))
        if more:
            raise ScpiError(-108)
        for index in channels:
            self.channels[index].on = scpi.boolean(value)
        self.changed("output")

    def _switched(self, call: Call) -> str:
        _, channels = self._listed(call.only(0, 1))
        return ",".join(str(int(self.channels[i].on)) for i in channels)

    def _measure(self, index: int, call: Call) -> str:
        _, channels = self._listed(call.only(0, 1))
        return ",".join(self.shown(float(self.measured(i)[index])) for i in channels)

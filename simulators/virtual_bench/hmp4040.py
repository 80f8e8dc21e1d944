"""Laboratory supply with four outputs, each with a sequencer."""

import asyncio
from dataclasses import dataclass, field
from functools import partial

from simulators.virtual_bench import scpi
from simulators.virtual_bench.scpi import ScpiError
from simulators.virtual_bench.setup import Setup
from simulators.virtual_bench.supplies import Channel, Supply
from simulators.virtual_bench.tree import Call

Step = tuple[float, float, float]
"""Voltage in V, current in A and time in s."""
_MOST_STEPS = 128
_SLOTS = 3


@dataclass
class _Sequencer:
    """Steps of one channel, and how far it has come."""

    steps: list[Step] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = None


class HMP4040(Supply):
    """Rohde & Schwarz HMP4040: commands mean the selected channel; an output needs its switch and the general one."""

    MAKER = "ROHDE&SCHWARZ"
    FIRMWARE = "HW50020001/SW2.51"
    GUIDE = "R&S HMP Series Power Supply, SCPI Programmers Manual (5800.6786.02)"
    LIMITS = ((32.05, 10.0),) * 4

    def __init__(self, serial: str, setup: Setup, model: str) -> None:
        self._sequencers = [_Sequencer() for _ in self.LIMITS]
        self._sequence: list[Step] = []
        self._slots: dict[int, list[Step]] = {}
        super().__init__(serial, setup, model)

    def build(self) -> None:
        """Add selection, levels, switches, measurements and the sequencers."""
        tree = self.tree
        self._defaults["selected"] = 1
        tree.add(
            ":INSTrument:NSELect",
            command=lambda call: self.assign("selected", int(self.limited(call.one(), 1, 4))),
            query=lambda call: str(self.values["selected"]),
        )
        words = "OUTPut1|OUTPut2|OUTPut3|OUTPut4"
        tree.add(
            ":INSTrument[:SELect]",
            command=lambda call: self.assign("selected", int(scpi.choice(call.one(), tuple(words.split("|")))[-1])),
            query=lambda call: f"OUTP{self.values['selected']}",
        )
        level = "[:LEVel][:IMMediate][:AMPLitude]"
        for name, header, unit, step in (("voltage_v", "VOLTage", "V", 1.0), ("current_a", "CURRent", "A", 0.1)):
            most = self.LIMITS[0][0 if unit == "V" else 1]
            self.number(f"{name}_step", f"[:SOURce]:{header}:STEP", 0.0, most, unit, default=step)
            tree.add(
                f"[:SOURce]:{header}{level}",
                command=partial(self._set, name, unit),
                query=partial(self._get, name),
            )
        tree.add("[:SOURce]:APPLy", command=self._apply, query=self._applied)
        self.boolean("general", ":OUTPut:GENeral")
        tree.add(":OUTPut:SELect", command=self._select_output, query=lambda call: str(int(self._selected.on)))
        tree.add(":OUTPut[:STATe]", command=self._switch, query=lambda call: str(int(self.live(self._index))))
        for quantity, index in (("VOLTage", 0), ("CURRent", 1)):
            tree.add(
                f":MEASure[:SCALar]:{quantity}[:DC]",
                query=partial(self._measure, index),
            )
        for name in ("BEEPer[:IMMediate]", "LOCal", "REMote", "MIX", "RWLock"):
            tree.add(f":SYSTem:{name}", command=lambda call: None)
        self._build_sequencer()

    def _build_sequencer(self) -> None:
        tree = self.tree
        tree.add(":ARBitrary:DATA", command=self._load)
        self.number("repetitions", ":ARBitrary:REPetitions", 0, 255, default=0, integer=True)
        tree.add(":ARBitrary:SAVE", command=lambda call: self._slots.update({self._slot(call): self._sequence}))
        tree.add(":ARBitrary:RESTore", command=self._restore)
        tree.add(":ARBitrary:TRANsfer", command=self._transfer)
        tree.add(":ARBitrary:CLEar", command=lambda call: self._sequencer(call)[1].steps.clear())
        tree.add(":ARBitrary:STARt", command=self._start)
        tree.add(":ARBitrary:STOP", command=lambda call: self._sequencer(call)[1].stop())

    def shown(self, value: float) -> str:
        """Return a number as this supply writes it."""
        return str(value) if isinstance(value, int) else f"{value:.4f}"

    def reset(self) -> None:
        """Switch every output off, set it to 0 V and stop every sequence."""
        for sequencer in self._sequencers:
            sequencer.stop()
        super().reset()

    def close(self) -> None:
        """Give up what is pending."""
        super().close()
        for sequencer in self._sequencers:
            sequencer.stop()

    @property
    def _index(self) -> int:
        return int(self.values["selected"]) - 1

    @property
    def _selected(self) -> Channel:
        return self.channels[self._index]

    def live(self, index: int) -> bool:
        """Whether a channel's output is on: its own switch and the general one."""
        return self.channels[index].on and bool(self.values["general"])

    # --- levels and switches ---

    def _measure(self, index: int, call: Call) -> str:
        call.only()
        return self.shown(float(self.measured(self._index)[index]))

    def _set(self, name: str, unit: str, call: Call) -> None:
        self._level(call.one(), name, unit)
        self.changed(name)

    def _level(self, argument: scpi.Argument, name: str, unit: str) -> None:
        channel = self._selected
        most = channel.most_v if unit == "V" else channel.most_a
        limits = {"MINimum": 0.0, "MAXimum": most, "DEFault": 0.0}
        value: float = getattr(channel, name)
        if isinstance(argument, str) and argument.upper() in ("UP", "DOWN"):
            step = self.values[f"{name}_step"]
            value = min(max(value + (step if argument.upper() == "UP" else -step), 0.0), most)
        else:
            value = self.limited(argument, 0.0, most, unit, limits)
        # Settings have a resolution of 1 mV and 0.2 mA.
        setattr(channel, name, round(value, 3) if unit == "V" else round(value / 2e-4) * 2e-4)

    def _get(self, name: str, call: Call) -> str:
        channel = self._selected
        if not call.only(0, 1):
            return self.shown(float(getattr(channel, name)))
        highest = scpi.choice(call.arguments[0], ("MINimum", "MAXimum")) == "MAX"
        return self.shown(0.0 if not highest else channel.most_v if name == "voltage_v" else channel.most_a)

    def _apply(self, call: Call) -> None:
        for argument, (name, unit) in zip(call.only(1, 2), (("voltage_v", "V"), ("current_a", "A")), strict=False):
            self._level(argument, name, unit)
        self.changed("")

    def _applied(self, call: Call) -> str:
        call.only()
        return f"{self.shown(self._selected.voltage_v)}, {self.shown(self._selected.current_a)}"

    def _select_output(self, call: Call) -> None:
        self._selected.on = scpi.boolean(call.one())
        self.changed("output")

    def _switch(self, call: Call) -> None:
        self._selected.on = scpi.boolean(call.one())
        if self._selected.on:
            self.values["general"] = True
        self.changed("output")

    # --- sequences ---

    def _slot(self, call: Call) -> int:
        return int(self.limited(call.one(), 1, _SLOTS, integer=True))

    def _sequencer(self, call: Call) -> tuple[int, _Sequencer]:
        index = int(self.limited(call.one(), 1, len(self.channels), integer=True)) - 1
        return index, self._sequencers[index]

    def _load(self, call: Call) -> None:
        values = [scpi.number(argument) for argument in call.only(3, 3 * _MOST_STEPS)]
        steps = list(zip(values[::3], values[1::3], values[2::3], strict=False))
        if len(values) % 3:
            raise ScpiError(-109, "expected voltage, current, time by turns")
        for voltage, current, seconds in steps:
            if not (0 <= voltage <= self.LIMITS[0][0] and 0 <= current <= self.LIMITS[0][1] and 0.06 <= seconds <= 10):
                raise ScpiError(-222, f"step {voltage:g} V, {current:g} A, {seconds:g} s")
        self._sequence = steps

    def _restore(self, call: Call) -> None:
        slot = self._slot(call)
        if slot not in self._slots:
            raise ScpiError(-256, f"slot {slot} is empty")
        self._sequence = self._slots[slot]

    def _transfer(self, call: Call) -> None:
        self._sequencer(call)[1].steps = list(self._sequence)

    def _start(self, call: Call) -> None:
        index, sequencer = self._sequencer(call)
        if not sequencer.steps:
            raise ScpiError(-221, f"no sequence was transferred to channel {index + 1}")
        sequencer.stop()
        self._step(index, 0)

    def _step(self, index: int, count: int) -> None:
        """Set the next step, and the one after it when its time is over; 0 repetitions never end."""
        sequencer, repetitions = self._sequencers[index], int(self.values["repetitions"])
        sequencer.timer = None
        if not sequencer.steps or (repetitions and count >= repetitions * len(sequencer.steps)):
            return
        channel = self.channels[index]
        channel.voltage_v, channel.current_a, seconds = sequencer.steps[count % len(sequencer.steps)]
        sequencer.timer = asyncio.get_running_loop().call_later(seconds, self._step, index, count + 1)
        self.changed("sequence")

"""What the instruments of one bench share: the world behind them, the trigger wire, and a thread to compute in."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from simulators.virtual_bench.faults import Faults
from simulators.virtual_bench.service import Busy
from simulators.virtual_bench.world import SourceOutput, World


class Wire:
    """The cable from the source's trigger output to the analyser's trigger input."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[SourceOutput, float], None]] = []
        self.emission: Callable[[], SourceOutput] = SourceOutput

    def connect(self, listener: Callable[[SourceOutput, float], None]) -> None:
        """Let `listener` hear every pulse."""
        self._listeners.append(listener)

    def pulse(self, emission: SourceOutput, at_s: float) -> None:
        """Trigger what is at the other end at that time; `emission` is what the source sends out from then on."""
        for listener in self._listeners:
            listener(emission, at_s)


@dataclass
class Setup:
    """The parts that the instruments of one bench share."""

    world: World
    faults: Faults
    executor: Executor
    """Has one thread, so that the world is asked one thing at a time."""
    wire: Wire = field(default_factory=Wire)
    busy: Busy = field(default_factory=Busy)

    _shown: SourceOutput = field(default_factory=SourceOutput)
    _computing: int = 0

    def show(self, output: SourceOutput) -> None:
        """Let the world have the source's present output, unless it is just being asked about an earlier one."""
        self._shown = output
        if not self._computing:
            self.world.output = output

    async def compute(self, work: Callable[[], Any]) -> Any:
        """Return what `work` returns, done in the thread, without keeping other instruments from answering.

        The world's output is `work`'s to set: it is what the source sent out when the acquisition began.
        """
        self._computing += 1
        try:
            with self.busy.working():
                return await asyncio.get_running_loop().run_in_executor(self.executor, work)
        finally:
            self._computing -= 1
            self.show(self._shown)

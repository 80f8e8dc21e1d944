"""The measures by name, in the order in which they are taken, and what they cost."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from labpgt.characterisation import still, tasks
from labpgt.characterisation.bench import Bench
from labpgt.characterisation.outcome import OUTCOMES, Outcome
from labpgt.characterisation.threshold import Kicks, auto_oscillation, memory

_MEASURES: Mapping[str, Callable[[Bench, Kicks], Outcome]] = {
    "noise": lambda bench, kicks: still.noise(bench),
    "repeatability": lambda bench, kicks: still.repeatability(bench),
    "threshold": lambda bench, kicks: auto_oscillation(kicks),
    "memory": lambda bench, kicks: memory(kicks),
    "stm": lambda bench, kicks: tasks.short_term_memory(bench),
    "pc": lambda bench, kicks: tasks.parity(bench),
    "narma10": lambda bench, kicks: tasks.narma10(bench),
    "mackey-glass": lambda bench, kicks: tasks.mackey_glass(bench),
    "compression": lambda bench, kicks: still.compression(bench),
    "transmission": lambda bench, kicks: still.transmission(bench),
}
MEASURES = tuple(_MEASURES)
"""Names of the measures."""


def characterise(bench: Bench, measures: Sequence[str] = MEASURES) -> Iterator[tuple[str, Outcome]]:
    """Take these measures of an open device; yield each with what it found.

    What a device cannot do is in `Outcome.missing` with the reason. Raises `DeviceFault` and `TakingStopped`.
    """
    kicks = Kicks(bench)
    for name in MEASURES:
        if name in measures:
            outcome = _MEASURES[name](bench, kicks)
            values, curves = OUTCOMES[name]
            assert outcome.values.keys() | outcome.missing.keys() <= {*values}
            assert outcome.curves.keys() <= {*curves}
            yield name, outcome


def planned_symbols(bench: Bench, measures: Sequence[str] = MEASURES) -> dict[str, int]:
    """Return about how many symbols each of these measures will take, to tell the time left."""
    effort = bench.effort
    able = not bench.too_short()
    kick, task, at_rest = (bench.symbols(table) for table in ("kick", "random", "noise"))
    tuned = able and "attenuation_db" in bench.tunable
    present = 2 * effort.repeats * kick * able
    search = (effort.rounds * effort.kicks * effort.sections + effort.repeats) * kick * tuned
    carriers = 2 * effort.frequencies * at_rest * (1 + ("attenuation_db" in bench.tunable))
    costs = {
        "noise": effort.repeats * at_rest,
        "repeatability": effort.repeats * at_rest,
        "threshold": present + search,
        "memory": 22 * effort.kicks * kick * tuned + (0 if "threshold" in measures else present + search),
        "stm": bench.task_shots * task * able,
        "pc": 0 if "stm" in measures else bench.task_shots * task * able,
        "narma10": bench.task_shots * task * able,
        "mackey-glass": bench.task_shots * task * able,
        "compression": effort.levels * at_rest,
        "transmission": carriers * ("carrier_hz" in bench.tunable),
    }
    return {name: costs[name] for name in MEASURES if name in measures}

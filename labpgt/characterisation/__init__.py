"""What a reservoir is like: memory, capacities, threshold, noise, compression and transmission, each from its shots."""

from labpgt.characterisation.bench import Bench
from labpgt.characterisation.effort import FULL, QUICK, Effort
from labpgt.characterisation.measures import MEASURES, characterise
from labpgt.characterisation.outcome import Outcome

__all__ = ["FULL", "MEASURES", "QUICK", "Bench", "Effort", "Outcome", "characterise"]

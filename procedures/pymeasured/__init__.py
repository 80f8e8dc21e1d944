"""The runs of labpgt as pymeasure procedures, for pymeasure's Worker and Manager.

They call what the command line calls, and their results are labpgt's session files: `SessionResults` in place of
pymeasure's `Results`, which knows CSV files only.
"""

from procedures.pymeasured.results import SessionResults
from procedures.pymeasured.runs import CalibrateProcedure, CharacterizeProcedure, SweepProcedure, TrainProcedure

__all__ = ["CalibrateProcedure", "CharacterizeProcedure", "SessionResults", "SweepProcedure", "TrainProcedure"]

"""Which models the virtual bench has, by the name that they give themselves and by role."""

from collections.abc import Callable, Mapping

from simulators.virtual_bench.e8257d import E8257D
from simulators.virtual_bench.e36312a import E36312A
from simulators.virtual_bench.fsx import FSL, FSV
from simulators.virtual_bench.hmp4040 import HMP4040
from simulators.virtual_bench.instrument import Instrument
from simulators.virtual_bench.n5182b import N5182B
from simulators.virtual_bench.n9020a import N9020A
from simulators.virtual_bench.rcdat import MAXIMUM_DB, RCDAT
from simulators.virtual_bench.setup import Setup

ATTENUATORS = tuple(MAXIMUM_DB)
ROLES: Mapping[str, tuple[str, ...]] = {
    "source": ("N5182B", "E8257D"),
    "analyzer": ("N9020A", "FSV-7", "FSL-6"),
    "attenuator": ATTENUATORS,
    "amplifier": ("E36312A", "HMP4040"),
    "magnet": ("E36312A", "HMP4040"),
}
"""Models that can play each role."""
MODELS: Mapping[str, Callable[[str, Setup, str], Instrument]] = {
    "N5182B": N5182B,
    "E8257D": E8257D,
    "N9020A": N9020A,
    "FSV-7": FSV,
    "FSL-6": FSL,
    "E36312A": E36312A,
    "HMP4040": HMP4040,
    **dict.fromkeys(ATTENUATORS, RCDAT),
}
"""What makes an instrument of a serial number, what the bench shares, and the model's name."""

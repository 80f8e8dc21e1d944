"""Which models the virtual bench has, by the name that they give themselves and by role."""

from collections.abc import Callable, Mapping

from simulators.virtual_bench.instrument import Instrument
from simulators.virtual_bench.n5182b import N5182B
from simulators.virtual_bench.n9020a import N9020A
from simulators.virtual_bench.rcdat import MAXIMUM_DB, RCDAT
from simulators.virtual_bench.setup import Setup
from simulators.virtual_bench.supplies import E36312A

ATTENUATORS = tuple(MAXIMUM_DB)
ROLES: Mapping[str, tuple[str, ...]] = {
    "source": ("N5182B",),
    "analyzer": ("N9020A",),
    "attenuator": ATTENUATORS,
    "amplifier": ("E36312A",),
    "magnet": ("E36312A",),
}
"""Models that can play each role."""
MODELS: Mapping[str, Callable[[str, Setup, str], Instrument]] = {
    "N5182B": N5182B,
    "N9020A": N9020A,
    "E36312A": E36312A,
    **dict.fromkeys(ATTENUATORS, RCDAT),
}
"""What makes an instrument of a serial number, what the bench shares, and the model's name."""

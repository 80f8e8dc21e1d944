"""Named operating points of the simulated ring, each with what was measured there.

STM and PC are the short-term memory and parity capacities of `labpgt characterize` (`--only stm,pc`, default effort):
random bits, 64 shots of 300 symbols, of which the first 50 do not count; a linear readout of one symbol's responses,
ridge 1e-6, fitted to 38 shots and judged by the other 26 (6 500 symbols); the sum over delays D = 1 to 50 of r² less
chance, which adds 0.008 to either sum when it is left in. Given are mean and standard deviation of seeds 0 to 5.

All three have the same readout noise, 3e-3 of full scale, and full scale is about the largest response (within 6 %),
so that they differ in the ring alone.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

PGT_PAPER: Mapping[str, Any] = MappingProxyType(
    {
        "carrier_hz": 3.1417e9,
        "drive_field_a_per_m": 18.0,
        "duty": 1.0,
        "gain": 0.94,
        "delay_s": 2e-9,
        "n_nodes": 10,
        "full_scale": 0.0185,
        "noise": 3e-3,
    }
)
"""Like the ring of arXiv 2506.04523, which had STM 2.91 and PC 0.01: close to threshold, no parity.

STM 2.94 ± 0.06, PC -0.001 ± 0.001 (chance left in adds 0.008). In double precision at half the step
(`tier = "reference"`, seed 0) 2.94 and 0.001. 1 MHz off the carrier STM is 2.93 to 3.03 and PC below 0.005; at a noise
of 1e-3 STM is 4.1. A constant drive builds up to where the amplifier compresses it: 1 dB at 0.25 of full drive, 5.3 dB
at all of it.
"""

MAX_MEMORY: Mapping[str, Any] = MappingProxyType(
    {
        "carrier_hz": 3.126e9,
        "drive_field_a_per_m": 28.0,
        "duty": 0.2,
        "gain": 0.9,
        "delay_s": 3e-9,
        "n_nodes": 20,
        "full_scale": 0.0052,
        "noise": 3e-3,
    }
)
"""The longest memory found: short pulses at a resonance of a loop with a longer delay.

STM 7.07 ± 0.06, PC 0.084 ± 0.005; in the reference tier (seed 0) 7.08 and 0.084. The echoes of a pulse must come back
in phase, and the carrier is 1.5 MHz from the frequency of auto-oscillation: 1 MHz off it STM is 6.8 to 7.0, but at a
delay of 2.95 or 3.05 ns (a sixth of a period away) 2.6 to 3.0. With 10 nodes it is 6.5, at a noise of 1e-3 7.9. The
best of Watt, Kostylev and Ustinov, J. Appl. Phys. 129, 044902 (2021), was 4.68.
"""

MAX_PARITY: Mapping[str, Any] = MappingProxyType(
    {
        "carrier_hz": 3.195e9,
        "drive_field_a_per_m": 3200.0,
        "duty": 0.5,
        "gain": 0.2,
        "delay_s": 1e-9,
        "n_nodes": 20,
        "full_scale": 0.33,
        "noise": 3e-3,
    }
)
"""The highest parity capacity found: the film itself driven far into its nonlinearity, little gain.

PC 2.23 ± 0.01, STM 2.79 ± 0.02; in the reference tier (seed 0) 2.24 and 2.81. 1 MHz off the carrier PC is 2.20 to
2.26. Most of it is made in the strip: with the loop open (gain 0) PC is 2.09. With 10 nodes it is 1.62, at a noise of
1e-3 2.40. The best of Watt, Kostylev and Ustinov (2021) was 1.74.
"""

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"pgt-paper": PGT_PAPER, "max-memory": MAX_MEMORY, "max-parity": MAX_PARITY}
)
"""The presets by name; `preset = "pgt-paper"` fills in what a configuration does not set itself."""

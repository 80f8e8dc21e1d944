"""The power of a pulse, from the source's driver to the analyser's over a cable: it must not depend on the batch."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from instruments.keysight_n5182b import KeysightN5182B
from instruments.keysight_n9020a import KeysightN9020A
from simulators.virtual_bench.bench import VirtualBench

CARRIER_HZ, RATE_HZ, SAMPLES = 3e9, 100e6, 400
SHOT = 100
"""Samples from one shot to the next."""


@pytest.fixture(scope="module")
def bench() -> Iterator[VirtualBench]:
    with VirtualBench("loopback", settings={"noise": 0.0}) as bench:
        yield bench


@pytest.fixture
def instruments(bench: VirtualBench) -> Iterator[tuple[KeysightN5182B, KeysightN9020A]]:
    source = KeysightN5182B(bench.addresses["source"], timeout=5000)
    analyzer = KeysightN9020A(bench.addresses["analyzer"], timeout=5000)
    try:
        source.write("*RST")
        with source.group("setting up"):
            source.frequency = CARRIER_HZ
            source.power = -6
            source.sample_rate = RATE_HZ
            source.arb_scaling = 100
        analyzer.setup_iq(CARRIER_HZ, RATE_HZ, SAMPLES / RATE_HZ, 0, "external")
        yield source, analyzer
        source.rf_off()
        source.check_identity()
    finally:
        source.adapter.close()
        analyzer.adapter.close()


def first_pulse(source: KeysightN5182B, analyzer: KeysightN9020A, shots: int) -> NDArray[np.complex128]:
    """The first pulse, of half a full code, of a waveform of that many shots, each louder than the one before."""
    codes = np.zeros((SAMPLES, 2), np.int16)
    starts = 20 + SHOT * np.arange(shots)
    for number, start in enumerate(starts):
        codes[start : start + 10, 0] = 16384 + 3000 * number
    source.load_waveform("PULSES", codes, starts.tolist())
    source.arm_waveform("PULSES")
    analyzer.arm()
    assert analyzer.ask(":STAT:OPER:COND?").strip() == "32"
    source.trigger()
    return analyzer.fetch_iq()[20:30]


def test_without_level_control_a_pulse_has_its_power_whatever_else_is_played(
    instruments: tuple[KeysightN5182B, KeysightN9020A],
) -> None:
    source, analyzer = instruments
    source.alc_enabled = False
    source.rf_on()
    single, batch = (first_pulse(source, analyzer, shots) for shots in (1, 4))
    np.testing.assert_array_equal(single, batch)
    # Half of the amplitude of -6 dBm; on this bench 0 dBm is full scale, 0.25 V.
    np.testing.assert_allclose(np.abs(single), 0.25 * 0.5 * 10 ** (-6 / 20), rtol=1e-3)
    source.power = 0
    np.testing.assert_allclose(np.abs(first_pulse(source, analyzer, 2)), 0.25 * 0.5, rtol=1e-3)
    assert source.empty_errors() == []


def test_with_level_control_it_depends_on_the_batch(instruments: tuple[KeysightN5182B, KeysightN9020A]) -> None:
    source, analyzer = instruments
    source.alc_enabled = True
    source.power = -20
    source.rf_on()
    single, batch = (np.abs(first_pulse(source, analyzer, shots)).mean() for shots in (1, 4))
    assert single > 1.5 * batch
    # The average over the waveform has the power that is set.
    assert single == pytest.approx(0.25 * 10 ** (-20 / 20) * np.sqrt(SAMPLES / 10), rel=1e-3)
    assert source.empty_errors() == []

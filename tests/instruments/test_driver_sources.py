"""Verbs of the sources, word for word on the wire."""

import math
from typing import Any

import numpy as np
import pytest
from pymeasure.test import expected_protocol

from instruments.keysight_e8257d import KeysightE8257D
from instruments.keysight_n5182b import KeysightN5182B
from instruments.scpi import InstrumentFault, SettingRefused
from tests.instruments.driver_cases import Pairs

NO_ERROR = ("SYST:ERR?", '+0,"No error"')


def sent(*messages: str | bytes) -> Pairs:
    return [(message, None) for message in messages]


@pytest.mark.parametrize("driver", [KeysightE8257D, KeysightN5182B])
def test_rf_off_is_one_write_and_asks_nothing(driver: type[Any]) -> None:
    with expected_protocol(driver, sent(":OUTP OFF", ":OUTP ON", ":OUTP OFF", "*TRG", ":OUTP OFF")) as source:
        source.rf_off()
        source.rf_on()
        source.rf_off()
        source.trigger()
        source.shutdown() if driver is KeysightN5182B else source.rf_off()


@pytest.mark.parametrize("driver", [KeysightE8257D, KeysightN5182B])
def test_leaving_the_context_switches_rf_off_before_anything_else(driver: type[Any]) -> None:
    rest = [] if driver is KeysightN5182B else sent(":OUTP:MOD 0", ":OUTPUT OFF;")
    with expected_protocol(driver, [*sent(":OUTP OFF"), *rest]) as source:
        with source:
            pass
        assert source.isShutdown


# --- E8257D ---


def test_a_list_is_loaded_with_a_dwell_for_each_point() -> None:
    messages = sent(
        ":LIST:TYPE LIST", ":LIST:DWEL:TYPE LIST", ":LIST:POW -135,0.1234567890123,25", ":LIST:DWEL 0.001,0.001,0.001"
    )
    with expected_protocol(KeysightE8257D, [*messages, NO_ERROR]) as source:
        source.load_list([-135, 0.1234567890123, 25], 1e-3)


def test_the_longest_list_and_dwell_are_taken() -> None:
    powers, dwells = ",".join(["-1"] * 1601), ",".join(["60"] * 1601)
    messages = sent(":LIST:TYPE LIST", ":LIST:DWEL:TYPE LIST", f":LIST:POW {powers}", f":LIST:DWEL {dwells}")
    with expected_protocol(KeysightE8257D, [*messages, NO_ERROR]) as source:
        source.load_list(np.full(1601, -1.0), 60)


@pytest.mark.parametrize(
    ("powers", "dwell_s", "told"),
    [
        ([], 1e-3, "1 to 1601 powers, got 0"),
        ([0.0] * 1602, 1e-3, "1 to 1601 powers, got 1602"),
        ([0.0, 25.1], 1e-3, "got 25.1 at point 1"),
        ([-135.1, 0.0], 1e-3, "got -135.1 at point 0"),
        ([0.0, math.nan], 1e-3, "got nan at point 1"),
        ([0.0], 9e-4, "dwell of 0.001 to 60 s, got 0.0009"),
        ([0.0], 61, "dwell of 0.001 to 60 s, got 61"),
        ([0.0], math.nan, "dwell of 0.001 to 60 s, got nan"),
    ],
)
def test_a_list_out_of_range_is_refused_before_anything_is_sent(powers: list[float], dwell_s: float, told: str) -> None:
    with expected_protocol(KeysightE8257D, []) as source, pytest.raises(SettingRefused, match=told):
        source.load_list(powers, dwell_s)


def test_a_list_keeps_to_narrowed_limits_of_power() -> None:
    with expected_protocol(KeysightE8257D, []) as source:
        source.power_values = (-135, 10)
        with pytest.raises(SettingRefused, match=r"expected powers of -135 to 10 dBm in a list, got 10\.5 at point 2"):
            source.load_list([0, 10, 10.5], 1e-3)


def test_arming_and_stopping_a_list() -> None:
    armed = sent(":FREQ:MODE FIX", ":POW:MODE LIST", ":LIST:DIR UP", ":TRIG:SOUR BUS", ":INIT:CONT OFF", ":INIT")
    stopped = sent(":ABOR", ":POW:MODE FIX")
    with expected_protocol(KeysightE8257D, [*armed, NO_ERROR, *sent("*TRG", "*TRG"), *stopped, NO_ERROR]) as source:
        source.arm_list()
        source.trigger()
        source.trigger()
        source.stop_list()


def test_errors_of_each_group_are_told_with_what_was_done() -> None:
    error = [("SYST:ERR?", '-226,"Lists not same length"'), NO_ERROR]
    armed = sent(":FREQ:MODE FIX", ":POW:MODE LIST", ":LIST:DIR UP", ":TRIG:SOUR BUS", ":INIT:CONT OFF", ":INIT")
    with (
        expected_protocol(KeysightE8257D, [*armed, *error]) as source,
        pytest.raises(InstrumentFault, match=r"arming the list: .*-226"),
    ):
        source.arm_list()
    with (
        expected_protocol(KeysightE8257D, [*sent(":ABOR", ":POW:MODE FIX"), *error]) as source,
        pytest.raises(InstrumentFault, match=r"stopping the list: .*-226"),
    ):
        source.stop_list()


def test_modulation_is_switched_without_driving_the_low_frequency_output() -> None:
    with expected_protocol(KeysightE8257D, sent(":OUTP:MOD 1", ":OUTP:MOD 0")) as source:
        source.enable_modulation()
        source.disable_modulation()


def test_pymeasures_own_ways_work_with_the_mended_properties() -> None:
    pulses = sent(":SOUR:PULM:STAT ON", ":PULM:SOUR INT", ":PULM:SOUR:INT SQU", ":PULM:INT:FREQ 1234567.89")
    am = sent(":SOUR:AM:STAT ON", ":AM:SOUR INT", ":AM:INT:FREQ 1000", ":AM:INT:FUNC:SHAP SINE", ":AM:DEPT 50")
    low = sent(":SOUR:LFO:STAT ON", ":LFO:SOUR INT", ":LFO:AMPL 3 VP")
    with expected_protocol(KeysightE8257D, [*pulses, *am, *low]) as source:
        source.config_pulse_modulation(1_234_567.89)
        source.config_amplitude_modulation(depth=50)
        source.config_low_freq_out()


# --- N5182B ---


def codes_of(samples: int) -> Any:
    ramp = np.arange(samples, dtype=np.int16)
    return np.stack([ramp * 256, -1 - ramp], axis=1)


def test_a_waveform_goes_big_endian_with_its_markers_after_it() -> None:
    codes = codes_of(60)
    codes[0] = 32767, -32768
    expected = b"\x7f\xff\x80\x00" + b"".join(bytes([k, 0, 255, 255 - k]) for k in range(1, 60))
    markers = bytes([3] + [1] * 31 + [0] * 8 + [2] + [0] * 18 + [2])
    messages = sent(
        ":RAD:ARB OFF",
        b':MMEM:DATA "WFM1:BATCH",#3240' + expected + b"\n",
        b':MMEM:DATA "MKR1:BATCH",#260' + markers + b"\n",
        ':RAD:ARB:HEADER:RMS "WFM1:BATCH",1',
    )
    with expected_protocol(KeysightN5182B, [*messages, NO_ERROR]) as source:
        source.load_waveform("BATCH", codes, [0, 40, 59])


def test_without_shots_only_the_trigger_is_marked() -> None:
    block = b'"WFM1:W",#3400' + codes_of(100).astype(">i2").tobytes()
    markers = b'"MKR1:W",#3100' + bytes([1] * 32 + [0] * 68)
    messages = sent(":RAD:ARB OFF", b":MMEM:DATA " + block + b"\n", b":MMEM:DATA " + markers + b"\n")
    messages += sent(':RAD:ARB:HEADER:RMS "WFM1:W",1')
    with expected_protocol(KeysightN5182B, [*messages, NO_ERROR]) as source:
        source.load_waveform("W", codes_of(100))


@pytest.mark.parametrize(
    ("name", "codes", "shots", "told"),
    [
        ("W", codes_of(59), (), "60 to 8000000 samples, got 59"),
        ("W", codes_of(100).astype(np.int32), (), "type int16, got .* int32"),
        ("W", codes_of(100) / 32767, (), "type int16, got .* float64"),
        ("W", codes_of(100)[:, :1], (), r"shape \(samples, 2\) .* got \(100, 1\)"),
        ("W", codes_of(100).ravel(), (), r"got \(200,\)"),
        ("W", codes_of(100), (0, 100), "samples 0 to 99, got 0 to 100"),
        ("W", codes_of(100), (-1, 5), "samples 0 to 99, got -1 to 5"),
        ("W 1", codes_of(100), (), "expected a waveform's name"),
        ("W" * 23, codes_of(100), (), "expected a waveform's name"),
        ('W"', codes_of(100), (), "expected a waveform's name"),
    ],
)
def test_a_waveform_that_cannot_be_is_refused_before_anything_is_sent(
    name: str, codes: Any, shots: tuple[int, ...], told: str
) -> None:
    with expected_protocol(KeysightN5182B, []) as source, pytest.raises(SettingRefused, match=told):
        source.load_waveform(name, codes, shots)


def test_a_waveform_longer_than_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeysightN5182B, "LONGEST", 99)
    with (
        expected_protocol(KeysightN5182B, []) as source,
        pytest.raises(SettingRefused, match="60 to 99 samples, got 100"),
    ):
        source.load_waveform("W", codes_of(100))


def test_arming_plays_once_a_trigger_from_the_bus() -> None:
    armed = sent(
        ':RAD:ARB:WAV "WFM1:W"', ":RAD:ARB:TRIG:TYPE SING", ":RAD:ARB:RETR OFF", ":RAD:ARB:TRIG BUS", ":RAD:ARB 1"
    )
    with expected_protocol(KeysightN5182B, [*armed, NO_ERROR, *sent("*TRG")]) as source:
        source.arm_waveform("W")
        source.trigger()


ARMED = sent(':RAD:ARB:WAV "WFM1:W"', ":RAD:ARB:TRIG:TYPE SING", ":RAD:ARB:RETR OFF", ":RAD:ARB:TRIG BUS", ":RAD:ARB 1")
SEARCH = sent(":POW:ALC:SEAR 0", ":POW:ALC:SEAR:REF RMS", ":POW:ALC:SEAR ONCE;*WAI")


def test_the_level_is_found_once_after_what_changes_it() -> None:
    def changed(message: str) -> Pairs:
        return [*sent(message), *ARMED, *SEARCH, NO_ERROR, *ARMED, NO_ERROR]

    messages = (":POW:ALC 0", ":FREQ 3000000000 Hz", ":POW -3 dBm", ":OUTP ON", ":OUTP 1")
    levelled = [*sent(":POW:ALC 1", ":POW -4 dBm"), *ARMED, NO_ERROR]
    first = [*sent(":POW -3 dBm"), *ARMED, NO_ERROR]
    wire = [*first, *(pair for message in messages for pair in changed(message)), *levelled]
    with expected_protocol(KeysightN5182B, wire) as source:
        source.power = -3
        source.arm_waveform("W")
        for change in (
            lambda: setattr(source, "alc_enabled", False),
            lambda: setattr(source, "frequency", 3e9),
            lambda: setattr(source, "power", -3),
            source.rf_on,
            lambda: setattr(source, "output_enabled", True),
        ):
            change()
            source.arm_waveform("W")
            source.arm_waveform("W")
        source.alc_enabled = True
        source.power = -4
        source.arm_waveform("W")


@pytest.mark.parametrize(("model", "samples"), [("N5182B", 32e6), ("N5172B", 32e6), ("N5182A", 8e6)])
def test_the_longest_waveform_is_that_of_the_model(model: str, samples: float) -> None:
    with expected_protocol(KeysightN5182B, [("*IDN?", f"Keysight Technologies,{model},MY1,B.01.95")]) as source:
        assert source.LONGEST == 8e6
        source.check_identity()
        assert samples == source.LONGEST
    assert set(KeysightN5182B.MEMORY) == set(KeysightN5182B.MODELS)


def test_errors_of_loading_arming_and_deleting_are_told_with_the_waveform() -> None:
    error = [("SYST:ERR?", '-256,"File name not found"'), NO_ERROR]
    with (
        expected_protocol(KeysightN5182B, [*sent(':MMEM:DEL "WFM1:W"'), *error]) as source,
        pytest.raises(InstrumentFault, match=r"deleting waveform W: .*-256"),
    ):
        source.delete_waveform("W")
    armed = sent(
        ':RAD:ARB:WAV "WFM1:W"', ":RAD:ARB:TRIG:TYPE SING", ":RAD:ARB:RETR OFF", ":RAD:ARB:TRIG BUS", ":RAD:ARB 1"
    )
    with (
        expected_protocol(KeysightN5182B, [*armed, *error]) as source,
        pytest.raises(InstrumentFault, match=r"arming waveform W: .*-256"),
    ):
        source.arm_waveform("W")


def test_deleting_a_waveform() -> None:
    with expected_protocol(KeysightN5182B, [*sent(':MMEM:DEL "WFM1:W"'), NO_ERROR]) as source:
        source.delete_waveform("W")


@pytest.mark.parametrize(
    ("options", "fastest"),
    [("506,653", 75e6), ("506,653,655", 150e6), ('"656","657","506"', 200e6), ("656", 100e6), ("654", 125e6)],
)
def test_the_baseband_option_says_the_fastest_sample_rate(options: str, fastest: float) -> None:
    with expected_protocol(KeysightN5182B, [("*OPT?", options)]) as source:
        assert source.fastest() == fastest


def test_without_a_baseband_option_there_is_no_waveform() -> None:
    with (
        expected_protocol(KeysightN5182B, [("*OPT?", "506,1EA")]) as source,
        pytest.raises(InstrumentFault, match=r"needs one of the options .*657.*, none is installed"),
    ):
        source.fastest()

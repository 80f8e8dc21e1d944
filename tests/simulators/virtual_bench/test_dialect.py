"""The instruments as a plain socket meets them; the numbers of errors are those of SCPI-99, volume 2, 21.8."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from simulators.virtual_bench.bench import VirtualBench
from tests.simulators.virtual_bench.support import Plain, arm, load, plain, still_bench, until, waveform


@pytest.fixture(scope="module")
def bench() -> Iterator[VirtualBench]:
    with still_bench() as bench:
        yield bench


def test_long_and_short_forms_and_optional_nodes_are_one_command(source: Plain) -> None:
    for number, header in enumerate((":FREQ", "freq", ":SOURce:FREQuency:CW", "SOUR:FREQ:FIX"), start=1):
        source.send(f"{header} {number}GHz")
        assert float(source.ask(f"{header}?")) == number * 1e9
    assert float(source.ask(":POW:LEV:IMM:AMPL -20 dBm;AMPL?")) == -20
    assert source.errors() == []


def test_path_is_inherited_within_a_message_only(source: Plain) -> None:
    source.send(":SOUR:RAD:ARB:RSC 50;SCL:RATE 100MHz;*WAI;:RAD:ARB:TRIG:TYPE SING")
    assert source.errors() == []
    assert source.ask(":RAD:ARB:RSC?;SCL:RATE?;:RAD:ARB:TRIG:TYPE?").split(";") == [
        "+5.00000000000000E+01",
        "+1.00000000000000E+08",
        "SING",
    ]
    source.send("RSC 40")
    assert source.errors() == [-113]
    source.send("RAD:ARB:RSC 40;FREQ 1GHZ")  # FREQ under RAD:ARB does not exist
    assert source.errors() == [-113]


def test_many_questions_in_one_message_have_one_answer(source: Plain) -> None:
    answer = source.ask("*IDN?;:OUTP?;:FREQ? MAX;*OPC?")
    assert answer.split(";")[1:] == ["0", "+6.00000000000000E+09", "1"]


def test_limits_can_be_asked_and_set(source: Plain) -> None:
    source.send(":POW MAX")
    assert source.ask(":POW?;POW? MAX;POW? MIN").split(";")[0] == "+3.00000000000000E+01"
    source.send(":FREQ MIN")
    assert float(source.ask(":FREQ?")) == 9e3


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("FREK 1", -113),
        ("FREQ", -109),
        ("FREQ 1,2", -108),
        ("FREQ 1 dBm", -131),
        ("FREQ ABC", -104),
        (":RAD:ARB:TRIG:TYPE SOMETIMES", -224),
        (":RAD:ARB:WAV NAME", -104),
        (':RAD:ARB:WAV "WFM1:NONE"', -256),
        (":RAD:ARB ON", -221),
        ("*TRG", -211),
        (':MMEM:DATA "WFM1:A",#216abcd', -161),
        (':MMEM:DATA "WFM1:A",#14abcd', -161),
        ("*IDN", -113),
        ("OUTP2 ON", -114),
    ],
)
def test_each_mistake_has_its_number(source: Plain, message: str, error: int) -> None:
    source.send(message + ("" if "#216" not in message else "abcdefghijk\n"))
    assert error in source.errors()


def test_a_number_out_of_range_is_clipped_and_reported(source: Plain) -> None:
    source.send(":POW 99 dBm")
    assert source.ask("SYST:ERR?") == '-222,"Data out of range;value clipped to upper limit"'
    assert float(source.ask(":POW?")) == 30


def test_after_a_command_error_the_rest_of_the_message_is_left(source: Plain) -> None:
    source.send(":POW -10;FREK 1;:POW -20")
    assert float(source.ask(":POW?")) == -10
    source.send(":RAD:ARB ON;:POW -30")  # an execution error: it goes on
    assert float(source.ask(":POW?")) == -30
    assert source.errors() == [-113, -221]


def test_the_queue_is_first_in_first_out_and_ends_with_an_overflow(source: Plain) -> None:
    source.send("FREQ;FREK 1")
    for _ in range(40):
        source.send("*TRG")
    assert source.ask("SYST:ERR:COUN?") == "30"
    errors = source.errors()
    assert errors[0] == -109
    assert errors[1:29] == [-211] * 28
    assert errors[29:] == [-350]
    assert source.ask("SYST:ERR?") == '+0,"No error"'


def test_status_registers(source: Plain) -> None:
    source.send("*ESR?;*ESE 32;*SRE 32")
    source.read()
    assert source.ask("*ESR?;*STB?;*ESE?;*SRE?") == "0;0;32;32"
    source.send("FREK")
    assert source.ask("*STB?") == str(4 + 32 + 64)
    assert source.ask("*ESR?;*ESR?") == "32;0"
    source.send("*CLS;*OPC")
    assert source.ask("*ESR?;*STB?") == "1;0"
    source.send("*TRG;FREQ 99GHZ")
    assert source.ask("*ESR?") == "16"


def test_reset_sets_everything_back(source: Plain, bench: VirtualBench) -> None:
    load(source, "A", waveform())
    source.send(':FREQ 1GHZ;:OUTP ON;:RAD:ARB:WAV "WFM1:A";STAT ON')
    assert source.errors() == []
    assert bench.instruments["source"].rf_on
    source.send("*RST")
    assert source.ask(":OUTP?;:RAD:ARB:STAT?;WAV?;:FREQ?") == '0;0;"";+6.00000000000000E+09'
    assert not bench.instruments["source"].rf_on
    assert not bench.world.output.rf_on


def test_binary_waveforms_come_back_as_they_went(source: Plain) -> None:
    codes = np.random.default_rng(1).integers(-32768, 32767, (1 << 20, 2)).astype(">i2").tobytes()  # 4 MiB
    load(source, "BIG", codes)
    assert source.errors() == []
    assert source.ask_block(':MMEM:DATA? "WFM1:BIG"') == codes
    assert source.ask_block(':MEM:DATA? "MKR1:BIG"')[:33] == b"\x01" * 32 + b"\0"
    assert source.ask(':MMEM:CAT? "WFM1:"').endswith(f'"BIG,WFM1,{len(codes)}"')
    source.send(':MMEM:DEL "WFM1:BIG"')
    assert "BIG" not in source.ask(':MMEM:CAT? "WFM1:"')
    source.send(':MMEM:DATA? "WFM1:BIG"')
    assert source.errors() == [-256]


def test_a_trigger_plays_the_waveform_and_completes_the_capture(
    bench: VirtualBench, source: Plain, analyzer: Plain
) -> None:
    codes = waveform(128)
    load(source, "A", codes, b"\x01" * 32 + b"\x02" + b"\0" * 95)
    arm(source, analyzer)
    source.send(":FREQ 3.205GHZ;POW -3;:RAD:ARB:SCL:RATE 100MHZ;:RAD:ARB:RSC 80")
    analyzer.send(":DISP:WAV:VIEW:WIND:TRAC:Y:RLEV 10 dBm;:FREQ:CENT 3.205GHZ")
    assert analyzer.ask(":INIT:WAV;:STAT:OPER:COND?") == "32"
    analyzer.send("*WAI;:FETC:WAV0?")
    assert analyzer.silent()  # it waits for its trigger
    source.send("*TRG")
    assert source.ask(":OUTP OFF;:OUTP?") == "0"  # too late for what was played
    samples = np.frombuffer(analyzer.read_block(), "<f4").reshape(-1, 2)
    np.testing.assert_array_equal(samples[:, 0], np.float32(1e-3 * np.arange(128)))
    assert not samples[:, 1].any()
    what, output, plan = bench.world.asked[-1]  # type: ignore[attr-defined]
    assert what == "iq"
    assert output.rf_on
    assert (output.carrier_hz, output.power_dbm, output.rate_hz, output.scaling) == (3.205e9, -3, 100e6, 0.8)
    np.testing.assert_array_equal(output.codes, np.frombuffer(codes, ">i2").reshape(-1, 2))
    np.testing.assert_array_equal(output.marks, [32])
    assert plan == (128, 100e6, 3.205e9, pytest.approx(1.0))
    assert source.errors() == analyzer.errors() == []
    until(lambda: not bench.world.output.rf_on)


def test_without_marker_no_trigger(bench: VirtualBench, source: Plain, analyzer: Plain) -> None:
    load(source, "A", waveform(), bytes(128))
    arm(source, analyzer)
    played = bench.instruments["source"].played
    source.send("*TRG")
    assert source.ask("*OPC?") == "1"
    assert bench.instruments["source"].played == played + 1
    analyzer.send("*WAI;:FETC:WAV0?")
    assert analyzer.silent()
    with plain(bench, "analyzer") as other:
        other.send(":ABOR")
        # The question that waited has no answer.
        until(lambda: bool(bench.instruments["analyzer"].errors))
        assert other.errors() == [-230]
    assert analyzer.ask("*OPC?") == "1"


def test_loading_a_waveform_clears_its_markers(source: Plain) -> None:
    load(source, "A", waveform())
    source.send(b':MMEM:DATA "WFM1:A",#3512' + waveform())
    assert not any(source.ask_block(':MMEM:DATA? "MKR1:A"'))


def test_both_byte_orders_and_text(bench: VirtualBench, source: Plain, analyzer: Plain) -> None:
    load(source, "A", waveform())
    arm(source, analyzer)
    source.send("*TRG")
    little = np.frombuffer(analyzer.ask_block("FETC:WAV0?"), "<f4")
    analyzer.send(":FORM:BORD NORM")
    np.testing.assert_array_equal(np.frombuffer(analyzer.ask_block("FETC:WAV0?"), ">f4"), little)
    analyzer.send(":FORM REAL,64")
    np.testing.assert_array_equal(np.frombuffer(analyzer.ask_block("FETC:WAV0?"), ">f8").astype("f4"), little)
    analyzer.send(":FORM ASC")
    text = analyzer.ask(":FORM?;:FETC:WAV0?")
    assert text.startswith("ASC,8;")
    np.testing.assert_allclose([float(x) for x in text.split(";")[1].split(",")], little, rtol=1e-6)
    assert float(analyzer.ask("FETC:WAV1?").split(",")[3]) == 128


def test_captures_and_sweeps_without_a_trigger(bench: VirtualBench, source: Plain, analyzer: Plain) -> None:
    source.send(":OUTP OFF")
    analyzer.send(":INST:SEL BASIC;:CONF:WAV;:TRIG:WAV:SOUR IMM;:INIT:CONT 0;:WAV:SRAT 1MHZ;:WAV:SWE:TIME 100us")
    assert set(analyzer.ask(":READ:WAV0?").split(",")) == {"0.00000000E+00"}
    assert bench.world.asked[-1][0] == "idle"  # type: ignore[attr-defined]
    analyzer.send(":INST:SEL SA;:FREQ:CENT 3.2GHZ;SPAN 10MHZ;:BAND 10KHZ;:SWE:POIN 11;:TRIG:SOUR IMM;:UNIT:POW V")
    trace = analyzer.ask(":INIT:IMM;*WAI;:TRAC? TRACE1").split(",")
    assert len(trace) == 11
    what, output, plan = bench.world.asked[-1]  # type: ignore[attr-defined]
    assert (what, plan[:4], output.rf_on) == ("spectrum", (11, 3.2e9, 10e6, 10e3), False)
    analyzer.send(":UNIT:POW DBM")
    assert float(analyzer.ask(":TRAC? TRACE1").split(",")[0]) == pytest.approx(20 * np.log10(float(trace[0])) + 13.0103)
    analyzer.send(":FREQ:SPAN 0;:SWE:TIME 1ms")
    analyzer.ask(":INIT:IMM;*WAI;:TRAC? TRACE1")
    assert bench.world.asked[-1][0] == "zero span"  # type: ignore[attr-defined]
    assert analyzer.errors() == []


def test_fetching_without_waiting_gives_the_capture_before(bench: VirtualBench, source: Plain, analyzer: Plain) -> None:
    world: Any = bench.world
    load(source, "A", waveform())
    arm(source, analyzer)
    source.send("*TRG")
    whole = analyzer.ask_block("*WAI;:FETC:WAV0?")
    world.level = 2.0
    try:
        assert analyzer.ask(":INIT:WAV;:STAT:OPER:COND?") == "32"
        assert analyzer.ask_block("FETC:WAV0?") == whole
        analyzer.send("*WAI;:FETC:WAV0?")
        source.send("*TRG")
        double = np.frombuffer(analyzer.read_block(), "<f4")
        np.testing.assert_array_equal(double, 2 * np.frombuffer(whole, "<f4"))
    finally:
        world.level = 1.0
    assert analyzer.errors() == source.errors() == []


def test_the_source_levels_an_average_or_goes_by_a_power_search(bench: VirtualBench, source: Plain) -> None:
    codes = np.zeros((128, 2), ">i2")
    codes[:32, 0], codes[32:40, 1] = 16384, -32767
    load(source, "A", codes.tobytes())
    source.send(':RAD:ARB:WAV "WFM1:A";RSC 50;:RAD:ARB ON;:POW:ALC:SEAR OFF')

    def full_code() -> float:
        assert source.errors() == []
        return bench.instruments["source"].output().scaling  # type: ignore[no-any-return]

    amplitudes = np.hypot(*(codes.T / 32767))
    average, sounding = (np.sqrt(np.mean(some**2)) for some in (amplitudes, amplitudes[:40]))
    # On: the average over all is levelled, whatever the scaling.
    assert full_code() * average == pytest.approx(1)
    # Off: too little until there was a search, which needs RF.
    source.send(":POW:ALC OFF;:POW:ALC:SEAR:REF RMS")
    unfound = 0.5 * 10 ** (-1 / 20)
    assert full_code() == pytest.approx(unfound)
    source.send(":POW:ALC:SEAR ONCE")
    assert source.errors() == [-221]
    source.send(":OUTP ON;:POW:ALC:SEAR ONCE")
    assert full_code() == pytest.approx(0.5)
    for change in (":POW -3", ":FREQ 3GHZ"):
        source.send(change)
        assert full_code() == pytest.approx(unfound)
        source.send(":POW:ALC:SEAR ONCE")
        assert full_code() == pytest.approx(0.5)
    # Without a voltage in the header it is that of the waveform, silence left out; loading anew clears it.
    source.send(':RAD:ARB:HEAD:RMS "WFM1:A",UNSP;:POW:ALC:SEAR ONCE')
    assert full_code() == pytest.approx(0.5 / sounding)
    source.send(':RAD:ARB:HEAD:RMS "WFM1:A",0.25;:POW:ALC:SEAR ON;:POW -4')
    assert float(source.ask(':RAD:ARB:HEAD:RMS? "WFM1:A"')) == 0.25
    assert full_code() == pytest.approx(0.5 / 0.25)
    source.send(":POW:ALC:SEAR:REF MOD")
    assert full_code() == pytest.approx(0.5 / average)
    source.send(":POW:ALC:SEAR:REF FIX")
    assert full_code() == pytest.approx(0.5 / 0.5)
    load(source, "B", codes.tobytes())
    assert full_code() == pytest.approx(0.5 / 0.5)
    source.send(b':MMEM:DATA "WFM1:B",#3512' + codes.tobytes())
    assert source.ask(':RAD:ARB:HEAD:RMS? "WFM1:B"') == "UNSP"
    assert source.ask(":POW:ALC:SEAR?;:POW:ALC?;:POW:ALC:SEAR:REF?") == "1;0;FIX"
    assert source.errors() == []


def test_a_new_setting_spoils_an_old_acquisition(source: Plain, analyzer: Plain) -> None:
    load(source, "A", waveform())
    arm(source, analyzer)
    analyzer.send(":WAV:SRAT 50MHZ;:FETC:WAV0?")
    assert analyzer.errors() == [-230]
    source.send("*TRG")
    assert source.ask("*OPC?") == "1"
    analyzer.send(":TRAC? TRACE1;:INIT:SAN")
    assert analyzer.errors() == [-221, -221]


def test_start_and_stop_follow_center_and_span(analyzer: Plain) -> None:
    analyzer.send(":FREQ:CENT 3GHZ;SPAN 2GHZ")
    assert [float(analyzer.ask(f":FREQ:{edge}?")) for edge in ("STAR", "STOP")] == [2e9, 4e9]
    analyzer.send(":FREQ:STAR 3GHZ;STOP 3.5GHZ")
    assert [float(analyzer.ask(f":FREQ:{edge}?")) for edge in ("CENT", "SPAN")] == [3.25e9, 0.5e9]
    analyzer.send(":FREQ:STAR 5GHZ")
    assert [float(analyzer.ask(f":FREQ:{edge}?")) for edge in ("STAR", "STOP")] == [5e9, 5e9]


def test_the_attenuator_has_answers_of_its_own(bench: VirtualBench) -> None:
    with plain(bench, "attenuator") as client:
        assert client.ask(":MN?") == "MN=RCDAT-6000-90"
        assert client.ask(":SN?").startswith("SN=")
        client.raw(b":SETATT=12.8\r\n")
        assert client.read() == "1"
        assert client.ask(":ATT?") == "12.75"
        assert bench.world.attenuation_db == 12.75
        assert client.ask(":SETATT=95") == "2"
        assert client.ask(":ATT?") == "90.00"
        for wrong in (":SETATT=x", ":SETATT=-1", ":SETATT=nan"):
            assert client.ask(wrong) == "0"
        assert client.ask("*IDN?").startswith("-99 Unrecognized Command")
        assert client.ask(":ATT?") == "90.00"
    with plain(bench, "attenuator") as client:
        assert client.ask(":SETATT=20") == "1"

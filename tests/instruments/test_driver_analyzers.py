"""Verbs of the analysers, word for word on the wire."""

from typing import Any

import numpy as np
import pytest
from pymeasure.test import expected_protocol

from instruments.keysight_n9020a import KeysightN9020A
from instruments.rohdeschwarz_fsv import RohdeSchwarzFSL, RohdeSchwarzFSV
from instruments.scpi import InstrumentFault, definite_block
from tests.instruments.driver_cases import Pairs

NO_ERROR = ("SYST:ERR?", '+0,"No error"')
FSX = [RohdeSchwarzFSV, RohdeSchwarzFSL]


def sent(*messages: str) -> Pairs:
    return [(message, None) for message in messages]


def block_of(values: Any) -> bytes:
    return definite_block(np.asarray(values, "<f4").tobytes()) + b"\n"


def analyzer(driver: type[Any], pairs: Pairs) -> Any:
    return expected_protocol(driver, pairs, connection_attributes={"timeout": 2000})


# --- N9020A ---


def n9020a_sweep(span: str, points: int, level: str, trigger: str, sweep_time: str) -> Pairs:
    return sent(
        ":INST:SEL SA",
        ":INIT:CONT 0",
        ":FREQ:CENT 3205000000 Hz",
        f":FREQ:SPAN {span} Hz",
        ":BAND 1000000 Hz",
        ":BAND:VID 10000000 Hz",
        f":SWE:POIN {points}",
        ":DET AVER",
        ":AVER:TYPE RMS",
        f":DISP:WIND:TRAC:Y:RLEV {level} dBm",
        ":UNIT:POW V",
        f":TRIG:SOUR {trigger}",
        ":FORM REAL,32",
        ":FORM:BORD SWAP",
        f":SWE:TIME{sweep_time}",
    )


def test_n9020a_zero_span_from_setting_up_to_levels() -> None:
    setup = n9020a_sweep("0", 3, "-10.5", "EXT1", " 2e-05")
    fetch = ("*WAI;:TRAC? TRACE1", block_of([1, 2, 3]))
    with analyzer(KeysightN9020A, [*setup, NO_ERROR, *sent(":INIT:IMM"), fetch, *sent(":INIT:IMM"), fetch]) as found:
        found.setup_zero_span(3.205e9, 1e6, 3, 20e-6, -10.5, "external")
        for _ in range(2):
            found.arm()
            np.testing.assert_array_equal(found.fetch_trace(), [1, 2, 3])


def test_n9020a_spectrum_waits_as_long_as_the_sweep_takes() -> None:
    setup = n9020a_sweep("50000000", 2, "0", "IMM", ":AUTO ON")
    pairs = [*setup, NO_ERROR, (":SWE:TIME?", "2.5"), *sent(":INIT:IMM"), ("*WAI;:TRAC? TRACE1", block_of([1, 2]))]
    with analyzer(KeysightN9020A, pairs) as found:
        found.setup_spectrum(3.205e9, 50e6, 1e6, 2, 0, "immediate")
        found.arm()
        waits = []
        usual = found.ask_floats
        found.ask_floats = lambda *args: (waits.append(found.adapter.connection.timeout), usual(*args))[1]
        np.testing.assert_array_equal(found.fetch_trace(), [1, 2])
        assert waits == [4500]
        assert found.adapter.connection.timeout == 2000


def test_n9020a_video_bandwidth_stops_at_its_limit() -> None:
    setup = [
        (message.replace("1000000 Hz", "8000000 Hz") if message == ":BAND 1000000 Hz" else message, reply)
        for message, reply in n9020a_sweep("0", 3, "0", "IMM", " 1")
    ]
    setup[5] = (":BAND:VID 50000000 Hz", None)
    with analyzer(KeysightN9020A, [*setup, NO_ERROR]) as found:
        found.setup_zero_span(3.205e9, 8e6, 3, 1, 0, "immediate")


def n9020a_iq(rate: str, duration: str, attenuation: str, level: str, trigger: str = "EXT1") -> Pairs:
    return sent(
        ":INST:SEL BASIC",
        ":CONF:WAV",
        ":INIT:CONT 0",
        ":FREQ:CENT 3205000000 Hz",
        f":WAV:SRAT {rate}",
        f":WAV:SWE:TIME {duration}",
        f":POW:ATT {attenuation} dB",
        f":DISP:WAV:VIEW:WIND:TRAC:Y:RLEV {level} dBm",
        f":TRIG:WAV:SOUR {trigger}",
        ":FORM REAL,32",
        ":FORM:BORD SWAP",
    )


@pytest.mark.parametrize("spare", [0, 1, 2])
def test_n9020a_capture_of_i_and_q(spare: int) -> None:
    pairs = np.arange(2 * (50 + spare), dtype="<f4")
    wire = [
        *n9020a_iq("50000000", "1e-06", "10", "0"),
        NO_ERROR,
        (":WAV:SRAT?", "5.00000000000E+07"),
        *sent(":INIT:WAV"),
        ("*WAI;:FETC:WAV0?", block_of(pairs)),
    ]
    with analyzer(KeysightN9020A, wire) as found:
        found.setup_iq(3.205e9, 50e6, 1e-6, 0, "external")
        found.arm()
        samples = found.fetch_iq()
    assert samples.dtype == np.complex128
    np.testing.assert_array_equal(samples, pairs[:100:2] + 1j * pairs[1:100:2])


@pytest.mark.parametrize("count", [0, 98, 99, 105, 106])
def test_n9020a_fewer_or_many_more_samples_are_a_fault(count: int) -> None:
    header = b"#3%03d" % (4 * count)
    wire = [
        *n9020a_iq("50000000", "1e-06", "10", "0"),
        NO_ERROR,
        (":WAV:SRAT?", "50000000"),
        ("*WAI;:FETC:WAV0?", header),
    ]
    with analyzer(KeysightN9020A, wire) as found:
        found.setup_iq(3.205e9, 50e6, 1e-6, 0, "external")
        with pytest.raises(InstrumentFault, match=f"expected a block of 400 to 416 bytes, got one of {4 * count}"):
            found.fetch_iq()


@pytest.mark.parametrize(
    ("level", "attenuation"), [(-40, "0"), (-10, "0"), (-9, "2"), (0, "10"), (0.1, "12"), (30, "40"), (100, "70")]
)
def test_n9020a_attenuator_follows_the_reference_level(level: float, attenuation: str) -> None:
    wire = [*n9020a_iq("50000000", "1e-06", attenuation, f"{level:g}", "IMM"), NO_ERROR, (":WAV:SRAT?", "50000000")]
    with analyzer(KeysightN9020A, wire) as found:
        found.setup_iq(3.205e9, 50e6, 1e-6, level, "immediate")


def test_n9020a_another_sample_rate_than_asked_is_a_fault_that_names_the_options() -> None:
    wire = [
        *n9020a_iq("100000000", "1e-06", "10", "0"),
        NO_ERROR,
        (":WAV:SRAT?", "50000000"),
        ("*OPT?", '"503,B40"'),
        ("*OPT?", '"503,B40"'),
    ]
    told = r"asked for 100000000 samples .* takes 50000000; with its options \(503, B40\) it reaches 50000000"
    with analyzer(KeysightN9020A, wire) as found:
        with pytest.raises(InstrumentFault, match=told):
            found.setup_iq(3.205e9, 100e6, 1e-6, 0, "external")
        with pytest.raises(InstrumentFault, match="nothing was set up"):
            found.arm()


@pytest.mark.parametrize(
    ("options", "widest"),
    [("503", 10e6), ('"B25"', 25e6), ("B25,B40", 40e6), ("B40,B85", 85e6), ("B1A", 125e6), ("B1X,B40", 160e6)],
)
def test_n9020a_analysis_bandwidth_of_the_options(options: str, widest: float) -> None:
    with analyzer(KeysightN9020A, [("*OPT?", options)]) as found:
        assert found.widest() == widest


@pytest.mark.parametrize(
    ("bits", "overloaded"), [("0", False), ("16", True), ("32", True), ("48", True), ("79", False)]
)
def test_n9020a_overload_is_either_of_two_bits(bits: str, overloaded: bool) -> None:
    with analyzer(KeysightN9020A, [(":STAT:QUES:INT?", bits)]) as found:
        assert found.overloaded() is overloaded


def test_n9020a_does_not_fetch_what_it_did_not_set_up() -> None:
    with analyzer(KeysightN9020A, sent(":ABOR")) as found:
        for verb in (found.arm, found.fetch_trace, found.fetch_iq):
            with pytest.raises(InstrumentFault, match="set up"):
                verb()
        found.abort()
    setup = [*n9020a_iq("50000000", "1e-06", "10", "0"), NO_ERROR, (":WAV:SRAT?", "50000000")]
    with analyzer(KeysightN9020A, setup) as found:
        found.setup_iq(3.205e9, 50e6, 1e-6, 0, "external")
        with pytest.raises(InstrumentFault, match="no sweep was set up"):
            found.fetch_trace()


def test_n9020a_errors_of_a_setup_are_told_and_nothing_is_set_up_then() -> None:
    error = [("SYST:ERR?", '-222,"Data out of range"'), NO_ERROR]
    with analyzer(KeysightN9020A, [*n9020a_sweep("0", 3, "0", "EXT1", " 1"), *error]) as found:
        with pytest.raises(InstrumentFault, match=r"setting up zero span: .*-222"):
            found.setup_zero_span(3.205e9, 1e6, 3, 1, 0, "external")
        with pytest.raises(InstrumentFault, match="nothing was set up"):
            found.arm()


@pytest.mark.parametrize("verb", ["zero span", "spectrum", "iq"])
def test_n9020a_a_failed_setup_forgets_the_one_before(verb: str) -> None:
    good = n9020a_sweep("0", 3, "0", "EXT1", " 1")
    bad = {
        "zero span": good,
        "spectrum": n9020a_sweep("50000000", 3, "0", "EXT1", ":AUTO ON"),
        "iq": n9020a_iq("50000000", "1e-06", "10", "0"),
    }[verb]
    error = [("SYST:ERR?", '-222,"Data out of range"'), NO_ERROR]
    with analyzer(KeysightN9020A, [*good, NO_ERROR, *bad, *error]) as found:
        found.setup_zero_span(3.205e9, 1e6, 3, 1, 0, "external")
        again = {
            "zero span": lambda: found.setup_zero_span(3.205e9, 1e6, 3, 1, 0, "external"),
            "spectrum": lambda: found.setup_spectrum(3.205e9, 50e6, 1e6, 3, 0, "external"),
            "iq": lambda: found.setup_iq(3.205e9, 50e6, 1e-6, 0, "external"),
        }[verb]
        with pytest.raises(InstrumentFault, match="-222"):
            again()
        with pytest.raises(InstrumentFault, match="nothing was set up"):
            found.arm()


# --- FSV and FSL ---


def fsx_sweep(span: str, points: int, level: str, trigger: str, sweep_time: str) -> Pairs:
    return sent(
        "INIT:CONT 0",
        "FREQ:CENT 3205000000 HZ",
        f"FREQ:SPAN {span} HZ",
        "BAND:RES 100000",
        "BAND:VID 1000000",
        f"SWE:POIN {points}",
        "SWE:COUN 1",
        "DET1 RMS",
        f"DISP:WIND:TRAC:Y:RLEV {level} DBM",
        "CALC:UNIT:POW V",
        f"TRIG:SOUR {trigger}",
        "FORM REAL,32",
        f"SWE:TIME{sweep_time}",
    )


LEVELS = np.arange(101, dtype="<f4")
FETCH = ("*WAI;:TRAC? TRACE1", block_of(LEVELS))


@pytest.mark.parametrize("driver", FSX)
def test_fsx_zero_span_from_setting_up_to_levels(driver: type[Any]) -> None:
    setup = fsx_sweep("0", 101, "-10.5", "EXT", " 2e-05")
    with analyzer(driver, [*setup, NO_ERROR, *sent("INIT"), FETCH]) as found:
        found.setup_zero_span(3.205e9, 100e3, 101, 20e-6, -10.5, "external")
        found.arm()
        np.testing.assert_array_equal(found.fetch_trace(), LEVELS)


@pytest.mark.parametrize("driver", FSX)
def test_fsx_spectrum_from_setting_up_to_levels(driver: type[Any]) -> None:
    setup = [*fsx_sweep("50000000", 101, "0", "IMM", ":AUTO ON"), NO_ERROR, ("SWE:TIME?", "0.0025")]
    with analyzer(driver, [*setup, *sent("INIT"), FETCH]) as found:
        found.setup_spectrum(3.205e9, 50e6, 100e3, 101, 0, "immediate")
        found.arm()
        np.testing.assert_array_equal(found.fetch_trace(), LEVELS)


@pytest.mark.parametrize("driver", FSX)
@pytest.mark.parametrize(("bits", "overloaded"), [("0", False), ("1", True), ("2", False), ("4", True), ("7", True)])
def test_fsx_overload_at_the_input_or_in_the_if_path(driver: type[Any], bits: str, overloaded: bool) -> None:
    with analyzer(driver, [("STAT:QUES:POW?", bits)]) as found:
        assert found.overloaded() is overloaded


@pytest.mark.parametrize("driver", FSX)
def test_fsx_does_not_fetch_what_it_did_not_set_up(driver: type[Any]) -> None:
    with analyzer(driver, sent("ABOR")) as found:
        for verb in (found.arm, found.fetch_trace):
            with pytest.raises(InstrumentFault, match="nothing was set up"):
                verb()
        found.abort()


@pytest.mark.parametrize("driver", FSX)
def test_fsx_errors_of_a_setup_are_told_and_the_one_before_is_forgotten(driver: type[Any]) -> None:
    setup = fsx_sweep("0", 101, "0", "EXT", " 1")
    error = [("SYST:ERR?", '-222,"Data out of range"'), NO_ERROR]
    with analyzer(driver, [*setup, NO_ERROR, *setup, *error]) as found:
        found.setup_zero_span(3.205e9, 100e3, 101, 1, 0, "external")
        with pytest.raises(InstrumentFault, match=r"setting up zero span: .*-222"):
            found.setup_zero_span(3.205e9, 100e3, 101, 1, 0, "external")
        with pytest.raises(InstrumentFault, match="nothing was set up"):
            found.arm()


@pytest.mark.parametrize(("driver", "model", "top"), [(RohdeSchwarzFSV, "FSV-7", 7e9), (RohdeSchwarzFSL, "FSL-6", 6e9)])
def test_fsx_identity_narrows_the_frequencies(driver: type[Any], model: str, top: float) -> None:
    identity = ("*IDN?", f"Rohde&Schwarz,{model},100061/007,2.30")
    with analyzer(driver, [identity, *sent(f"FREQ:CENT {top:.0f} HZ")]) as found:
        assert found.check_identity().model == model
        found.freq_center = top
        for name in ("freq_center", "freq_span", "freq_start", "freq_stop"):
            with pytest.raises(ValueError, match=f"expected 0 to {top:.0f}"):
                setattr(found, name, top + 1)


def test_each_model_of_fsv_and_fsl_has_its_highest_frequency() -> None:
    for driver in FSX:
        assert set(driver.TOPS) == set(driver.MODELS)


# --- many spectra in one go ---

SETUP = [*fsx_sweep("50000000", 101, "0", "EXT", ":AUTO ON"), NO_ERROR, ("SWE:TIME?", "0.5")]


def spectrogram(frames: int, depth: int) -> Pairs:
    return sent("CALC:SGR ON", "CALC:SGR:CONT OFF", f"CALC:SGR:HDEP {depth}", f"CALC:SGR:FRAM:COUN {frames}")


def test_frames_come_out_first_sweep_first() -> None:
    latest_first = np.stack([LEVELS + 200, LEVELS + 100, LEVELS])
    armed = sent("CALC:SGR:CLE", "INIT")
    wire = [("*OPT?", "K14"), *spectrogram(3, 781), NO_ERROR, *armed, ("*WAI;:TRAC? SPEC", block_of(latest_first))]
    with analyzer(RohdeSchwarzFSV, [*SETUP, *wire]) as found:
        found.setup_spectrum(3.205e9, 50e6, 100e3, 101, 0, "external")
        found.setup_frames(3)
        found.arm()
        waits = []
        usual = found.ask_floats
        found.ask_floats = lambda *args: (waits.append(found.adapter.connection.timeout), usual(*args))[1]
        frames = found.fetch_frames(3)
        np.testing.assert_array_equal(frames, [LEVELS, LEVELS + 100, LEVELS + 200])
        assert waits == [2000 + 3 * 500]


def test_the_most_frames_and_the_option_asked_for_once() -> None:
    wire = [("*OPT?", "B4,0,K14"), *spectrogram(1, 781), NO_ERROR, *spectrogram(20000, 20000), NO_ERROR]
    with analyzer(RohdeSchwarzFSV, [*SETUP, *wire]) as found:
        found.setup_spectrum(3.205e9, 50e6, 100e3, 101, 0, "external")
        assert found.has_frames
        found.setup_frames(1)
        found.setup_frames(20000)
        for frames in (0, 20001):
            with pytest.raises(ValueError, match=f"expected 1 to 20000 spectra in one go, got {frames}"):
                found.setup_frames(frames)


def test_a_spectrogram_without_its_option_is_a_fault_that_names_it() -> None:
    with analyzer(RohdeSchwarzFSV, [*SETUP, ("*OPT?", "B4,0"), ("*OPT?", "B4,0")]) as found:
        found.setup_spectrum(3.205e9, 50e6, 100e3, 101, 0, "external")
        with pytest.raises(InstrumentFault, match=r"taking 3 spectra in one go needs option K14.*\(installed: B4\)"):
            found.setup_frames(3)


def test_frames_need_a_setup_and_as_many_as_were_set_up() -> None:
    with analyzer(RohdeSchwarzFSV, []) as found:
        with pytest.raises(InstrumentFault, match="nothing was set up"):
            found.setup_frames(3)
        with pytest.raises(InstrumentFault, match="fetching 0 spectra, but 0 were set up"):
            found.fetch_frames(0)
    with analyzer(RohdeSchwarzFSV, [*SETUP, ("*OPT?", "K14"), *spectrogram(3, 781), NO_ERROR]) as found:
        found.setup_spectrum(3.205e9, 50e6, 100e3, 101, 0, "external")
        found.setup_frames(3)
        with pytest.raises(InstrumentFault, match="fetching 2 spectra, but 3 were set up"):
            found.fetch_frames(2)


def test_one_frame_too_few_is_a_fault() -> None:
    wire = [("*OPT?", "K14"), *spectrogram(3, 781), NO_ERROR, ("*WAI;:TRAC? SPEC", b"#3808")]
    with analyzer(RohdeSchwarzFSV, [*SETUP, *wire]) as found:
        found.setup_spectrum(3.205e9, 50e6, 100e3, 101, 0, "external")
        found.setup_frames(3)
        with pytest.raises(InstrumentFault, match="expected a block of 1212 bytes, got one of 808"):
            found.fetch_frames(3)


def test_setting_up_one_sweep_ends_the_spectrogram() -> None:
    wire = [("*OPT?", "K14"), *spectrogram(3, 781), NO_ERROR, *sent("CALC:SGR OFF"), *SETUP, *sent("INIT")]
    with analyzer(RohdeSchwarzFSV, [*SETUP, *wire]) as found:
        found.setup_spectrum(3.205e9, 50e6, 100e3, 101, 0, "external")
        found.setup_frames(3)
        found.setup_spectrum(3.205e9, 50e6, 100e3, 101, 0, "external")
        found.arm()


def test_fsl_takes_one_spectrum_at_a_time() -> None:
    with analyzer(RohdeSchwarzFSL, []) as found:
        assert not found.has_frames
        for verb in (found.setup_frames, found.fetch_frames):
            with pytest.raises(InstrumentFault, match="3 spectra in one go is not possible with this model"):
                verb(3)


@pytest.mark.parametrize(
    ("asked", "axis"),
    [
        ([("FREQ:SPAN?", "100"), ("FREQ:STAR?", "1000"), ("FREQ:STOP?", "1100")], np.linspace(1000, 1100, 101)),
        ([("FREQ:SPAN?", "0"), ("SWE:TIME?", "0.1")], np.linspace(0, 0.1, 101)),
    ],
)
def test_fsl_read_trace_has_the_axis_of_the_sweep(asked: Pairs, axis: Any) -> None:
    wire = [("FORM REAL,32", None), ("SWE:POIN?", "101"), ("TRAC2? TRACE2", block_of(LEVELS)), *asked]
    with analyzer(RohdeSchwarzFSL, wire) as found:
        np.testing.assert_array_equal(found.read_trace(2), [axis, LEVELS])


@pytest.mark.parametrize("driver", FSX)
def test_fsx_what_pymeasure_has_besides_still_works(driver: type[Any]) -> None:
    wire = [*sent("INIT; *WAI", "INIT:CONM; *WAI", "CALC:MARK:STAT ON", "CALC:MARK:MAX"), ("CALC:MARK:Y?", "-12.5")]
    with analyzer(driver, wire) as found:
        found.single_sweep()
        found.continue_single_sweep()
        marker = found.create_marker()
        marker.to_peak()
        assert marker.ask("Y?") == "-12.5"

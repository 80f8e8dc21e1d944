"""What all drivers have in common: identity, options, error queue after a group of writes, strict binary blocks."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from pymeasure.test import expected_protocol
from pyvisa.errors import VisaIOError

from instruments.keysight_e8257d import KeysightE8257D
from instruments.keysight_n5182b import KeysightN5182B
from instruments.keysight_n9020a import KeysightN9020A
from instruments.rohdeschwarz_fsv import RohdeSchwarzFSV
from instruments.scpi import ERRORS_READ, Identity, InstrumentFault, LabInstrument, definite_block
from labpgt.errors import DeviceFault
from tests.instruments.driver_cases import Pairs

NO_ERROR = ("SYST:ERR?", '+0,"No error"')


class Plain(LabInstrument):
    MODELS = ("E8257D", "N5182B")

    def __init__(self, adapter: Any, name: str = "source", **kwargs: Any) -> None:
        super().__init__(adapter, name, **kwargs)


def plain(pairs: Pairs) -> Any:
    return expected_protocol(Plain, pairs)


# --- identity and options ---


@pytest.mark.parametrize(
    ("reply", "identity"),
    [
        (
            "Agilent Technologies, E8257D, MY51110123, C.06.16",
            ("Agilent Technologies", "E8257D", "MY51110123", "C.06.16"),
        ),
        ("Rohde&Schwarz,FSV-7,1307.9002K07/100061,2.30\n", ("Rohde&Schwarz", "FSV-7", "1307.9002K07/100061", "2.30")),
        ("A,B,,1,2", ("A", "B", "", "1,2")),
    ],
)
def test_identity_is_four_fields(reply: str, identity: tuple[str, ...]) -> None:
    with plain([("*IDN?", reply)]) as instrument:
        assert instrument.identify() == Identity(*identity)


@pytest.mark.parametrize("reply", ["", "garbage", "Agilent Technologies, E8257D, MY51110123", "A,,1,2"])
def test_an_answer_that_is_no_identity_is_a_fault(reply: str) -> None:
    with (
        plain([("*IDN?", reply)]) as instrument,
        pytest.raises(InstrumentFault, match=r"source: expected maker, model, serial number and firmware") as caught,
    ):
        instrument.identify()
    assert isinstance(caught.value, DeviceFault)
    assert caught.value.exit_code == 3


def test_the_right_model_passes_and_the_wrong_one_is_named() -> None:
    with plain([("*IDN?", "Agilent Technologies, E8257D, MY1, C.06.16")]) as instrument:
        assert instrument.check_identity().serial == "MY1"
    with (
        plain([("*IDN?", "Agilent Technologies, N9020A, MY2, A.14")]) as instrument,
        pytest.raises(InstrumentFault, match=r"is a Agilent Technologies N9020A \(serial MY2\).*E8257D, N5182B"),
    ):
        instrument.check_identity()


@pytest.mark.parametrize("driver", [KeysightE8257D, KeysightN5182B, KeysightN9020A, RohdeSchwarzFSV])
def test_every_driver_refuses_a_stranger(driver: type[Any]) -> None:
    with (
        expected_protocol(driver, [("*IDN?", "Nobody, X1, 1, 2")]) as instrument,
        pytest.raises(InstrumentFault, match=r"Nobody X1.*" + driver.MODELS[0]),
    ):
        instrument.check_identity()


@pytest.mark.parametrize(
    ("reply", "options"),
    [
        ('"503,B40,PFR"', {"503", "B40", "PFR"}),
        ("B4,0,0,K14", {"B4", "K14"}),
        ("0", set()),
        ("", set()),
        ('"520","1E1"', {"520", "1E1"}),
    ],
)
def test_options_are_read_in_each_makers_way(reply: str, options: set[str]) -> None:
    with plain([("*OPT?", reply)]) as instrument:
        assert instrument.installed_options() == options


def test_a_missing_option_is_named_with_what_needs_it() -> None:
    with plain([("*OPT?", "B4,0,K14"), ("*OPT?", "B4,0,K14"), ("*OPT?", "0")]) as instrument:
        instrument.require_options(["K14", "B4"], "taking spectra")
        with pytest.raises(
            InstrumentFault, match=r"taking spectra needs option K7, K9, which .*\(installed: B4, K14\)"
        ):
            instrument.require_options(["K7", "K14", "K9"], "taking spectra")
        with pytest.raises(InstrumentFault, match=r"\(installed: none\)"):
            instrument.require_options(["K7"], "taking spectra")


# --- the error queue ---


def test_errors_are_read_once_after_a_group() -> None:
    with plain([(":A 1", None), (":B 2", None), NO_ERROR]) as instrument, instrument.group("setting A and B"):
        instrument.write(":A 1")
        instrument.write(":B 2")


def test_a_group_with_errors_lists_all_of_them_with_what_was_done() -> None:
    errors = [("SYST:ERR?", '-113,"Undefined header"'), ("SYST:ERR?", '-222,"Data out of range;X 1"'), NO_ERROR]
    with (
        plain([(":X 1", None), *errors]) as instrument,
        pytest.raises(InstrumentFault) as caught,
        instrument.group("setting X"),
    ):
        instrument.write(":X 1")
    assert str(caught.value) == (
        'source: setting X: the instrument reports -113,"Undefined header"; -222,"Data out of range;X 1"'
    )


def test_a_group_in_a_group_is_part_of_it() -> None:
    with plain([(":A", None), (":B", None), (":C", None), NO_ERROR]) as instrument, instrument.group("all"):
        with instrument.group("first"):
            instrument.write(":A")
        with instrument.group("second"):
            instrument.write(":B")
        instrument.write(":C")


def test_when_the_body_fails_its_own_error_is_told_and_the_queue_left_alone() -> None:
    with plain([(":A", None), (":B", None), NO_ERROR]) as instrument:

        def body() -> None:
            with instrument.group("first"), instrument.group("inner"):
                instrument.write(":A")
                raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            body()
        with instrument.group("second"):
            instrument.write(":B")


def test_unchecked_writes_leave_the_queue_to_others() -> None:
    with plain([(":A", None), (":B", None), NO_ERROR]) as instrument:
        with instrument.unchecked(), instrument.group("inner"):
            instrument.write(":A")
        with instrument.group("checked"):
            instrument.write(":B")


def test_the_queue_is_emptied_oldest_first() -> None:
    pairs = [("SYST:ERR?", '-410,"Query INTERRUPTED"'), ("SYST:ERR?", "-350,overflow"), NO_ERROR, NO_ERROR]
    with plain(pairs) as instrument:
        assert instrument.empty_errors() == ['-410,"Query INTERRUPTED"', "-350,overflow"]
        assert instrument.check_errors() == []


def test_errors_with_positive_numbers_are_errors_too() -> None:
    # SCPI leaves positive numbers to the maker, as Keysight's sources use them.
    with (
        plain([(":X", None), ("SYST:ERR?", '+508,"Frequency unlocked"'), NO_ERROR]) as instrument,
        pytest.raises(InstrumentFault, match=r"setting X: .*\+508"),
        instrument.group("setting X"),
    ):
        instrument.write(":X")


def test_a_queue_that_never_ends_does_not_hold_the_run() -> None:
    with plain([("SYST:ERR?", '-113,"Undefined header"')] * ERRORS_READ) as instrument:
        errors = instrument.empty_errors()
    assert len(errors) == ERRORS_READ + 1
    assert errors[-1] == "more that were not read"


@pytest.mark.parametrize("reply", ["", "garbage", "0", "x,y", '"No error"'])
def test_an_answer_that_is_no_error_is_a_fault(reply: str) -> None:
    with (
        plain([("SYST:ERR?", reply)]) as instrument,
        pytest.raises(InstrumentFault, match=r'expected an error such as 0,"No error" to SYST:ERR\?, got'),
    ):
        instrument.empty_errors()


def test_errors_can_travel_with_the_answer_to_a_question() -> None:
    query = ":OUTP?;:SYST:ERR?"
    with plain([(query, '1;+0,"No error"')]) as instrument:
        instrument.send_with_errors(":OUTP?")
        assert instrument.answer_with_errors(":OUTP?", "playing") == "1"
    with plain([(query, '1;+508,"Frequency unlocked"'), NO_ERROR]) as instrument:
        instrument.send_with_errors(":OUTP?")
        with pytest.raises(InstrumentFault, match=r"playing: .*\+508"):
            instrument.answer_with_errors(":OUTP?", "playing")
    with plain([(query, '1;-222,"Data out of range;:POW 90"'), ("SYST:ERR?", "-113,x"), NO_ERROR]) as instrument:
        instrument.send_with_errors(":OUTP?")
        with pytest.raises(InstrumentFault, match=r'playing: .*-222,"Data out of range;:POW 90"; -113,x$'):
            instrument.answer_with_errors(":OUTP?", "playing")


def test_so_can_those_of_several_questions() -> None:
    query = ":OUTP?;:RAD:ARB:WAV?"
    with plain([(f"{query};:SYST:ERR?", '1;"WFM1:A";+0,"No error"')]) as instrument:
        instrument.send_with_errors(query)
        assert instrument.answer_with_errors(query, "playing") == '1;"WFM1:A"'
    with plain([(f"{query};:SYST:ERR?", '1;"WFM1:A";-222,"Out;of range"'), NO_ERROR]) as instrument:
        instrument.send_with_errors(query)
        with pytest.raises(InstrumentFault, match=r'playing: .*-222,"Out;of range"$'):
            instrument.answer_with_errors(query, "playing")
    with plain([(f"{query};:SYST:ERR?", '1;+0,"No error"')]) as instrument:
        instrument.send_with_errors(query)
        with pytest.raises(InstrumentFault, match="expected an answer and an error"):
            instrument.answer_with_errors(query, "playing")


@pytest.mark.parametrize("reply", ["1", "", '0,"No error"', "1;garbage", "1;", "1;0"])
def test_an_answer_without_its_error_is_a_fault(reply: str) -> None:
    with plain([(":OUTP?;:SYST:ERR?", reply)]) as instrument:
        instrument.send_with_errors(":OUTP?")
        with pytest.raises(InstrumentFault, match=r"expected an answer and an error from the queue to :OUTP\?"):
            instrument.answer_with_errors(":OUTP?", "playing")


# --- binary blocks ---

FLOATS = np.array([0.5, -1.25, 3e-7], "<f4")


def block_of(values: Any) -> bytes:
    return definite_block(np.asarray(values, "<f4").tobytes()) + b"\n"


def test_a_block_of_floats_comes_out_as_it_is() -> None:
    with plain([("X?", block_of(FLOATS))]) as instrument:
        found = instrument.ask_floats("X?", 3)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, FLOATS.astype(np.float64))


def test_spare_values_are_dropped_and_no_more_of_them_taken() -> None:
    with plain([("X?", block_of([1, 2, 3]))]) as instrument:
        np.testing.assert_array_equal(instrument.ask_floats("X?", 2, spare=1), [1, 2])
    with (
        plain([("X?", block_of([1, 2, 3])[:4])]) as instrument,
        pytest.raises(InstrumentFault, match="expected a block of 4 to 8 bytes, got one of 12"),
    ):
        instrument.ask_floats("X?", 1, spare=1)


@pytest.mark.parametrize("length", [5, 6, 7])
def test_a_block_of_broken_values_is_a_fault_even_among_the_spare(length: int) -> None:
    with (
        plain([("X?", b"#1%d" % length)]) as instrument,
        pytest.raises(InstrumentFault, match=f"expected a block of 4 to 8 bytes, got one of {length}"),
    ):
        instrument.ask_floats("X?", 1, spare=1)


GOOD = FLOATS.tobytes()


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (b"", "begins with # and a digit"),
        (b"#", "begins with # and a digit"),
        (b"0.5,-1.25\n", "begins with # and a digit"),
        (b"#0" + GOOD + b"\n", "begins with # and a digit"),  # An indefinite block: its end cannot be known.
        (b"#x12" + GOOD + b"\n", "begins with # and a digit"),
        (b" #212" + GOOD + b"\n", "begins with # and a digit"),
        (b"#21", "2 digits of a length"),
        (b"#21x" + GOOD + b"\n", "2 digits of a length"),
        (b"#2-4" + GOOD + b"\n", "2 digits of a length"),
        (b"#18" + GOOD[:8] + b"\n", "a block of 12 bytes, got one of 8"),
        (b"#216" + GOOD + b"1234\n", "a block of 12 bytes, got one of 16"),
        (b"#213" + GOOD + b"1\n", "a block of 12 bytes, got one of 13"),
        (b"#212" + GOOD[:5], "12 bytes and a line feed after the block's header, got 5"),
        (b"#212" + GOOD, "12 bytes and a line feed after the block's header, got 12"),
        (b"#212" + GOOD + b"x", "a line feed after the 12 bytes of the block, got b'x'"),
    ],
)
def test_a_block_that_is_not_whole_never_gives_values(reply: bytes, told: str) -> None:
    # What stands behind the place where the reading stopped stays unread: such a connection is thrown away.
    with pytest.raises(InstrumentFault) as caught, plain([("X?", reply)]) as instrument:
        instrument.ask_floats("X?", 3)
    assert "source: answer to X?: expected " in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 9.91e37, -9.9e37])
def test_a_value_that_is_not_a_number_is_a_fault(wrong: float) -> None:
    with (
        plain([("X?", block_of([1, wrong, 2]))]) as instrument,
        pytest.raises(InstrumentFault, match=r"value 1 of the 3 answered to X\? is .*, not a number"),
    ):
        instrument.ask_floats("X?", 3)


# --- over a real socket ---


@contextmanager
def served(replies: dict[bytes, bytes]) -> Iterator[str]:
    """Answer each line with what `replies` has for it, on a port of the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as client, client.makefile("rb") as lines:
                for line in lines:
                    client.sendall(replies.get(line, b""))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"TCPIP0::127.0.0.1::{server.getsockname()[1]}::SOCKET"
        thread.join(5)


def test_over_a_socket_blocks_with_line_feeds_in_them_are_read_whole() -> None:
    # Each of the four bytes of this float is a line feed.
    values = np.full(5000, np.frombuffer(b"\n\n\n\n", "<f4")[0])
    replies = {
        b"*IDN?\n": b"Maker,E8257D,1,2\n",
        b"X?\n": block_of(values),
        b"LATE?\n": block_of(values)[:100],
    }
    with served(replies) as address:
        instrument = Plain(address, timeout=2000, visa_library="@py")
        try:
            assert instrument.check_identity().model == "E8257D"
            for _ in range(2):
                np.testing.assert_array_equal(instrument.ask_floats("X?", 5000), values.astype(np.float64))
            assert instrument.identify().serial == "1"
            instrument.adapter.connection.timeout = 50
            with pytest.raises(VisaIOError, match="VI_ERROR_TMO"):
                instrument.ask_floats("LATE?", 5000)
            assert instrument.adapter.connection.read_termination == "\n"
        finally:
            instrument.adapter.close()


def test_patience_lasts_as_long_as_the_measurement() -> None:
    with expected_protocol(Plain, [], connection_attributes={"timeout": 2000}) as instrument:
        connection = instrument.adapter.connection
        with instrument.patience(1.5):
            assert connection.timeout == 3500
        assert connection.timeout == 2000
        with pytest.raises(KeyError), instrument.patience(10):
            raise KeyError
        assert connection.timeout == 2000
    for endless in (float("+inf"), None):
        with (
            expected_protocol(Plain, [], connection_attributes={"timeout": endless}) as instrument,
            instrument.patience(1.5),
        ):
            assert instrument.adapter.connection.timeout == endless


def test_importing_a_driver_loads_neither_torch_nor_qt() -> None:
    code = (
        "import sys, instruments.scpi, instruments.models\n"
        "for model in instruments.models.DRIVERS: instruments.models.driver_class(model)\n"
        "print([name for name in ('torch', 'PyQt6', 'pyqtgraph', 'h5py') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"

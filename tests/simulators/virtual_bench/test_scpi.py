import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.virtual_bench.scpi import (
    LONGEST_TEXT,
    Framer,
    Quoted,
    ScpiError,
    block,
    boolean,
    choice,
    forms,
    number,
    parse,
)
from simulators.virtual_bench.tree import Call, Tree


def test_a_message_ends_at_a_line_feed_outside_of_blocks() -> None:
    payload = bytes(range(256)) * 3
    stream = b'*IDN?\r\n:MMEM:DATA "A;#15\'",' + block(payload) + b";:OUTP ON\n\nSYST:ERR?\n"
    whole = Framer().feed(stream)
    assert whole == [b"*IDN?", b':MMEM:DATA "A;#15\'",' + block(payload) + b";:OUTP ON", b"", b"SYST:ERR?"]
    for size in (1, 2, 7, 100):
        framer = Framer()
        pieces = [m for i in range(0, len(stream), size) for m in framer.feed(stream[i : i + size])]
        assert pieces == whole


def test_a_message_without_end_is_refused_and_forgotten() -> None:
    framer = Framer()
    assert framer.feed(b"A" * LONGEST_TEXT) == []
    with pytest.raises(ScpiError) as caught:
        framer.feed(b"A")
    assert caught.value.number == -363
    assert framer.feed(b"*IDN?\n") == [b"*IDN?"]


def test_a_block_announced_larger_than_any_memory_is_no_block() -> None:
    assert Framer().feed(b"DATA #9999999999\n*IDN?\n") == [b"DATA #9999999999", b"*IDN?"]


def test_commands_and_parameters() -> None:
    units = list(parse(b":FREQ 2 GHz ;POW? MIN;*WAI; :DATA 'it''s',(@1,2), " + block(b";,\n") + b";"))
    assert [(unit.header, unit.query) for unit in units] == [
        (":FREQ", False),
        ("POW", True),
        ("*WAI", False),
        (":DATA", False),
    ]
    assert [unit.arguments for unit in units] == [["2 GHz"], ["MIN"], [], ["it's", "(@1,2)", b";,\n"]]
    assert isinstance(units[3].arguments[0], Quoted)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (b"A 1,", -109),
        (b"A ,1", -102),
        (b"A 'open", -151),
        (b"A #15abc", -161),
        (b"A (@1", -171),
        (b"A 'x' 1", -103),
        (b"'x'", -102),
        (b"?", -102),
    ],
)
def test_what_cannot_be_understood(message: bytes, error: int) -> None:
    with pytest.raises(ScpiError) as caught:
        list(parse(message))
    assert caught.value.number == error
    assert caught.value.is_command_error


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("3.205GHz", "HZ", 3.205e9),
        ("100 mhz", "HZ", 1e8),
        ("2 MAHZ", "HZ", 2e6),
        ("5 kHz", "HZ", 5e3),
        ("7", "HZ", 7.0),
        ("40 ns", "S", 40e-9),
        ("3us", "S", 3e-6),
        ("2 MS", "S", 2e-3),
        ("-1.5e1 dBm", "DBM", -15.0),
        ("2.0vp", "V", 2.0),
        ("50 %", "PCT", 50.0),
        ("#H1F", "", 31.0),
        (".5", "", 0.5),
    ],
)
def test_numbers_with_units(text: str, unit: str, value: float) -> None:
    assert number(text, unit) == value


@pytest.mark.parametrize(
    ("text", "unit", "error"), [("1 dBm", "HZ", -131), ("ON", "HZ", -104), ("1e999", "HZ", -222), ("nan", "", -104)]
)
def test_what_is_no_number(text: str, unit: str, error: int) -> None:
    with pytest.raises(ScpiError) as caught:
        number(text, unit)
    assert caught.value.number == error


def test_words() -> None:
    assert forms("EXTernal1") == ("EXT1", "EXTERNAL1")
    assert choice("ext1", ("IMMediate", "EXTernal1")) == "EXT1"
    assert choice("External1", ("IMMediate", "EXTernal1")) == "EXT1"
    for wrong in ("exte1", Quoted("EXT1"), b"EXT1"):
        with pytest.raises(ScpiError):
            choice(wrong, ("IMMediate", "EXTernal1"))
    assert [boolean(text) for text in ("ON", "off", "1", "0", "2")] == [True, False, True, False, True]


def test_the_tree_knows_a_header_in_all_its_ways() -> None:
    tree = Tree()
    tree.add("[:SOURce]:FREQuency[:CW|FIXed]", command=lambda call: None, query=lambda call: "f")
    tree.add(":CALCulate#:MARKer#:X", query=lambda call: ",".join(map(str, call.suffixes)))
    for header in ("FREQ", "freq:cw", ":SOUR:FREQuency", "SOURCE:FREQ:FIXED", ":FREQ:FIX", "FREQ1"):
        assert tree.find(header, [], True)[0](Call([])) == "f"
    handler, suffixes, path = tree.find(":CALC2:MARK3:X", [], True)
    assert handler(Call([], suffixes)) == "2,3"
    assert path == ["CALC2", "MARK3"]
    assert tree.find("X", path, True)[1] == (2, 3)
    for header, error in (("FREQU", -113), ("SOUR", -113), ("FREQ2", -114), ("CALC:MARK:X:Y", -113), ("", -113)):
        with pytest.raises(ScpiError) as caught:
            tree.find(header, [], True)
        assert caught.value.number == error
    with pytest.raises(ScpiError):
        tree.find("CALC:MARK:X", [], False)  # it can only be asked


def test_a_pattern_that_is_none_is_refused() -> None:
    for pattern in ("FREQ", ":FREQ:[CW]", ":A[:B[:C]]"):
        with pytest.raises(ValueError, match="pattern"):
            Tree().add(pattern)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    framer = Framer()
    for message in framer.feed(data + b"\n"):
        with contextlib.suppress(ScpiError):
            assert all(unit.header for unit in parse(message))

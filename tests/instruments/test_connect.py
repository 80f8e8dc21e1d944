"""Connecting: who answers is checked before anything else is sent, and every problem is told at once."""

import socket
import struct
import threading
import time
from collections.abc import Callable

import pytest
import pyvisa

from instruments.bench import Bench, Entry, SupplyEntry
from instruments.connect import close, connect, connect_each, explained, lost, visa_errors
from instruments.scpi import InstrumentFault, SettingRefused
from instruments.sockets import mend_socket
from labpgt.errors import DeviceFault, InputError
from tests.instruments.plain_server import PlainAttenuator, PlainInstrument, wait_for

DEAD = "TCPIP0::127.0.0.1::1::SOCKET"


def test_the_right_instrument_is_connected_and_its_old_errors_are_dropped() -> None:
    with PlainInstrument() as source:
        source.errors = ['-113,"Undefined header"', '-222,"Data out of range"']
        driver = connect("source", Entry(model="N5182B", address=source.address, options=["653"]), 2.0)
        try:
            assert type(driver).__name__ == "KeysightN5182B"
            assert source.errors == []
            assert source.rf_on
            driver.rf_off()
            assert driver.output_enabled is False
        finally:
            close(driver)
        assert wait_for(lambda: source.connections == 0)


def test_an_attenuator_without_idn_is_connected() -> None:
    with PlainAttenuator() as attenuator:
        driver = connect("attenuator", Entry(model="RCDAT-6000-90", address=attenuator.address), 2.0)
        assert driver.attenuation == 20
        close(driver)


def test_a_supply_gets_its_channel() -> None:
    with PlainInstrument("Keysight Technologies,E36312A,MY1,1.0") as supply:
        entry = SupplyEntry(model="E36312A", address=supply.address, channel=2, voltage_v=5, current_a=0.5)
        driver = connect("amplifier", entry, 2.0)
        driver.off()
        close(driver)
        assert wait_for(lambda: "OUTPut 0, (@2)" in supply.got)
        with pytest.raises(DeviceFault, match="expected a channel of 1, 2, 3 of the E36312A, got channel 4"):
            connect("amplifier", entry.model_copy(update={"channel": 4}), 2.0)


Change = Callable[[PlainInstrument], None]


def silent(instrument: PlainInstrument) -> None:
    instrument.mute = True


def another(instrument: PlainInstrument) -> None:
    instrument.identity = "Rohde&Schwarz,FSV-7,101234/007,3.40"


def garbage(instrument: PlainInstrument) -> None:
    instrument.identity = "\x00\xff*#!"


def page(instrument: PlainInstrument) -> None:
    instrument.identity = "HTTP/1.1 400 Bad Request"


def no_line_feed(instrument: PlainInstrument) -> None:
    instrument.termination = b"\r"


def closing(instrument: PlainInstrument) -> None:
    instrument._message = lambda connection, message: connection.shutdown(socket.SHUT_RDWR)  # type: ignore[method-assign]


def failing_later(instrument: PlainInstrument) -> None:
    instrument.replies = {"SYST:ERR?": "what?"}


@pytest.mark.parametrize(
    ("change", "entry", "expected"),
    [
        (silent, {}, "no answer to its identity query within 0.3 s; expected the model N5182B: is it switched on"),
        (no_line_feed, {}, "no answer to its identity query within 0.3 s"),
        (another, {}, "expected the model N5182B, found Rohde&Schwarz FSV-7 (serial 101234/007); correct the address"),
        (garbage, {}, "expected the model N5182B"),
        (page, {}, "is this the port for commands, and not one for web pages"),
        (closing, {}, "the connection is lost"),
        (failing_later, {}, "asking for its errors"),
        (None, {"serial": "MY42"}, "expected the N5182B with serial number MY42, found number MY00000001"),
        (None, {"options": ["653", "656"]}, "expected option 656 in the N5182B, found 653, 657"),
        (None, {"model": "N5182C"}, "no driver for model 'N5182C'; did you mean N5182B"),
        (None, {"model": "N5172B"}, "expected the model N5172B, found Keysight Technologies N5182B"),
    ],
)
def test_what_is_wrong_is_said_with_role_address_and_remedy(
    change: Change | None, entry: dict[str, object], expected: str
) -> None:
    with PlainInstrument() as source:
        if change is not None:
            change(source)
        with pytest.raises(DeviceFault) as fault:
            connect("source", Entry.model_validate({"model": "N5182B", "address": source.address, **entry}), 0.3)
        assert str(fault.value).startswith(f"source at {source.address}: ")
        assert expected in str(fault.value)
        assert "\n" not in str(fault.value)
        # Nothing but questions was sent, and nothing stays open.
        assert all(message.endswith("?") for message in source.got)
        assert wait_for(lambda: source.connections == 0)


@pytest.mark.parametrize("address", [DEAD, "TCPIP0::127.0.0.1::SOCKET", "nonsense"])
def test_an_address_where_nothing_can_be_is_said(address: str) -> None:
    with pytest.raises(DeviceFault) as fault:
        connect("analyzer", Entry(model="N9020A", address=address), 0.5)
    assert str(fault.value).startswith(f"analyzer at {address}: ")
    assert "is it switched on" in str(fault.value)


def test_all_are_asked_and_all_problems_are_told_together() -> None:
    with PlainInstrument() as source, PlainAttenuator("RCDAT-6000-60") as attenuator:
        bench = Bench(
            timeout_s=1.0,
            source=Entry(model="N5182B", address=source.address),
            analyzer=Entry(model="N9020A", address=DEAD),
            attenuator=Entry(model="RCDAT-6000-90", address=attenuator.address),
        )
        drivers, fault = connect_each(bench)
        assert list(drivers) == ["source"], "who is in order is there, to be made safe"
        close(drivers["source"])
        analyzer, wrong = str(fault).splitlines()
        assert analyzer.startswith(f"analyzer at {DEAD}: ")
        assert "nothing listens" in analyzer
        assert wrong.startswith(f"attenuator at {attenuator.address}: expected the model RCDAT-6000-90, found")
        assert source.got  # It was asked as well, and let go again.
        assert wait_for(lambda: source.connections == attenuator.connections == 0)


def test_a_whole_bench_is_connected_in_the_order_of_making_safe() -> None:
    analyzer_is = "Keysight Technologies,N9020A,MY2,A.18"
    with PlainInstrument() as source, PlainAttenuator() as attenuator, PlainInstrument(analyzer_is) as analyzer:
        bench = Bench(
            analyzer=Entry(model="N9020A", address=analyzer.address),
            attenuator=Entry(model="RCDAT-6000-90", address=attenuator.address),
            source=Entry(model="N5182B", address=source.address),
        )
        drivers, fault = connect_each(bench)
        assert fault is None
        assert list(drivers) == ["source", "analyzer", "attenuator"]
        for driver in drivers.values():
            close(driver)
            close(driver)


def test_a_connection_that_the_instrument_closes_is_noticed_at_once() -> None:
    with PlainInstrument() as source:
        # With a time-out of minutes: pyvisa-py alone would wait them out.
        driver = connect("source", Entry(model="N5182B", address=source.address), 100.0)
        source.drop()
        with (
            pytest.raises(DeviceFault, match="source: asking: the connection is lost") as fault,
            visa_errors("source", "asking"),
        ):
            driver.ask("*IDN?")
        assert lost(fault.value)
        close(driver)


def test_writing_to_an_instrument_that_takes_nothing_ends_in_a_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"TCPIP0::127.0.0.1::{listener.getsockname()[1]}::SOCKET"
        connection = pyvisa.ResourceManager().open_resource(address)
        accepted, _ = listener.accept()
        with accepted:
            assert mend_socket(connection)
            connection.timeout = 200
            with pytest.raises(pyvisa.VisaIOError) as error:
                connection.write_raw(bytes(50_000_000))  # type: ignore[attr-defined]
            assert explained(error.value) == "no answer in time"
            connection.close()


def test_a_long_block_arrives_whole_however_slowly_it_is_taken() -> None:
    block = bytes(range(256)) * 40_000
    taken = bytearray()

    def take(listener: socket.socket) -> None:
        accepted, _ = listener.accept()
        with accepted:
            while len(taken) < len(block):
                taken.extend(accepted.recv(1 << 16))
                if not len(taken) % 13:
                    time.sleep(0.002)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=take, args=(listener,))
        thread.start()
        connection = pyvisa.ResourceManager().open_resource(f"TCPIP0::127.0.0.1::{listener.getsockname()[1]}::SOCKET")
        assert mend_socket(connection)
        assert connection.write_raw(block) == len(block)  # type: ignore[attr-defined]
        thread.join()
        connection.close()
    assert bytes(taken) == block


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (pyvisa.VisaIOError(pyvisa.constants.StatusCode.error_timeout), True),
        (ConnectionResetError(), True),
        (ValueError("could not convert string to float"), True),
        (struct.error(), True),
        (InstrumentFault("no block"), True),
        (SettingRefused("not sent"), False),
        (raised(DeviceFault("worded"), SettingRefused("not sent")), False),
        (raised(DeviceFault("worded"), OSError("cable")), True),
        (raised(DeviceFault("outer"), raised(DeviceFault("worded"), OSError("cable"))), True),
        (DeviceFault("the ring oscillates by itself"), False),
        (KeyboardInterrupt(), False),
        (None, False),
    ],
)
def test_a_connection_is_lost_after_whatever_may_have_left_bytes_in_it(
    error: BaseException | None, expected: bool
) -> None:
    assert lost(error) is expected


def test_errors_are_worded_with_role_and_doing() -> None:
    for error, words in [
        (pyvisa.VisaIOError(pyvisa.constants.StatusCode.error_timeout), "no answer in time"),
        (pyvisa.VisaIOError(pyvisa.constants.StatusCode.error_connection_lost), "the connection failed"),
        (ConnectionRefusedError(), "nothing listens there"),
        (BrokenPipeError(32, "Broken pipe"), "the connection is lost (Broken pipe)"),
        (ValueError("could not convert string to float: 'x'"), "an answer that cannot be read"),
        (InstrumentFault("-222 Data out of range"), "-222 Data out of range"),
        (SettingRefused("power: expected -135 to 10 dBm, got 12"), "carrier: power: expected -135 to 10 dBm, got 12"),
    ]:
        with pytest.raises(DeviceFault) as fault, visa_errors("source at X", "setting the carrier"):
            raise error
        assert str(fault.value).startswith("source at X: setting the carrier: ")
        assert words in str(fault.value)
        assert fault.value.__cause__ is error


def test_faults_that_are_worded_already_pass_unchanged() -> None:
    for error in (DeviceFault("the ring oscillates"), InputError("limits")):
        with pytest.raises(type(error)) as fault, visa_errors("source", "x"):
            raise error
        assert fault.value is error

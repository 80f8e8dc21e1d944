"""Making safe: each step whatever the others do, and over a fresh connection when the run's is broken."""

import time

import pytest

from instruments.bench import Bench, Entry, SupplyEntry
from instruments.models import DRIVERS, driver_class
from instruments.safety import SAFE, force_off, make_all_safe, safe_commands, safe_targets
from labpgt.errors import DeviceFault
from tests.instruments.plain_server import PlainAttenuator, PlainInstrument


def test_no_step_keeps_another_from_being_taken() -> None:
    taken = []

    def broken() -> None:
        taken.append("source")
        raise OSError("cable pulled")

    failed = make_all_safe([("source: RF off", broken), ("attenuator: gain down", lambda: taken.append("attenuator"))])
    assert taken == ["source", "attenuator"]
    assert failed == ["source: RF off failed: cable pulled"]


def test_ctrl_c_in_a_step_comes_out_after_the_last() -> None:
    taken = []

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_all_safe([("source: RF off", interrupted), ("attenuator: gain down", lambda: taken.append(1))])
    assert taken == [1]


def test_force_off_turns_rf_off_and_asks() -> None:
    with PlainInstrument() as source:
        force_off("source", Entry(model="N5182B", address=source.address), 2.0)
        assert not source.rf_on
        assert source.got == [":OUTP OFF", ":OUTP?"]


def test_force_off_turns_gain_down() -> None:
    with PlainAttenuator("RCDAT-6000-60") as attenuator:
        force_off("attenuator", Entry(model="RCDAT-6000-60", address=attenuator.address), 2.0)
        assert attenuator.attenuation_db == 60


def test_force_off_gets_through_to_an_instrument_that_hangs_for_a_moment() -> None:
    with PlainInstrument() as source:
        source.deaf_until = time.monotonic() + 0.6
        force_off("source", Entry(model="N5182B", address=source.address), 5.0)
        assert not source.rf_on


def test_force_off_says_when_the_instrument_stays_on() -> None:
    with PlainInstrument() as source:
        source.stuck_on.add(":OUTP OFF")
        with pytest.raises(DeviceFault) as fault:
            force_off("source", Entry(model="N5182B", address=source.address), 0.3)
        assert source.address in str(fault.value)
        assert "answers '1' to :OUTP?, 0 was expected" in str(fault.value)
        assert "by hand" in str(fault.value)
        # It was tried more than once.
        assert source.got.count(":OUTP OFF") > 1


def test_force_off_says_when_nothing_listens() -> None:
    source = PlainInstrument()
    address = source.address
    source.close()
    with pytest.raises(DeviceFault, match=r"RF off could not be reached within 0\.2 s"):
        force_off("source", Entry(model="E8257D", address=address), 0.2)


def test_the_channel_of_a_supply_is_the_one_that_is_switched() -> None:
    def commands(model: str) -> tuple[tuple[str, ...], str]:
        entry = SupplyEntry(model=model, address="x", channel=3, voltage_v=5, current_a=1)
        return safe_commands(entry).send, safe_commands(entry).verify

    assert commands("E36312A") == (("OUTP 0,(@3)",), "OUTP? (@3)")
    assert commands("HMP4040") == (("INST:NSEL 3;:OUTP:SEL 0",), "INST:NSEL 3;:OUTP:SEL?")


def test_every_model_with_a_driver_that_has_something_to_switch_off_can_be_made_safe() -> None:
    for model in DRIVERS:
        driver = driver_class(model)
        if any(hasattr(driver, verb) for verb in ("rf_off", "gain_down", "off")):
            assert safe_commands(Entry(model=model, address="x")).send
    # And the greatest attenuation is the one that the driver knows.
    for model, (maximum, _) in driver_class("RCDAT-6000-90").RANGES.items():
        assert float(safe_commands(Entry(model=model, address="x")).expected) == maximum


def test_rf_comes_first_and_the_magnet_is_left_alone() -> None:
    place = SupplyEntry(model="HMP4040", address="x", voltage_v=5, current_a=1)
    bench = Bench(
        source=Entry(model="E8257D", address="a"),
        analyzer=Entry(model="FSV-7", address="b"),
        magnet=place,
        amplifier=place,
        attenuator=Entry(model="RCDAT-6000-90", address="c"),
    )
    assert [target["role"] for target in safe_targets(bench)] == ["source", "attenuator", "amplifier"]


def test_an_unknown_model_is_refused_by_name() -> None:
    with pytest.raises(DeviceFault) as fault:
        safe_commands(Entry(model="SMB100A", address="x"))
    assert "SMB100A" in str(fault.value)
    assert all(model in str(fault.value) for model in SAFE)
    with pytest.raises(DeviceFault, match="RCDAT-6000-90"):
        safe_commands(Entry(model="RCDAT", address="x"))

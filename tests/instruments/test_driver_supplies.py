"""Supplies behind their common names, word for word on the wire; what is sent is pymeasure's."""

from typing import Any

import pytest
from pymeasure.test import expected_protocol

from instruments.scpi import InstrumentFault
from instruments.supplies import SupplyE36312A, SupplyHMP4040


@pytest.mark.parametrize(
    ("driver", "channel", "message"),
    [
        (SupplyE36312A, 1, "OUTPut 0, (@1)"),
        (SupplyE36312A, 3, "OUTPut 0, (@3)"),
        (SupplyHMP4040, 1, "INST:NSEL 1;:OUTP:SEL 0"),
        (SupplyHMP4040, 4, "INST:NSEL 4;:OUTP:SEL 0"),
    ],
)
def test_off_is_one_write_and_asks_nothing(driver: type[Any], channel: int, message: str) -> None:
    with expected_protocol(driver, [(message, None), (message, None)], channel=channel) as supply:
        supply.off()
        with supply:
            pass
        assert supply.isShutdown


@pytest.mark.parametrize(("driver", "channel"), [(SupplyE36312A, 0), (SupplyE36312A, 4), (SupplyHMP4040, 5)])
def test_a_channel_that_is_not_there_is_refused(driver: type[Any], channel: int) -> None:
    with (
        pytest.raises(ValueError, match=f"expected channel 1, 2, 3.*, got {channel}"),
        expected_protocol(driver, [], channel=channel),
    ):
        pass


def test_e36312a_ranges_are_those_of_the_channel() -> None:
    wire = [("VOLT 25, (@2)", None), ("CURR 1, (@2)", None), ("OUTPut 1, (@2)", None), ("OUTPut? (@2)", "1")]
    with expected_protocol(SupplyE36312A, wire, channel=2) as supply:
        supply.voltage_v = 25
        supply.current_a = 1
        supply.output_enabled = True
        assert supply.output_enabled
        with pytest.raises(ValueError, match=r"supply: voltage_v: expected 0 to 25 V, got 25\.1"):
            supply.voltage_v = 25.1
        with pytest.raises(ValueError, match=r"supply: current_a: expected 0 to 1 A, got 1\.1"):
            supply.current_a = 1.1


def test_hmp4040_selects_its_channel_first() -> None:
    wire = [
        ("INST:NSEL 3", None),
        ("VOLT 12.5", None),
        ("INST:NSEL 3", None),
        ("CURR 0.4", None),
        ("INST:NSEL 3", None),
        ("OUTPUT:SEL 1", None),
        ("OUTP:GEN 1", None),
    ]
    with expected_protocol(SupplyHMP4040, wire, channel=3) as supply:
        supply.voltage_v = 12.5
        supply.current_a = 0.4
        supply.output_enabled = True


@pytest.mark.parametrize(("selected", "general", "on"), [("1", "1", True), ("1", "0", False), ("0", None, False)])
def test_hmp4040_is_on_when_channel_and_outputs_are(selected: str, general: str | None, on: bool) -> None:
    rest = [] if general is None else [("OUTP:GEN?", general)]
    with expected_protocol(SupplyHMP4040, [("INST:NSEL 1", None), ("OUTP:SEL?", selected), *rest]) as supply:
        assert supply.output_enabled is on


def test_hmp4040_an_answer_that_is_no_state_is_a_fault() -> None:
    wire = [("INST:NSEL 1", None), ("OUTP:SEL?", "1"), ("OUTP:GEN?", "garbage")]
    with (
        expected_protocol(SupplyHMP4040, wire) as supply,
        pytest.raises(InstrumentFault, match="expected 0 or 1 as an answer"),
    ):
        _ = supply.output_enabled

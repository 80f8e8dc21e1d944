"""The attenuator, word for word on the wire: it answers every command and knows neither *IDN? nor an error queue."""

import pytest
from pymeasure.test import expected_protocol

from instruments.minicircuits_rcdat import MiniCircuitsRCDAT
from instruments.scpi import Identity, InstrumentFault
from tests.instruments.driver_cases import IDENTITY


def test_identity_is_asked_in_its_own_way() -> None:
    with expected_protocol(MiniCircuitsRCDAT, IDENTITY) as attenuator:
        assert attenuator.check_identity() == Identity("Mini-Circuits", "RCDAT-6000-90", "11401010001", "B2")
        assert (attenuator.maximum, attenuator.step) == (90, 0.25)


def test_an_unknown_model_is_refused_and_the_known_named() -> None:
    wire = [(":MN?", "MN=RUDAT-6000-90"), *IDENTITY[1:]]
    with (
        expected_protocol(MiniCircuitsRCDAT, wire) as attenuator,
        pytest.raises(InstrumentFault, match=r"Mini-Circuits RUDAT-6000-90 .*RCDAT-6000-90, RCDAT-6000-110"),
    ):
        attenuator.check_identity()


@pytest.mark.parametrize("reply", ["", "garbage", "MN=", "-99 Unrecognized Command. Model=RCDAT-6000-90"])
def test_an_answer_that_is_no_model_is_a_fault(reply: str) -> None:
    with (
        expected_protocol(MiniCircuitsRCDAT, [(":MN?", reply)]) as attenuator,
        pytest.raises(InstrumentFault, match=r"expected MN=\.\.\. as the answer to :MN\?, got"),
    ):
        attenuator.identify()


@pytest.mark.parametrize("reply", ["0", "2", "", "garbage", "11"])
def test_a_setting_that_is_not_confirmed_is_a_fault(reply: str) -> None:
    with expected_protocol(MiniCircuitsRCDAT, [*IDENTITY, (":SETATT=12.75", reply)]) as attenuator:
        attenuator.check_identity()
        with pytest.raises(
            InstrumentFault, match=r"setting an attenuation of 12\.75 dB: expected 1 as the answer, got"
        ):
            attenuator.attenuation = 12.75


def test_a_setting_between_steps_is_refused_with_the_nearest() -> None:
    with expected_protocol(MiniCircuitsRCDAT, IDENTITY) as attenuator:
        attenuator.check_identity()
        with pytest.raises(ValueError, match=r"expected steps of 0\.25 dB, got 12\.8; the nearest is 12\.75"):
            attenuator.attenuation = 12.8


def test_the_model_is_asked_once_for_its_range() -> None:
    wire = [*IDENTITY, (":SETATT=10", "1"), (":SETATT=20.25\r\n".strip(), "1\r"), (":ATT?", "20.25\r")]
    with expected_protocol(MiniCircuitsRCDAT, wire) as attenuator:
        attenuator.attenuation = 10
        attenuator.attenuation = 20.25
        assert attenuator.attenuation == 20.25


def test_gain_goes_down_by_the_most_attenuation() -> None:
    with expected_protocol(MiniCircuitsRCDAT, [*IDENTITY, (":SETATT=90", "1"), (":SETATT=90", "1")]) as attenuator:
        attenuator.check_identity()
        attenuator.gain_down()
        with attenuator:
            pass
        assert attenuator.isShutdown


def test_it_has_no_error_queue_and_no_options() -> None:
    with expected_protocol(MiniCircuitsRCDAT, [*IDENTITY, (":SETATT=10", "1")]) as attenuator:
        with attenuator.group("setting the gain"):
            attenuator.attenuation = 10
        assert attenuator.empty_errors() == []
        assert attenuator.installed_options() == frozenset()
        for name in ("complete", "status", "options", "id", "next_error"):
            with pytest.raises(NotImplementedError):
                getattr(attenuator, name)


def test_each_model_has_its_range() -> None:
    assert set(MiniCircuitsRCDAT.RANGES) == set(MiniCircuitsRCDAT.MODELS)
    for model, (maximum, step) in MiniCircuitsRCDAT.RANGES.items():
        assert maximum == float(model.rpartition("-")[2])
        # Steps that are powers of two, so that the remainder of a division by one is exact.
        assert (1 / step).is_integer()

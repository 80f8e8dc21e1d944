"""The gain of the ring is what it was set to: the attenuator is read back, and watched, and so are the supplies."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instruments import rack
from instruments.keysight_n5182b import KeysightN5182B
from instruments.supplies import SupplyE36312A
from labpgt.errors import DeviceFault
from tests.instruments.benches import TriedBench

DRIVES = np.random.default_rng(4).uniform(0, 1, (5, 4))
ON = b"OUTPut 1"


@pytest.fixture
def hasty(bench: TriedBench) -> TriedBench:
    """The bench with short waits, its ring solved already."""
    with bench.ring() as ring:
        ring.forward(DRIVES)
    bench.write(lambda text: text.replace("timeout_s = 10.0", "timeout_s = 0.5"))
    bench.forget()
    return bench


@pytest.fixture(scope="module")
def lined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TriedBench]:
    tried = TriedBench(tmp_path_factory.mktemp("spectra"), "spectrum")
    tried.open()
    with tried.virtual:
        yield tried
    assert not tried.rf_on


def attenuation_of(tried: TriedBench) -> float:
    return float(tried.virtual.world.attenuation_db)


def turn(tried: TriedBench, attenuation_db: float) -> None:
    """What somebody does at the front panel."""
    tried.virtual.call(lambda: tried.virtual.instruments["attenuator"]._move(attenuation_db))


@pytest.mark.parametrize("attenuation_db", [20.25, 19.75, 30.0, 90.0, 0.0])
def test_an_attenuator_that_was_turned_spoils_no_shot(
    hasty: TriedBench, monkeypatch: pytest.MonkeyPatch, attenuation_db: float
) -> None:
    monkeypatch.setattr(rack, "_LONG_S", float("inf"))
    with hasty.ring() as ring:
        good = ring.forward(DRIVES)
        hasty.forget()
        ring.forward(DRIVES)
        assert hasty.sent_to("attenuator") == b":ATT?", "one question a capture"
        asked = [role for role, _ in hasty.sent]
        assert asked[0] == "attenuator", "sent before anything else, so that its answer is there at the end"
        turn(hasty, attenuation_db)
        with pytest.raises(DeviceFault, match=f"attenuator: is at {attenuation_db:g} dB although it was set to 20 dB"):
            ring.forward(DRIVES)
        assert not hasty.rf_on
        assert attenuation_of(hasty) == 90
        ring.recover()
        assert attenuation_of(hasty) == 20
        assert np.array_equal(ring.forward(DRIVES), good)


def test_one_that_is_turned_during_a_long_capture_is_noticed_too(
    lined: TriedBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rack, "_LONG_S", 0.0)
    with lined.ring(use="spectrum", n_nodes=5, dwell_s=2e-3, pilot_symbols=2) as ring:
        good = ring.forward(DRIVES)
        lined.forget()
        # Its first question is that before the capture.
        lined.virtual.faults.add("attenuator", "turned", after=1)
        with pytest.raises(DeviceFault, match="attenuator: is at 30 dB although it was set to 20 dB"):
            ring.forward(DRIVES)
        ring.recover()
        assert np.allclose(ring.forward(DRIVES), good, atol=1e-4), "to the noise of a spectrum"


def test_a_fault_of_another_leaves_no_answer_behind(hasty: TriedBench) -> None:
    with hasty.ring() as ring:
        good = ring.forward(DRIVES)
        hasty.virtual.faults.add("source", "rf-off", after=1)
        with pytest.raises(DeviceFault, match="RF was off"):
            ring.forward(DRIVES)
        # The question before the capture was answered, and that answer is not taken for the one about 90 dB.
        assert attenuation_of(hasty) == 90
        assert ring._running is not None
        assert not ring._running.rack.lost
        assert np.array_equal(ring.forward(DRIVES), good)


def test_an_attenuator_that_does_not_move_is_not_believed(hasty: TriedBench) -> None:
    turn(hasty, 30)
    hasty.virtual.faults.add("attenuator", "stuck")
    with pytest.raises(DeviceFault, match="attenuator: is at 30 dB although it was set to 20 dB"):
        hasty.ring().open()
    assert ON not in hasty.sent_to("amplifier"), "no gain on a loop whose attenuation is not known"
    assert attenuation_of(hasty) == 90
    with hasty.ring() as ring:
        good = ring.forward(DRIVES)
        hasty.virtual.faults.add("attenuator", "stuck")
        with pytest.raises(DeviceFault, match=r"attenuator: is at 20 dB although it was set to 26\.5 dB"):
            ring.forward_tuned(DRIVES, {"attenuation_db": np.full(5, 26.5)})
        ring.recover()
        hasty.virtual.faults.add("attenuator", "stuck")
        ring.make_safe()
        assert attenuation_of(hasty) == 90, "tried again over another connection"
        ring.recover()
        assert np.array_equal(ring.forward(DRIVES), good)
        hasty.virtual.faults.add("attenuator", "stuck", count=1000)
        with pytest.raises(DeviceFault, match="attenuator: making it safe failed"):
            ring.make_safe()
        assert attenuation_of(hasty) == 20
        hasty.virtual.faults.clear()


def test_the_attenuator_is_set_and_read_back_before_the_amplifier_goes_on(hasty: TriedBench) -> None:
    turn(hasty, 0)
    with hasty.ring():
        sent = [(role, data) for role, data in hasty.sent if role in ("attenuator", "amplifier")]
    on = next(i for i, (_, data) in enumerate(sent) if ON in data)
    before = b"".join(data for role, data in sent[:on] if role == "attenuator")
    assert before.index(b":SETATT=20") < before.rindex(b":ATT?")


def test_an_attenuation_between_two_steps_becomes_the_higher_one(hasty: TriedBench) -> None:
    hasty.write(lambda text: text.replace("attenuation_db = [4.0, 90.0]", "attenuation_db = [8.1, 20.1]"))
    with hasty.ring(attenuation_db=8.1) as ring:
        assert attenuation_of(hasty) == 8.25
        assert ring.settings()["attenuation_db"].value == 8.25
        assert ring.tunable["attenuation_db"] == (8.1, 20.0)
        for asked in (8.1, 8.25, 19.9, 20.0):
            ring.forward_tuned(DRIVES[:1], {"attenuation_db": np.array([asked])})
    set_to = {float(data[8:]) for _, data in hasty.sent if data.startswith(b":SETATT=")}
    assert set_to == {8.25, 20.0, 90.0}
    with pytest.raises(
        DeviceFault, match=r"attenuation_db = 20\.1: on the attenuator's steps .* 20\.25, above 20\.1 dB"
    ):
        hasty.ring(attenuation_db=20.1).open()


def test_an_attenuation_on_a_step_is_taken_as_it_is() -> None:
    held = rack.Rack.__new__(rack.Rack)
    held.drivers = {"attenuator": type("RCDAT", (), {"step": 0.25})}
    for step in range(361):
        for error in (0.0, 1e-12, -1e-12):
            assert held.on_steps(0.25 * step + error) == 0.25 * step
        assert held.on_steps(0.25 * step + 0.01) == 0.25 * (step + 1)


def test_an_amplifier_that_is_off_is_found_at_the_next_check(hasty: TriedBench) -> None:
    amplifier = hasty.virtual.instruments["amplifier"]
    with hasty.ring(health_s=0) as ring:
        good = ring.forward(DRIVES)

        def switch_off() -> None:
            amplifier.channels[0].on = False
            amplifier.changed("")

        hasty.virtual.call(switch_off)
        assert not amplifier.output_on
        with pytest.raises(DeviceFault, match="amplifier: is off although it was switched on"):
            ring.forward(DRIVES)
        assert not hasty.rf_on
        ring.recover()
        assert np.array_equal(ring.forward(DRIVES), good)


def test_rf_that_does_not_obey_is_not_believed(hasty: TriedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(KeysightN5182B, "rf_on", _nothing)
        with pytest.raises(DeviceFault, match="source: RF is off although it was turned on"):
            hasty.ring().open()
    with hasty.ring() as ring, monkeypatch.context() as patch:
        patch.setattr(KeysightN5182B, "rf_off", _nothing)
        ring.make_safe()
        assert not hasty.rf_on, "over another connection"
    with monkeypatch.context() as patch:
        patch.setattr(KeysightN5182B, "rf_off", _nothing)
        with hasty.ring():
            pass
        assert not hasty.rf_on


def test_a_supply_that_does_not_obey_is_not_believed(hasty: TriedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    with hasty.ring() as ring:
        monkeypatch.setattr(SupplyE36312A, "off", _nothing)
        ring.make_safe()
        assert not hasty.virtual.instruments["amplifier"].output_on


def _nothing(_: Any) -> None:
    pass


def test_a_source_that_comes_back_keeps_to_the_limits_of_the_bench(hasty: TriedBench) -> None:
    with hasty.ring() as ring:
        assert ring._running is not None
        before = ring._running.rack.drivers["source"]
        assert before.limits("power")[1] == 10
        hasty.virtual.faults.add("source", "drop")
        with pytest.raises(DeviceFault):
            ring.forward(DRIVES)
        ring.recover()
        source = ring._running.rack.drivers["source"]
        assert source is not before
        with pytest.raises(ValueError, match=r"expected .* to 10, got 10\.5"):
            source.power = 10.5


def test_rf_that_was_on_before_is_off_when_a_part_is_missing(hasty: TriedBench, tmp_path: Path) -> None:
    source = hasty.virtual.instruments["source"]

    def switch_on() -> None:
        source.values["output"] = True
        source.changed("output")

    hasty.virtual.call(switch_on)
    assert hasty.rf_on
    analyzer = hasty.virtual.addresses["analyzer"]
    hasty.write(lambda text: text.replace(analyzer, "TCPIP0::127.0.0.1::1::SOCKET"))
    with pytest.raises(DeviceFault, match=r"analyzer at TCPIP0::127\.0\.0\.1::1::SOCKET: nothing listens") as caught:
        hasty.ring(power_dbm=20.0).open()
    assert not hasty.rf_on
    assert attenuation_of(hasty) == 90
    assert len(str(caught.value).splitlines()) == 2, "with what the bench does not allow"

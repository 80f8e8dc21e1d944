"""Whatever goes wrong: no wrong shot passes for a good one, RF is off afterwards, and the ring comes back."""

import os
import signal
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from instruments.magnonic_ring import MagnonicRing
from labpgt.errors import DeviceFault
from labpgt.events import SPOILED, Flag
from simulators.virtual_bench.faults import ONLY
from tests.instruments.benches import TriedBench
from tests.instruments.plain_server import wait_for

DRIVES = np.random.default_rng(4).uniform(0, 1, (5, 4))
BATCH = 3
"""Two captures a request, so that a fault can strike the first one or the second."""
KINDS = {
    **dict.fromkeys(
        ("missing", "truncated", "garbage", "late", "identity", "nan", "overload", "oscillate", "drift"), 1
    ),
    **dict.fromkeys(("drop", "drop-after", "unplugged", "hang", "error", "ignored"), 2),
    "rf-off": 3,
}
"""Kinds of faults, with how many moments of a request each is tried at."""


@pytest.fixture
def hasty(bench: TriedBench) -> TriedBench:
    """The bench with short waits, its ring solved already."""
    with bench.ring() as ring:
        ring.forward(DRIVES)
    bench.write(lambda text: text.replace("timeout_s = 10.0", "timeout_s = 0.25"))
    bench.forget()
    return bench


def recovered(ring: MagnonicRing, within_s: float = 20.0) -> int:
    """Try to recover as the core does, until it works; how often that was."""
    until = time.monotonic() + within_s
    tries = 0
    while True:
        tries += 1
        try:
            ring.recover()
            return tries
        except DeviceFault:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_no_fault_makes_a_wrong_shot_pass_for_a_good_one(hasty: TriedBench, kind: str) -> None:
    faults = hasty.virtual.faults
    struck = 0
    with hasty.ring(batch=BATCH, health_s=0) as ring:
        good = ring.forward(DRIVES)
        assert not ring.flags().any()
        for role in hasty.virtual.models:
            if kind in ("overload", "oscillate", "drift") and role != "analyzer":
                continue  # what strikes the signal strikes it once
            if ONLY.get(kind, role) != role:
                continue
            for moment in range(KINDS[kind] if role in ("source", "analyzer") else 1):
                fault = faults.add(role, kind, after=7 * moment, seconds=0.3)
                failed: DeviceFault | None = None
                try:
                    found = ring.forward(DRIVES)
                except DeviceFault as caught:
                    failed = caught
                if failed is not None:
                    # What cannot be reached cannot be switched off: it is said, and the guard goes on trying.
                    assert not hasty.rf_on or any("make it safe by hand" in note for note in failed.__notes__)
                else:
                    right = (found == good).all(axis=(1, 2))
                    told = (ring.flags() & int(SPOILED)) != 0
                    assert (right | told).all(), f"{fault}: wrong shots passed for good ones"
                struck += fault.struck
                faults.clear()
                time.sleep(0.3 if kind in ("oscillate", "drift") else 0.0)
                if failed is not None:
                    recovered(ring)
                    assert hasty.rf_on
                try:
                    again = ring.forward(DRIVES)
                except DeviceFault:  # what struck behind the last reply shows now
                    assert not hasty.rf_on
                    recovered(ring)
                    again = ring.forward(DRIVES)
                assert np.array_equal(again, good), f"{fault}: not as before"
                assert not ring.flags().any()
    assert struck or kind == "identity", "nothing was tried"
    assert not hasty.rf_on


def test_a_device_that_was_lost_says_so_until_it_recovers(hasty: TriedBench) -> None:
    with hasty.ring() as ring:
        good = ring.forward(DRIVES)
        hasty.virtual.faults.add("analyzer", "unplugged", seconds=1.5)
        with pytest.raises(DeviceFault, match="analyzer at TCPIP0::127"):
            ring.forward(DRIVES)
        assert not hasty.rf_on
        hasty.sent.clear()
        with pytest.raises(DeviceFault, match="the connection to analyzer is lost"):
            ring.forward(DRIVES)
        assert b"*TRG" not in hasty.sent_to("source"), "a driver never tries again by itself"
        with pytest.raises(DeviceFault, match="analyzer at TCPIP0::127"):
            ring.recover()
        assert not hasty.rf_on
        assert recovered(ring) > 1
        assert np.array_equal(ring.forward(DRIVES), good)


def test_another_instrument_at_the_address_is_not_taken(hasty: TriedBench) -> None:
    with hasty.ring() as ring:
        ring.forward(DRIVES)
        hasty.virtual.faults.add("analyzer", "drop")
        with pytest.raises(DeviceFault):
            ring.forward(DRIVES)
        hasty.virtual.faults.add("analyzer", "identity", count=2)
        for _ in range(2):
            with pytest.raises(DeviceFault, match="expected the model N9020A, found ACME MODEL X"):
                ring.recover()
            assert not hasty.rf_on
        ring.recover()


def test_rf_switched_off_at_the_front_panel_is_noticed(hasty: TriedBench) -> None:
    source = hasty.virtual.instruments["source"]
    with hasty.ring() as ring:
        good = ring.forward(DRIVES)

        def switch_off() -> None:
            source.values["output"] = False
            source.changed("output")

        hasty.virtual.call(switch_off)
        with pytest.raises(DeviceFault, match="RF was off while a capture of 5 shots was taken"):
            ring.forward(DRIVES)
        ring.recover()
        assert np.array_equal(ring.forward(DRIVES), good)


def test_a_cable_that_falls_off_is_noticed_by_the_pilot(hasty: TriedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    world = hasty.virtual.world
    whole = world.full_scale_v
    with hasty.ring() as ring:
        ring.forward(DRIVES)
        monkeypatch.setattr(world, "full_scale_v", 1e-3 * whole)
        with pytest.raises(DeviceFault, match="the pilot shot is gone"):
            ring.forward(DRIVES)
        with pytest.raises(DeviceFault, match="the pilot shot is gone"):
            ring.recover()
        monkeypatch.setattr(world, "full_scale_v", 0.8 * whole)
        with pytest.raises(DeviceFault, match=r"differs from that at the start by more than limits\.drift = 0\.1"):
            ring.recover()
        assert not hasty.rf_on
        monkeypatch.setattr(world, "full_scale_v", 0.95 * whole)
        ring.recover()
        ring.forward(DRIVES)
        assert not ring.flags().any(), "within the limit"


def test_an_oscillation_is_found_between_captures(hasty: TriedBench) -> None:
    def oscillate() -> None:
        hasty.virtual.instruments["analyzer"].oscillate(0.5)

    with hasty.ring(health_s=0) as ring:
        good = ring.forward(DRIVES)
        hasty.virtual.call(oscillate)
        with pytest.raises(DeviceFault, match=r"dBm at the analyser with RF off, .*: the ring oscillates by itself"):
            ring.forward(DRIVES)
        assert not hasty.rf_on
        recovered(ring)
        assert np.array_equal(ring.forward(DRIVES), good)
    with hasty.ring(health_s=3600) as ring:
        hasty.virtual.call(oscillate)
        ring.forward(DRIVES)
        assert ((ring.flags() & int(Flag.OSCILLATION)) != 0).all(), "and within one: the gaps are not quiet"
        time.sleep(0.5)
        ring.forward(DRIVES)
        assert not ring.flags().any()


def test_health_is_checked_no_more_often_than_asked(hasty: TriedBench) -> None:
    with hasty.ring(health_s=3600, batch=1) as ring:
        ring.forward(DRIVES)
        hasty.forget()
        ring.forward(DRIVES)
        assert b":OUTP OFF" not in hasty.sent_to("source")
    with hasty.ring(health_s=0, batch=1) as ring:
        hasty.forget()
        ring.forward(DRIVES)
        assert hasty.sent_to("source").count(b":OUTP OFF") == len(DRIVES)


def test_every_instrument_is_made_safe_on_its_own(hasty: TriedBench) -> None:
    instruments = hasty.virtual.instruments
    ring = hasty.ring()
    ring.open()
    ring.forward(DRIVES)
    for role in ("analyzer", "attenuator"):
        hasty.virtual.faults.add(role, "unplugged", seconds=2)
    hasty.sent.clear()
    with pytest.raises(DeviceFault, match="attenuator: making it safe failed") as caught:
        ring.make_safe()
    assert "source" not in str(caught.value)
    assert not hasty.rf_on
    assert not instruments["amplifier"].output_on
    roles = [role for role, _ in hasty.sent]
    assert roles.index("source") < roles.index("attenuator") < roles.index("amplifier"), "RF first"
    with pytest.raises(DeviceFault, match="attenuator: making it safe failed"):
        ring.close()
    ring.close()
    ring.make_safe()
    assert wait_for(lambda: _opens(hasty.ring()))


def _opens(ring: MagnonicRing) -> bool:
    try:
        with ring:
            return True
    except DeviceFault:
        return False


def test_safe_means_no_rf_no_gain_and_it_goes_on_after_it(hasty: TriedBench) -> None:
    instruments = hasty.virtual.instruments
    with hasty.ring() as ring:
        good = ring.forward(DRIVES)
        for _ in range(2):
            ring.make_safe()
            assert not hasty.rf_on
            assert hasty.virtual.world.attenuation_db == 90
            assert not instruments["amplifier"].output_on
        assert np.array_equal(ring.forward(DRIVES), good)
        assert hasty.rf_on
        assert hasty.virtual.world.attenuation_db == 20
        assert instruments["amplifier"].output_on
    assert not hasty.rf_on


@pytest.mark.parametrize("ending", ["make_safe", "close"])
def test_another_thread_turns_rf_off_in_the_middle_of_a_shot(bench: TriedBench, ending: str) -> None:
    bench.write(lambda text: text.replace("timeout_s = 10.0", "timeout_s = 3.0"))
    ring = bench.ring()
    ring.open()
    good = ring.forward(DRIVES)
    outcome: list[object] = []

    def shoot() -> None:
        try:
            while True:
                outcome.append(ring.forward(DRIVES))
        except DeviceFault as fault:
            outcome.append(fault)

    # The analyser keeps its samples for a second: the shot's thread waits for them.
    bench.virtual.faults.add("analyzer", "late", after=2, seconds=1.0)
    thread = threading.Thread(target=shoot)
    thread.start()
    assert wait_for(lambda: bench.virtual.faults.added[-1].struck > 0)
    began = time.monotonic()
    getattr(ring, ending)()
    if ending == "make_safe":
        assert time.monotonic() - began < 0.9, "it did not wait for the shot"
    assert not bench.rf_on
    thread.join(10)
    assert isinstance(outcome[-1], DeviceFault)
    assert "was made safe while" in str(outcome[-1]) or "closed" in str(outcome[-1])
    for found in outcome[:-1]:
        assert np.array_equal(found, good)
    if ending == "make_safe":
        assert np.array_equal(ring.forward(DRIVES), good)
    ring.close()


def test_the_guard_is_noticed_when_it_acts_or_dies(bench: TriedBench) -> None:
    with MagnonicRing(bench=str(bench.path)) as ring:
        good = ring.forward(DRIVES)
        guard = ring._running.rack._guard  # type: ignore[union-attr]
        assert guard is not None
        assert guard.pid is not None
        os.kill(guard.pid, signal.SIGKILL)
        assert wait_for(lambda: guard.fired is not None)
        with pytest.raises(DeviceFault, match="guard: its process"):
            ring.forward(DRIVES)
        assert not bench.rf_on
        ring.recover()
        assert guard.fired is None
        assert np.array_equal(ring.forward(DRIVES), good)
        pid = guard.pid
    assert not bench.rf_on
    assert wait_for(lambda: not _alive(pid)), "the guard goes with the device"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_interruption_leaves_the_bench_safe(hasty: TriedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    with hasty.ring() as ring:
        good = ring.forward(DRIVES)
        analyzer = ring._running.rack.drivers["analyzer"]  # type: ignore[union-attr]
        with monkeypatch.context() as patch:
            patch.setattr(type(analyzer), "overloaded", _interrupted)
            with pytest.raises(KeyboardInterrupt):
                ring.forward(DRIVES)
        assert not hasty.rf_on
        with pytest.raises(DeviceFault, match="the connection to analyzer, source is lost"):
            ring.forward(DRIVES)
        ring.recover()
        assert np.array_equal(ring.forward(DRIVES), good)


def _interrupted(_: object) -> bool:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "order", ["close", "make_safe close make_safe", "open open close close", "open make_safe close"]
)
def test_any_order_of_opening_and_closing(bench: TriedBench, order: str) -> None:
    ring = bench.ring()
    for call in order.split():
        method: Callable[[], None] = getattr(ring, call)
        method()
    assert not bench.rf_on
    with ring:
        ring.forward(DRIVES)
    with pytest.raises(DeviceFault, match=r"call open\(\) first"):
        ring.forward(DRIVES)
    with pytest.raises(DeviceFault, match=r"call open\(\) first"):
        ring.recover()

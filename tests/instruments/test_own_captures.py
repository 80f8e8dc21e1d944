"""What is not the capture of what was sent never passes for it: old captures, downloads not taken, RF gone."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from instruments.envelope_use import EnvelopeUse
from instruments.keysight_n5182b import KeysightN5182B
from instruments.magnonic_ring import MagnonicRing
from instruments.waveforms import SHIFTS
from labpgt.errors import DeviceFault, InputError
from labpgt.events import Flag
from tests.instruments.benches import TriedBench

DRIVES = np.random.default_rng(8).uniform(0, 1, (3, 4))
OTHERS = np.random.default_rng(9).uniform(0, 1, (3, 4))
CARRIER_HZ = 3.205e9


@pytest.fixture(scope="module")
def lined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TriedBench]:
    tried = TriedBench(tmp_path_factory.mktemp("spectra"), "spectrum")
    tried.open()
    with tried.virtual:
        yield tried
    assert not tried.rf_on


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TriedBench]:
    tried = TriedBench(tmp_path_factory.mktemp("spectrum"), "spectrum", models={"analyzer": "FSL-6"})
    tried.open()
    with tried.virtual:
        yield tried
    assert not tried.rf_on


def spectra(tried: TriedBench, **settings: object) -> MagnonicRing:
    return tried.ring(use="spectrum", n_nodes=5, dwell_s=2e-3, **settings)


def test_the_pilot_is_at_another_place_in_each_capture(bench: TriedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    shifts: list[int] = []
    record = EnvelopeUse.record

    def watched(self: EnvelopeUse, drives: np.ndarray, layout: object) -> object:
        shifts.append(layout.shift)  # type: ignore[attr-defined]
        return record(self, drives, layout)  # type: ignore[arg-type]

    monkeypatch.setattr(EnvelopeUse, "record", watched)
    with bench.ring() as ring:
        found = [ring.forward(DRIVES) for _ in range(SHIFTS)]
        assert not ring.flags().any()
    assert all(np.array_equal(one, found[0]) for one in found)
    assert (np.diff(shifts) % SHIFTS == 1).all()
    assert set(shifts) == set(range(SHIFTS))


@pytest.mark.parametrize("tuning", [{}, {"attenuation_db": np.full(3, 24.0)}])
def test_a_stale_capture_is_no_shot(bench: TriedBench, tuning: dict[str, np.ndarray]) -> None:
    with bench.ring() as ring:
        good = ring.forward_tuned(DRIVES, tuning)
        ring.forward_tuned(OTHERS, tuning)
        stale = bench.virtual.faults.add("analyzer", "stale")
        with pytest.raises(DeviceFault, match="this is not the capture of the waveform that was sent"):
            ring.forward_tuned(DRIVES, tuning)
        assert stale.struck
        assert not bench.rf_on
        ring.recover()
        assert np.array_equal(ring.forward_tuned(DRIVES, tuning), good)


def test_an_older_capture_is_told_by_the_place_of_the_pilot(bench: TriedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    record = EnvelopeUse.record
    kept: list[tuple[np.ndarray, bool]] = []

    def older(self: EnvelopeUse, drives: np.ndarray, layout: object) -> tuple[np.ndarray, bool]:
        found = record(self, drives, layout)  # type: ignore[arg-type]
        if len(drives):
            kept.append(found)
        return kept.pop(0) if len(kept) > 3 else found

    with bench.ring() as ring:
        monkeypatch.setattr(EnvelopeUse, "record", older)
        for _ in range(3):
            ring.forward(DRIVES)
        with pytest.raises(DeviceFault, match=r"the pilot shot is at place \d, expected \d"):
            ring.forward(OTHERS)
        monkeypatch.undo()
        ring.forward(DRIVES)


@pytest.mark.parametrize("tuning", [{}, {"attenuation_db": np.full(3, 24.0)}])
def test_a_waveform_that_is_not_taken_is_noticed(bench: TriedBench, tuning: dict[str, np.ndarray]) -> None:
    with bench.ring() as ring:
        good = ring.forward_tuned(DRIVES, tuning)
        for _ in range(2):
            ring.forward_tuned(OTHERS, tuning)
        ignored = bench.virtual.faults.add("source", "ignored")
        with pytest.raises(DeviceFault, match="source at"):
            ring.forward_tuned(DRIVES, tuning)
        assert ignored.struck
        ring.recover()
        assert np.array_equal(ring.forward_tuned(DRIVES, tuning), good)


def test_also_where_the_old_one_is_still_in_memory(bench: TriedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(KeysightN5182B, "delete_waveform", lambda self, name: None)
        with bench.ring() as ring:
            ring.forward(DRIVES)
            ring.forward(OTHERS)
            patch.setattr(KeysightN5182B, "load_waveform", lambda *arguments: None)
            with pytest.raises(DeviceFault, match=r"the pilot shot is at place \d, expected \d"):
                ring.forward(DRIVES)


def test_a_waveform_that_was_not_chosen_is_noticed(bench: TriedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    source = bench.virtual.instruments["source"]
    arm = KeysightN5182B.arm_waveform

    def another(self: KeysightN5182B, name: str) -> None:
        arm(self, name)
        self.waveform = next(loaded for loaded in source.codes if loaded != name)

    with bench.ring() as ring:
        ring.forward(DRIVES)
        with monkeypatch.context() as patch:
            patch.setattr(KeysightN5182B, "arm_waveform", another)
            patch.setattr(KeysightN5182B, "delete_waveform", lambda self, name: None)
            with pytest.raises(DeviceFault, match=r'source: played waveform "WFM1:LABPGT\d" .* expected WFM1:LABPGT\d'):
                ring.forward(DRIVES)


def test_the_first_capture_of_all_is_seen_to_be_its_own(bench: TriedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    record = EnvelopeUse.record
    first: list[object] = []

    def frozen(self: EnvelopeUse, drives: np.ndarray, layout: object) -> object:
        found, overloaded = record(self, drives, layout)  # type: ignore[arg-type]
        first.append(found)
        # The same again but for its noise.
        return first[0] * (1 + 1e-6 * len(first)), overloaded  # type: ignore[operator]

    monkeypatch.setattr(EnvelopeUse, "record", frozen)
    with pytest.raises(DeviceFault, match=r"the pilot shot is at place \d, expected \d"):
        bench.ring().open()
    assert len(first) == 2


def switches_off(tried: TriedBench, message: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have somebody turn RF off while the analyser is asked for its results, once."""
    source = tried.virtual.instruments["source"]
    done: list[bytes] = []

    def touch(role: str, sent: bytes) -> None:
        if role == "analyzer" and message in sent and not done:
            done.append(sent)
            source.touched()

    monkeypatch.setattr(tried, "meanwhile", touch)


@pytest.mark.parametrize(("kind", "message"), [("bench", b":FETC"), ("lined", b"TRAC? SPEC"), ("single", b"TRAC? T")])
def test_rf_that_goes_off_during_a_capture(
    kind: str, message: bytes, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: TriedBench = request.getfixturevalue(kind)
    with tried.ring() if kind == "bench" else spectra(tried) as ring:
        ring.forward(DRIVES)
        with monkeypatch.context() as patch:
            switches_off(tried, message, patch)
            with pytest.raises(DeviceFault, match="RF was off while"):
                ring.forward(DRIVES)
        assert not tried.rf_on
        ring.recover()
        ring.forward(DRIVES)


def test_spectra_of_another_list_are_no_shots(lined: TriedBench) -> None:
    faults = lined.virtual.faults
    with spectra(lined) as ring:
        good = ring.forward(DRIVES)
        for role, kind in (("analyzer", "stale"), ("source", "ignored")):
            ring.forward(OTHERS)
            fault = faults.add(role, kind)
            with pytest.raises(DeviceFault, match=r"these are not the spectra of the list|this is not the spectrum"):
                ring.forward(DRIVES)
            assert fault.struck
            ring.recover()
            assert np.allclose(ring.forward(DRIVES), good, rtol=0.02, atol=1e-3)


def test_one_spectrum_that_is_the_one_before(single: TriedBench) -> None:
    with spectra(single) as ring:
        ring.forward(DRIVES)
        single.virtual.faults.add("analyzer", "stale")
        with pytest.raises(DeviceFault, match=r"this is not the spectrum at -?\d+\.\d\d dBm: it is the one before"):
            ring.forward(DRIVES)


def test_a_power_that_is_not_taken(single: TriedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    source = single.virtual.instruments["source"]
    assign = source.assign

    def deaf(name: str, value: object) -> None:
        if name != "power":
            assign(name, value)

    with spectra(single) as ring:
        ring.forward(DRIVES)
        with monkeypatch.context() as patch:
            patch.setattr(source, "assign", deaf)
            with pytest.raises(DeviceFault, match=r"source: its power is .* although .* dBm was set"):
                ring.forward(DRIVES)


def test_spectra_drift_and_go_away(lined: TriedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    world = lined.virtual.world
    whole = world.full_scale_v
    with spectra(lined) as ring:
        ring.forward(DRIVES)
        assert not ring.flags().any()
        monkeypatch.setattr(world, "full_scale_v", 0.8 * whole)
        ring.forward(DRIVES)
        assert ((ring.flags() & int(Flag.DRIFT)) != 0).all()
        monkeypatch.setattr(world, "full_scale_v", 1e-2 * whole)
        with pytest.raises(DeviceFault, match="the pilot shot is gone"):
            ring.forward(DRIVES)


def test_a_tuned_carrier_does_not_outlive_a_fault(bench: TriedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    tuning = {"carrier_hz": np.full(3, CARRIER_HZ + 2e6)}

    def broken(self: EnvelopeUse, drives: np.ndarray) -> None:
        raise ValueError("one capture went wrong")

    with bench.ring() as ring:
        good = ring.forward(DRIVES)
        with monkeypatch.context() as patch:
            patch.setattr(EnvelopeUse, "take", broken)
            with pytest.raises(DeviceFault, match="one capture went wrong"):
                ring.forward_tuned(DRIVES, tuning)
        assert bench.virtual.instruments["source"].values["frequency"] == CARRIER_HZ + 2e6
        assert np.array_equal(ring.forward(DRIVES), good), "also without recover()"
        assert bench.virtual.instruments["source"].values["frequency"] == CARRIER_HZ
        assert not ring.flags().any()


def test_a_carrier_that_was_not_taken_is_sent_again(bench: TriedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    source = bench.virtual.instruments["source"]
    assign, empty_errors = source.assign, KeysightN5182B.empty_errors
    refused: list[object] = []

    def deaf(name: str, value: object) -> None:
        if (name, value) == ("frequency", CARRIER_HZ):
            refused.append(value)
        else:
            assign(name, value)

    def told(self: KeysightN5182B) -> list[str]:
        errors = empty_errors(self)  # its answer comes after what was sent before
        if refused:
            raise DeviceFault("not this time")
        return errors

    with bench.ring() as ring:
        good = ring.forward(DRIVES)
        with monkeypatch.context() as patch:
            patch.setattr(source, "assign", deaf)
            patch.setattr(KeysightN5182B, "empty_errors", told)
            with pytest.raises(DeviceFault, match="not this time"):
                ring.forward_tuned(DRIVES, {"carrier_hz": np.full(3, CARRIER_HZ + 2e6)})
        assert source.values["frequency"] == CARRIER_HZ + 2e6, "it did not come back from the tuned one"
        assert np.array_equal(ring.forward(DRIVES), good)
        assert source.values["frequency"] == CARRIER_HZ


LIMITS = {
    "rbw": ({"rbw_hz": 50e6}, r"analyzer: rbw_hz = 50000000: expected 1 to 10000000"),
    "span": ({"span_hz": 7.5e9, "carrier_hz": 4e9}, r"analyzer: span_hz = 7500000000: expected 0 to 7000000000"),
    "stop": (
        {"span_hz": 4e9, "carrier_hz": 5.5e9},
        r"analyzer: carrier_hz \+ span_hz / 2 = 7500000000: expected 0 to 7000000000",
    ),
    "period": (
        {"pulse_period_s": 20e-9, "pulse_width_s": 20e-9},
        r"source: pulse_period_s = 2e-08: expected 7e-08 to 42",
    ),
    "width": (
        {"pulse_period_s": 1e-6, "pulse_width_s": 1e-9},
        r"source: pulse_width_s = 1e-09: expected 1e-08 to 42",
    ),
    "dwell": ({"dwell_s": 1e-4}, r"source: dwell_s = 0.0001: expected 0.001 to 60"),
    "power": (
        {"power_dbm": -60.0, "power_range_db": 100.0},
        r"source: power_dbm = -60: takes powers of -160 to -60 dBm, expected -135 to 10 dBm",
    ),
}


@pytest.mark.parametrize("case", LIMITS)
def test_what_a_driver_refuses_is_told_before_rf(lined: TriedBench, case: str) -> None:
    settings, told = LIMITS[case]
    lined.forget()
    with pytest.raises(DeviceFault, match=told) as caught:
        lined.ring(use="spectrum", **settings).open()
    assert "cannot be read" not in str(caught.value)
    assert b":OUTP ON" not in lined.sent_to("source")


def test_each_refused_setting_has_a_line_of_its_own(bench: TriedBench) -> None:
    with pytest.raises(DeviceFault) as caught:
        bench.ring(waveform_scaling_percent=0.5, power_dbm=-139, carrier_hz=6.5e9, symbol_s=41e-9).open()
    lines = str(caught.value).splitlines()
    for told in ("waveform_scaling_percent = 0.5: expected 1 to 100", "source: carrier_hz = 6500000000", "symbol_s"):
        assert sum(told in line for line in lines) == 1, lines
    assert b":OUTP ON" not in bench.sent_to("source")


def test_options_that_are_not_told_are_a_device_fault(lined: TriedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    lined.write(lambda text: text.replace("timeout_s = 10.0", "timeout_s = 0.25"))
    ring = spectra(lined)
    lined.virtual.faults.add("analyzer", "missing", after=_messages_before_options(lined))
    with pytest.raises(DeviceFault, match=r"analyzer at .*asking for its options"):
        ring.open()
    lined.write()
    lined.forget()


def _messages_before_options(tried: TriedBench) -> int:
    """Messages to the analyser before it is asked for its options."""
    tried.forget()
    with spectra(tried):
        sent = [data for role, data in tried.sent if role == "analyzer"]
    tried.forget()
    return next(n for n, data in enumerate(sent) if b"*OPT?" in data)


def test_spectra_need_two_powers_to_be_told_apart() -> None:
    with pytest.raises(InputError, match=r"pilot_symbols = 1: .* expected 2 or more"):
        MagnonicRing(bench=str(Path("x")), use="spectrum", pilot_symbols=1)

"""Spectrum use on the virtual bench: powers in, spectra out, in one go and one by one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from instruments.magnonic_ring import MagnonicRing
from labpgt.errors import DeviceFault
from tests.instruments.benches import TriedBench

DRIVES = np.array([[0.0, 0.5, 1.0], [1.0, 0.25, 0.0]])
SETTINGS = {"use": "spectrum", "n_nodes": 5, "dwell_s": 2e-3, "pilot_symbols": 2}


@pytest.fixture(scope="module")
def lined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TriedBench]:
    tried = TriedBench(tmp_path_factory.mktemp("spectra"), "spectrum")
    tried.open()
    with tried.virtual:
        yield tried
    assert not tried.rf_on


def ring(tried: TriedBench, **settings: object) -> MagnonicRing:
    return tried.ring(**{**SETTINGS, **settings})


def test_all_powers_of_a_batch_in_one_go(lined: TriedBench) -> None:
    with ring(lined) as device:
        lined.forget()
        found = device.forward(DRIVES)
        assert lined.sent_to("source").count(b"*TRG") == 1
        assert lined.sent_to("analyzer").count(b"TRAC? SPEC") == 1
        assert b":LIST:POW -30,-15,0,0,-22.5,-30" in lined.sent_to("source")
        assert not device.flags().any()
        lined.forget()
        single = np.concatenate([device.forward(drive[None]) for drive in DRIVES])
        assert lined.sent_to("source").count(b"*TRG") == 2
        assert device.settings()["in_one_go"].value is True
    assert found.shape == (2, 3, 5)
    assert np.allclose(found, single, rtol=0.02, atol=1e-3)
    carrier = found[..., 2]
    assert (carrier > 5 * found[..., [0, 4]].max(axis=-1)).all(), "the line is in the middle bin"
    assert carrier[0, 0] < carrier[1, 1] < carrier[0, 1] < carrier[0, 2]
    assert carrier[0, 2] == pytest.approx(carrier[1, 0], rel=0.02), "a response depends on its own power alone"


def test_one_by_one_where_the_analyser_keeps_one_spectrum(lined: TriedBench, tmp_path: Path) -> None:
    with ring(lined) as device:
        together = device.forward(DRIVES)
    tried = TriedBench(tmp_path, "spectrum", models={"analyzer": "FSL-6"})
    tried.open()
    with tried.virtual, ring(tried) as device:
        found = device.forward(DRIVES)
        assert device.settings()["in_one_go"].value is False
        assert not device.flags().any()
        assert b"*TRG" not in tried.sent_to("source")
    assert np.allclose(found, together, rtol=0.02, atol=1e-3)


def test_a_batch_is_split_where_the_list_is_full(lined: TriedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("instruments.keysight_e8257d.KeysightE8257D.LIST_POINTS", (1, 10))
    with ring(lined) as device:
        assert device.max_symbols == 7
        lined.forget()
        found = device.forward(np.tile(DRIVES, (2, 1)))
        assert lined.sent_to("source").count(b"*TRG") == 2
        assert np.allclose(found[:2], found[2:], rtol=0.02, atol=1e-3)


def test_rf_that_is_off_is_noticed(lined: TriedBench) -> None:
    source = lined.virtual.instruments["source"]
    with ring(lined) as device:

        def switch_off() -> None:
            source.values["output"] = False
            source.changed("output")

        lined.virtual.call(switch_off)
        with pytest.raises(DeviceFault, match="RF was off while a list of 9 spectra was taken"):
            device.forward(DRIVES)
        device.recover()
        device.forward(DRIVES)


def test_a_strong_line_flags_its_shot(lined: TriedBench) -> None:
    with ring(lined, reference_level_dbm=-20) as device:
        device.forward(np.array([[0.0, 0.1], [1.0, 0.1], [0.0, 0.0]]))
        assert device.flags().tolist() == [0, 1, 0]


def test_pulses_widen_the_line(lined: TriedBench) -> None:
    with ring(lined) as device:
        steady = device.forward(DRIVES[:1])[0, 2]
    with ring(lined, pulse_period_s=200e-9, pulse_width_s=100e-9) as device:
        pulsed = device.forward(DRIVES[:1])[0, 2]
        assert device.settings()["pulse_width_s"].value == 100e-9
    share = pulsed / np.linalg.norm(pulsed), steady / np.linalg.norm(steady)
    assert share[0][[1, 3]].max() > 5 * share[1][[1, 3]].max(), "side lines at 5 MHz reach the bins beside"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"span_hz": 8e9}, "reaches below 0 Hz about a carrier"),
        ({"use": "envelope"}, "a E8257D has no waveform memory"),
        ({"rbw_hz": 1e3, "dwell_s": 1e-3}, "longer than dwell_s"),
    ],
)
def test_what_cannot_be_is_told_before_rf(lined: TriedBench, settings: dict[str, object], told: str) -> None:
    lined.forget()
    with pytest.raises(DeviceFault, match=told):
        ring(lined, **settings).open()
    assert b":OUTP ON" not in lined.sent_to("source")

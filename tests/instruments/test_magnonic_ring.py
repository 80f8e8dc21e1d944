"""The ring on the virtual bench, over real sockets: what it answers, and what it refuses before RF is on."""

from pathlib import Path

import numpy as np
import pytest

from instruments.loopback import Loopback
from instruments.magnonic_ring import MagnonicRing
from labpgt.device import Flagging, Recoverable, Reservoir, Tunable
from labpgt.errors import DeviceFault, InputError
from labpgt.events import Flag
from labpgt.registry import complete_settings
from tests.instruments.benches import TriedBench, expected

SYMBOLS = 6


def some_drives(shots: int, low: float = 0.0) -> np.ndarray:
    """Random shots, of which some begin or end with drives of 0, and one is nothing else."""
    drives = np.random.default_rng(3).uniform(low, 1, (shots, SYMBOLS))
    drives[1::5, :2] = 0
    drives[2::5, -3:] = 0
    drives[3::7] = 0
    drives[0, 0] = 1
    return drives


def test_is_what_the_core_asks_of_it(bench: TriedBench) -> None:
    ring = bench.ring()
    for protocol in (Reservoir, Flagging, Recoverable, Tunable):
        assert isinstance(ring, protocol)
    assert (ring.n_nodes, ring.drive_limits) == (4, (0.0, 1.0))


@pytest.mark.parametrize(("readout", "n_nodes"), [("envelope", 4), ("iq", 8)])
@pytest.mark.parametrize("batch", [0, 1, 7])
def test_answers_as_the_ring_behind_does_bit_for_bit(bench: TriedBench, readout: str, n_nodes: int, batch: int) -> None:
    drives = some_drives(20)
    with bench.ring(readout=readout, n_nodes=n_nodes, batch=batch) as ring:
        found = ring.forward(drives)
        assert not ring.flags().any()
    assert np.array_equal(found, expected(drives, n_nodes=n_nodes, readout=readout))
    assert found.std(axis=0).min() > 0


@pytest.mark.parametrize("encoding", ["signed", "phase"])
def test_other_encodings_do_so_too(tmp_path: Path, encoding: str) -> None:
    tried = TriedBench(tmp_path, settings={"encoding": encoding})
    tried.open()
    drives = some_drives(8, -1.0)
    with tried.virtual, tried.ring(readout="iq", encoding=encoding, n_nodes=4) as ring:
        found = ring.forward(drives)
        assert np.array_equal(ring.forward(drives[2:3])[0], found[2])
    assert np.array_equal(found, expected(drives, n_nodes=4, readout="iq", encoding=encoding))


@pytest.mark.parametrize("shots", [1, 2, 3, 33])
def test_a_batch_of_any_size_is_one_upload_one_trigger_one_capture(bench: TriedBench, shots: int) -> None:
    drives = some_drives(shots)
    with bench.ring() as ring:
        ring.forward(drives)
        bench.forget()
        found = ring.forward(drives)
        source, analyzer = bench.sent_to("source"), bench.sent_to("analyzer")
        assert source.count(b"*TRG") == source.count(b':MMEM:DATA "WFM1:LABPGT') == 1
        assert source.count(b':MMEM:DATA "MKR1:LABPGT') == source.count(b":MMEM:DEL") == 1
        assert analyzer.count(b":FETC:WAV0?") == analyzer.count(b":INIT:WAV") == 1
        asked = [role for role, _ in bench.replies if role != "attenuator"]
        assert len(asked) == 4, "armed, samples, overload, and RF, waveform and errors of the source"
        one_by_one = np.concatenate([ring.forward(drive[None]) for drive in drives])
    assert np.array_equal(found, one_by_one)


def test_a_batch_that_does_not_fit_takes_several_captures(bench: TriedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    drives = some_drives(20)
    with bench.ring() as ring:
        together = ring.forward(drives)
    # The waveform memory of five shots of 6 symbols and their gaps of 7, with lead-in and pilot.
    monkeypatch.setattr("instruments.keysight_n5182b.KeysightN5182B.MEMORY", {"N5182B": (2 + 5 * 13 + 18) * 4})
    with bench.ring() as ring:
        assert ring.max_symbols == (2 + 5 * 13 + 18) - 2 - 18 - 7
        bench.forget()
        assert np.array_equal(ring.forward(drives), together)
        assert bench.sent_to("source").count(b"*TRG") == 4
        with pytest.raises(ValueError, match=f"expected 1 to {ring.max_symbols} symbols"):
            ring.forward(np.zeros((1, ring.max_symbols + 1)))
        longest = np.random.default_rng(0).uniform(0, 1, (2, ring.max_symbols))
        assert np.array_equal(ring.forward(longest), expected(longest))


def test_the_gap_is_the_measured_memory_on_the_symbol_grid(bench: TriedBench) -> None:
    for memory_s, times, gap_s in ((20e-9, 14, 280e-9), (21e-9, 14, 320e-9), (0.0, 14, 40e-9), (10e-9, 3, 40e-9)):
        with bench.ring(memory_time_s=memory_s, gap_memory_times=times) as ring:
            assert ring.settings()["gap_s"].value == pytest.approx(gap_s)
            bench.forget()
            # What remains of a shot in too short a gap is heard in the next one, and told.
            shots = ring.forward(np.ones((2, 3)))
            oscillation = ring.flags() & int(Flag.OSCILLATION)
            assert oscillation.tolist() == ([Flag.OSCILLATION] * 2 if gap_s < 100e-9 else [0, 0])
            assert np.array_equal(shots[0], shots[1]) == (gap_s > 100e-9)


def test_shots_of_other_attenuations_and_carriers(bench: TriedBench) -> None:
    drives = some_drives(6)
    attenuation = np.array([20.0, 26.5, 20.0, 17.25, 26.5, 20.0])
    with bench.ring() as ring:
        assert ring.tunable == {"attenuation_db": (4.0, 90.0), "carrier_hz": (2e9, 6e9)}
        before = ring.forward(drives)
        tuned = ring.forward_tuned(drives, {"attenuation_db": attenuation})
        assert np.array_equal(tuned, expected(drives, tuning={"attenuation_db": attenuation - 20.0}, gain=0.2))
        assert bench.sent_to("attenuator").count(b":SETATT=26.5") == 1, "shots of the same value share a capture"
        carrier = np.array([3.205e9, 3.205e9, 3.25e9, 3.25e9, 3.205e9, 3.25e9])
        off = ring.forward_tuned(drives, {"carrier_hz": carrier})
        assert np.array_equal(off[[0, 1, 4]], before[[0, 1, 4]])
        assert not np.allclose(off[2], before[2], rtol=0.02)
        assert np.array_equal(ring.forward(drives), before), "for that call only"
        bench.forget()
        few, low = {"attenuation_db": attenuation[:3]}, {"attenuation_db": attenuation - 15}
        for wrong in (few, low, {"bias_t": attenuation}):
            with pytest.raises(ValueError, match=f"attenuation_db|{next(iter(wrong))!r} cannot differ"):
                ring.forward_tuned(drives, wrong)
        assert not bench.sent, "nothing was sent for what cannot be"


def test_settings_are_complete_and_the_same_each_time(bench: TriedBench) -> None:
    with bench.ring() as ring:
        first = ring.settings()
    with bench.ring() as ring:
        assert ring.settings() == first
    known = {"source": "Agilent Technologies N5182B", "analyzer_serial": "VB000002", "full_scale_v": 0.25}
    assert {key: first[key].value for key in known} == known
    assert {"gap_s", "power_dbm", "attenuation_db", "source_full_code", "amplifier_voltage_v"} <= set(first)
    text = " ".join(str(setting.value) for setting in first.values())
    assert "TCPIP" not in text
    assert str(bench.path) not in text
    assert set(bench.ring().settings()) < set(first), "before it is open, what is known then"


def test_a_wrong_drive_is_refused_before_anything_is_sent(bench: TriedBench) -> None:
    with bench.ring() as ring:
        bench.forget()
        for wrong in (np.full((1, 3), 1.01), np.full((1, 3), np.nan), np.zeros(3), np.zeros((1, 0))):
            with pytest.raises(ValueError, match="magnonic-ring: "):
                ring.forward(wrong)
        assert ring.forward(np.zeros((0, 3))).shape == (0, 3, 4)
        assert not bench.sent
        assert bench.rf_on, "a wrong drive is no fault of the device"


def test_what_the_bench_s_file_does_not_allow_is_known_before_it_is_opened(
    bench: TriedBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench.ring().refusals() == {}
    assert bench.ring(power_dbm=20, carrier_hz=7e9, attenuation_db=3).refusals() == {
        "power_dbm": "the bench's limit is 10 dBm",
        "carrier_hz": "the bench's limits are 2000000000 to 6000000000 Hz",
        "attenuation_db": "the bench's limits are 4 to 90 dB",
    }
    assert not bench.sent
    monkeypatch.chdir(tmp_path)
    nowhere = MagnonicRing(False, bench="nowhere.toml")
    assert f"bench {tmp_path / 'nowhere.toml'}: cannot be read" in nowhere.refusals()["bench"]
    loop = Loopback(False, bench=str(bench.path), encoding="phase", duty=1.0)
    assert "attenuator" in loop.refusals()["bench"]


def test_a_bench_is_the_same_one_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = str(tmp_path / "bench.toml")
    assert complete_settings("magnonic-ring", {"bench": "bench.toml"})["bench"] == whole
    monkeypatch.chdir("/")
    assert complete_settings("magnonic-ring", {"bench": whole})["bench"] == whole


def test_every_bad_input_is_told_at_once_and_before_rf(bench: TriedBench) -> None:
    bench.write(lambda text: text.replace('"N9020A"', '"FSV-7"').replace('serial = "VB000003"', 'serial = "X1"'))
    wrong = bench.ring(power_dbm=20, carrier_hz=7e9, attenuation_db=3)
    with pytest.raises(DeviceFault) as caught:
        wrong.open()
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    for line, part in zip(
        lines,
        (
            r"power_dbm = 20: the bench's limit is 10 dBm",
            r"carrier_hz = 7000000000: the bench's limits are 2000000000 to 6000000000 Hz",
            r"attenuation_db = 3: the bench's limits are 4 to 90 dB",
            "expected the model FSV-7, found Agilent Technologies N9020A",
            "expected the RCDAT-6000-90 with serial number X1",
        ),
        strict=True,
    ):
        assert part in line
    assert b":OUTP ON" not in bench.sent_to("source")
    with pytest.raises(DeviceFault, match=r"call open\(\) first"):
        wrong.forward(np.zeros((1, 3)))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"symbol_s": 41e-9}, ["symbol_s = 4.1e-08: is 4.1 samples of the source at source_rate_hz = 1e+08"]),
        ({"duty": 0.3}, ["duty = 0.3: is 1.2 of the 4 samples of a symbol"]),
        ({"source_rate_hz": 2e9}, ["source_rate_hz = 2e+09: its options go up to"]),
        ({"n_nodes": 40}, ["40 windows a symbol of 4e-08 s need 1e+09 samples/s of I and Q"]),
        ({"memory_time_s": 0.1}, ["a gap of 35000000 symbols", "leaves no room for a shot"]),
        ({"use": "spectrum"}, ["a N5182B has no power list", "a N9020A is not one"]),
    ],
)
def test_what_the_instruments_cannot_do_is_told_before_rf(
    bench: TriedBench, settings: dict[str, object], told: list[str]
) -> None:
    with pytest.raises(DeviceFault) as caught:
        bench.ring(**settings).open()
    assert [part for part in told if part not in str(caught.value)] == []
    assert b":OUTP ON" not in bench.sent_to("source")


def test_a_ring_that_answers_nothing_is_not_opened(bench: TriedBench) -> None:
    with pytest.raises(DeviceFault, match=r"nothing of the pilot shot arrives"):
        bench.ring(power_dbm=-120).open()
    assert not bench.rf_on


def test_a_missing_file_and_settings_that_cannot_be_are_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"bench .*absent\.toml: cannot be read"):
        MagnonicRing(bench=str(tmp_path / "absent.toml")).open()
    with pytest.raises(InputError, match=r"device\.bench: must be given"):
        MagnonicRing()
    with pytest.raises(InputError, match=r"n_nodes = 3: the readout \"iq\" reads two values a window"):
        MagnonicRing(bench="x", n_nodes=3, readout="iq")


def test_clipped_samples_flag_their_shots_alone(bench: TriedBench) -> None:
    drives = some_drives(6) * 0.2
    drives[4] = 1.0
    with bench.ring(reference_level_dbm=-6) as ring:
        ring.forward(drives)
        assert ring.flags().tolist() == [0, 0, 0, 0, Flag.OVERLOAD, 0]


def test_the_magnet_is_on_while_the_ring_is_in_use(tmp_path: Path) -> None:
    tried = TriedBench(tmp_path, "loopback", models={"magnet": "HMP4040"})
    tried.open()
    with tried.virtual:
        with Loopback(False, bench=str(tried.path)) as device:
            assert tried.virtual.world.bias_t == pytest.approx(0.05)
            assert device.settings()["magnet_current_a"].value == 1.0
            device.make_safe()
            assert tried.virtual.world.bias_t == pytest.approx(0.05), "a field harms nobody"
        assert not tried.virtual.instruments["magnet"].output_on
        tried.write(lambda text: text.replace("field_t = [0.0, 0.2]", "field_t = [0.0, 0.02]"))
        with pytest.raises(DeviceFault, match=r"magnet\.current_a = 1: makes a field of 0\.05 T, outside"):
            Loopback(False, bench=str(tried.path)).open()


def test_zero_span_reads_the_envelope_too(tmp_path: Path) -> None:
    tried = TriedBench(tmp_path, "loopback", models={"analyzer": "FSV-7"})
    tried.open()
    drives = some_drives(8)
    settings = {"bench": str(tried.path), "source_rate_hz": 4e6, "readout": "envelope"}
    with tried.virtual, Loopback(False, symbol_s=500e-9, n_nodes=2, **settings) as cable:
        found = cable.forward(drives)
        assert not cable.flags().any()
        assert np.allclose(cable.forward(drives[2:3])[0], found[2], atol=2e-3)
        with pytest.raises(DeviceFault, match="is too short for its resolution bandwidth"):
            Loopback(False, symbol_s=500e-9, n_nodes=6, **settings).open()
        with pytest.raises(DeviceFault, match="has no capture of I and Q"):
            Loopback(False, symbol_s=500e-9, n_nodes=2, **{**settings, "readout": "iq"}).open()
    assert np.allclose(found[..., 0], drives, atol=0.12), "smeared by the filter at either end of the pulse"
    assert np.corrcoef(found[..., 0].ravel(), drives.ravel())[0, 1] > 0.999

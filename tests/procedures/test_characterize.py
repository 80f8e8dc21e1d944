"""`labpgt characterize`: what it reports, what it writes, and how it ends."""

import json
import math
import shutil
import signal
import time
from collections import namedtuple
from pathlib import Path

import h5py
import numpy as np
import pytest
from nexusformat.nexus import nxload

from labpgt.characterisation import MEASURES
from labpgt.characterisation.bench import TABLES
from labpgt.characterisation.outcome import CURVES, OUTCOMES, VALUES
from labpgt.characterisation.reader import Characterisation
from labpgt.errors import InputError, StorageFault
from procedures.characterize.report import formatted
from tests import forked
from tests.procedures.conftest import Labpgt
from tests.shared import made_once

RING = ("--device", "tests.rings:TunableRing", "--quick")
FEW = ("--only", "noise,stm,threshold,memory", "--no-plots")
USAGE = namedtuple("USAGE", "total used free")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A characterisation of everything, of a ring known on paper, with its plots beside it."""
    return made_once(tmp_path_factory, "characterised", characterise) / "ring.h5"


def characterise(folder: Path) -> None:
    path = folder / "ring.h5"
    argv = ["characterize", *RING, "--set", "device.noise=1e-3", "--out", str(path), "--json"]
    process = forked.start_command(argv, folder, folder / "report.json", folder / "stderr")
    assert process.wait() == 0, (folder / "stderr").read_text()


def test_everything_that_is_promised_is_reported(whole: Path) -> None:
    report = json.loads((whole.parent / "report.json").read_text())
    assert report["status"] == "success"
    assert report["device"] == "tunable-ring"
    assert report["state"] == "quiet"
    assert report.keys() >= {"stm", "pc", "threshold_gain", "memory_time_s", "noise_floor", "repeatability", *VALUES}
    # Gain 2 at 0 dB, set to 12 dB: loop gain 0.5024, round trip one symbol of 6.25 ns.
    assert report["threshold_gain"] == pytest.approx(0.5, rel=0.01)
    assert report["margin_db"] == pytest.approx(12 - 20 * math.log10(2), abs=0.1)
    assert report["memory_time_s"] == pytest.approx(-6.25e-9 / math.log(2 * 10**-0.6), rel=0.05)
    assert report["noise_floor"] == pytest.approx(1e-3, rel=0.1)
    assert report["stm"] == pytest.approx((2 * 10**-0.6) ** 2, abs=0.1)
    assert report["shots"] > 100
    assert report["symbols"] > report["shots"]
    assert report["wall_s"] >= report["device_s"] > 0
    # Linear: nothing to find.
    assert report["unmeasured"].keys() == {"compression_1db_drive", "threshold_extrapolated_db"}
    assert {name for name in VALUES if report[name] is None} == report["unmeasured"].keys()


def test_progress_is_told_without_a_terminal(whole: Path) -> None:
    told = (whole.parent / "stderr").read_text().splitlines()
    assert told[0] == f"session file: {whole}"
    assert [line.partition(":")[0] for line in told[1:]] == list(MEASURES)


def test_plots_lie_beside_the_file(whole: Path) -> None:
    files = sorted((whole.parent / "ring-plots").iterdir())
    assert [path.name for path in files] == sorted([*(f"{name}.png" for name in CURVES), "overview.png"])
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000 for path in files)


def test_the_file_holds_every_shot_and_what_was_found(whole: Path) -> None:
    report = json.loads((whole.parent / "report.json").read_text())
    with Characterisation(whole) as recorded:
        assert recorded.status == "success"
        assert recorded.values == {name: report[name] for name in VALUES if report[name] is not None}
        assert recorded.curves.keys() == CURVES.keys()
        assert recorded.done == tuple(OUTCOMES)
        assert recorded.device_state == "quiet"
        assert sum(recorded.n_shots.values()) == report["shots"]
        numbers = np.concatenate([recorded.shots(table)["index"] for table in TABLES])
        assert sorted(numbers.tolist()) == list(range(report["shots"]))
        assert recorded.settings["attenuation_db"] == (12.0, "dB")
        assert recorded.tunable["attenuation_db"] == (0.0, 40.0)
        assert 'name = "tests.rings:TunableRing"' in recorded.configuration
        assert recorded.provenance["numpy"] == np.__version__
        rows = recorded.shots("kick")
        tuned = rows[np.isfinite(rows["attenuation_db"])]
        assert len(tuned)
        assert np.isnan(rows["carrier_hz"]).all()


def test_the_numbers_can_be_worked_out_again_from_the_shots(whole: Path) -> None:
    """The memory of the first bit, with numpy alone; and the device's arithmetic, from its drives."""
    with Characterisation(whole) as recorded:
        rows, curves, washout = recorded.shots("random"), recorded.curves, recorded.effort["washout"]
    bits = rows["drive"] > 0.5
    trained = round(0.6 * len(rows))
    x = rows["response"].astype(float)[:, washout:]
    x = np.concatenate([x, np.ones((*x.shape[:2], 1))], axis=-1)
    y = bits[:, washout - 1 : -1].astype(float)
    weights = np.linalg.lstsq(x[:trained].reshape(-1, 3), y[:trained].ravel(), rcond=None)[0]
    found = np.corrcoef((x[trained:] @ weights).ravel(), y[trained:].ravel())[0, 1] ** 2
    assert curves["short_term_memory"]["r2_uncorrected"][0] == pytest.approx(found, abs=1e-4)
    loop = 2 * 10**-0.6
    z = np.zeros(rows["drive"].shape)
    for n in range(z.shape[1]):
        z[:, n] = rows["drive"][:, n] + (loop * z[:, n - 1] if n else 0)
    np.testing.assert_allclose(rows["response"][..., 0], z, atol=6e-3)


def test_viewers_find_the_curves(whole: Path) -> None:
    root = nxload(str(whole))
    assert root.plottable_data.nxsignal.nxname == "r2"
    assert root.plottable_data.nxaxes[0].nxname == "delay"
    with h5py.File(whole) as file:
        for name, kind in CURVES.items():
            group = file["entry"][name]
            assert group.attrs["NX_class"] == "NXdata"
            assert group.attrs["signal"] == kind.signals[0]
            assert list(group.attrs["axes"]) == [kind.axis]
            assert group[kind.axis].shape == group[kind.signals[0]].shape
            assert group[kind.axis].attrs["units"].decode() == kind.columns[kind.axis].unit


def test_show_says_what_it_is_and_what_was_found(labpgt: Labpgt, whole: Path) -> None:
    report = json.loads((whole.parent / "report.json").read_text())
    shown = labpgt("show", whole, "--json").json
    assert shown["kind"] == "characterisation"
    for name in ("status", "device", "state", "unmeasured", "seed", *VALUES):
        assert shown[name] == report[name]
    text = labpgt("show", whole).out
    assert "threshold_gain" in text
    assert "Short-term memory" in text
    assert "not measured: compression_1db_drive" in text


@pytest.mark.parametrize("command", ["replay", "resume", "watch", "export --to csv"])
def test_what_is_for_runs_refuses_it(command: str, labpgt: Labpgt, whole: Path) -> None:
    name, *options = command.split()
    before = whole.read_bytes()
    done = labpgt(name, whole, *options)
    assert done.code == 2
    assert "holds the characterisation of a device, not a training run; look at it with labpgt show" in done.err
    assert whole.read_bytes() == before


def test_it_is_no_device_to_train_on(labpgt: Labpgt, whole: Path) -> None:
    done = labpgt("train", "--device", f"replay:{whole}")
    assert done.code == 2
    assert "holds the characterisation of a device" in done.err


def test_only_measures_that_are_asked_for_and_why_others_are_null(labpgt: Labpgt) -> None:
    done = labpgt("characterize", "--device", "echo-state-ring", "--quick", "--only", "pc, stm,threshold", "--json")
    report = done.json
    assert done.code == 0
    assert report["measures"] == ["threshold", "stm", "pc"]
    assert report["stm"] > 1
    assert report["pc"] > 1
    assert report["state"] == "quiet"
    assert report["threshold_gain"] is None
    assert "not labpgt.Tunable" in report["unmeasured"]["threshold_gain"]
    assert report["unmeasured"]["narma10_nmse"] == "not asked for"
    path = Path(report["session"])
    assert path.parent.name == "sessions"
    assert path.name.endswith("characterize-echo-state-ring.h5")
    assert sorted(p.name for p in Path(report["plots"]).iterdir()) == [
        "overview.png",
        "parity.png",
        "short_term_memory.png",
    ]


def test_a_table_for_people(labpgt: Labpgt, tmp_path: Path) -> None:
    done = labpgt("characterize", *RING, *FEW, "--out", tmp_path / "a.h5")
    assert done.code == 0
    assert "memory_time_s" in done.out
    assert "quiet" in done.out
    assert str(tmp_path / "a.h5") in done.out
    assert "plots" not in done.out


def test_the_seed_makes_the_drives(labpgt: Labpgt, tmp_path: Path) -> None:
    drives = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        labpgt("characterize", *RING, "--only", "stm", "--no-plots", "--seed", seed, "--out", tmp_path / f"{name}.h5")
        with Characterisation(tmp_path / f"{name}.h5") as recorded:
            drives[name] = recorded.shots("random")["drive"]
            assert recorded.seed == seed
    np.testing.assert_array_equal(drives["a"], drives["b"])
    assert (drives["a"] != drives["c"]).any()


def test_a_configuration_file_names_the_device(labpgt: Labpgt, tmp_path: Path) -> None:
    config = tmp_path / "ring.toml"
    config.write_text('[device]\nname = "tests.rings:TunableRing"\ngain = 4.0\nsaturation = 1\n[training]\nseed = 5\n')
    report = labpgt("characterize", config, "--quick", *FEW, "--json", "--set", "device.noise=1e-3").json
    assert report["threshold_gain"] == pytest.approx(0.25, rel=0.01)
    assert report["seed"] == 5


BAD = {
    "--only stn": 'no measure "stn". Did you mean "stm"? Measures: noise, repeatability, threshold',
    "--only ,": "expected measures with commas between",
    "--set training.epochs=3": 'override "training.epochs=3": a characterisation uses device.*, training.seed',
    "--set device.nose=1": 'device.nose: unknown key. Did you mean "noise"?',
    "--device no-ring": "no such device",
    "--device replay:none.h5": "session none.h5 cannot be opened",
    "--seed=-1": "training.seed = -1: must be at least 0",
    "--out there.h5": "there.h5 exists already; choose another --out",
    "none.toml": "none.toml: No such file or directory",
}


@pytest.mark.parametrize(("options", "message"), BAD.items())
def test_bad_input_is_one_message_and_leaves_nothing(options: str, message: str, labpgt: Labpgt, folder: Path) -> None:
    (folder / "there.h5").write_text("precious")
    default = [] if "--device" in options else ["--device", "echo-state-ring"]
    done = labpgt("characterize", *default, *options.split(), "--json")
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert [path.name for path in folder.iterdir()] == ["there.h5"]
    assert (folder / "there.h5").read_text() == "precious"


def on_bench(labpgt: Labpgt, tmp_path: Path, *options: str) -> tuple[int, dict[str, object], str]:
    arguments = ["--device", "bench:Bench", "--set", f"device.log={tmp_path / 'log'}", "--quick", "--no-plots"]
    done = labpgt("characterize", *arguments, *options, "--out", tmp_path / "run.h5", "--json")
    assert (tmp_path / "log").read_text().split()[:1] == ["open"]
    assert (tmp_path / "log").read_text().split()[-2:] == ["safe", "close"]
    return done.code, done.json, done.err


@pytest.mark.usefixtures("bench")
def test_one_ctrl_c_ends_it_after_the_call_in_hand(labpgt: Labpgt, tmp_path: Path) -> None:
    signals = ("--set", 'device.signals=["SIGINT"]', "--set", "device.signal_at=20")
    code, report, _ = on_bench(labpgt, tmp_path, *signals)
    assert code == 4
    assert report["status"] == "aborted"
    assert report["reason"] == "Ctrl-C"
    with Characterisation(tmp_path / "run.h5") as recorded:
        assert (recorded.status, recorded.reason) == ("aborted", "Ctrl-C")
        assert sum(recorded.n_shots.values()) == report["shots"] > 20
        assert recorded.done == ("noise", "repeatability")
        assert recorded.values["noise_floor"] == report["noise_floor"]
    assert report["unmeasured"]["stm"] == "not reached"  # type: ignore[index]


@pytest.mark.usefixtures("bench")
def test_two_at_once_end_it_at_once(labpgt: Labpgt, tmp_path: Path) -> None:
    signals = ("--set", 'device.signals=["SIGINT", "SIGINT"]', "--set", "device.signal_at=20")
    code, report, err = on_bench(labpgt, tmp_path, *signals)
    assert code == 4
    assert report["status"] == "aborted"
    assert "aborted at once; 16 shots are in" in err
    with Characterisation(tmp_path / "run.h5") as recorded:
        assert recorded.status == "aborted"
        assert recorded.reason.startswith("interrupted")
        assert sum(recorded.n_shots.values()) == 16


@pytest.mark.usefixtures("bench")
def test_a_device_that_fails_leaves_its_shots_and_the_reason(labpgt: Labpgt, tmp_path: Path) -> None:
    code, report, err = on_bench(labpgt, tmp_path, "--set", "device.nan_at=50")
    assert code == 3
    assert "shot 50 came back with a value that is not finite" in err
    assert report["status"] == "failed"
    with Characterisation(tmp_path / "run.h5") as recorded:
        assert recorded.status == "failed"
        assert "not finite" in recorded.reason
        assert 0 < sum(recorded.n_shots.values()) <= 50
        assert "noise_floor" in recorded.values


def test_a_disk_that_fills_up_ends_it_in_order(labpgt: Labpgt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def usage(path: object) -> object:
        nonlocal asked
        asked += 1
        return USAGE(1 << 40, 0, (1 << 40) if asked < 8 else (32 << 20))

    monkeypatch.setattr(shutil, "disk_usage", usage)
    done = labpgt("characterize", *RING, "--no-plots", "--out", tmp_path / "full.h5", "--json")
    assert done.code == 5
    assert done.json["status"] == "failed"
    assert "MB are free" in done.err
    monkeypatch.undo()
    with Characterisation(tmp_path / "full.h5") as recorded:
        assert recorded.status == "failed"
        assert "MB are free" in recorded.reason
        assert f"{sum(recorded.n_shots.values())} shots are safe" in recorded.reason
        assert sum(recorded.n_shots.values()) > 0


def test_a_disk_that_refuses_a_write_ends_it_in_an_error(
    labpgt: Labpgt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = h5py.Dataset.resize, 0

    def refuse(dataset: h5py.Dataset, *arguments: object) -> None:
        nonlocal written
        written += 1
        if written > 5:
            raise OSError(28, "No space left on device")
        real(dataset, *arguments)

    monkeypatch.setattr(h5py.Dataset, "resize", refuse)
    done = labpgt("characterize", *RING, "--no-plots", "--out", tmp_path / "full.h5", "--json")
    assert done.code == 5
    assert "No space left on device" in done.err
    monkeypatch.undo()
    with Characterisation(tmp_path / "full.h5") as recorded:
        assert sum(recorded.n_shots.values()) > 0
        for table, shots in recorded.n_shots.items():
            assert len(recorded.shots(table)) == shots


def test_a_killed_one_reads_as_crashed_with_every_shot(tmp_path: Path) -> None:
    path = tmp_path / "killed.h5"
    argv = ["characterize", *RING, "--no-plots", "--out", str(path), "--set", "device.pause_s=0.02"]
    process = forked.start_command(argv, tmp_path, tmp_path / "out", tmp_path / "err")
    try:
        deadline = time.monotonic() + 60
        seen = 0
        while seen < 40:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
            if path.exists():
                with Characterisation(path) as recorded:
                    assert recorded.status == "running"
                    seen = sum(recorded.n_shots.values())
                    values = recorded.values
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    with Characterisation(path) as recorded:
        assert recorded.status == "crashed"
        assert sum(recorded.n_shots.values()) >= seen
        assert values.items() <= recorded.values.items()


def test_damage_is_refused_and_named(whole: Path, tmp_path: Path) -> None:
    data = whole.read_bytes()
    with Characterisation(whole) as recorded:
        drives = recorded.shots("random")["response"][3].tobytes()
    where = data.index(drives)
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(data[: where + 5] + bytes([data[where + 5] ^ 1]) + data[where + 6 :])
    with Characterisation(damaged) as recorded:
        assert recorded.values
        with pytest.raises(StorageFault, match="row 3 does not match its checksum"):
            recorded.shots("random")
    with h5py.File(shutil.copy(whole, damaged), "r+") as file:
        file["entry/results/stm"][()] = 9.0
    with Characterisation(damaged) as recorded, pytest.raises(StorageFault, match="results do not match"):
        _ = recorded.values
    with h5py.File(shutil.copy(whole, damaged), "r+") as file:
        file["entry/instrument/settings/gain"][()] = 9.0
    with pytest.raises(InputError, match="settings and provenance do not match"):
        Characterisation(damaged)


def test_numbers_are_worded_with_their_unit() -> None:
    assert formatted(86.12e-9, "s") == "86.12 ns"
    assert formatted(3.1417e9, "Hz") == "3.142 GHz"
    assert formatted(999.96e6, "Hz") == "1 GHz"
    assert formatted(-1.234, "dB") == "-1.23 dB"
    assert formatted(0.0, "s") == "0 s"
    assert formatted(2.9123, "") == "2.912"
    assert formatted(float("inf"), "dB") == "inf"

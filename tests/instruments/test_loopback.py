"""A cable between source and analyser: it answers what it is asked, and shows what the path does."""

from collections.abc import Iterator

import numpy as np
import pytest

from instruments.envelope_use import EnvelopeUse
from instruments.loopback import Loopback
from labpgt.errors import DeviceFault
from tests.instruments.benches import TriedBench

DRIVES = np.random.default_rng(5).uniform(0, 1, (4, 6))


@pytest.fixture(scope="module")
def wired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TriedBench]:
    tried = TriedBench(tmp_path_factory.mktemp("cable"), "loopback")
    tried.open()
    with tried.virtual:
        yield tried
    assert not tried.rf_on


def cable(wired: TriedBench, **settings: object) -> Loopback:
    return Loopback(False, bench=str(wired.path), **settings)


def longer(monkeypatch: pytest.MonkeyPatch, samples: int, phase_rad: float, gain: float) -> None:
    """Make the path of the virtual bench longer by some samples, turn its phase, and change its gain."""
    record = EnvelopeUse.record

    def later(self: EnvelopeUse, *arguments: object) -> tuple[np.ndarray, bool]:
        found, overloaded = record(self, *arguments)  # type: ignore[arg-type]
        delayed = np.concatenate([np.zeros(samples), found[: len(found) - samples]])
        return gain * np.exp(1j * phase_rad) * delayed, overloaded

    monkeypatch.setattr(EnvelopeUse, "record", later)


def test_the_response_is_the_drive_while_the_pulse_is_on(wired: TriedBench) -> None:
    with cable(wired, n_nodes=8) as device:
        found = device.forward(DRIVES)
        assert not device.flags().any()
        assert device.tunable.keys() == {"carrier_hz"}
    codes = np.rint(32767 * DRIVES) / 32767
    assert np.allclose(found[..., :2], codes[..., None], atol=2e-5)
    assert np.abs(found[..., 2:]).max() < 2e-5, "nothing behind the pulse, nothing in quadrature"


def test_a_plain_cable_has_no_delay_and_the_level_of_the_bench(wired: TriedBench) -> None:
    with cable(wired, encoding="signed", n_nodes=8) as device:
        path = device.measure_path()
    assert (path.path_delay_s, path.phase_rad) == (0.0, 0.0)
    assert (path.full_scale_v, path.match) == (0.25, 1.0)


def test_delay_and_phase_are_found_and_taken_off(wired: TriedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    with cable(wired, n_nodes=8) as device:
        plain = device.forward(DRIVES)
    longer(monkeypatch, 13, 0.7, 0.5)
    with cable(wired, n_nodes=8) as device:
        told = device.settings()
        assert not np.allclose(device.forward(DRIVES), plain, atol=0.1)
        path = device.measure_path()
    assert path.path_delay_s == pytest.approx(130e-9)
    assert (path.phase_rad, path.full_scale_v, path.match) == (0.7, 0.125, 1.0)
    for key, value in path._asdict().items():
        assert told[f"measured_{key}"].value == value
    known = {"path_delay_s": path.path_delay_s, "phase_rad": path.phase_rad}
    with cable(wired, n_nodes=8, **known) as device:
        assert np.allclose(device.forward(DRIVES), plain / 2, atol=2e-5)
        assert not device.flags().any()


def test_what_is_not_the_waveform_is_no_path(wired: TriedBench, monkeypatch: pytest.MonkeyPatch) -> None:
    def noise(self: EnvelopeUse, drives: np.ndarray, layout: object) -> tuple[np.ndarray, bool]:
        return np.random.default_rng(0).normal(size=(4000, 2)) @ [1, 1j], False

    with cable(wired, n_nodes=8) as device:
        monkeypatch.setattr(EnvelopeUse, "record", noise)
        with pytest.raises(DeviceFault, match=r"what arrives matches what is sent by 0\.\d+ only"):
            device.measure_path()
        monkeypatch.undo()


def test_a_signal_from_elsewhere_is_not_called_an_oscillation(
    wired: TriedBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    wired.write(lambda text: text.replace("oscillation_dbm = -50.0", "oscillation_dbm = -120.0"))
    with pytest.raises(DeviceFault, match=r"with RF off, limit -120 dBm .*: look for another signal on the cable"):
        cable(wired).open()
    wired.write()

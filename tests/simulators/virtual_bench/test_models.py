"""The other instruments: unmodified pymeasure drivers, lists and frames, supplies; and the ring through it all."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from simulators.envelope_ring import EnvelopeRing
from simulators.virtual_bench.bench import VirtualBench
from tests.simulators.virtual_bench.support import Plain, arm, load, plain, still_bench

LINE = {"read_termination": "\n", "write_termination": "\n", "timeout": 5000}


@pytest.fixture(scope="module")
def bench() -> Iterator[VirtualBench]:
    with still_bench("spectrum", models={"magnet": "E36312A"}) as bench:
        yield bench


def opened(driver: Any, address: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # pymeasure is not sure of its own driver
        return driver(address, **LINE)


def test_pymeasures_source_driver_works_as_it_is(bench: VirtualBench) -> None:
    from pymeasure.instruments.agilent import Agilent8257D

    driver = opened(Agilent8257D, bench.addresses["source"])
    try:
        driver.reset()
        driver.clear()
        for name, value in (
            ("power", -12.5),
            ("frequency", 3.2e9),
            ("start_frequency", 3.1e9),
            ("stop_frequency", 3.3e9),
            ("start_power", -30.0),
            ("stop_power", -10.0),
            ("dwell_time", 0.25),
            ("step_points", 11),
            ("amplitude_depth", 40.0),
            ("amplitude_source", "external 2"),
            ("pulse_source", "internal"),
            ("pulse_input", "square"),
            ("pulse_frequency", 1e5),
            ("low_freq_out_source", "function"),
            ("internal_frequency", 2e3),
            ("internal_shape", "dual-sine"),
        ):
            setattr(driver, name, value)
            assert getattr(driver, name) == value, name
        driver.center_frequency = 3.0e9
        assert (driver.start_frequency, driver.stop_frequency) == (2.9e9, 3.1e9)
        driver.config_amplitude_modulation()
        assert driver.has_amplitude_modulation
        driver.config_pulse_modulation(frequency=1e4)
        assert driver.has_pulse_modulation
        driver.config_low_freq_out()
        driver.enable_modulation()
        driver.enable()
        assert driver.is_enabled
        assert driver.has_modulation
        assert bench.instruments["source"].rf_on
        assert driver.check_errors() == []
        output = bench.world.output
        assert (output.rf_on, output.power_dbm, output.carrier_hz) == (True, -12.5, 3.2e9)
        assert (output.pulse_period_s, output.pulse_width_s) == (pytest.approx(1e-4), pytest.approx(5e-5))
        driver.config_step_sweep()
        driver.enable_retrace()
        driver.single_sweep()
        driver.start_step_sweep()
        driver.stop_step_sweep()
        assert driver.check_errors() == []
        driver.shutdown()
        assert not driver.is_enabled
        assert not driver.has_modulation
        assert driver.check_errors() == []
    finally:
        driver.adapter.close()


@pytest.mark.parametrize("models", [{}, {"analyzer": "FSL-6"}], ids=["FSV", "FSL"])
def test_pymeasures_analyzer_driver_works_as_it_is(models: dict[str, str]) -> None:
    from pymeasure.instruments.rohdeschwarz import FSL

    with still_bench("spectrum", models=models) as bench:
        driver = opened(FSL, bench.addresses["analyzer"])
        try:
            assert driver.id.startswith("Rohde&Schwarz,FS")
            driver.freq_center = "3.2 GHz"
            driver.freq_span = 10e6
            assert (driver.freq_start, driver.freq_stop) == (3.195e9, 3.205e9)
            for name, value in (("res_bandwidth", 1e4), ("video_bandwidth", 1e5), ("sweep_time", 0.02)):
                setattr(driver, name, value)
                assert getattr(driver, name) == value
                setattr(driver, name, "AUTO")
                assert getattr(driver, name) > 0
            driver.attenuation = 20
            driver.trace_mode = "MAXH"
            assert (driver.attenuation, driver.trace_mode) == (20, "MAXH")
            driver.trace_mode = "WRIT"
            assert driver.continuous_sweep_enabled
            points = len(driver.read_trace()[1])  # sweeping all the time
            assert points == (691 if not models else 501)
            driver.continuous_sweep_enabled = False
            driver.single_sweep()
            driver.continue_single_sweep()
            frequency, level = driver.read_trace()
            assert (frequency[0], frequency[-1]) == (3.195e9, 3.205e9)
            assert (np.diff(level) > 0).all()  # the world's ramp
            marker = driver.create_marker()
            marker.to_peak()
            assert marker.x == 3.205e9
            assert marker.y == pytest.approx(level[-1])
            marker.x = 3.2e9
            marker.peak_excursion = 3
            marker.to_trace(1)
            delta = driver.create_marker(2, is_delta_marker=True)
            delta.x = 3.205e9
            assert delta.y == pytest.approx(level[-1] - level[points // 2], abs=1e-4)
            marker.zoom("1 MHz")
            assert (driver.freq_center, driver.freq_span) == (3.2e9, 1e6)
            assert driver.check_errors() == []
            marker.to_next_peak()  # a ramp has none
            assert [number for number, _ in driver.check_errors()] == [-221]
        finally:
            driver.adapter.close()


def power_list(source: Plain, powers: np.ndarray[Any, Any], dwell_s: float, point_trigger: str) -> None:
    listed = ",".join(f"{power:.9g}" for power in powers)
    source.send(f":LIST:TYPE LIST;POW {listed};DWEL {','.join([f'{dwell_s:g}'] * len(powers))}")
    source.send(f":LIST:TRIG:SOUR {point_trigger};:FREQ:MODE FIX;:POW:MODE LIST;:TRIG:SOUR BUS;:INIT:CONT OFF")
    source.send(":OUTP ON;:PULM:STAT ON;SOUR INT;:PULM:INT:PER 200ns;PWID 50ns;:INIT")
    assert source.ask(":LIST:POW:POIN?") == str(len(powers))
    assert source.errors() == []


def frames(analyzer: Plain, count: int, sweep_s: float = 1e-3) -> None:
    analyzer.send("INIT:CONT OFF;:FREQ:CENT 3.2GHZ;SPAN 20MHZ;:SWE:POIN 101;:CALC:UNIT:POW V;:FORM REAL,32")
    analyzer.send(f":TRIG:SOUR EXT;:CALC:SGR ON;:CALC:SGR:FRAM:COUN {count};:SWE:TIME {sweep_s:g}")
    assert analyzer.ask("CALC:SGR:CLE;:INIT;:STAT:OPER:COND?") == "32"
    assert analyzer.errors() == []


def test_a_list_fills_the_frames_of_a_spectrogram(bench: VirtualBench, source: Plain, analyzer: Plain) -> None:
    powers = np.linspace(-20, 0, 7)
    power_list(source, powers, 1e-3, "IMM")
    frames(analyzer, 7)
    source.send("*TRG")
    found = np.frombuffer(analyzer.ask_block("*WAI;:TRAC? SPEC"), "<f4").reshape(7, 101)[::-1]
    np.testing.assert_allclose(found[:, 0], 1e-3 * 10 ** (powers / 20), rtol=1e-6)
    what, output, plan = bench.world.asked[-1]  # type: ignore[attr-defined]
    assert what == "spectra"
    assert plan[0] == pytest.approx(tuple(powers))
    assert (output.rf_on, output.pulse_period_s, output.pulse_width_s) == (True, 200e-9, 50e-9)
    assert source.errors() == analyzer.errors() == []
    source.send("*TRG")
    assert source.errors() == [-211]  # the list is through


def test_each_bus_trigger_is_one_point(bench: VirtualBench, source: Plain, analyzer: Plain) -> None:
    power_list(source, np.array([-20.0, -10.0, 0.0]), 1e-3, "BUS")
    frames(analyzer, 3)
    for power in (-20.0, -10.0, 0.0):
        source.send("*TRG")
        assert source.ask("*OPC?") == "1"
        if power < 0:
            assert bench.world.output.power_dbm == power
        assert len(bench.instruments["analyzer"].history) in (0, 3)
    found = np.frombuffer(analyzer.ask_block("*WAI;:TRAC? SPEC"), "<f4").reshape(3, 101)
    np.testing.assert_allclose(found[:, 0], [1e-3, 1e-3 * 10**-0.5, 1e-4], rtol=1e-6)


def test_a_trigger_during_a_sweep_is_missed(source: Plain, analyzer: Plain) -> None:
    power_list(source, np.linspace(-20, 0, 6), 1e-3, "IMM")
    frames(analyzer, 3, sweep_s=1.5e-3)
    source.send("*TRG")
    found = np.frombuffer(analyzer.ask_block("*WAI;:TRAC? SPEC"), "<f4").reshape(3, 101)[::-1]
    np.testing.assert_allclose(20 * np.log10(found[:, 0] / 1e-3), [-20, -12, -4], rtol=1e-4)


def test_lists_that_do_not_fit_are_refused(source: Plain) -> None:
    source.send(":INIT")
    assert source.errors() == [-213]
    source.send(":LIST:TYPE LIST;POW 0,-1,-2;DWEL 1e-3,1e-3;:POW:MODE LIST;:INIT")
    assert source.errors() == [-221]
    source.send(":LIST:POW " + ",".join(["0"] * 1602))
    assert source.errors() == [-108]


def test_the_fsl_has_no_spectrogram() -> None:
    with still_bench("spectrum", models={"analyzer": "FSL-6"}) as bench, plain(bench, "analyzer") as client:
        client.send("CALC:SGR ON")
        assert client.errors() == [-113]


def test_pymeasures_supply_drivers_work_as_they_are(bench: VirtualBench) -> None:
    from pymeasure.instruments.keysight import KeysightE36312A
    from pymeasure.instruments.rohdeschwarz import HMP4040

    driver: Any = opened(HMP4040, bench.addresses["amplifier"])
    try:
        driver.reset()
        driver.selected_channel = 1
        assert not bench.world.amplifier_on
        driver.voltage_and_current = (5, 0.5)
        driver.selected_channel_active = True
        assert not bench.world.amplifier_on  # the general switch is still off
        driver.output_enabled = True
        assert driver.output_enabled is True
        assert bench.world.amplifier_on
        assert (driver.measured_voltage, driver.measured_current) == (5.0, 0.3)
        driver.current = 0.2  # less than the amplifier takes
        assert driver.measured_current == 0.2
        assert not bench.world.amplifier_on
        driver.voltage_step = 0.5
        driver.step_voltage_up()
        assert driver.voltage == 5.5
        driver.voltage_to_max()
        assert driver.voltage == driver.max_voltage == 32.05
        driver.set_channel_state(2, True)
        assert driver.selected_channel == 1
        driver.sequence = [1.0, 0.1, 0.1, 2.0, 0.1, 0.1]
        driver.repetitions = 1
        driver.transfer_sequence(3)
        driver.start_sequence(3)
        driver.selected_channel = 3
        assert driver.voltage in (1.0, 2.0)
        driver.stop_sequence(3)
        driver.save_sequence(2)
        driver.load_sequence(2)
        driver.clear_sequence(3)
        driver.beep()
        driver.control_method = "REM"
        assert driver.check_errors() == []
        driver.output_enabled = False
        assert driver.output_enabled is False
        assert not bench.world.amplifier_on
    finally:
        driver.adapter.close()
    driver = opened(KeysightE36312A, bench.addresses["magnet"])
    try:
        driver.ch_1.voltage_setpoint = 5
        driver.ch_1.current_limit = 2
        driver.ch_1.output_enabled = True
        assert driver.ch_1.output_enabled is True
        assert driver.ch_2.output_enabled is False
        assert (driver.ch_1.voltage, driver.ch_1.current) == (2, 2)  # 1 ohm, limited by its current
        assert bench.world.bias_t == pytest.approx(2 * 0.05)
        driver.ch_1.output_enabled = False
        assert driver.check_errors() == []
        assert bench.world.bias_t is None
    finally:
        driver.adapter.close()


def test_the_supply_takes_lists_of_channels_and_refuses_others(bench: VirtualBench) -> None:
    with plain(bench, "magnet") as client:
        client.send("*RST;VOLT 3,(@1,2:3);:INST CH2;:CURR 0.5")
        assert [float(x) for x in client.ask("VOLT? (@1:3)").split(",")] == [3, 3, 3]
        assert float(client.ask("CURR? (@2)")) == 0.5
        assert client.errors() == []
        for wrong, error in (("VOLT 3,(@4)", -222), ("VOLT 3,(@x)", -171), ("VOLT 9,(@1)", -222), ("VOLT", -109)):
            client.send(wrong)
            assert client.errors() == [error]
        assert float(client.ask("VOLT? (@1)")) == 3  # out of range: left as it was


def test_the_ring_answers_through_the_bench_as_it_does_directly() -> None:
    settings = {"detector": "iq", "n_nodes": 4, "duty": 0.5, "symbol_s": 40e-9, "noise": 0.0}
    drives = np.array([[0.2, 0.9, 0.0, 0.5, 1.0]])
    codes = np.round(drives * 32767).astype(np.int16)
    with EnvelopeRing(**settings) as ring:
        response = ring.forward(codes / 32767)[0]
    expected = (response[:, :2] + 1j * response[:, 2:]).ravel() * 0.25
    samples = np.zeros((256, 2), ">i2")
    for k in range(5):
        samples[4 * k : 4 * k + 2, 0] = codes[0, k]
    with VirtualBench(settings=settings, models={}) as bench:
        with plain(bench, "amplifier") as supply:
            supply.send("VOLT 5,(@1);:CURR 0.5,(@1);:OUTP 1,(@1)")
            assert supply.errors() == []
        with plain(bench, "source") as source, plain(bench, "analyzer") as analyzer:
            load(source, "A", samples.tobytes(), b"\x03" + b"\x01" * 31 + bytes(224))
            source.send(":FREQ 3.205GHZ;POW 0;:RAD:ARB:RSC 100;SCL:RATE 100MHZ")
            arm(source, analyzer)
            analyzer.send(":FREQ:CENT 3.205GHZ;:WAV:SRAT 50MHZ;SWE:TIME 2.56us;:INIT:WAV")
            assert analyzer.errors() == []
            source.send("*TRG")
            captured = np.frombuffer(analyzer.ask_block("*WAI;:FETC:WAV0?"), "<f4").astype(float).view(complex)
        assert bench.busy_s > 0
    step = np.sqrt(0.1) / 2**15
    # float32 of the wire rounds besides.
    np.testing.assert_allclose(captured[:10], np.round(expected / step) * step, atol=1e-8)
    assert np.abs(expected).max() > 0.01

"""What each property of each driver says on the wire and understands from it.

Written out in full, not made from the drivers' own tables: this is the other side of the contract.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan
from typing import Any

from instruments.keysight_e8257d import KeysightE8257D
from instruments.keysight_n5182b import KeysightN5182B
from instruments.keysight_n9020a import KeysightN9020A
from instruments.minicircuits_rcdat import MiniCircuitsRCDAT
from instruments.rohdeschwarz_fsv import RohdeSchwarzFSL, RohdeSchwarzFSV
from instruments.supplies import SupplyE36312A, SupplyHMP4040

Pairs = Sequence[tuple[str | bytes | None, str | bytes | None]]


@dataclass(frozen=True)
class Case:
    """One property: what is asked, what answers mean, what is sent for values, which values and answers are refused."""

    ask: str
    answers: dict[str, Any]
    sets: dict[Any, str]
    refused: tuple[Any, ...] = ()
    nonsense: tuple[str, ...] = ("", "garbage", "1,2", "9.91E37", "NAN")
    before: Pairs = ()
    """Messages before the question, and before the setting."""


def real(command: str, sets: dict[Any, str], refused: tuple[Any, ...], before: Pairs = ()) -> Case:
    return Case(f"{command}?", {"+1.25000000E+02": 125.0, "-7": -7.0}, sets, (*refused, nan, inf), before=before)


def whole(command: str, sets: dict[Any, str], refused: tuple[Any, ...]) -> Case:
    nonsense = ("", "garbage", "1,2", "9.91E37", "1.5")
    return Case(f"{command}?", {"101": 101, "+1.01000000E+02": 101}, sets, (*refused, 150.5, nan), nonsense)


def choice(command: str, words: dict[Any, str], *, set_command: str | None = None) -> Case:
    sets = {value: f"{set_command or command} {word}" for value, word in words.items()}
    nonsense = ("", "garbage", "1,2", "9.91E37")
    return Case(
        f"{command}?", {word: value for value, word in words.items()}, sets, ("nothing of the kind", 7), nonsense
    )


def switch(command: str) -> Case:
    return choice(command, {True: "1", False: "0"})


def state(command: str) -> Case:
    return Case(f"{command}?", {"1": True, "0": False, "+1": True}, {}, nonsense=("", "garbage", "2", "0,1"))


# What SCPIMixin gives every instrument. What it answers is text, which these do not judge.
COMMON = {
    "complete": Case("*OPC?", {"1": "1"}, {}, nonsense=()),
    "status": Case("*STB?", {"0": "0"}, {}, nonsense=()),
    "options": Case("*OPT?", {"B4": "B4", "B4,0,K14": ["B4", "0", "K14"]}, {}, nonsense=()),
    "id": Case("*IDN?", {"Maker, Model, 1, 2": "Maker, Model, 1, 2"}, {}, nonsense=()),
    "next_error": Case("SYST:ERR?", {'0,"No error"': [0.0, '"No error"']}, {}, nonsense=()),
}

AM_SOURCES = {"internal": "INT", "internal 2": "INT2", "external": "EXT", "external 2": "EXT2"}
E8257D = COMMON | {
    "frequency": real(
        ":FREQ",
        {
            250e3: ":FREQ 250000 Hz",
            67e9: ":FREQ 67000000000 Hz",
            5.123456789e9: ":FREQ 5123456789 Hz",
            5123456789.012: ":FREQ 5123456789.012 Hz",
        },
        (249_999.999, 67e9 + 1),
    ),
    "power": real(
        ":POW",
        {-135: ":POW -135 dBm", 25: ":POW 25 dBm", -12.3456789: ":POW -12.3456789 dBm"},
        (-135.001, 25.001),
    ),
    "output_enabled": switch(":OUTP"),
    "modulation_enabled": switch(":OUTP:MOD"),
    "is_enabled": state(":OUTP"),
    "has_modulation": state(":OUTP:MOD"),
    "pulse_enabled": switch(":PULM:STAT"),
    "has_pulse_modulation": state(":PULM:STAT"),
    "pulse_source": choice(":PULM:SOUR", {"internal": "INT", "external": "EXT", "scalar": "SCAL"}),
    "pulse_input": choice(
        ":PULM:SOUR:INT",
        {"square": "SQU", "free-run": "FRUN", "triggered": "TRIG", "doublet": "DOUB", "gated": "GATE"},
    ),
    "pulse_frequency": real(
        ":PULM:INT:FREQ", {0.1: ":PULM:INT:FREQ 0.1", 10e6: ":PULM:INT:FREQ 10000000"}, (0.09, 1.1e7)
    ),
    "pulse_period": real(":PULM:INT:PER", {70e-9: ":PULM:INT:PER 7e-08", 42: ":PULM:INT:PER 42"}, (69e-9, 42.1)),
    "pulse_width": real(":PULM:INT:PWID", {10e-9: ":PULM:INT:PWID 1e-08", 42: ":PULM:INT:PWID 42"}, (9e-9, 42.1)),
    "am_enabled": switch(":AM:STAT"),
    "has_amplitude_modulation": state(":AM:STAT"),
    "am_depth": real(":AM:DEPT", {0: ":AM:DEPT 0", 100: ":AM:DEPT 100"}, (-0.1, 100.1)),
    "amplitude_depth": real(":AM:DEPT", {0: ":AM:DEPT 0", 100: ":AM:DEPT 100"}, (-0.1, 100.1)),
    "am_source": choice(":AM:SOUR", AM_SOURCES),
    "amplitude_source": choice(":AM:SOUR", AM_SOURCES),
    "internal_frequency": real(":AM:INT:FREQ", {0.5: ":AM:INT:FREQ 0.5", 1e6: ":AM:INT:FREQ 1000000"}, (0.4, 1.1e6)),
    "internal_shape": choice(
        ":AM:INT:FUNC:SHAP",
        {
            "sine": "SINE",
            "triangle": "TRI",
            "square": "SQU",
            "ramp": "RAMP",
            "noise": "NOIS",
            "dual-sine": "DUAL",
            "swept-sine": "SWEP",
        },
    ),
    "list_trigger": choice(":LIST:TRIG:SOUR", {"bus": "BUS", "external": "EXT", "immediate": "IMM", "key": "KEY"}),
    "start_frequency": real(":FREQ:STAR", {250e3: ":FREQ:STAR 250000", 67e9: ":FREQ:STAR 67000000000"}, (2e5, 6.8e10)),
    "center_frequency": real(":FREQ:CENT", {250e3: ":FREQ:CENT 250000", 67e9: ":FREQ:CENT 67000000000"}, (2e5, 6.8e10)),
    "stop_frequency": real(":FREQ:STOP", {250e3: ":FREQ:STOP 250000", 67e9: ":FREQ:STOP 67000000000"}, (2e5, 6.8e10)),
    "start_power": real(":POW:STAR", {-135: ":POW:STAR -135", 25: ":POW:STAR 25"}, (-135.1, 25.1)),
    "stop_power": real(":POW:STOP", {-135: ":POW:STOP -135", 25: ":POW:STOP 25"}, (-135.1, 25.1)),
    "dwell_time": real(":SWE:DWEL", {1e-3: ":SWE:DWEL 0.001", 60: ":SWE:DWEL 60"}, (9e-4, 60.1)),
    "step_points": whole(":SWE:POIN", {2: ":SWE:POIN 2", 65535: ":SWE:POIN 65535"}, (1, 65536)),
    "low_freq_out_amplitude": real(":LFO:AMPL", {0: ":LFO:AMPL 0 VP", 3.5: ":LFO:AMPL 3.5 VP"}, (-0.1, 3.6)),
    "low_freq_out_source": choice(
        ":LFO:SOUR", {"internal": "INT", "internal 2": "INT2", "function": "FUNC", "function 2": "FUNC2"}
    ),
}

N5182B = COMMON | {
    "frequency": real(
        ":FREQ",
        {9e3: ":FREQ 9000 Hz", 6e9: ":FREQ 6000000000 Hz", 3205000000.001: ":FREQ 3205000000.001 Hz"},
        (8999.9, 6e9 + 1),
    ),
    "power": real(":POW", {-144: ":POW -144 dBm", 30: ":POW 30 dBm"}, (-144.1, 30.1)),
    "alc_enabled": switch(":POW:ALC"),
    "output_enabled": switch(":OUTP"),
    "modulation_enabled": switch(":OUTP:MOD"),
    "sample_rate": real(
        ":RAD:ARB:SCL:RATE", {1: ":RAD:ARB:SCL:RATE 1", 200e6: ":RAD:ARB:SCL:RATE 200000000"}, (0, 2.1e8)
    ),
    "arb_scaling": real(":RAD:ARB:RSC", {1: ":RAD:ARB:RSC 1", 100: ":RAD:ARB:RSC 100"}, (0.9, 100.1)),
    "arb_enabled": switch(":RAD:ARB"),
    "arb_trigger_type": choice(
        ":RAD:ARB:TRIG:TYPE", {"continuous": "CONT", "single": "SING", "gate": "GATE", "segment": "SADV"}
    ),
    "arb_trigger_source": choice(":RAD:ARB:TRIG", {"bus": "BUS", "external": "EXT", "key": "KEY"}),
    "waveform": Case(
        ":RAD:ARB:WAV?",
        {'"WFM1:A"': "A", '""': "", '"WFM1:BATCH_22"\n': "BATCH_22"},
        {"A": ':RAD:ARB:WAV "WFM1:A"', "A" * 22: f':RAD:ARB:WAV "WFM1:{"A" * 22}"'},
        ("", "A" * 23, "A B", 'A"', "Ä"),
        ("", "WFM1:A", '"SEQ:A"', '"WFM1:"'),
    ),
}

TRIGGERS = {"external": "EXT1", "immediate": "IMM"}
N9020A = COMMON | {
    "center": real(
        ":FREQ:CENT",
        {10: ":FREQ:CENT 10 Hz", 26.5e9: ":FREQ:CENT 26500000000 Hz", 3205000000.001: ":FREQ:CENT 3205000000.001 Hz"},
        (9, 26.6e9),
    ),
    "span": real(":FREQ:SPAN", {0: ":FREQ:SPAN 0 Hz", 26.5e9: ":FREQ:SPAN 26500000000 Hz"}, (-1, 26.6e9)),
    "resolution_bandwidth": real(":BAND", {1: ":BAND 1 Hz", 8e6: ":BAND 8000000 Hz"}, (0.9, 8.1e6)),
    "video_bandwidth": real(":BAND:VID", {1: ":BAND:VID 1 Hz", 50e6: ":BAND:VID 50000000 Hz"}, (0.9, 5.1e7)),
    "points": whole(":SWE:POIN", {1: ":SWE:POIN 1", 40001: ":SWE:POIN 40001"}, (0, 40002)),
    "sweep_time": real(
        ":SWE:TIME",
        {1e-6: ":SWE:TIME 1e-06", 6000: ":SWE:TIME 6000", "AUTO": ":SWE:TIME:AUTO ON"},
        (9e-7, 6000.1),
    ),
    "reference_level": real(
        ":DISP:WIND:TRAC:Y:RLEV",
        {-170: ":DISP:WIND:TRAC:Y:RLEV -170 dBm", 30: ":DISP:WIND:TRAC:Y:RLEV 30 dBm"},
        (-171, 31),
    ),
    "iq_reference_level": Case(":DISP:WAV:VIEW:WIND:TRAC:Y:RLEV?", {"-1.00E+01": -10.0}, {}),
    "attenuation": real(":POW:ATT", {0: ":POW:ATT 0 dB", 70: ":POW:ATT 70 dB"}, (-1, 71)),
    "detector": choice(
        ":DET", {"average": "AVER", "sample": "SAMP", "positive": "POS", "negative": "NEG", "normal": "NORM"}
    ),
    "unit": choice(":UNIT:POW", {"V": "V", "dBm": "DBM"}),
    "continuous": switch(":INIT:CONT"),
    "trigger_source": choice(":TRIG:SOUR", TRIGGERS),
    "iq_trigger_source": choice(":TRIG:WAV:SOUR", TRIGGERS),
    "iq_sample_rate": real(":WAV:SRAT", {100: ":WAV:SRAT 100", 200e6: ":WAV:SRAT 200000000"}, (99, 2.1e8)),
    "iq_duration": real(":WAV:SWE:TIME", {1e-6: ":WAV:SWE:TIME 1e-06", 100: ":WAV:SWE:TIME 100"}, (9e-7, 100.1)),
    "questionable_integrity": Case(":STAT:QUES:INT?", {"0": 0, "+48": 48}, {}, nonsense=("", "garbage", "1,2", "1.5")),
}

FSX = COMMON | {
    "freq_center": real("FREQ:CENT", {0: "FREQ:CENT 0 HZ", 40e9: "FREQ:CENT 40000000000 HZ"}, (-1, 4.1e10)),
    "freq_span": real("FREQ:SPAN", {0: "FREQ:SPAN 0 HZ", 40e9: "FREQ:SPAN 40000000000 HZ"}, (-1, 4.1e10)),
    "freq_start": real("FREQ:STAR", {0: "FREQ:STAR 0 HZ", 40e9: "FREQ:STAR 40000000000 HZ"}, (-1, 4.1e10)),
    "freq_stop": real("FREQ:STOP", {0: "FREQ:STOP 0 HZ", 40e9: "FREQ:STOP 40000000000 HZ"}, (-1, 4.1e10)),
    "reference_level": real(
        "DISP:WIND:TRAC:Y:RLEV",
        {-130: "DISP:WIND:TRAC:Y:RLEV -130 DBM", 30: "DISP:WIND:TRAC:Y:RLEV 30 DBM"},
        (-131, 31),
    ),
    "attenuation": real("INP:ATT", {0: "INP:ATT 0 DB", 75: "INP:ATT 75 DB"}, (-1, 76)),
    "res_bandwidth": real(
        "BAND:RES", {1: "BAND:RES 1", 10e6: "BAND:RES 10000000", "AUTO": "BAND:RES:AUTO ON"}, (0.9, 1.1e7)
    ),
    "video_bandwidth": real(
        "BAND:VID", {1: "BAND:VID 1", 10e6: "BAND:VID 10000000", "AUTO": "BAND:VID:AUTO ON"}, (0.9, 1.1e7)
    ),
    "sweep_time": real(
        "SWE:TIME", {1e-6: "SWE:TIME 1e-06", 16000: "SWE:TIME 16000", "AUTO": "SWE:TIME:AUTO ON"}, (9e-7, 16001)
    ),
    "points": whole("SWE:POIN", {101: "SWE:POIN 101", 32001: "SWE:POIN 32001"}, (100, 32002)),
    "sweep_count": whole("SWE:COUN", {0: "SWE:COUN 0", 32767: "SWE:COUN 32767"}, (-1, 32768)),
    "detector": choice(
        "DET1",
        {"rms": "RMS", "average": "AVER", "sample": "SAMP", "positive": "POS", "negative": "NEG", "auto peak": "APE"},
    ),
    "unit": choice("CALC:UNIT:POW", {"V": "V", "dBm": "DBM"}),
    "trigger_source": choice("TRIG:SOUR", {"external": "EXT", "immediate": "IMM"}),
    "continuous_sweep_enabled": switch("INIT:CONT"),
    "questionable_power": Case("STAT:QUES:POW?", {"0": 0, "5": 5}, {}, nonsense=("", "garbage", "1,2", "1.5")),
    "trace_mode": choice("DISP:TRAC:MODE", {mode: mode for mode in ("WRIT", "MAXH", "MINH", "AVER", "VIEW")}),
}
FSV = FSX | {
    "has_frames": Case("*OPT?", {"B4,0,K14": True, "B4,0,0": False, "0": False}, {}, nonsense=()),
}
FSL = FSX | {"has_frames": Case("", {"": False}, {}, nonsense=())}

IDENTITY: Pairs = [(":MN?", "MN=RCDAT-6000-90"), (":SN?", "SN=11401010001"), (":FIRMWARE?", "B2")]
RCDAT = {
    "attenuation": Case(
        ":ATT?",
        {"12.75": 12.75, "0.00\r": 0.0},
        {0: ":SETATT=0", 90: ":SETATT=90", 12.75: ":SETATT=12.75"},
        (-0.25, 90.25, 12.8, nan, inf),
        ("", "garbage", "NAN"),
    ),
    "maximum": Case(":MN?", {"MN=RCDAT-6000-90": 90.0, "MN=RCDAT-8000-30": 30.0}, {}, nonsense=("MN=", "90")),
    "step": Case(":MN?", {"MN=RCDAT-6000-90": 0.25}, {}, nonsense=("MN=", "RCDAT-6000-90", "MN=RCDAT-1")),
}

E36312A = COMMON | {
    "voltage_v": Case(
        "VOLT? (@1)",
        {"+5.00000000E+00": 5.0},
        {0: "VOLT 0, (@1)", 6: "VOLT 6, (@1)"},
        (-0.1, 6.1, nan),
    ),
    "current_a": Case("CURR? (@1)", {"+5.00000000E-01": 0.5}, {0: "CURR 0, (@1)", 5: "CURR 5, (@1)"}, (-0.1, 5.1, nan)),
    "output_enabled": Case(
        "OUTPut? (@1)",
        {"1": True, "0": False},
        {True: "OUTPut 1, (@1)", False: "OUTPut 0, (@1)"},
        (2,),
        ("", "garbage", "2"),
    ),
}

SELECT: Pairs = [("INST:NSEL 1", None)]
HMP4040 = COMMON | {
    "voltage_v": Case("VOLT?", {"5.000": 5.0}, {0: "VOLT 0", 32.05: "VOLT 32.05"}, (-0.1, 32.1, nan), before=SELECT),
    "current_a": Case("CURR?", {"0.5000": 0.5}, {0: "CURR 0", 10: "CURR 10"}, (-0.1, 10.1, nan), before=SELECT),
    "output_enabled": Case("OUTP:SEL?", {"0": False}, {False: "OUTPUT:SEL 0"}, nonsense=("", "garbage"), before=SELECT),
}

DRIVERS: dict[type[Any], dict[str, Case]] = {
    KeysightE8257D: E8257D,
    KeysightN5182B: N5182B,
    KeysightN9020A: N9020A,
    RohdeSchwarzFSV: FSV,
    RohdeSchwarzFSL: FSL,
    MiniCircuitsRCDAT: RCDAT,
    SupplyE36312A: E36312A,
    SupplyHMP4040: HMP4040,
}

"""The bench's file: every problem is told, a line each, and what is right is read as it stands."""

from pathlib import Path

import pytest

from instruments.bench import ROLES, Bench, load_bench
from labpgt.errors import DeviceFault, InputError, LabpgtError

SOURCE = '[source]\nmodel = "N5182B"\naddress = "TCPIP0::10.0.0.1::5025::SOCKET"\n'
ANALYZER = '[analyzer]\nmodel = "N9020A"\naddress = "TCPIP0::10.0.0.2::5025::SOCKET"\n'
MAGNET = '[magnet]\nmodel = "HMP4040"\naddress = "{}"\nvoltage_v = 5\ncurrent_a = {}\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "bench.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str, kind: type[LabpgtError] = DeviceFault) -> list[str]:
    path = written(folder, text)
    with pytest.raises(LabpgtError) as caught:
        load_bench(path)
    # A file that describes nothing is bad input; parts that do not fit together are a fault of the bench.
    assert caught.value.exit_code == (3 if kind is DeviceFault else 2)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"bench {path}: ") for line in lines)
    return [line.removeprefix(f"bench {path}: ") for line in lines]


def test_a_bench_of_all_parts(tmp_path: Path) -> None:
    text = (
        'name = "lab 3"\ntimeout_s = 4\n[limits]\npower_dbm = 5\nfield_t = [0.01, 0.1]\n'
        + "[wiring]\ntesla_per_ampere = 0.05\n"
        + SOURCE
        + 'timeout_s = 9.5\nserial = "MY1"\noptions = ["656"]\n'
        + ANALYZER
        + '[attenuator]\nmodel = "RCDAT-6000-90"\naddress = "TCPIP0::10.0.0.3::23::SOCKET"\n'
        + '[amplifier]\nmodel = "E36312A"\naddress = "TCPIP0::10.0.0.4::5025::SOCKET"\nchannel = 2\n'
        + "voltage_v = 12.5\ncurrent_a = 0.5\n"
        + MAGNET.format("TCPIP0::10.0.0.5::5025::SOCKET", 1.5)
    )
    bench = load_bench(written(tmp_path, text))
    assert tuple(bench.entries()) == ROLES
    assert (bench.timeout_of("source"), bench.timeout_of("analyzer")) == (9.5, 4)
    assert (bench.source.serial, bench.source.options) == ("MY1", ["656"])
    assert bench.limits.power_dbm == 5
    assert bench.limits.field_t == (0.01, 0.1)
    assert (bench.amplifier.channel, bench.amplifier.voltage_v) == (2, 12.5)  # type: ignore[union-attr]


def test_what_is_not_given_has_its_default(tmp_path: Path) -> None:
    bench = load_bench(str(written(tmp_path, SOURCE + ANALYZER)))
    assert list(bench.entries()) == ["source", "analyzer"]
    assert bench.model_dump() == Bench(source=bench.source, analyzer=bench.analyzer).model_dump()
    assert (bench.timeout_s, bench.guard_s, bench.wiring.full_scale_v) == (2.0, 1.0, 0.25)
    assert (bench.limits.attenuation_db, bench.limits.frequency_hz) == ((8.0, 90.0), (2e9, 6e9))


def test_a_file_that_cannot_be_read_or_is_not_toml(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.toml: cannot be read \(No such file.*give the TOML file that"):
        load_bench(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xfc"')
    with pytest.raises(InputError, match=r"latin\.toml: cannot be read"):
        load_bench(tmp_path / "latin.toml")
    assert problems(tmp_path, "name =", InputError) == ["is not TOML: Invalid value (at end of document)"]


def test_every_problem_has_its_line_with_key_value_and_what_was_expected(tmp_path: Path) -> None:
    text = (
        'timeout_s = "2"\nguard_s = 0.01\nextra = 1\n[source]\nmodel = "N5182B"\nadress = "x"\n'
        "[limits]\npower_dbm = inf\nfrequency_hz = [6e9, 2e9]\nfield_t = [-0.1, 0.1]\n"
        "attenuation_db = [8.0]\ndrift = 0\n"
    )
    found = problems(tmp_path, text, InputError)
    for line in (
        'timeout_s = "2": must be a number',
        "guard_s = 0.01: must be at least 0.2",
        "analyzer: must be given",
        "source.address: must be given",
        'source.adress: unknown key. Did you mean "address"? Valid: address, model, options, serial, timeout_s',
        "limits.power_dbm = Infinity: must be a finite number",
        "limits.frequency_hz = [6000000000.0, 2000000000.0]: must be two numbers of at least 0, the lower one first",
        "limits.field_t = [-0.1, 0.1]: must be two numbers of at least 0, the lower one first",
        "limits.drift = 0: must be greater than 0",
    ):
        assert line in found
    assert any(line.startswith("extra: unknown key.") for line in found)
    assert any(line.startswith("limits.attenuation_db") for line in found)
    assert len(found) == 11


@pytest.mark.parametrize("other", ["TCPIP0::10.0.0.1::5025::SOCKET", "tcpip::10.0.0.1::5025::socket"])
def test_two_roles_on_one_address(tmp_path: Path, other: str) -> None:
    text = SOURCE + f'[analyzer]\nmodel = "N9020A"\naddress = "{other}"\n'
    assert problems(tmp_path, text) == [f"source and analyzer both have the address {other}; give each its own"]


def test_one_supply_may_feed_two_on_channels_of_their_own(tmp_path: Path) -> None:
    amplifier = '[amplifier]\nmodel = "HMP4040"\naddress = "there"\nvoltage_v = 5\ncurrent_a = 1\n'
    magnet = MAGNET.format("there", 1) + "channel = {}\n[wiring]\ntesla_per_ampere = 0.05\n"
    load_bench(written(tmp_path, SOURCE + ANALYZER + amplifier + magnet.format(2)))
    assert problems(tmp_path, SOURCE + ANALYZER + amplifier + magnet.format(1)) == [
        "amplifier and magnet both have the address there, channel 1; give each its own"
    ]


def test_the_field_of_the_magnet_is_kept_within_its_limits(tmp_path: Path) -> None:
    magnet = MAGNET.format("there", 3)
    assert problems(tmp_path, SOURCE + ANALYZER + magnet) == [
        "wiring.tesla_per_ampere: must be given with a magnet: its field is kept within limits.field_t"
    ]
    assert problems(tmp_path, SOURCE + ANALYZER + magnet + "[wiring]\ntesla_per_ampere = 0.1\n") == [
        "magnet.current_a = 3: makes a field of 0.3 T, outside limits.field_t 0 to 0.2 T"
    ]

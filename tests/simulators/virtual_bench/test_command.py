import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from labpgt.errors import InputError, StorageFault
from simulators.virtual_bench.command import add_fault, parsed_settings, virtual_bench, write_whole
from simulators.virtual_bench.faults import Faults
from tests.simulators.virtual_bench.support import Plain

MAIN = """
import sys
import typer
from labpgt.errors import LabpgtError
from simulators.virtual_bench.command import virtual_bench
app = typer.Typer()
app.command()(virtual_bench)
try:
    app()
except LabpgtError as error:
    sys.exit(error.exit_code)
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    root = str(Path(__file__).resolve().parents[3])
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )


@pytest.mark.skipif(sys.platform == "win32", reason="signals of a child differ")
def test_it_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    options = ["--kind", "loopback", "--set", "ring.noise=0", "--fault", "source:error:1", "--verbose"]
    with start(*options, "--config-out", str(path)) as process:
        assert process.stderr is not None
        lines = []
        while not lines or "serving" not in lines[-1]:
            lines.append(process.stderr.readline())
            assert lines[-1], lines
        found = tomllib.loads(path.read_text())
        assert found["source"]["address"] in "".join(lines)
        with Plain(found["source"]["address"]) as client:
            assert client.ask("*IDN?").split(",")[1:3] == ["N5182B", found["source"]["serial"]]
            assert client.errors() == [-310]
        process.send_signal(signal.SIGINT)
        output, rest = process.communicate(timeout=30)
    assert process.returncode == 0
    assert output == ""
    assert "source     < *IDN?" in rest
    assert "source     > Agilent" in rest
    assert rest.endswith("stopped\n")
    assert [file.name for file in tmp_path.iterdir()] == ["bench.toml"]


def test_without_a_file_the_configuration_is_printed() -> None:
    if sys.platform == "win32":
        pytest.skip("signals of a child differ")
    with start("--kind", "loopback") as process:
        assert process.stdout is not None
        text = ""
        while "full_scale_v" not in text:
            line = process.stdout.readline()
            assert line, process.communicate()
            text += line
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert set(tomllib.loads(text)) >= {"source", "analyzer"}


def test_settings_and_models() -> None:
    found = parsed_settings(["ring.noise=0.01", "ring.encoding=phase", 'ring.detector="iq"', "source=E8257D"])
    assert found == ({"noise": 0.01, "encoding": "phase", "detector": "iq"}, {"source": "E8257D"})
    for wrong in ("ring.noise", "ring.noise=", "=1", "world.noise=1"):
        with pytest.raises(InputError, match="--set"):
            parsed_settings([wrong])


def test_faults() -> None:
    faults = Faults(["source", "analyzer"])
    add_fault(faults, "analyzer:late:12:0.5")
    add_fault(faults, "source:drop-after:0")
    assert [(f.role, f.kind, f.after, f.seconds) for f in faults.added] == [
        ("analyzer", "late", 12, 0.5),
        ("source", "drop-after", 0, 0.0),
    ]
    for wrong in ("analyzer", "analyzer:late", "analyzer:later:1", "analyzer:late:x", "magnet:late:1", "a:b:1:2:3"):
        with pytest.raises(InputError, match="ROLE:KIND:AFTER"):
            add_fault(faults, wrong)


def test_wrong_options_are_refused_before_anything_is_served() -> None:
    with pytest.raises(InputError, match="spectral"):
        virtual_bench(kind="spectral")
    with pytest.raises(InputError, match="0 to 60 s"):
        virtual_bench(latency_ms=-5)
    with pytest.raises(InputError, match="nois"):
        virtual_bench(settings=["ring.nois=1"])


def test_a_configuration_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StorageFault, match="cannot be written"):
        write_whole(tmp_path / "missing" / "bench.toml", "")

"""The configuration that is in a file: TOML, or recorded in a session."""

from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from gui.form.reading import InThread, configuration_in, parsed
from labpgt.config import Config, to_toml
from labpgt.errors import InputError

SESSION = Path(__file__).parents[2] / "labpgt" / "sessions" / "schema-1-success.h5"


def test_what_says_the_same_as_a_default_is_left_out_but_not_of_the_device(tmp_path: Path) -> None:
    assert parsed(to_toml(Config()), "defaults")["training"] == {}
    found = parsed('training.batch = 8\ntraining.epochs = 3\ndevice = {name = "llg-ring", gain = 0.2}', "it")
    assert found == {"training": {"batch": 8}, "device": {"name": "llg-ring", "gain": 0.2}}
    place = tmp_path / "bom.toml"
    place.write_bytes(b"\xef\xbb\xbftraining.batch = 8")
    assert configuration_in(place) == {"training": {"batch": 8}}


def test_a_session_gives_its_configuration_without_its_own_place() -> None:
    found = configuration_in(SESSION)
    assert found["device"]["name"]
    assert "file" not in found["session"]
    assert Config.model_validate(found)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"training = [", "no valid TOML"),
        (b"\xff\xfe\x00", "no valid TOML"),
        (b"[source]\naddress = 'x'", "it has source, expected are the sections task, network"),
        (b"training = 3", "it has training, expected"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 600, "strange.bin"),
        (b"#" * (1 << 21), "larger than 1 MiB"),
    ],
    ids=["half", "binary", "bench", "no section", "broken session", "huge"],
)
def test_a_strange_file_is_refused_with_the_reason(content: bytes, why: str, tmp_path: Path) -> None:
    place = tmp_path / "strange.bin"
    place.write_bytes(content)
    with pytest.raises(InputError, match=why):
        configuration_in(place)
    with pytest.raises(InputError, match="check the path"):
        configuration_in(tmp_path / "nowhere")


def test_a_thread_tells_the_window_what_it_found_or_why_not(qtbot: QtBot) -> None:
    told: list[object] = []

    def mistake() -> object:
        raise ZeroDivisionError("by nothing")

    InThread(lambda: 42, told.append, told.append)
    qtbot.waitUntil(lambda: told == [42])
    InThread(mistake, told.append, told.append)
    qtbot.waitUntil(lambda: told == [42, "ZeroDivisionError: by nothing"])

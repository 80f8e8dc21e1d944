"""What pymeasure's generic test of all instruments asks of every driver, asked of ours, and some more.

pymeasure ships its tests with its sources only (`tests/instruments/test_all_instruments.py`); these follow the same
rules on every class in `instruments.models.DRIVERS`, without its list of exceptions: none of ours needs one.
"""

import inspect
import warnings
from typing import Any
from unittest.mock import MagicMock

import pytest
from pymeasure.adapters import VISAAdapter
from pymeasure.instruments import Channel, Instrument, SCPIMixin

from instruments.models import DRIVERS, driver_class

CLASSES = sorted({driver_class(model) for model in DRIVERS}, key=lambda driver: driver.__name__)
NOT_SCPI = {"MiniCircuitsRCDAT"}
PROPERTIES = [
    pytest.param(driver, name, getattr(driver, name), id=f"{driver.__name__}.{name}")
    for driver in CLASSES
    for name in dir(driver)
    if isinstance(getattr(driver, name), property)
]

every_driver = pytest.mark.parametrize("driver", CLASSES, ids=lambda driver: driver.__name__)


@every_driver
def test_it_is_an_instrument_of_pymeasures(driver: type[Any]) -> None:
    assert issubclass(driver, Instrument)
    assert not issubclass(driver, Channel)
    assert issubclass(driver, SCPIMixin) == (driver.__name__ not in NOT_SCPI)


@every_driver
def test_adapter_is_an_argument_and_making_one_warns_of_nothing(driver: type[Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        instrument = driver(adapter=MagicMock())
    assert instrument.name
    assert not instrument.isShutdown


@every_driver
def test_making_one_says_nothing_to_the_instrument(driver: type[Any]) -> None:
    adapter = MagicMock()
    driver(adapter)
    assert adapter.method_calls == []


@every_driver
def test_name_is_an_argument(driver: type[Any]) -> None:
    assert driver(adapter=MagicMock(), name="Name_Test").name == "Name_Test"
    parameters = list(inspect.signature(driver.__init__).parameters.values())
    assert [parameter.name for parameter in parameters[:3]] == ["self", "adapter", "name"]
    assert isinstance(parameters[2].default, str)
    assert parameters[-1].kind is inspect.Parameter.VAR_KEYWORD


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def adapter(address: str, **kwargs: Any) -> MagicMock:
        seen.clear()
        seen.update(kwargs, address=address)
        return MagicMock(spec=VISAAdapter)

    monkeypatch.setattr("pymeasure.instruments.instrument.VISAAdapter", adapter)
    return seen


@every_driver
def test_keyword_arguments_go_to_the_adapter(driver: type[Any], opened: dict[str, Any]) -> None:
    driver("TCPIP0::192.0.2.1::5025::SOCKET", kwarg_test=True, timeout=1234)
    assert opened["address"] == "TCPIP0::192.0.2.1::5025::SOCKET"
    assert opened["kwarg_test"] is True
    assert opened["timeout"] == 1234
    assert not {"name", "channel", "includeSCPI"} & set(opened)


@every_driver
def test_messages_on_a_socket_have_an_end(driver: type[Any], opened: dict[str, Any]) -> None:
    driver("TCPIP0::192.0.2.1::5025::SOCKET")
    written = "\r\n" if driver.__name__ in NOT_SCPI else "\n"
    assert opened["tcpip"] == {"read_termination": "\n", "write_termination": written}
    driver("TCPIP0::192.0.2.1::5025::SOCKET", tcpip={"read_termination": "\r"})
    assert opened["tcpip"] == {"read_termination": "\r"}


@pytest.mark.parametrize(("driver", "name", "control"), PROPERTIES)
def test_docstring_of_a_property_begins_with_what_it_does(driver: type[Any], name: str, control: property) -> None:
    assert control.__doc__, f"{driver.__name__}.{name} has no docstring"
    start = control.__doc__.split(maxsplit=1)[0]
    assert start in ("Control", "Measure", "Set", "Get"), f"{driver.__name__}.{name} begins with {start!r}"


@pytest.mark.parametrize(("driver", "name", "control"), PROPERTIES)
def test_docstring_of_a_number_names_unit_and_limits(driver: type[Any], name: str, control: property) -> None:
    if not hasattr(control, "limits"):
        return
    text = str(control.__doc__)
    assert " strictly from " in text
    if "int strictly" not in text:
        assert any(f" in {unit} (" in text for unit in ("Hz", "dBm", "dB", "s", "%", "V")), text


@every_driver
def test_nothing_of_its_own_is_without_a_docstring(driver: type[Any]) -> None:
    for name, member in vars(driver).items():
        if not name.startswith("_") and callable(member):
            assert inspect.getdoc(member), f"{driver.__name__}.{name}"
    assert driver.__doc__


@every_driver
def test_shutting_down_can_be_done_twice(driver: type[Any]) -> None:
    adapter = MagicMock()
    adapter.read.return_value = "1"
    instrument = driver(adapter)
    if driver.__name__ in NOT_SCPI:
        adapter.read.side_effect = ["MN=RCDAT-6000-90", "SN=1", "B2", "1", "1"]
    for _ in range(2):
        instrument.shutdown()
        assert instrument.isShutdown


@every_driver
def test_no_method_of_pymeasures_is_taken_over_by_something_else(driver: type[Any]) -> None:
    for name in ("write", "read", "ask", "values", "write_bytes", "read_bytes", "adapter", "name", "clear", "reset"):
        assert name not in vars(driver)

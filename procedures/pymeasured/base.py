"""What every run of labpgt does as a pymeasure procedure."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pandas import DataFrame
from pydantic import BaseModel
from pymeasure.experiment import ListParameter, Parameter, Procedure

from labpgt.config import Config, DeviceConfig, load_config
from labpgt.errors import InputError
from labpgt.events import RunContinued, RunPaused, RunWarning, Status
from labpgt.registry import device_class
from labpgt.subscribers import Queued
from procedures.configured import with_device_defaults
from procedures.console import continued_line, paused_line
from procedures.pymeasured.parameters import TextParameter, of_section, toml_inline, toml_value
from procedures.train import StopRequest

log = logging.getLogger(__name__)
P = TypeVar("P", bound=Procedure)

STATUSES: Mapping[Status, int] = {
    Status.SUCCESS: Procedure.FINISHED,
    Status.ABORTED: Procedure.ABORTED,
    Status.FAILED: Procedure.FAILED,
    Status.CRASHED: Procedure.FAILED,
    Status.RUNNING: Procedure.RUNNING,
}
"""What pymeasure calls the ways in which a run stands."""
STOPPED = "stopped in pymeasure"
_SETTINGS = "device_settings"
_STEP = 0.1
"""Progress is told in steps of so many per cent."""


def with_parameters(parameters: Mapping[str, Parameter]) -> Callable[[type[P]], type[P]]:
    """Give these parameters to a procedure, those aside that it has declared itself."""

    def add(kind: type[P]) -> type[P]:
        for name, parameter in parameters.items():
            if name not in vars(kind):
                setattr(kind, name, parameter)
        return kind

    return add


def device_parameters() -> dict[str, Parameter]:
    """Return the parameters of any device: its name, and its settings as a TOML table."""
    named = of_section("device", DeviceConfig)
    settings = TextParameter(
        "device settings", plain=True, default="", description='Settings of the device, as in "gain = 0.6, noise = 0"'
    )
    return {**named, _SETTINGS: settings}


class RunProcedure(Procedure):
    """A procedure whose parameters are a configuration of labpgt, and whose results are session files.

    A Worker runs it in a thread of its own; `should_stop` ends the run after the device call in hand, with the device
    safe and the files whole. What goes wrong is raised in `execute`, so that pymeasure says FAILED; nothing is left to
    do in `shutdown`, where pymeasure would not notice an error.
    """

    PLACE: ClassVar[str]
    """Parameter that says where the results go."""
    ended: Status | None = None
    """How the run ended, by its own account."""

    def startup(self) -> None:
        """Begin anew."""
        self.ended = None
        self._told = 0.0

    def execute(self) -> None:
        """Run; raise what goes wrong."""

        def tell(event: Any) -> None:
            match event:
                case RunWarning():
                    log.warning("labpgt: %s", event.message)
                case RunPaused():
                    log.warning("labpgt: %s", paused_line(event))
                case RunContinued():
                    log.info("labpgt: %s", continued_line(event))
            self.watch(event)

        with Queued(tell) as queued:
            self.ended = self.conduct(queued, StopRequest(lambda: STOPPED if self.should_stop() else None))
        if queued.error is not None:
            log.error("labpgt: telling pymeasure of the run ended early: %s", queued.error)

    def shutdown(self) -> None:
        """Say how the run ended: a request to stop that came after its last shot has stopped nothing."""
        if self.ended is not None and self.status == Procedure.RUNNING:
            self.status = STATUSES[self.ended]
            self.emit("status", self.status)
            if self.ended is Status.SUCCESS:
                self.emit("progress", 100.0)

    def conduct(self, watcher: Any, stop: StopRequest) -> Status:
        """Do the run; return how it ended."""
        raise NotImplementedError

    def watch(self, event: Any) -> None:
        """Tell pymeasure of one event of the run."""
        raise NotImplementedError

    @classmethod
    def recorded(cls, place: Path) -> tuple[Status, DataFrame]:
        """Return how the run in these results stands, and its data under `DATA_COLUMNS`."""
        raise NotImplementedError

    @classmethod
    def loaded(cls, place: Path) -> Self:
        """Return the procedure that made these results."""
        raise NotImplementedError

    @classmethod
    def of(cls, config: Config, **options: Any) -> Self:
        """Return the procedure of a configuration, and of the command's options by their names."""
        procedure = cls()
        values: dict[str, Any] = {}
        for section, table in config:
            for key in type(table).model_fields:
                values[f"{section}_{key}"] = getattr(table, key)
        for key, value in config.device.settings.items():
            values[f"device_{key}"] = value
        values[_SETTINGS] = ", ".join(f"{k} = {toml_inline(v)}" for k, v in config.device.settings.items())
        known = {name: value for name, value in values.items() if name in procedure.parameter_objects()}
        procedure.set_parameters({k: "" if v is None else v for k, v in known.items()} | options)
        return procedure

    @classmethod
    def on_device(cls, name: str) -> type[Self]:
        """Return this procedure for one device, with a parameter for each of its settings that its model declares.

        Raises `InputError` for a device that does not exist, or has no such model.
        """
        model = getattr(device_class(name), "Config", None)
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise InputError(f'device "{name}" declares no settings; give them as text in "device settings"')
        attributes: dict[str, Any] = dict(of_section("device", model))
        chosen = ListParameter("device.name", choices=[name], default=name, description=cls.device_name.description)
        attributes |= {"device_name": chosen, _SETTINGS: None, "__module__": cls.__module__, "__doc__": cls.__doc__}
        return type(cls.__name__, (cls,), attributes)

    def configuration(self) -> Config:
        """Return the configuration that the parameters make, checked as that of the command line; `InputError`."""
        return with_device_defaults(load_config(None, self.overrides()))

    def overrides(self) -> list[str]:
        """Return the parameters as the command line's --set takes them."""
        overrides = []
        for attribute, parameter in self.parameter_objects().items():
            section, _, key = parameter.name.partition(".")
            if attribute == _SETTINGS:
                overrides += [f"device.{k}={toml_inline(v)}" for k, v in _table(parameter.value).items()]
            elif key and section in Config.model_fields and parameter.value != "":
                overrides.append(f"{parameter.name}={_override(parameter)}")
        return overrides

    def tell(self, share: float) -> None:
        """Emit how far the run is, as a share of 1; what has been told is not told again."""
        progress = round(100 * min(1.0, share), 1)
        if progress >= self._told + _STEP:
            self._told = progress
            self.emit("progress", progress)

    def record(self, **values: Any) -> None:
        """Emit one row of results; what is not given is NaN."""
        self.emit("results", {**dict.fromkeys(self.DATA_COLUMNS, float("nan")), **values})


def _override(parameter: Parameter) -> str:
    """Return the value of a parameter as the command line's --set takes it."""
    if isinstance(parameter, TextParameter) and not parameter.plain:
        return str(parameter.value)
    return json.dumps(parameter.value, ensure_ascii=False)


def _table(text: str) -> dict[str, Any]:
    """Return the settings in a text such as `gain = 0.6, noise = 0`."""
    found = toml_value("{" + text.strip().removeprefix("{").removesuffix("}") + "}")
    if not isinstance(found, dict):
        raise InputError(f'device settings "{text}": expected key = value, key = value, as in a TOML table')
    return found

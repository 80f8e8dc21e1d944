"""The configuration of a run: five sections, every key with its limits and a line that says what it does.

A configuration is TOML. What a session file keeps is the same TOML with every default written out, so that a run can
be read, repeated and changed without knowing which defaults were in force.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomlkit
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from labpgt.errors import InputError
from labpgt.validation import nearest, problems, validated

TaskName = Literal["breast-cancer", "iris", "wine", "digits", "parity", "hidden-xor", "csv"]
ActivationName = Literal["tanh", "relu", "gelu", "sigmoid", "elu", "silu"]
EstimatorName = Literal["pgt", "node", "jacobian-twin", "readout", "backprop"]
LossName = Literal["mse", "cross-entropy"]


def _factory_name(value: str) -> str:
    module, colon, factory = value.partition(":")
    if not (colon and factory.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ValueError('must name a function as "module:function"')
    return value


PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonEmpty = Annotated[str, Field(min_length=1)]
FactoryName = Annotated[str, AfterValidator(_factory_name)]


class _Section(BaseModel):
    # Strict: TOML has types, so a number in quotes or a 1 for true is a slip worth hearing about.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class TaskConfig(_Section):
    """What is learned."""

    name: TaskName = Field(
        default="breast-cancer",
        description="Data set: breast-cancer, iris, wine, digits (bundled), parity, hidden-xor (generated) or csv.",
    )
    path: NonEmpty | None = Field(
        default=None,
        description="File for task csv: a header line, numeric features, one target.",
        examples=["samples.csv"],
    )
    target: NonEmpty | None = Field(
        default=None, description="Column of the csv file to predict; not set: the last one.", examples=["species"]
    )
    bits: int = Field(default=3, ge=2, le=10, description="Task parity: number of bits, 2 to 10.")
    noise_features: int = Field(default=18, ge=0, le=10_000, description="Task hidden-xor: features that mean nothing.")
    samples: int = Field(
        default=512, ge=16, le=1_000_000, description="Tasks parity and hidden-xor: samples generated."
    )
    test_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="Share of the samples kept for testing, in each class."
    )
    standardize: bool = Field(
        default=True, description="Scale each feature to mean 0 and deviation 1, measured on the training part."
    )

    @model_validator(mode="after")
    def _file_belongs_to_csv(self) -> Self:
        if self.name == "csv" and self.path is None:
            raise ValueError('path must be given when name = "csv": the file to read')
        if self.name != "csv":
            for key in ("path", "target"):
                if getattr(self, key) is not None:
                    raise ValueError(
                        f'{key} is for name = "csv", but name = "{self.name}": set name = "csv" or remove {key}'
                    )
        return self


class NetworkConfig(_Section):
    """What is trained: layers before the device, the drive, and the readout after it."""

    hidden: list[PositiveInt] = Field(
        default=[200, 200], description="Width of each layer before the device; [] drives the device from the features."
    )
    activation: ActivationName = Field(
        default="tanh", description="After each hidden layer: tanh, relu, gelu, sigmoid, elu or silu."
    )
    pre: FactoryName | None = Field(
        default=None,
        description="Own layers instead of hidden: a function that returns a torch.nn.Module.",
        examples=["mynetwork:build"],
    )
    readout: FactoryName | None = Field(
        default=None,
        description="Own readout instead of a linear one: a function that returns a torch.nn.Module.",
        examples=["mynetwork:readout"],
    )
    symbols: PositiveInt = Field(default=8, description="Drive symbols per sample: how long one shot is.")
    drive_gain: PositiveFloat = Field(
        default=1.0,
        description="Factor on the initial weights of the last layer before the device: more spreads the drives.",
    )
    readout_deviation: PositiveFloat = Field(
        default=0.1,
        description="Standard deviation to which responses are scaled before the readout.",
    )


class DeviceConfig(_Section):
    """What answers: a device by name, and its settings. The device itself checks its settings when it is opened."""

    model_config = ConfigDict(extra="allow")

    name: NonEmpty = Field(default="llg-ring", description="Registered device, replay:FILE.h5 or module:Class.")

    @model_validator(mode="before")
    @classmethod
    def _none_is_not_set(cls, data: Any) -> Any:
        # TOML cannot say None; a setting without a value is left to the device's default.
        return {k: v for k, v in data.items() if v is not None} if isinstance(data, Mapping) else data

    @property
    def settings(self) -> dict[str, Any]:
        """Every key but `name`, for the device's own model to check."""
        return dict(self.model_extra or {})


class TrainingConfig(_Section):
    """How it is learned."""

    estimator: EstimatorName = Field(
        default="jacobian-twin", description="Source of the gradient: pgt, node, jacobian-twin, readout or backprop."
    )
    optimizer: NonEmpty = Field(default="Adam", description="Class of torch.optim.")
    learning_rate: PositiveFloat = Field(default=3e-3, description="Step size of the optimizer.")
    optimizer_options: dict[str, Any] = Field(default={}, description="Further arguments of the optimizer.")
    scheduler: NonEmpty = Field(
        default="ExponentialLR",
        description='Class of torch.optim.lr_scheduler, stepped after each update, or "none" for a constant rate.',
    )
    scheduler_options: dict[str, Any] = Field(
        default={},
        description="Arguments of the scheduler; without them it is fitted to the length of the run.",
    )
    batch: int = Field(default=4, ge=1, le=4096, description="Samples per update.")
    epochs: PositiveInt = Field(default=3, description="Passes through the training part.")
    max_shots: PositiveInt | None = Field(
        default=None, description="Stop when this many training shots are taken.", examples=[10_000]
    )
    target_loss: PositiveFloat | None = Field(
        default=None, description="Stop after an epoch whose training loss is this low.", examples=[0.0221]
    )
    seed: int = Field(default=0, ge=0, le=2**63 - 1, description="Seed of everything random: same seed, same run.")
    delta: Annotated[float, Field(ge=1e-5)] | Literal["auto"] = Field(
        default="auto", description='Size of a perturbation; "auto" measures the noise and stays well above it.'
    )
    directions: PositiveInt = Field(default=1, description="Perturbation directions per sample (pgt and node).")
    perturbation_range: int = Field(
        default=1,
        ge=1,
        le=127,
        description="pgt: perturbations are whole numbers from -r to r, times delta; this is r.",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="pgt: share of the parameters left unperturbed.")
    twin_rate: float = Field(
        default=0.1,
        gt=0,
        lt=2,
        description="jacobian-twin: step of the running (NLMS) estimate of the device's derivative.",
    )
    loss: LossName = Field(default="mse", description="mse (against one-hot targets) or cross-entropy.")
    calibration_shots: int = Field(
        default=64, ge=8, le=65_536, description="Shots before training that measure scale, noise and delta."
    )
    baseline: bool = Field(
        default=True, description="Measure how far the readout alone would come: one shot per training sample."
    )
    evaluation: Literal["full", "test", "none"] = Field(
        default="full",
        description="Measured on the device after each epoch: full (training and test part), test or none.",
    )
    device_batch: PositiveInt | None = Field(
        default=None, description="Most shots in one call of the device; not set: as many as a step has.", examples=[64]
    )
    retakes: int = Field(
        default=3, ge=0, le=100, description="Times that a shot with a bad flag is taken again before the run pauses."
    )
    patience_s: float = Field(
        default=60.0,
        ge=0,
        le=604_800,
        description="How long a paused run waits for an ill device, in s; 0: not at all.",
    )
    threads: PositiveInt = Field(default=1, description="Threads of torch; the last bits of a result depend on it.")


class SessionConfig(_Section):
    """Where every shot is kept."""

    file: NonEmpty | None = Field(
        default=None,
        description="Session file to write (HDF5); not set: sessions/DATE-TASK-ESTIMATOR.h5.",
        examples=["run.h5"],
    )
    flush_shots: int = Field(
        default=64, ge=1, le=4096, description="Shots that may wait in memory before they go to disk."
    )
    flush_ms: float = Field(
        default=50.0, gt=0, le=1000, description="Longest time a shot waits in memory before it goes to disk, in ms."
    )
    checkpoint_shots: PositiveInt = Field(
        default=10_000, description="Training shots between checkpoints: at most so many are gone through on resume."
    )
    checkpoint_s: PositiveFloat = Field(
        default=60.0, description="Longest time between checkpoints, in s; one is also made after every epoch."
    )
    fsync: bool = Field(
        default=False,
        description="Wait until the disk has each block, so that a power cut loses nothing acknowledged; slower.",
    )


class Config(_Section):
    """Everything a run needs to know."""

    task: TaskConfig = Field(default=TaskConfig(), description="What is learned.")
    network: NetworkConfig = Field(default=NetworkConfig(), description="What is trained.")
    device: DeviceConfig = Field(
        default=DeviceConfig(), description="What answers; further keys are settings of the device."
    )
    training: TrainingConfig = Field(default=TrainingConfig(), description="How it is learned.")
    session: SessionConfig = Field(default=SessionConfig(), description="Where every shot is kept.")


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Return the configuration in a TOML file (`None`: the defaults), changed by `section.key=value` overrides.

    The value of an override is TOML; a bare word is text. Raises `InputError` naming every key that cannot be used.
    """
    data = {} if path is None else _parsed(_text(path), str(path))
    for override in overrides:
        _apply(override, data)
    changes = f" with {', '.join(overrides)}" if overrides else ""
    return _checked(data, f"configuration{'' if path is None else f' {path}'}{changes}")


def from_toml_text(text: str) -> Config:
    """Return the configuration in a TOML text, such as a session file keeps. Raises `InputError`."""
    return _checked(_parsed(text, "the configuration text"), "configuration text")


def config_problems(data: Mapping[str, Any]) -> dict[str, str]:
    """Return what keeps data by section and key from being a configuration: a sentence by `section.key`.

    A problem across keys stands under its section. The settings of the device are the device's to check.
    """
    unknown = {name: _unknown_section(name) for name in data if name not in Config.model_fields}
    return unknown | problems(Config, _known_sections(data), "")


def to_toml(config: Config, device_descriptions: Mapping[str, str] | None = None) -> str:
    """Return the configuration as TOML with every default, each key under a comment that says what it does.

    The comments of a device's own settings are the device's: `device_descriptions`, by setting. What is not set appears
    as a comment with an example. `from_toml_text` reads back an equal configuration.
    """
    document = tomlkit.document()
    for name, section in config:
        table = tomlkit.table()
        table.comment(Config.model_fields[name].description or "")
        for key, field in type(section).model_fields.items():
            table.add(tomlkit.comment(field.description or ""))
            value = getattr(section, key)
            if value is None:
                example = tomlkit.item((field.examples or [""])[0]).as_string()
                table.add(tomlkit.comment(f"{key} = {example}  # an example: not set"))
            else:
                table.add(key, _inline(value))
        for key, value in (section.model_extra or {}).items():
            if description := (device_descriptions or {}).get(key):
                table.add(tomlkit.comment(description))
            table.add(key, _inline(value))
        document.add(name, table)
    return document.as_string()


def _inline(value: Any) -> Any:
    """Return a TOML item that fits on the line of its key, however deeply it is nested."""
    if isinstance(value, Mapping):
        table = tomlkit.inline_table()
        for key, inner in value.items():
            table.add(key, _inline(inner))
        return table
    if isinstance(value, list):
        array = tomlkit.array()
        for inner in value:
            array.append(_inline(inner))
        return array
    return tomlkit.item(value)


def _text(path: Path) -> str:
    try:
        # Some editors put a byte order mark in front, which TOML does not allow.
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read the configuration {path}: {error.strerror}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read the configuration {path}: not UTF-8 text (byte {error.start}).") from error


def _parsed(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and brackets in brackets
        raise InputError(f"{source} is not valid TOML: {error}") from error


def _apply(override: str, data: dict[str, Any]) -> None:
    """Set the value of one `section.key=value` in the data of a configuration."""
    place, equals, text = (part.strip() for part in override.partition("="))
    *tables, key = place.split(".")
    if not (equals and text and all(tables) and key):
        raise InputError(f'override "{override}": expected section.key=value, for example training.learning_rate=0.002')
    for name in tables:
        if not isinstance(data.get(name), dict):
            data[name] = {}
        data = data[name]
    data[key] = _value(text)


def _value(text: str) -> Any:
    """Return what a text means in TOML, or the text itself."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _checked(data: Mapping[str, Any], source: str) -> Config:
    found = [f"{name}: {_unknown_section(name)}" for name in data if name not in Config.model_fields]
    try:
        config = validated(Config, _known_sections(data), "")
    except InputError as error:
        found.append(str(error))
    if found:
        raise InputError(f"{source} cannot be used:\n" + "\n".join(found))
    return config


def _known_sections(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in data if name in Config.model_fields}


def _unknown_section(name: str) -> str:
    owners = [section for section, defaults in Config() if name in type(defaults).model_fields]
    if owners:
        return f"stands in no section. Write {' or '.join(f'{section}.{name}' for section in owners)}."
    return f"unknown section.{nearest(name, Config.model_fields)} Valid: {', '.join(Config.model_fields)}"

"""Configuration: limits, messages, overrides, and the way to TOML and back."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from labpgt.config import (
    Config,
    DeviceConfig,
    NetworkConfig,
    SessionConfig,
    TaskConfig,
    TrainingConfig,
    from_toml_text,
    load_config,
    to_toml,
)
from labpgt.errors import InputError


def refusal(*overrides: str) -> str:
    with pytest.raises(InputError) as refused:
        load_config(None, overrides)
    head, _, lines = str(refused.value).partition("\n")
    assert head == f"configuration with {', '.join(overrides)} cannot be used:"
    return lines


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


# Defaults and files


def test_no_file_means_the_defaults() -> None:
    config = load_config(None)
    assert config == Config()
    assert (config.task.name, config.network.hidden, config.device.name) == ("breast-cancer", [200, 200], "llg-ring")
    assert (config.training.estimator, config.training.optimizer, config.training.delta) == (
        "jacobian-twin",
        "Adam",
        "auto",
    )
    assert (config.session.file, config.session.flush_shots, config.session.flush_ms) == (None, 64, 50.0)


def test_a_file_changes_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    config = load_config(file(tmp_path, '[training]\nestimator = "pgt"\nbatch = 4\n[device]\nname = "x"\ngain = 0.5\n'))
    assert config.training == TrainingConfig(estimator="pgt", batch=4)
    assert config.device.settings == {"gain": 0.5}
    assert (config.task, config.network, config.session) == (TaskConfig(), NetworkConfig(), SessionConfig())


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(b"\xef\xbb\xbf[training]\r\nbatch = 4\r\n")
    assert load_config(path).training.batch == 4


def test_a_missing_file_a_folder_and_a_binary_file_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the configuration .*none\.toml: No such file"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(InputError, match=r"cannot read the configuration .*: Is a directory"):
        load_config(tmp_path)
    path = tmp_path / "run.toml"
    path.write_bytes(b"[task]\xff")
    with pytest.raises(InputError, match=r"run\.toml: not UTF-8 text \(byte 6\)"):
        load_config(path)


def test_a_syntax_error_is_placed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.toml is not valid TOML: .*\(at line 2, column 7\)"):
        load_config(file(tmp_path, "[task]\nname = breast-cancer\n".replace("name = ", "name  ")))
    with pytest.raises(InputError, match=r"the configuration text is not valid TOML: .*\(at line 1, column 6\)"):
        from_toml_text("[task\n")


def test_a_bad_file_is_named_with_every_problem(tmp_path: Path) -> None:
    path = file(tmp_path, "batch = 3\n[trainig]\nbatch = 3\n[task]\nbits = 1\n")
    with pytest.raises(InputError) as refused:
        load_config(path, ["network.symbols=0"])
    assert str(refused.value).splitlines() == [
        f"configuration {path} with network.symbols=0 cannot be used:",
        "batch: stands in no section. Write training.batch.",
        'trainig: unknown section. Did you mean "training"? Valid: task, network, device, training, session',
        "task.bits = 1: must be at least 2",
        "network.symbols = 0: must be at least 1",
    ]


def test_a_bad_text_is_refused() -> None:
    with pytest.raises(InputError, match=r"^configuration text cannot be used:\ntask\.bits = 11: must be at most 10$"):
        from_toml_text("[task]\nbits = 11\n")


# Limits

LIMITS = [
    # key, accepted, refused, expectation
    ("task.bits", 10, 11, "must be at most 10"),
    ("task.bits", 2, 1, "must be at least 2"),
    ("task.noise_features", 0, -1, "must be at least 0"),
    ("task.samples", 16, 15, "must be at least 16"),
    ("task.test_fraction", 0.99, 1.0, "must be less than 1"),
    ("task.test_fraction", 0.01, 0.0, "must be greater than 0"),
    ("network.hidden", [], [3, 0], "must be at least 1"),
    ("network.symbols", 1, 0, "must be at least 1"),
    ("network.drive_gain", 1e-9, 0, "must be greater than 0"),
    ("training.learning_rate", 1e-12, -1, "must be greater than 0"),
    ("training.batch", 4096, 4097, "must be at most 4096"),
    ("training.batch", 1, 0, "must be at least 1"),
    ("training.epochs", 1, 0, "must be at least 1"),
    ("training.max_shots", 1, 0, "must be at least 1"),
    ("training.target_loss", 1e-9, 0.0, "must be greater than 0"),
    ("training.seed", 2**63 - 1, 2**63, "must be at most 9223372036854775807"),
    ("training.seed", 0, -1, "must be at least 0"),
    ("training.delta", 1e-5, 0.0, 'must be at least 1e-05 or "auto"'),
    ("training.directions", 1, 0, "must be at least 1"),
    ("training.perturbation_range", 127, 128, "must be at most 127"),
    ("training.perturbation_range", 1, 0, "must be at least 1"),
    ("training.dropout", 0.0, -0.1, "must be at least 0"),
    ("training.dropout", 0.999, 1.0, "must be less than 1"),
    ("training.twin_rate", 1.99, 2.0, "must be less than 2"),
    ("training.twin_rate", 1e-9, 0.0, "must be greater than 0"),
    ("training.calibration_shots", 8, 7, "must be at least 8"),
    ("training.device_batch", 1, 0, "must be at least 1"),
    ("training.threads", 1, 0, "must be at least 1"),
    ("session.flush_shots", 1, 0, "must be at least 1"),
    ("session.flush_shots", 4096, 4097, "must be at most 4096"),
    ("session.flush_ms", 1000.0, 1000.5, "must be at most 1000"),
    ("session.flush_ms", 1e-3, 0.0, "must be greater than 0"),
]


@pytest.mark.parametrize(("key", "accepted", "refused", "expectation"), LIMITS)
def test_limits(key: str, accepted: object, refused: object, expectation: str) -> None:
    section, name = key.split(".")
    assert getattr(getattr(load_config(None, [f"{key}={accepted}"]), section), name) == accepted
    assert refusal(f"{key}={refused}").endswith(f" = {refused if name != 'hidden' else 0}: {expectation}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "task.name=cancer",
            'task.name = "cancer": unknown name. Did you mean "breast-cancer"? Valid: breast-cancer, ',
        ),
        ("network.activation=Tanh", 'unknown activation. Did you mean "tanh"? Valid: tanh, relu, gelu, sigmoid, elu'),
        (
            "training.estimator=jacobian",
            'training.estimator = "jacobian": unknown estimator. Did you mean "jacobian-twin"? '
            "Valid: pgt, node, jacobian-twin, readout, backprop",
        ),
        ("training.loss=mae", 'unknown loss. Did you mean "mse"? Valid: mse, cross-entropy'),
        ("training.evaluation=every", 'training.evaluation = "every": unknown evaluation. Valid: full, test, none'),
        ("training.delta=small", 'training.delta = "small": must be a number or "auto"'),
        (
            "training.lerning_rate=1",
            'training.lerning_rate: unknown key. Did you mean "learning_rate"? Valid: baseline',
        ),
        ("training.learning_rate=inf", "training.learning_rate = Infinity: must be a finite number"),
        ("training.learning_rate=.5", 'training.learning_rate = ".5": must be a number'),
        ("training.batch=8.0", "training.batch = 8.0: must be a whole number"),
        ("training.baseline=1", "training.baseline = 1: must be true or false"),
        ("training.batch.size=8", 'training.batch = {"size": 8}: must be a whole number'),
        ("training.optimizer=''", 'training.optimizer = "": must have at least 1 character'),
        ("training=3", "training = 3: must be a table of keys and values"),
        ("device=3", "device = 3: must be a table of keys and values"),
        ("network.pre=mynetwork", 'network.pre = "mynetwork": must name a function as "module:function"'),
        ("network.readout=a b:c", 'network.readout = "a b:c": must name a function as "module:function"'),
        ("name=wine", "name: stands in no section. Write task.name or device.name."),
        ("trainig.batch=3", 'trainig: unknown section. Did you mean "training"? Valid: task, network, device, '),
    ],
)
def test_a_wrong_value_is_explained(override: str, message: str) -> None:
    assert message in refusal(override)


def test_keys_that_need_each_other() -> None:
    assert refusal("task.name=csv") == 'task: path must be given when name = "csv": the file to read'
    assert refusal("task.path=a.csv") == (
        'task: path is for name = "csv", but name = "breast-cancer": set name = "csv" or remove path'
    )
    assert refusal("task.name=iris", "task.target=kind") == (
        'task: target is for name = "csv", but name = "iris": set name = "csv" or remove target'
    )
    config = load_config(None, ["task.name=csv", "task.path=a.csv", "task.target=kind"])
    assert (config.task.path, config.task.target) == ("a.csv", "kind")


def test_keys_of_another_estimator_are_no_error() -> None:
    config = load_config(None, ["training.estimator=readout", "training.dropout=0.5", "training.twin_rate=1"])
    assert (config.training.dropout, config.training.twin_rate) == (0.5, 1.0)


# Overrides


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5),
        ("1e-3", 1e-3),
        ("-3", -3),
        ("true", True),
        ('"0.5"', "0.5"),
        ("[1, 2]", [1, 2]),
        ("{ a = 1 }", {"a": 1}),
        ("bare-word", "bare-word"),
        ("/tmp/x y.h5", "/tmp/x y.h5"),
        ("a=b", "a=b"),
        ("1\nbatch = 3", "1\nbatch = 3"),
    ],
)
def test_the_value_of_an_override_is_toml_or_text(text: str, value: object) -> None:
    settings = load_config(None, [f"device.setting = {text}"]).device.settings
    assert settings == {"setting": value}
    assert type(settings["setting"]) is type(value)


def test_an_override_wins_over_the_file_and_the_last_over_the_first(tmp_path: Path) -> None:
    path = file(tmp_path, "[training]\nbatch = 2\n[training.optimizer_options]\nweight_decay = 0.1\n")
    config = load_config(path, ["training.batch=3", "training.optimizer_options.eps=1e-6", "training.batch=5"])
    assert config.training.batch == 5
    assert config.training.optimizer_options == {"weight_decay": 0.1, "eps": 1e-6}
    config = load_config(path, ["training.optimizer_options={eps=1e-6}"])
    assert config.training.optimizer_options == {"eps": 1e-6}


@pytest.mark.parametrize("override", ["training.batch", "training.batch=", "=3", "training.=3", ".batch=3", ""])
def test_a_malformed_override_is_refused(override: str) -> None:
    with pytest.raises(InputError) as refused:
        load_config(None, [override])
    assert str(refused.value) == (
        f'override "{override}": expected section.key=value, for example training.learning_rate=0.002'
    )


# The models


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Config().training.batch = 3  # type: ignore[misc]


def test_defaults_are_not_shared() -> None:
    TrainingConfig().optimizer_options["eps"] = 1.0
    NetworkConfig().hidden.append(3)
    assert TrainingConfig().optimizer_options == {}
    assert NetworkConfig().hidden == [200, 200]
    assert Config().network.hidden == [200, 200]


def test_a_device_setting_without_value_is_not_set() -> None:
    assert DeviceConfig(name="x", gain=None, span=3).settings == {"span": 3}


def test_every_key_is_described_in_one_line() -> None:
    for _, section in Config():
        for name, field in type(section).model_fields.items():
            assert field.description, name
            assert "\n" not in field.description
            assert (field.default is None) == bool(field.examples), f"{name}: an example shows what could be set"


# To TOML and back


def test_the_toml_of_the_defaults_explains_every_key() -> None:
    text = to_toml(Config())
    assert from_toml_text(text) == Config()
    for section, values in Config():
        assert f"[{section}] # {Config.model_fields[section].description}" in text
        for name, field in type(values).model_fields.items():
            start = f"# {field.description}\n{'# ' if field.default is None else ''}{name} = "
            assert start in text, name
    assert max(map(len, text.splitlines())) < 120


def test_what_is_not_set_can_be_set_by_uncommenting() -> None:
    lines = to_toml(Config(task=TaskConfig(name="csv", path="x.csv"))).splitlines()
    examples = [line for line in lines if line.endswith("# an example: not set")]
    assert len(examples) == 7
    opened = [line.removeprefix("# ") if line in examples else line for line in lines]
    config = from_toml_text("\n".join(opened))
    assert (config.training.max_shots, config.session.file, config.task.target) == (10_000, "run.h5", "species")


def texts() -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, exclude_min=True, exclude_max=True, allow_subnormal=False)


def toml_values() -> st.SearchStrategy[Any]:
    scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts()
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(), inner, max_size=3),
        max_leaves=5,
    )


def configs() -> st.SearchStrategy[Config]:
    options = st.dictionaries(texts(), toml_values(), max_size=3)
    return st.builds(
        Config,
        task=st.one_of(
            st.builds(TaskConfig, bits=st.integers(2, 10), test_fraction=numbers(0, 1), standardize=st.booleans()),
            st.builds(TaskConfig, name=st.just("csv"), path=texts(), target=st.none() | texts()),
        ),
        network=st.builds(
            NetworkConfig,
            hidden=st.lists(st.integers(1, 10**6), max_size=4),
            pre=st.none() | st.just("a.b:c"),
            drive_gain=numbers(0, 1e300),
        ),
        device=st.builds(DeviceConfig.model_validate, options | st.fixed_dictionaries({"name": texts()}, optional={})),
        training=st.builds(
            TrainingConfig,
            optimizer=texts(),
            learning_rate=numbers(0, 10),
            optimizer_options=options,
            scheduler=texts(),
            scheduler_options=options,
            max_shots=st.none() | st.integers(1, 2**63 - 1),
            seed=st.integers(0, 2**63 - 1),
            delta=st.just("auto") | numbers(1e-5, 1),
        ),
        session=st.builds(SessionConfig, file=st.none() | texts(), flush_ms=numbers(0, 1000)),
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(configs())
def test_any_configuration_survives_the_way_to_toml_and_back(config: Config) -> None:
    text = to_toml(config)
    again = from_toml_text(text)
    assert again == config
    assert to_toml(again) == text
    assert tomllib.loads(text).keys() == {"task", "network", "device", "training", "session"}


def test_device_settings_keep_type_and_nesting(tmp_path: Path) -> None:
    settings = {"gain": 0.5, "nodes": 10, "on": True, "note": "50 Ω\n# not a comment", "bands": [[1.0, 2.0], [3.0]]}
    config = Config(device=DeviceConfig.model_validate({"name": "ring", "film": {"ms": 1.4e5}, **settings}))
    again = load_config(file(tmp_path, to_toml(config)))
    assert again.device.settings == {"film": {"ms": 1.4e5}, **settings}
    assert [type(value) for value in again.device.settings.values()] == [dict, float, int, bool, str, list]
    tuples = Config(device=DeviceConfig.model_validate({"limits": (0.0, 1.0)}))
    assert from_toml_text(to_toml(tuples)).device.settings == {"limits": [0.0, 1.0]}


def test_configuration_and_tasks_load_without_torch_and_sklearn() -> None:
    code = "import sys, labpgt.config, labpgt.tasks; print({'torch', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

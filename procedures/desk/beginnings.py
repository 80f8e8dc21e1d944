"""How a run would begin: its data, its device before it is opened, and whatever training refuses then."""

import re
from contextlib import closing
from functools import lru_cache
from pathlib import Path

from labpgt.config import Config, NetworkConfig, TaskConfig
from labpgt.device import Foreseeing, Reservoir
from labpgt.errors import LabpgtError
from labpgt.registry import make_device, registered
from labpgt.tasks import Dataset, load_dataset
from labpgt.training import Trainer

_BEGINS = re.compile(
    r"""((?:task|network|device|training|session)\.\w+)(?:\ =\ (?:\{.*\}|\[.*\]|"[^"]*"|[^:\s]*))?(?=[:\s])""",
    re.VERBOSE,
)
"""The key of a refusal, and its value."""


def dataset_of(config: Config) -> Dataset:
    """Return the data of a run; `InputError` for a file that cannot be used."""
    task = config.task
    changed = 0
    if task.path is not None:
        file = Path(task.path).expanduser()
        changed = file.stat().st_mtime_ns if file.is_file() else 0
    return _dataset(task, config.training.seed, changed)


@lru_cache(maxsize=4)
def _dataset(task: TaskConfig, seed: int, changed: int) -> Dataset:
    return load_dataset(task, seed)


def known(config: Config) -> bool:
    """Say whether the device can be made without importing what only the configuration names."""
    return config.device.name in registered() or config.device.name.startswith("replay:")


def device_of(config: Config) -> Reservoir:
    """Return the device of a run, closed; of one that is `known`. Raises `LabpgtError` for settings it refuses."""
    return make_device(config.device.name, config.device.settings)


def without_layers(config: Config) -> Config:
    """Return the configuration with the smallest network there is, none of it code of one's own."""
    network = NetworkConfig(hidden=[], symbols=config.network.symbols)
    return config.model_copy(update={"network": network})


def refusals(config: Config) -> dict[str, str]:
    """Return what a run of a good configuration would be refused for when it begins: a sentence by `section.key`.

    Nothing is opened. Layers are not made: they may be large, or code of one's own.
    """
    try:
        dataset = dataset_of(config)
    except LabpgtError as error:
        return _placed(error, "task" if config.task.path is None else "task.path")
    if not known(config):
        return {}
    try:
        device = device_of(config)
    except LabpgtError as error:
        return _placed(error, "device.name" if config.device.name.startswith("replay:") else "device")
    with closing(device):
        if isinstance(device, Foreseeing) and (foreseen := device.refusals()):
            return {f"device.{setting}": sentence for setting, sentence in foreseen.items()}
        try:
            Trainer(without_layers(config), device, dataset)
        except LabpgtError as error:
            return _placed(error, "training")
        except MemoryError as error:
            return {"network.symbols": f"more than this computer has memory for: {error}"}
    return {}


def _placed(error: LabpgtError, otherwise: str) -> dict[str, str]:
    """Return the sentence of an error by the key that it begins with, else by another."""
    text = str(error)
    begins = _BEGINS.match(text)
    if begins is None:
        return {otherwise: text}
    return {begins[1]: text[begins.end() :].removeprefix(":").strip()}

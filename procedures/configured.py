"""What a configuration comes to: every setting of its device, and where its session goes. Imports no torch."""

from datetime import datetime
from pathlib import Path

from labpgt.config import Config
from labpgt.registry import complete_settings


def default_path(config: Config) -> Path:
    """Return the session file's place when none is given: `sessions/` in the working directory, named by the time."""
    if config.session.file:
        return Path(config.session.file)
    return Path("sessions") / f"{datetime.now():%Y%m%d-%H%M%S}-{config.task.name}-{config.training.estimator}.h5"


def with_device_defaults(config: Config) -> Config:
    """Return the configuration with every setting of its device spelled out, for the file and for people.

    Raises `InputError` for a device that does not exist or settings that it does not accept.
    """
    settings = complete_settings(config.device.name, config.device.settings)
    return config.model_copy(update={"device": type(config.device)(name=config.device.name, **settings)})

"""What a device is like: taking the measures, showing them, drawing them."""

from procedures.characterize.run import characterize, characterize_config, chosen, default_path

__all__ = ["characterize", "characterize_config", "chosen", "default_path"]

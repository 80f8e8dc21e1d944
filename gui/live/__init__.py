"""The page of live plots: what a run does, and how it has come there."""

from gui.live.page import LivePage

__all__ = ["LivePage"]

"""Recorded runs: found, gone through shot by shot, laid over each other, compared, verified, resumed, exported."""

from gui.replay.page import ReplayPage

__all__ = ["ReplayPage"]

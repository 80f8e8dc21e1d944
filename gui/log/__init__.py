"""What has happened, with levels and a filter."""

from gui.log.page import LogPage

__all__ = ["LogPage"]

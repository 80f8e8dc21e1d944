"""The bench: its instruments, their state and health, and what can be measured on it."""

from gui.bench.page import BenchPage

__all__ = ["BenchPage"]

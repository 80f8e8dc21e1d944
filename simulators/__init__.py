"""Devices that exist as equations: the magnonic ring and what stands in for it."""

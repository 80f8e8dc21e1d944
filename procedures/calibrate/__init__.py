"""What a run needs to know of a device before it starts: measured, and turned into settings."""

"""The form of a run: made from the configuration's model and from the device's."""

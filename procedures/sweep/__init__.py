"""Many runs of one configuration: a run for each combination of values and each seed."""

"""The page of runs: the form of the next run, and the queue."""

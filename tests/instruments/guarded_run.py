"""A run for the tests of the guard, in a process of its own.

    python -m tests.instruments.guarded_run BENCH.json [HOW]

Prints the guard's process and then "running". HOW is "work" (hold the interpreter's attention) or "fork" (leave a child
behind that has the guard's pipe); without it the run waits.
It asks for the state of the guard at every line of its standard input, and prints it.
"""

import os
import sys
import time
from pathlib import Path

from instruments.bench import Bench
from instruments.guard import Guard
from labpgt.errors import DeviceFault


def main() -> None:
    guard = Guard(Bench.model_validate_json(Path(sys.argv[1]).read_text(), strict=False))
    how = sys.argv[2] if len(sys.argv) > 2 else ""
    guard.start()
    print(guard.pid, flush=True)
    if how == "fork" and os.fork() == 0:
        os.close(0), os.close(1), os.close(2)
        time.sleep(60)
        os._exit(0)
    print("running", flush=True)
    if how == "work":
        while True:
            sum(range(100_000))
    for _ in sys.stdin:
        try:
            guard.check()
            print("guarded", flush=True)
        except DeviceFault as fault:
            print(fault, flush=True)


if __name__ == "__main__":
    main()

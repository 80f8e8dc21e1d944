"""Runs the desk on standard input and output."""

import os
import signal
import sys

from procedures.desk.service import Service


def main() -> None:
    """Serve until standard input ends."""
    # Ctrl-C in the terminal of the window is the window's to heed; it ends the desk by closing standard input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever else prints goes to standard error: standard output is for answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    Service(answers).serve(sys.stdin.buffer)
    # At once: the other thread may be in the middle of loading, and has nothing to put in order.
    os._exit(0)


if __name__ == "__main__":
    main()

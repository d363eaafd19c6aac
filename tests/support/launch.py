"""Run a command that ends with its parent: ``launch.py PARENT_PID COMMAND ARGUMENT...``.

The kernel kills the command with SIGKILL when the thread that started it ends, however that comes about
(``PR_SET_PDEATHSIG``, which survives ``exec``). A launcher of its own does this because a ``preexec_fn`` is not safe
in a process that has threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call above
        sys.exit(f"launch: the parent {parent} has gone")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()

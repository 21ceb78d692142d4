"""A container's first process: hands signals to the program, reaps what it leaves, and ends with it.

In a pod whose containers share their processes, and with hostPID, the kernel does not end a container's processes
together: there this process ends them. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal

from slipway.cluster.nodes.namespaces.entering import EVERY_SIGNAL
from slipway.cluster.nodes.spawning.process import PR_SET_CHILD_SUBREAPER, prctl

END_ALL = signal.SIGRTMAX  # instead of SIGKILL, which would leave the program's children running
_KILLED = 128 + signal.SIGKILL


def be_there_for_orphans() -> None:
    if os.getpid() != 1:
        prctl(PR_SET_CHILD_SUBREAPER, 1)


def keep_output(streams: list[int]) -> None:
    """Close everything but the program's output: people write to /proc/1/fd/1 what the log is to show."""
    out, err = os.dup(streams[1]), os.dup(streams[2])
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in enumerate((nothing, out, err)):
        os.dup2(source, target)
    os.closerange(3, 1024)


def reap(program: int) -> int:
    """The program's exit code, or 128 and the signal that ended it."""
    while True:
        number = signal.sigwait(EVERY_SIGNAL)
        if number == END_ALL and os.getpid() != 1:
            _end_all()
            return _KILLED
        if number != signal.SIGCHLD:
            with contextlib.suppress(ProcessLookupError):
                os.kill(program, number)
            continue
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return 0
            if pid == 0:
                break
            if pid == program:
                if os.getpid() != 1:
                    _end_all()
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code


def _end_all() -> None:
    """Kill the children, and theirs, which become this process's own as their parents end."""
    while True:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            children = [int(pid) for pid in file.read().split()]
        if not children:
            return
        for pid in children:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for pid in children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

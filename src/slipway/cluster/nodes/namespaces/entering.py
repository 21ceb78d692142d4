"""A process in another process's namespaces. Standard library only: this runs in the helper process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import NoReturn

from slipway.cluster.nodes.namespaces import cgroups, kernel
from slipway.cluster.nodes.spawning.process import PR_SET_PDEATHSIG, prctl

EVERY_SIGNAL = set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}


def from_within(
    pid: int,
    kinds: tuple[str, ...],
    child: Callable[[], NoReturn],
    *,
    new_pid: bool,
    processes_of: int = 0,
    group: str = "",
) -> int:
    """Run `child` in a process in another's namespaces, and among the processes of a third; its process id.

    A process in between steps into them and ends, since not every namespace lets one step back. The child waits until that
    one is gone, or its death would count as its parent's.
    """
    told, tell = os.pipe()
    gate, open_gate = os.pipe()
    between = os.fork()
    if between == 0:
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, EVERY_SIGNAL)
            signal.set_wakeup_fd(-1)
            opened = kernel.open_namespaces(pid, kinds)
            if processes_of:
                opened |= kernel.open_namespaces(processes_of, ("pid",))
            for kind, descriptor in opened.items():
                kernel.setns(descriptor, kernel.KINDS[kind])
            if new_pid:
                kernel.unshare(kernel.NEWPID)
            inner = os.fork()
            if inner == 0:
                os.close(open_gate)
                os.close(tell)
                if os.read(gate, 1):
                    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                    child()
                os._exit(137)
            os.write(tell, str(inner).encode())
        except BaseException as error:
            os.write(tell, f"!{error}".encode())
        finally:
            os._exit(0)
    os.close(tell)
    os.close(gate)
    try:
        said = os.read(told, 4096).decode()
        os.waitpid(between, 0)
        if not said.isdigit():
            raise OSError(0, said.removeprefix("!") or "the process in between ended")
        if group:
            cgroups.enter(group, int(said))
        os.write(open_gate, b"g")
    finally:
        os.close(told)
        os.close(open_gate)
    return int(said)

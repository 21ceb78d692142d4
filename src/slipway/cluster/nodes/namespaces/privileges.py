"""What a container's program may not do: gain rights by setuid programs, use capabilities that were dropped.

Runs in the helper process, in the child that becomes the program. Standard library only.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from slipway.cluster.nodes.namespaces import kernel
from slipway.cluster.nodes.spawning.process import PR_SET_PDEATHSIG, drop_privileges, prctl

PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 4, 24, 38
# By number, as in linux/capability.h.
CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
# What a container has that asks for nothing, as containerd gives it.
_USUAL = {
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
}  # fmt: skip


def kept(request: dict[str, Any]) -> set[str]:
    """The capabilities by the request's `privileged`, `added` and `dropped` (names, or ALL)."""
    every, added, dropped = set(CAPABILITIES), set(request["added"]), set(request["dropped"])
    if request["privileged"]:
        return every
    given = every if "ALL" in added else _USUAL
    if "ALL" in dropped:
        given = set()
    return (given | added) - dropped


def give_up(request: dict[str, Any]) -> None:
    """Capabilities that are not kept, and rights by setuid programs unless the request's `escalates`.

    A capability that leaves the bounding set is gone when the program is started, also for root; until then it can still
    be used, to become the user asked for.
    """
    keep = kept(request)
    for number, name in enumerate(CAPABILITIES):
        if name not in keep:
            # A kernel that does not know it refuses, and then there is nothing to drop.
            prctl(PR_CAPBSET_DROP, number)
    if not request["escalates"]:
        prctl(PR_SET_NO_NEW_PRIVS, 1)


def be_no_more_than_the_program(request: dict[str, Any]) -> None:
    """For a container's first process, which starts the program and stays: the same user and rights at once, or the
    program may not look at what it takes for itself in /proc."""
    give_up(request)
    if not request["rootless"]:  # where there is one user, whom the program only calls by another name
        drop_privileges(request)
    if os.geteuid() == 0:
        keep = kept(request)
        with open("/proc/self/status") as file:
            row = next(line for line in file if line.startswith("CapPrm:"))
        has = int(row.split()[1], 16)
        numbers = [number for number, name in enumerate(CAPABILITIES) if name in keep and has >> number & 1]
        kernel.limit_capabilities(numbers)
    # Both of which a change of credentials has cleared.
    prctl(PR_SET_DUMPABLE, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

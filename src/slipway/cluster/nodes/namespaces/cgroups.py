"""Memory limits by control groups, version 1 or 2, where this process may make them. Standard library only."""

from __future__ import annotations

import contextlib
import os

_V1, _V2 = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"


def home() -> str:
    """The folder under which groups with a memory limit can be made; empty where there is none."""
    if os.path.exists(f"{_V1}/memory.limit_in_bytes") and os.access(_V1, os.W_OK):
        return _V1
    with contextlib.suppress(OSError), open(f"{_V2}/cgroup.subtree_control") as file:
        if "memory" in file.read().split() and os.access(_V2, os.W_OK):
            return _V2
    return ""


def make(name: str, memory: int) -> str:
    """A group that may use so many bytes; its folder, empty where groups cannot be made."""
    top = home()
    if not top:
        return ""
    folder = f"{top}/{name}"
    try:
        os.mkdir(folder)
        limit(name, memory)
    except OSError:
        remove(folder)
        return ""
    return folder


def limit(name: str, memory: int) -> None:
    """How many bytes the group may use from now on."""
    top = home()
    _write(f"{top}/{name}/{'memory.limit_in_bytes' if top == _V1 else 'memory.max'}", memory)


def enter(folder: str, pid: int) -> None:
    _write(f"{folder}/cgroup.procs", pid)


def killed(folder: str) -> bool:
    """Whether the kernel has killed a process of the group for want of memory."""
    for name in ("memory.oom_control", "memory.events"):
        with contextlib.suppress(OSError), open(f"{folder}/{name}") as file:
            rows = dict(line.split() for line in file)
            return int(rows.get("oom_kill", 0)) > 0
    return False


def remove(folder: str) -> None:
    """Harmless when it is gone, or still in use."""
    with contextlib.suppress(OSError):
        os.rmdir(folder)


def _write(path: str, value: int) -> None:
    with open(path, "w") as file:
        file.write(str(value))

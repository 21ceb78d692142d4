"""What a cluster that was killed may have left behind: processes, interfaces of its network, control groups.

There is nothing else to look for: containers' mounts and pods' network namespaces end with their processes, and the
Services' route ends with the bridge. Everything carries its cluster's name and its owner (process id and start time),
so that what belongs to a living cluster is never touched.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slipway.cluster.nodes.namespaces.cgroups import home
from slipway.cluster.nodes.namespaces.netlink import Netlink

# What `Owner.mark` makes; a container's control group has the container's id after it, which may begin with digits.
_MARK = re.compile(r"slipway-(?P<cluster>.+?)-(?P<pid>\d+)-(?P<started>\d+)(-[0-9a-f]{12})?")

_GROUP_PATIENCE = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that a thing of a cluster belongs to."""

    pid: int
    started: int  # clock ticks since boot; 0 where the system does not say

    @classmethod
    def this_process(cls) -> Owner:
        return cls(os.getpid(), _start_time(os.getpid()))

    @property
    def alive(self) -> bool:
        if self.started:
            return _start_time(self.pid) == self.started
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def mark(self, cluster: str, what: str = "") -> str:
        """The name by which `find` knows things again."""
        return f"slipway-{cluster}-{what}{'-' if what else ''}{self.pid}-{self.started}"


@dataclass(frozen=True, slots=True)
class Leftover:
    """`name` is a process id, an interface's name or a folder."""

    cluster: str
    kind: str  # process, interface, cgroup
    name: str
    detail: str = ""

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.name} of cluster {self.cluster}{f' ({self.detail})' if self.detail else ''}"
        )


def find(cluster: str | None = None) -> list[Leftover]:
    """Those of one cluster, or of all, whose owner does not live any more."""
    found = [*_processes(), *_interfaces(), *_groups()]
    return [item for item in found if cluster is None or item.cluster == cluster]


def remove(cluster: str | None = None) -> list[Leftover]:
    """Remove them; what was removed. What this user may not remove stays, and is found again."""
    removed = []
    for item in find(cluster):
        with contextlib.suppress(OSError):
            if item.kind == "process":
                os.kill(int(item.name), signal.SIGKILL)
            elif item.kind == "cgroup":
                _remove_group(Path(item.name))
            else:
                with Netlink() as netlink:
                    netlink.delete(item.name)
                if Path("/sys/class/net", item.name).exists():
                    continue
            removed.append(item)
    return removed


def _remove_group(folder: Path) -> None:
    """With the groups in it; what still runs there was a container's. OSError when it is still in use after a while."""
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    end = time.monotonic() + _GROUP_PATIENCE
    while folders:
        for one in folders:
            for pid in map(int, (one / "cgroup.procs").read_text().split()):
                if pid:  # 0 is one that is not to be seen from here
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        try:
            while folders:
                folders[-1].rmdir()
                folders.pop()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)  # what was killed has yet to end


def end_processes(mark: str) -> None:
    """Of this process's own cluster, whose helper has ended: what is left of its containers."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"SLIPWAY_OWNER={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)


def remove_interfaces() -> None:
    """Of clusters that were killed: their routes would be in the way of a new one's."""
    for item in _interfaces():
        with contextlib.suppress(OSError), Netlink() as netlink:
            netlink.delete(item.name)


def _start_time(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()
    return 0 if fields[0] == "Z" else int(fields[19])


def _orphan(mark: str) -> str:
    """The cluster that the mark names, if its owner is gone; empty otherwise."""
    found = _MARK.fullmatch(mark.strip())
    if found is None or Owner(int(found["pid"]), int(found["started"])).alive:
        return ""
    return found["cluster"].removesuffix("-helper")


def _processes() -> Iterator[Leftover]:
    try:
        folders = [path for path in Path("/proc").iterdir() if path.name.isdigit()]
    except OSError:
        return
    for folder in folders:
        if int(folder.name) == os.getpid():
            continue
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        marks = [word for word in words if word.startswith(b"slipway-")]
        marks += [row[14:] for row in variables if row.startswith(b"SLIPWAY_OWNER=")]
        for mark in marks:
            cluster = _orphan(mark.decode(errors="replace"))
            if cluster:
                shown = b" ".join(words).decode(errors="replace").strip()[:60]
                yield Leftover(cluster, "process", folder.name, shown)
                break


def _interfaces() -> Iterator[Leftover]:
    for folder in sorted(Path("/sys/class/net").glob("slw*")):
        with contextlib.suppress(OSError):
            cluster = _orphan((folder / "ifalias").read_text())
            if cluster:
                yield Leftover(cluster, "interface", folder.name)


def _groups() -> Iterator[Leftover]:
    top = home()
    for folder in sorted(Path(top).glob("slipway-*")) if top else ():
        cluster = _orphan(folder.name)
        if cluster:
            yield Leftover(cluster, "cgroup", str(folder))

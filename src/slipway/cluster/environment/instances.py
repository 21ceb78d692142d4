"""Clusters that run in processes of their own: their folders, how they are found, started and ended.

Each cluster has a folder under `home()`: `cluster.json` says what runs and where, `kubeconfig` how to enter,
`log` what it said. A process is known by its id and its start time, so that a reused id is not mistaken for it; it
holds a lock on the folder, so that two that start at once do not both have the name.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from slipway.cluster.environment.kubeconfig import write_private

NAME = re.compile(r"^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$")


class InstanceError(Exception):
    """Something about a cluster's process is not as asked; the text is for people."""


class ClusterNameError(InstanceError):
    """No cluster can have this name."""


def home() -> Path:
    """SLIPWAY_HOME, else the user's state folder; absolute, as kubeconfigs are used from other folders."""
    given = os.environ.get("SLIPWAY_HOME")
    if given:
        return Path(given).absolute()
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "slipway"


def folder_of(name: str) -> Path:
    if not NAME.match(name):
        raise ClusterNameError(
            f"cluster name {name!r}: use lower-case letters, digits and '-', at most 32, starting and ending"
            " with a letter or digit"
        )
    return home() / "clusters" / name


def start_time(pid: int) -> str:
    """When a process began, in the system's own terms; empty when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    found = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


@dataclass(frozen=True, slots=True)
class Instance:
    """What `cluster.json` says."""

    name: str
    pid: int
    started: str  # start time of the process, see `start_time`
    url: str
    runtime: str
    nodes: int
    state: str  # "memory" or a path
    created: float  # seconds since 1970

    @property
    def folder(self) -> Path:
        return folder_of(self.name)

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def running(self) -> bool:
        return self.started != "" and start_time(self.pid) == self.started


def read(name: str) -> Instance | None:
    try:
        data = json.loads((folder_of(name) / "cluster.json").read_text())
        return Instance(**data)
    except (OSError, ValueError, TypeError):
        return None


def write(instance: Instance) -> None:
    write_private(instance.folder / "cluster.json", asdict(instance))


def all_instances() -> list[Instance]:
    folder = home() / "clusters"
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [found for found in map(read, filter(NAME.match, names)) if found is not None]


@contextlib.contextmanager
def claim(name: str) -> Iterator[None]:
    """Hold the name for this process; InstanceError when another has it, or the folder cannot be made."""
    descriptor = _open_folder(folder_of(name))
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InstanceError(
                f"cluster {name!r} is starting or running already; choose another --name, or slipway down {name}"
            ) from None
        yield
    finally:
        os.close(descriptor)


def _open_folder(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise InstanceError(
            f"{folder}: cannot be made ({error.strerror}); set SLIPWAY_HOME to a folder that may be written"
        ) from None


def running(name: str) -> Instance:
    """The running cluster of that name; InstanceError says how to start one."""
    instance = read(name)
    if instance is None or not instance.running:
        others = [other.name for other in all_instances() if other.running]
        hint = f"; running: {', '.join(others)}" if others else ""
        raise InstanceError(
            f"no cluster {name!r} is running{hint}. Start it: slipway up --name {name} --detach"
        )
    return instance


def detach(name: str, arguments: Sequence[str], timeout: float = 30.0) -> Instance:
    """Start `slipway up` in a process of its own and return when it is ready. One that fails leaves nothing behind."""
    log = folder_of(name) / "log"
    with claim(name):
        before = {path.name for path in folder_of(name).iterdir()}  # of a cluster that has ended
        log.write_bytes(b"")
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "slipway.cli", "up", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        instance = read(name)
        if instance is not None and instance.pid == process.pid and instance.running:
            return instance
        if process.poll() is not None:
            break
        time.sleep(0.01)
    ended = process.poll() is not None
    if not ended:
        process.kill()
        process.wait()
    said = _end_of(log)
    _remove_unless_taken(name, before - {log.name})
    if ended:
        raise InstanceError(said or "the cluster ended at once, and said nothing")
    raise InstanceError(
        f"the cluster was not ready within {timeout:g} s" + (f"; it said:\n{said}" if said else "")
    )


def _end_of(log: Path) -> str:
    """The last lines of it, without what is of no help when a start has failed."""
    lines = log.read_text(errors="replace").strip().splitlines()
    shown = [line.removeprefix("slipway up: ") for line in lines if not line.startswith("warning: ")]
    return "\n".join(shown[-5:])


def _remove_unless_taken(name: str, kept: Collection[str]) -> None:
    """Remove what a cluster that did not start has put into its folder, unless somebody else starts one by that name."""
    with contextlib.suppress(InstanceError, OSError), claim(name):
        for path in folder_of(name).iterdir():
            if path.is_dir() and path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)
            elif path.name not in kept:
                path.unlink()
        folder_of(name).rmdir()


def end(instance: Instance, timeout: float = 20.0) -> None:
    """Ask the process to stop, insist if it does not, and remove its folder."""
    if instance.running:
        os.kill(instance.pid, signal.SIGTERM)
        until = time.monotonic() + timeout
        while instance.running and time.monotonic() < until:
            time.sleep(0.02)
        if instance.running:
            os.kill(instance.pid, signal.SIGKILL)
    shutil.rmtree(instance.folder, ignore_errors=True)

"""After kill -9 nothing of a cluster stays: the helper cleans up, and where it was killed too, `leftovers` does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from slipway.cluster.nodes import leftovers
from slipway.cluster.nodes.leftovers import Owner
from slipway.cluster.nodes.namespaces import cgroups

_PROGRAM = """
import asyncio, sys
from pathlib import Path
from slipway.cluster import ClusterOptions, EmbeddedCluster
from slipway.cluster.client.resources import PODS

async def main():
    name, runtime, folder = sys.argv[1:]
    options = ClusterOptions(name=name, runtime=runtime, data=Path(folder))
    async with EmbeddedCluster(options) as cluster:
        client = cluster.client()
        container = {"name": "main", "image": "busybox", "command": ["sh", "-c", "sleep 1001 & exec sleep 1002"]}
        spec = {"nodeName": f"{name}-1", "containers": [container]}
        await client.create(PODS, {"metadata": {"name": "p", "namespace": "default"}, "spec": spec})
        while (await client.get(PODS, "p", "default"))["status"]["phase"] != "Running":
            await asyncio.sleep(0.02)
        print(cluster.nodes.runtime.spawner.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def start(name: str, runtime: str, folder: Path) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, name, runtime, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def descendants(pid: int) -> set[int]:
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def soon(check: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("runtime", ["process", "rootless", "namespaces"])
def test_everything_ends_with_a_killed_cluster(runtime: str, tmp_path: Path) -> None:
    if runtime == "namespaces" and os.geteuid() != 0:
        pytest.skip("needs root")
    name = f"kill{os.getpid()}{runtime[0]}"
    process, _ = start(name, runtime, tmp_path)
    family = descendants(process.pid)
    assert len(family) >= 4, "the cluster, its helper, and the pod's two processes"
    assert leftovers.find(name) == [], "what belongs to a living cluster is no leftover"
    process.kill()
    process.wait()
    assert soon(lambda: not any(alive(pid) for pid in family)), [pid for pid in family if alive(pid)]
    assert soon(lambda: leftovers.find(name) == []), leftovers.find(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes a bridge in the host's network namespace")
def test_what_a_killed_helper_leaves_is_found_and_removed(tmp_path: Path) -> None:
    name = f"dead{os.getpid()}"
    process, helper = start(name, "namespaces", tmp_path)
    os.kill(helper, signal.SIGSTOP)  # so that it cannot clean up after the cluster
    process.kill()
    process.wait()
    kinds = {item.kind for item in leftovers.find(name)}
    assert kinds == {"process", "interface"}
    assert leftovers.remove(name)
    assert soon(lambda: leftovers.find(name) == []), leftovers.find(name)
    assert not alive(helper)


def test_a_mark_is_known_again_only_when_its_owner_is_gone() -> None:
    me = Owner.this_process()
    assert me.alive
    assert not Owner(me.pid, me.started + 1).alive
    assert me.mark("a-b", "helper") == f"slipway-a-b-helper-{me.pid}-{me.started}"


@pytest.mark.skipif(not cgroups.home(), reason="needs control groups that this user may make")
@pytest.mark.parametrize("container", ["58fcbd8a334c", "fc58bd8a334c"])
def test_a_control_group_belongs_to_its_cluster_whatever_its_container_is_called(container: str) -> None:
    name, me = f"group{os.getpid()}-1", Owner.this_process()
    living = f"{me.mark(name)}-{container}"
    dead = f"{Owner(me.pid, me.started + 1).mark(name)}-{container}"
    folders = [cgroups.make(group, 1 << 24) for group in (living, dead)]
    try:
        assert [item.name for item in leftovers.find() if item.name in folders] == [folders[1]]
        assert [item.name for item in leftovers.remove(name)] == [folders[1]]
    finally:
        for folder in folders:
            cgroups.remove(folder)


@pytest.mark.skipif(not cgroups.home(), reason="needs control groups that this user may make")
def test_a_control_group_of_a_dead_cluster_goes_with_the_groups_and_processes_in_it() -> None:
    name, me = f"full{os.getpid()}", Owner.this_process()
    folder = cgroups.make(f"{Owner(me.pid, me.started + 1).mark(name)}-58fcbd8a334c", 1 << 24)
    inner = Path(folder) / "inner"
    inner.mkdir()
    with subprocess.Popen(["sleep", "1000"]) as process, subprocess.Popen(["sleep", "1000"]) as other:
        try:
            (inner / "cgroup.procs").write_text(str(process.pid))
            assert [item.name for item in leftovers.remove(name)] == [folder]
            assert process.wait(60) == -signal.SIGKILL
            assert other.poll() is None
            assert not Path(folder).exists()
        finally:
            process.kill()
            other.kill()
            for group in (inner, Path(folder)):
                cgroups.remove(str(group))

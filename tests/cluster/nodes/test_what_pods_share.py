"""What the containers of a pod have in common, and what they have from the host: processes, memory, ipc, settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster.client.client import PatchType
from slipway.cluster.client.resources import PODS
from slipway.cluster.nodes.runtimes import namespaces_possible

Pods = Any
MIB = 1 << 20
needs_namespaces = pytest.mark.skipif(
    not namespaces_possible(), reason="this kernel allows no namespaces to this user"
)


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {"command": ["sh", "-c", script], **more}


async def line(pods: Pods, name: str, *command: str) -> str:
    code, out = await pods.run(name, *command)
    assert code == 0, out
    return str(out)


def processes_of_host(mark: str) -> list[int]:
    """Those whose command line holds it."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if mark.encode() in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


async def none_is_left(pods: Pods, mark: str) -> None:
    async def none() -> bool:
        return not processes_of_host(mark)

    await pods.comes_true(none)


async def processes_are_shared(pods: Pods) -> None:
    mark = f"9{os.getpid()}"
    other = shell(f"sleep {mark}1 & (sleep {mark}2 &) ; wait", name="other")
    await pods.create("open", {"command": ["sleep", "1000"]}, other, shareProcessNamespace=True)
    await pods.running("open")
    assert (await line(pods, "open", "cat", "/proc/1/cmdline")).startswith("/pause\0")

    async def all_of_them() -> str:
        table = await line(pods, "open", "ps", "-eo", "pid,args")
        return table if f"{mark}2" in table else ""

    table = await pods.comes_true(all_of_them)
    pid = next(row.split()[0] for row in table.splitlines() if row.endswith(f"sleep {mark}1"))
    await line(pods, "open", "kill", pid)
    status = await pods.until("open", lambda status: "terminated" in status["containerStatuses"][1]["state"])
    assert status["containerStatuses"][1]["state"]["terminated"]["exitCode"] == 0
    await none_is_left(
        pods, f"{mark}2"
    )  # which had lost its parent, and ends with its container all the same
    assert "running" in status["containerStatuses"][0]["state"]


async def test_containers_that_share_processes_see_and_end_each_others(namespace_pods: Pods) -> None:
    await processes_are_shared(namespace_pods)


@needs_namespaces
async def test_containers_share_processes_without_root_too(rootless_pods: Pods) -> None:
    await processes_are_shared(rootless_pods)


async def test_a_container_with_shared_processes_that_is_killed_leaves_none_behind(
    namespace_pods: Pods,
) -> None:
    pods, mark = namespace_pods, f"8{os.getpid()}"
    stubborn = shell(f"trap '' TERM; (sleep {mark}1 &); sleep {mark}2; sleep {mark}3")
    await pods.create("stubborn", stubborn, shareProcessNamespace=True, terminationGracePeriodSeconds=0)
    await pods.running("stubborn")

    async def both() -> bool:
        return len(processes_of_host(f"sleep\0{mark}")) == 2

    await pods.comes_true(both)
    await pods.client.delete(PODS, "stubborn", "default")
    await pods.gone("stubborn")
    await none_is_left(pods, f"sleep\0{mark}")


async def test_containers_have_their_own_processes_unless_the_pod_shares_them(namespace_pods: Pods) -> None:
    pods = namespace_pods
    await pods.create("apart", {"command": ["sleep", "1000"]}, shell("sleep 1001", name="other"))
    await pods.running("apart")
    assert "1001" not in await line(pods, "apart", "ps", "-eo", "args")
    # What people write to the first process's output is in the log.
    await line(pods, "apart", "sh", "-c", "echo from an exec > /proc/1/fd/1")
    assert await pods.logged("apart", "from an exec\n")
    own = {"securityContext": {"runAsUser": 1234, "capabilities": {"drop": ["ALL"]}}}
    await pods.create("user", {"command": ["sleep", "1000"], **own})
    await pods.running("user")
    await line(pods, "user", "sh", "-c", "echo from a user > /proc/1/fd/1; kill 1")
    assert await pods.logged("user", "from a user\n")
    status = await pods.over("user")
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 143


async def sees_the_host(pods: Pods) -> None:
    await pods.create("wide", {"command": ["sleep", "1000"]}, hostPID=True, hostIPC=True)
    await pods.running("wide")
    for kind in ("pid", "ipc"):
        host = os.readlink(f"/proc/self/ns/{kind}")
        assert (await line(pods, "wide", "readlink", f"/proc/self/ns/{kind}")).strip() == host
    assert str(os.getpid()) in (await line(pods, "wide", "ls", "/proc")).split()


async def test_a_pod_with_host_pid_and_host_ipc_has_the_hosts(namespace_pods: Pods) -> None:
    await sees_the_host(namespace_pods)


@needs_namespaces
async def test_a_pod_has_the_hosts_processes_and_ipc_without_root_too(rootless_pods: Pods) -> None:
    await sees_the_host(rootless_pods)


async def test_what_ran_among_the_hosts_processes_ends_with_the_cluster(a_cluster: Any) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: makes a bridge in the host's network namespace")
    mark = f"6{os.getpid()}"
    async with a_cluster("namespaces") as pods:
        await pods.create("wide", shell(f"(sleep {mark} &); sleep 1000; true"), hostPID=True)
        await pods.running("wide")

        async def runs() -> bool:
            return len(processes_of_host(f"sleep\0{mark}")) == 1

        await pods.comes_true(runs)
    await none_is_left(pods, f"sleep\0{mark}")


async def memory_is_bounded(pods: Pods) -> None:
    write = "touch /deep/file; dd if=/dev/zero of=/m/file bs=1M count=10 2>/dev/null; echo wrote=$?; stat -fc %T /m"
    mounts = [{"name": "m", "mountPath": "/m"}, {"name": "m", "mountPath": "/deep", "subPath": "a/b"}]
    first = shell(f"{write}; sleep 1000", volumeMounts=mounts)
    other = {"name": "other", "command": ["sleep", "1000"], "volumeMounts": mounts[:1]}
    volumes = [{"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "5Mi"}}]
    await pods.create("memory", first, other, volumes=volumes)
    await pods.running("memory")
    text = await pods.logged("memory", "tmpfs")
    assert text.split() == ["wrote=1", "tmpfs"]
    _, out = await pods.run("memory", "stat", "-c", "%s", "/m/file")
    assert int(out) == 5 * MIB
    session = await pods.kubelet.exec(
        "default", "memory", "other", ["sh", "-c", "stat -c %s /m/file; ls /m/a"], stdin=False, tty=False
    )
    seen = b"".join([data async for data in session.stdout()]).split()
    assert seen == [b"%d" % (5 * MIB), b"b"]


async def test_a_volume_in_memory_holds_no_more_than_its_limit(namespace_pods: Pods) -> None:
    await memory_is_bounded(namespace_pods)


@needs_namespaces
async def test_a_volume_in_memory_is_bounded_without_root_too(rootless_pods: Pods) -> None:
    await memory_is_bounded(rootless_pods)


@needs_namespaces
async def test_a_volume_in_memory_for_a_group_that_the_user_does_not_have_can_be_written(
    rootless_pods: Pods,
) -> None:
    container = shell("echo x > /m/file && cat /m/file", volumeMounts=[{"name": "m", "mountPath": "/m"}])
    volumes = [{"name": "m", "emptyDir": {"medium": "Memory"}}]
    said = await rootless_pods.output("whole", container, volumes=volumes, securityContext={"fsGroup": 4242})
    assert said == "x\n"


async def test_a_volume_in_memory_without_a_limit_is_as_large_as_the_pods_memory(
    namespace_pods: Pods,
) -> None:
    container = shell(
        "stat -fc '%b %S' /m; stat -c '%a %g' /m",
        volumeMounts=[{"name": "m", "mountPath": "/m"}],
        resources={"limits": {"memory": "48Mi"}},
    )
    volumes = [{"name": "m", "emptyDir": {"medium": "Memory"}}]
    said = await namespace_pods.output("whole", container, volumes=volumes, securityContext={"fsGroup": 4242})
    blocks, size, mode, group = said.split()
    assert int(blocks) * int(size) == 48 * MIB
    assert (mode, group) == ("2777", "4242")


async def test_containers_of_a_pod_share_their_dev_shm(namespace_pods: Pods) -> None:
    pods = namespace_pods
    await pods.create(
        "shm", {"command": ["sleep", "1000"]}, shell("echo x > /dev/shm/left; sleep 1000", name="other")
    )
    await pods.running("shm")

    async def shared() -> bool:
        return await line(pods, "shm", "ls", "/dev/shm") == "left\n"

    await pods.comes_true(shared)


async def test_an_ephemeral_container_sees_the_processes_of_its_target(namespace_pods: Pods) -> None:
    pods, mark = namespace_pods, f"7{os.getpid()}"
    await pods.create("looked", shell(f"sleep {mark}1; true"), shell(f"sleep {mark}2; true", name="other"))
    await pods.running("looked")
    row = {"image": "busybox", "command": ["sleep", f"{mark}3"], "targetContainerName": "main"}
    for name, target in (("look", "main"), ("blind", "nobody")):
        debug = {**row, "name": name, "targetContainerName": target}
        await pods.client.patch(
            PODS,
            "looked",
            "default",
            {"spec": {"ephemeralContainers": [debug]}},
            PatchType.STRATEGIC,
            subresource="ephemeralcontainers",
        )
        await pods.until("looked", lambda status: has_begun(status, name))  # noqa: B023
    session = await pods.kubelet.exec(
        "default", "looked", "look", ["ps", "-eo", "args"], stdin=False, tty=False
    )
    table = b"".join([data async for data in session.stdout()]).decode()
    assert f"sleep {mark}1" in table
    assert f"sleep {mark}2" not in table
    status = await pods.until("looked", lambda status: len(status["ephemeralContainerStatuses"]) == 2)
    blind = next(row for row in status["ephemeralContainerStatuses"] if row["name"] == "blind")
    assert blind["state"]["waiting"] == {
        "reason": "CreateContainerConfigError",
        "message": "unable to find target container nobody",
    }


def has_begun(status: dict[str, Any], name: str) -> bool:
    """Whether an ephemeral container runs, or says why it does not."""
    rows = [row for row in status.get("ephemeralContainerStatuses", ()) if row["name"] == name]
    return any("running" in row["state"] or "message" in row["state"].get("waiting", {}) for row in rows)

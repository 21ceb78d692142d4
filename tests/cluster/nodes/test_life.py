"""A pod's life where pods really run: hooks, messages, streams, volumes; the same in every runtime."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster import ClusterOptions, EmbeddedCluster
from slipway.cluster.client.resources import CONFIG_MAPS, PODS, SECRETS
from slipway.cluster.nodes.processes import relocate
from slipway.cluster.nodes.runtime import Mount

Pods = Any


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {"command": ["sh", "-c", script], **more}


@pytest.fixture(params=["process", "namespaces"])
async def pods(request: pytest.FixtureRequest, a_cluster: Any) -> AsyncIterator[Pods]:
    if request.param == "namespaces" and os.geteuid() != 0:
        pytest.skip("needs root: makes a bridge in the host's network namespace")
    async with a_cluster(request.param) as found:
        yield found


async def test_hooks_run_after_the_start_and_before_the_end(pods: Pods) -> None:
    mounts = {"volumeMounts": [{"name": "d", "mountPath": "/slipway-notes"}]}
    lifecycle = {
        "postStart": {"exec": {"command": ["sh", "-c", "echo post >> /slipway-notes/log"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo pre >> /slipway-notes/log"]}},
    }
    # It ends only on a signal, and then shows that the hook came first.
    script = "trap 'cat /slipway-notes/log; exit 0' TERM; while :; do sleep 0.05; done"
    await pods.create(
        "hooks", shell(script, lifecycle=lifecycle, **mounts), volumes=[{"name": "d", "emptyDir": {}}]
    )
    await pods.running("hooks")
    async with asyncio.timeout(30):
        while True:
            if (await pods.run("hooks", "cat", "/slipway-notes/log"))[1] == "post\n":
                break
            await asyncio.sleep(0.05)
    follow = asyncio.create_task(pods.log("hooks", follow=True))
    await asyncio.sleep(0.1)
    await pods.client.delete(PODS, "hooks", "default", grace_period=5)
    async with asyncio.timeout(30):
        assert await follow == "post\npre\n"
    await pods.gone("hooks")
    assert ("Killing", "Stopping container main") in await pods.events("hooks")


async def test_a_container_runs_and_the_next_one_starts_when_its_first_hook_is_over(
    pods: Pods, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    mounts = {"volumeMounts": [{"name": "d", "mountPath": "/slipway-shared"}]}
    wait = "echo in hook > /slipway-shared/said; until [ -e /slipway-shared/go ]; do sleep 0.05; done"
    hook = {"postStart": {"exec": {"command": ["sh", "-c", wait]}}}
    volume = {"name": "d", "hostPath": {"path": str(shared)}}
    await pods.create(
        "slow", shell("sleep 60", lifecycle=hook, **mounts), shell("sleep 60", name="next"), volumes=[volume]
    )

    async def in_hook() -> bool:
        return (shared / "said").exists()

    await pods.comes_true(in_hook)
    status = (await pods.client.get(PODS, "slow", "default"))["status"]
    assert status["phase"] == "Pending"
    for row in status["containerStatuses"]:
        assert (row["state"], row["ready"]) == ({"waiting": {"reason": "ContainerCreating"}}, False)
    assert len([reason for reason, _ in await pods.events("slow") if reason == "Started"]) <= 1
    (shared / "go").touch()
    await pods.ready("slow")


async def test_a_container_whose_first_hook_fails_is_killed(pods: Pods) -> None:
    hook = {"postStart": {"exec": {"command": ["sh", "-c", "exit 3"]}}}
    await pods.create("bad", shell("trap 'exit 0' TERM; while :; do sleep 0.05; done", lifecycle=hook))
    await pods.over("bad")
    assert "FailedPostStartHook" in [reason for reason, _ in await pods.events("bad")]


async def test_a_container_leaves_a_message_or_the_end_of_its_log(pods: Pods) -> None:
    await pods.create("note", shell("echo bye > /dev/termination-log; exit 3"))
    ended = (await pods.over("note"))["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (3, "Error", "bye\n")
    await pods.create("tail", shell("echo why; exit 4", terminationMessagePolicy="FallbackToLogsOnError"))
    ended = (await pods.over("tail"))["containerStatuses"][0]["state"]["terminated"]
    assert ended["message"] == "why\n"


async def test_a_signal_is_128_and_its_number(pods: Pods) -> None:
    await pods.create(
        "killed", {"image": "python", "command": ["python3", "-c", "import os; os.kill(os.getpid(), 15)"]}
    )
    ended = (await pods.over("killed"))["containerStatuses"][0]["state"]["terminated"]
    assert ended["exitCode"] == 143


async def test_attach_talks_to_the_container_itself(pods: Pods) -> None:
    await pods.create("talk", shell("while read line; do echo got $line; done", stdin=True, stdinOnce=True))
    await pods.running("talk")
    session = await pods.kubelet.attach("default", "talk", "main", stdin=True, tty=False)
    await session.write_stdin(b"one\n")
    output = session.stdout()
    async with asyncio.timeout(30):
        assert await anext(output) == b"got one\n"
    await session.close_stdin()
    async with asyncio.timeout(30):
        assert await session.wait() == 0
    assert (await pods.over("talk"))["phase"] == "Succeeded"
    assert await pods.log("talk") == "got one\n"


async def test_a_stdin_that_is_not_for_one_client_only_outlives_each(pods: Pods) -> None:
    await pods.create("kept", shell("cat; echo over", stdin=True))
    await pods.running("kept")
    for said in ("one\n", "two\n"):
        session = await pods.kubelet.attach("default", "kept", "main", stdin=True, tty=False)
        await session.write_stdin(said.encode())
        async with asyncio.timeout(30):
            assert await anext(session.stdout()) == said.encode()
            await session.close_stdin()
            assert await session.wait() == 0
            assert [data async for data in session.stdout()] == []
    assert (await pods.running("kept"))["containerStatuses"][0]["restartCount"] == 0
    assert await pods.log("kept") == "one\ntwo\n"


async def test_an_exec_with_a_terminal_knows_its_size(pods: Pods) -> None:
    await pods.create("tty", shell("sleep 60"))
    await pods.running("tty")
    session = await pods.kubelet.exec(
        "default", "tty", "main", ["sh", "-c", "read x; stty size"], stdin=True, tty=True
    )
    await session.resize(101, 37)
    await session.write_stdin(b"go\n")
    async with asyncio.timeout(30):
        text = b"".join([data async for data in session.stdout()])
        assert await session.wait() == 0
    assert b"37 101" in text


async def test_an_abandoned_exec_ends_and_the_container_does_not(pods: Pods) -> None:
    await pods.create("left", shell("sleep 60"))
    await pods.running("left")
    session = await pods.kubelet.exec("default", "left", "main", ["sleep", "1000"], stdin=False, tty=False)
    await session.abandon()
    async with asyncio.timeout(30):
        assert await session.wait() == 137
    assert (await pods.run("left", "echo", "here")) == (0, "here\n")


async def test_a_large_output_comes_whole(pods: Pods) -> None:
    await pods.create("big", shell("sleep 60"))
    await pods.running("big")
    code, text = await pods.run("big", "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x")
    assert (code, len(text)) == (0, 3_000_000)


async def test_a_slow_reader_gets_the_whole_output_after_the_process_has_ended(pods: Pods) -> None:
    await pods.create("slow", shell("sleep 60"))
    await pods.running("slow")
    command = ["sh", "-c", "head -c 1080000 /dev/zero | tr '\\0' x"]
    session = await pods.kubelet.exec("default", "slow", "main", command, stdin=False, tty=False)
    await asyncio.sleep(1.5)
    async with asyncio.timeout(30):
        assert len(b"".join([data async for data in session.stdout()])) == 1_080_000
        assert await session.wait() == 0


async def test_volumes_of_every_kind(pods: Pods) -> None:
    client = pods.client
    meta = {"namespace": "default"}
    await client.create(CONFIG_MAPS, {"metadata": {"name": "c", **meta}, "data": {"a": "1", "b": "2"}})
    hidden = base64.b64encode(b"hidden").decode()
    await client.create(SECRETS, {"metadata": {"name": "s", **meta}, "data": {"key": hidden}})
    sources = [
        {"configMap": {"name": "c", "items": [{"key": "b", "path": "sub/b"}]}},
        {"secret": {"name": "s", "items": [{"key": "key", "path": "key", "mode": 0o400}]}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"serviceAccountToken": {"path": "token", "audience": "somebody", "expirationSeconds": 600}},
        {"configMap": {"name": "none", "optional": True}},
    ]
    volumes = [
        {"name": "all", "projected": {"sources": sources}},
        {"name": "one", "configMap": {"name": "c"}},
        {"name": "scratch", "emptyDir": {}},
    ]
    mounts = [
        {"name": "all", "mountPath": "/slipway-all"},
        {"name": "one", "mountPath": "/slipway-one/a", "subPath": "a"},
        {"name": "scratch", "mountPath": "/slipway-scratch", "subPath": "deep/down"},
    ]
    script = (
        "cat /slipway-all/sub/b /slipway-all/key /slipway-all/labels; echo; cat /slipway-one/a; echo;"
        " stat -L -c %a /slipway-all/key; cut -d. -f2 /slipway-all/token | wc -l; touch /slipway-scratch/x && echo ok"
    )
    text = await pods.output("vols", shell(script, volumeMounts=mounts), volumes=volumes, labels={"app": "x"})
    assert text == '2hiddenapp="x"\n1\n400\n1\nok\n'


async def test_a_missing_volume_source_holds_the_pod_until_it_is_there(pods: Pods) -> None:
    await pods.create(
        "wait",
        shell("cat /slipway-late/a", volumeMounts=[{"name": "v", "mountPath": "/slipway-late"}]),
        volumes=[{"name": "v", "configMap": {"name": "late"}}],
    )
    said = ("FailedMount", 'MountVolume.SetUp failed for volume "v" : configmap "late" not found')
    async with asyncio.timeout(30):
        while True:
            if said in await pods.events("wait"):
                break
            await asyncio.sleep(0.05)
    body = {"metadata": {"name": "late", "namespace": "default"}, "data": {"a": "here\n"}}
    await pods.client.create(CONFIG_MAPS, body)
    await pods.over("wait")
    assert await pods.log("wait") == "here\n"


async def test_a_missing_variable_source_is_said_and_waited_for(pods: Pods) -> None:
    reference = {"configMapKeyRef": {"name": "none", "key": "k"}}
    await pods.create("cfg", shell("true", env=[{"name": "X", "valueFrom": reference}]))
    wanted = {"reason": "CreateContainerConfigError", "message": 'configmap "none" not found'}
    await pods.until(
        "cfg", lambda s: s.get("containerStatuses", [{}])[0].get("state", {}).get("waiting") == wanted
    )


async def test_an_ephemeral_container_joins_a_running_pod(pods: Pods) -> None:
    await pods.create("debugged", shell("sleep 60"))
    await pods.running("debugged")
    row = {"name": "debugger", "image": "busybox", "command": ["echo", "hello"]}
    await pods.client.patch(
        PODS,
        "debugged",
        "default",
        {"spec": {"ephemeralContainers": [row]}},
        subresource="ephemeralcontainers",
    )
    status = await pods.until(
        "debugged", lambda s: "terminated" in s.get("ephemeralContainerStatuses", [{}])[0].get("state", {})
    )
    assert status["phase"] == "Running"
    assert await pods.log("debugged", "debugger") == "hello\n"


async def test_usage_is_measured(pods: Pods) -> None:
    await pods.create("busy", shell("while :; do :; done"))
    await pods.running("busy")
    async with asyncio.timeout(60):
        while True:  # how much of a processor it gets is up to what else this machine does
            found = await pods.kubelet.stats()
            (row,) = found["pods"][0]["containers"]
            if row["cpu"] > 0.05 and row["memory"] > 100_000:
                return
            await asyncio.sleep(0.2)


async def test_a_plain_process_finds_the_api_by_its_kubeconfig(process_pods: Pods) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl")
    text = await process_pods.output(
        "api", shell("kubectl auth whoami -o jsonpath={.status.userInfo.username}")
    )
    assert text == "system:serviceaccount:default:default"


def test_mount_paths_are_replaced_where_they_stand_alone() -> None:
    from pathlib import Path

    mounts = [Mount(Path("/v/etc"), "/etc/conf"), Mount(Path("/v/deep"), "/etc/conf/deep/")]
    assert relocate("/etc/conf", mounts) == "/v/etc"
    assert relocate("cat /etc/conf/a '/etc/conf/deep/b'", mounts) == "cat /v/etc/a '/v/deep/b'"
    assert (
        relocate("/etc/configuration /x/etc/conf /etc/conf.d", mounts)
        == "/etc/configuration /x/etc/conf /etc/conf.d"
    )


async def test_after_a_sudden_end_pods_run_again_and_count_a_restart(tmp_path: Any) -> None:
    options = ClusterOptions(
        name=f"again{os.getpid()}", runtime="process", data=tmp_path, state=tmp_path / "state.db"
    )
    container = {"name": "main", "image": "busybox", "command": ["sleep", "60"]}
    spec = {"nodeName": f"{options.name}-1", "containers": [container]}
    for count in (0, 1):
        async with EmbeddedCluster(options) as cluster:
            client = cluster.client()
            if count == 0:
                await client.create(PODS, {"metadata": {"name": "p", "namespace": "default"}, "spec": spec})
            async with asyncio.timeout(30):
                while True:
                    status = (await client.get(PODS, "p", "default"))["status"]
                    row = (status.get("containerStatuses") or [{}])[0]
                    if "running" in row.get("state", {}) and row["restartCount"] == count:
                        break
                    await asyncio.sleep(0.05)
    assert row["lastState"]["terminated"]["exitCode"] == 255

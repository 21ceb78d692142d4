"""Pods that use more of the node's disk than they may are evicted, in kubelet's words."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.cluster.nodes.local_storage import Usage, excess, is_limited

Pods = Any
MIB = 1 << 20


def a_pod(*containers: dict[str, Any], **volumes: dict[str, Any]) -> dict[str, Any]:
    rows = [{"name": f"c{number}", "resources": {"limits": row}} for number, row in enumerate(containers)]
    return {
        "spec": {
            "containers": rows,
            "volumes": [{"name": name, "emptyDir": words} for name, words in volumes.items()],
        }
    }


@pytest.mark.parametrize(
    ("pod", "usage", "message"),
    [
        (
            a_pod({}, cache={"sizeLimit": "1Mi"}),
            Usage({"cache": MIB + 1}, {}),
            'Usage of EmptyDir volume "cache" exceeds the limit "1Mi". ',
        ),
        (a_pod({}, cache={"sizeLimit": "1Mi"}), Usage({"cache": MIB}, {}), ""),
        (a_pod({}, cache={"sizeLimit": "0"}), Usage({"cache": MIB}, {}), ""),
        (
            a_pod({"ephemeral-storage": "2Mi"}, cache={}),
            Usage({"cache": MIB}, {"c0": MIB + 1}),
            "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ",
        ),
        (
            a_pod({"ephemeral-storage": "2Mi"}, {"ephemeral-storage": "512Ki"}),
            Usage({}, {"c0": 2 * MIB, "c1": MIB}),
            "Pod ephemeral local storage usage exceeds the total limit of containers 2560Ki. ",
        ),
        (
            a_pod({"ephemeral-storage": "2Mi"}, {"ephemeral-storage": "4Mi"}),
            Usage({}, {"c0": 3 * MIB, "c1": 0}),
            'Container c0 exceeded its local ephemeral storage limit "2Mi". ',
        ),
        (a_pod({"ephemeral-storage": "2Mi"}, cache={}), Usage({"cache": MIB}, {"c0": MIB}), ""),
    ],
)
def test_what_is_too_much_is_said_as_kubelet_says_it(pod: Any, usage: Usage, message: str) -> None:
    assert excess(pod, usage) == message


def test_a_pod_without_limits_is_not_looked_at() -> None:
    assert not is_limited(a_pod({"memory": "1Mi"}, cache={}))
    assert is_limited(a_pod({"ephemeral-storage": "1Mi"}))
    assert is_limited(a_pod({}, cache={"sizeLimit": "1Mi"}))


async def greedy_pods_are_evicted(pods: Pods, *, own_root: bool) -> None:
    write = "dd if=/dev/zero of={} bs=1M count=3 2>/dev/null; sleep 1000"
    mounts = {"volumeMounts": [{"name": "cache", "mountPath": "/cache"}]}
    await pods.create(
        "volume",
        {"command": ["sh", "-c", write.format("/cache/file")], **mounts},
        volumes=[{"name": "cache", "emptyDir": {"sizeLimit": "1Mi"}}],
        terminationGracePeriodSeconds=100,
    )
    limit = {"resources": {"limits": {"ephemeral-storage": "2Mi"}}}
    if own_root:
        await pods.create("root", {"command": ["sh", "-c", write.format("/var/file")], **limit})
    await pods.create("modest", {"command": ["sleep", "1000"], **limit})
    status = await pods.over("volume")
    message = 'Usage of EmptyDir volume "cache" exceeds the limit "1Mi". '
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "Evicted", message)
    target = next(row for row in status["conditions"] if row["type"] == "DisruptionTarget")
    assert (target["status"], target["reason"]) == ("True", "TerminationByKubelet")
    await pods.until("volume", lambda status: "terminated" in status["containerStatuses"][0]["state"])
    assert ("Evicted", message) in await pods.events("volume")
    if own_root:
        status = await pods.over("root")
        assert status["message"] == (
            "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "
        )
    assert (await pods.running("modest"))["phase"] == "Running"


async def test_pods_that_fill_the_disk_are_evicted(namespace_pods: Pods) -> None:
    await greedy_pods_are_evicted(namespace_pods, own_root=True)


async def test_pods_of_plain_processes_that_fill_a_volume_are_evicted(process_pods: Pods) -> None:
    await greedy_pods_are_evicted(process_pods, own_root=False)

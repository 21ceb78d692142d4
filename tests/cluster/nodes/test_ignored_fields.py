"""What a pod asks for and a runtime does not do is said in an Event of the pod."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.cluster.nodes.ignored_fields import AS_PROCESSES, BY_ALL, WITHOUT_ROOT, ignored_fields
from slipway.cluster.nodes.runtimes import namespaces_possible

Pods = Any
USUAL = {
    "dnsPolicy": "ClusterFirst",
    "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}, "runAsUser": 0},
    "containers": [
        {
            "name": "c",
            "securityContext": {
                "allowPrivilegeEscalation": True,
                "privileged": False,
                "procMount": "Default",
            },
            "volumeMounts": [{"name": "v", "mountPath": "/v", "mountPropagation": "None"}],
            "resources": {"limits": {"cpu": "1"}},
        }
    ],
    "volumes": [{"name": "v", "emptyDir": {}}],
}


@pytest.mark.parametrize("ignores", [BY_ALL, WITHOUT_ROOT, AS_PROCESSES])
def test_a_usual_pod_misses_nothing(ignores: frozenset[str]) -> None:
    assert ignored_fields({"spec": USUAL}, ignores) == []


def test_what_is_missed_is_named_by_its_path() -> None:
    container = {
        "name": "c",
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True},
        "volumeMounts": [{"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}],
        "resources": {"limits": {"memory": "1Gi"}},
    }
    spec = {
        "dnsPolicy": "None",
        "hostUsers": False,
        "containers": [container],
        "volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}],
    }
    assert ignored_fields({"spec": spec}, BY_ALL) == [
        "spec.hostUsers",
        "spec.containers{c}.volumeMounts{v}.mountPropagation",
    ]
    assert ignored_fields({"spec": spec}, AS_PROCESSES) == [
        "spec.dnsPolicy",
        "spec.hostUsers",
        "spec.containers{c}.securityContext.allowPrivilegeEscalation",
        "spec.containers{c}.securityContext.readOnlyRootFilesystem",
        "spec.containers{c}.resources.limits.memory",
        "spec.containers{c}.volumeMounts{v}.mountPropagation",
        "spec.volumes{v}.emptyDir.medium",
    ]


async def says_so(pods: Pods, field: str, **spec: Any) -> None:
    await pods.create("wants", {"command": ["sleep", "1000"]}, **spec)
    await pods.create("usual", {"command": ["sleep", "1000"]})
    for name in ("wants", "usual"):
        await pods.running(name)
    event = ("FieldsIgnored", f"Not heeded by the runtime of this node: {field}")

    async def said() -> bool:
        return event in await pods.events("wants")

    await pods.comes_true(said)
    assert "FieldsIgnored" not in {reason for reason, _ in await pods.events("usual")}


async def test_a_pod_of_plain_processes_hears_what_it_does_not_get(process_pods: Pods) -> None:
    await says_so(process_pods, "spec.shareProcessNamespace", shareProcessNamespace=True)


@pytest.mark.skipif(not namespaces_possible(), reason="this kernel allows no namespaces to this user")
async def test_a_pod_without_root_hears_what_it_does_not_get(rootless_pods: Pods) -> None:
    await says_so(
        rootless_pods, "spec.securityContext.supplementalGroups", securityContext={"supplementalGroups": [7]}
    )

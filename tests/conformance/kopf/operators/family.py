"""Children: adoption, owner references, labels, names and namespaces, created through kubernetes_asyncio."""

from typing import Any

import kopf
from journal import note
from kubernetes_asyncio import client, config


@kopf.on.startup()
async def connect(**_: Any) -> None:
    await config.load_kube_config()


async def make(obj: dict[str, Any]) -> str:
    async with client.ApiClient() as api:
        if obj["kind"] == "Deployment":
            made = await client.AppsV1Api(api).create_namespaced_deployment(obj["metadata"]["namespace"], obj)
        else:
            core = client.CoreV1Api(api)
            made = await core.create_namespaced_config_map(obj["metadata"]["namespace"], obj)
        return str(made.metadata.name)


def settings() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "data": {}}


@kopf.on.create("samples", annotations={"case": "adopt"})
async def adopt(name: str, **_: Any) -> dict[str, str]:
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": "busybox", "command": ["sleep", "3600"]}]},
    }
    selector = {"matchLabels": {"app": name}}
    deployment: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "spec": {"replicas": 1, "selector": selector, "template": template},
    }
    kopf.adopt(deployment, strict=True, nested=["spec.template"])
    several = [settings(), settings()]
    kopf.adopt(several)
    named = {**settings(), "metadata": {"name": "of-its-own-name"}}
    kopf.adopt(named, forced=False)
    made = [await make(obj) for obj in [deployment, *several, named]]
    return {"made": ",".join(made)}


@kopf.on.create("samples", annotations={"case": "by hand"})
async def by_hand(body: kopf.Body, **_: Any) -> None:
    first, second = settings(), settings()
    kopf.harmonize_naming([first], "first", strict=True)
    kopf.harmonize_naming(second, "second", strict=True, forced=True)
    kopf.adjust_namespace([first, second])
    kopf.label([first, second], {"tier": "low"})
    kopf.label(first, {"tier": "high"}, forced=True)
    kopf.label(second, {"tier": "not this"})
    kopf.append_owner_reference([first, second], body, controller=False, block_owner_deletion=False)
    kopf.remove_owner_reference(second)
    for obj in (first, second):
        await make(obj)


@kopf.on.event("apps/v1", "deployments", labels={"kin": kopf.PRESENT})
def deployment_seen(status: kopf.Status, name: str, **_: Any) -> None:
    note("deployment", name=name, ready=status.get("readyReplicas", 0))


@kopf.on.event("v1", "pods", labels={"kin": kopf.PRESENT})
def pod_seen(status: kopf.Status, **_: Any) -> None:
    note("pod", phase=status.get("phase"))


@kopf.on.field("apps/v1", "deployments", field="status.readyReplicas", labels={"kin": kopf.PRESENT})
def deployment_changed(new: Any, **_: Any) -> None:
    note("ready", replicas=new)

"""The workload kinds that own pods: where they are served, and which one owns a pod."""

from kco.actions.handler import Context
from operator_kit.kube.client import Object, Resource

WORKLOADS = {
    "Deployment": Resource("apps", "v1", "deployments"),
    "StatefulSet": Resource("apps", "v1", "statefulsets"),
    "DaemonSet": Resource("apps", "v1", "daemonsets"),
    "ReplicaSet": Resource("apps", "v1", "replicasets"),
}


def controller(body: Object) -> tuple[str, str] | None:
    """Kind and name of an object's controlling owner."""
    for reference in body["metadata"].get("ownerReferences") or []:
        if reference.get("controller"):
            return str(reference["kind"]), str(reference["name"])
    return None


async def owner_of_pod(context: Context, pod: Object) -> tuple[str, str] | None:
    """The workload that a person would restart: the Deployment behind a ReplicaSet, else the owner itself."""
    owner = controller(pod)
    if owner is None or owner[0] not in WORKLOADS:
        return None
    if owner[0] == "ReplicaSet":
        body = await context.client.get(WORKLOADS["ReplicaSet"], context.namespace, owner[1])
        above = controller(body)
        return above if above and above[0] in WORKLOADS else None
    return owner

"""restart_pod: replace pods one after the other, by eviction, so that disruption budgets are respected."""

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from kco.actions.handler import FAILED, SUCCEEDED, ActionHandler, Context, Parameters, Permission, Result
from kco.actions.workload import WORKLOADS, owner_of_pod
from kco.spec.targetapp import Selector, TargetAppSpec
from kco.targets.selector import spell
from operator_kit.clock import to_rfc3339
from operator_kit.kube.client import PODS, STRATEGIC_MERGE_PATCH, Object
from operator_kit.kube.failure import ApiFailure


class RestartPodParameters(Parameters):
    """`scope: instance` restarts the pod whose state fired the rule, `selector` all chosen ones."""

    grace_period: int = Field(default=30, ge=0, le=3600)
    pod_selector: Selector | None = None
    scope: Literal["auto", "instance", "selector"] = "auto"
    method: Literal["evict", "delete", "rollout"] = "evict"
    max_concurrent: int = Field(default=1, ge=1, le=100)
    wait_ready: bool = True

    @field_validator("pod_selector", mode="before")
    @classmethod
    def _plain_labels(cls, given: Any) -> Any:
        """`{app: x}` is accepted beside `{matchLabels: {app: x}}`."""
        if isinstance(given, dict) and given and not {"matchLabels", "matchExpressions"} & set(given):
            return {"matchLabels": given}
        return given


class RestartPod(ActionHandler):
    name: ClassVar[str] = "restart_pod"
    parameters: ClassVar[type[Parameters]] = RestartPodParameters

    def permissions(self, parameters: RestartPodParameters, spec: TargetAppSpec) -> list[Permission]:
        needed = [Permission("list", "pods")]
        if parameters.method == "evict":
            needed.append(Permission("create", "pods", subresource="eviction"))
        elif parameters.method == "delete":
            needed.append(Permission("delete", "pods"))
        else:
            needed += [Permission("get", "replicasets", "apps"), Permission("patch", "deployments", "apps")]
        return needed

    async def can_handle(self, context: Context) -> str | None:
        return None if await _chosen(context) else "no pod is selected, so none is restarted"

    async def execute(self, context: Context) -> Result:
        parameters: RestartPodParameters = context.parameters
        pods = await _chosen(context)
        if parameters.method == "rollout":
            return await _rollout(context, pods)
        restarted: list[str] = []
        for start in range(0, len(pods), parameters.max_concurrent):
            batch = pods[start : start + parameters.max_concurrent]
            for pod in batch:
                refusal = await _remove(context, pod)
                if refusal is not None:
                    return Result(FAILED, refusal, {"restarted": restarted})
                restarted.append(pod["metadata"]["name"])
            if parameters.wait_ready:
                await _await_replacements(context, batch, len(pods))
        return Result(SUCCEEDED, f"restarted {', '.join(restarted)}", {"restarted": restarted})


def _selector(context: Context) -> Selector:
    return context.parameters.pod_selector or context.spec.selector


async def _list(context: Context) -> list[Object]:
    """Pods that the selector chooses and that are not going away already."""
    selector = _selector(context)
    if selector.empty:
        return []
    listing = await context.client.list(PODS, context.namespace, labelSelector=spell(selector))
    return [
        pod
        for pod in listing.get("items") or []
        if not pod["metadata"].get("deletionTimestamp")
        and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    ]


async def _chosen(context: Context) -> list[Object]:
    pods = await _list(context)
    scope = context.parameters.scope
    single = scope == "instance" or (scope == "auto" and context.instance and context.pod)
    if single:
        pods = [pod for pod in pods if pod["metadata"]["name"] == context.pod]
    # Pods that are not ready go first: they serve nobody.
    return sorted(pods, key=lambda pod: (_ready(pod), pod["metadata"]["name"]))


async def _remove(context: Context, pod: Object) -> str | None:
    """Evict or delete one pod; a text where that cannot be done in time."""
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    options = {"gracePeriodSeconds": context.parameters.grace_period, "preconditions": {"uid": uid}}
    while True:
        try:
            if context.parameters.method == "delete":
                body = {"apiVersion": "v1", "kind": "DeleteOptions", **options}
                await context.client.delete(PODS, context.namespace, name, body)
            else:
                body = {
                    "apiVersion": "policy/v1",
                    "kind": "Eviction",
                    "metadata": {"name": name, "namespace": context.namespace},
                    "deleteOptions": options,
                }
                await context.client.create(PODS, context.namespace, body, name=name, subresource="eviction")
            return None
        except ApiFailure as failure:
            if failure.not_found or (failure.conflict and "uid" in failure.message.lower()):
                return None
            if failure.code != 429:
                raise
            # A disruption budget does not allow it now; it may, once other pods are ready again.
            left = context.deadline - context.clock.monotonic()
            if left < 3:
                return f"pod {name} may not be evicted: {failure.message}"
            await context.clock.sleep(min(failure.retry_after or 2.0, left - 1))


async def _await_replacements(context: Context, gone: list[Object], wanted: int) -> None:
    """Wait until the removed pods are gone and as many pods are ready as were chosen."""
    uids = {pod["metadata"]["uid"] for pod in gone}
    while True:
        listing = await context.client.list(PODS, context.namespace, labelSelector=spell(_selector(context)))
        pods = listing.get("items") or []
        left = [pod for pod in pods if pod["metadata"]["uid"] in uids]
        ready = [pod for pod in pods if _ready(pod) and not pod["metadata"].get("deletionTimestamp")]
        owned = any(pod["metadata"].get("ownerReferences") for pod in gone)
        # A pod that nobody owns will not come back; there is nothing to wait for.
        if not left and (not owned or len(ready) >= min(wanted, len(pods) or wanted)):
            return
        await context.clock.sleep(0.25)


async def _rollout(context: Context, pods: list[Object]) -> Result:
    """As `kubectl rollout restart`: annotate the pod template of each owning workload."""
    done: list[str] = []
    for kind, name in sorted({owner for pod in pods if (owner := await owner_of_pod(context, pod))}):
        stamp = {"kubectl.kubernetes.io/restartedAt": to_rfc3339(context.clock.now())}
        body = {"spec": {"template": {"metadata": {"annotations": stamp}}}}
        await context.client.patch(
            WORKLOADS[kind], context.namespace, name, body, media_type=STRATEGIC_MERGE_PATCH
        )
        done.append(f"{kind}/{name}")
    if not done:
        return Result(
            FAILED, "no workload owns the selected pods, so none can be rolled out", retryable=False
        )
    return Result(SUCCEEDED, f"rollout restarted for {', '.join(done)}", {"restarted": done})


def _ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)

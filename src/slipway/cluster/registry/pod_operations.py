"""What is done to pods through `binding` and `eviction`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from slipway.cluster.patching.json_values import copied
from slipway.cluster.registry.call import Call, Options
from slipway.cluster.registry.deleting import check_preconditions, delete
from slipway.cluster.registry.reading import missing
from slipway.cluster.registry.registry import Registry, stamped
from slipway.cluster.registry.selectors import labels_match, requirements_of
from slipway.cluster.status import FieldError, StatusError, bad_request, conflict, invalid, too_many_requests
from slipway.cluster.store import Conflict, Put

Object = dict[str, Any]
SUCCESS: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def change_stored(
    registry: Registry, plural: str, group: str, namespace: str, name: str, change: Callable[[Object], None]
) -> Object | None:
    """Change a stored object in place of its sub-resource's own path; None when it does not exist."""
    version = "v1"
    definition = registry.definitions.find(group, version, plural)
    while True:
        record = registry.store.get(definition.bucket, definition.key(namespace, name))
        if record is None:
            return None
        obj = copied(definition.from_storage(record.value))
        change(obj)
        try:
            (new,) = registry.store.commit(
                Put(definition.bucket, record.key, _keeping(definition.to_storage(obj)), record.revision)
            )
        except Conflict:
            continue
        return new.value


def _keeping(value: Object) -> Callable[[int], Object]:
    return lambda revision: stamped(value, revision)


def bind(registry: Registry, call: Call, binding: Object) -> Object:
    """Assign a pod to the node that the Binding names. 409 when it has one already."""
    target = binding.get("target") or {}
    errors = []
    if target.get("kind") not in {None, "", "Node"}:
        errors.append(
            FieldError(
                "FieldValueNotSupported", "target.kind", target["kind"], 'supported values: "Node", "<empty>"'
            )
        )
    if not target.get("name"):
        errors.append(FieldError("FieldValueRequired", "target.name"))
    if errors:
        raise invalid("Binding", "", call.name, errors)
    node, metadata = target["name"], binding.get("metadata") or {}

    def assign(pod: Object) -> None:
        if metadata.get("uid") and metadata["uid"] != pod["metadata"]["uid"]:
            raise _refused(call, f"precondition failed: UID in precondition: {metadata['uid']}")
        if pod["metadata"].get("deletionTimestamp"):
            raise _refused(call, f"pod {call.name} is being deleted, cannot be assigned to a host")
        current = pod["spec"].get("nodeName")
        if current:
            raise _refused(call, f'pod {call.name} is already assigned to node "{current}"')
        if pod["spec"].get("schedulingGates"):
            raise _refused(call, f"pod {call.name} has non-empty .spec.schedulingGates")
        pod["spec"]["nodeName"] = node
        if metadata.get("annotations"):
            pod["metadata"].setdefault("annotations", {}).update(metadata["annotations"])
        status = pod.setdefault("status", {})
        conditions = [c for c in status.get("conditions") or [] if c["type"] != "PodScheduled"]
        now = registry.clock.timestamp()
        conditions.append(
            {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
        )
        status["conditions"] = conditions

    if call.options.dry_run:
        record = registry.record("", "v1", "pods", call.namespace, call.name)
        if record is None:
            raise missing(call)
        assign(copied(record.value))
        return dict(SUCCESS)
    if change_stored(registry, "pods", "", call.namespace, call.name, assign) is None:
        raise missing(call)
    return dict(SUCCESS)


def _refused(call: Call, why: str) -> StatusError:
    return conflict("pods/binding", "", call.name, why)


async def evict(registry: Registry, call: Call, eviction: Object) -> Object:
    """Delete a pod if its disruption budgets allow it; 429 while they do not."""
    definition = registry.definitions.find("", "v1", "pods")
    name = (eviction.get("metadata") or {}).get("name") or call.name
    if name != call.name:
        raise bad_request(f"name in URL does not match name in Eviction object: {name}")
    record = registry.store.get(definition.bucket, definition.key(call.namespace, call.name))
    if record is None:
        raise missing(call)
    pod = record.value
    one = dataclasses.replace(
        call, verb="delete", subresource="", resource=definition.resource, options=_options(call, eviction)
    )
    phase = (pod.get("status") or {}).get("phase")
    if phase not in {"Succeeded", "Failed", "Pending"} and not pod["metadata"].get("deletionTimestamp"):
        _ask_budgets(registry, call, pod)
    if not one.options.dry_run:
        _say_why(registry, one)
    await delete(registry, one)
    return dict(SUCCESS)


def _say_why(registry: Registry, one: Call) -> None:
    """Put the reason of its end into the pod's conditions, by which Jobs tell disruptions from failures."""

    def target(pod: Object) -> None:
        check_preconditions(one, pod)
        status = pod.setdefault("status", {})
        kept = [row for row in status.get("conditions") or [] if row["type"] != "DisruptionTarget"]
        now = registry.clock.timestamp()
        row = {"type": "DisruptionTarget", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
        row |= {"reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"}
        status["conditions"] = [*kept, row]

    changed = change_stored(registry, "pods", "", one.namespace, one.name, target)
    if changed is not None and one.options.precondition_resource_version:
        one.options.precondition_resource_version = changed["metadata"]["resourceVersion"]


def _options(call: Call, eviction: Object) -> Options:
    asked = eviction.get("deleteOptions") or {}
    options = dataclasses.replace(call.options)
    options.grace_period_seconds = asked.get("gracePeriodSeconds", options.grace_period_seconds)
    options.propagation_policy = asked.get("propagationPolicy") or options.propagation_policy
    preconditions = asked.get("preconditions") or {}
    options.precondition_uid = preconditions.get("uid") or ""
    options.precondition_resource_version = preconditions.get("resourceVersion") or ""
    options.dry_run = options.dry_run or "All" in (asked.get("dryRun") or [])
    return options


def _ask_budgets(registry: Registry, call: Call, pod: Object) -> None:
    labels = pod["metadata"].get("labels") or {}
    budgets = [
        budget
        for budget in registry.objects("policy", "v1", "poddisruptionbudgets", call.namespace)
        if (budget.get("spec") or {}).get("selector") is not None
        and labels_match(requirements_of(budget["spec"]["selector"]), labels)
    ]
    if len(budgets) > 1:
        raise StatusError(
            500,
            "InternalError",
            "Internal error occurred: This pod has more than one PodDisruptionBudget, which the eviction"
            " subresource does not support.",
        )
    for budget in budgets:
        _spend(registry, call, budget, pod)


def _spend(registry: Registry, call: Call, budget: Object, pod: Object) -> None:
    name, status = budget["metadata"]["name"], budget.get("status") or {}
    if int(status.get("observedGeneration") or 0) < int(budget["metadata"].get("generation") or 0):
        raise too_many_requests(
            "Cannot evict pod as it would violate the pod's disruption budget.",
            10,
            causes=[
                {
                    "reason": "DisruptionBudget",
                    "message": f"The disruption budget {name} is still being processed by the server.",
                }
            ],
        )
    if int(status.get("disruptionsAllowed") or 0) <= 0:
        raise too_many_requests(
            "Cannot evict pod as it would violate the pod's disruption budget.",
            0,
            causes=[
                {
                    "reason": "DisruptionBudget",
                    "message": f"The disruption budget {name} needs {status.get('desiredHealthy', 0)} healthy"
                    f" pods and has {status.get('currentHealthy', 0)} currently",
                }
            ],
        )
    if call.options.dry_run:
        return

    def spend(current: Object) -> None:
        now = current.setdefault("status", {})
        now["disruptionsAllowed"] = int(now.get("disruptionsAllowed") or 0) - 1
        now.setdefault("disruptedPods", {})[pod["metadata"]["name"]] = registry.clock.timestamp()

    change_stored(registry, "poddisruptionbudgets", "policy", call.namespace, name, spend)

"""What built-in objects may be, but should not: the Warning headers of their creation and change, in upstream's words.

`warnings_of` looks up the kind; most have none. What a version or a whole API is warned of is in `schema.deprecations`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slipway.cluster.registry.warnings import objects, workloads
from slipway.cluster.schema.resource import Resource

Object = dict[str, Any]
Warn = Callable[[Object, Object | None], list[str]]  # the new and the old object; None when it is created


def _of_definitions(obj: Object, old: Object | None) -> list[str]:
    # Imported here: clusters without custom kinds start faster.
    from slipway.cluster.schema.crd_warnings import crd_warnings

    return crd_warnings(obj, old)


def nothing(obj: Object, old: Object | None) -> list[str]:
    return []


_KINDS: dict[str, Warn] = {
    "cronjobs.batch": workloads.of_cron_job,
    "customresourcedefinitions.apiextensions.k8s.io": _of_definitions,
    "daemonsets.apps": workloads.of_template,
    "deployments.apps": workloads.of_named_template,
    "ingresses.networking.k8s.io": objects.of_ingress,
    "jobs.batch": workloads.of_named_template,
    "nodes": objects.of_node,
    "persistentvolumeclaims": objects.of_claim,
    "pods": workloads.of_pod,
    "podtemplates": workloads.of_pod_template,
    "replicasets.apps": workloads.of_named_template,
    "replicationcontrollers": workloads.of_named_template,
    "runtimeclasses.node.k8s.io": objects.of_runtime_class,
    "secrets": objects.of_secret,
    "services": objects.of_service,
    "statefulsets.apps": workloads.of_stateful_set,
}


def warnings_of(resource: Resource) -> Warn:
    return _KINDS.get(resource.qualified, nothing)

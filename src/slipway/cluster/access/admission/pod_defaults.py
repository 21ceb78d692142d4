"""What admission sets on new pods: service account and its token volume, priority, default tolerations."""

from __future__ import annotations

from typing import Any

from slipway.cluster.access.admission.awaiting import awaited
from slipway.cluster.access.admission.chain import Judge
from slipway.cluster.clock import parse_timestamp
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.registry import Registry
from slipway.cluster.status import forbidden
from slipway.cluster.store import Record

Object = dict[str, Any]
TOKEN_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_SECONDS = 3607  # an odd number, by which upstream tells its own token volumes
TOLERATION_SECONDS = 300
# Upstream looks ten times, 100 to 200 ms apart. Here a cluster is used at once when it is ready, and its controllers
# begin only then: a busy machine takes longer to the first namespace's account.
DEFAULT_ACCOUNT_SECONDS = 15.0
ACCOUNT_IS_DUE = (
    30.0  # seconds since the namespace was made; later nobody is believed to make it. Upstream always waits
)
SYSTEM_PRIORITIES = {"system-cluster-critical": 2000000000, "system-node-critical": 2000001000}


def _is_new_pod(call: Call, old: Object | None) -> bool:
    return (
        call.resource.qualified == "pods" and call.verb == "create" and not call.subresource and old is None
    )


def _is_changed_pod(call: Call, old: Object | None) -> bool:
    return call.resource.qualified == "pods" and not call.subresource and old is not None


class ServiceAccountAdmission(Judge):
    """Names the account, refuses an unknown one, and mounts its token, root certificate and namespace."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def mutate(self, call: Call, obj: Object | None, old: Object | None) -> Object | None:
        if obj is None or not _is_new_pod(call, old):
            return obj
        if "kubernetes.io/config.mirror" in (obj["metadata"].get("annotations") or {}):
            return obj
        spec = obj["spec"]
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        record = await self._account(call.namespace, name)
        if record is None:
            why = (
                f'error looking up service account {call.namespace}/{name}: serviceaccount "{name}" not found'
            )
            raise forbidden("pods", "", call.name, why)
        account = record.value
        if self._wants_token(spec, account):
            _mount_token(self._registry, spec)
        if account.get("imagePullSecrets") and not spec.get("imagePullSecrets"):
            spec["imagePullSecrets"] = account["imagePullSecrets"]
        return obj

    async def _account(self, namespace: str, name: str) -> Record | None:
        """The account. A controller makes a new namespace's default one, so that one is waited for."""
        return await awaited(
            self._registry,
            "serviceaccounts",
            namespace,
            name,
            DEFAULT_ACCOUNT_SECONDS,
            lambda: self._is_due(namespace, name),
        )

    def _is_due(self, namespace: str, name: str) -> bool:
        """Whether a missing account may appear by itself: the default one of a namespace made a moment ago."""
        if name != "default":
            return False
        found = self._registry.record("", "v1", "namespaces", "", namespace)
        if found is None:
            return False
        made = parse_timestamp(found.value["metadata"]["creationTimestamp"])
        return self._registry.clock.now() - made < ACCOUNT_IS_DUE

    @staticmethod
    def _wants_token(spec: Object, account: Object) -> bool:
        if spec.get("automountServiceAccountToken") is not None:
            return bool(spec["automountServiceAccountToken"])
        return bool(account.get("automountServiceAccountToken", True))


def _mount_token(registry: Registry, spec: Object) -> None:
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    without = [
        container
        for container in containers
        if not any(mount.get("mountPath") == TOKEN_MOUNT for mount in container.get("volumeMounts") or [])
    ]
    if not without:
        return
    name = registry.generate_name("kube-api-access-")
    for container in without:
        container.setdefault("volumeMounts", []).append(
            {"name": name, "readOnly": True, "mountPath": TOKEN_MOUNT}
        )
    spec.setdefault("volumes", []).append(
        {
            "name": name,
            "projected": {
                "defaultMode": 420,
                "sources": [
                    {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                    {
                        "configMap": {
                            "name": "kube-root-ca.crt",
                            "items": [{"key": "ca.crt", "path": "ca.crt"}],
                        }
                    },
                    {
                        "downwardAPI": {
                            "items": [
                                {
                                    "path": "namespace",
                                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                                }
                            ]
                        }
                    },
                ],
            },
        }
    )


class PodPriority(Judge):
    """Fills `priority` and `preemptionPolicy` from the PriorityClass; a change that leaves them out keeps them."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def mutate(self, call: Call, obj: Object | None, old: Object | None) -> Object | None:
        if obj and old and _is_changed_pod(call, old):
            for field in ("priority", "preemptionPolicy"):
                if obj["spec"].get(field) is None and old["spec"].get(field) is not None:
                    obj["spec"][field] = old["spec"][field]
        if obj is None or not _is_new_pod(call, old):
            return obj
        spec = obj["spec"]
        name, value, policy = self._of(call, spec.get("priorityClassName") or "")
        if spec.get("priority") is not None and spec["priority"] != value:
            why = (
                f"the integer value of priority ({spec['priority']}) must not be provided in pod spec;"
                f" priority admission controller computed {value} from the given PriorityClass name"
            )
            raise forbidden("pods", "", call.name, why)
        if name:
            spec["priorityClassName"] = name
        spec["priority"] = value
        spec.setdefault("preemptionPolicy", policy)
        return obj

    def _of(self, call: Call, name: str) -> tuple[str, int, str]:
        if name in SYSTEM_PRIORITIES:
            return name, SYSTEM_PRIORITIES[name], "PreemptLowerPriority"
        classes = self._registry.objects("scheduling.k8s.io", "v1", "priorityclasses")
        if not name:
            default = next((c for c in classes if c.get("globalDefault")), None)
            if default is None:
                return "", 0, "PreemptLowerPriority"
            return _named(default)
        found = next((c for c in classes if c["metadata"]["name"] == name), None)
        if found is None:
            raise forbidden("pods", "", call.name, f"no PriorityClass with name {name} was found")
        return _named(found)


def _named(priority_class: Object) -> tuple[str, int, str]:
    policy = priority_class.get("preemptionPolicy") or "PreemptLowerPriority"
    return priority_class["metadata"]["name"], int(priority_class.get("value") or 0), policy


class DefaultTolerations(Judge):
    """Five minutes of grace on nodes that are not ready or not reachable."""

    async def mutate(self, call: Call, obj: Object | None, old: Object | None) -> Object | None:
        if obj is None or not (_is_new_pod(call, old) or _is_changed_pod(call, old)):
            return obj
        tolerations = obj["spec"].setdefault("tolerations", [])
        for condition in ("not-ready", "unreachable"):
            key = f"node.kubernetes.io/{condition}"
            if not any(_tolerates(toleration, key) for toleration in tolerations):
                tolerations.append(
                    {
                        "key": key,
                        "operator": "Exists",
                        "effect": "NoExecute",
                        "tolerationSeconds": TOLERATION_SECONDS,
                    }
                )
        return obj


def _tolerates(toleration: Object, key: str) -> bool:
    return toleration.get("key") in {None, "", key} and toleration.get("effect") in {None, "", "NoExecute"}

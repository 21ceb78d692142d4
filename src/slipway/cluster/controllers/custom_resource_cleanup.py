"""CustomResourceDefinitions that are being deleted: their objects go first, then the definition.

Part of the API server, not of kube-controller-manager: it runs whatever controllers are switched off. Behaviour
follows k8s.io/apiextensions-apiserver `pkg/controller/finalizer` at 1.37, without its five seconds of waiting for
other API servers.
"""

from __future__ import annotations

from typing import Any, ClassVar

from slipway.cluster.client.client import Client
from slipway.cluster.client.objects import Key, Object, clone, is_deleting, metadata, namespace_of
from slipway.cluster.client.resources import CUSTOM_RESOURCE_DEFINITIONS, ApiResource
from slipway.cluster.controllers import conditions as conds
from slipway.cluster.controllers.controller import Controller
from slipway.cluster.controllers.effects import Effects
from slipway.cluster.controllers.writes import Update
from slipway.cluster.status import StatusError

FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
_FIRST_LOOK = 0.05  # seconds until the first look at whether the objects have gone; doubles up to
_SLOWEST_LOOK = 5.0


class CustomResourceCleanup(Controller):
    workers: ClassVar[int] = 2

    def watch(self) -> None:
        self.crds = self.informer(CUSTOM_RESOURCE_DEFINITIONS)
        self.handle(
            self.crds, lambda old, new: self.enqueue(new) if new is not None and is_deleting(new) else None
        )
        self._waits: dict[Key, float] = {}

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        crd = self.crds.get(*key)
        if crd is None or not is_deleting(crd) or FINALIZER not in (metadata(crd).get("finalizers") or ()):
            self._waits.pop(key, None)
            return None
        if not _is_true(crd, "Established"):
            await self._release(effects, crd, "NeverEstablished", "resource was never established")
            return None
        crd = await self._say(
            effects, crd, "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress"
        )
        try:
            left = await _delete_instances(effects.client, _resource(crd))
        except StatusError as error:
            text = f"could not delete instances: {error.message}"
            await self._say(effects, crd, "True", "InstanceDeletionFailed", text)
            raise
        if left:
            self._waits[key] = min(_SLOWEST_LOOK, self._waits.get(key, _FIRST_LOOK / 2) * 2)
            return self._waits[key]
        await self._release(effects, crd, "InstanceDeletionCompleted", "removed all instances")
        return None

    async def _say(self, effects: Effects, crd: Object, status: str, reason: str, message: str) -> Object:
        known: list[dict[str, Any]] = [dict(row) for row in crd.get("status", {}).get("conditions") or ()]
        said = conds.find(known, "Terminating") or {}
        if (said.get("status"), said.get("reason")) == (status, reason):
            return crd
        wanted = clone(crd)
        row = conds.condition("Terminating", status, reason, message, self.clock.timestamp())
        wanted["status"]["conditions"] = conds.put_in_place(known, row)
        return await effects.do(Update(CUSTOM_RESOURCE_DEFINITIONS, wanted, "status")) or wanted

    async def _release(self, effects: Effects, crd: Object, reason: str, message: str) -> None:
        wanted = clone(await self._say(effects, crd, "False", reason, message))
        wanted["metadata"]["finalizers"] = [
            name for name in metadata(wanted).get("finalizers") or () if name != FINALIZER
        ]
        await effects.do(Update(CUSTOM_RESOURCE_DEFINITIONS, wanted))


def _is_true(crd: Object, type: str) -> bool:
    rows = crd.get("status", {}).get("conditions") or ()
    return any(row["type"] == type and row["status"] == "True" for row in rows)


def _resource(crd: Object) -> ApiResource:
    """The kind in a version that is served, the storage version if it is."""
    spec = crd["spec"]
    served = [version for version in spec["versions"] if version.get("served")] or spec["versions"]
    version = next((version for version in served if version.get("storage")), served[0])
    return ApiResource(
        spec["group"],
        version["name"],
        spec["names"]["plural"],
        spec["names"]["kind"],
        spec["scope"] == "Namespaced",
    )


async def _delete_instances(client: Client, resource: ApiResource) -> int:
    """Ask every object to go; how many still linger (finalizers)."""
    found = (await client.list(resource))["items"]
    for namespace in sorted({namespace_of(item) for item in found}):
        await client.delete_collection(resource, namespace)
    return len((await client.list(resource))["items"]) if found else 0

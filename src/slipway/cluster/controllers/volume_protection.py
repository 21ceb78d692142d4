"""Claims in use by a pod and volumes bound to a claim are not removed when they are deleted, but when they are free."""

from __future__ import annotations

from typing import ClassVar

from slipway.cluster.client.objects import Key, Object, clone, is_deleting, metadata, name_of, namespace_of
from slipway.cluster.client.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, ApiResource
from slipway.cluster.controllers import pods as podlist
from slipway.cluster.controllers.controller import Controller
from slipway.cluster.controllers.effects import Effects
from slipway.cluster.controllers.writes import Update


def claims_of(pod: Object) -> list[str]:
    """Names of the claims a pod mounts."""
    names = []
    for volume in pod["spec"].get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            names.append(volume["persistentVolumeClaim"]["claimName"])
        elif "ephemeral" in volume:
            names.append(f"{name_of(pod)}-{volume['name']}")
    return names


class _Protection(Controller):
    """Puts a finalizer on each object, and takes it off a deleted one that is not in use."""

    resource: ClassVar[ApiResource]
    finalizer: ClassVar[str]

    def in_use(self, obj: Object) -> bool:
        raise NotImplementedError

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        obj = self.informer(self.resource).get(*key)
        if obj is None:
            return None
        held = self.finalizer in (metadata(obj).get("finalizers") or ())
        if is_deleting(obj) and held and not self.in_use(obj):
            wanted = clone(obj)
            kept = [name for name in wanted["metadata"]["finalizers"] if name != self.finalizer]
            wanted["metadata"]["finalizers"] = kept
            await effects.do(Update(self.resource, wanted))
        elif not is_deleting(obj) and not held:
            wanted = clone(obj)
            wanted["metadata"].setdefault("finalizers", []).append(self.finalizer)
            await effects.do(Update(self.resource, wanted))
        return None


class ClaimProtection(_Protection):
    resource = PERSISTENT_VOLUME_CLAIMS
    finalizer = "kubernetes.io/pvc-protection"

    def watch(self) -> None:
        self.own_changes(PERSISTENT_VOLUME_CLAIMS)
        self.pods = self.informer(PODS)
        self.pods.add_index("claim", lambda pod: [f"{namespace_of(pod)}/{name}" for name in claims_of(pod)])
        self.handle(self.pods, self._pod_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None or podlist.is_finished(new):
            pod = new or old or {}
            for name in claims_of(pod):
                self.queue.add((namespace_of(pod), name))

    def in_use(self, obj: Object) -> bool:
        users = self.pods.indexed("claim", f"{namespace_of(obj)}/{name_of(obj)}")
        return any(pod["spec"].get("nodeName") and not podlist.is_finished(pod) for pod in users)


class VolumeProtection(_Protection):
    resource = PERSISTENT_VOLUMES
    finalizer = "kubernetes.io/pv-protection"

    def watch(self) -> None:
        self.own_changes(PERSISTENT_VOLUMES)

    def in_use(self, obj: Object) -> bool:
        return (obj.get("status") or {}).get("phase") == "Bound"

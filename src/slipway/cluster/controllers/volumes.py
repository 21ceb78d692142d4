"""PersistentVolumes and claims: binding them, provisioning folders for claims, reclaiming what is released.

The provisioner `slipway.dev/local-path` gives each claim a folder under `root` on the machine that all nodes share,
as a hostPath volume; the class named `standard` is the default one and waits for the first pod.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import ClassVar

from slipway.cluster.client.objects import (
    Key,
    Object,
    annotations_of,
    clone,
    is_deleting,
    metadata,
    name_of,
    namespace_of,
    uid_of,
)
from slipway.cluster.client.quantities import parse_quantity
from slipway.cluster.client.resources import (
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    STORAGE_CLASSES,
)
from slipway.cluster.client.selectors import matches_terms
from slipway.cluster.client.storage import (
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    PROVISIONED_BY,
    PROVISIONER,
    SELECTED_NODE,
    best_volume,
    claim_reference,
    is_bound,
)
from slipway.cluster.controllers.controller import Context, Controller
from slipway.cluster.controllers.effects import Effects
from slipway.cluster.controllers.writes import Announce, Create, Delete, Update

_RECLAIM = "reclaim"  # namespace part of keys that mean a volume
_FIRST_CONSUMER = "waiting for first consumer to be created before binding"


class VolumeBinder(Controller):
    """Keys with a namespace are claims; volumes come as (RECLAIM, name), which no namespace is called."""

    workers: ClassVar[int] = 1  # two claims must not choose the same volume at once

    def __init__(self, root: Path | None, context: Context) -> None:
        self._root = root
        super().__init__(context)

    def watch(self) -> None:
        self.claims = self.own_changes(PERSISTENT_VOLUME_CLAIMS)
        self.volumes = self.informer(PERSISTENT_VOLUMES)
        self.classes = self.informer(STORAGE_CLASSES)
        self.nodes = self.informer(NODES)
        self.handle(self.volumes, self._volume_changed)
        self.handle(self.classes, lambda old, new: self._wake_pending())
        self.handle(self.claims, self._claim_changed)

    def _volume_changed(self, old: Object | None, new: Object | None) -> None:
        volume = new or old or {}
        self.queue.add((f"{_RECLAIM}/", name_of(volume)))
        reference = volume["spec"].get("claimRef")
        if reference:
            self.queue.add((reference["namespace"], reference["name"]))
        elif old is None:
            self._wake_pending()

    def _claim_changed(self, old: Object | None, new: Object | None) -> None:
        claim = new or old or {}
        if new is None and claim["spec"].get("volumeName"):
            self.queue.add((f"{_RECLAIM}/", claim["spec"]["volumeName"]))

    def _wake_pending(self) -> None:
        for claim in self.claims.list():
            if not is_bound(claim):
                self.enqueue(claim)

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        if key[0] == f"{_RECLAIM}/":
            volume = self.volumes.get("", key[1])
            if volume is not None:
                await self._look_after(volume, effects)
            return None
        claim = self.claims.get(*key)
        if claim is None:
            return None
        if is_bound(claim):
            await self._check_bound(claim, effects)
            return None
        if is_deleting(claim):
            return None
        if claim["spec"].get("volumeName"):
            wanted = self.volumes.get("", claim["spec"]["volumeName"])
            if wanted is None:
                await self._phase(PERSISTENT_VOLUME_CLAIMS, claim, "Pending", effects)
            else:
                await self._bind(claim, wanted, effects, chosen=False)
            return None
        return await self._find_volume(claim, effects)

    async def _find_volume(self, claim: Object, effects: Effects) -> float | None:
        storage_class = self.classes.get("", claim["spec"].get("storageClassName") or "")
        waits = (storage_class or {}).get("volumeBindingMode") == "WaitForFirstConsumer"
        node = annotations_of(claim).get(SELECTED_NODE, "")
        if waits and not node and not self._claimed_in_advance(claim):
            await self._phase(PERSISTENT_VOLUME_CLAIMS, claim, "Pending", effects)
            effects.announce(Announce(self._typed(claim), "WaitForFirstConsumer", _FIRST_CONSUMER))
            return None
        volume = best_volume(claim, self._reachable(node))
        if volume is not None:
            await self._bind(claim, volume, effects, chosen=True)
            return None
        await self._phase(PERSISTENT_VOLUME_CLAIMS, claim, "Pending", effects)
        if storage_class is None:
            name = claim["spec"].get("storageClassName")
            if name:
                text = f'storageclass.storage.k8s.io "{name}" not found'
                effects.announce(Announce(self._typed(claim), "ProvisioningFailed", text, "Warning"))
            else:
                text = "no persistent volumes available for this claim and no storage class is set"
                effects.announce(Announce(self._typed(claim), "FailedBinding", text))
            return None
        if storage_class["provisioner"] == PROVISIONER and self._root is not None:
            await self._provision(claim, storage_class, effects)
            return None
        if storage_class["provisioner"] != "kubernetes.io/no-provisioner":
            text = (
                "Waiting for a volume to be created either by the external provisioner "
                f"'{storage_class['provisioner']}' or manually by the system administrator. If volume creation "
                "is delayed, please verify that the provisioner is running and correctly registered."
            )
            effects.announce(Announce(self._typed(claim), "ExternalProvisioning", text))
        return None

    def _claimed_in_advance(self, claim: Object) -> bool:
        """Whether an administrator reserved a volume for this claim: then there is no choice to wait for."""
        return any(
            claim_reference(claim)["name"] == (volume["spec"].get("claimRef") or {}).get("name")
            and namespace_of(claim) == volume["spec"]["claimRef"].get("namespace")
            for volume in self.volumes.list()
        )

    def _reachable(self, node_name: str) -> Iterable[Object]:
        """Volumes that can be used on that node; all when no node is chosen."""
        node = self.nodes.get("", node_name) if node_name else None
        for volume in self.volumes.list():
            required = (volume["spec"].get("nodeAffinity") or {}).get("required")
            if node is None or not required:
                yield volume
            else:
                labels = metadata(node).get("labels") or {}
                if matches_terms(required.get("nodeSelectorTerms") or (), labels, node_name):
                    yield volume

    def _typed(self, claim: Object) -> Object:
        return PERSISTENT_VOLUME_CLAIMS.typed(claim)

    # -- binding -----------------------------------------------------------------------------------------------

    async def _bind(self, claim: Object, volume: Object, effects: Effects, *, chosen: bool) -> None:
        """Volume first, then claim, each once more for its status: a crash in between is picked up again."""
        reference = volume["spec"].get("claimRef")
        mine = claim_reference(claim)
        if reference and (reference.get("namespace"), reference.get("name")) != (
            mine["namespace"],
            mine["name"],
        ):
            if not chosen:
                text = f'volume "{name_of(volume)}" already bound to a different claim.'
                effects.announce(Announce(self._typed(claim), "FailedBinding", text, "Warning"))
                await self._phase(PERSISTENT_VOLUME_CLAIMS, claim, "Pending", effects)
            return
        if reference is None or reference.get("uid") != mine["uid"]:
            wanted = clone(volume)
            wanted["spec"]["claimRef"] = mine
            if reference is None:
                wanted["metadata"].setdefault("annotations", {})[BOUND_BY_CONTROLLER] = "yes"
            volume = await effects.do(Update(PERSISTENT_VOLUMES, wanted)) or wanted
        await self._phase(PERSISTENT_VOLUMES, volume, "Bound", effects)
        wanted = clone(claim)
        annotations = wanted["metadata"].setdefault("annotations", {})
        annotations[BIND_COMPLETED] = "yes"
        if wanted["spec"].get("volumeName") != name_of(volume):
            wanted["spec"]["volumeName"] = name_of(volume)
            annotations[BOUND_BY_CONTROLLER] = "yes"
        claim = await effects.do(Update(PERSISTENT_VOLUME_CLAIMS, wanted)) or wanted
        await self._tell_bound(claim, volume, effects)

    async def _tell_bound(self, claim: Object, volume: Object, effects: Effects) -> None:
        status = {
            **(claim.get("status") or {}),
            "phase": "Bound",
            "accessModes": volume["spec"].get("accessModes") or [],
            "capacity": volume["spec"].get("capacity") or {},
        }
        if status != claim.get("status"):
            await effects.do(Update(PERSISTENT_VOLUME_CLAIMS, {**claim, "status": status}, "status"))

    async def _check_bound(self, claim: Object, effects: Effects) -> None:
        volume = self.volumes.get("", claim["spec"]["volumeName"])
        if volume is None:
            if (claim.get("status") or {}).get("phase") != "Lost":
                text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
                effects.announce(Announce(self._typed(claim), "ClaimLost", text, "Warning"))
                await self._phase(PERSISTENT_VOLUME_CLAIMS, claim, "Lost", effects)
            return
        if (volume["spec"].get("claimRef") or {}).get("uid") == uid_of(claim):
            await self._phase(PERSISTENT_VOLUMES, volume, "Bound", effects)
            if (claim.get("status") or {}).get("phase") != "Bound":
                await self._tell_bound(claim, volume, effects)

    async def _phase(self, resource: object, obj: Object, phase: str, effects: Effects, **more: str) -> None:
        status = {**(obj.get("status") or {}), "phase": phase, **more}
        if (obj.get("status") or {}).get("phase") == phase:
            return
        target = PERSISTENT_VOLUMES if resource is PERSISTENT_VOLUMES else PERSISTENT_VOLUME_CLAIMS
        if target is PERSISTENT_VOLUMES:
            status["lastPhaseTransitionTime"] = self.clock.timestamp()
        await effects.do(Update(target, {**obj, "status": status}, "status"))

    # -- provisioning and reclaiming ---------------------------------------------------------------------------

    async def _provision(self, claim: Object, storage_class: Object, effects: Effects) -> None:
        assert self._root is not None
        name = f"pvc-{uid_of(claim)}"
        if self.volumes.get("", name) is not None:
            return
        folder = self._root / f"{name}_{namespace_of(claim)}_{name_of(claim)}"
        wanted = claim["spec"]
        size = ((wanted.get("resources") or {}).get("requests") or {}).get("storage", "0")
        parse_quantity(size)
        _make_folder(folder)
        volume: Object = {
            "metadata": {
                "name": name,
                "annotations": {PROVISIONED_BY: PROVISIONER},
            },
            "spec": {
                "accessModes": wanted.get("accessModes") or ["ReadWriteOnce"],
                "capacity": {"storage": size},
                "claimRef": claim_reference(claim),
                "hostPath": {"path": str(folder), "type": "DirectoryOrCreate"},
                "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
                "storageClassName": name_of(storage_class),
                "volumeMode": wanted.get("volumeMode") or "Filesystem",
            },
        }
        done = Announce(
            self._typed(claim), "ProvisioningSucceeded", f"Successfully provisioned volume {name}"
        )
        await effects.do(Create(PERSISTENT_VOLUMES, volume, done=done))

    async def _look_after(self, volume: Object, effects: Effects) -> None:
        """A volume on its own: available, released with its claim, reclaimed as its policy says."""
        reference = volume["spec"].get("claimRef")
        if is_deleting(volume) and not reference:
            return
        if not reference or not reference.get("uid"):
            await self._phase(PERSISTENT_VOLUMES, volume, "Available", effects)
            return
        claim = self.claims.get(reference["namespace"], reference["name"])
        if claim is not None and uid_of(claim) == reference["uid"]:
            return
        if claim is None or uid_of(claim) != reference["uid"]:
            await self._release(volume, effects)

    async def _release(self, volume: Object, effects: Effects) -> None:
        policy = volume["spec"].get("persistentVolumeReclaimPolicy") or "Retain"
        if (volume.get("status") or {}).get("phase") != "Released":
            await self._phase(PERSISTENT_VOLUMES, volume, "Released", effects)
            return
        if policy != "Delete" or annotations_of(volume).get(PROVISIONED_BY) != PROVISIONER:
            return
        folder = Path((volume["spec"].get("hostPath") or {}).get("path") or "")
        if self._root is not None and self._root in folder.parents:
            for _ in _remove_folder(folder):
                await asyncio.sleep(0)  # others have their turn while much is deleted
        await effects.do(Delete(PERSISTENT_VOLUMES, volume))


def _make_folder(folder: Path) -> None:
    """In the loop's own thread: it takes microseconds, and virtual time would run on beside another thread."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)  # as the usual provisioners do: pods run as whichever user they like


def _remove_folder(folder: Path) -> Iterator[None]:
    """Delete a folder in small steps; what cannot be deleted is left."""
    for parent, folders, files in os.walk(folder, topdown=False):
        for name in files:
            Path(parent, name).unlink(missing_ok=True)
        for name in folders:
            with suppress(OSError):
                entry = Path(parent, name)
                entry.unlink() if entry.is_symlink() else entry.rmdir()
        yield
    with suppress(OSError):
        folder.rmdir()


def volume_binder(root: Path | None) -> Callable[[Context], Controller]:
    return partial(VolumeBinder, root)

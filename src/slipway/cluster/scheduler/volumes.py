"""What a pod's claims need of a node, and which of them wait for the node to be chosen. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from slipway.cluster.client import selectors
from slipway.cluster.client.objects import Object, is_deleting, name_of
from slipway.cluster.client.storage import is_bound, serves
from slipway.cluster.scheduler.filters import Refusal
from slipway.cluster.scheduler.ledger import NodeInfo, PodInfo

NO_PROVISIONER = "kubernetes.io/no-provisioner"


def claim_names(pod: PodInfo) -> list[str]:
    """The claims a pod mounts; an ephemeral volume's claim is named after pod and volume."""
    names = []
    for volume in pod.spec.get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            names.append(volume["persistentVolumeClaim"]["claimName"])
        elif "ephemeral" in volume:
            names.append(f"{pod.name}-{volume['name']}")
    return names


def volume_allows(volume: Object, node: NodeInfo) -> bool:
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    if not required:
        return True
    return selectors.matches_terms(required.get("nodeSelectorTerms") or (), node.labels, node.name)


@dataclass(slots=True)
class VolumeView:
    """The claims of one pod's namespace, and all volumes and classes, by name."""

    claims: Mapping[str, Object]
    volumes: Mapping[str, Object]
    classes: Mapping[str, Object]
    waiting: list[Object] = field(default_factory=list)  # claims of the pod that wait for a node

    def refusal_everywhere(self, pod: PodInfo) -> str:
        """A reason that holds on every node; fills `waiting`."""
        for name in claim_names(pod):
            claim = self.claims.get(name)
            if claim is None:
                return f'persistentvolumeclaim "{name}" not found'
            if is_deleting(claim):
                return f'persistentvolumeclaim "{name}" is being deleted'
            if (claim.get("status") or {}).get("phase") == "Lost":
                volume = claim["spec"].get("volumeName", "")
                return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume}"'
            if is_bound(claim):
                continue
            if not self.waits_for_consumer(claim):
                return "pod has unbound immediate PersistentVolumeClaims"
            self.waiting.append(claim)
        return ""

    def waits_for_consumer(self, claim: Object) -> bool:
        found = self.classes.get(claim["spec"].get("storageClassName") or "")
        return found is not None and found.get("volumeBindingMode") == "WaitForFirstConsumer"

    def refusal(self, pod: PodInfo, node: NodeInfo) -> Refusal | None:
        for name in claim_names(pod):
            claim = self.claims.get(name)
            if claim is None or not is_bound(claim):
                continue
            volume = self.volumes.get(claim["spec"]["volumeName"])
            if volume is not None and not volume_allows(volume, node):
                return Refusal(("node(s) didn't match PersistentVolume's node affinity",), hopeless=True)
        taken: set[str] = set()
        for claim in self.waiting:
            if not self._can_be_served(claim, node, taken):
                text = "node(s) didn't find available persistent volumes to bind"
                return Refusal((text,), hopeless=True)
        return None

    def _can_be_served(self, claim: Object, node: NodeInfo, taken: set[str]) -> bool:
        for volume in self._free(claim):
            if name_of(volume) not in taken and volume_allows(volume, node):
                taken.add(name_of(volume))
                return True
        storage_class = self.classes[claim["spec"]["storageClassName"]]
        if storage_class.get("provisioner") == NO_PROVISIONER:
            return False
        terms = storage_class.get("allowedTopologies") or ()
        return not terms or any(
            all(
                node.labels.get(expression["key"]) in expression["values"]
                for expression in term.get("matchLabelExpressions") or ()
            )
            for term in terms
        )

    def _free(self, claim: Object) -> Iterable[Object]:
        return (volume for volume in self.volumes.values() if serves(claim, volume))

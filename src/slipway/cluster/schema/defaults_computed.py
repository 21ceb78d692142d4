"""Defaults that depend on other fields: image pull policies by tag, requests from limits, labels from templates.

Each function is one rule of upstream's defaults.go or of its conversion of a kind (facts only) and changes a decoded
object in place. `COMPUTED` names the type that each belongs to.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

JsonObject = dict[str, Any]
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"

_DOMAIN = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[a-fA-F0-9:]+\])"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:{_DOMAIN}(?::[0-9]+)?/)?{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?"
    r"(?P<digest>@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)


def pull_policy(image: str) -> str:
    """`Always` for the tag latest, said or implied; an image name that cannot be read counts as having a tag."""
    found = _IMAGE.fullmatch(image)
    if found is None:
        return "IfNotPresent"
    tag = found["tag"] or ("" if found["digest"] else "latest")
    return "Always" if tag == "latest" else "IfNotPresent"


def _container(container: JsonObject) -> None:
    container.setdefault("imagePullPolicy", pull_policy(container.get("image", "")))


_VOLUME_OWN = {"name"}


def _volume(volume: JsonObject) -> None:
    if not volume.keys() - _VOLUME_OWN:
        volume["emptyDir"] = {}


def _image_volume(source: JsonObject) -> None:
    source.setdefault("pullPolicy", pull_policy(source.get("reference", "")))


def _pod(pod: JsonObject) -> None:
    spec = pod.get("spec") or {}
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0:
        spec["terminationGracePeriodSeconds"] = 1
    for group in ("containers", "initContainers"):
        for container in spec.get(group) or ():
            _requests_from_limits(container)
            if spec.get("hostNetwork"):
                for port in container.get("ports") or ():
                    port.setdefault("hostPort", port.get("containerPort", 0))


def _requests_from_limits(container: JsonObject) -> None:
    resources = container.get("resources") or {}
    limits = resources.get("limits")
    if limits:
        resources["requests"] = {**(resources.get("requests") or {})}
        for name, amount in limits.items():
            resources["requests"].setdefault(name, amount)


def _service_account(spec: JsonObject) -> None:
    """The deprecated name and the current one say the same."""
    name = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if name:
        spec["serviceAccountName"] = spec["serviceAccount"] = name


def _pod_addresses(status: JsonObject) -> None:
    one, all_of_them = status.get("podIP"), status.get("podIPs") or []
    if one and (not all_of_them or all_of_them[0].get("ip") != one):
        status["podIPs"] = [{"ip": one}]
    elif not one and all_of_them:
        status["podIP"] = all_of_them[0].get("ip", "")


def _node_networks(spec: JsonObject) -> None:
    one, all_of_them = spec.get("podCIDR"), spec.get("podCIDRs") or []
    if one and (not all_of_them or all_of_them[0] != one):
        spec["podCIDRs"] = [one]
    elif not one and all_of_them:
        spec["podCIDR"] = all_of_them[0]


def _template_labels(obj: JsonObject) -> JsonObject:
    template = (obj.get("spec") or {}).get("template") or {}
    labels: JsonObject = (template.get("metadata") or {}).get("labels") or {}
    return labels


def _labels_from_template(obj: JsonObject) -> None:
    labels = _template_labels(obj)
    metadata = obj.setdefault("metadata", {})
    if labels and not metadata.get("labels"):
        metadata["labels"] = dict(labels)


def _replication_controller(obj: JsonObject) -> None:
    labels = _template_labels(obj)
    if labels and not obj["spec"].get("selector"):
        obj["spec"]["selector"] = dict(labels)
    _labels_from_template(obj)


def _service(service: JsonObject) -> None:
    spec = service.setdefault("spec", {})
    if spec.get("sessionAffinity") == "None":
        spec.pop("sessionAffinityConfig", None)
    if spec.get("externalIPs") and spec.get("type") == "ClusterIP":
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec.get("type") == "LoadBalancer":
        balancer = (service.get("status") or {}).get("loadBalancer") or {}
        for address in balancer.get("ingress") or ():
            if address.get("ip"):
                address.setdefault("ipMode", "VIP")


def _service_port(port: JsonObject) -> None:
    if port.get("targetPort") in (None, 0, ""):
        port["targetPort"] = port.get("port", 0)


def _namespace(namespace: JsonObject) -> None:
    metadata = namespace.setdefault("metadata", {})
    if metadata.get("name"):
        labels = dict(metadata.get("labels") or {})
        labels["kubernetes.io/metadata.name"] = metadata["name"]
        metadata["labels"] = labels


def _node_status(status: JsonObject) -> None:
    if status.get("capacity") and not status.get("allocatable"):
        status["allocatable"] = dict(status["capacity"])


def _limit_range_item(item: JsonObject) -> None:
    if item.get("type") != "Container":
        return
    default = {**(item.get("max") or {}), **(item.get("default") or {})}
    request = {**(item.get("min") or {}), **default, **(item.get("defaultRequest") or {})}
    for name, amounts in (("default", default), ("defaultRequest", request)):
        if amounts:
            item[name] = amounts


def _secret(secret: JsonObject) -> None:
    """What is written as text is stored, and shown, as data (a conversion upstream)."""
    texts = secret.pop("stringData", None)
    if texts:
        encoded = {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}
        secret["data"] = {**(secret.get("data") or {}), **encoded}


def _daemon_set(obj: JsonObject) -> None:
    """Every version of the kind has it, as a field or, in the latest, as an annotation (a conversion upstream)."""
    metadata = obj.setdefault("metadata", {})
    metadata["annotations"] = {TEMPLATE_GENERATION: "0", **(metadata.get("annotations") or {})}


def _stateful_set(obj: JsonObject) -> None:
    """Claim templates are objects and say which (a conversion upstream)."""
    for claim in (obj.get("spec") or {}).get("volumeClaimTemplates") or ():
        claim["kind"], claim["apiVersion"] = "PersistentVolumeClaim", "v1"


_CORE = "io.k8s.api.core.v1."
COMPUTED: dict[str, tuple[Callable[[JsonObject], None], ...]] = {
    _CORE + "Container": (_container,),
    _CORE + "EphemeralContainer": (_container,),
    _CORE + "Volume": (_volume,),
    _CORE + "ImageVolumeSource": (_image_volume,),
    _CORE + "Pod": (_pod,),
    _CORE + "PodSpec": (_service_account,),
    _CORE + "PodStatus": (_pod_addresses,),
    _CORE + "ReplicationController": (_replication_controller,),
    _CORE + "Service": (_service,),
    _CORE + "ServicePort": (_service_port,),
    _CORE + "Namespace": (_namespace,),
    _CORE + "NodeSpec": (_node_networks,),
    _CORE + "NodeStatus": (_node_status,),
    _CORE + "LimitRangeItem": (_limit_range_item,),
    _CORE + "Secret": (_secret,),
    "io.k8s.api.apps.v1.DaemonSet": (_daemon_set,),
    "io.k8s.api.apps.v1.StatefulSet": (_stateful_set,),
    "io.k8s.api.batch.v1.Job": (_labels_from_template,),
}

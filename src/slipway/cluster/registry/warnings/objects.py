"""What kinds that make no pods are warned of: Services, Secrets, Ingresses, nodes and claims."""

from __future__ import annotations

import base64
import re
from typing import Any

from slipway.cluster.registry.warnings import node_labels
from slipway.cluster.registry.warnings.pod_spec import fractions

Object = dict[str, Any]
_HINTS = "service.kubernetes.io/topology-aware-hints"
_INGRESS_CLASS = "kubernetes.io/ingress.class"
_KEYS = ("tls.crt", "tls.key")
_BLOCK, _CERTIFICATE = b"-----BEGIN ", b"-----BEGIN CERTIFICATE-----"
_KEY = re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----")


def of_service(obj: Object, old: Object | None) -> list[str]:
    spec, annotations = obj.get("spec") or {}, (obj.get("metadata") or {}).get("annotations") or {}
    kind = spec.get("type") or "ClusterIP"
    found = []
    if _HINTS in annotations:
        found.append(
            f"annotation {_HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"
        )
    headless = kind == "ClusterIP" and spec.get("clusterIP") == "None"
    if headless:
        found += [
            f"spec.{field} is ignored for headless services"
            for field in ("loadBalancerIP", "externalIPs")
            if spec.get(field)
        ]
        if spec.get("sessionAffinity", "None") != "None":
            found.append("spec.SessionAffinity is ignored for headless services")
    elif spec.get("externalIPs") and kind != "ExternalName":
        found.append("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
    if kind == "ExternalName" and spec.get("externalIPs"):
        found.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if kind != "ExternalName" and spec.get("externalName"):
        found.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if spec.get("trafficDistribution") == "PreferClose":
        found.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    return found


def of_secret(obj: Object, old: Object | None) -> list[str]:
    if obj.get("type") != "kubernetes.io/tls":
        return []
    data = obj.get("data") or {}
    certificate, key = (base64.b64decode(data.get(name) or "") for name in _KEYS)
    return _wrong_pem(certificate, key) or _mismatch(certificate, key)


def _wrong_pem(certificate: bytes, key: bytes) -> list[str]:
    """What is missing of the blocks that the two must have."""
    missing = "failed to find certificate PEM data in certificate input"
    if _CERTIFICATE not in certificate:
        if _KEY.search(certificate):
            return [f"tls: {missing}, but did find a private key; PEM inputs may have been switched"]
        if _BLOCK not in certificate:
            return ["tls: failed to find any PEM data in certificate input"]
        return [f"tls: {missing} after skipping PEM blocks of the following types: []"]
    if not _KEY.search(key):
        if _CERTIFICATE in key:
            return ["tls: found a certificate rather than a key in the PEM for the private key"]
        return ["tls: failed to find any PEM data in key input"]
    return []


def _mismatch(certificate: bytes, key: bytes) -> list[str]:
    """What is wrong with a pair that are PEM both. Imported here: few clusters look into certificates."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509 import load_pem_x509_certificate

    try:
        public = load_pem_x509_certificate(certificate).public_key()
    except ValueError:
        return ["x509: malformed certificate"]
    try:
        private = load_pem_private_key(key, None)
    except (ValueError, TypeError):
        return ["tls: failed to parse private key"]
    if private.public_key() != public:
        return ["tls: private key does not match public key"]
    return []


def of_ingress(obj: Object, old: Object | None) -> list[str]:
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    if (
        old is not None
        or _INGRESS_CLASS not in annotations
        or (obj.get("spec") or {}).get("ingressClassName")
    ):
        return []
    return [f"annotation \"{_INGRESS_CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"]


def of_node(obj: Object, old: Object | None) -> list[str]:
    spec, found = obj.get("spec") or {}, []
    if spec.get("configSource"):
        found.append("spec.configSource: the feature is removed")
    if spec.get("externalID"):
        found.append("spec.externalID: this field is deprecated, and is unused by Kubernetes")
    return found


def of_claim(obj: Object, old: Object | None) -> list[str]:
    resources = (obj.get("spec") or {}).get("resources") or {}
    return [
        warning
        for kind in ("requests", "limits")
        for warning in fractions(resources.get(kind), f"spec.resources.{kind}", ("storage",))
    ]


def of_runtime_class(obj: Object, old: Object | None) -> list[str]:
    selector = (obj.get("scheduling") or {}).get("nodeSelector") or {}
    known = node_labels.deprecated()
    return [f"scheduling.nodeSelector: {known[label]}" for label in selector if label in known]

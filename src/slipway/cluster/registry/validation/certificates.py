"""ClusterTrustBundles, PodCertificateRequests, and the projected volumes that show what these hold.

Facts: `pkg/apis/certificates/validation` and `pkg/apis/core/validation` of Kubernetes 1.37.
"""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from slipway.cluster.registry.validation.findings import Findings
from slipway.cluster.registry.validation.metadata import MAXIMUM_ANNOTATIONS
from slipway.cluster.registry.validation.selectors import label_selector_errors
from slipway.cluster.schema import names, pem

Object = dict[str, Any]
KEY_TYPES = ("RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")
_LEAST_SECONDS, _MOST_SECONDS, _MOST_SECONDS_OF_KUBERNETES = 3600, 91 * 24 * 3600, 24 * 3600
_LARGEST_BUNDLE, _LARGEST_REQUEST, _LONGEST_UID = 1024 * 1024, 10 * 1024, 128
_LONGEST_DOMAIN, _LONGEST_SIGNER = 253, 253 + 1 + 63 + 1 + 253
_RSA_SIZES, _CURVES = (3072, 4096), ("secp256r1", "secp384r1", "secp521r1")


def signer_errors(found: Findings, path: str, signer: str | None) -> None:
    """`example.com/name`."""
    if not signer:
        found.required(path)
        return
    domain, slash, name = signer.partition("/")
    if not slash or "/" in name:
        why = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        found.invalid(path, signer, why)
        return
    if len(domain) > _LONGEST_DOMAIN:
        found.too_long(path, _LONGEST_DOMAIN)
    labels = domain.split(".")
    _first_wrong(found, path, domain, labels, names.dns1123_label)
    if len(labels) < 2:
        found.invalid(path, domain, "should be a domain with at least two segments separated by dots")
    _first_wrong(found, path, name, name.split("."), names.dns1123_subdomain)
    if len(signer) > _LONGEST_SIGNER:
        found.too_long(path, _LONGEST_SIGNER)


def _first_wrong(
    found: Findings, path: str, shown: str, labels: list[str], check: Callable[[str], list[str]]
) -> None:
    for label in labels:
        wrong = check(label)
        for why in wrong:
            found.invalid(path, shown, f"validating label {json.dumps(label)}: {why}")
        if wrong:
            return


def _most_seconds(signer: str) -> int:
    domain = signer.partition("/")[0]
    of_kubernetes = domain == "kubernetes.io" or domain.endswith(".kubernetes.io")
    return _MOST_SECONDS_OF_KUBERNETES if of_kubernetes else _MOST_SECONDS


def _user_annotations(found: Findings, path: str, annotations: Object) -> None:
    for key in annotations:
        found.named(path, key.lower(), _domain_prefixed)
    if (
        sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
        > MAXIMUM_ANNOTATIONS
    ):
        found.too_long(path, MAXIMUM_ANNOTATIONS)


def _domain_prefixed(key: str) -> list[str]:
    wrong = names.label_key(key)
    if not wrong and "/" not in key:
        wrong = ['must be a domain-prefixed key (such as "acme.io/foo")']
    return wrong


# ClusterTrustBundles


def bundle_name(signer: str) -> Callable[[str], list[str]]:
    """How a ClusterTrustBundle of this signer, or of none, may be named."""

    def check(name: str) -> list[str]:
        if not signer:
            if ":" in name:
                return ['ClusterTrustBundle without signer name must not have ":" in its name']
            return names.dns1123_subdomain(name)
        prefix = signer.replace("/", ":") + ":"
        if not name.startswith(prefix):
            return [f"ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"]
        return names.dns1123_subdomain(name.removeprefix(prefix))

    return check


def trust_bundle_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = obj.get("spec") or {}
    signer = spec.get("signerName") or ""
    if old is None and obj["metadata"].get("name"):
        found.named("metadata.name", obj["metadata"]["name"], bundle_name(signer))
    if signer:
        signer_errors(found, "spec.signerName", signer)
    before = (old or {}).get("spec") or {}
    if old is None or before.get("trustBundle") != spec.get("trustBundle"):
        _anchors(found, "spec.trustBundle", spec.get("trustBundle") or "")
    if old is not None:
        found.same("spec.signerName", signer, before.get("signerName") or "")


def _anchors(found: Findings, path: str, text: str) -> None:
    """At least one certificate, each that of an authority, none of them twice."""
    if len(text.encode()) > _LARGEST_BUNDLE:
        found.too_long(path, _LARGEST_BUNDLE)
        return
    seen: defaultdict[bytes, list[int]] = defaultdict(list)
    wrong = []
    for index, block in enumerate(pem.blocks(text)):
        why = _not_an_anchor(block)
        if why:
            wrong.append(f"entry {index} {why}")
        seen[block.data].append(index)
    if not wrong and not seen:
        wrong.append("at least one trust anchor must be provided")
    if not wrong:
        twice = (" ".join(map(str, indices)) for indices in seen.values() if len(indices) > 1)
        wrong = [f"duplicate trust anchor (indices [{indices}])" for indices in twice]
    for why in wrong:
        found.invalid(path, "<value omitted>", why)


def _not_an_anchor(block: pem.Block) -> str:
    from cryptography import x509  # a cluster starts without it

    if block.label != "CERTIFICATE":
        return f"has bad block type: {block.label}"
    if block.headers:
        return "has PEM block headers"
    try:
        certificate = x509.load_der_x509_certificate(block.data)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return "does not have the CA bit set"
    except ValueError:
        return "does not parse as X.509"
    return "" if constraints.ca else "does not have the CA bit set"


# PodCertificateRequests


def pod_certificate_request_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = obj.get("spec") or {}
    if old is not None:
        found.same("spec", spec, old.get("spec") or {})
        return
    signer_errors(found, "spec.signerName", spec.get("signerName"))
    _user_annotations(found, "spec.unverifiedUserAnnotations", spec.get("unverifiedUserAnnotations") or {})
    for name in ("pod", "serviceAccount", "node"):
        found.named(f"spec.{name}Name", spec.get(f"{name}Name") or "", names.dns1123_subdomain)
        uid = spec.get(f"{name}UID") or ""
        if not uid:
            found.invalid(f"spec.{name}UID", uid, "must not be empty")
        elif len(uid) > _LONGEST_UID:
            found.too_long(f"spec.{name}UID", _LONGEST_UID)
    seconds, most = spec.get("maxExpirationSeconds"), _most_seconds(spec.get("signerName") or "")
    if seconds is None:
        found.required("spec.maxExpirationSeconds", "must be set")
        return
    if not _LEAST_SECONDS <= seconds <= most:
        why = f"must be in the range [{_LEAST_SECONDS}, {most}]"
        found.invalid("spec.maxExpirationSeconds", seconds, why)
    if spec.get("stubPKCS10Request") and not spec.get("pkixPublicKey") and not spec.get("proofOfPossession"):
        _stub_request(found, "spec.stubPKCS10Request", spec["stubPKCS10Request"])
    elif spec.get("stubPKCS10Request") or not (spec.get("pkixPublicKey") and spec.get("proofOfPossession")):
        why = "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set"
        found.invalid("spec", None, why, shown="")


def _stub_request(found: Findings, path: str, encoded: str) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    data = base64.b64decode(encoded)
    if len(data) > _LARGEST_REQUEST:
        found.too_long(path, _LARGEST_REQUEST)
        return
    try:
        request = x509.load_der_x509_csr(data)
        key, signed = request.public_key(), request.is_signature_valid
    except Exception:  # the library raises its own errors beside ValueError, such as UnsupportedAlgorithm
        found.invalid(path, None, "must be a valid PKCS#10 CSR", shown="")
        return
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            why = "elliptic public keys must use curve P256, P384, or P521"
            found.invalid(path, f"curve {key.curve.name}", why)
    elif isinstance(key, rsa.RSAPublicKey):
        if key.key_size not in _RSA_SIZES:
            why = "RSA keys must have modulus size 3072 or 4096"
            found.invalid(path, f"{key.key_size}-bit modulus", why)
    elif not isinstance(key, ed25519.Ed25519PublicKey):
        why = "unknown public key type; supported types are Ed25519, ECDSA, and RSA"
        found.invalid(path, None, why, shown="")
    elif not signed:
        found.invalid(path, None, "invalid signature", shown="")


# Projected volumes


def projected_bundle_errors(found: Findings, source: Object, path: str) -> None:
    """A `clusterTrustBundle` source; its path is for the volume to check."""
    name, signer, selector = source.get("name"), source.get("signerName"), source.get("labelSelector")
    if name is not None and signer is not None:
        found.invalid(path, source, "only one of name and signerName may be used")
    elif name is not None:
        found.needs(f"{path}.name", name, "must be a valid object name")
        owner, colon, _ = name.rpartition(":")
        for why in bundle_name(owner.replace(":", "/") if colon else "")(name):
            found.invalid(f"{path}.name", name, f"not a valid clustertrustbundlename: {why}")
        if selector is not None:
            why = "labelSelector must be unset if name is specified"
            found.invalid(f"{path}.labelSelector", selector, why)
    elif signer is not None:
        signer_errors(found, f"{path}.signerName", signer)
        label_selector_errors(found, f"{path}.labelSelector", selector)
    else:
        found.required(path, "either name or signerName must be specified")


def projected_certificate_errors(found: Findings, source: Object, path: str) -> None:
    """A `podCertificate` source; its paths are for the volume to check."""
    signer = source.get("signerName") or ""
    signer_errors(found, f"{path}.signerName", signer)
    _user_annotations(found, f"{path}.userAnnotations", source.get("userAnnotations") or {})
    found.one_of(f"{path}.keyType", source.get("keyType"), KEY_TYPES)
    seconds, most = source.get("maxExpirationSeconds"), _most_seconds(signer)
    place = f"{path}.maxExpirationSeconds"
    if seconds is not None and seconds < _LEAST_SECONDS:
        found.invalid(place, seconds, f"if provided, maxExpirationSeconds must be >= {_LEAST_SECONDS}")
    if seconds is not None and seconds > most:
        found.invalid(place, seconds, f"if provided, maxExpirationSeconds must be <= {most}")

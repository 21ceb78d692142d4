"""What a ClusterTrustBundle, a PodCertificateRequest and a projected certificate may say."""

from __future__ import annotations

import base64
import datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from slipway.cluster.registry.validation import validate
from slipway.cluster.schema import pem
from slipway.cluster.schema.decoding import decode
from slipway.cluster.schema.defaults import apply_builtin_defaults

GROUP = "certificates.k8s.io"
Object = dict[str, Any]


def errors(kind: str, obj: Object, old: Object | None = None, group: str = GROUP) -> list[str]:
    def complete(one: Object) -> Object:
        full = decode(one, group, "v1", kind).obj
        apply_builtin_defaults(full, group, "v1", kind)
        return full

    namespaced = kind != "ClusterTrustBundle"
    resource = f"{kind.lower()}s.{group}".rstrip(".")
    found = validate(
        group, kind, resource, complete(obj), complete(old) if old else None, namespaced=namespaced
    )
    return [str(error) for error in found]


def certificate(*, authority: bool = True) -> str:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def bundle(name: str, text: str, signer: str = "") -> Object:
    return {"metadata": {"name": name}, "spec": {"trustBundle": text, "signerName": signer}}


ANCHOR = certificate()


@pytest.mark.parametrize(("name", "signer"), [("plain.name", ""), ("example.com:s:own", "example.com/s")])
def test_a_bundle_is_named_for_its_signer(name: str, signer: str) -> None:
    assert errors("ClusterTrustBundle", bundle(name, ANCHOR, signer)) == []


@pytest.mark.parametrize(
    ("name", "signer", "said"),
    [
        (
            "a:b",
            "",
            'metadata.name: Invalid value: "a:b": ClusterTrustBundle without signer name must not have ":"',
        ),
        ("own", "example.com/s", "must be named with prefix example.com:s:"),
        ("x:own", "x", "must be a fully qualified domain and path of the form 'example.com/signer-name'"),
        ("x:s:own", "x/s", "should be a domain with at least two segments separated by dots"),
        ("e.com:S:own", "e.com/S", 'spec.signerName: Invalid value: "S": validating label "S"'),
    ],
)
def test_a_bundle_with_another_name_or_a_wrong_signer_is_refused(name: str, signer: str, said: str) -> None:
    assert any(said in error for error in errors("ClusterTrustBundle", bundle(name, ANCHOR, signer)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "at least one trust anchor must be provided"),
        ("nothing here", "at least one trust anchor must be provided"),
        (pem.encoded("PRIVATE KEY", b"x"), "entry 0 has bad block type: PRIVATE KEY"),
        (ANCHOR + pem.encoded("CERTIFICATE", b"x"), "entry 1 does not parse as X.509"),
        (certificate(authority=False), "entry 0 does not have the CA bit set"),
        (ANCHOR.replace("CATE-----\n", "CATE-----\na: b\n\n", 1), "entry 0 has PEM block headers"),
        (ANCHOR + ANCHOR, "duplicate trust anchor (indices [0 1])"),
    ],
)
def test_a_bundle_holds_authorities_each_once(text: str, said: str) -> None:
    found = errors("ClusterTrustBundle", bundle("a", text))
    assert found == [f'spec.trustBundle: Invalid value: "<value omitted>": {said}']


def test_the_signer_of_a_bundle_stays() -> None:
    old, new = bundle("e.com:s:a", ANCHOR, "e.com/s"), bundle("e.com:s:a", ANCHOR, "e.com/t")
    assert any("spec.signerName" in error for error in errors("ClusterTrustBundle", new, old))


def stub(key: Any) -> str:
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return base64.b64encode(made.public_bytes(serialization.Encoding.DER)).decode()


def request(**spec: Any) -> Object:
    full = {
        "signerName": "example.com/s",
        **{f"{name}Name": "a" for name in ("pod", "serviceAccount", "node")},
        **{f"{name}UID": "u" for name in ("pod", "serviceAccount", "node")},
        "stubPKCS10Request": stub(ec.generate_private_key(ec.SECP256R1())),
        **spec,
    }
    return {"metadata": {"name": "r", "namespace": "n"}, "spec": full}


def test_a_request_of_a_pod_is_taken_and_lasts_a_day_if_it_does_not_say() -> None:
    assert errors("PodCertificateRequest", request()) == []


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"maxExpirationSeconds": 3599}, "must be in the range [3600, 7862400]"),
        ({"maxExpirationSeconds": 7862401}, "must be in the range [3600, 7862400]"),
        (
            {"maxExpirationSeconds": 86401, "signerName": "kubernetes.io/s"},
            "must be in the range [3600, 86400]",
        ),
        ({"podUID": ""}, 'spec.podUID: Invalid value: "": must not be empty'),
        ({"stubPKCS10Request": "eA=="}, "spec.stubPKCS10Request: Invalid value: must be a valid PKCS#10 CSR"),
        ({"stubPKCS10Request": stub(rsa.generate_private_key(65537, 2048))}, "modulus size 3072 or 4096"),
        (
            {"stubPKCS10Request": stub(ec.generate_private_key(ec.SECP256K1()))},
            "must use curve P256, P384, or P521",
        ),
        (
            {"stubPKCS10Request": ""},
            "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession)",
        ),
        ({"unverifiedUserAnnotations": {"plain": "x"}}, "must be a domain-prefixed key"),
    ],
)
def test_a_request_that_is_wrong_is_refused(spec: Object, said: str) -> None:
    assert any(said in error for error in errors("PodCertificateRequest", request(**spec)))


def test_a_request_does_not_change() -> None:
    old = request()
    new = {**old, "spec": {**old["spec"], "signerName": "example.com/t"}}
    assert any(error.startswith("spec: Invalid value") for error in errors("PodCertificateRequest", new, old))


def pod(*sources: Object) -> Object:
    volume = {"name": "v", "projected": {"sources": list(sources)}}
    container = {"name": "c", "image": "i"}
    return {
        "metadata": {"name": "p", "namespace": "n"},
        "spec": {"containers": [container], "volumes": [volume]},
    }


def of_pod(*sources: Object) -> list[str]:
    return errors("Pod", pod(*sources), group="")


ISSUED = {"signerName": "example.com/s", "keyType": "ED25519", "keyPath": "key"}


def test_projected_certificates_are_taken() -> None:
    named = {"name": "example.com:s:a", "path": "one"}
    by_signer = {"signerName": "example.com/s", "labelSelector": {}, "path": "two"}
    sources = [{"clusterTrustBundle": named}, {"clusterTrustBundle": by_signer}, {"podCertificate": ISSUED}]
    assert of_pod(*sources) == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            {"podCertificate": {**ISSUED, "maxExpirationSeconds": 7862401}},
            "maxExpirationSeconds must be <= 7862400",
        ),
        (
            {"podCertificate": {**ISSUED, "maxExpirationSeconds": 3599}},
            "maxExpirationSeconds must be >= 3600",
        ),
        ({"podCertificate": {**ISSUED, "keyType": "DSA"}}, 'keyType: Unsupported value: "DSA"'),
        ({"podCertificate": {**ISSUED, "keyPath": ""}}, "specify at least one of credentialBundlePath"),
        ({"podCertificate": {**ISSUED, "certificateChainPath": "key"}}, "conflicting duplicate paths"),
        ({"clusterTrustBundle": {"path": "a"}}, "either name or signerName must be specified"),
        (
            {"clusterTrustBundle": {"path": "a", "name": "a", "signerName": "e.com/s"}},
            "only one of name and signerName may be used",
        ),
        (
            {"clusterTrustBundle": {"path": "a", "name": "a", "labelSelector": {}}},
            "labelSelector must be unset if name is specified",
        ),
        ({"clusterTrustBundle": {"path": "../a", "name": "a"}}, "must not contain '..'"),
        ({"clusterTrustBundle": {"name": "a"}}, "clusterTrustBundle.path: Required value"),
    ],
)
def test_a_projected_certificate_that_is_wrong_is_refused(source: Object, said: str) -> None:
    found = of_pod(source)
    assert any(said in error for error in found), found

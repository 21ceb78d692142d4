"""Certificates as files of pods: trust anchors that ClusterTrustBundles hold, and chains that a signer issues."""

from __future__ import annotations

import base64
import datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from slipway.cluster.client.resources import CLUSTER_TRUST_BUNDLES, POD_CERTIFICATE_REQUESTS

Pods = Any
SIGNER = "example.com/tests"
MOUNTS = [{"name": "v", "mountPath": "/slipway-pki"}]


def shell(script: str) -> dict[str, Any]:
    return {"command": ["sh", "-c", script], "volumeMounts": MOUNTS}


def projected(*sources: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": "v", "projected": {"sources": list(sources)}}]


class Authority:
    """Signs what it is asked to, and itself."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.start = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        self.text = self.sign(self.name, self.key.public_key(), authority=True)

    def sign(self, name: x509.Name, key: Any, *, authority: bool = False) -> str:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.start)
            .not_valid_after(self.start + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        made = builder.sign(self.key, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM).decode()


async def add_bundle(pods: Pods, name: str, text: str, signer: str = "", **labels: str) -> None:
    spec = {"trustBundle": text, **({"signerName": signer} if signer else {})}
    await pods.client.create(
        CLUSTER_TRUST_BUNDLES, {"metadata": {"name": name, "labels": labels}, "spec": spec}
    )


async def test_a_pod_sees_the_anchors_of_a_bundle_each_once_and_their_change(process_pods: Pods) -> None:
    one, two = Authority("one"), Authority("two")
    await add_bundle(process_pods, "named", f"a remark\n{one.text}")
    source = {"clusterTrustBundle": {"name": "named", "path": "ca.pem"}}
    await process_pods.create("reader", shell("sleep 60"), volumes=projected(source))
    await process_pods.running("reader")
    assert await process_pods.run("reader", "cat", "/slipway-pki/ca.pem") == (0, one.text)
    changed = {"spec": {"trustBundle": one.text + two.text}}
    await process_pods.client.patch(CLUSTER_TRUST_BUNDLES, "named", "", changed)

    async def both() -> bool:
        _, text = await process_pods.run("reader", "cat", "/slipway-pki/ca.pem")
        return one.text in text and two.text in text

    await process_pods.comes_true(both)


async def test_bundles_are_taken_by_their_signer_and_labels(process_pods: Pods) -> None:
    anchors = {name: Authority(name).text for name in ("alive", "dead", "foreign")}
    await add_bundle(process_pods, "example.com:tests:a", anchors["alive"], SIGNER, state="alive")
    await add_bundle(process_pods, "example.com:tests:b", anchors["dead"], SIGNER, state="dead")
    await add_bundle(process_pods, "foreign", anchors["foreign"], state="alive")
    of_signer = {"signerName": SIGNER}
    sources = [
        {**of_signer, "path": "alive", "labelSelector": {"matchLabels": {"state": "alive"}}},
        {**of_signer, "path": "all", "labelSelector": {}},
        {**of_signer, "path": "none", "optional": True},
    ]
    script = "cat /slipway-pki/alive; echo '##'; cat /slipway-pki/all; echo '##'; cat /slipway-pki/none"
    volumes = projected(*({"clusterTrustBundle": source} for source in sources))
    text = await process_pods.output("reader", shell(script), volumes=volumes)
    alive, all_, none = text.split("##\n")
    assert alive == anchors["alive"]
    assert anchors["dead"] in all_
    assert anchors["alive"] in all_
    assert anchors["foreign"] not in all_
    assert none == ""


async def test_a_bundle_that_is_missing_holds_the_pod(process_pods: Pods) -> None:
    source = {"clusterTrustBundle": {"name": "late", "path": "ca.pem"}}
    await process_pods.create("held", shell("cat /slipway-pki/ca.pem"), volumes=projected(source))
    said = 'MountVolume.SetUp failed for volume "v" : clustertrustbundle.certificates.k8s.io "late" not found'

    async def told() -> bool:
        return ("FailedMount", said) in await process_pods.events("held")

    await process_pods.comes_true(told)
    anchor = Authority("late").text
    await add_bundle(process_pods, "late", anchor)
    await process_pods.over("held")
    assert await process_pods.log("held") == anchor


async def requested(pods: Pods) -> dict[str, Any]:
    async def found() -> dict[str, Any] | None:
        rows = (await pods.client.list(POD_CERTIFICATE_REQUESTS, "default"))["items"]
        return rows[0] if rows else None

    request: dict[str, Any] = await pods.comes_true(found)
    return request


def stamp(when: datetime.datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def certificate_source(**more: Any) -> dict[str, Any]:
    words = {"signerName": SIGNER, "keyType": "ECDSAP256", "credentialBundlePath": "bundle.pem", **more}
    return {"podCertificate": words}


def condition(kind: str, **more: str) -> dict[str, str]:
    when = stamp(datetime.datetime.now(datetime.UTC))
    return {"type": kind, "status": "True", "reason": "Test", "lastTransitionTime": when, **more}


async def decide(pods: Pods, request: dict[str, Any], status: dict[str, Any]) -> None:
    await pods.client.update_status(POD_CERTIFICATE_REQUESTS, {**request, "status": status})


async def test_a_pod_gets_the_chain_that_its_signer_issues_for_a_key_of_its_own(process_pods: Pods) -> None:
    source = certificate_source(userAnnotations={"example.com/path": "x"}, certificateChainPath="chain.pem")
    await process_pods.create(
        "holder", shell("cat /slipway-pki/bundle.pem; echo '##'; cat /slipway-pki/chain.pem"),
        volumes=projected(source),
    )  # fmt: skip
    request = await requested(process_pods)
    spec = request["spec"]
    assert spec["podName"] == "holder"
    assert spec["maxExpirationSeconds"] == 86400
    assert spec["unverifiedUserAnnotations"] == {"example.com/path": "x"}
    authority = Authority("signer")
    asked = x509.load_der_x509_csr(base64.b64decode(spec["stubPKCS10Request"]))
    chain = authority.sign(x509.Name([]), asked.public_key())
    start = authority.start
    await decide(
        process_pods,
        request,
        {
            "conditions": [condition("Issued")],
            "certificateChain": chain,
            "notBefore": stamp(start),
            "beginRefreshAt": stamp(start + datetime.timedelta(hours=12)),
            "notAfter": stamp(start + datetime.timedelta(days=1)),
        },
    )
    await process_pods.over("holder")
    bundle, shown = (await process_pods.log("holder")).split("##\n")
    assert shown == chain
    assert bundle.endswith(chain)
    key = serialization.load_pem_private_key(bundle.removesuffix(chain).encode(), None)
    assert key.public_key() == asked.public_key()


async def test_a_pod_whose_certificate_is_denied_is_told_why_and_held(process_pods: Pods) -> None:
    await process_pods.create("denied", shell("true"), volumes=projected(certificate_source()))
    request = await requested(process_pods)
    await decide(process_pods, request, {"conditions": [condition("Denied", message="not you")]})
    name = request["metadata"]["name"]

    async def told() -> bool:
        said = f'PodCertificateRequest {name} was denied, reason="Test", message="not you"'
        return any(said in message for _, message in await process_pods.events("denied"))

    await process_pods.comes_true(told)
    assert len((await process_pods.client.list(POD_CERTIFICATE_REQUESTS, "default"))["items"]) == 1


@pytest.mark.parametrize(
    ("security", "said"),
    [
        ({"runAsUser": 1000}, "600 1000 0"),
        ({"fsGroup": 10000}, "640 0 10000"),
        ({"runAsUser": 1000, "fsGroup": 10000}, "640 1000 10000"),
        ({}, "644 0 0"),
    ],
)
async def test_a_token_is_for_the_user_or_the_group_of_the_pod_alone(
    namespace_pods: Pods, security: dict[str, int], said: str
) -> None:
    source = {"serviceAccountToken": {"path": "token"}}
    script = "stat -L -c '%a %u %g' /slipway-pki/token; cat /slipway-pki/token | wc -l"
    text = await namespace_pods.output(
        "reader", shell(script), volumes=projected(source), securityContext=security
    )
    assert text == f"{said}\n0\n"

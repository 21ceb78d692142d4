"""Documents beside the resources, and what every answer carries, over a real connection."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from slipway.cluster import Cluster

TOKENS = {"admin": ("admin", ("system:masters",)), "bob": ("bob", ())}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(
        name="documents", nodes=0, controllers=False, scheduler=False, tls=False, tokens=TOKENS
    ) as made:
        yield made


def ask(cluster: Cluster, path: str, token: str = "admin", **headers: str) -> tuple[Any, dict[str, str]]:
    request = urllib.request.Request(
        cluster.url + path, headers={"Authorization": f"Bearer {token}", **headers}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read()), {name.lower(): value for name, value in answer.headers.items()}


def test_tokens_can_be_checked_by_the_published_keys(cluster: Cluster) -> None:
    configuration, headers = ask(cluster, "/.well-known/openid-configuration")
    assert headers["cache-control"] == "public, max-age=3600"
    assert configuration["jwks_uri"].endswith(f"{cluster.url.rpartition(':')[2]}/openid/v1/jwks")
    keys, headers = ask(cluster, "/openid/v1/jwks")
    assert headers["content-type"] == "application/jwk-set+json"
    (key,) = keys["keys"]
    numbers = ec.EllipticCurvePublicNumbers(*(_number(key[name]) for name in "xy"), ec.SECP256R1())
    account = {"metadata": {"name": "checked"}}
    _post(cluster, "/api/v1/namespaces/default/serviceaccounts", account)
    issued = _post(cluster, "/api/v1/namespaces/default/serviceaccounts/checked/token", {"spec": {}})
    head, claims, signature = issued["status"]["token"].split(".")
    _verify(numbers.public_key(), f"{head}.{claims}".encode(), signature)
    assert json.loads(_bytes(head))["kid"] == key["kid"]
    assert json.loads(_bytes(claims))["iss"] == configuration["issuer"]


def test_who_asks_the_issuer_by_its_name_finds_the_keys_there(cluster: Cluster) -> None:
    configuration, _ = ask(
        cluster, "/.well-known/openid-configuration", Host="kubernetes.default.svc.cluster.local"
    )
    assert configuration["jwks_uri"] == f"{configuration['issuer']}/openid/v1/jwks"


@pytest.mark.parametrize("path", ["/version", "/api/v1/pods"])
def test_a_timeout_that_is_no_duration_is_refused(cluster: Cluster, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(cluster, f"{path}?timeout=invalid")
    assert refused.value.code == 400
    said = json.loads(refused.value.read())["message"]
    assert said == 'invalid timeout specified in the request URL - time: invalid duration "invalid"'


def test_a_watch_has_no_timeout_of_that_kind(cluster: Cluster) -> None:
    path = "/api/v1/pods?watch=1&timeoutSeconds=1&timeout=invalid"
    request = urllib.request.Request(cluster.url + path, headers={"Authorization": "Bearer admin"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.read() == b""


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _number(text: str) -> int:
    return int.from_bytes(_bytes(text), "big")


def _verify(key: Any, signed: bytes, signature: str) -> None:
    raw = _bytes(signature)
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))


def _post(cluster: Cluster, path: str, body: Any) -> Any:
    request = urllib.request.Request(
        cluster.url + path,
        json.dumps(body).encode(),
        {"Authorization": "Bearer admin", "Content-Type": "application/json"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def test_who_is_not_allowed_sees_no_keys(cluster: Cluster) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(cluster, "/openid/v1/jwks", "bob")
    assert caught.value.code == 403


def test_every_answer_has_an_audit_id_the_callers_own_where_it_brings_one(cluster: Cluster) -> None:
    first, second = (ask(cluster, "/api/v1/namespaces")[1] for _ in range(2))
    assert first["audit-id"] != second["audit-id"]
    assert first["cache-control"] == "no-cache, private"
    assert ask(cluster, "/version", **{"Audit-ID": "mine"})[1]["audit-id"] == "mine"


def test_a_generated_name_that_is_taken_is_generated_anew(cluster: Cluster) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    body = {"metadata": {"generateName": "g-"}}
    registry = cluster.embedded.plane.registry
    state = registry.randomness.getstate()
    first = _post(cluster, path, body)["metadata"]["name"]
    registry.randomness.setstate(state)  # the same names again
    second = _post(cluster, path, body)["metadata"]["name"]
    assert first != second

"""Paths with slashes too many or too few, dots and escapes: each was asked of a real 1.37 server, which answered so."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator

import pytest

from slipway.cluster import Cluster

TOKENS = {"admin": ("admin", ("system:masters",)), "bob": ("bob", ())}
PAGE = "404 page not found\n"
UNKNOWN = "the server could not find the requested resource"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(
        name="odd-paths", nodes=0, controllers=False, scheduler=False, tls=False, tokens=TOKENS
    ) as made:
        yield made


def ask(cluster: Cluster, path: str, token: str = "admin") -> tuple[int, str]:
    """The status, and the message of a Status, the kind of anything else, or the text of what is no JSON."""
    connection = http.client.HTTPConnection(cluster.url.partition("://")[2], timeout=10)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    if not answer.headers.get("content-type", "").startswith("application/json"):
        return answer.status, text
    value = json.loads(text)
    return answer.status, value.get("message") or value.get("kind") or sorted(value)[0]


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("//api/v1/namespaces/default", (404, PAGE)),
        ("//api", (404, PAGE)),
        ("//version", (404, PAGE)),
        ("//", (404, PAGE)),
        ("/apis//apps/v1", (404, PAGE)),
        ("/api//v1/namespaces/default", (404, UNKNOWN)),
        ("/api/v1/namespaces//default", (404, UNKNOWN)),
        ("/apis/apps/v1//deployments", (404, UNKNOWN)),
        ("/api/v1/namespaces/../namespaces/default", (404, UNKNOWN)),
        ("/api/..", (404, UNKNOWN)),
        ("/..", (404, PAGE)),
        ("/api/v1/namespaces/default/", (200, "Namespace")),
        ("/api/v1/namespaces/", (200, "NamespaceList")),
        ("/api/v1/namespaces/default/pods//", (200, "PodList")),
        ("/api/v1/namespaces/def%61ult", (200, "Namespace")),
        ("/api/v1/namespaces/default%2Fconfigmaps", (200, "ConfigMapList")),
        ("/api/v1/namespaces/default/configmaps/a%2Fb", (404, UNKNOWN)),
        (
            "/api/v1/namespaces/default/configmaps/..",
            (400, """Name parameter invalid: "..": may not be '..'"""),
        ),
        (
            "/api/v1/namespaces/default/configmaps/%2e",
            (400, """Name parameter invalid: ".": may not be '.'"""),
        ),
        (
            "/api/v1/namespaces/default/configmaps/a%25b",
            (400, """Name parameter invalid: "a%b": may not contain '%'"""),
        ),
        ("/api/v1/namespaces/default/configmaps/a%", (400, "400 Bad Request")),
        ("/api/v1/namespaces/default/configmaps/a%zz", (400, "400 Bad Request")),
        ("/api/v1/namespaces/default/pods/x/log/y", (404, UNKNOWN)),
        ("/version/", (200, "buildDate")),
        ("/healthz/", (404, PAGE)),
        ("/metrics/", (404, PAGE)),
        ("/openapi/v2/", (404, PAGE)),
        ("/openapi/v3/", (404, "")),
        ("/openapi/v3/api/v1/", (404, "")),
        ("/.well-known/openid-configuration/", (200, "id_token_signing_alg_values_supported")),
    ],
)
def test_a_path_is_answered_as_upstream_answers_it(
    cluster: Cluster, path: str, answer: tuple[int, str]
) -> None:
    assert ask(cluster, path) == answer


def test_an_escaped_slash_does_not_lead_around_authorization(cluster: Cluster) -> None:
    for path in ("/api/v1/namespaces/default%2Fsecrets", "/api/v1%2Fnamespaces/default/secrets"):
        status, message = ask(cluster, path, "bob")
        assert status == 403
        assert 'cannot list resource "secrets" in API group "" in the namespace "default"' in message
    assert ask(cluster, "/%6detrics", "bob") == (403, 'forbidden: User "bob" cannot get path "/metrics"')

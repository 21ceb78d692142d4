"""Requests past a webhook nobody serves: its matchConditions decide whether that matters, as recorded from 1.37."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster import Cluster

CASES = json.loads((Path(__file__).parent / "recorded" / "match_conditions_live_1.37.json").read_text())
HOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
NAMESPACE = "conditions"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(
        controllers=False,
        scheduler=False,
        nodes=0,
        service_account_admission=False,
        tokens={"asker": ("admin", ("system:masters",))},
    ) as running:
        ask(running, "POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        yield running


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["expressions"][0])
def test_a_request_is_answered_as_by_the_real_server(cluster: Cluster, case: dict[str, Any]) -> None:
    expressions = [e.replace("'mclive'", f"'{NAMESPACE}'") for e in case["expressions"]]
    code, _ = ask(cluster, "POST", HOOKS, configuration(expressions, case["failurePolicy"]))
    assert code == 201
    try:
        code, answer = ask(
            cluster,
            "POST",
            f"/api/v1/namespaces/{NAMESPACE}/configmaps",
            {"metadata": {"name": "a"}, "data": {"k": "v"}},
        )
    finally:
        ask(cluster, "DELETE", f"{HOOKS}/unserved")
        ask(cluster, "DELETE", f"/api/v1/namespaces/{NAMESPACE}/configmaps/a")
    assert code == case["code"]
    assert answer.get("message", "").startswith(case["message"])


def test_an_expression_that_does_not_compile_is_refused(cluster: Cluster) -> None:
    code, answer = ask(cluster, "POST", HOOKS, configuration(["request.nope == 1"], "Fail"))
    assert code == 422
    assert "undefined field 'nope'" in answer["message"]


def configuration(expressions: list[str], policy: str) -> dict[str, Any]:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}
    return {
        "metadata": {"name": "unserved"},
        "webhooks": [
            {
                "name": "a.b.example.com",
                "failurePolicy": policy,
                "clientConfig": {"url": "https://127.0.0.1:1/x"},
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "rules": [rule],
                "matchConditions": [
                    {"name": f"c{index}", "expression": text} for index, text in enumerate(expressions)
                ],
            }
        ],
    }


def ask(cluster: Cluster, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    address = urllib.parse.urlsplit(cluster.url)
    context = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection(
        address.hostname or "", address.port, timeout=30, context=context
    )
    try:
        connection.request(
            method,
            path,
            json.dumps(body) if body is not None else None,
            {"Authorization": "Bearer asker", "Content-Type": "application/json"},
        )
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()

"""Ten CRDs in the styles of the usual generators, and what a real 1.37 API server answered to their objects.

The requests were made from `crds/*.yaml` and `crds/journeys.yaml`; the recorded answers are in `recorded`.
Here they are asked of the embedded server, over HTTP.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway.cluster import Cluster
from slipway.cluster.schema.crd import set_defaults, status_on_create
from slipway.cluster.schema.crd_validation import crd_errors

HERE = Path(__file__).parent
SCENARIOS = json.loads((HERE / "recorded" / "journeys_1.37.json").read_text())
CRDS = sorted(path for path in (HERE / "crds").glob("*.yaml") if path.name != "journeys.yaml")
MASKED = frozenset(
    {"uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "time", "lastTransitionTime"}
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(
        controllers=False,
        scheduler=False,
        nodes=0,
        service_account_admission=False,
        tokens={"journey": ("admin", ("system:masters",))},
    ) as running:
        yield running


@pytest.mark.parametrize("path", CRDS, ids=lambda path: path.stem)
def test_a_crd_of_the_usual_generators_is_valid(path: Path) -> None:
    crd = yaml.safe_load(path.read_text())
    set_defaults(crd)
    crd["status"] = status_on_create(crd)
    assert crd_errors(crd) == []


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario["name"])
def test_objects_of_a_crd_are_answered_as_by_the_real_server(
    cluster: Cluster, scenario: dict[str, Any]
) -> None:
    namespace = scenario["namespace"]
    ask(cluster, "POST", "/api/v1/namespaces", {}, {"metadata": {"name": namespace}})
    for number, step in enumerate(scenario["steps"]):
        path = step["path"].replace("${ns}", namespace)
        status, body = ask(cluster, step["method"], path, step.get("headers", {}), step.get("body"))
        assert (number, path, status) == (number, path, step["answer"]["status"]), body
        assert masked(body) == masked(step["answer"]["body"]), f"step {number}: {step['method']} {path}"


def ask(cluster: Cluster, method: str, path: str, headers: dict[str, str], body: Any) -> tuple[int, Any]:
    address = urllib.parse.urlsplit(cluster.url)
    connection = http.client.HTTPSConnection(
        address.hostname or "", address.port, timeout=30, context=ssl._create_unverified_context()
    )
    sent = {"Accept": "application/json", "Authorization": "Bearer journey", **headers}
    sent.setdefault("Content-Type", "application/json")
    connection.request(method, path, None if body is None else json.dumps(body), sent)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    try:
        return answer.status, json.loads(text)
    except ValueError:
        return answer.status, text


def masked(value: Any, key: str = "") -> Any:
    """The value without what differs from run to run; several causes, and owners of one second, have no order."""
    if isinstance(value, dict):
        value = {name: masked(child, name) for name, child in value.items()}
        causes = (
            (value.get("details") or {}).get("causes") if isinstance(value.get("details"), dict) else None
        )
        if causes and len(causes) > 1:
            causes.sort(key=lambda cause: sorted(cause.items()))
            value["message"] = value["message"].split(": [")[0]
        if value.get("kind") == "APIResourceList":
            value["resources"].sort(key=lambda resource: resource["name"])
        return value
    if isinstance(value, list):
        if key == "cells":
            return [
                "<age>" if isinstance(cell, str) and re.fullmatch(r"\d+s|<age>", cell) else cell
                for cell in value
            ]
        found = [masked(item) for item in value]
        return (
            sorted(found, key=lambda item: json.dumps(item, sort_keys=True))
            if key == "managedFields"
            else found
        )
    return "<masked>" if key in MASKED and isinstance(value, str) and value else value

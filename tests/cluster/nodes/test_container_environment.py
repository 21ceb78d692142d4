"""Variables and command lines as the API's documentation says."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.cluster.nodes.container_environment import (
    ConfigError,
    command_line,
    environment,
    expand,
    field_value,
    resource_value,
)

POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "d", "uid": "u", "labels": {"a": "1", "b": 'x"y'}},
    "spec": {"nodeName": "n", "serviceAccountName": "sa", "containers": []},
}
OBJECTS = {
    ("ConfigMap", "c"): {"data": {"one": "1", "two": "2"}},
    ("Secret", "s"): {"data": {"key": base64.b64encode(b"hidden").decode()}},
}


async def lookup(kind: str, name: str) -> Any:
    return OBJECTS.get((kind, name))


async def env(container: dict[str, Any], services: list[Any] | None = None) -> dict[str, str]:
    status = {"podIP": "10.1.0.5", "podIPs": [{"ip": "10.1.0.5"}]}
    return await environment(POD, container, lookup, services or [], status, {"cpu": "4", "memory": "8Gi"})


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"), ("x$(A)y$(A)", "x1y1"), ("$(B)", "$(B)"), ("$$(A)", "$(A)"), ("$$$(A)", "$1"), ("$", "$"),
        ("a$b", "a$b"), ("$(A", "$(A"), ("$()", "$()"), ("$$", "$"), ("cost $5 $(A)", "cost $5 1"),
    ],
)  # fmt: skip
def test_references_expand(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1"}) == expanded


@given(st.text(alphabet="ab$()", max_size=20))
def test_text_without_known_names_changes_only_in_its_double_dollars(text: str) -> None:
    assert expand(text, {}).count("$") <= text.count("$")
    if "$$" not in text:
        assert expand(text, {}) == text


@pytest.mark.parametrize(
    ("container", "line"),
    [
        ({}, ("entry", "default")),
        ({"args": ["x"]}, ("entry", "x")),
        ({"command": ["own"]}, ("own",)),
        ({"command": ["own"], "args": ["$(V)"]}, ("own", "value")),
    ],
)
def test_command_and_args_overrule_the_image(container: Any, line: tuple[str, ...]) -> None:
    assert command_line(container, ["entry"], ["default"], {"V": "value"}) == line


async def test_later_variables_see_earlier_ones_and_overrule_envfrom() -> None:
    got = await env(
        {
            "name": "m",
            "envFrom": [{"configMapRef": {"name": "c"}}, {"prefix": "S_", "secretRef": {"name": "s"}}],
            "env": [
                {"name": "one", "value": "own"},
                {"name": "both", "value": "$(one)/$(two)/$(later)"},
                {"name": "later", "value": "x"},
                {"name": "secret", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
                {"name": "ip", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            ],
        }
    )
    assert got == {
        "one": "own",
        "two": "2",
        "S_key": "hidden",
        "both": "own/2/$(later)",
        "later": "x",
        "secret": "hidden",
        "ip": "10.1.0.5",
    }


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"configMapKeyRef": {"name": "none", "key": "k"}}, 'configmap "none" not found'),
        ({"secretKeyRef": {"name": "s", "key": "k"}}, "couldn't find key k in Secret d/s"),
        ({"fieldRef": {"fieldPath": "spec.colour"}}, "unsupported fieldPath"),
    ],
)
async def test_a_reference_that_leads_nowhere_is_an_error(row: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        await env({"name": "m", "env": [{"name": "x", "valueFrom": row}]})
    if "fieldRef" not in row:
        for reference in row.values():
            reference["optional"] = True
        assert await env({"name": "m", "env": [{"name": "x", "valueFrom": row}]}) == {}


def test_fields_of_the_pod_are_told() -> None:
    assert field_value(POD, "metadata.labels") == 'a="1"\nb="x\\"y"'
    assert field_value(POD, "metadata.labels['a']") == "1"
    assert field_value(POD, "metadata.annotations['none']") == ""
    assert field_value(POD, "spec.serviceAccountName") == "sa"


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ({"resource": "limits.cpu"}, "1"),
        ({"resource": "limits.cpu", "divisor": "1m"}, "500"),
        ({"resource": "requests.memory", "divisor": "1Mi"}, "64"),
        ({"resource": "limits.memory", "divisor": "1Gi"}, "8"),
    ],
)
def test_resources_are_told_in_units_of_the_divisor_rounded_up(reference: Any, value: str) -> None:
    container = {"name": "m", "resources": {"limits": {"cpu": "500m"}, "requests": {"memory": "64Mi"}}}
    pod = {**POD, "spec": {**POD["spec"], "containers": [container]}}
    assert resource_value(pod, reference, container, {"memory": "8Gi"}) == value


async def test_services_of_the_namespace_and_kubernetes_are_told() -> None:
    def service(namespace: str, name: str, ip: str) -> dict[str, Any]:
        ports = [{"name": "web-ui", "port": 80, "protocol": "TCP"}]
        return {"metadata": {"namespace": namespace, "name": name}, "spec": {"clusterIP": ip, "ports": ports}}

    rows = [
        service("d", "my-app", "10.0.0.2"),
        service("other", "hidden", "10.0.0.3"),
        service("default", "kubernetes", "10.0.0.1"),
        service("d", "headless", "None"),
    ]
    got = await env({"name": "m"}, rows)
    assert got["MY_APP_SERVICE_HOST"] == "10.0.0.2"
    assert got["MY_APP_SERVICE_PORT_WEB_UI"] == "80"
    assert got["MY_APP_PORT_80_TCP_ADDR"] == "10.0.0.2"
    assert got["KUBERNETES_SERVICE_HOST"] == "10.0.0.1"
    assert not any(name.startswith(("HIDDEN", "HEADLESS")) for name in got)

"""What every fresh cluster answers: the objects it has from the start, and how its answers look as text.

Each of these was found by a third-party suite (docs/reference/third-party-suites.md).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.exchange import Identity, Peer, Request

ADMIN = Peer("127.0.0.1", identity=Identity("admin", ("system:masters",)))


class Api:
    """Sends requests as the administrator and reads whole answers."""

    def __init__(self, cluster: EmbeddedCluster) -> None:
        self._cluster = cluster

    async def text(self, method: str, path: str, body: object = None, query: str = "") -> tuple[int, str]:
        headers = {"content-type": "application/json"}
        data = b"" if body is None else json.dumps(body).encode()
        request = Request(method, path, query, headers, data, ADMIN)
        response = await self._cluster.plane.api.handle(request)
        if isinstance(response.body, bytes):
            return response.status, response.body.decode()
        return response.status, b"".join([chunk async for chunk in response.body]).decode()

    async def names(self, path: str) -> set[str]:
        listed = json.loads((await self.text("GET", path))[1])
        return {item["metadata"]["name"] for item in listed["items"]}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    options = ClusterOptions(nodes=0, controllers=False, scheduler=False, listen=False, tls=False)
    async with EmbeddedCluster(options) as cluster:
        yield Api(cluster)


async def test_every_json_answer_ends_with_a_line_break(api: Api) -> None:
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    here = "/api/v1/namespaces/default/configmaps"
    for method, path, body, status in (
        ("POST", here, config_map, 201),
        ("POST", here, config_map, 409),
        ("GET", f"{here}/a", None, 200),
        ("DELETE", f"{here}/a", None, 200),
        ("GET", f"{here}/a", None, 404),
        ("GET", here, None, 200),
        ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review, 201),
        ("GET", "/apis", None, 200),
    ):
        code, text = await api.text(method, path, body)
        assert code == status, text
        assert text.endswith("}\n"), (method, path)


async def test_a_resource_version_that_is_no_number_does_not_hinder_a_create(api: Api) -> None:
    def service(name: str, version: str) -> object:
        metadata = {"name": name, "resourceVersion": version}
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"ports": [{"port": 80}]},
        }

    path = "/api/v1/namespaces/default/services"
    status, text = await api.text("POST", path, service("a", "v1"))
    assert status == 201, text
    assert json.loads(text)["metadata"]["resourceVersion"].isdigit()
    status, text = await api.text("POST", path, service("b", "12"))
    assert status == 500
    assert "resourceVersion should not be set" in text


async def test_system_priorities_and_namespaced_roles_are_there_from_the_start(api: Api) -> None:
    priorities = await api.names("/apis/scheduling.k8s.io/v1/priorityclasses")
    assert priorities == {"system-cluster-critical", "system-node-critical"}
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system"
    assert "extension-apiserver-authentication-reader" in await api.names(f"{rbac}/roles")
    assert "system::extension-apiserver-authentication-reader" in await api.names(f"{rbac}/rolebindings")


async def test_a_pod_in_a_new_namespace_waits_for_its_default_account(api: Api) -> None:
    """No controller runs here: the account comes by another's hand, as it would from the controller."""
    metadata = {"name": "new"}
    await api.text(
        "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    )
    containers = [{"name": "c", "image": "busybox"}]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": containers}}
    waiting = asyncio.create_task(api.text("POST", "/api/v1/namespaces/new/pods", pod))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    await api.text("POST", "/api/v1/namespaces/new/serviceaccounts", account)
    status, text = await waiting
    assert status == 201, text


async def test_a_pod_whose_account_never_comes_is_refused_after_a_while(api: Api) -> None:
    metadata = {"name": "bare"}
    await api.text(
        "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    )
    spec = {"containers": [{"name": "c", "image": "busybox"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    status, text = await api.text("POST", "/api/v1/namespaces/bare/pods", pod)
    assert status == 403
    assert 'serviceaccount \\"default\\" not found' in text

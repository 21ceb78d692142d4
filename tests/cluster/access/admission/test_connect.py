"""Admission of connections: a webhook is asked about exec before anything runs, and about port-forward and proxy."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from slipway.cluster.client.resources import ApiResource
from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.exchange import Identity, Peer, Request
from slipway.cluster.registry.call import Call
from slipway.cluster.status import forbidden

Object = dict[str, Any]
RBAC = "rbac.authorization.k8s.io"
ROLES = ApiResource(RBAC, "v1", "roles", "Role", True)
BINDINGS = ApiResource(RBAC, "v1", "rolebindings", "RoleBinding", True)
ADMIN = Identity("admin", ("system:masters",))
BARE = ClusterOptions(nodes=0, controllers=False, scheduler=False, tls=False)
POD = "/api/v1/namespaces/default/pods/p"


class NoConnections:
    """A plug-in that lets nobody connect."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, Object | None]] = []

    async def mutate(self, call: Call, obj: Object | None, old: Object | None) -> Object | None:
        return obj

    async def validate(self, call: Call, obj: Object | None, old: Object | None) -> None:
        if call.verb == "connect":
            self.seen.append((call.name, call.subresource, obj))
            raise forbidden("pods", "", call.name, "no connections")


@pytest.mark.parametrize(
    ("path", "options"),
    [
        (
            "exec?command=ls&command=-l&container=main&stdout=true&stdin=0",
            {"kind": "PodExecOptions", "stdout": True, "container": "main", "command": ["ls", "-l"]},
        ),
        ("attach?stdin=1&tty=true", {"kind": "PodAttachOptions", "stdin": True, "tty": True}),
        ("portforward?ports=80&ports=443", {"kind": "PodPortForwardOptions", "ports": [80, 443]}),
        ("proxy/some/where", {"kind": "PodProxyOptions", "path": "/some/where"}),
    ],
)
async def test_admission_sees_the_options_of_a_connection_and_may_refuse_it(
    path: str, options: Object
) -> None:
    async with EmbeddedCluster(BARE) as cluster:
        judge = NoConnections()
        cluster.plane.registry.admission = judge
        place, _, query = path.partition("?")
        answer = await cluster.plane.api.handle(
            Request("GET", f"{POD}/{place}", query, peer=Peer(identity=ADMIN))
        )
    assert isinstance(answer.body, bytes)
    assert (answer.status, orjson.loads(answer.body)["message"]) == (
        403,
        'pods "p" is forbidden: no connections',
    )
    ((name, subresource, seen),) = judge.seen
    assert (name, subresource) == ("p", place.partition("/")[0])
    assert seen == {"apiVersion": "v1", **options}


async def test_a_websocket_needs_the_permission_to_create_as_well_as_that_to_get() -> None:
    async with EmbeddedCluster(BARE) as cluster:
        client = cluster.client()
        rules = [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get"]}]
        metadata = {"name": "jane", "namespace": "default"}
        await client.create(ROLES, {"metadata": metadata, "rules": rules})
        subject = {"kind": "User", "name": "jane", "apiGroup": RBAC}
        ref = {"kind": "Role", "name": "jane", "apiGroup": RBAC}
        await client.create(BINDINGS, {"metadata": metadata, "subjects": [subject], "roleRef": ref})
        request = Request("GET", f"{POD}/exec", "command=ls&stdout=1", peer=Peer(identity=Identity("jane")))
        answer = await cluster.plane.api.handle(request)
        assert isinstance(answer.body, bytes)
        assert (answer.status, orjson.loads(answer.body)["message"]) == (403, 'pods "p" is forbidden: ')
        rules[0]["verbs"].append("create")
        await client.patch(ROLES, "jane", "default", {"rules": rules})
        assert (await cluster.plane.api.handle(request)).status == 404  # allowed: only, there is no such pod

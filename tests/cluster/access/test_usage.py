"""What a caller did is remembered as roles that allow that and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slipway.cluster.client.client import Client
from slipway.cluster.client.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    JOBS,
    ROLE_BINDINGS,
    ROLES,
)
from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.status import StatusError

Object = dict[str, Any]
OPTIONS = ClusterOptions(nodes=0, controllers=False, scheduler=False, listen=False)
OPERATOR = "system:serviceaccount:shop:operator"


async def reconcile(operator: Client) -> None:
    """What an operator might do."""
    await operator.list(JOBS)
    await operator.create(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "default"}})
    seen = await operator.get(CONFIG_MAPS, "a", "default")
    await operator.update(CONFIG_MAPS, {**seen, "data": {"n": "1"}})
    await operator.patch(CONFIG_MAPS, "a", "default", {"data": {"n": "2"}})
    assert (await operator.raw("GET", "/metrics")).status == 200


async def recorded_roles(cluster: EmbeddedCluster, user: str) -> list[Object]:
    response = await cluster.client().raw("GET", "/slipway/roles", query={"user": user})
    assert isinstance(response.body, bytes)
    return json.loads(response.body)["roles"]  # type: ignore[no-any-return]


async def grant(client: Client, roles: list[Object]) -> None:
    for role in roles:
        namespaced = role["kind"] == "Role"
        await client.create(ROLES if namespaced else CLUSTER_ROLES, role)
        name = role["metadata"]["name"]
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": role["kind"], "name": name}
        subject = {"kind": "ServiceAccount", "namespace": "shop", "name": "operator"}
        binding = {"metadata": role["metadata"], "roleRef": reference, "subjects": [subject]}
        await client.create(ROLE_BINDINGS if namespaced else CLUSTER_ROLE_BINDINGS, binding)


async def test_the_recorded_roles_are_the_smallest_that_let_an_operator_do_its_work() -> None:
    async with EmbeddedCluster(OPTIONS) as cluster:
        await reconcile(cluster.client(OPERATOR))
        roles = await recorded_roles(cluster, OPERATOR)
    assert roles == [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "shop-operator"},
            "rules": [
                {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list"]},
                {"nonResourceURLs": ["/metrics"], "verbs": ["get"]},
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "shop-operator", "namespace": "default"},
            "rules": [
                {
                    "apiGroups": [""],
                    "resources": ["configmaps"],
                    "verbs": ["get", "create", "update", "patch"],
                }
            ],
        },
    ]
    async with EmbeddedCluster(OPTIONS) as other:
        operator = other.client(OPERATOR, ("system:serviceaccounts", "system:authenticated"))
        with pytest.raises(StatusError, match="is forbidden"):
            await reconcile(operator)
        await grant(other.client(), roles)
        await reconcile(operator)
        with pytest.raises(StatusError, match="is forbidden"):
            await operator.delete(CONFIG_MAPS, "a", "default")
        with pytest.raises(StatusError, match="is forbidden"):
            await operator.create(JOBS, {"metadata": {"name": "j", "namespace": "default"}})


async def test_what_was_refused_is_not_remembered_and_strangers_learn_nothing() -> None:
    async with EmbeddedCluster(OPTIONS) as cluster:
        stranger = cluster.client("stranger", ("system:authenticated",))
        with pytest.raises(StatusError):
            await stranger.list(CONFIG_MAPS)
        assert (await stranger.raw("GET", "/slipway/roles")).status == 403
        assert await recorded_roles(cluster, "stranger") == []


async def test_whoever_acted_as_somebody_else_needs_that_right_and_the_other_the_deed() -> None:
    account = "system:serviceaccount:shop:clerk"
    headers = {"impersonate-user": account}
    path = "/api/v1/namespaces/shop/configmaps"
    async with EmbeddedCluster(OPTIONS) as cluster:
        boss = cluster.client("boss", ("system:masters",))
        everything = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
        subjects = [{"kind": "ServiceAccount", "namespace": "shop", "name": "clerk"}]
        binding = {"metadata": {"name": "clerk"}, "roleRef": everything, "subjects": subjects}
        await cluster.client().create(CLUSTER_ROLE_BINDINGS, binding)
        assert (await boss.raw("GET", path, headers=headers)).status == 200
        (boss_role,) = await recorded_roles(cluster, "boss")
        (clerk_role,) = await recorded_roles(cluster, account)
    assert {tuple(rule["verbs"]) for rule in boss_role["rules"]} == {
        ("impersonate:serviceaccount",),
        ("impersonate-on:serviceaccount:list",),
    }
    assert clerk_role["rules"] == [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]

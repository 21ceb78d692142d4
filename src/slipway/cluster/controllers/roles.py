"""What this cluster's controllers, scheduler and nodes may do beside upstream's roles: made from `roles.json`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import orjson

from slipway.cluster.client.client import Client
from slipway.cluster.client.objects import Object
from slipway.cluster.client.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES
from slipway.cluster.status import StatusError

_GROUP = "rbac.authorization.k8s.io"


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = orjson.loads((Path(__file__).parent / "roles.json").read_bytes())
    return data


def policy() -> list[Object]:
    """The ClusterRoles and ClusterRoleBindings that a cluster's own parts need beside upstream's."""
    objects = []
    for account, rules in _data()["roles"].items():
        subject = {"kind": "ServiceAccount", "name": account, "namespace": "kube-system"}
        objects += [_role(f"slipway:controller:{account}", rules)]
        objects += [_binding(f"slipway:controller:{account}", f"slipway:controller:{account}", subject)]
    for user, rules in _data()["users"].items():
        name = user.replace("system:", "slipway:")
        objects += [_role(name, rules), _binding(name, name, _subject("User", user))]
    for name, row in _data()["aggregated"].items():  # as the manifests of metrics-server bring it along
        labels = {f"{_GROUP}/aggregate-to-{role}": "true" for role in row["into"]}
        objects.append(_role(name, row["rules"], labels))
    # Upstream's nodes are authorized each for what it runs; ours by a role for all of them.
    objects.append(_binding("slipway:nodes", "system:node", _subject("Group", "system:nodes")))
    return objects


async def ensure_policy(client: Client) -> None:
    """Create what is missing of it; what is there stays as it is."""
    for obj in policy():
        resource = CLUSTER_ROLES if obj["kind"] == "ClusterRole" else CLUSTER_ROLE_BINDINGS
        try:
            await client.create(resource, obj)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise


def _subject(kind: str, name: str) -> dict[str, str]:
    return {"apiGroup": _GROUP, "kind": kind, "name": name}


def _binding(name: str, role: str, subject: dict[str, str]) -> Object:
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }


def _role(name: str, rules: list[Any], labels: dict[str, str] | None = None) -> Object:
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name, "labels": labels} if labels else {"name": name},
        "rules": rules,
    }

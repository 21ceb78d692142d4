"""What controllers, scheduler and people may do: ClusterRoles and bindings, made from `roles.json`."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from slipway.cluster.client.client import Client
from slipway.cluster.client.objects import Object
from slipway.cluster.client.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES
from slipway.cluster.status import StatusError

_GROUP = "rbac.authorization.k8s.io"
_AGGREGATE = "rbac.authorization.k8s.io/aggregate"


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads((files(__package__) / "roles.json").read_text())
    return data


def policy() -> list[Object]:
    """The ClusterRoles and ClusterRoleBindings that a cluster's own parts need, as upstream names them."""
    objects = []
    for account, rules in _data()["roles"].items():
        subject = {"kind": "ServiceAccount", "name": account, "namespace": "kube-system"}
        objects += _pair(f"system:controller:{account}", rules, subject)
    for user, rules in _data()["users"].items():
        objects += _pair(user, rules, {"apiGroup": _GROUP, "kind": "User", "name": user})
    return [*objects, *_user_roles()]


def _user_roles() -> list[Object]:
    """`admin`, `edit` and `view` for people, each gathered from what is labelled for it."""
    above = {"view": "edit", "edit": "admin"}
    objects = []
    for name, rules in _data()["aggregated"].items():
        part = _role(f"system:aggregate-to-{name}", rules)
        part["metadata"]["labels"][f"{_AGGREGATE}-to-{name}"] = "true"
        whole = _role(name, [])
        whole["aggregationRule"] = {
            "clusterRoleSelectors": [{"matchLabels": {f"{_AGGREGATE}-to-{name}": "true"}}]
        }
        if name in above:
            whole["metadata"]["labels"][f"{_AGGREGATE}-to-{above[name]}"] = "true"
        objects += [part, whole]
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


def _pair(name: str, rules: list[Any], subject: dict[str, str]) -> list[Object]:
    reference = {"apiGroup": _GROUP, "kind": "ClusterRole", "name": name}
    binding = {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": _metadata(name),
        "roleRef": reference,
        "subjects": [subject],
    }
    return [_role(name, rules), binding]


def _role(name: str, rules: list[Any]) -> Object:
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "ClusterRole",
        "metadata": _metadata(name),
        "rules": rules,
    }


def _metadata(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
    }

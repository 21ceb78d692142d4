"""ClusterRoles with an aggregationRule: their rules are those of all roles that the rule selects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from slipway.cluster.client import selectors
from slipway.cluster.client.client import PatchType
from slipway.cluster.client.objects import Key, Object, labels_of, name_of
from slipway.cluster.client.resources import CLUSTER_ROLES
from slipway.cluster.controllers.controller import Controller
from slipway.cluster.controllers.effects import Effects
from slipway.cluster.controllers.writes import Patch


def aggregated(role: Object, roles: Iterable[Object]) -> list[dict[str, Any]]:
    """Rules of the selected roles, selector by selector and by name, each once."""
    rules: list[dict[str, Any]] = []
    ordered = sorted(roles, key=name_of)
    for selector in role["aggregationRule"].get("clusterRoleSelectors") or ():
        for other in ordered:
            if name_of(other) != name_of(role) and selectors.matches(selector, labels_of(other)):
                rules += [rule for rule in other.get("rules") or () if rule not in rules]
    return rules


class RoleAggregationController(Controller):
    def watch(self) -> None:
        self.roles = self.informer(CLUSTER_ROLES)
        self.handle(self.roles, lambda old, new: self._wake_all())

    def _wake_all(self) -> None:
        for role in self.roles.list():
            if role.get("aggregationRule"):
                self.enqueue(role)

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        role = self.roles.get(*key)
        if role is None or not role.get("aggregationRule"):
            return None
        rules = aggregated(role, self.roles.list())
        if rules != (role.get("rules") or []):
            await effects.do(Patch(CLUSTER_ROLES, "", key[1], {"rules": rules}, PatchType.MERGE))
        return None

"""Nobody hands out more than they hold: roles that are written and roles that are bound.

Members of system:masters may, and so may who is given the verbs `escalate` (on roles) and `bind` (on a role).
Facts: k8s.io/kubernetes pkg/registry/rbac (escalation_check.go, */policybased/storage.go).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from slipway.cluster.access.admission.chain import Judge
from slipway.cluster.access.authentication import MASTERS
from slipway.cluster.access.authorization import RBAC, Attributes, RbacAuthorizer
from slipway.cluster.access.granting import missing, quoted
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.registry import Registry
from slipway.cluster.status import StatusError, forbidden, not_found

Object = dict[str, Any]
_ROLES, _BINDINGS = {"roles", "clusterroles"}, {"rolebindings", "clusterrolebindings"}
_EVERYTHING = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)


class NoEscalation(Judge):
    """Stands behind whatever may still change the object, and before validation."""

    def __init__(self, registry: Registry, authorizer: RbacAuthorizer) -> None:
        self._registry = registry
        self._authorizer = authorizer

    async def mutate(self, call: Call, obj: Object | None, old: Object | None) -> Object | None:
        resource = call.resource
        if obj is None or resource.group != RBAC or MASTERS in call.identity.groups:
            return obj
        if old is not None and _only_for_the_collector(obj, old):
            return obj
        if resource.plural in _ROLES:
            self._check_role(call, obj, old or {})
        elif resource.plural in _BINDINGS:
            self._check_binding(call, obj)
        return obj

    def _check_role(self, call: Call, obj: Object, old: Object) -> None:
        name = "" if call.verb == "create" else call.name
        if self._may(call, "escalate", call.resource.plural, name):
            return
        self._check_held(call, obj, obj.get("rules") or ())
        if (_aggregates(obj) or _aggregates(old)) and self._not_held(call, _EVERYTHING):
            raise self._refused(call, obj, "must have cluster-admin privileges to use the aggregationRule")

    def _check_binding(self, call: Call, obj: Object) -> None:
        reference = obj.get("roleRef") or {}
        kind, name = reference.get("kind"), str(reference.get("name") or "")
        if kind not in {"Role", "ClusterRole"}:
            raise StatusError(500, "", f'unsupported role reference kind: "{kind}"')
        plural = f"{kind.lower()}s"
        if self._may(call, "bind", plural, name):
            return
        namespace = call.namespace if kind == "Role" else ""
        role = self._registry.record(RBAC, "v1", plural, namespace, name)
        if role is None:
            raise not_found(call.resource.plural, RBAC, name)  # upstream's words, wrong plural and all
        self._check_held(call, obj, role.value.get("rules") or ())

    def _may(self, call: Call, verb: str, plural: str, name: str) -> bool:
        attributes = Attributes(verb, RBAC, "*", plural, namespace=call.namespace, name=name)
        return self._authorizer.decide(call.identity, attributes).allowed

    def _not_held(self, call: Call, rules: Iterable[Object]) -> list[str]:
        held = [rule for rule, _ in self._authorizer.granted(call.identity, call.namespace)]
        return missing(held, rules)

    def _check_held(self, call: Call, obj: Object, rules: Iterable[Object]) -> None:
        lacking = self._not_held(call, rules)
        if lacking:
            who = f'user "{call.identity.name}" (groups={quoted(call.identity.groups)})'
            why = f"{who} is attempting to grant RBAC permissions not currently held:\n" + "\n".join(lacking)
            raise self._refused(call, obj, why)

    def _refused(self, call: Call, obj: Object, why: str) -> StatusError:
        return forbidden(call.resource.plural, RBAC, obj["metadata"].get("name", ""), why)


def _aggregates(role: Object) -> bool:
    return bool((role.get("aggregationRule") or {}).get("clusterRoleSelectors"))


def _only_for_the_collector(obj: Object, old: Object) -> bool:
    """Whether a change touches nothing but owners and finalizers."""

    def rest(one: Object) -> Object:
        ignored = {"ownerReferences", "finalizers", "managedFields", "selfLink"}
        metadata = {name: value for name, value in one["metadata"].items() if name not in ignored}
        return {**one, "metadata": metadata}

    return rest(obj) == rest(old)

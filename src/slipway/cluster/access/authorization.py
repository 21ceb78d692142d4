"""What a caller may do: RBAC over the Role, ClusterRole and binding objects of the registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from slipway.cluster.access.authentication import MASTERS
from slipway.cluster.exchange import Identity
from slipway.cluster.registry.registry import Registry
from slipway.cluster.status import StatusError, forbidden

RBAC = "rbac.authorization.k8s.io"
Rule = dict[str, Any]
_CALLERS = 1000  # callers and namespaces whose rules are kept at hand


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is about to be done: either to a resource, or to a path when `path` is set."""

    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    allowed: bool
    reason: str = ""
    error: str = ""  # evaluation errors: roles that bindings name and that are not there


class Authorizer(Protocol):
    def decide(self, identity: Identity, attributes: Attributes) -> Decision: ...


def refusal(identity: Identity, attributes: Attributes, reason: str = "") -> StatusError:
    """The 403 that says what was tried, in the API server's words, and why it is refused where that is known."""
    user = f'User "{identity.name}" cannot {attributes.verb}'
    if attributes.path:
        return StatusError(403, "Forbidden", f'forbidden: {user} path "{attributes.path}"', {})
    resource = attributes.resource + (f"/{attributes.subresource}" if attributes.subresource else "")
    where = f'in the namespace "{attributes.namespace}"' if attributes.namespace else "at the cluster scope"
    why = f'{user} resource "{resource}" in API group "{attributes.group}" {where}'
    if reason:
        why += f": {reason}"
    if attributes.name:
        return forbidden(attributes.resource, attributes.group, attributes.name, why)
    details = {"kind": attributes.resource}
    if attributes.group:
        details["group"] = attributes.group
    qualified = f"{attributes.resource}.{attributes.group}" if attributes.group else attributes.resource
    return StatusError(403, "Forbidden", f"{qualified} is forbidden: {why}", details)


def rule_allows(rule: Rule, attributes: Attributes) -> bool:
    """Whether one PolicyRule covers the request."""
    verbs = rule.get("verbs") or []
    if "*" not in verbs and attributes.verb not in verbs:
        return False
    if attributes.path:
        return any(_path_matches(pattern, attributes.path) for pattern in rule.get("nonResourceURLs") or [])
    groups, resources = rule.get("apiGroups") or [], rule.get("resources") or []
    if "*" not in groups and attributes.group not in groups:
        return False
    combined = attributes.resource + (f"/{attributes.subresource}" if attributes.subresource else "")
    if not (
        "*" in resources
        or combined in resources
        or (attributes.subresource and f"*/{attributes.subresource}" in resources)
    ):
        return False
    names = rule.get("resourceNames") or []
    return not names or attributes.name in names


def _path_matches(pattern: str, path: str) -> bool:
    if pattern in {"*", path}:
        return True
    return pattern.endswith("*") and path.startswith(pattern[:-1])


def subject_matches(subject: dict[str, Any], identity: Identity, binding_namespace: str) -> bool:
    kind, name = subject.get("kind"), subject.get("name")
    if kind == "User":
        return name == identity.name
    if kind == "Group":
        return name in identity.groups
    if kind == "ServiceAccount":
        namespace = subject.get("namespace") or binding_namespace
        return identity.name == f"system:serviceaccount:{namespace}:{name}"
    return False


@dataclass(frozen=True, slots=True)
class _Roles:
    """Roles and bindings as they are now, by namespace ("" for the cluster's)."""

    revision: tuple[int, ...]
    rules: dict[tuple[str, str], list[Rule]]
    bindings: dict[str, list[dict[str, Any]]]
    granted: dict[tuple[str, tuple[str, ...], str], list[tuple[Rule, str]]] = field(default_factory=dict)


class RbacAuthorizer:
    """Members of system:masters may do everything; all others what their bindings give."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._roles: _Roles | None = None

    def _current(self) -> _Roles:
        # Read again only after a change: the number of changes in the four buckets is the version.
        store = self._registry.store
        plurals = ("roles", "clusterroles", "rolebindings", "clusterrolebindings")
        revision = tuple(
            bucket.dropped + len(bucket.changes)
            for bucket in (store.bucket(f"{plural}.{RBAC}") for plural in plurals)
        )
        if self._roles is None or self._roles.revision != revision:
            self._roles = self._load(revision)
        return self._roles

    def _load(self, revision: tuple[int, ...]) -> _Roles:
        rules: dict[tuple[str, str], list[Rule]] = {}
        bindings: dict[str, list[dict[str, Any]]] = {}
        for plural in ("roles", "clusterroles"):
            for role in self._registry.objects(RBAC, "v1", plural):
                metadata = role["metadata"]
                rules[metadata.get("namespace", ""), metadata["name"]] = role.get("rules") or []
        for plural in ("rolebindings", "clusterrolebindings"):
            for binding in self._registry.objects(RBAC, "v1", plural):
                bindings.setdefault(binding["metadata"].get("namespace", ""), []).append(binding)
        return _Roles(revision, rules, bindings)

    def granted(self, identity: Identity, namespace: str) -> Iterable[tuple[Rule, str]]:
        """Every rule that the caller has in a namespace, cluster-wide ones included, with its origin."""
        roles = self._current()
        key = (identity.name, tuple(identity.groups), namespace)
        known = roles.granted.get(key)
        if known is None:
            if len(roles.granted) >= _CALLERS:
                roles.granted.clear()
            known = roles.granted[key] = list(self._bound(roles, identity, namespace))
        return known

    @staticmethod
    def _bound(roles: _Roles, identity: Identity, namespace: str) -> Iterator[tuple[Rule, str]]:
        for scope in ("", namespace) if namespace else ("",):
            for binding in roles.bindings.get(scope, []):
                subject = next(
                    (s for s in binding.get("subjects") or [] if subject_matches(s, identity, scope)), None
                )
                if subject is None:
                    continue
                reference = binding["roleRef"]
                role_namespace = scope if reference["kind"] == "Role" else ""
                origin = _origin(binding, scope, reference, subject)
                for rule in roles.rules.get((role_namespace, reference["name"]), []):
                    yield rule, origin

    def decide(self, identity: Identity, attributes: Attributes) -> Decision:
        if MASTERS in identity.groups:
            return Decision(True)
        for rule, origin in self.granted(identity, attributes.namespace):
            if rule_allows(rule, attributes):
                return Decision(True, f"RBAC: allowed by {origin}")
        return Decision(False)


def _origin(binding: dict[str, Any], scope: str, reference: dict[str, Any], subject: dict[str, Any]) -> str:
    kind = "RoleBinding" if scope else "ClusterRoleBinding"
    name = binding["metadata"]["name"] + (f"/{scope}" if scope else "")
    who = f'{subject["kind"]} "{subject["name"]}'
    if subject["kind"] == "ServiceAccount":
        who += f"/{subject.get('namespace') or scope}"
    return f'{kind} "{name}" of {reference["kind"]} "{reference["name"]}" to {who}"'

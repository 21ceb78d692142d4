"""Rules of webhooks and the versions of a resource: which version a rule means, and objects converted to it.

With `matchPolicy: Equivalent`, the default, a rule for one version also concerns requests by another version of the
same objects; the webhook then sees the version that its rule names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from slipway.cluster.registry.call import Call
from slipway.cluster.registry.definition import Definitions, row_of
from slipway.cluster.registry.registry import Registry
from slipway.cluster.schema.resource import Resource

Object = dict[str, Any]


def resource_for(hook: Object, call: Call, operation: str, definitions: Definitions) -> Resource | None:
    """The resource by which a rule of the hook concerns the call: its own where possible, else another version of it that
    a rule names; None when no rule does."""
    rules = hook.get("rules") or []
    if any(_matches(rule, call.resource, call.subresource, operation) for rule in rules):
        return call.resource
    if hook.get("matchPolicy") == "Exact":
        return None
    others = list(_equivalents(call.resource, definitions))
    for rule in rules:
        for other in others:
            if _matches(rule, other, call.subresource, operation):
                return other
    return None


def _equivalents(resource: Resource, definitions: Definitions) -> Iterator[Resource]:
    """The other resources by which the same objects are served."""
    kept = _kept_as(resource)
    for other in definitions.catalogue.resources.values():
        if other is not resource and other.stored and _kept_as(other) == kept:
            yield other


def _kept_as(resource: Resource) -> str:
    return resource.qualified if resource.custom else row_of(resource).storage or resource.qualified


def speaks_its_kind(call: Call) -> bool:
    """Whether the object of the call is one of its resource, and not a Scale or the like."""
    found = call.resource.subresource(call.subresource) if call.subresource else None
    return found is None or found.kind == call.resource.kind


async def converted(registry: Registry, source: Resource, target: Resource, obj: Object) -> Object:
    """An object of one resource as the other serves it. StatusError where a conversion webhook fails."""
    definitions = registry.definitions
    stored = await registry.conversions.stored(definitions.of(source), obj)
    return await registry.conversions.settled(
        definitions.of(target), lambda through: through(definitions.of(target)).from_storage(stored)
    )


def _matches(rule: Object, resource: Resource, subresource: str, operation: str) -> bool:
    operations, groups = rule.get("operations") or [], rule.get("apiGroups") or []
    if "*" not in operations and operation not in operations:
        return False
    if "*" not in groups and resource.group not in groups:
        return False
    versions = rule.get("apiVersions") or []
    if "*" not in versions and resource.version not in versions:
        return False
    scope = rule.get("scope") or "*"
    if scope != "*" and (scope == "Namespaced") != resource.namespaced:
        return False
    for wanted in rule.get("resources") or []:
        plural, _, sub = wanted.partition("/")
        if plural in {"*", resource.plural} and (sub == "*" or sub == subresource or wanted == "*/*"):
            return True
    return False

"""What each caller was let do since the cluster started, and the smallest roles that let it do that.

An operator's author runs it as cluster-admin, plays its scenarios, and asks for its roles. Objects' names are not
part of them: which they are is seldom known when a role is written.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from slipway.cluster.access.authorization import RBAC, Attributes
from slipway.cluster.exchange import Identity

Object = dict[str, Any]
Deed = tuple[
    str, str, str, str
]  # namespace ("" for the whole cluster), group, resource/subresource or path, verb
CALLERS = 1000  # that are remembered
DEEDS = 10_000  # of one caller
_VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")


class Usage:
    """Remembers distinct deeds, so that its size does not grow with the number of requests."""

    def __init__(self) -> None:
        self._deeds: dict[str, set[Deed]] = {}

    def note(self, identity: Identity, done: Attributes) -> None:
        deeds = self._deeds.get(identity.name)
        if deeds is None:
            if len(self._deeds) >= CALLERS:
                return
            deeds = self._deeds[identity.name] = set()
        if len(deeds) < DEEDS:
            what = f"{done.resource}/{done.subresource}" if done.subresource else done.resource
            deeds.add((done.namespace, done.group, done.path or what, done.verb))

    def callers(self) -> list[str]:
        return sorted(self._deeds)

    def roles(self, caller: str) -> list[Object]:
        """A ClusterRole for what was done in the whole cluster, a Role for each namespace; none for a stranger."""
        by_namespace: defaultdict[str, list[Deed]] = defaultdict(list)
        for deed in self._deeds.get(caller, ()):
            by_namespace[deed[0]].append(deed)
        name = re.sub("[^a-z0-9.-]+", "-", caller.removeprefix("system:serviceaccount:").lower()).strip("-.")
        return [_role(name, namespace, deeds) for namespace, deeds in sorted(by_namespace.items())]


def _role(name: str, namespace: str, deeds: Iterable[Deed]) -> Object:
    verbs: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for _, group, what, verb in deeds:
        verbs[group, what].add(verb)
    alike: defaultdict[tuple[bool, str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (group, what), done in verbs.items():
        alike[what.startswith("/"), group, tuple(sorted(done, key=_rank))].append(what)
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    rules = [_rule(*key, sorted(what)) for key, what in alike.items()]
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "Role" if namespace else "ClusterRole",
        "metadata": metadata,
        "rules": sorted(rules, key=lambda rule: (rule.get("apiGroups", ["~"]), str(rule))),
    }


def _rule(is_path: bool, group: str, verbs: tuple[str, ...], what: list[str]) -> Object:
    if is_path:
        return {"nonResourceURLs": what, "verbs": list(verbs)}
    return {"apiGroups": [group], "resources": what, "verbs": list(verbs)}


def _rank(verb: str) -> tuple[int, str]:
    return (_VERBS.index(verb) if verb in _VERBS else len(_VERBS), verb)

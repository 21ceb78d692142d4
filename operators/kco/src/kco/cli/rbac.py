"""kco rbac: the smallest Role that the actions of given TargetApps need."""

import argparse
from collections import defaultdict
from typing import Any

import yaml

from kco.actions.registry import ActionRegistry
from kco.cli.main import Misuse
from kco.cli.manifest import load
from kco.operator.preparation import Unusable, check_actions
from kco.spec.reading import InvalidSpec, read


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", help="manifests, or folders of them")
    parser.add_argument("--name", default="kco-actions", help="name of the Role")


def run(options: argparse.Namespace) -> int:
    registry = ActionRegistry()
    by_namespace: dict[str, dict[tuple[str, str, str], set[str]]] = defaultdict(lambda: defaultdict(set))
    for manifest in load(options.files).apps:
        try:
            spec = read(manifest.spec)
            for action in check_actions(spec, registry).values():
                for need in action.handler.permissions(action.parameters, spec):
                    resource = f"{need.resource}/{need.subresource}" if need.subresource else need.resource
                    by_namespace[manifest.namespace][(need.group, resource, need.name)].add(need.verb)
        except (InvalidSpec, Unusable) as failure:
            raise Misuse(f"{manifest.path}: {manifest.name}: {failure}; see kco lint") from None
    roles = [_role(options.name, namespace, needs) for namespace, needs in sorted(by_namespace.items())]
    if not roles:
        print("# these TargetApps need no permissions beyond the operator's own")
        return 0
    print(yaml.safe_dump_all(roles, sort_keys=False), end="")
    return 0


def _role(name: str, namespace: str, needs: dict[tuple[str, str, str], set[str]]) -> dict[str, Any]:
    rules = []
    for (group, resource, object_name), verbs in sorted(needs.items()):
        rule: dict[str, Any] = {"apiGroups": [group], "resources": [resource], "verbs": sorted(verbs)}
        if object_name:
            rule["resourceNames"] = [object_name]
        rules.append(rule)
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": name, "namespace": namespace},
        "rules": rules,
    }

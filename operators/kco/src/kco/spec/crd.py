"""The CRDs' schemas, made from the fields that `spec.targetapp` checks, so that the API server prunes nothing
that the operator knows. `python -m kco.spec.crd FOLDER` writes the manifests; a test holds them together.
"""

import sys
from pathlib import Path
from typing import Any

import yaml

from kco.spec.targetapp import GROUP, VERSION, TargetAppSpec

Schema = dict[str, Any]

_KEPT = (
    "type",
    "description",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "maxItems",
    "required",
    "x-kubernetes-int-or-string",
)
# `all` and `any` may hold triggers that hold triggers: this deep, which a structural schema must spell out.
TRIGGER_DEPTH = 3
ANYTHING: Schema = {"x-kubernetes-preserve-unknown-fields": True}

DESCRIPTIONS = {
    "selector": "Label selector of the application's pods",
    "graphqlEndpoint": "A path on the pods (default /graphql), an http(s) URL, or host[:port]/path",
    "service": "A Service of this namespace to ask instead of pods",
    "port": "Port of the pods (default 8080)",
    "scheme": "Scheme of pod and scheme-less endpoints (default http)",
    "podPolicy": "One: follow one ready pod; Each: follow every ready pod on its own",
    "pollingInterval": "Seconds between polls (default: the operator's DEFAULT_POLLING_INTERVAL)",
    "stateQuery": "One GraphQL query, sent at every poll",
    "operationName": "Which operation of stateQuery to send",
    "variables": "GraphQL variables",
    "timeout": "Seconds for one request",
    "maxRetries": "Retries of a failed poll within its interval",
    "maxResponseBytes": "Larger answers are refused (default 1 MiB)",
    "failureThreshold": "Failed polls in a row that make the endpoint count as down (default 3)",
    "requestsPerMinute": "At most so many requests to one instance",
    "followRedirects": "Follow redirects on the same host (default false)",
    "headers": "HTTP headers, from text or from a Secret",
    "tls": "Certificate authority, client certificate, verification",
    "graphqlSchema": "SDL or introspection result that triggers are checked against",
    "subscription": "Follow the state by graphql-transport-ws; polling remains as fallback",
    "suspend": "Stop polling and acting",
    "dryRun": "Evaluate and tell, but never act",
    "serviceAccountName": "Act as this ServiceAccount of the namespace",
    "cluster": "The cluster of the application, as a kubeconfig in a Secret",
    "maxActionsPerHour": "Budget over all rules of this TargetApp",
    "events": "Severity, ignored and redacted fields of Events",
    "metrics": "State fields to export as Prometheus series",
    "actions": "Rules: a trigger, and the action that it starts",
}

SELECTOR_RULE = {
    "rule": (
        "!self.graphqlEndpoint.startsWith('/') || has(self.service) || (has(self.selector) && "
        "((has(self.selector.matchLabels) && size(self.selector.matchLabels) > 0) || "
        "(has(self.selector.matchExpressions) && size(self.selector.matchExpressions) > 0)))"
    ),
    "message": "graphqlEndpoint is a path: give selector.matchLabels or matchExpressions, or a service",
}


def spec_schema() -> Schema:
    """The structural schema of a TargetApp's spec."""
    whole = TargetAppSpec.model_json_schema(by_alias=True)
    schema = _structural(whole, whole["$defs"], 0)
    for name, text in DESCRIPTIONS.items():
        schema["properties"][name] = {"description": text, **schema["properties"][name]}
    schema["properties"]["graphqlEndpoint"]["default"] = "/graphql"
    schema["x-kubernetes-validations"] = [SELECTOR_RULE]
    return schema


def _structural(node: Schema, definitions: Schema, depth: int) -> Schema:
    """One pydantic schema node as Kubernetes allows it: no references, no unions, no nulls."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        if name == "Trigger":
            depth += 1
        return _structural(definitions[name], definitions, depth)
    for union in ("anyOf", "allOf"):
        if union in node:
            options = [option for option in node[union] if option.get("type") != "null"]
            return _structural(options[0], definitions, depth) if len(options) == 1 else dict(ANYTHING)
    if "const" in node:
        return {"type": "string", "enum": [node["const"]]}
    kept = {key: node[key] for key in _KEPT if key in node and key != "description"}
    if node.get("type") == "object":
        if "properties" in node:
            kept["properties"] = {
                name: _structural(part, definitions, depth)
                for name, part in node["properties"].items()
                if not (name in ("all", "any") and depth >= TRIGGER_DEPTH and "clear" in node["properties"])
            }
        elif isinstance(node.get("additionalProperties"), dict) and node["additionalProperties"]:
            kept["additionalProperties"] = _structural(node["additionalProperties"], definitions, depth)
        else:
            kept["x-kubernetes-preserve-unknown-fields"] = True
    elif node.get("type") == "array":
        kept["items"] = _structural(node["items"], definitions, depth)
    elif "type" not in node and "x-kubernetes-int-or-string" not in node:
        return dict(ANYTHING)
    return kept


def _text(description: str = "") -> Schema:
    return {"type": "string", **({"description": description} if description else {})}


def _time() -> Schema:
    return {"type": "string", "format": "date-time"}


def _object(properties: Schema, required: tuple[str, ...] = ()) -> Schema:
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _whole() -> Schema:
    return {"type": "integer"}


def status_schema() -> Schema:
    """The structural schema of a TargetApp's status."""
    condition = _object(
        {
            "type": _text(),
            "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
            "reason": _text(),
            "message": _text(),
            "observedGeneration": _whole(),
            "lastTransitionTime": _time(),
        },
        ("type", "status"),
    )
    rule = _object(
        {
            "name": _text(),
            "instance": _text(),
            "fingerprint": _text(),
            "active": {"type": "boolean"},
            "transitions": _whole(),
            "since": _text(),
            "lastFired": _text(),
            "breakerOpenUntil": _text(),
            "firedWithinHour": _list(_text()),
            "failures": _whole(),
            "suppressed": _text(),
        },
        ("name",),
    )
    instance = _object({"name": _text(), "pod": _text(), "digest": _text(), "error": _text()})
    run = _object(
        {"name": _text(), "rule": _text(), "action": _text(), "phase": _text(), "finishedAt": _text()}
    )
    return _object(
        {
            "observedGeneration": _whole(),
            "state": {"type": "string", "enum": ["Initializing", "Monitoring", "Failed", "Suspended"]},
            "endpoint": _text("What is asked now"),
            "lastPolled": _time(),
            "lastError": _text(),
            "actionsExecuted": _whole(),
            "eventsGenerated": _whole(),
            "pods": _object({"selected": _whole(), "ready": _whole()}),
            "conditions": {
                **_list(condition),
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
            "rules": _list(rule),
            "explanations": _list(_object({"rule": _text(), "instance": _text(), "text": _text()})),
            "instances": _list(instance),
            "recentRuns": _list(run),
        }
    )


def _column(name: str, path: str, kind: str = "string", priority: int = 0) -> Schema:
    return {"name": name, "type": kind, "jsonPath": path, **({"priority": priority} if priority else {})}


def _definition(kind: str, plural: str, short: list[str], columns: list[Schema], schema: Schema) -> Schema:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": short,
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def target_app_definition() -> Schema:
    """The CRD of TargetApp."""
    schema = _object(
        {
            "apiVersion": _text(),
            "kind": _text(),
            "metadata": {"type": "object"},
            "spec": spec_schema(),
            "status": status_schema(),
        },
        ("spec",),
    )
    schema["description"] = (
        "An application that KCO watches through GraphQL, and what to do when its state changes"
    )
    columns = [
        _column("State", ".status.state"),
        _column("Last poll", ".status.lastPolled", "date"),
        _column("Endpoint", ".status.endpoint"),
        _column("Actions", ".status.actionsExecuted", "integer"),
        _column("Error", ".status.lastError", priority=1),
        _column("Age", ".metadata.creationTimestamp", "date"),
    ]
    return _definition("TargetApp", "targetapps", ["tapp"], columns, schema)


def action_run_definition() -> Schema:
    """The CRD of ActionRun."""
    spec = _object(
        {
            "targetRef": _object({"name": _text(), "uid": _text()}, ("name", "uid")),
            "rule": {"type": "string", "maxLength": 253},
            "action": {"type": "string", "maxLength": 253},
            "instance": _text(),
            "pod": _text(),
            "transition": {"type": "integer", "minimum": 1},
            "idempotent": {"type": "boolean"},
            "reason": _text("Why the rule fired"),
            "requestedAt": _text(),
            "requestedBy": _text(),
        },
        ("targetRef", "rule", "action", "transition"),
    )
    # A rule about the whole spec would cost more than the API server allows: its texts are unbounded.
    spec["properties"]["transition"]["x-kubernetes-validations"] = [
        {"rule": "self == oldSelf", "message": "an ActionRun's transition is fixed"}
    ]
    phases = ["Pending", "Running", "Succeeded", "Failed", "Skipped", "TimedOut", "Unknown"]
    status = _object(
        {
            "phase": {"type": "string", "enum": phases},
            "holder": _text("The replica that ran it"),
            "attempts": _whole(),
            "startedAt": _text(),
            "finishedAt": _text(),
            "message": _text(),
            "output": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        }
    )
    schema = _object(
        {
            "apiVersion": _text(),
            "kind": _text(),
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
        ("spec",),
    )
    schema["description"] = "One execution of one action; creating it is the lock that makes it happen once"
    columns = [
        _column("Target", ".spec.targetRef.name"),
        _column("Rule", ".spec.rule"),
        _column("Action", ".spec.action"),
        _column("Phase", ".status.phase"),
        _column("Attempts", ".status.attempts", "integer", 1),
        _column("Message", ".status.message", priority=1),
        _column("Age", ".metadata.creationTimestamp", "date"),
    ]
    return _definition("ActionRun", "actionruns", ["arun"], columns, schema)


def manifests() -> dict[str, str]:
    """File name to YAML text."""
    head = "# Made by `python -m kco.spec.crd`; edit src/kco/spec instead.\n"
    return {
        "targetapps.yaml": head + yaml.safe_dump(target_app_definition(), sort_keys=False, width=110),
        "actionruns.yaml": head + yaml.safe_dump(action_run_definition(), sort_keys=False, width=110),
    }


def main(folders: list[str]) -> None:
    for folder in folders:
        for name, text in manifests().items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])

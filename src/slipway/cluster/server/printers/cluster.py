"""Cells of nodes, events, RBAC, certificates, admission and priority kinds."""

from __future__ import annotations

from slipway.cluster.server.printers.durations import human_duration
from slipway.cluster.server.printers.network import selector_text
from slipway.cluster.server.printers.subject import Object, Subject, cell, condition, condition_is_true

_ROLE_PREFIX = "node-role.kubernetes.io/"


@cell
def config_map_size(subject: Subject) -> int:
    return len(subject.at("data") or {}) + len(subject.at("binaryData") or {})


@cell
def node_status(subject: Subject) -> str:
    ready = condition(subject.at("status.conditions"), "Ready")
    states = ["Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"]
    if subject.at("spec.unschedulable"):
        states.append("SchedulingDisabled")
    return ",".join(states)


@cell
def node_roles(subject: Subject) -> str:
    roles = set()
    for name, value in (subject.at("metadata.labels") or {}).items():
        if name.startswith(_ROLE_PREFIX):
            roles.add(name[len(_ROLE_PREFIX) :])
        elif name == "kubernetes.io/role":
            roles.add(value)
    return ",".join(sorted(roles - {""})) or "<none>"


def _address(subject: Subject, kind: str) -> str:
    for address in subject.items("status.addresses"):
        if address.get("type") == kind:
            return str(address.get("address", ""))
    return "<none>"


@cell
def node_internal_address(subject: Subject) -> str:
    return _address(subject, "InternalIP")


@cell
def node_external_address(subject: Subject) -> str:
    return _address(subject, "ExternalIP")


@cell
def node_kernel(subject: Subject) -> str:
    version = subject.at("status.nodeInfo.kernelVersion") or "<unknown>"
    architecture = subject.at("status.nodeInfo.architecture")
    return f"{version} ({architecture})" if architecture else version


# Events: core/v1 and events.k8s.io/v1 name the same fields differently.


@cell
def event_first_seen(subject: Subject) -> str:
    first = subject.at("firstTimestamp") or subject.at("deprecatedFirstTimestamp")
    return subject.since(first or subject.at("eventTime"))


@cell
def event_last_seen(subject: Subject) -> str:
    series = subject.at("series")
    if series:
        return subject.since(series.get("lastObservedTime"))
    last = subject.at("lastTimestamp") or subject.at("deprecatedLastTimestamp")
    return subject.since(last) if last else str(event_first_seen(subject))


@cell
def event_count(subject: Subject) -> int:
    series = subject.at("series")
    if series:
        return int(series.get("count") or 0)
    return int(subject.at("count") or subject.at("deprecatedCount") or 1)


def _regarding(subject: Subject) -> Object:
    return subject.at("involvedObject") or subject.at("regarding") or {}


@cell
def event_object(subject: Subject) -> str:
    regarding = _regarding(subject)
    kind, name = regarding.get("kind", "").lower(), regarding.get("name")
    return f"{kind}/{name}" if name else kind


@cell
def event_field(subject: Subject) -> str:
    return str(_regarding(subject).get("fieldPath") or "")


@cell
def event_source(subject: Subject) -> str:
    source = subject.at("source") or subject.at("deprecatedSource") or {}
    reporter = subject.at("reportingComponent") or subject.at("reportingController") or ""
    component = source.get("component") or reporter
    host = source.get("host") or subject.at("reportingInstance") or ""
    return f"{component}, {host}" if host else str(component)


@cell
def event_message(subject: Subject) -> str:
    return str(subject.at("message") or subject.at("note") or "").strip()


@cell
def component_health(subject: Subject) -> str:
    healthy = condition(subject.at("conditions"), "Healthy")
    if healthy is None:
        return "Unknown"
    return "Healthy" if healthy.get("status") == "True" else "Unhealthy"


@cell
def component_message(subject: Subject) -> str:
    return str((condition(subject.at("conditions"), "Healthy") or {}).get("message") or "")


@cell
def component_error(subject: Subject) -> str:
    return str((condition(subject.at("conditions"), "Healthy") or {}).get("error") or "")


@cell
def role_reference(subject: Subject) -> str:
    return f"{subject.at('roleRef.kind')}/{subject.at('roleRef.name')}"


def _bound(subject: Subject, kind: str) -> list[Object]:
    return [found for found in subject.items("subjects") if found.get("kind") == kind]


@cell
def bound_users(subject: Subject) -> str:
    return ", ".join(found.get("name", "") for found in _bound(subject, "User"))


@cell
def bound_groups(subject: Subject) -> str:
    return ", ".join(found.get("name", "") for found in _bound(subject, "Group"))


@cell
def bound_service_accounts(subject: Subject) -> str:
    accounts = _bound(subject, "ServiceAccount")
    return ", ".join(f"{found.get('namespace', '')}/{found.get('name', '')}" for found in accounts)


@cell
def requested_duration(subject: Subject) -> str:
    seconds = subject.at("spec.expirationSeconds")
    return "<none>" if seconds is None else human_duration(float(seconds))


@cell
def signing_condition(subject: Subject) -> str:
    types = {found.get("type") for found in subject.items("status.conditions")}
    text = "Denied" if "Denied" in types else "Approved" if "Approved" in types else "Pending"
    if "Failed" in types:
        text += ",Failed"
    return f"{text},Issued" if subject.at("status.certificate") else text


@cell
def pod_certificate_state(subject: Subject) -> str:
    state = "Pending"
    for found in subject.items("status.conditions"):
        if found.get("type") in {"Issued", "Denied", "Failed"}:
            state = found["type"]
    return state


@cell
def parameter_kind(subject: Subject) -> str:
    kind = subject.at("spec.paramKind")
    return f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else "<unset>"


@cell
def parameter_reference(subject: Subject) -> str:
    reference = subject.at("spec.paramRef")
    if not reference:
        return "<unset>"
    if reference.get("name"):
        return f"{reference.get('namespace') or '*'}/{reference['name']}"
    # Upstream prints the Go value here; the selector itself says more.
    return selector_text(reference.get("selector")) or "<unset>"


@cell
def dangling(subject: Subject) -> str:
    found = condition(subject.at("status.conditions"), "Dangling")
    return str(found.get("status")) if found else "?"


@cell
def served_versions(subject: Subject) -> str:
    served = [version for version in subject.items("spec.versions") if version.get("served")]
    return ",".join(
        sorted(f"{version.get('name')}{'(storage)' if version.get('storage') else ''}" for version in served)
    )


@cell
def established(subject: Subject) -> bool:
    return condition_is_true(subject.at("status.conditions"), "Established")


@cell
def backing_service(subject: Subject) -> str:
    service = subject.at("spec.service")
    return f"{service.get('namespace')}/{service.get('name')}" if service else "Local"


@cell
def service_availability(subject: Subject) -> str:
    found = condition(subject.at("status.conditions"), "Available")
    if found is None:
        return "Unknown"
    if found.get("status") == "True" or not found.get("reason"):
        return str(found.get("status"))
    return f"{found.get('status')} ({found['reason']})"

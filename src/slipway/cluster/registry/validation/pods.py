"""Pods and pod templates.

Facts: `ValidatePodSpec`, `ValidatePodUpdate` in `pkg/apis/core/validation/validation.go` of Kubernetes 1.37.
"""

from __future__ import annotations

import re
from typing import Any

from slipway.cluster.registry.validation.addresses import address_errors
from slipway.cluster.registry.validation.containers import (
    containers_errors,
    identity_errors,
    seccomp_errors,
)
from slipway.cluster.registry.validation.findings import Findings, difference, each
from slipway.cluster.registry.validation.metadata import annotations_errors, labels_errors
from slipway.cluster.registry.validation.selectors import (
    label_selector_errors,
    node_selector_errors,
    node_selector_term_errors,
)
from slipway.cluster.registry.validation.volumes import volumes_errors
from slipway.cluster.schema import names

Object = dict[str, Any]
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_SYSCTL = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
_UPDATABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def pod_errors(found: Findings, pod: Object, old: Object | None) -> None:
    spec = pod.get("spec") or {}
    pod_spec_errors(found, spec, "spec")
    if old is not None:
        _update(found, spec, old.get("spec") or {})


def template_errors(found: Findings, template: Object, path: str) -> None:
    """A PodTemplateSpec."""
    metadata = template.get("metadata") or {}
    labels_errors(found, f"{path}.labels", metadata.get("labels") or {})
    annotations_errors(found, f"{path}.annotations", metadata.get("annotations") or {})
    pod_spec_errors(found, template.get("spec") or {}, f"{path}.spec")
    if (template.get("spec") or {}).get("ephemeralContainers"):
        found.forbidden(
            f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"
        )


def pod_spec_errors(found: Findings, spec: Object, path: str) -> None:
    volumes = volumes_errors(found, spec, path)
    containers_errors(found, spec, path, volumes)
    _choices(found, spec, path)
    _names(found, spec, path)
    for key, value in (spec.get("nodeSelector") or {}).items():
        labels_errors(found, f"{path}.nodeSelector", {key: value})
    _security(found, spec.get("securityContext") or {}, f"{path}.securityContext")
    affinity_errors(found, spec.get("affinity") or {}, f"{path}.affinity")
    _dns(found, spec, path)
    for place, gate in each(spec, path, "readinessGates"):
        found.named(f"{place}.conditionType", gate.get("conditionType", ""), _qualified)
    _spread(found, spec, path)
    tolerations_errors(found, spec, path)
    for place, alias in each(spec, path, "hostAliases"):
        address_errors(found, f"{place}.ip", alias.get("ip", ""))
        for index, name in enumerate(alias.get("hostnames") or ()):
            found.named(f"{place}.hostnames[{index}]", name, names.dns1123_subdomain)
    _host_network(found, spec, path)


def _qualified(value: str) -> list[str]:
    return [text.replace("a valid label key", "a qualified name") for text in names.label_key(value)]


def _choices(found: Findings, spec: Object, path: str) -> None:
    found.chosen(f"{path}.restartPolicy", spec.get("restartPolicy"), ("Always", "OnFailure", "Never"))
    found.chosen(
        f"{path}.dnsPolicy",
        spec.get("dnsPolicy"),
        ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"),
    )
    if spec.get("terminationGracePeriodSeconds") is None:
        found.required(f"{path}.terminationGracePeriodSeconds")
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2147483647:
        found.invalid(
            f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive"
        )
    if spec.get("preemptionPolicy") is not None:
        found.chosen(f"{path}.preemptionPolicy", spec["preemptionPolicy"], ("PreemptLowerPriority", "Never"))


def _names(found: Findings, spec: Object, path: str) -> None:
    for name, check in (
        ("serviceAccountName", names.dns1123_subdomain),
        ("nodeName", names.dns1123_subdomain),
        ("hostname", names.dns1123_label),
        ("subdomain", names.dns1123_label),
        ("priorityClassName", names.dns1123_subdomain),
        ("runtimeClassName", names.dns1123_subdomain),
    ):
        if spec.get(name):
            found.named(f"{path}.{name}", spec[name], check)


def _security(found: Findings, context: Object, path: str) -> None:
    for name in ("fsGroup", "runAsUser", "runAsGroup"):
        identity_errors(found, f"{path}.{name}", context.get(name))
    for place, group in each(context, path, "supplementalGroups"):
        identity_errors(found, place, group)
    taken: set[str] = set()
    for place, sysctl in each(context, path, "sysctls"):
        name = sysctl.get("name", "")
        if not found.needs(f"{place}.name", name):
            continue
        if len(name) > 253 or not re.fullmatch(_SYSCTL, name):
            found.invalid(
                f"{place}.name", name, f"must have at most 253 characters and match regex {_SYSCTL}"
            )
        elif name.replace("/", ".") in taken:
            found.duplicate(f"{place}.name", name)
        taken.add(name.replace("/", "."))
    if context.get("fsGroupChangePolicy") is not None:
        found.one_of(
            f"{path}.fsGroupChangePolicy", context["fsGroupChangePolicy"], ("Always", "OnRootMismatch")
        )
    seccomp_errors(found, context.get("seccompProfile"), f"{path}.seccompProfile")


def _host_network(found: Findings, spec: Object, path: str) -> None:
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        found.invalid(
            f"{path}.shareProcessNamespace", True, "ShareProcessNamespace and HostPID cannot both be enabled"
        )
    if not spec.get("hostNetwork"):
        return
    for group in ("containers", "initContainers"):
        for place, container in each(spec, path, group):
            for port_place, port in each(container, place, "ports"):
                if port.get("hostPort") != port.get("containerPort"):
                    found.invalid(
                        f"{port_place}.hostPort",
                        port.get("hostPort", 0),
                        "must match `containerPort` when `hostNetwork` is true",
                    )


def _dns(found: Findings, spec: Object, path: str) -> None:
    config, policy = spec.get("dnsConfig"), spec.get("dnsPolicy")
    place = f"{path}.dnsConfig"
    if policy == "None":
        if config is None:
            found.required(place, "must provide `dnsConfig` when `dnsPolicy` is None")
            return
        if not config.get("nameservers"):
            found.required(
                f"{place}.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None"
            )
            return
    if config is None:
        return
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if len(servers) > 3:
        found.invalid(f"{place}.nameservers", servers, "must not have more than 3 nameservers")
    for where, server in each(config, place, "nameservers"):
        address_errors(found, where, server)
    if len(searches) > 32:
        found.invalid(f"{place}.searches", searches, "must not have more than 32 search paths")
    if len(" ".join(searches)) > 2048:
        found.invalid(
            f"{place}.searches",
            searches,
            "must not have more than 2048 characters (including spaces) in the search list",
        )
    for where, search in each(config, place, "searches"):
        if search != ".":
            found.named(where, search.removesuffix("."), _subdomain_with_underscores)
    for where, option in each(config, place, "options"):
        if not option.get("name"):
            found.required(where, "must not be empty")


_UNDERSCORED = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*"


def _subdomain_with_underscores(value: str) -> list[str]:
    wrong = [names.too_long(253)] if len(value) > 253 else []
    if not re.fullmatch(_UNDERSCORED, value):
        text = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', "
            "and must start and end with an alphanumeric character"
        )
        wrong.append(names.mismatch(text, _UNDERSCORED, "example.com"))
    return wrong


def tolerations_errors(found: Findings, holder: Object, path: str) -> None:
    for place, toleration in each(holder, path, "tolerations"):
        key, operator = toleration.get("key", ""), toleration.get("operator", "")
        value, effect = toleration.get("value", ""), toleration.get("effect", "")
        if key:
            found.named(f"{place}.key", key, _label_name)
        elif operator != "Exists":
            found.invalid(
                f"{place}.operator",
                operator,
                'operator must be Exists when `key` is empty, which means "match all values and all keys"',
            )
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            found.invalid(
                f"{place}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"
            )
        if operator in ("Equal", ""):
            wrong = names.label_value(value)
            if wrong:
                found.invalid(f"{place}.operator", value, ";".join(wrong))
        elif operator == "Exists":
            if value:
                found.invalid(f"{place}.operator", value, "value must be empty when `operator` is 'Exists'")
        else:
            found.unsupported(f"{place}.operator", operator, ("Equal", "Exists"))
        if effect:
            found.one_of(f"{place}.effect", effect, EFFECTS)


def _label_name(value: str) -> list[str]:
    return names.label_key(value)


def affinity_errors(found: Findings, affinity: Object, path: str) -> None:
    required, preferred = (
        "requiredDuringSchedulingIgnoredDuringExecution",
        "preferredDuringSchedulingIgnoredDuringExecution",
    )
    node = affinity.get("nodeAffinity") or {}
    if node.get(required) is not None:
        node_selector_errors(found, f"{path}.nodeAffinity.{required}", node[required])
        _node_values(found, node[required].get("nodeSelectorTerms") or [], f"{path}.nodeAffinity.{required}")
    for place, term in each(node, f"{path}.nodeAffinity", preferred):
        _weight(found, place, term)
        node_selector_term_errors(found, f"{place}.preference", term.get("preference") or {})
        _term_values(found, term.get("preference") or {}, f"{place}.preference")
    for kind in ("podAffinity", "podAntiAffinity"):
        pods = affinity.get(kind) or {}
        for place, term in each(pods, f"{path}.{kind}", required):
            _pod_term(found, place, term)
        for place, term in each(pods, f"{path}.{kind}", preferred):
            _weight(found, place, term)
            _pod_term(found, f"{place}.podAffinityTerm", term.get("podAffinityTerm") or {})


def _node_values(found: Findings, terms: list[Object], path: str) -> None:
    for index, term in enumerate(terms):
        _term_values(found, term, f"{path}.nodeSelectorTerms[{index}]")


def _term_values(found: Findings, term: Object, path: str) -> None:
    for place, expression in each(term, path, "matchExpressions"):
        for where, value in each(expression, place, "values"):
            found.named(where, value, names.label_value)


def _weight(found: Findings, path: str, term: Object) -> None:
    weight = term.get("weight", 0)
    if not 1 <= weight <= 100:
        found.invalid(f"{path}.weight", weight, "must be in the range 1-100")


def _pod_term(found: Findings, path: str, term: Object) -> None:
    label_selector_errors(found, f"{path}.labelSelector", term.get("labelSelector"))
    label_selector_errors(found, f"{path}.namespaceSelector", term.get("namespaceSelector"))
    for name in term.get("namespaces") or ():
        found.named(f"{path}.namespace", name, names.dns1123_label)
    key = term.get("topologyKey", "")
    found.needs(f"{path}.topologyKey", key, "can not be empty")
    found.named(f"{path}.topologyKey", key, _label_name)


def _spread(found: Findings, spec: Object, path: str) -> None:
    constraints = spec.get("topologySpreadConstraints") or []
    for index, constraint in enumerate(constraints):
        place = f"{path}.topologySpreadConstraints[{index}]"
        skew, key = constraint.get("maxSkew", 0), constraint.get("topologyKey", "")
        when = constraint.get("whenUnsatisfiable", "")
        found.positive(f"{place}.maxSkew", skew, "must be greater than zero")
        found.needs(f"{place}.topologyKey", key, "can not be empty")
        found.one_of(f"{place}.whenUnsatisfiable", when, ("DoNotSchedule", "ScheduleAnyway"))
        for other in constraints[index + 1 :]:
            if other.get("topologyKey", "") == key and other.get("whenUnsatisfiable", "") == when:
                found.duplicate(f"{place}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {when}}}")
                break
        domains = constraint.get("minDomains")
        if domains is not None:
            found.positive(f"{place}.minDomains", domains)
            if when != "DoNotSchedule":
                found.invalid(
                    f"{place}.minDomains",
                    domains,
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not " + (when or '""'),
                )
        for policy in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if constraint.get(policy) is not None:
                found.one_of(f"{place}.{policy}", constraint[policy], ("Honor", "Ignore"))
        label_selector_errors(found, f"{place}.labelSelector", constraint.get("labelSelector"))


# Updates


def _update(found: Findings, spec: Object, old: Object) -> None:
    for group in ("containers", "initContainers"):
        new_ones, old_ones = spec.get(group) or [], old.get(group) or []
        if len(new_ones) != len(old_ones):
            found.forbidden(f"spec.{group}", "pod updates may not add or remove containers")
            return
    if _deadline(found, spec.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds")):
        return
    _tolerations_update(found, spec, old)
    if _munged(spec, old) != _munged(old, old):
        found.forbidden(
            "spec",
            f"pod updates may not change fields other than {_UPDATABLE}\n{difference(old, _munged(spec, old))}",
        )


def _deadline(found: Findings, new: Any, old: Any) -> bool:
    """Check a change of the deadline; True if nothing more is to be looked at."""
    path = "spec.activeDeadlineSeconds"
    if new is not None:
        if not 0 <= new <= 2147483647:
            found.invalid(path, new, "must be between 0 and 2147483647, inclusive")
            return True
        if old is not None and old < new:
            found.invalid(path, new, "must be less than or equal to previous value")
            return True
    elif old is not None:
        found.invalid(path, None, "must not update from a positive integer to nil value")
    return False


def _tolerations_update(found: Findings, spec: Object, old: Object) -> None:
    def key(toleration: Object) -> Object:
        return {name: value for name, value in toleration.items() if name != "tolerationSeconds"}

    kept = [key(toleration) for toleration in spec.get("tolerations") or ()]
    if any(key(toleration) not in kept for toleration in old.get("tolerations") or ()):
        found.forbidden(
            "spec.tolerations", "existing toleration can not be modified except its tolerationSeconds"
        )


def _munged(spec: Object, old: Object) -> Object:
    """A spec with what may change put as it was."""
    result = {**spec}
    for group in ("containers", "initContainers"):
        if spec.get(group):
            result[group] = [
                {**new, "image": before.get("image")}
                for new, before in zip(spec[group], old.get(group) or [], strict=False)
            ]
    for name in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        result.pop(name, None)
    if old.get("terminationGracePeriodSeconds", 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        result["terminationGracePeriodSeconds"] = old["terminationGracePeriodSeconds"]
    return result

"""Webhook configurations and APIServices.

Facts: `pkg/apis/admissionregistration/validation` of Kubernetes 1.37, kube-aggregator's `apiregistration/validation`.
"""

from __future__ import annotations

import urllib.parse
from typing import Any

from slipway.cluster.registry.validation.findings import Findings, each
from slipway.cluster.registry.validation.selectors import label_selector_errors
from slipway.cluster.schema import names

Object = dict[str, Any]
_SIDE_EFFECTS = ("None", "NoneOnDryRun")
_VERSIONS = ("v1", "v1beta1")
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_URL_FORM = "desired format: https://host[/path]"


def webhooks_errors(found: Findings, obj: Object, old: Object | None) -> None:
    taken: set[str] = set()
    for place, webhook in each(obj, "", "webhooks"):
        _webhook(found, webhook, place)
        name = webhook.get("name", "")
        if name in taken:
            found.duplicate(f"{place}.name", name)
        taken.add(name)


def _webhook(found: Findings, webhook: Object, path: str) -> None:
    _name(found, webhook.get("name", ""), f"{path}.name")
    label_selector_errors(found, f"{path}.namespaceSelector", webhook.get("namespaceSelector"))
    label_selector_errors(found, f"{path}.objectSelector", webhook.get("objectSelector"))
    for place, rule in each(webhook, path, "rules"):
        _rule(found, rule, place)
    for name, allowed in (
        ("failurePolicy", ("Fail", "Ignore")),
        ("matchPolicy", ("Equivalent", "Exact")),
        ("reinvocationPolicy", ("IfNeeded", "Never")),
    ):
        if webhook.get(name) is not None:
            found.one_of(f"{path}.{name}", webhook[name], allowed)
    effects = webhook.get("sideEffects")
    if effects is None:
        found.required(f"{path}.sideEffects", "must specify one of None, NoneOnDryRun")
    else:
        found.one_of(f"{path}.sideEffects", effects, _SIDE_EFFECTS)
    seconds = webhook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        found.invalid(f"{path}.timeoutSeconds", seconds, "the timeout value must be between 1 and 30 seconds")
    _client(found, webhook.get("clientConfig") or {}, f"{path}.clientConfig")
    _review_versions(found, webhook.get("admissionReviewVersions") or [], f"{path}.admissionReviewVersions")


def _name(found: Findings, name: str, path: str) -> None:
    if not found.needs(path, name):
        return
    before = len(found.errors)
    found.named(path, name, names.dns1123_subdomain)
    if len(found.errors) == before and name.count(".") < 2:
        found.invalid(path, name, "should be a domain with at least three segments separated by dots")


def _rule(found: Findings, rule: Object, path: str) -> None:
    for name in ("operations", "apiGroups", "apiVersions", "resources"):
        values = rule.get(name) or []
        found.needs(f"{path}.{name}", values)
        if "*" in values and len(values) > 1 and name != "resources":
            found.invalid(
                f"{path}.{name}",
                values,
                "if '*' is present, must not specify other "
                + {"operations": "operations", "apiGroups": "API groups", "apiVersions": "API versions"}[
                    name
                ],
            )
        for index, value in enumerate(values):
            if name == "operations":
                found.one_of(f"{path}.{name}[{index}]", value, _OPERATIONS)
            elif name != "apiGroups":
                found.needs(f"{path}.{name}[{index}]", value)
    if rule.get("scope") is not None:
        found.one_of(f"{path}.scope", rule["scope"], ("*", "Cluster", "Namespaced"))


def _client(found: Findings, config: Object, path: str) -> None:
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        found.required(path, "exactly one of url or service is required")
        return
    if url is not None:
        _url(found, url, f"{path}.url")
        return
    service = service or {}
    for name, other in (("name", "namespace"), ("namespace", "name")):
        found.needs(f"{path}.service.{other}", service.get(name))  # upstream takes the one for the other
    if service.get("path") is not None:
        _path(found, service["path"], f"{path}.service.path")
    port_errors(found, service.get("port", 443), f"{path}.service.port")


def port_errors(found: Findings, port: int, path: str) -> None:
    if not 1 <= port <= 65535:
        found.invalid(path, port, "port is not valid: must be between 1 and 65535, inclusive")


def _url(found: Findings, url: str, path: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        found.required(path, f"url must be a valid URL: {error}; {_URL_FORM}")
        return
    if parts.scheme != "https":
        found.invalid(path, parts.scheme, f"'https' is the only allowed URL scheme; {_URL_FORM}")
    if not parts.netloc:
        found.invalid(path, "", f"host must be specified; {_URL_FORM}")
    if "@" in parts.netloc:
        found.invalid(path, parts.netloc.split("@")[0], "user information is not permitted in the URL")
    if parts.fragment:
        found.invalid(path, parts.fragment, "fragments are not permitted in the URL")
    if parts.query:
        found.invalid(path, parts.query, "query parameters are not permitted in the URL")


def _path(found: Findings, value: str, path: str) -> None:
    if value in ("", "/"):
        return
    if value == "//":
        found.invalid(path, value, "segment[0] may not be empty")
        return
    if not value.startswith("/"):
        found.invalid(path, value, "must start with a '/'")
    segments = value.lstrip("/").split("/") if value.startswith("/") else value.split("/")[0:]
    steps = segments[:-1] if value.endswith("/") else segments
    for index, segment in enumerate(steps):
        if not segment:
            found.invalid(path, value, f"segment[{index}] may not be empty")
            continue
        for text in names.dns1123_subdomain(segment):
            found.invalid(path, value, f"segment[{index}]: {text}")


def _review_versions(found: Findings, versions: list[str], path: str) -> None:
    if not versions:
        found.required(path, "must specify one of v1, v1beta1")
        return
    for index, version in enumerate(versions):
        if version in versions[:index]:
            found.invalid(f"{path}[{index}]", version, "duplicate version")
            continue
        found.named(f"{path}[{index}]", version, names.dns1035_label)
    if not set(versions) & set(_VERSIONS):
        found.invalid(path, versions, "must include at least one of v1, v1beta1")


def api_service_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = obj.get("spec") or {}
    group, version = spec.get("group", ""), spec.get("version", "")
    expected = f"{version}.{group}"
    name = (obj.get("metadata") or {}).get("name", "")
    if name and name != expected and not (name == "v1." and not group):
        found.invalid("metadata.name", name, f'must be `spec.version+"."+spec.group`: {_quoted(expected)}')
    if group:
        found.named("spec.group", group, names.dns1123_subdomain)
    elif version != "v1":
        found.required("spec.group", "only v1 may have an empty group and it better be legacy kube")
    found.named("spec.version", version, names.dns1035_label)
    for field, limit in (("groupPriorityMinimum", 20000), ("versionPriority", 1000)):
        value = spec.get(field, 0)
        if value <= 0 or value > limit:
            found.invalid(f"spec.{field}", value, f"must be positive and less than {limit}")
    service = spec.get("service")
    if service is None:
        if spec.get("caBundle"):
            found.invalid(
                "spec.caBundle", f"{len(spec['caBundle'])} bytes", "local APIServices may not have a caBundle"
            )
        if spec.get("insecureSkipTLSVerify"):
            found.invalid(
                "spec.insecureSkipTLSVerify", True, "local APIServices may not have insecureSkipTLSVerify"
            )
        return
    for field in ("namespace", "name"):
        found.needs(f"spec.service.{field}", service.get(field))
    if service.get("port") is not None:
        port_errors(found, service["port"], "spec.service.port")
    if spec.get("insecureSkipTLSVerify") and spec.get("caBundle"):
        found.invalid("spec.insecureSkipTLSVerify", True, "may not be true if caBundle is present")


def _quoted(text: str) -> str:
    return f'"{text}"'

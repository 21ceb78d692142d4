"""Validation of CustomResourceDefinition objects, with the messages of apiextensions-apiserver at 1.37.

Upstream validates an internal form in which what is equal in all versions stands once, above them; hence
paths like `spec.validation.openAPIV3Schema` and `spec.subresources` in its messages, and here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from slipway.cluster.schema import names
from slipway.cluster.schema.crd import Crd, is_established
from slipway.cluster.schema.crd_approval import ANNOTATION, approval_of
from slipway.cluster.schema.crd_printing import go_json
from slipway.cluster.schema.crd_schema import SchemaContext, schema_errors
from slipway.cluster.schema.crd_selectable import selectable_field_errors
from slipway.cluster.status import FieldError, go_quote

_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_HOISTED = ("schema", "subresources", "additionalPrinterColumns", "selectableFields")


def crd_errors(crd: Crd, old: Crd | None = None) -> list[FieldError]:
    """What is wrong with a CRD (defaults set, status prepared) on create, or on update of `old`.

    Its metadata is checked where all kinds' metadata is, except for the rule that ties the name to the spec.
    """
    errors: list[FieldError] = []
    spec = crd["spec"]
    wanted = f"{(spec.get('names') or {}).get('plural', '')}.{spec.get('group', '')}"
    name = crd["metadata"].get("name", "")
    if old is None and name != wanted:
        errors.append(_invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    errors += _spec_errors(spec, None if old is None else old["spec"])
    if old is not None:
        errors += _immutable_errors(spec, old)
    accepted = (crd.get("status") or {}).get("acceptedNames") or {}
    errors += _name_errors(accepted, "status.acceptedNames")
    errors += _stored_version_errors(crd)
    errors += _approval_errors(crd, old)
    if spec.get("preserveUnknownFields") and not (old and old["spec"].get("preserveUnknownFields")):
        why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        errors.append(_invalid("spec.preserveUnknownFields", True, why))
    return errors


def _invalid(field: str, value: Any, why: str) -> FieldError:
    return FieldError("FieldValueInvalid", field, value, why)


def _required(field: str, why: str = "") -> FieldError:
    return FieldError("FieldValueRequired", field, "", why)


def _immutable_errors(spec: dict[str, Any], old: Crd) -> Iterator[FieldError]:
    before = old["spec"]
    pairs = [
        ("spec.group", spec.get("group"), before.get("group")),
        ("spec.names.plural", spec["names"].get("plural"), before["names"].get("plural")),
    ]
    if is_established(old):
        pairs[:0] = [
            ("spec.scope", spec.get("scope"), before.get("scope")),
            ("spec.names.kind", spec["names"].get("kind"), before["names"].get("kind")),
        ]
    for field, now, then in pairs:
        if now != then:
            yield _invalid(field, now, "field is immutable")


def _spec_errors(spec: dict[str, Any], old: dict[str, Any] | None) -> Iterator[FieldError]:
    yield from _group_errors(spec.get("group") or "")
    scope = spec.get("scope") or ""
    if not scope:
        yield _required("spec.scope")
    elif scope not in ("Cluster", "Namespaced"):
        yield FieldError(
            "FieldValueNotSupported", "spec.scope", scope, 'supported values: "Cluster", "Namespaced"'
        )
    versions: list[dict[str, Any]] = spec.get("versions") or []
    shared = {key for key in _HOISTED if _same_in_all(versions, key)}
    for index, version in enumerate(versions):
        if not (version.get("schema") or {}).get("openAPIV3Schema") and not (
            "schema" in shared and versions[0].get("schema")
        ):
            yield _required(f"spec.versions[{index}].schema.openAPIV3Schema")
    has_defaults = any(_has_default((v.get("schema") or {}).get("openAPIV3Schema")) for v in versions)
    if has_defaults and spec.get("preserveUnknownFields"):
        why = "must be false in order to use defaults in the schema"
        yield _invalid("spec.preserveUnknownFields", True, why)
    old_schemas = {v["name"]: v.get("schema") for v in (old or {}).get("versions") or []}
    yield from _versions_errors(versions, shared, old_schemas)
    yield from _version_list_errors(spec.get("versions"), shared)
    if versions and versions[0].get("name") and (wrong := names.dns1035_label(versions[0]["name"])):
        yield _invalid("spec.version", versions[0]["name"], ",".join(wrong))
    for key in ("plural", "singular", "kind", "listKind"):
        if not (spec.get("names") or {}).get(key):
            yield _required(f"spec.names.{key}")
    yield from _name_errors(spec.get("names") or {}, "spec.names")
    if versions:
        merged = {key: versions[0][key] for key in shared if versions[0].get(key)}
        unchanged = old_schemas.get(versions[0]["name"]) == merged.get("schema") if old else False
        yield from _content_errors(merged, "spec", versions, unchanged)
    yield from _conversion_errors(spec)


def _same_in_all(versions: list[dict[str, Any]], key: str) -> bool:
    return all(version.get(key) == versions[0].get(key) for version in versions)


def _has_default(schema: Any) -> bool:
    if isinstance(schema, dict):
        if schema.get("default") is not None:
            return True
        nested = [
            schema.get("items"),
            schema.get("additionalProperties"),
            *(schema.get("properties") or {}).values(),
        ]
        return any(_has_default(one) for one in nested)
    return False


def _group_errors(group: str) -> Iterator[FieldError]:
    if not group:
        yield _required("spec.group")
    elif wrong := names.dns1123_subdomain(group):
        yield _invalid("spec.group", group, ",".join(wrong))
    elif "." not in group:
        yield _invalid("spec.group", group, "should be a domain with at least one dot")


def _versions_errors(
    versions: list[dict[str, Any]], shared: set[str], old_schemas: dict[str, Any]
) -> Iterator[FieldError]:
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}]"
        name = version.get("name") or ""
        if wrong := names.dns1035_label(name):
            yield _invalid(f"{path}.name", name, ",".join(wrong))
        yield from _deprecation_errors(version, f"{path}.deprecationWarning")
        own = {key: version[key] for key in _HOISTED if key not in shared and version.get(key)}
        unchanged = name in old_schemas and old_schemas[name] == version.get("schema")
        yield from _content_errors(own, path, [version], unchanged)


def _deprecation_errors(version: dict[str, Any], path: str) -> Iterator[FieldError]:
    warning = version.get("deprecationWarning")
    if warning is None:
        return
    if not version.get("deprecated"):
        yield _invalid(path, warning, "can only be set for deprecated versions")
        return
    if len(warning.encode()) > 256:
        yield _invalid(path, warning, "must be <= 256 characters long")
    if not warning:
        yield _invalid(path, warning, "must not be an empty string")
    for index, char in enumerate(warning):
        if not char.isprintable():
            at = len(warning[:index].encode())
            why = f"must only contain printable UTF-8 characters; non-printable character found at index {at}"
            yield _invalid(path, warning, why)
            break


def _content_errors(
    content: dict[str, Any], path: str, versions: list[dict[str, Any]], unchanged: bool
) -> Iterator[FieldError]:
    """Schema, sub-resources, columns and selectable fields, which stand in a version or above all of them."""
    schema = (content.get("schema") or {}).get("openAPIV3Schema")
    above = path == "spec"
    if schema is not None:
        where = "spec.validation.openAPIV3Schema" if above else f"{path}.schema.openAPIV3Schema"
        has_status = any(
            (version.get("subresources") or {}).get("status") is not None for version in versions
        )
        yield from schema_errors(schema, where, SchemaContext(has_status=has_status, unchanged=unchanged))
    yield from _subresource_errors(content.get("subresources") or {}, f"{path}.subresources")
    for index, column in enumerate(content.get("additionalPrinterColumns") or []):
        yield from _column_errors(column, f"{path}.additionalPrinterColumns[{index}]")
    fields = content.get("selectableFields") or []
    if fields:
        within = schema or (versions[0].get("schema") or {}).get("openAPIV3Schema")
        yield from selectable_field_errors(fields, within or {}, f"{path}.selectableFields")


def _version_list_errors(given: list[dict[str, Any]] | None, shared: set[str]) -> Iterator[FieldError]:
    versions = given or []
    listed = [version.get("name") for version in versions]
    storing = sum(bool(version.get("storage")) for version in versions)
    shown = "null" if given is None else _internal_versions(versions, shared)
    if len(set(listed)) < len(listed):
        yield FieldError(
            "FieldValueInvalid", "spec.versions", None, "must contain unique version names", shown
        )
    if storing != 1:
        why = "must have exactly one version marked as storage version"
        yield FieldError("FieldValueInvalid", "spec.versions", None, why, shown)


def _internal_versions(versions: list[dict[str, Any]], shared: set[str]) -> str:
    """Versions as Go prints the internal type, which has no JSON names of its own."""
    rows = [
        {
            "Name": version.get("name", ""),
            "Served": bool(version.get("served")),
            "Storage": bool(version.get("storage")),
            "Deprecated": bool(version.get("deprecated")),
            "DeprecationWarning": version.get("deprecationWarning"),
            "Schema": None if "schema" in shared else version.get("schema"),
            "Subresources": None if "subresources" in shared else version.get("subresources"),
            "AdditionalPrinterColumns": None
            if "additionalPrinterColumns" in shared
            else version.get("additionalPrinterColumns"),
            "SelectableFields": None if "selectableFields" in shared else version.get("selectableFields"),
        }
        for version in versions
    ]
    return go_json(rows)


def _name_errors(given: dict[str, Any], path: str) -> Iterator[FieldError]:
    for key in ("plural", "singular", "kind", "listKind"):
        name = given.get(key) or ""
        mixed_case = key in ("kind", "listKind")
        wrong = names.dns1035_label(name.lower() if mixed_case else name) if name else []
        if wrong:
            intro = "may have mixed case, but should otherwise match: " if mixed_case else ""
            yield _invalid(f"{path}.{key}", name, intro + ",".join(wrong))
    for index, name in enumerate(given.get("shortNames") or []):
        if wrong := names.dns1035_label(name):
            yield _invalid(f"{path}.shortNames[{index}]", name, ",".join(wrong))
    if given.get("kind") and given.get("kind") == given.get("listKind"):
        yield _invalid(f"{path}.listKind", given["listKind"], "kind and listKind may not be the same")
    for index, name in enumerate(given.get("categories") or []):
        if wrong := names.dns1035_label(name):
            yield _invalid(f"{path}.categories[{index}]", name, ",".join(wrong))


def _subresource_errors(subresources: dict[str, Any], path: str) -> Iterator[FieldError]:
    scale = subresources.get("scale")
    if scale is None:
        return
    for key, allowed, where in (
        ("specReplicasPath", (".spec.",), "under .spec"),
        ("statusReplicasPath", (".status.",), "under .status"),
        ("labelSelectorPath", (".spec.", ".status."), "under either .spec or .status"),
    ):
        value = scale.get(key) or ""
        if not value:
            if key != "labelSelectorPath":
                yield _required(f"{path}.scale.{key}")
        elif not value.startswith("."):
            yield _invalid(f"{path}.scale.{key}", value, "must be a simple json path starting with .")
        elif not value.startswith(allowed):
            yield _invalid(f"{path}.scale.{key}", value, f"should be a json path {where}")


def _column_errors(column: dict[str, Any], path: str) -> Iterator[FieldError]:
    if not column.get("name"):
        yield _required(f"{path}.name")
    kind = column.get("type") or ""
    if not kind:
        yield _required(f"{path}.type", f"must be one of {','.join(_COLUMN_TYPES)}")
    elif kind not in _COLUMN_TYPES:
        yield _invalid(f"{path}.type", kind, f"must be one of {','.join(_COLUMN_TYPES)}")
    form = column.get("format") or ""
    if form and form not in _COLUMN_FORMATS:
        yield _invalid(f"{path}.format", form, f"must be one of {','.join(_COLUMN_FORMATS)}")
    json_path = column.get("jsonPath") or ""
    if not json_path:
        yield _required(f"{path}.JSONPath")
    elif not json_path.startswith("."):
        yield _invalid(f"{path}.JSONPath", json_path, "must be a simple json path starting with .")


def _conversion_errors(spec: dict[str, Any]) -> Iterator[FieldError]:
    conversion = spec.get("conversion")
    if conversion is None:
        return
    strategy = conversion.get("strategy") or ""
    webhook = conversion.get("webhook")
    path = "spec.conversion"
    if strategy != "None" and spec.get("preserveUnknownFields"):
        yield _invalid(f"{path}.strategy", strategy, "must be None if spec.preserveUnknownFields is true")
    if not strategy:
        yield _required(f"{path}.strategy")
    elif strategy not in ("None", "Webhook"):
        supported = 'supported values: "None", "Webhook"'
        yield FieldError("FieldValueNotSupported", f"{path}.strategy", strategy, supported)
    if strategy == "Webhook":
        client = (webhook or {}).get("clientConfig")
        if client is None:
            yield _required(f"{path}.webhookClientConfig", "required when strategy is set to Webhook")
        else:
            yield from _client_errors(client, f"{path}.webhookClientConfig")
        yield from _review_version_errors((webhook or {}).get("conversionReviewVersions") or [], path)
    elif webhook is not None:
        why = "should not be set when strategy is not set to Webhook"
        if webhook.get("clientConfig") is not None:
            yield FieldError("FieldValueForbidden", f"{path}.webhookClientConfig", "", why)
        if webhook.get("conversionReviewVersions"):
            yield FieldError("FieldValueForbidden", f"{path}.conversionReviewVersions", "", why)


def _client_errors(client: dict[str, Any], path: str) -> Iterator[FieldError]:
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        yield _required(path, "exactly one of url or service is required")
    elif url is not None:
        yield from _url_errors(url, f"{path}.url")
    elif service is not None:
        for key in ("name", "namespace"):
            if not service.get(key):
                yield _required(f"{path}.service.{key}")
        yield from _service_path_errors(service.get("path") or "", f"{path}.service.path")
        port = service.get("port", 443)
        if not 1 <= port <= 65535:
            why = "port is not valid: must be between 1 and 65535, inclusive"
            yield _invalid(f"{path}.service.port", port, why)


def _service_path_errors(url_path: str, path: str) -> Iterator[FieldError]:
    if url_path in ("", "/"):
        return
    if url_path == "//":
        yield _invalid(path, url_path, "segment[0] may not be empty")
        return
    if not url_path.startswith("/"):
        yield _invalid(path, url_path, "must start with a '/'")
    for index, segment in enumerate(url_path[1:].removesuffix("/").split("/")):
        if not segment:
            yield _invalid(path, url_path, f"segment[{index}] may not be empty")
        for why in names.dns1123_subdomain(segment) if segment else ():
            yield _invalid(path, url_path, f"segment[{index}]: {why}")


def _url_errors(url: str, path: str) -> Iterator[FieldError]:
    form = "; desired format: https://host[/path]"
    found = re.fullmatch(
        r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(#.*)?", url, re.DOTALL
    )
    if found is None or url.startswith(":"):
        why = f"parse {go_quote(url)}: missing protocol scheme"
        yield _required(path, f"url must be a valid URL: {why}{form}")
        return
    scheme, authority, _, query, fragment = found.groups()
    if scheme != "https":
        yield _invalid(path, scheme or "", "'https' is the only allowed URL scheme" + form)
    if not authority:
        yield _invalid(path, authority or "", "host must be specified" + form)
    if "@" in (authority or ""):
        yield _invalid(path, authority.partition("@")[0], "user information is not permitted in the URL")
    if fragment and len(fragment) > 1:
        yield _invalid(path, fragment[1:], "fragments are not permitted in the URL")
    if query and len(query) > 1:
        yield _invalid(path, query[1:], "query parameters are not permitted in the URL")


def _review_version_errors(versions: list[str], path: str) -> Iterator[FieldError]:
    path = f"{path}.conversionReviewVersions"
    if not versions:
        yield _required(path)
        return
    seen: set[str] = set()
    for index, version in enumerate(versions):
        if version in seen:
            yield _invalid(f"{path}[{index}]", version, "duplicate version")
            continue
        seen.add(version)
        for why in names.dns1035_label(version):
            yield _invalid(f"{path}[{index}]", version, why)
    if not seen & {"v1", "v1beta1"}:
        yield _invalid(path, versions, "must include at least one of v1, v1beta1")


def _stored_version_errors(crd: Crd) -> Iterator[FieldError]:
    stored = (crd.get("status") or {}).get("storedVersions") or []
    path = "status.storedVersions"
    if not stored:
        yield FieldError("FieldValueInvalid", path, None, "must have at least one stored version")
        return
    listed = {version.get("name"): version for version in crd["spec"].get("versions") or []}
    for name, version in listed.items():
        if version.get("storage") and name not in stored:
            yield _invalid(path, stored, f"must have the storage version {name}")
    for index, name in enumerate(stored):
        if name not in listed:
            why = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {name} and "
                f"removes {name} from status.storedVersions"
            )
            yield _invalid(f"{path}[{index}]", name, why)


def _approval_errors(crd: Crd, old: Crd | None) -> Iterator[FieldError]:
    """Groups of the Kubernetes community need a sign that their API was reviewed."""
    approval = approval_of(crd)
    before = None if old is None else approval_of(old)
    if approval is None or (before is not None and before.state == approval.state):
        return
    path = f"metadata.annotations[{ANNOTATION}]"
    if approval.state == "Missing":
        yield _required(path, approval.message)
    elif approval.state == "Invalid":
        yield _invalid(path, approval.annotation, approval.message)

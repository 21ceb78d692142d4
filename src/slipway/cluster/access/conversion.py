"""Conversion webhooks: one object sent to be had in another version, and what its author may change on the way.

Facts: k8s.io/api apiextensions/v1 ConversionReview, and how k8s.io/apiextensions-apiserver at 1.37 words refusals.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from slipway.cluster.access.webhook_call import Resolve, WebhookFailure, ask
from slipway.cluster.registry.conversion import ConversionFailed
from slipway.cluster.registry.validation.findings import Findings
from slipway.cluster.registry.validation.metadata import annotations_errors, labels_errors
from slipway.cluster.status import go_quote, summed_up

Object = dict[str, Any]
GROUP = "apiextensions.k8s.io"
TIMEOUT = 30.0
_NO_OBJECT = "json: cannot unmarshal {} into Go value of type map[string]interface {{}}"
_UNDERSTOOD = ("v1", "v1beta1")  # versions of ConversionReview


class ConversionWebhooks:
    """Asks the webhook that a CRD names; a ConversionFailed says what went wrong with it."""

    def __init__(self, resolve: Resolve, new_uid: Callable[[], str]) -> None:
        self._resolve = resolve
        self._new_uid = new_uid

    async def __call__(self, webhook: Object, obj: Object, api_version: str) -> Object:
        """The object in the version wanted, with the metadata that it had but for labels and annotations."""
        spoken = next((v for v in webhook.get("conversionReviewVersions") or [] if v in _UNDERSTOOD), None)
        if spoken is None:
            raise ConversionFailed("no supported conversion review versions")
        group, version = _group_version(obj)
        asked = f"conversion webhook for {group}/{version}, Kind={obj['kind']}"
        try:
            objects = await self._ask(webhook, spoken, obj, api_version)
        except WebhookFailure as error:
            raise ConversionFailed(f"{asked} failed: {error}") from None
        if len(objects) != 1:
            raise ConversionFailed(f"{asked} returned {len(objects)} objects, expected 1")
        converted = objects[0]
        if not isinstance(converted, dict):
            raise ConversionFailed(_NO_OBJECT.format(_go_type(converted)))
        why = _of_another_type(obj, converted, api_version) or _of_another_identity(obj, converted)
        if why:
            raise ConversionFailed(f"{asked} returned invalid object{why}")
        metadata, why = _restored(obj["metadata"], converted.get("metadata"))
        if why:
            raise ConversionFailed(f"{asked} returned invalid metadata: {why}")
        return {**converted, "metadata": metadata}

    async def _ask(self, webhook: Object, spoken: str, obj: Object, api_version: str) -> list[Any]:
        uid = self._new_uid()
        review = {
            "kind": "ConversionReview",
            "apiVersion": f"{GROUP}/{spoken}",
            "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": [obj]},
        }
        answer = await ask(webhook.get("clientConfig") or {}, self._resolve, review, TIMEOUT)
        return _converted(answer, spoken, uid)


def _converted(answer: Object, spoken: str, uid: str) -> list[Any]:
    """The objects of a ConversionReview that says that all went well."""
    kind, version = answer.get("kind"), answer.get("apiVersion")
    if not kind:
        raise WebhookFailure(f"Object 'Kind' is missing in {go_quote(json.dumps(answer))}")
    if kind != "ConversionReview" or version not in {f"{GROUP}/{known}" for known in _UNDERSTOOD}:
        raise WebhookFailure(
            f'no kind "{kind}" is registered for version "{version}" in scheme "pkg/runtime/scheme.go:111"'
        )
    if version != f"{GROUP}/{spoken}":
        came = str(version).rpartition("/")[2]
        raise WebhookFailure(
            f"converting ({came}.ConversionReview) to ({spoken}.ConversionReview): unknown conversion"
        )
    response = answer.get("response")
    if not isinstance(response, dict):
        raise WebhookFailure("no response provided")
    if spoken == "v1" and response.get("uid") != uid:  # v1beta1 never asked for it
        said = go_quote(str(response.get("uid") or ""))
        raise WebhookFailure(f"expected response.uid={go_quote(uid)}, got {said}")
    result = response.get("result") or {}
    if result.get("status") != "Success":
        otherwise = f"response.result.status was '{result.get('status') or ''}', not 'Success'"
        raise WebhookFailure(result.get("message") or otherwise)
    return list(response.get("convertedObjects") or [])


def _group_version(obj: Object) -> tuple[str, str]:
    group, _, version = str(obj.get("apiVersion") or "").rpartition("/")
    return group, version


def _of_another_type(obj: Object, converted: Object, api_version: str) -> str:
    came = converted.get("apiVersion") or ""
    if came != api_version:
        return f" at index 0: invalid groupVersion (expected {api_version}, received {came})"
    if converted.get("kind") != obj["kind"]:
        return f" at index 0: invalid kind (expected {obj['kind']}, received {converted.get('kind') or ''})"
    return ""


def _of_another_identity(obj: Object, converted: Object) -> str:
    before, after = obj["metadata"], converted.get("metadata")
    after = after if isinstance(after, dict) else {}
    for name, shown in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        if (before.get(name) or "") != (after.get(name) or ""):
            return f": must have the same {shown}: {before.get(name) or ''} != {after.get(name) or ''}"
    return ""


def _restored(before: Object, after: Object | None) -> tuple[Object, str]:
    """The metadata as it was, with the labels and annotations that the webhook gave; what is wrong with those."""
    restored = dict(before)
    for name in ("labels", "annotations"):
        given = (after or {}).get(name)
        if given is None:
            restored.pop(name, None)
            continue
        if not isinstance(given, dict):
            return {}, f"invalid metadata.{name} of type {_go_type(given)} in converted object"
        for key, value in given.items():
            if not isinstance(value, str):
                text = f"must be a string, but is {_go_type(value)} in converted object"
                return {}, f"metadata.{name}[{key}] {text}"
        found = Findings()
        if given != before.get(name) and name == "labels":
            labels_errors(found, "metadata.labels", given)
        elif given != before.get(name):
            annotations_errors(found, "metadata.annotation", given)
        if found.errors:
            return {}, summed_up(found.errors)
        restored[name] = given
    return restored, ""


def _go_type(value: Any) -> str:
    """What Go calls the type of a decoded JSON value."""
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int():
            return "int64"
        case float():
            return "float64"
        case list():
            return "[]interface {}"
    return "map[string]interface {}"

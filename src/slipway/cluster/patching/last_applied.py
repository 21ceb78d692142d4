"""kubectl's client-side apply annotation, seen from server-side apply.

When the manager named `kubectl` applies, what the annotation says was its own already (so it does not conflict
with itself when a user switches), and an annotation that exists is kept up to date (so that the user can switch
back).
"""

from __future__ import annotations

import json
from typing import Any

from slipway.cluster.schema.json_bodies import BadJson, parse_json

Object = dict[str, Any]
MANAGER = "kubectl"
ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
MAXIMUM_ANNOTATIONS = 256 * 1024  # bytes, of all keys and values together


def configuration(obj: Object) -> Object | None:
    """The configuration that was last applied by the client; None if there is none that can be read."""
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    try:
        config = parse_json((annotations.get(ANNOTATION) or "null").encode())
    except BadJson:
        return None
    return config if isinstance(config, dict) else None


def refreshed(obj: Object, config: Object) -> Object:
    """The object with its annotation (if it has one) saying what is applied now; without it if too large."""
    metadata = obj.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    if not annotations.get(ANNOTATION):
        return obj
    updated = {**annotations, ANNOTATION: _text(config)}
    if sum(len(k.encode()) + len(v.encode()) for k, v in updated.items()) > MAXIMUM_ANNOTATIONS:
        del updated[ANNOTATION]
    return {**obj, "metadata": {**metadata, "annotations": updated}}


def _text(config: Object) -> str:
    metadata = dict(config.get("metadata") or {})
    if "annotations" in metadata:
        annotations = {k: v for k, v in (metadata["annotations"] or {}).items() if k != ANNOTATION}
        metadata["annotations"] = annotations
    text = json.dumps(
        {**config, "metadata": metadata}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    for plain, escaped in (("&", "\\u0026"), ("<", "\\u003c"), (">", "\\u003e")):
        text = text.replace(plain, escaped)
    return text + "\n"

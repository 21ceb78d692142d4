"""Objects as bare metadata (meta.k8s.io PartialObjectMetadata), for clients that need no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Object = dict[str, Any]


def partial(obj: Object, version: str) -> Object:
    """PartialObjectMetadata of an object."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": obj.get("metadata") or {},
    }


def partial_list(objects: Sequence[Object], metadata: Object, version: str) -> Object:
    """PartialObjectMetadataList of objects; `metadata` is the list's own."""
    return {
        "kind": "PartialObjectMetadataList",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": metadata,
        "items": [partial(obj, version) for obj in objects],
    }

"""The shape of a custom resource as field ownership sees it: with the fields that every object has.

A CRD's schema need not mention `apiVersion` and `kind`, and says of `metadata` no more than that it is an object;
what it is made of, and how its lists merge, is known. The same goes for embedded objects.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from slipway.cluster.schema.builtin import shape_of
from slipway.cluster.schema.shape import Shape


def with_object_fields(shape: Shape) -> Shape:
    """The shape of a custom resource together with apiVersion, kind and metadata, here and where embedded."""
    return _completed(_descended(shape))


def _completed(shape: Shape) -> Shape:
    text = Shape(kind="string")
    own = {"apiVersion": text, "kind": text, "metadata": _metadata()}
    return replace(shape, properties={**shape.properties, **own})


def _descended(shape: Shape) -> Shape:
    """The same shape (the very same where nothing is embedded) with every embedded object completed."""
    properties = {name: _inner(part) for name, part in shape.properties.items()}
    items = _inner(shape.items) if shape.items else None
    additional = _inner(shape.additional) if shape.additional else None
    unchanged = all(properties[name] is part for name, part in shape.properties.items())
    if unchanged and items is shape.items and additional is shape.additional:
        return shape
    return replace(shape, properties=properties, items=items, additional=additional)


def _inner(shape: Shape) -> Shape:
    below = _descended(shape)
    return _completed(below) if shape.embedded else below


@cache
def _metadata() -> Shape:
    return shape_of("", "v1", "ConfigMap").properties["metadata"]

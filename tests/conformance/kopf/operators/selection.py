"""Every way of naming a resource, and every filter. Each handler notes its own name and the object's."""

from typing import Any

import kopf
from journal import note

GROUP = "conformance.example.com"
NAMINGS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "group, version, plural": ((GROUP, "v1", "samples"), {}),
    "group/version, plural": ((f"{GROUP}/v1", "samples"), {}),
    "group, plural": ((GROUP, "samples"), {}),
    "plural.group": ((f"samples.{GROUP}",), {}),
    "plural.version.group": ((f"samples.v1.{GROUP}",), {}),
    "plural": (("samples",), {}),
    "singular": (("sample",), {}),
    "kind": (("Sample",), {}),
    "short name": (("smp",), {}),
    "kind=": ((), {"kind": "Sample"}),
    "singular=": ((), {"singular": "sample"}),
    "shortcut=": ((), {"shortcut": "smp"}),
    "category": ((), {"category": "conformance"}),
    "everything in a group": ((GROUP, kopf.EVERYTHING), {}),
    "everything": ((kopf.EVERYTHING,), {"labels": {"shade": kopf.PRESENT}}),
    "callable": ((lambda resource: resource.plural == "samples" and resource.preferred,), {}),
    "callable of an older version": ((lambda resource: resource.version == "v1beta1",), {"group": GROUP}),
    "cluster-scoped": ((GROUP, "zones"), {}),
    "core v1": (("", "v1", "configmaps"), {}),
    "v1": (("v1", "configmaps"), {}),
    "built-in short name": (("cm",), {}),
    "built-in with a group": (("deployments.apps",), {}),
}


def _always(**_: Any) -> bool:
    return True


def _never(**_: Any) -> bool:
    return False


def _is_red(value: str | None, **_: Any) -> bool:
    return value == "red"


def _is_text(value: Any, **_: Any) -> bool:
    return isinstance(value, str)


FILTERS: dict[str, dict[str, Any]] = {
    "label value": {"labels": {"shade": "red"}},
    "other label value": {"labels": {"shade": "blue"}},
    "label present": {"labels": {"shade": kopf.PRESENT}},
    "label absent": {"labels": {"shade": kopf.ABSENT}},
    "label callback": {"labels": {"shade": _is_red}},
    "annotation value": {"annotations": {"mark": "yes"}},
    "annotation absent": {"annotations": {"mark": kopf.ABSENT}},
    "annotation all": {"annotations": {"mark": kopf.all_([_is_text, kopf.not_(_is_red)])}},
    "field present": {"field": "spec.size"},
    "field absent": {"field": "spec.nothing", "value": kopf.ABSENT},
    "field value": {"field": "spec.size", "value": 3},
    "field callback": {"field": "spec.size", "value": lambda value, **_: value > 2},
    "other field value": {"field": "spec.size", "value": 4},
    "when": {"when": lambda spec, **_: spec.get("size") == 3},
    "when all": {"when": kopf.all_([_always, _never])},
    "when any": {"when": kopf.any_([_always, _never])},
    "when none": {"when": kopf.none_([_never, _never])},
    "when not": {"when": kopf.not_(_always)},
}
CHANGES: dict[str, dict[str, Any]] = {
    "old and new": {"old": 3, "new": 4},
    "new": {"new": 4},
    "old": {"old": 3},
    "other old": {"old": 5},
    "value": {"value": 3},
    "added": {"old": kopf.ABSENT, "new": kopf.PRESENT},
    "removed": {"old": kopf.PRESENT, "new": kopf.ABSENT},
}


def _handler(what: str, word: str) -> Any:
    def handler(name: str, resource: kopf.Resource, **_: Any) -> None:
        note(what, by=word, name=name, version=resource.version, plural=resource.plural)

    return handler


for word, (names, keywords) in NAMINGS.items():
    kopf.on.event(*names, id=word, **keywords)(_handler("naming", word))
for word, filters in FILTERS.items():
    kopf.on.create("samples", id=word.replace(" ", "-"), **filters)(_handler("filter", word))
for word, filters in CHANGES.items():
    kopf.on.update("samples", id=word.replace(" ", "-"), field="spec.size", **filters)(
        _handler("change", word)
    )

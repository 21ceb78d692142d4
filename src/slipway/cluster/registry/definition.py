"""All that the request path needs to know of one served resource, built-in or custom, behind one interface.

`Definitions` finds the definition of a resource; custom ones come and go with their CRDs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from slipway.cluster.registry.selectors import Reader
from slipway.cluster.registry.strategy import Strategy
from slipway.cluster.schema.decoding import Style
from slipway.cluster.schema.resource import Catalogue, Resource
from slipway.cluster.schema.shape import Shape
from slipway.cluster.status import FieldError

Object = dict[str, Any]
Convert = Callable[[Object, str], Object]  # an object and the apiVersion in which it is wanted


@dataclass(frozen=True, slots=True)
class Webhook:
    """Who converts a custom kind, as its CRD says. `answered` is the definition with another way to convert: one
    that knows what the webhook said."""

    config: Object
    answered: Callable[[Convert], Definition]


@dataclass(frozen=True, slots=True)
class Row:
    """What is special about a kind, as the data file `kinds.json` states it."""

    generation: bool = False  # metadata.generation counts changes of the spec
    status: Any = None  # status of a new object; None: the kind has none of its own
    returns_object: bool = False  # DELETE answers with the object, not a Status
    unconditional_update: bool = True  # PUT without resourceVersion is allowed
    create_on_update: bool = False  # PUT of a missing object creates it
    orphans_dependents: bool = False  # DELETE without a propagation policy leaves dependents alone
    unknown_selector: str = ""  # what a field selector that it does not know is told
    warns_of_orphans: str = ""  # what such a DELETE is told
    storage: str = ""  # `plural.group` in whose bucket the objects are kept, when it is another's
    storage_version: str = ""


@cache
def _rows() -> dict[str, Row]:
    data = orjson.loads((Path(__file__).parent / "kinds.json").read_bytes())
    return {name: Row(**row) for name, row in data["kinds"].items()}


def row_of(resource: Resource) -> Row:
    return _rows().get(resource.qualified, Row())


@dataclass(slots=True)
class Definition:
    """One served resource.

    `decode` checks a body against the schema: (object, whose words) -> the object as it is kept, and what strict
    decoding says; NotDecodable for a value of the wrong type. `default` fills in place. `validate` gets the new and the
    old object (None on create), and so does `warnings`, which says what is accepted but should not be done.
    `to_storage` and `from_storage` convert between the served and the stored version; both may return what they were
    given, and both raise conversion.Unconverted where a webhook has to be asked first.
    """

    resource: Resource
    bucket: str
    row: Row
    strategy: Strategy
    shape: Callable[[], Shape]
    decode: Callable[[Object, Style], tuple[Object, list[str]]]
    default: Callable[[Object], None]
    validate: Callable[[Object, Object | None, str], list[FieldError]]
    warnings: Callable[[Object, Object | None], list[str]]
    to_storage: Callable[[Object], Object]
    from_storage: Callable[[Object], Object]
    selectable: Mapping[str, Reader]
    unknown_selector: str  # how a field selector that the kind does not know is refused
    storage_api_version: str
    webhook: Webhook | None = None  # CRDs: who converts between versions, when that is a webhook
    # CRDs: paths of the scale subresource and the like; empty for built-in kinds.
    custom: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_status(self) -> bool:
        return self.resource.subresource("status") is not None

    @property
    def error_group(self) -> str:
        """The group that refusals name: that of the kind as which the objects are kept."""
        return self.row.storage.partition(".")[2] if self.row.storage else self.resource.group

    def key(self, namespace: str, name: str) -> str:
        return f"{namespace}/{name}" if self.resource.namespaced else name

    def prefix(self, namespace: str) -> str:
        return f"{namespace}/" if self.resource.namespaced and namespace else ""


class Definitions:
    """Finds the Definition of a Resource of the catalogue; built-in ones are made at their first use."""

    def __init__(self, catalogue: Catalogue, make_builtin: Callable[[Resource], Definition]) -> None:
        self.catalogue = catalogue
        self._make_builtin = make_builtin
        self._known: dict[tuple[str, str, str], tuple[Resource, Definition]] = {}

    def of(self, resource: Resource) -> Definition:
        key = (resource.group, resource.version, resource.plural)
        known = self._known.get(key)
        if known is None or (known[0] is not resource and not resource.custom):
            known = self._known[key] = (resource, self._make_builtin(resource))
        return known[1]

    def find(self, group: str, version: str, plural: str) -> Definition:
        resource = self.catalogue.find(group, version, plural)
        if resource is None:
            raise KeyError(f"{plural}.{version}.{group} is not served")
        return self.of(resource)

    def put_custom(self, definition: Definition) -> None:
        resource = definition.resource
        self._known[resource.group, resource.version, resource.plural] = (resource, definition)
        self.catalogue.add(resource)

    def remove_custom(self, group: str, version: str, plural: str) -> None:
        self._known.pop((group, version, plural), None)
        self.catalogue.remove(group, version, plural)

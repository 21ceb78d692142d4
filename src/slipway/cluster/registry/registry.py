"""The registry: one generic path for every kind, over the store, the definitions and admission.

A request enters as a `Call`; reads pass `reading`, writes pass `creating`, `updating`, `patching_objects` or
`deleting`, and all end in a transaction of the store. What comes back are records and listings, still without
HTTP.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from slipway.cluster.clock import Clock
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.conversion import ConversionFailed, Conversions
from slipway.cluster.registry.definition import Definition, Definitions
from slipway.cluster.registry.object_metadata import NAME_ALPHABET
from slipway.cluster.store import Record, Store

Object = dict[str, Any]


class Admission(Protocol):
    """What may change or refuse a write. `obj` is the new object (None on delete), `old` the stored one."""

    async def mutate(self, call: Call, obj: Object | None, old: Object | None) -> Object | None: ...

    async def validate(self, call: Call, obj: Object | None, old: Object | None) -> None: ...


class NoAdmission:
    """Admits everything as it is."""

    async def mutate(self, call: Call, obj: Object | None, old: Object | None) -> Object | None:
        return obj

    async def validate(self, call: Call, obj: Object | None, old: Object | None) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Written:
    """The outcome of a write: the object as served, and what became of it."""

    record: Record
    created: bool = False
    deleted: bool = False


class Registry:
    """Shared by all verbs. `randomness` and `new_uid` are injected so that a seed gives the same cluster."""

    def __init__(
        self,
        store: Store,
        definitions: Definitions,
        clock: Clock,
        *,
        admission: Admission | None = None,
        randomness: random.Random | None = None,
        new_uid: Callable[[], str] | None = None,
        service_range: str = "10.96.0.0/16",
    ) -> None:
        self.store = store
        self.definitions = definitions
        self.clock = clock
        self.service_range = service_range
        self.admission: Admission = admission or NoAdmission()
        self.conversions = Conversions(_nobody_to_ask)  # until who reaches webhooks puts its own here
        self.randomness = randomness or random.Random()
        self.new_uid = new_uid or (lambda: str(uuid.UUID(int=self.randomness.getrandbits(128), version=4)))

    def generate_name(self, base: str) -> str:
        return base + "".join(self.randomness.choices(NAME_ALPHABET, k=5))

    def record(self, group: str, version: str, plural: str, namespace: str, name: str) -> Record | None:
        """A stored object of a built-in kind, for strategies and admission that look at other kinds."""
        definition = self.definitions.find(group, version, plural)
        return self.store.get(definition.bucket, definition.key(namespace, name))

    def objects(self, group: str, version: str, plural: str, namespace: str = "") -> list[Object]:
        """All stored objects of a kind, in the version asked for."""
        definition = self.definitions.find(group, version, plural)
        page = self.store.scan(definition.bucket, definition.prefix(namespace))
        return [definition.from_storage(record.value) for record in page.records]

    async def served(self, definition: Definition, record: Record) -> Object:
        """The record's object in the definition's version; not to be changed."""
        return await self.conversions.served(definition, record)


async def _nobody_to_ask(webhook: Object, obj: Object, api_version: str) -> Object:
    raise ConversionFailed("this registry reaches no conversion webhooks")


def stamped(value: Object, revision: int) -> Object:
    """The value as stored at a revision."""
    return {**value, "metadata": {**value["metadata"], "resourceVersion": str(revision)}}

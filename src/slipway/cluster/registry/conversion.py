"""Objects of custom kinds whose author converts them between versions by a webhook.

Where objects are converted (definitions, field ownership, selectors) nothing can wait for a network. There a
missing answer is raised as `Unconverted`; `Conversions` asks the webhook for it and does the work again, which is
why that work changes nothing but its own copies. Kinds without a webhook never come here.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import orjson

from slipway.cluster.registry.definition import Definition
from slipway.cluster.status import StatusError, internal_error, too_many_requests
from slipway.cluster.store import Record

Object = dict[str, Any]
Result = TypeVar("Result")
# Gets (a CRD's spec.conversion.webhook, the object, the apiVersion wanted). ConversionFailed.
AskWebhook = Callable[[Object, Object, str], Awaitable[Object]]
AT_ONCE = 8  # objects of a list that are asked for at the same time


class Unconverted(Exception):
    """`obj` is needed in `api_version`, and the webhook has not been asked yet."""

    def __init__(self, obj: Object, api_version: str) -> None:
        super().__init__(f"{obj.get('kind')} is not converted to {api_version}")
        self.obj = obj
        self.api_version = api_version


class ConversionFailed(StatusError):
    """The webhook's answer, or want of one, as clients of the API are told of it."""

    def __init__(self, message: str) -> None:
        super().__init__(500, "", message)


class Answers:
    """What a webhook said so far of the objects of one piece of work."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes], Object] = {}

    def __call__(self, obj: Object, api_version: str) -> Object:
        known = self._known.get(self._key(obj, api_version))
        if known is None:
            raise Unconverted(obj, api_version)
        return copy.deepcopy(known)

    def add(self, obj: Object, api_version: str, answer: Object) -> None:
        self._known[self._key(obj, api_version)] = answer

    @staticmethod
    def _key(obj: Object, api_version: str) -> tuple[str, bytes]:
        return api_version, orjson.dumps(obj, option=orjson.OPT_SORT_KEYS)


class Served(dict[str, Any]):
    """A value that was converted for its reader, who reads it as it is."""


class Conversions:
    def __init__(self, ask: AskWebhook) -> None:
        self._ask = ask

    async def settled(
        self, definition: Definition, work: Callable[[Callable[[Definition], Definition]], Result]
    ) -> Result:
        """The result of `work`, which sees a definition of this kind through what it is given and may be done
        several times."""
        if definition.webhook is None:
            return work(_as_it_is)
        webhook, answers = definition.webhook, Answers()
        while True:
            try:
                return work(lambda one: one.webhook.answered(answers) if one.webhook else one)
            except Unconverted as missing:
                answer = await self._ask(webhook.config, missing.obj, missing.api_version)
                answers.add(missing.obj, missing.api_version, answer)

    async def served(self, definition: Definition, record: Record) -> Object:
        """The record's value in the definition's version; not to be changed."""
        if definition.webhook is None:
            return definition.from_storage(record.value)
        try:
            return await self.settled(
                definition, lambda through: through(definition).from_storage(record.value)
            )
        except ConversionFailed as error:
            raise ConversionFailed(
                f"object not decodable revision={record.revision}: {error.message}"
            ) from None

    async def stored(self, definition: Definition, obj: Object) -> Object:
        """The object in the version that is stored."""
        if definition.webhook is None:
            return definition.to_storage(obj)
        return await self.settled(definition, lambda through: through(definition).to_storage(obj))

    async def record(self, definition: Definition, record: Record) -> Record:
        """The record with its value in the definition's version where a webhook must say what that is; others are
        converted by who needs them."""
        if definition.webhook is None:
            return record
        try:
            value = await self.served(definition, record)
        except ConversionFailed as error:
            raise internal_error(_corrupt(definition, record, error)) from None
        return dataclasses.replace(record, value=Served(value), encoded={})

    async def records(self, definition: Definition, records: list[Record]) -> list[Record]:
        """As `record`, for many; one webhook call for each that is stored in another version, as upstream's."""
        if definition.webhook is None:
            return records
        free = asyncio.Semaphore(AT_ONCE)

        async def one(record: Record) -> Record:
            async with free:
                try:
                    value = await self.served(definition, record)
                except ConversionFailed as error:
                    raise too_many_requests(_not_listed(definition, record, error), 1) from None
                return dataclasses.replace(record, value=Served(value), encoded={})

        return list(await asyncio.gather(*map(one, records)))


def _corrupt(definition: Definition, record: Record, error: ConversionFailed, root: str = "") -> str:
    key = f"{root}/{definition.resource.group}/{definition.resource.plural}/{record.key}"
    found = f"StorageError: corrupt object, Code: 7, Key: {key}, ResourceVersion: 0"
    return f"{found}, AdditionalErrorMsg: {error.message}"


def _not_listed(definition: Definition, record: Record, error: ConversionFailed) -> str:
    """Upstream's cache of a version stays empty while one object cannot be had in it."""
    failed = f"failed to read one or more {definition.bucket} from the storage"
    why = _corrupt(definition, record, error, root="/registry")
    return f"storage is (re)initializing: failed to list <unspecified>: {failed}: {why}"


def _as_it_is(definition: Definition) -> Definition:
    return definition

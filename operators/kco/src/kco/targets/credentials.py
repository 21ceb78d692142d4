"""Values that TargetApps refer to: keys of Secrets and ConfigMaps in their own namespace, and nowhere else.

Every Secret value that is read is told to the `Redactor`, which takes it out of all text that leaves the
operator: logs, Events, status, ActionRuns, errors.
"""

import base64
import binascii
import threading

from kco.spec.targetapp import KeyRef, ValueSource
from operator_kit.clock import Clock
from operator_kit.kube.client import CONFIG_MAPS, SECRETS, KubeClient
from operator_kit.kube.failure import ApiFailure

MASK = "[redacted]"
_SHORTEST = 4


class MissingValue(Exception):
    """A reference to something that is not there or may not be read."""


class Redactor:
    """Replaces known secret values in text. Values under four characters would blank out ordinary words."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._ordered: tuple[str, ...] = ()
        self._lock = threading.Lock()

    def add(self, value: str) -> None:
        parts = {value, *value.splitlines()}
        # As it looks inside JSON strings and URLs, where it may be quoted.
        parts |= {part.encode("unicode_escape").decode() for part in parts}
        fresh = {part for part in parts if len(part) >= _SHORTEST} - self._values
        if fresh:
            with self._lock:
                self._values |= fresh
                self._ordered = tuple(sorted(self._values, key=len, reverse=True))

    def __call__(self, text: str) -> str:
        for value in self._ordered:
            if value in text:
                text = text.replace(value, MASK)
        return text


class Credentials:
    """Reads referenced values of one namespace; answers are kept for `seconds`."""

    def __init__(
        self, client: KubeClient, *, clock: Clock, redactor: Redactor, seconds: float = 60.0
    ) -> None:
        self._client = client
        self._clock = clock
        self._redactor = redactor
        self._seconds = seconds
        self._known: dict[tuple[str, str, str], tuple[float, dict[str, str]]] = {}

    async def value(self, namespace: str, source: ValueSource) -> str:
        """The text that a `valueFrom` names."""
        if source.secret_key_ref is not None:
            return await self.secret(namespace, source.secret_key_ref)
        assert source.config_map_key_ref is not None
        data = await self._read("configmaps", namespace, source.config_map_key_ref.name)
        return _pick(data, "ConfigMap", source.config_map_key_ref)

    async def secret(self, namespace: str, reference: KeyRef) -> str:
        data = await self._read("secrets", namespace, reference.name)
        return _pick(data, "Secret", reference)

    async def _read(self, kind: str, namespace: str, name: str) -> dict[str, str]:
        key = (kind, namespace, name)
        known = self._known.get(key)
        if known is not None and self._clock.monotonic() - known[0] < self._seconds:
            return known[1]
        resource = SECRETS if kind == "secrets" else CONFIG_MAPS
        word = "Secret" if kind == "secrets" else "ConfigMap"
        try:
            body = await self._client.get(resource, namespace, name)
        except ApiFailure as failure:
            if failure.not_found:
                raise MissingValue(f"{word} {name!r} does not exist in namespace {namespace!r}") from None
            if failure.forbidden:
                raise MissingValue(f"the operator may not read {word} {name!r} in {namespace!r}") from None
            raise
        data = {name: str(text) for name, text in (body.get("data") or {}).items()}
        if kind == "secrets":
            data = {name: _decode(text) for name, text in data.items()}
            for text in data.values():
                self._redactor.add(text)
        if len(self._known) > 2000:
            self._known.clear()
        self._known[key] = (self._clock.monotonic(), data)
        return data


def _pick(data: dict[str, str], word: str, reference: KeyRef) -> str:
    if reference.key not in data:
        raise MissingValue(f"{word} {reference.name!r} has no key {reference.key!r}")
    return data[reference.key]


def _decode(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""

"""A support dump: all that a cluster can tell of its state, for somebody who was not there.

Objects as YAML, events in their order, the logs of pods and of the server, versions, metrics. Values of Secrets are
masked wherever they stand. Sizes are bounded; what was shortened, and what could not be read, stands in summary.yaml.
"""

from __future__ import annotations

import asyncio
import platform
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import yaml

from slipway import __version__
from slipway.cluster.client.client import Client
from slipway.cluster.client.discovery import Served, discover
from slipway.cluster.client.resources import SECRETS, ApiResource
from slipway.cluster.clock import Clock
from slipway.cluster.environment.dump_files import DumpFiles
from slipway.cluster.environment.masking import Masks
from slipway.cluster.status import StatusError

Object = dict[str, Any]
PAGE = 500
ANSWER_SECONDS = 30.0
CLUSTER_WIDE = "_cluster"
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_CONTAINERS = (
    ("initContainers", "initContainerStatuses"),
    ("containers", "containerStatuses"),
    ("ephemeralContainers", "ephemeralContainerStatuses"),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """`objects` of one resource; `log_bytes` of one log, its end; `total_bytes` of all files before packing."""

    objects: int = 5_000
    log_bytes: int = 1 << 20
    total_bytes: int = 256 << 20


@dataclass(slots=True)
class Summary:
    """What summary.yaml says."""

    taken: str
    kubernetes: str = ""
    objects: dict[str, int] = field(default_factory=dict)
    files: int = 0
    not_read: list[str] = field(default_factory=list)
    shortened: list[str] = field(default_factory=list)

    def document(self) -> Object:
        return {
            "taken": self.taken,
            "kubernetes": self.kubernetes,
            "slipway": __version__,
            "python": platform.python_version(),
            "machine": platform.platform(),
            "objects": self.objects,
            "notRead": self.not_read,
            "shortened": self.shortened,
        }


async def dump(
    client: Client, files: DumpFiles, server_log: Path | None = None, limits: Limits | None = None
) -> Summary:
    """Write everything. One part that cannot be read does not keep the others from it; StatusError and OSError
    only when the cluster does not answer at all."""
    return await _Dump(client, files, limits or Limits()).run(server_log)


class _Dump:
    def __init__(self, client: Client, files: DumpFiles, limits: Limits) -> None:
        self._client = client
        self._files = files
        self._limits = limits
        self._summary = Summary(Clock().timestamp())
        self._masks = Masks(())
        self._left = limits.total_bytes

    async def run(self, server_log: Path | None) -> Summary:
        served = sorted(await discover(self._client), key=lambda one: one.resource.qualified)
        version = await self._text("/version")
        if version is None:
            raise OSError(f"the cluster does not tell its version: {self._summary.not_read[-1]}")
        self._summary.kubernetes = str(orjson.loads(version).get("gitVersion", ""))
        self._masks = Masks(await self._list(SECRETS))
        self._summary.shortened.clear()  # Secrets are listed, and counted, again with all others
        self._summary.not_read.clear()
        self._write("version.json", version)
        pods = await self._objects(served)
        for pod in pods:
            await self._logs(pod)
        self._server_log(server_log)
        for name, path in (("metrics.txt", "/metrics"), ("callers.json", "/slipway/roles")):
            found = await self._text(path)
            if found is not None:
                self._write(name, found)
        self._write("summary.yaml", _yaml(self._summary.document()))
        return self._summary

    async def _objects(self, served: list[Served]) -> list[Object]:
        """Write all objects and events; the pods among them."""
        pods: list[Object] = []
        for one in served:
            resource = one.resource
            if not one.preferred or "list" not in one.verbs or resource.qualified == "events.events.k8s.io":
                continue
            found = await self._list(resource)
            self._summary.objects[resource.qualified] = len(found)
            spaces: dict[str, list[Object]] = defaultdict(list)
            for obj in sorted(found, key=_place):
                spaces[obj["metadata"].get("namespace") or CLUSTER_WIDE].append(obj)
            for space, objects in spaces.items():
                documents = (b"---\n" + _yaml(self._masks.object(obj)) for obj in objects)
                self._write(f"objects/{space}/{resource.qualified}.yaml", b"".join(documents))
            if resource.qualified == "events":
                lines = "".join(map(_event_line, sorted(found, key=_event_order)))
                self._write("events.txt", self._masks.text(lines).encode())
            if resource.qualified == "pods":
                pods = sorted(found, key=_place)
        return pods

    async def _list(self, resource: ApiResource) -> list[Object]:
        found: list[Object] = []
        token = ""
        try:
            while len(found) < self._limits.objects:
                limit = min(PAGE, self._limits.objects - len(found))
                async with asyncio.timeout(ANSWER_SECONDS):
                    page = await self._client.list(resource, limit=limit, continue_token=token)
                found += page["items"]
                token = (page.get("metadata") or {}).get("continue") or ""
                if not token:
                    return found
            self._summary.shortened.append(f"{resource.qualified}: the first {len(found)} objects")
        except (StatusError, OSError, TimeoutError) as error:
            self._summary.not_read.append(f"{resource.qualified}: {error or 'no answer in time'}")
        return found

    async def _logs(self, pod: Object) -> None:
        space, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        for containers, statuses in _CONTAINERS:
            known = {one["name"]: one for one in (pod.get("status") or {}).get(statuses) or ()}
            for container in (pod.get("spec") or {}).get(containers) or ():
                status = known.get(container["name"], {})
                ran = {**(status.get("lastState") or {}), **(status.get("state") or {})}
                if {"running", "terminated"} & ran.keys():
                    await self._log(space, name, container["name"], previous=False)
                if status.get("restartCount"):
                    await self._log(space, name, container["name"], previous=True)

    async def _log(self, space: str, pod: str, container: str, *, previous: bool) -> None:
        path = f"/api/v1/namespaces/{space}/pods/{pod}/log"
        query = {"container": container, "timestamps": "true"} | ({"previous": "true"} if previous else {})
        found = await self._text(path, query)
        if found is not None:
            ending = ".previous.log" if previous else ".log"
            self._write(f"logs/{space}/{pod}/{container}{ending}", found)

    def _server_log(self, path: Path | None) -> None:
        if path is None:
            return
        try:
            with path.open("rb") as log:
                size = log.seek(0, 2)
                log.seek(max(0, size - self._limits.log_bytes))
                text = log.read()
        except OSError as error:
            self._summary.not_read.append(f"server.log: {error.strerror or error}")
            return
        if size > len(text):
            self._summary.shortened.append(f"server.log: the last {len(text)} of {size} bytes")
        self._write("server.log", self._masks.text(text.decode(errors="replace")).encode())

    async def _text(self, path: str, query: Mapping[str, str] | None = None) -> bytes | None:
        """The end of a text, masked; None, and a word in the summary, when the server refuses it."""
        what = (
            path
            if not query
            else f"{path} {query['container']}{' (previous)' if 'previous' in query else ''}"
        )
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                response = await self._client.raw("GET", path, query=query, headers={"accept": "*/*"})
                text, size = await _end(response.body, self._limits.log_bytes)
        except (StatusError, OSError, TimeoutError) as error:
            self._summary.not_read.append(f"{what}: {error or 'no answer in time'}")
            return None
        if response.status != 200:
            self._summary.not_read.append(f"{what}: {response.status} {_message(text)}")
            return None
        if size > len(text):
            self._summary.shortened.append(f"{what}: the last {len(text)} of {size} bytes")
        return self._masks.text(text.decode(errors="replace")).encode()

    def _write(self, name: str, content: bytes) -> None:
        if len(content) > self._left and name != "summary.yaml":
            self._summary.not_read.append(
                f"{name}: the dump would be larger than {self._limits.total_bytes} bytes"
            )
            return
        self._left -= len(content)
        self._summary.files += 1
        self._files.write(name, content)


async def _end(body: bytes | AsyncIterator[bytes], limit: int) -> tuple[bytes, int]:
    """The last `limit` bytes of a body, and how many it had."""
    if isinstance(body, bytes):
        return body[-limit:], len(body)
    kept, size = bytearray(), 0
    async for chunk in body:
        size += len(chunk)
        kept += chunk
        if len(kept) > 2 * limit:
            del kept[:-limit]
    return bytes(kept[-limit:]), size


def _message(body: bytes) -> str:
    try:
        return str(orjson.loads(body).get("message", ""))
    except (ValueError, AttributeError):
        return body[:200].decode(errors="replace")


def _place(obj: Object) -> tuple[str, str]:
    return obj["metadata"].get("namespace") or "", obj["metadata"]["name"]


def _event_time(event: Object) -> str:
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((str(time) for time in times if time), event["metadata"].get("creationTimestamp") or "")


def _event_order(event: Object) -> tuple[str, int, tuple[str, str]]:
    version = event["metadata"].get("resourceVersion") or "0"
    return _event_time(event)[:19], int(version) if version.isdigit() else 0, _place(event)


def _event_line(event: Object) -> str:
    about = event.get("involvedObject") or {}
    count = event.get("count") or (event.get("series") or {}).get("count") or 1
    times = f" (x{count})" if count > 1 else ""
    subject = f"{about.get('kind', '')}/{about.get('name', '')}"
    words = (_event_time(event), event["metadata"].get("namespace", ""), event.get("type", ""))
    message = str(event.get("message") or "").replace("\n", " ")
    return f"{' '.join(words)} {event.get('reason', '')} {subject}: {message}{times}\n"


def _yaml(value: Any) -> bytes:
    text: bytes = yaml.dump(value, Dumper=_DUMPER, sort_keys=True, allow_unicode=True, encoding="utf-8")
    return text

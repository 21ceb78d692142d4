"""Pods that only seem to run: how each container fares is data, and time is the loop's own, so it may be virtual.

A behaviour is a row of `data/simulated.yaml` (or of the user's own file): which containers it is for, how long each
step takes, and how the container ends. Rows are tried from the first to the last; the label or annotation
`slipway.dev/simulate: NAME` picks a named outcome instead, and a Python callback may decide before all of them.
"""

from __future__ import annotations

import asyncio
import fnmatch
import ipaddress
import signal
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

from slipway.cluster.clock import Clock
from slipway.cluster.exchange import Duplex
from slipway.cluster.kubelet import Session, StreamError
from slipway.cluster.nodes.images import ImageError
from slipway.cluster.nodes.node_object import node_ranges
from slipway.cluster.nodes.runtime import (
    ContainerRequest,
    Exit,
    RuntimeFailure,
    RuntimeListener,
    Sandbox,
    SandboxRequest,
)

Object = dict[str, Any]
OUTCOME = "slipway.dev/simulate"
_MATCHES = {"labels", "annotations", "namespace", "name", "image", "container", "kind", "owner"}
_MAPPINGS = {"labels", "annotations"}


class BehaviourError(ValueError):
    """A behaviour file is wrong; the text says where and what is allowed."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Seconds, and how it ends. `run` None is for ever. `ready` is from start until probes get good answers.
    `pull` is an error that the image is refused with. `fails` is how often it ends so before it runs for ever."""

    start: float = 0.0
    ready: float = 0.0
    run: float | None = None
    stop: float = 0.0
    code: int = 0
    reason: str = ""
    message: str = ""
    pull: str = ""
    fails: int | None = None
    cpu: float = 0.001  # cores
    memory: int = 16 << 20  # bytes


# Makes up the behaviour of one container of a pod; what is left to chance is drawn from the generator.
Draw = Callable[[SandboxRequest, ContainerRequest, Random], Behaviour]


@dataclass(frozen=True, slots=True)
class Rule:
    match: Mapping[str, Any]
    behaviour: Behaviour | Draw


@dataclass(frozen=True, slots=True)
class Book:
    """Everything that a behaviour file says."""

    rules: tuple[Rule, ...]
    outcomes: Mapping[str, Behaviour]

    def before(self, other: Book) -> Book:
        """This book's rules and outcomes first, then those of the other."""
        return Book((*self.rules, *other.rules), {**other.outcomes, **self.outcomes})


# Decides for a container of a pod, or leaves it to the rules by returning None.
Script = Callable[[SandboxRequest, ContainerRequest], Behaviour | None]


def read_book(text: str, where: str) -> Book:
    """A behaviour file. BehaviourError names the row and field that are wrong."""
    import yaml  # a cluster starts without it

    try:
        document = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}
    except yaml.YAMLError as error:
        raise BehaviourError(f"{where}: {error}") from None
    if not isinstance(document, dict) or set(document) - {"behaviours", "outcomes"}:
        raise BehaviourError(f"{where}: expected the fields `behaviours` and `outcomes`")
    rows, outcomes = document.get("behaviours") or [], document.get("outcomes") or {}
    if not isinstance(rows, list):
        raise BehaviourError(f"{where}: behaviours: {rows!r} is not a list of rows")
    if not isinstance(outcomes, dict):
        raise BehaviourError(f"{where}: outcomes: {outcomes!r} is not a mapping of names to rows")
    return Book(
        tuple(_rule(row, f"{where}: behaviours[{number}]") for number, row in enumerate(rows)),
        {name: _behaviour(row or {}, f"{where}: outcomes.{name}") for name, row in outcomes.items()},
    )


def _rule(row: Any, place: str) -> Rule:
    if not isinstance(row, dict):
        raise BehaviourError(
            f"{place}: {row!r} is not a mapping such as {{match: {{image: shop}}, start: 2}}"
        )
    match = row.get("match") or {}
    if not isinstance(match, dict):
        raise BehaviourError(f"{place}.match: {match!r} is not a mapping such as {{image: shop}}")
    allowed = ", ".join(sorted(_MATCHES))
    for name, value in match.items():
        if name not in _MATCHES:
            raise BehaviourError(f"{place}.match.{name}: unknown field; allowed are {allowed}")
        if not isinstance(value, dict if name in _MAPPINGS else str):
            kind = "a mapping" if name in _MAPPINGS else "a text"
            raise BehaviourError(f"{place}.match.{name}: {value!r} is not {kind}")
    return Rule(match, _behaviour({name: value for name, value in row.items() if name != "match"}, place))


def _behaviour(row: Any, place: str) -> Behaviour:
    if not isinstance(row, dict):
        raise BehaviourError(f"{place}: {row!r} is not a mapping such as {{start: 2, run: 10, code: 1}}")
    allowed = Behaviour.__dataclass_fields__
    for name, value in row.items():
        if name not in allowed:
            raise BehaviourError(f"{place}.{name}: unknown field; allowed are {', '.join(sorted(allowed))}")
        wanted: tuple[type, ...] = (str,) if name in ("reason", "message", "pull") else (int, float)
        if not isinstance(value, wanted) or isinstance(value, bool):
            kind = "a text" if wanted == (str,) else "a number"
            raise BehaviourError(f"{place}.{name}: {value!r} is not {kind}")
    return Behaviour(**row)


def standard_book() -> Book:
    return read_book((Path(__file__).parent / "data" / "simulated.yaml").read_text(), "simulated.yaml")


def choose(book: Book, pod: SandboxRequest, container: ContainerRequest, random: Random) -> Behaviour:
    """The behaviour of a container by the book."""
    named = pod.annotations.get(f"{OUTCOME}.{container.name}")
    if named is None and container.kind == "app":
        named = pod.annotations.get(OUTCOME) or pod.labels.get(OUTCOME)
    if named is not None and named in book.outcomes:
        return book.outcomes[named]
    for rule in book.rules:
        if _fits(rule.match, pod, container):
            behaviour = rule.behaviour
            return behaviour if isinstance(behaviour, Behaviour) else behaviour(pod, container, random)
    return Behaviour()


def _fits(match: Mapping[str, Any], pod: SandboxRequest, container: ContainerRequest) -> bool:
    for field_name, have in (("labels", pod.labels), ("annotations", pod.annotations)):
        if any(have.get(key) != value for key, value in (match.get(field_name) or {}).items()):
            return False
    globs = {
        "namespace": pod.namespace,
        "name": pod.pod,
        "image": container.image.name,
        "container": container.name,
        "kind": container.kind,
        "owner": pod.owner,
    }
    return all(fnmatch.fnmatchcase(value, match[name]) for name, value in globs.items() if name in match)


@dataclass(slots=True)
class _Running:
    sandbox: str
    request: ContainerRequest
    behaviour: Behaviour
    started: float
    exit: asyncio.Future[Exit]
    timer: asyncio.TimerHandle | None = None


@dataclass(slots=True)
class _Pod:
    request: SandboxRequest
    address: str
    containers: list[str] = field(default_factory=list)
    ended: dict[str, int] = field(default_factory=dict)  # how often each container has ended


class SimulatedRuntime:
    """`script` may be set at any time."""

    name = "simulated"
    real = False
    ignores: Collection[str] = ()  # nothing runs that could miss anything

    def __init__(
        self, clock: Clock, random: Random, pod_range: str, nodes: int, book: Book | None = None
    ) -> None:
        self.clock = clock
        self.random = random
        self._own_book = book
        self.script: Script | None = None
        self.listeners: list[RuntimeListener] = []  # who will never hear of anything
        self._ranges = node_ranges(pod_range, nodes)
        self._given: dict[str, str] = {}
        self._free: dict[str, list[str]] = {}
        self._next: dict[str, int] = {}
        self._pods: dict[str, _Pod] = {}
        self._running: dict[str, _Running] = {}

    @cached_property
    def _book(self) -> Book:
        """Read for the first container, so that a cluster starts without it."""
        return self._own_book.before(standard_book()) if self._own_book else standard_book()

    async def start(self) -> None:
        return None

    async def stop(self) -> None:
        for running in self._running.values():
            if running.timer is not None:
                running.timer.cancel()

    def trouble(self) -> str:
        return ""

    def node_address(self, node: str) -> str:
        return str(ipaddress.ip_network(self.pod_range(node))[1])

    def pod_range(self, node: str) -> str:
        if node not in self._given:
            self._given[node] = next(self._ranges)
        return self._given[node]

    async def create_sandbox(self, request: SandboxRequest) -> Sandbox:
        id = f"{self.random.getrandbits(256):064x}"
        address = self._take_address(request)
        self._pods[id] = _Pod(request, address)
        return Sandbox(id, address)

    def _take_address(self, request: SandboxRequest) -> str:
        if request.host_network:
            return self.node_address(request.node)
        free = self._free.setdefault(request.node, [])
        if free:
            return free.pop()
        network = ipaddress.ip_network(self.pod_range(request.node))
        number = self._next.get(request.node, 2)
        if number >= network.num_addresses - 1:
            raise RuntimeFailure("FailedCreatePodSandBox", f"no addresses left in {network}")
        self._next[request.node] = number + 1
        return str(network[number])

    async def remove_sandbox(self, sandbox: str) -> None:
        pod = self._pods.pop(sandbox, None)
        if pod is None:
            return
        for id in pod.containers:
            self._end(id, Exit(137))
            self._running.pop(id, None)
        if not pod.request.host_network:
            self._free[pod.request.node].append(pod.address)

    def _behaviour(self, pod: SandboxRequest, container: ContainerRequest) -> Behaviour:
        scripted = self.script(pod, container) if self.script is not None else None
        return scripted or choose(self._book, pod, container, self.random)

    async def start_container(self, sandbox: str, request: ContainerRequest) -> str:
        pod = self._pods.get(sandbox)
        if pod is None:
            raise RuntimeFailure("RunContainerError", f"sandbox {sandbox} is gone")
        behaviour = self._behaviour(pod.request, request)
        if behaviour.pull:
            raise ImageError("ErrImagePull", behaviour.pull)
        if behaviour.fails is not None and pod.ended.get(request.name, 0) >= behaviour.fails:
            behaviour = replace(behaviour, run=None)
        if behaviour.start:
            await self.clock.sleep(behaviour.start)
        id = f"{self.random.getrandbits(256):064x}"
        loop = asyncio.get_running_loop()
        running = _Running(sandbox, request, behaviour, self.clock.now(), loop.create_future())
        self._running[id] = running
        pod.containers.append(id)
        if behaviour.run is not None:
            exit = Exit(behaviour.code, behaviour.reason, behaviour.message)
            running.timer = loop.call_later(behaviour.run, self._end, id, exit)
        return id

    def _end(self, id: str, exit: Exit) -> None:
        running = self._running[id]
        if running.exit.done():
            return
        if running.timer is not None:
            running.timer.cancel()
        running.exit.set_result(exit)
        pod = self._pods.get(running.sandbox)
        if pod is not None:
            pod.ended[running.request.name] = pod.ended.get(running.request.name, 0) + 1

    async def wait_container(self, container: str) -> Exit:
        return await asyncio.shield(self._running[container].exit)

    async def signal_container(self, container: str, number: int) -> None:
        running = self._running.get(container)
        if running is None or running.exit.done():
            return
        delay = 0.0 if number == signal.SIGKILL else running.behaviour.stop
        if running.timer is not None:
            running.timer.cancel()
        # A program that is asked to end ends well; one that is killed does not.
        exit = Exit(137) if number == signal.SIGKILL else Exit(0)
        running.timer = asyncio.get_running_loop().call_later(delay, self._end, container, exit)

    def _ready(self, running: _Running) -> bool:
        return self.clock.now() >= running.started + running.behaviour.ready and not running.exit.done()

    async def exec(self, container: str, command: Sequence[str], *, stdin: bool, tty: bool) -> Session:
        running = self._running.get(container)
        if running is None or running.exit.done():
            raise StreamError(500, f"container {container} is not running")
        return _Answer(b"this pod is simulated: nothing was run\n", 0 if self._ready(running) else 1)

    async def attach(self, container: str, *, stdin: bool, tty: bool) -> Session:
        raise StreamError(501, "this pod is simulated: there is nothing to attach to")

    async def connect(self, sandbox: str, port: int, host: str = "") -> Duplex:
        """A connection that answers every HTTP request well, once the pod's containers are ready."""
        pod = self._pods.get(sandbox)
        living = [self._running[id] for id in (pod.containers if pod else ())]
        living = [running for running in living if not running.exit.done()]
        if not living or not all(self._ready(running) for running in living):
            raise ConnectionRefusedError(111, "Connection refused")
        return _Welcome()

    async def reach(self, sandbox: Sandbox, port: int) -> Duplex:
        raise StreamError(
            503, f"dial tcp {sandbox.address}:{port}: this pod is simulated: nothing listens in it"
        )

    async def reach_node(self, node: str, port: int) -> Duplex:
        address = f"{self.node_address(node)}:{port}"
        raise StreamError(503, f"dial tcp {address}: this node is simulated: nothing listens on it")

    async def resize(self, container: str, resources: Mapping[str, Any]) -> None:
        """There are no limits to be changed."""

    async def written(self, container: str) -> int:
        return 0

    async def usage(self, container: str) -> tuple[float, int]:
        running = self._running[container]
        return running.behaviour.cpu * (self.clock.now() - running.started), running.behaviour.memory


class _Answer:
    """An exec's session that says one thing and ends."""

    def __init__(self, said: bytes, code: int) -> None:
        self._said = said
        self._code = code

    async def stdout(self) -> AsyncIterator[bytes]:
        return
        yield b""

    async def stderr(self) -> AsyncIterator[bytes]:
        yield self._said

    async def write_stdin(self, data: bytes) -> None:
        return None

    async def close_stdin(self) -> None:
        return None

    async def resize(self, columns: int, rows: int) -> None:
        return None

    async def wait(self) -> int:
        return self._code

    async def abandon(self) -> None:
        return None


class _Welcome:
    def __init__(self) -> None:
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()

    async def read(self) -> bytes:
        return await self._answers.get()

    async def write(self, data: bytes) -> None:
        if b"\r\n\r\n" in data:
            body = b"simulated\n"
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            self._answers.put_nowait(head.encode() + body)
            self._answers.put_nowait(b"")

    async def close(self) -> None:
        self._answers.put_nowait(b"")

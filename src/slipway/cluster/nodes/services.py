"""Makes Service addresses work: listens on each of them in the cluster's network and relays to ready endpoints.

The Services' range is routed to this machine as its own (`namespaces.recipes.make_network`), so that binding one
listener an address and port is all it takes: no packet filter, no privilege beyond what the pod network needs. NodePorts are
listened to on loopback and on the nodes' addresses, host ports of pods on their node's. While a Service has no endpoints
nobody listens, so that its clients are refused, as by the packet filter of a real node.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from slipway.cluster.client.informer import Informer, InformerFactory
from slipway.cluster.client.objects import labels_of, name_of, namespace_of, uid_of
from slipway.cluster.client.resources import ENDPOINT_SLICES, SERVICES
from slipway.cluster.nodes.doors import Door, Room
from slipway.cluster.nodes.host_ports import has_host_ports, host_doors

logger = logging.getLogger(__name__)

Object = dict[str, Any]
# (address, port, udp) -> a socket bound there in the cluster's network
Bind = Callable[[str, int, bool], Awaitable[socket.socket]]
# (address, port) -> a connected, non-blocking TCP socket
Reach = Callable[[str, int], Awaitable[socket.socket]]
SERVICE_NAME = "kubernetes.io/service-name"
_CHUNK = 128 * 1024
_CONNECT = 5.0  # seconds
_ATTEMPTS = 3
_UDP_IDLE = 30.0


@dataclass(slots=True)
class _Open:
    room: Room
    stop: Callable[[], None]


def doors(service: Object, nodes: Sequence[str] = ()) -> dict[Door, Room]:
    """All doors of a Service: its cluster addresses, external addresses and node ports, which are on all `nodes`."""
    meta, spec = service["metadata"], service["spec"]
    if spec.get("type") == "ExternalName":
        return {}
    addresses = [address for address in spec.get("clusterIPs") or [spec.get("clusterIP")] if address]
    addresses += spec.get("externalIPs") or ()
    for row in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
        if row.get("ip"):
            addresses.append(row["ip"])
    found = {}
    for port in spec.get("ports") or ():
        protocol = port.get("protocol") or "TCP"
        if protocol not in ("TCP", "UDP"):
            continue
        for address in addresses:
            if address != "None" and ":" not in address:
                found[Door(address, port["port"], protocol)] = _room(meta, spec, port)
        if port.get("nodePort"):
            for address in ("127.0.0.1", *nodes):
                found[Door(address, port["nodePort"], protocol)] = _room(meta, spec, port)
    return found


def _room(meta: Object, spec: Object, port: Object) -> Room:
    sticky = spec.get("sessionAffinity") == "ClientIP"
    return Room(meta["namespace"], meta["name"], port.get("name") or "", sticky)


def endpoints(slices: list[Object], port_name: str) -> list[tuple[str, int]]:
    """Address and port of the endpoints that take new connections; terminating ones only if there are no others."""
    ready, lingering = [], []
    for piece in slices:
        number = next(
            (row["port"] for row in piece.get("ports") or () if (row.get("name") or "") == port_name), None
        )
        if number is None or piece.get("addressType", "IPv4") != "IPv4":
            continue
        for endpoint in piece.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            rows = [(address, number) for address in endpoint.get("addresses") or ()]
            if conditions.get("ready") is not False:
                ready += rows
            elif conditions.get("serving") and conditions.get("terminating"):
                lingering += rows
    return list(dict.fromkeys(ready or lingering))


@dataclass(slots=True)
class _Pair:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class ServiceProxy:
    """`skipped` are Services that somebody else answers for, `nodes` the nodes' addresses, `pods` those
    whose host ports are opened. Without `bind` there are NodePorts of loopback only."""

    def __init__(
        self,
        informers: InformerFactory,
        bind: Bind | None,
        reach: Reach,
        random: Random,
        skipped: frozenset[tuple[str, str]] = frozenset(),
        nodes: Sequence[str] = (),
        pods: Informer | None = None,
    ) -> None:
        self._services = informers.informer(SERVICES)
        self._slices = informers.informer(ENDPOINT_SLICES)
        self._pods = pods
        self._exposed: dict[str, dict[Door, Room]] = {}  # the doors of pods, by uid
        self._bind = bind
        self._reach = reach
        self._random = random
        self._skipped = skipped
        self._nodes = nodes
        self._open: dict[Door, _Open] = {}
        self._dirty = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._relays: set[asyncio.Task[None]] = set()
        self._refused: set[Door] = set()

    async def start(self) -> None:
        self._slices.add_index("service", _service_of)
        for informer in (self._services, self._slices):
            informer.add_handler(lambda old, new: self._dirty.set())
        if self._pods is not None:
            self._pods.add_handler(self._pod_changed)
        self._dirty.set()
        await self._slices.wait_synced()
        await self._services.wait_synced()
        self._dirty.clear()
        await self._adjust()
        self._task = asyncio.create_task(self._run(), name="service proxy")

    async def stop(self) -> None:
        tasks = [*self._relays] + ([self._task] if self._task else [])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for opened in self._open.values():
            opened.stop()
        self._open.clear()

    def reopen(self) -> None:
        """The cluster's network was made anew: what was open in the old one leads nowhere."""
        for door in [door for door in self._open if door.address != "127.0.0.1"]:
            self._open.pop(door).stop()
        self._refused.clear()
        self._dirty.set()

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old or {}
        if not has_host_ports(pod):
            return
        found = host_doors(new) if new is not None else {}
        if found != self._exposed.get(uid_of(pod), {}):
            self._exposed[uid_of(pod)] = found
            self._dirty.set()
        if new is None:
            self._exposed.pop(uid_of(pod), None)

    async def _run(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self._adjust()

    async def _adjust(self) -> None:
        """Open and close doors until they are those of the Services that somebody stands behind."""
        wanted: dict[Door, Room] = {}
        for service in self._services.list():
            if (namespace_of(service), name_of(service)) not in self._skipped:
                wanted |= {
                    door: room for door, room in doors(service, self._nodes).items() if self._endpoints(room)
                }
        for found in self._exposed.values():
            wanted |= found
        for door in [door for door in self._open if door not in wanted]:
            self._open.pop(door).stop()
        self._refused &= set(wanted)
        for door, room in wanted.items():
            opened = self._open.get(door)
            if opened is not None:
                room.next = opened.room.next
                opened.room = room
            elif door not in self._refused:
                await self._unlock(door, room)

    async def _unlock(self, door: Door, room: Room) -> None:
        udp = door.protocol == "UDP"
        try:
            if door.address == "127.0.0.1":
                bound = _loopback(door.port, udp)
            elif self._bind is None:
                self._refused.add(door)
                return
            else:
                bound = await self._bind(door.address, door.port, udp)
        except OSError as error:
            logger.warning("%s/%s: %s:%s: %s", room.namespace, room.service, door.address, door.port, error)
            self._refused.add(door)
            return
        opened = _Open(room, lambda: None)
        self._open[door] = opened
        opened.stop = await (self._serve_udp if udp else self._serve_tcp)(bound, opened)

    async def _serve_tcp(self, bound: socket.socket, opened: _Open) -> Callable[[], None]:
        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._relays.add(task)
            try:
                await self._relay(_Pair(reader, writer), opened.room)
            except (OSError, asyncio.CancelledError):
                pass
            finally:
                self._relays.discard(task)
                writer.close()

        server = await asyncio.start_server(accepted, sock=bound)
        return server.close

    async def _relay(self, client: _Pair, room: Room) -> None:
        peer = client.writer.get_extra_info("peername") or ("",)
        backend = await self._connect(room, str(peer[0]))
        if backend is None:
            client.writer.transport.abort()  # as a packet filter that rejects
            return
        try:
            await asyncio.gather(_copy(client.reader, backend.writer), _copy(backend.reader, client.writer))
        finally:
            backend.writer.close()

    async def _connect(self, room: Room, client: str) -> _Pair | None:
        for _ in range(_ATTEMPTS):
            chosen = self.choose(room, client)
            if chosen is None:
                return None
            try:
                async with asyncio.timeout(_CONNECT):
                    connected = await self._reach(*chosen)
                    return _Pair(*await asyncio.open_connection(sock=connected))
            except OSError:  # TimeoutError is one
                continue
        return None

    def choose(self, room: Room, client: str) -> tuple[str, int] | None:
        """The endpoint for a new connection of that client; None when there is none."""
        found = self._endpoints(room)
        if not found:
            return None
        if room.sticky:
            return found[sum(client.encode()) % len(found)]
        room.next += 1
        return found[(room.next + self._random.randrange(len(found))) % len(found)]

    def _endpoints(self, room: Room) -> list[tuple[str, int]]:
        if room.only is not None:
            return [room.only]
        slices = self._slices.indexed("service", f"{room.namespace}/{room.service}")
        return endpoints(slices, room.port_name)

    async def _serve_udp(self, bound: socket.socket, opened: _Open) -> Callable[[], None]:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _UdpDoor(self, opened), sock=bound)
        return transport.close


def _service_of(piece: Object) -> tuple[str, ...]:
    name = labels_of(piece).get(SERVICE_NAME)
    return (f"{namespace_of(piece)}/{name}",) if name else ()


def _loopback(port: int, udp: bool) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setblocking(False)
    try:
        made.bind(("127.0.0.1", port))
        if not udp:
            made.listen(128)
    except OSError:
        made.close()
        raise
    return made


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except ConnectionError:
        writer.close()


@dataclass(slots=True)
class _UdpDoor(asyncio.DatagramProtocol):
    """Relays datagrams: each client address has a socket of its own towards an endpoint."""

    proxy: ServiceProxy
    opened: _Open
    transport: asyncio.DatagramTransport | None = None
    clients: dict[Any, asyncio.DatagramTransport] = field(default_factory=dict)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        for client in self.clients.values():
            client.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        known = self.clients.get(addr)
        if known is not None and not known.is_closing():
            known.sendto(data)
            return
        asyncio.get_running_loop().create_task(self._first(data, addr))

    async def _first(self, data: bytes, addr: Any) -> None:
        chosen = self.proxy.choose(self.opened.room, str(addr[0]))
        if chosen is None or self.transport is None:
            return
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            way, _ = await loop.create_datagram_endpoint(
                lambda: _UdpBack(self.transport, addr), remote_addr=chosen
            )
            self.clients[addr] = way
            way.sendto(data)
            loop.call_later(_UDP_IDLE, self._drop, addr)

    def _drop(self, addr: Any) -> None:
        way = self.clients.pop(addr, None)
        if way is not None:
            way.close()


@dataclass(slots=True)
class _UdpBack(asyncio.DatagramProtocol):
    front: asyncio.DatagramTransport | None
    client: Any

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self.front is not None and not self.front.is_closing():
            self.front.sendto(data, self.client)

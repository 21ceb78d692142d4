"""The cluster's DNS: names of Services and pods from the API, everything else from the host's own servers.

The schema is Kubernetes' (kubernetes/dns, docs/specification.md, version 1.1.0).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from slipway.cluster.client.informer import InformerFactory
from slipway.cluster.client.resources import ENDPOINT_SLICES, SERVICES
from slipway.cluster.nodes import dns_messages as dns
from slipway.cluster.nodes.dns_messages import Question, Record

logger = logging.getLogger(__name__)

Object = dict[str, Any]
Bind = Callable[[str, int, bool], Awaitable[socket.socket]]
_POD = re.compile(r"(\d{1,3})-(\d{1,3})-(\d{1,3})-(\d{1,3})\.[a-z0-9-]+\.pod")
_REVERSE = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa")
_UPSTREAM = 3.0  # seconds


class Zone:
    """What the API says about names below the cluster's domain."""

    def __init__(self, informers: InformerFactory, domain: str = "cluster.local") -> None:
        self._services = informers.informer(SERVICES)
        self._slices = informers.informer(ENDPOINT_SLICES)
        self.domain = domain

    def covers(self, name: str) -> bool:
        return name == self.domain or name.endswith(f".{self.domain}")

    def look_up(self, question: Question) -> tuple[int, list[Record], list[Record]]:
        """Answer code, answers, additional records."""
        name = question.name
        if name == self.domain:
            return dns.NO_ERROR, [], []
        inner = name.removesuffix(f".{self.domain}")
        found = _POD.fullmatch(inner)
        if found:
            ip = ".".join(found.groups())
            return _of_kind(question, [dns.address(name, ip)] if _is_ip(ip) else None)
        if inner in ("svc", "pod"):
            return dns.NO_ERROR, [], []
        parts = inner.split(".")
        if parts[-1] != "svc" or len(parts) < 3:
            return self._namespace(parts)
        service = self._services.get(parts[-2], parts[-3])
        if service is None:
            return dns.NAME_ERROR, [], []
        if len(parts) == 3:
            return self._service(question, service)
        if len(parts) == 5 and parts[0].startswith("_"):
            return self._port(question, service, parts[0][1:], parts[1][1:])
        if len(parts) == 4:
            rows = [address for host, address, _ in self._hosts(service) if host == parts[0]]
            return _of_kind(question, [dns.address(name, ip) for ip in rows] or None)
        return dns.NAME_ERROR, [], []

    def name_of(self, question: Question) -> Record | None:
        """Whose address a name of in-addr.arpa is: a Service's, or an endpoint's of a headless one."""
        found = _REVERSE.fullmatch(question.name)
        if found is None:
            return None
        ip = ".".join(reversed(found.groups()))
        for service in self._services.list():
            meta = service["metadata"]
            base = f"{meta['name']}.{meta['namespace']}.svc.{self.domain}"
            if service["spec"].get("clusterIP") == ip:
                return dns.pointer(question.name, base)
            if service["spec"].get("clusterIP") == "None":
                for host, address, _ in self._hosts(service):
                    if address == ip:
                        return dns.pointer(question.name, f"{host}.{base}")
        return None

    def _namespace(self, parts: list[str]) -> tuple[int, list[Record], list[Record]]:
        known = any(service["metadata"]["namespace"] == parts[0] for service in self._services.list())
        exists = len(parts) == 2 and parts[1] == "svc" and known
        return (dns.NO_ERROR if exists else dns.NAME_ERROR), [], []

    def _service(self, question: Question, service: Object) -> tuple[int, list[Record], list[Record]]:
        spec, name = service["spec"], question.name
        if spec.get("type") == "ExternalName":
            return dns.NO_ERROR, [dns.alias(name, spec["externalName"])], []
        if question.kind == dns.SRV:
            return self._port(question, service, "", "")
        address = spec.get("clusterIP")
        if address and address != "None":
            return _of_kind(question, [dns.address(name, address)])
        rows = list(dict.fromkeys(ip for _, ip, _ in self._hosts(service)))
        return _of_kind(question, [dns.address(name, ip) for ip in rows] or None)

    def _port(
        self, question: Question, service: Object, port: str, protocol: str
    ) -> tuple[int, list[Record], list[Record]]:
        meta, spec = service["metadata"], service["spec"]
        base = f"{meta['name']}.{meta['namespace']}.svc.{self.domain}"
        answers, extra = [], []
        ports = [
            row
            for row in spec.get("ports") or ()
            if (not port or row.get("name") == port)
            and (not protocol or (row.get("protocol") or "TCP").lower() == protocol)
        ]
        if not ports:
            return dns.NAME_ERROR, [], []
        if spec.get("clusterIP") not in (None, "", "None"):
            answers = [dns.service(question.name, row["port"], base) for row in ports]
            extra = [dns.address(base, spec["clusterIP"])]
        else:
            for host, ip, numbers in self._hosts(service):
                for row in ports:
                    number = numbers.get(row.get("name") or "", row["port"])
                    answers.append(dns.service(question.name, number, f"{host}.{base}"))
                extra.append(dns.address(f"{host}.{base}", ip))
        if question.kind not in (dns.SRV, dns.ANY):
            return dns.NO_ERROR, [], []
        return (dns.NO_ERROR if answers else dns.NAME_ERROR), answers, extra

    def _hosts(self, service: Object) -> list[tuple[str, str, dict[str, int]]]:
        """Name, address and ports of each endpoint of a headless Service."""
        meta = service["metadata"]
        everyone = bool(service["spec"].get("publishNotReadyAddresses"))
        rows = []
        for piece in self._slices.indexed("service", f"{meta['namespace']}/{meta['name']}"):
            ports = {row.get("name") or "": row["port"] for row in piece.get("ports") or ()}
            for endpoint in piece.get("endpoints") or ():
                if not everyone and (endpoint.get("conditions") or {}).get("ready") is False:
                    continue
                for ip in endpoint.get("addresses") or ():
                    host = endpoint.get("hostname") or ip.replace(".", "-").replace(":", "-")
                    rows.append((host, ip, ports))
        return rows


def _of_kind(question: Question, rows: list[Record] | None) -> tuple[int, list[Record], list[Record]]:
    """Address records if such were asked for; an existing name without such records is no error."""
    if rows is None:
        return dns.NAME_ERROR, [], []
    return dns.NO_ERROR, rows if question.kind in (dns.A, dns.ANY) else [], []


def _is_ip(text: str) -> bool:
    try:
        socket.inet_aton(text)
    except OSError:
        return False
    return True


class DnsServer:
    """Answers on one address of the cluster's network, by UDP and TCP."""

    def __init__(self, zone: Zone, bind: Bind, address: str) -> None:
        self._zone = zone
        self._bind = bind
        self._address = address
        self._datagrams: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        udp = await self._bind(self._address, 53, True)
        self._datagrams, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=udp)
        self._server = await asyncio.start_server(
            self._connected, sock=await self._bind(self._address, 53, False)
        )

    async def stop(self) -> None:
        if self._datagrams is not None:
            self._datagrams.close()
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def reply(self, packet: bytes, most: int) -> bytes:
        try:
            question = dns.parse_question(packet)
        except dns.MessageError:
            return dns.failure(packet, dns.FORMAT_ERROR)
        if self._zone.covers(question.name):
            code, answers, extra = self._zone.look_up(question)
            return dns.answer(question, code, answers, extra, most=most)
        pointer = self._zone.name_of(question)
        if pointer is not None:
            rows = [pointer] if question.kind in (dns.PTR, dns.ANY) else []
            return dns.answer(question, dns.NO_ERROR, rows, most=most)
        return await self._forward(packet, question)

    async def _forward(self, packet: bytes, question: Question) -> bytes:
        for server in _upstream():
            with contextlib.suppress(OSError):
                async with asyncio.timeout(_UPSTREAM):
                    return await _ask(server, packet)
        return dns.answer(question, dns.SERVER_FAILURE)

    def spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                answer = await self.reply(await reader.readexactly(length), 65535)
                writer.write(struct.pack("!H", len(answer)) + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._server.spawn(self._answer(data, addr))

    async def _answer(self, data: bytes, addr: Any) -> None:
        answer = await self._server.reply(data, dns.LONGEST_DATAGRAM)
        if not self._transport.is_closing():
            self._transport.sendto(answer, addr)


def _upstream() -> list[str]:
    """The host's own name servers."""
    try:
        lines = Path("/etc/resolv.conf").read_text().splitlines()
    except OSError:
        return []
    rows = [line.split()[1] for line in lines if line.startswith("nameserver ") and len(line.split()) > 1]
    return [row for row in rows if ":" not in row]


async def _ask(server: str, packet: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asked.setblocking(False)
    with asked:
        await loop.sock_connect(asked, (server, 53))
        await loop.sock_sendall(asked, packet)
        while True:
            answer = await loop.sock_recv(asked, 65535)
            if answer[:2] == packet[:2]:
                return answer

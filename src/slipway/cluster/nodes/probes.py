"""Probes: what they count as pure data (`Tally`), and asking one container once (`ask`)."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from slipway.cluster.exchange import Duplex
from slipway.cluster.kubelet import Session, StreamError
from slipway.cluster.nodes.grpc_health import GrpcError, health

Object = dict[str, Any]
_MOST_OUTPUT = 10 * 1024
_MOST_BODY = 10 * 1024


@dataclass(slots=True)
class Tally:
    """Consecutive results against thresholds. `holds` is the verdict so far: None while there is none."""

    success_threshold: int
    failure_threshold: int
    holds: bool | None = None
    _last: bool | None = None
    _run: int = 0

    def note(self, good: bool) -> bool:
        """Take a result; True if the verdict is (again) one that must be acted upon."""
        self._run = self._run + 1 if good == self._last else 1
        self._last = good
        if self._run < (self.success_threshold if good else self.failure_threshold):
            return False
        self.holds = good
        return True


@dataclass(frozen=True, slots=True)
class Target:
    """A container as its probes reach it. `ports` are its named ports; `host` its pod's address.

    Without `encrypted`, what a probe asks by HTTPS is asked by HTTP: a simulated pod has no certificate.
    """

    host: str
    ports: Mapping[str, int]
    execute: Callable[[list[str]], Awaitable[Session]]
    connect: Callable[[str, int], Awaitable[Duplex]]
    encrypted: bool = True


async def ask(probe: Object, target: Target) -> tuple[bool, str]:
    """Whether the container answers well, and what it said if not; never longer than timeoutSeconds."""
    timeout = float(probe.get("timeoutSeconds") or 1)
    try:
        async with asyncio.timeout(timeout):
            if "exec" in probe:
                return await _exec(probe["exec"], target)
            if "httpGet" in probe:
                return await _http(probe["httpGet"], target)
            if "tcpSocket" in probe:
                return await _tcp(probe["tcpSocket"], target)
            if "grpc" in probe:
                return await _grpc(probe["grpc"], target)
    except TimeoutError:
        if "exec" in probe:
            return False, f"command timed out: {' '.join(probe['exec'].get('command') or ())!r}"
        if "httpGet" in probe:
            return False, (
                f'Get "{_url(probe["httpGet"], target)}": context deadline exceeded'
                " (Client.Timeout exceeded while awaiting headers)"
            )
        if "grpc" in probe:
            return False, f"timeout: health rpc did not complete within {probe.get('timeoutSeconds') or 1}s"
        return False, "timeout: failed to connect service within the probe's timeout"
    return False, "the probe names no way to ask"


def port_number(port: int | str, target: Target) -> int:
    """A port by number or by its name in the container; ValueError if there is none of that name."""
    if isinstance(port, int):
        return port
    if port in target.ports:
        return target.ports[port]
    if port.isdigit():
        return int(port)
    raise ValueError(f'couldn\'t find port: "{port}"')


async def _exec(words: Object, target: Target) -> tuple[bool, str]:
    try:
        session = await target.execute(list(words.get("command") or ()))
    except StreamError as error:
        return False, error.message
    output = bytearray()
    done = False
    try:
        for stream in (session.stdout(), session.stderr()):
            async for data in stream:
                if len(output) < _MOST_OUTPUT:
                    output += data
        code = await session.wait()
        done = True
    finally:
        if not done:
            await session.abandon()
    return code == 0, output.decode(errors="replace")[:_MOST_OUTPUT]


async def _tcp(words: Object, target: Target) -> tuple[bool, str]:
    host = words.get("host") or target.host
    try:
        port = port_number(words["port"], target)
        connection = await target.connect(host, port)
    except (OSError, ValueError) as error:
        return False, _refused(words, target, error)
    await connection.close()
    return True, ""


async def _grpc(words: Object, target: Target) -> tuple[bool, str]:
    if not target.encrypted:  # nor does a simulated pod speak gRPC
        return await _tcp(words, target)
    place, service = f"{target.host}:{words['port']}", words.get("service") or ""
    try:
        connection = await target.connect(target.host, words["port"])
    except OSError as error:
        return False, f'error: failed to connect service at "{place}": {_refused(words, target, error)}'
    try:
        status = await health(connection, place, service)
    except (OSError, GrpcError) as error:
        return False, f"error: health rpc probe failed: {error}"
    finally:
        await connection.close()
    good = status == "SERVING"
    return good, "service healthy" if good else f'service unhealthy (responded with "{status}")'


def _refused(words: Object, target: Target, error: Exception) -> str:
    text = "connect: connection refused" if isinstance(error, ConnectionRefusedError) else str(error)
    return f"dial tcp {_place(words, target)}: {text}"


def _place(words: Object, target: Target) -> str:
    """Host and port, by its number where its name means something."""
    port = words["port"]
    with contextlib.suppress(ValueError):
        port = port_number(port, target)
    return f"{words.get('host') or target.host}:{port}"


def _url(words: Object, target: Target) -> str:
    scheme = (words.get("scheme") or "HTTP").lower()
    path = words.get("path") or "/"
    return f"{scheme}://{_place(words, target)}{path if path.startswith('/') else '/' + path}"


async def _http(words: Object, target: Target) -> tuple[bool, str]:
    url = _url(words, target)
    host = words.get("host") or target.host
    try:
        port = port_number(words["port"], target)
        connection = await target.connect(host, port)
    except (OSError, ValueError) as error:
        return False, f'Get "{url}": {_refused(words, target, error)}'
    try:
        if target.encrypted and (words.get("scheme") or "HTTP").upper() == "HTTPS":
            connection = await _tls(connection)
        status, body = await _get(connection, words, host, port)
    except (OSError, ssl.SSLError, ValueError) as error:
        return False, f'Get "{url}": {error}'
    finally:
        await connection.close()
    if 200 <= status < 400:
        return True, body
    return False, f"HTTP probe failed with statuscode: {status}"


async def _get(connection: Duplex, words: Object, host: str, port: int) -> tuple[int, str]:
    path = words.get("path") or "/"
    headers = {
        "Host": f"{host}:{port}",
        "User-Agent": "kube-probe/1.37",
        "Accept": "*/*",
        "Connection": "close",
    }
    for row in words.get("httpHeaders") or ():
        headers[row["name"]] = row.get("value") or ""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    path = path if path.startswith("/") else f"/{path}"
    await connection.write(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
    answer = b""
    while len(answer) < _MOST_BODY:
        data = await connection.read()
        if not data:
            break
        answer += data
        if b"\r\n\r\n" in answer:
            break
    first, _, rest = answer.partition(b"\r\n")
    words_of_first = first.split(b" ")
    if len(words_of_first) < 2 or not words_of_first[1].isdigit():
        raise ValueError("EOF" if not answer else "malformed HTTP response")
    return int(words_of_first[1]), rest.partition(b"\r\n\r\n")[2].decode(errors="replace")


class _Tls:
    """TLS over a Duplex by memory BIOs; certificates are not checked, as kubelet does not."""

    def __init__(self, inner: Duplex) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._inner = inner
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing)

    async def shake_hands(self) -> None:
        await self._run(self._object.do_handshake)

    async def _run(self, action: Callable[[], Any]) -> Any:
        while True:
            try:
                result = action()
            except ssl.SSLWantReadError:
                await self._flush()
                data = await self._inner.read()
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
                continue
            await self._flush()
            return result

    async def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            await self._inner.write(data)

    async def read(self) -> bytes:
        try:
            return bytes(await self._run(lambda: self._object.read(65536)))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    async def write(self, data: bytes) -> None:
        await self._run(lambda: self._object.write(data))

    async def close(self) -> None:
        await self._inner.close()


async def _tls(connection: Duplex) -> Duplex:
    wrapped = _Tls(connection)
    await wrapped.shake_hands()
    return wrapped

"""The transport to any API server over HTTP/1.1, by kubeconfig: what points our controllers at a real cluster.

Connections are kept and used again. Watches and followed logs stream, with backpressure; all else is read whole.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import httptools
import yaml

from slipway.cluster.exchange import Request, Response

CONNECT_SECONDS = 30.0
IDLE_CONNECTIONS = 32
BUFFERED = 256 * 1024  # unread bytes of a body before we stop reading
_REPEATABLE = {"GET", "HEAD"}


class KubeconfigError(Exception):
    """The kubeconfig does not say how to reach a cluster; the text names the file and the field."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where an API server is and how to enter: what a context of a kubeconfig amounts to."""

    server: str
    tls: ssl.SSLContext | None = None
    server_name: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    token_file: Path | None = None
    namespace: str = "default"

    @classmethod
    def from_kubeconfig(cls, path: Path, context: str = "") -> Access:
        """Of one context (the current one when none is named)."""
        try:
            document = yaml.safe_load(path.read_text())
        except (OSError, yaml.YAMLError) as error:
            raise KubeconfigError(f"{path}: cannot be read as a kubeconfig: {error}") from None
        return _Reader(path, document).access(context)


class _Reader:
    """Finds the parts of a kubeconfig; paths in it are relative to its own folder."""

    def __init__(self, path: Path, document: Any) -> None:
        if not isinstance(document, dict):
            raise KubeconfigError(f"{path}: is not a kubeconfig")
        self._path = path
        self._document = document

    def access(self, context: str) -> Access:
        name = context or str(self._document.get("current-context") or "")
        if not name:
            raise KubeconfigError(f"{self._path}: no context is named and there is no current-context")
        chosen = self._named("contexts", name, "context")
        cluster = self._named("clusters", str(chosen.get("cluster") or ""), "cluster")
        user = self._named("users", str(chosen["user"]), "user") if chosen.get("user") else {}
        for unsupported in ("exec", "auth-provider"):
            if user.get(unsupported):
                raise KubeconfigError(
                    f"{self._path}: users[{chosen['user']}].user.{unsupported} is not supported here:"
                    " use a token or a client certificate"
                )
        server = str(cluster.get("server") or "")
        if urlsplit(server).scheme not in {"http", "https"}:
            raise KubeconfigError(
                f"{self._path}: clusters[{chosen.get('cluster')}].cluster.server is {server!r}, not a URL"
            )
        headers = {}
        if user.get("token"):
            headers["authorization"] = f"Bearer {user['token']}"
        elif user.get("username"):
            pair = f"{user['username']}:{user.get('password', '')}".encode()
            headers["authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return Access(
            server,
            self._tls(cluster, user) if server.startswith("https:") else None,
            str(cluster.get("tls-server-name") or ""),
            headers,
            self._file(user["tokenFile"]) if user.get("tokenFile") and not user.get("token") else None,
            str(chosen.get("namespace") or "default"),
        )

    def _named(self, section: str, name: str, part: str) -> dict[str, Any]:
        for entry in self._document.get(section) or []:
            if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(part), dict):
                return cast(dict[str, Any], entry[part])
        raise KubeconfigError(f"{self._path}: {section} has no entry named {name!r}")

    def _file(self, name: str) -> Path:
        return self._path.parent / Path(name).expanduser()

    def _data(self, section: dict[str, Any], key: str) -> bytes | None:
        """PEM that stands in the file (`key-data`) or beside it (`key`)."""
        try:
            if section.get(f"{key}-data"):
                return base64.b64decode(section[f"{key}-data"])
            return self._file(section[key]).read_bytes() if section.get(key) else None
        except (OSError, ValueError) as error:
            raise KubeconfigError(f"{self._path}: {key} cannot be read: {error}") from None

    def _tls(self, cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext:
        authority = self._data(cluster, "certificate-authority")
        tls = ssl.create_default_context(cadata=authority.decode() if authority else None)
        if cluster.get("insecure-skip-tls-verify"):
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
        certificate, key = self._data(user, "client-certificate"), self._data(user, "client-key")
        if certificate and key:
            # ssl reads certificates from files only.
            with tempfile.NamedTemporaryFile(prefix="slipway-") as file:
                file.write(certificate + b"\n" + key)
                file.flush()
                tls.load_cert_chain(file.name)
        return tls


class HttpTransport:
    """A `Transport` to one API server."""

    def __init__(self, access: Access) -> None:
        parts = urlsplit(access.server)
        self._access = access
        self._host = parts.hostname or "localhost"
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._prefix = parts.path.rstrip("/")
        self._authority = parts.netloc
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()

    async def send(self, request: Request) -> Response:
        """See `Transport`. ConnectionError when the server cannot be reached or hangs up."""
        connection = self._take()
        if connection is not None:
            try:
                return await self._exchange(connection, request)
            except ConnectionError:
                # The server may have closed it while it lay idle: what changes nothing may be asked again.
                if request.method not in _REPEATABLE or connection.answered:
                    raise
        return await self._exchange(await self._connect(), request)

    def _take(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.alive:
                return connection
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        tls = self._access.tls
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop, self._all),
                    self._host,
                    self._port,
                    ssl=tls,
                    server_hostname=(self._access.server_name or self._host) if tls else None,
                )
        except TimeoutError:
            raise ConnectionError(
                f"{self._access.server} did not answer within {CONNECT_SECONDS:g} s"
            ) from None
        except ssl.SSLError as error:
            raise ConnectionError(f"{self._access.server}: {error}") from error
        return connection

    async def _exchange(self, connection: _Connection, request: Request) -> Response:
        try:
            status, headers = await connection.ask(self._encode(request))
            body = connection.body(request.method == "HEAD")
            if _streams(request) and status == 200:
                return Response(status, headers, self._stream(connection, body))
            whole = b"".join([chunk async for chunk in body])
        except BaseException:
            connection.abort()
            raise
        self._give_back(connection)
        return Response(status, headers, whole)

    async def _stream(self, connection: _Connection, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for chunk in body:
                yield chunk
            self._give_back(connection)
        finally:
            if connection not in self._idle:
                connection.abort()

    def _give_back(self, connection: _Connection) -> None:
        if connection.alive and connection.reusable and len(self._idle) < IDLE_CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.abort()

    def _encode(self, request: Request) -> bytes:
        headers = {**self._access.headers, **request.headers}
        if self._access.token_file is not None:
            # Read anew each time: bound tokens are replaced in the file before they expire.
            token = self._access.token_file.read_text().strip()
            headers["authorization"] = f"Bearer {token}"
        if request.body or request.method in {"POST", "PUT", "PATCH"}:
            headers["content-length"] = str(len(request.body))
        target = self._prefix + request.path + (f"?{request.query}" if request.query else "")
        lines = [f"{request.method} {target} HTTP/1.1", f"host: {self._authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if any("\n" in line or "\r" in line for line in lines):
            raise ValueError("a request's path or header has a line break in it")
        return "\r\n".join([*lines, "", ""]).encode() + request.body

    async def close(self) -> None:
        self._idle.clear()
        for connection in list(self._all):
            connection.abort()


def _streams(request: Request) -> bool:
    values = parse_qs(request.query)
    return any(values.get(name, ["false"])[0] in {"true", "1"} for name in ("watch", "follow"))


class _Connection(asyncio.Protocol):
    """One request and answer at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, register: set[_Connection]) -> None:
        self._loop = loop
        self._register = register
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._in_head = True
        self._complete = False
        self._wake: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._ended = False
        self.answered = False  # whether any byte of the present answer has come
        self.reusable = False

    @property
    def alive(self) -> bool:
        return self._error is None and not self._ended and not self._transport.is_closing()

    # --- from the socket ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._register.add(self)

    def data_received(self, data: bytes) -> None:
        self.answered = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._error = ConnectionError(f"the server's answer is not HTTP: {error}")
            self._transport.abort()
        self._notify()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        if exc is not None and self._error is None:
            self._error = ConnectionResetError(str(exc) or "the server has hung up")
        self._register.discard(self)
        self._notify()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            self._headers[name.decode("latin-1").lower()] = value.decode("utf-8", "replace")

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self._in_head = False

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)
        self._size += len(body)
        if self._size > BUFFERED:
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._in_head:  # 100 Continue and its like
            self._headers = {}
            return
        self.reusable = bool(self._parser.should_keep_alive())
        self._complete = True

    # --- to the transport above ---

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        if self._ended:
            raise ConnectionResetError("the server has hung up before its answer was whole")
        self._wake = self._loop.create_future()
        try:
            await self._wake
        finally:
            self._wake = None

    async def ask(self, data: bytes) -> tuple[int, dict[str, str]]:
        """Send a request; status and headers of the answer."""
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._in_head, self._complete = {}, True, False
        self.answered = self.reusable = False
        self._transport.write(data)
        while self._in_head:
            await self._more()
        return self._parser.get_status_code(), self._headers

    async def body(self, empty: bool) -> AsyncIterator[bytes]:
        """The chunks of the answer's body as they come."""
        if empty:
            self.reusable = False
            return
        # Without length or chunks the body ends with the connection.
        until_close = not {"content-length", "transfer-encoding"} & self._headers.keys()
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                paused, self._size = self._size > BUFFERED, self._size - len(chunk)
                if paused and self._size <= BUFFERED:
                    self._transport.resume_reading()
                yield chunk
            if self._complete or (until_close and self._ended):
                return
            await self._more()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._register.discard(self)

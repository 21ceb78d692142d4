"""One HTTPS POST to a webhook: a review out, a review back. Admission and conversion ask the same way."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httptools
import orjson

from slipway.cluster.access.service_addresses import NoAddress
from slipway.cluster.schema.json_bodies import MAX_DEPTH, too_deep

Object = dict[str, Any]
# The address of a webhook given by a Service: (namespace, name, port) -> (host, port). NoAddress.
Resolve = Callable[[str, str, int], tuple[str, int]]
# How clients of Go's library word what a server refuses without words of its own.
_REFUSED = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    403: "unknown",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    409: "the server reported a conflict",
    422: "the server rejected our request due to an error in our request",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
}
_BROKEN = 'an error on the server ("unknown") has prevented the request from succeeding'
_NO_OBJECT = (
    "couldn't get version/kind; json parse error: json: cannot unmarshal string into Go value of type struct {"
    ' APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
)
MAX_ANSWER = 3 * 1024 * 1024


class WebhookFailure(Exception):
    """The webhook could not be asked, or its answer not be understood; the text says what happened."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect, and under which name the server's certificate must be valid."""

    host: str
    port: int
    path: str
    server_name: str
    url: str  # as messages show it
    ca: bytes | None  # PEM; None: the machine's trusted authorities


class _Answer:
    def __init__(self) -> None:
        self.body = bytearray()
        self.media = ""
        self.framed = False  # it says itself where its body ends
        self.begun = False
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        match name.lower():
            case b"content-type":
                self.media = value.decode("latin-1")
            case b"content-length" | b"transfer-encoding":
                self.framed = True

    def on_headers_complete(self) -> None:
        self.begun = True

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


async def ask(config: Object, resolve: Resolve, review: Object, timeout: float) -> Object:
    """The answer of the webhook that a clientConfig names, by URL or Service; WebhookFailure for anything but a 200
    with a JSON object."""
    endpoint = _endpoint_of(config)
    limit = f"?timeout={timeout:g}s"
    try:
        if not config.get("url"):
            host, port = resolve(*_service(config))
            endpoint = dataclasses.replace(endpoint, host=host, port=port)
        async with asyncio.timeout(timeout):
            return await _post(endpoint, review, limit)
    except TimeoutError:
        why = "context deadline exceeded"
    except NoAddress as error:
        why = str(error)
    except OSError as error:
        why = _in_gos_words(endpoint, error)
    raise WebhookFailure(f'Post "{endpoint.url}{limit}": {why}')


def _service(config: Object) -> tuple[str, str, int]:
    service = config.get("service") or {}
    return service.get("namespace", ""), service.get("name", ""), int(service.get("port") or 443)


def _endpoint_of(config: Object) -> Endpoint:
    ca = decode_bundle(config.get("caBundle"))
    if config.get("url"):
        parts = urlsplit(config["url"])
        host = parts.hostname or ""
        return Endpoint(host, parts.port or 443, parts.path or "/", host, config["url"], ca)
    namespace, name, port = _service(config)
    path = "/" + ((config.get("service") or {}).get("path") or "").removeprefix("/")
    server = f"{name}.{namespace}.svc"
    return Endpoint("", port, path, server, f"https://{server}:{port}{path}", ca)


def _in_gos_words(endpoint: Endpoint, error: Exception) -> str:
    """Why there was no connection, as clients of a real API server read it."""
    address = f"{endpoint.host}:{endpoint.port}"
    if isinstance(error, ConnectionRefusedError):
        return f"dial tcp {address}: connect: connection refused"
    if isinstance(error, socket.gaierror):
        return f"dial tcp: lookup {endpoint.host}: no such host"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: x509: {error.verify_message}"
    if isinstance(error, ConnectionResetError):
        return "EOF"
    return f"{address}: {error}"


async def _post(endpoint: Endpoint, review: Object, limit: str) -> Object:
    context = ssl.create_default_context(cadata=endpoint.ca.decode() if endpoint.ca else None)
    # Self-made authorities of webhooks often lack what strict checking asks for.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    reader, writer = await asyncio.open_connection(
        endpoint.host, endpoint.port, ssl=context, server_hostname=endpoint.server_name
    )
    try:
        body = orjson.dumps(review)
        head = (
            f"POST {endpoint.path}{limit} HTTP/1.1\r\nHost: {endpoint.server_name}:{endpoint.port}\r\n"
            "User-Agent: kube-apiserver-admission\r\nAccept: application/json\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        return await _read(reader)
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Object:
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    while not answer.complete:
        data = await reader.read(65536)
        if not data:
            answer.complete = (
                answer.begun and not answer.framed
            )  # the end of the connection is that of the body
            break
        try:
            parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise WebhookFailure(f"malformed answer: {error}") from None
        if len(answer.body) > MAX_ANSWER:
            raise WebhookFailure(f"the answer is larger than {MAX_ANSWER} bytes")
    if not answer.complete:
        raise ConnectionResetError("EOF")
    try:
        value = orjson.loads(bytes(answer.body) or b"null")
    except orjson.JSONDecodeError:
        value = None
    if too_deep(value):
        raise WebhookFailure(f"the answer is nested deeper than {MAX_DEPTH}")
    status = parser.get_status_code()
    if status != 200:
        said = value.get("message") if isinstance(value, dict) and value.get("kind") == "Status" else None
        raise WebhookFailure(str(said or _REFUSED.get(status) or _BROKEN))
    if not answer.body:
        raise WebhookFailure(f"0-length response with status code: {status} and content type: {answer.media}")
    if not isinstance(value, dict):
        raise WebhookFailure(_NO_OBJECT)
    return value


def decode_bundle(text: str | None) -> bytes | None:
    """The CA bundle of a client configuration; None when it has none."""
    return base64.b64decode(text) if text else None

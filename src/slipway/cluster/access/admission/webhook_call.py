"""One HTTPS POST to an admission webhook: AdmissionReview out, AdmissionReview back."""

from __future__ import annotations

import asyncio
import base64
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httptools
import orjson

Object = dict[str, Any]
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
    ca: bytes | None  # PEM; None: the machine's trusted authorities


class _Answer:
    def __init__(self) -> None:
        self.body = bytearray()
        self.complete = False

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


def endpoint_of_url(url: str, ca: bytes | None) -> Endpoint:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise WebhookFailure(f"{url}: not an https URL")
    path = parts.path or "/"
    return Endpoint(parts.hostname, parts.port or 443, path, parts.hostname, ca)


async def post(endpoint: Endpoint, review: Object, timeout: float) -> Object:
    """The webhook's answer as an object; WebhookFailure for anything but a 200 with a JSON object."""
    try:
        async with asyncio.timeout(timeout):
            return await _post(endpoint, review)
    except TimeoutError:
        raise WebhookFailure("context deadline exceeded") from None
    except (OSError, ssl.SSLError) as error:
        raise WebhookFailure(f"{endpoint.host}:{endpoint.port}: {error}") from None


async def _post(endpoint: Endpoint, review: Object) -> Object:
    context = ssl.create_default_context(cadata=endpoint.ca.decode() if endpoint.ca else None)
    # Self-made authorities of webhooks often lack what strict checking asks for.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    reader, writer = await asyncio.open_connection(
        endpoint.host, endpoint.port, ssl=context, server_hostname=endpoint.server_name
    )
    try:
        body = orjson.dumps(review)
        head = (
            f"POST {endpoint.path} HTTP/1.1\r\nHost: {endpoint.server_name}:{endpoint.port}\r\n"
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
            break
        try:
            parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise WebhookFailure(f"malformed answer: {error}") from None
        if len(answer.body) > MAX_ANSWER:
            raise WebhookFailure(f"the answer is larger than {MAX_ANSWER} bytes")
    status = parser.get_status_code()
    if status != 200:
        raise WebhookFailure(
            f"the server answered {status}: {bytes(answer.body[:200]).decode(errors='replace')}"
        )
    try:
        value = orjson.loads(bytes(answer.body))
    except orjson.JSONDecodeError:
        raise WebhookFailure("the answer is not JSON") from None
    if not isinstance(value, dict):
        raise WebhookFailure("the answer is not an AdmissionReview")
    return value


def decode_bundle(text: str | None) -> bytes | None:
    """The CA bundle of a client configuration; None when it has none."""
    return base64.b64decode(text) if text else None

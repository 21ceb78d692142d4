"""Bytes into Requests: httptools takes them apart, this puts them together, within the limits of the API server."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

import httptools

from slipway.cluster.exchange import Peer, Request
from slipway.cluster.server.request_target import ascii_text, is_ill_escaped, origin_form
from slipway.cluster.server.wire import BODY_LIMIT, HEADER_LIMIT, plain_refusal

logger = logging.getLogger(__name__)


class Arrived(NamedTuple):
    """A request that was read whole."""

    request: Request
    keep: bool  # the connection lives on
    modern: bool  # HTTP/1.1
    upgrading: bool  # what follows are bytes of another protocol, if the upgrade is granted


class Refused(Exception):
    """What was sent cannot be read: the `answer` to it; None where it is too large."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer


class RequestReader:
    """Of one connection. `arrived` is given each request; `expected` is called when a client waits to be told to
    send its body. `unfinished` says that a request has begun and has not ended."""

    def __init__(self, peer: Peer, arrived: Callable[[Arrived], None], expected: Callable[[], None]) -> None:
        self._peer = peer
        self._arrived = arrived
        self._expected = expected
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._body_size = 0
        self._head_size = 0
        self._in_head = True
        self.unfinished = False

    def feed(self, data: bytes) -> bytes | None:
        """Read on. What came after a request that asks for an upgrade; None while there was none.

        Refused for what is no request; nothing must be fed after it.
        """
        try:
            return self._feed(data)
        except Refused:
            self.unfinished = False
            raise

    def _feed(self, data: bytes) -> bytes | None:
        self.unfinished = True
        if self._in_head:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return data[upgrade.args[0] :]
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if isinstance(cause, Refused):
                raise cause from None
            logger.exception("a request could not be taken apart")
            raise Refused(plain_refusal(400)) from None
        except httptools.HttpParserError:
            raise Refused(plain_refusal(400)) from None
        if self._in_head and self._head_size > HEADER_LIMIT:
            raise Refused(plain_refusal(431))
        return None

    def start_anew(self) -> None:
        """The upgrade was not granted: what follows is HTTP again."""
        self._parser = httptools.HttpRequestParser(self)

    # What httptools calls.

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer
        key = name.decode("latin-1").lower()
        text = value.decode("utf-8", "replace")
        headers = self._headers
        if key in headers:
            text = f"{headers[key]}{_joiner(key)}{text}"
        headers[key] = text

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_size = 0
        headers = self._headers
        length = headers.get("content-length")
        if length is not None and int(length) > BODY_LIMIT:
            raise Refused(None)
        if headers.get("expect", "").lower() == "100-continue" and self._parser.get_http_version() == "1.1":
            self._expected()

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        if self._body_size > BODY_LIMIT:
            raise Refused(None)
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        raw_path, _, raw_query = self._url.partition(b"?")
        if not raw_path.startswith(b"/"):
            raw_path, raw_query = origin_form(self._url, raw_path, raw_query)
        if is_ill_escaped(raw_path):
            raise Refused(plain_refusal(400))
        parser = self._parser
        request = Request(
            parser.get_method().decode("latin-1"),
            ascii_text(raw_path),
            ascii_text(raw_query),
            self._headers,
            self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks),
            self._peer,
        )
        upgrading = bool(parser.should_upgrade())
        keep = parser.should_keep_alive() or upgrading
        modern = parser.get_http_version() == "1.1"
        self._url = b""
        self._headers = {}
        if self._chunks:
            self._chunks = []
        self._body_size = 0
        self._in_head = True
        self.unfinished = False
        self._arrived(Arrived(request, keep, modern, upgrading))


def _joiner(key: str) -> str:
    """What stands between the values of a header that came more than once. Groups and extra values of
    impersonation may hold commas, so a character that no header can hold keeps them apart."""
    if key.startswith("impersonate-"):
        return "\n"
    return "; " if key == "cookie" else ", "

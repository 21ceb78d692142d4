"""One HTTP/1.1 connection: send prepared bytes, get one answer by callback.

Built on asyncio.Protocol and httptools because a poll is one small request and one small answer, some
thousand times a second: no task, no header objects, no stream buffers. Answers beyond `limit` bytes, and
headers beyond 64 KiB, end the connection at once.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

MAX_HEAD = 65536
_KEPT = (b"content-type", b"retry-after", b"location", b"content-encoding")

# Between exchanges; never written to.
_NONE: dict[bytes, bytes] = {}

Done = Callable[["Connection", "Answer | None", str], None]


class Answer:
    """Status, the few headers that matter, body."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class Connection(asyncio.Protocol):
    """Carries one exchange at a time. `done(connection, answer, failure)` is called exactly once for each."""

    __slots__ = (
        "_body",
        "_done",
        "_head_done",
        "_head_size",
        "_headers",
        "_limit",
        "_more",
        "_parser",
        "_size",
        "_transport",
        "closed",
        "idle_since",
        "shelf",
        "used",
    )

    def __init__(self, shelf: "list[Connection]") -> None:
        # Where it waits between exchanges: the pool's list for its place.
        self.shelf = shelf
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._done: Done | None = None
        self._headers = _NONE
        self._body = b""
        self._more: list[bytes] = []
        self._size = 0
        self._head_size = 0
        self._head_done = False
        self._limit = 0
        self.closed = False
        self.used = 0
        self.idle_since = 0.0

    # -- exchange ----------------------------------------------------------------------------------------

    def send(self, request: bytes, limit: int, done: Done) -> None:
        """Write one request; the answer, or why there is none, goes to `done`."""
        assert self._done is None, "one exchange at a time"
        assert self._transport is not None
        self._done = done
        self._limit = limit
        self._size = 0
        self._head_size = 0
        self._head_done = False
        self._headers = {}
        self._body = b""
        self.used += 1
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)

    @property
    def busy(self) -> bool:
        return self._done is not None

    @property
    def answered(self) -> bool:
        """Whether any byte of an answer to the current request has come."""
        return self._head_size > 0

    def abort(self, reason: str) -> None:
        """End the exchange and the connection."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()
        self._finish(None, reason)

    def close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.close()

    # -- asyncio.Protocol --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods but not the class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._parser is None or self._done is None:
            # Bytes that nobody asked for: this connection cannot be trusted with another request.
            self.abort("unexpected bytes from the server")
            return
        if not self._body:
            self._head_size += len(data)
            if self._head_size > MAX_HEAD + self._limit:
                self.abort(f"response head larger than {MAX_HEAD} bytes")
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as failure:
            if self._done is not None:
                self.abort(f"not an HTTP answer: {str(failure)[:100]}")

    def eof_received(self) -> bool | None:
        return None

    def connection_lost(self, failure: Exception | None) -> None:
        self.closed = True
        if self._done is not None and self._parser is not None and self._until_close():
            self._complete()
        else:
            self._finish(None, f"connection lost: {failure or 'closed by the server'}")
        self._transport = None

    # -- httptools ---------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        lowered = name.lower()
        if lowered in _KEPT or lowered in (b"content-length", b"transfer-encoding"):
            self._headers[lowered] = value
            if lowered == b"content-length" and value.isdigit() and int(value) > self._limit:
                self.abort(f"response larger than {self._limit} bytes")

    def on_headers_complete(self) -> None:
        self._head_done = True

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limit:
            self.abort(f"response larger than {self._limit} bytes")
        elif self._body:
            self._more.append(data)
        else:
            self._body = data

    def on_message_complete(self) -> None:
        assert self._parser is not None
        if self._done is None or self._parser.get_status_code() < 200:
            return
        if not self._parser.should_keep_alive():
            self.close()
        self._complete()

    # -- ends --------------------------------------------------------------------------------------------

    def _until_close(self) -> bool:
        """Whether the body was to last until the server closes: complete head, no length, not chunked."""
        assert self._parser is not None
        framed = b"content-length" in self._headers or b"transfer-encoding" in self._headers
        return self._head_done and not framed and not self._parser.should_keep_alive()

    def _complete(self) -> None:
        assert self._parser is not None
        if self._more:
            self._body = b"".join((self._body, *self._more))
        self._finish(Answer(self._parser.get_status_code(), self._headers, self._body), "")

    def _finish(self, answer: Answer | None, reason: str) -> None:
        done, self._done = self._done, None
        self._parser = None
        self._headers = _NONE
        self._body = b""
        if self._more:
            self._more = []
        if done is not None:
            done(self, answer, reason)

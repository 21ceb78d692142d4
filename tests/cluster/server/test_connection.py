"""HTTP/1.1 over real sockets: framing, limits, streaming, upgrades, shutting down."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway.cluster.exchange import Duplex, Handler, Request, Response
from slipway.cluster.server.listener import Listener, serve


async def echo(request: Request) -> Response:
    """Answers with what it was asked."""
    seen = {
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "headers": request.headers,
        "body": request.body.decode("latin-1"),
    }
    return Response(200, {"Content-Type": "application/json"}, json.dumps(seen).encode())


class Talk:
    """A client that writes bytes and reads answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split()[1]), headers

    async def answer(self, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        status, headers = await self.head()
        if method == "HEAD":
            return status, headers, b""
        if headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while chunk := await self.chunk():
                body += chunk
            return status, headers, body
        return status, headers, await self.reader.readexactly(int(headers.get("Content-Length", 0)))

    async def chunk(self) -> bytes:
        size = int(await self.reader.readline(), 16)
        data = await self.reader.readexactly(size)
        assert await self.reader.readexactly(2) == b"\r\n"
        return data

    async def ended(self) -> bool:
        try:
            return await self.reader.read() == b""
        except ConnectionError:
            return True


Served = Callable[[Handler], Awaitable[tuple[Listener, Callable[[], Awaitable[Talk]]]]]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    listeners: list[Listener] = []
    writers: list[asyncio.StreamWriter] = []

    async def start(handler: Handler) -> tuple[Listener, Callable[[], Awaitable[Talk]]]:
        listener = await serve(handler, "127.0.0.1", 0, None)
        listeners.append(listener)

        async def connect() -> Talk:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writers.append(writer)
            return Talk(reader, writer)

        return listener, connect

    yield start
    for writer in writers:
        writer.close()
    for listener in listeners:
        await listener.close(grace=0.5)
        assert listener.connections == 0


async def test_a_request_arrives_whole_and_lower_cased(served: Served) -> None:
    _, connect = await served(echo)
    talk = await connect()
    await talk.send(
        b"PUT /a%20b?x=1&y HTTP/1.1\r\nHost: h\r\nX-One: a\r\nx-one: b\r\nContent-Length: 3\r\n\r\nabc"
    )
    status, headers, body = await talk.answer()
    seen = json.loads(body)
    assert status == 200
    assert (seen["method"], seen["path"], seen["query"], seen["body"]) == ("PUT", "/a%20b", "x=1&y", "abc")
    assert seen["headers"]["x-one"] == "a, b"
    assert "Date" in headers


async def test_a_chunked_body_is_put_together_and_trailers_are_dropped(served: Served) -> None:
    _, connect = await served(echo)
    talk = await connect()
    await talk.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    await talk.send(b"2\r\nde\r\n0\r\nX-Trailer: t\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n")
    seen = json.loads((await talk.answer())[2])
    assert seen["body"] == "abcde"
    assert "x-trailer" not in seen["headers"]
    assert json.loads((await talk.answer())[2])["path"] == "/next"


async def test_pipelined_requests_are_answered_in_order_however_long_each_takes(served: Served) -> None:
    async def slow_first(request: Request) -> Response:
        if request.path == "/0":
            await asyncio.sleep(0.02)
        return Response(200, {}, request.path.encode())

    _, connect = await served(slow_first)
    talk = await connect()
    await talk.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % i for i in range(100)))
    assert [(await talk.answer())[2] for _ in range(100)] == [b"/%d" % i for i in range(100)]


async def test_http_1_0_gets_no_chunks_and_the_end_of_the_connection(served: Served) -> None:
    async def stream(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            yield b"one "
            yield b"two"

        return Response(200, {}, body())

    _, connect = await served(stream)
    talk = await connect()
    await talk.send(b"GET / HTTP/1.0\r\n\r\n")
    _, headers = await talk.head()
    assert headers["Connection"] == "close"
    assert await talk.reader.read() == b"one two"


async def test_head_has_the_length_but_no_body(served: Served) -> None:
    _, connect = await served(echo)
    talk = await connect()
    await talk.send(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\nGET /after HTTP/1.1\r\nHost: h\r\n\r\n")
    _, headers, _ = await talk.answer("HEAD")
    assert int(headers["Content-Length"]) > 10
    assert json.loads((await talk.answer())[2])["path"] == "/after"


async def test_a_client_that_expects_100_continue_is_told_to_go_on(served: Served) -> None:
    _, connect = await served(echo)
    talk = await connect()
    await talk.send(b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert (await talk.head())[0] == 100
    await talk.send(b"ok")
    assert json.loads((await talk.answer())[2])["body"] == "ok"


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_three_mebibytes_is_refused_with_a_status(served: Served, chunked: bool) -> None:
    _, connect = await served(echo)
    talk = await connect()
    body = b"x" * (3 * 1024 * 1024 + 1)
    if chunked:
        await talk.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        await talk.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    else:
        await talk.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body))
        await talk.send(body)
    status, headers, answer = await talk.answer()
    document = json.loads(answer)
    assert status == 413
    assert document["reason"] == "RequestEntityTooLarge"
    assert document["message"] == "Request entity too large: limit is 3145728"
    assert headers["Connection"] == "close"


async def test_a_body_of_exactly_the_limit_is_taken(served: Served) -> None:
    async def size(request: Request) -> Response:
        return Response(200, {}, str(len(request.body)).encode())

    _, connect = await served(size)
    talk = await connect()
    await talk.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3145728\r\n\r\n" + b"x" * 3145728)
    assert (await talk.answer())[2] == b"3145728"


async def test_headers_without_end_are_refused_with_431(served: Served) -> None:
    _, connect = await served(echo)
    talk = await connect()
    await talk.send(b"GET / HTTP/1.1\r\n")
    for _ in range(20):
        await talk.send(b"X-Filler: " + b"x" * 65536 + b"\r\n")
    assert (await talk.answer())[0] == 431


@pytest.mark.parametrize(
    "bad",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nBad Header\r\n\r\n",
    ],
)
async def test_what_is_not_http_gets_a_400_and_the_end(served: Served, bad: bytes) -> None:
    _, connect = await served(echo)
    talk = await connect()
    await talk.send(bad)
    status, headers, body = await talk.answer()
    assert status == 400
    assert body == b"400 Bad Request"
    assert headers["Connection"] == "close"
    assert await talk.ended()


async def test_a_line_break_in_a_header_value_cannot_start_another_header(served: Served) -> None:
    async def inject(request: Request) -> Response:
        return Response(200, {"Warning": '299 - "a\r\nSet-Cookie: x"'}, b"ok")

    _, connect = await served(inject)
    talk = await connect()
    await talk.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    _, headers, body = await talk.answer()
    assert "Set-Cookie" not in headers
    assert body == b"ok"


async def test_each_warning_is_a_header_of_its_own(served: Served) -> None:
    async def careful(request: Request) -> Response:
        return Response(200, warnings=['299 - "first, with a comma"', '299 - "second\r\nX-Other: 1"'])

    _, connect = await served(careful)
    talk = await connect()
    await talk.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    head = (await talk.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    lines = [line for line in head if line.startswith(("Warning", "X-Other"))]
    assert lines == ['Warning: 299 - "first, with a comma"', 'Warning: 299 - "second  X-Other: 1"']


async def test_a_large_answer_is_compressed_for_those_who_take_it(served: Served) -> None:
    large = json.dumps({"data": "abc" * 100_000}).encode()

    async def answer(request: Request) -> Response:
        return Response(200, {"Content-Type": "application/json"}, large)

    _, connect = await served(answer)
    talk = await connect()
    await talk.send(b"GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: br, gzip\r\n\r\n")
    _, headers, body = await talk.answer()
    assert (headers["Content-Encoding"], headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(body) == large
    await talk.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    _, headers, body = await talk.answer()
    assert "Content-Encoding" not in headers
    assert body == large


async def test_a_streamed_chunk_arrives_before_the_next_is_made(served: Served) -> None:
    gate = asyncio.Event()

    async def stream(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            yield b"first"
            await gate.wait()
            yield b"second"

        return Response(200, {}, body())

    _, connect = await served(stream)
    talk = await connect()
    await talk.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    await talk.head()
    assert await talk.chunk() == b"first"
    gate.set()
    assert await talk.chunk() == b"second"
    assert await talk.chunk() == b""


async def test_a_reader_that_does_not_read_stops_the_stream_from_advancing(served: Served) -> None:
    made = 0

    async def stream(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            nonlocal made
            for _ in range(10_000):
                made += 1
                yield b"x" * 10_000
                await asyncio.sleep(0)

        return Response(200, {}, body())

    listener, _ = await served(stream)
    sock = socket.create_connection(("127.0.0.1", listener.port))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    before = -1
    while made != before:  # until the sockets' buffers are full
        before = made
        await asyncio.sleep(0.1)
    assert made < 2000
    sock.close()


@pytest.mark.parametrize("abrupt", [False, True])
async def test_a_stream_ends_at_once_when_its_reader_vanishes(served: Served, abrupt: bool) -> None:
    ended = asyncio.Event()

    async def watch(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            try:
                yield b"x"
                await asyncio.Event().wait()
            finally:
                ended.set()

        return Response(200, {}, body())

    listener, connect = await served(watch)
    talk = await connect()
    await talk.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    await talk.head()
    assert await talk.chunk() == b"x"
    if abrupt:
        talk.writer.transport.abort()
    else:
        talk.writer.close()
    async with asyncio.timeout(30):
        await ended.wait()
        await asyncio.sleep(0.02)
    assert listener.connections == 0


async def test_a_write_is_finished_although_its_client_has_gone(served: Served) -> None:
    begun, done = asyncio.Event(), asyncio.Event()

    async def write(request: Request) -> Response:
        begun.set()
        await asyncio.sleep(0.05)
        done.set()
        return Response(201)

    _, connect = await served(write)
    talk = await connect()
    await talk.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
    await begun.wait()
    talk.writer.transport.abort()
    async with asyncio.timeout(30):
        await done.wait()


async def test_an_upgrade_hands_over_the_bytes_that_came_with_it(served: Served) -> None:
    async def shout(duplex: Duplex) -> None:
        while data := await duplex.read():
            await duplex.write(data.upper())

    async def handler(request: Request) -> Response:
        return Response(101, {"Connection": "Upgrade", "Upgrade": "shout"}, upgrade=shout)

    _, connect = await served(handler)
    talk = await connect()
    await talk.send(
        b"POST / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: shout\r\nContent-Length: 0\r\n\r\nearly "
    )
    status, headers = await talk.head()
    assert (status, headers["Upgrade"]) == (101, "shout")
    assert await talk.reader.readexactly(6) == b"EARLY "
    await talk.send(b"late")
    assert await talk.reader.readexactly(4) == b"LATE"
    talk.writer.write_eof()
    assert await talk.ended()


async def test_a_refused_upgrade_leaves_an_ordinary_connection(served: Served) -> None:
    _, connect = await served(echo)
    talk = await connect()
    await talk.send(
        b"GET /one HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nGET /two HTTP/1.1\r\nHost: h\r\n\r\n"
    )
    assert json.loads((await talk.answer())[2])["path"] == "/one"
    assert json.loads((await talk.answer())[2])["path"] == "/two"


async def test_a_failing_handler_answers_500_and_the_connection_lives_on(served: Served) -> None:
    async def fail(request: Request) -> Response:
        if request.path == "/bad":
            raise ValueError("broken inside")
        return Response(200, {}, b"fine")

    _, connect = await served(fail)
    talk = await connect()
    await talk.send(b"GET /bad HTTP/1.1\r\nHost: h\r\n\r\nGET /good HTTP/1.1\r\nHost: h\r\n\r\n")
    status, _, body = await talk.answer()
    assert status == 500
    assert json.loads(body)["message"] == "Internal error occurred: broken inside"
    assert (await talk.answer())[2] == b"fine"


async def test_a_handler_can_drop_the_connection_without_an_answer(served: Served) -> None:
    async def drop(request: Request) -> Response:
        raise ConnectionResetError("a fault rule")

    _, connect = await served(drop)
    talk = await connect()
    await talk.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
    assert await talk.ended()


async def test_closing_finishes_answers_ends_streams_and_frees_the_port(served: Served) -> None:
    begun = asyncio.Event()

    async def handler(request: Request) -> Response:
        if request.path == "/watch":

            async def body() -> AsyncIterator[bytes]:
                yield b"event"
                await asyncio.Event().wait()

            return Response(200, {}, body())
        begun.set()
        await asyncio.sleep(0.05)
        return Response(200, {}, b"done")

    listener, connect = await served(handler)
    idle, watch, write = await connect(), await connect(), await connect()
    await watch.send(b"GET /watch HTTP/1.1\r\nHost: h\r\n\r\n")
    await watch.head()
    assert await watch.chunk() == b"event"
    await write.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
    await begun.wait()
    async with asyncio.timeout(30):
        await listener.close()
    assert (await write.answer())[2] == b"done"
    assert await watch.chunk() == b""  # a stream that ends as HTTP says
    assert await watch.ended()
    assert await idle.ended()
    with pytest.raises(OSError):
        await connect()


async def test_hundreds_of_connections_at_once_are_served(served: Served) -> None:
    listener, connect = await served(echo)
    talks = await asyncio.gather(*(connect() for _ in range(300)))
    for talk in talks:
        await talk.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    for talk in talks:
        assert (await talk.answer())[0] == 200
    assert listener.connections == 300


_PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"GET / HTTP/1.1\r\n",
            b"POST /x HTTP/1.1\r\n",
            b"Host: h\r\n",
            b"Content-Length: 3\r\n",
            b"Content-Length: 99999999999999999999\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n",
            b"Expect: 100-continue\r\n",
            b"\r\n",
            b"abc",
            b"3\r\nabc\r\n",
            b"0\r\n\r\n",
            b"GET http://h/p?q HTTP/1.1\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\n\r\n",
            b"GET /\xc3\xa4 HTTP/1.1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ]
    ),
)


async def _throw(pieces: list[bytes]) -> tuple[bytes, list[str]]:
    problems: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: problems.append(str(context)))
    listener = await serve(echo, "127.0.0.1", 0, None)
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0)
    writer.write_eof()
    try:
        async with asyncio.timeout(30):
            answer = await reader.read()
    except ConnectionError:
        answer = b""
    writer.close()
    await listener.close(grace=1)
    return answer, problems


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_PIECES, min_size=1, max_size=12))
def test_whatever_bytes_come_the_answer_is_http_or_the_end(pieces: list[bytes]) -> None:
    answer, problems = asyncio.run(_throw(pieces))
    assert problems == []
    assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
    assert b"HTTP/1.1 5" not in answer

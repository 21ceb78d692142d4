"""exec, attach and port-forward with the clients that people have: kubectl over WebSocket and SPDY, and
kubernetes_asyncio; a child process of ours is the container."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.cluster.exchange import Duplex, Request, Response
from slipway.cluster.kubelet import StreamError
from slipway.cluster.server.listener import Listener, serve
from slipway.cluster.server.streams import spdy_frames
from slipway.cluster.server.streams.port_forward import parse_ports, port_forward
from slipway.cluster.server.streams.reading import in_messages
from slipway.cluster.server.streams.remote_command import StreamOptions, remote_command
from slipway.cluster.status import StatusError

GCLOUD = Path("/usr/lib/google-cloud-sdk/bin")
OLD, NEW = GCLOUD / "kubectl.1.27", GCLOUD / "kubectl.1.33"
JSON = {"Content-Type": "application/json"}
Object = dict[str, Any]


class ProcessSession:
    """A child process with pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.sizes: list[tuple[int, int]] = []
        self.abandoned = asyncio.Event()

    async def _chunks(self, reader: asyncio.StreamReader | None) -> AsyncIterator[bytes]:
        while reader is not None and (data := await reader.read(65536)):
            yield data

    def stdout(self) -> AsyncIterator[bytes]:
        return self._chunks(self._process.stdout)

    def stderr(self) -> AsyncIterator[bytes]:
        return self._chunks(self._process.stderr)

    async def write_stdin(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        await self._process.stdin.drain()

    async def close_stdin(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def resize(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))

    async def wait(self) -> int:
        code = await self._process.wait()
        return 128 - code if code < 0 else code

    async def abandon(self) -> None:
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        self.abandoned.set()


class Connection:
    """A TCP connection as a Duplex."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        return await self._reader.read(65536)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def write_eof(self) -> None:
        self._writer.write_eof()

    async def close(self) -> None:
        self._writer.close()


class OnePod:
    """Enough of an API server for kubectl exec, cp and port-forward: pod `p` in `default`."""

    def __init__(self) -> None:
        self.sessions: list[ProcessSession] = []
        self.seen: list[Request] = []
        self.refusal: StreamError | None = None
        self.ports: dict[int, int] = {}
        self.open_connections = 0

    async def exec(self, options: StreamOptions) -> ProcessSession:
        if self.refusal is not None:
            raise self.refusal
        process = await asyncio.create_subprocess_exec(
            *(options.command or ("cat",)),
            stdin=asyncio.subprocess.PIPE if options.stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT if options.tty else asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        session = ProcessSession(process)
        self.sessions.append(session)
        return session

    async def connect(self, port: int) -> Duplex:
        if port not in self.ports:
            raise StreamError(500, f"failed to connect to port {port} of pod p: connection refused")
        return Connection(*await asyncio.open_connection("127.0.0.1", self.ports[port]))

    async def handle(self, request: Request) -> Response:
        self.seen.append(request)
        match request.path.strip("/").split("/"):
            case ["api"]:
                return self._answer({"kind": "APIVersions", "versions": ["v1"]})
            case ["apis"]:
                return self._answer({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})
            case ["api", "v1"]:
                pods = {
                    "name": "pods",
                    "singularName": "pod",
                    "namespaced": True,
                    "kind": "Pod",
                    "verbs": ["get", "list", "watch"],
                }
                resources = {
                    "kind": "APIResourceList",
                    "apiVersion": "v1",
                    "groupVersion": "v1",
                    "resources": [pods],
                }
                return self._answer(resources)
            case ["api", "v1", "namespaces", "default", "pods", "p"]:
                return self._answer(
                    {
                        "kind": "Pod",
                        "apiVersion": "v1",
                        "metadata": {"name": "p", "namespace": "default"},
                        "spec": {"containers": [{"name": "c", "stdin": True}]},
                        "status": {"phase": "Running"},
                    }
                )
            case [*_, "exec" | "attach"]:
                return await remote_command(request, self.exec)
            case [*_, "portforward"]:
                return await port_forward(request, self.connect)
        return Response(404, {}, b"404 page not found\n")

    @staticmethod
    def _answer(document: Object) -> Response:
        return Response(200, dict(JSON), json.dumps(document).encode())


class Kubectl:
    """Runs a kubectl of the machine's against the listener."""

    def __init__(self, binary: Path, listener: Listener, home: Path, *, websockets: bool) -> None:
        self.upgrade = "websocket" if websockets else "SPDY/3.1"
        self._binary = binary
        self._server = f"--server=http://127.0.0.1:{listener.port}"
        self._env = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": str(websockets).lower(),
            "KUBECTL_PORT_FORWARD_WEBSOCKETS": str(websockets).lower(),
        }

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            str(self._binary),
            self._server,
            *words,
            env=self._env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *words: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
        process = await self.start(*words)
        async with asyncio.timeout(30):
            out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return process.returncode, out, err.decode()


@asynccontextmanager
async def one_pod() -> AsyncIterator[tuple[OnePod, Listener]]:
    pod = OnePod()
    listener = await serve(pod.handle, "127.0.0.1", 0, None)
    try:
        yield pod, listener
    finally:
        await listener.close(grace=1)


_CLIENTS = [
    pytest.param(
        (OLD, False), id="kubectl-1.27-spdy", marks=pytest.mark.skipif(not OLD.exists(), reason=f"no {OLD}")
    ),
    pytest.param(
        (NEW, True),
        id="kubectl-1.33-websocket",
        marks=pytest.mark.skipif(not NEW.exists(), reason=f"no {NEW}"),
    ),
    pytest.param(
        (NEW, False), id="kubectl-1.33-spdy", marks=pytest.mark.skipif(not NEW.exists(), reason=f"no {NEW}")
    ),
]


@pytest.fixture(params=_CLIENTS)
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[OnePod, Kubectl]]:
    binary, websockets = request.param
    async with one_pod() as (pod, listener):
        yield pod, Kubectl(binary, listener, tmp_path, websockets=websockets)


async def test_kubectl_exec_brings_both_outputs_and_the_exit_code(scene: tuple[OnePod, Kubectl]) -> None:
    pod, kubectl = scene
    code, out, err = await kubectl.run("exec", "p", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (code, out) == (7, b"out\n")
    assert "err\n" in err
    assert "command terminated with exit code 7" in err
    assert [request.headers["upgrade"] for request in pod.seen if request.path.endswith("/exec")] == [
        kubectl.upgrade
    ]


async def test_kubectl_exec_carries_a_large_stdin_through_and_back(scene: tuple[OnePod, Kubectl]) -> None:
    _, kubectl = scene
    data = os.urandom(3_000_000)
    code, out, err = await kubectl.run("exec", "-i", "p", "--", "cat", stdin=data)
    assert (code, err) == (0, "")
    assert out == data


async def test_kubectl_exec_prints_much_output_whole(scene: tuple[OnePod, Kubectl]) -> None:
    _, kubectl = scene
    code, out, _ = await kubectl.run("exec", "p", "--", "head", "-c", "20000000", "/dev/zero")
    assert (code, len(out)) == (0, 20_000_000)


async def test_kubectl_cp_brings_files_there_and_back(scene: tuple[OnePod, Kubectl], tmp_path: Path) -> None:
    _, kubectl = scene
    source, there, back = tmp_path / "source", tmp_path / "there", tmp_path / "back"
    source.write_bytes(os.urandom(200_000))
    code, _, err = await kubectl.run("cp", str(source), f"p:{there}")
    assert code == 0, err
    assert there.read_bytes() == source.read_bytes()
    code, _, err = await kubectl.run("cp", f"p:{there}", str(back))
    assert code == 0, err
    assert back.read_bytes() == source.read_bytes()


async def test_kubectl_attach_speaks_with_a_process(scene: tuple[OnePod, Kubectl]) -> None:
    _, kubectl = scene
    code, out, _ = await kubectl.run("attach", "-i", "p", stdin=b"hello\n")
    assert (code, out) == (0, b"hello\n")


async def test_what_the_node_refuses_is_shown_in_its_words(scene: tuple[OnePod, Kubectl]) -> None:
    pod, kubectl = scene
    pod.refusal = StreamError(404, 'container not found ("c")')
    code, _, err = await kubectl.run("exec", "p", "--", "true")
    assert code == 1
    assert 'container not found ("c")' in err
    pod.refusal = StreamError(500, 'exec: "nope": executable file not found in $PATH')
    code, _, err = await kubectl.run("exec", "p", "--", "nope")
    assert code == 1
    assert "executable file not found in $PATH" in err


async def test_a_command_is_ended_when_its_client_vanishes(scene: tuple[OnePod, Kubectl]) -> None:
    pod, kubectl = scene
    process = await kubectl.start("exec", "p", "--", "sh", "-c", "echo ready; sleep 600")
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    process.kill()
    await process.wait()
    async with asyncio.timeout(30):
        await pod.sessions[0].abandoned.wait()


@asynccontextmanager
async def forwarded(kubectl: Kubectl, remote: int) -> AsyncIterator[int]:
    process = await kubectl.start("port-forward", "p", f":{remote}")
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            line = (await process.stdout.readline()).decode()
        assert "Forwarding from 127.0.0.1:" in line, line
        yield int(line.split("127.0.0.1:")[1].split(" ")[0])
    finally:
        process.kill()
        await process.wait()


async def test_kubectl_port_forward_carries_many_connections(scene: tuple[OnePod, Kubectl]) -> None:
    pod, kubectl = scene

    async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())  # answers when the client has closed its half
        await writer.drain()
        writer.close()

    target = await asyncio.start_server(upper, "127.0.0.1", 0)
    pod.ports[80] = target.sockets[0].getsockname()[1]

    async def ask(port: int, data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer

    async with forwarded(kubectl, 80) as port, asyncio.timeout(30):
        large = b"z" * 2_000_000
        asked = [f"hello {number}".encode() for number in range(12)] + [large]
        answers = await asyncio.gather(*(ask(port, data) for data in asked))
    assert answers == [data.upper() for data in asked]
    target.close()


async def test_kubectl_port_forward_tells_why_a_connection_fails(scene: tuple[OnePod, Kubectl]) -> None:
    _, kubectl = scene
    process = await kubectl.start("port-forward", "p", ":81")
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(30):
        port = int((await process.stdout.readline()).decode().split("127.0.0.1:")[1].split(" ")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()
        assert b"failed to connect to port 81" in await process.stderr.readline()
    process.kill()
    await process.wait()


async def _websocket(
    listener: Listener, path: str, protocols: Sequence[str], work: Any, **options: Any
) -> Any:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"http://127.0.0.1:{listener.port}{path}", protocols=protocols, max_msg_size=0, **options
        ) as socket,
    ):
        async with asyncio.timeout(30):
            return await work(socket)


EXEC = "/api/v1/namespaces/default/pods/p/exec"


async def _all(socket: aiohttp.ClientWebSocketResponse) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    async for message in socket:
        found[message.data[0]] = found.get(message.data[0], b"") + message.data[1:]
    return found


async def test_v5_closes_stdin_alone_and_the_command_still_answers() -> None:
    async with one_pod() as (_, listener):

        async def work(socket: aiohttp.ClientWebSocketResponse) -> dict[int, bytes]:
            assert socket.protocol == "v5.channel.k8s.io"
            await socket.send_bytes(b"\0hello")
            await socket.send_bytes(b"\xff\0")
            return await _all(socket)

        found = await _websocket(
            listener,
            f"{EXEC}?command=rev&stdin=true&stdout=true",
            ["v5.channel.k8s.io", "v4.channel.k8s.io"],
            work,
        )
    assert found[1] == b"olleh"
    assert json.loads(found[3]) == {"metadata": {}, "status": "Success"}


async def test_v4_tells_the_exit_code_in_a_status() -> None:
    async with one_pod() as (_, listener):
        found = await _websocket(
            listener, f"{EXEC}?command=sh&command=-c&command=exit%203&stderr=1", ["v4.channel.k8s.io"], _all
        )
    assert json.loads(found[3]) == {
        "metadata": {},
        "status": "Failure",
        "message": "command terminated with non-zero exit code: exit status 3",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
    }


async def test_base64_channels_carry_text_messages() -> None:
    async with one_pod() as (_, listener):

        async def work(socket: aiohttp.ClientWebSocketResponse) -> dict[str, bytes]:
            found: dict[str, bytes] = {}
            async for message in socket:
                assert message.type is aiohttp.WSMsgType.TEXT
                found[message.data[0]] = found.get(message.data[0], b"") + base64.b64decode(message.data[1:])
            return found

        found = await _websocket(
            listener, f"{EXEC}?command=echo&command=hi&stdout=1", ["v4.base64.channel.k8s.io"], work
        )
    assert found["1"] == b"hi\n"
    assert json.loads(found["3"])["status"] == "Success"


async def test_a_terminals_size_reaches_the_process() -> None:
    async with one_pod() as (pod, listener):

        async def work(socket: aiohttp.ClientWebSocketResponse) -> None:
            await socket.send_bytes(b"\x04" + json.dumps({"Width": 120, "Height": 40}).encode())
            await socket.send_bytes(b"\x04nonsense")
            await socket.send_bytes(b"\0x")
            await socket.receive()  # the empty first message
            assert (await socket.receive()).data == b"\x01x"

        await _websocket(listener, f"{EXEC}?command=cat&stdin=1&stdout=1&tty=1", ["v4.channel.k8s.io"], work)
        assert pod.sessions[0].sizes == [(120, 40)]


async def test_ports_are_forwarded_over_channels_that_begin_with_the_port() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))
        await writer.drain()
        writer.close()

    target = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with one_pod() as (pod, listener):
        pod.ports[8080] = target.sockets[0].getsockname()[1]

        async def work(socket: aiohttp.ClientWebSocketResponse) -> dict[int, bytes]:
            await socket.send_bytes(b"\0ping")
            return await _all(socket)

        found = await _websocket(
            listener,
            "/api/v1/namespaces/default/pods/p/portforward?ports=8080,81",
            ["v4.channel.k8s.io"],
            work,
        )
    assert found[0] == struct.pack("<H", 8080) + b"ping"
    assert found[1] == struct.pack("<H", 8080)
    assert found[2] == struct.pack("<H", 81)
    assert found[3].startswith(struct.pack("<H", 81) + b"failed to connect to port 81")
    target.close()


async def test_kubernetes_asyncio_executes_a_command() -> None:
    from kubernetes_asyncio import client
    from kubernetes_asyncio.stream import WsApiClient

    async with one_pod() as (_, listener):
        configuration = client.Configuration(host=f"http://127.0.0.1:{listener.port}")
        async with WsApiClient(configuration) as api:
            answer = await client.CoreV1Api(api).connect_get_namespaced_pod_exec(
                "p",
                "default",
                command=["sh", "-c", "echo out; echo err >&2"],
                stdout=True,
                stderr=True,
                stdin=False,
                tty=False,
            )
    assert "out\n" in answer
    assert "err\n" in answer


@pytest.mark.parametrize(
    ("headers", "query", "status", "words"),
    [
        ({}, "command=x&stdout=1", 400, "Upgrade request required"),
        ({"connection": "upgrade", "upgrade": "SPDY/3.1"}, "command=x", 400, "at least 1 of stdin"),
        ({"connection": "upgrade", "upgrade": "h2c"}, "stdout=1", 400, "must be websocket or SPDY/3.1"),
        ({"connection": "upgrade", "upgrade": "SPDY/3.1"}, "stdout=1", 400, "X-Stream-Protocol-Version"),
        (
            {"connection": "upgrade", "upgrade": "SPDY/3.1", "x-stream-protocol-version": "v9"},
            "stdout=1",
            403,
            "unable to negotiate protocol",
        ),
        (
            {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-protocol": "v9.channel.k8s.io"},
            "stdout=1",
            403,
            "requested protocol(s) are not supported",
        ),
        ({"connection": "upgrade", "upgrade": "websocket"}, "stdout=1", 400, "Sec-WebSocket-Key"),
    ],
)
async def test_what_is_no_proper_upgrade_is_refused_with_a_reason(
    headers: dict[str, str], query: str, status: int, words: str
) -> None:
    answer = await remote_command(Request("GET", EXEC, query, headers), OnePod().exec)
    assert isinstance(answer.body, bytes)
    assert answer.status == status
    assert words in answer.body.decode()


@pytest.mark.parametrize(
    "query", ["", "ports=", "ports=0", "ports=70000", "ports=x", "ports=80,", "ports=%C2%B2"]
)
def test_ports_that_are_none_are_refused(query: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse_ports(query)
    assert caught.value.code == 400


def test_the_dictionary_is_the_one_of_the_specification() -> None:
    assert zlib.adler32(spdy_frames.dictionary()) == 0xE3C6A7C2


_headers = st.dictionaries(
    st.text(st.characters(codec="ascii", categories=["Ll"]), min_size=1, max_size=8),
    st.text(st.characters(codec="ascii", categories=["Ll", "Nd"]), max_size=20),
    max_size=4,
)


@given(st.lists(st.tuples(_headers, st.binary(max_size=50)), max_size=8), st.integers(1, 30))
def test_frames_cut_anywhere_are_put_together_again(
    streams: list[tuple[dict[str, str], bytes]], cut: int
) -> None:
    writer, reader = spdy_frames.SpdyFraming(), spdy_frames.SpdyFraming()
    wire = b""
    for index, (headers, data) in enumerate(streams):
        wire += writer.syn_stream(2 * index + 1, headers)
        wire += spdy_frames.data_frame(2 * index + 1, data, fin=True)
    found = [
        frame for start in range(0, len(wire), cut) for frame in reader.receive(wire[start : start + cut])
    ]
    assert [(frame.stream, frame.headers) for frame in found[::2]] == [
        (2 * index + 1, headers) for index, (headers, _) in enumerate(streams)
    ]
    assert [(frame.data, frame.fin) for frame in found[1::2]] == [(data, True) for _, data in streams]


@settings(max_examples=300)
@given(st.binary(max_size=200), st.booleans())
def test_bytes_that_are_no_frames_are_refused_not_crashed_on(data: bytes, control: bool) -> None:
    if control:
        data = struct.pack(">HHI", 0x8003, data[0] % 10 if data else 1, len(data)) + data
    try:
        spdy_frames.SpdyFraming().receive(data)
    except spdy_frames.SpdyError as error:
        assert str(error)  # noqa: PT017


async def test_streams_of_nonsense_end_the_connection_and_the_command() -> None:
    async with one_pod() as (pod, listener):
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(
            f"POST {EXEC}?command=cat&stdin=1&stdout=1 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n"
            "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 0\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\xff" * 64)
        async with asyncio.timeout(30):
            await reader.read()
            await pod.sessions[0].abandoned.wait()
        writer.close()


@asynccontextmanager
async def one_log(chunks: Callable[[], AsyncIterator[bytes]]) -> AsyncIterator[Listener]:
    async def handle(request: Request) -> Response:
        return in_messages(request, chunks())

    listener = await serve(handle, "127.0.0.1", 0, None)
    try:
        yield listener
    finally:
        await listener.close(grace=1)


@pytest.mark.parametrize("protocols", [[], ["binary.k8s.io"], ["base64.binary.k8s.io"]])
async def test_a_log_comes_in_messages_after_an_empty_one_and_ends_with_a_close(protocols: list[str]) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"one\n"
        yield b"\xff\xfe"

    async def work(socket: aiohttp.ClientWebSocketResponse) -> list[bytes]:
        found = [message.data async for message in socket]
        assert socket.close_code == 1000
        return [base64.b64decode(data) if isinstance(data, str) else data for data in found]

    async with one_log(chunks) as listener:
        assert await _websocket(listener, "/log", protocols, work) == [b"", b"one\n", b"\xff\xfe"]


async def test_a_log_that_is_followed_ends_when_its_reader_leaves() -> None:
    left = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        try:
            yield b"one\n"
            await asyncio.Event().wait()
        finally:
            left.set()

    async def work(socket: aiohttp.ClientWebSocketResponse) -> None:
        assert [await socket.receive_bytes(), await socket.receive_bytes()] == [b"", b"one\n"]

    async with one_log(chunks) as listener:
        await _websocket(listener, "/log", [], work)
        async with asyncio.timeout(30):
            await left.wait()

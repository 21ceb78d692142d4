"""Scripted inverters on real sockets, written from the protocol facts alone, and what tests need around them."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
import ssl
import struct
import subprocess
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest
import yaml

from sungather.application import Application, catalogue_for
from sungather.configuration.settings import Settings, load

Reply = bytes | None
Fault = Callable[[bytes], Awaitable[Reply] | Reply]


class SkippingSelector(selectors.DefaultSelector):
    """When nothing has happened for a moment, nothing will before the next timer: time jumps there."""

    MOMENT = 0.05

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0
        self.threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= self.MOMENT or self.threads:
            return super().select(timeout)
        ready = super().select(self.MOMENT)
        if not ready:
            self.skipped += timeout - self.MOMENT
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """For tests that wait for timeouts while both ends of every socket are in this process: a timeout can be as long
    as a busy machine may need, and passes at once where silence is what is tested."""

    def __init__(self) -> None:
        self._skipping = SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return super().time() + self._skipping.skipped

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        self._skipping.threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _: asyncio.Future[Any]) -> None:
        self._skipping.threads -= 1


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "skipping: time jumps to the next timer when nothing happens")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("skipping"):
        return {"skipping": SkippingLoop}
    return {"usual": asyncio.new_event_loop}


def put32(words: dict[int, int], address: int, value: int) -> None:
    """A 32-bit value, low word first."""
    value &= 0xFFFFFFFF
    words[address], words[address + 1] = value & 0xFFFF, value >> 16


def put_text(words: dict[int, int], address: int, text: str, size: int) -> None:
    data = text.encode().ljust(size * 2, b"\0")
    for i in range(size):
        words[address + i] = data[2 * i] << 8 | data[2 * i + 1]


class ScriptedInverter:
    """A Modbus TCP server that answers from a table of words, or as `fault` says."""

    def __init__(self, *, unit: int = 1) -> None:
        self.input: dict[int, int] = {}
        self.holding: dict[int, int] = {}
        self.holes: set[int] = set()
        self.unit = unit
        self.fault: Fault | None = None
        self.requests: list[tuple[int, int, int]] = []
        self.connections = 0
        self.open_now = 0
        self.most_open = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            self._server = None
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        self._writers.add(writer)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                await self.converse(reader, writer)
        finally:
            self._writers.discard(writer)
            self.open_now -= 1
            writer.close()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readexactly(6)
            body = await reader.readexactly(int.from_bytes(head[4:6], "big"))
            frame = head + body
            reply = self.fault(frame) if self.fault else self.answer(frame)
            if isinstance(reply, Awaitable):
                reply = await reply
            if reply is None:
                return
            writer.write(reply)
            await writer.drain()

    def answer(self, frame: bytes) -> bytes:
        """The right reply to a whole request frame."""
        unit, function, address, count = struct.unpack(">BBHH", frame[6:12])
        address += 1
        self.requests.append((function, address, count))
        if unit != self.unit:
            return self.wrap(frame, bytes((function | 0x80, 11)))
        if function in (3, 4):
            table = self.input if function == 4 else self.holding
            wanted = range(address, address + count)
            if count > 125 or any(a in self.holes for a in wanted):
                return self.wrap(frame, bytes((function | 0x80, 3 if count > 125 else 2)))
            words = [table.get(a, 0xFFFF) for a in wanted]
            return self.wrap(frame, struct.pack(f">BB{count}H", function, 2 * count, *words))
        if function == 6:
            self.holding[address] = count
            return self.wrap(frame, frame[7:12])
        return self.wrap(frame, bytes((function | 0x80, 1)))

    @staticmethod
    def wrap(frame: bytes, pdu: bytes) -> bytes:
        return frame[:4] + struct.pack(">H", len(pdu) + 1) + frame[6:7] + pdu


def fill_hybrid(inverter: ScriptedInverter) -> ScriptedInverter:
    """An SH10RT at noon: 5 kW of sun, 1.2 kW used, 2 kW into the battery, the rest exported."""
    words = inverter.input
    put_text(words, 4990, "A2290112345", 10)
    words.update({5000: 0x0E03, 5001: 100, 5002: 1, 5003: 123, 5008: 345, 5036: 500})
    put_text(words, 4954, "SAPPHIRE-H_B000.V000.P012", 15)
    put_text(words, 4969, "MDSP_SAPPHIRE-H_V11_V01", 15)
    put32(words, 5004, 45678)
    words.update({5011: 3501, 5012: 72, 5013: 3400, 5014: 73})
    put32(words, 5017, 5000)
    words.update({5019: 2301, 5020: 2310, 5021: 2299})
    put32(words, 5033, -12)
    words[5035] = 998
    words.update({13000: 0x40, 13001: 0x01 | 0x02 | 0x10, 13002: 110})
    put32(words, 13003, 44000)
    put32(words, 13008, 1200)
    put32(words, 13010, 1800)
    words.update({13020: 2300, 13021: 87, 13022: 2000, 13023: 655, 13024: 1000, 13025: 250, 13026: 31})
    put32(words, 13027, 9000)
    words[13030] = 0x55
    put32(words, 13034, 3000)
    words[13036] = 5
    put32(words, 13037, 2500)
    words[13040] = 42
    put32(words, 13041, 9900)
    words[13045] = 61
    put32(words, 13046, 30000)
    put32(words, 5214, -2000)
    hold = inverter.holding
    hold.update({5000: 2026, 5001: 11, 5002: 21, 5003: 12, 5004: 30, 5005: 15, 5006: 0xCF, 5007: 0x55})
    hold.update({13050: 0, 13051: 0xCC, 13052: 0, 13074: 10000, 13087: 0x55, 13058: 1000, 13059: 50})
    return inverter


def fill_string(inverter: ScriptedInverter) -> ScriptedInverter:
    """An SG10RT with a meter, importing 250 W."""
    words = inverter.input
    put_text(words, 4990, "A2011200345", 10)
    words.update({5000: 0x2433, 5001: 100, 5002: 1, 5003: 222, 5008: 412, 5036: 500, 5038: 0})
    put32(words, 5004, 12345)
    put32(words, 5031, 4000)
    put32(words, 5144, 123456)
    put32(words, 5083, 250)
    put32(words, 5091, 0x7FFFFFFF)
    hold = inverter.holding
    hold.update({5000: 2026, 5001: 11, 5002: 21, 5003: 12, 5004: 30, 5005: 15, 5006: 0xCF, 5007: 0x55})
    return inverter


@pytest.fixture
async def hybrid():
    inverter = fill_hybrid(ScriptedInverter())
    await inverter.start()
    yield inverter
    await inverter.stop()


@pytest.fixture
async def string_inverter():
    inverter = fill_string(ScriptedInverter())
    await inverter.start()
    yield inverter
    await inverter.stop()


@pytest.fixture
def scripted() -> type[ScriptedInverter]:
    return ScriptedInverter


@pytest.fixture
def as_hybrid() -> Callable[[ScriptedInverter], ScriptedInverter]:
    return fill_hybrid


class LoopClock:
    """A clock that starts at a given time and follows the event loop."""

    def __init__(self, start: datetime | None = None, zone: tzinfo = UTC) -> None:
        self._start, self._zone = start or datetime(2026, 11, 21, 12, 0, tzinfo=UTC), zone
        self._zero: float | None = None
        self.shift = 0.0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def now(self) -> datetime:
        try:
            time = self.monotonic()
        except RuntimeError:
            return self._start
        if self._zero is None:
            self._zero = time
        return self._start + timedelta(seconds=time - self._zero + self.shift)

    def local(self) -> datetime:
        return self.now().astimezone(self._zone)


@pytest.fixture
def loop_clock() -> type[LoopClock]:
    return LoopClock


@pytest.fixture
def settings_for(tmp_path: Path) -> Callable[..., Settings]:
    """Settings from plain data, through a real config file."""

    def make(
        inverter: dict[str, Any], exports: list[dict[str, Any]] | None = None, **collector: Any
    ) -> Settings:
        base = {"host": "127.0.0.1", "timeout": 10, "scan_interval": 1}
        document = {
            "inverter": base | inverter,
            "exports": exports or [],
            "collector": {"state_folder": str(tmp_path / "state")} | collector,
        }
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(document))
        return load(path)

    return make


@pytest.fixture
async def run(settings_for: Callable[..., Settings]):
    """Build an application from plain data; stopped at the end of the test."""
    made: list[Application] = []

    def make(
        inverter: dict[str, Any], exports: list[dict[str, Any]] | None = None, **rest: Any
    ) -> Application:
        parts = {k: rest.pop(k) for k in ("clock", "new_transport") if k in rest}
        settings = settings_for(inverter, exports, **rest)
        application = Application(settings, catalogue_for(settings, None), **parts)
        made.append(application)
        return application

    yield make
    for application in made:
        await application.stop()


@pytest.fixture
def eventually() -> Callable[..., Awaitable[None]]:
    async def wait(condition: Callable[[], Any], seconds: float = 60.0) -> None:
        pause = 0.01
        if isinstance(asyncio.get_running_loop(), SkippingLoop):
            pause, seconds = 1.0, 3600.0
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - the condition is anything at all
                await asyncio.sleep(pause)

    return wait


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A port that nobody listens on now."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, as (certificate, key)."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "localhost")


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-keyout", str(key), "-out", str(certificate), "-subj", f"/CN={name}"]
    command += ["-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key

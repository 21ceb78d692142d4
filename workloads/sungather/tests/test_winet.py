"""The dongle's web interface, old and new (acceptance points 42, 53's counterpart)."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import WSMsgType, web

from sungather.registers.register import Kind
from sungather.transports.pins import Pins
from sungather.transports.transport import (
    BrokenReply,
    CertificateChanged,
    LoginRefused,
    NoReply,
    Occupied,
    Refusal,
    SessionExpired,
    Unreachable,
)
from sungather.transports.winet import WiNet

pytestmark = pytest.mark.skipping


class Dongle:
    """A scripted WiNet-S: WebSocket for token and device list, HTTP for words."""

    def __init__(self, *, login: tuple[str, str] | None = None) -> None:
        self.input: dict[int, int] = {}
        self.holding: dict[int, int] = {}
        self.login = login
        self.token = "tok-1"
        self.logged_in = False
        self.sessions = 0
        self.queries: list[dict[str, str]] = []
        self.before_reply: list[dict] = []
        self.script: dict[str, dict] = {}
        self.param_reply: dict | str | None = None
        self.whole_reply: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        app = web.Application()
        app.router.add_get("/ws/home/overview", self._ws)
        app.router.add_get("/device/getParam", self._param)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _ws(self, request: web.Request) -> web.WebSocketResponse:
        self.sessions += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            asked = json.loads(message.data)
            for extra in self.before_reply:
                await socket.send_json(extra)
            reply = self.script.get(asked["service"]) or self._reply(asked)
            await socket.send_json(reply)
        return socket

    def _reply(self, asked: dict) -> dict:
        service = asked["service"]
        if service == "connect":
            data = {"service": "connect", "token": "pre" if self.login else self.token}
        elif service == "login":
            if (asked["username"], asked["passwd"]) != self.login:
                return {
                    "result_code": 301,
                    "result_msg": "I18N_LOGIN_FAILED",
                    "result_data": {"service": "login"},
                }
            self.logged_in = True
            data = {"service": "login", "token": self.token}
        elif self.login and not self.logged_in:
            return {
                "result_code": 401,
                "result_msg": "I18N_COMMON_INTER_ABNORMAL",
                "result_data": {"service": service},
            }
        else:
            meter = {"dev_type": 18, "dev_code": 1, "dev_id": 7}
            data = {"service": "devicelist", "list": [meter, {"dev_type": 35, "dev_code": 3587, "dev_id": 1}]}
        return {"result_code": 1, "result_msg": "success", "result_data": data}

    async def _param(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        self.queries.append(query)
        if self.whole_reply is not None:
            return await self.whole_reply(request)
        if self.param_reply is not None:
            return web.Response(
                text=self.param_reply if isinstance(self.param_reply, str) else json.dumps(self.param_reply)
            )
        if query["token"] != self.token:
            return web.json_response({"result_code": 106, "result_msg": "I18N_COMMON_TOKEN"})
        table = self.input if query["param_type"] == "0" else self.holding
        first = int(query["param_addr"])
        words = [table.get(a, 0xFFFF) for a in range(first, first + int(query["param_num"]))]
        text = "".join(f"{w >> 8:02X} {w & 255:02X} " for w in words)
        return web.json_response(
            {"result_code": 1, "result_msg": "success", "result_data": {"param_value": text}}
        )


@pytest.fixture
async def dongle(scripted, as_hybrid):
    made = Dongle()
    as_hybrid(made)
    await made.start()
    yield made
    await made.stop()


def winet(dongle, **rest):
    return WiNet("127.0.0.1", ws_port=dongle.port, http_port=dongle.port, unit=1, timeout=20, **rest)


async def test_words_come_by_the_documented_address_and_the_inverter_is_chosen_among_devices(dongle):
    session = winet(dongle)
    await session.open()
    assert await session.read(Kind.INPUT, 5000, 2) == (0x0E03, 100)
    assert (await session.read(Kind.HOLDING, 5006, 1))[0] == 0xCF
    await session.close()
    first = dongle.queries[0]
    assert (first["param_addr"], first["param_num"], first["param_type"], first["dev_id"]) == (
        "5000",
        "2",
        "0",
        "1",
    )
    assert first["dev_type"] == "35"


async def test_a_whole_collection_through_the_dongle_keeps_one_session(run, dongle):
    application = run({"port": dongle.port, "http_port": dongle.port, "connection": "http"})
    for _ in range(2):
        cycle = await application.collector.collect()
        assert cycle.snapshot.identity.model == "SH10RT"
        assert cycle.snapshot.value("export_to_grid") == 1800
    assert dongle.sessions == 1


async def test_an_expired_token_ends_the_session_and_the_same_collection_gets_a_new_one(run, dongle):
    application = run({"port": dongle.port, "http_port": dongle.port, "connection": "http"})
    await application.collector.collect()
    dongle.token = "tok-2"
    cycle = await application.collector.collect()
    assert cycle.snapshot is not None
    assert dongle.sessions == 2
    assert application.session.read_errors["session-expired"] == 1


async def test_a_token_error_has_its_own_class(dongle):
    session = winet(dongle)
    await session.open()
    dongle.token = "other"
    with pytest.raises(SessionExpired):
        await session.read(Kind.INPUT, 5000, 1)
    await session.close()


async def test_a_dongle_taken_by_another_user_says_so(dongle):
    dongle.before_reply = [
        {"result_code": 100, "result_msg": "timeout", "result_data": {"service": "notice"}}
    ]
    with pytest.raises(Occupied):
        await winet(dongle).open()


async def test_pushed_values_between_question_and_answer_are_skipped(dongle):
    dongle.before_reply = [{"result_code": 1, "result_data": {"service": "real", "list": []}}]
    session = winet(dongle)
    await session.open()
    await session.close()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ("not json", BrokenReply),
        ("[1, 2]", BrokenReply),
        ({"result_code": 1, "result_data": {"param_value": "zz "}}, BrokenReply),
        ({"result_code": 1, "result_data": {"param_value": "0E "}}, BrokenReply),
        ({"result_code": 1}, BrokenReply),
        ({"result_code": "x"}, Refusal),
        ({"result_code": 3, "result_msg": "no"}, Refusal),
    ],
)
async def test_a_bad_answer_is_an_error_of_the_right_class(dongle, reply, error):
    session = winet(dongle)
    await session.open()
    dongle.param_reply = reply
    with pytest.raises(error):
        await session.read(Kind.INPUT, 5000, 1)
    await session.close()


async def test_an_answer_that_comes_in_pieces_is_read_whole(dongle):
    async def in_pieces(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in ('{"result_code": 1, "result_data"', ': {"param_value": "0E 03 "}}'):
            await response.write(piece.encode())
            await asyncio.sleep(0.05)
        return response

    session = winet(dongle)
    dongle.whole_reply = in_pieces
    await session.open()
    assert await session.read(Kind.INPUT, 5000, 1) == (0x0E03,)
    await session.close()


async def test_an_old_client_at_a_new_dongle_is_told_to_log_in(certificate):
    dongle = Dongle(login=("admin", "secret"))
    await dongle.start()
    with pytest.raises(LoginRefused, match="connection: https"):
        await winet(dongle).open()
    await dongle.stop()


def trusting():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def test_the_new_dongle_wants_tls_and_login(certificate, scripted, as_hybrid, caplog):
    caplog.set_level(logging.DEBUG)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    dongle = Dongle(login=("admin", "hush-hush"))
    as_hybrid(dongle)
    await dongle.start(context)
    pins = {}
    session = winet(
        dongle, login=("admin", "hush-hush"), tls=trusting(), pins=Pins({}, remember=pins.__setitem__)
    )
    await session.open()
    assert await session.read(Kind.INPUT, 5000, 1) == (0x0E03,)
    await session.close()
    assert pins

    refused = winet(dongle, login=("admin", "wrong-word"), tls=trusting())
    dongle.logged_in = False
    with pytest.raises(LoginRefused) as error:
        await refused.open()
    changed = winet(dongle, login=("admin", "hush-hush"), tls=trusting(), pins=Pins({session.name: "0" * 64}))
    with pytest.raises(CertificateChanged):
        await changed.open()
    assert "wrong-word" not in str(error.value) + caplog.text
    assert "hush-hush" not in caplog.text
    await dongle.stop()


async def test_a_dongle_that_is_not_there_is_unreachable():
    with pytest.raises(Unreachable):
        await WiNet("127.0.0.1", ws_port=1, http_port=1, unit=1, timeout=20).open()


async def test_a_silent_dongle_ends_in_time():
    server = await asyncio.start_server(lambda r, w: asyncio.sleep(3600), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises((NoReply, Unreachable)):
        async with asyncio.timeout(120):
            await WiNet("127.0.0.1", ws_port=port, http_port=port, unit=1, timeout=20).open()
    server.close()

"""The dongle's WebSocket and pages (acceptance points 42 and 53), seen through a WebSocket library and plain HTTP."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

OLD, NEW = ("--winet", "0", "--winet-http", "0"), ("--winet2", "0")


class Page:
    """A browser at the dongle's page."""

    def __init__(self, http: aiohttp.ClientSession, ports: dict[str, int]) -> None:
        self._http = http
        secure = "winet2" in ports
        self.web = (
            f"https://127.0.0.1:{ports['winet2']}" if secure else f"http://127.0.0.1:{ports['winet-http']}"
        )
        socket = ports["winet2"] if secure else ports["winet"]
        self._socket_url = f"{'wss' if secure else 'ws'}://127.0.0.1:{socket}/ws/home/overview"
        self.token = ""
        self.socket = None

    async def call(self, service: str, **fields) -> dict:
        if self.socket is None:
            self.socket = await self._http.ws_connect(self._socket_url, ssl=False)
        await self.socket.send_json({"lang": "en_us", "token": self.token, "service": service, **fields})
        answer = json.loads((await self.socket.receive(timeout=60)).data)
        data = answer.get("result_data", {})
        assert data.get("service") == service
        self.token = data.get("token", self.token)
        return answer

    async def words(self, address: int, count: int, **changes: str) -> dict:
        query = {"dev_id": "1", "dev_type": "35", "dev_code": "3587", "type": "3", "param_addr": str(address), "param_num": str(count), "param_type": "0", "token": self.token, "lang": "en_us", "time123456": "1"}  # fmt: skip
        async with self._http.get(
            f"{self.web}/device/getParam", params=query | changes, ssl=False
        ) as response:
            return await response.json()


@pytest.fixture
async def page(plant):
    async with aiohttp.ClientSession() as http:

        async def visit(options) -> Page:
            return Page(http, await plant.open(*options))

        yield visit


async def test_an_old_dongle_gives_a_token_a_list_of_devices_and_words(page):
    here = await page(OLD)
    assert (await here.call("connect"))["result_msg"] == "success"
    inverter, battery = (await here.call("devicelist", type="0", is_check_token="0"))["result_data"]["list"]
    assert (inverter["dev_type"], inverter["dev_code"], inverter["dev_model"]) == (35, 0x0E03, "SH10RT")
    assert (battery["dev_type"], battery["phys_addr"]) == (44, "200")
    answer = await here.words(5000, 1)
    assert answer == {"result_code": 1, "result_msg": "success", "result_data": {"param_value": "0E 03 "}}
    serial = await here.words(4990, 10)
    assert bytes.fromhex(serial["result_data"]["param_value"]).rstrip(b"\0") == b"A2290300001"
    assert (await here.words(5006, 1, param_type="1"))["result_code"] in (1, 301)


async def test_a_page_shows_the_values_that_the_registers_hold(plant, page):
    here = await page(OLD)
    await here.call("connect")
    shown = {
        row["data_name"]: row["data_value"]
        for row in (await here.call("real", dev_id="1"))["result_data"]["list"]
    }
    words = plant.inverter.words("input")
    assert float(shown["I18N_COMMON_TOTAL_DCPOWER"]) == pytest.approx(
        (words[5017] + (words[5018] << 16)) / 1000, abs=0.006
    )
    charge = (await here.call("real_battery", dev_id="1"))["result_data"]["list"]
    assert {"data_name": "I18N_COMMON_BATTERY_SOC", "data_value": f"{words[13023] / 10:.1f}", "data_unit": "%"} in charge  # fmt: skip
    assert (await here.call("direct", dev_id="1"))["result_code"] == 1


@pytest.mark.parametrize(
    "change",
    [{"param_addr": "x"}, {"param_type": "7"}, {"type": "2"}, {"param_num": "126"}, {"param_addr": "29999"}, {"param_addr": "-5"}, {"dev_id": "9"}],
)  # fmt: skip
async def test_a_read_that_cannot_be_answered_fails_and_says_so(page, change):
    here = await page(OLD)
    await here.call("connect")
    assert (await here.words(5000, 1, **change))["result_code"] == 301


async def test_a_token_that_expired_is_told_apart_from_no_login(plant, page):
    here = await page(OLD)
    await here.call("connect")
    plant.faults.add("token-expired", times=1, port="winet-http")
    assert (await here.words(5000, 1))["result_code"] == 106
    await here.call("connect")
    assert (await here.words(5000, 1))["result_code"] == 1


async def test_a_new_dongle_wants_a_login(page):
    here = await page(NEW)
    connected = await here.call("connect")
    assert "forceModifyPasswd" in connected["result_data"]
    refused = await here.call("devicelist", type="0", is_check_token="0")
    assert (refused["result_code"], refused["result_msg"]) == (401, "I18N_COMMON_INTER_ABNORMAL")
    assert (await here.words(5000, 1))["result_code"] == 401
    assert (await here.call("login", username="admin", passwd="wrong"))["result_code"] != 1
    assert (await here.call("login", username="admin", passwd="pw8888"))["result_code"] == 1
    assert (await here.words(5000, 1))["result_code"] == 1
    await here.call("logout")
    assert (await here.words(5000, 1))["result_code"] == 106


async def test_the_second_user_of_a_new_dongle_puts_the_first_out_with_a_notice(plant, page):
    here = await page(NEW)
    await here.call("connect")
    await here.call("login", username="admin", passwd="pw8888")
    async with aiohttp.ClientSession() as http:
        other = Page(http, {"winet2": int(here.web.rsplit(":", 1)[1])})
        await other.call("connect")
        assert (await other.call("login", username="admin", passwd="pw8888"))["result_code"] == 1
        notice = json.loads((await here.socket.receive(timeout=60)).data)
        assert (notice["result_code"], notice["result_data"]["service"]) == (100, "notice")
        assert (await here.socket.receive(timeout=60)).type is aiohttp.WSMsgType.CLOSE
        assert (await here.words(5000, 1))["result_code"] == 106
        assert (await other.words(5000, 1))["result_code"] == 1


@pytest.mark.parametrize("text", ["not json", "[1]", '{"service": 7}', "{}"])
async def test_a_message_that_makes_no_sense_is_refused_and_the_conversation_goes_on(page, text):
    here = await page(OLD)
    await here.call("connect")
    await here.socket.send_str(text)
    assert json.loads((await here.socket.receive(timeout=60)).data)["result_code"] == 401
    assert (await here.call("ping"))["result_code"] == 1


async def test_other_pages_and_wrong_requests_do_not_harm(page, raw):
    here = await page(OLD)
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{here.web}/i18n/en_US.properties") as response:
            assert "I18N_COMMON_TOTAL_DCPOWER=DC power" in await response.text()
        async with http.get(f"{here.web}/about/list") as response:
            assert (await response.json())["result_code"] == 1
        async with http.get(f"{here.web}/nothing") as response:
            assert response.status == 404
    client = await raw(int(here.web.rsplit(":", 1)[1]))
    client.writer.write(b"x" * 70000 + b"\r\n\r\n")
    assert await client.ended()
    assert (await here.call("connect"))["result_code"] == 1


@pytest.mark.parametrize(
    "request_",
    [
        b"GET //[ HTTP/1.1",
        "POST / HTTP/1.1\r\nContent-Length: ²".encode("latin-1"),
        b"GET /ws/home/overview HTTP/1.1\r\nUpgrade: websocket",
        b"",
    ],
)
async def test_a_request_that_makes_no_sense_is_no_failure_of_the_port(page, raw, request_):
    failures = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: failures.append(what))
    here = await page(OLD)
    client = await raw(int(here.web.rsplit(":", 1)[1]))
    client.writer.write(request_ + b"\r\n\r\n")
    client.writer.write_eof()
    async with asyncio.timeout(60):
        await client.reader.read()
    assert failures == []
    assert (await here.call("connect"))["result_code"] == 1


async def test_upper_case_headers_and_bodies_are_understood(page, raw):
    here = await page(OLD)
    client = await raw(int(here.web.rsplit(":", 1)[1]))
    body = b"sta_scan=1"
    client.writer.write(
        b"POST /about/list HTTP/1.1\r\nHOST: x\r\nCONTENT-LENGTH: %d\r\n\r\n" % len(body) + body
    )
    client.writer.write(b"GET /about/list HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(60):
        for _ in range(2):
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK")
            length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
            await client.reader.readexactly(length)

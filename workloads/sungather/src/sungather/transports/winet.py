"""The WiNet-S dongle's own web interface, for owners whose dongle offers nothing else.

Facts (spec/sungather.md, 4.1). Old: WebSocket ws://host:8082/ws/home/overview, services `connect` (gives a token) and
`devicelist`; words come from GET http://host/device/getParam. WiNet-S2 and firmware of 2025: wss and https on 443 with
a certificate of its own, and `login` between the two. result_code 1 is success, 106 an expired token, 401 no login;
`notice` 100 ends the session. Words are hex bytes, each followed by a space.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
import time
from collections.abc import Sequence
from typing import Any

import aiohttp

from sungather.registers.register import Kind
from sungather.transports.pins import Pins
from sungather.transports.transport import (
    Asked,
    BrokenReply,
    LoginRefused,
    NoReply,
    Occupied,
    Outcome,
    Refusal,
    SessionExpired,
    TransportError,
    Unreachable,
    one_by_one,
)

_ABNORMAL = "I18N_COMMON_INTER_ABNORMAL"
_MOST_BODY = 1 << 20
_INVERTERS = ("35", "21")
"""dev_type of hybrid and string inverters; the dongle also lists meters and batteries."""


class WiNet:
    """A dongle's session: the WebSocket for token and device, HTTP for words."""

    max_words = 125

    def __init__(
        self,
        host: str,
        *,
        ws_port: int,
        http_port: int,
        unit: int,
        timeout: float,
        login: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        pins: Pins | None = None,
    ) -> None:
        scheme, ws = ("https", "wss") if tls else ("http", "ws")
        self.name = f"{scheme}://{host}:{http_port}"
        self._ws_url = f"{ws}://{host}:{ws_port}/ws/home/overview"
        self._param_url = f"{self.name}/device/getParam"
        self._unit, self._timeout, self._login = unit, timeout, login
        self._tls, self._pins = tls, pins
        self._http: aiohttp.ClientSession | None = None
        self._ws: aiohttp.ClientWebSocketResponse | None = None
        self._token = ""
        self._device: dict[str, Any] = {}

    async def open(self) -> None:
        await self.close()
        connector = aiohttp.TCPConnector(ssl=self._tls if self._tls else True, limit=2, force_close=False)
        self._http = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        try:
            async with asyncio.timeout(self._timeout):
                await self._start()
        except TimeoutError:
            await self.close()
            raise NoReply(f"{self._ws_url}: no session within {self._timeout:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            await self.close()
            raise Unreachable(f"{self._ws_url}: {error}") from error
        except BaseException:
            await self.close()
            raise

    async def _start(self) -> None:
        assert self._http is not None
        self._ws = await self._http.ws_connect(self._ws_url, max_msg_size=1 << 20)
        if self._tls and self._pins:
            certificate = self._ws.get_extra_info("ssl_object").getpeercert(binary_form=True)
            self._pins.check(self.name, hashlib.sha256(certificate).hexdigest())
        answer = await self._call("connect")
        self._token = str(answer.get("token") or "")
        if not self._token:
            raise BrokenReply("the dongle gave no token")
        if self._login:
            user, password = self._login
            answer = await self._call("login", username=user, passwd=password)
            self._token = str(answer.get("token") or self._token)
        answer = await self._call("devicelist", type="0", is_check_token="0")
        listed = answer.get("list")
        devices = [d for d in listed if isinstance(d, dict)] if isinstance(listed, list) else []
        inverters = [d for t in _INVERTERS for d in devices if str(d.get("dev_type")) == t]
        found = next((d for d in inverters if str(d.get("dev_id")) == str(self._unit)), None)
        found = found or next(iter(inverters), None)
        if found is None:
            raise BrokenReply("the dongle lists no inverter")
        self._device = found

    async def _call(self, service: str, **fields: str) -> dict[str, Any]:
        assert self._ws is not None
        await self._ws.send_json({"lang": "en_us", "token": self._token, "service": service, **fields})
        for _ in range(20):  # the dongle may push notices and values between question and answer
            message = await self._ws.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise Occupied(f"the dongle ended the session during {service}")
            answer = _answer(message.data)
            data = answer.get("result_data")
            data = data if isinstance(data, dict) else {}
            replied = data.get("service")
            if replied == "notice":
                if _code(answer) == 100:
                    raise Occupied("the dongle ended the session (notice 100)")
                continue
            if replied not in (service, None):
                continue
            self._judge(answer, service)
            return data
        raise BrokenReply(f"the dongle never answered {service}")

    def _judge(self, answer: dict[str, Any], what: str) -> None:
        code, text = _code(answer), str(answer.get("result_msg", ""))[:80]
        if code == 1 and text != _ABNORMAL:
            return
        if code == 106:
            raise SessionExpired("the dongle's token expired")
        if what == "login":
            raise LoginRefused(f"the dongle refused the login (code {code}, {text})")
        if code == 401 or text == _ABNORMAL:
            if self._login is None:
                raise LoginRefused(
                    "the dongle wants a login: use connection: https with username: and password:"
                )
            raise Occupied(f"the dongle closed the session (code {code}, {text})")
        raise BrokenReply(f"{what}: the dongle answered code {code}, {text}")

    async def close(self) -> None:
        ws, http, self._ws, self._http = self._ws, self._http, None, None
        self._token, self._device = "", {}
        if ws is not None:
            try:
                async with asyncio.timeout(0.5):
                    await ws.close()
            except (TimeoutError, aiohttp.ClientError, OSError):
                pass
        if http is not None:
            await http.close()

    async def read_all(self, asked: Sequence[Asked]) -> list[Outcome]:
        return await one_by_one(self, asked)

    async def read(self, kind: Kind, address: int, count: int) -> Sequence[int]:
        if self._http is None:
            raise Unreachable("no open session")
        query = {
            "dev_id": str(self._device.get("dev_id", self._unit)),
            "dev_type": str(self._device.get("dev_type", "")),
            "dev_code": str(self._device.get("dev_code", "")),
            "type": "3",
            "param_addr": str(address),
            "param_num": str(count),
            "param_type": "0" if kind is Kind.INPUT else "1",
            "token": self._token,
            "lang": "en_us",
            "time123456": str(int(time.time())),
        }
        try:
            async with self._http.get(self._param_url, params=query) as response:
                text = await _whole(response)
                status = response.status
        except TimeoutError:
            raise NoReply(f"getParam: no reply within {self._timeout:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise BrokenReply(f"getParam: {type(error).__name__}") from error  # str(error) may hold the token
        if status != 200:
            raise BrokenReply(f"getParam: HTTP {status}")
        return self._words(_answer(text), count)

    def _words(self, answer: dict[str, Any], count: int) -> Sequence[int]:
        if _code(answer) not in (1, 106, 401):
            # the dongle does not pass on Modbus exceptions: any other code means that it cannot read this range
            raise Refusal(2)
        self._judge(answer, "getParam")
        data = answer.get("result_data")
        text = data.get("param_value") if isinstance(data, dict) else None
        try:
            octets = bytes.fromhex(str(text))
        except ValueError:
            raise BrokenReply("getParam: values are not hex bytes") from None
        if len(octets) != 2 * count:
            raise BrokenReply(f"getParam: {len(octets)} bytes, asked for {2 * count}")
        return tuple(int.from_bytes(octets[i : i + 2], "big") for i in range(0, len(octets), 2))

    async def write(self, address: int, words: Sequence[int]) -> None:
        raise TransportError(
            "the dongle's web interface does not write registers; use modbus, tls or sungrow"
        )


async def _whole(response: aiohttp.ClientResponse) -> str:
    """The body, which may come in several pieces."""
    body = b""
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > _MOST_BODY:
            raise BrokenReply(f"getParam: more than {_MOST_BODY} bytes")
    return body.decode("utf-8", "replace")


def _answer(text: str) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        raise BrokenReply("the dongle's answer is not JSON") from None
    if not isinstance(answer, dict):
        raise BrokenReply("the dongle's answer is not a JSON object")
    return answer


def _code(answer: dict[str, Any]) -> int:
    try:
        return int(answer.get("result_code", 0))
    except (TypeError, ValueError):
        return 0

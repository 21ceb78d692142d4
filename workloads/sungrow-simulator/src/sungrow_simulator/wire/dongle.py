"""Dongle: what a WiNet-S answers, without the ports it answers on.

Generation 1 gives everybody a working token. Generation 2 (WiNet-S2, and firmware of 2025) wants a login and has one
user at a time: the next one takes the session over, and the first is told so by a notice 100.
"""

from __future__ import annotations

import json
import random
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Protocol

from sungrow_simulator.faults import Fault
from sungrow_simulator.wire.listener import RegisterState
from sungrow_simulator.wire.spoiling import spoiled_reply

SUCCESS, USER_LIMIT, TOKEN_EXPIRED, READ_FAILED, NO_LOGIN = 1, 100, 106, 301, 401
HYBRID, STRING, BATTERY = 35, 21, 44
ABNORMAL = "I18N_COMMON_INTER_ABNORMAL"
OPEN_TO_ALL = ("connect", "login", "ping")


class User(Protocol):
    """The conversation a token belongs to."""

    def send(self, text: str) -> None: ...

    def end(self) -> None: ...


@dataclass(frozen=True)
class Device:
    """The inverter behind the dongle, as its list shows it."""

    model: str
    type_code: int
    serial: str
    hybrid: bool
    unit: int = 1


class Dongle:
    """Sessions, tokens and services over one register state."""

    def __init__(
        self,
        state: RegisterState,
        device: Device,
        *,
        login: tuple[str, str] | None = None,
        users: int = 4,
        seed: int = 1,
    ) -> None:
        self._state, self._device, self._login = state, device, login
        self._users = users
        self._random = random.Random(seed)
        self._tokens: dict[str, User] = {}
        self._waiting: set[str] = set()
        self._values: dict[str, list[list[Any]]] = json.loads(
            (files("sungrow_simulator") / "wire" / "named_values.json").read_text()
        )
        self._services: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "state": self._state_of_dongle,
            "devicelist": self._devices,
            "real": self._real,
            "real_battery": self._battery,
            "direct": self._direct,
            "fault": lambda asked: {"list": [], "count": 0},
            "ping": lambda asked: {},
        }

    def expire(self) -> None:
        """Forget every token: whoever shows one is told that it expired."""
        self._tokens.clear()
        self._waiting.clear()

    def take_over(self) -> None:
        """Another user comes: those who are here are told and put out."""
        for user in set(self._tokens.values()):
            self._put_out(user)

    def leave(self, user: User) -> None:
        """A conversation ended without a word; an old dongle's token stays good, as upstream's client needs."""
        if self._login is not None:
            self._forget(user)

    def message(self, user: User, text: str, fault: Fault | None = None) -> str:
        """The answer to a WebSocket text."""
        try:
            asked = json.loads(text)
        except ValueError:
            asked = None
        if not isinstance(asked, dict) or not isinstance(asked.get("service"), str):
            return _answer(NO_LOGIN, ABNORMAL, {"service": ""})
        service, token = asked["service"], str(asked.get("token", ""))
        if service not in OPEN_TO_ALL and (refusal := self._refusal(token)) is not None:
            return _answer(refusal[0], refusal[1], {"service": service})
        if service == "connect":
            return _answer(SUCCESS, "success", self._connect(user))
        if service == "login":
            return self._log_in(user, asked, fault is Fault.LOGIN_REFUSED)
        if service == "logout":
            self._forget(user)
            return _answer(SUCCESS, "success", {"service": service})
        if service not in self._services:
            return _answer(READ_FAILED, "I18N_COMMON_READ_FAILED", {"service": service})
        return _answer(SUCCESS, "success", {"service": service} | self._services[service](asked))

    def parameters(self, query: dict[str, str], fault: Fault | None = None) -> str:
        """The answer to getParam: words of the inverter as hex bytes, each followed by a space."""
        refusal = self._refusal(query.get("token", ""))
        if refusal is not None:
            return _answer(*refusal)
        try:
            function = {"0": 4, "1": 3}[query["param_type"]]
            address, count, unit = (int(query[k]) for k in ("param_addr", "param_num", "dev_id"))
            if query["type"] != "3":
                raise ValueError(query["type"])
            request = struct.pack(">BHH", function, address - 1, count)
        except (KeyError, ValueError, struct.error):
            return _answer(READ_FAILED, "I18N_COMMON_READ_FAILED")
        reply = spoiled_reply(fault, request, lambda: self._state.answer(unit, request))
        if reply is None or reply[0] != function:
            return _answer(READ_FAILED, "I18N_COMMON_READ_FAILED")
        return _answer(SUCCESS, "success", {"param_value": "".join(f"{byte:02X} " for byte in reply[2:])})

    def about(self) -> str:
        """The dongle's own plate."""
        version = "WINET-SV200.001.00.P026" if self._login else "WINET-SV200.001.00.P012"
        rows = [["I18N_COMMON_DEVICE_SN", f"B{self._device.serial[1:]}", ""], ["I18N_COMMON_APPLI_SOFT_VERSION", version, ""]]  # fmt: skip
        return _answer(SUCCESS, "success", _named(rows))

    def overview(self) -> str:
        """The page's first screen: the dongle's own state."""
        data = {
            "module_info": {"module_sn": f"B{self._device.serial[1:]}", "module_ver": "M_WiNet-S_V01_V01_A"},
            "net_info": {"wifi_conn_sts": 0, "eth_conn_sts": 1, "eth2_conn_sts": 0},
        }
        return _answer(SUCCESS, "success", data)

    def _refusal(self, token: str) -> tuple[int, str] | None:
        if token in self._tokens:
            return None
        if self._login is not None and (token in self._waiting or not token):
            return NO_LOGIN, ABNORMAL
        return TOKEN_EXPIRED, "I18N_COMMON_TOKEN_EXPIRED"

    def _new_token(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def _connect(self, user: User) -> dict[str, Any]:
        token = self._new_token()
        data: dict[str, Any] = {"service": "connect", "token": token, "uid": 1, "tips_disable": 1}
        if self._login is None:
            self._admit(token, user)
        else:
            self._waiting.add(token)
            data |= {"ip": "127.0.0.1", "forceModifyPasswd": 0}
        return data

    def _log_in(self, user: User, asked: dict[str, Any], refuse: bool) -> str:
        shown = (asked.get("username"), asked.get("passwd"))
        if refuse or (self._login is not None and shown != self._login):
            return _answer(READ_FAILED, "I18N_COMMON_LOGIN_FAILED", {"service": "login"})
        token = self._new_token()
        self._waiting.discard(str(asked.get("token", "")))
        self._admit(token, user)
        return _answer(SUCCESS, "success", {"service": "login", "token": token, "uid": 2, "role": 0})

    def _admit(self, token: str, user: User) -> None:
        others = [u for u in dict.fromkeys(self._tokens.values()) if u is not user]
        for other in others[: max(0, len(others) + 1 - self._users)]:
            self._put_out(other)
        self._tokens[token] = user

    def _put_out(self, user: User) -> None:
        self._forget(user)
        user.send(_answer(USER_LIMIT, "normal user limit", {"service": "notice"}))
        user.end()

    def _forget(self, user: User) -> None:
        self._tokens = {token: u for token, u in self._tokens.items() if u is not user}

    def _state_of_dongle(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"total_fault": "0", "total_alarm": "0", "wifi_conn_sts": "0", "eth_conn_sts": "1", "cloud_conn_sts": "0"}  # fmt: skip

    def _devices(self, asked: dict[str, Any]) -> dict[str, Any]:
        inverter = self._device
        listed = [(inverter.model, inverter.type_code, HYBRID if inverter.hybrid else STRING, inverter.serial, inverter.unit)]  # fmt: skip
        if inverter.hybrid:
            listed.append(("SBR096", 8424, BATTERY, f"S{inverter.serial[1:]}", 200))
        rows = [
            {
                "id": at, "dev_id": at, "dev_code": code, "dev_type": kind, "dev_procotol": 2, "inv_type": 0,
                "dev_sn": serial, "dev_name": f"{model}(COM1-{unit:03})", "dev_model": model, "port_name": "COM1",
                "phys_addr": str(unit), "logc_addr": str(at), "link_status": 1, "init_status": 1,
                "dev_special": "0", "list": [],
            }
            for at, (model, code, kind, serial, unit) in enumerate(listed, 1)
        ]  # fmt: skip
        return {"list": rows, "count": len(rows)}

    def _real(self, asked: dict[str, Any]) -> dict[str, Any]:
        table = (
            "battery" if str(asked.get("dev_id")) == "2" else "hybrid" if self._device.hybrid else "string"
        )
        return _named([[name, self._shown(*where), unit] for name, unit, *where in self._values[table]])

    def _battery(self, asked: dict[str, Any]) -> dict[str, Any]:
        rows = self._values["battery"] if self._device.hybrid else []
        return _named([[name, self._shown(*where), unit] for name, unit, *where in rows])

    def _direct(self, asked: dict[str, Any]) -> dict[str, Any]:
        rows = [
            {
                "name": f"MPPT{at}",
                "voltage": self._shown(address, "U16", 0.1, 1), "voltage_unit": "V",
                "current": self._shown(address + 1, "U16", 0.1, 1), "current_unit": "A",
            }
            for at, address in enumerate(self._values["mppt"][0], 1)
        ]  # fmt: skip
        rows = [row for row in rows if row["voltage"] != "--"]
        return {"list": rows, "count": len(rows)}

    def _shown(self, address: int, kind: str, scale: float, decimals: int) -> str:
        """A register's value as the dongle's page shows it; -- when the inverter has none."""
        count = 2 if kind.endswith("32") else 1
        reply = self._state.answer(self._device.unit, struct.pack(">BHH", 4, address - 1, count))
        if reply is None or reply[0] != 4:
            return "--"
        words = struct.unpack(f">{count}H", reply[2:])
        number = sum(word << 16 * at for at, word in enumerate(words))
        half = 1 << (16 * count - 1)
        if number == (half - 1 if kind[0] == "S" else 2 * half - 1):
            return "--"
        return f"{(number - 2 * half if kind[0] == 'S' and number >= half else number) * scale:.{decimals}f}"


def _answer(code: int, text: str, data: dict[str, Any] | None = None) -> str:
    answer: dict[str, Any] = {"result_code": code, "result_msg": text}
    return json.dumps(answer if data is None else answer | {"result_data": data})


def _named(rows: list[list[str]]) -> dict[str, Any]:
    listed = [{"data_name": name, "data_value": value, "data_unit": unit} for name, value, unit in rows]
    return {"list": listed, "count": len(listed)}

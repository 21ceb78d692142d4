"""The InfluxDB export: line protocol over HTTP, for versions 1, 2 and 3, without a client library.

Measurement, tag and field names are upstream's; each line also has the time at which the inverter was read, so that a
line sent twice is stored once. A batch that is refused for its content is sent again line by line, so that only the
offending line is lost.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from sungather.exports.destination import Blocked, Delivery, Item, Later
from sungather.exports.upstream_shape import clean_model
from sungather.exports.web_service import Reply, WebService
from sungather.readings.snapshot import Snapshot
from sungather.registers.decoding import Value

log = logging.getLogger("sungather.influxdb")


def escape(text: str, special: str) -> str:
    """Line protocol's escape: a backslash before each special character; line breaks become blanks."""
    for character in special:
        text = text.replace(character, "\\" + character)
    return text.replace("\n", " ").replace("\r", " ")


def field_value(value: Value) -> str:
    """Numbers are floats and texts are strings, as upstream writes them."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'
    return repr(float(value))


def line(point: str, inverter: str, register: str, value: Value, nanoseconds: int) -> str:
    tag = escape(inverter or "unknown", ",= ")
    return (
        f"{escape(point, ', ')},inverter={tag} {escape(register, ',= ')}={field_value(value)} {nanoseconds}"
    )


class InfluxDb:
    """One database."""

    batch = 200

    def __init__(self, options: Mapping[str, Any], timeout: float) -> None:
        self._options = options
        self._url = str(options["url"]).rstrip("/")
        self._version: str | None = None if options["version"] == "auto" else options["version"]
        self._service = WebService(self._url, timeout)
        self.rejected_points: dict[str, int] = {}

    def prepare(self, snapshot: Snapshot) -> str | None:
        nanoseconds = int(snapshot.taken.timestamp() * 1_000_000) * 1000
        model = clean_model(snapshot.identity)
        lines = []
        for measurement in self._options["measurements"]:
            value = snapshot.value(measurement["register"])
            if value is not None:
                lines.append(line(measurement["point"], model, measurement["register"], value, nanoseconds))
        return "\n".join(lines) or None

    async def deliver(self, items: Sequence[Item]) -> Delivery:
        reply = await self._write("\n".join(item.payload for item in items))
        if reply.status < 300:
            return Delivery(sent=list(items))
        if _for_its_content(reply):
            return await self._one_by_one(items, reply)
        raise self._failure(reply)

    async def _one_by_one(self, items: Sequence[Item], reply: Reply) -> Delivery:
        """The batch was refused for its content: find the item, then the line, that is at fault."""
        delivery = Delivery()
        if len(items) > 1:
            middle = len(items) // 2
            for half in (items[:middle], items[middle:]):
                found = await self.deliver(half)
                delivery.sent += found.sent
                delivery.rejected += found.rejected
            return delivery
        item = items[0]
        lines = item.payload.split("\n")
        refused = []
        for single in lines if len(lines) > 1 else ():
            reply = await self._write(single)
            if _for_its_content(reply):
                refused.append(single)
                self._refuse(single, reply)
            elif reply.status >= 300:
                raise self._failure(reply)
        if len(lines) == 1:
            refused = lines
            self._refuse(lines[0], reply)
        if len(refused) == len(lines):
            delivery.rejected.append((item, str(reply)))
        else:
            delivery.sent.append(item)
        return delivery

    def _refuse(self, single: str, reply: Reply) -> None:
        name = single.split(" ")[1].split("=")[0] if " " in single else single[:40]
        self.rejected_points[name] = self.rejected_points.get(name, 0) + 1
        if self.rejected_points[name] == 1:
            log.warning("influxdb: refuses %s: %s; this point is dropped, the others go on", name, reply)

    def _failure(self, reply: Reply) -> Later | Blocked:
        """What a refusal means that is not the content's fault."""
        status, bucket = reply.status, self._options["bucket"]
        if status == 401:
            return Blocked(
                f"the database does not accept the credentials ({reply}); check token or username and password"
            )
        if status == 403:
            return Blocked(f"these credentials may not write to {bucket} ({reply})")
        if status == 404 or _missing_database(reply):
            return Blocked(
                f"bucket or database {bucket} was not found ({reply}); create it or correct bucket:"
            )
        if status in (429, 503):
            return Later(f"the database is busy ({reply})", _seconds(reply.headers.get("Retry-After")))
        if status >= 500:
            return Later(f"the database failed ({reply})", _seconds(reply.headers.get("Retry-After")))
        return Blocked(f"the database refuses the request ({reply})")

    async def _write(self, body: str) -> Reply:
        version = await self._which()
        address, headers = self._address(version), self._headers(version)
        return await self._service.ask("POST", address, body.encode(), headers)

    async def _which(self) -> str:
        """The write API: as configured, else what /ping says of the server's version."""
        if self._version is None:
            reply = await self._service.ask("GET", f"{self._url}/ping")
            told = reply.headers.get("X-Influxdb-Version", "")
            self._version = "1" if told.lstrip("v").startswith("1.") else "3" if told.startswith("3") else "2"
            log.info("influxdb: version %s, write API %s", told or "unknown", self._version)
        return self._version

    def _address(self, version: str) -> str:
        bucket, organisation = self._options["bucket"], self._options["org"] or ""
        if version == "1":
            return f"{self._url}/write?" + urlencode({"db": bucket, "precision": "ns"})
        if version == "3":
            return f"{self._url}/api/v3/write_lp?" + urlencode({"db": bucket, "precision": "nanosecond"})
        return f"{self._url}/api/v2/write?" + urlencode(
            {"org": organisation, "bucket": bucket, "precision": "ns"}
        )

    def _headers(self, version: str) -> dict[str, str]:
        token, user, password = self._options["token"], self._options["username"], self._options["password"]
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if not token and user:
            token = f"{user}:{password or ''}"
        if not token:
            return headers
        if version == "1":
            if ":" in token:
                headers["Authorization"] = "Basic " + base64.b64encode(token.encode()).decode()
        else:
            headers["Authorization"] = f"{'Bearer' if version == '3' else 'Token'} {token}"
        return headers

    async def idle(self) -> None:
        return None

    async def close(self) -> None:
        await self._service.close()


def _for_its_content(reply: Reply) -> bool:
    return reply.status in (400, 413, 422) and not _missing_database(reply)


def _missing_database(reply: Reply) -> bool:
    return reply.status in (400, 404) and (
        "database not found" in reply.text or ("bucket" in reply.text and "not found" in reply.text)
    )


def _seconds(header: str | None) -> float | None:
    try:
        return min(3600.0, max(0.0, float(header))) if header else None
    except ValueError:
        return None

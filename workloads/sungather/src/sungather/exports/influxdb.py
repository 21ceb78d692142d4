"""The InfluxDB export: line protocol over HTTP, for versions 1, 2 and 3, without a client library.

Measurement, tag and field names are upstream's; each line also has the time at which the inverter was read, so that a
line sent twice is stored once. A batch that is refused for its content is sent again line by line, so that only the
offending line is lost.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import aiohttp

from sungather.errors import os_reason
from sungather.exports.destination import Blocked, Delivery, Item, Later
from sungather.exports.upstream_shape import clean_model
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
        self._options, self._timeout = options, timeout
        self._url = str(options["url"]).rstrip("/")
        self._version: str | None = None if options["version"] == "auto" else options["version"]
        self._http: aiohttp.ClientSession | None = None
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
        status, text, after = await self._write("\n".join(item.payload for item in items))
        if status < 300:
            return Delivery(sent=list(items))
        if status in (400, 413, 422) and not _missing_database(status, text):
            return await self._one_by_one(items, status, text)
        self._raise(status, text, after)
        raise AssertionError("unreachable")

    async def _one_by_one(self, items: Sequence[Item], status: int, text: str) -> Delivery:
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
            status, text, after = await self._write(single)
            if status in (400, 413, 422) and not _missing_database(status, text):
                refused.append(single)
                self._refuse(single, text)
            elif status >= 300:
                self._raise(status, text, after)
        if len(lines) == 1:
            refused = lines
            self._refuse(lines[0], text)
        if len(refused) == len(lines):
            delivery.rejected.append((item, f"HTTP {status}: {_short(text)}"))
        else:
            delivery.sent.append(item)
        return delivery

    def _refuse(self, single: str, text: str) -> None:
        name = single.split(" ")[1].split("=")[0] if " " in single else single[:40]
        self.rejected_points[name] = self.rejected_points.get(name, 0) + 1
        if self.rejected_points[name] == 1:
            log.warning(
                "influxdb: the database refuses %s: %s; this point is dropped, the others go on",
                name,
                _short(text),
            )

    def _raise(self, status: int, text: str, after: float | None) -> None:
        said = f"HTTP {status}: {_short(text)}"
        if status == 401:
            raise Blocked(
                f"the database does not accept the credentials ({said}); check token or username and password"
            )
        if status == 403:
            raise Blocked(f"these credentials may not write to {self._options['bucket']} ({said})")
        if status == 404 or _missing_database(status, text):
            raise Blocked(
                f"bucket or database {self._options['bucket']} was not found ({said}); create it or correct bucket:"
            )
        if status in (429, 503):
            raise Later(f"the database is busy ({said})", after)
        if status >= 500:
            raise Later(f"the database failed ({said})", after)
        raise Blocked(f"the database refuses the request ({said})")

    async def _write(self, body: str) -> tuple[int, str, float | None]:
        version = await self._which()
        return await self._request("POST", self._address(version), body.encode(), self._headers(version))

    async def _which(self) -> str:
        """The write API: as configured, else what /ping says of the server's version."""
        if self._version is None:
            try:
                async with self._session().get(f"{self._url}/ping") as response:
                    told = response.headers.get("X-Influxdb-Version", "")
            except TimeoutError:
                raise Later(f"{self._url} did not answer within {self._timeout:g} s") from None
            except (aiohttp.ClientError, OSError) as error:
                raise Later(f"{self._url}: {_reason(error)}") from error
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

    async def _request(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, str, float | None]:
        try:
            async with self._session().request(method, url, data=body, headers=headers) as response:
                text = (await response.content.read(4096)).decode("utf-8", "replace")
                return response.status, text, _seconds(response.headers.get("Retry-After"))
        except TimeoutError:
            raise Later(f"{self._url} did not answer within {self._timeout:g} s") from None
        except (aiohttp.ClientError, asyncio.IncompleteReadError, OSError) as error:
            raise Later(f"{self._url}: {_reason(error)}") from error

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._timeout), trust_env=True
            )
        return self._http

    async def idle(self) -> None:
        return None

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None


def _reason(error: Exception) -> str:
    """The operating system's word where there is one."""
    return os_reason(error) if isinstance(error, OSError) else str(error) or type(error).__name__


def _missing_database(status: int, text: str) -> bool:
    return status in (400, 404) and (
        "database not found" in text or ("bucket" in text and "not found" in text)
    )


def _short(text: str) -> str:
    return " ".join(text.split())[:200]


def _seconds(header: str | None) -> float | None:
    try:
        return min(3600.0, max(0.0, float(header))) if header else None
    except ValueError:
        return None

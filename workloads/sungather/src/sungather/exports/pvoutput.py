"""The PVOutput.org export: one point per status interval, uploaded in batches within the service's limits.

Facts: pvoutput.org API, addbatchstatus and getsystem. At most 30 points a call, 60 requests an hour (300 for donors),
X-Rate-Limit-Remaining and X-Rate-Limit-Reset in every reply, points at most 14 days old (90 for donors). A batch's
reply has date,time,1 (added) or 2 (updated) or 0 (failed) for each point. Samples wait in the queue until their
interval is over, so that the first interval after a start is a whole one like every other.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sungather.clock import Clock
from sungather.exports.destination import Blocked, Delivery, Item, Later, NotYet
from sungather.exports.web_service import Reply, WebService
from sungather.readings.snapshot import Snapshot

log = logging.getLogger("sungather.pvoutput")

_TEAM = "1618"
_POINTS_A_CALL = 30
_OLDEST = timedelta(days=14)
_FIELDS = tuple(f"v{n}" for n in range(1, 13))
_ENERGY = ("v1", "v3")
_ONE_DECIMAL = ("v5", "v6")


@dataclass(frozen=True)
class Point:
    """One status interval: its text and the queued samples that it is made of."""

    date: str
    time: str
    text: str
    items: tuple[Item, ...]


class PvOutput:
    """One system at PVOutput."""

    batch = 4000

    def __init__(self, options: Mapping[str, Any], clock: Clock, timeout: float) -> None:
        self._options, self._clock = options, clock
        self._url = str(options["url"]).rstrip("/") + "/"
        self._interval: int | None = None
        self._requests: deque[float] = deque()
        self._not_before = 0.0
        self._service = WebService("PVOutput", timeout)
        if any(p["name"] == "m1" for p in options["parameters"]):
            log.warning("pvoutput: m1 is not uploaded: the batch service has no text messages")
        self.flush = False
        """True uploads what there is without waiting for the interval's end (--runonce)."""

    def prepare(self, snapshot: Snapshot) -> str | None:
        values: dict[str, float] = {}
        for parameter in self._options["parameters"]:
            value = snapshot.value(parameter["register"])
            if isinstance(value, (int, float)):
                values[parameter["name"]] = value * (parameter["multiple"] or 1)
        when = snapshot.value("timestamp")
        return json.dumps({"t": when, "v": values}) if values and isinstance(when, str) else None

    async def deliver(self, items: Sequence[Item]) -> Delivery:
        interval = await self._status_interval()
        points, open_until = self._points(items, interval)
        too_old = [p for p in points if self._age(p) > _OLDEST]
        if too_old:
            return Delivery(rejected=[(i, "older than PVOutput's 14 days") for p in too_old for i in p.items])
        if not points or (len(points) < self._options["batch_points"] and not self.flush):
            raise NotYet(open_until)
        return await self._upload(points[:_POINTS_A_CALL])

    def _points(self, items: Sequence[Item], interval: int) -> tuple[list[Point], float]:
        """The finished intervals, and seconds until the unfinished one ends."""
        groups: dict[datetime, list[tuple[Item, dict[str, Any]]]] = {}
        for item in items:
            sample = json.loads(item.payload)
            when = datetime.strptime(sample["t"], "%Y-%m-%d %H:%M:%S")
            start = when.replace(minute=when.minute - when.minute % interval, second=0)
            groups.setdefault(start, []).append((item, sample["v"]))
        points = [self._point(start, groups[start]) for start in groups]
        newest = start  # by arrival: when summer time ends, an hour comes twice
        age = self._clock.now().timestamp() - max(i.at for i, _ in groups[newest])
        latest = datetime.strptime(json.loads(groups[newest][-1][0].payload)["t"], "%Y-%m-%d %H:%M:%S")
        left = (newest + timedelta(minutes=interval) - latest).total_seconds() - age
        cut_short = len(items) >= self.batch and len(groups) > 1
        if (left > 0 or cut_short) and not self.flush:
            points = [p for p in points if p.items[-1] is not groups[newest][-1][0]]
        return points, max(left, 1.0)

    def _point(self, start: datetime, samples: list[tuple[Item, dict[str, Any]]]) -> Point:
        fields = []
        for name in _FIELDS:
            found = [values[name] for _, values in samples if name in values]
            if not found:
                fields.append("")  # unknown is blank; zero is 0
            elif name in _ENERGY:
                fields.append(str(round(found[-1])))
            else:
                mean = sum(found) / len(found)
                fields.append(str(round(mean, 1) if name in _ONE_DECIMAL else round(mean)))
        date, time = start.strftime("%Y%m%d"), start.strftime("%H:%M")
        text = ",".join((date, time, *fields)).rstrip(",")
        return Point(date, time, text, tuple(item for item, _ in samples))

    def _age(self, point: Point) -> timedelta:
        return timedelta(seconds=self._clock.now().timestamp() - point.items[-1].at)

    async def _upload(self, points: Sequence[Point]) -> Delivery:
        form = {"data": ";".join(p.text for p in points)}
        if self._options["cumulative_flag"]:
            form["c1"] = str(self._options["cumulative_flag"])
        reply = await self._post("addbatchstatus.jsp", form)
        if reply.status == 400 and len(points) > 1:
            # the whole call is refused for one bad point: send the oldest alone, the rest stays queued
            return await self._upload(points[:1])
        if reply.status == 400:
            return Delivery(rejected=[(item, str(reply)) for item in points[0].items])
        if reply.status >= 300:
            raise _failure(reply)
        return self._judge(points, reply.text)

    def _judge(self, points: Sequence[Point], text: str) -> Delivery:
        """What the reply says of each point; a point that it does not mention was taken."""
        said: dict[tuple[str, str], str] = {}
        for entry in text.strip().split(";"):
            parts = entry.strip().split(",")
            if len(parts) >= 3:
                said[parts[0], parts[1]] = parts[2]
        delivery = Delivery()
        for point in points:
            if said.get((point.date, point.time)) == "0":
                delivery.rejected += [(i, f"PVOutput refused {point.date} {point.time}") for i in point.items]
            else:
                delivery.sent += point.items
        return delivery

    async def _status_interval(self) -> int:
        """Minutes of a status interval, as the system is set up at PVOutput."""
        if self._interval is None:
            reply = await self._post("getsystem.jsp", {"teams": "1"})
            if reply.status >= 300:
                raise _failure(reply)
            parts = reply.text.split(";")
            try:
                interval = int(parts[0].split(",")[15])
            except (IndexError, ValueError):
                interval = 5
                log.warning("pvoutput: the system's status interval is not in the reply; using 5 minutes")
            self._interval = interval if interval in (5, 10, 15) else 5
            teams = parts[2].split(",") if len(parts) > 2 else []
            if self._options["join_team"] and _TEAM not in teams:
                await self._post("jointeam.jsp", {"tid": _TEAM})
        return self._interval

    async def _post(self, service: str, form: Mapping[str, str]) -> Reply:
        self._keep_limit()
        headers = {"X-Pvoutput-Apikey": self._options["api"], "X-Pvoutput-SystemId": self._options["sid"]}
        self._requests.append(self._clock.monotonic())
        reply = await self._service.ask("POST", self._url + service, form, headers)
        self._heed(reply.headers)
        return reply

    def _keep_limit(self) -> None:
        now = self._clock.monotonic()
        while self._requests and self._requests[0] <= now - 3600:
            self._requests.popleft()
        if now < self._not_before:
            raise NotYet(self._not_before - now)
        if len(self._requests) >= self._options["rate_limit"]:
            raise NotYet(self._requests[0] + 3600 - now)

    def _heed(self, headers: Mapping[str, str]) -> None:
        """PVOutput says how many requests are left, and at which Unix time it counts anew."""
        try:
            left, reset = int(headers["X-Rate-Limit-Remaining"]), float(headers["X-Rate-Limit-Reset"])
        except (KeyError, ValueError):
            return
        if left <= 0:
            wait = min(3600.0, max(0.0, reset - self._clock.now().timestamp()))
            self._not_before = self._clock.monotonic() + wait

    async def idle(self) -> None:
        return None

    async def close(self) -> None:
        await self._service.close()


def _failure(reply: Reply) -> Later | Blocked:
    """What a refusal means."""
    if reply.status == 403 and "Exceeded" in reply.text:
        return Later(f"PVOutput's request limit is used up ({reply})", 600)
    if reply.status in (401, 403):
        return Blocked(f"PVOutput does not accept api: or sid: ({reply})")
    if reply.status == 429 or reply.status >= 500:
        return Later(f"PVOutput cannot take it now ({reply})", 60)
    return Blocked(f"PVOutput refuses the request ({reply})")

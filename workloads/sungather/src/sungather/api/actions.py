"""What an owner, or the charm, can ask the running collector to tell or do.

Every action uses the one session and the running exports; none starts a second collector.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from sungather.api.check import check, settings_to_check
from sungather.api.control import Control, leave_alone_while_paused
from sungather.api.dump import dump, parse_ranges
from sungather.api.parameters import ActionError, Parameters
from sungather.application import Application
from sungather.exports.destination import Blocked, Later
from sungather.exports.mqtt import Mqtt
from sungather.readings import energy
from sungather.readings.snapshot import Snapshot
from sungather.registers.decoding import decode
from sungather.registers.register import DataType, Kind, Register
from sungather.transports.transport import Refusal, TransportError

Action = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
_WORDS = {"U16": 1, "S16": 1, "U32": 2, "S32": 2}

__all__ = ["ActionError", "Actions"]


class Actions:
    """All actions of one application, by the name under /api/."""

    def __init__(self, application: Application) -> None:
        self._app = application
        control = Control(application)
        self.reading: dict[str, Action] = {
            "readings": self.readings,
            "inverter": self.inverter,
            "exports": self.exports,
            "energy": self.energy,
            "config": self.config,
            "status": self.status,
            "now": self.now,
            "history": self.history,
            "control": control.show,
        }
        self.changing: dict[str, Action] = {
            "collect-now": self.collect_now,
            "check-inverter": self.check_inverter,
            "check-exports": self.check_exports,
            "read-registers": self.read_registers,
            "dump-registers": self.dump_registers,
            "republish-discovery": self.republish_discovery,
            "clear-discovery": self.clear_discovery,
            "pause": self.pause,
            "resume": self.resume,
            "replay-buffer": self.replay_buffer,
            "refresh-inverter": self.refresh_inverter,
            "set-battery-mode": control.battery_mode,
            "set-export-limit": control.export_limit,
            "revert-control": control.revert_now,
        }

    async def readings(self, given: dict[str, Any]) -> dict[str, Any]:
        """Values with unit, quality and age. names: list or globs; group; max-age: seconds."""
        parameters = Parameters(given, "names", "group", "max-age")
        snapshot = self._app.collector.snapshot
        if snapshot is None:
            raise ActionError(
                f"no reading yet: {self._app.collector.last_error or 'the first one is under way'}", 503
            )
        age = self._app.collector.age()
        if "max-age" in parameters and age > parameters.number("max-age", None, 0, 1e9):
            raise ActionError(f"the last reading is {age:.0f} s old", 503)
        wanted = parameters.names("names") or ["*"]
        group = parameters.text("group")
        found = {
            r.name: {
                "value": r.value,
                "unit": r.unit,
                "quality": str(r.quality),
                "address": r.address,
                "group": r.group,
            }
            for r in snapshot.shown().values()
            if any(fnmatchcase(r.name, pattern) for pattern in wanted) and group in ("", r.group)
        }
        if not found:
            raise ActionError("no reading has such a name or group; GET /api/readings lists all", 404)
        return {
            "reading_id": snapshot.id,
            "timestamp": snapshot.taken.isoformat(),
            "age_seconds": round(age, 1),
            "readings": found,
        }

    async def inverter(self, given: dict[str, Any]) -> dict[str, Any]:
        """Model, type code, serial, firmware, rated power, output type, battery and meter present, connection."""
        Parameters(given)
        identity, snapshot = self._app.session.identity, self._app.collector.snapshot
        settings = self._app.settings.inverter
        device = identity.device if identity else None

        def text(*names: str) -> Any:
            return next((v for n in names if snapshot and (v := snapshot.value(n)) is not None), None)

        return {
            "model": identity.model if identity else None,
            "type_code": f"0x{device.code:04X}" if device else None,
            "family": device.family if device else None,
            "known_model": device.known if device else None,
            "serial_number": identity.serial if identity else None,
            "rated_watts": identity.rated_watts if identity else None,
            "output_type": identity.output_type if identity else None,
            "mppt_inputs": _inputs(snapshot) if snapshot else None,
            "arm_firmware": text("arm_software_version"),
            "dsp_firmware": text("dsp_software_version"),
            "communication_firmware": text("communication_firmware_version", "firmware_version_3"),
            "battery_present": text("battery_level") is not None if snapshot else None,
            "meter_present": text("meter_power", "meter_total_power", "export_power_hybrid") is not None
            if snapshot
            else None,
            "connection": settings.connection,
            "host": settings.host,
            "port": settings.port,
            "unit_id": settings.slave,
            "state": str(self._app.collector.state),
            "since": self._app.collector.state_since.isoformat(),
            "error": str(self._app.collector.last_error) if self._app.collector.last_error else None,
        }

    async def refresh_inverter(self, given: dict[str, Any]) -> dict[str, Any]:
        """Ask the inverter who it is, now."""
        Parameters(given)
        await self._collect(30)
        return await self.inverter({})

    async def status(self, given: dict[str, Any]) -> dict[str, Any]:
        """The loop: state, age, cycles, skipped ticks, last scan."""
        Parameters(given)
        collector = self._app.collector
        age = collector.age()
        last = collector.last_cycle
        return {
            "state": str(collector.state),
            "since": collector.state_since.isoformat(),
            "fresh": collector.fresh(),
            "age_seconds": None if math.isinf(age) else round(age, 1),
            "interval_seconds": collector.interval,
            "cycles": collector.cycles,
            "failed_cycles": collector.failed_cycles,
            "skipped_ticks": collector.skipped_ticks,
            "last_scan_seconds": round(last.seconds, 3) if last else None,
            "paused_seconds": round(collector.paused_seconds()),
            "read_errors": dict(self._app.session.read_errors),
        }

    def _export(self, name: str) -> list[Any]:
        found = [e for e in self._app.exporters if name in ("", "all", e.name)]
        if not found and name not in ("", "all"):
            known = ", ".join(e.name for e in self._app.exporters) or "none is enabled"
            raise ActionError(f"no export {name!r}; there are: {known}", 404)
        return found

    async def exports(self, given: dict[str, Any]) -> dict[str, Any]:
        """Per export: state, last success, last error, queue length, sent, dropped."""
        parameters = Parameters(given, "export")
        result = {}
        for exporter in self._export(parameters.text("export")):
            status, oldest = exporter.status, exporter.outbox.oldest()
            result[exporter.name] = {
                "state": str(status.state),
                "connected": getattr(exporter.destination, "connected", None),
                "last_success": status.last_success.isoformat() if status.last_success else None,
                "last_error": status.last_error,
                "last_error_at": status.last_error_at.isoformat() if status.last_error_at else None,
                "queue_length": exporter.waiting,
                "oldest_waiting": _iso(oldest),
                **exporter.outbox.counts,
            }
        return {"exports": result}

    async def check_exports(self, given: dict[str, Any]) -> dict[str, Any]:
        """Try the queues now, wait up to `wait` seconds, then tell as exports() does."""
        parameters = Parameters(given, "export", "wait")
        chosen = self._export(parameters.text("export"))
        wait = parameters.number("wait", 5, 0, 60)
        await asyncio.gather(*(e.drain(wait, retry=True) for e in chosen))
        return await self.exports({"export": parameters.text("export")})

    async def _collect(self, wait: float) -> Any:
        leave_alone_while_paused(self._app)
        collector = self._app.collector
        was_offline = str(collector.state) == "offline"
        try:
            async with asyncio.timeout(wait):
                cycle = await collector.collect()
        except TimeoutError:
            raise ActionError(f"no reading within {wait:g} s; the collector goes on trying", 504) from None
        if cycle.error is not None:
            raise ActionError(
                f"the inverter could not be read: {cycle.error} {cycle.error.hint}".strip(), 502
            )
        if was_offline:
            collector.collect_soon()  # ends the long pause between tries
        return cycle

    async def collect_now(self, given: dict[str, Any]) -> dict[str, Any]:
        """One collection now, inside the running loop. wait: seconds."""
        parameters = Parameters(given, "wait")
        wait = parameters.number("wait", 30, 1, 300)
        cycle = await self._collect(wait)
        drained = await asyncio.gather(*(e.drain(min(wait, 5)) for e in self._app.exporters))
        return {
            "cycle": cycle.number,
            "reading_id": cycle.snapshot.id,
            "duration_seconds": round(cycle.seconds, 3),
            "registers_ok": sum(1 for r in cycle.snapshot.readings.values() if r.value is not None),
            "registers_absent": sum(1 for r in cycle.snapshot.readings.values() if r.value is None),
            "reads_ok": cycle.snapshot.reads_ok,
            "reads_failed": cycle.snapshot.reads_failed,
            "delivered": {e.name: ok for e, ok in zip(self._app.exporters, drained, strict=True)},
        }

    async def check_inverter(self, given: dict[str, Any]) -> dict[str, Any]:
        """Name, TCP, handshake or login, type code: each step with ok, milliseconds, error and hint. host, port,
        connection, unit-id: the config's unless given."""
        leave_alone_while_paused(self._app)
        return await check(self._app, settings_to_check(self._app, given))

    async def read_registers(self, given: dict[str, Any]) -> dict[str, Any]:
        """Raw words. kind: input or holding; address: documented; count; type: U16, S16, U32, S32, UTF-8."""
        parameters = Parameters(given, "kind", "address", "count", "type")
        kind = Kind(parameters.text("kind", "input", choices=("input", "holding")))
        address = parameters.whole("address", None, 1, 65535)
        count = parameters.whole("count", 1, 1, min(500, 65536 - address))
        data_type = parameters.text("type", "U16", choices=("U16", "S16", "U32", "S32", "UTF-8"))
        leave_alone_while_paused(self._app)
        try:
            words = list(await self._app.session.read_raw(kind, address, count))
        except Refusal as error:
            raise ActionError(f"the inverter refuses {kind} {address}: {error}", 422) from error
        except TransportError as error:
            raise ActionError(f"the inverter could not be read: {error}", 502) from error
        size = _WORDS.get(data_type, count)
        decoded = [
            decode(
                Register("raw", kind, address + i, DataType(data_type), 0, words=size), words[i : i + size]
            )
            for i in range(0, count - size + 1, size)
        ]
        return {
            "kind": str(kind),
            "address": address,
            "words": words,
            "hex": " ".join(f"{w:04X}" for w in words),
            "type": data_type,
            "decoded": decoded,
        }

    async def dump_registers(self, given: dict[str, Any]) -> dict[str, Any]:
        """All words that the inverter lets read, for support of new models. ranges: "input 4950-5100, ..."; redact."""
        parameters = Parameters(given, "ranges", "redact")
        ranges = parse_ranges(parameters.text("ranges"), self._app)
        leave_alone_while_paused(self._app)
        try:
            return await dump(self._app, ranges, redact=parameters.flag("redact", True))
        except TransportError as error:
            raise ActionError(f"the inverter could not be read: {error}", 502) from error

    def _brokers(self) -> list[Mqtt]:
        found = [e.destination for e in self._app.exporters if isinstance(e.destination, Mqtt)]
        if not found:
            raise ActionError("the mqtt export is not enabled", 409)
        return found

    async def republish_discovery(self, given: dict[str, Any]) -> dict[str, Any]:
        """Announce the sensors to Home Assistant again."""
        Parameters(given)
        try:
            return {"written": [t for broker in self._brokers() for t in await broker.republish_discovery()]}
        except (Later, Blocked) as error:
            raise ActionError(str(error), 502) from error

    async def clear_discovery(self, given: dict[str, Any]) -> dict[str, Any]:
        """Remove the retained announcements. confirm: true."""
        parameters = Parameters(given, "confirm")
        if not parameters.flag("confirm"):
            raise ActionError("this removes the entities from Home Assistant: send confirm: true")
        try:
            return {"cleared": [t for broker in self._brokers() for t in await broker.clear_discovery()]}
        except (Later, Blocked) as error:
            raise ActionError(str(error), 502) from error

    async def pause(self, given: dict[str, Any]) -> dict[str, Any]:
        """Leave the inverter alone for `minutes`, then go on by itself."""
        minutes = Parameters(given, "minutes").number("minutes", 15, 0.01, 1440)
        self._app.collector.pause(minutes)
        until = self._app.clock.now() + timedelta(minutes=minutes)
        return {"state": "paused", "until": until.isoformat()}

    async def resume(self, given: dict[str, Any]) -> dict[str, Any]:
        """End a pause."""
        Parameters(given)
        self._app.collector.resume()
        return {"state": str(self._app.collector.state)}

    async def replay_buffer(self, given: dict[str, Any]) -> dict[str, Any]:
        """Send again what was sent since `from` (ISO time) and is still kept, waiting up to `wait` seconds; receivers
        drop repeats by key."""
        parameters = Parameters(given, "export", "from", "wait")
        try:
            since = datetime.fromisoformat(parameters.text("from"))
        except ValueError:
            raise ActionError(
                f"from is {given.get('from')!r}, write a time like 2026-11-21T08:00:00+00:00"
            ) from None
        if since.tzinfo is None:
            since = since.replace(tzinfo=self._app.clock.local().tzinfo)
        wait = parameters.number("wait", 5, 0, 60)
        chosen = self._export(parameters.text("export"))
        queued = {e.name: e.outbox.replay(since.timestamp()) for e in chosen}
        await asyncio.gather(*(e.drain(wait, retry=True) for e in chosen))
        return {"queued": queued, "waiting": {e.name: e.waiting for e in chosen}}

    async def energy(self, given: dict[str, Any]) -> dict[str, Any]:
        """Produced, used, imported, exported, charged, discharged. period: today, yesterday, month."""
        period = Parameters(given, "period").text("period", "today", choices=("today", "yesterday", "month"))
        today = self._today()
        first = last = today
        if period == "yesterday":
            first = last = today - timedelta(days=1)
        elif period == "month":
            first = today.replace(day=1)
        days = self._app.ledger.days(first.isoformat(), last.isoformat())
        return {"period": period, "from": first.isoformat(), "to": last.isoformat(), **energy.summary(days)}

    def _today(self) -> date:
        """By the inverter's clock, which went on since it was read: it may have been asleep since yesterday."""
        snapshot = self._app.collector.snapshot
        stamp = snapshot.value("timestamp") if snapshot else None
        if snapshot is None or not isinstance(stamp, str):
            return self._app.clock.local().date()
        since = timedelta(seconds=self._app.collector.age())
        return (datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S") + since).date()

    async def config(self, given: dict[str, Any]) -> dict[str, Any]:
        """The effective config, secrets masked."""
        Parameters(given)
        return dict(self._app.settings.masked)

    async def now(self, given: dict[str, Any]) -> dict[str, Any]:
        """What the web page shows at the top."""
        Parameters(given)
        snapshot = self._app.collector.snapshot
        return {
            "status": await self.status({}),
            "inverter": await self.inverter({}),
            "power": energy.power(snapshot) if snapshot else None,
            "today": energy.summary(
                self._app.ledger.days(self._today().isoformat(), self._today().isoformat())
            ),
            "timestamp": snapshot.value("timestamp") if snapshot else None,
            "run_state": snapshot.value("run_state") if snapshot else None,
            **(await self.exports({})),
        }

    async def history(self, given: dict[str, Any]) -> dict[str, Any]:
        """Power over one day (day: YYYY-MM-DD) and the energy of the days before (days: how many)."""
        parameters = Parameters(given, "day", "days")
        today = self._today()
        try:
            day = datetime.strptime(parameters.text("day", today.isoformat()), "%Y-%m-%d").date()
        except ValueError:
            raise ActionError(f"day is {given.get('day')!r}, write YYYY-MM-DD") from None
        count = parameters.whole("days", 14, 1, 4000)
        first = today - timedelta(days=count - 1)
        rows = self._app.ledger.days(first.isoformat(), today.isoformat())
        return {
            "day": day.isoformat(),
            "today": today.isoformat(),
            "samples": self._app.ledger.samples(day.isoformat()),
            "days": [{"day": row["day"], **energy.summary([row])} for row in rows],
        }


def _inputs(snapshot: Snapshot) -> int | None:
    """MPP trackers that give a voltage; None below the level at which they are read."""
    voltages = [r for r in snapshot.readings.values() if fnmatchcase(r.name, "mppt_*_voltage")]
    return sum(r.value is not None for r in voltages) or None


def _iso(at: float | None) -> str | None:
    return datetime.fromtimestamp(at).astimezone().isoformat() if at is not None else None

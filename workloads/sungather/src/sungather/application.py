"""The running program: everything made from the settings, started and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sungather.clock import Clock, SystemClock
from sungather.collection.collector import Collector
from sungather.collection.session import Session
from sungather.configuration.settings import ExportSettings, InverterSettings, Settings
from sungather.errors import ConfigError
from sungather.exports.console import Console
from sungather.exports.delivery import Exporter
from sungather.exports.destination import Destination
from sungather.exports.influxdb import InfluxDb
from sungather.exports.mqtt import Mqtt
from sungather.exports.outbox import Outbox
from sungather.exports.pvoutput import PvOutput
from sungather.exports.upstream_shape import client_config, inverter_config
from sungather.ledger import Ledger, StateFolder
from sungather.readings.assembly import Assembly
from sungather.readings.derived import VIRTUAL
from sungather.registers.catalogue import Catalogue, built_in, from_upstream_file
from sungather.registers.scan import Identity
from sungather.transports.opening import transport
from sungather.transports.pins import Pins
from sungather.transports.transport import Transport

log = logging.getLogger("sungather")


def catalogue_for(settings: Settings, registers: Path | None) -> Catalogue:
    """The register catalogue, and a check that a configured model is in it."""
    catalogue = from_upstream_file(registers, built_in()) if registers else built_in()
    model = settings.inverter.model
    if model and catalogue.model(model) is None:
        import difflib

        near = difflib.get_close_matches(model, catalogue.models(), n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; leave it out to detect the model"
        key = "inverter.model"
        problem = f"{model!r} is not a known model{hint}"
        raise ConfigError(settings.path, problem, line=settings.lines.get(key), key=key)
    return catalogue


class Application:
    """One collector process: one inverter, its exports, its API."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        *,
        clock: Clock | None = None,
        new_transport: Callable[[InverterSettings], Transport] | None = None,
    ) -> None:
        self.settings, self.catalogue = settings, catalogue
        self.clock: Clock = clock or SystemClock()
        self.folder = StateFolder(settings.collector.state_folder)
        self.ledger = Ledger(self.folder.path)
        self.pins = self._pins()
        self._new_transport = new_transport or (lambda s: transport(s, self.clock, self.pins))
        self.session = Session(
            settings.inverter,
            catalogue,
            self._new_transport,
            self.clock,
            known=self._known_identity(),
        )
        self.console = self._console()
        self.exporters = [
            self._exporter(export)
            for export in settings.exports
            if export.type in ("mqtt", "influxdb", "pvoutput")
        ]
        self.collector = Collector(
            self.session,
            Assembly(
                self.clock,
                level=settings.inverter.level,
                use_local_time=settings.inverter.use_local_time,
                saved=self.ledger.fact("assembly"),
            ),
            self.exporters,
            self.ledger,
            self.clock,
            interval=settings.inverter.scan_interval,
            history_days=settings.collector.history_days,
            console=self.console,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._starting: list[Callable[[], Awaitable[None]]] = []
        self._stopping: list[Callable[[], Awaitable[None]]] = []
        self._stopped = False

    def on_start(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Called when collecting starts."""
        self._starting.append(callback)

    def on_stop(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Called while the inverter can still be reached."""
        self._stopping.append(callback)

    def new_transport(self, settings: InverterSettings) -> Transport:
        """A transport of one's own, to check other settings."""
        return self._new_transport(settings)

    def _pins(self) -> Pins:
        known = self.ledger.fact("pins") or {}
        return Pins(
            known,
            expected=self.settings.inverter.certificate,
            remember=lambda name, fingerprint: self.ledger.remember("pins", {**known, name: fingerprint}),
        )

    def _known_identity(self) -> Identity | None:
        """Who answered before the restart, so that exports can go on while the inverter sleeps."""
        saved = self.ledger.fact("identity")
        if not saved:
            return None
        device = self.catalogue.device(saved["code"]) if saved["code"] is not None else None
        return Identity(device, saved["serial"], saved["rated_watts"], saved["output_type"])

    def _console(self) -> Console | None:
        if not any(e.type == "console" for e in self.settings.exports):
            return None
        inverter = self.settings.inverter
        facts: dict[str, Any] = client_config(inverter) | inverter_config(inverter, Identity(None, ""))
        return Console({k: v for k, v in facts.items() if k not in ("model", "serial_number")})

    def _exporter(self, export: ExportSettings) -> Exporter:
        limits = self.settings.collector
        outbox = Outbox(
            self.folder.path,
            export.name,
            max_items=limits.outbox_items,
            max_bytes=limits.outbox_megabytes * 1_000_000,
        )
        return Exporter(export.name, self._destination(export), outbox, self.clock)

    def _destination(self, export: ExportSettings) -> Destination:
        timeout = self.settings.inverter.timeout
        if export.type == "mqtt":
            return Mqtt(export.options, self.settings.inverter, lambda: self.session.identity, self.unit_of)
        if export.type == "influxdb":
            return InfluxDb(export.options, timeout)
        return PvOutput(export.options, self.clock, timeout)

    def unit_of(self, register: str) -> str | None:
        """The unit of a register that exports get; None when it is not read."""
        if register in VIRTUAL:
            return VIRTUAL[register][1]
        found = [r.unit for r in self.session.selected() if r.name == register]
        return found[-1] if found else None

    async def start(self, *, collecting: bool = True) -> None:
        """Start delivering, and collecting unless told otherwise."""
        self._tasks += [asyncio.create_task(e.run(), name=f"export {e.name}") for e in self.exporters]
        if collecting:
            self._tasks.append(asyncio.create_task(self.collector.run(), name="collector"))
        for task in self._tasks:
            task.add_done_callback(_report)
        for callback in self._starting:
            await callback()

    async def stop(self) -> None:
        """End all sessions; what is queued stays queued. Takes no more than a few seconds."""
        if self._stopped:
            return
        self._stopped = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for callback in self._stopping:
            await callback()
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(1):
                await self.session.close()
        await asyncio.gather(*(e.close() for e in self.exporters), return_exceptions=True)
        self.ledger.close()
        self.folder.close()


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.critical("%s ended unexpectedly", task.get_name(), exc_info=task.exception())

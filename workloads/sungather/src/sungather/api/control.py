"""Guarded control of a hybrid: battery mode and export limit.

Off unless enabled twice: allow_control in the config file, and confirm in the request. Limited by the inverter's rating
and the battery's own limits. What was there before is written down first, so that it is restored when the time is
up, when told to, and at the next start after a crash. dry-run tells what would be written.

Facts: holding registers 13050, 13051, 13052 (battery), 13074, 13087 (export limit); spec/sungather.md, 4.1.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sungather.api.parameters import ActionError, Parameters
from sungather.application import Application
from sungather.registers.register import Kind
from sungather.transports.transport import Refusal, TransportError

log = logging.getLogger("sungather.control")

EMS_MODE, COMMAND, POWER = 13050, 13051, 13052
LIMIT, LIMIT_SWITCH = 13074, 13087
SELF_CONSUMPTION, FORCED = 0, 2
CHARGE, DISCHARGE, STOP = 0xAA, 0xBB, 0xCC
ON, OFF = 0xAA, 0x55
_MODES = {
    "self-consumption": {EMS_MODE: SELF_CONSUMPTION, COMMAND: STOP},
    "charge": {EMS_MODE: FORCED, COMMAND: CHARGE},
    "discharge": {EMS_MODE: FORCED, COMMAND: DISCHARGE},
    "hold": {EMS_MODE: FORCED, COMMAND: STOP},
}
_NAMES = {
    EMS_MODE: "ems_mode",
    COMMAND: "command",
    POWER: "power",
    LIMIT: "export_limit",
    LIMIT_SWITCH: "limit_switch",
}


class Control:
    """Writes to the inverter, and takes them back."""

    def __init__(self, application: Application) -> None:
        self._app = application
        self._task: asyncio.Task[None] | None = None
        application.on_start(self._restore_after_crash)
        application.on_stop(self._on_stop)

    async def show(self, given: dict[str, Any]) -> dict[str, Any]:
        """What is in force, until when, and the audit log."""
        Parameters(given)
        active = self._app.ledger.fact("control")
        return {
            "allowed": self._app.settings.collector.allow_control,
            "active": active,
            "log": self._app.ledger.fact("control-log") or [],
        }

    async def battery_mode(self, given: dict[str, Any]) -> dict[str, Any]:
        """mode: self-consumption, charge, discharge, hold; power: watts; soc: stop at percent; minutes; dry-run; confirm."""
        parameters = Parameters(given, "mode", "power", "minutes", "soc", "dry-run", "confirm")
        mode = parameters.text("mode", choices=tuple(_MODES))
        writes = dict(_MODES[mode])
        if mode in ("charge", "discharge"):
            most = int(self._most_watts())
            writes[POWER] = parameters.whole("power", None, 0, most)
        soc = parameters.number("soc", None, 5, 100) if "soc" in parameters else None
        return await self._apply(
            f"battery {mode}", writes, parameters, stop={"mode": mode, "soc": soc} if soc else None
        )

    async def export_limit(self, given: dict[str, Any]) -> dict[str, Any]:
        """power: watts that may go to the grid, or enabled: false for no limit; minutes; dry-run; confirm."""
        parameters = Parameters(given, "power", "enabled", "minutes", "dry-run", "confirm")
        if parameters.flag("enabled", True):
            writes = {LIMIT: parameters.whole("power", None, 0, int(self._most_watts())), LIMIT_SWITCH: ON}
        else:
            writes = {LIMIT_SWITCH: OFF}
        return await self._apply("export limit", writes, parameters)

    async def revert_now(self, given: dict[str, Any]) -> dict[str, Any]:
        """Restore what was there before."""
        Parameters(given)
        if not self._app.ledger.fact("control"):
            raise ActionError("nothing to revert", 409)
        try:
            return {"restored": await self._revert("asked to")}
        except TransportError as error:
            raise ActionError(
                f"the inverter could not be reached: {error}; it is tried again", 502
            ) from error

    def _most_watts(self) -> float:
        identity = self._app.session.identity
        device = identity.device if identity else None
        if device is None or not device.hybrid:
            raise ActionError(
                f"{identity.model if identity else 'the inverter'} is not a hybrid: nothing to control", 409
            )
        if not identity or not identity.rated_watts:
            raise ActionError("the rated power is not known yet: no limit to check against", 409)
        return min(identity.rated_watts, 65534.0)

    async def _apply(
        self, what: str, writes: Mapping[int, int], parameters: Parameters, stop: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        limits = self._app.settings.collector
        if not limits.allow_control:
            raise ActionError("control is off: set collector: allow_control: true in the config file", 403)
        self._most_watts()
        minutes = parameters.number("minutes", min(60, limits.control_minutes), 1, limits.control_minutes)
        dry = parameters.flag("dry-run")
        if not dry and not parameters.flag("confirm"):
            raise ActionError(
                "this changes the inverter: send confirm: true, or dry-run: true to see what would be written"
            )
        revert_at = self._app.clock.now() + timedelta(minutes=minutes)
        try:
            async with self._app.session.exclusive() as transport:
                before = {a: (await transport.read(Kind.HOLDING, a, 1))[0] for a in writes}
                if not dry:
                    self._write_down(what, before, revert_at, stop)
                    for address, value in writes.items():
                        await transport.write(address, (value,))
                    after = {a: (await transport.read(Kind.HOLDING, a, 1))[0] for a in writes}
                else:
                    after = dict(writes)
        except Refusal as error:
            raise ActionError(f"the inverter refuses: {error}", 422) from error
        except TransportError as error:
            raise ActionError(f"the inverter could not be reached: {error}", 502) from error
        if not dry:
            self._audit(what, before, after)
            self._watch()
        return {
            "dry_run": dry,
            "before": _named(before),
            "after": _named(after),
            "revert_at": revert_at.isoformat(),
        }

    def _write_down(
        self, what: str, before: Mapping[int, int], revert_at: datetime, stop: dict[str, Any] | None
    ) -> None:
        """Before the first write. What an earlier action of the same kind replaced stays the thing to restore."""
        active = self._app.ledger.fact("control") or {"restore": {}}
        restore = {str(a): v for a, v in before.items()} | active["restore"]
        self._app.ledger.remember(
            "control", {"what": what, "restore": restore, "revert_at": revert_at.isoformat(), "stop": stop}
        )

    def _audit(self, what: str, before: Mapping[int, int], after: Mapping[int, int]) -> None:
        entry = {
            "at": self._app.clock.now().isoformat(),
            "what": what,
            "before": _named(before),
            "after": _named(after),
        }
        entries = [*(self._app.ledger.fact("control-log") or []), entry][-100:]
        self._app.ledger.remember("control-log", entries)
        log.warning("control: %s: %s -> %s", what, _named(before), _named(after))

    def _watch(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._task = asyncio.create_task(self._wait_and_revert(), name="control")

    async def _wait_and_revert(self) -> None:
        while active := self._app.ledger.fact("control"):
            left = (datetime.fromisoformat(active["revert_at"]) - self._app.clock.now()).total_seconds()
            if left > 0 and not self._reached(active.get("stop")):
                await asyncio.sleep(min(left, 5.0))
                continue
            try:
                await self._revert("time is up" if left <= 0 else "state of charge reached")
            except TransportError as error:
                log.warning("control: cannot revert yet: %s", error)
                await asyncio.sleep(10)

    def _reached(self, stop: Mapping[str, Any] | None) -> bool:
        level = self._app.collector.snapshot.number("battery_level") if self._app.collector.snapshot else None
        if not stop or level is None:
            return False
        return bool(level >= stop["soc"] if stop["mode"] == "charge" else level <= stop["soc"])

    async def _revert(self, why: str) -> dict[str, int]:
        active = self._app.ledger.fact("control")
        restore = {int(a): v for a, v in active["restore"].items()}
        # the mode goes back first: it ends a forced charge whatever follows
        order = sorted(restore, key=lambda a: (a != EMS_MODE, a))
        async with self._app.session.exclusive() as transport:
            for address in order:
                await transport.write(address, (restore[address],))
        self._app.ledger.remember("control", None)
        self._audit(f"reverted: {why}", {}, restore)
        return _named(restore)

    async def _restore_after_crash(self) -> None:
        if self._app.ledger.fact("control"):
            log.warning("control: an action was in force when the collector ended; its time limit goes on")
            self._watch()

    async def _on_stop(self) -> None:
        """A collector that ends cannot revert later: it reverts now."""
        if self._task is not None:
            self._task.cancel()
        if self._app.ledger.fact("control"):
            try:
                async with asyncio.timeout(2):
                    await self._revert("the collector stops")
            except (TransportError, TimeoutError) as error:
                log.warning("control: could not revert while stopping (%s): the next start does it", error)


def _named(values: Mapping[int, int]) -> dict[str, int]:
    return {_NAMES.get(a, str(a)): v for a, v in values.items()}

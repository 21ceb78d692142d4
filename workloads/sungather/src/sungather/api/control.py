"""Guarded control of a hybrid: battery mode and export limit.

Off unless enabled twice: allow_control in the config file, and confirm in the request. Limited by the inverter's rating
and the battery's own limits. What was there before is written down first, so that it is restored when the time is
up, when told to, when a write fails half-way, and at the next start after a crash. The two kinds of action, battery and
export, are reverted each at its own time. dry-run tells what would be written.

Facts: holding registers 13050, 13051, 13052 (battery), 33047, 33048 (its limits, x10 W), 13074, 13087 (export limit);
spec/sungather.md, 4.1.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sungather.api.parameters import ActionError, Parameters
from sungather.application import Application
from sungather.registers.register import Kind
from sungather.transports.transport import Refusal, Transport, TransportError

log = logging.getLogger("sungather.control")

EMS_MODE, COMMAND, POWER = 13050, 13051, 13052
LIMIT, LIMIT_SWITCH = 13074, 13087
BATTERY_LIMITS = {"charge": 33047, "discharge": 33048}
SELF_CONSUMPTION, FORCED = 0, 2
CHARGE, DISCHARGE, STOP = 0xAA, 0xBB, 0xCC
ON, OFF = 0xAA, 0x55
_MODES = {
    "self-consumption": {EMS_MODE: SELF_CONSUMPTION, COMMAND: STOP},
    "charge": {EMS_MODE: FORCED, COMMAND: CHARGE},
    "discharge": {EMS_MODE: FORCED, COMMAND: DISCHARGE},
    "hold": {EMS_MODE: FORCED, COMMAND: STOP},
}
_LOOK_EVERY = 5.0
"""Seconds between two looks at the state of charge, and between two tries to revert."""

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
        return {
            "allowed": self._app.settings.collector.allow_control,
            "active": self._active(),
            "log": self._app.ledger.fact("control-log") or [],
        }

    async def battery_mode(self, given: dict[str, Any]) -> dict[str, Any]:
        """mode: self-consumption, charge, discharge, hold; power: watts; soc: stop at percent; minutes; dry-run; confirm."""
        parameters = Parameters(given, "mode", "power", "minutes", "soc", "dry-run", "confirm")
        mode = parameters.text("mode", choices=tuple(_MODES))
        writes, stop = dict(_MODES[mode]), None
        if mode in BATTERY_LIMITS:
            writes[POWER] = parameters.whole("power", None, 0, int(self._most_watts()))
            if "soc" in parameters:
                stop = {"mode": mode, "soc": parameters.number("soc", None, 5, 100)}
        elif "power" in parameters or "soc" in parameters:
            raise ActionError(f"power and soc go with charge and discharge, not with {mode}")
        action = {"kind": "battery", "what": f"battery {mode}", "stop": stop}
        return await self._apply(action, writes, parameters, limit=BATTERY_LIMITS.get(mode))

    async def export_limit(self, given: dict[str, Any]) -> dict[str, Any]:
        """power: watts that may go to the grid, or enabled: false for no limit; minutes; dry-run; confirm."""
        parameters = Parameters(given, "power", "enabled", "minutes", "dry-run", "confirm")
        if parameters.flag("enabled", True):
            writes = {LIMIT: parameters.whole("power", None, 0, int(self._most_watts())), LIMIT_SWITCH: ON}
        else:
            writes = {LIMIT_SWITCH: OFF}
        return await self._apply({"kind": "export", "what": "export limit", "stop": None}, writes, parameters)

    async def revert_now(self, given: dict[str, Any]) -> dict[str, Any]:
        """Restore what was there before, all of it."""
        Parameters(given)
        if not self._active():
            raise ActionError("nothing to revert", 409)
        try:
            restored: dict[str, int] = {}
            for kind in list(self._active()):
                restored |= await self._revert(kind, "asked to")
            return {"restored": restored}
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

    def _allowed(self, parameters: Parameters) -> tuple[float, bool]:
        """For how many minutes, and whether nothing is to be written; ActionError when it is not allowed at all."""
        limits = self._app.settings.collector
        if not limits.allow_control:
            raise ActionError("control is off: set collector: allow_control: true in the config file", 403)
        leave_alone_while_paused(self._app)
        self._most_watts()
        minutes = parameters.number("minutes", min(60, limits.control_minutes), 1, limits.control_minutes)
        dry = parameters.flag("dry-run")
        if not dry and not parameters.flag("confirm"):
            raise ActionError(
                "this changes the inverter: send confirm: true, or dry-run: true to see what would be written"
            )
        return minutes, dry

    async def _apply(
        self,
        action: dict[str, Any],
        writes: Mapping[int, int],
        parameters: Parameters,
        limit: int | None = None,
    ) -> dict[str, Any]:
        """Check, read what is there, write it down, write, read back. `limit` is the register of the battery's own."""
        minutes, dry = self._allowed(parameters)
        revert_at = self._app.clock.now() + timedelta(minutes=minutes)
        action |= {"revert_at": revert_at.isoformat()}
        begun = False
        try:
            async with self._app.session.exclusive() as transport:
                if limit is not None:
                    await _within_battery_limit(transport, limit, writes[POWER])
                before = await _read(transport, writes)
                after = dict(writes)
                if not dry:
                    begun = True
                    self._write_down(action, before)
                    for address, value in writes.items():
                        await transport.write(address, (value,))
                    after = await _read(transport, writes)
        except TransportError as error:
            if begun:
                self._write_down(action | {"revert_at": self._app.clock.now().isoformat()}, {})
                self._watch()
            told = (
                "the inverter refuses" if isinstance(error, Refusal) else "the inverter could not be reached"
            )
            also = "; what was written is taken back" if begun else ""
            raise ActionError(f"{told}: {error}{also}", 422 if isinstance(error, Refusal) else 502) from error
        if not dry:
            self._audit(action["what"], before, after)
            self._watch()
        return {
            "dry_run": dry,
            "before": _named(before),
            "after": _named(after),
            "as_asked": after == dict(writes),
            "revert_at": revert_at.isoformat(),
        }

    def _active(self) -> dict[str, dict[str, Any]]:
        """What is in force, by kind."""
        return self._app.ledger.fact("control") or {}

    def _write_down(self, action: Mapping[str, Any], before: Mapping[int, int]) -> None:
        """Before the first write. What an earlier action of the same kind replaced stays the thing to restore."""
        active = self._active()
        restore = {str(a): v for a, v in before.items()} | active.get(action["kind"], {"restore": {}})[
            "restore"
        ]
        entry = {k: action[k] for k in ("what", "revert_at", "stop")} | {"restore": restore}
        self._app.ledger.remember("control", active | {action["kind"]: entry})

    def _audit(self, what: str, before: Mapping[int, int], after: Mapping[int, int]) -> None:
        entry = {
            "at": self._app.clock.now().isoformat(),
            "what": what,
            "before": _named(before),
            "after": _named(after),
        }
        entries = [*(self._app.ledger.fact("control-log") or []), entry][-100:]
        self._app.ledger.remember("control-log", entries)
        log.warning("%s: %s", what, f"{_named(before)} -> {_named(after)}" if before else _named(after))

    def _watch(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._task = asyncio.create_task(self._wait_and_revert(), name="control")

    async def _wait_and_revert(self) -> None:
        while active := self._active():
            pause = _LOOK_EVERY
            for kind, action in active.items():
                left = self._seconds_left(action)
                if left > 0 and not self._reached(action["stop"]):
                    pause = min(pause, left)
                    continue
                try:
                    await self._revert(kind, "time is up" if left <= 0 else "state of charge reached")
                except TransportError as error:
                    log.warning("cannot revert %s yet: %s", kind, error)
            await asyncio.sleep(pause)

    def _seconds_left(self, action: Mapping[str, Any]) -> float:
        return (datetime.fromisoformat(action["revert_at"]) - self._app.clock.now()).total_seconds()

    def _reached(self, stop: Mapping[str, Any] | None) -> bool:
        level = self._app.collector.snapshot.number("battery_level") if self._app.collector.snapshot else None
        if not stop or level is None:
            return False
        return bool(level >= stop["soc"] if stop["mode"] == "charge" else level <= stop["soc"])

    async def _revert(self, kind: str, why: str) -> dict[str, int]:
        """Write back what an action replaced; what the inverter refuses to take back is logged and left."""
        restore = {int(a): v for a, v in self._active()[kind]["restore"].items()}
        # the mode goes back first: it ends a forced charge whatever follows
        order = sorted(restore, key=lambda a: (a != EMS_MODE, a))
        async with self._app.session.exclusive() as transport:
            for address in order:
                try:
                    await transport.write(address, (restore[address],))
                except Refusal as error:
                    log.error("the inverter does not take back %s: %s", _NAMES.get(address), error)
        active = self._active()
        active.pop(kind, None)
        self._app.ledger.remember("control", active)
        self._audit(f"reverted {kind}: {why}", {}, restore)
        return _named(restore)

    async def _restore_after_crash(self) -> None:
        if self._active():
            log.warning("an action was in force when the collector ended; its time limit goes on")
            self._watch()

    async def _on_stop(self) -> None:
        """A collector that ends cannot revert later: it reverts now."""
        if self._task is not None:
            self._task.cancel()
        for kind in list(self._active()):
            try:
                async with asyncio.timeout(2):
                    await self._revert(kind, "the collector stops")
            except (TransportError, TimeoutError) as error:
                log.warning("could not revert while stopping (%s): the next start does it", error)


def leave_alone_while_paused(application: Application) -> None:
    """ActionError while the owner wants the inverter, and its only session, for something else."""
    if application.collector.paused_seconds():
        raise ActionError("paused: POST /api/resume first", 409)


async def _read(transport: Transport, addresses: Iterable[int]) -> dict[int, int]:
    return {address: (await transport.read(Kind.HOLDING, address, 1))[0] for address in addresses}


async def _within_battery_limit(transport: Transport, register: int, watts: int) -> None:
    """ActionError when the battery's own limit is lower; many models do not tell it."""
    try:
        told = (await transport.read(Kind.HOLDING, register, 1))[0]
    except Refusal:
        return
    if told not in (0, 0xFFFF) and watts > told * 10:
        raise ActionError(f"power is {watts}, the battery allows at most {told * 10} W")


def _named(values: Mapping[int, int]) -> dict[str, int]:
    return {_NAMES.get(a, str(a)): v for a, v in values.items()}

"""The one session with the inverter: everything that reads or writes it waits its turn here.

A scan identifies the inverter, reads what the plan says, learns what is refused, and keeps what could be read when
some of it could not. The connection is closed after each scan, because inverters allow very few; only a WiNet dongle
keeps its session, since a login costs more than it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from sungather.clock import Clock
from sungather.configuration.settings import InverterSettings
from sungather.readings.derived import CLOCK, METERS, inverter_time
from sungather.registers.catalogue import Catalogue
from sungather.registers.decoding import Value, decode
from sungather.registers.plan import AdaptivePlan, Read
from sungather.registers.register import Device, Kind, Register
from sungather.registers.scan import Identity, Measured, Scan
from sungather.registers.selection import applies, select
from sungather.transports.transport import (
    BrokenReply,
    Outcome,
    Refusal,
    Transport,
    TransportError,
    Unreachable,
)

log = logging.getLogger("sungather.session")

_IDENTITY = ("serial_number", "device_type_code", "nominal_active_power", "output_type")
_FAILURES_IN_A_ROW = 2
"""After this many reads that failed one after the other, the inverter is not asked for the rest of the scan."""
_LONGEST_PENALTY = 600.0

Words = dict[Register, Sequence[int]]
"""The words of each register that was read."""

PAGE = frozenset(
    [
        "system_state",
        "work_state_1",
        "total_dc_power",
        "total_active_power",
        "load_power_hybrid",
        "export_power_hybrid",
        "battery_power",
        "battery_power_signed",
        "battery_level",
        "state_battery_charging",
        "state_battery_discharging",
        "daily_pv_generation",
        "daily_power_yields",
        "daily_import_energy",
        "daily_export_energy",
        "daily_charge_energy",
        "daily_battery_discharge_energy",
    ]
)
"""Registers that run_state, the web page and the energy summary need at every level; below their level no export
gets them."""


class Session:
    """Serialised access to one inverter."""

    def __init__(
        self,
        settings: InverterSettings,
        catalogue: Catalogue,
        new_transport: Callable[[InverterSettings], Transport],
        clock: Clock,
        *,
        known: Identity | None = None,
    ) -> None:
        self._settings, self._catalogue, self._clock = settings, catalogue, clock
        self.transport = new_transport(settings)
        self.identity = known
        self.read_errors: dict[str, int] = {}
        self._turn = asyncio.Lock()
        self._open = False
        by_name = {r.name: r for r in catalogue.registers}
        self._identity_plan = AdaptivePlan(
            [by_name[n] for n in (*_IDENTITY, *CLOCK) if n in by_name], self.transport.max_words
        )
        self._plan: AdaptivePlan | None = None
        self._plan_device: Device | None = None
        self._hidden: frozenset[Register] = frozenset()
        self._ahead: timedelta | None = None
        self._doubted = False
        self._penalties: dict[tuple[Kind, int], tuple[int, float]] = {}

    @property
    def configured_device(self) -> Device | None:
        return self._catalogue.model(self._settings.model) if self._settings.model else None

    def selected(self) -> list[Register]:
        """The registers that exports get, for the inverter as known now."""
        device = self.configured_device or (self.identity.device if self.identity else None)
        return select(
            self._catalogue.registers,
            device,
            level=self._settings.level,
            smart_meter=self._settings.smart_meter,
        )

    async def scan(self) -> Scan:
        """One pass. Raises the last TransportError when nothing at all could be read."""
        async with self._turn:
            started = self._clock.monotonic()
            try:
                return await self._scan(started)
            except TransportError as error:
                self._count(error)
                self._forget_refusals()
                await self._close()
                raise
            finally:
                if self._settings.connection not in ("http", "https"):
                    await self._close()

    def _forget_refusals(self) -> None:
        """An inverter that was away may be another one, or one that was still starting: ask for everything again."""
        for plan in (self._identity_plan, self._plan):
            if plan is not None:
                plan.forget()
        self._penalties.clear()

    async def _scan(self, started: float) -> Scan:
        words: Words = {}
        scan = Scan(self._clock.now(), self.identity or Identity(None, ""))
        await self._ensure_open()
        plan = self._plan
        if plan is None:
            await self._read_all(self._identity_plan, words, scan)
            scan.identity = self._identify(words)
            self._note_time(words)
            if not scan.reads_ok and scan.failures:
                raise scan.failures[-1][1]
            plan = self._plan_for(scan.identity.device)
        plan.at(self._inverters_time())
        await self._read_all(plan, words, scan)
        if not scan.reads_ok:
            raise scan.failures[-1][1] if scan.failures else Refusal(2)
        scan.identity = self._identify(words)
        if (
            self._plan_for(scan.identity.device) is not plan
        ):  # another inverter answers: what was read is half of each
            plan = self._plan_for(scan.identity.device)
            words.clear()
            plan.at(self._inverters_time())
            await self._read_all(plan, words, scan)
        self._note_time(words)
        scan.taken = self._clock.now()
        hidden = self._hidden
        scan.measured = [
            Measured(register, decode(register, found), register not in hidden)
            for register in plan.registers
            if (found := words.get(register)) is not None
        ]
        scan.seconds = self._clock.monotonic() - started
        return scan

    def _plan_for(self, device: Device | None) -> AdaptivePlan:
        if self._plan is None or self._plan_device != device:
            self._plan_device = device
            chosen = self.selected()
            have, identity = set(chosen), set(self._identity_plan.registers)
            needed = PAGE | METERS.keys() if self._settings.smart_meter else PAGE
            extra = [
                r
                for r in self._catalogue.registers
                if r not in have
                and (r in identity or (r.name in needed and device is not None and applies(r, device)))
            ]
            self._hidden = frozenset(extra)
            self._plan = AdaptivePlan([*extra, *chosen], self.transport.max_words)
            self._penalties.clear()
        return self._plan

    def _note_time(self, words: Words) -> None:
        """How far the inverter's clock is ahead of UTC: its tables of history follow its own clock."""
        told = inverter_time({r.name: decode(r, found) for r, found in words.items() if r.name in CLOCK})
        if told is not None:
            self._ahead = told - self._clock.now().replace(tzinfo=None)

    def _inverters_time(self) -> datetime:
        """The local time at the inverter now; this machine's until its clock could be read."""
        if self._ahead is None:
            return self._clock.local().replace(tzinfo=None)
        return self._clock.now().replace(tzinfo=None) + self._ahead

    def _identify(self, words: Words) -> Identity:
        values: dict[str, Value | None] = {}
        for register in self._identity_plan.registers:
            found = words.get(register)
            if found is not None:
                numbered = register.name == "device_type_code" and register.states
                raw = replace(register, states={}) if numbered else register
                values[register.name] = decode(raw, found)
        before = self.identity
        code = values.get("device_type_code")
        device = self.configured_device or (
            self._catalogue.device(int(code)) if isinstance(code, int) and code else None
        )
        if device is None and before is not None:
            device = before.device
        serial = self._settings.serial or values.get("serial_number") or (before.serial if before else "")
        rated = values.get("nominal_active_power")
        identity = Identity(
            device,
            str(serial),
            float(rated) * 1000
            if isinstance(rated, (int, float))
            else (before.rated_watts if before else None),
            str(values["output_type"])
            if values.get("output_type")
            else (before.output_type if before else None),
        )
        self._announce(before, identity)
        self._doubt_configured_model(code)
        self.identity = identity
        return identity

    def _announce(self, before: Identity | None, now: Identity) -> None:
        if now.device is None or (before is not None and before.device == now.device):
            return
        if before is not None and before.device is not None:
            log.warning("the inverter changed from %s to %s", before.model, now.model)
        elif now.device.known:
            log.info("found %s, serial number %s", now.model, now.serial or "unknown")
        if not now.device.known:
            log.warning(
                "unknown device type code 0x%04X: reading it as %s. Please report the code with the output of "
                "POST /api/dump-registers, or set inverter: model: in the config file",
                now.device.code,
                now.device.family,
            )

    def _doubt_configured_model(self, code: Value | None) -> None:
        """The config file's word counts, but when the inverter calls itself something else its owner should know."""
        configured = self.configured_device
        if configured is None or self._doubted or not isinstance(code, int):
            return
        told = self._catalogue.device(code)
        if told.known and told.code != configured.code:
            self._doubted = True
            log.warning(
                "the config file says model: %s, the inverter says it is %s: it is read as %s; without model: it is detected",
                configured.model,
                told.model,
                configured.model,
            )

    async def _read_all(self, plan: AdaptivePlan, words: Words, scan: Scan) -> None:
        """Every read of the plan; one that breaks the session gets a second try after the others."""
        queue = [r for r in plan.reads(self._clock.monotonic()) if not self._penalised(r)]
        again: list[Read] = []
        budget, in_a_row = self._settings.retries, 0
        while queue or again:
            second_try = not queue
            batch = again if second_try else queue
            outcomes = await self._ask(batch)
            left, pieces = batch[len(outcomes) :], []
            queue, again = ([], left) if second_try else (left, again)
            for read, outcome in zip(batch, outcomes, strict=False):
                if not isinstance(outcome, TransportError):
                    in_a_row = 0
                    self._keep(plan, read, outcome, words, scan)
                    continue
                self._count(outcome)
                if isinstance(outcome, Refusal):
                    in_a_row = 0
                    if outcome.permanent:
                        pieces += plan.on_refusal(read, self._clock.monotonic())
                    else:
                        scan.failures.append((read, outcome))
                    continue
                await self._close()
                in_a_row += 1
                if in_a_row >= _FAILURES_IN_A_ROW or isinstance(outcome, Unreachable):
                    scan.failures.extend((r, outcome) for r in [read, *pieces, *queue, *again])
                    return
                if not second_try and budget > 0:
                    budget -= 1
                    again.append(read)
                else:
                    scan.failures.append((read, outcome))
                    self._punish(read)
            queue = pieces + queue

    async def _ask(self, batch: Sequence[Read]) -> list[Outcome]:
        """What the inverter says to each read, up to an error that ends the session."""
        try:
            await self._ensure_open()
        except TransportError as error:
            return [error]
        return await self.transport.read_all([(r.kind, r.address, r.count) for r in batch])

    def _keep(self, plan: AdaptivePlan, read: Read, found: Sequence[int], words: Words, scan: Scan) -> None:
        scan.reads_ok += 1
        plan.on_answer(read)
        self._penalties.pop((read.kind, read.address), None)
        for register in read.registers:
            start = register.address - read.address
            words[register] = found[start : start + register.words]

    def _penalised(self, read: Read) -> bool:
        _, until = self._penalties.get((read.kind, read.address), (0, 0.0))
        return self._clock.monotonic() < until

    def _punish(self, read: Read) -> None:
        """A read that broke the session twice is left out for a while: it costs a timeout every time."""
        times = self._penalties.get((read.kind, read.address), (0, 0.0))[0] + 1
        pause = min(_LONGEST_PENALTY, self._settings.scan_interval * 2**times)
        self._penalties[read.kind, read.address] = (times, self._clock.monotonic() + pause)
        log.warning("no answer for %s; the rest goes on, trying it again in %.0f s", read, pause)

    def _count(self, error: TransportError) -> None:
        self.read_errors[error.label] = self.read_errors.get(error.label, 0) + 1

    async def _ensure_open(self) -> None:
        if not self._open:
            await self.transport.open()
            self._open = True

    async def _close(self) -> None:
        self._open = False
        await self.transport.close()

    async def close(self) -> None:
        """End the session, even in the middle of a request."""
        await self._close()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[Transport]:
        """The open transport for a few requests of one's own (raw reads, control writes)."""
        async with self._turn:
            try:
                await self._ensure_open()
                yield self.transport
            except Refusal:
                raise
            except TransportError as error:
                self._count(error)
                await self._close()
                raise
            finally:
                if self._settings.connection not in ("http", "https"):
                    await self._close()

    @asynccontextmanager
    async def exclusive_turn(self) -> AsyncIterator[None]:
        """The inverter to oneself, with no session open: for trying other settings."""
        async with self._turn:
            await self._close()
            yield

    async def read_raw(self, kind: Kind, address: int, count: int) -> Sequence[int]:
        """Words as they are, for support and new models."""
        async with self.exclusive() as transport:
            found: list[int] = []
            while len(found) < count:
                size = min(transport.max_words, count - len(found))
                found += await transport.read(kind, address + len(found), size)
            if len(found) != count:
                raise BrokenReply(f"{len(found)} words instead of {count}")
            return found

"""The read plan: as few reads as possible that cover every selected register.

A read never splits a value and never exceeds the transport's limit. Registers that lie close together share a
read; an inverter that refuses a read because of what lies between them gets it in smaller pieces afterwards,
and a register that it refuses on its own is asked for again only rarely.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sungather.registers.register import Kind, Register

NEAR = (100, 24, 0)
"""Words between two registers that may be read along, from the first try to the most careful one: a request costs more
than the words between, but an inverter may refuse a read for what lies there."""

ASK_AGAIN_AFTER = 3600.0
"""Seconds until a refused register is tried once more."""


@dataclass(frozen=True)
class Read:
    """One request: `count` words from documented address `address`."""

    kind: Kind
    address: int
    count: int
    registers: tuple[Register, ...]

    def __str__(self) -> str:
        return f"{self.kind} {self.address}-{self.address + self.count - 1}"


def plan(registers: Iterable[Register], *, max_words: int, near: int = NEAR[0]) -> list[Read]:
    """The reads that cover the registers, by kind and address."""
    reads: list[Read] = []
    block: list[Register] = []
    end = 0
    for register in sorted(registers, key=lambda r: (r.kind != Kind.INPUT, r.address, -r.words)):
        if register.words > max_words:
            raise ValueError(f"{register.name} has {register.words} words, a read has at most {max_words}")
        joins = (
            block
            and block[0].kind == register.kind
            and register.address - end <= near
            and max(end, register.end) - block[0].address <= max_words
        )
        if not joins:
            if block:
                reads.append(_read(block, end))
            block, end = [], register.address
        block.append(register)
        end = max(end, register.end)
    if block:
        reads.append(_read(block, end))
    return reads


def _read(block: Sequence[Register], end: int) -> Read:
    return Read(block[0].kind, block[0].address, end - block[0].address, tuple(block))


@dataclass
class AdaptivePlan:
    """A plan that learns what this inverter refuses (Modbus exception 1, 2 or 3)."""

    registers: Sequence[Register]
    max_words: int
    refused: dict[Register, float] = field(default_factory=dict)
    """When each refused register may be asked for again, in monotonic seconds."""
    _usual: list[Read] | None = None
    _care: dict[tuple[Kind, int], int] = field(default_factory=dict)
    """How carefully (index into NEAR) the register at an address is read; 0 unless it was part of a refused read."""

    def at(self, moment: datetime) -> None:
        """Ask for the values of this local time where a register is a table; what was learnt of them stays."""
        moved = {r: now for r in self.registers if (now := r.at(moment)) is not r}
        if not moved:
            return
        self.registers = [moved.get(r, r) for r in self.registers]
        self.refused = {moved.get(r, r): until for r, until in self.refused.items()}
        care = {(now.kind, now.address): self._care.get((r.kind, r.address), 0) for r, now in moved.items()}
        self._care |= care
        self._usual = None

    def reads(self, now: float) -> list[Read]:
        """What to read now. A refused register that is due stands alone."""
        if self._usual is None:
            asked = [r for r in self.registers if r not in self.refused]
            self._usual = []
            for care, near in enumerate(NEAR):
                like = [r for r in asked if self._care.get((r.kind, r.address), 0) == care]
                self._usual += plan(like, max_words=self.max_words, near=near)
        due = [r for r, until in self.refused.items() if until <= now]
        return self._usual + [Read(r.kind, r.address, r.words, (r,)) for r in due]

    def on_refusal(self, read: Read, now: float) -> list[Read]:
        """Learn from a refused read; the smaller reads to try in its place (none when it cannot be cut)."""
        self._usual = None
        clusters = _clusters(read.registers)
        if len(clusters) == 1:
            for register in read.registers:
                self.refused[register] = now + ASK_AGAIN_AFTER
            return []
        care = max(self._care.get((r.kind, r.address), 0) for r in read.registers)
        while care < len(NEAR) - 1:
            care += 1
            self._care.update({(r.kind, r.address): care for r in read.registers})
            pieces = plan(read.registers, max_words=self.max_words, near=NEAR[care])
            if len(pieces) > 1:
                return pieces
        middle = len(clusters) // 2
        return [
            _read([r for cluster in half for r in cluster], max(r.end for r in half[-1]))
            for half in (clusters[:middle], clusters[middle:])
        ]

    def forget(self) -> None:
        """Start learning anew."""
        self.refused.clear()
        self._care.clear()
        self._usual = None

    def on_answer(self, read: Read) -> None:
        """A read that works again is no longer refused."""
        for register in read.registers if self.refused else ():
            if self.refused.pop(register, None) is not None:
                self._usual = None


def _clusters(registers: Sequence[Register]) -> list[list[Register]]:
    """Registers grouped so that those that share words stay together."""
    clusters: list[list[Register]] = []
    end = -1
    for register in sorted(registers, key=lambda r: (r.address, -r.words)):
        if register.address < end:
            clusters[-1].append(register)
        else:
            clusters.append([register])
        end = max(end, register.end)
    return clusters

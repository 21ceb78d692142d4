"""A dump of an inverter's words: what a maintainer needs to support a new model, and what the simulator can replay.

Format: {"format": "sungather-register-dump/1", ..., "input": {"5000": 3587, ...}, "holding": {...}} with documented
addresses. Ranges that the inverter refuses are named under "refused". The serial number is replaced unless told not to.
"""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import Any

from sungather.api.parameters import ActionError
from sungather.application import Application
from sungather.registers.plan import plan
from sungather.registers.register import Kind
from sungather.transports.transport import Refusal

_SERIAL = range(4990, 5000)
_MOST_WORDS = 10_000
_PIECE = 50

Range = tuple[Kind, int, int]


def parse_ranges(text: str, application: Application) -> list[Range]:
    """[(kind, first, last)] from "input 4950-5100, holding 13000-13100"; empty means all that the catalogue knows."""
    if not text.strip():
        reads = plan([r.whole() for r in application.catalogue.registers], max_words=_PIECE * 2)
        return [(r.kind, r.address, r.address + r.count - 1) for r in reads]
    ranges = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(input|holding)\s+(\d+)(?:\s*-\s*(\d+))?\s*", part)
        if not match:
            raise ActionError(f"ranges: {part.strip()!r} is not like: input 4950-5100")
        first, last = int(match[2]), int(match[3] or match[2])
        if not 1 <= first <= last <= 65535:
            raise ActionError(f"ranges: {part.strip()!r} is not within 1-65535")
        ranges.append((Kind(match[1]), first, last))
    if sum(last - first + 1 for _, first, last in ranges) > _MOST_WORDS:
        raise ActionError(f"ranges: at most {_MOST_WORDS} registers at once")
    return ranges


async def dump(application: Application, ranges: list[Range], *, redact: bool) -> dict[str, Any]:
    """Read the ranges piece by piece; a refused piece is read word by word only when it is short."""
    found: dict[Kind, dict[str, int]] = {Kind.INPUT: {}, Kind.HOLDING: {}}
    refused: list[str] = []
    async with application.session.exclusive() as transport:
        for kind, first, last in ranges:
            queue = [(a, min(a + _PIECE - 1, last)) for a in range(first, last + 1, _PIECE)]
            while queue:
                start, end = queue.pop(0)
                try:
                    words = await transport.read(kind, start, end - start + 1)
                except Refusal as error:
                    if end > start and len(refused) < 500:
                        middle = (start + end) // 2
                        queue[:0] = [(start, middle), (middle + 1, end)]
                    else:
                        refused.append(f"{kind} {start}-{end}: exception {error.code}")
                    continue
                found[kind].update({str(start + i): word for i, word in enumerate(words)})
    if redact:
        _redact(found[Kind.INPUT])
    identity = application.session.identity
    return {
        "format": "sungather-register-dump/1",
        "collector": version("sungather"),
        "taken": application.clock.now().isoformat(),
        "model": identity.model if identity else None,
        "unit_id": application.settings.inverter.slave,
        "redacted": redact,
        "input": found[Kind.INPUT],
        "holding": found[Kind.HOLDING],
        "refused": refused,
    }


def _redact(words: dict[str, int]) -> None:
    """Every character of the serial number becomes X; padding stays, so that its length still shows."""
    for address in _SERIAL:
        word = words.get(str(address))
        if word is not None:
            high, low = word >> 8, word & 0xFF
            words[str(address)] = (0x58 if high not in (0, 0xFF) else high) << 8 | (
                0x58 if low not in (0, 0xFF) else low
            )

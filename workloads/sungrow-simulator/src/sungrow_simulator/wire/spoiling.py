"""Spoiling: what a wire fault does to a reply, to the frame around it, and to the bytes on their way."""

from __future__ import annotations

import asyncio
import hashlib

from sungrow_simulator.faults import Fault

DRIP = 1.0
"""Seconds between the bytes of a slow answer."""

ON_BYTES = frozenset({Fault.RESET, Fault.SILENT, Fault.SLOW, Fault.HALF, Fault.GARBAGE})
ON_REPLY = frozenset(fault for fault in Fault if fault.exception) | {Fault.SHORT}
ON_FRAME = frozenset({Fault.WRONG_TRANSACTION, Fault.WRONG_UNIT, Fault.OVERSIZE})


def spoil_reply(fault: Fault | None, request: bytes, reply: bytes) -> bytes:
    """The reply with an exception instead, or with the last of its words missing."""
    if fault is not None and fault.exception:
        return bytes((request[0] | 0x80, fault.exception))
    if fault is Fault.SHORT and reply[0] in (3, 4) and reply[1] >= 2:
        return bytes((reply[0], reply[1] - 2)) + reply[2:-2]
    return reply


def spoil_frame(fault: Fault | None, frame: bytes) -> bytes:
    """The Modbus TCP frame with something in its header that does not fit."""
    if fault is Fault.WRONG_TRANSACTION:
        return bytes((frame[0] ^ 0x55, frame[1] ^ 0x55)) + frame[2:]
    if fault is Fault.WRONG_UNIT:
        return frame[:6] + bytes((frame[6] ^ 0x7F,)) + frame[7:]
    if fault is Fault.OVERSIZE:
        return frame[:4] + b"\xff\xff" + frame[6:]
    return frame


async def send(fault: Fault | None, writer: asyncio.StreamWriter, data: bytes) -> None:
    """Put an answer on the wire, or what is left of it."""
    if fault is Fault.RESET:
        writer.transport.abort()
        raise ConnectionResetError("by a scheduled fault")
    if fault is Fault.SILENT:
        return
    if fault is Fault.SLOW:
        for at in range(len(data)):
            writer.write(data[at : at + 1])
            await writer.drain()
            await asyncio.sleep(DRIP)
        return
    if fault is Fault.HALF:
        data = data[: len(data) // 2]
    elif fault is Fault.GARBAGE:
        data = hashlib.sha256(data).digest()
    writer.write(data)
    await writer.drain()

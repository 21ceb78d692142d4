"""Spoiling: what a wire fault does to a reply, to the frame around it, and to the bytes on their way."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
from collections.abc import Callable

from sungrow_simulator.faults import Fault
from sungrow_simulator.wire.answers import refusal

DRIP = 1.0
"""Seconds between the bytes of a slow answer."""

NO_FAREWELL = struct.pack("ii", 1, 0)
"""To linger for zero seconds: the socket ends with a reset, whatever is still unread."""

ON_BYTES = frozenset({Fault.RESET, Fault.SILENT, Fault.SLOW, Fault.HALF, Fault.GARBAGE})
ON_REPLY = frozenset(fault for fault in Fault if fault.exception) | {Fault.SHORT}
ON_FRAME = frozenset({Fault.WRONG_TRANSACTION, Fault.WRONG_UNIT, Fault.OVERSIZE})


def spoiled_reply(fault: Fault | None, request: bytes, answer: Callable[[], bytes | None]) -> bytes | None:
    """An exception, and nothing is read or written; or what `answer` gives, perhaps without its last word."""
    if fault is not None and fault.exception:
        return refusal(request[0], fault.exception)
    reply = answer()
    if fault is Fault.SHORT and reply and reply[0] in (3, 4) and reply[1] >= 2:
        return bytes((reply[0], reply[1] - 2)) + reply[2:-2]
    return reply


def spoiled_frame(fault: Fault | None, frame: bytes) -> bytes:
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
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_FAREWELL)
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

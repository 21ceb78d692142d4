"""Large answers in gzip, for those who take it, as the API server sends them."""

from __future__ import annotations

import asyncio
import zlib

from slipway.cluster.exchange import Request
from slipway.cluster.server.wire import GZIP_LEVEL

SLICE = 256 * 1024  # bytes compressed before other tasks get a turn


def accepts_gzip(request: Request) -> bool:
    offered = request.headers.get("accept-encoding", "")
    return "gzip" in offered and any(part.split(";")[0].strip() == "gzip" for part in offered.split(","))


async def gzip(body: bytes) -> bytes:
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    parts = []
    for start in range(0, len(body), SLICE):
        parts.append(compressor.compress(body[start : start + SLICE]))
        await asyncio.sleep(0)
    parts.append(compressor.flush())
    return b"".join(parts)

"""Two connections joined: bytes of each go to the other, until either has no more."""

from __future__ import annotations

import asyncio

from slipway.cluster.exchange import Duplex


async def join(one: Duplex, other: Duplex) -> None:
    """Returns when one of them ends; closing both is for the caller."""
    ways = [asyncio.create_task(_carry(one, other)), asyncio.create_task(_carry(other, one))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _carry(source: Duplex, sink: Duplex) -> None:
    while data := await source.read():
        await sink.write(data)

"""Run by judge.py: HOST WS-PORT HTTP-PORT -> what a client of rebranded WiNet-S dongles saw, as JSON."""

import asyncio
import json
import sys

import aiohttp
from intelbras_solar_local.winet import WiNetClient


async def main() -> None:
    async with aiohttp.ClientSession() as session:
        client = WiNetClient(sys.argv[1], session, port=int(sys.argv[2]), http_port=int(sys.argv[3]))
        status = await client.async_get_status()
        info = await client.async_get_info()
        print(json.dumps({"model": status.model, "firmware": info.firmware_version}))


asyncio.run(main())

"""Takes the screenshots of the docs: phone and desktop, light and dark, with headless Chromium.

Run: python workloads/sungather/docs/screenshots.py [folder]

What they show is real: the collector has read a simulated SH10RT for a fortnight (on a clock of its own, so that this
takes seconds), delivers to a private mosquitto where one is installed, and has a database that is down.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from aiohttp import web

from sungather.api.server import serve
from sungather.application import Application
from sungather.configuration.settings import load
from sungather.registers.catalogue import built_in
from sungather.registers.register import Kind
from sungather.transports.transport import Asked, Outcome, one_by_one
from sungrow_simulator.inverter import Inverter

SIZES = {"phone": (390, 2200), "desktop": (1280, 1560)}
END = datetime(2026, 6, 21, 15, 20, tzinfo=UTC)
STEP = timedelta(minutes=5)
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=5000",
]


class Plant:
    """The simulated inverter and the clock that both live by; a transport without a wire."""

    max_words = 125
    name = "simulated"

    def __init__(self, start: datetime) -> None:
        self.inverter = Inverter("SH10RT", start.replace(tzinfo=None), 7)
        self._now, self._followed = start, False
        self._zero = 0.0

    def advance(self, step: timedelta) -> None:
        self.inverter.advance(step.total_seconds())
        self._now += step

    def follow(self) -> None:
        """From now on time passes as it does for everyone."""
        self._zero, self._followed = asyncio.get_running_loop().time(), True

    def now(self) -> datetime:
        passed = asyncio.get_running_loop().time() - self._zero if self._followed else 0.0
        return self._now + timedelta(seconds=passed)

    def local(self) -> datetime:
        return self.now()

    def monotonic(self) -> float:
        return self._now.timestamp() + asyncio.get_running_loop().time()

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def read(self, kind: Kind, address: int, count: int) -> Sequence[int]:
        words = self.inverter.words(str(kind))
        return [words.get(address + i, 0xFFFF) for i in range(count)]

    async def read_all(self, asked: Sequence[Asked]) -> list[Outcome]:
        return await one_by_one(self, asked)

    async def write(self, address: int, words: Sequence[int]) -> None: ...


def application(folder: Path, plant: Plant, exports: list[dict[str, object]]) -> Application:
    """A collector of this plant; its state stays in the folder."""
    config = {
        "inverter": {"host": "192.168.1.100", "level": 2},
        "exports": exports,
        "collector": {"state_folder": str(folder / "state")},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return Application(load(path), built_in(), clock=plant, new_transport=lambda _: plant)


async def fortnight(folder: Path, plant: Plant) -> None:
    """Read every five minutes until the afternoon of the last day."""
    collector = application(folder, plant, [])
    while plant.now() < END:
        plant.advance(STEP)
        await collector.collector.collect()
    await collector.stop()


def broker(folder: Path, port: int) -> subprocess.Popen[bytes] | None:
    """A private mosquitto, where one is installed."""
    program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        return None
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    return subprocess.Popen([program, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def framed(page: str) -> AsyncIterator[str]:
    """An address that shows the page as wide and high as asked: Chromium's own window is never as narrow as a phone."""

    async def frame(request: web.Request) -> web.Response:
        style = f"display:block;border:0;width:{request.query['width']}px;height:{request.query['height']}px"
        text = f'<body style="margin:0"><iframe src="{page}" style="{style}"></iframe>'
        return web.Response(text=text, content_type="text/html")

    site = web.Application()
    site.router.add_get("/", frame)
    runner = web.AppRunner(site)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        await runner.cleanup()


async def shoot(frame: str, target: Path, size: tuple[int, int], *, dark: bool) -> None:
    """One picture."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("needs Chromium (Debian package chromium)")
    with tempfile.TemporaryDirectory() as profile:
        command = [chromium, *QUIET, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"]
        command += ["--blink-settings=preferredColorScheme=0"] if dark else []
        process = await asyncio.create_subprocess_exec(
            *command,
            f"--screenshot={target}",
            f"{frame}?width={size[0]}&height={size[1]}",
            env={**os.environ, "LANGUAGE": "en_GB"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        async with asyncio.timeout(120):
            await process.wait()


async def main(pictures: Path) -> None:
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plant = Plant((END - timedelta(days=13)).replace(hour=0, minute=0))
        await fortnight(folder, plant)
        plant.follow()
        port = free_port()
        mosquitto = broker(folder, port)
        exports: list[dict[str, object]] = [
            {"name": "webserver", "enabled": True, "host": "127.0.0.1", "port": 0},
            {"name": "mqtt", "enabled": True, "host": "127.0.0.1", "port": port},
            {
                "name": "influxdb",
                "enabled": True,
                "url": f"http://127.0.0.1:{free_port()}",
                "bucket": "sun",
                "measurements": [{"point": "power", "register": "total_active_power"}],
            },
        ]
        shown = application(folder, plant, exports)
        async with serve(shown) as bound, framed(f"http://127.0.0.1:{bound[0][1]}/") as frame:
            await shown.start()
            await asyncio.sleep(4)
            for device, size in SIZES.items():
                for dark in (False, True):
                    target = pictures / f"{device}-{'dark' if dark else 'light'}.png"
                    await shoot(frame, target, size, dark=dark)
                    print(target)
        await shown.stop()
        if mosquitto is not None:
            mosquitto.terminate()
            mosquitto.wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images"))

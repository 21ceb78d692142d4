"""The web page in a real browser (acceptance point 51; issue 4, point 6)."""

from __future__ import annotations

import asyncio
import re
import shutil

import pytest

from sungather.api.server import serve

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=4000",
    "--dump-dom",
]
WEB = {"name": "webserver", "enabled": True, "port": 0, "host": "127.0.0.1"}


async def dom(url: str, profile, *flags: str) -> str:
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *FLAGS,
        f"--user-data-dir={profile}",
        *flags,
        url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 110)
    return out.decode()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian package chromium)")
async def test_the_page_in_a_browser_shows_the_readings_and_is_accessible(run, hybrid, tmp_path):
    mqtt = {"name": "mqtt", "enabled": True, "host": "127.0.0.1", "port": 1, "topic": "<b>x</b>"}
    application = run({"port": hybrid.port}, [WEB, mqtt])
    await application.collector.collect()
    async with serve(application) as bound:
        page = await dom(f"http://127.0.0.1:{bound[0][1]}/", tmp_path / "profile", "--window-size=390,844")
    text = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.S)
    for shown in (
        "SH10RT",
        "A2290112345",
        "5.00",
        "1.20",
        "feeding in",
        "charging",
        "66",
        "online",
        "11.0 kWh",
        "starting",
    ):
        assert shown in text, shown
    assert 'role="img"' in text
    assert 'aria-label="Power on 2026-11-21' in text
    assert "battery level" in text
    # every control has a name, every table its column headings, every section its heading; one h1, levels in order
    for control in re.findall(r"<input[^>]*>", text):
        identity = re.search(r'id="(\w+)"', control)[1]
        assert re.search(rf'<label>\s*<span class="hide">[^<]+</span>\s*<input[^>]*id="{identity}"', text), (
            control
        )
    for section in re.findall(r"<section[^>]*>", text):
        heading = re.search(r'aria-labelledby="([\w-]+)"', section)[1]
        assert f'id="{heading}"' in text
    for table in re.findall(r"<table>.*?</table>", text, flags=re.S):
        assert 'scope="col"' in table
    assert text.count("<h1") == 1
    assert "<main" in text
    assert "<h3" not in text


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian package chromium)")
async def test_the_page_of_an_inverter_without_meter_and_battery_shows_no_empty_rows(
    run, string_inverter, tmp_path
):
    application = run({"port": string_inverter.port}, [WEB])
    await application.collector.collect()
    async with serve(application) as bound:
        page = await dom(f"http://127.0.0.1:{bound[0][1]}/", tmp_path / "profile")
    text = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.S)
    assert "SG10RT" in text
    assert "22.2 kWh" in text
    assert "not measured" in text
    for absent in ("Battery", "From the grid", "Independence", "Used (kWh)"):
        assert absent not in text, absent


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_enough_contrast_in_both_colour_schemes(scheme):
    from importlib.resources import files

    page = (files("sungather.api") / "page.html").read_text()
    blocks = re.findall(r":root \{(.*?)\}", page, flags=re.S)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[0 if scheme == "light" else 1]))
    for ground in ("ground", "card"):
        for ink in ("ink", "soft", "good", "warn", "bad", "home"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    for graphic in ("sun", "grid", "home", "battery"):
        assert contrast(colours[graphic], colours["card"]) >= 3, graphic

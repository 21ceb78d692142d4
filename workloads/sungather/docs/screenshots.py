"""Takes the screenshots of the docs: phone and desktop, light and dark, with headless Chromium.

Run: python workloads/sungather/docs/screenshots.py http://127.0.0.1:8080/ [folder]
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SIZES = {"phone": (390, 844), "desktop": (1280, 960)}
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


def shoot(url: str, target: Path, size: tuple[int, int], *, dark: bool) -> None:
    """One picture."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("needs Chromium (Debian package chromium)")
    with tempfile.TemporaryDirectory() as profile:
        command = [chromium, *QUIET, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"]
        command += ["--blink-settings=preferredColorScheme=0"] if dark else []
        subprocess.run(
            [*command, f"--screenshot={target}", url], check=True, capture_output=True, timeout=120
        )


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit("usage: screenshots.py URL [folder]")
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent / "images"
    folder.mkdir(parents=True, exist_ok=True)
    for name, size in SIZES.items():
        for dark in (False, True):
            target = folder / f"{name}-{'dark' if dark else 'light'}.png"
            shoot(sys.argv[1], target, size, dark=dark)
            print(target)


if __name__ == "__main__":
    main()

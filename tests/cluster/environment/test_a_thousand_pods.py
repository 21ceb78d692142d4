"""A thousand simulated pods in one process: all of them run, within bounds of time and memory."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
MEGABYTES = 160  # of the whole process; 115 where this was written, of them 60 before the first pod


def test_a_thousand_pods_become_ready_in_bounded_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.pods", "1000", "10"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ready: 1000 " in done.stdout
    found = re.search(r"memory: (\d+) MB", done.stdout)
    assert found is not None
    assert int(found.group(1)) < MEGABYTES, done.stdout
    assert done.stderr == ""

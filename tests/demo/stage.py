"""What the scenes share: a running cluster, kubectl, steps that are printed with their times."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class SceneFailed(Exception):
    """A scene did not go as it should; the text says what was seen."""


class SceneSkipped(Exception):
    """This machine lacks what the scene needs; the text says what, and how it comes."""


class Stage:
    """`home` keeps the demo's clusters apart from the user's own."""

    def __init__(self, name: str, home: Path) -> None:
        self.name = name
        self.home = home
        self.began = time.monotonic()
        self.kubeconfig = home / "clusters" / name / "kubeconfig"

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:7.2f}s  {text}", flush=True)

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Say what is done, and afterwards how long it took."""
        self.say(text)
        start = time.monotonic()
        yield
        self.say(f"    done in {time.monotonic() - start:.2f}s")

    def environment(self) -> dict[str, str]:
        tools = ROOT / ".slipway" / "tools" / "bin"
        return {
            **os.environ,
            "SLIPWAY_HOME": str(self.home),
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": f"{Path(sys.executable).parent}:{tools}:{os.environ['PATH']}",
        }

    def run(self, *command: str, text: str | None = None, timeout: float = 120) -> str:
        """Run a program; SceneFailed with what it said when it fails."""
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            env=self.environment(),
            timeout=timeout,
            check=False,
        )
        if done.returncode != 0:
            raise SceneFailed(f"{' '.join(command)}\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
        return done.stdout

    def slipway(self, *words: str) -> str:
        return self.run(sys.executable, "-m", "slipway.cli", *words)

    def kubectl(self, *words: str, text: str | None = None) -> str:
        return self.run(self.tool("kubectl"), *words, text=text)

    def tool(self, name: str) -> str:
        """Where kubectl or Helm is; SceneSkipped when the machine has none."""
        program = shutil.which(name, path=self.environment()["PATH"])
        if program is None:
            raise SceneSkipped(f"{name} is not on PATH and could not be built: `make tools` says why")
        return program

    def show(self, text: str) -> None:
        for line in text.rstrip().splitlines():
            self.say(f"    {line}")

    def get(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def until(self, what: str, holds: Callable[[], Any], timeout: float = 60) -> Any:
        """What `holds` returns as soon as it is true; SceneFailed when that never happens."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            found = holds()
            if found:
                return found
            time.sleep(0.1)
        raise SceneFailed(f"{what}: not within {timeout:g} s")

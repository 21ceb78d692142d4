"""Builds what a suite in Go is made of, and reads what its tests said.

`go` is the program, or the words in the variable GO (`GO="nice -n 5 go"`). Programs are built in a copy of the checkout,
with the module and build caches of whoever runs this.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path


def go(*words: str) -> list[str]:
    return [*shlex.split(os.environ.get("GO", "go")), *words]


def caches() -> dict[str, str]:
    """Where modules and built packages are kept, as variables: tests have a home of their own."""
    names = ("GOCACHE", "GOMODCACHE", "GOPATH")
    done = subprocess.run(go("env", *names), capture_output=True, text=True, check=True)
    return dict(zip(names, done.stdout.split(), strict=True))


def build_commands(programs: Mapping[str, str], checkout: Path) -> list[list[str]]:
    """The command that makes each program: `bin/manager: build ./cmd` is `go build -o CHECKOUT/bin/manager ./cmd`."""
    made = []
    for path, words in programs.items():
        verb, *rest = shlex.split(words)
        made.append(go(verb, *(["-c"] if verb == "test" else []), "-o", str(checkout / path), *rest))
    return made


def as_events(words: Sequence[str]) -> list[str]:
    """A test binary's command, so that it prints a JSON event a line."""
    return go("tool", "test2json", "-t", *words, "-test.v")


def without(names: Iterable[str]) -> list[str]:
    """The flag that leaves out tests, each named SUITE/TEST or SUITE."""
    patterns = ["/".join(f"^{re.escape(part)}$" for part in name.split("/")) for name in names]
    return [f"-test.skip={'|'.join(patterns)}"] if patterns else []


def specs(report: Path, left_out: Iterable[str]) -> list[str]:
    """The flags of a Ginkgo suite: where it reports, and which specs it skips, by a part of their names."""
    skips = [f"--ginkgo.skip={re.escape(part)}" for part in left_out]
    return [f"--ginkgo.junit-report={report}", "--ginkgo.v", *skips]


def only(name: str) -> str:
    """The flag that runs one test."""
    return "-test.run=" + "/".join(f"^{re.escape(part)}$" for part in name.split("/"))


def read_events(path: Path) -> dict[str, tuple[str, str]]:
    """How each test ended (passed, failed, skipped), and why it was skipped. A test that has subtests is not counted:
    they are, unless it failed by itself. One that never ended, since the program did, has failed."""
    ended: dict[str, str] = {}
    printed: dict[str, str] = {}
    for line in path.read_text(errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # what a program of theirs wrote past the test framework
        if not isinstance(event, dict) or not event.get("Test"):
            continue
        name, action = event["Test"], event["Action"]
        if action == "run":
            ended[name] = "failed"
        elif action in _STATES:
            ended[name] = _STATES[action]
        elif action == "output" and (found := _WHERE.match(event["Output"])):
            printed[name] = found[1].strip()
    kept: dict[str, tuple[str, str]] = {}
    for name, state in ended.items():
        below = [one for other, one in ended.items() if other.startswith(f"{name}/")]
        if not below or (state == "failed" and "failed" not in below):
            kept[name] = (state, printed.get(name, "") if state == "skipped" else "")
    return kept


_STATES = {"pass": "passed", "fail": "failed", "skip": "skipped"}
_WHERE = re.compile(r"\s+\S+\.go:\d+: (.+)")

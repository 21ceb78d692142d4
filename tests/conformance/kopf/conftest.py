"""Small operators of our own, run by unmodified kopf: each test starts one and reads what its handlers wrote down.

A handler tells what it saw with `journal.note`, one JSON line; a test waits for the line. Everything else is seen
through the cluster. Which feature of kopf is covered where: docs/reference/kopf.md.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from slipway.cluster.environment.test_cluster import TestCluster

HERE = Path(__file__).parent
OPERATORS = HERE / "operators"
DEFINITIONS = HERE / "definitions.yaml"
PEERINGS = HERE / "peerings.yaml"
PATIENCE = 30.0
KOPF = [sys.executable, "-m", "kopf"]
# The same where no client library is installed beside kopf: it then logs in by itself, by all that the kubeconfig's
# context says, and starts in a third of the time. Only operators that make children need the library.
KOPF_ALONE = [
    sys.executable,
    "-c",
    "import sys; sys.modules.update(kubernetes=None, kubernetes_asyncio=None, pykube=None); "
    "from kopf.cli import main; main(prog_name='kopf')",
]
WITH_CLIENT_LIBRARY = {"family"}
Note = dict[str, Any]


class Journal:
    """What the handlers of an operator have written down so far."""

    def __init__(self, path: Path, log: Path) -> None:
        self.path = path
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def notes(self, what: str = "", **facts: Any) -> list[Note]:
        """All notes of that word and with those facts, the first one first."""
        if not self.path.exists():
            return []
        lines = self.path.read_text().split("\n")[
            :-1
        ]  # what follows the last line break is still being written
        notes = [json.loads(line) for line in lines]
        return [
            note
            for note in notes
            if (not what or note["what"] == what) and all(note.get(key) == facts[key] for key in facts)
        ]

    def wait(self, what: str, *, count: int = 1, **facts: Any) -> Note:
        """The `count`-th such note as soon as it is there."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            found = self.notes(what, **facts)
            if len(found) >= count:
                return found[count - 1]
            time.sleep(0.02)
        wanted = f"{what} {facts}" + (f" {count} times" if count > 1 else "")
        written = "\n".join(map(str, self.notes()))
        raise AssertionError(f"no note of {wanted}; written:\n{written}\n{self.log[-3000:]}")

    def wait_log(self, text: str) -> None:
        """Until the operator's log has `text` in it."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if text in self.log:
                return
            time.sleep(0.02)
        raise AssertionError(f"{text!r} is not in the log:\n{self.log[-3000:]}")


class Running(Journal):
    """An operator's process and its journal."""

    def __init__(self, path: Path, log: Path, process: subprocess.Popen[bytes]) -> None:
        super().__init__(path, log)
        self.process = process

    def stop(self) -> None:
        """End it as Kubernetes would, with SIGTERM, and wait until it has left."""
        self.process.terminate()
        assert self.process.wait(20) == 0, self.log[-3000:]


class Run(Protocol):
    """`with run("changes") as operator:`; words go to `kopf run`, the test's namespace when there are none."""

    def __call__(
        self, operator: str, *words: str, **variables: str
    ) -> contextlib.AbstractContextManager[Running]: ...


@pytest.fixture
def run(cluster: TestCluster, tmp_path: Path) -> Run:
    started = 0

    @contextlib.contextmanager
    def run(operator: str, *words: str, **variables: str) -> Iterator[Running]:
        nonlocal started
        started += 1
        journal, log = tmp_path / f"{operator}-{started}.journal", tmp_path / f"{operator}-{started}.log"
        chosen = words or ("--standalone", "-n", cluster.namespace)
        program = KOPF if operator in WITH_CLIENT_LIBRARY else KOPF_ALONE
        command = [*program, "run", *chosen, str(OPERATORS / f"{operator}.py")]
        with cluster.process(command, variables={"JOURNAL": str(journal), **variables}, log=log) as process:
            yield Running(journal, log, process)

    return run


@pytest.fixture
def samples(cluster: TestCluster) -> Callable[..., Note]:
    """The definitions, applied; call it to make a Sample and get it as a dict."""
    cluster.apply(DEFINITIONS)

    def sample(name: str, spec: Any = None, **metadata: Any) -> Note:
        obj = {
            "apiVersion": "conformance.example.com/v1",
            "kind": "Sample",
            "metadata": {"name": name, **metadata},
            "spec": spec or {},
        }
        cluster.apply(obj)
        return obj

    return sample

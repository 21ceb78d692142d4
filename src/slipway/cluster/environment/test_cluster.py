"""A cluster as one test sees it, embedded or real: everything goes through its kubeconfig."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from slipway.cluster.environment.cluster import Cluster
from slipway.cluster.environment.embedded import ClusterError

Object = dict[str, Any]


class TestCluster:
    """`namespace` is fresh and deleted afterwards; `kubeconfig` names it as the default."""

    __test__ = False  # not a test class, whatever its name says

    def __init__(self, kubeconfig: Path, namespace: str, embedded: Cluster | None) -> None:
        self.kubeconfig = kubeconfig
        self.namespace = namespace
        self.embedded = embedded
        self._cluster_scoped: list[tuple[str, str]] = []

    @classmethod
    def of(cls, cluster: Cluster, folder: Path) -> Self:
        namespace = f"test-{uuid.uuid4().hex[:8]}"
        return cls(cluster.write_kubeconfig(folder / "kubeconfig", namespace), namespace, cluster)

    @classmethod
    def at(cls, kubeconfig: str, folder: Path) -> Self:
        namespace = f"test-{uuid.uuid4().hex[:8]}"
        document = yaml.safe_load(Path(kubeconfig).read_text())
        current = next(c for c in document["contexts"] if c["name"] == document["current-context"])
        current["context"]["namespace"] = namespace
        path = folder / "kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(document))
        return cls(path, namespace, None)

    def __enter__(self) -> Self:
        self.kubectl("create", "namespace", self.namespace)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for resource, name in reversed(self._cluster_scoped):
            self.kubectl("delete", resource, name, "--ignore-not-found", "--wait=false")
        self.kubectl("delete", "namespace", self.namespace, "--wait=false", "--ignore-not-found")

    def environment(self) -> dict[str, str]:
        """Variables for a child process that is to talk to this cluster."""
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def kubectl(self, *words: str, text: str | None = None, check: bool = True) -> str:
        """Run the real kubectl; its output. ClusterError with what it said when it fails (unless not `check`)."""
        program = shutil.which("kubectl")
        if program is None:
            raise ClusterError("kubectl is not on PATH: `make tools` builds it into .slipway/tools/bin")
        done = subprocess.run(
            [program, "--kubeconfig", str(self.kubeconfig), *words],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            raise ClusterError(f"kubectl {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def apply(self, *what: str | Path | Object) -> None:
        """kubectl apply of files, YAML texts or objects. Cluster-scoped objects are removed after the test."""
        for one in what:
            if isinstance(one, Path) or (isinstance(one, str) and "\n" not in one and Path(one).exists()):
                text = Path(one).read_text()
            else:
                text = one if isinstance(one, str) else json.dumps(one)
            listed = self.kubectl("apply", "-f", "-", "-o", "json", text=text)
            document = json.loads(listed)
            for obj in document["items"] if document.get("kind") == "List" else [document]:
                if "namespace" not in obj["metadata"]:
                    group, _, _ = obj["apiVersion"].rpartition("/")
                    kind = obj["kind"].lower()
                    self._cluster_scoped.append(
                        (f"{kind}.{group}" if group else kind, obj["metadata"]["name"])
                    )

    def get(self, resource: str, name: str = "", *, namespace: str = "") -> Object | None:
        """The object as the API has it, None when it does not exist; without a name, the list."""
        words = ["get", resource, *([name] if name else []), "-o", "json", "--ignore-not-found"]
        if namespace:
            words += ["-n", namespace]
        text = self.kubectl(*words)
        return json.loads(text) if text.strip() else None

    def wait(
        self, resource: str, name: str, condition: Callable[[Object], Any], *, timeout: float = 30.0
    ) -> Object:
        """The object as soon as `condition` holds of it; ClusterError with its last state when it never does."""
        end = time.monotonic() + timeout
        obj: Object | None = None
        while time.monotonic() < end:
            obj = self.get(resource, name)
            if obj is not None and condition(obj):
                return obj
            time.sleep(0.1)
        raise ClusterError(
            f"{resource} {name}: not as wanted within {timeout:g} s; last seen: {json.dumps(obj)}"
        )

    def wait_gone(self, resource: str, name: str, *, timeout: float = 30.0) -> None:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.get(resource, name) is None:
                return
            time.sleep(0.1)
        raise ClusterError(f"{resource} {name}: still there after {timeout:g} s")

    @contextlib.contextmanager
    def process(
        self, command: Sequence[str], *, variables: Mapping[str, str] | None = None, log: Path | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run an operator (or anything) beside the test, with KUBECONFIG set; ended with the block."""
        path = log or self.kubeconfig.with_name(f"process-{uuid.uuid4().hex[:6]}.log")
        with path.open("wb") as output:
            running = subprocess.Popen(
                list(command),
                env={**self.environment(), **(variables or {})},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                yield running
                if running.poll() not in {None, 0}:
                    raise ClusterError(
                        f"{command[0]} ended with {running.returncode}:\n{path.read_text()[-2000:]}"
                    )
            finally:
                running.terminate()
                try:
                    running.wait(10)
                except subprocess.TimeoutExpired:
                    running.kill()
                    running.wait()

    def advance(self, seconds: float) -> None:
        """Let cluster time pass (only with `@pytest.mark.cluster(virtual_time=True)`)."""
        if self.embedded is None:
            raise ClusterError("a real cluster's time cannot be advanced")
        self.embedded.advance(seconds)

    def run(self, work: Any) -> Any:
        """Run a coroutine in the embedded cluster's loop."""
        if self.embedded is None:
            return asyncio.run(work)
        return self.embedded.run(work)

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
from typing import Any, Self, TypeVar

import yaml

from slipway.cluster.client.resources import CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, ApiResource
from slipway.cluster.environment.blocking_client import BlockingClient
from slipway.cluster.environment.cluster import Cluster
from slipway.cluster.environment.embedded import ClusterError
from slipway.cluster.exchange import Response
from slipway.cluster.faults import Faults
from slipway.cluster.status import StatusError

Object = dict[str, Any]
T = TypeVar("T")
FIELD_MANAGER = "slipway-test"
CLEAN_SECONDS = 10.0
"""How long the end of a test waits for what it made cluster-wide to be gone."""


class TestCluster:
    """`namespace` is fresh and deleted afterwards; `kubeconfig` names it as the default."""

    __test__ = False  # not a test class, whatever its name says

    def __init__(self, kubeconfig: Path, namespace: str, embedded: Cluster | None) -> None:
        self.kubeconfig = kubeconfig
        self.namespace = namespace
        self.embedded = embedded
        self._api = BlockingClient(kubeconfig, FIELD_MANAGER)
        self._namespaces: list[str] = []
        self._cluster_scoped: list[tuple[ApiResource, Object]] = []

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
        self._api.__enter__()
        self.new_namespace(self.namespace)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self.embedded is not None:
                self.embedded.faults.clear()
            self._clean()
        finally:
            self._api.__exit__(kind, error, trace)

    def _clean(self) -> None:
        """Delete what the test made. What it made cluster-wide is gone, or nearly so, when this returns."""
        for resource, obj in reversed(self._cluster_scoped):
            self._delete(resource, obj["metadata"]["name"], "")
        for namespace in self._namespaces:
            self._delete(NAMESPACES, namespace, "")
        end = time.monotonic() + CLEAN_SECONDS
        left = list(self._cluster_scoped)
        while left and time.monotonic() < end:
            for resource, obj in left:
                if resource == CUSTOM_RESOURCE_DEFINITIONS:
                    self._release(obj)
            left = [one for one in left if self._read(one[0], one[1]["metadata"]["name"], "") is not None]
            time.sleep(0.02)

    def _release(self, definition: Object) -> None:
        """Take the finalizers off the custom objects in our namespaces: who set them has left with the test.

        Otherwise the definition would stay, half deleted, and the next test could not apply it.
        """
        spec = definition["spec"]
        if spec["scope"] != "Namespaced":
            return
        version = next(version["name"] for version in spec["versions"] if version["served"])
        names = spec["names"]
        resource = ApiResource(spec["group"], version, names["plural"], names["kind"])
        for namespace in self._namespaces:
            with contextlib.suppress(StatusError):
                for obj in self._api.call(self._api.client.list(resource, namespace))["items"]:
                    if obj["metadata"].get("finalizers"):
                        self.patch(
                            resource,
                            obj["metadata"]["name"],
                            {"metadata": {"finalizers": None}},
                            namespace=namespace,
                        )

    def environment(self) -> dict[str, str]:
        """Variables for a child process that is to talk to this cluster."""
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def new_namespace(self, name: str = "") -> str:
        """Make one more namespace, deleted after the test, and return its name."""
        name = name or f"{self.namespace}-{len(self._namespaces)}"
        self._api.call(self._api.client.create(NAMESPACES, {"metadata": {"name": name}}))
        self._namespaces.append(name)
        return name

    def kubectl(self, *words: str, text: str | None = None, check: bool = True) -> str:
        """Run the real kubectl; its output. ClusterError with what it said when it fails (unless not `check`)."""
        program = shutil.which("kubectl")
        if program is None:
            raise ClusterError(
                "there is no kubectl on PATH: install one, or use apply, get, patch, delete, wait"
            )
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
        """Server-side apply of files, YAML texts or objects, in the test's namespace unless they name another.

        Cluster-scoped objects are removed after the test. A definition is served when this returns.
        """
        for one in what:
            for obj in _objects(one):
                resource = self._api.of(obj)
                if resource.namespaced and "namespace" not in obj["metadata"]:
                    obj = {**obj, "metadata": {**obj["metadata"], "namespace": self.namespace}}
                made = self._api.call(
                    self._api.client.apply(resource, obj, field_manager=FIELD_MANAGER, force=True)
                )
                if not resource.namespaced:
                    self._cluster_scoped.append((resource, made))
                if resource == CUSTOM_RESOURCE_DEFINITIONS:
                    self.wait("customresourcedefinitions", made["metadata"]["name"], _established)

    def get(self, resource: str, name: str = "", *, namespace: str = "") -> Object | None:
        """The object as the API has it, None when it does not exist; without a name, the list."""
        return self._read(self._api.named(resource), name, namespace or self.namespace)

    def _read(self, resource: ApiResource, name: str, namespace: str) -> Object | None:
        client = self._api.client
        try:
            return self._api.call(
                client.get(resource, name, namespace) if name else client.list(resource, namespace)
            )
        except StatusError as error:
            if error.code == 404:
                return None
            raise

    def patch(
        self,
        resource: str | ApiResource,
        name: str,
        change: Object,
        *,
        namespace: str = "",
        subresource: str = "",
    ) -> Object:
        """Merge `change` into the object (None removes a field); the object as it is then."""
        found = self._api.named(resource) if isinstance(resource, str) else resource
        space = namespace or self.namespace
        return self._api.call(
            self._api.client.patch(
                found, name, space, change, subresource=subresource, field_manager=FIELD_MANAGER
            )
        )

    def delete(self, resource: str, name: str, *, namespace: str = "") -> None:
        """Ask for the object's deletion, which finalizers may delay; no error when it does not exist."""
        self._delete(self._api.named(resource), name, namespace or self.namespace)

    def _delete(self, resource: ApiResource, name: str, namespace: str) -> None:
        try:
            self._api.call(self._api.client.delete(resource, name, namespace))
        except StatusError as error:
            if error.code != 404:
                raise

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Response:
        """Any request at all; the answer as it came: status, headers, body."""
        client = self._api.client
        return self._api.call(client.raw(method, path, query=query, headers=headers, body=body))

    def wait(
        self,
        resource: str,
        name: str,
        condition: Callable[[Object], Any] = bool,
        *,
        namespace: str = "",
        timeout: float = 30.0,
    ) -> Object:
        """The object as soon as `condition` holds of it; ClusterError with its last state when it never does."""
        end = time.monotonic() + timeout
        obj: Object | None = None
        while time.monotonic() < end:
            obj = self.get(resource, name, namespace=namespace)
            if obj is not None and condition(obj):
                return obj
            time.sleep(0.05)
        raise ClusterError(
            f"{resource} {name}: not as wanted within {timeout:g} s; last seen: {json.dumps(obj)}"
        )

    def wait_gone(self, resource: str, name: str, *, namespace: str = "", timeout: float = 30.0) -> None:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.get(resource, name, namespace=namespace) is None:
                return
            time.sleep(0.05)
        raise ClusterError(f"{resource} {name}: still there after {timeout:g} s")

    def until(self, question: Callable[[], T], *, timeout: float = 30.0) -> T:
        """The first answer to `question` that is true; ClusterError with the last one when none is."""
        end = time.monotonic() + timeout
        while not (answer := question()):
            if time.monotonic() > end:
                raise ClusterError(f"nothing true within {timeout:g} s; last answer: {answer!r}")
            time.sleep(0.05)
        return answer

    @contextlib.contextmanager
    def process(
        self, command: Sequence[str], *, variables: Mapping[str, str] | None = None, log: Path | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run an operator (or anything) beside the test, with KUBECONFIG set; ended with the block.

        What it said stands below the error of a test that fails within the block.
        """
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
                    raise ClusterError(f"{command[0]} ended with {running.returncode}")
            except BaseException as error:
                error.add_note(f"{_state(running)}, having said:\n{path.read_text(errors='replace')[-2000:]}")
                raise
            finally:
                running.terminate()
                try:
                    running.wait(10)
                except subprocess.TimeoutExpired:
                    running.kill()
                    running.wait()

    @property
    def faults(self) -> Faults:
        """What the embedded cluster's API server does wrong during this test."""
        if self.embedded is None:
            raise ClusterError(
                "a real cluster's API server takes no fault rules: use the fixture `faults`, which skips"
            )
        return self.embedded.faults

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


def _state(running: subprocess.Popen[bytes]) -> str:
    words = " ".join(map(str, running.args)) if isinstance(running.args, list) else str(running.args)
    ended = running.poll()
    return f"`{words}` {'runs' if ended is None else f'ended with {ended}'}"


def _objects(what: str | Path | Object) -> list[Object]:
    """The Kubernetes objects of a file, a YAML text, or one object as it is."""
    if isinstance(what, dict):
        return [what]
    if isinstance(what, Path) or ("\n" not in what and Path(what).exists()):
        what = Path(what).read_text()
    documents = [document for document in yaml.safe_load_all(what) if document]
    if any(not isinstance(document, dict) for document in documents):
        raise ClusterError(f"{what[:80]!r} is neither a file that exists nor YAML of Kubernetes objects")
    return [obj for document in documents for obj in document.get("items", [document])]


def _established(definition: Object) -> bool:
    conditions = definition.get("status", {}).get("conditions", [])
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)

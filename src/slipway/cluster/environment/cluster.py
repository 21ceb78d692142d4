"""`with Cluster() as cluster:` for synchronous callers: an embedded cluster in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from slipway.cluster.environment.embedded import ClusterError, EmbeddedCluster
from slipway.cluster.environment.kubeconfig import write_private
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.environment.virtual_time import VirtualTimeLoop
from slipway.cluster.faults import Faults

if TYPE_CHECKING:
    from slipway.cluster.environment.dumping import Limits, Summary
    from slipway.cluster.environment.importing import Imported

T = TypeVar("T")


class Cluster:
    """A cluster that lives as long as the `with` block. Keyword arguments are those of ClusterOptions.

    With `virtual_time=True` its clock stands still but for `advance(seconds)`.
    """

    def __init__(self, *, virtual_time: bool = False, **options: Any) -> None:
        self.options = ClusterOptions(**options)
        self._virtual = virtual_time
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._embedded: EmbeddedCluster | None = None

    @property
    def embedded(self) -> EmbeddedCluster:
        if self._embedded is None:
            raise ClusterError("the cluster has not been started: use `with Cluster() as cluster`")
        return self._embedded

    @property
    def url(self) -> str:
        return self.embedded.url

    @property
    def admin_token(self) -> str:
        return self.embedded.admin_token

    @property
    def faults(self) -> Faults:
        """What this API server does wrong: rules for tests."""
        return self.embedded.faults

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        started = threading.Event()

        def work() -> None:
            loop: asyncio.AbstractEventLoop
            loop = VirtualTimeLoop(horizon=0.0) if self._virtual else asyncio.new_event_loop()
            self._loop = loop
            loop.call_soon(started.set)
            try:
                loop.run_forever()
            finally:
                loop.run_until_complete(_end_tasks(loop))
                loop.run_until_complete(loop.shutdown_asyncgens())
                loop.run_until_complete(loop.shutdown_default_executor())
                loop.close()

        self._thread = threading.Thread(target=work, name=f"slipway-{self.options.name}", daemon=True)
        self._thread.start()
        started.wait()
        try:
            self.run(self._start())
        except BaseException:
            self._end_thread()
            raise

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        clock = loop.clock() if isinstance(loop, VirtualTimeLoop) else None
        self._embedded = EmbeddedCluster(self.options, clock)
        await self._embedded.start()

    def run(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine in the cluster's loop, from any other thread, and wait for its result."""
        if self._loop is None:
            work.close()
            raise ClusterError("the cluster has not been started: use `with Cluster() as cluster`")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def advance(self, seconds: float) -> None:
        """Let cluster time pass (virtual time only): everything due in it happens before this returns."""
        loop = self._loop
        if not isinstance(loop, VirtualTimeLoop):
            raise ClusterError("time can be advanced only with Cluster(virtual_time=True)")
        self.run(loop.advance(seconds))

    def kubeconfig(self, namespace: str = "default") -> dict[str, Any]:
        return self.embedded.kubeconfig(namespace)

    def write_kubeconfig(self, path: Path, namespace: str = "default") -> Path:
        """Write the administrator's kubeconfig with mode 0600 and return its path."""
        write_private(path, self.kubeconfig(namespace))
        return path

    def export_yaml(self, *namespaces: str) -> str:
        """What users and operators have made here, as YAML for another cluster; of some namespaces when named."""
        from slipway.cluster.environment.exporting import export, to_yaml

        return to_yaml(self.run(export(self.embedded.client(), namespaces)))

    def import_yaml(self, text: str) -> Imported:
        """Make the objects of a YAML text. DocumentError, and no change, when it holds anything else."""
        from slipway.cluster.environment.importing import import_objects, read_documents

        objects = read_documents(text, "text")
        return self.run(import_objects(self.embedded.client("slipway-import"), objects))

    def dump(self, path: Path, limits: Limits | None = None) -> Summary:
        """Write a support dump to a new folder, or to a new file that ends with .tar.gz; what it holds and lacks."""
        from slipway.cluster.environment.dump_files import dump_files
        from slipway.cluster.environment.dumping import dump

        with dump_files(path) as files:
            return self.run(dump(self.embedded.client("slipway-dump"), files, limits=limits))

    def stop(self) -> None:
        if self._loop is None:
            return
        if self._embedded is not None:
            self.run(self._embedded.stop())
            self._embedded = None
        self._end_thread()

    def _end_thread(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
        if self._thread is not None:
            self._thread.join()
            self._thread = None


async def _end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what callers of `run` gave up waiting for, as asyncio.run does: a loop closes over no pending task."""
    tasks = asyncio.all_tasks(loop) - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

"""The servers that are measured side by side: ours, kmock, and a real kube-apiserver with etcd.

Each is started as somebody who uses it would start it. kmock keeps every request that it has served and looks through
all of them at each new one; here it forgets a request once it is answered, so that what is measured is its speed at the
first request (a line below the table says what becomes of it otherwise).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.load import Target, unchecked

OURS = """
import asyncio
from slipway.cluster import ClusterOptions, EmbeddedCluster
async def main():
    options = ClusterOptions(nodes=0, tls=%s, controllers=False, scheduler=False, tokens={"bench": ("bench", ("system:masters",))})
    async with EmbeddedCluster(options) as cluster:
        print(cluster.url, flush=True)
        await asyncio.sleep(3600)
asyncio.run(main())
"""
KMOCK = """
import asyncio, kmock
class Emulator(kmock.KubernetesEmulator):
    async def _handle(self, request):
        try:
            return await super()._handle(request)
        finally:
            if %s:
                self._requests.remove(request)
async def main():
    emulator = Emulator()
    emulator.resources["v1/configmaps"] = {"kind": "ConfigMap", "namespaced": True, "verbs": {"get", "list", "watch", "create", "patch", "delete", "update"}}
    async with emulator, kmock.Server(emulator) as server:
        print(f"http://{server.host}:{server.port}", flush=True)
        await asyncio.sleep(3600)
asyncio.run(main())
"""
_ASSETS = os.environ.get("KUBEBUILDER_ASSETS", "")


@dataclass(frozen=True, slots=True)
class Peer:
    """A running server: its processes' ids, and the seconds from exec to the first answer or printed address."""

    target: Target
    pids: tuple[int, ...]
    started: float

    def memory_mb(self) -> float:
        """Resident megabytes of all its processes."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids)
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def cpu_seconds(self) -> float:
        """What its processes have used of processors."""
        ticks = 0
        for pid in self.pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def ours(*, tls: bool = False) -> Iterator[Peer]:
    """The control plane alone; everything of a request's way is on: authentication, RBAC, admission, validation,
    managedFields."""
    with _python(OURS % tls) as peer:
        yield peer


@contextmanager
def kmock(*, forgets: bool = True) -> Iterator[Peer]:
    with _python(KMOCK % forgets) as peer:
        yield peer


@contextmanager
def _python(code: str) -> Iterator[Peer]:
    began = time.perf_counter()
    running = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        url = running.stdout.readline().strip()
        if not url:
            raise RuntimeError("the server did not start")
        yield Peer(Target(url, "bench"), (running.pid,), time.perf_counter() - began)
    finally:
        running.kill()
        running.wait()


def has_real() -> bool:
    """Whether there are programs to start a real one from."""
    return all((Path(_ASSETS) / name).is_file() for name in ("kube-apiserver", "etcd")) if _ASSETS else False


@contextmanager
def real() -> Iterator[Peer]:
    """kube-apiserver with RBAC and its etcd, which does not wait for the disk, as ours in memory does not."""
    with (
        TemporaryDirectory(prefix="slipway-bench-") as name,
        TemporaryDirectory(prefix="slipway-etcd-") as data,
    ):
        folder, running = Path(name), list[subprocess.Popen[bytes]]()
        began = time.perf_counter()
        try:
            store, peers, port = (_free_port() for _ in range(3))
            etcd = [f"{_ASSETS}/etcd", f"--data-dir={data}", "--unsafe-no-fsync"]
            for kind, number in (("client", store), ("peer", peers)):
                etcd.append(f"--listen-{kind}-urls=http://127.0.0.1:{number}")
            etcd.append(f"--advertise-client-urls=http://127.0.0.1:{store}")
            etcd.append(f"--initial-advertise-peer-urls=http://127.0.0.1:{peers}")
            etcd.append(f"--initial-cluster=default=http://127.0.0.1:{peers}")
            running.append(_spawn(etcd, folder / "etcd.log"))
            key = folder / "sa.key"
            subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
            tokens = folder / "tokens.csv"
            tokens.write_text('bench,bench,bench,"system:masters"\n')
            flags = {
                "etcd-servers": f"http://127.0.0.1:{store}",
                "secure-port": port,
                "bind-address": "127.0.0.1",
                "cert-dir": folder / "certs",
                "service-cluster-ip-range": "10.0.0.0/24",
                "token-auth-file": tokens,
                "authorization-mode": "RBAC",
                "service-account-issuer": "https://kubernetes.default.svc",
                "service-account-key-file": key,
                "service-account-signing-key-file": key,
            }
            program = [f"{_ASSETS}/kube-apiserver", *(f"--{name}={value}" for name, value in flags.items())]
            running.append(_spawn(program, folder / "kube-apiserver.log"))
            url = f"https://127.0.0.1:{port}"
            _wait_ready(url, running, folder)
            pids = tuple(process.pid for process in running)
            yield Peer(Target(url, "bench"), pids, time.perf_counter() - began)
        finally:
            for process in reversed(running):
                process.kill()
                process.wait()


def _spawn(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(words, stdout=output, stderr=output)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _wait_ready(url: str, running: list[subprocess.Popen[bytes]], folder: Path) -> None:
    """Until it says that it is ready and the default namespace is there; RuntimeError with its last words."""
    context = unchecked()
    end = time.monotonic() + 120
    while time.monotonic() < end and all(process.poll() is None for process in running):
        with suppress(OSError):
            for path in ("/readyz", "/api/v1/namespaces/default"):
                request = urllib.request.Request(url + path, headers={"Authorization": "Bearer bench"})
                urllib.request.urlopen(request, timeout=5, context=context).read()
            return
        time.sleep(0.05)
    said = "\n".join((folder / "kube-apiserver.log").read_text().splitlines()[-5:])
    raise RuntimeError(f"the kube-apiserver in {_ASSETS} did not become ready: {said}")

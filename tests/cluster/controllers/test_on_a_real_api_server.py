"""The same controllers and scheduler on a real kube-apiserver: with its RBAC, its defaults, its watches.

Runs where KUBEBUILDER_ASSETS names a folder with `kube-apiserver` and `etcd`; every controller enters by
impersonation, so that the server's own roles for kube-controller-manager's accounts are what it may do.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from socket import socket
from typing import Any
from urllib.request import Request, urlopen

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from slipway.cluster.client.client import Client, PatchType
from slipway.cluster.client.http import Access, HttpTransport
from slipway.cluster.client.informer import InformerFactory
from slipway.cluster.client.objects import condition_of, name_of
from slipway.cluster.client.resources import (
    CERTIFICATE_SIGNING_REQUESTS,
    CONFIG_MAPS,
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    JOBS,
    NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    STATEFUL_SETS,
    STORAGE_CLASSES,
)
from slipway.cluster.client.storage import default_class
from slipway.cluster.clock import Clock
from slipway.cluster.controllers.registrations import Settings, registrations
from slipway.cluster.controllers.runner import ControllerRunner
from slipway.cluster.exchange import Identity
from slipway.cluster.nodes.cluster_nodes import ClusterNodes
from slipway.cluster.nodes.runtimes import NodesSettings
from slipway.cluster.scheduler.scheduler import Scheduler
from slipway.cluster.status import StatusError

ASSETS = os.environ.get("KUBEBUILDER_ASSETS", "")
pytestmark = [
    pytest.mark.skipif(
        not Path(ASSETS, "kube-apiserver").exists() or not ASSETS,
        reason="KUBEBUILDER_ASSETS names no folder with kube-apiserver and etcd",
    ),
    pytest.mark.slow,
]


def free_port() -> int:
    with socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    folder = tmp_path_factory.mktemp("apiserver")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    (folder / "sa.key").write_bytes(pem)
    (folder / "tokens.csv").write_text('secret-of-the-test,admin,admin,"system:masters"\n')
    store, peer, port = free_port(), free_port(), free_port()
    log = (folder / "log").open("wb")
    etcd = subprocess.Popen(
        [
            f"{ASSETS}/etcd", "--data-dir", str(folder / "etcd"), "--unsafe-no-fsync",
            "--listen-client-urls", f"http://127.0.0.1:{store}",
            "--advertise-client-urls", f"http://127.0.0.1:{store}",
            "--listen-peer-urls", f"http://127.0.0.1:{peer}",
        ],
        stdout=log, stderr=log,
    )  # fmt: skip
    api = subprocess.Popen(
        [
            f"{ASSETS}/kube-apiserver", "--etcd-servers", f"http://127.0.0.1:{store}",
            "--secure-port", str(port), "--bind-address", "127.0.0.1", "--cert-dir", str(folder / "certs"),
            "--service-cluster-ip-range", "10.0.0.0/24", "--token-auth-file", str(folder / "tokens.csv"),
            "--authorization-mode", "RBAC", "--service-account-issuer", "https://kubernetes.default.svc",
            "--service-account-key-file", str(folder / "sa.key"),
            "--service-account-signing-key-file", str(folder / "sa.key"),
            "--disable-admission-plugins", "ServiceAccount", "--allow-privileged=true",
        ],
        stdout=log, stderr=log,
    )  # fmt: skip
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    headers = {"authorization": "Bearer secret-of-the-test"}
    try:
        wait_ready(f"https://127.0.0.1:{port}/readyz", headers, tls)
        yield Access(f"https://127.0.0.1:{port}", tls, headers=headers)
    finally:
        for process in (api, etcd):
            process.terminate()
            process.wait(20)
        log.close()


def wait_ready(url: str, headers: dict[str, str], tls: ssl.SSLContext) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urlopen(Request(url, headers=headers), context=tls, timeout=2):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


class Real:
    """A real API server with our controllers, scheduler and simulated nodes on it."""

    def __init__(self, access: Access, folder: Path) -> None:
        self._access = access
        self._clients: list[Client] = []
        self.clock = Clock()
        self.api = self.connect(Identity("admin"), "test")
        self.refused: set[str] = set()
        self.writes: list[str] = []  # of controllers and scheduler
        settings = Settings(
            ca_bundle="CA",
            sign_certificate=lambda request, usages, seconds: b"-----BEGIN CERTIFICATE-----\n",
            volumes_root=folder / "claims",
        )
        self.controllers = ControllerRunner(
            self.connect, registrations(settings), clock=self.clock, random=Random(1)
        )
        client = self.connect(Identity("system:kube-scheduler"), "kube-scheduler")
        self.scheduler_informers = InformerFactory(client)
        self.scheduler = Scheduler(client, self.scheduler_informers, Random(2))
        nodes = NodesSettings("real", 2, "simulated", folder, "10.244.0.0/16", "10.0.0.0/24", seed=1)
        self.nodes = ClusterNodes(nodes, self._as_admin, self.clock)

    def _as_admin(self, identity: Identity, agent: str) -> Client:
        return self.connect(Identity("admin"), agent)

    def connect(self, identity: Identity, agent: str) -> Client:
        headers = dict(self._access.headers)
        if identity.name != "admin":
            headers["impersonate-user"] = identity.name
        access = Access(self._access.server, self._access.tls, headers=headers)
        client = Client(
            _Watching(HttpTransport(access), identity.name, self), user_agent=agent, clock=self.clock
        )
        self._clients.append(client)
        return client

    async def until(self, check: Callable[[], Awaitable[Any]], seconds: float = 40) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            try:
                found = await check()
            except StatusError as error:
                if error.code != 404:
                    raise
                found = None
            if found:
                return found
            assert time.monotonic() < deadline, f"not in {seconds} s; refused: {sorted(self.refused)}"
            await asyncio.sleep(0.1)

    async def status(self, resource: Any, name: str, field: str, value: Any) -> Any:
        async def check() -> bool:
            found = await self.api.get(resource, name, "default")
            return bool((found.get("status") or {}).get(field, 0) == value)

        return await self.until(check)

    async def stop(self) -> None:
        for client in self._clients:
            await client.close()


class _Watching:
    """Notes what a caller was not allowed to do."""

    def __init__(self, inner: HttpTransport, user: str, real: Real) -> None:
        self._inner, self._user, self._real = inner, user, real

    async def send(self, request: Any) -> Any:
        response = await self._inner.send(request)
        if request.method != "GET" and self._user != "admin":
            self._real.writes.append(f"{self._user} {request.method} {request.path}")
        # A namespace that is being deleted refuses everybody; what counts is what a role does not allow.
        if response.status == 403 and "/namespaces/doomed/" not in request.path:
            self._real.refused.add(f"{self._user} {request.method} {request.path}")
        return response

    async def close(self) -> None:
        await self._inner.close()


@asynccontextmanager
async def running(access: Access, folder: Path) -> AsyncIterator[Real]:
    real = Real(access, folder)
    await real.api.create(STORAGE_CLASSES, default_class())
    await real.controllers.start()
    await real.scheduler.start()
    real.scheduler_informers.start()
    await real.nodes.start()
    try:
        yield real
    finally:
        await real.nodes.stop()
        await real.scheduler.stop()
        await real.scheduler_informers.stop()
        await real.controllers.stop()
        await real.stop()


def workload(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]},
            },
            **spec,
        },
    }


async def test_everything_works_on_a_real_api_server_with_its_own_roles(
    server: Access, tmp_path: Path
) -> None:
    async with running(server, tmp_path) as real:
        await workloads(real)
        await asyncio.sleep(2)
        real.writes.clear()
        await asyncio.sleep(4)
        assert real.writes == []
        await jobs(real)
        await deletions(real)
        await asyncio.sleep(3)
        assert sorted(real.refused) == []


async def workloads(real: Real) -> None:
    api = real.api
    await real.until(lambda: api.get(SERVICE_ACCOUNTS, "default", "default"))
    await real.until(lambda: api.get(CONFIG_MAPS, "kube-root-ca.crt", "default"))
    await api.create(DEPLOYMENTS, workload("Deployment", "web", replicas=3))
    await api.create(
        SERVICES,
        {
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
        },
    )
    budget = {"selector": {"matchLabels": {"app": "web"}}, "maxUnavailable": 1}
    await api.create(
        POD_DISRUPTION_BUDGETS, {"metadata": {"name": "web", "namespace": "default"}, "spec": budget}
    )
    await real.status(DEPLOYMENTS, "web", "availableReplicas", 3)
    await real.status(POD_DISRUPTION_BUDGETS, "web", "disruptionsAllowed", 1)

    async def three_addresses() -> bool:
        found = await api.list(ENDPOINT_SLICES, "default", label_selector="kubernetes.io/service-name=web")
        return sum(len(item.get("endpoints") or ()) for item in found["items"]) == 3

    await real.until(three_addresses)
    change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "new"}]}}}}
    await api.patch(DEPLOYMENTS, "web", "default", change, PatchType.STRATEGIC)

    async def rolled() -> bool:
        found = await api.get(DEPLOYMENTS, "web", "default")
        status = found["status"]
        return bool(
            status.get("observedGeneration") == found["metadata"]["generation"]
            and status.get("updatedReplicas")
            == status.get("replicas")
            == status.get("availableReplicas")
            == 3
            and (condition_of(found, "Progressing") or {}).get("reason") == "NewReplicaSetAvailable"
        )

    await real.until(rolled)
    assert len((await api.list(REPLICA_SETS, "default"))["items"]) == 2
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    stateful = workload("StatefulSet", "db", replicas=2, serviceName="db", volumeClaimTemplates=[claim])
    await api.create(STATEFUL_SETS, stateful)
    await api.create(DAEMON_SETS, workload("DaemonSet", "agent"))
    await real.status(STATEFUL_SETS, "db", "availableReplicas", 2)
    await real.status(PERSISTENT_VOLUME_CLAIMS, "data-db-1", "phase", "Bound")
    await real.status(DAEMON_SETS, "agent", "numberAvailable", 2)


async def jobs(real: Real) -> None:
    api = real.api
    template = {
        "metadata": {"annotations": {}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i", "command": ["true"]}]},
    }
    job = {"template": template, "completions": 2, "parallelism": 2}
    await api.create(JOBS, {"metadata": {"name": "work", "namespace": "default"}, "spec": job})
    cron = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job}}
    await api.create(CRON_JOBS, {"metadata": {"name": "yearly", "namespace": "default"}, "spec": cron})
    await real.status(JOBS, "work", "succeeded", 2)

    async def free() -> bool:
        found = await api.list(PODS, "default", label_selector="job-name=work")
        return len(found["items"]) == 2 and not any(p["metadata"].get("finalizers") for p in found["items"])

    await real.until(free)
    request = certificate_request()
    spec = {
        "request": request,
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"],
    }
    made = await api.create(CERTIFICATE_SIGNING_REQUESTS, {"metadata": {"name": "me"}, "spec": spec})
    made["status"] = {
        "conditions": [{"type": "Denied", "status": "True", "reason": "Test", "message": "only to look at"}]
    }
    await api.update(CERTIFICATE_SIGNING_REQUESTS, made, subresource="approval")


def certificate_request() -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "me")])
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()


async def deletions(real: Real) -> None:
    api = real.api

    async def gone(resource: Any, name: str) -> None:
        async def check() -> bool:
            try:
                await api.get(resource, name, "default" if resource.namespaced else "")
            except StatusError as error:
                return error.code == 404
            return False

        await real.until(check)

    await api.delete(DEPLOYMENTS, "web", "default", propagation="Foreground")
    await gone(DEPLOYMENTS, "web")
    assert (await api.list(REPLICA_SETS, "default"))["items"] == []
    await api.delete(STATEFUL_SETS, "db", "default", propagation="Orphan")
    await gone(STATEFUL_SETS, "db")
    left = (await api.list(PODS, "default", label_selector="app=db"))["items"]
    assert len(left) == 2
    assert not any(pod["metadata"].get("ownerReferences") for pod in left)
    await api.create(NAMESPACES, {"metadata": {"name": "doomed"}})
    await api.create(CONFIG_MAPS, {"metadata": {"name": "c", "namespace": "doomed"}})
    doomed = workload("Deployment", "x", replicas=1)
    doomed["metadata"]["namespace"] = "doomed"
    await api.create(DEPLOYMENTS, doomed)
    await asyncio.sleep(1)
    await api.delete(NAMESPACES, "doomed")
    await gone(NAMESPACES, "doomed")
    assert name_of(await api.get(NAMESPACES, "default")) == "default"

"""The `proxy` sub-resources, over real connections to a backend behind a pod. What is expected is what a real
kube-apiserver 1.37 did in front of such a backend; but a node answers for its kubelet, and a simulated pod is one."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from slipway.cluster import ClusterOptions, EmbeddedCluster
from slipway.cluster.client.resources import NODES, PODS, SERVICES, ApiResource
from slipway.cluster.environment.kubeconfig import write_private

NODE = "proxied-1"
PODS_PATH = "/api/v1/namespaces/default/pods"
SERVICES_PATH = "/api/v1/namespaces/default/services"
SLICES = ApiResource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", True)
WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
PAGE = (
    '<html><HEAD><a href="/x/y">Z</a><IMG SRC=/pic.png alt="a&amp;b"><a href="rel">r</a><script src="/s.js">'
    'if(a<b){"<a href=\\"/q\\">"}</script><!-- <a href="/c"> --><a href="http://other/x">o</a><br/>'
    '<p class=x>text &lt; </p><form action="/f?x=1&y=2" /></html>'
)
Object = dict[str, Any]


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def said(self) -> Object:
        found: Object = json.loads(self.body)
        return found


@dataclass
class Backend:
    """An HTTP server that answers by path; `seen` is what it was asked: the first line, the headers, the body."""

    port: int = 0
    secure_port: int = 0
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line, headers = await read_head(reader)
        except asyncio.IncompleteReadError:
            writer.close()
            return
        named = {name.lower(): value for name, value in headers}
        body = await reader.readexactly(int(named.get("content-length", "0")))
        self.seen.append((line, named, body))
        path = line.split()[1]
        if path == "/hello":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n")
            writer.write(b"hello" if not line.startswith("HEAD") else b"")
        elif path == "/page":
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(PAGE)}\r\n"
            writer.write(f"{head}\r\n{PAGE}".encode())
        elif path == "/moved":
            writer.write(
                f"HTTP/1.1 302 Found\r\nLocation: {named['x-to']}\r\nContent-Length: 0\r\n\r\n".encode()
            )
        elif path == "/teapot":
            writer.write(
                b"HTTP/1.1 418 I'm a teapot\r\nAccess-Control-Allow-Origin: *\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
                b"Cache-Control: max-age=5\r\nKeep-Alive: timeout=5\r\nX-Foo: bar\r\nContent-Length: 2\r\n\r\nhi"
            )
        elif path == "/slow":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            await self.more.wait()
            writer.write(b"6\r\nsecond\r\n0\r\n\r\n")
        elif path == "/talk":
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nwelcome"
            )
            while data := await reader.read(100):
                writer.write(data.upper())
        elif path == "/nonsense":
            writer.write(b"NONSENSE\r\n\r\n")
        elif path == "/nothing":
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        elif path != "/silence":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()


async def read_head(reader: asyncio.StreamReader) -> tuple[str, list[tuple[str, str]]]:
    line, *rows = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    pairs = [row.partition(":") for row in rows if row]
    return line, [(name, value.strip()) for name, _, value in pairs]


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[Backend]:
    made = Backend()
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    process = await asyncio.create_subprocess_exec(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=backend", "-keyout", str(key), "-out", str(certificate), stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert await process.wait() == 0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    plain = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    secure = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context)
    made.port, made.secure_port = (server.sockets[0].getsockname()[1] for server in (plain, secure))
    yield made
    made.more.set()
    plain.close()
    secure.close()


@dataclass
class Front:
    """The cluster, and a client of plain HTTP/1.1 over TLS."""

    cluster: EmbeddedCluster
    backend: Backend

    async def open(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        token: str = "",
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        address = urlsplit(self.cluster.url)
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection(address.hostname, address.port, ssl=trusting)
        sent = {"Host": "api.example:1234", "Authorization": f"Bearer {token or self.cluster.admin_token}"}
        sent |= {"Connection": "close", **(headers or {})}
        if body:
            sent["Content-Length"] = str(len(body))
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        return reader, writer

    async def ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        token: str = "",
    ) -> Answer:
        reader, writer = await self.open(method, path, headers, body, token)
        try:
            async with asyncio.timeout(60):
                line, found = await read_head(reader)
                length = [value for name, value in found if name.lower() == "content-length"]
                rest = await reader.readexactly(int(length[0])) if length and method != "HEAD" else b""
                if not length:
                    rest = await reader.read()
        finally:
            writer.close()
        return Answer(int(line.split()[1]), found, rest)


@pytest.fixture
async def front(tmp_path: Path, backend: Backend) -> AsyncIterator[Front]:
    """A pod that sleeps in the process runtime, whose address is therefore the machine's own, and a Service."""
    options = ClusterOptions(
        name="proxied", nodes=1, runtime="process", controllers=False, scheduler=False,
        service_account_admission=False, data=tmp_path / "data", tokens={"janes": ("jane", ())},
    )  # fmt: skip
    async with EmbeddedCluster(options) as cluster:
        client = cluster.client()
        ports = [{"name": "web", "containerPort": backend.port}]
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        containers = [{"name": "main", "image": "python", "command": command, "ports": ports}]
        spec = {"nodeName": NODE, "containers": containers, "terminationGracePeriodSeconds": 0}
        await client.create(PODS, {"metadata": {"name": "p", "namespace": "default"}, "spec": spec})
        await client.create(
            PODS,
            {"metadata": {"name": "unplaced", "namespace": "default"}, "spec": {"containers": containers}},
        )
        await service(cluster, "both", {"plain": backend.port, "secure": backend.secure_port})
        await service(cluster, "one", {"": backend.port})
        await service(cluster, "none", {})
        await address_of(cluster, "p")
        yield Front(cluster, backend)


async def address_of(cluster: EmbeddedCluster, pod: str) -> str:
    async with asyncio.timeout(60):
        while True:
            status = (await cluster.client().get(PODS, pod, "default"))["status"]
            if status.get("podIPs"):
                return str(status["podIPs"][0]["ip"])
            await asyncio.sleep(0.02)


async def service(cluster: EmbeddedCluster, name: str, ports: dict[str, int]) -> None:
    numbers = {"plain": 80, "secure": 443, "": 80}
    metadata = {"name": name, "namespace": "default"}
    rows = [{"name": port, "port": numbers[port]} for port in ports or {"": 0}]
    await cluster.client().create(SERVICES, {"metadata": metadata, "spec": {"ports": rows}})
    target = {"kind": "Pod", "namespace": "default", "name": "p"}
    metadata["labels"] = {"kubernetes.io/service-name": name}  # type: ignore[assignment]
    if ports:
        slice_ = {
            "metadata": metadata,
            "addressType": "IPv4",
            "ports": [{"name": port, "port": number} for port, number in ports.items()],
            "endpoints": [
                {"addresses": ["127.0.0.1"], "targetRef": target},
                {"addresses": ["192.0.2.1"], "targetRef": target},  # not the pod's: never connected to
            ],
        }
        await cluster.client().create(SLICES, slice_)


async def test_what_the_backend_is_asked(front: Front) -> None:
    headers = {"X-Forwarded-For": "9.9.9.9", "Te": "trailers", "X-Foo": "1", "Content-Type": "foo/bar"}
    path = f"{PODS_PATH}/p/proxy/a%2Fb/../c//d%20e/(x)'!/?q=%2F&path=z&limit=no"
    answer = await front.ask("PATCH", path, headers, b"some words")
    assert answer.status == 200
    line, seen, body = front.backend.seen[-1]
    assert line == "PATCH /a/c/d%20e/%28x%29%27%21/?q=%2F&path=z&limit=no HTTP/1.1"
    assert body == b"some words"
    assert seen == {
        "host": "api.example:1234",
        "x-forwarded-for": "9.9.9.9, 127.0.0.1",
        "x-foo": "1",
        "content-type": "foo/bar",
        "content-length": "10",
        "x-forwarded-uri": f"{PODS_PATH}/p/proxy/a/c/d%20e/%28x%29%27%21/",
    }


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
async def test_every_method_reaches_the_backend(front: Front, method: str) -> None:
    answer = await front.ask(method, f"{PODS_PATH}/p/proxy/hello")
    assert (answer.status, answer.all("content-length")) == (200, ["5"])
    assert answer.body == (b"" if method == "HEAD" else b"hello")
    assert front.backend.seen[-1][0] == f"{method} /hello HTTP/1.1"


async def test_a_path_that_ends_at_the_proxy_leads_to_its_root(front: Front) -> None:
    answer = await front.ask("GET", f"{PODS_PATH}/p/proxy?a=b")
    assert (answer.status, answer.all("location")) == (301, [f"{PODS_PATH}/p/proxy/?a=b"])
    assert (await front.ask("POST", f"{PODS_PATH}/p/proxy", body=b"x")).status == 200
    assert front.backend.seen[-1][0] == "POST / HTTP/1.1"
    assert front.backend.seen[-1][1]["x-forwarded-uri"] == f"{PODS_PATH}/p/proxy/"


async def test_names_of_pods_and_services_may_have_a_scheme_and_a_port(front: Front) -> None:
    plain, secure = front.backend.port, front.backend.secure_port
    for place in (
        f"pods/p:{plain}", f"pods/http:p:{plain}", f"pods/https:p:{secure}", "services/both:plain", "services/both:80",
        "services/https:both:secure", "services/https:both:443", "services/one", "services/one:80",
        "services/http:one:", f"nodes/{NODE}:{plain}", f"nodes/https:{NODE}:{secure}",
    ):  # fmt: skip
        prefix = "/api/v1" if place.startswith("nodes") else "/api/v1/namespaces/default"
        answer = await front.ask("GET", f"{prefix}/{place}/proxy/hello")
        assert (place, answer.status, answer.body) == (place, 200, b"hello")


async def test_what_leads_nowhere_is_refused_as_a_real_server_refuses_it(front: Front) -> None:
    with socket.socket() as shut:
        shut.bind(("127.0.0.1", 0))
        port = shut.getsockname()[1]
        refused = f"error trying to reach service: dial tcp 127.0.0.1:{port}: connect: connection refused"
        expected = {
            f"pods/p:{port}": (503, "ServiceUnavailable", refused),
            "pods/ftp:p:1": (400, "BadRequest", 'invalid pod request "ftp:p:1"'),
            "pods/unplaced": (400, "BadRequest", "address not allowed"),
            "pods/nobody": (404, "NotFound", 'pods "nobody" not found'),
            "pods/p:99999": (
                503,
                "ServiceUnavailable",
                "error trying to reach service: dial tcp: address 99999: invalid port",
            ),
            "services/both": (503, "ServiceUnavailable", 'no endpoints available for service "both"'),
            "services/both:81": (503, "ServiceUnavailable", 'no service port 81 found for service "both"'),
            "services/both:nope": (503, "ServiceUnavailable", 'no endpoints available for service "both"'),
            "services/none": (503, "ServiceUnavailable", 'no endpoints available for service "none"'),
            "services/nobody": (503, "ServiceUnavailable", 'no endpoints available for service "nobody"'),
            "services/nobody:80": (404, "NotFound", 'services "nobody" not found'),
            "services/a:b:c:d": (400, "BadRequest", 'invalid service request "a:b:c:d"'),
        }
        for place, wanted in expected.items():
            answer = await front.ask("GET", f"/api/v1/namespaces/default/{place}/proxy/x")
            assert (answer.status, answer.said.get("reason"), answer.said["message"]) == wanted
    assert not front.backend.seen


async def test_backends_that_say_nothing_or_nonsense_are_unavailable(front: Front) -> None:
    for path, why in (
        ("silence", "EOF"),
        (
            "nonsense",
            'net/http: HTTP/1.x transport connection broken: malformed HTTP response "NONSENSE"',
        ),
    ):
        answer = await front.ask("GET", f"{PODS_PATH}/p/proxy/{path}")
        assert answer.status == 503
        assert answer.said["message"] == f"error trying to reach service: {why}"


async def test_dry_run_and_unknown_methods_are_refused(front: Front) -> None:
    answer = await front.ask("GET", f"{PODS_PATH}/p/proxy/hello?dryRun=All")
    assert (answer.status, answer.said["message"]) == (400, "dryRun is not supported")
    assert (await front.ask("TRACE", f"{PODS_PATH}/p/proxy/hello")).status == 405


async def test_links_and_redirects_lead_back_through_the_proxy(front: Front) -> None:
    proxy = f"{PODS_PATH}/p/proxy"
    page = await front.ask("GET", f"{proxy}/page")
    assert page.body.decode() == (
        f'<html><head><a href="{proxy}/x/y">Z</a><img src="{proxy}/pic.png" alt="a&amp;b"><a href="rel">r</a>'
        f'<script src="{proxy}/s.js">if(a<b){{"<a href=\\"/q\\">"}}</script><!-- <a href="/c"> -->'
        '<a href="http://other/x">o</a><br/><p class="x">text &lt; </p>'
        f'<form action="{proxy}/f?x=1&amp;y=2"/></html>'
    )
    assert page.all("content-length") == [str(len(page.body))]
    for target, wanted in {
        "/else/where/": f"{proxy}/else/where/",
        f"http://127.0.0.1:{front.backend.port}/z": f"{proxy}/z",
        "http://api.example:1234/z": f"http://api.example:1234{proxy}/z",
        "http://elsewhere/z?q": "http://elsewhere/z?q",
        "next": "next",
    }.items():
        answer = await front.ask("GET", f"{proxy}/moved", {"X-To": target})
        assert (answer.status, answer.all("location")) == (302, [wanted])


async def test_answers_keep_their_headers_but_for_those_of_the_connection_and_of_cors(front: Front) -> None:
    answer = await front.ask("GET", f"{PODS_PATH}/p/proxy/teapot")
    assert (answer.status, answer.body) == (418, b"hi")
    assert answer.all("set-cookie") == ["a=1", "b=2"]
    assert sorted(answer.all("cache-control")) == ["max-age=5", "no-cache, private"]
    assert answer.all("x-foo") == ["bar"]
    assert not answer.all("keep-alive") + answer.all("access-control-allow-origin")
    empty = await front.ask("GET", f"{PODS_PATH}/p/proxy/nothing")
    assert (empty.status, empty.body, empty.all("content-length")) == (204, b"", [])


async def test_an_answer_streams_while_the_backend_still_writes(front: Front) -> None:
    reader, writer = await front.open("GET", f"{PODS_PATH}/p/proxy/slow")
    async with asyncio.timeout(60):
        await read_head(reader)
        assert await reader.readuntil(b"first\r\n") == b"5\r\nfirst\r\n"
        front.backend.more.set()
        assert await reader.read() == b"6\r\nsecond\r\n0\r\n\r\n"
    writer.close()


async def test_a_websocket_passes_through_without_its_query_as_through_a_real_server(front: Front) -> None:
    reader, writer = await front.open("GET", f"{PODS_PATH}/p/proxy/talk?q=1", WEBSOCKET)
    async with asyncio.timeout(60):
        line, headers = await read_head(reader)
        assert line.startswith("HTTP/1.1 101 ")
        assert ("upgrade", "websocket") in [(name.lower(), value) for name, value in headers]
        assert await reader.readexactly(7) == b"welcome"
        writer.write(b"abc")
        assert await reader.readexactly(3) == b"ABC"
    writer.close()
    line, seen, _ = front.backend.seen[-1]
    assert line == "GET /talk HTTP/1.1"
    assert seen["upgrade"] == "websocket"
    assert seen["sec-websocket-version"] == "13"
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert "authorization" not in seen


async def test_an_upgrade_that_the_backend_does_not_make_is_an_error(front: Front) -> None:
    headers = {**WEBSOCKET, "Connection": "Upgrade, close"}
    answer = await front.ask("GET", f"{PODS_PATH}/p/proxy/hello", headers)
    assert (answer.status, answer.said["message"]) == (500, "invalid upgrade response: status code 200")
    assert (await front.ask("GET", f"{PODS_PATH}/p/proxy/teapot", headers)).status == 418


async def test_the_right_to_the_pod_is_not_the_right_to_its_proxy(front: Front) -> None:
    client = front.cluster.client()
    rbac = "rbac.authorization.k8s.io"
    roles = ApiResource(rbac, "v1", "roles", "Role", True)
    bindings = ApiResource(rbac, "v1", "rolebindings", "RoleBinding", True)
    metadata = {"name": "jane", "namespace": "default"}
    rules = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["services/proxy"], "verbs": ["get"], "resourceNames": ["both:80"]},
    ]
    await client.create(roles, {"metadata": metadata, "rules": rules})
    subjects = [{"kind": "User", "name": "jane", "apiGroup": rbac}]
    ref = {"kind": "Role", "name": "jane", "apiGroup": rbac}
    await client.create(bindings, {"metadata": metadata, "subjects": subjects, "roleRef": ref})
    refused = await front.ask("GET", f"{PODS_PATH}/p/proxy/hello", token="janes")
    assert refused.said["message"] == (
        'pods "p" is forbidden: User "jane" cannot get resource "pods/proxy" in API group "" in the namespace'
        ' "default"'
    )
    for method, name, status in (
        ("GET", "both:80", 200), ("HEAD", "both:80", 200), ("POST", "both:80", 403), ("OPTIONS", "both:80", 403),
        ("GET", "both:plain", 403),
    ):  # fmt: skip
        answer = await front.ask(method, f"{SERVICES_PATH}/{name}/proxy/hello", token="janes")
        assert (method, name, answer.status) == (method, name, status)


async def test_a_node_answers_what_its_kubelet_would(front: Front) -> None:
    node = f"/api/v1/nodes/{NODE}"
    assert (await front.ask("GET", f"{node}/proxy/healthz")).body == b"ok"
    pods = (await front.ask("GET", f"{node}:10250/proxy/pods")).said
    assert (pods["kind"], [pod["metadata"]["name"] for pod in pods["items"]]) == ("PodList", ["p"])
    summary = (await front.ask("GET", f"{node}/proxy/stats/summary")).said
    assert summary["node"]["nodeName"] == NODE
    assert (await front.ask("GET", f"{node}/proxy/nothing")).status == 404
    assert (await front.ask("GET", f"{node}/proxy")).all("location") == [f"{node}/proxy/"]
    await front.cluster.client().create(NODES, {"metadata": {"name": "nowhere"}})
    away = await front.ask("GET", "/api/v1/nodes/nowhere/proxy/healthz")
    assert away.said["message"] == "no preferred addresses found; known addresses: []"
    addresses = [{"type": "InternalIP", "address": "10.250.250.250"}]
    await front.cluster.client().create(
        NODES, {"metadata": {"name": "elsewhere"}, "status": {"addresses": addresses}}
    )
    away = await front.ask("GET", "/api/v1/nodes/elsewhere/proxy/healthz")
    assert away.said["message"] == (
        "error trying to reach service: dial tcp 10.250.250.250:10250: connect: connection refused"
    )


async def test_a_simulated_pod_says_that_nothing_listens_in_it() -> None:
    options = ClusterOptions(
        name="proxied",
        nodes=1,
        controllers=False,
        scheduler=False,
        service_account_admission=False,
    )
    async with EmbeddedCluster(options) as cluster:
        client = cluster.client()
        spec = {"nodeName": NODE, "containers": [{"name": "main", "image": "web"}]}
        await client.create(PODS, {"metadata": {"name": "p", "namespace": "default"}, "spec": spec})
        address = await address_of(cluster, "p")
        answer = await Front(cluster, Backend()).ask("GET", f"{PODS_PATH}/p:80/proxy/")
        assert (answer.status, answer.said["message"]) == (
            503,
            f"error trying to reach service: dial tcp {address}:80: this pod is simulated: nothing listens in it",
        )


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
async def test_kubectl_gets_through_raw_and_through_its_own_proxy(front: Front, tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    write_private(config, front.cluster.kubeconfig())
    got = await kubectl(config, "get", "--raw", f"{SERVICES_PATH}/both:plain/proxy/hello")
    assert got == (0, "hello", "")
    code, _, error = await kubectl(config, "get", "--raw", f"{SERVICES_PATH}/both:81/proxy/hello")
    assert code == 1
    assert 'no service port 81 found for service "both"' in error
    code, out, _ = await kubectl(config, "cluster-info")
    assert code == 0
    assert f"is running at {front.cluster.url}" in out
    proxy = await asyncio.create_subprocess_exec(
        "kubectl", "--kubeconfig", str(config), "proxy", "--port=0", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert proxy.stdout is not None
        async with asyncio.timeout(60):
            line = (await proxy.stdout.readline()).decode()
        port = int(line.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"GET {PODS_PATH}/p/proxy/hello HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
        )
        async with asyncio.timeout(60):
            assert (await reader.read()).endswith(b"\r\n\r\nhello")
        writer.close()
    finally:
        proxy.terminate()
        await proxy.wait()


async def kubectl(config: Path, *words: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        "kubectl",
        "--kubeconfig",
        str(config),
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    return process.returncode, out.decode(), error.decode()

"""Service addresses, node ports and names, from pods and from the host."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import urllib.request
from typing import Any

import pytest

from slipway.cluster.client.resources import PODS, SERVICES
from slipway.cluster.nodes import dns_messages as dns
from slipway.cluster.nodes.doors import Door
from slipway.cluster.nodes.host_ports import host_doors
from slipway.cluster.nodes.services import doors, endpoints

Pods = Any
_ECHO = (
    "import http.server, socket\n"
    "class H(http.server.BaseHTTPRequestHandler):\n"
    "    def do_GET(self):\n"
    "        self.send_response(200); self.end_headers(); self.wfile.write(socket.gethostname().encode())\n"
    "http.server.HTTPServer(('', 8080), H).serve_forever()\n"
)


def server() -> dict[str, Any]:
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    return {"image": "python", "command": ["python3", "-c", _ECHO], "readinessProbe": probe}


async def fetch(url: str) -> str:
    def get() -> str:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())

    return await asyncio.to_thread(get)


async def until_answered(url: str) -> str:
    async with asyncio.timeout(30):
        while True:
            try:
                return await fetch(url)
            except OSError:
                await asyncio.sleep(0.05)


async def test_a_service_answers_at_its_address_its_name_and_its_node_port(namespace_pods: Pods) -> None:
    pods = namespace_pods
    await pods.create("one", server(), labels={"app": "echo"})
    await pods.create("two", server(), labels={"app": "echo"})
    await pods.ready("one")
    await pods.ready("two")
    spec = {
        "selector": {"app": "echo"},
        "type": "NodePort",
        "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
    }
    service = await pods.client.create(
        SERVICES, {"metadata": {"name": "echo", "namespace": "default"}, "spec": spec}
    )
    address, node_port = service["spec"]["clusterIP"], service["spec"]["ports"][0]["nodePort"]
    await until_answered(f"http://{address}/")
    assert {await fetch(f"http://{address}/") for _ in range(20)} == {"one", "two"}
    assert await until_answered(f"http://127.0.0.1:{node_port}/") in ("one", "two")
    host = (await pods.client.get(PODS, "one", "default"))["status"]["hostIP"]
    script = (
        "import json, socket, urllib.request\n"
        "print(json.dumps([\n"
        "    urllib.request.urlopen('http://echo/').read().decode(),\n"
        "    socket.gethostbyname('echo.default'),\n"
        "    socket.gethostbyname('kubernetes.default.svc.cluster.local'),\n"
        "    socket.gethostbyaddr(socket.gethostbyname('echo'))[0],\n"
        f"    urllib.request.urlopen('http://{host}:{node_port}/').read().decode(),\n"
        "]))\n"
    )
    said = json.loads(await pods.output("client", {"image": "python", "command": ["python3", "-c", script]}))
    assert said[0] in ("one", "two")
    assert said[1] == address
    assert said[2].endswith(".0.1")
    assert said[3] == "echo.default.svc.cluster.local"
    assert said[4] in ("one", "two")


async def test_a_pod_talks_to_the_api_server_with_its_token(namespace_pods: Pods) -> None:
    script = (
        "import json, os, ssl, urllib.request\n"
        "where = '/var/run/secrets/kubernetes.io/serviceaccount/'\n"
        "context = ssl.create_default_context(cafile=where + 'ca.crt')\n"
        "headers = {'Authorization': 'Bearer ' + open(where + 'token').read()}\n"
        "host = os.environ['KUBERNETES_SERVICE_HOST'] + ':' + os.environ['KUBERNETES_SERVICE_PORT']\n"
        "for base in (host, 'kubernetes.default'):\n"
        "    request = urllib.request.Request(f'https://{base}/version', headers=headers)\n"
        "    print(json.load(urllib.request.urlopen(request, context=context))['major'])\n"
    )
    assert (
        await namespace_pods.output("api", {"image": "python", "command": ["python3", "-c", script]})
        == "1\n1\n"
    )


async def until_refused(address: str, port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection(address, port)
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(0.05)


async def test_connections_are_refused_while_nothing_stands_behind_a_service(namespace_pods: Pods) -> None:
    pods = namespace_pods
    spec = {"selector": {"app": "late"}, "type": "NodePort", "ports": [{"port": 80, "targetPort": 8080}]}
    service = await pods.client.create(
        SERVICES, {"metadata": {"name": "late", "namespace": "default"}, "spec": spec}
    )
    address, node_port = service["spec"]["clusterIP"], service["spec"]["ports"][0]["nodePort"]
    await until_refused(address, 80)
    await until_refused("127.0.0.1", node_port)
    await pods.create("late", server(), labels={"app": "late"})
    assert await until_answered(f"http://{address}/") == "late"
    assert await until_answered(f"http://127.0.0.1:{node_port}/") == "late"
    connect = "import socket; print(socket.socket().connect_ex(('late', 80)))"
    assert await pods.output("seen", {"image": "python", "command": ["python3", "-c", connect]}) == "0\n"
    await pods.client.delete(PODS, "late", "default")
    await until_refused(address, 80)
    await until_refused("127.0.0.1", node_port)
    said = await pods.output("unseen", {"image": "python", "command": ["python3", "-c", connect]})
    assert int(said) == errno.ECONNREFUSED


def test_doors_are_cluster_addresses_and_node_ports() -> None:
    service = {
        "metadata": {"namespace": "a", "name": "b"},
        "spec": {
            "clusterIP": "10.0.0.9",
            "ports": [{"name": "p", "port": 80, "nodePort": 30080, "protocol": "TCP"}],
        },
    }
    found = doors(service, ["10.1.0.1"])
    assert set(found) == {
        Door("10.0.0.9", 80, "TCP"),
        Door("127.0.0.1", 30080, "TCP"),
        Door("10.1.0.1", 30080, "TCP"),
    }
    assert (
        doors({"metadata": service["metadata"], "spec": {"clusterIP": "None", "ports": [{"port": 1}]}}) == {}
    )


def test_terminating_endpoints_serve_only_when_there_are_no_others() -> None:
    lingering = {
        "addresses": ["10.1.0.2"],
        "conditions": {"ready": False, "serving": True, "terminating": True},
    }
    ready = {"addresses": ["10.1.0.1"], "conditions": {"ready": True}}
    piece = {"addressType": "IPv4", "ports": [{"name": "", "port": 8080}], "endpoints": [lingering]}
    assert endpoints([piece], "") == [("10.1.0.2", 8080)]
    piece["endpoints"] = [lingering, ready]
    assert endpoints([piece], "") == [("10.1.0.1", 8080)]
    assert endpoints([piece], "other") == []


def question(name: str, kind: int = dns.A) -> bytes:
    head = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
    return head + dns.encode_name(name) + bytes([0, kind, 0, 1])


def test_a_question_is_read_and_answered() -> None:
    asked = dns.parse_question(question("Web.Default.svc.cluster.local"))
    assert asked.name == "web.default.svc.cluster.local"
    packet = dns.answer(asked, dns.NO_ERROR, [dns.address(asked.name, "10.0.0.1")])
    assert packet[:2] == b"\x12\x34"
    assert packet.endswith(socket.inet_aton("10.0.0.1"))


@pytest.mark.parametrize("packet", [b"", b"\0" * 11, question("a")[:-3], b"\0\0\x80\0" + question("a")[4:]])
def test_what_is_no_question_is_refused(packet: bytes) -> None:
    with pytest.raises(dns.MessageError):
        dns.parse_question(packet)


def test_an_answer_too_long_for_a_datagram_says_so() -> None:
    asked = dns.parse_question(question("many.example"))
    rows = [dns.address(asked.name, f"10.0.0.{n}") for n in range(200)]
    packet = dns.answer(asked, dns.NO_ERROR, rows, most=dns.LONGEST_DATAGRAM)
    assert len(packet) < dns.LONGEST_DATAGRAM
    assert packet[2] & 0x02, "the truncation flag"


async def test_a_host_port_leads_to_the_pod_while_it_runs(namespace_pods: Pods) -> None:
    pods = namespace_pods
    ports = [{"containerPort": 8080, "hostPort": 18080}]
    await pods.create("exposed", {**server(), "ports": ports})
    status = await pods.ready("exposed")
    url = f"http://{status['hostIP']}:18080/"
    assert await until_answered(url) == "exposed"
    await pods.client.delete(PODS, "exposed", "default", grace_period=0)

    async def refused() -> bool:
        try:
            await fetch(url)
        except OSError:
            return True
        return False

    await pods.comes_true(refused)


def test_host_ports_are_on_the_nodes_address_or_on_the_one_asked_for() -> None:
    ports = [
        {"containerPort": 80, "hostPort": 8080, "protocol": "TCP"},
        {"containerPort": 53, "hostPort": 8053, "protocol": "UDP", "hostIP": "127.0.0.1"},
        {"containerPort": 90},
    ]
    pod: dict[str, Any] = {
        "metadata": {"namespace": "a", "name": "b"},
        "spec": {"containers": [{"ports": ports}]},
        "status": {"phase": "Running", "podIP": "10.1.0.5", "hostIP": "10.1.0.1"},
    }
    found = {door: room.only for door, room in host_doors(pod).items()}
    assert found == {
        Door("10.1.0.1", 8080, "TCP"): ("10.1.0.5", 80),
        Door("127.0.0.1", 8053, "UDP"): ("10.1.0.5", 53),
    }
    assert host_doors({**pod, "spec": {**pod["spec"], "hostNetwork": True}}) == {}
    assert host_doors({**pod, "status": {**pod["status"], "phase": "Succeeded"}}) == {}

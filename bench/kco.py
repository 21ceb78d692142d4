"""KCO: polls per CPU-second against the bare client's ceiling, memory per 1000 targets, change-to-Event latency.

Method (spec kco.md, section 4): a GraphQL server in a process of its own on one core, the operator's poll path in
another process on another core, closed loop (interval near zero), 1000 targets, nothing changes in the answers;
schedule, comparison, decoding, rules and status are on. The bare client is the same HTTP client sending the same
bytes over as many connections in the same run, doing nothing with the answers but comparing them. CPU seconds
are the polling process's own, so that a busy machine changes little.
"""

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

TARGETS = 1000
SECONDS = 4.0
REPETITIONS = 3
BODY = b'{"data": {"application": {"status": "running", "health": "healthy", "pendingTasks": 3, "lastError": null}}}'
QUERY = "query AppState { application { status health pendingTasks lastError } }"


def main() -> int:
    """Run server and clients, print the table, the ratio last."""
    cores = sorted(os.sched_getaffinity(0))
    server = subprocess.Popen(
        [sys.executable, "-P", __file__, "server", str(cores[0])], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    port = server.stdout.readline().strip()

    def measure(mode: str) -> dict[str, float]:
        command = [sys.executable, "-P", __file__, mode, str(cores[-1]), port]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        return dict(json.loads(done.stdout))

    results: dict[str, list[dict[str, float]]] = {"bare": [], "ours": []}
    try:
        for _ in range(REPETITIONS):
            for mode, runs in results.items():
                runs.append(measure(mode))
        told = measure("latency")
    finally:
        server.terminate()
        server.wait()
    load = os.getloadavg()[0]
    print(f"{TARGETS} targets, {len(cores)} cores, load {load:.1f}, Python {sys.version.split()[0]}")
    middle = {}
    for mode, runs in results.items():
        rates = sorted(run["polls"] / run["cpu"] for run in runs)
        middle[mode] = statistics.median(rates)
        print(
            f"{mode:5} polls per CPU-second: median {middle[mode]:.0f}, range {rates[0]:.0f} to {rates[-1]:.0f}"
        )
    memory = statistics.median(run["memory_kb"] for run in results["ours"]) / 1024
    requests = results["ours"][0]["requests"]
    print(f"ours  memory per 1000 targets: {memory:.1f} MB; requests per poll: {requests:.3f}")
    print(
        f"ours  change to Event, {TARGETS} targets at 5 s: p50 {told['p50']:.2f} s, p99 {told['p99']:.2f} s; "
        f"{told['flips']:.0f} of {told['asked']:.0f} changes told; {told['achieved']:.1%} of the asked polls made"
    )
    print(f"ratio ours / bare client: {middle['ours'] / middle['bare']:.2f}")
    return 0


class Answering(asyncio.Protocol):
    """The application: answers each target's path with its body; `POST /flip/N` changes target N and tells when."""

    flipped: ClassVar[set[bytes]] = set()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        data = self.rest + data
        while True:
            head, mark, tail = data.partition(b"\r\n\r\n")
            if not mark:
                break
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(tail) < length:
                break
            data = tail[length:]
            path = head.split(b" ", 2)[1]
            if path.startswith(b"/flip/"):
                self.flipped.symmetric_difference_update({b"/" + path[6:]})
                body = b"%f" % time.time()
            else:
                body = BODY.replace(b"healthy", b"unhealthy") if path in self.flipped else BODY
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (len(body), body)
            )
        self.rest = data


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def bare(port: int) -> dict[str, float]:
    """The ceiling: the same client and bytes, nothing else."""
    from kco.net.connection import Answer, Connection
    from kco.net.guard import Guard
    from kco.net.pool import Pool, place_of, prepare
    from kco.net.url import parse_url

    pool = Pool(Guard(allowed=["127.0.0.0/8"]))
    polls = 0
    question = json.dumps({"query": QUERY}).encode()

    def begin(connection: Connection, request: bytes) -> None:
        last = b""

        def done(connection: Connection, answer: Answer | None, reason: str) -> None:
            nonlocal polls, last
            assert answer is not None, reason
            if answer.body != last:
                last = answer.body
            polls += 1
            connection.send(request, 1 << 20, done)

        connection.send(request, 1 << 20, done)

    for number in range(TARGETS):
        address = parse_url(f"http://127.0.0.1:{port}/{number}")
        request = prepare("POST", address, {"Content-Type": "application/json"}, question)
        begin(await pool.open(place_of(address)), request)
    await asyncio.sleep(0.5)
    polls, begun = 0, time.process_time()
    await asyncio.sleep(SECONDS)
    return {"polls": polls, "cpu": time.process_time() - begun}


class Accepting:
    """Stands where the API server's client stands: takes Events and statuses, and notes when."""

    def __init__(self) -> None:
        self.events: dict[str, float] = {}
        self.writes = 0

    async def create(self, resource: Any, namespace: str, body: dict[str, Any], **_: Any) -> dict[str, Any]:
        if body.get("reason") == "StateChanged":
            self.events.setdefault(body["involvedObject"]["name"], time.time())
        return body

    async def patch(self, *_: Any, **__: Any) -> dict[str, Any]:
        self.writes += 1
        return {}


async def operator(port: int, interval: int) -> tuple[Any, Accepting, Any]:
    """TARGETS live targets with a rule each, as the controller makes them."""
    from kco.actions.ledger import Ledger
    from kco.actions.queue import ActionQueue
    from kco.actions.registry import ActionRegistry
    from kco.events.recorder import EventRecorder
    from kco.metrics import KcoCollector
    from kco.net.guard import Guard
    from kco.net.pool import Pool
    from kco.operator.clusters import Clusters
    from kco.operator.controller import Controller
    from kco.operator.preparation import prepare
    from kco.operator.services import Services
    from kco.operator.target import Target
    from kco.polling.engine import PollEngine
    from kco.settings import Settings
    from kco.spec.targetapp import read
    from kco.targets.credentials import Redactor
    from operator_kit.clock import SystemClock

    clock, client, redactor = SystemClock(), Accepting(), Redactor()
    api: Any = client
    guard = Guard(allowed=["127.0.0.0/8"], resolver=loopback)
    pool = Pool(guard)
    metrics = KcoCollector(list)
    engine = PollEngine(pool, duration=metrics.poll_seconds.observe)
    ledger = Ledger(api, clock=clock, identity="bench")
    services = Services(
        settings=Settings(),
        clock=clock,
        client=api,
        guard=guard,
        pool=pool,
        engine=engine,
        recorder=EventRecorder(api, clock=clock, concurrency=100),
        ledger=ledger,
        queue=ActionQueue(ledger, clock=clock, concurrency=10, timeout=10),
        registry=ActionRegistry(),
        metrics=metrics,
        clusters=Clusters(api, clock=clock, guard=guard, redactor=redactor, pods_changed=lambda *_: None),
        redactor=redactor,
        history=None,
        correlation=lambda: "bench",
    )
    controller = Controller(services)
    engine.start()
    for number in range(TARGETS):
        rule = {
            "name": "r",
            "trigger": {"field": "application.pendingTasks", "condition": "greater_than", "value": 100},
            "action": "webhook",
            "parameters": {"url": "http://127.0.0.1:9/"},
        }
        spec = {
            "graphqlEndpoint": f"http://target-{number}.bench:{port}/{number}",
            "stateQuery": QUERY,
            "pollingInterval": interval,
            "requestsPerMinute": 60000,
            "actions": [rule],
        }
        metadata = {"namespace": "bench", "name": f"t-{number}", "uid": f"uid-{number}", "generation": 1}
        target = Target({"metadata": metadata, "spec": spec}, services)
        controller.targets[target.uid] = target
        prepared = await prepare(read(spec), "bench", services.clusters, services.registry, ("*",))
        target.configured(prepared, [])
    return services, client, asyncio.create_task(controller._write_statuses())


async def loopback(host: str, port: int) -> list[str]:
    """Every target has a host name, and so a connection, of its own, as pods have."""
    return ["127.0.0.1"]


def resident_kb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


async def ours(port: int) -> dict[str, float]:
    """Everything on, in a closed loop."""
    # The base is everything imported before memory is measured.
    import kco.operator.process  # noqa: F401

    before = resident_kb()
    services, _, _writer = await operator(port, 5)
    engine = services.engine
    await asyncio.sleep(6)
    memory = resident_kb() - before
    for poll in engine.polls.values():
        # The closed loop: due again as soon as the answer is there.
        poll.interval, poll.bucket = 1e-6, None
        engine.poke(poll.key)
    await asyncio.sleep(1.0)
    polls = sum(poll.succeeded for poll in engine.polls.values())
    requests = sum(poll.requests for poll in engine.polls.values())
    begun = time.process_time()
    await asyncio.sleep(SECONDS)
    cpu = time.process_time() - begun
    polls = sum(poll.succeeded for poll in engine.polls.values()) - polls
    requests = sum(poll.requests for poll in engine.polls.values()) - requests
    return {
        "polls": polls,
        "cpu": cpu,
        "memory_kb": memory * 1000 / TARGETS,
        "requests": requests / polls,
    }


async def latency(port: int) -> dict[str, float]:
    """Change to Event at TARGETS targets and 5 s, and how many of the asked polls were made."""
    services, client, _writer = await operator(port, 5)
    engine = services.engine
    await asyncio.sleep(6)
    begun, done = time.time(), sum(poll.succeeded for poll in engine.polls.values())
    flips: dict[str, float] = {}
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in range(400):
        writer.write(b"POST /flip/%d HTTP/1.1\r\nContent-Length: 0\r\n\r\n" % number)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        flips[f"t-{number}"] = float(await reader.readexactly(length))
        await asyncio.sleep(0.02)
    await asyncio.sleep(6)
    spent = time.time() - begun
    made = sum(poll.succeeded for poll in engine.polls.values()) - done
    waits = sorted(client.events[name] - at for name, at in flips.items() if name in client.events)
    return {
        "p50": waits[len(waits) // 2],
        "p99": waits[int(len(waits) * 0.99)],
        "flips": len(waits),
        "asked": len(flips),
        "achieved": made / (spent / 5 * TARGETS),
    }


def run(mode: str, core: int, port: int) -> None:
    os.sched_setaffinity(0, {core})
    factory: Any = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        if mode == "server":
            runner.run(serve())
            return
        result = runner.run({"bare": bare, "ours": ours, "latency": latency}[mode](port))
        print(json.dumps(result), flush=True)
        # Thousands of open sockets need no tidy end.
        os._exit(0)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    else:
        sys.exit(main())

"""The processes that the benchmark of KCO measures: the application, the bare client, the operator's poll path.

`python -m bench.kco_process MODE CORE PORT` prints one JSON object of figures; MODE `server` prints its port instead
and goes on until it is ended.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

from kco.actions.ledger import Ledger
from kco.actions.queue import ActionQueue
from kco.actions.registry import ActionRegistry
from kco.events.recorder import EventRecorder
from kco.metrics import KcoCollector
from kco.net.connection import Answer, Connection
from kco.net.guard import Guard
from kco.net.pool import Pool, place_of
from kco.net.pool import prepare as prepare_request
from kco.net.url import parse_url
from kco.operator.clusters import Clusters
from kco.operator.configuration import configured
from kco.operator.controller import Controller
from kco.operator.preparation import prepare
from kco.operator.services import Services
from kco.operator.target import Target
from kco.polling.engine import PollEngine
from kco.polling.rate import Bucket
from kco.settings import Settings
from kco.targets.credentials import Redactor
from operator_kit.clock import SystemClock
from operator_kit.garbage import settle

TARGETS = 1000
INTERVAL = 5
SECONDS = 3.0
BODY = b'{"data": {"application": {"status": "running", "health": "healthy", "pendingTasks": 3, "lastError": null}}}'
QUERY = "query AppState { application { status health pendingTasks lastError } }"


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
        request = prepare_request("POST", address, {"Content-Type": "application/json"}, question)
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


class Running:
    """The poll path of an operator, as the process builds it, with TARGETS live targets once they are added."""

    def __init__(self, limit: Bucket) -> None:
        clock, redactor = SystemClock(), Redactor()
        self.api = Accepting()
        client: Any = self.api
        guard = Guard(allowed=["127.0.0.0/8"], resolver=loopback)
        pool = Pool(guard)
        metrics = KcoCollector(list)
        self.engine = PollEngine(pool, bucket=limit, duration=metrics.poll_seconds.observe)
        ledger = Ledger(client, clock=clock, identity="bench")
        self.services = Services(
            settings=Settings(),
            clock=clock,
            client=client,
            guard=guard,
            pool=pool,
            engine=self.engine,
            recorder=EventRecorder(client, clock=clock, concurrency=100),
            ledger=ledger,
            queue=ActionQueue(ledger, clock=clock, concurrency=10, timeout=10),
            registry=ActionRegistry(),
            metrics=metrics,
            clusters=Clusters(client, clock=clock, guard=guard, redactor=redactor, pods_changed=ignore),
            redactor=redactor,
            history=None,
            correlation=lambda: "bench",
        )
        self.controller = Controller(self.services)
        self.engine.start()
        self.writer = asyncio.create_task(self.controller._write_statuses())

    async def add(self, number: int, port: int) -> None:
        """One more target with a rule that no other has, as the controller makes it."""
        rule = {
            "name": "r",
            "trigger": {
                "field": "application.pendingTasks",
                "condition": "greater_than",
                "value": 100 + number,
            },
            "action": "webhook",
            "parameters": {"url": "http://127.0.0.1:9/"},
        }
        spec = {
            "graphqlEndpoint": f"http://target-{number}.bench:{port}/{number}",
            "stateQuery": QUERY,
            "pollingInterval": INTERVAL,
            "actions": [rule],
        }
        metadata = {"namespace": "bench", "name": f"t-{number}", "uid": f"uid-{number}", "generation": 1}
        target = Target({"metadata": metadata, "spec": spec}, self.services)
        self.controller.targets[target.uid] = target
        services = self.services
        prepared = await prepare(target.spec(), "bench", services.clusters, services.registry, ("*",))
        configured(target, prepared, [])

    def count(self, name: str) -> int:
        return sum(getattr(poll, name) for poll in self.engine.polls.values())


def ignore(*_: Any) -> None:
    """Pods of another cluster have changed; there are none here."""


async def loopback(host: str, port: int) -> list[str]:
    """Every target has a host name, and so a connection, of its own, as pods have."""
    return ["127.0.0.1"]


def resident_kb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


async def ours(port: int) -> dict[str, float]:
    """Everything on, in a closed loop."""
    running = Running(_far_away())
    for number in range(TARGETS):
        await running.add(number, port)
    await asyncio.sleep(INTERVAL + 1)
    for poll in running.engine.polls.values():
        # The closed loop: due again as soon as the answer is there.
        poll.interval, poll.bucket = 1e-6, _far_away()
        running.engine.poke(poll.key)
    await asyncio.sleep(1.0)
    polls, requests = running.count("succeeded"), running.count("requests")
    begun = time.process_time()
    await asyncio.sleep(SECONDS)
    cpu = time.process_time() - begun
    polls, requests = running.count("succeeded") - polls, running.count("requests") - requests
    return {"polls": polls, "cpu": cpu, "requests": requests / polls}


def _far_away() -> Bucket:
    """Limits are asked at every poll and never reached: waiting is not what is measured."""
    return Bucket(60_000_000, 1_000_000, time.monotonic())


async def memory(port: int) -> dict[str, float]:
    """(RSS with TARGETS targets after three intervals) - (RSS with one, which has everything imported)."""
    running = Running(_far_away())
    await running.add(TARGETS, port)
    await asyncio.sleep(INTERVAL + 1)
    before = resident_kb()
    for number in range(TARGETS):
        await running.add(number, port)
    await asyncio.sleep(3 * INTERVAL)
    return {"megabytes": (resident_kb() - before) / 1024 * 1000 / TARGETS}


async def latency(port: int) -> dict[str, float]:
    """Change to Event at TARGETS targets and 5 s with the limits of the default settings."""
    settings = Settings()
    running = Running(Bucket(settings.global_rate_limit, settings.global_rate_burst, time.monotonic()))
    for number in range(TARGETS):
        await running.add(number, port)
    await asyncio.sleep(INTERVAL + 1)
    begun, done = time.time(), running.count("succeeded")
    flips: dict[str, float] = {}
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in range(400):
        writer.write(b"POST /flip/%d HTTP/1.1\r\nContent-Length: 0\r\n\r\n" % number)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        flips[f"t-{number}"] = float(await reader.readexactly(length))
        await asyncio.sleep(0.02)
    await asyncio.sleep(INTERVAL + 1)
    spent = time.time() - begun
    made = running.count("succeeded") - done
    events = running.api.events
    waits = sorted(events[name] - at for name, at in flips.items() if name in events)
    return {
        "p50": waits[len(waits) // 2],
        "p99": waits[int(len(waits) * 0.99)],
        "flips": len(waits),
        "asked": len(flips),
        "achieved": made / (spent / INTERVAL * TARGETS),
    }


MODES = {"bare": bare, "ours": ours, "memory": memory, "latency": latency}


def main(mode: str, core: int, port: int) -> None:
    os.sched_setaffinity(0, {core})
    factory: Any = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    # As `kco run` does, and for the bare client too.
    settle()
    with asyncio.Runner(loop_factory=factory) as runner:
        if mode == "server":
            runner.run(serve())
            return
        print(json.dumps(runner.run(MODES[mode](port))), flush=True)
        # Thousands of open sockets need no tidy end.
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

"""How long until a cluster answers, from nothing: `slipway up --detach`, and `with Cluster()` in a program.

`make bench WHAT=startup`. Every figure is the median of RUNS runs, each in a process of its own; "exec" is the moment
before the program is started. The library's rows say what a test pays: the first cluster of a process, with all
imports, then a second one. Bytecode is compiled first, as an installed package's is.
"""

from __future__ import annotations

import asyncio
import compileall
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from slipway.cluster.schema.builtin import load_catalogue
from slipway.cluster.schema.openapi import OpenApi

RUNS = 9
ROOT = Path(__file__).parent.parent
IN_PROCESS = """
import json, os, time
began = time.perf_counter(), time.process_time()
from slipway.cluster import Cluster

def request(cluster):
    import http.client, ssl
    unchecked = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection("127.0.0.1", cluster.embedded.port, context=unchecked)
    connection.request("GET", "/api/v1/namespaces/default", headers={"Authorization": "Bearer " + cluster.admin_token})
    assert connection.getresponse().status == 200
    connection.close()

def round_trip(began):
    cluster = Cluster()
    cluster.start()
    request(cluster)
    ready, spent = time.perf_counter() - began[0], time.process_time() - began[1]
    memory = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    began = time.perf_counter()
    cluster.stop()
    return ready, spent, memory, time.perf_counter() - began

first = round_trip(began)
print(json.dumps([*first, *round_trip((time.perf_counter(), time.process_time()))[:2]]))
"""


def detached(home: Path) -> tuple[float, float]:
    """Seconds from exec until `slipway up --detach` returns, and until the first answer over TLS."""
    environment = {**os.environ, "SLIPWAY_HOME": str(home)}
    program = [str(Path(sys.executable).with_name("slipway"))]
    began = time.perf_counter()
    subprocess.run([*program, "up", "--detach"], env=environment, check=True, capture_output=True)
    returned = time.perf_counter() - began
    try:
        asyncio.run(_first_answer(home / "clusters" / "slipway" / "kubeconfig"))
        return returned, time.perf_counter() - began
    finally:
        subprocess.run([*program, "down"], env=environment, check=True, capture_output=True)


async def _first_answer(kubeconfig: Path) -> None:
    """GET a namespace with the administrator's certificate; RuntimeError when that fails."""
    from base64 import b64decode
    from urllib.parse import urlsplit

    document = json.loads(kubeconfig.read_text())
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    context = ssl.create_default_context(cadata=b64decode(cluster["certificate-authority-data"]).decode())
    with tempfile.NamedTemporaryFile() as pair:
        pair.write(b64decode(user["client-certificate-data"]) + b64decode(user["client-key-data"]))
        pair.flush()
        context.load_cert_chain(pair.name)
    parts = urlsplit(cluster["server"])
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=context)
    writer.write(b"GET /api/v1/namespaces/default HTTP/1.1\r\nHost: x\r\n\r\n")
    status = (await reader.readline()).split()[1]
    writer.close()
    if status != b"200":
        raise RuntimeError(f"the first answer was {status.decode()}")


def in_process() -> list[float]:
    """Of the first cluster: ready (s), processor time of it (s), memory (MB), stop (s); of a second one the first two."""
    said = subprocess.run([sys.executable, "-c", IN_PROCESS], check=True, capture_output=True, text=True)
    return [float(value) for value in json.loads(said.stdout)]


def largest_document() -> float:
    """Seconds for the largest OpenAPI document, the core group's, which is made when somebody asks for it."""
    documents = OpenApi(load_catalogue(), lambda _: None)
    began = time.perf_counter()
    documents.document("api/v1")
    return time.perf_counter() - began


def main() -> int:
    compileall.compile_dir(str(ROOT / "src"), quiet=1)
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        detached(Path(folder))  # once unmeasured: caches of the file system
        returned, answered = zip(*(detached(Path(folder)) for _ in range(RUNS)), strict=True)
    cold, cold_cpu, memory, stopped, second, second_cpu = (
        statistics.median(column) for column in zip(*(in_process() for _ in range(RUNS)), strict=True)
    )
    rows = [
        ("slipway up --detach: exec until it returns, ms", 1000 * statistics.median(returned), "500"),
        ("slipway up --detach: exec until the first answer, ms", 1000 * statistics.median(answered), "500"),
        ("with Cluster(): import until the first answer, ms", 1000 * cold, "250"),
        ("    of it processor time of all its threads, ms", 1000 * cold_cpu, ""),
        ("with Cluster(): the second in a process, ms", 1000 * second, "20"),
        ("    of it processor time of all its threads, ms", 1000 * second_cpu, ""),
        ("with Cluster(): leaving it, ms", 1000 * stopped, "100"),
        ("memory at rest, MB", memory, "60"),
        ("the largest OpenAPI document, ms", 1000 * min(largest_document() for _ in range(RUNS)), "50"),
    ]
    print(f"median of {RUNS}, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    print(f"{'':56}{'measured':>10}{'goal':>8}")
    for name, value, goal in rows:
        print(f"{name:56}{value:>10.0f}{goal:>8}")
    print(f"slipway up --detach: {1000 * statistics.median(answered):.0f} ms from exec to the first answer")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""kill -9 at any moment: what was acknowledged is there afterwards, and nothing of ours is left running."""

from __future__ import annotations

import json
import os
import random
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

ROUNDS = 4


class Home:
    """A private SLIPWAY_HOME with one cluster in it."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.options = options

    def slipway(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "slipway.cli", *words]
        environment = {**os.environ, "SLIPWAY_HOME": str(self.folder)}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=check, timeout=60
        )

    def up(self) -> None:
        self.slipway("up", "--name", "death", "--detach", *self.options)

    @property
    def instance(self) -> dict[str, object]:
        loaded: dict[str, object] = json.loads((self.folder / "clusters/death/cluster.json").read_text())
        return loaded

    def ask(self, method: str, path: str, body: object = None) -> dict[str, object]:
        config = yaml.safe_load((self.folder / "clusters/death/kubeconfig").read_text())
        context = self._context(config)
        request = urllib.request.Request(
            config["clusters"][0]["cluster"]["server"] + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:
            parsed: dict[str, object] = json.loads(answer.read())
            return parsed

    def _context(self, config: dict[str, object]) -> ssl.SSLContext:
        import base64

        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]  # type: ignore[index]
        context = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
        )
        chain = self.folder / "client.pem"
        chain.touch(mode=0o600)
        chain.write_bytes(
            base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"])
        )
        context.load_cert_chain(chain)
        return context


def writer(home: Home, round_number: int, acknowledged: list[str], stop: threading.Event) -> None:
    """Create objects one after the other and note those that were answered."""
    number = 0
    while not stop.is_set():
        name = f"r{round_number}-{number}"
        body = {"metadata": {"name": name}, "data": {"round": str(round_number)}}
        try:
            home.ask("POST", "/api/v1/namespaces/default/configmaps", body)
        except (OSError, urllib.error.URLError):
            return
        acknowledged.append(name)
        number += 1


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    chance = random.Random(7)
    home = Home(tmp_path / "home", "--state", str(tmp_path / "state.db"), "--nodes", "0")
    acknowledged: list[str] = []
    for round_number in range(ROUNDS):
        home.up()
        stop = threading.Event()
        thread = threading.Thread(target=writer, args=(home, round_number, acknowledged, stop))
        thread.start()
        time.sleep(chance.uniform(0.1, 0.6))
        os.kill(int(str(home.instance["pid"])), signal.SIGKILL)
        stop.set()
        thread.join()
    home.up()
    found = home.ask("GET", "/api/v1/namespaces/default/configmaps")
    names = {item["metadata"]["name"] for item in found["items"]}  # type: ignore[attr-defined]
    assert acknowledged, "the writer got through at least once"
    assert set(acknowledged) - names == set()
    home.slipway("down", "death")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_doctor_leaves_nothing_of_a_killed_cluster(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", "--nodes", "1")
    home.up()
    pod = {
        "metadata": {"name": "long"},
        "spec": {"containers": [{"name": "c", "image": "busybox", "command": ["sleep", "98765"]}]},
    }
    for _ in range(100):
        try:
            home.ask("POST", "/api/v1/namespaces/default/pods", pod)
            break
        except urllib.error.HTTPError:  # the service account comes a moment after the namespace
            time.sleep(0.05)
    for _ in range(200):
        status = home.ask("GET", "/api/v1/namespaces/default/pods/long")["status"]
        if status.get("phase") == "Running":  # type: ignore[attr-defined]
            break
        time.sleep(0.05)
    else:
        pytest.fail(f"the pod never ran: {status}")
    os.kill(int(str(home.instance["pid"])), signal.SIGKILL)
    time.sleep(0.2)
    home.slipway("doctor")
    left = subprocess.run(["pgrep", "-f", "sleep 98765"], capture_output=True, text=True, check=False).stdout
    assert left == ""
    assert home.slipway("status").stdout.startswith("no clusters")


def test_bad_input_is_refused_in_one_line(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    for words, said in (
        (("up", "--nodes", "-1"), "--nodes -1"),
        (("up", "--port", "70000"), "--port 70000"),
        (("up", "--name", "Bad Name"), "cluster name 'Bad Name'"),
        (("up", "--state", "/no/such/folder/x.db"), "--state /no/such/folder/x.db"),
        (("up", "--pod-range", "10.0.0.0/99"), "--pod-range 10.0.0.0/99"),
        (("up", "--pod-range", "127.0.0.0/8"), "overlaps"),
    ):
        done = home.slipway(*words, check=False)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    for words in (("env", "none"), ("kubeconfig", "none"), ("down", "none"), ("logs", "none")):
        done = home.slipway(*words, check=False)
        assert done.returncode == 1
        assert "none" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_second_cluster_does_not_take_the_first_ones_state(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    first = Home(tmp_path / "one", "--state", str(state), "--nodes", "0")
    first.up()
    second = Home(tmp_path / "two", "--state", str(state), "--nodes", "0")
    done = second.slipway("up", "--name", "death", "--detach", *second.options, check=False)
    assert done.returncode == 1
    assert "in use by another process" in done.stderr
    assert "Traceback" not in done.stderr
    first.slipway("down", "death")

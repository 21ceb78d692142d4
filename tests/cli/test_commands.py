"""The `slipway` command as a person meets it: what it prints, what it refuses and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from slipway.cluster.client.resources import ENDPOINT_SLICES, PODS
from slipway.cluster.environment.blocking_client import BlockingClient


@dataclass
class Shell:
    """Runs `slipway` with a home of its own."""

    home: Path

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "slipway.cli", *words],
            env={**os.environ, "SLIPWAY_HOME": str(self.home)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def ok(self, *words: str) -> str:
        done = self(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def slipway(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path / "home")
    yield shell
    shell("down", "--all")


def up(slipway: Shell, name: str, *words: str) -> None:
    slipway.ok("up", "--name", name, "--runtime", "simulated", "--detach", *words)


BEHAVIOUR = "behaviours: [{match: {colour: red}}]"
REFUSED = [
    (["frob"], "invalid choice: 'frob'"),
    (["up", "--nodes", "-1"], "--nodes -1: give a number from 0 to 5000"),
    (["up", "--nodes", "many"], "argument --nodes: invalid int value: 'many'"),
    (["up", "--port", "70000"], "--port 70000: give a number from 0 (any free port) to 65535"),
    (["up", "--name", "No Good"], "cluster name 'No Good': use lower-case letters"),
    (["up", "--state", "/no/such/folder/state"], "the folder /no/such/folder does not exist"),
    (["up", "--state", "/tmp"], "--state /tmp: is a folder; name a file in it"),
    (["up", "--history", "1"], "--history 1: give at least 100 changes"),
    (["up", "--host", "300.1.1.1"], "--host 300.1.1.1: "),
    (["up", "--http", "--host", "0.0.0.0"], "--http: served on loopback only, not on 0.0.0.0"),
    (["up", "--det"], "unrecognized arguments: --det"),
    (["env", "No Good"], "cluster name 'No Good': use lower-case letters"),
    (["kubeconfig", "No Good"], "cluster name 'No Good': use lower-case letters"),
    (["logs", "No Good"], "cluster name 'No Good': use lower-case letters"),
    (["down", "No Good"], "cluster name 'No Good': use lower-case letters"),
    (["export", "No Good"], "cluster name 'No Good': use lower-case letters"),
    (["up", "--pod-range", "10.250.0.1/24"], "--pod-range 10.250.0.1/24: 10.250.0.1/24 has host bits set"),
    (["up", "--pod-range", "10.250.0.0"], "--pod-range 10.250.0.0 has 1 addresses, and 8 are needed"),
    (["up", "--service-range", "127.0.0.0/8x"], "give a network such as"),
    (["up", "--behaviours", "pods.yaml"], "only simulated pods read it; add --runtime simulated"),
    (["up", "--runtime", "simulated", "--behaviours", "/no/pods.yaml"], "No such file"),
    (["images", "add", "shop", "--oci", "/no/layout"], "there is no such file or folder"),
    (
        ["images", "add", "shop", "--python", "no_such_shop:main"],
        "no module 'no_such_shop' here; name its folder",
    ),
    (["images", "add", "shop", "--python", "shop-1:main"], "write MODULE:FUNCTION, such as shop.worker:main"),
    (["images", "add", "shop", "--command", "sh", "--path", "/no/folder"], "there is no such file or folder"),
    (["images", "add", "shop"], "one of the arguments --command --rootfs --oci --python is required"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED, ids=lambda value: " ".join(value)[:40])
def test_bad_input_ends_with_code_2_and_says_what_is_allowed(
    slipway: Shell, words: list[str], said: str
) -> None:
    done = slipway(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["env", "kubeconfig", "logs", "down"])
def test_a_cluster_that_is_not_there_is_named(slipway: Shell, command: str) -> None:
    done = slipway(command, "shop")
    assert done.returncode == 1
    assert "'shop'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_behaviour_file_is_refused_before_anything_starts(slipway: Shell, tmp_path: Path) -> None:
    path = tmp_path / "pods.yaml"
    path.write_text(BEHAVIOUR)
    done = slipway("up", "--runtime", "simulated", "--behaviours", str(path))
    assert done.returncode == 2
    assert f"{path}: behaviours[0].match.colour: unknown field; allowed are" in done.stderr


def test_two_clusters_live_side_by_side_and_end_one_by_one(slipway: Shell) -> None:
    up(slipway, "left")
    up(slipway, "right", "--nodes", "2")
    rows = {row["name"]: row for row in json.loads(slipway.ok("status", "-o", "json"))}
    assert {name: (row["running"], row["nodes"]) for name, row in rows.items()} == {
        "left": (True, 1),
        "right": (True, 2),
    }
    assert rows["left"]["url"] != rows["right"]["url"]
    again = slipway("up", "--name", "left", "--detach")
    assert again.returncode == 1
    assert "cluster 'left' is running already" in again.stderr
    slipway.ok("down", "left")
    assert [row["name"] for row in json.loads(slipway.ok("status", "-o", "json"))] == ["right"]
    slipway.ok("down", "--all")
    assert slipway.ok("status") == "no clusters; start one: slipway up --detach\n"


def test_of_two_that_start_at_once_under_one_name_one_runs(slipway: Shell) -> None:
    command = [sys.executable, "-m", "slipway.cli", "up", "--name", "twin", "--nodes", "0", "--detach"]
    environment = {**os.environ, "SLIPWAY_HOME": str(slipway.home)}
    both = [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = sorted((process.wait(), *process.communicate()) for process in both)
    assert [code for code, _, _ in said] == [0, 1], said
    assert "cluster 'twin' is" in said[1][2]
    assert slipway.ok("down", "twin") == "cluster twin is down\n"


@pytest.mark.parametrize(
    ("host", "server"),
    [
        ("localhost", "https://127.0.0.1:"),
        ("0.0.0.0", "https://127.0.0.1:"),
        ("127.0.0.2", "https://127.0.0.2:"),
    ],
)
def test_a_cluster_listens_where_it_is_told_and_says_how_to_reach_it(
    slipway: Shell, host: str, server: str
) -> None:
    up(slipway, "shop", "--nodes", "0", "--host", host)
    path = Path(slipway.ok("kubeconfig", "shop", "--path").strip())
    assert json.loads(path.read_text())["clusters"][0]["cluster"]["server"].startswith(server)
    with BlockingClient(path, "test") as api:
        found = api.call(api.client.get(ENDPOINT_SLICES, "kubernetes", "default"))
    assert [row["addresses"] for row in found["endpoints"]] == [[server[8:-1]]]


def test_a_port_that_is_taken_is_named(slipway: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        for detached in ([], ["--detach"]):
            done = slipway("up", "--nodes", "0", "--port", port, *detached)
            assert done.returncode == 1
            assert done.stderr.startswith(f"slipway up: --port {port}: another program listens there")
            assert list((slipway.home / "clusters").iterdir()) == [], "what did not start leaves nothing"


def test_a_start_that_fails_leaves_what_was_there_before(slipway: Shell) -> None:
    folder = slipway.home / "clusters" / "slipway"
    (folder / "data").mkdir(parents=True)
    (folder / "log").write_text("of a cluster that was killed\n")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        state = ["--state", str(slipway.home / "state.db")]
        assert slipway("up", "--nodes", "0", "--port", port, "--detach", *state).returncode == 1
    assert [path.name for path in folder.iterdir()] == ["data"]


@pytest.mark.parametrize("words", [["up"], ["up", "--detach"], ["images", "add", "x", "--command", "sh"]])
def test_a_home_that_cannot_be_written_is_said_in_one_line(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "file").write_text("")
    done = Shell(tmp_path / "file")(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert str(tmp_path / "file") in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_cluster_in_the_foreground_ends_with_its_terminal_and_leaves_no_file(
    slipway: Shell, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "slipway.cli", "up", "--name", "shop", "--runtime", "simulated"],
        env={**os.environ, "SLIPWAY_HOME": str(slipway.home)},
        stdout=subprocess.PIPE,
        text=True,
        # Tests that run under nohup ignore it, and so would the cluster.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert "is ready" in process.stdout.readline()
        process.send_signal(number)
        assert process.wait(60) == 0
    assert list((slipway.home / "clusters").iterdir()) == []


def test_env_selects_a_cluster_whose_kubeconfig_only_its_owner_reads(slipway: Shell) -> None:
    up(slipway, "shop")
    path = Path(slipway.ok("kubeconfig", "shop", "--path").strip())
    assert path.stat().st_mode & 0o777 == 0o600
    assert f"export KUBECONFIG={path}" in slipway.ok("env", "shop")
    assert path.read_text() == slipway.ok("kubeconfig", "shop")
    slipway.ok("down", "shop")
    assert not path.exists()


def test_a_killed_cluster_is_shown_as_such_and_doctor_clears_it_away(slipway: Shell) -> None:
    up(slipway, "shop")
    os.kill(json.loads(slipway.ok("status", "-o", "json"))[0]["pid"], signal.SIGKILL)
    for _ in range(100):
        if not json.loads(slipway.ok("status", "-o", "json"))[0]["running"]:
            break
    assert "killed (slipway doctor cleans up)" in slipway.ok("status")
    assert "shop" in slipway.ok("doctor", "--dry-run")
    assert json.loads(slipway.ok("status", "-o", "json"))
    slipway.ok("doctor")
    assert json.loads(slipway.ok("status", "-o", "json")) == []
    assert slipway.ok("doctor").endswith("nothing is left over\n")


def test_doctor_names_what_pods_are_made_of_as_up_makes_them(slipway: Shell) -> None:
    slipway.ok("up", "--name", "shop", "--nodes", "0", "--detach")
    (shop,) = json.loads(slipway.ok("status", "-o", "json"))
    [line] = [row for row in slipway.ok("doctor", "--dry-run").splitlines() if row.startswith("pods ")]
    assert {"namespaces": "Linux namespaces", "process": "plain processes"}[shop["runtime"]] in line


def test_an_image_name_that_was_added_is_listed_before_ours_and_can_be_taken_away(slipway: Shell) -> None:
    slipway.ok("images", "add", "example.com/shop:*", "--command", "sleep infinity", "--env", "A=1")
    first = slipway.ok("images", "list").splitlines()[0]
    assert first.split() == ["example.com/shop:*", "host:", "sleep", "infinity"]
    slipway.ok("images", "remove", "example.com/shop:*")
    assert "shop" not in slipway.ok("images", "list")
    assert slipway("images", "remove", "example.com/shop:*").returncode != 0


def test_a_function_of_ones_own_runs_as_a_pod(slipway: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "greeter.py").write_text("def main():\n    print('hello from a function', flush=True)\n")
    slipway.ok("images", "add", "example.com/greeter", "--python", "greeter:main", "--path", str(folder))
    slipway.ok("up", "--name", "shop", "--runtime", "process", "--detach")
    with BlockingClient(Path(slipway.ok("kubeconfig", "shop", "--path").strip()), "test") as api:
        containers = [{"name": "c", "image": "example.com/greeter"}]
        pod = {"metadata": {"name": "greeter"}, "spec": {"restartPolicy": "Never", "containers": containers}}
        api.call(api.client.create(PODS, {**pod, "metadata": {"name": "greeter", "namespace": "default"}}))
        for _ in range(200):
            found = api.call(api.client.get(PODS, "greeter", "default"))
            if found["status"]["phase"] in {"Succeeded", "Failed"}:
                break
            time.sleep(0.05)
    assert found["status"]["phase"] == "Succeeded"


def test_a_name_served_by_a_broken_image_file_is_said_with_its_place(slipway: Shell) -> None:
    slipway.home.mkdir()
    (slipway.home / "images.yaml").write_text("images: 3")
    done = slipway("images", "list")
    assert done.returncode != 0
    assert f"{slipway.home}/images.yaml: expected a list of rows under `images`" in done.stderr


def test_what_one_cluster_exports_another_imports(slipway: Shell, tmp_path: Path) -> None:
    up(slipway, "from", "--nodes", "0")
    up(slipway, "to", "--nodes", "0")
    made, moved = tmp_path / "made.yaml", tmp_path / "moved.yaml"
    made.write_text("{apiVersion: v1, kind: Secret, metadata: {name: key}, stringData: {pass: word}}")
    assert slipway.ok("import", str(made), "from") == "1 created, 0 updated, 0 refused\n"
    slipway.ok("export", "from", "--output", str(moved))
    assert moved.stat().st_mode & 0o777 == 0o600
    assert slipway.ok("import", str(moved), "to") == "1 created, 0 updated, 0 refused\n"
    assert slipway.ok("export", "to") == moved.read_text()


def test_the_roles_of_who_called_are_printed_and_a_stranger_is_named(slipway: Shell) -> None:
    up(slipway, "roles", "--nodes", "0")
    slipway.ok("export", "roles")
    assert "kubernetes-admin" in slipway.ok("roles", "roles").splitlines()
    role = slipway.ok("roles", "roles", "--user", "kubernetes-admin")
    assert role.startswith("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\n")
    refused = slipway("roles", "roles", "--user", "nobody")
    assert refused.returncode == 1
    assert "nobody of that name has called" in refused.stderr


def test_import_says_which_objects_were_refused(slipway: Shell, tmp_path: Path) -> None:
    up(slipway, "one", "--nodes", "0")
    bad = tmp_path / "bad.yaml"
    bad.write_text("{apiVersion: v1, kind: ConfigMap, metadata: {name: No_Good}}")
    done = slipway("import", str(bad), "one")
    assert (done.returncode, done.stdout) == (1, "0 created, 0 updated, 1 refused\n")
    assert "refused: ConfigMap No_Good:" in done.stderr
    bad.write_text("- 1")
    done = slipway("import", str(bad), "one")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"slipway import: {bad}, document 1: is list, not an object" in done.stderr


def test_a_dump_of_a_running_cluster_has_its_servers_log_and_overwrites_nothing(
    slipway: Shell, tmp_path: Path
) -> None:
    up(slipway, "one")
    path = tmp_path / "dump"
    assert slipway.ok("dump", "one", "--output", str(path)).startswith(f"{path}: ")
    assert (path / "server.log").read_text()
    assert "name: one-1" in (path / "objects" / "_cluster" / "nodes.yaml").read_text()
    again = slipway("dump", "one", "--output", str(path))
    assert again.returncode == 2
    assert "is not empty: name a new folder, or a file that ends with .tar.gz" in again.stderr
    missing = slipway("dump", "two", "--output", str(tmp_path / "other.tar.gz"))
    assert missing.returncode == 1
    assert "no cluster 'two' is running" in missing.stderr
    assert not (tmp_path / "other.tar.gz").exists()

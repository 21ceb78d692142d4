"""`slipway dump`, `Cluster.dump`: everything that helps, nothing that is secret."""

from __future__ import annotations

import base64
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway.cluster import Cluster
from slipway.cluster.client.resources import CONFIG_MAPS, EVENTS, SECRETS
from slipway.cluster.environment.dump_files import DumpError, dump_files
from slipway.cluster.environment.dumping import Limits, dump
from slipway.cluster.environment.masking import Masks
from slipway.cluster.faults import Refuse

PASSWORD = "correct-horse-battery"
KEY = "-----BEGIN KEY-----\nMIIBVgIBADANBgkqhkiG9w0B\n-----END KEY-----\n"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def fill(cluster: Cluster) -> None:
    """A Secret, its values in other places, events out of order."""
    client = cluster.embedded.client()

    async def make() -> None:
        place = {"namespace": "default"}
        data = {"password": encoded(PASSWORD), "key": encoded(KEY), "short": encoded("abc")}
        applied = {
            "kubectl.kubernetes.io/last-applied-configuration": f'{{"data":{{"short":"{encoded("abc")}"}}}}'
        }
        await client.create(
            SECRETS, {"metadata": {"name": "s", **place, "annotations": applied}, "data": data}
        )
        leaks = {
            "url": f"postgres://u:{PASSWORD}@db",
            "encoded": encoded(PASSWORD),
            "line": KEY.splitlines()[1],
        }
        await client.create(CONFIG_MAPS, {"metadata": {"name": "c", **place}, "data": leaks})
        for name, at in (
            ("b", "2026-01-01T00:00:02Z"),
            ("a", "2026-01-01T00:00:03Z"),
            ("c", "2026-01-01T00:00:01Z"),
        ):
            about = {"kind": "ConfigMap", "name": name, "namespace": "default"}
            await client.create(
                EVENTS,
                {
                    "metadata": {"name": name, **place},
                    "involvedObject": about,
                    "reason": "Told",
                    "type": "Normal",
                    "message": f"the password is {PASSWORD}",
                    "lastTimestamp": at,
                    "count": 2,
                },
            )

    cluster.run(make())


def texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_dump_has_every_object_events_in_order_versions_and_no_secret(tmp_path: Path) -> None:
    with Cluster(nodes=0, controllers=False) as cluster:
        fill(cluster)
        summary = cluster.dump(tmp_path / "dump")
    found = texts(tmp_path / "dump")
    everything = "\n".join(found.values())
    for secret in (PASSWORD, encoded(PASSWORD), encoded(KEY), KEY.splitlines()[1], encoded("abc")):
        assert secret not in everything
    [secret] = yaml.safe_load_all(found["objects/default/secrets.yaml"])
    assert secret["data"] == {
        "password": "*** (21 bytes)",
        "key": f"*** ({len(KEY)} bytes)",
        "short": "*** (3 bytes)",
    }
    lines = found["events.txt"].splitlines()
    assert [line.split()[4] for line in lines] == ["ConfigMap/c:", "ConfigMap/b:", "ConfigMap/a:"]
    assert lines[0] == "2026-01-01T00:00:01Z default Normal Told ConfigMap/c: the password is *** (x2)"
    said = yaml.safe_load(found["summary.yaml"])
    assert said["kubernetes"] == "v1.37.0"
    assert said["objects"]["configmaps"] == summary.objects["configmaps"] >= 1
    assert (said["notRead"], said["shortened"]) == ([], [])
    assert {"version.json", "metrics.txt", "callers.json", "objects/_cluster/namespaces.yaml"} <= found.keys()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "dump").rglob("*")}
    assert modes == {0o600, 0o700}


@pytest.mark.cluster(nodes=1, virtual_time=True, runtime="simulated")
def test_logs_of_containers_that_ran_before_are_there_too(cluster: Any, tmp_path: Path) -> None:
    # Simulated pods say nothing of their own; that there is a file for each run is what counts here.
    cluster.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: one}\nspec: {containers: [{name: c, image: busybox}]}\n"
    )
    cluster.advance(60)
    cluster.embedded.dump(tmp_path / "dump")
    assert (tmp_path / "dump" / "logs" / cluster.namespace / "one" / "c.log").exists()


def test_an_archive_of_the_same_state_is_the_same_bytes_but_for_the_time_of_its_taking(
    tmp_path: Path,
) -> None:
    with Cluster(nodes=0, controllers=False, seed=1) as cluster:
        fill(cluster)
        for name in ("a", "b"):
            cluster.dump(tmp_path / f"{name}.tar.gz")
    assert stat.S_IMODE((tmp_path / "a.tar.gz").stat().st_mode) == 0o600
    contents: list[dict[str, bytes]] = []
    for name in ("a", "b"):
        with tarfile.open(tmp_path / f"{name}.tar.gz") as archive:
            members = archive.getmembers()
            assert {(member.mtime, member.uid, member.mode) for member in members} == {(0, 0, 0o600)}
            contents.append({m.name.partition("/")[2]: archive.extractfile(m).read() for m in members})  # type: ignore[union-attr]
    assert list(contents[0]) == list(contents[1])
    assert {k: v for k, v in contents[0].items() if k not in {"summary.yaml", "callers.json"}} == {
        k: v for k, v in contents[1].items() if k not in {"summary.yaml", "callers.json"}
    }


def test_sizes_are_bounded_and_what_is_missing_is_said(tmp_path: Path) -> None:
    with Cluster(nodes=0, controllers=False) as cluster:
        client = cluster.embedded.client("slipway-dump")

        async def work() -> Any:
            for number in range(12):
                await client.create(CONFIG_MAPS, {"metadata": {"name": f"m{number}", "namespace": "default"}})
            log = tmp_path / "server.log"
            log.write_text("x" * 9000 + "end")
            with dump_files(tmp_path / "dump") as files:
                return await dump(client, files, log, Limits(objects=10, log_bytes=2000))

        cluster.faults.add(Refuse(500, message="no"), user="slipway-dump", resource="pods")
        summary = cluster.run(work())
    found = texts(tmp_path / "dump")
    assert len(list(yaml.safe_load_all(found["objects/default/configmaps.yaml"]))) <= 10
    assert found["server.log"] == "x" * 1997 + "end"
    assert "configmaps: the first 10 objects" in summary.shortened
    assert "server.log: the last 2000 of 9003 bytes" in summary.shortened
    assert "pods: no" in summary.not_read


def test_a_dump_overwrites_nothing_and_leaves_no_half_archive(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "old.tar.gz").write_text("old")
    for path, said in (
        (tmp_path / "full", "is not empty: name a new folder"),
        (tmp_path / "old.tar.gz", "exists already: remove it"),
        (tmp_path / "no" / "such" / "dump.tgz", "No such file or directory"),
        (tmp_path / "old.tar.gz" / "under", "Not a directory"),
    ):
        with pytest.raises(DumpError, match=said), dump_files(path):
            pass
    with pytest.raises(RuntimeError), dump_files(tmp_path / "half.tar.gz") as files:
        files.write("a", b"a")
        raise RuntimeError
    assert not (tmp_path / "half.tar.gz").exists()
    assert (tmp_path / "old.tar.gz").read_text() == "old"


def test_what_is_no_secret_is_left_readable() -> None:
    masks = Masks([{"data": {"namespace": encoded("production"), "user": encoded("admin"), "bad": "%%%"}}])
    assert masks.text("admin of production") == "admin of production"
    assert Masks([]).text("anything") == "anything"

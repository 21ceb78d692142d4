"""Pods in namespaces: their own root, processes, name and address, reachable from the host."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster.client.client import PatchType
from slipway.cluster.client.resources import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, PODS, SECRETS
from slipway.cluster.nodes.namespaces import cgroups

Pods = Any


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {"command": ["sh", "-c", script], **more}


async def test_a_web_server_answers_the_host_at_the_pods_address(namespace_pods: Pods) -> None:
    await namespace_pods.create("web", {"image": "nginx"})
    status = await namespace_pods.running("web")

    def get() -> bytes:
        end = time.monotonic() + 5
        while True:
            try:
                with urllib.request.urlopen(f"http://{status['podIP']}/", timeout=3) as answer:
                    return bytes(answer.read())
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    assert b"Welcome to nginx!" in await asyncio.to_thread(get)
    connection = await namespace_pods.kubelet.port_forward("default", "web", 80)
    await connection.write(b"GET /nothing HTTP/1.0\r\n\r\n")
    assert b" 404 " in await connection.read()
    await connection.close()
    # People put pages where nginx looks for them.
    script = "echo mine > /usr/share/nginx/html/page.txt"
    assert await namespace_pods.run("web", "sh", "-c", script) == (0, "")
    connection = await namespace_pods.kubelet.port_forward("default", "web", 80)
    await connection.write(b"GET /page.txt HTTP/1.0\r\n\r\n")
    page = b""
    while chunk := await connection.read():
        page += chunk
    assert page.endswith(b"mine\n")
    await connection.close()


def said(status: str) -> dict[str, str]:
    """The rows of /proc/self/status."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in status.splitlines())}


async def limits_hold(pods: Pods) -> None:
    capabilities = {"drop": ["ALL"], "add": ["NET_BIND_SERVICE", "CAP_CHOWN"]}
    limits = {"allowPrivilegeEscalation": False, "capabilities": capabilities}
    await pods.create("meek", {"securityContext": limits, "command": ["sleep", "1000"]})
    await pods.create("usual", {"command": ["sleep", "1000"]})
    await pods.create("mighty", {"securityContext": {"privileged": True}, "command": ["sleep", "1000"]})
    for name in ("meek", "usual", "mighty"):
        await pods.running(name)
    for process in ("self", "2"):  # that of an exec, and the container's own
        row = said((await pods.run("meek", "cat", f"/proc/{process}/status"))[1])
        assert row["NoNewPrivs"] == "1"
        assert int(row["CapBnd"], 16) == int(row["CapEff"], 16) == 1 << 10 | 1 << 0
    row = said((await pods.run("usual", "cat", "/proc/self/status"))[1])
    assert row["NoNewPrivs"] == "0"
    assert int(row["CapEff"], 16) == 0xA80425FB, "what containerd gives"
    assert (await pods.run("usual", "sh", "-c", "echo 60 > /proc/sys/vm/swappiness"))[0] != 0
    row = said((await pods.run("mighty", "cat", "/proc/self/status"))[1])
    assert int(row["CapEff"], 16) & 1 << 21  # SYS_ADMIN


async def test_dropped_capabilities_are_gone_and_no_program_gives_rights(namespace_pods: Pods) -> None:
    await limits_hold(namespace_pods)


async def test_dropped_capabilities_are_gone_without_root_too(rootless_pods: Pods) -> None:
    await limits_hold(rootless_pods)


async def test_a_container_sees_its_own_processes_name_and_root(namespace_pods: Pods, tmp_path: Path) -> None:
    marker = tmp_path / "written-by-the-host"
    marker.touch()
    script = f"hostname; ls /proc | grep -c '^[0-9]'; echo x > /usr/slipway-test-file; ls {marker} 2>&1; cat /etc/hosts"
    text = await namespace_pods.output("own", shell(script))
    lines = text.splitlines()
    assert lines[0] == "own"
    assert int(lines[1]) < 10
    assert "No such file" in lines[2], "the host's /tmp is not the container's"
    assert lines[-1].endswith("\town")
    assert not Path("/usr/slipway-test-file").exists(), "what a container writes stays in its overlay"


async def test_containers_of_a_pod_share_the_network_and_volumes_but_not_processes(
    namespace_pods: Pods,
) -> None:
    serve = "import http.server; http.server.test(http.server.SimpleHTTPRequestHandler, port=8080, bind='127.0.0.1')"
    ask = (
        "import time, urllib.request\n"
        "for _ in range(100):\n"
        "    try:\n"
        "        print(urllib.request.urlopen('http://127.0.0.1:8080/word').read().decode()); break\n"
        "    except OSError: time.sleep(0.05)\n"
    )
    mount = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    await namespace_pods.create(
        "two",
        {"image": "python", "command": ["python3", "-c", ask]},
        {
            "name": "server",
            "image": "python",
            "workingDir": "/shared",
            "command": ["python3", "-c", serve],
            **mount,
        },
        initContainers=[{"name": "write", "image": "busybox", **shell("echo hello > /shared/word"), **mount}],
        volumes=[{"name": "shared", "emptyDir": {}}],
    )
    await namespace_pods.until(
        "two", lambda s: any("terminated" in c["state"] for c in s.get("containerStatuses", ()))
    )
    assert await namespace_pods.log("two") == "hello\n\n"


async def test_config_maps_change_in_running_pods(namespace_pods: Pods) -> None:
    client = namespace_pods.client
    await client.create(
        CONFIG_MAPS, {"metadata": {"name": "c", "namespace": "default"}, "data": {"colour": "green"}}
    )
    mounts = [{"name": "c", "mountPath": "/etc/c"}]
    await namespace_pods.create(
        "conf", shell("sleep 60", volumeMounts=mounts), volumes=[{"name": "c", "configMap": {"name": "c"}}]
    )
    await namespace_pods.running("conf")
    assert await namespace_pods.run("conf", "cat", "/etc/c/colour") == (0, "green")
    code, _ = await namespace_pods.run("conf", "touch", "/etc/c/new")
    assert code != 0, "such mounts are read-only, whether they say so or not"
    await client.patch(CONFIG_MAPS, "c", "default", {"data": {"colour": "blue"}}, PatchType.MERGE)
    async with asyncio.timeout(30):
        while True:
            if await namespace_pods.run("conf", "cat", "/etc/c/colour") == (0, "blue"):
                break
            await asyncio.sleep(0.05)


async def test_users_groups_and_read_only_roots_are_kept(namespace_pods: Pods) -> None:
    container = shell(
        "id -u; id -g; touch /usr/x 2>&1 || echo refused",
        securityContext={"runAsUser": 1234, "runAsGroup": 2345, "readOnlyRootFilesystem": True},
    )
    text = await namespace_pods.output("user", container)
    assert text.splitlines()[:2] == ["1234", "2345"]
    assert text.endswith("refused\n")


async def test_volumes_belong_to_the_group_that_the_pod_asks_for(namespace_pods: Pods) -> None:
    secret = {"metadata": {"name": "s", "namespace": "default"}, "stringData": {"key": "word"}}
    await namespace_pods.client.create(SECRETS, secret)
    mounts = [{"name": "v", "mountPath": "/v"}, {"name": "s", "mountPath": "/s"}]
    container = shell(
        "touch /v/made; stat -c %g /v/made; cat /s/key; stat -Lc %a.%g /s/key", volumeMounts=mounts
    )
    text = await namespace_pods.output(
        "grouped",
        container,
        securityContext={"runAsUser": 1234, "runAsGroup": 2345, "fsGroup": 3456},
        volumes=[
            {"name": "v", "emptyDir": {}},
            {"name": "s", "secret": {"secretName": "s", "defaultMode": 0o400}},
        ],
    )
    assert text == "3456\nword440.3456\n"


async def test_a_pod_of_a_subdomain_knows_its_whole_name(namespace_pods: Pods) -> None:
    text = await namespace_pods.output("whole", shell("hostname; hostname -f"), hostname="a", subdomain="b")
    assert text == "a\na.b.default.svc.cluster.local\n"
    text = await namespace_pods.output(
        "long", shell("hostname"), hostname="a", subdomain="b", setHostnameAsFQDN=True
    )
    assert text == "a.b.default.svc.cluster.local\n"
    text = await namespace_pods.output("node", shell("hostname"), hostname="a", hostNetwork=True)
    assert text == f"{namespace_pods.cluster.options.name}-1\n"


async def test_a_claims_folder_can_be_written_by_any_user(namespace_pods: Pods) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    claim = {"metadata": {"name": "c", "namespace": "default"}, "spec": spec}
    await namespace_pods.client.create(PERSISTENT_VOLUME_CLAIMS, claim)
    container = shell("echo mine > /c/file; cat /c/file", volumeMounts=[{"name": "c", "mountPath": "/c"}])
    text = await namespace_pods.output(
        "writer",
        container,
        nodeName="",  # the volume waits for the scheduler's choice
        securityContext={"runAsUser": 1234},
        volumes=[{"name": "c", "persistentVolumeClaim": {"claimName": "c"}}],
    )
    assert text == "mine\n"


async def test_a_program_that_is_not_there_is_a_start_error(namespace_pods: Pods) -> None:
    await namespace_pods.create("none", {"command": ["/no/such/program"]})
    status = await namespace_pods.over("none")
    ended = status["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert 'exec: "/no/such/program": no such file or directory' in ended["message"]


async def test_nothing_is_left_after_deletion_and_stop(a_cluster: Any) -> None:
    if os.geteuid() != 0:
        return
    async with a_cluster("namespaces") as pods:
        bridge = pods.cluster.nodes.runtime.bridge
        await pods.create("one", shell("sleep 100 & sleep 200 & wait"))
        await pods.running("one")
        assert Path(f"/sys/class/net/{bridge}").exists()
        await pods.client.delete(PODS, "one", "default")
        await pods.gone("one")
        assert not list(Path("/sys/class/net").glob(f"{bridge[:-1]}[0-9]*"))
        await pods.create("two", shell("sleep 300"))
        await pods.running("two")
        helper = pods.cluster.nodes.runtime.spawner.pid
    assert not Path(f"/sys/class/net/{bridge}").exists()
    assert not Path(f"/proc/{helper}").exists()


async def test_a_checkout_below_tmp_is_seen_in_pods(
    namespace_pods: Pods, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tmp_path.is_relative_to("/tmp"), "what is looked at here is what a pod's own /tmp hides"
    (tmp_path / "module.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))  # as an editable install does
    await namespace_pods.create("looks", {"command": ["ls", str(tmp_path / "module.py")]})
    await namespace_pods.until("looks", lambda status: status["phase"] == "Succeeded")
    await namespace_pods.create(
        "covered",
        {
            "command": ["ls", str(tmp_path / "module.py")],
            "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
        },
        volumes=[{"name": "scratch", "emptyDir": {}}],
    )
    await namespace_pods.until("covered", lambda status: status["phase"] == "Succeeded")


async def test_an_address_that_was_given_back_is_not_given_out_again_at_once(namespace_pods: Pods) -> None:
    await namespace_pods.create("first", shell("true"))
    first = (await namespace_pods.over("first"))["podIP"]
    await namespace_pods.create("second", shell("true"))
    assert (await namespace_pods.over("second"))["podIP"] != first


async def test_a_container_that_takes_more_memory_than_it_may_is_killed_and_says_so(
    namespace_pods: Pods,
) -> None:
    if not cgroups.home():
        pytest.skip("needs a memory control group that this user may write")
    greedy = {"image": "python", "command": ["python3", "-c", "x = b'1' * (300 << 20)"]}
    limits = {"resources": {"limits": {"memory": "64Mi"}}}
    await namespace_pods.create("greedy", {**greedy, **limits})
    status = await namespace_pods.over("greedy")
    ended = status["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")
    await namespace_pods.create(
        "modest", {"image": "python", "command": ["python3", "-c", "print(1)"], **limits}
    )
    assert (await namespace_pods.over("modest"))["phase"] == "Succeeded"
    name = namespace_pods.cluster.options.name
    assert not list(Path(cgroups.home()).glob(f"slipway-{name}-*")), "the groups went with their containers"


async def test_pods_keep_their_way_out_when_their_neighbours_come_and_go(namespace_pods: Pods) -> None:
    await namespace_pods.create("stays", {"command": ["sleep", "1000"]})
    await namespace_pods.running("stays")
    script = "import os, socket; socket.create_connection((os.environ['KUBERNETES_SERVICE_HOST'], 443), 2)"
    for number in range(12):  # past the eleventh link, and past every lowest hardware address
        await namespace_pods.create(f"p{number}", {"command": ["sleep", "1000"]})
        await namespace_pods.running(f"p{number}")
        await namespace_pods.client.delete(PODS, f"p{number}", "default", grace_period=0)
        session = await namespace_pods.kubelet.exec(
            "default", "stays", "main", [sys.executable, "-c", script], stdin=False, tty=False
        )
        said = b"".join([chunk async for chunk in session.stderr()])
        assert await session.wait() == 0, said


async def test_settings_of_the_kernel_are_the_pods_own(namespace_pods: Pods) -> None:
    def here() -> str:
        return Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()

    before = here()
    sysctls = [
        {"name": "kernel.shm_rmid_forced", "value": "1"},
        {"name": "net/ipv4/ip_local_port_range", "value": "20000 30000"},
    ]
    script = "cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_local_port_range"
    text = await namespace_pods.output("tuned", shell(script), securityContext={"sysctls": sysctls})
    assert text.split() == ["1", "20000", "30000"]
    assert here() == before


async def test_an_images_files_can_be_a_volume_that_nobody_writes(
    namespace_pods: Pods, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    (root / "pages").mkdir(parents=True)
    (root / "pages" / "one").write_text("of the image")
    namespace_pods.cluster.nodes.images.add({"match": "pages:1", "rootfs": str(root)})
    volumes = [{"name": "v", "image": {"reference": "pages:1", "pullPolicy": "Always"}}]
    mounts = [
        {"name": "v", "mountPath": "/whole"},
        {"name": "v", "mountPath": "/part", "subPath": "pages"},
    ]
    script = "cat /whole/pages/one /part/one; touch /whole/two 2>/dev/null || echo , read-only"
    text = await namespace_pods.output("reader", shell(script, volumeMounts=mounts), volumes=volumes)
    assert text == "of the imageof the image, read-only\n"
    assert [path.name for path in root.iterdir()] == ["pages"]


async def test_an_image_without_files_of_its_own_is_no_volume(namespace_pods: Pods) -> None:
    mounts = [{"name": "v", "mountPath": "/v"}]
    volumes = [{"name": "v", "image": {"reference": "busybox"}}]
    await namespace_pods.create("reader", shell("ls /v", volumeMounts=mounts), volumes=volumes)
    told = ""
    async with asyncio.timeout(30):
        while not told:
            await asyncio.sleep(0.05)
            found = dict(await namespace_pods.events("reader"))
            told = found.get("FailedMount", "")
    assert 'image "busybox" stands for programs of this machine' in told


async def test_a_pod_of_the_hosts_network_has_the_hosts_names(namespace_pods: Pods) -> None:
    spec: dict[str, Any] = {"hostNetwork": True, "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["other"]}]}
    lines = (await namespace_pods.output("there", shell("cat /etc/hosts"), **spec)).splitlines()
    assert lines[0] == "# Kubernetes-managed hosts file (host network)."
    assert set(Path("/etc/hosts").read_text().split()) <= set(" ".join(lines).split())
    assert "10.1.2.3\tother" in lines


async def test_the_end_of_a_log_is_a_message_as_it_was_written(namespace_pods: Pods) -> None:
    policy = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    for name, script, message in (
        ("whole", "echo one; echo two; exit 1", "one\ntwo\n"),
        ("open", "echo one; printf two; exit 1", "one\ntwo"),
    ):
        await namespace_pods.create(name, shell(script, **policy))
        ended = (await namespace_pods.over(name))["containerStatuses"][0]["state"]["terminated"]
        assert ended["message"] == message
        assert await namespace_pods.log(name) == message
        assert await namespace_pods.log(name, tail_lines=1) == message.removeprefix("one\n")

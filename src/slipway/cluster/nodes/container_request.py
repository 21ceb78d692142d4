"""From a container of a pod to what the runtime is asked to start, and a pod's sandbox likewise."""

from __future__ import annotations

import pwd
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from slipway.cluster.client.objects import controller_of
from slipway.cluster.nodes.container_environment import (
    ConfigError,
    command_line,
    environment,
    expand,
)
from slipway.cluster.nodes.images import Image
from slipway.cluster.nodes.pod_state import container_specs
from slipway.cluster.nodes.runtime import ContainerRequest, Mount, SandboxRequest
from slipway.cluster.nodes.surroundings import Surroundings
from slipway.cluster.nodes.volumes import Volumes

Object = dict[str, Any]
_LONGEST_TERMINATION_MESSAGE = 4096


async def container_request(
    pod: Object,
    container: Object,
    attempt: int,
    image: Image,
    volumes: Volumes,
    around: Surroundings,
    status: Object,
) -> ContainerRequest:
    """ConfigError for references that cannot be resolved, MountError for sub-paths that cannot be."""
    env = dict(image.env)
    env["HOSTNAME"] = hostname_of(pod, around)
    lookup = around.find(pod["metadata"]["namespace"])
    given = await environment(pod, container, lookup, around.services(), status, around.allocatable)
    env.update(given)
    argv = command_line(container, image.entrypoint, image.command, given)
    if not argv:
        raise ConfigError("no command specified")
    mounts: tuple[Mount, ...] = ()
    if around.files:
        mounts = volumes.mounts(container, env)
        message_file = termination_file(pod, container, attempt, around)
        mounts += (Mount(message_file, container.get("terminationMessagePath") or "/dev/termination-log"),)
    user, group, groups = _identity(pod, container, image)
    security = container.get("securityContext") or {}
    return ContainerRequest(
        name=container["name"],
        attempt=attempt,
        image=image,
        argv=argv,
        env=env,
        working_dir=expand(container.get("workingDir") or "", given) or image.working_dir or "/",
        log=around.log(pod, container["name"], attempt),
        kind=next(kind for kind, row in container_specs(pod) if row["name"] == container["name"]).value,
        target=container.get("targetContainerName") or "",
        mounts=mounts,
        user=user,
        group=group,
        groups=groups,
        privileged=bool(security.get("privileged")),
        dropped=_capabilities(security, "drop"),
        added=_capabilities(security, "add"),
        escalates=security.get("allowPrivilegeEscalation") is not False,
        read_only_root=bool(security.get("readOnlyRootFilesystem")),
        stdin=bool(container.get("stdin")),
        stdin_once=bool(container.get("stdinOnce")),
        tty=bool(container.get("tty")),
        resources=container.get("resources") or {},
    )


def termination_file(pod: Object, container: Object, attempt: int, around: Surroundings) -> Path:
    path: Path = around.pod_folder(pod) / "termination" / container["name"] / str(attempt)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.chmod(0o666)
    return path


def termination_message(pod: Object, container: Object, attempt: int, code: int, around: Surroundings) -> str:
    """What the container left in its termination message file, or the end of its log where that is asked for."""
    if not around.files:
        return ""
    path = around.pod_folder(pod) / "termination" / container["name"] / str(attempt)
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST_TERMINATION_MESSAGE).decode(errors="replace")
    except OSError:
        text = ""
    fallback: bool = container.get("terminationMessagePolicy") == "FallbackToLogsOnError"
    if not text and code != 0 and fallback:
        text = _log_end(around.log(pod, container["name"], attempt))
    return str(text)


def _log_end(path: Path) -> str:
    try:
        lines = path.read_bytes().splitlines()[-80:]
    except OSError:
        return ""
    rows = [line.split(b" ", 3) for line in lines]
    text = b"".join(row[-1] + (b"\n" if row[2:3] == [b"F"] else b"") for row in rows)
    return text[-2048:].decode(errors="replace")


def _identity(pod: Object, container: Object, image: Image) -> tuple[int | None, int | None, tuple[int, ...]]:
    """Numeric user, group and supplementary groups; ConfigError where runAsNonRoot is not kept."""
    of_pod = pod["spec"].get("securityContext") or {}
    own = container.get("securityContext") or {}
    user = own.get("runAsUser", of_pod.get("runAsUser"))
    group = own.get("runAsGroup", of_pod.get("runAsGroup"))
    if user is None and image.user:
        user, of_image = _image_user(image)
        group = group if group is not None else of_image
    if own.get("runAsNonRoot", of_pod.get("runAsNonRoot")) and not user:
        where = (
            f'pod: "{pod["metadata"]["name"]}_{pod["metadata"]["namespace"]}", container: {container["name"]}'
        )
        raise ConfigError(f"container has runAsNonRoot and image will run as root ({where})")
    groups = tuple(of_pod.get("supplementalGroups") or ())
    if of_pod.get("fsGroup") is not None:
        groups = (*groups, of_pod["fsGroup"])
    if user and group is None:
        group = 0
    return user, group, groups


def _capabilities(security: Object, which: str) -> tuple[str, ...]:
    names = (security.get("capabilities") or {}).get(which) or ()
    return tuple(str(name).upper().removeprefix("CAP_") for name in names)


def _image_user(image: Image) -> tuple[int, int | None]:
    """`user[:group]` by number, or by name in the image's (or the host's) own tables."""
    name, _, group = image.user.partition(":")
    gid = int(group) if group.isdigit() else None
    if name.isdigit():
        return int(name), gid
    for line in _passwd(image):
        fields = line.split(":")
        if len(fields) > 3 and fields[0] == name:
            return int(fields[2]), gid if gid is not None else int(fields[3])
    raise ConfigError(f"unable to find user {name}: no matching entries in passwd file")


def _passwd(image: Image) -> Iterable[str]:
    if not image.layers:
        return [f"{row.pw_name}:x:{row.pw_uid}:{row.pw_gid}" for row in pwd.getpwall()]
    for layer in reversed(image.layers):
        path = layer / "etc/passwd"
        if path.is_file():
            return path.read_text(errors="replace").splitlines()
    return []


def hostname_of(pod: Object, around: Surroundings) -> str:
    """What the pod's containers call the machine that they are on."""
    spec = pod["spec"]
    if spec.get("hostNetwork"):
        return str(around.node)
    if spec.get("setHostnameAsFQDN") and (long := _long_name(pod, around)):
        return long
    return _short_name(pod)


def _short_name(pod: Object) -> str:
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])[:63].rstrip("-.")


def _own_names(pod: Object, around: Surroundings) -> tuple[str, ...]:
    if pod["spec"].get("hostNetwork"):
        return (hostname_of(pod, around),)
    return tuple(filter(None, (_long_name(pod, around), _short_name(pod))))


def _long_name(pod: Object, around: Surroundings) -> str:
    """The pod's name in the cluster's domain; empty without a subdomain."""
    subdomain = pod["spec"].get("subdomain")
    if not subdomain:
        return ""
    return f"{_short_name(pod)}.{subdomain}.{pod['metadata']['namespace']}.svc.{around.dns.domain}"


def sandbox_request(pod: Object, volumes: Volumes, around: Surroundings) -> SandboxRequest:
    meta, spec = pod["metadata"], pod["spec"]
    nameservers, searches, options = _dns(pod, around)
    aliases = tuple((row["ip"], tuple(row.get("hostnames") or ())) for row in spec.get("hostAliases") or ())
    return SandboxRequest(
        namespace=meta["namespace"],
        pod=meta["name"],
        uid=meta["uid"],
        node=around.node,
        hostname=hostname_of(pod, around),
        own_names=_own_names(pod, around),
        folder=around.pod_folder(pod),
        host_network=bool(spec.get("hostNetwork")),
        host_ipc=bool(spec.get("hostIPC")),
        processes="host" if spec.get("hostPID") else "pod" if spec.get("shareProcessNamespace") else "own",
        in_memory=tuple(volumes.in_memory.values()),
        nameservers=nameservers,
        searches=searches,
        dns_options=options,
        hosts=aliases,
        owner=str((controller_of(pod) or {}).get("kind", "")),
        annotations=meta.get("annotations") or {},
        labels=meta.get("labels") or {},
        sysctls={
            row["name"]: row["value"] for row in (spec.get("securityContext") or {}).get("sysctls") or ()
        },
    )


def _dns(pod: Object, around: Surroundings) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Name servers, search domains and options by the pod's dnsPolicy and dnsConfig."""
    spec, dns = pod["spec"], around.dns
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    on_host = policy == "ClusterFirst" and spec.get("hostNetwork")
    own = spec.get("dnsConfig") or {}
    nameservers, searches, options = list[str](), list[str](), list[str]()
    if policy.startswith("ClusterFirst") and not on_host and dns.address:
        namespace = pod["metadata"]["namespace"]
        nameservers = [dns.address]
        searches = [f"{namespace}.svc.{dns.domain}", f"svc.{dns.domain}", dns.domain]
        options = ["ndots:5"]
    nameservers += own.get("nameservers") or ()
    searches += own.get("searches") or ()
    for row in own.get("options") or ():
        options.append(f"{row['name']}:{row['value']}" if row.get("value") else row["name"])
    return tuple(nameservers), tuple(searches), tuple(options)

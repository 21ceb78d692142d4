"""What the helper process does for the namespaces runtime: networks, containers, execs, sockets (pods: `sandboxes`).

Each function is a recipe of `spawning.process`; it runs in the helper, which is single-threaded and may therefore
step into other namespaces and back. Standard library only.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import socket
from typing import Any, NoReturn

from slipway.cluster.nodes.namespaces import (
    cgroups,
    first_process,
    kernel,
    privileges,
    root,
    sandboxes,
    terminal,
)
from slipway.cluster.nodes.namespaces.entering import from_within
from slipway.cluster.nodes.namespaces.netlink import Netlink
from slipway.cluster.nodes.spawning.process import (
    PR_SET_PDEATHSIG,
    Helper,
    Request,
    become,
    prctl,
    report,
)


def enter_user_namespace(helper: Helper, request: Request, descriptors: list[int]) -> None:
    """Without root: be root in a user namespace, with a network of its own. Before anything else is asked for."""
    _be_in_user_namespace(0, 0)
    kernel.unshare(kernel.NEWNET)
    prctl(PR_SET_PDEATHSIG, signal.SIGUSR1)  # which a change of credentials has cleared


def _be_in_user_namespace(uid: int, gid: int) -> None:
    """A user namespace that knows one user and one group, which are called `uid` and `gid` there."""
    maps = (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {os.getuid()} 1"),
        ("gid_map", f"{gid} {os.getgid()} 1"),
    )
    kernel.unshare(kernel.NEWUSER)
    for name, text in maps:
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _be_user_asked_for(request: Request) -> None:
    """Without root there is one user to be had. A container that asks for another gets that one by the name it asks for,
    in a user namespace of its own, where it has no more rights than any user."""
    uid, gid = request.get("uid") or 0, request.get("gid") or 0
    if request["rootless"] and (uid or gid):
        _be_in_user_namespace(uid, gid)


def make_network(helper: Helper, request: Request, descriptors: list[int]) -> None:
    """The bridge with the nodes' addresses, and the Services' range as this machine's own."""
    bridge = request["bridge"]
    network = ipaddress.ip_network(request["pod_range"])
    services = ipaddress.ip_network(request["service_range"])
    with Netlink() as netlink:
        netlink.set_up("lo")
        netlink.delete(bridge)  # of a helper that was killed
        netlink.add_bridge(bridge, request["alias"])
        helper.memory.setdefault("at end", []).append(lambda: _remove_bridge(bridge))
        for address in request["addresses"]:
            netlink.add_address(bridge, address, network.prefixlen)
        netlink.set_up(bridge)
        netlink.add_local_route(str(services.network_address), services.prefixlen, bridge)


def _remove_bridge(bridge: str) -> None:
    with Netlink() as netlink:
        netlink.delete(bridge)


def start_container(helper: Helper, request: Request, descriptors: list[int]) -> int:
    """The container's first process, in its own mount and pid namespaces and in its pod's others."""

    def child() -> NoReturn:
        _container(request, descriptors)

    group = cgroups.make(request["group"], request["memory"]) if request.get("memory") else ""
    kinds = _shared(request)
    try:
        pid = from_within(
            request["sandbox"],
            (*kinds, "mnt"),
            child,
            new_pid=request["processes"] == "own",
            processes_of=request.get("target", 0),
            group=group,
        )
    except OSError:
        cgroups.remove(group)
        raise
    helper.children[pid] = request["id"]
    helper.at_exit[request["id"]] = lambda: _leave(helper, pid, group)
    return pid


def _shared(request: Request) -> tuple[str, ...]:
    """The namespaces that a container has from its pod: never those that the pod has from the host, which a user
    namespace may not even ask for."""
    kinds = ["net", "uts"]
    if not request["host_ipc"]:
        kinds.append("ipc")
    if request["processes"] == "pod":
        kinds.append("pid")
    return tuple(kinds)


def resize(helper: Helper, request: Request, descriptors: list[int]) -> None:
    """Another memory limit for a container that has one."""
    cgroups.limit(request["group"], request["memory"])


def _leave(helper: Helper, container: int, group: str) -> dict[str, Any]:
    for pid in helper.memory.get("execs", {}).pop(container, ()):
        if pid in helper.children:
            os.kill(pid, signal.SIGKILL)
    if not group:
        return {}
    starved = cgroups.killed(group)
    cgroups.remove(group)
    return {"out_of_memory": starved}


def _container(request: Request, descriptors: list[int]) -> NoReturn:
    """The first process: makes the root, starts the program, hands signals on, reaps, ends with it."""
    try:
        kernel.unshare(kernel.NEWNS)
        root.enter(request)
        streams = terminal.open_inside(request, descriptors, console=True)
        first_process.be_there_for_orphans()
        program = os.fork()
        if program == 0:
            _be_user_asked_for(request)
            privileges.give_up(request)
            become(request, streams, None)
    except BaseException as error:
        report(descriptors[3], error, request)
        os._exit(128)
    first_process.keep_output(streams)
    kernel.set_title(["init", request["mark"]], "init")
    with contextlib.suppress(OSError):
        privileges.be_no_more_than_the_program(request)
    os._exit(first_process.reap(program))


def start_exec(helper: Helper, request: Request, descriptors: list[int]) -> int:
    """Another process in all of a container's namespaces."""

    def child() -> NoReturn:
        try:
            streams = terminal.open_inside(request, descriptors)
            _be_user_asked_for(request)
            privileges.give_up(request)
            become(request, streams, None)
        except OSError as error:
            report(descriptors[3], error, request)
        os._exit(127)

    kinds = [*_shared(request), "mnt"]
    if request["processes"] in ("own", "container"):
        kinds.append("pid")
    pid = from_within(request["container"], tuple(kinds), child, new_pid=False)
    helper.children[pid] = request["id"]
    if request["processes"] != "own":  # then it does not end with the container's first process
        helper.memory.setdefault("execs", {}).setdefault(request["container"], set()).add(pid)
    return pid


def make_socket(helper: Helper, request: Request, descriptors: list[int]) -> socket.socket:
    """A socket in a pod's network, or with sandbox 0 in the cluster's; with `address` bound, and listening if TCP."""
    kind = socket.SOCK_DGRAM if request.get("udp") else socket.SOCK_STREAM
    if not request["sandbox"]:
        return _bound(socket.socket(socket.AF_INET, kind), request)
    with kernel.joined(request["sandbox"], ("net",), sandboxes.home(helper)):
        return _bound(socket.socket(socket.AF_INET, kind), request)


def _bound(made: socket.socket, request: dict[str, Any]) -> socket.socket:
    if request.get("address"):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((request["address"], request["port"]))
            if not request.get("udp"):
                made.listen(128)
        except OSError:
            made.close()
            raise
    return made

"""What the helper process does for the namespaces runtime: networks, sandboxes, containers, execs, sockets.

Each function is a recipe of `spawning.process`; it runs in the helper, which is single-threaded and may therefore
step into other namespaces and back. Standard library only.
"""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
from collections.abc import Callable
from typing import Any, NoReturn

from slipway.cluster.nodes.namespaces import cgroups, kernel, privileges, root
from slipway.cluster.nodes.namespaces.netlink import Netlink
from slipway.cluster.nodes.spawning.process import (
    PR_SET_PDEATHSIG,
    Helper,
    Request,
    become,
    prctl,
    report,
)

_SHARED = ("net", "uts", "ipc")
_EVERY_SIGNAL = set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}


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
        netlink.add_bridge(bridge, request["alias"])
        helper.memory.setdefault("at end", []).append(lambda: _remove_bridge(bridge))
        for address in request["addresses"]:
            netlink.add_address(bridge, address, network.prefixlen)
        netlink.set_up(bridge)
        netlink.add_local_route(str(services.network_address), services.prefixlen, bridge)


def _remove_bridge(bridge: str) -> None:
    with Netlink() as netlink:
        netlink.delete(bridge)


def _home(helper: Helper) -> dict[str, int]:
    if "home" not in helper.memory:
        helper.memory["home"] = kernel.open_namespaces(os.getpid(), ("net",))
    home: dict[str, int] = helper.memory["home"]
    return home


def make_sandbox(helper: Helper, request: Request, descriptors: list[int]) -> int:
    """A process that does nothing but hold the pod's network, ipc and uts namespaces."""
    _home(helper)
    ready, ready_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _hold(request, ready_write)
    os.close(ready_write)
    said = os.read(ready, 4096)
    os.close(ready)
    if said != b"ready":
        raise OSError(0, said.decode() or "the sandbox's process ended")
    helper.children[pid] = request["id"]
    if request.get("address"):
        _plug_in(helper, request, pid)
    return pid


def _hold(request: Request, ready: int) -> NoReturn:
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        flags = kernel.NEWUTS | kernel.NEWIPC | (kernel.NEWNET if request.get("address") else 0)
        kernel.unshare(flags)
        kernel.sethostname(request["hostname"])
        _tune(request["sysctls"])
        os.closerange(3, ready)
        os.closerange(ready + 1, 1024)
        os.write(ready, b"ready")
        os.close(ready)
        while True:
            signal.pause()
    except BaseException as error:
        os.write(ready, str(error).encode())
    finally:
        os._exit(1)


def _tune(sysctls: dict[str, str]) -> None:
    """Settings of the kernel, which are the pod's own: the files show those of whoever opens them."""
    for name, value in sysctls.items():
        first = next((letter for letter in name if letter in "./"), ".")
        # Where a dot comes first, dots divide; the other one is then a part of a name, such as that of a link.
        path = name.translate(str.maketrans("./", "/.")) if first == "." else name
        with open(f"/proc/sys/{path}", "w") as file:
            file.write(value)


def _plug_in(helper: Helper, request: Request, pid: int) -> None:
    """Connect the pod's network namespace to the bridge."""
    with Netlink() as netlink:
        netlink.add_veth(request["link"], "eth0", pid, request["bridge"], request["alias"])
    with kernel.joined(pid, ("net",), _home(helper)), Netlink() as netlink:
        netlink.set_up("lo")
        netlink.add_address("eth0", request["address"], request["prefix"])
        netlink.set_up("eth0")
        netlink.add_default_route(request["gateway"])


def end_sandbox(helper: Helper, request: Request, descriptors: list[int]) -> None:
    """Kill the holder and take its link away at once, rather than when the kernel comes to it."""
    if request.get("link"):
        with Netlink() as netlink:
            netlink.delete(request["link"])
    for pid, known in helper.children.items():
        if known == request["id"]:
            os.kill(pid, signal.SIGKILL)


def start_container(helper: Helper, request: Request, descriptors: list[int]) -> int:
    """The container's first process, in its own mount and pid namespaces and in its pod's others."""

    def child() -> NoReturn:
        _container(request, descriptors)

    group = cgroups.make(request["group"], request["memory"]) if request.get("memory") else ""
    try:
        pid = _from_within(request["sandbox"], _SHARED, child, new_pid=True, group=group)
    except OSError:
        cgroups.remove(group)
        raise
    helper.children[pid] = request["id"]
    if group:
        helper.at_exit[request["id"]] = lambda: _leave(group)
    return pid


def _leave(group: str) -> dict[str, Any]:
    starved = cgroups.killed(group)
    cgroups.remove(group)
    return {"out_of_memory": starved}


def _from_within(
    pid: int, kinds: tuple[str, ...], child: Callable[[], NoReturn], *, new_pid: bool, group: str = ""
) -> int:
    """Run `child` in a process in another's namespaces; its process id.

    A process in between steps into them and ends, since not every namespace lets one step back. The child waits until that
    one is gone, or its death would count as its parent's.
    """
    told, tell = os.pipe()
    gate, open_gate = os.pipe()
    between = os.fork()
    if between == 0:
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, _EVERY_SIGNAL)
            signal.set_wakeup_fd(-1)
            opened = kernel.open_namespaces(pid, kinds)
            for kind, descriptor in opened.items():
                kernel.setns(descriptor, kernel.KINDS[kind])
            if new_pid:
                kernel.unshare(kernel.NEWPID)
            inner = os.fork()
            if inner == 0:
                os.close(open_gate)
                os.close(tell)
                if os.read(gate, 1):
                    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                    child()
                os._exit(137)
            os.write(tell, str(inner).encode())
        except BaseException as error:
            os.write(tell, f"!{error}".encode())
        finally:
            os._exit(0)
    os.close(tell)
    os.close(gate)
    try:
        said = os.read(told, 4096).decode()
        os.waitpid(between, 0)
        if not said.isdigit():
            raise OSError(0, said.removeprefix("!") or "the process in between ended")
        if group:
            cgroups.enter(group, int(said))
        os.write(open_gate, b"g")
    finally:
        os.close(told)
        os.close(open_gate)
    return int(said)


def _container(request: Request, descriptors: list[int]) -> NoReturn:
    """The pid namespace's init: makes the root, starts the program, hands signals on, reaps, ends with it."""
    try:
        kernel.unshare(kernel.NEWNS)
        root.enter(request)
        program = os.fork()
        if program == 0:
            _be_user_asked_for(request)
            privileges.give_up(request)
            become(request, descriptors, None)
    except BaseException as error:
        report(descriptors[3], error, request)
        os._exit(128)
    os.closerange(0, 1024)
    os._exit(_reap(program))


def _reap(program: int) -> int:
    while True:
        number = signal.sigwait(_EVERY_SIGNAL)
        if number != signal.SIGCHLD:
            os.kill(program, number)
            continue
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return 0
            if pid == 0:
                break
            if pid == program:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code


def start_exec(helper: Helper, request: Request, descriptors: list[int]) -> int:
    """Another process in all of a container's namespaces."""

    def child() -> NoReturn:
        try:
            _be_user_asked_for(request)
            privileges.give_up(request)
        except OSError as error:
            report(descriptors[3], error, request)
        become(request, descriptors, None)
        os._exit(127)

    pid = _from_within(request["container"], (*_SHARED, "pid", "mnt"), child, new_pid=False)
    helper.children[pid] = request["id"]
    return pid


def make_socket(helper: Helper, request: Request, descriptors: list[int]) -> socket.socket:
    """A socket in a pod's network, or with sandbox 0 in the cluster's; with `address` bound, and listening if TCP."""
    kind = socket.SOCK_DGRAM if request.get("udp") else socket.SOCK_STREAM
    if not request["sandbox"]:
        return _bound(socket.socket(socket.AF_INET, kind), request)
    with kernel.joined(request["sandbox"], ("net",), _home(helper)):
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

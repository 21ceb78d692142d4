"""What the helper process does for a pod's sandbox: a process that holds what the pod's containers share.

That is its network, name and ipc, a mount namespace with the volumes that lie in memory and with /dev/shm, and the
processes' numbers where the pod shares them. All of it ends with the process, so nothing is left to clean up.
Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from typing import Any, NoReturn

from slipway.cluster.nodes.namespaces import kernel
from slipway.cluster.nodes.namespaces.entering import from_within
from slipway.cluster.nodes.namespaces.netlink import Netlink
from slipway.cluster.nodes.spawning.process import Helper, Request

# As containerd sets them: users other than root may listen on any port and send pings.
_USUAL_SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}


def home(helper: Helper) -> dict[str, int]:
    """The helper's own network namespace, to go back to."""
    if "home" not in helper.memory:
        helper.memory["home"] = kernel.open_namespaces(os.getpid(), ("net",))
    found: dict[str, int] = helper.memory["home"]
    return found


def make_sandbox(helper: Helper, request: Request, descriptors: list[int]) -> int:
    """Start the holder and connect its network; the holder's process id."""
    home(helper)
    ready, ready_write = os.pipe()

    def child() -> NoReturn:
        _hold(request, ready_write)

    pid = from_within(os.getpid(), (), child, new_pid=request["share_processes"])
    os.close(ready_write)
    said = os.read(ready, 4096)
    os.close(ready)
    if said != b"ready":
        os.waitpid(pid, 0)
        raise OSError(0, said.decode() or "the sandbox's process ended")
    helper.children[pid] = request["id"]
    if request.get("address"):
        _plug_in(helper, request, pid)
    return pid


def end_sandbox(helper: Helper, request: Request, descriptors: list[int]) -> None:
    """Kill the holder and take its link away at once, rather than when the kernel comes to it."""
    if request.get("link"):
        with Netlink() as netlink:
            netlink.delete(request["link"])
    for pid, known in helper.children.items():
        if known == request["id"]:
            os.kill(pid, signal.SIGKILL)


def _hold(request: Request, ready: int) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # orphans of a pod that shares its processes end here
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        kernel.unshare(_own_namespaces(request))
        kernel.sethostname(request["hostname"])
        # What the host mounts later is seen here, what is mounted here is not seen by the host.
        kernel.mount("", "/", "", kernel.REC | kernel.SLAVE)
        for row in request["in_memory"]:
            _mount_in_memory(row)
        if request.get("address"):
            with contextlib.suppress(OSError):  # a kernel or a user namespace that does not let us
                _tune(_USUAL_SYSCTLS)
        _tune(request["sysctls"])
        kernel.set_title(["/pause", request["mark"]], "pause")
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


def _own_namespaces(request: Request) -> int:
    flags = kernel.NEWUTS | kernel.NEWNS
    if not request["host_ipc"]:
        flags |= kernel.NEWIPC
    if request.get("address"):
        flags |= kernel.NEWNET
    return flags


def _mount_in_memory(row: Mapping[str, Any]) -> None:
    options = f"mode={row['mode']:o}"
    if row.get("size"):
        options += f",size={row['size']}"
    flags = kernel.NOSUID | kernel.NODEV
    if row.get("gid") is not None:
        # A user namespace may not have the group; then the volume is everybody's, as its mode says.
        with contextlib.suppress(OSError):
            kernel.mount("tmpfs", row["path"], "tmpfs", flags, f"{options},gid={row['gid']}")
            return
    kernel.mount("tmpfs", row["path"], "tmpfs", flags, options)


def _tune(sysctls: Mapping[str, str]) -> None:
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
    with kernel.joined(pid, ("net",), home(helper)), Netlink() as netlink:
        netlink.set_up("lo")
        netlink.add_address("eth0", request["address"], request["prefix"])
        netlink.set_up("eth0")
        netlink.add_default_route(request["gateway"])

"""A terminal of the container's own /dev/pts, so that programs in it can find it by its name.

Runs in the container's (or an exec's) first process. Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import struct
from typing import Any

from slipway.cluster.nodes.namespaces import kernel

_UNLOCK, _NUMBER = 0x40045431, 0x80045430  # TIOCSPTLCK and TIOCGPTN of asm-generic/ioctls.h


def open_inside(request: dict[str, Any], descriptors: list[int], *, console: bool = False) -> list[int]:
    """The descriptors for the program: with a terminal asked for, stdin, stdout and stderr are its slave's.

    Its master goes to the cluster through the socket that the first descriptor is then. A first program's terminal is
    `console` too, as in other runtimes.
    """
    if not request.get("tty"):
        _give_to_user(request, descriptors[:3])
        return descriptors
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, _UNLOCK, struct.pack("i", 0))
    (number,) = struct.unpack("i", fcntl.ioctl(master, _NUMBER, struct.pack("i", 0)))
    name = f"/dev/pts/{number}"
    slave = os.open(name, os.O_RDWR | os.O_NOCTTY)
    _give_to_user(request, [slave])
    if console:
        os.close(os.open("/dev/console", os.O_CREAT | os.O_WRONLY, 0o600))
        kernel.mount(name, "/dev/console", "", kernel.BIND)
    with socket.socket(fileno=os.dup(descriptors[0])) as way:
        socket.send_fds(way, [b"m"], [master])
    os.close(master)
    return [slave, slave, slave, descriptors[3]]


def _give_to_user(request: dict[str, Any], descriptors: list[int]) -> None:
    """So that a program which is not root may open what it has, as /dev/stdout."""
    for descriptor in descriptors if request.get("uid") else ():
        # /dev/null is everybody's. Without root there is one user, who has it all already.
        if not stat.S_ISCHR(os.fstat(descriptor).st_mode) or os.isatty(descriptor):
            with contextlib.suppress(OSError):
                os.fchown(descriptor, request["uid"], -1)

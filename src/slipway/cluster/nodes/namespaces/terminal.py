"""A terminal of the container's own /dev/pts, so that programs in it can find it by its name.

Runs in the container's (or an exec's) first process. Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
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
        return descriptors
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, _UNLOCK, struct.pack("i", 0))
    (number,) = struct.unpack("i", fcntl.ioctl(master, _NUMBER, struct.pack("i", 0)))
    name = f"/dev/pts/{number}"
    slave = os.open(name, os.O_RDWR | os.O_NOCTTY)
    if request.get("uid"):
        with contextlib.suppress(OSError):  # without root there is one user, who has it already
            os.fchown(slave, request["uid"], -1)
    if console:
        os.close(os.open("/dev/console", os.O_CREAT | os.O_WRONLY, 0o600))
        kernel.mount(name, "/dev/console", "", kernel.BIND)
    with socket.socket(fileno=os.dup(descriptors[0])) as way:
        socket.send_fds(way, [b"m"], [master])
    os.close(master)
    return [slave, slave, slave, descriptors[3]]

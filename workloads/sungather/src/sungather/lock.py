"""One collector an inverter: two would fight over its few sessions and over one MQTT id.

The lock is a name in Linux's abstract socket namespace (per network namespace): it vanishes with the process, however
that ends. Elsewhere it is a locked file in the temporary folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import struct
import sys
import tempfile
from pathlib import Path
from typing import IO

from sungather.errors import AlreadyRunning


class InverterLock:
    """Held from construction to close(). AlreadyRunning names the process that holds it."""

    def __init__(self, host: str, port: int) -> None:
        self._held: list[socket.socket | IO[str]] = []
        try:
            for name in _names(host, port):
                self._held.append(_abstract(name) if sys.platform == "linux" else _file(name))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for held in self._held:
            held.close()
        self._held.clear()


def _names(host: str, port: int) -> list[str]:
    """The name as written and the address it stands for, so that two spellings meet."""
    names = {f"{host.lower()}:{port}"}
    with contextlib.suppress(OSError):
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        names.update(f"{address[4][0]}:{port}" for address in found[:1])
    return sorted(names)


def _abstract(name: str) -> socket.socket:
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    address = "\0sungather/" + name
    try:
        holder.bind(address)
    except OSError:
        holder.close()
        raise AlreadyRunning(name, _pid_behind(address)) from None
    holder.listen(1)
    return holder


def _pid_behind(address: str) -> int | None:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        asking.connect(address)
        pid, _, _ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid) or None
    return None


def _file(name: str) -> IO[str]:
    path = Path(tempfile.gettempdir()) / f"sungather-{re.sub(r'[^A-Za-z0-9]', '_', name)}.lock"
    held = open(path, "a+")  # noqa: SIM115 - held open for as long as the process lives
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        raise AlreadyRunning(name, None) from None
    held.write(str(os.getpid()))
    return held

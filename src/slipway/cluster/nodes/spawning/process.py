"""The helper process: starts others on request and says when they end. Standard library only, one thread.

Requests and answers are JSON with a length before, over a Unix socket; file descriptors travel beside them. A
request names a `recipe` of `slipway.cluster.nodes.spawning.recipes`-like modules' registered functions. When the
socket closes, because the cluster ended or was killed, every process started here is killed, and then this one.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
import termios
from collections.abc import Callable
from typing import Any

Request = dict[str, Any]
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


class Helper:
    """`children` maps the process ids of what was started to the id that requests call it by."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.children: dict[int, str] = {}
        self.groups: set[int] = set()
        self.memory: dict[str, Any] = {}  # what recipes keep between requests
        self.at_exit: dict[str, Callable[[], dict[str, Any]]] = {}  # what else to say of an end, by id
        self.recipes: dict[str, Callable[[Helper, Request, list[int]], Any]] = {
            "process": start_process,
            "signal": send_signal,
        }
        self.orphaned = False
        self._buffer = b""
        self._descriptors: list[int] = []

    def serve(self) -> None:
        wake, woken = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # the cluster says when it is over
        signal.signal(signal.SIGUSR1, self._orphaned)
        prctl(PR_SET_PDEATHSIG, signal.SIGUSR1)
        while not self.orphaned:
            readable, _, _ = select.select([self.control.fileno(), wake], [], [])
            if wake in readable:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 4096)
                self._reap()
            if self.control.fileno() in readable and not self._receive():
                break
        self._end()

    def _orphaned(self, number: int, frame: object) -> None:
        # The socket's end says the same, unless somebody else has inherited the cluster's side of it.
        self.orphaned = True

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            known = self.children.pop(pid, None)
            if pid in self.groups:  # nobody else ends what a plain process has left running
                self.groups.discard(pid)
                with contextlib.suppress(OSError):
                    os.killpg(pid, signal.SIGKILL)
            if known is not None:
                code = os.waitstatus_to_exitcode(status)
                ask = self.at_exit.pop(known, dict)
                self._say({"event": "exit", "id": known, "code": code if code >= 0 else 128 - code, **ask()})

    def _receive(self) -> bool:
        try:
            data, descriptors, _, _ = socket.recv_fds(self.control, 65536, 16)
        except ConnectionError:
            return False
        if not data:
            return False
        self._buffer += data
        self._descriptors += descriptors
        while len(self._buffer) >= 4:
            (length,) = struct.unpack("!I", self._buffer[:4])
            if len(self._buffer) < 4 + length:
                break
            request = json.loads(self._buffer[4 : 4 + length])
            self._buffer = self._buffer[4 + length :]
            count = request.get("descriptors", 0)
            mine, self._descriptors = self._descriptors[:count], self._descriptors[count:]
            self._answer(request, mine)
        return True

    def _answer(self, request: Request, descriptors: list[int]) -> None:
        answer: dict[str, Any] = {"answer": request["number"]}
        sent: list[int] = []
        try:
            recipe = self.recipes.get(request["do"]) or _load(request["do"])
            self.recipes[request["do"]] = recipe
            result = recipe(self, request, descriptors)
            if isinstance(result, socket.socket):
                sent = [result.detach()]
            else:
                answer["result"] = result
        except OSError as error:
            answer["error"] = error.strerror or str(error)
            answer["errno"] = error.errno
        except Exception as error:
            answer["error"] = f"{type(error).__name__}: {error}"
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        answer["descriptors"] = len(sent)
        self._say(answer, sent)
        for descriptor in sent:
            os.close(descriptor)

    def _say(self, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
        data = json.dumps(message).encode()
        packet = struct.pack("!I", len(data)) + data
        with contextlib.suppress(OSError):
            sent = socket.send_fds(self.control, [packet], descriptors or [])
            if sent < len(packet):
                self.control.sendall(packet[sent:])

    def _end(self) -> None:
        for pid in self.children:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for group in self.groups:
            with contextlib.suppress(OSError):
                os.killpg(group, signal.SIGKILL)
        while self.children:
            try:
                pid, _ = os.waitpid(-1, 0)
            except ChildProcessError:
                break
            self.at_exit.pop(self.children.pop(pid, ""), dict)()
        for close in self.memory.get("at end", ()):
            close()


def _load(name: str) -> Callable[[Helper, Request, list[int]], Any]:
    """`module:function` of this package."""
    module, _, function = name.partition(":")
    if not module.startswith("slipway.cluster.nodes."):
        raise ValueError(f"no recipe {name}")
    loaded: Callable[[Helper, Request, list[int]], Any] = getattr(importlib.import_module(module), function)
    return loaded


def send_signal(helper: Helper, request: Request, descriptors: list[int]) -> None:
    """To a process by its id, or with `group` to all of its process group."""
    for pid, known in helper.children.items():
        if known == request["id"]:
            if request.get("group"):
                os.killpg(pid, request["signal"])
            else:
                os.kill(pid, request["signal"])
            return


def start_process(helper: Helper, request: Request, descriptors: list[int]) -> int:
    """A plain process: descriptors are stdin, stdout, stderr and a pipe that says why exec failed."""
    pid = os.fork()
    if pid == 0:
        become(request, descriptors, helper)
    helper.children[pid] = request["id"]
    helper.groups.add(pid)
    return pid


def become(request: Request, descriptors: list[int], helper: Helper | None) -> None:
    """In the child: turn into the program asked for; never returns."""
    trouble = descriptors[3]
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        reset_signals()
        os.setsid()
        attach_streams(descriptors, bool(request.get("tty")))
        if request.get("cwd"):
            enter_folder(request)
        drop_privileges(request)
        program = find_program(request["argv"][0], request["env"])
        os.execve(program, request["argv"], request["env"])
    except BaseException as error:
        report(trouble, error, request)
    os._exit(127)


def enter_folder(request: Request) -> None:
    if request.get("make_cwd"):
        os.makedirs(request["cwd"], exist_ok=True)
    os.chdir(request["cwd"])


def reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in range(1, signal.NSIG):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def attach_streams(descriptors: list[int], tty: bool) -> None:
    """Make the first three descriptors stdin, stdout and stderr, and close all others but the fourth."""
    trouble = descriptors[3]
    for target, source in enumerate(descriptors[:3]):
        os.dup2(source, target)
    if tty:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.set_inheritable(trouble, False)
    os.closerange(3, trouble)
    os.closerange(trouble + 1, 1024)


def drop_privileges(request: Request) -> None:
    if request.get("groups") is not None and os.geteuid() == 0:
        with contextlib.suppress(PermissionError):  # a user namespace without setgroups
            os.setgroups(request["groups"])
    if request.get("gid") is not None and request["gid"] != os.getgid():
        os.setgid(request["gid"])
    if request.get("uid") is not None and request["uid"] != os.getuid():
        os.setuid(request["uid"])


def find_program(name: str, env: dict[str, str]) -> str:
    """The program's path by the PATH of the environment it gets; FileNotFoundError as runc words it."""
    if "/" in name:
        return name
    for folder in env.get("PATH", os.defpath).split(":"):
        path = os.path.join(folder or ".", name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(2, f'exec: "{name}": executable file not found in $PATH')


def report(trouble: int, error: BaseException, request: Request) -> None:
    text = error.strerror if isinstance(error, OSError) and error.strerror else f"{error}"
    name = request["argv"][0]
    if isinstance(error, OSError) and not text.startswith("exec:"):
        where = f"{error.filename}: " if error.filename not in (None, name) else ""
        text = f'exec: "{name}": {where}{text.lower()}'
    os.write(trouble, text.encode())
    os._exit(127)


def main() -> None:
    """`argv`: the control socket's descriptor, then words that only name this process for `ps`."""
    control = socket.socket(fileno=int(sys.argv[2]))
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    Helper(control).serve()

"""Terminals of containers and of commands in them: their own /dev/pts, sizes, and the keys that send signals."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from slipway.cluster.kubelet import Session
from slipway.cluster.nodes.runtimes import namespaces_possible

Pods = Any
needs_namespaces = pytest.mark.skipif(
    not namespaces_possible(), reason="this kernel allows no namespaces to this user"
)


class Screen:
    """What a session has shown so far."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.text = ""
        self._more = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for data in self.session.stdout():
            self.text += data.decode()
            self._more.set()

    async def until(self, wanted: str) -> None:
        try:
            async with asyncio.timeout(60):
                while wanted not in self.text:
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"no {wanted!r} in {self.text!r}") from None

    async def end(self) -> int:
        code = await self.session.wait()
        await self._reading
        return code


async def shows_its_terminal(pods: Pods) -> None:
    script = "tty; test -c /dev/console && echo console; ls /dev/pts; exec sleep 1000"
    await pods.create("seen", {"command": ["sh", "-c", script], "tty": True, "stdin": True})
    await pods.running("seen")
    text = await pods.logged("seen", "ptmx")
    assert text.split() == ["/dev/pts/0", "console", "0", "ptmx"]
    code, out = await pods.run("seen", "tty", tty=True)
    assert (code, out.strip()) == (0, "/dev/pts/1")
    assert (await pods.run("seen", "tty")) == (1, "not a tty\n")


async def test_a_program_finds_its_terminal_by_its_name(namespace_pods: Pods) -> None:
    await shows_its_terminal(namespace_pods)


@needs_namespaces
async def test_a_program_finds_its_terminal_by_its_name_without_root_too(rootless_pods: Pods) -> None:
    await shows_its_terminal(rootless_pods)


async def test_a_terminal_belongs_to_the_user_of_its_program(namespace_pods: Pods) -> None:
    identity = {"runAsUser": 1234, "runAsGroup": 1234}
    script = "stat -c %u $(tty); echo written > $(tty)"
    container = {"command": ["sh", "-c", script], "tty": True, "securityContext": identity}
    assert (await namespace_pods.output("owned", container)).split() == ["1234", "written"]


async def test_control_c_ends_what_is_in_front_and_control_z_stops_it(namespace_pods: Pods) -> None:
    pods = namespace_pods
    await pods.create("keys", {"command": ["sleep", "1000"]})
    await pods.running("keys")
    session = await pods.kubelet.exec("default", "keys", "main", ["bash", "-i"], stdin=True, tty=True)
    screen = Screen(session)
    await session.resize(91, 37)
    await session.write_stdin(b"echo size=$(stty size | tr ' ' x)\n")
    await screen.until("size=37x91")
    await session.write_stdin(b"""sh -c "echo be'gun'; exec sleep 1000"\n""")
    await screen.until("begun")
    await session.write_stdin(b"\x03")
    await session.write_stdin(b"echo code=$((1 + $?))\n")
    await screen.until("code=131")
    await session.write_stdin(b"""sh -c "echo on'ce more'; exec sleep 1000"\n""")
    await screen.until("once more")
    await session.write_stdin(b"\x1a")
    await screen.until("Stopped")
    # A shell that has stopped jobs does not exit at once.
    await session.write_stdin(b"exec sh -c 'exit 7'\n")
    assert await screen.end() == 7


async def test_who_attaches_to_a_terminal_types_to_its_program(namespace_pods: Pods) -> None:
    pods = namespace_pods
    await pods.create("typed", {"command": ["sh"], "tty": True, "stdin": True})
    await pods.running("typed")
    session = await pods.kubelet.attach("default", "typed", "main", stdin=True, tty=True)
    screen = Screen(session)
    await session.resize(80, 25)
    await session.write_stdin(b"echo $(tty)=$(stty size | tr ' ' x); exit 3\n")
    await screen.until("/dev/pts/0=25x80")
    assert await screen.end() == 3

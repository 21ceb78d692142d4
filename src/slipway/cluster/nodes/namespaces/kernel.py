"""The system calls for namespaces and mounts that Python 3.11 has no words for. Standard library only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Iterator

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
KINDS = {"mnt": NEWNS, "uts": NEWUTS, "ipc": NEWIPC, "user": NEWUSER, "pid": NEWPID, "net": NEWNET}

RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
SLAVE = 1 << 19
RELATIME = 1 << 21
DETACH = 2
_PR_SET_NAME = 15
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str = "") -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what or None)


def unshare(flags: int) -> None:
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(descriptor: int, flag: int) -> None:
    _checked(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(flag)), "setns")


def sethostname(name: str) -> None:
    data = name.encode()
    _checked(_libc.sethostname(data, ctypes.c_size_t(len(data))), "sethostname")


def limit_capabilities(numbers: list[int]) -> None:
    """Keep these capabilities alone, in this process itself."""
    mask = sum(1 << number for number in numbers)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    _checked(_libc.capset(header, data), "capset")


def set_title(words: list[str], name: str) -> None:
    """What `ps` shows of this process, instead of the words that it was started with; as far as they leave room."""
    with open("/proc/self/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end
    title = "\0".join(words).encode()[: end - start - 1]
    if start:
        ctypes.memmove(start, title.ljust(end - start, b"\0"), end - start)
    _libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    result = _libc.mount(
        source.encode() or None, target.encode(), kind.encode() or None, ctypes.c_ulong(flags),
        data.encode() or None,
    )  # fmt: skip
    _checked(result, target)


def unmount(target: str, flags: int = DETACH) -> None:
    _checked(_libc.umount2(target.encode(), ctypes.c_int(flags)), target)


def pivot_root(new: str, old: str) -> None:
    number = _PIVOT_ROOT.get(platform.machine())
    if number is None:
        raise OSError(38, f"pivot_root is not known on {platform.machine()}")
    _checked(_libc.syscall(ctypes.c_long(number), new.encode(), old.encode()), "pivot_root")


def make_read_only(target: str) -> None:
    """Remount, with the flags that the mount has and that a user namespace may not drop."""
    have = os.statvfs(target).f_flag
    keep = have & (NOSUID | NODEV | NOEXEC)
    if have & 4096:  # ST_RELATIME
        keep |= RELATIME
    mount("", target, "", REMOUNT | BIND | RDONLY | keep)


def open_namespaces(pid: int, kinds: tuple[str, ...]) -> dict[str, int]:
    opened: dict[str, int] = {}
    try:
        for kind in kinds:
            opened[kind] = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        for descriptor in opened.values():
            os.close(descriptor)
        raise
    return opened


@contextlib.contextmanager
def joined(pid: int, kinds: tuple[str, ...], home: dict[str, int]) -> Iterator[None]:
    """Be in another process's namespaces for a moment; `home` are descriptors of those to go back to."""
    opened = open_namespaces(pid, kinds)
    try:
        for kind, descriptor in opened.items():
            setns(descriptor, KINDS[kind])
        yield
    finally:
        for kind in kinds:
            setns(home[kind], KINDS[kind])
        for descriptor in opened.values():
            os.close(descriptor)

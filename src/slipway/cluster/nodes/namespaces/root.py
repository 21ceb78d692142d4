"""A container's root: an overlay over the host's root or over an image's layers, with volumes mounted in it.

Runs in the container's first process, in a mount namespace of its own. Everything written goes to a tmpfs that
ends with that namespace, so nothing is left over. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from typing import Any

from slipway.cluster.nodes.namespaces import kernel

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
# Of the host's root, these are the container's own.
_HIDDEN = ("/tmp", "/run")
# Where the whole machine is set up: only a privileged container may.
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_NOT_FILES = ("/proc", "/sys", "/dev", "/run", "/tmp", "/etc")
_FILE_SYSTEMS = {
    "ext2", "ext3", "ext4", "xfs", "btrfs", "overlay", "zfs", "f2fs", "9p", "virtiofs", "nfs", "nfs4", "squashfs",
}  # fmt: skip


def enter(request: dict[str, Any]) -> None:
    """Make the root that the request describes and make it this process's own."""
    base: str = request["base"]
    host = not request["layers"]
    disks = _other_disks(base) if host else []
    kernel.mount("", "/", "", kernel.REC | kernel.PRIVATE)
    kernel.mount("tmpfs", base, "tmpfs", kernel.NOSUID | kernel.NODEV, "mode=755")
    root = f"{base}/root"
    for name in ("upper", "work", "root"):
        os.mkdir(f"{base}/{name}")
    if host and request["rootless"]:
        _overlay_by_folder(base, root)
    else:
        _overlay(["/"] if host else request["layers"][::-1], base, root)
    for path in disks:
        _bind(path, root + path)
    _system_folders(root, privileged=request["privileged"])
    if host:
        for path in _HIDDEN:
            kernel.mount("tmpfs", root + path, "tmpfs", kernel.NOSUID | kernel.NODEV, "mode=1777")
    for path in request["folders"]:
        with contextlib.suppress(OSError):  # without root, the host's folder may not be written
            os.makedirs(f"{root}/{path}", exist_ok=True)
    sources = [(_open_source(mount), mount) for mount in _all_mounts(request, host)]
    _pivot(root, sources)
    if request.get("read_only"):
        kernel.make_read_only("/")


def _open_source(mount: dict[str, Any]) -> int:
    """The file or folder to be mounted. In a volume that lies in memory a sub-path is made only here, where it is seen."""
    source: str = mount["source"]
    if mount.get("in_memory") and not os.path.exists(source):
        os.makedirs(source)
        os.chmod(source, 0o777)
    return os.open(source, os.O_PATH)


def _overlay(lowers: Sequence[str], base: str, root: str) -> None:
    lower = ":".join(path.replace("\\", "\\\\").replace(":", "\\:") for path in lowers)
    options = f"lowerdir={lower},upperdir={base}/upper,workdir={base}/work"
    try:
        kernel.mount("overlay", root, "overlay", 0, options)
    except OSError:
        # In a user namespace the overlay keeps its marks in user.* attributes.
        kernel.mount("overlay", root, "overlay", 0, options + ",userxattr")


def _overlay_by_folder(base: str, root: str) -> None:
    """The host's root folder by folder: the kernel refuses to a user namespace an overlay of what has other mounts below."""
    kernel.mount(root, root, "", kernel.BIND | kernel.REC)
    for entry in os.scandir("/"):
        place = f"{root}/{entry.name}"
        if f"/{entry.name}" in _NOT_FILES and entry.name != "etc":
            continue
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), place)
        elif entry.is_dir():
            os.mkdir(place)
            for name in ("upper", "work"):
                os.mkdir(f"{base}/{name}/{entry.name}")
            upper, work = f"{base}/upper/{entry.name}", f"{base}/work/{entry.name}"
            options = f"lowerdir={entry.path},upperdir={upper},workdir={work},userxattr"
            try:
                kernel.mount("overlay", place, "overlay", 0, options)
            except OSError:
                _bind(entry.path, place)


def _other_disks(base: str) -> list[str]:
    """Where else the host has mounted disks: an overlay of / does not show them."""
    found = []
    with open("/proc/self/mountinfo") as table:
        for line in table:
            left, _, right = line.partition(" - ")
            path = left.split()[4].encode().decode("unicode_escape")
            if path == "/" or right.split()[0] not in _FILE_SYSTEMS:
                continue
            if any(path == top or path.startswith(top + "/") for top in _NOT_FILES):
                continue
            if not base.startswith(path + "/") or path.count("/") == 1:
                found.append(path)
    return sorted(found)


def _bind(source: str, target: str) -> None:
    with contextlib.suppress(OSError):
        os.makedirs(target, exist_ok=True)
        kernel.mount(source, target, "", kernel.BIND | kernel.REC)


def _system_folders(root: str, *, privileged: bool) -> None:
    for name in ("proc", "sys", "dev", "tmp", "run", "etc"):
        os.makedirs(f"{root}/{name}", exist_ok=True)
    quiet = kernel.NOSUID | kernel.NODEV | kernel.NOEXEC
    try:
        kernel.mount("proc", f"{root}/proc", "proc", quiet)
    except OSError:  # a user namespace within a container whose own /proc is partly hidden
        kernel.mount("/proc", f"{root}/proc", "", kernel.BIND | kernel.REC)
    for path in () if privileged else _READ_ONLY:
        with contextlib.suppress(OSError):  # not every kernel has each
            kernel.mount(f"{root}{path}", f"{root}{path}", "", kernel.BIND | kernel.REC)
            kernel.make_read_only(f"{root}{path}")
    try:
        kernel.mount("sysfs", f"{root}/sys", "sysfs", quiet | (0 if privileged else kernel.RDONLY))
    except OSError:
        with contextlib.suppress(OSError):
            kernel.mount("/sys", f"{root}/sys", "", kernel.BIND | kernel.REC)
    _devices(f"{root}/dev")
    if privileged:
        _host_devices(f"{root}/dev")


def _devices(dev: str) -> None:
    kernel.mount("tmpfs", dev, "tmpfs", kernel.NOSUID, "mode=755")
    for name in _DEVICES:
        os.close(os.open(f"{dev}/{name}", os.O_CREAT | os.O_WRONLY, 0o666))
        with contextlib.suppress(OSError):
            kernel.mount(f"/dev/{name}", f"{dev}/{name}", "", kernel.BIND)
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(f"{dev}/{name}")
    _terminals(f"{dev}/pts")
    links = {
        "ptmx": "pts/ptmx",
        "fd": "/proc/self/fd",
        "stdin": "/proc/self/fd/0",
        "stdout": "/proc/self/fd/1",
    }
    for name, target in {**links, "stderr": "/proc/self/fd/2"}.items():
        os.symlink(target, f"{dev}/{name}")


def _host_devices(dev: str) -> None:
    """A privileged container has every device of the host."""
    for entry in os.scandir("/dev"):
        kind = entry.stat(follow_symlinks=False).st_mode
        place = f"{dev}/{entry.name}"
        if (stat.S_ISCHR(kind) or stat.S_ISBLK(kind)) and not os.path.lexists(place):
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o666))
            with contextlib.suppress(OSError):
                kernel.mount(entry.path, place, "", kernel.BIND)


def _terminals(place: str) -> None:
    """A /dev/pts of the container's own."""
    options = "newinstance,ptmxmode=0666,mode=620"
    try:
        kernel.mount("devpts", place, "devpts", kernel.NOSUID | kernel.NOEXEC, options + ",gid=5")
    except OSError:  # a user namespace does not know the group tty
        kernel.mount("devpts", place, "devpts", kernel.NOSUID | kernel.NOEXEC, options)


def _all_mounts(request: dict[str, Any], host: bool) -> list[dict[str, Any]]:
    """The request's mounts, and before them the host's folders that would be hidden but are needed."""
    needed = []
    for path in request.get("paths") or ():
        hidden = any(path == top or path.startswith(top + "/") for top in _HIDDEN)
        if os.path.exists(path) and (hidden or not host):
            needed.append({"source": path, "target": path, "read_only": True})
    # A volume over /tmp or /run comes first, or it would hide them again.
    mounts = list(request["mounts"])
    covers = [
        mount
        for mount in mounts
        if any(one["target"].startswith(mount["target"].rstrip("/") + "/") for one in needed)
    ]
    return [*covers, *needed, *(mount for mount in mounts if mount not in covers)]


def _pivot(root: str, sources: list[tuple[int, dict[str, Any]]]) -> None:
    """Change over to the new root. Targets are looked up in it, so that its links cannot lead out of it."""
    old = os.open("/", os.O_PATH | os.O_DIRECTORY)
    os.chdir(root)
    kernel.pivot_root(".", ".")
    for descriptor, mount in sources:
        _mount_volume(descriptor, mount)
        os.close(descriptor)
    os.fchdir(old)
    kernel.unmount(".")
    os.close(old)
    os.chdir("/")


def _mount_volume(descriptor: int, mount: dict[str, Any]) -> None:
    target = mount["target"]
    folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
    try:
        _make_target(target, folder, fixed=bool(mount.get("file")))
    except PermissionError:
        _mirror(os.path.dirname(target))
        _make_target(target, folder, fixed=bool(mount.get("file")))
    kernel.mount(f"/proc/self/fd/{descriptor}", target, "", kernel.BIND | kernel.REC)
    if mount.get("read_only"):
        kernel.make_read_only(target)


def _make_target(target: str, folder: bool, *, fixed: bool) -> None:
    if fixed and os.path.islink(target):
        os.unlink(target)  # such as resolv.conf, a link into a /run that is not this one
    if folder:
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))


def _mirror(folder: str) -> None:
    """Without root: put a writable folder of links in the place of one that belongs to somebody else."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    folder = os.path.realpath(folder)
    hidden = f"/.slipway{folder}"
    os.makedirs(hidden, exist_ok=True)
    kernel.mount(folder, hidden, "", kernel.BIND | kernel.REC)
    kernel.mount("tmpfs", folder, "tmpfs", kernel.NOSUID | kernel.NODEV, "mode=755")
    for name in os.listdir(hidden):
        place = f"{hidden}/{name}"
        os.symlink(os.readlink(place) if os.path.islink(place) else place, f"{folder}/{name}")

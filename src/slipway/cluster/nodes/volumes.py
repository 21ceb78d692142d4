"""A pod's volumes as folders of the host: made before its containers start, kept up to date, removed after it.

ConfigMaps, Secrets, downward and projected files are swapped in one step, as kubelet does: the files are links into
`..data`, itself a link to a folder with a time in its name.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from slipway.cluster.client.quantities import whole
from slipway.cluster.nodes.container_environment import (
    ConfigError,
    Lookup,
    expand,
    field_value,
    resource_value,
)
from slipway.cluster.nodes.images import ImageError, ImageSource
from slipway.cluster.nodes.pod_certificates import NotIssued, PodCertificates
from slipway.cluster.nodes.runtime import InMemory, Mount
from slipway.cluster.nodes.trust_bundles import ListBundles, NoBundle, anchors

Object = dict[str, Any]
# (service account, audience or "", seconds) -> token, bound to the pod
MintToken = Callable[[Object, str, int], Awaitable[str]]

_FILES = ("configMap", "secret", "downwardAPI", "projected")
_DEFAULT_MODE = 0o644
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


class MountError(Exception):
    """A volume cannot be set up; the text is what the FailedMount Event says after its first words."""

    def __init__(self, volume: str, message: str) -> None:
        super().__init__(message)
        self.volume = volume
        self.message = message


@dataclass(slots=True)
class File:
    """`owner` is a user of the pod's, where that one alone is to read it."""

    data: bytes
    mode: int
    owner: int | None = None


@dataclass(slots=True)
class Volumes:
    """One pod's. `folder` is the pod's own; `token_lifetime` is that of the projected token that ends first."""

    folder: Path
    lookup: Lookup
    mint: MintToken
    certificates: PodCertificates
    bundles: ListBundles
    allocatable: Mapping[str, str]
    images: ImageSource
    roots: dict[str, Path] = field(default_factory=dict)
    read_only: set[str] = field(default_factory=set)  # whatever their mounts say
    fixed: set[str] = field(default_factory=set)  # in which nothing may be made, not even by this node
    in_memory: dict[str, InMemory] = field(default_factory=dict)
    token_lifetime: int | None = None

    async def prepare(self, pod: Object) -> None:
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        for volume in pod["spec"].get("volumes") or ():
            name = volume["name"]
            self.roots[name] = await self._prepare_one(pod, volume)
            if _is_read_only(volume):
                self.read_only.add(name)
            if group is not None and "emptyDir" in volume:
                _give_to_group(self.roots[name], group, 0o2070)
            if (volume.get("emptyDir") or {}).get("medium") == "Memory":
                size = _memory_size(pod, volume["emptyDir"], self.allocatable)
                mode = 0o777 if group is None else 0o2777
                self.in_memory[name] = InMemory(self.roots[name], size, mode, group)

    async def refresh(self, pod: Object) -> None:
        """Bring files of ConfigMaps, Secrets and the pod's own fields up to date."""
        for volume in pod["spec"].get("volumes") or ():
            if any(kind in volume for kind in _FILES) and volume["name"] in self.roots:
                with contextlib.suppress(MountError):
                    await self._write_files(pod, volume)

    async def remove(self) -> None:
        await asyncio.to_thread(shutil.rmtree, self.folder, True)

    def mounts(self, container: Object, env: Mapping[str, str]) -> tuple[Mount, ...]:
        """The container's volumeMounts, with sub-paths made where they are missing."""
        mounts = []
        for mount in container.get("volumeMounts") or ():
            source = self.roots[mount["name"]]
            sub = mount.get("subPath") or expand(mount.get("subPathExpr") or "", env)
            if sub:
                source = _beneath(source, sub, mount["name"], make=mount["name"] not in self.fixed)
            read_only = bool(mount.get("readOnly")) or mount["name"] in self.read_only
            mounts.append(Mount(source, mount["mountPath"], read_only, mount["name"] in self.in_memory))
        return tuple(sorted(mounts, key=lambda mount: mount.target.count("/")))

    async def _prepare_one(self, pod: Object, volume: Object) -> Path:
        name = volume["name"]
        if any(kind in volume for kind in _FILES):
            return await self._write_files(pod, volume)
        if "hostPath" in volume:
            return _host_path(name, volume["hostPath"])
        if "persistentVolumeClaim" in volume:
            return await self._claim(name, volume["persistentVolumeClaim"]["claimName"])
        if "ephemeral" in volume:
            return await self._claim(name, f"{pod['metadata']['name']}-{name}")
        if "image" in volume:
            return await self._image(name, volume["image"])
        if "emptyDir" in volume or set(volume) == {"name"}:
            return _folder(self.folder / "volumes" / name, 0o777)
        kind = next(iter(set(volume) - {"name"}))
        raise MountError(name, f"volumes of kind {kind} are not served by this node")

    async def _image(self, volume: str, words: Object) -> Path:
        reference = words.get("reference") or ""
        try:
            image = await self.images.resolve(reference, words.get("pullPolicy") or "IfNotPresent")
        except ImageError as error:
            raise MountError(volume, f"{error.reason}: {error.message}") from None
        if not image.layers:
            why = f'image "{reference}" stands for programs of this machine and has no files of its own'
            raise MountError(volume, f"{why}; give it a root: slipway images add {reference} --rootfs FOLDER")
        self.fixed.add(volume)
        return image.layers[-1]

    async def _claim(self, volume: str, name: str) -> Path:
        claim = await self.lookup("PersistentVolumeClaim", name)
        if claim is None:
            raise MountError(volume, f'persistentvolumeclaim "{name}" not found')
        bound = claim["spec"].get("volumeName")
        if not bound or (claim.get("status") or {}).get("phase") != "Bound":
            raise MountError(volume, f'persistentvolumeclaim "{name}" is not bound')
        found = await self.lookup("PersistentVolume", bound)
        if found is None:
            raise MountError(volume, f'persistentvolume "{bound}" not found')
        spec = found["spec"]
        place = (spec.get("hostPath") or spec.get("local") or {}).get("path")
        if not place:
            raise MountError(volume, f'persistentvolume "{bound}" is neither of kind hostPath nor local')
        return _folder(Path(place))

    async def _write_files(self, pod: Object, volume: Object) -> Path:
        name = volume["name"]
        try:
            if "projected" in volume:
                files = await self._projected(pod, name, volume["projected"])
            else:
                kind = next(kind for kind in _FILES if kind in volume)
                mode = volume[kind].get("defaultMode", _DEFAULT_MODE)
                files = await self._source(pod, name, kind, volume[kind], mode)
        except (ConfigError, NoBundle, NotIssued) as error:
            raise MountError(name, str(error)) from None
        root: Path = self.folder / "volumes" / name
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        await asyncio.to_thread(write_atomically, root, files, group)
        return root

    async def _projected(self, pod: Object, name: str, projected: Object) -> dict[str, File]:
        mode = projected.get("defaultMode", _DEFAULT_MODE)
        files: dict[str, File] = {}
        for index, source in enumerate(projected.get("sources") or ()):
            for kind, words in source.items():
                if kind == "podCertificate":
                    issued = await self.certificates.files(pod, name, index, words)
                    files |= {path: _credential(pod, data, mode) for path, data in issued.items()}
                else:
                    files |= await self._source(pod, name, kind, words, mode)
        return files

    async def _source(self, pod: Object, volume: str, kind: str, words: Object, mode: int) -> dict[str, File]:
        if kind == "configMap":
            return await self._data(volume, "ConfigMap", words["name"], words, mode)
        if kind == "secret":
            return await self._data(volume, "Secret", words.get("secretName") or words["name"], words, mode)
        if kind == "downwardAPI":
            return {item["path"]: self._downward(pod, item, mode) for item in words.get("items") or ()}
        if kind == "serviceAccountToken":
            seconds = int(words.get("expirationSeconds") or 3600)
            token = await self.mint(pod, words.get("audience") or "", seconds)
            self.token_lifetime = min(seconds, self.token_lifetime or seconds)
            return {words["path"]: _credential(pod, token.encode(), mode)}
        if kind == "clusterTrustBundle":
            return {words["path"]: _credential(pod, await anchors(words, self.bundles), mode)}
        raise MountError(volume, f"projected source {kind} is not served by this node")

    def _downward(self, pod: Object, item: Object, mode: int) -> File:
        if item.get("fieldRef"):
            text = field_value(pod, item["fieldRef"]["fieldPath"])
        else:
            text = resource_value(pod, item["resourceFieldRef"], None, self.allocatable)
        return File(text.encode(), item.get("mode", mode))

    async def _data(self, volume: str, kind: str, name: str, words: Object, mode: int) -> dict[str, File]:
        found = await self.lookup(kind, name)
        if found is None:
            if words.get("optional"):
                return {}
            raise MountError(volume, f'{kind.lower()} "{name}" not found')
        data = binary_data(kind, found)
        items = words.get("items")
        if items is None:
            return {key: File(value, mode) for key, value in data.items()}
        files = {}
        for item in items:
            if item["key"] in data:
                files[item["path"]] = File(data[item["key"]], item.get("mode", mode))
            elif not words.get("optional"):
                raise MountError(volume, f"references non-existent {kind.lower()} key: {item['key']}")
        return files


def binary_data(kind: str, obj: Object) -> dict[str, bytes]:
    if kind == "Secret":
        return {key: base64.b64decode(value) for key, value in (obj.get("data") or {}).items()}
    data = {key: value.encode() for key, value in (obj.get("data") or {}).items()}
    return data | {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}


def write_atomically(root: Path, files: Mapping[str, File], group: int | None = None) -> None:
    """Make `root` hold exactly these files; a reader sees the old ones or the new ones. `group` may read them."""
    root.mkdir(parents=True, exist_ok=True)
    if group is not None:
        files = {path: replace(file, mode=file.mode | 0o440) for path, file in files.items()}
    current = root / "..data"
    if current.exists() and _same(current, files):
        return
    number = 0
    old = os.readlink(current) if current.is_symlink() else ""
    while (fresh := root / f"..{number:08d}").exists():
        number += 1
    fresh.mkdir(mode=0o755)
    for path, file in files.items():
        place = fresh / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.data)
        if group is not None:
            _give_to_group(place, group)
        if file.owner is not None:
            os.chown(place, file.owner, -1)
        place.chmod(file.mode)
    pointer = root / "..data_tmp"
    pointer.unlink(missing_ok=True)
    pointer.symlink_to(fresh.name)
    pointer.replace(current)
    tops = {path.split("/")[0] for path in files}
    for top in tops:
        link = root / top
        if not link.is_symlink():
            link.symlink_to(f"..data/{top}")
    for entry in root.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink()
    if old:
        shutil.rmtree(root / old, ignore_errors=True)


def _same(current: Path, files: Mapping[str, File]) -> bool:
    there = {str(path.relative_to(current)): path for path in current.rglob("*") if path.is_file()}
    if set(there) != set(files):
        return False
    return all(
        path.read_bytes() == files[name].data and (path.stat().st_mode & 0o7777) == files[name].mode
        for name, path in there.items()
    )


def _credential(pod: Object, data: bytes, mode: int) -> File:
    """Where all containers run as one user, or the pod has an fsGroup, only these read it; for that the file has to
    be given away, which needs root's rights."""
    user = _only_user(pod["spec"])
    if os.geteuid() != 0 or (
        user is None and (pod["spec"].get("securityContext") or {}).get("fsGroup") is None
    ):
        return File(data, mode)
    return File(data, 0o600, user)


def _only_user(spec: Object) -> int | None:
    of_pod = (spec.get("securityContext") or {}).get("runAsUser")
    containers = [row for name in _CONTAINERS for row in spec.get(name) or ()]
    users = {(row.get("securityContext") or {}).get("runAsUser", of_pod) for row in containers}
    return users.pop() if len(users) == 1 else None


def _memory_size(pod: Object, words: Object, allocatable: Mapping[str, str]) -> int:
    """The least of the volume's own limit, the memory that the pod may use, and the node's."""
    sizes = [whole(allocatable["memory"])]
    if words.get("sizeLimit") is not None:
        sizes.append(whole(words["sizeLimit"]))
    limits = [(row.get("resources") or {}).get("limits") or {} for row in pod["spec"]["containers"]]
    if all("memory" in row for row in limits):
        sizes.append(sum(whole(row["memory"]) for row in limits))
    return min(size for size in sizes if size)


def _is_read_only(volume: Object) -> bool:
    """Files that others write, images, and claims that the pod says it only reads."""
    claim = volume.get("persistentVolumeClaim") or {}
    return any(kind in volume for kind in (*_FILES, "image")) or bool(claim.get("readOnly"))


def _give_to_group(path: Path, group: int, rights: int = 0) -> None:
    """What fsGroup asks for; without root's rights things stay as they are, and readable by all."""
    with contextlib.suppress(PermissionError):
        os.chown(path, -1, group)
        path.chmod(path.stat().st_mode | rights)


def _folder(path: Path, mode: int | None = None) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    if mode is not None:
        path.chmod(mode)
    return path


def _beneath(root: Path, sub: str, volume: str, *, make: bool) -> Path:
    if ".." in Path(sub).parts or sub.startswith("/"):
        raise MountError(volume, f"subPath {sub!r} leaves its volume")
    path = root / sub
    if not path.exists():
        if not make:
            raise MountError(volume, f"subPath {sub!r} is not in the image")
        path.mkdir(parents=True)
        path.chmod(0o777)
    return path


def _host_path(volume: str, words: Object) -> Path:
    path, kind = Path(words["path"]), words.get("type") or ""
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        path.touch(exist_ok=True)
    checks = {
        "Directory": (Path.is_dir, "a directory"),
        "File": (Path.is_file, "a file"),
        "Socket": (Path.is_socket, "a socket file"),
        "CharDevice": (Path.is_char_device, "a character device"),
        "BlockDevice": (Path.is_block_device, "a block device"),
    }
    if kind in checks and not checks[kind][0](path):
        raise MountError(volume, f"hostPath type check failed: {path} is not {checks[kind][1]}")
    if not path.exists():
        if kind:
            raise MountError(volume, f"hostPath type check failed: {path} does not exist")
        path.mkdir(parents=True, exist_ok=True)
    return path

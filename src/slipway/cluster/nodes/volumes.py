"""Volumes of a pod as folders of the host: made before its containers, kept up to date, removed after them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from slipway.cluster.nodes.runtime import Mount
from slipway.cluster.nodes.variables import Fetch, VariableFailure, decoded, expand, pod_field, resource_field

Object = dict[str, Any]
Files = dict[str, tuple[bytes, int]]  # path in the volume: content and mode
Token = Callable[[Object], Awaitable[str]]  # a serviceAccountToken source in, a token out
ClaimPath = Callable[[str], Awaitable[Path | None]]  # a claim's name in, its folder out, None while unbound


class VolumeFailure(Exception):
    """A volume cannot be made yet; the text is what the FailedMount Event says."""


class Volumes:
    """The volumes of one pod, below `folder`."""

    def __init__(
        self,
        folder: Path,
        fetch: Fetch,
        token: Token,
        claim: ClaimPath,
        allocatable: Mapping[str, str],
    ) -> None:
        self._folder = folder
        self._fetch = fetch
        self._token = token
        self._claim = claim
        self._allocatable = allocatable
        self._paths: dict[str, Path] = {}

    async def prepare(self, pod: Object) -> None:
        """Make them all; VolumeFailure names the one that cannot be made."""
        for volume in pod["spec"].get("volumes") or []:
            try:
                self._paths[volume["name"]] = await self._make(pod, volume)
            except (VariableFailure, OSError) as error:
                raise VolumeFailure(
                    f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}'
                ) from None

    async def refresh(self, pod: Object) -> None:
        """Write again what comes from objects that may have changed; what cannot be read stays as it is."""
        for volume in pod["spec"].get("volumes") or []:
            if {"configMap", "secret", "downwardAPI", "projected"} & volume.keys():
                try:
                    await self._make(pod, volume)
                except (VariableFailure, OSError):
                    continue

    async def _make(self, pod: Object, volume: Object) -> Path:
        path: Path = self._folder / str(volume["name"])
        if "hostPath" in volume:
            return _host_path(volume["hostPath"])
        if "persistentVolumeClaim" in volume:
            name = volume["persistentVolumeClaim"]["claimName"]
            found = await self._claim(name)
            if found is None:
                raise VariableFailure(f'persistentvolumeclaim "{name}" is not bound')
            found.mkdir(parents=True, exist_ok=True)
            return found
        path.mkdir(parents=True, exist_ok=True)
        if "emptyDir" in volume or not (volume.keys() - {"name"}):
            os.chmod(path, 0o777)
            return path
        files = await self._files(pod, volume)
        if files is None:
            raise VariableFailure(
                f"volumes of type {', '.join(volume.keys() - {'name'})} are not supported here"
            )
        _write_atomically(path, files)
        return path

    async def _files(self, pod: Object, volume: Object) -> Files | None:
        if "configMap" in volume:
            return await self._object_files(
                "configmaps", volume["configMap"], volume["configMap"].get("name", "")
            )
        if "secret" in volume:
            return await self._object_files(
                "secrets", volume["secret"], volume["secret"].get("secretName", "")
            )
        if "downwardAPI" in volume:
            return self._downward(pod, volume["downwardAPI"])
        if "projected" in volume:
            files: Files = {}
            default = volume["projected"].get("defaultMode", 0o644)
            for source in volume["projected"].get("sources") or []:
                files.update(await self._projected(pod, source, default))
            return files
        return None

    async def _projected(self, pod: Object, source: Object, default: int) -> Files:
        if "configMap" in source:
            wanted = {"defaultMode": default, **source["configMap"]}
            return await self._object_files("configmaps", wanted, wanted["name"])
        if "secret" in source:
            wanted = {"defaultMode": default, **source["secret"]}
            return await self._object_files("secrets", wanted, wanted["name"])
        if "downwardAPI" in source:
            return self._downward(pod, {"defaultMode": default, **source["downwardAPI"]})
        if "serviceAccountToken" in source:
            token = await self._token(source["serviceAccountToken"])
            return {
                source["serviceAccountToken"]["path"]: (
                    token.encode(),
                    0o600 if default == 0o600 else default,
                )
            }
        return {}

    async def _object_files(self, kind: str, source: Object, name: str) -> Files:
        found = await self._fetch(kind, name)
        default = source.get("defaultMode", 0o644)
        if found is None:
            if source.get("optional"):
                return {}
            raise VariableFailure(f'{kind[:-1]} "{name}" not found')
        data = decoded(found, kind)
        items = source.get("items")
        if items is None:
            return {key: (content, default) for key, content in data.items()}
        files: Files = {}
        for item in items:
            if item["key"] not in data:
                if source.get("optional"):
                    continue
                raise VariableFailure(f"{kind[:-1]} references non-existent config key: {item['key']}")
            files[item["path"]] = (data[item["key"]], item.get("mode", default))
        return files

    def _downward(self, pod: Object, source: Object) -> Files:
        files: Files = {}
        default = source.get("defaultMode", 0o644)
        for item in source.get("items") or []:
            if "fieldRef" in item:
                text = pod_field(pod, item["fieldRef"]["fieldPath"])
            else:
                container = pod["spec"]["containers"][0]
                text = resource_field(pod, container, item["resourceFieldRef"], self._allocatable)
            files[item["path"]] = (text.encode(), item.get("mode", default))
        return files

    def mounts(self, container: Object, variables: Mapping[str, str]) -> tuple[Mount, ...]:
        """Where a container sees them."""
        found = []
        for mount in container.get("volumeMounts") or []:
            source = self._paths.get(mount["name"])
            if source is None:
                continue
            below = mount.get("subPath") or expand(mount.get("subPathExpr") or "", variables)
            if below:
                source = source / below
                if not source.exists():
                    source.mkdir(parents=True, exist_ok=True)
            found.append(Mount(source, mount["mountPath"], bool(mount.get("readOnly"))))
        return tuple(found)

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def _host_path(source: Object) -> Path:
    path, kind = Path(source["path"]), source.get("type") or ""
    if kind == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o644, exist_ok=True)
    elif (kind == "Directory" and not path.is_dir()) or (kind == "File" and not path.is_file()):
        raise VariableFailure(f"hostPath type check failed: {path} is not a {kind.lower()}")
    return path


def _write_atomically(folder: Path, files: Files) -> None:
    """Write a set of files so that readers see the old set or the new one: a `..data` link is swapped, as the
    kubelet does."""
    current = folder / "..data"
    if current.is_symlink() and _holds(folder / os.readlink(current), files):
        return
    serial = 0
    while (folder / f"..{serial}").exists():
        serial += 1
    fresh = folder / f"..{serial}"
    for name, (content, mode) in files.items():
        place = fresh / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        place.chmod(mode)
    fresh.mkdir(exist_ok=True)
    old = folder / os.readlink(current) if current.is_symlink() else None
    temporary = folder / "..data_tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(fresh.name)
    temporary.replace(current)
    wanted = {Path(name).parts[0] for name in files}
    for entry in folder.iterdir():
        if not entry.name.startswith("..") and entry.name not in wanted:
            entry.unlink()
    for name in wanted:
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(Path("..data") / name)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _holds(folder: Path, files: Files) -> bool:
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    if there != set(files):
        return False
    return all((folder / name).read_bytes() == content for name, (content, _) in files.items())

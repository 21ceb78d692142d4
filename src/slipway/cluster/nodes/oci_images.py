"""OCI layouts and archives (and docker-save archives) unpacked to a root folder, with their configuration."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from slipway.cluster.nodes.images import Image
from slipway.cluster.nodes.node_object import architecture

_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


def unpack(name: str, source: Path, folder: Path) -> Image:
    """The image at `source`, its layers applied under `folder` once. OSError or ValueError if it is not one."""
    if not source.exists():
        raise ValueError(f"{source} does not exist")
    if source.is_file():
        source = _extracted(source, folder)
    digest, config, layers = _read(source)
    root = folder / "roots" / digest.replace(":", "-")
    if not root.is_dir():
        _apply(layers, root)
    words = config.get("config") or {}
    env = dict(entry.partition("=")[::2] for entry in words.get("Env") or ())
    return Image(
        name,
        digest,
        tuple(words.get("Entrypoint") or ()),
        tuple(words.get("Cmd") or ()),
        env,
        words.get("WorkingDir") or "",
        words.get("User") or "",
        (root,),
    )


def _extracted(archive: Path, folder: Path) -> Path:
    """An archive as the layout folder in it."""
    stat = archive.stat()
    mark = f"{archive.absolute()}:{stat.st_size}:{stat.st_mtime_ns}"
    place = folder / "archives" / hashlib.sha256(mark.encode()).hexdigest()[:24]
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=place.parent))
        with tarfile.open(archive) as tar:
            for member in tar.getmembers():
                if member.isfile() or member.isdir():  # a layout has nothing else
                    _inside(fresh, PurePosixPath(member.name))
                    tar.extract(member, fresh, **_filter("data"))
        fresh.replace(place)
    return place


def _read(layout: Path) -> tuple[str, dict[str, Any], list[Path]]:
    """Digest of the configuration, the configuration, and the layers' archives."""
    if (layout / "index.json").exists():
        manifest = _manifest(layout, json.loads((layout / "index.json").read_text()))
        digest = manifest["config"]["digest"]
        config = json.loads(_blob(layout, digest).read_text())
        return digest, config, [_blob(layout, row["digest"]) for row in manifest["layers"]]
    if (layout / "manifest.json").exists():
        manifest = json.loads((layout / "manifest.json").read_text())[0]
        data = (layout / manifest["Config"]).read_bytes()
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        return digest, json.loads(data), [layout / name for name in manifest["Layers"]]
    raise ValueError(f"{layout} holds neither index.json (OCI layout) nor manifest.json (docker save)")


def _manifest(layout: Path, index: dict[str, Any]) -> dict[str, Any]:
    """The manifest for this machine, through nested indexes."""
    rows = index.get("manifests") or []
    if not rows:
        raise ValueError(f"{layout}: index.json names no manifest")
    fitting = [row for row in rows if (row.get("platform") or {}).get("architecture") == architecture()]
    chosen = (fitting or rows)[0]
    document: dict[str, Any] = json.loads(_blob(layout, chosen["digest"]).read_text())
    return _manifest(layout, document) if "manifests" in document else document


def _blob(layout: Path, digest: str) -> Path:
    algorithm, _, value = digest.partition(":")
    if not value.isalnum() or not algorithm.isalnum():
        raise ValueError(f"{digest!r} is not a digest")
    path = layout / "blobs" / algorithm / value
    if not path.exists():
        raise ValueError(f"{layout}: blob {digest} is missing")
    return path


def _apply(layers: list[Path], root: Path) -> None:
    """Apply the layers one over the other; the root appears when it is complete."""
    root.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=root.parent))
    fresh.chmod(0o755)
    try:
        for layer in layers:
            with tarfile.open(layer) as tar:
                _apply_layer(tar, fresh)
        fresh.replace(root)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _apply_layer(tar: tarfile.TarFile, root: Path) -> None:
    """First what the layer takes away from those below, wherever it says so; then what it brings."""
    owners = os.geteuid() == 0
    members = tar.getmembers()
    for member in members:
        path = PurePosixPath(member.name)
        if path.name == _OPAQUE:
            _empty(_inside(root, path.parent))
        elif path.name.startswith(_WHITEOUT):
            _remove(_inside(root, path.parent / path.name.removeprefix(_WHITEOUT)))
    for member in members:
        path = PurePosixPath(member.name)
        place = _inside(root, path)
        if path.name.startswith(_WHITEOUT) or member.isdev():
            continue
        if place.is_symlink() or (place.exists() and not (place.is_dir() and member.isdir())):
            _remove(place)
        if member.islnk():
            _inside(root, PurePosixPath(member.linkname))
        tar.extract(member, root, numeric_owner=owners, **_filter("tar"))


def _filter(name: str) -> dict[str, Any]:
    """tarfile's own second look, which it has from Python 3.11.4 on."""
    return {"filter": name} if hasattr(tarfile, "data_filter") else {}


def _inside(root: Path, path: PurePosixPath) -> Path:
    """The path below root, where no link leads out of it; ValueError otherwise."""
    place = root.joinpath(*[part for part in path.parts if part != "/"])
    parent = place.parent.resolve()
    if ".." in path.parts or not parent.is_relative_to(root.resolve()):
        raise ValueError(f"layer entry {path} leaves the image's root")
    return place


def _empty(folder: Path) -> None:
    if folder.is_dir():
        for entry in folder.iterdir():
            _remove(entry)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

"""What image names stand for: rows, stand-ins, OCI layouts and archives, and honest failures."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from slipway.cli import images as command
from slipway.cli.main import main
from slipway.cluster.nodes.images import (
    ImageError,
    Images,
    MappingError,
    check_rows,
    forms,
    read_rows,
    visible_paths,
)
from slipway.cluster.nodes.oci_images import unpack

Pods = Any


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(folder=tmp_path / "images", mapping=tmp_path / "images.yaml")


async def test_tutorial_names_are_served_out_of_the_box(images: Images) -> None:
    for name in (
        "busybox",
        "busybox:1.36",
        "docker.io/library/nginx:1.25",
        "registry.k8s.io/pause:3.9",
        "python:3.12",
    ):
        image = await images.resolve(name)
        assert image.entrypoint or image.command, name


async def test_python_is_found_by_its_name_in_the_stand_in(images: Images) -> None:
    image = await images.resolve("python")
    assert Path(image.env["PATH"].partition(":")[0], "python").exists()


async def test_an_unknown_name_fails_and_says_what_to_do(images: Images) -> None:
    with pytest.raises(ImageError, match=r"slipway images add example\.com/app:1 --command") as caught:
        await images.resolve("example.com/app:1")
    assert caught.value.reason == "ErrImagePull"
    with pytest.raises(ImageError) as caught:
        await images.resolve("example.com/app:1", "Never")
    assert caught.value.reason == "ErrImageNeverPull"
    for wrong in ("not a name", "", "app/UPPER", "a//b", "app:", "app:-1", "app@sha256:12"):
        with pytest.raises(ImageError) as caught:
            await images.resolve(wrong)
        assert caught.value.reason == "InvalidImageName"


async def test_a_row_added_later_is_seen_at_the_next_pull(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "home", lambda: tmp_path)
    with pytest.raises(ImageError):
        await images.resolve("example.com/app:1")
    assert main(["images", "add", "example.com/app", "--command", "sleep 5", "--env", "A=b=c"]) == 0
    image = await images.resolve("example.com/app:1")
    assert image.entrypoint == ("sleep", "5")
    assert image.env["A"] == "b=c"
    assert main(["images", "list"]) == 0
    assert "example.com/app" in capsys.readouterr().out
    assert main(["images", "remove", "example.com/app"]) == 0
    with pytest.raises(ImageError):
        await images.resolve("example.com/app:1")
    assert main(["images", "remove", "example.com/app"]) == 1
    assert main(["images", "add", "x", "--rootfs", str(tmp_path / "none")]) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("images: {}", "expected a list"),
        ("images: [{command: [x]}]", r"images\[0\]: `match` is missing"),
        ("images: [{match: x, colour: red}]", r"images\[0\].colour: unknown field"),
        ("images: [{match: x, command: sleep}]", r"images\[0\].command: 'sleep' is not a list"),
        ("images: [{match: x, oci: a, rootfs: b}]", "rootfs and oci exclude each other"),
        ("images: [", "m.yaml"),
    ],
)
def test_a_wrong_mapping_is_refused_with_the_place(text: str, message: str) -> None:
    with pytest.raises(MappingError, match=message):
        read_rows(text, "m.yaml")


def test_a_name_is_known_by_all_its_forms() -> None:
    assert "nginx" in forms("docker.io/library/nginx:1.25@sha256:ab")
    assert "localhost:5000/app" in forms("localhost:5000/app:1")
    assert check_rows([{"match": "localhost:5000/app"}], "x")[0].serves("localhost:5000/app:1")


def layer(files: dict[str, str | None]) -> bytes:
    """A layer's archive: a text is a file, None an empty folder."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            if text is None:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            else:
                entry.size = len(text)
                entry.mode = 0o755
                tar.addfile(entry, io.BytesIO(text.encode()))
    return data.getvalue()


def layout(folder: Path, config: dict[str, Any], *layers: bytes) -> Path:
    """An OCI layout with these layers."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return f"sha256:{digest}"

    rows = [{"digest": put(data), "size": len(data)} for data in layers]
    manifest = {"config": {"digest": put(json.dumps({"config": config}).encode())}, "layers": rows}
    index = {"manifests": [{"digest": put(json.dumps(manifest).encode())}]}
    (folder / "index.json").write_text(json.dumps(index))
    return folder


def test_layers_are_applied_with_their_whiteouts(tmp_path: Path) -> None:
    place = layout(
        tmp_path / "oci",
        {"Entrypoint": ["/bin/app"], "Cmd": ["-v"], "Env": ["A=1"], "WorkingDir": "/srv", "User": "7"},
        layer({"etc": None, "etc/a": "1", "etc/b": "1", "opt": None, "opt/x": "1"}),
        layer({"etc/.wh.a": "", "opt/.wh..wh..opq": "", "opt/y": "2"}),
    )
    image = unpack("app", place, tmp_path / "images")
    (root,) = image.layers
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == ["etc", "etc/b", "opt", "opt/y"]
    assert (image.entrypoint, image.command, image.env["A"]) == (("/bin/app",), ("-v",), "1")
    assert (image.working_dir, image.user) == ("/srv", "7")
    archive = tmp_path / "image.tar"
    with tarfile.open(archive, "w") as tar:
        for path in place.iterdir():
            tar.add(path, path.name)
    assert unpack("app", archive, tmp_path / "images").id == image.id


def test_an_opaque_whiteout_hides_only_what_lies_below(tmp_path: Path) -> None:
    place = layout(
        tmp_path / "oci",
        {},
        layer({"opt": None, "opt/old": "1"}),
        layer({"opt/new": "2", "opt/.wh..wh..opq": ""}),
    )
    (root,) = unpack("app", place, tmp_path / "images").layers
    assert [path.name for path in (root / "opt").iterdir()] == ["new"]


@pytest.mark.parametrize("name", ["../out", "a/../../out"])
def test_a_layer_cannot_write_outside_its_root(tmp_path: Path, name: str) -> None:
    place = layout(tmp_path / "oci", {}, layer({name: "x"}))
    with pytest.raises(ValueError, match="leaves the image's root"):
        unpack("app", place, tmp_path / "images")
    assert not (tmp_path / "images" / "out").exists()


def test_a_hard_link_in_a_layer_cannot_take_a_file_from_outside_its_root(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        link = tarfile.TarInfo("taken")
        link.type, link.linkname = tarfile.LNKTYPE, f"../../../../../../../..{secret}"
        tar.addfile(link)
    with pytest.raises(ValueError, match="leaves the image's root"):
        unpack("app", layout(tmp_path / "oci", {}, data.getvalue()), tmp_path / "images")
    assert secret.stat().st_nlink == 1


def test_a_link_in_a_layer_cannot_lead_out_of_its_root(tmp_path: Path) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        tar.addfile(link)
        entry = tarfile.TarInfo("link/out")
        tar.addfile(entry, io.BytesIO(b""))
    with pytest.raises(ValueError, match="leaves the image's root"):
        unpack("app", layout(tmp_path / "oci", {}, data.getvalue()), tmp_path / "images")
    assert not (tmp_path / "out").exists()


async def test_an_image_with_a_root_of_its_own_runs(namespace_pods: Pods, tmp_path: Path) -> None:
    """A root file system made of the host's busybox or, without one, of a static program built from nothing."""
    root = tmp_path / "rootfs"
    for name in ("bin", "etc"):
        (root / name).mkdir(parents=True)
    copied = _copy_program("/bin/cat", root)
    assert copied
    (root / "etc" / "motto").write_text("only here\n")
    namespace_pods.cluster.nodes.images.add(
        {"match": "own", "rootfs": str(root), "command": ["/bin/cat", "/etc/motto"]}
    )
    assert await namespace_pods.output("own", {"image": "own"}) == "only here\n"
    assert sorted(path.name for path in root.iterdir() if path.name not in ("lib", "lib64", "usr")) == [
        "bin",
        "etc",
    ]


def _copy_program(program: str, root: Path) -> bool:
    """The program and the libraries that it is linked with, as they lie on the host."""
    import shutil
    import subprocess

    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    paths = [word for word in listed.split() if word.startswith("/")] + [program]
    for path in paths:
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(path).resolve(), target)
    return (root / program.lstrip("/")).exists()


@pytest.mark.parametrize("folder", ["/", "/tmp"])
async def test_a_cluster_started_in_a_top_folder_shows_images_their_folders_and_not_all_of_it(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    rows = check_rows([{"match": "shop", "command": ["sh"], "paths": [str(site)]}], "here")
    image = await Images(rows, folder=tmp_path / "images").resolve("shop")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [folder, *sys.path])
    shown = visible_paths(image)
    assert Path(folder) not in shown
    assert any(site.is_relative_to(path) for path in shown)

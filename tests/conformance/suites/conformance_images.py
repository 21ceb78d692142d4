"""Makes the images that specs of the conformance binary name: a folder with a root for each, and an images list.

    python tests/conformance/suites/conformance_images.py MODULE OUT [NAME ...]

MODULE is a folder whose go.mod requires k8s.io/kubernetes: programs are built there, and files taken from that module.
What else an image holds comes from Debian's packages and this machine's static busybox. conformance_images.yaml says
what is in each. An image that is in OUT already stays; a cluster takes OUT/images.yaml as its images list.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
GROUP = "root:x:0:\nnogroup:x:65534:\n"
MERGED = ("bin", "sbin", "lib", "lib64")  # links to the folders of that name below usr, as in Debian


@dataclass(frozen=True)
class Recipe:
    """One row of conformance_images.yaml; the words are explained there."""

    name: str
    match: Sequence[str]
    base: str = ""
    applets: bool = False
    packages: Sequence[str] = ()
    programs: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Any] = field(default_factory=dict)
    folders: Sequence[str] = ()
    accounts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    setuid: Sequence[str] = ()
    command: Sequence[str] = ()
    args: Sequence[str] = ()
    user: str = ""

    def rows(self, root: Path) -> list[dict[str, Any]]:
        words = {
            name: list(value) if name != "user" else value
            for name in ("command", "args", "user")
            if (value := getattr(self, name))
        }
        return [{"match": match, "rootfs": str(root), **words} for match in self.match]


class Workshop:
    """Where images are made: the folder of the Go module and the one that gets the roots."""

    def __init__(self, module: Path, out: Path) -> None:
        self._module = module
        self._out = out
        self._go = shutil.which("go") or "/usr/local/go/bin/go"

    def root(self, name: str) -> Path:
        return self._out / "roots" / name

    def make(self, recipe: Recipe) -> None:
        root = self.root(recipe.name)
        if root.exists():
            return
        fresh = root.with_name(f".{root.name}")
        shutil.rmtree(fresh, ignore_errors=True)
        if recipe.base:
            shutil.copytree(self.root(recipe.base), fresh, symlinks=True)
        else:
            self._lay_out(fresh)
        for package in self._closure(recipe.packages):
            self._unpack(package, fresh)
        if recipe.applets:
            add_applets(fresh)
        self._fill(recipe, fresh)
        fresh.rename(root)

    def _lay_out(self, root: Path) -> None:
        for name in (*(f"usr/{name}" for name in MERGED), "etc", "tmp", "root", "proc", "dev", "sys"):
            (root / name).mkdir(parents=True, exist_ok=True)
        for name in MERGED:
            (root / name).symlink_to(f"usr/{name}")
        (root / "tmp").chmod(0o1777)
        (root / "etc/passwd").write_text(PASSWD)
        (root / "etc/group").write_text(GROUP)

    def _closure(self, packages: Sequence[str]) -> list[Path]:
        """The package files of all that is wanted and all that it depends on."""
        if not packages:
            return []
        flags = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
        told = subprocess.run(
            ["apt-cache", "depends", "--recurse", *(f"--no-{flag}" for flag in flags), *packages],
            check=True,
            capture_output=True,
            text=True,
        )
        names = sorted(
            {line for line in told.stdout.splitlines() if re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", line)}
        )
        folder = self._out / "packages"
        folder.mkdir(parents=True, exist_ok=True)
        kept = []
        for name in names:
            if not list(folder.glob(f"{name}_*.deb")):
                subprocess.run(["apt-get", "download", "-q", name], cwd=folder, capture_output=True)
            kept += sorted(folder.glob(f"{name}_*.deb"))[:1]
        return kept

    def _unpack(self, package: Path, root: Path) -> None:
        archive = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE)
        subprocess.run(
            ["tar", "-x", "--keep-directory-symlink", "-C", root], stdin=archive.stdout, check=True
        )
        if archive.wait():
            raise SystemExit(f"{package}: dpkg-deb cannot read it")

    def _fill(self, recipe: Recipe, root: Path) -> None:
        for place in recipe.folders:
            (root / place).mkdir(parents=True, exist_ok=True)
        for place, package in recipe.programs.items():
            self._build(package, root / place)
        for place, source in recipe.files.items():
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(source, str):
                shutil.copyfile(self._sources() / source, root / place)
            else:
                (root / place).write_text(source["text"])
        for place, target in recipe.links.items():
            (root / place).unlink(missing_ok=True)
            (root / place).symlink_to(target)
        for place, lines in recipe.accounts.items():
            with (root / place).open("a") as accounts:
                accounts.writelines(f"{line}\n" for line in lines)
        for place in recipe.setuid:
            (root / place).chmod(0o6755)

    def _build(self, package: str, target: Path) -> None:
        built = self._out / "bin" / package.rpartition("/")[2]
        if not built.exists():
            built.parent.mkdir(parents=True, exist_ok=True)
            command: list[str | Path] = [
                self._go,
                "build",
                "-mod=mod",
                "-ldflags",
                "-s -w",
                "-o",
                built,
                package,
            ]
            environment = {**os.environ, "CGO_ENABLED": "0"}
            subprocess.run(command, cwd=self._module, env=environment, check=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(built, target)
        target.chmod(0o755)

    def _sources(self) -> Path:
        command = [self._go, "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes"]
        told = subprocess.run(command, cwd=self._module, check=True, capture_output=True, text=True)
        return Path(told.stdout.strip())


def add_applets(root: Path) -> None:
    """This machine's busybox, which has to be static, and links for those of its applets that no program is named as."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise SystemExit("busybox is not installed; apt-get install busybox-static")
    shutil.copy2(busybox, root / "usr/bin/busybox")
    told = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    for applet in told.stdout.split():
        if not any(
            (root / folder / applet).is_symlink() or (root / folder / applet).exists()
            for folder in ("usr/bin", "usr/sbin")
        ):
            (root / "usr/bin" / applet).symlink_to("busybox")


def read_recipes(path: Path = HERE / "conformance_images.yaml") -> list[Recipe]:
    return [Recipe(**row) for row in yaml.safe_load(path.read_text())["images"]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("module", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("name", nargs="*", help="only these images; all without one")
    arguments = parser.parse_args()
    recipes = [one for one in read_recipes() if not arguments.name or one.name in arguments.name]
    workshop = Workshop(arguments.module.absolute(), arguments.out.absolute())
    (arguments.out / "roots").mkdir(parents=True, exist_ok=True)
    for recipe in recipes:
        print(recipe.name, flush=True)
        workshop.make(recipe)
    rows = [
        row
        for recipe in read_recipes()
        if workshop.root(recipe.name).exists()
        for row in recipe.rows(workshop.root(recipe.name))
    ]
    listing = arguments.out / "images.yaml"
    fresh = listing.with_suffix(".new")
    fresh.write_text(yaml.safe_dump({"images": rows}, sort_keys=False))
    fresh.replace(listing)
    print(listing)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Make a root folder of Python and one distribution with all it needs, from this machine's own files.

    scripts/image/host_root.py 'kco[speed]' FOLDER

Without an image builder or a network: what a Containerfile installs is copied from the environment that runs this.
There is no shell, no compiler and no package manager in the folder; `slipway images` serves it as a `rootfs`.
The distribution lies in /opt/NAME as a virtual environment. Linux only: it asks ldd for the libraries.
"""

from __future__ import annotations

import argparse
import importlib.metadata as metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlparse

from packaging.requirements import Requirement

UNUSED = (
    "test",
    "idlelib",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "lib2to3",
    "site-packages",
    "dist-packages",
)
# Opened by name while a program runs, so that ldd knows nothing of them.
BY_NAME = ("libgcc_s.so.1", "libnss_files.so.2", "libnss_dns.so.2")
FOLDERS = ("dev", "etc", "proc", "sys", "tmp", "run", "var", "bin", "home")


def needed(wanted: str) -> list[metadata.Distribution]:
    """The distribution and, transitively, what it requires here."""
    found: dict[str, metadata.Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(wanted)]
    while waiting:
        asked = waiting.pop()
        name = re.sub(r"[-_.]+", "-", asked.name).lower()
        distribution = found.setdefault(name, metadata.distribution(asked.name))
        for extra in ("", *asked.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for text in distribution.requires or ():
                requirement = Requirement(text)
                if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                    waiting.append(requirement)
    return list(found.values())


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def copy_module(source: Path, target: Path) -> None:
    """A file, and what Python compiled of it: the root that it runs on cannot be written."""
    copy(source, target)
    if source.suffix == ".py":
        compiled = Path(importlib.util.cache_from_source(str(source)))
        if compiled.exists():
            copy(compiled, target.parent / "__pycache__" / compiled.name)


def install(distribution: metadata.Distribution, packages: Path) -> None:
    """Copy a distribution's files; an editable one's from its checkout."""
    for file in distribution.files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts and file.suffix != ".pth":
            copy_module(Path(str(distribution.locate_file(file))), packages / file)
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        project = Path(unquote(urlparse(origin["url"]).path))
        settings = tomllib.loads((project / "pyproject.toml").read_text())
        for package in settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
            source = project / package
            shutil.copytree(source, packages / source.name, dirs_exist_ok=True)


def write_programs(distribution: metadata.Distribution, environment: Path, inside: Path) -> None:
    for entry in distribution.entry_points.select(group="console_scripts"):
        program = environment / "bin" / entry.name
        program.write_text(
            f"#!{inside}/bin/python3\nimport sys\nfrom {entry.module} import {entry.attr}\n"
            f"sys.exit({entry.attr}())\n"
        )
        program.chmod(0o755)


def copy_python(root: Path) -> Path:
    """The interpreter and its library, where they are on this machine; the interpreter's path."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    interpreter = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]
    copy(interpreter, root / interpreter.relative_to("/"))
    library = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))
    ignored = shutil.ignore_patterns(*UNUSED, "*.a", f"config-{version}*")
    shutil.copytree(library, root / library.relative_to("/"), symlinks=True, ignore=ignored)
    return interpreter


def libraries(files: Iterable[Path]) -> set[Path]:
    """The shared libraries that these need, as the loader finds them, and the loader."""
    found: set[Path] = set()
    said = subprocess.run(["ldd", *map(str, files)], capture_output=True, text=True, check=False).stdout
    for match in re.finditer(r"^\s+(?:\S+ => )?(/\S+) \(0x", said, re.MULTILINE):
        found.add(Path(match[1]))
    system = next(path.parent for path in found if path.name.startswith("libc.so"))
    return found | {system / name for name in BY_NAME if (system / name).exists()}


def make(wanted: str, root: Path) -> None:
    name = Requirement(wanted).name
    inside = Path("/opt") / name
    environment = root / inside.relative_to("/")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = environment / "lib" / version / "site-packages"
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    interpreter = copy_python(root)
    for distribution in needed(wanted):
        install(distribution, packages)
    (environment / "bin").mkdir()
    write_programs(metadata.distribution(name), environment, inside)
    for program in ("python", "python3"):
        (environment / "bin" / program).symlink_to(interpreter)
    (environment / "pyvenv.cfg").write_text(
        f"home = {interpreter.parent}\ninclude-system-site-packages = false\n"
    )
    binaries = [interpreter, *(path for path in root.rglob("*.so*") if path.is_file())]
    for library in libraries(binaries):
        if not library.is_relative_to(root):
            copy(library.resolve(), root / library.relative_to("/"))
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or os.access(path, os.X_OK) else 0o444))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("distribution", help="such as 'kco[speed]'")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    if sys.platform != "linux" or shutil.which("ldd") is None:
        print("host_root.py: needs Linux and ldd", file=sys.stderr)
        return 2
    make(options.distribution, options.folder.absolute())
    return 0


if __name__ == "__main__":
    sys.exit(main())

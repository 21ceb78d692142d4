"""What an image name stands for on this machine: a declared mapping, tried from the first row to the last.

A row says by `match` (glob over the name, with or without tag) which names it serves, and with what: programs of
the host's own root (`command`), a `rootfs` folder, an `oci` layout or archive, or a `python` function. Names that no
row serves fail as a kubelet's do, and the message names the command that adds a row.
"""

from __future__ import annotations

import asyncio
import fnmatch
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

_FIELDS = {
    "match", "command", "args", "env", "workingDir", "user", "rootfs", "oci", "python", "requires", "paths",
    "folders",
}  # fmt: skip
_WORDS = {
    "{python}": sys.executable,
    "{bin}": str(Path(sys.executable).parent),
    "{data}": str(Path(__file__).parent / "data"),
}
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
# As distribution/reference has it: [domain/]path[:tag][@digest]
_REFERENCE = re.compile(
    rf"(?:(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d+)?/)?{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?"
    r"(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)


class ImageError(Exception):
    """An image cannot be had. `reason` is ErrImagePull, ErrImageNeverPull or InvalidImageName."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class MappingError(ValueError):
    """A row of the mapping is wrong; the text says where and what is allowed."""


@dataclass(frozen=True, slots=True)
class Image:
    """`layers` are folders, lowest first, that make up the root; empty for the host's own. `paths` are folders of
    the host that must be visible in the container; `folders` are made, empty, in a root of the container's own."""

    name: str
    id: str
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = ""
    user: str = ""
    layers: tuple[Path, ...] = ()
    paths: tuple[Path, ...] = ()
    folders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    match: str
    words: Mapping[str, Any]

    def serves(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(form, self.match) for form in forms(name))


def forms(name: str) -> list[str]:
    """The ways in which a row may name an image: as written, without tag, without the default registry."""
    bare = name.partition("@")[0]
    head, _, tail = bare.rpartition("/")
    untagged = f"{head}/{tail.partition(':')[0]}" if head else tail.partition(":")[0]
    found = [name, bare, untagged]
    for prefix in ("docker.io/library/", "docker.io/", "index.docker.io/library/"):
        found += [form.removeprefix(prefix) for form in (name, bare, untagged) if form.startswith(prefix)]
    return list(dict.fromkeys(found))


def read_rows(text: str, where: str) -> list[Row]:
    """Rows of a mapping file: YAML with a list under `images`. MappingError names the row and the field."""
    import yaml  # a cluster starts without it

    try:
        document = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise MappingError(f"{where}: {error}") from None
    return check_rows((document or {}).get("images") if isinstance(document, dict) else document, where)


def check_rows(rows: Any, where: str) -> list[Row]:
    if not isinstance(rows, list):
        raise MappingError(f"{where}: expected a list of rows under `images`")
    checked = []
    for number, row in enumerate(rows):
        place = f"{where}: images[{number}]"
        if not isinstance(row, dict) or not isinstance(row.get("match"), str):
            raise MappingError(f"{place}: `match` is missing; give a glob such as example.com/app:*")
        unknown = sorted(set(row) - _FIELDS)
        if unknown:
            raise MappingError(
                f"{place}.{unknown[0]}: unknown field; allowed are {', '.join(sorted(_FIELDS))}"
            )
        for name in ("command", "args", "paths", "folders"):
            value = row.get(name)
            if value is not None and not (
                isinstance(value, list) and all(isinstance(word, str) for word in value)
            ):
                raise MappingError(f"{place}.{name}: {value!r} is not a list of strings")
        kinds = [name for name in ("rootfs", "oci", "python") if row.get(name)]
        if len(kinds) > 1:
            raise MappingError(f"{place}: {' and '.join(kinds)} exclude each other; choose one")
        checked.append(Row(row["match"], row))
    return checked


@cache
def stand_ins() -> list[Row]:
    """The names that every tutorial uses, as far as a host can serve them."""
    return read_rows((Path(__file__).parent / "data" / "stand_ins.yaml").read_text(), "stand_ins.yaml")


class ImageSource(Protocol):
    """Where a node's images come from."""

    def present(self, name: str) -> bool: ...
    def names(self) -> list[str]: ...
    async def resolve(self, name: str, policy: str = "IfNotPresent") -> Image: ...


class Images:
    """Resolves names. `folder` is where OCI images are unpacked."""

    def __init__(self, rows: Iterable[Row] = (), *, folder: Path, mapping: Path | None = None) -> None:
        self._rows = list(rows)
        self._folder = folder
        self._mapping = mapping
        self._seen: set[str] = set()

    def add(self, row: Mapping[str, Any]) -> None:
        """Put a row before all others."""
        self._rows[:0] = check_rows([dict(row)], "images.add")

    def present(self, name: str) -> bool:
        """Whether it was resolved before, as an image that need not be pulled again."""
        return name in self._seen

    def names(self) -> list[str]:
        return sorted(self._seen)

    async def resolve(self, name: str, policy: str = "IfNotPresent") -> Image:
        """The image; ImageError when no row serves the name or what the row names is not there."""
        if not _REFERENCE.fullmatch(name):
            raise ImageError(
                "InvalidImageName",
                f'Failed to apply default image tag "{name}": couldn\'t parse image name "{name}":'
                " invalid reference format",
            )
        image = await self._find(name)
        if image is None:
            if policy == "Never":
                raise ImageError(
                    "ErrImageNeverPull",
                    f'Container image "{name}" is not present with pull policy of Never',
                )
            raise ImageError(
                "ErrImagePull",
                f'nothing on this machine serves image "{name}": slipway images add {name} --command PROGRAM'
                " (or --python MODULE:FUNCTION, --rootfs FOLDER, --oci PATH)",
            )
        self._seen.add(name)
        return image

    async def _find(self, name: str) -> Image | None:
        rows = [*self._rows, *self._mapped(), *stand_ins()]
        for row in rows:
            if row.serves(name) and _possible(row):
                return await asyncio.to_thread(self._make, name, row)
        return None

    def _mapped(self) -> list[Row]:
        """The rows of the mapping file, read anew so that `slipway images add` works at once."""
        if self._mapping is None or not self._mapping.exists():
            return []
        return read_rows(self._mapping.read_text(), str(self._mapping))

    def _make(self, name: str, row: Row) -> Image:
        words = row.words
        if words.get("oci"):
            from slipway.cluster.nodes.oci_images import unpack

            try:
                image = unpack(name, Path(words["oci"]).expanduser(), self._folder)
            except (OSError, ValueError, KeyError) as error:
                raise ImageError("ErrImagePull", f'failed to unpack image "{name}": {error}') from None
            return _overlaid(image, words)
        layers: tuple[Path, ...] = ()
        if words.get("rootfs"):
            rootfs = Path(words["rootfs"]).expanduser()
            if not rootfs.is_dir():
                raise ImageError("ErrImagePull", f'image "{name}": rootfs folder {rootfs} does not exist')
            layers = (rootfs,)
        base = Image(name, _digest(words), layers=layers, env={"PATH": _PATH})
        return _overlaid(base, words)


class AnyImage:
    """Images of a simulated cluster: every name is one. They have a user, so that a pod that wants one may run."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def present(self, name: str) -> bool:
        return name in self._seen

    def names(self) -> list[str]:
        return sorted(self._seen)

    async def resolve(self, name: str, policy: str = "IfNotPresent") -> Image:
        self._seen.add(name)
        return Image(name, f"simulated://{name}", command=("simulated",), user=_NOBODY)


_NOBODY = "65532"  # as images without a shell commonly have it
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _overlaid(base: Image, words: Mapping[str, Any]) -> Image:
    """The image with what its row says on top."""
    entrypoint, command = base.entrypoint, base.command
    if words.get("python"):
        module, _, function = words["python"].partition(":")
        where = f"sys.path[:0] = {list(words.get('paths') or ())!r}"
        code = f"import sys; {where}; from {module} import {function or 'main'} as run; sys.exit(run())"
        entrypoint, command = (sys.executable, "-c", code), ()
    if words.get("command"):
        entrypoint, command = _words(words["command"]), ()
    if words.get("args") is not None:
        command = _words(words["args"])
    paths = [Path(word) for word in _words(words.get("paths") or ())]
    if words.get("python") or any("{python}" in word for word in words.get("command") or ()):
        paths += [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[4]]
    return Image(
        base.name,
        base.id,
        entrypoint,
        command,
        {**base.env, **{key: _words([str(value)])[0] for key, value in (words.get("env") or {}).items()}},
        words.get("workingDir") or base.working_dir,
        str(words.get("user", base.user)),
        base.layers,
        tuple(dict.fromkeys(paths)),
        tuple(words.get("folders") or ()),
    )


def visible_paths(image: Image) -> list[Path]:
    """What must be seen in a container wherever it lies on the host: the image's own folders, and on the host's
    root everything that this interpreter runs from, and the folder in which the cluster was started (a checkout below
    /tmp would be hidden otherwise)."""
    wanted = list(image.paths)
    if not image.layers:
        wanted += [Path(sys.prefix), Path(sys.base_prefix)]
        # Not / or all of /tmp, when that is where the cluster was started: `python -m` puts it into sys.path, too.
        started = [Path.cwd(), *(Path(entry) for entry in sys.path if entry)]
        wanted += [path for path in started if len(path.parts) > 2]
    kept: list[Path] = []
    for path in sorted({path.absolute() for path in wanted}, key=lambda path: len(path.parts)):
        if path.is_dir() and not any(path.is_relative_to(one) for one in kept):
            kept.append(path)
    return kept


def _words(given: Iterable[str]) -> tuple[str, ...]:
    out = []
    for word in given:
        for name, value in _WORDS.items():
            word = word.replace(name, value)
        out.append(word)
    return tuple(out)


def _possible(row: Row) -> bool:
    required = row.words.get("requires")
    return required is None or shutil.which(required) is not None


def _digest(words: Mapping[str, Any]) -> str:
    text = json.dumps(words, sort_keys=True, default=str)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

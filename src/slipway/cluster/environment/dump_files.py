"""Where a support dump goes: a folder, or a .tar.gz that is the same bytes for the same content. Only the user may read
either."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, cast

ARCHIVES = (".tar.gz", ".tgz")


class DumpError(Exception):
    """The dump cannot be written where it was asked for; the text says what to do."""


class DumpFiles(Protocol):
    def write(self, name: str, content: bytes) -> None:
        """A file; `name` is relative, with `/` between its parts."""


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, name: str, content: bytes) -> None:
        path = self._path / name
        for parent in reversed(Path(name).parents):  # mkdir(parents=True) would let others read those between
            (self._path / parent).mkdir(mode=0o700, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)


class _Archive:
    def __init__(self, archive: tarfile.TarFile, folder: str) -> None:
        self._archive = archive
        self._folder = folder

    def write(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(f"{self._folder}/{name}")
        member.size = len(content)
        member.mode = 0o600
        self._archive.addfile(member, io.BytesIO(content))


@contextlib.contextmanager
def dump_files(path: Path) -> Iterator[DumpFiles]:
    """Files below `path`, or in the archive that `path` names. Nothing that is there is overwritten, and no half
    archive stays behind."""
    ending = next((ending for ending in ARCHIVES if path.name.endswith(ending)), "")
    if not ending:
        _make_folder(path)
        yield _Folder(path)
        return
    with _new_file(path) as file:
        try:
            yield from _archived(file, path.name.removesuffix(ending))
        except BaseException:
            path.unlink()
            raise


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        taken = any(path.iterdir())
    except OSError as error:
        raise DumpError(f"{path}: {error.strerror or error}") from None
    if taken:
        raise DumpError(f"{path} is not empty: name a new folder, or a file that ends with .tar.gz")


def _new_file(path: Path) -> BinaryIO:
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except FileExistsError:
        raise DumpError(f"{path} exists already: remove it, or name another") from None
    except OSError as error:
        raise DumpError(f"{path}: {error.strerror or error}") from None


def _archived(file: BinaryIO, folder: str) -> Iterator[DumpFiles]:
    with (
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=cast(BinaryIO, packed), mode="w|") as archive,
    ):
        yield _Archive(archive, folder)

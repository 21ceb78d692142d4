"""Every error that the collector words for people, in one place."""

from __future__ import annotations

import os
from pathlib import Path


def os_reason(error: OSError) -> str:
    """What went wrong, in the operating system's words: "Connection refused"."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__


class SungatherError(Exception):
    """Base of all that a person may have to read. str() is the whole message."""


class ConfigError(SungatherError):
    """The config file cannot be used."""

    def __init__(self, path: Path | str, problem: str, *, line: int | None = None, key: str = "") -> None:
        self.path, self.problem, self.line, self.key = path, problem, line, key
        where = f"{path}, line {line}" if line else f"{path}"
        super().__init__(f"{where}: {key + ': ' if key else ''}{problem}")


class RegisterFileError(SungatherError):
    """The register file given with -r cannot be used."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"register file {path} {problem}")


class StateFolderError(SungatherError):
    """The folder for counters and queues cannot be used."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(
            f"state folder {path}: {problem}. Set collector: state_folder: in the config file to a folder "
            "that this user may write to"
        )


class AlreadyRunning(SungatherError):
    """Another collector already reads this inverter, or uses this state folder."""

    def __init__(self, what: str, pid: int | None) -> None:
        self.what, self.pid = what, pid
        who = f"process {pid}" if pid else "another process"
        super().__init__(
            f"{who} already collects from {what}. An inverter allows very few sessions: stop that process "
            "first, or ask it for a collection now (POST /api/collect-now)"
        )

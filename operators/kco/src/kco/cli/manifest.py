"""TargetApps in YAML files, for the subcommands that need no cluster."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kco.cli.main import Misuse
from kco.spec.targetapp import API_VERSION


@dataclass(frozen=True)
class Manifest:
    """One TargetApp and the file that it stands in."""

    path: Path
    name: str
    namespace: str
    spec: Any


@dataclass(frozen=True)
class Manifests:
    apps: list[Manifest]
    config_maps: dict[str, dict[str, str]]


def load(paths: list[str]) -> Manifests:
    """All TargetApps (and ConfigMaps, which may hold schemas) of files and folders."""
    apps: list[Manifest] = []
    config_maps: dict[str, dict[str, str]] = {}
    for path in _files(paths):
        try:
            documents = list(yaml.safe_load_all(path.read_text()))
        except OSError as failure:
            raise Misuse(f"{path}: {failure.strerror}") from None
        except (yaml.YAMLError, UnicodeDecodeError) as failure:
            raise Misuse(f"{path}: not YAML: {str(failure).splitlines()[0]}") from None
        for body in documents:
            if not isinstance(body, dict):
                continue
            metadata = body.get("metadata") if isinstance(body.get("metadata"), dict) else {}
            assert isinstance(metadata, dict)
            name = str(metadata.get("name") or "(no name)")
            if body.get("kind") == "ConfigMap":
                config_maps[name] = {str(k): str(v) for k, v in (body.get("data") or {}).items()}
            if body.get("kind") == "TargetApp":
                if body.get("apiVersion") != API_VERSION:
                    raise Misuse(
                        f"{path}: {name}: apiVersion {body.get('apiVersion')!r}, expected {API_VERSION}"
                    )
                apps.append(
                    Manifest(path, name, str(metadata.get("namespace") or "default"), body.get("spec"))
                )
    return Manifests(apps, config_maps)


def _files(paths: list[str]) -> list[Path]:
    found: list[Path] = []
    for text in paths:
        path = Path(text)
        if path.is_dir():
            found += sorted([*path.rglob("*.yaml"), *path.rglob("*.yml")])
        else:
            found.append(path)
    return found

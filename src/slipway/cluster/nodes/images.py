"""What image names mean here: declared mappings, a few stand-ins that every tutorial uses, else an honest failure.

There is no registry to pull from. A name resolves to the host's own root with a command, to a root file system,
or to an unpacked OCI layout; anything else fails as a kubelet does when a pull fails.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from slipway.cluster.nodes.runtime import Image


class ImageFailure(Exception):
    """The image cannot be had. The text is what the kubelet's Event says, with what to do about it."""


@dataclass(frozen=True, slots=True)
class Declared:
    """One mapping. `pattern` is a glob over the name without its tag. `root` None is the host's own root."""

    pattern: str
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    root: Path | None = None
    variables: Mapping[str, str] | None = None


def split_name(name: str) -> tuple[str, str]:
    """`registry/name` and tag or digest; the tag is `latest` when none is given."""
    base, at, digest = name.partition("@")
    head, slash, last = base.rpartition("/")
    last, colon, tag = last.partition(":")
    return f"{head}{slash}{last}", f"{at}{digest}" if at else (tag if colon else "latest")


def short_name(repository: str) -> str:
    """`docker.io/library/nginx` is `nginx`."""
    for prefix in ("docker.io/library/", "docker.io/", "registry.k8s.io/", "index.docker.io/library/"):
        if repository.startswith(prefix):
            return repository.removeprefix(prefix)
    return repository


# A web server like nginx's out of the box: answers on port 80 with a page that says who it is.
_WEB = (
    "import http.server,os,socket;"
    "root='/usr/share/nginx/html';"
    "page=b'<!DOCTYPE html><title>Welcome to nginx!</title><h1>Welcome to nginx!</h1>"
    "<p>This is the stand-in of slipway.</p>';\n"
    "class H(http.server.SimpleHTTPRequestHandler):\n"
    " def do_GET(self):\n"
    "  if self.path=='/' and not os.path.exists(root+'/index.html'):\n"
    "   self.send_response(200);self.send_header('Content-Type','text/html')\n"
    "   self.send_header('Content-Length',str(len(page)));self.end_headers();self.wfile.write(page)\n"
    "  else: super().do_GET()\n"
    "os.chdir(root if os.path.isdir(root) else '/tmp')\n"
    "http.server.ThreadingHTTPServer(('',int(os.environ.get('NGINX_PORT','80'))),H).serve_forever()"
)


def _stand_ins() -> list[Declared]:
    sleep = shutil.which("sleep") or "/bin/sleep"
    shell = shutil.which("sh") or "/bin/sh"
    return [
        Declared("pause", (sleep, "infinity")),
        Declared("busybox", (), (shell,)),
        Declared("alpine", (), (shell,)),
        Declared("debian", (), (shell,)),
        Declared("ubuntu", (), (shell,)),
        Declared("python", (), (sys.executable,)),
        Declared("nginx", (), (sys.executable, "-c", _WEB)),
        Declared("e2e-test-images/agnhost", (), (shell,)),
    ]


class ImageTable:
    """`declared` comes first, in order; the stand-ins after it."""

    def __init__(self, declared: list[Declared] | None = None) -> None:
        self._declared = list(declared or [])

    def declare(self, mapping: Declared) -> None:
        self._declared.insert(0, mapping)

    def resolve(self, name: str) -> Image:
        """The image of a container's `image` field; ImageFailure when nothing is declared for it."""
        repository, tag = split_name(name)
        short = short_name(repository)
        for mapping in [*self._declared, *_stand_ins()]:
            candidates = (repository, short, f"{short}:{tag}", name)
            if any(fnmatch.fnmatchcase(candidate, mapping.pattern) for candidate in candidates):
                digest = hashlib.sha256(repr(mapping).encode() + tag.encode()).hexdigest()
                variables = dict(mapping.variables or {})
                variables.setdefault("PATH", os.environ.get("PATH", os.defpath))
                return Image(
                    name, f"slipway://{repository}@sha256:{digest}", mapping.root, mapping.command,
                    mapping.arguments, variables,
                )  # fmt: skip
        raise ImageFailure(
            f'failed to pull image "{name}": no image of that name is declared on this cluster and there is no'
            f" registry to pull from; declare it: slipway up --image '{repository}=COMMAND' (or =ROOTFS-FOLDER)"
        )


def parse_declaration(text: str) -> Declared:
    """`PATTERN=COMMAND…` or `PATTERN=/folder/with/a/root/file/system`; ValueError says what is wrong."""
    import shlex

    pattern, equals, value = text.partition("=")
    if not equals or not pattern or not value:
        raise ValueError(f"{text!r}: write PATTERN=COMMAND or PATTERN=ROOTFS-FOLDER")
    folder = Path(value).expanduser()
    if folder.is_dir():
        return Declared(pattern, root=folder.absolute())
    return Declared(pattern, (), tuple(shlex.split(value)))

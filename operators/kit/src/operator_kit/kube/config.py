"""Which cluster to talk to, and as whom: from a kubeconfig, or from the pod's own service account."""

import asyncio
import base64
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import yaml

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class KubeConfigError(Exception):
    """No usable way to a cluster; the text says what was looked at and what to do."""


@dataclass(frozen=True)
class ExecCredential:
    """A program of the user's that prints a token (`users[].user.exec`)."""

    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    api_version: str = "client.authentication.k8s.io/v1"


@dataclass(frozen=True)
class ClusterConfig:
    """One cluster and one identity. File contents are PEM text; `token_file` is re-read when it rotates."""

    server: str
    certificate_authority: str | None = field(default=None, repr=False)
    client_certificate: str | None = field(default=None, repr=False)
    client_key: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    exec_credential: ExecCredential | None = None
    insecure: bool = False
    tls_server_name: str | None = None
    namespace: str = "default"
    source: str = "configuration"
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS settings, or None for plain http."""
        if not self.server.startswith("https:"):
            return None
        context = ssl.create_default_context(cadata=self.certificate_authority)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.client_certificate and self.client_key:
            # OpenSSL reads client certificates from files only; the file is gone before this returns.
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as pem:
                pem.write(self.client_certificate.rstrip() + "\n" + self.client_key)
                pem.flush()
                context.load_cert_chain(pem.name)
        return context

    async def bearer(self) -> str | None:
        """The token to send now: a file is read anew each time, so a rotated token is picked up."""
        if self.token:
            return self.token
        if self.token_file:
            return (await asyncio.to_thread(self.token_file.read_text)).strip()
        if self.exec_credential:
            return await _run_credential(self.exec_credential)
        return None


def discover(
    environment: Mapping[str, str], *, path: str | None = None, context: str | None = None
) -> ClusterConfig:
    """The cluster that this process should use: a named kubeconfig, `$KUBECONFIG`, in-cluster, `~/.kube/config`."""
    explicit = path or environment.get("KUBECONFIG")
    if explicit:
        return from_kubeconfig(Path(explicit.split(os.pathsep)[0]), context=context)
    if environment.get("KUBERNETES_SERVICE_HOST") and (SERVICE_ACCOUNT / "token").exists():
        return in_cluster(environment, SERVICE_ACCOUNT)
    home = Path(environment.get("HOME", "/")) / ".kube" / "config"
    if home.exists():
        return from_kubeconfig(home, context=context)
    raise KubeConfigError(
        "no cluster to talk to: KUBECONFIG is not set, this is not a pod with a service account, "
        f"and {home} does not exist. Set KUBECONFIG to a kubeconfig file"
    )


def in_cluster(environment: Mapping[str, str], folder: Path) -> ClusterConfig:
    """The pod's own service account."""
    host = environment["KUBERNETES_SERVICE_HOST"]
    host = f"[{host}]" if ":" in host else host
    port = environment.get("KUBERNETES_SERVICE_PORT", "443")
    namespace_file = folder / "namespace"
    return ClusterConfig(
        server=f"https://{host}:{port}",
        certificate_authority=(folder / "ca.crt").read_text(),
        token_file=folder / "token",
        namespace=namespace_file.read_text().strip() if namespace_file.exists() else "default",
        source=f"service account in {folder}",
    )


def from_kubeconfig(path: Path, *, context: str | None = None) -> ClusterConfig:
    """Read one context of a kubeconfig file."""
    try:
        text = path.read_text()
    except OSError as failure:
        raise KubeConfigError(f"kubeconfig {path}: {failure.strerror}") from None
    return parse_kubeconfig(text, source=str(path), folder=path.parent, context=context)


def parse_kubeconfig(
    text: str, *, source: str, folder: Path | None = None, context: str | None = None
) -> ClusterConfig:
    """Read one context of a kubeconfig's text; without `folder` it may not refer to files or programs."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        raise KubeConfigError(f"kubeconfig {source}: not YAML") from None
    if not isinstance(document, dict):
        raise KubeConfigError(f"kubeconfig {source}: not a kubeconfig (expected a mapping)")
    name = context or document.get("current-context") or ""
    chosen = _named(document, "contexts", "context", name, source)
    cluster = _named(document, "clusters", "cluster", str(chosen.get("cluster", "")), source)
    user = _named(document, "users", "user", str(chosen["user"]), source) if chosen.get("user") else {}
    if "server" not in cluster:
        raise KubeConfigError(f"kubeconfig {source}: cluster {chosen.get('cluster')!r} names no server")
    config = ClusterConfig(
        server=str(cluster["server"]).rstrip("/"),
        certificate_authority=_material(cluster, "certificate-authority", folder, source),
        client_certificate=_material(user, "client-certificate", folder, source),
        client_key=_material(user, "client-key", folder, source),
        token=user.get("token"),
        insecure=bool(cluster.get("insecure-skip-tls-verify", False)),
        tls_server_name=cluster.get("tls-server-name"),
        namespace=str(chosen.get("namespace") or "default"),
        source=source,
        username=user.get("username"),
        password=user.get("password"),
    )
    if folder is not None and user.get("tokenFile"):
        config = replace(config, token_file=folder / str(user["tokenFile"]))
    if user.get("exec"):
        if folder is None:
            raise KubeConfigError(f"kubeconfig {source}: exec credentials are not allowed here; use a token")
        config = replace(config, exec_credential=_exec_credential(user["exec"]))
    return config


def _named(document: dict[str, Any], section: str, key: str, name: str, source: str) -> dict[str, Any]:
    for entry in document.get(section) or []:
        if isinstance(entry, dict) and entry.get("name") == name:
            return dict(entry.get(key) or {})
    raise KubeConfigError(f"kubeconfig {source}: {section} has no entry named {name!r}")


def _material(entry: dict[str, Any], key: str, folder: Path | None, source: str) -> str | None:
    inline = entry.get(f"{key}-data")
    if inline:
        return base64.b64decode(inline).decode()
    if entry.get(key):
        if folder is None:
            raise KubeConfigError(f"kubeconfig {source}: {key} is a file name; use {key}-data here")
        try:
            return (folder / str(entry[key])).read_text()
        except OSError as failure:
            raise KubeConfigError(f"kubeconfig {source}: {key} {entry[key]}: {failure.strerror}") from None
    return None


def _exec_credential(entry: dict[str, Any]) -> ExecCredential:
    return ExecCredential(
        command=(str(entry["command"]), *[str(word) for word in entry.get("args") or []]),
        environment=tuple((str(pair["name"]), str(pair["value"])) for pair in entry.get("env") or []),
        api_version=str(entry.get("apiVersion", "client.authentication.k8s.io/v1")),
    )


async def _run_credential(credential: ExecCredential) -> str:
    info = {"apiVersion": credential.api_version, "kind": "ExecCredential", "spec": {"interactive": False}}
    process = await asyncio.create_subprocess_exec(
        *credential.command,
        stdout=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            **dict(credential.environment),
            "KUBERNETES_EXEC_INFO": orjson.dumps(info).decode(),
        },
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise KubeConfigError(f"credential program {credential.command[0]} failed with {process.returncode}")
    return str(orjson.loads(output)["status"]["token"])

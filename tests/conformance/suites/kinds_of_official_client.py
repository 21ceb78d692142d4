"""The official client makes, reads, lists, changes and deletes an object of every built-in kind that it has methods for.

Its answers are typed, so it raises where an answer is not of the kind that the published OpenAPI document promises.
Run by third_party_suites.py, in which the client is installed; kinds.yaml has the objects.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import inspect
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from kubernetes import client, config
from kubernetes.client.exceptions import ConflictException as Conflict
from kubernetes.client.exceptions import NotFoundException as NotFound

KINDS: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "kinds.yaml").read_text())
NAMESPACE = "kinds"
PATH = re.compile(r"resource_path='(/apis?/[^']+)'")


def families() -> Iterator[tuple[type, str, str]]:
    """Each class of the client with methods to create, read, list, patch and delete something, and what."""
    for name in dir(client):  # its classes are loaded when they are first asked for
        made = getattr(client, name) if name.endswith("Api") else None
        if not inspect.isclass(made):
            continue
        for method in sorted(vars(made)):
            found = re.fullmatch(r"create_((?:namespaced_)?(\w+))", method)
            if not found or method.endswith("with_http_info"):
                continue
            subject = found.group(1)
            if all(hasattr(made, f"{verb}_{subject}") for verb in ("read", "list", "patch", "delete")):
                source = inspect.getsource(getattr(made, f"_create_{subject}_serialize"))
                yield made, subject, PATH.search(source).group(1)


FAMILIES = list(families())


@pytest.fixture(scope="module")
def kinds() -> dict[tuple[str, str], str]:
    """The kind of each (group and version, plural) that the server serves."""
    config.load_kube_config()
    core = client.CoreV1Api()
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    api = client.ApiClient()
    paths = ["/api/v1"]
    for group in client.ApisApi().get_api_versions().groups:
        paths += [f"/apis/{version.group_version}" for version in group.versions]
    found = {}
    for path in paths:
        listed = json.loads(api.rest_client.pool_manager.request("GET", api.configuration.host + path).data)
        found |= {(listed["groupVersion"], row["name"]): row["kind"] for row in listed["resources"]}
    return found


def body(kind: str, api_version: str, name: str) -> dict[str, Any]:
    """The object of kinds.yaml, complete."""
    known = KINDS.get(f"{kind} {api_version}", KINDS.get(kind))
    assert known is not None, f"kinds.yaml has no {kind}"
    obj = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **filled(known, name)}
    obj["metadata"]["name"] = obj.pop("name", name)
    return obj


def filled(value: Any, name: str) -> Any:
    """The value with each {mark} that kinds.yaml explains replaced."""
    if isinstance(value, dict):
        return {filled(key, name): filled(inner, name) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, name) for inner in value]
    if not isinstance(value, str):
        return value
    value = value.replace("{name}", name).replace("{number}", str(sum(name.encode()) % 250))
    if value == "{request}":
        return base64.b64encode(certificate_request()).decode()
    if value == "{stub}":
        return base64.b64encode(certificate_request(bare=True, form=serialization.Encoding.DER)).decode()
    return certificate() if value == "{certificate}" else value


def certificate_request(bare: bool = False, form: Any = serialization.Encoding.PEM) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([] if bare else [x509.NameAttribute(x509.NameOID.COMMON_NAME, "a")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(form)


def certificate() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


class Methods:
    """The client's methods for one kind, by verb, in the namespace if the kind has one."""

    def __init__(self, made: type, subject: str) -> None:
        self.api, self.subject = made(), subject
        self.place = (NAMESPACE,) if subject.startswith("namespaced_") else ()

    def have(self, verb: str, part: str = "") -> bool:
        return hasattr(self.api, f"{verb}_{self.subject}{part}")

    def __call__(self, verb: str, *words: Any, part: str = "", **options: Any) -> Any:
        named = (
            0 if verb in {"create", "list"} else 1
        )  # their first word is the object's name, before its namespace
        words = (*words[:named], *self.place, *words[named:])
        return getattr(self.api, f"{verb}_{self.subject}{part}")(*words, **options)

    def replace(self, name: str) -> Any:
        """Written as it was read; again when a controller wrote in between."""
        for _ in range(10):
            with contextlib.suppress(Conflict):
                return self("replace", name, self("read", name))
        raise AssertionError(f"{self.subject} {name}: others wrote ten times between reading and replacing")

    def gone(self, name: str) -> bool:
        try:
            self("read", name)
        except NotFound:
            return True
        return False


@pytest.mark.parametrize(
    ("made", "subject", "path"), FAMILIES, ids=[f"{m.__name__}-{s}" for m, s, _ in FAMILIES]
)
def test_every_kind(kinds: dict[tuple[str, str], str], made: type, subject: str, path: str) -> None:
    parts = path.strip("/").split("/")
    api_version = "v1" if parts[0] == "api" else "/".join(parts[1:3])
    kind = kinds.get((api_version, parts[-1]))
    if kind is None:
        assert re.search("alpha|beta", api_version), f"{api_version} {parts[-1]} is not served"
        pytest.skip("an alpha or beta version, which is not served")
    call = Methods(made, subject)
    obj = body(kind, api_version, f"{made.__name__.removesuffix('Api')}{kind}".lower())
    name = obj["metadata"]["name"]

    created = call("create", obj)
    assert created.kind == kind
    assert created.metadata.name == name
    assert call("read", name).metadata.uid == created.metadata.uid
    # Not the whole list: an event that a controller wrote as v1 has no eventTime, without which this client cannot read
    # it as events.k8s.io/v1, from whichever server.
    listed = call("list", field_selector=f"metadata.name={name}").items
    assert [item.metadata.uid for item in listed] == [created.metadata.uid]
    patched = call("patch", name, {"metadata": {"labels": {"patched": "yes"}}})
    assert patched.metadata.labels["patched"] == "yes"
    if call.have("replace"):
        assert call.replace(name).metadata.name == name
    if call.have("read", "_status"):
        assert call("read", name, part="_status").metadata.name == name
    assert call("delete", name) is not None
    end = time.monotonic() + 20
    while not call.gone(name):
        assert time.monotonic() < end, f"{kind} {name} is still there"
        time.sleep(0.1)

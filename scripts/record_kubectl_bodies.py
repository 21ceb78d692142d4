"""Records the bodies that real kubectl sends, as `tests/cluster/schema/recorded/kubectl_bodies.json`.

    uv run python scripts/record_kubectl_bodies.py protobuf-kubectl json-kubectl

Each command runs twice against a small server that answers with what it is sent: once with a kubectl that sends
protobuf (1.32 or later) and once with one that still sends JSON (1.31 or earlier). The pairs say what protobuf
bodies mean.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from slipway.cluster.schema.builtin import load_catalogue
from slipway.cluster.schema.openapi import OpenApi
from slipway.cluster.schema.protobuf import decode, is_protobuf
from slipway.cluster.schema.resource import Resource

TARGET = Path(__file__).resolve().parent.parent / "tests/cluster/schema/recorded/kubectl_bodies.json"
CATALOGUE = load_catalogue()
OPENAPI = OpenApi(CATALOGUE, lambda _: None)
JsonObject = dict[str, Any]

COMMANDS = """
create configmap c --from-literal=a=b --from-literal=empty=
create secret generic s --from-literal=password=hunter2
create secret docker-registry r --docker-username=u --docker-password=p --docker-email=e@example.org
create namespace n
create serviceaccount sa
create quota q --hard=pods=3,requests.cpu=1500m,limits.memory=2Gi --scopes=BestEffort,NotTerminating
create service clusterip svc --tcp=80:8080 --tcp=443:https
create service clusterip headless --clusterip=None
create service nodeport svc --tcp=80 --node-port=30080
create service loadbalancer svc --tcp=5432:5432
create service externalname svc --external-name example.org
create deployment web --image=nginx:1.27 --replicas=3 --port=80
create deployment web --image=nginx --image=busybox --replicas=0
create job j --image=busybox -- sh -c true
create cronjob cj --image=busybox --schedule=*/5\u00a0*\u00a0*\u00a0*\u00a0* --restart=OnFailure -- date
create job from-cj --from=cronjob/cj
create ingress i --class=nginx --rule=example.org/path*=svc:80,tls=cert --default-backend=svc:http --annotation=a=b
create role r --verb=get,list --resource=pods,deployments.apps/scale --resource-name=x
create clusterrole cr --verb=* --non-resource-url=/healthz,/metrics
create clusterrole agg --aggregation-rule=team=a
create rolebinding rb --role=r --user=jane --group=devs --serviceaccount=ns:sa
create clusterrolebinding crb --clusterrole=cr --user=jane
create poddisruptionbudget pdb --selector=app=web --min-available=50%
create poddisruptionbudget pdb --selector=app=web --max-unavailable=1
create priorityclass pc --value=1000 --description=important --preemption-policy=Never
create priorityclass pc --value=0 --global-default
create token sa --audience=api --duration=3600s --bound-object-kind=Pod --bound-object-name=p
create token sa
auth can-i get pods/log
auth can-i get /healthz
auth can-i --list
auth whoami
autoscale deployment web --min=2 --max=5 --cpu-percent=80
certificate approve csr
debug node/node --image=busybox
""".strip().splitlines()

META = {"name": "", "namespace": "default", "uid": "5a8e6c0f-0000-4000-8000-000000000000"}
POD = {"spec": {"containers": [{"name": "c", "image": "i"}]}, "status": {"phase": "Running"}}
TEMPLATE = {"metadata": {"labels": {"app": "x"}}, **POD}
KNOWN: dict[str, JsonObject] = {
    "Pod": {**POD, "metadata": {"ownerReferences": []}},
    "Node": {"spec": {}, "status": {}},
    "Deployment": {
        "spec": {
            "selector": {"matchLabels": {"app": "x"}},
            "template": {k: TEMPLATE[k] for k in ("metadata", "spec")},
        }
    },
    "CronJob": {
        "spec": {
            "schedule": "@daily",
            "jobTemplate": {
                "metadata": {},
                "spec": {"template": {k: TEMPLATE[k] for k in ("metadata", "spec")}},
            },
        }
    },
    "CertificateSigningRequest": {
        "spec": {"request": "", "signerName": "x.io/y", "usages": []},
        "status": {},
    },
}


class Answers(BaseHTTPRequestHandler):
    """Discovery, made-up objects for GET, and each body back as JSON."""

    protocol_version = "HTTP/1.1"
    recorded: list[JsonObject] = []  # noqa: RUF012 - one list a subclass, see `recording`

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path, _, _ = self.path.partition("?")
        parts = path.strip("/").split("/")
        if path == "/version":
            self.answer({"major": "1", "minor": "37", "gitVersion": "v1.37.0"})
        elif path == "/api":
            self.answer({"kind": "APIVersions", "versions": ["v1"]})
        elif path == "/apis":
            self.answer({"kind": "APIGroupList", "apiVersion": "v1", "groups": list(groups())})
        elif parts[0] == "openapi":
            document = OPENAPI.index() if len(parts) == 2 else OPENAPI.document("/".join(parts[2:]))
            self.raw(document.content if document else b"{}", 200 if document else 404)
        elif parts[0] in ("api", "apis") and len(parts) == (2 if parts[0] == "api" else 3):
            self.answer(resource_list(parts))
        else:
            self.objects(parts)

    def objects(self, parts: list[str]) -> None:
        resource, name = locate(parts)
        content = KNOWN.get(resource.kind)
        if content is None:
            self.answer({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}, 404)
            return
        made = {
            **content,
            "kind": resource.kind,
            "apiVersion": resource.api_version,
            "metadata": {**META, **content.get("metadata", {}), "name": name or "some"},
        }
        if not name:
            made = {"kind": resource.list_kind, "apiVersion": resource.api_version, "items": [made]}
        self.answer(made)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        path, _, _ = self.path.partition("?")
        self.recorded.append(
            {
                "method": self.command,
                "path": path,
                "type": self.headers.get("content-type", ""),
                "body": base64.b64encode(body).decode() if is_protobuf(body) else json.loads(body or b"null"),
            }
        )
        content = decode(body) if is_protobuf(body) else json.loads(body or b"{}")
        if path.endswith("/token"):
            content["status"] = {"token": "t", "expirationTimestamp": None}
        self.answer(content if isinstance(content, dict) else {}, 201)

    do_PUT = do_PATCH = do_DELETE = do_POST

    def answer(self, content: JsonObject, status: int = 200) -> None:
        self.raw(json.dumps(content).encode(), status)

    def raw(self, content: bytes, status: int) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def groups() -> Iterator[JsonObject]:
    for group, versions in CATALOGUE.version_order.items():
        if group:
            listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
            yield {"name": group, "versions": listed, "preferredVersion": listed[0]}


def resource_list(parts: list[str]) -> JsonObject:
    group, version = ("", parts[1]) if parts[0] == "api" else (parts[1], parts[2])
    rows: list[JsonObject] = []
    for resource in CATALOGUE.of_version(group, version):
        row = {"name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced}
        row |= {"kind": resource.kind, "verbs": resource.verbs, "shortNames": resource.short_names}
        rows.append(row)
        for sub in resource.subresources:
            gvk = {"group": sub.group, "version": sub.version, "kind": sub.kind}
            rows.append(
                {**row, **gvk, "name": f"{resource.plural}/{sub.name}", "verbs": sub.verbs, "shortNames": []}
            )
    group_version = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "groupVersion": group_version, "resources": rows}


def locate(parts: list[str]) -> tuple[Resource, str]:
    """The resource and the object's name that a path means."""
    group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
    if rest[0] == "namespaces" and len(rest) > 2:
        rest = rest[2:]
    resource = CATALOGUE.find(group, version, rest[0])
    assert resource is not None, parts
    return resource, rest[1] if len(rest) > 1 else ""


@contextmanager
def recording() -> Iterator[tuple[str, list[JsonObject]]]:
    """(address, what was recorded so far) of a server on a free port of loopback."""
    recorded: list[JsonObject] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Recorder", (Answers,), {"recorded": recorded}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", recorded
    finally:
        server.shutdown()
        server.server_close()


def run(kubectl: str, command: str, address: str, home: str) -> str:
    """What kubectl complained of."""
    arguments = [argument.replace("\u00a0", " ") for argument in command.split(" ")]
    done = subprocess.run(
        [kubectl, f"--server={address}", "--request-timeout=5s", *arguments],
        env={"PATH": os.environ["PATH"], "HOME": home, "KUBECONFIG": f"{home}/none"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.stderr.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("protobuf", help="a kubectl of 1.32 or later")
    parser.add_argument("json", help="a kubectl of 1.31 or earlier")
    arguments = parser.parse_args()
    found: list[JsonObject] = []
    with tempfile.TemporaryDirectory() as home, recording() as (address, recorded):
        for command in COMMANDS:
            entry: JsonObject = {"command": command.replace("\u00a0", " ")}
            for key in ("protobuf", "json"):
                recorded.clear()
                complaint = run(getattr(arguments, key), command, address, home)
                entry[key] = list(recorded)
                types = sorted({request["type"] for request in recorded})
                print(f"{key:8} {command!r}: {len(recorded)} bodies {types} {complaint[:160]}")
            found.append(entry)
    TARGET.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

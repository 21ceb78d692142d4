#!/usr/bin/env python3
"""Replay recorded requests against an API server and compare its normalised answers with the recorded ones.

    replay.py --server https://127.0.0.1:6443 --token admin=TOKEN --token bob=TOKEN [--ca FILE] scenarios/*.json
    replay.py ... --record scenarios/*.json      write the server's answers into the files

A scenario is a list of steps run in order on a fresh namespace. `as` names whose token is used (`admin`: in
system:masters; `bob`: user bob, group dev, no rights). `save` keeps values of an answer for later steps (`${name}`).
A `loose` step compares status and reason only. Method WATCH opens a watch for `timeoutSeconds` and records the list of events. Values that differ from run to run
(uids, revisions, times, addresses, tokens, their issuer) are masked on both sides. Exit 0 when all agree, 1 when some differ.
"""

import argparse
import copy
import http.client
import json
import re
import ssl
import sys
import time
import urllib.parse
from pathlib import Path

MASK_KEYS = {
    "uid": "<uid>",
    "resourceVersion": "<rv>",
    "creationTimestamp": "<time>",
    "deletionTimestamp": "<time>",
    "time": "<time>",
    "lastTransitionTime": "<time>",
    "lastUpdateTime": "<time>",
    "expirationTimestamp": "<time>",
    "clusterIP": "<ip>",
    "continue": "<continue>",
    "token": "<token>",
    "firstTimestamp": "<time>",
    "lastTimestamp": "<time>",
    "evaluationError": "<text>",
}
UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
RV = re.compile(r"(resource ?version[^0-9]{0,40}|version: )\d+", re.I)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
POINTER = re.compile(r"0xc[0-9a-f]+")
ISSUER = re.compile(r"https://kubernetes\.default\.svc(\.cluster\.local)?")
AGE = re.compile(r"^(\d+[smhd])+$")


def mask(value, key=None):
    """Replace what changes from run to run; `key` is the field that holds `value`."""
    if key in MASK_KEYS and isinstance(value, str) and value:
        return MASK_KEYS[key]
    if key == "clusterIPs":
        return ["<ip>"]
    if key == "managedFields" and isinstance(
        value, list
    ):  # sorted by times, which may be a second apart or not
        return sorted((mask(v) for v in value), key=lambda v: json.dumps(v, sort_keys=True))
    if key == "cells":
        return ["<age>" if isinstance(v, str) and AGE.match(v) else mask(v) for v in value]
    if isinstance(value, dict):
        value = {k: mask(v, k) for k, v in value.items()}
        causes = (
            (value.get("details") or {}).get("causes") if isinstance(value.get("details"), dict) else None
        )
        if causes and len(causes) > 1:  # the order of several causes is not fixed
            causes.sort(key=json.dumps)
            value["message"] = value["message"].split(": [")[0] + ": [<causes>]"
        if str(value.get("kind", "")).endswith("List") and isinstance(value.get("items"), list):
            value["items"].sort(key=lambda item: item.get("metadata", {}).get("name", ""))
        if value.get("kind") == "APIResourceList":
            value["resources"].sort(key=lambda resource: resource["name"])
        return value
    if key == "reason" and isinstance(value, str) and value.startswith("RBAC: allowed by"):
        return "RBAC: allowed by <rule>"
    if isinstance(value, list):
        return [mask(v) for v in value]
    if isinstance(value, str):
        value = ISSUER.sub("<issuer>", value)  # an option of the server's
        value = POINTER.sub("<pointer>", RV.sub(r"\1<rv>", UID.sub("<uid>", value)))
        return TIME.sub("<time>", value) if key == "message" else value
    return value


def managers_in_order(value, key=None):
    """managedFields are sorted by times, which may be a second apart or not: here by what they say."""
    if isinstance(value, dict):
        return {k: managers_in_order(v, k) for k, v in value.items()}
    if not isinstance(value, list):
        return value
    if key == "managedFields":
        return sorted(value, key=lambda entry: json.dumps(entry, sort_keys=True))
    return [managers_in_order(v) for v in value]


def substitute(value, saved):
    if isinstance(value, str):
        return re.sub(r"\$\{(\w+)\}", lambda m: str(saved[m.group(1)]), value)
    if isinstance(value, dict):
        return {substitute(k, saved): substitute(v, saved) for k, v in value.items()}
    if isinstance(value, list):
        return [substitute(v, saved) for v in value]
    return value


def dig(value, path):
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


class Server:
    def __init__(self, url, tokens, ca):
        self.url, self.tokens = urllib.parse.urlsplit(url), tokens
        self.context = ssl.create_default_context(cafile=ca) if ca else ssl._create_unverified_context()

    def ask(self, who, method, path, headers, body):
        make = http.client.HTTPSConnection if self.url.scheme == "https" else http.client.HTTPConnection
        extra = {"context": self.context} if self.url.scheme == "https" else {}
        connection = make(self.url.hostname, self.url.port, timeout=30, **extra)
        send = {"Accept": "application/json", **headers}
        if who:
            send["Authorization"] = "Bearer " + self.tokens[who]
        if body is not None and "Content-Type" not in send:
            send["Content-Type"] = "application/json"
        data = body if isinstance(body, (str, type(None))) else json.dumps(body)
        connection.request("GET" if method == "WATCH" else method, path, data, send)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
        kind = (answer.getheader("Content-Type") or "").split(";")[0]
        connection.close()
        if method == "WATCH" and answer.status == 200:
            return answer.status, kind, [json.loads(line) for line in text.splitlines() if line.strip()]
        try:
            return answer.status, kind, json.loads(text)
        except ValueError:
            return answer.status, kind, text


def run(scenario, server, record, settle):
    """Run one scenario; yield (step number, wanted, got) for each step that differs."""
    saved = {"ns": scenario["namespace"]}
    server.ask("admin", "POST", "/api/v1/namespaces", {}, {"metadata": {"name": saved["ns"]}})
    for number, step in enumerate(scenario["steps"]):
        ask = substitute({k: step.get(k) for k in ("method", "path", "headers", "body")}, saved)
        status, kind, body = server.ask(
            step.get("as", "admin"), ask["method"], ask["path"], ask["headers"] or {}, ask["body"]
        )
        time.sleep(step.get("settle", 0) * settle)
        for name, path in (step.get("save") or {}).items():
            try:
                saved[name] = dig(body, path)
            except (KeyError, IndexError, TypeError, ValueError):
                saved[name] = "missing"
        got = {"status": status, "type": kind, "body": mask(copy.deepcopy(body))}
        if step.get("loose"):  # what the answer says in detail changes from run to run
            got["body"] = {"reason": body.get("reason")} if isinstance(body, dict) else {"length": len(body)}
        if record:
            step["answer"] = got
            continue
        wanted, got = managers_in_order(step["answer"]), managers_in_order(got)
        if got != wanted:
            yield number, wanted, got


def differences(wanted, got, at=""):
    if isinstance(wanted, dict) and isinstance(got, dict):
        for key in sorted(set(wanted) | set(got)):
            if key not in got:
                yield f"{at}.{key}: missing, wanted {json.dumps(wanted[key])[:160]}"
            elif key not in wanted:
                yield f"{at}.{key}: unexpected {json.dumps(got[key])[:160]}"
            else:
                yield from differences(wanted[key], got[key], f"{at}.{key}")
    elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        for i, (a, b) in enumerate(zip(wanted, got, strict=True)):
            yield from differences(a, b, f"{at}[{i}]")
    elif wanted != got:
        yield f"{at}: wanted {json.dumps(wanted)[:200]}, got {json.dumps(got)[:200]}"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", required=True)
    parser.add_argument("--token", action="append", default=[], metavar="WHO=TOKEN")
    parser.add_argument("--ca")
    parser.add_argument("--record", action="store_true")
    parser.add_argument(
        "--settle",
        type=float,
        default=0,
        help="share of each step's settling time to wait (a real server needs 1)",
    )
    parser.add_argument("--quiet", action="store_true", help="one line a file")
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    server = Server(options.server, dict(t.split("=", 1) for t in options.token), options.ca)
    total = wrong = 0
    for name in options.files:
        scenarios = json.loads(Path(name).read_text())
        bad = 0
        for scenario in scenarios:
            total += len(scenario["steps"])
            for number, wanted, got in run(scenario, server, options.record, options.settle):
                bad += 1
                if not options.quiet:
                    step = scenario["steps"][number]
                    print(f"{scenario['name']} step {number}: {step['method']} {step['path']}")
                    for line in list(differences(wanted, got))[:12]:
                        print("   ", line)
        wrong += bad
        print(f"{name}: {sum(len(s['steps']) for s in scenarios)} steps, {bad} differ")
        if options.record:
            Path(name).write_text(json.dumps(scenarios, indent=1, sort_keys=True))
    print(f"{total - wrong} passed, {wrong} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""kco explain: why a rule did or did not fire, from a cluster's TargetApp or from a manifest and a state."""

import argparse
import asyncio
import os
from pathlib import Path
from typing import Any

import orjson

from kco.cli.main import Misuse
from kco.cli.manifest import load
from kco.simulation.timeline import Simulation
from kco.spec.targetapp import GROUP, VERSION, InvalidSpec, read
from operator_kit.kube.client import KubeClient, Resource
from operator_kit.kube.config import KubeConfigError, discover
from operator_kit.kube.failure import ApiFailure


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="a TargetApp in the cluster")
    parser.add_argument("-n", "--namespace", default="default")
    parser.add_argument("--rule", help="this rule only")
    parser.add_argument("-f", "--file", help="a manifest, to be judged without a cluster")
    parser.add_argument(
        "--state", help="JSON file with a state (or a whole GraphQL answer); - for standard input"
    )
    parser.add_argument("--kubeconfig")
    parser.add_argument("--context")


def run(options: argparse.Namespace) -> int:
    if options.file:
        return _offline(options)
    if not options.name:
        raise Misuse("name a TargetApp, or give --file and --state")
    return asyncio.run(_from_cluster(options))


def _offline(options: argparse.Namespace) -> int:
    if not options.state:
        raise Misuse("--file needs --state")
    try:
        text = Path("/dev/stdin").read_text() if options.state == "-" else Path(options.state).read_text()
        state: Any = orjson.loads(text)
    except OSError as failure:
        raise Misuse(f"{options.state}: {failure.strerror}") from None
    except orjson.JSONDecodeError as failure:
        raise Misuse(f"{options.state}: not JSON: {failure}") from None
    state = state.get("data", state) if isinstance(state, dict) else state
    for app in load([options.file]).apps:
        if options.name not in (None, app.name):
            continue
        try:
            simulation = Simulation(read(app.spec))
        except InvalidSpec as invalid:
            raise Misuse(f"{app.path}: {invalid}") from None
        simulation.turn(state)
        simulation.advance(0)
        for rule, _, words in simulation.explain():
            if options.rule in (None, rule):
                print(f"{app.name} {rule}: {words}")
    return 0


async def _from_cluster(options: argparse.Namespace) -> int:
    try:
        config = discover(os.environ, path=options.kubeconfig, context=options.context)
        async with KubeClient(config, user_agent="kco-explain", attempts=1) as client:
            body = await client.get(Resource(GROUP, VERSION, "targetapps"), options.namespace, options.name)
            runs = await client.list(Resource(GROUP, VERSION, "actionruns"), options.namespace)
    except (KubeConfigError, ApiFailure) as failure:
        raise Misuse(str(failure)) from None
    status = body.get("status") or {}
    print(f"{options.name}: {status.get('state', 'Unknown')}, last poll {status.get('lastPolled', 'never')}")
    for condition in status.get("conditions") or []:
        print(f"  {condition['type']}={condition['status']} {condition['reason']}: {condition['message']}")
    memories = {(entry["name"], entry.get("instance", "")): entry for entry in status.get("rules") or []}
    for entry in status.get("explanations") or []:
        if options.rule not in (None, entry["rule"]):
            continue
        memory = memories.get((entry["rule"], entry.get("instance", "")), {})
        where = f" ({entry['instance']})" if entry.get("instance") else ""
        print(f"  rule {entry['rule']}{where}: {entry['text']}")
        for key in ("since", "lastFired", "breakerOpenUntil", "failures", "transitions"):
            if memory.get(key):
                print(f"      {key}: {memory[key]}")
    uid = body["metadata"]["uid"]
    for run in sorted(
        runs.get("items") or [], key=lambda item: str(item["metadata"].get("creationTimestamp"))
    ):
        spec, state = run["spec"], run.get("status") or {}
        if spec["targetRef"]["uid"] == uid and options.rule in (None, spec["rule"]):
            print(
                f"  run {run['metadata']['name']}: {state.get('phase', 'Pending')} {state.get('message', '')}"
            )
            print(f"      because {spec.get('reason', '')}")
    return 0

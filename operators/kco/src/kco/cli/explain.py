"""kco explain: why a rule did or did not fire, from a cluster's TargetApp or from a manifest and a state."""

import argparse
import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import orjson

from kco.cli.main import Misuse
from kco.cli.manifest import chosen, load
from kco.simulation.timeline import Simulation
from kco.spec.document import suggestion
from kco.spec.reading import InvalidSpec, read
from kco.spec.targetapp import GROUP, VERSION
from kco.spec.yaml_file import Unreadable, read_text
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
    if options.state:
        raise Misuse("--state needs --file: in a cluster the state is the application's own")
    if not options.name:
        raise Misuse("name a TargetApp, or give --file and --state")
    return asyncio.run(_from_cluster(options))


def _offline(options: argparse.Namespace) -> int:
    if not options.state:
        raise Misuse("--file needs --state")
    state = _state(options.state)
    apps = chosen(load([options.file]).apps, options.name, options.file)
    known: set[str] = set()
    for app in apps:
        try:
            spec = read(app.spec)
        except InvalidSpec as invalid:
            raise Misuse(f"{app.path}: {app.name}: {invalid}; see kco lint") from None
        if not spec.actions:
            print(f"{app.name}: it has no rules (spec.actions)")
        known |= {rule.rule for rule in spec.actions}
        simulation = Simulation(spec)
        simulation.turn(state)
        simulation.advance(0)
        for rule, _, words in simulation.explain():
            if options.rule in (None, rule):
                print(f"{app.name} {rule}: {words}")
    _check_rule(options.rule, known)
    return 0


def _state(name: str) -> Any:
    """The state in a JSON file, or in the answer that it came with."""
    try:
        text = sys.stdin.read() if name == "-" else read_text(Path(name))
        state: Any = orjson.loads(text)
    except Unreadable as failure:
        raise Misuse(str(failure)) from None
    except UnicodeDecodeError:
        raise Misuse("standard input is not text") from None
    except orjson.JSONDecodeError as failure:
        raise Misuse(f"{name}: not JSON: {failure}") from None
    if isinstance(state, dict) and isinstance(state.get("data"), dict):
        state = state["data"]
    if not isinstance(state, dict):
        raise Misuse(f"{name}: the state must be an object, as in the data of a GraphQL answer")
    return state


def _check_rule(asked: str | None, known: set[str]) -> None:
    if asked is not None and asked not in known:
        raise Misuse(f"no rule {asked!r}{suggestion(asked, sorted(known))}")


async def _from_cluster(options: argparse.Namespace) -> int:
    try:
        config = discover(os.environ, path=options.kubeconfig, context=options.context)
        async with KubeClient(config, user_agent="kco-explain", attempts=1) as client:
            body = await client.get(Resource(GROUP, VERSION, "targetapps"), options.namespace, options.name)
            runs = await client.list(Resource(GROUP, VERSION, "actionruns"), options.namespace)
    except (KubeConfigError, ApiFailure) as failure:
        raise Misuse(str(failure)) from None
    with contextlib.suppress(InvalidSpec):  # what is wrong with it is said by its conditions
        _check_rule(options.rule, {rule.rule for rule in read(body.get("spec")).actions})
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

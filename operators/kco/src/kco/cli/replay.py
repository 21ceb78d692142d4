"""kco replay: what would these rules have done over the recorded history?"""

import argparse
import asyncio

from kco.cli.main import Misuse
from kco.cli.manifest import chosen, load
from kco.cli.recorded import entries, moment
from kco.simulation.timeline import Moment, replay
from kco.spec.reading import InvalidSpec, read
from operator_kit.clock import to_rfc3339


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="manifest with the TargetApp whose rules are tried")
    parser.add_argument("--name", help="which TargetApp of the file, and of the history")
    parser.add_argument("-n", "--namespace", help="namespace of the history (default: the manifest's)")
    parser.add_argument("--url", help="history database (default: $KCO_HISTORY_URL)")
    parser.add_argument("--since", help="a time, or a length of time before now (7d)")
    parser.add_argument("--until")


def run(options: argparse.Namespace) -> int:
    apps = chosen(load([options.file]).apps, options.name, options.file)
    if len(apps) > 1:
        raise Misuse(f"{options.file}: {len(apps)} TargetApps; choose one with --name")
    app = apps[0]
    try:
        spec = read(app.spec)
    except InvalidSpec as invalid:
        raise Misuse(f"{options.file}: {app.name}: {invalid}; see kco lint") from None
    namespace = options.namespace or app.namespace
    rows = asyncio.run(
        entries(options.url, namespace, app.name, options.since, options.until, ("state", "down"))
    )
    timeline = [Moment(row.at, row.body if row.kind == "state" else None, row.instance) for row in rows]
    simulation = replay(spec, timeline, until=moment(options.until))
    if simulation is None:
        print(f"nothing is recorded of {namespace}/{app.name} in this time")
        return 0
    for happening in simulation.happened:
        what = f"{happening.rule} {happening.outcome} ({happening.action}): {happening.reason}"
        print(f"{to_rfc3339(happening.at)} {what}; {'; '.join(happening.findings)}")
    fired = sum(happening.outcome == "fired" for happening in simulation.happened)
    span = f"{to_rfc3339(simulation.start)} to {to_rfc3339(simulation.now)}"
    print(f"{len(timeline)} states, {span}: {fired} action{'s' if fired != 1 else ''} would have run")
    return 0

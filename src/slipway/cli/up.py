"""`slipway up`: start a cluster, in the foreground or detached."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from slipway.cli.errors import CommandError
from slipway.cluster.environment import addresses, instances
from slipway.cluster.environment.addresses import RangeError
from slipway.cluster.environment.listening import HostError, ListeningHost
from slipway.cluster.environment.options import HISTORY, ClusterOptions

RUNTIMES = ("auto", "namespaces", "process", "simulated")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="slipway", help="of the cluster; several run side by side")
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help="how many nodes (default 1)")
    parser.add_argument(
        "--state", default="memory", metavar="memory|PATH", help="where objects are kept (default memory)"
    )
    parser.add_argument(
        "--runtime", choices=RUNTIMES, default="auto", help="what pods are (default: the best here)"
    )
    parser.add_argument(
        "--behaviours",
        metavar="FILE",
        help="how simulated pods fare: a behaviour file, or Stages of KWOK; asks for --runtime simulated",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default loopback)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    parser.add_argument(
        "--http", action="store_true", help="serve plain http; loopback only, a token is still asked"
    )
    parser.add_argument(
        "--pod-range", default="", metavar="CIDR", help="addresses of pods (default: a free range)"
    )
    parser.add_argument(
        "--history",
        type=int,
        default=HISTORY,
        metavar="N",
        help="how many changes are kept for watches that resume (default %(default)s)",
    )
    parser.add_argument("--service-range", default="", metavar="CIDR", help="addresses of Services")
    parser.add_argument("--detach", "-d", action="store_true", help="return when the cluster is ready")


def options_of(arguments: argparse.Namespace) -> ClusterOptions:
    """The cluster that the arguments describe; CommandError with code 2 for what cannot be."""
    if not 0 <= arguments.nodes <= 5000:
        raise CommandError(f"--nodes {arguments.nodes}: give a number from 0 to 5000", 2)
    if not 0 <= arguments.port <= 65535:
        raise CommandError(f"--port {arguments.port}: give a number from 0 (any free port) to 65535", 2)
    if arguments.history < 100:
        raise CommandError(f"--history {arguments.history}: give at least 100 changes", 2)
    state = None if arguments.state == "memory" else Path(arguments.state).expanduser().absolute()
    if state is not None and not state.parent.is_dir():
        raise CommandError(f"--state {arguments.state}: the folder {state.parent} does not exist", 2)
    if state is not None and state.is_dir():
        raise CommandError(f"--state {arguments.state}: is a folder; name a file in it", 2)
    behaviours = _behaviours_of(arguments)
    try:
        folder = instances.folder_of(arguments.name)
        if arguments.pod_range:
            least = addresses.PODS_PER_NODE_LEAST * arguments.nodes
            addresses.check_range(arguments.pod_range, "--pod-range", addresses.host_routes(), least)
        if arguments.service_range:
            least = addresses.SERVICES_LEAST
            addresses.check_range(arguments.service_range, "--service-range", addresses.host_routes(), least)
        host = ListeningHost.of(arguments.host)
    except (HostError, RangeError) as error:
        raise CommandError(str(error), 2) from None
    if arguments.http and not host.is_loopback:
        raise CommandError(
            f"--http: served on loopback only, not on {arguments.host}; leave out --http or --host", 2
        )
    return ClusterOptions(
        name=arguments.name,
        nodes=arguments.nodes,
        runtime=arguments.runtime,
        state=state,
        host=arguments.host,
        port=arguments.port,
        tls=not arguments.http,
        pod_range=arguments.pod_range,
        service_range=arguments.service_range,
        window=arguments.history,
        images=instances.home() / "images.yaml",
        behaviours=behaviours,
        data=folder / "data",
    )


def _behaviours_of(arguments: argparse.Namespace) -> Path | None:
    if arguments.behaviours is None:
        return None
    if arguments.runtime != "simulated":
        raise CommandError(
            f"--behaviours {arguments.behaviours}: only simulated pods read it; add --runtime simulated", 2
        )
    # Imported here: most clusters have no such file, and start faster without.
    from slipway.cluster.nodes.simulated import BehaviourError
    from slipway.cluster.nodes.stages import read_behaviours

    path = Path(arguments.behaviours).expanduser().absolute()
    try:
        read_behaviours(path)
    except OSError as error:
        raise CommandError(f"--behaviours {arguments.behaviours}: {error.strerror or error}", 2) from None
    except BehaviourError as error:
        raise CommandError(f"--behaviours {error}", 2) from None
    return path


def run(arguments: argparse.Namespace) -> int:
    options = options_of(arguments)
    running = instances.read(options.name)
    if running is not None and running.running:
        raise CommandError(
            f"cluster {options.name!r} is running already (process {running.pid}); choose another --name, or"
            f" slipway down {options.name}"
        )
    if not ListeningHost.of(options.host).is_loopback:
        print(f"warning: {options.host} is reachable by others, who still need a credential", file=sys.stderr)
    if arguments.detach:
        return _detach(options)
    # Imported here: whoever only starts another process need not wait for the whole cluster's code.
    from slipway.cli.foreground import run_here

    return run_here(options, greeting)


def _detach(options: ClusterOptions) -> int:
    words = [word for word in sys.argv[2:] if word not in {"--detach", "-d"}]
    print(greeting(instances.detach(options.name, words)))
    return 0


def greeting(instance: instances.Instance) -> str:
    nodes = "1 node" if instance.nodes == 1 else f"{instance.nodes} nodes"
    return (
        f"cluster {instance.name} is ready at {instance.url} ({nodes}, {instance.runtime})\n"
        f"  export KUBECONFIG={instance.kubeconfig}"
    )

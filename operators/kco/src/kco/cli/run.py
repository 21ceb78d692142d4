"""kco run: the operator's process."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from kco.cli.main import Misuse
from kco.settings import PREFIX, Settings
from operator_kit.garbage import settle
from operator_kit.kube.config import KubeConfigError, discover
from operator_kit.logging import configure
from operator_kit.settings import SettingsError, load


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kubeconfig", help="kubeconfig file (default: $KUBECONFIG, in-cluster, ~/.kube/config)"
    )
    parser.add_argument("--context", help="context of the kubeconfig")
    parser.add_argument("--namespace", help="watch this namespace only")


def run(options: argparse.Namespace) -> int:
    environment = dict(os.environ)
    if options.namespace:
        environment[f"{PREFIX}NAMESPACE"] = options.namespace
    try:
        settings = load(Settings, prefix=PREFIX, environment=environment)
        config = discover(environment, path=options.kubeconfig, context=options.context)
    except (SettingsError, KubeConfigError) as failure:
        raise Misuse(str(failure)) from None
    from kco.operator.process import CannotStart, Operator
    from kco.targets.credentials import Redactor

    settle()
    redactor = Redactor()
    configure(operator="kco", level=settings.log_level, style=settings.log_format, redact=redactor)

    async def main() -> int:
        return await Operator(settings, config, redactor=redactor).run()

    try:
        return run_loop(main, uvloop=settings.use_uvloop)
    except CannotStart as failure:
        print(f"kco run: {failure}", file=sys.stderr)
        return 1


def run_loop(main: Callable[[], Coroutine[Any, Any, int]], *, uvloop: bool) -> int:
    """Run a coroutine function, on uvloop where it is installed and wanted."""
    factory = None
    if uvloop:
        try:
            import uvloop as implementation

            factory = implementation.new_event_loop
        except ImportError:
            factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        return int(runner.run(main()))

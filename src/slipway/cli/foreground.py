"""A cluster that lives in this process until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable

from slipway.cli.errors import CommandError
from slipway.cluster.environment import instances, open_files
from slipway.cluster.environment.addresses import RangeError
from slipway.cluster.environment.cluster_identity import IdentityError
from slipway.cluster.environment.embedded import ClusterError, EmbeddedCluster
from slipway.cluster.environment.kubeconfig import write_private
from slipway.cluster.environment.listening import HostError
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.nodes.runtime import RuntimeFailure
from slipway.cluster.store.journal import JournalError


def run_here(options: ClusterOptions, greeting: Callable[[instances.Instance], str]) -> int:
    """Serve until SIGINT, SIGTERM or the end of the terminal; what keeps it from starting becomes a CommandError."""
    limit = open_files.raise_limit()
    if 0 <= limit < open_files.ENOUGH:
        print(
            f"warning: this process may open {limit} files, and every connection takes one; raise the hard limit"
            " (ulimit -Hn) for more",
            file=sys.stderr,
        )
    try:
        with instances.claim(options.name):
            try:
                asyncio.run(_serve(options, greeting))
            finally:
                _tidy(options)
    except (
        ClusterError,
        HostError,
        IdentityError,
        JournalError,
        RangeError,
        RuntimeFailure,
        OSError,
    ) as error:
        raise CommandError(str(error)) from None
    return 0


def _tidy(options: ClusterOptions) -> None:
    """Without a state file nobody will ask for the pods' logs and volumes again."""
    if options.state is None and options.data is not None:
        shutil.rmtree(options.data, ignore_errors=True)
    with contextlib.suppress(OSError):
        instances.folder_of(options.name).rmdir()  # stays where there is a log in it


async def _serve(options: ClusterOptions, greeting: Callable[[instances.Instance], str]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup has it
        loop.add_signal_handler(signal.SIGHUP, stop.set)
    async with EmbeddedCluster(options) as cluster:
        instance = instances.Instance(
            options.name,
            os.getpid(),
            instances.start_time(os.getpid()),
            cluster.url,
            cluster.options.runtime,
            options.nodes,
            str(options.state or "memory"),
            time.time(),
        )
        write_private(instance.kubeconfig, cluster.kubeconfig())
        instances.write(instance)
        print(greeting(instance))
        sys.stdout.flush()
        await stop.wait()
        (instance.folder / "cluster.json").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        instance.kubeconfig.unlink()

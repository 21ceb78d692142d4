"""`slipway`: finds the command's module and runs it. Exit code 2 for bad input, 1 for failure, never a traceback."""

from __future__ import annotations

import argparse
import importlib
import keyword
import sys
from collections.abc import Sequence
from typing import Any

from slipway import __version__
from slipway.cli.errors import CommandError
from slipway.cluster.environment.instances import ClusterNameError, InstanceError

# Command: (module, what it is for). Modules are imported only when their command runs.
COMMANDS = {
    "up": "start a cluster",
    "down": "stop clusters and remove what they left",
    "status": "show the clusters of this user",
    "env": "print the shell commands that select a cluster",
    "kubeconfig": "print a cluster's kubeconfig, or its path",
    "logs": "show what a cluster's control plane said",
    "export": "write what was made in a cluster as YAML",
    "import": "make the objects of a YAML file in a cluster",
    "dump": "write all that a cluster can tell of its state, for support",
    "roles": "print the smallest roles that allow what a caller did",
    "images": "say what image names stand for on this machine",
    "doctor": "check this machine, and remove leftovers of clusters that were killed",
}


def build_parser(command: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="slipway",
        allow_abbrev=False,
        description="Kubernetes operators in Python: built, tried and tested without a cluster.",
    )
    parser.add_argument("--version", action="version", version=f"slipway {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, purpose in COMMANDS.items():
        described = purpose[0].upper() + purpose[1:] + "."
        sub = commands.add_parser(name, help=purpose, description=described, allow_abbrev=False)
        if name == command:
            _module(name).add_arguments(sub)
    return parser


def _module(command: str) -> Any:
    # `import` is a word of Python, and no module can have it as its name.
    return importlib.import_module(f"slipway.cli.{command}{'_' if keyword.iskeyword(command) else ''}")


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    command = next((word for word in arguments if not word.startswith("-")), None)
    try:
        parsed = build_parser(command).parse_args(arguments)
        return int(_module(parsed.command).run(parsed) or 0)
    except CommandError as error:
        return _failed(command, error, error.code)
    except InstanceError as error:
        return _failed(command, error, 2 if isinstance(error, ClusterNameError) else 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:  # a folder that is read-only, a disk that is full
        return _failed(command, error, 1)


def _failed(command: str | None, error: Exception, code: int) -> int:
    print(f"slipway {command}: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())

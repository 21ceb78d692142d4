"""kco: run, lint, test, replay, explain, rbac, history."""

import argparse
import importlib
import sys

COMMANDS = {
    "run": "run the operator",
    "lint": "check TargetApp manifests without a cluster",
    "test": "run scenario files in virtual time",
    "replay": "say what rules would have done over recorded history",
    "explain": "say why a rule did or did not fire",
    "rbac": "print the smallest Role for manifests",
    "history": "print recorded states and decisions",
}


class Misuse(Exception):
    """Bad input: printed as one line, exit code 2."""


def main(arguments: list[str] | None = None) -> int:
    """Parse, run one subcommand, turn known failures into one line and a code."""
    parser = argparse.ArgumentParser(prog="kco", description="Kubernetes Control Operator")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    given = sys.argv[1:] if arguments is None else arguments
    modules = {}
    for name, text in COMMANDS.items():
        own = subparsers.add_parser(name, help=text, description=text)
        # Only the subcommand that is asked for is imported: `kco lint` needs no kopf.
        if given and given[0] == name:
            modules[name] = importlib.import_module(f"kco.cli.{name}")
            modules[name].arguments(own)
    options = parser.parse_args(given)
    try:
        return int(modules[options.command].run(options))
    except Misuse as misuse:
        print(f"kco {options.command}: {misuse}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0

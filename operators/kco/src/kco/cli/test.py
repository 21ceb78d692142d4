"""kco test: run scenario files in virtual time."""

import argparse
from pathlib import Path

from kco.cli.main import Misuse
from kco.simulation import scenario


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", help="scenario files")
    parser.add_argument("-v", "--verbose", action="store_true", help="print every decision")


def run(options: argparse.Namespace) -> int:
    failed = 0
    for text in options.files:
        try:
            outcome = scenario.run(Path(text))
        except scenario.InvalidScenario as invalid:
            raise Misuse(str(invalid)) from None
        print(f"{'FAIL' if outcome.failures else 'ok'}    {text}")
        for failure in outcome.failures:
            print(f"        {failure}")
        if options.verbose and outcome.simulation is not None:
            for happening in outcome.simulation.happened:
                moment = scenario.spell(happening.at)
                print(f"        {moment:>8}  {happening.rule}  {happening.outcome}: {happening.reason}")
        failed += bool(outcome.failures)
    print(f"{len(options.files)} scenario{'s' if len(options.files) != 1 else ''}, {failed} failed")
    return 1 if failed else 0

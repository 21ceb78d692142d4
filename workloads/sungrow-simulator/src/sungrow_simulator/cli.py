"""Command line: runs one simulated inverter, and steers one that runs."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import json
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import yaml

from sungrow_simulator.dumps import DumpError, Replay
from sungrow_simulator.faults import Fault, FaultError, read_schedule
from sungrow_simulator.inverter import Inverter
from sungrow_simulator.profiles import ProfileError, all_profiles, profile
from sungrow_simulator.simulation import Model, Recorded, serve
from sungrow_simulator.steering import DEFAULT_PORT, SteeringError, ask
from sungrow_simulator.wire.opening import PORTS, ListenError, add_arguments, port_number

EXAMPLES = """examples:
  sungrow-simulator --profile SH10RT --fast 60 --modbus 5020      an hour passes in a minute
  sungrow-simulator --winet2 8443 --control                       a WiNet-S2, to be steered from another terminal
  sungrow-simulator fault silent --times 3                        ... its next three answers never come
  sungrow-simulator faults                                        what is scheduled, and the counters
  sungrow-simulator --profile SG10RT --start 12:00 --dump noon.json
  sungrow-simulator --replay noon.json --modbus 5020
"""
WRONG_USE, FAILED = 2, 1
DEFAULT_PROFILE = "SH10RT"


class UsageError(Exception):
    """What the person gave is wrong; the text says what is allowed."""


def main() -> None:
    """Entry point of `sungrow-simulator`."""
    words = sys.argv[1:]
    commands = {"fault": _fault, "faults": _faults, "dump": _dump}
    try:
        if not words or words[0].startswith("-"):
            _simulate(words)
        elif words[0] in commands:
            commands[words[0]](words[1:])
        else:
            raise UsageError(f"{words[0]!r} is no command: {_nearest(words[0], commands)}")
    except BrokenPipeError:  # who read the lines has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except (UsageError, ProfileError, FaultError, DumpError, ListenError) as error:
        _fail(str(error), WRONG_USE)
    except SteeringError as error:
        _fail(str(error), FAILED)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), WRONG_USE)


def _fail(text: str, code: int) -> NoReturn:
    print(f"sungrow-simulator: {text}", file=sys.stderr)
    sys.exit(code)


def _nearest(given: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(given, known := list(known), 1)
    return f"did you mean {near[0]}?" if near else f"choose {', '.join(known)}"


def parser() -> argparse.ArgumentParser:
    """The options of a simulation."""
    found = argparse.ArgumentParser(
        prog="sungrow-simulator",
        usage="sungrow-simulator [options]",
        description="A simulated Sungrow inverter with modules, battery, house and grid, that every client can read.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    plant = found.add_argument_group("the plant")
    plant.add_argument("--profile", metavar="MODEL", help=f"what is simulated (default {DEFAULT_PROFILE})")
    plant.add_argument("--list-profiles", action="store_true", help="show the models and end")
    plant.add_argument("--serial", type=_serial, metavar="TEXT", help="serial number, to tell several apart (default A2290300001)")  # fmt: skip
    plant.add_argument("--seed", type=int, default=1, metavar="N", help="of clouds and house: the same seed gives the same day")  # fmt: skip
    plant.add_argument("--latitude", type=_latitude, default=48.0, metavar="DEGREES", help="how high the sun climbs; south is negative (default %(default)g)")  # fmt: skip
    plant.add_argument("--replay", type=Path, metavar="FILE", help="serve the registers of a dump instead of a plant")  # fmt: skip
    time = found.add_argument_group("time")
    time.add_argument("--start", type=_start, default="05:00", metavar="WHEN", help="HH:MM of today, 2026-06-21T05:00, or now (default %(default)s)")  # fmt: skip
    time.add_argument("--fast", type=_speed, default=1.0, metavar="N", help="simulated seconds in a real one (default 1)")  # fmt: skip
    time.add_argument("--hours", type=_speed, metavar="N", help="end after so many simulated hours")
    more = found.add_argument_group("faults and recordings")
    more.add_argument("--faults", type=Path, metavar="FILE", help="schedule of what goes wrong on the wire (YAML)")  # fmt: skip
    more.add_argument("--control", type=port_number, nargs="?", const=DEFAULT_PORT, metavar="PORT", help=f"port on this machine by which `fault`, `faults` and `dump` steer it (without a value {DEFAULT_PORT})")  # fmt: skip
    more.add_argument("--dump", type=Path, metavar="FILE", help="write the registers, as they are after --hours, and end without listening")  # fmt: skip
    transports = add_arguments(found)
    transports.add_argument("--port", type=port_number, dest="modbus", metavar="PORT", help="the same as --modbus")  # fmt: skip
    transports.add_argument("--units", type=_units, metavar="N[,N]", help="unit ids that answer (default 1, or the dump's)")  # fmt: skip
    found.add_argument("--version", action="version", version=f"%(prog)s {version('sungrow-simulator')}")
    found.add_argument("--lines", action="store_true", help="a line for each quarter of an hour, also on a terminal")  # fmt: skip
    return found


def _simulate(words: list[str]) -> None:
    options = parser().parse_args(words)
    if options.list_profiles:
        print(profile_table())
        return
    subject = _subject(options)
    if options.faults is not None:
        for row in read_schedule(_yaml(options.faults), str(options.faults), subject.now):
            subject.faults.add(**row)
    if options.dump is not None:
        subject.advance((options.hours or 0) * 3600)
        options.dump.write_text(json.dumps(subject.dump(), indent=1) + "\n")
        print(f"{options.dump}: {subject.device.model} as at {subject.now:%Y-%m-%d %H:%M}")
        return
    asyncio.run(serve(options, subject))


def _subject(options: argparse.Namespace) -> Model | Recorded:
    if options.replay is not None:
        if options.profile or options.serial:
            raise UsageError(
                "--replay serves the model and serial number of the dump: leave --profile and --serial out"
            )
        return Recorded(Replay.load(options.replay), options.start)
    wanted = options.profile or DEFAULT_PROFILE
    try:
        found = profile(wanted)
    except ProfileError as error:
        near = difflib.get_close_matches(wanted.upper(), list(all_profiles()), 1, 0.5)
        raise UsageError(f"--profile: {error}" + (f" (did you mean {near[0]}?)" if near else "")) from None
    if options.serial is not None:
        found = replace(found, serial=options.serial)
    return Model(Inverter(found, options.start, options.seed, latitude=options.latitude))


def profile_table() -> str:
    """The models, one a line."""
    rows = [("MODEL", "KIND", "PHASES", "RATED", "MODULES", "BATTERY", "TYPE CODE")]
    for row in all_profiles().values():
        battery = f"{row.battery_wh / 1000:g} kWh" if row.battery_wh else "-"
        rated, peak = f"{row.rated_w / 1000:g} kW", f"{sum(row.peak_w) / 1000:g} kWp"
        rows.append((row.name, row.kind, str(row.phases), rated, peak, battery, f"0x{row.code:04X}"))
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _steering_parser(name: str, what: str) -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog=f"sungrow-simulator {name}", description=what, formatter_class=argparse.RawDescriptionHelpFormatter
    )  # fmt: skip
    found.add_argument("--control", type=port_number, default=DEFAULT_PORT, metavar="PORT", help="control port of the simulator (default %(default)s)")  # fmt: skip
    return found


def _fault(words: list[str]) -> None:
    found = _steering_parser("fault", "Schedule a fault in a simulator that runs with --control.")
    found.epilog = "faults:\n" + "\n".join(f"  {fault:21} {fault.meaning}" for fault in Fault)
    found.add_argument("name", metavar="FAULT", help="one of those below, or `clear` to forget all that is scheduled")  # fmt: skip
    found.add_argument("--times", type=int, metavar="N", help="for so many answers or connections (default: until clear)")  # fmt: skip
    found.add_argument("--skip", type=int, metavar="N", help="let so many pass first")
    found.add_argument("--at", metavar="HH:MM", help="from that simulated time of today on")
    found.add_argument("--seconds", type=float, metavar="N", help="for so many simulated seconds")
    found.add_argument("--on", dest="port", choices=list(PORTS), help="only on this transport")
    found.add_argument("--function", type=int, metavar="N", help="only for this Modbus function")
    options = vars(found.parse_args(words))
    port = options.pop("control")
    if options["name"] == "clear":
        _print_status(ask(port, {"do": "clear"}))
        return
    if options["name"] not in list(Fault):
        raise UsageError(f"fault {options['name']!r} is unknown: {_nearest(options['name'], Fault)}")
    row = {"fault": options.pop("name")} | {name: given for name, given in options.items() if given is not None}  # fmt: skip
    _print_status(ask(port, {"do": "fault", "row": row}))


def _faults(words: list[str]) -> None:
    found = _steering_parser("faults", "Show what is scheduled in a simulator that runs, and its counters.")
    _print_status(ask(found.parse_args(words).control, {"do": "status"}))


def _dump(words: list[str]) -> None:
    found = _steering_parser("dump", "Write the registers of a simulator that runs, as they are now.")
    found.add_argument("file", type=Path)
    options = found.parse_args(words)
    options.file.write_text(json.dumps(ask(options.control, {"do": "dump"}), indent=1) + "\n")
    print(options.file)


def _print_status(status: dict[str, Any]) -> None:
    print(f"simulated time  {status['now']}")
    for rule in status["scheduled"]:
        name = rule.pop("fault")
        print(f"scheduled       {name}  " + " ".join(f"{key}={value}" for key, value in rule.items()))
    for name, count in status["counters"].items():
        print(f"{name:32}{count}")


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise FaultError(f"{path}: line {line}: not YAML: {error.problem}") from None
    except (UnicodeDecodeError, yaml.YAMLError):
        raise FaultError(f"{path}: not a text, expected YAML") from None


def _start(text: str) -> datetime:
    now = datetime.now().replace(second=0, microsecond=0)
    if text == "now":
        return now
    try:
        if re.fullmatch(r"\d?\d:\d\d", text):
            return datetime.combine(now.date(), datetime.strptime(text, "%H:%M").time())
        return datetime.fromisoformat(text).replace(tzinfo=None, microsecond=0)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: write 05:00, 2026-06-21T05:00 or now"
        ) from None


def _speed(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, up to 1000000")
    return number


def _latitude(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 1000
    if not -90 <= number <= 90:
        raise argparse.ArgumentTypeError(f"{text!r} is not a latitude: allowed are -90 to 90")
    return number


def _serial(text: str) -> str:
    if not (1 <= len(text) <= 20 and text.isascii() and text.isalnum()):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no serial number: allowed are 1 to 20 letters and digits"
        )
    return text


def _units(text: str) -> tuple[int, ...]:
    numbers = text.split(",")
    if not all(number.strip().isdigit() and 0 <= int(number) <= 255 for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of unit ids such as 1,2: allowed are 0 to 255")
    return tuple(map(int, numbers))

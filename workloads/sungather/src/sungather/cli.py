"""The command line: upstream's flags, run-once, and the service."""

from __future__ import annotations

import argparse
import asyncio
import logging
import logging.handlers
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from sungather.api.server import serve
from sungather.application import Application, catalogue_for
from sungather.configuration.settings import Settings, load
from sungather.errors import SungatherError, os_reason
from sungather.exports.delivery import State
from sungather.exports.pvoutput import PvOutput
from sungather.lock import InverterLock
from sungather.registers.catalogue import Catalogue

log = logging.getLogger("sungather")

_EPILOG = """\
The config file is that of SunGather (inverter: and exports:), plus an optional collector: section.

examples:
  sungather -c config.yaml               collect until stopped (Ctrl-C or SIGTERM)
  sungather -c config.yaml --runonce     one collection; exit code 1 when nothing was read or an export failed
  sungather -c config.yaml -v 10         with every detail on standard error

exit codes: 0 fine; 1 config file, register file, state folder or run-once failed; 2 wrong command line.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(2, f"sungather: {message}; see sungather --help\n")


def parser() -> argparse.ArgumentParser:
    made = _Parser(
        prog="sungather",
        description="Reads a Sungrow inverter and exports its readings to MQTT, InfluxDB, PVOutput, Prometheus and a web page.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument(
        "-c", dest="config", metavar="FILE", default="config.yaml", help="config file (default: config.yaml)"
    )
    made.add_argument("-r", dest="registers", metavar="FILE", help="own register file, in SunGather's format")
    made.add_argument(
        "-l", dest="log_folder", metavar="FOLDER", default=".", help="folder for SunGather.log (default: .)"
    )
    made.add_argument(
        "-v",
        dest="level",
        metavar="0..50",
        type=_level,
        help="what is logged to standard error: 10 debug, 20 info (default on a terminal), 30 warning (default "
        "elsewhere), 40 error",
    )
    made.add_argument("--runonce", action="store_true", help="collect once, deliver, exit")
    made.add_argument("--version", action="version", version=f"sungather {version('sungather')}")
    return made


def _level(text: str) -> int:
    if not text.isdigit() or int(text) > 50:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 50")
    return int(text)


def configure_logging(settings: Settings, folder: Path, level: int | None) -> None:
    """Each line once on standard error, and in SunGather.log when the config asks for a file."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    form = logging.Formatter("%(asctime)s %(levelname)-8s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")
    console = logging.StreamHandler(sys.stderr)
    console.setLevel(_console_level(settings) if level is None else level)
    console.setFormatter(form)
    root.addHandler(console)
    root.setLevel(logging.DEBUG)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # what strangers send is not our fault
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    if settings.inverter.log_file == "OFF":
        return
    try:
        file = logging.handlers.RotatingFileHandler(
            folder / "SunGather.log", encoding="utf-8", maxBytes=10_485_760, backupCount=10
        )
    except OSError as error:
        log.warning("no log file in %s: %s", folder, os_reason(error))
        return
    file.setLevel(settings.inverter.log_file)
    file.setFormatter(form)
    root.addHandler(file)


def _console_level(settings: Settings) -> str:
    """As the config says; a person before a terminal who said nothing is shown what goes on."""
    said = "inverter.log_console" in settings.lines
    return "INFO" if sys.stderr.isatty() and not said else settings.inverter.log_console


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    options = parser().parse_args(arguments)
    try:
        settings = load(Path(options.config))
        configure_logging(settings, Path(options.log_folder), options.level)
        for warning in settings.warnings:
            log.warning("%s", warning)
        catalogue = catalogue_for(settings, Path(options.registers) if options.registers else None)
        lock = InverterLock(settings.inverter.host, settings.inverter.port)
        try:
            return asyncio.run(_run(settings, catalogue, once=options.runonce))
        finally:
            lock.close()
    except SungatherError as error:
        print(f"sungather: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


async def _run(settings: Settings, catalogue: Catalogue, *, once: bool) -> int:
    application = Application(settings, catalogue)
    try:
        return await (_once(application) if once else _service(application))
    finally:
        await application.stop()


async def _service(application: Application) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serve(application):
        await application.start()
        await stop.wait()
        log.info("stopping")
        await application.stop()
    return 0


async def _once(application: Application) -> int:
    for exporter in application.exporters:
        if isinstance(exporter.destination, PvOutput):
            exporter.destination.flush = True
    await application.start(collecting=False)
    cycle = await application.collector.collect()
    if cycle.snapshot is None:
        print(f"sungather: nothing was read: {cycle.error}", file=sys.stderr)
        return 1
    patience = 3 * application.settings.inverter.timeout
    drained = await asyncio.gather(*(e.drain(patience) for e in application.exporters))
    failed = [
        e
        for e, ok in zip(application.exporters, drained, strict=True)
        if not ok or e.status.state is State.BLOCKED
    ]
    rejected = [e for e in application.exporters if e not in failed and e.outbox.counts["rejected"]]
    for exporter in (*failed, *rejected):
        print(f"sungather: export {exporter.name} failed: {exporter.status.last_error}", file=sys.stderr)
    return 1 if failed or rejected else 0

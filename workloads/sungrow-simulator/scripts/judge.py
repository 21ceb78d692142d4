"""Judge: lets programs that others wrote read the simulator, and prints what they saw beside what it holds.

    python workloads/sungrow-simulator/scripts/judge.py --upstream FOLDER [--work FOLDER]

FOLDER is a checkout of upstream's SunGather (the folder that holds SunGather/sungather.py). The clients come from PyPI
into virtual environments below --work; nothing of them is imported here. http mode uses the fixed ports 80 and 8082 on
an own loopback address, for which it needs the right to open port 80.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
import venv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from sungrow_simulator.inverter import Inverter
from sungrow_simulator.wire.answers import Answers
from sungrow_simulator.wire.dongle import Device
from sungrow_simulator.wire.opening import Servers, add_arguments, start

HOST = "127.53.7.1"
NOON = datetime(2026, 6, 1, 12, 30, 15)
ENVIRONMENTS = {
    "upstream": ["SungrowClient==0.1.0", "pymodbus==2.5.3", "paho-mqtt~=2.0", "influxdb-client~=1.0", "PyYAML~=6.0", "websocket-client~=1.0", "requests~=2.0"],
    "pymodbus": ["pymodbus==3.16.1"],
    "winet": ["sungrow-websocket==0.2.2", "websockets<14", "python-intelbras-solar-local==0.2.0"],
}  # fmt: skip
MODES = {
    "modbus": ["--modbus", "0"],
    "sungrow": ["--sungrow", "0"],
    "http": ["--winet", "8082", "--winet-http", "80"],
}
EMS_MODE_FORCED, POWER_LIMIT_ON = (13050, 2), (5007, 0xAA)
KNOWN = "SH10RT,SH5.0RT,SH5.0RS,SG10RT,SG5.0RS,SG5K-D,SG10KTL,SG110CX"
"""The profiles whose type codes upstream knows."""
CLOCK = {"year", "month", "day", "hour", "minute", "second"}
OWN = {"run_state", "timestamp", "last_reset", "export_to_grid", "import_from_grid", "daily_export_to_grid", "daily_import_from_grid"}  # fmt: skip
"""What upstream computes itself: there is no register to compare with."""


class Verdict:
    """What one client saw of one inverter."""

    def __init__(self, client: str, mode: str, profile: str) -> None:
        self.client, self.mode, self.profile = client, mode, profile
        self.result, self.good = "", False

    def say(self, good: bool, result: str) -> Verdict:
        self.good, self.result = good, result
        return self


def table(verdicts: list[Verdict]) -> str:
    """One line for each client and mode; a profile that it could not read has one of its own."""
    lines = ["| Client | Mode | Result | What was equal |", "|---|---|---|---|"]
    lines += [
        f"| {bad.client} | {bad.mode} | DOES NOT READ {bad.profile} | {bad.result} |"
        for bad in verdicts
        if not bad.good
    ]
    read: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in verdicts:
        if verdict.good:
            read.setdefault((verdict.client, verdict.mode), []).append(verdict)
    for (client, mode), good in read.items():
        results = {each.result for each in good}
        what = results.pop() if len(results) == 1 else ", ".join(f"{v.profile} {v.result}" for v in good)
        lines.append(f"| {client} | {mode} | reads all {len(good)} | {what} |")
    return "\n".join(lines)


class Judge:
    """Runs foreign clients against one frozen inverter after another."""

    def __init__(self, upstream: Path, work: Path) -> None:
        self._upstream, self._work = upstream / "SunGather", work
        self._map = yaml.safe_load((self._upstream / "registers-sungrow.yaml").read_text())

    async def everything(self, profiles: list[str]) -> list[Verdict]:
        for name, packages in ENVIRONMENTS.items():
            await self._environment(name, packages)
        verdicts = []
        for profile in profiles:
            print(profile, file=sys.stderr)
            inverter = Inverter(profile, NOON)
            verdicts += [await self._served(mode, inverter, profile, self._sungather) for mode in MODES]
            verdicts += [
                await self._served("modbus", inverter, profile, self._pymodbus),
                await self._served("sungrow", inverter, profile, self._tcp_client),
                await self._served("http", inverter, profile, self._web_client),
                await self._served("http", inverter, profile, self._websocket),
                await self._served("http", inverter, profile, self._datalogger),
            ]
        return verdicts

    async def _environment(self, name: str, packages: list[str]) -> None:
        folder = self._work / name
        if not (folder / "ready").exists():
            venv.create(folder, with_pip=True, clear=True)
            await _run(folder / "bin/python", "-m", "pip", "install", "-q", *packages)
            (folder / "ready").write_text("\n".join(packages))

    def _python(self, name: str) -> Path:
        return self._work / name / "bin/python"

    async def _served(self, mode: str, inverter: Inverter, profile: str, client: Any) -> Verdict:
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        options = parser.parse_args([*MODES[mode], "--host", HOST])
        verdict = Verdict(client.__doc__, mode, profile)
        model = inverter.profile
        device = Device(model.model, model.code, model.serial, model.hybrid)
        try:
            servers = await start(options, Answers(inverter), device, NOON.date, inverter.faults)
        except PermissionError as error:
            return verdict.say(False, f"not tried: {error.strerror}; http mode needs port 80")
        try:
            return await client(verdict, servers, inverter, model.serial)
        except (RuntimeError, TimeoutError) as error:
            return verdict.say(False, str(error).strip()[-300:].replace("\n", " "))
        finally:
            await servers.stop()

    async def _sungather(
        self, verdict: Verdict, servers: Servers, inverter: Inverter, serial: str
    ) -> Verdict:
        """SunGather 0.5.2, `--runonce`, level 2"""
        config = self._work / "config.yaml"
        port = next(iter(servers.listeners.values())).port
        inverter_part = {"host": HOST, "port": port, "connection": verdict.mode, "level": 2, "timeout": 3, "retries": 1}  # fmt: skip
        exports = [{"name": "console", "enabled": True}]
        config.write_text(yaml.safe_dump({"inverter": inverter_part, "exports": exports}))
        out = await _run(
            self._python("upstream"), "sungather.py", "-c", str(config), "--runonce", cwd=self._upstream
        )
        lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in out.splitlines()]
        settings = {cells[0]: cells[1] for cells in lines if len(cells) == 2}
        seen = {cells[1]: cells[2] for cells in lines if len(cells) == 3}
        expected = self._expected(inverter)
        compared = {n: v for n, v in seen.items() if n in expected and n not in CLOCK}
        wrong = {n: (v, expected[n]) for n, v in compared.items() if v not in expected[n]}
        problems = [f"{name}: {got}, the register says {wanted}" for name, (got, wanted) in wrong.items()]
        if settings.get("model") != verdict.profile:
            problems.append(f"model {settings.get('model')}")
        if settings.get("serial_number") != serial[:10]:
            problems.append(f"serial {settings.get('serial_number')}")
        if len(compared) < 10:
            problems.append(f"only {len(compared)} values")
        for name, watts in _flows(inverter).items():
            if seen.get(name, f"{watts} W") != f"{watts} W":
                problems.append(f"{name}: {seen[name]}, the plant has {watts} W")
        return verdict.say(not problems, "; ".join(problems) or f"{len(compared)} values")

    def _expected(self, inverter: Inverter) -> dict[str, set[str]]:
        """What each of upstream's registers holds by upstream's own map; a name may stand at several addresses."""
        expected: dict[str, set[str]] = {}
        for rows, table in ((self._map["registers"][0]["read"], "input"), (self._map["registers"][1]["hold"], "holding")):  # fmt: skip
            words = inverter.words(table)
            for row in rows:
                expected.setdefault(row["name"], set()).add(
                    f"{_decode(row, words)} {row.get('unit', '')}".strip()
                )
        return expected

    async def _client(self, environment: str, script: str, *arguments: object) -> Any:
        path = Path(__file__).parent / "judge" / script
        return json.loads(await _run(self._python(environment), str(path), *map(str, arguments)))

    async def _pymodbus(self, verdict: Verdict, servers: Servers, inverter: Inverter, serial: str) -> Verdict:
        """pymodbus 3.16.1"""
        written = EMS_MODE_FORCED if inverter.profile.hybrid else POWER_LIMIT_ON
        seen = await self._client(
            "pymodbus", "with_pymodbus.py", HOST, servers.listeners["modbus"].port, *written
        )
        words = inverter.words("input")
        wanted = {"code": words[5000], "serial": serial, "outside": 2, "function": 1, "written": True}
        what = "type code, serial, exceptions 1 and 2, a write that is read back"
        return verdict.say(seen == wanted, what if seen == wanted else json.dumps(seen))

    async def _tcp_client(
        self, verdict: Verdict, servers: Servers, inverter: Inverter, serial: str
    ) -> Verdict:
        """SungrowModbusTcpClient 0.1.6"""
        seen = await self._client("upstream", "with_tcp_client.py", HOST, servers.listeners["sungrow"].port)
        words = inverter.words("input")
        good = seen["encrypted"] and seen["words"] == [words.get(a, 0) for a in range(5000, 5000 + 38)]
        return verdict.say(good, f"{len(seen['words'])} words from 5000 on, encrypted {seen['encrypted']}")

    async def _web_client(
        self, verdict: Verdict, servers: Servers, inverter: Inverter, serial: str
    ) -> Verdict:
        """SungrowModbusWebClient 0.3.2"""
        seen = await self._client("upstream", "with_web_client.py", HOST, 8082)
        words = inverter.words("input")
        good = seen["words"] == [words.get(a, 0) for a in range(5000, 5000 + 38)]
        good = good and seen["dev_code"] == words[5000]
        return verdict.say(good, f"{len(seen['words'])} words from 5000 on, the type code in the list of devices")  # fmt: skip

    async def _websocket(
        self, verdict: Verdict, servers: Servers, inverter: Inverter, serial: str
    ) -> Verdict:
        """sungrow-websocket 0.2.2"""
        seen = await self._client("winet", "with_websocket.py", HOST, 8082)
        words = inverter.words("input")
        power = f"{(words[5017] + (words[5018] << 16)) / 1000:.2f}"
        return verdict.say(seen.get("total_dcpower") == power, "the DC power" if seen.get("total_dcpower") == power else json.dumps(seen))  # fmt: skip

    async def _datalogger(
        self, verdict: Verdict, servers: Servers, inverter: Inverter, serial: str
    ) -> Verdict:
        """python-intelbras-solar-local 0.2.0 (a rebranded WiNet-S)"""
        seen = await self._client("winet", "with_datalogger.py", HOST, 8082, 80)
        return verdict.say(
            seen["model"] == verdict.profile,
            f"model in the list of devices, the dongle's firmware {seen['firmware']}",
        )


def _flows(inverter: Inverter) -> dict[str, int]:
    """What the plant itself does, whatever its registers say, by upstream's names."""
    flows = inverter.plant.flows
    found = {"total_dc_power": flows.pv_w, "total_active_power": flows.ac_w}
    if inverter.profile.hybrid:
        found |= {"load_power_hybrid": flows.load_w, "export_power_hybrid": flows.export_w}
    return found


def _decode(row: dict[str, Any], words: dict[int, int]) -> object:
    """A register's value as upstream shows it: missing is 0, and a serial has five words (its known defects)."""
    address, kind = row["address"], row.get("datatype")
    low, high = words.get(address, 0), words.get(address + 1, 0)
    value: Any = low
    if kind == "UTF-8":
        value = _text(words, address, 5)
    elif kind == "U32":
        value = 0 if (low, high) == (0xFFFF, 0xFFFF) else low + (high << 16)
    elif kind == "S32":
        value = low + (high << 16)
        value = 0 if low == 0xFFFF and high in (0xFFFF, 0x7FFF) else value - (1 << 32) * (high >> 15)
    elif kind == "S16":
        value = 0 if low in (0xFFFF, 0x7FFF) else low - (1 << 16) * (low >> 15)
    elif low == 0xFFFF:
        value = 0
    if kind == "U16" and row.get("mask"):
        value = int(bool(value & row["mask"]))
    if row.get("datarange"):
        value = {each["response"]: each["value"] for each in row["datarange"]}.get(low, row.get("default"))
    return round(value * row["accuracy"], 2) if row.get("accuracy") else value


def _text(words: dict[int, int], address: int, count: int) -> str:
    raw = b"".join(words.get(address + at, 0).to_bytes(2, "big") for at in range(count))
    return raw.rstrip(b"\0").decode()


async def _run(*command: object, cwd: Path | None = None) -> str:
    process = await asyncio.create_subprocess_exec(
        *map(str, command), cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(300):
            out, problems = await process.communicate()
    except TimeoutError:
        process.kill()
        raise
    if process.returncode:
        raise RuntimeError(problems.decode()[-2000:])
    return out.decode()


def main() -> None:
    """Print the table; exit 1 when somebody could not read the simulator."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--upstream", type=Path, required=True, help="checkout of upstream's SunGather")
    parser.add_argument("--work", type=Path, default=Path("/tmp/sungrow-judge"), help="where the clients are installed (default %(default)s)")  # fmt: skip
    parser.add_argument("--profiles", default=KNOWN, help="simulated models (default %(default)s)")
    options = parser.parse_args()
    if not (options.upstream / "SunGather" / "registers-sungrow.yaml").exists():
        parser.error(
            f"--upstream: {options.upstream} is no checkout of SunGather: it has no SunGather/registers-sungrow.yaml"
        )
    judge = Judge(options.upstream.resolve(), options.work.resolve())
    verdicts = asyncio.run(judge.everything(options.profiles.split(",")))
    print(f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}: {options.profiles}\n")
    print(table(verdicts))
    sys.exit(not all(verdict.good for verdict in verdicts))


if __name__ == "__main__":
    main()

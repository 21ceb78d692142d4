"""The register and device tables, loaded from the data files beside this module or from an owner's file.

An owner's file (`-r`) is in the format of upstream SunGather's registers-sungrow.yaml.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from sungather.errors import RegisterFileError, os_reason
from sungather.registers.history import Period
from sungather.registers.register import DataType, Device, Kind, Register

_WORDS = {DataType.U16: 1, DataType.S16: 1, DataType.U32: 2, DataType.S32: 2, DataType.TEXT: 10}


@dataclass(frozen=True)
class Family:
    """A series of models that share a register map."""

    name: str
    title: str
    phases: int
    mppts: int
    strings: int


@dataclass(frozen=True)
class Catalogue:
    """All registers in file order, and the devices by type code."""

    registers: tuple[Register, ...]
    devices: Mapping[int, Device]
    families: Mapping[str, Family]
    ranges: tuple[tuple[int, int, str], ...]
    sources: Mapping[str, str]

    def device(self, code: int) -> Device:
        """The device of a type code. An unknown code gets the family of its range, and `known` False."""
        if code in self.devices:
            return self.devices[code]
        name = next((f for first, last, f in self.ranges if first <= code <= last), "SG-etc")
        family = self.families[name]
        return Device(
            code, f"unknown-0x{code:04X}", name, family.phases, family.mppts, family.strings, known=False
        )

    def model(self, name: str) -> Device | None:
        """The device that a model's name stands for, as written in a config file."""
        wanted = name.replace(".", "").replace("-", "").lower()
        for device in self.devices.values():
            if device.model.replace(".", "").replace("-", "").lower() == wanted:
                return device
        return self._also.get(wanted)

    @property
    def _also(self) -> dict[str, Device]:
        return _second_names(self)

    def models(self) -> list[str]:
        return sorted({d.model for d in self.devices.values()} | {n for n, _ in _second_name_rows()})


@cache
def built_in() -> Catalogue:
    """The catalogue that ships with the collector."""
    folder = files("sungather.registers")
    table = _load((folder / "registers.yaml").read_text("utf-8"))
    devices = _load((folder / "devices.yaml").read_text("utf-8"))
    families = {name: Family(name, **row) for name, row in devices["families"].items()}
    ranges = tuple((r["first"], r["last"], r["family"]) for r in devices["ranges"])
    by_code = {r["code"]: _device(r["code"], r["model"], families[r["family"]]) for r in devices["devices"]}
    return Catalogue(
        registers=tuple(register_from_row(row) for row in table["registers"]),
        devices=by_code,
        families=families,
        ranges=ranges,
        sources={k: " ".join(v.split()) for k, v in table["sources"].items()},
    )


def _load(text: str) -> Any:
    """YAML by the C parser where there is one: start-up is five times faster."""
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _device(code: int, model: str, family: Family) -> Device:
    return Device(code, model, family.name, family.phases, family.mppts, family.strings)


@cache
def _second_name_rows() -> tuple[tuple[str, int], ...]:
    devices = _load((files("sungather.registers") / "devices.yaml").read_text("utf-8"))
    return tuple((name, row["code"]) for row in devices["devices"] for name in row.get("also", ()))


def _second_names(catalogue: Catalogue) -> dict[str, Device]:
    return {
        name.replace(".", "").replace("-", "").lower(): catalogue.devices[code]
        for name, code in _second_name_rows()
        if code in catalogue.devices
    }


def register_from_row(row: Mapping[str, Any]) -> Register:
    """A register from a row of registers.yaml."""
    kind = DataType(row["type"])
    fields = {k: v for k, v in row.items() if k not in ("kind", "type", "models", "states", "words", "per")}
    return Register(
        kind=Kind(row["kind"]),
        type=kind,
        words=row.get("words", _WORDS[kind]),
        models=tuple(row.get("models", ("all",))),
        states=dict(row.get("states", {})),
        per=Period(row["per"]) if "per" in row else None,
        **fields,
    )


def from_upstream_file(path: Path, base: Catalogue) -> Catalogue:
    """An owner's register file in upstream's format. Its type codes replace those of `base`."""
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise RegisterFileError(path, f"cannot be read: {os_reason(error)}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise RegisterFileError(path, f"is not valid YAML: {error}") from error
    try:
        lists: dict[str, Any] = {k: v for part in document["registers"] for k, v in part.items()}
        registers = [
            *_upstream_rows(path, lists.get("read") or (), Kind.INPUT),
            *_upstream_rows(path, lists.get("hold") or (), Kind.HOLDING),
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RegisterFileError(
            path,
            f"is not a SunGather register file: expected registers: [read: [...], hold: [...]] ({error})",
        ) from error
    if not registers:
        raise RegisterFileError(path, "has no registers under registers: read or hold")
    codes = next((r for r in registers if r.name == "device_type_code"), None)
    devices = dict(base.devices)
    for code, name in (codes.states if codes else {}).items():
        known = base.model(name) or base.device(code)
        devices[code] = Device(code, name, known.family, known.phases, known.mppts, known.strings)
    return Catalogue(tuple(registers), devices, base.families, base.ranges, {"file": str(path)})


def _upstream_rows(path: Path, rows: Iterable[Mapping[str, Any]], kind: Kind) -> list[Register]:
    registers = []
    for number, row in enumerate(rows, 1):
        try:
            data_type = DataType(row["datatype"])
            registers.append(
                Register(
                    name=str(row["name"]),
                    kind=kind,
                    address=int(row["address"]),
                    type=data_type,
                    level=int(row.get("level", 3)),
                    words=_WORDS[data_type],
                    scale=row.get("accuracy"),
                    unit=str(row.get("unit", "")),
                    models=tuple(row.get("models") or ("all",)),
                    mask=row.get("mask"),
                    states={int(s["response"]): str(s["value"]) for s in row.get("datarange") or ()},
                    otherwise=row.get("default"),
                    smart_meter=bool(row.get("smart_meter", False)),
                    source="file",
                )
            )
        except (KeyError, ValueError, TypeError) as error:
            name = row.get("name", "?") if isinstance(row, Mapping) else row
            raise RegisterFileError(path, f"entry {number} of {kind} ({name}): {error!r}") from error
    return registers

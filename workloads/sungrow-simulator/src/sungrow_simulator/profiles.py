"""Profiles: the models that can be simulated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml


class ProfileError(ValueError):
    """There is no such profile; the text names those there are."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One row of data/profiles.yaml. Powers in W, capacity in Wh, voltage in V."""

    name: str
    model: str
    code: int
    kind: str
    phases: int
    rated_w: int
    peak_w: tuple[int, ...]
    azimuth: tuple[int, ...]
    features: frozenset[str]
    battery_wh: int = 0
    battery_w: int = 0
    battery_v: int = 0
    serial: str = "A2290300001"

    @property
    def hybrid(self) -> bool:
        return self.kind == "hybrid"

    @property
    def metered(self) -> bool:
        """Whether a meter tells the inverter what flows at the grid connection."""
        return any(feature.startswith("meter") for feature in self.features)


@cache
def all_profiles() -> dict[str, Profile]:
    """By name."""
    rows = yaml.safe_load((files("sungrow_simulator") / "data" / "profiles.yaml").read_text())["profiles"]
    found = {}
    for name, row in rows.items():
        row = {"model": name, **row}
        row["peak_w"], row["azimuth"] = tuple(row["peak_w"]), tuple(row["azimuth"])
        row["features"] = frozenset({"all", row["kind"], *row["features"]})
        found[name] = Profile(name=name, **row)
    return found


def profile(name: str) -> Profile:
    """The profile of that name, whatever the case. ProfileError names those there are."""
    for known, found in all_profiles().items():
        if known.lower() == name.lower():
            return found
    raise ProfileError(f"profile {name!r} is unknown: choose {', '.join(all_profiles())}")

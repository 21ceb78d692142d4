"""Sky: where the sun stands, how much of it reaches a module, and the clouds before it."""

from __future__ import annotations

import math
from datetime import date, datetime
from random import Random

TILT = math.radians(30)
DIFFUSE = 0.1  # of full sun, with the sun overhead
AIR_MASS = 0.14  # what the air takes from the direct beam, overhead


def sun(moment: datetime, latitude: float) -> tuple[float, float]:
    """Elevation above the horizon and azimuth from south (west positive), both in radians; local solar time."""
    day = moment.timetuple().tm_yday
    declination = -math.radians(23.44) * math.cos(2 * math.pi * (day + 10) / 365.25)
    hours = moment.hour + moment.minute / 60 + moment.second / 3600
    angle = math.radians(15 * (hours - 12))
    place = math.radians(latitude)
    height = math.sin(place) * math.sin(declination)
    height += math.cos(place) * math.cos(declination) * math.cos(angle)
    azimuth = math.atan2(
        math.sin(angle), math.cos(angle) * math.sin(place) - math.tan(declination) * math.cos(place)
    )
    return math.asin(max(-1.0, min(1.0, height))), azimuth


def clear_sky(elevation: float, sun_azimuth: float, azimuth: float) -> float:
    """What reaches a tilted module without clouds, as a share of full sun; `azimuth` as the sun's, in degrees."""
    if elevation <= 0:
        return 0.0
    beam = math.exp(-AIR_MASS / max(math.sin(elevation), 0.01))
    turned = math.cos(sun_azimuth - math.radians(azimuth))
    incidence = math.sin(elevation) * math.cos(TILT) + math.cos(elevation) * math.sin(TILT) * turned
    return beam * max(0.0, incidence) + DIFFUSE * math.sin(elevation)


class Clouds:
    """How much of the light comes through, from 0.12 to 1: each day has its weather, and clouds drift through it."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._day: date | None = None
        self._usual = 1.0
        self._restless = 0.0
        self.light = 1.0

    def pass_by(self, moment: datetime, seconds: float) -> None:
        if moment.date() != self._day:
            self._day = moment.date()
            cover = self._random.betavariate(1.2, 1.6)
            self._usual = 1.0 - 0.75 * cover
            self._restless = 0.35 * math.sin(math.pi * cover)  # calm when clear, calm when grey
        pull = min(1.0, seconds / 900)
        push = self._restless * math.sqrt(seconds / 300) * self._random.gauss(0, 1)
        self.light = min(1.0, max(0.12, self.light + (self._usual - self.light) * pull + push))

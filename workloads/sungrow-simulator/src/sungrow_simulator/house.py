"""House: what its people and machines use, by the time of day."""

from __future__ import annotations

import math
from datetime import datetime
from random import Random

BASE_W = 240
# Hour of the peak, its breadth in hours, and its height in watts.
HABITS = ((7.3, 0.9, 650), (12.5, 0.8, 500), (19.2, 1.6, 1100))
# Machines that run now and then by day: watts, seconds, times a day.
MACHINES = ((2100, 180, 6), (1900, 2400, 0.7), (2300, 1500, 0.5), (2800, 900, 0.8))
FRIDGE_W, FRIDGE_ON_S, FRIDGE_ROUND_S = 95, 900, 2700


class House:
    """`size` multiplies everything: 1 is a family."""

    def __init__(self, random: Random, size: float = 1.0) -> None:
        self._random = random
        self._size = size
        self._running: list[list[float]] = []  # [watts, seconds left]
        self._flicker = 0.0
        self._usual = (-1, 0.0)  # minute of the day, watts

    def power(self, moment: datetime, seconds: float) -> int:
        """Watts during the next `seconds`."""
        watts = self._habits(moment)
        since_midnight = moment.hour * 3600 + moment.minute * 60 + moment.second
        if since_midnight % FRIDGE_ROUND_S < FRIDGE_ON_S:
            watts += FRIDGE_W
        awake = 7 <= moment.hour < 23
        for power, length, a_day in MACHINES:
            if awake and self._random.random() < a_day * seconds / (16 * 3600):
                self._running.append([power, length])
        for machine in self._running:
            watts += machine[0]
            machine[1] -= seconds
        self._running = [machine for machine in self._running if machine[1] > 0]
        self._flicker += -0.2 * self._flicker + self._random.gauss(0, 12)
        return max(80, round((watts + self._flicker) * self._size))

    def _habits(self, moment: datetime) -> float:
        minute = moment.hour * 60 + moment.minute
        if minute != self._usual[0]:
            peaks = (
                height * math.exp(-(((minute / 60 - at) / breadth) ** 2) / 2)
                for at, breadth, height in HABITS
            )
            self._usual = (minute, BASE_W + sum(peaks))
        return self._usual[1]

"""An online forecast of one number: Holt's linear trend for samples at uneven times.

Method. Level and slope are smoothed exponentially (Holt 1957); for uneven gaps the weights follow the gap,
as in Wright 1986: a sample after a gap of `d` seconds gets the weight 1 - exp(-d / memory). The one-step
errors, scaled to their gap, give a running variance `s²` of a random walk per second. A forecast for `h`
seconds ahead is normal with mean level + slope·h and variance s²·(h + h³/(3·memory²)): the walk's own spread,
and the spread of a slope that is itself uncertain. The probability of being beyond the threshold at any time
up to `h` is taken as the larger of now and at `h`: a straight line passes its bound at an end.

Cost: five floats and some forty operations a sample. What it cannot see: seasons, steps announced by
other fields, anything not linear within the horizon. No forecast before `WARM_UP` samples.
"""

import math
from dataclasses import dataclass

WARM_UP = 5


@dataclass(frozen=True, slots=True)
class Outlook:
    """A forecast: expected value, its standard deviation, and the slope per second."""

    expected: float
    deviation: float
    slope: float

    def above(self, threshold: float) -> float:
        """Probability of a value above the threshold."""
        if self.deviation <= 0:
            return 1.0 if self.expected > threshold else 0.0
        return 0.5 * math.erfc((threshold - self.expected) / (self.deviation * math.sqrt(2)))


class Trend:
    """Learns from samples as they come."""

    __slots__ = ("_at", "_level", "_memory", "_slope", "_variance", "samples")

    def __init__(self, memory: float) -> None:
        self._memory = max(memory, 1.0)
        self._at = 0.0
        self._level = 0.0
        self._slope = 0.0
        self._variance = 0.0
        self.samples = 0

    def learn(self, value: float, moment: float) -> None:
        """Take one sample; samples must come in the order of their times."""
        gap = moment - self._at
        if self.samples == 0:
            self._level, self._at, self.samples = value, moment, 1
            return
        if gap <= 0:
            return
        predicted = self._level + self._slope * gap
        error = value - predicted
        weight = 1 - math.exp(-gap / (self._memory / 4))
        slow = 1 - math.exp(-gap / self._memory)
        if self.samples == 1:
            self._slope = (value - self._level) / gap
            self._level = value
        else:
            before = self._level
            self._level = predicted + weight * error
            self._slope += slow * ((self._level - before) / gap - self._slope)
            self._variance += slow * (error * error / gap - self._variance)
        self._at = moment
        self.samples += 1

    def forecast(self, horizon: float) -> Outlook | None:
        """The value `horizon` seconds after the last sample, or None while too little is known."""
        if self.samples < WARM_UP:
            return None
        variance = self._variance * (horizon + horizon**3 / (3 * self._memory**2))
        return Outlook(self._level + self._slope * horizon, math.sqrt(max(variance, 0.0)), self._slope)

    def probability(
        self, threshold: float, horizon: float, *, direction: str
    ) -> tuple[float, Outlook] | None:
        """How probable it is that the threshold is passed by the end of the horizon."""
        outlook = self.forecast(horizon)
        if outlook is None:
            return None
        now = self._level > threshold if direction == "above" else self._level < threshold
        beyond = outlook.above(threshold)
        beyond = beyond if direction == "above" else 1 - beyond
        return (1.0 if now else beyond), outlook

"""Token buckets: so many requests a minute, with a burst of exactly what the setting says."""


class Bucket:
    """Holds at most `burst` tokens and gains `per_minute` / 60 a second; starts full."""

    __slots__ = ("_filled_at", "_tokens", "burst", "per_minute")

    def __init__(self, per_minute: float, burst: int, moment: float) -> None:
        self.per_minute = per_minute
        self.burst = burst
        self._tokens = float(burst)
        self._filled_at = moment

    def take(self, moment: float) -> float:
        """0 and one token less, or the seconds until a token will be there (none taken)."""
        tokens = self._tokens + (moment - self._filled_at) * self.per_minute / 60
        if tokens > self.burst:
            tokens = self.burst
        self._filled_at = moment
        # A hair of tolerance: waiting exactly as long as told must be enough in floating point.
        if tokens >= 1 - 1e-9:
            self._tokens = tokens - 1 if tokens > 1 else 0.0
            return 0.0
        self._tokens = tokens
        return (1 - tokens) * 60 / self.per_minute

    def give_back(self) -> None:
        """The request was not made after all: another limit held it back."""
        self._tokens += 1

    def charge(self) -> None:
        """A request that could not wait was made: what comes next waits for it."""
        self._tokens -= 1

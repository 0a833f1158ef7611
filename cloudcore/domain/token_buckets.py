"""Token buckets: each call takes a token, tokens come back at a steady rate, and a full bucket is what one may do in a
burst. Nothing runs: what has come back meanwhile is reckoned when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

MOST = 10_000  # buckets that are kept; those that are full again say nothing and go first


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` tokens at most, `refill` tokens a second."""

    burst: float
    refill: float

    def times(self, factor: float) -> Rate:
        return Rate(max(1.0, self.burst * factor), self.refill * factor)


class Buckets:
    """`seconds` is a clock's. A bucket that was never asked is full."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._left: dict[Hashable, tuple[float, float, Rate]] = {}  # tokens, when they were counted, the rate

    def __len__(self) -> int:
        return len(self._left)

    def take(self, key: Hashable, rate: Rate) -> bool:
        """One token; False when there is none."""
        now = self._seconds()
        left = self._now(key, rate, now)
        if left < 1.0:
            self._left[key] = left, now, rate
            return False
        if key not in self._left and len(self._left) >= MOST:
            self._forget(now)
        self._left[key] = left - 1.0, now, rate
        return True

    def _now(self, key: Hashable, rate: Rate, now: float) -> float:
        left, then, _ = self._left.get(key, (rate.burst, now, rate))
        return min(rate.burst, left + max(0.0, now - then) * rate.refill)

    def _forget(self, now: float) -> None:
        """The full ones; when there are none, all: then so many callers share the api that no bucket says much."""
        self._left = {key: held for key, held in self._left.items() if self._now(key, held[2], now) < held[2].burst}
        if len(self._left) >= MOST:
            self._left.clear()

"""How many calls may be in flight, and how fast they may start: found out while calling.

Nothing here knows of HTTP; the client says what happened to a call.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable, Mapping

_HALVE_AT_MOST_EVERY_SECONDS = 1.0
_QUICK_GROWTH, _SLOW_GROWTH = 1.0, 0.25
"""Places per answer: doubles those in flight in one answer's time, or in four."""
_QUICK_UP_TO = 0.9
"""Of the number at which the endpoint was last busy: quickly back to nearly that, then with care."""
_SLOWED_DOWN = 2.0
"""Latency, against the best that was seen, from which on more calls would only queue at the endpoint."""
_UNITS_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class AdaptiveConcurrency:
    """A gate with `limit` places: more after answers while their latency holds, half after the endpoint says it is
    busy, at most once a second, because the calls in flight all hear the same."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self.limit = float(max(1, most // 2))
        self.in_flight = 0
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._halved = -_HALVE_AT_MOST_EVERY_SECONDS
        self._busy_at = float("inf")
        self._latency: float | None = None
        self._best = float("inf")

    async def enter(self) -> None:
        """Waits for a place; first come, first served."""
        if self.in_flight < int(self.limit) and not self._waiting:
            self.in_flight += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place  # whoever resolves it has counted us in
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()
            else:
                self._waiting.remove(place)
            raise

    def leave(self) -> None:
        self.in_flight -= 1
        self._wake()

    def answered(self, latency_seconds: float) -> None:
        """Of a call that came back whole."""
        smoothed = latency_seconds if self._latency is None else 0.95 * self._latency + 0.05 * latency_seconds
        self._latency = smoothed
        self._best = min(self._best, smoothed)
        if smoothed <= _SLOWED_DOWN * self._best:
            growth = _QUICK_GROWTH if self.limit < _QUICK_UP_TO * self._busy_at else _SLOW_GROWTH
            self.limit = min(self.limit + growth, self.most)
        else:
            self._best *= 1.001  # what is best drifts, or one quick answer would hold everything down for ever
        self._wake()

    def busy(self) -> None:
        """Of a call that the endpoint had no room for (429, 503)."""
        now = self._clock()
        if now - self._halved >= _HALVE_AT_MOST_EVERY_SECONDS:
            self._halved = now
            self._busy_at = self.limit
            self.limit = max(1.0, self.limit / 2)

    def _wake(self) -> None:
        while self._waiting and self.in_flight < int(self.limit):
            place = self._waiting.popleft()
            if not place.done():
                self.in_flight += 1
                place.set_result(None)


class RateLimiter:
    """Starts at most `per_minute` units a minute, evenly; None = no limit until one is learnt."""

    def __init__(self, per_minute: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self.is_given = per_minute is not None
        self._clock = clock
        self._free_at = clock()

    def delay(self, units: float = 1.0) -> float:
        """Seconds to wait before `units` may start; they are counted as started then."""
        if self.per_minute is None:
            return 0.0
        now = self._clock()
        # A second's worth may start at once, so that a limit does not turn calls into a queue of single ones.
        start = max(self._free_at, now - 1.0)
        self._free_at = start + units * 60.0 / self.per_minute
        return max(0.0, start - now)

    def learn(self, per_minute: float) -> None:
        """From the endpoint's headers; a limit of the configuration stays."""
        if not self.is_given and per_minute > 0:
            self.per_minute = per_minute

    def pause(self, seconds: float) -> None:
        """Nothing starts for so long: the endpoint says that nothing is left."""
        self._free_at = max(self._free_at, self._clock() + seconds)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """What `retry-after-ms` or `retry-after` ask for (seconds, or a date), or None."""
    if milliseconds := headers.get("retry-after-ms"):
        return _number(milliseconds, 0.001)
    value = headers.get("retry-after")
    if value is None:
        return None
    if (seconds := _number(value, 1.0)) is not None:
        return seconds
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def duration_seconds(text: str) -> float | None:
    """`1s`, `6m0s`, `20ms`, as in `x-ratelimit-reset-requests`; None where it is none."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        return _number(text, 1.0)
    return sum(float(number) * _UNITS_SECONDS[unit] for number, unit in parts)


def _number(text: str, unit: float) -> float | None:
    try:
        value = float(text) * unit
    except ValueError:
        return None
    return value if 0 <= value < 86400 else None

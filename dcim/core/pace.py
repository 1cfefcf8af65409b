"""How long readings are under way: from the sensor's clock to us, and from us to durable. Over the last minute, by
source.

Lives here: the marks of the last minute and the figures made of them. Not here: how many there were (ledger.py), the
clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from threading import Lock

import numpy as np

from dcim.core.times import SECOND_US

SPAN_S = 60
"""The figures speak of so many seconds."""
MARKS_MAX = 4_096
"""Batches that are remembered of a source; beyond that the figures speak of the newest of them."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Seconds: the middle one, the one that 99 of 100 do not exceed, and the longest. At least 0."""

    p50_s: float
    p99_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class Times:
    """Of the batches of one source in the last minute."""

    batches: int
    lag: Spread | None
    """From the newest value's own timestamp to its receipt; None where no values came."""
    ahead_s: float
    """By how much, at most, a newest value was ahead of our clock: a sender's clock that is wrong, or ours."""
    durable: Spread | None
    """From receipt to durable; None where nothing came."""


class Pace:
    """Remembers when batches were received and durable. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._marks: dict[str, deque[tuple[int, int | None, int]]] = {}

    def note(self, source: str, received_us: int, newest_us: int | None, durable_us: int) -> None:
        """A batch has become durable. newest_us: the newest timestamp in it, None where it holds no value; all in
        microseconds UTC."""
        lag_us = None if newest_us is None else received_us - newest_us
        with self._lock:
            marks = self._marks.setdefault(source, deque(maxlen=MARKS_MAX))
            marks.append((received_us, lag_us, durable_us - received_us))

    def times(self, source: str, at_us: int) -> Times:
        """The figures of one source at one moment, microseconds UTC."""
        with self._lock:
            marks = list(self._marks.get(source, ()))
        recent = [mark for mark in marks if mark[0] > at_us - SPAN_S * SECOND_US]
        lags = [lag_us for _, lag_us, _ in recent if lag_us is not None]
        ahead_us = max(0, -min(lags, default=0))
        return Times(len(recent), _spread(lags), ahead_us / SECOND_US, _spread([took for *_, took in recent]))


def _spread(spans_us: list[int]) -> Spread | None:
    if not spans_us:
        return None
    seconds = np.maximum(np.array(spans_us), 0) / SECOND_US
    p50, p99 = np.percentile(seconds, (50, 99), method="higher").tolist()
    return Spread(p50, p99, float(seconds.max()))

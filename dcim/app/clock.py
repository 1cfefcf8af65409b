"""The service's clock: the machine's, as long as that does not go back.

When somebody sets the machine's clock back, or a time server does, instants that were told already would lie ahead:
delays would wait for them, silence would not be noticed until they are reached again, and what a sender with a right
clock says would come "from the future" and be refused. So the service's clock goes on from where it was, a quarter
slower, until the machine's has caught up: an hour takes four. A restart takes the machine's time at once. A machine's
clock that jumps ahead is followed.

Lives here: that clock. Not here: who asks it; logic is given its time."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Lock

from dcim.core.times import now as wall_clock
from dcim.core.times import to_us

PACE = 0.75
"""Seconds of the service's clock in a second, while it is ahead of the machine's. A delay of two minutes then takes two
minutes and forty seconds."""
SAY_S = 2.0
"""Being ahead by less is not worth a word: time servers do that."""


class Clock:
    """UTC that never goes back, from however many threads it is asked."""

    def __init__(
        self, wall: Callable[[], datetime] = wall_clock, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """wall: the machine's clock. monotonic: seconds since whenever, which no setting of clocks changes."""
        self._wall, self._monotonic = wall, monotonic
        self._lock = Lock()
        self._now, self._then = wall(), monotonic()

    def __call__(self) -> datetime:
        """Now."""
        return self._read()[0]

    def us(self) -> int:
        """Now, in microseconds since 1970."""
        return to_us(self())

    def ahead_s(self) -> float:
        """By how much it is ahead of the machine's clock, seconds."""
        now, wall = self._read()
        return (now - wall).total_seconds()

    def _read(self) -> tuple[datetime, datetime]:
        with self._lock:
            wall, then = self._wall(), self._monotonic()
            passed_s = max(0.0, then - self._then)
            self._then = then
            self._now = max(wall, self._now + timedelta(seconds=PACE * passed_s))
            return self._now, wall

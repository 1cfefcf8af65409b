"""Rolling up: the minutes and hours of the coarser tiers, made by the server out of what it has, when we say so.

The server's own tasks roll up what came in the last minute, by its clock. What comes later (an agent that was cut off,
a spool that an outage has filled) they miss for ever. So the forwarder notes which steps it touches, and each such step
is rolled up again from the readings: the result is the same however often that is done, and in whichever order the
readings came.

Lives here: which steps are stale, when one is due, and the loop. Not here: the question itself (flux.py), and what
counts as stale for a reader because it is still in the spool (influx_reads.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import structlog

from dcim.core.errors import DcimError
from dcim.store.flux import Span
from dcim.store.retention import STEP_US, Tier
from dcim.store.sift import END_US

log = structlog.get_logger()

MINUTE_US: Final = STEP_US[Tier.MINUTE]
HOUR_US: Final = STEP_US[Tier.HOUR]
PER_HOUR: Final = HOUR_US // MINUTE_US
SETTLE_US: Final = 15_000_000
"""A step is left alone until it has been over for so long: its last readings are still on their way."""
LOOK_S: Final = 1.0
WAIT_S: Final = 30.0
"""After a failure."""


class Pace(NamedTuple):
    """When a touched step is due: nothing has touched its hour for quiet_us, or something did patience_us ago."""

    quiet_us: int
    patience_us: int


PACES: Final[Mapping[Tier, Pace]] = {
    Tier.MINUTE: Pace(10_000_000, 60_000_000),
    Tier.HOUR: Pace(300_000_000, 1_800_000_000),  # an hour takes sixty times as long
}


class Work(NamedTuple):
    """Steps of one tier to roll up: every one in the span."""

    tier: Tier
    span: Span
    hour: int
    mask: int


@dataclass(slots=True)
class _Touched:
    mask: int
    """Bit by bit the minutes of the hour."""
    first_us: int
    last_us: int
    """Our clock, when it was touched."""


class Stale:
    """Steps whose readings changed since they were last rolled up. Any method may be called from any thread.

    Memory: an entry for each hour that was touched, whatever the number of points.
    """

    def __init__(self, paces: Mapping[Tier, Pace] = PACES) -> None:
        self._paces = paces
        self._lock = Lock()
        self._touched: dict[Tier, dict[int, _Touched]] = {Tier.MINUTE: {}, Tier.HOUR: {}}
        self._doing: dict[Tier, Work] = {}

    def touch(self, times: npt.NDArray[np.int64], now_us: int) -> None:
        """Notes that readings of these times come, or came, to the server."""
        minutes = np.unique(times // MINUTE_US)
        hours = minutes // PER_HOUR
        bits = np.left_shift(np.int64(1), minutes % PER_HOUR)
        for hour in np.unique(hours).tolist():
            self._touch(hour, int(np.bitwise_or.reduce(bits[hours == hour])), now_us)

    def _touch(self, hour: int, mask: int, now_us: int) -> None:
        with self._lock:
            for touched in self._touched.values():
                there = touched.setdefault(hour, _Touched(0, now_us, now_us))
                there.mask |= mask
                there.last_us = now_us

    def take(self, now_us: int, floor_us: int) -> Work | None:
        """What is due, the oldest first, minutes before hours; it counts as stale until it is `done`. Steps that begin
        before floor_us are forgotten: the readings that they were made of are not all there any more."""
        with self._lock:
            for tier, touched in self._touched.items():
                for hour in sorted(touched):
                    work = self._due(tier, hour, touched[hour], now_us, floor_us)
                    if work is not None:
                        self._doing[tier] = work
                        return work
        return None

    def done(self, work: Work) -> None:
        """It is rolled up. What was touched meanwhile is stale again."""
        with self._lock:
            self._doing.pop(work.tier, None)

    def failed(self, work: Work, now_us: int) -> None:
        """It is not rolled up: it is due again."""
        with self._lock:
            self._doing.pop(work.tier, None)
            there = self._touched[work.tier].setdefault(work.hour, _Touched(0, now_us, now_us))
            there.mask |= work.mask

    def rolled(self) -> dict[Tier, int]:
        """By tier, the time before which every step with readings on the server is rolled up."""
        with self._lock:
            return {
                tier: min((self._first(tier, hour, mask) for hour, mask in self._all(tier).items()), default=END_US)
                for tier in self._touched
            } | {Tier.RAW: END_US}

    def dump(self) -> dict[str, dict[int, int]]:
        """What is stale, for keeping: tier → hour → its minutes, bit by bit."""
        with self._lock:
            return {tier.value: self._all(tier) for tier in self._touched}

    def load(self, kept: Mapping[str, Mapping[int, int]], now_us: int) -> None:
        """Takes in what was kept."""
        with self._lock:
            for tier, touched in self._touched.items():
                for hour, mask in kept.get(tier.value, {}).items():
                    touched[hour] = _Touched(mask, now_us, now_us)

    def _due(self, tier: Tier, hour: int, there: _Touched, now_us: int, floor_us: int) -> Work | None:
        if self._first(tier, hour, there.mask) < floor_us:
            kept = there.mask & ~_before(floor_us, hour) if tier is Tier.MINUTE else 0
            if not kept:
                del self._touched[tier][hour]
                return None
            there.mask = kept
        pace = self._paces[tier]
        if now_us - there.last_us < pace.quiet_us and now_us - there.first_us < pace.patience_us:
            return None
        settled_us = now_us - SETTLE_US
        if tier is Tier.HOUR:
            if (hour + 1) * HOUR_US > settled_us:
                return None
            mask, span = there.mask, (hour * HOUR_US, (hour + 1) * HOUR_US)
        else:
            mask = there.mask & _before(settled_us, hour)
            if not mask:
                return None
            first, last = (mask & -mask).bit_length() - 1, mask.bit_length() - 1
            span = (hour * HOUR_US + first * MINUTE_US, hour * HOUR_US + (last + 1) * MINUTE_US)
        there.mask &= ~mask
        there.first_us = now_us
        if not there.mask:
            del self._touched[tier][hour]
        return Work(tier, span, hour, mask)

    def _all(self, tier: Tier) -> dict[int, int]:
        """What is stale, with what is being rolled up just now."""
        masks = {hour: there.mask for hour, there in self._touched[tier].items()}
        doing = self._doing.get(tier)
        if doing is not None:
            masks[doing.hour] = masks.get(doing.hour, 0) | doing.mask
        return masks

    @staticmethod
    def _first(tier: Tier, hour: int, mask: int) -> int:
        if tier is Tier.HOUR:
            return hour * HOUR_US
        return hour * HOUR_US + ((mask & -mask).bit_length() - 1) * MINUTE_US


def _before(us: int, hour: int) -> int:
    """The bits of those minutes of an hour that are over at a time.

    >>> bin(_before(HOUR_US + 2 * MINUTE_US + 1, 1))
    '0b11'
    """
    over = (us - hour * HOUR_US) // MINUTE_US
    return (1 << min(max(over, 0), PER_HOUR)) - 1


@dataclass(slots=True)
class RollUp:
    """The loop. roll: has the server roll up steps. floor: the time before which readings may be gone."""

    stale: Stale
    roll: Callable[[Work], Awaitable[None]]
    floor: Callable[[], int]
    clock: Callable[[], int]
    trouble: str = ""
    """Why nothing is rolled up just now."""
    rolled: int = 0
    """Pieces of work that are done."""

    async def run(self) -> None:
        """Rolls up what is due, until cancelled."""
        while True:
            work = self.stale.take(self.clock(), self.floor())
            if work is None:
                await asyncio.sleep(LOOK_S)
                continue
            try:
                await self.roll(work)
            except BaseException as error:
                self.stale.failed(work, self.clock())
                if not isinstance(error, DcimError):
                    raise
                if str(error) != self.trouble:
                    log.warning("minutes and hours are not rolled up", told=str(error))
                self.trouble = str(error)
                await asyncio.sleep(WAIT_S)
            else:
                self.stale.done(work)
                self.rolled += 1
                self.trouble = ""

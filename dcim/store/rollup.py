"""Rolling up: the minutes and hours of the coarser tiers, made by us of what was handed on.

A server's own tasks roll up what came in the last minute, by its clock. What comes later (an agent that was cut off, a
spool that an outage has filled) they miss for ever; and in Flux a minute of 20,000 points takes InfluxDB 2.9 about a
minute. So the youngest steps are put together here, of the readings as they pass (steps.py), and written when they are
over. A step that is touched when it has left memory, or that an earlier run began, is made anew from all that the
server has of it. Both are the whole step, so that writing it again changes nothing.

Lives here: which steps are stale, when one is due, and the loop. Not here: the sums (steps.py), questions (flux.py),
lines (line_protocol.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import structlog

from dcim.core.errors import DcimError, Transient
from dcim.core.readings import Quality, Readings, Tier
from dcim.store.flux import Span
from dcim.store.retention import STEP_US
from dcim.store.sift import END_US
from dcim.store.steps import Steps

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
    """When a step that was touched late is due: nothing has touched its hour for quiet_us, or something did patience_us
    ago. linger_us: how long a step stays in memory after its end."""

    quiet_us: int
    patience_us: int
    linger_us: int


PACES: Final[Mapping[Tier, Pace]] = {
    Tier.MINUTE: Pace(10_000_000, 60_000_000, 120_000_000),
    Tier.HOUR: Pace(300_000_000, 1_800_000_000, 300_000_000),  # it takes the server sixty times as long
}
POINTS_MAX: Final = 20_000
"""Of an hour in which more points than this were touched late, all points are made anew."""

Points = npt.NDArray[np.uint32] | None
"""Points, ascending; None for all."""


class Work(NamedTuple):
    """Steps of one tier to make anew: every one in the span, of these points."""

    tier: Tier
    span: Span
    points: Points
    hour: int
    mask: int


@dataclass(slots=True)
class _Touched:
    mask: int
    """Bit by bit the minutes of the hour."""
    points: Points
    first_us: int
    last_us: int
    """Our clock, when it was touched."""


class Stale:
    """Steps that were touched late since they were last made. Any method may be called from any thread.

    Memory: an entry for each hour that was touched, with at most POINTS_MAX points.
    """

    def __init__(self, paces: Mapping[Tier, Pace] = PACES) -> None:
        self._paces = paces
        self._lock = Lock()
        self._touched: dict[Tier, dict[int, _Touched]] = {Tier.MINUTE: {}, Tier.HOUR: {}}
        self._doing: dict[Tier, Work] = {}

    def touch(self, tier: Tier, times: npt.NDArray[np.int64], points: Points, now_us: int) -> None:
        """Notes that readings of these times and points (by row) came late; points None: of any."""
        minutes = times // MINUTE_US
        hours = minutes // PER_HOUR
        bits = np.left_shift(np.int64(1), minutes % PER_HOUR)
        for hour in np.unique(hours).tolist():
            inside = hours == hour
            mask = int(np.bitwise_or.reduce(bits[inside]))
            self._touch(tier, hour, mask, None if points is None else np.unique(points[inside]), now_us)

    def _touch(self, tier: Tier, hour: int, mask: int, points: Points, now_us: int) -> None:
        with self._lock:
            there = self._touched[tier].get(hour)
            if there is None:
                self._touched[tier][hour] = _Touched(mask, points, now_us, now_us)
                return
            there.mask |= mask
            there.points = _either(there.points, points)
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
        """It is made. What was touched meanwhile is stale again."""
        with self._lock:
            self._doing.pop(work.tier, None)

    def failed(self, work: Work, now_us: int) -> None:
        """It is not made: it is due again."""
        with self._lock:
            self._doing.pop(work.tier, None)
        self._touch(work.tier, work.hour, work.mask, work.points, now_us)

    def first(self, tier: Tier) -> int:
        """The start of the oldest stale step; the end of time where there is none."""
        with self._lock:
            return min((_first(tier, hour, mask) for hour, mask in self._all(tier).items()), default=END_US)

    def dump(self) -> dict[str, dict[int, int]]:
        """What is stale, for keeping: tier → hour → its minutes, bit by bit. Which points is not kept."""
        with self._lock:
            return {tier.value: self._all(tier) for tier in self._touched}

    def load(self, kept: Mapping[str, Mapping[int, int]], now_us: int) -> None:
        """Takes in what was kept: of all points."""
        for tier in self._touched:
            for hour, mask in kept.get(tier.value, {}).items():
                self._touch(tier, hour, mask, None, now_us)

    def _due(self, tier: Tier, hour: int, there: _Touched, now_us: int, floor_us: int) -> Work | None:
        if _first(tier, hour, there.mask) < floor_us:
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
        return Work(tier, span, there.points, hour, mask)

    def _all(self, tier: Tier) -> dict[int, int]:
        """What is stale, with what is being made just now."""
        masks = {hour: there.mask for hour, there in self._touched[tier].items()}
        doing = self._doing.get(tier)
        if doing is not None:
            masks[doing.hour] = masks.get(doing.hour, 0) | doing.mask
        return masks


def _first(tier: Tier, hour: int, mask: int) -> int:
    if tier is Tier.HOUR:
        return hour * HOUR_US
    return hour * HOUR_US + ((mask & -mask).bit_length() - 1) * MINUTE_US


def _either(one: Points, other: Points) -> Points:
    if one is None or other is None:
        return None
    both = np.union1d(one, other)
    return None if len(both) > POINTS_MAX else both


def _next(us: int, step_us: int) -> int:
    """The start of the step after the one that a time lies in."""
    return us // step_us * step_us + step_us


def _before(us: int, hour: int) -> int:
    """The bits of those minutes of an hour that are over at a time.

    >>> bin(_before(HOUR_US + 2 * MINUTE_US + 1, 1))
    '0b11'
    """
    over = (us - hour * HOUR_US) // MINUTE_US
    return (1 << min(max(over, 0), PER_HOUR)) - 1


class RollUp:
    """The tiers of one store. `passed`, `rolled`, `dump` and `beyond` may be called from any thread.

    write: has the server take steps of a tier, as frames for Lines.steps. remake: makes steps anew of what the server
    has. Both raise Transient, and then the same comes again; what else they raise ends the piece, and is told.
    floor: the time before which readings may be gone. stale, beyond: what an earlier run has kept of `dump` and
    `beyond`.
    """

    def __init__(
        self,
        write: Callable[[Tier, pl.DataFrame], Awaitable[None]],
        remake: Callable[[Work], Awaitable[None]],
        floor: Callable[[], int],
        clock: Callable[[], int],
        paces: Mapping[Tier, Pace] = PACES,
        stale: Mapping[str, Mapping[int, int]] | None = None,
        beyond: Mapping[str, int] | None = None,
    ) -> None:
        self.trouble = ""
        """Why nothing is rolled up just now."""
        self._write, self._remake, self._floor, self._clock = write, remake, floor, clock
        self._stale = Stale(paces)
        self._stale.load(stale or {}, clock())
        # What an earlier run has begun, or may have: the step of this moment. It is late, and so is what was before.
        self._steps = {
            tier: Steps(step_us, paces[tier].linger_us, max(_next(clock(), step_us), (beyond or {}).get(tier.value, 0)))
            for tier, step_us in STEP_US.items()
        }

    def passed(self, rows: Readings) -> None:
        """Takes note of readings that the server has by now."""
        usable = ~np.isnan(rows.value) & (rows.quality < Quality.BAD)
        used = rows if usable.all() else rows.take(usable)
        if not len(used):
            return
        now_us = self._clock()
        for tier, steps in self._steps.items():
            late = steps.add(used, now_us)
            if late.any():
                self._stale.touch(tier, used.time[late], used.point[late], now_us)
            forgotten = steps.forgotten()
            if forgotten:
                self._stale.touch(tier, np.array(forgotten, np.int64), None, now_us)

    def rolled(self) -> dict[Tier, int]:
        """By tier, the time before which every step with readings on the server is rolled up."""
        firsts = {tier: min(self._stale.first(tier), *steps.dirty(), END_US) for tier, steps in self._steps.items()}
        return firsts | {Tier.RAW: END_US}

    def dump(self) -> dict[str, dict[int, int]]:
        """What is not rolled up yet, for keeping."""
        kept = self._stale.dump()
        for tier, steps in self._steps.items():
            hours = kept[tier.value]
            for start in steps.dirty():
                hour, minute = divmod(start // MINUTE_US, PER_HOUR)
                hours[hour] = hours.get(hour, 0) | 1 << minute
        return kept

    def beyond(self) -> dict[str, int]:
        """By tier, the end of the last step that was touched, for keeping."""
        return {tier.value: steps.beyond_us for tier, steps in self._steps.items()}

    async def run(self) -> None:
        """Rolls up what is due, until cancelled."""
        while True:
            # In this order: what leaves memory is told before anything is made anew that was touched after it left.
            work = self._stale.take(self._clock(), self._floor())
            await self._tell()
            if work is None:
                await asyncio.sleep(LOOK_S)
                continue
            try:
                await self._patiently(partial(self._remake, work))
            except BaseException:
                self._stale.failed(work, self._clock())
                raise
            self._stale.done(work)

    async def _tell(self) -> None:
        settled_us = self._clock() - SETTLE_US
        for tier, steps in self._steps.items():
            for start, frame in steps.due(settled_us):
                told = frame.with_columns(start=pl.lit(start, pl.Int64))
                await self._patiently(partial(self._write, tier, told))
                steps.told(start)

    async def _patiently(self, do: Callable[[], Awaitable[None]]) -> None:
        """Does it, again and again while it raises Transient. What is refused for good is told and left."""
        while True:
            try:
                await do()
            except DcimError as error:
                told = f"minutes and hours are not rolled up: {error}"
                if told != self.trouble:
                    log.warning(told)
                self.trouble = told
                if not isinstance(error, Transient):
                    return
                await asyncio.sleep(WAIT_S)
            else:
                self.trouble = ""
                return

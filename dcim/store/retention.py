"""Retention in tiers: how long readings are kept as they came, and as buckets of a minute and of an hour, and which of
the three answers a query.

A tier keeps, by point and step, the mean, least, greatest and number of the usable values (neither missing nor bad),
and the worst quality of those used; a step without any has no row. Steps count from 1970, so that every step lies in
exactly one bucket of any width that is a multiple of it, and a tier answers for such a bucket what the readings would.

Lives here: steps, ages, the choice among them, and the parts that one answer is put together from: pure functions of
microseconds, for any store. Not here: rolling up, dropping and reading, which each store does in its own way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple, get_args

from dcim.core.ports import Aggregate
from dcim.core.readings import Tier
from dcim.core.times import to_us
from dcim.store.sift import END_US

STEP_US: Final[Mapping[Tier, int]] = {Tier.MINUTE: 60_000_000, Tier.HOUR: 3_600_000_000}
"""Width of a step, microseconds. Each is a multiple of the one before it."""
KEPT: Final[frozenset[Aggregate]] = frozenset(("mean", "min", "max", "count"))
"""What a step keeps. `last` is not among them: raw alone can tell it."""
FINER: Final[Mapping[Tier, Tier]] = {Tier.MINUTE: Tier.RAW, Tier.HOUR: Tier.MINUTE}
"""The next finer tier."""

Floors = Mapping[Tier, int]
"""By tier, the time below which it may have dropped rows, microseconds UTC; 0 where it has dropped none. A coarser tier
never drops more than a finer one."""


class Choice(NamedTuple):
    """The tier that a query is answered from."""

    tier: Tier
    every_us: int | None
    """Width of the answer's buckets: what was asked for, or, where raw reaches back no longer, the next multiple of the
    tier's step. None: the readings as they came."""


class Part(NamedTuple):
    """A stretch of time, [start_us, end_us), and the tier that answers for it. In a tier other than raw its rows are
    those steps that start there."""

    tier: Tier
    start_us: int
    end_us: int


@dataclass(frozen=True, slots=True)
class Retention:
    """How long each tier is kept; None for ever. Raises ValueError where one is not positive, or a finer tier is to be
    kept longer than a coarser."""

    raw: timedelta | None = None
    minute: timedelta | None = None
    hour: timedelta | None = None

    def __post_init__(self) -> None:
        ages = [timedelta.max if age is None else age for age in (self.raw, self.minute, self.hour)]
        if min(ages) <= timedelta(0):
            raise ValueError("an age must be longer than nothing")
        if ages != sorted(ages):
            raise ValueError("a finer tier cannot be kept longer than a coarser: raw ≤ minute ≤ hour")

    def age(self, tier: Tier) -> timedelta | None:
        """How long a tier is kept."""
        return {Tier.RAW: self.raw, Tier.MINUTE: self.minute, Tier.HOUR: self.hour}[tier]

    def floors(self, now: datetime) -> Floors:
        """What each tier may have dropped by `now`."""
        floors = {}
        for tier in Tier:
            age = self.age(tier)
            floors[tier] = 0 if age is None else max(0, to_us(now) - age // timedelta(microseconds=1))
        return floors

    def pick(self, start: datetime, end: datetime, every: timedelta | None, how: Aggregate, now: datetime) -> Choice:
        """`pick` for a store that drops rows the moment they are old enough."""
        every_us = None if every is None else every // timedelta(microseconds=1)
        return pick(to_us(start), to_us(end), every_us, how, self.floors(now))


FOR_EVER: Final = Retention()
"""Nothing is ever dropped."""


def bucket_us(every: timedelta | None, how: Aggregate) -> int | None:
    """The width of the buckets that a query asks for, in microseconds; None where it asks for readings as they came.
    Raises ValueError for a width of nothing or less, and for an aggregate that there is not.

    >>> bucket_us(timedelta(minutes=1), "mean")
    60000000
    """
    if how not in get_args(Aggregate):
        raise ValueError(f"there is no aggregate {how!r}; there are {', '.join(get_args(Aggregate))}")
    if every is None:
        return None
    if every <= timedelta():
        raise ValueError(f"a bucket must be longer than nothing, not {every}")
    return min(every // timedelta(microseconds=1), END_US)


def pick(start_us: int, end_us: int, every_us: int | None, how: Aggregate, floors: Floors) -> Choice:
    """The coarsest tier that answers a query for [start_us, end_us) exactly: its step divides `every_us`, it keeps
    `how`, and at least one whole step lies in the range. Raw is exact for anything.

    Where raw reaches back to `start_us` no longer, only tiers that do come into question. When none of them divides
    `every_us`, or readings as they came were asked for, it is the finest, in buckets of the next multiple of its step
    (means, for readings). Nothing reaches back further than the hours: what lies before their floor is gone. `last` is
    always answered from raw, as far back as raw reaches.

    >>> day, hour, now = 86_400_000_000, 3_600_000_000, 100 * 86_400_000_000
    >>> floors = {Tier.RAW: now - 7 * day, Tier.MINUTE: now - 30 * day, Tier.HOUR: 0}
    >>> pick(now - day, now, 2 * hour, "mean", floors)
    Choice(tier=<Tier.HOUR: 'hour'>, every_us=7200000000)
    >>> pick(now - 8 * day, now, None, "mean", floors)
    Choice(tier=<Tier.MINUTE: 'minute'>, every_us=60000000)
    """
    if how not in KEPT and every_us is not None:
        return Choice(Tier.RAW, every_us)
    oldest = max(start_us, floors[Tier.HOUR])
    reaching = [tier for tier in Tier if floors[tier] <= oldest]
    if every_us is not None:
        for tier in reversed(reaching):
            if tier is Tier.RAW or (every_us % STEP_US[tier] == 0 and _whole(start_us, end_us, STEP_US[tier])):
                return Choice(tier, every_us)
    finest = reaching[0]
    if finest is Tier.RAW:
        return Choice(Tier.RAW, every_us)
    return Choice(finest, _up(every_us or 1, STEP_US[finest]))


def parts(choice: Tier, start_us: int, end_us: int, rolled: Mapping[Tier, int], floors: Floors) -> list[Part]:
    """[start_us, end_us) in stretches, oldest first: the chosen tier for its whole steps that are rolled up, finer ones
    for the young rest and for steps that the range cuts. What lies before a tier's floor is left out.

    rolled: by tier, the time (a multiple of its step) up to which it has every step. A step that the range cuts, of a
    time that finer tiers have dropped, belongs where it starts: ranges that meet share none and miss none.

    >>> minute = 60_000_000
    >>> for part in parts(Tier.MINUTE, 1, 5 * minute, {Tier.MINUTE: 3 * minute}, dict.fromkeys(Tier, 0)):
    ...     print(*part)
    raw 1 60000000
    minute 60000000 180000000
    raw 180000000 300000000
    """
    start_us = max(start_us, floors[choice])
    if start_us >= end_us:
        return []
    if choice is Tier.RAW:
        return [Part(choice, start_us, end_us)]
    step, finer = STEP_US[choice], FINER[choice]
    first, beyond = _up(start_us, step), end_us // step * step
    if beyond < floors[finer]:
        beyond = _up(end_us, step)
    beyond = min(beyond, rolled[choice])
    if first >= beyond:
        return parts(finer, start_us, end_us, rolled, floors)
    return [
        *parts(finer, start_us, first, rolled, floors),
        Part(choice, first, beyond),
        *parts(finer, beyond, end_us, rolled, floors),
    ]


def advance(ages: Retention, at: datetime, rolled: Mapping[Tier, int], floors: Floors) -> Floors:
    """Where the floors of a store that rolls up by itself go at `at`: to a full hour, so that no step is cut, never
    backwards, and never beyond what the next coarser tier has (`rolled`, as in `parts`)."""
    old = {tier: floor // STEP_US[Tier.HOUR] * STEP_US[Tier.HOUR] for tier, floor in ages.floors(at).items()}
    done = rolled[Tier.MINUTE] // STEP_US[Tier.HOUR] * STEP_US[Tier.HOUR]
    raw = max(floors[Tier.RAW], min(old[Tier.RAW], done))
    minute = max(floors[Tier.MINUTE], min(old[Tier.MINUTE], raw, rolled[Tier.HOUR]))
    hour = max(floors[Tier.HOUR], min(old[Tier.HOUR], minute))
    return {Tier.RAW: raw, Tier.MINUTE: minute, Tier.HOUR: hour}


def _up(us: int, step_us: int) -> int:
    """The next multiple of a step; the time itself where it is one."""
    return -(-us // step_us) * step_us


def _whole(start_us: int, end_us: int, step_us: int) -> bool:
    return _up(start_us, step_us) + step_us <= end_us

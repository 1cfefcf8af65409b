"""Instants: UTC, microseconds. A column holds them as int64 since 1970, a single thing as an aware datetime.

Lives here: the way between the two. Not here: the clock. Logic is given its time; only the rim asks `now()`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND_US = 1_000_000
"""One second in the unit of every time column."""

_MICROSECOND = timedelta(microseconds=1)


def to_us(at: datetime) -> int:
    """Microseconds since 1970 UTC of an aware datetime; exact. Raises TypeError for a naive one."""
    return (at - EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """The aware UTC datetime of microseconds since 1970. Raises OverflowError outside the years 1 to 9999."""
    return EPOCH + timedelta(microseconds=us)


def now() -> datetime:
    """The wall clock, UTC. For the rim alone (sources, loops, the API): what decides anything is given its time."""
    return datetime.now(UTC)

"""The buckets of one store: which there must be, and bringing them about.

Lives here: names, ages, the plan. Not here: requests (influx_client.py), what is written into the buckets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from dcim.core.errors import Permanent
from dcim.core.readings import Tier
from dcim.store.influx_client import Bucket, InfluxServer
from dcim.store.retention import Retention

_SUFFIX: Final = {Tier.RAW: "", Tier.MINUTE: "_1m", Tier.HOUR: "_1h"}
_DAY_S: Final = 86_400
_SHARD_S: Final = {Tier.RAW: _DAY_S, Tier.MINUTE: 7 * _DAY_S, Tier.HOUR: 28 * _DAY_S}
"""Span of a shard. The server drops whole shards, so it keeps readings for so much longer than their age."""


def names(bucket: str) -> dict[Tier, str]:
    """The bucket of each tier."""
    return {tier: bucket + suffix for tier, suffix in _SUFFIX.items()}


@dataclass(frozen=True, slots=True)
class Change:
    """What one bucket lacks."""

    name: str
    there: Bucket | None
    """None: it is to be made. Otherwise its readings go at another age than they should."""
    every_s: int
    shard_s: int

    @property
    def shortens(self) -> bool:
        """Whether readings go that were to stay."""
        return self.there is not None and self.every_s != 0 and not 0 < self.there.every_s <= self.every_s

    def __str__(self) -> str:
        if self.there is None:
            return f"make bucket {self.name}, readings kept {_age(self.every_s)}"
        return f"change bucket {self.name}: readings kept {_age(self.every_s)}, not {_age(self.there.every_s)}"


async def plan(server: InfluxServer, bucket: str, retention: Retention) -> list[Change]:
    """What is to be done so that the buckets are as they should be; nothing where they are."""
    wanted = names(bucket)
    there: Mapping[str, Bucket] = await server.buckets(*wanted.values())
    changes = []
    for tier, name in wanted.items():
        every_s = _seconds(retention.age(tier))
        found = there.get(name)
        if found is None or found.every_s != every_s:
            shard_s = min(_SHARD_S[tier], every_s or _SHARD_S[tier])
            changes.append(Change(name, found, every_s, shard_s))
    return changes


async def carry_out(server: InfluxServer, changes: list[Change], *, shorten: bool) -> None:
    """Does what was planned, all or, where readings would go and `shorten` is not said, nothing: raises Permanent."""
    losing = [change for change in changes if change.shortens]
    if losing and not shorten:
        raise Permanent(
            f"readings would be deleted: {'; '.join(map(str, losing))}",
            where=server.url,
            todo="Keep them longer in [store.retention], or say --shorten",
        )
    for change in changes:
        if change.there is None:
            await server.make_bucket(change.name, change.every_s, change.shard_s)
        else:
            await server.change_bucket(change.there, change.every_s, change.shard_s)


def _seconds(age: timedelta | None) -> int:
    return 0 if age is None else int(age.total_seconds())


def _age(every_s: int) -> str:
    return f"{every_s / _DAY_S:g} days" if every_s else "for ever"

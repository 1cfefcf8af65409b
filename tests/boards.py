"""A simulated hall as boards find it in InfluxDB: its readings, their minutes, and the facts that the service adds, all
as line protocol, made by the code that makes them in the service. And a reader of line protocol, for where no InfluxDB
is at hand."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from alerts import rules
from alerts.engine import Engine
from alerts.lifecycle import Transition
from collectors.codecs.dsx import DsxCodec
from collectors.codecs.gpu import GpuCodec
from dcim.app import hall as halls
from dcim.app.chronicle import Chronicle
from dcim.core.facts import Fact
from dcim.core.findings import Detection, FindingKind, Subject
from dcim.core.ledger import Kind, Ledger, Posting
from dcim.core.live import Latest
from dcim.core.pace import Pace
from dcim.core.plant import Plant, survey
from dcim.core.points import PointIndex
from dcim.core.ports import Backlog, Message
from dcim.core.readings import Readings, Tier
from dcim.core.times import to_us
from dcim.sim.hall import Hall, HallSettings, placements
from dcim.sim.run import simulate
from dcim.store.facts import lines
from dcim.store.line_protocol import Lines, series_of
from tests.alarms import MemoryJournal, acknowledge, finding

PACE_S = 10.0
HALL = HallSettings(racks=4, rows=2, hosts_per_rack=1, gpus_per_host=4)
SOURCE = "bus"


class PagedJournal(MemoryJournal):
    """With pages, as the one in a database has them."""

    async def after(self, seq: int, limit: int | None = None) -> Sequence[Transition]:
        rows = self.rows[seq:]
        return rows if limit is None else rows[:limit]


class Kept:
    """Takes facts, or fails as long as it is told to."""

    def __init__(self) -> None:
        self.facts: dict[Tier, list[Fact]] = {Tier.RAW: [], Tier.MINUTE: []}
        self.fails: list[Exception] = []

    async def write(self, facts: Sequence[Fact], tier: Tier = Tier.RAW) -> None:
        if self.fails:
            raise self.fails.pop(0)
        self.facts[tier] += facts


@dataclass
class Filled:
    """What lies in the two buckets that boards ask."""

    start: datetime
    end: datetime
    readings: str
    minutes: str


def fill(start: datetime, span: timedelta) -> Filled:
    """A healthy hall from `start` on, and one alarm in it that somebody acknowledges."""
    return asyncio.run(_fill(start, span))


async def _fill(start: datetime, span: timedelta) -> Filled:
    hall = Hall(HALL)
    index = PointIndex(100_000)
    codecs = DsxCodec(index, site=HALL.site, bus="bms"), GpuCodec(index, site=HALL.site)
    latest, journal, kept = Latest(), PagedJournal(), Kept()
    engine = Engine(rules.default(), journal, asset_of=lambda key: watch.plant.assets.get(key))  # noqa: PLW0108
    now = start
    await engine.open(start)
    ledger, pace = Ledger(), Pace()
    for codec in codecs:
        ledger.open(SOURCE, codec.name, start)
    watch: Any = SimpleNamespace(plant=Plant(), hall=None, latest=latest, asset=None)
    chronicle = Chronicle(
        to=kept,
        journal=journal,
        engine=engine,
        watch=watch,
        ledger=ledger,
        pace=pace,
        sources=[SimpleNamespace(name=SOURCE, connected=True, since=None, trouble="")],
        backlog=lambda: Backlog(7, 1_000, 100_000, to_us(now) - 2_000_000, 1, 0, {}, 0, ""),
        clock=lambda: now,
    )
    ticks = int(span.total_seconds() / PACE_S)
    batches: list[Readings] = []
    for number, tick in enumerate(islice(simulate(hall, start, 1, pace_s=PACE_S), ticks)):
        now, at_us = tick.at, to_us(tick.at)
        for codec, gpu in zip(codecs, (False, True), strict=True):
            messages = [
                Message(one.topic.encode(), one.payload)
                for one in tick.messages
                if one.topic.startswith("dcim/") is gpu
            ]
            decoded = codec.decode(messages, at_us)
            batches.append(decoded.readings)
            latest.take(decoded.readings, at_us)
            items = {Kind.VALUE: len(decoded.readings)}
            ledger.post([Posting(SOURCE, codec.name, len(messages), items, items, at=now)])
            pace.note(SOURCE, at_us, at_us - 300_000, at_us + 40_000)
        if number == 0:
            watch.plant = survey(index, placements(hall))
            watch.hall, watch.asset = halls.lay_out(watch.plant), watch.plant.assets.get
            engine.follow(watch.plant.topology, watch.plant.assets)
        if number == ticks // 2:
            wet = finding(FindingKind.LEAK_WET, Subject(HALL.site, hall.racks[0]))
            await engine.apply(Detection((wet,)), frozenset({FindingKind.LEAK_WET}), now)
        if number == ticks // 2 + 6:
            (view,) = engine.standing()
            await acknowledge(engine, view.id, "operator", "on my way", now)
        await chronicle.look()
    assert not chronicle.failing
    writer = Lines()
    for point in watch.plant.points.values():
        writer.learn(point.id, series_of(point, watch.plant.assets))
    text = b"".join(writer.block(batch) for batch in batches)
    steps = writer.steps(_minutes(batches))
    return Filled(
        start,
        now + timedelta(seconds=1),
        (text + lines(kept.facts[Tier.RAW])).decode(),
        (steps + lines(kept.facts[Tier.MINUTE])).decode(),
    )


def _minutes(batches: Iterable[Readings]) -> pl.DataFrame:
    """As Steps has them."""
    batches = list(batches)
    frame = pl.DataFrame(
        {
            "point": np.concatenate([batch.point for batch in batches]),
            "time": np.concatenate([batch.time for batch in batches]),
            "value": np.concatenate([batch.value for batch in batches]),
        }
    ).filter(pl.col("value").is_not_nan())
    grouped = frame.group_by((pl.col("time") // 60_000_000 * 60_000_000).alias("start"), "point")
    return grouped.agg(
        pl.col("value").sum().alias("sum"),
        pl.len().cast(pl.UInt32).alias("count"),
        pl.col("value").min().alias("min"),
        pl.col("value").max().alias("max"),
        pl.lit(value=False).alias("uncertain"),
    )


_LINE = re.compile(r"((?:\\.|[^ \\])+) (.*) (\d+)")
_PART = re.compile(r"((?:\\.|[^,\\])+)")
_FIELD = re.compile(r'([^,=" ]+)=("(?:\\.|[^"\\])*"|[^,]*)')


def series(text: str) -> set[tuple[str, tuple[tuple[str, str], ...], str]]:
    """(measurement, tags, field) of every field of every line."""
    found = set()
    for line in text.splitlines():
        told = _LINE.fullmatch(line)
        assert told, line
        head, *tags = _PART.findall(told[1])
        pairs = tuple(tuple(re.sub(r"\\(.)", r"\1", part) for part in tag.split("=", 1)) for tag in tags)
        for field, _ in _FIELD.findall(told[2]):
            found.add((head, pairs, field))
    return found

"""What boards are told beside the readings: ratings, the ledger, sources, fresh and stale points, alarms.

Lives here: which facts there are, and what each says at one moment; docs/influx.md lists them. Not here: when they are
written (chronicle.py), how (dcim.store.facts). Pure: what the service knows and an instant in, facts out. Each list is
bounded by a closed list, by the plant, or by a number here."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from alerts.engine import AlarmView
from alerts.lifecycle import Change, Priority, State, Transition
from dcim.app.hall import STALE_AFTER_S, Hall
from dcim.core.assets import Asset, AssetKey
from dcim.core.facts import Fact, Value
from dcim.core.ledger import Fault, RejectReason, Tally
from dcim.core.live import NEVER, Latest
from dcim.core.names import snake
from dcim.core.pace import Times
from dcim.core.plant import Plant
from dcim.core.ports import Backlog, SourceStatus
from dcim.core.times import SECOND_US, to_us

STALE_MAX: Final = 100
"""Assets of which it is told at a time how many of their points are stale."""
STANDING_MAX: Final = 500
"""Standing alarms that are told each time, the most urgent first. How many there are is told in any case."""
_APART: Final = 1_000
"""Transitions of one alarm at one instant are told less than so many microseconds apart, by their place in the
journal."""

Opened = Mapping[str, int]
"""Alarm's id → when it was opened, microseconds UTC."""


def ratings(plant: Plant, at_us: int) -> list[Fact]:
    """What assets are rated for: `rated_power_kw`, in the measurement that their readings are in."""
    return [
        Fact(snake(asset.kind), place(asset), {"rated_power_kw": asset.placement.rated_power_kw}, at_us)
        for asset in plant.assets.values()
        if asset.placement.rated_power_kw and asset.kind
    ]


def ledger(tallies: Iterable[Tally], at_us: int) -> Iterator[Fact]:
    """`ledger`: what became of items, by source and codec; `reject`: how many were put aside, by source and reason;
    `fault`: what went wrong on connections. All of it counted since the account began, and 0 is told too: "none" is
    another thing than "not known"."""
    for tally in tallies:
        for codec, counts in tally.codecs.items():
            fields: dict[str, Value | None] = {
                "received": sum(counts.received.values()),
                "stored": sum(counts.stored.values()),
                "duplicate": sum(counts.duplicate.values()),
                "rejected": sum(counts.rejected.values()),
                "pending": counts.pending,
                "balance": counts.balance,
            }
            yield Fact("ledger", {"source": tally.source, "codec": codec or "none"}, fields, at_us)
        for reason in RejectReason:
            rejected = tally.rejected.get(reason, 0)
            yield Fact("reject", {"source": tally.source, "reason": reason.value}, {"rejected": rejected}, at_us)
        for fault in Fault:
            faults = tally.faults.get(fault, 0)
            yield Fact("fault", {"source": tally.source, "fault": fault.value}, {"faults": faults}, at_us)


def sources(
    running: Iterable[SourceStatus], tallies: Iterable[Tally], times: Mapping[str, Times], at_us: int
) -> Iterator[Fact]:
    """`source`: whether messages can come in, how long ago the last one came, and how long readings were under way."""
    last = {tally.source: tally.last_received for tally in tallies}
    for source in running:
        received, took = last.get(source.name), times.get(source.name)
        lag, durable = (took.lag, took.durable) if took else (None, None)
        fields: dict[str, Value | None] = {
            "connected": float(source.connected),
            "silent_s": max(0.0, (at_us - to_us(received)) / SECOND_US) if received else None,
            "lag_p50_s": lag.p50_s if lag else None,
            "lag_p99_s": lag.p99_s if lag else None,
            "durable_p99_s": durable.p99_s if durable else None,
            "ahead_s": took.ahead_s if took else None,
        }
        yield Fact("source", {"source": source.name}, fields, at_us)


def spool(backlog: Backlog | None, at_us: int) -> Iterator[Fact]:
    """`spool`: what waits for the server."""
    if backlog is not None:
        oldest_s = max(0.0, (at_us - backlog.oldest_us) / SECOND_US) if backlog.oldest_us is not None else 0.0
        fields: dict[str, Value | None] = {
            "waiting": backlog.waiting,
            "bytes": backlog.bytes,
            "bytes_max": backlog.bytes_max,
            "oldest_s": oldest_s,
            "dead": sum(backlog.dead_lettered.values()),
        }
        yield Fact("spool", {}, fields, at_us)


def coverage(plant: Plant, hall: Hall, latest: Latest, at_us: int) -> Iterator[Fact]:
    """`coverage`: how many points ought to speak and how many do, by site and hall. `stale`: how many points of an
    asset do not, and how long ago the one that has been silent longest spoke (no age where it never did); of the assets
    with the most of them, then of those with the oldest, down to assets of which none is stale."""
    expected: Counter[tuple[str, str]] = Counter()
    speaking: Counter[tuple[str, str]] = Counter()
    silent: Counter[AssetKey] = Counter()
    oldest: dict[AssetKey, int] = {}
    sensed = hall.sensed[hall.sensed < len(latest.heard)]
    limit_us = at_us - int(STALE_AFTER_S * SECOND_US)
    for number, heard_us in zip(sensed.tolist(), latest.heard[sensed].tolist(), strict=True):
        point = plant.points.get(number)
        if point is None:
            continue
        key = AssetKey(point.site, point.asset)
        where = point.site, _hall_of(plant, key, point.within)
        expected[where] += 1
        speaking[where] += heard_us > limit_us
        silent[key] += heard_us <= limit_us
        oldest[key] = min(heard_us, oldest.get(key, heard_us))
    for (site, name), number in expected.items():
        told = speaking[site, name]
        fields: dict[str, Value | None] = {"expected": number, "fresh": told, "stale": number - told}
        yield Fact("coverage", {"site": site, "hall": name}, fields, at_us)
    for key in heapq.nlargest(STALE_MAX, oldest, key=lambda one: (silent[one], -oldest[one])):
        heard_us = oldest[key]
        age_s = None if heard_us == NEVER else max(0.0, (at_us - heard_us) / SECOND_US)
        asset = plant.assets.get(key)
        tags = place(asset) if asset else {"site": key.site, "asset": key.id}
        yield Fact("stale", tags, {"stale": silent[key], "age_s": age_s}, at_us)


def counted(plant: Plant, standing: Sequence[AlarmView], suppressed: int, at_us: int) -> Iterator[Fact]:
    """`alarm_count`: how many alarms stand, by site, hall and priority, also where it is none; of those, how many wait
    for somebody to acknowledge them, and how many were put aside. `alarm_hidden`: how many the design hides."""
    where = {(asset.site, asset.placement.hall) for asset in plant.assets.values() if asset.kind in {"Rack", "CDU"}}
    stand: dict[tuple[str, str, Priority], Counter[str]] = {
        (*one, priority): Counter() for one in where for priority in Priority
    }
    for view in standing:
        key = AssetKey(view.site, view.asset)
        counts = stand.setdefault((view.site, _hall_of(plant, key, ""), view.priority), Counter())
        if view.state in {State.SHELVED, State.OUT_OF_SERVICE}:
            counts["aside"] += 1
            continue
        counts["standing"] += 1
        unacknowledged = {State.UNACKNOWLEDGED, State.RETURNED, State.LATCHED_UNACKNOWLEDGED}
        counts["unacknowledged"] += view.state in unacknowledged
    for (site, name, priority), counts in stand.items():
        tags = {"site": site, "hall": name, "priority": priority.word}
        fields: dict[str, Value | None] = {key: counts[key] for key in ("standing", "unacknowledged", "aside")}
        yield Fact("alarm_count", tags, fields, at_us)
    yield Fact("alarm_hidden", {}, {"suppressed": suppressed}, at_us)


def standing(plant: Plant, views: Sequence[AlarmView], at_us: int) -> list[Fact]:
    """`alarm`, again as it stands, so that whoever asks for the last minutes sees also what has stood for days."""
    worst = heapq.nsmallest(STANDING_MAX, views, key=lambda view: (view.priority, view.opened_at))
    return [
        Fact(
            "alarm",
            _alarm_tags(plant, view.rule, view.site, view.asset, view.qualifier),
            {
                "id": view.id,
                "state": view.state.value,
                "change": "stands",
                "priority": int(view.priority),
                "open": 1,
                "title": view.title,
                "summary": view.summary,
                "by": view.acknowledged_by,
                "stood_s": max(0.0, (at_us - to_us(view.opened_at)) / SECOND_US),
            },
            at_us,
        )
        for view in worst
    ]


def changed(plant: Plant, transition: Transition, title: str, opened: Opened) -> Fact:
    """`alarm`, as a row of the journal tells it. title: what people call it. opened: of alarms that are open; where it
    knows this one, it is told how long it has stood, and how long it took until somebody acknowledged it."""
    at_us = to_us(transition.at)
    since = opened.get(transition.occurrence)
    stood_s = None if since is None else max(0.0, (at_us - since) / SECOND_US)
    subject = transition.key.subject
    return Fact(
        "alarm",
        _alarm_tags(plant, transition.key.rule, subject.site, subject.asset, subject.qualifier),
        {
            "id": transition.occurrence,
            "seq": transition.seq,
            "state": transition.after.value,
            "change": transition.change.value,
            "priority": int(transition.priority),
            "open": float(transition.after is not State.NORMAL),
            "title": title,
            "summary": transition.finding.summary if transition.finding else "",
            "by": transition.by,
            "activated": float(transition.change is Change.ACTIVATED),
            "stood_s": stood_s,
            "answered_s": stood_s if transition.change is Change.ACKNOWLEDGED else None,
        },
        at_us + transition.seq % _APART,
    )


def place(asset: Asset) -> dict[str, str]:
    """Where an asset stands, as the tags of its readings say it."""
    return {
        "site": asset.site,
        "hall": asset.placement.hall,
        "row": asset.placement.row,
        "rack": asset.id if asset.kind == "Rack" else asset.within,
        "asset": asset.id,
    }


def _alarm_tags(plant: Plant, rule: str, site: str, asset: str, qualifier: str) -> dict[str, str]:
    known = plant.assets.get(AssetKey(site, asset))
    where = place(known) if known else {"site": site, "asset": asset}
    if known and not where["hall"]:
        where["hall"] = _hall_of(plant, known.key, known.within)
    return where | {"rule": rule, "qualifier": qualifier}


def _hall_of(plant: Plant, key: AssetKey, within: str) -> str:
    asset = plant.assets.get(key)
    if asset is not None and asset.placement.hall:
        return asset.placement.hall
    container = plant.assets.get(AssetKey(key.site, within or (asset.within if asset else "")))
    return container.placement.hall if container else ""

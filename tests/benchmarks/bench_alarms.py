"""What alarms cost: judging findings, a tick, a list, an acknowledgement of everything, a start with and without a
checkpoint, a flood.

    python -m tests.benchmarks.bench_alarms [--alarms 10000] [--rows 100000]

The plant has a CDU for every eight racks and a feed for every CDU, the rules are the shipped ones, and the journal is
SQLite in a temporary folder. Told are the least and the median of several, in wall time and in processor time of the
whole process, which a busy machine stretches least."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from alerts import rules
from alerts.engine import AlarmView, Engine
from alerts.journal import SqlJournal
from alerts.lifecycle import Acknowledge
from dcim.app.api.alarms import ORDERS
from dcim.app.api.pages import PAGE_MAX, cut
from dcim.app.garbage import COLLECT_AFTER, unsearched
from dcim.app.views import alarm_body
from dcim.core.assets import Asset, AssetKey, Placement
from dcim.core.findings import Detection, Finding, FindingKind, Subject
from dcim.core.plant import Plant
from dcim.core.topology import Edge, Medium, Topology
from tests.alarms import at, finding
from tests.benchmarks.__main__ import machine

STALE, FLOW, WARM, WET = FindingKind.POINT_STALE, FindingKind.FLOW_LOST, FindingKind.LIMIT, FindingKind.LEAK_WET
KINDS = frozenset({STALE, FLOW, WARM})
SITE = "oslo"
RACKS_PER_CDU = 8
REPEATS = 7


Took = list[tuple[float, float]]


def told(name: str, took: Took, of: int | None = None) -> None:
    """One line: least and median of wall time, least of processor time, and how many a core does in a second."""
    wall, busy = [one[0] for one in took], min(one[1] for one in took)
    rate = f"  {of / busy:>10,.0f}/s" if of else ""
    print(
        f"{name:<58} {min(wall) * 1e3:>9.1f} {statistics.median(wall) * 1e3:>9.1f} {busy * 1e3:>9.1f} ms{rate}",
        flush=True,
    )


async def timed(work: Callable[[], Awaitable[object]], repeats: int = REPEATS) -> Took:
    """How long each of several calls took: wall time and processor time."""
    took = []
    for _ in range(repeats):
        began, busy = time.perf_counter(), time.process_time()
        await work()
        took.append((time.perf_counter() - began, time.process_time() - busy))
    return took


def warm(count: int) -> list[Finding]:
    """A supply that is too warm, at so many racks."""
    name = "rack-supply-temperature-high"
    return [finding(WARM, Subject(SITE, f"rack-{number}", f"{name}|supply")) for number in range(count)]


def hall(racks: int) -> tuple[Topology, dict[AssetKey, Asset]]:
    """Who feeds whom."""
    edges: list[Edge] = []
    for block in range(-(-racks // RACKS_PER_CDU)):
        cdu = AssetKey(SITE, f"cdu-{block}")
        edges.append(Edge(AssetKey(SITE, f"feed-{block}"), cdu, Medium.POWER))
        served = range(block * RACKS_PER_CDU, min(racks, (block + 1) * RACKS_PER_CDU))
        edges += [Edge(cdu, AssetKey(SITE, f"rack-{number}"), Medium.COOLANT) for number in served]
    down: dict[tuple[Medium, AssetKey], tuple[AssetKey, ...]] = {}
    up: dict[tuple[Medium, AssetKey], tuple[AssetKey, ...]] = {}
    for feeder, fed, medium in edges:
        down[medium, feeder] = (*down.get((medium, feeder), ()), fed)
        up[medium, fed] = (*up.get((medium, fed), ()), feeder)
    assets = {
        key: Asset(SITE, key.id, key.id, "Rack" if key.id.startswith("rack") else "CDU", True, Placement(), ())
        for key in dict.fromkeys(end for edge in edges for end in edge[:2])
    }
    return Topology(tuple(edges), (), down, up), assets


async def run(alarms: int, rows: int, folder: Path) -> None:
    """All of it."""
    topology, assets = hall(alarms)
    journal = SqlJournal(f"sqlite+aiosqlite:///{folder}/alarms.sqlite")
    await journal.open()
    engine = Engine(rules.default(), journal, asset_of=assets.get)
    await engine.open(at(0))

    async def follow() -> None:
        engine.follow(Topology(), {})
        engine.follow(topology, assets)

    print(f"{'':<58} {'least':>9} {'median':>9} {'processor':>9}")
    told(f"reach of {len(assets):,} assets, when the topology changes", await timed(follow))

    seen = Detection(tuple(warm(alarms)))
    second = 0

    async def judge() -> None:
        nonlocal second
        second += 1
        await engine.apply(seen, KINDS, at(second))

    async def judge_idle() -> None:
        await engine.apply(seen, frozenset({WARM}), at(second))

    await judge()
    told(f"{alarms:,} findings judged, delays running", await timed(judge_idle), alarms)
    second = 130
    told(f"{alarms:,} alarms begin at once, journal included", await timed(judge, 1))
    told(f"{alarms:,} findings judged while their alarms stand", await timed(judge), alarms)

    changed = [Detection(tuple(replace(one, score=1.0 + n) for one in seen.findings)) for n in range(REPEATS)]

    async def renew() -> None:
        await engine.apply(changed.pop(), KINDS, at(second))

    told("the same with new evidence each time", await timed(renew), alarms)

    async def tick() -> None:
        nonlocal second
        second += 1
        await engine.elapse(at(second))

    told(f"tick over {alarms:,} standing alarms, none of which waits for anything", await timed(tick))
    ropes = Detection(tuple(finding(WET, Subject(SITE, f"rope-{number}")) for number in range(alarms)))
    await engine.apply(ropes, frozenset({WET}), at(second))
    told(f"tick over {2 * alarms:,}, half of which wait to escalate", await timed(tick))
    second += 60
    told(f"tick in which {alarms:,} escalate at once, journal included", await timed(tick, 1))
    await engine.apply(Detection(), frozenset({WET}), at(second))
    second += 60
    await tick()
    over = [(view.id, None) for view in engine.standing() if view.kind is WET]
    await engine.act(over, Acknowledge("ana", "dry"), at(second))

    plant = Plant(assets=assets, topology=topology)

    async def listing(limit: int = 1_000) -> None:
        found = [(one, one.occurrence) for one in engine.alarms() if one.occurrence is not None]
        page, _ = cut(found, ORDERS["urgency"], None, limit)
        for one, _ in page:
            view = engine.view(one)
            assert view is not None
            if worded.get(view.id, (None, b""))[0] is not view:  # as the watch does
                worded[view.id] = view, alarm_body(plant, view).model_dump_json().encode()
        msgspec.json.encode({"items": [msgspec.Raw(worded[one.id][1]) for _, one in page], "total": len(found)})

    worded: dict[str, tuple[AlarmView, bytes]] = {}
    told(f"list: the first 1,000 of {alarms:,}", await timed(listing))

    async def listing_anew() -> None:
        worded.clear()
        await listing()

    told("list: the same, each alarm worded anew", await timed(listing_anew))
    await listing(PAGE_MAX)
    told(f"list: {min(alarms, PAGE_MAX):,} of {alarms:,} in one page", await timed(lambda: listing(PAGE_MAX)))
    await engine.apply(Detection((*seen.findings, finding(FLOW, Subject(SITE, "cdu-0")))), KINDS, at(second))
    fresh = [finding(STALE, Subject(SITE, f"rack-{number}", "x")) for number in range(alarms)]

    ids = [(view.id, None) for view in engine.standing()]
    told(
        f"{len(ids):,} alarms acknowledged at once, journal included",
        await timed(lambda: engine.act(ids, Acknowledge("ana", "seen"), at(second)), 1),
    )

    silent = finding(FindingKind.SOURCE_SILENT, Subject(SITE, "bms"))
    kinds = frozenset({STALE, FindingKind.SOURCE_SILENT})
    hidden = Detection((silent, *fresh))
    await engine.apply(hidden, kinds, at(second))
    told(
        f"{alarms:,} findings judged that one alarm hides",
        await timed(lambda: engine.apply(hidden, kinds, at(second))),
        alarms,
    )
    told(
        f"{alarms:,} alarms begin hidden, journal included",
        await timed(lambda: engine.apply(hidden, kinds, at(second + 200)), 1),
    )
    await journal.close()

    for name, standing in (("all of them of alarms that stand", True), ("all of them of alarms that are over", False)):
        url = f"sqlite+aiosqlite:///{folder}/{'standing' if standing else 'over'}.sqlite"
        await fill(url, rows, standing=standing)

        async def start(url: str = url) -> None:
            journal = SqlJournal(url)
            await journal.open()
            with unsearched():  # as the service does
                await Engine(rules.default(), journal).open(at(10**6))
            await journal.close()

        told(f"start on {rows:,} transitions, {name}", await timed(start, 3))

        async def keep(url: str = url) -> None:
            journal = SqlJournal(url)
            await journal.open(existing=True)
            await journal.checkpoint()
            await journal.close()

        told("a checkpoint of it is made, on a thread of its own in the service", await timed(keep, 1))
        told("start from the checkpoint", await timed(start, 3))


async def fill(url: str, rows: int, *, standing: bool) -> None:
    """A journal of so many rows: each alarm begins, is acknowledged, returns or escalates, in turn."""
    journal = SqlJournal(url)
    await journal.open()
    engine = Engine(rules.default(), journal)
    await engine.open(at(0))
    each = rows // 4
    some = Detection(
        tuple(finding(FindingKind.LEAK_WET, Subject(SITE, f"rope-{number}"), 0.95) for number in range(each))
    )
    kinds = frozenset({FindingKind.LEAK_WET})
    await engine.apply(some, kinds, at(0))
    for again in range(2 if standing else 1):
        await engine.apply(Detection(), kinds, at(100 * again + 10))
        await engine.elapse(at(100 * again + 20))
        await engine.apply(some, kinds, at(100 * again + 30))
    if not standing:
        await engine.apply(Detection(), kinds, at(200))
        await engine.elapse(at(210))
        await engine.act([(view.id, None) for view in engine.standing()], Acknowledge("ana"), at(220))
    recalled = await journal.recall()
    print(f"  ({recalled.seq:,} rows, {len(recalled.transitions):,} of what stands)", flush=True)
    await journal.close()


def main() -> None:
    """Reads the options and runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alarms", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=100_000)
    options = parser.parse_args()
    print(f"machine: {machine()}; process {os.getpid()}")
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])  # as the service does
    with TemporaryDirectory() as folder:
        asyncio.run(run(options.alarms, options.rows, Path(folder)))


if __name__ == "__main__":
    main()

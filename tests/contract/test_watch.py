"""How the watch keeps out of ingest's way: every arrival is looked at, in short looks, and what waits is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from alerts import rules
from alerts.engine import Engine
from dcim.app import watch as watching
from dcim.app.hub import Hub
from dcim.app.watch import LOOK_POINTS, OFFERS_MAX, Watch
from dcim.core.findings import Detection, FindingKind
from dcim.core.live import Latest
from dcim.core.plant import Plant
from dcim.core.points import Point, PointIndex
from dcim.core.ports import Sentinel
from dcim.core.readings import Readings
from dcim.detect.window import Window
from tests.alarms import MemoryJournal

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Noting:
    """A sentinel that notes what it is shown."""

    name = "noting"
    kinds = frozenset({FindingKind.LEAK_WET})
    quantities = frozenset({"RackLeakDetect"})

    def __init__(self) -> None:
        self.shown: list[Readings] = []

    def look(self, arrived: Readings, latest: Latest, plant: Plant, at: datetime) -> Detection:
        assert (latest.value[arrived.point] == arrived.value).all()
        self.shown.append(arrived)
        return Detection(looked_at=frozenset())


def described(index: PointIndex, points: int, quantity: str = "RackLeakDetect") -> None:
    for _ in range(points):
        number = index.locate(f"s|t|{len(index)}")
        index.describe(
            Point(number, f"s|t|{number}", "s", f"r-{number}", "Rack", f"r-{number}", quantity, unit=""),
        )


def made(index: PointIndex, sentinel: Sentinel) -> Watch:
    return Watch(
        index=index,
        placements={},
        latest=Latest(),
        window=Window(timedelta(minutes=1)),
        sentinels=[sentinel],
        detectors=[],
        vigils=[],
        engine=Engine(rules.default(), MemoryJournal()),
        hub=Hub(),
        clock=lambda: NOW,
        tick_s=2.0,
    )


def values(points: range, value: float) -> Readings:
    number = np.array(points, np.uint32)
    return Readings(number, number.astype(np.int64), np.full(len(number), value), np.zeros(len(number), np.uint8))


async def attend(watch: Watch, until: Callable[[], bool]) -> None:
    attending = asyncio.create_task(watch.attend())
    async with asyncio.timeout(10):
        while not until():
            await asyncio.sleep(0)
            assert not attending.done(), attending.exception()
    attending.cancel()


def test_every_arrival_is_looked_at_in_turns_and_as_it_is_now() -> None:
    async def scenario() -> None:
        index, sentinel = PointIndex(), Noting()
        described(index, 3 * LOOK_POINTS)
        described(index, 10, "RackPower")
        watch = made(index, sentinel)
        watch.offer(values(range(len(index)), 1.0), 1)
        watch.offer(values(range(100), 2.0), 2)
        await attend(watch, lambda: sum(map(len, sentinel.shown)) >= 3 * LOOK_POINTS)
        assert max(map(len, sentinel.shown)) == LOOK_POINTS
        shown = Readings.concat(sentinel.shown)
        assert sorted(shown.point.tolist()) == list(range(3 * LOOK_POINTS))
        assert (shown.value == np.where(shown.point < 100, 2.0, 1.0)).all(), "of two values, the newer is looked at"

    asyncio.run(scenario())


def test_what_arrives_all_the_time_does_not_crowd_the_rest_out() -> None:
    async def scenario() -> None:
        index, sentinel = PointIndex(), Noting()
        described(index, 2 * LOOK_POINTS)
        watch = made(index, sentinel)
        last = 2 * LOOK_POINTS - 1
        watch.offer(values(range(2 * LOOK_POINTS), 1.0), 1)

        def again() -> bool:
            watch.offer(values(range(LOOK_POINTS), 1.0), 2)
            return any(last in shown.point for shown in sentinel.shown)

        await attend(watch, again)
        assert len(sentinel.shown) == 2

    asyncio.run(scenario())


def test_a_point_that_is_described_later_is_looked_at_then() -> None:
    async def scenario() -> None:
        index, sentinel = PointIndex(), Noting()
        described(index, 1)
        index.locate("s|t|late")
        watch = made(index, sentinel)
        watch.offer(values(range(2), 1.0), 1)
        await attend(watch, lambda: bool(sentinel.shown))
        assert sentinel.shown[0].point.tolist() == [0]
        index.describe(Point(1, "s|t|late", "s", "r-1", "Rack", "r-1", "RackLeakDetect", unit=""))
        watch._survey_due = 0.0  # its pause is over
        watch.offer(values(range(1), 1.0), 2)
        await attend(watch, lambda: any(1 in shown.point for shown in sentinel.shown))

    asyncio.run(scenario())


def test_what_another_loop_finds_described_is_looked_at_though_nothing_more_arrives() -> None:
    async def scenario() -> None:
        index, sentinel = PointIndex(), Noting()
        described(index, 1)
        index.locate("s|t|late")
        watch = made(index, sentinel)
        watch.offer(values(range(2), 1.0), 1)

        async def describe() -> None:
            """What the loop of ticks does, once arrivals have been looked at and there is nothing left to do."""
            await asyncio.sleep(0.1)
            index.describe(Point(1, "s|t|late", "s", "r-1", "Rack", "r-1", "RackLeakDetect", unit=""))
            watch._survey_due = 0.0  # its pause is over
            await watch._refresh()

        describing: list[asyncio.Task[None]] = []

        def looked_at() -> bool:
            if sentinel.shown and not describing:
                describing.append(asyncio.create_task(describe()))
            return any(1 in shown.point for shown in sentinel.shown)

        await attend(watch, looked_at)

    asyncio.run(scenario())


def test_a_look_earns_a_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        index, sentinel = PointIndex(), Noting()
        described(index, 2 * LOOK_POINTS)
        watch = made(index, sentinel)
        loop = asyncio.get_running_loop()
        clock = [loop.time()]

        def slowly(*_: object) -> Detection:
            clock[0] += 0.1
            return Detection(looked_at=frozenset())

        monkeypatch.setattr(sentinel, "look", slowly)
        monkeypatch.setattr(loop, "time", lambda: clock[0])
        watch.offer(values(range(2 * LOOK_POINTS), 1.0), 1)
        await watch._refresh()
        watch._mark(np.arange(2 * LOOK_POINTS, dtype=np.uint32))
        watch.latest.take(values(range(2 * LOOK_POINTS), 1.0), 1)
        await watch._look()
        assert watch._look_due == pytest.approx(clock[0] + 0.4)

    asyncio.run(scenario())


@pytest.mark.parametrize(("batches", "rows"), [(OFFERS_MAX + 3, 1), (12, 100)])
def test_what_waits_for_the_watch_is_bounded(monkeypatch: pytest.MonkeyPatch, batches: int, rows: int) -> None:
    monkeypatch.setattr(watching, "OFFERS_ROWS_MAX", 5_000 if rows == 1 else 1_000)
    watch = made(PointIndex(), Noting())
    for number in range(batches):
        watch.offer(values(range(rows), float(number)), number)
    kept = OFFERS_MAX if rows == 1 else 10
    assert [int(readings.value[0]) for readings, _ in watch._offers] == list(range(batches - kept, batches))
    assert watch.offers_dropped == (batches - kept) * rows

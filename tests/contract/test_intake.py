"""The way in: durable before acknowledged, booked exactly, and a failure half-way neither loses nor counts twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from dcim.app.intake import Intake
from dcim.core.errors import Transient
from dcim.core.ledger import Kind, Ledger, Reject, RejectReason, Tally
from dcim.core.points import Point, PointIndex, PointRecord
from dcim.core.ports import Appended, Batch, Decoded, Message, Oversized
from dcim.core.readings import Readings
from dcim.core.times import SECOND_US
from dcim.store.memory import MemoryStore

START = datetime(2026, 11, 23, tzinfo=UTC)
T0 = 1_790_000_000 * SECOND_US


class LineCodec:
    """A codec of one line a message: "describe KEY", "KEY SECOND VALUE", anything else is a reject."""

    name = "line"

    def __init__(self, index: PointIndex) -> None:
        self.index = index

    def decode(self, messages: Sequence[Message], received: int) -> Decoded:
        decoded = Decoded(Readings.empty(), Readings.empty())
        known: list[tuple[int, int, float]] = []
        unknown: list[tuple[int, int, float]] = []
        for message in messages:
            words = message.payload.decode().split()
            if words[0] == "describe":
                point = self.index.locate(words[1])
                if self.index[point] is not None:
                    decoded.repeated += 1
                    continue
                self.index.describe(
                    Point(point, words[1], "site", "rack", "Rack", "rack", "RackPower", "kW", scale=10.0)
                )
                decoded.described += 1
                decoded.bound.append(point)
            elif len(words) == 3:
                point = self.index.locate(words[0])
                described = self.index[point] is not None
                row = (point, T0 + int(words[1]) * SECOND_US, float(words[2]) * (10 if described else 1))
                (known if described else unknown).append(row)
            else:
                reject = Reject(RejectReason.MALFORMED_PAYLOAD, b"", message.payload, "what is this", received)
                decoded.rejects.append(reject)
        decoded.readings, decoded.held = _rows(known), _rows(unknown)
        return decoded


def _rows(rows: list[tuple[int, int, float]]) -> Readings:
    points, times, values = zip(*rows, strict=True) if rows else ((), (), ())
    return Readings.of(points, times, values, [0] * len(rows))


class Flaky(MemoryStore):
    """A store whose verbs fail as often as told, before they do anything."""

    def __init__(self) -> None:
        super().__init__()
        self.fail: dict[str, int] = {}

    def _maybe(self, verb: str) -> None:
        if self.fail.get(verb, 0):
            self.fail[verb] -= 1
            raise Transient("the disk is full", where=verb)

    def remember(self, records: Sequence[PointRecord]) -> None:
        self._maybe("remember")
        super().remember(records)

    def append(self, batch: Readings) -> Appended:
        self._maybe("append")
        return super().append(batch)

    def hold(self, batch: Readings) -> Appended:
        self._maybe("hold")
        return super().hold(batch)

    def release(self, points: Sequence[int], convert: Callable[[Readings], Readings]) -> tuple[Readings, Appended]:
        self._maybe("release")
        return super().release(points, convert)


@dataclass
class Bench:
    """An intake with everything in memory."""

    store: Flaky = field(default_factory=Flaky)
    ledger: Ledger = field(default_factory=Ledger)
    index: PointIndex = field(default_factory=PointIndex)
    offered: list[Readings] = field(default_factory=list)
    held_max: int = 1_000

    def __post_init__(self) -> None:
        for source in ("a", "b"):
            self.ledger.open(source, "line", START)
        self.intake = self.open()

    def open(self) -> Intake:
        codec = LineCodec(self.index)
        return Intake(
            codecs={"a": codec, "b": codec},
            index=self.index,
            store=self.store,
            catalogue=self.store,
            holding=self.store,
            ledger=self.ledger,
            convert=lambda held: Readings(held.point, held.time, held.value * 10, held.quality),
            offer=lambda readings, _: self.offered.append(readings),
            held_max=self.held_max,
        )

    def deliver(self, *lines: str, source: str = "a", oversized: Sequence[Oversized] = (), overflowed: int = 0) -> None:
        batch = Batch(source, [Message(b"t", line.encode()) for line in lines], T0, oversized, overflowed)
        self.again(batch)

    def again(self, batch: Batch) -> None:
        asyncio.run(self.intake.deliver(batch))

    def tally(self, source: str = "a") -> Tally:
        (found,) = [tally for tally in self.ledger.tallies() if tally.source == source]
        assert found.balance == 0
        return found

    def values(self) -> list[float]:
        frame = self.store.window(list(range(len(self.index))), START.replace(year=2000), START.replace(year=2100))
        return frame["value"].to_list()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_everything_that_came_is_booked(bench: Bench) -> None:
    bench.deliver("describe x", "x 1 5", "x 1 5", "nonsense", oversized=[Oversized(b"t", 10**7)], overflowed=3)
    tally = bench.tally()
    assert tally.messages == 8
    assert tally.received == {Kind.VALUE: 2, Kind.METADATA: 1, Kind.UNREADABLE: 5}
    assert tally.stored == {Kind.VALUE: 1, Kind.METADATA: 1}
    assert tally.duplicate == {Kind.VALUE: 1}
    assert tally.rejected == {
        RejectReason.MALFORMED_PAYLOAD: 1,
        RejectReason.PAYLOAD_TOO_LARGE: 1,
        RejectReason.OVERFLOW: 3,
    }
    assert bench.values() == [50]


def test_values_before_their_metadata_wait_and_are_converted_once(bench: Bench) -> None:
    bench.deliver("x 1 5", "x 2 6")
    assert bench.tally().pending == 2
    assert bench.values() == []
    bench.deliver("describe x", "x 3 7")
    assert bench.tally().pending == 0
    assert bench.values() == [50, 60, 70]
    assert [len(readings) for readings in bench.offered] == [0, 3]


def test_a_value_and_its_metadata_in_one_batch(bench: Bench) -> None:
    bench.deliver("x 1 5", "describe x", "x 2 6")
    assert bench.tally().pending == 0
    assert bench.values() == [50, 60]


def test_what_waits_is_booked_where_it_was_received(bench: Bench) -> None:
    bench.deliver("x 1 5", source="a")
    bench.deliver("describe x", source="b")
    assert bench.tally("a").stored == {Kind.VALUE: 1}
    assert bench.tally("b").stored == {Kind.METADATA: 1}


def test_the_newcomer_is_refused_when_too_much_waits() -> None:
    bench = Bench(held_max=2)
    bench.deliver("x 1 5", "x 2 6", "x 3 7")
    assert bench.tally().rejected == {RejectReason.TOO_MANY_HELD: 1}
    bench.deliver("describe x")
    assert bench.values() == [50, 60]


@pytest.mark.parametrize("verb", ["remember", "append", "hold", "release"])
def test_a_failure_half_way_neither_loses_nor_counts_twice(bench: Bench, verb: str) -> None:
    bench.deliver("x 1 5")
    batch = Batch("a", [Message(b"t", line) for line in (b"describe x", b"x 2 6", b"y 1 1", b"nonsense")], T0)
    bench.store.fail[verb] = 2
    for _ in range(2):
        with pytest.raises(Transient, match="the disk is full"):
            bench.again(batch)
    bench.again(batch)
    tally = bench.tally()
    assert tally.messages == 5
    assert tally.stored == {Kind.VALUE: 2, Kind.METADATA: 1}
    assert tally.rejected == {RejectReason.MALFORMED_PAYLOAD: 1}
    assert tally.duplicate == {}
    assert tally.pending == 1
    assert bench.values() == [50, 60]
    assert [record.described is not None for record in bench.store.recall()] == [True, False]


def test_what_an_earlier_run_left_waiting_is_carried_on(bench: Bench) -> None:
    bench.deliver("x 1 5", "x 2 6")
    later = Bench(store=bench.store)
    later.index.restore(bench.store.recall())
    later.intake.resume(lambda key: "b" if key == "x" else None)
    assert later.tally("b").pending == later.tally("b").carried == 2
    later.deliver("describe x")
    assert later.tally("b").stored == {Kind.VALUE: 2}
    assert later.tally("b").pending == 0
    assert later.values() == [50, 60]


def test_described_but_not_released_before_a_crash(bench: Bench) -> None:
    bench.deliver("x 1 5")
    bench.store.fail["release"] = 1
    with pytest.raises(Transient):
        bench.deliver("describe x")
    later = Bench(store=bench.store)
    later.index.restore(bench.store.recall())
    later.intake.resume(lambda _: "a")
    later.deliver("x 2 6")
    assert later.values() == [50, 60]
    assert later.tally().pending == 0

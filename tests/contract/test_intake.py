"""The way in: durable before acknowledged, booked exactly by source and codec, and a failure half-way neither loses nor
counts twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from dcim.app.intake import Intake
from dcim.core import account
from dcim.core.errors import Transient
from dcim.core.ledger import Fault, Kind, Ledger, Reject, RejectReason, Tally
from dcim.core.pace import Pace, Spread
from dcim.core.points import Point, PointIndex, PointRecord
from dcim.core.ports import Appended, Batch, Decoded, Entry, Message, Oversized, Wish
from dcim.core.readings import Readings
from dcim.core.times import SECOND_US, from_us
from dcim.store.memory import MemoryStore
from dcim.store.retention import FOR_EVER, Retention

START = datetime(2026, 11, 23, tzinfo=UTC)
T0 = 1_790_000_000 * SECOND_US


class Lines:
    """A router of codecs of one line a message: "describe KEY", "KEY SECOND VALUE", anything else is a reject. A topic
    is its codec's name."""

    def __init__(self, index: PointIndex) -> None:
        self.index = index

    def route(self, messages: Sequence[Message], received: int) -> list[Decoded]:
        parts = []
        for topic in dict.fromkeys(message.topic for message in messages):
            parts.append(self.decode([message for message in messages if message.topic == topic], received))
            parts[-1].codec = topic.decode()
        return parts

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
    """A store whose verbs fail as often as told: before they do anything, or ("after append") when all is done."""

    def __init__(self, retention: Retention = FOR_EVER) -> None:
        super().__init__(retention=retention)
        self.fail: dict[str, int] = {}

    def _maybe(self, verb: str) -> None:
        if self.fail.get(verb, 0):
            self.fail[verb] -= 1
            raise Transient("the disk is full", where=verb)

    def remember(self, records: Sequence[PointRecord]) -> None:
        self._maybe("remember")
        super().remember(records)

    def append(self, batch: Readings, entry: Entry | None = None) -> Appended:
        self._maybe("append")
        try:
            return super().append(batch, entry)
        finally:
            self._maybe("after append")

    def hold(self, batch: Readings, entry: Entry | None = None) -> Appended:
        self._maybe("hold")
        try:
            return super().hold(batch, entry)
        finally:
            self._maybe("after hold")

    def release(
        self, points: Sequence[int], convert: Callable[[Readings], Readings], entry: Entry | None = None
    ) -> tuple[Readings, Appended]:
        self._maybe("release")
        try:
            return super().release(points, convert, entry)
        finally:
            self._maybe("after release")


def batch_of(
    *lines: str, source: str = "a", oversized: Sequence[Oversized] = (), overflowed: int = 0, codec: bytes = b"line"
) -> Batch:
    """A batch of lines; one that begins with "other:" is the other codec's."""
    messages = []
    for line in lines:
        topic, _, rest = line.rpartition(":")
        messages.append(Message(topic.encode() or codec, rest.encode()))
    return Batch(source, messages, T0, oversized, overflowed)


@dataclass
class Bench:
    """An intake with everything in memory."""

    store: Flaky = field(default_factory=Flaky)
    ledger: Ledger = field(default_factory=Ledger)
    index: PointIndex = field(default_factory=PointIndex)
    pace: Pace = field(default_factory=Pace)
    offered: list[Readings] = field(default_factory=list)
    held_max: int = 1_000

    def __post_init__(self) -> None:
        for source in ("a", "b"):
            self.ledger.open(source, "line", START)
        self.intake = self.open()

    def again_after_a_crash(self) -> Bench:
        """What a new process finds: the store with its account, and nothing of what was in memory."""
        kept = self.store.booked()
        later = Bench(self.store, Ledger(account.read(kept) if kept else {}))
        later.index.restore(self.store.recall())
        later.intake.resume(lambda _: ("a", "line"))
        return later

    def open(self, **others: Any) -> Intake:
        lines = Lines(self.index)
        return Intake(
            routers=others.pop("routers", {"a": lines, "b": lines}),
            index=self.index,
            store=self.store,
            catalogue=self.store,
            holding=self.store,
            books=self.store,
            ledger=self.ledger,
            pace=self.pace,
            clock=lambda: T0 + 40_000,
            convert=lambda held: Readings(held.point, held.time, held.value * 10, held.quality),
            offer=lambda readings, _: self.offered.append(readings),
            held_max=self.held_max,
            **others,
        )

    def deliver(self, *lines: str, source: str = "a", oversized: Sequence[Oversized] = (), overflowed: int = 0) -> None:
        self.again(batch_of(*lines, source=source, oversized=oversized, overflowed=overflowed))

    def again(self, batch: Batch) -> None:
        asyncio.run(self.intake.deliver(batch))

    def tally(self, source: str = "a", *, of_this_run: bool = False) -> Tally:
        (found,) = [one for one in self.ledger.tallies(of_this_run=of_this_run) if one.source == source]
        assert [counts.balance for counts in (found, *found.codecs.values())] == [0] * (1 + len(found.codecs))
        return found

    def expect_books(self) -> None:
        """What the account on disk says is what is in the store, and what is in memory."""
        kept = self.store.booked()
        assert kept is not None
        accounts = account.read(kept)
        assert accounts == self.ledger.preview()
        counts = [counts for one in accounts.values() for counts in one.codecs.values()]
        assert sum(one.stored.get(Kind.VALUE, 0) for one in counts) == len(self.values())
        assert sum(one.pending for one in counts) == sum(self.store.held().values())

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


VERBS = ["remember", "append", "hold", "release"]


AFTER = ["after append", "after hold", "after release"]
"""The write failed, but was kept."""


def test_what_comes_after_its_time_was_dropped_is_booked_as_that() -> None:
    """Also where it had waited for its metadata."""
    hour = timedelta(hours=1)
    bench = Bench(store=Flaky(Retention(hour, hour, hour)))
    bench.deliver("describe x", "x 1 5", "x 9000 6", "y 1 5", "y 9000 6")
    bench.store.maintain(from_us(T0 + 9000 * SECOND_US))
    bench.deliver("x 2 7", "x 9000 8", "x 9001 inf")
    bench.deliver("describe y")
    tally = bench.tally()
    assert tally.stored == {Kind.VALUE: 3, Kind.METADATA: 2}
    assert tally.duplicate == {Kind.VALUE: 1}
    assert tally.rejected == {RejectReason.PAST_RETENTION: 2, RejectReason.STORE_REFUSED: 1}
    assert tally.pending == 0
    assert bench.values() == [60, 60]


@pytest.mark.parametrize(("verb", "times"), [*((verb, 2) for verb in VERBS), *((verb, 1) for verb in AFTER)])
def test_a_failure_half_way_neither_loses_nor_counts_twice(bench: Bench, verb: str, times: int) -> None:
    bench.deliver("x 1 5")
    batch = batch_of("describe x", "x 2 6", "y 1 1", "nonsense")
    bench.store.fail[verb] = times
    for _ in range(times):
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
    assert len(bench.offered[-1]) == 2
    bench.expect_books()


def test_a_doubt_is_settled_before_another_source_is_served(bench: Bench) -> None:
    """A write that failed and was kept all the same: the next batch is another source's, and must not book over it."""
    first = batch_of("describe x", "x 1 5")
    bench.store.fail["after append"] = 1
    with pytest.raises(Transient):
        bench.again(first)
    bench.deliver("x 2 6", source="b")
    bench.expect_books()
    bench.again(first)
    assert bench.tally("a").stored == {Kind.VALUE: 1, Kind.METADATA: 1}
    assert bench.tally("a").duplicate == {}
    assert bench.tally("b").stored == {Kind.VALUE: 1}
    bench.expect_books()


class Talkative:
    """A router of one codec that has everything to say that is no present value."""

    def __init__(self, index: PointIndex) -> None:
        self.index = index

    def route(self, messages: Sequence[Message], received: int) -> list[Decoded]:
        point = self.index.locate("p")
        self.index.describe(Point(point, "p", "site", "rack", "Rack", "rack", "RackPower", "kW"))
        rows = Readings.of([point], [T0], [1.0], [0])
        past = Readings.of([point], [T0 - SECOND_US], [2.0], [0])
        alive = np.array([point], np.uint32)
        return [Decoded(rows, Readings.empty(), codec="line", past=past, alive=alive, wishes=[Wish("t", b"", "w")])]


def test_what_is_past_is_kept_and_not_watched_and_the_rest_is_told(bench: Bench) -> None:
    heard: list[tuple[list[int], int]] = []
    asked: list[tuple[str, list[Wish]]] = []
    told = {"hear": lambda points, at: heard.append((points.tolist(), at)), "ask": lambda *it: asked.append(it)}
    bench.intake = bench.open(routers={"a": Talkative(bench.index)}, **told)
    bench.store.fail = {"append": 1}
    batch = batch_of("anything")
    with pytest.raises(Transient):
        bench.again(batch)
    assert (heard, asked) == ([], [])  # nothing is said of what is not durable
    bench.again(batch)
    assert bench.values() == [2.0, 1.0]
    assert [readings.value.tolist() for readings in bench.offered] == [[1.0]]
    assert heard == [([0], T0)]
    assert asked == [("a", [Wish("t", b"", "w")])]
    assert bench.tally().stored[Kind.VALUE] == 2


def test_each_codec_has_an_account_of_its_own(bench: Bench) -> None:
    bench.deliver("describe x", "x 1 5", "other:describe y", "other:y 1 7", "other:y 1 7", "other:z 1 1", "other:what")
    whole = bench.tally()
    line, other, unread = whole.codecs["line"], whole.codecs["other"], whole.codecs[""]
    assert (line.received, line.stored) == ({Kind.VALUE: 1, Kind.METADATA: 1}, {Kind.VALUE: 1, Kind.METADATA: 1})
    assert other.received == {Kind.VALUE: 3, Kind.METADATA: 1, Kind.UNREADABLE: 1}
    assert other.stored == {Kind.VALUE: 1, Kind.METADATA: 1}
    assert (other.duplicate, other.pending) == ({Kind.VALUE: 1}, 1)
    assert other.rejected == {RejectReason.MALFORMED_PAYLOAD: 1}
    assert unread.received == {}
    assert whole.messages == 7
    bench.expect_books()
    bench.deliver("other:describe z", oversized=[Oversized(b"t", 10**7)])
    assert bench.tally().codecs["other"].pending == 0
    assert bench.tally().codecs[""].rejected == {RejectReason.PAYLOAD_TOO_LARGE: 1}
    bench.expect_books()


def test_the_account_goes_on_after_a_restart(bench: Bench) -> None:
    bench.deliver("describe x", "x 1 5", "x 2 6", "nonsense")
    bench.ledger.fault("a", Fault.CONNECTION_LOST)
    bench.intake.close()
    later = bench.again_after_a_crash()
    later.deliver("x 2 6", "x 3 7")
    whole, run = later.tally(), later.tally(of_this_run=True)
    assert whole.stored == {Kind.VALUE: 3, Kind.METADATA: 1}
    assert whole.rejected == {RejectReason.MALFORMED_PAYLOAD: 1}
    assert (whole.duplicate, whole.messages) == ({Kind.VALUE: 1}, 6)
    assert whole.faults == {Fault.CONNECTION_LOST: 1}
    assert (run.stored, run.duplicate, run.messages) == ({Kind.VALUE: 1}, {Kind.VALUE: 1}, 2)
    assert (run.rejected, run.faults) == ({}, {})
    later.expect_books()


@pytest.mark.parametrize("verb", [*VERBS, *AFTER])
def test_the_books_agree_with_the_store_wherever_it_was_killed(bench: Bench, verb: str) -> None:
    """Whatever was durable when the process ended, the sender sends the batch again."""
    bench.deliver("x 1 5")
    batch = batch_of("describe x", "x 2 6", "y 1 1", "nonsense", "other:describe v", "other:v 1 2", "other:w 1 3")
    bench.store.fail[verb] = 1
    with pytest.raises(Transient):
        bench.again(batch)
    later = bench.again_after_a_crash()
    later.deliver(*(f"{message.topic.decode()}:{message.payload.decode()}" for message in batch.messages))
    later.expect_books()
    tally = later.tally()
    assert later.values() == [50, 60, 20]
    assert tally.pending == 2
    settled = sum(tally.stored.values()) + sum(tally.duplicate.values()) + sum(tally.rejected.values())
    assert sum(tally.received.values()) == settled + tally.pending
    assert tally.stored[Kind.VALUE] == 3


def test_what_an_earlier_run_left_waiting_goes_on_waiting(bench: Bench) -> None:
    bench.deliver("x 1 5", "x 2 6", "y 1 1", source="b")
    bench.deliver("other:y 2 1", "other:z 1 1", source="a")
    later = bench.again_after_a_crash()  # which is told that everything is a's, of the codec "line": it knows better
    assert later.tally("b").pending == 3
    assert later.tally("a").codecs["other"].pending == 2
    assert later.tally("b").carried == 0
    run = later.tally("b", of_this_run=True)
    assert (run.carried, run.pending, run.received) == (3, 3, {})
    later.deliver("describe x", "describe y", "describe z")
    assert (later.tally("a").pending, later.tally("b").pending) == (0, 0)
    assert later.tally("b").stored == {Kind.VALUE: 3}
    assert later.tally("a").codecs["other"].stored == {Kind.VALUE: 2}
    later.expect_books()


def test_what_waits_and_is_in_no_account_is_carried_into_one(bench: Bench) -> None:
    bench.deliver("x 1 5", "x 2 6")
    later = Bench(store=bench.store)  # its account was damaged: it begins anew
    later.index.restore(bench.store.recall())
    later.intake.resume(lambda key: ("b", "line") if key == "x" else None)
    assert later.tally("b").pending == later.tally("b").carried == 2
    later.deliver("describe x")
    assert later.tally("b").stored == {Kind.VALUE: 2}
    assert later.tally("b").pending == 0
    assert later.values() == [50, 60]


def test_a_source_that_is_configured_no_longer_keeps_its_account(bench: Bench) -> None:
    bench.deliver("describe x", "x 1 5")
    kept = bench.store.booked()
    assert kept is not None
    ledger = Ledger(account.read(kept))
    ledger.open("c", "line", START)
    assert [(tally.source, tally.messages) for tally in ledger.tallies()] == [("a", 2), ("b", 0), ("c", 0)]
    assert ledger.rejects("a") == []


def test_described_but_not_released_before_a_crash(bench: Bench) -> None:
    bench.deliver("x 1 5")
    bench.store.fail["release"] = 1
    with pytest.raises(Transient):
        bench.deliver("describe x")
    later = bench.again_after_a_crash()
    later.deliver("x 2 6")
    assert later.values() == [50, 60]
    assert later.tally().pending == 0
    later.expect_books()


def test_trouble_is_told_while_it_lasts(bench: Bench) -> None:
    bench.store.fail["append"] = 2
    batch = batch_of("describe x", "x 1 5")
    for _ in range(2):
        with pytest.raises(Transient):
            bench.again(batch)
    assert bench.intake.trouble is not None
    assert "the disk is full" in bench.intake.trouble.what
    bench.again(batch)
    assert bench.intake.trouble is None


def test_how_long_readings_were_under_way(bench: Bench) -> None:
    bench.deliver("describe x", "x -3 5", "x -9 5")
    bench.deliver("x 0 5", "y -1 5")
    bench.deliver("x 2 5")
    bench.deliver("describe x")
    times = bench.pace.times("a", T0 + 1)
    assert times.batches == 4
    assert times.lag == Spread(0.0, 3.0, 3.0)
    assert times.ahead_s == 2.0
    assert times.durable == Spread(0.04, 0.04, 0.04)
    nothing = bench.pace.times("a", T0 + 60 * SECOND_US)
    assert (nothing.batches, nothing.lag, nothing.ahead_s, nothing.durable) == (0, None, 0.0, None)

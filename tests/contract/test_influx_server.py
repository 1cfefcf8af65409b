"""A real InfluxDB 2: what it answers is what our stand-in answers, and what a store promises holds in front of it.

The checks of every store run over it too (test_stores.py). DCIM_TEST_INFLUX_URL, _TOKEN and _ORG name the server."""

from __future__ import annotations

import asyncio
import itertools
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest

from dcim.core.errors import Permanent, Transient
from dcim.core.ledger import DeadLetter, RejectReason
from dcim.core.ports import Aggregate, Appended
from dcim.core.readings import Readings, Tier
from dcim.core.times import from_us, now, to_us
from dcim.store import flux, influx, influx_client
from dcim.store.influx import InfluxStore
from dcim.store.influx_buckets import carry_out, names, plan
from dcim.store.influx_client import InfluxServer
from dcim.store.line_protocol import Series
from dcim.store.memory import MemoryStore
from dcim.store.retention import Retention
from dcim.store.rollup import PACES, Pace
from tests.influx_real import URL, WHY_NOT, Buckets

pytestmark = pytest.mark.skipif(not URL, reason=WHY_NOT)

T0 = to_us(datetime(2026, 3, 1, 3, 0, tzinfo=UTC))
HOUR_US = 3_600_000_000
AT_ONCE = dict.fromkeys(PACES, Pace(0, 0, 0))


@pytest.fixture
def buckets() -> Iterator[Buckets]:
    with Buckets() as buckets:
        yield buckets


@pytest.fixture
def store(buckets: Buckets, tmp_path: Path) -> Iterator[InfluxStore]:
    with InfluxStore(buckets.place, tmp_path / "influx", 2**26, now, paces=AT_ONCE) as store:
        yield store


def drained(store: InfluxStore) -> InfluxStore:
    assert store.drain(60), store.backlog()
    return store


def rows(frame: pl.DataFrame) -> list[Any]:
    return frame.with_columns(pl.col("time").dt.epoch("us")).rows()


def until(so: Callable[[], bool]) -> None:
    """Waits for what another thread brings about."""
    for _ in range(6_000):
        if so():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not come about")


# --- what it refuses


def test_a_line_of_another_type_in_every_batch(buckets: Buckets, store: InfluxStore) -> None:
    """Somebody else has made `value_bad` an integer: bad readings cannot be written, and cost no neighbour."""
    buckets.write(f"asset,point=other value_bad=1i {T0}")
    for batch in range(5):
        rows_of_batch = [(point, T0 + batch, float(point), 2 if point == 7 else 0) for point in range(20)]
        assert store.append(Readings.of(*zip(*rows_of_batch, strict=True))) == Appended(20, 0)
    backlog = drained(store).backlog()
    assert (backlog.forwarded, backlog.dead_lettered) == (95, {DeadLetter.TYPE_CONFLICT: 5})
    assert [letter.line.split(" ")[0] for letter in store.dead_readings()] == ["asset,point=#7"] * 5
    assert "already exists as type integer" in store.dead_readings()[0].message
    window = store.window(range(20), from_us(T0), from_us(T0 + 10))
    assert window.height == 95


class Poisoned:
    """Series of which one cannot be written: `time` is a tag that InfluxDB keeps for itself."""

    def series(self, points: Sequence[int]) -> Mapping[int, Series]:
        return {
            number: Series("rack", (("point", f"p{number}"), *((("time", "now"),) if number == 3 else ())), "power_kw")
            for number in points
        }

    def changed(self) -> Sequence[int]:
        return ()


def test_a_line_that_cannot_be_read_in_every_batch(buckets: Buckets, tmp_path: Path) -> None:
    with InfluxStore(buckets.place, tmp_path / "influx", 2**26, now, series=lambda _: Poisoned()) as store:
        for batch in range(5):
            store.append(Readings.of(range(20), [T0 + batch] * 20, [1.0] * 20, [0] * 20))
        backlog = drained(store).backlog()
        assert (backlog.forwarded, backlog.dead_lettered) == (95, {DeadLetter.MALFORMED: 5})
        letter = store.dead_readings()[0]
        assert letter.line in letter.message
        assert "reserved tag key" in letter.message


def test_what_is_older_than_the_bucket_keeps(tmp_path: Path) -> None:
    ages = Retention(timedelta(days=2), timedelta(days=2), timedelta(days=2))
    young = to_us(now()) - HOUR_US
    both = Readings.of([1, 1, 2], [T0, young, T0 - 1], [1.0, 2.0, 3.0], [0, 0, 0])
    with Buckets(ages) as buckets:
        with InfluxStore(buckets.place, tmp_path / "knows", 2**26, now, retention=ages) as store:
            old = RejectReason.PAST_RETENTION
            assert store.append(both) == Appended(1, 0, ((0, old), (2, old)))
            assert not drained(store).backlog().dead_lettered
        with InfluxStore(buckets.place, tmp_path / "does not", 2**26, now) as store:
            store.append(both)
            assert drained(store).backlog().dead_lettered == {DeadLetter.BEYOND_RETENTION: 2}


# --- what a person has to mend


def test_a_bucket_that_is_not_there(buckets: Buckets, tmp_path: Path) -> None:
    elsewhere = replace(buckets.place, bucket=buckets.name + "-not")
    with InfluxStore(elsewhere, tmp_path / "influx", 2**26, now) as store:
        store.append(Readings.of([1], [T0], [1.0], [0]))
        until(lambda: "Run dcim store init" in store.backlog().trouble)
        with pytest.raises(Transient, match="Run dcim store init"):
            store.window([1], from_us(T0), from_us(T0 + 1))


def test_a_token_that_it_does_not_know(buckets: Buckets, tmp_path: Path) -> None:
    tokens = ["wrong"]
    place = replace(buckets.place, token=lambda: tokens[-1])
    with InfluxStore(place, tmp_path / "influx", 2**26, now) as store:
        store.append(Readings.of([1], [T0], [1.0], [0]))
        until(lambda: "token_file" in store.backlog().trouble)
        tokens.append(buckets.place.token())
        drained(store)
        assert store.backlog().trouble == ""


# --- the way there and back


STRANGE = [
    'a "quoted", b', "with blank", "comma,equals=", "ünï/çødé 😀", "${injection}", "' or 1=1", "-dash", "#1", "%5C",
]  # fmt: skip


class Strange:
    def series(self, points: Sequence[int]) -> Mapping[int, Series]:
        return {
            number: Series("rack", (("point", STRANGE[number]), ("row", STRANGE[number][::-1])), "power_kw")
            for number in points
            if number < len(STRANGE)
        }

    def changed(self) -> Sequence[int]:
        return ()


def test_any_name_is_found_again(buckets: Buckets, tmp_path: Path) -> None:
    count = len(STRANGE)
    values = [(number, T0, number / 7, number % 3) for number in range(count)]
    with InfluxStore(
        buckets.place, tmp_path / "influx", 2**26, now, series=lambda _: Strange(), paces=AT_ONCE
    ) as store:
        store.append(Readings.of(*zip(*values, strict=True)))
        window = (range(count), from_us(T0), from_us(T0 + 1))
        here = rows(store.window(*window))
        drained(store)
        assert rows(store.window(*window)) == here == values
        assert rows(store.window(*window, timedelta(seconds=1), "last")) == [
            (number, T0, value, quality) for number, _, value, quality in values if quality < 2
        ]


def filled(store: InfluxStore, model: MemoryStore, seed: int, clock: list[datetime], *, in_order: bool) -> None:
    """Three hours of five points at odd times, a part of it late, with gaps, bad and missing values. The clock follows
    where it is behind."""
    rng = np.random.default_rng(seed)
    count = 2_000
    times = T0 + rng.integers(0, 3 * HOUR_US, count)
    if in_order:
        times = np.sort(times)[np.argsort(np.arange(count) + rng.integers(0, 8, count))]
    values = np.where(rng.random(count) < 0.05, np.nan, np.round(rng.normal(20, 5, count), 3))
    batch = Readings(
        rng.integers(0, 5, count).astype(np.uint32), times, values, rng.choice([0, 0, 0, 1, 2], count).astype(np.uint8)
    )
    for part in np.array_split(np.arange(count), 10):
        clock[0] = max(clock[0], from_us(int(batch.time[part].max())))
        assert store.append(batch.take(part)) == model.append(batch.take(part))


@pytest.mark.slow
@pytest.mark.parametrize("live", [True, False], ids=["as it passes", "long after"])
def test_windows_are_the_same_from_every_tier(
    buckets: Buckets, tmp_path: Path, live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raw, rolled up, and rolled up again after readings came late: what a window answers does not change by it."""
    asked: list[str] = []
    query = InfluxServer.query

    async def spy(self: InfluxServer, flux: str, timeout_s: float) -> bytes:
        asked.append(flux)
        return await query(self, flux, timeout_s)

    monkeypatch.setattr(InfluxServer, "query", spy)
    clock = [from_us(T0) - timedelta(minutes=2) if live else now()]
    paces = {tier: pace._replace(quiet_us=0, patience_us=0) for tier, pace in PACES.items()}
    model = MemoryStore()
    spans = [(T0, T0 + 3 * HOUR_US), (T0 + 123_456_789, T0 + 2 * HOUR_US + 1), (T0 - HOUR_US, T0 + 4 * HOUR_US)]
    everies = [
        timedelta(seconds=10),
        timedelta(seconds=90),
        timedelta(minutes=5),
        timedelta(hours=1),
        timedelta(days=1),
    ]
    with InfluxStore(buckets.place, tmp_path / "influx", 2**26, lambda: clock[0], paces=paces) as store:
        for seed in (1, 2):
            filled(store, model, seed, clock, in_order=live and seed == 1)
            drained(store)
            clock[0] = max(clock[0], from_us(T0) + timedelta(hours=5))
            until(lambda: min(store._rollup.rolled().values()) > T0 + 3 * HOUR_US)
            anew = [question for question in asked if 'name: "sum"' in question]
            assert bool(anew) != (live and seed == 1), "what came in order was put together in memory"
            asked.clear()
            hows = itertools.cycle(get_args(Aggregate))
            for (start, end), every in itertools.product(spans, everies):
                for how in itertools.islice(hows, 2):
                    args = (range(6), from_us(start), from_us(end), every, how)
                    told, expected = store.window(*args), model.window(*args)
                    assert told.drop("value").equals(expected.drop("value")), args
                    assert told["value"].to_list() == pytest.approx(expected["value"].to_list(), rel=1e-9), args
            for tier in (Tier.MINUTE, Tier.HOUR):
                assert any(f'from(bucket: "{names(buckets.name)[tier]}")' in question for question in asked), tier


@pytest.mark.slow
def test_steps_that_a_crash_cut_are_whole_again(buckets: Buckets, tmp_path: Path) -> None:
    """Half a minute, a crash, the other half: the minute that is kept in the end is of both."""
    clock = [from_us(T0 - 600_000_000)]
    paces = {tier: pace._replace(quiet_us=0, patience_us=0) for tier, pace in PACES.items()}

    def opened() -> InfluxStore:
        return InfluxStore(buckets.place, tmp_path / "influx", 2**26, lambda: clock[0], paces=paces)

    for half in (0, 1):
        with opened() as store:
            store.append(
                Readings.of([1] * 30, [T0 + (half * 30 + s) * 1_000_000 for s in range(30)], range(30), [0] * 30)
            )
            drained(store)
            if half == 0:
                store._note = lambda: None  # type: ignore[method-assign]  kill -9 writes no bookmark
            else:
                clock[0] = from_us(T0 + 2 * HOUR_US)
                until(lambda: min(store._rollup.rolled().values()) > T0 + HOUR_US)
                hour = store.window([1], from_us(T0), from_us(T0 + HOUR_US), timedelta(hours=1), "count")
                assert hour["value"].to_list() == [60.0]
                minute = store.window([1], from_us(T0), from_us(T0 + HOUR_US), timedelta(minutes=1), "mean")
                assert minute["value"].to_list() == [14.5]


def test_late_rows_of_many_points_are_asked_for_at_once(store: InfluxStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(influx, "ASK_S", 60.0)  # a busy machine must not make them doubtful
    points = range(3_000)
    batch = Readings.of(points, [T0] * len(points), [1.0] * len(points), [0] * len(points))
    later = Readings.of(points, [T0 + 1] * len(points), [1.0] * len(points), [0] * len(points))
    store.append(batch)
    store.append(later)
    drained(store)
    monkeypatch.setattr(store, "_recent", influx.Recent(later, store._spool.end))
    assert store.append(batch) == Appended(0, len(points))
    assert store.backlog().overtaken == 0


def test_a_lost_bookmark_is_made_anew_from_the_server(buckets: Buckets, tmp_path: Path) -> None:
    folder = tmp_path / "influx"
    rows_kept = [(1, T0, 1.0, 0), (2, T0 + 1, math.nan, 2), (3, T0 + 2, 3.0, 2)]
    with InfluxStore(buckets.place, folder, 2**26, now) as store:
        store.append(Readings.of(*zip(*rows_kept, strict=True)))
        store.append(Readings.of([1], [T0 - 5], [0.0], [0]))
        drained(store)
        latest = rows(store.latest())
    (folder / "bookmark").unlink()
    with InfluxStore(buckets.place, folder, 2**26, now) as store:
        assert store.damage is not None
        store.append(Readings.of([1, 2, 3], [T0, T0 + 1, T0 + 2], [9.0] * 3, [0] * 3))
        until(lambda: store._complete)
        drained(store)
        assert store.append(Readings.of([1, 1], [T0, T0 - 5], [9.0] * 2, [0] * 2)) == Appended(0, 2)
        assert [row[:2] for row in rows(store.latest())] == [row[:2] for row in latest]
        assert rows(store.window([1, 2, 3], from_us(T0), from_us(T0 + 9))) == [
            (point, time, None if math.isnan(value) else value, quality) for point, time, value, quality in rows_kept
        ]


def test_an_answer_without_end_is_refused(store: InfluxStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.append(Readings.of([1] * 5_000, range(T0, T0 + 5_000), [1.0] * 5_000, [0] * 5_000))
    drained(store)
    monkeypatch.setattr(influx_client, "ANSWER_BYTES_MAX", 50_000)
    with pytest.raises(Permanent, match="Ask for less at once"):
        store.window([1], from_us(T0), from_us(T0 + 9_000))
    assert store.window([1], from_us(T0), from_us(T0 + 10)).height == 10


# --- the buckets


def test_buckets_are_made_once_and_nothing_is_deleted_unasked(buckets: Buckets) -> None:
    async def run(server: InfluxServer) -> None:
        week, month = timedelta(days=7), timedelta(days=30)
        assert await plan(server, buckets.name, Retention()) == []
        shorter = await plan(server, buckets.name, Retention(week, month))
        assert [str(change) for change in shorter] == [
            f"change bucket {buckets.name}: readings kept 7 days, not for ever",
            f"change bucket {buckets.name}_1m: readings kept 30 days, not for ever",
        ]
        with pytest.raises(Permanent, match="readings would be deleted"):
            await carry_out(server, shorter, shorten=False)
        await carry_out(server, shorter, shorten=True)
        assert await plan(server, buckets.name, Retention(week, month)) == []
        longer = await plan(server, buckets.name, Retention(month, month))
        assert not any(change.shortens for change in longer)
        await carry_out(server, longer, shorten=False)
        assert await plan(server, buckets.name, Retention(month, month)) == []

    buckets.ask(run)


# --- away, and back


class Bridge:
    """A way to the server that can be taken up, and let down again."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._there = host, int(port)
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = 0
        self.down()

    def down(self) -> None:
        """Lets down: connections pass."""

        async def listen() -> None:
            self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

        asyncio.run_coroutine_threadsafe(listen(), self._loop).result(10)

    def up(self) -> None:
        """Takes up: those that pass are broken, and nobody comes in."""

        async def stop() -> None:
            if self._server is not None:
                self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(10)

    def close(self) -> None:
        self.up()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._there)
        self._writers |= {writer, there_writer}

        async def pump(source: asyncio.StreamReader, into: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65_536):
                    into.write(data)
                    await into.drain()
            except OSError:
                pass  # the bridge was taken up
            finally:
                into.close()

        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))
        self._writers -= {writer, there_writer}


def test_an_outage_in_the_middle_of_it_all(buckets: Buckets, tmp_path: Path) -> None:
    bridge = Bridge(URL)
    place = replace(buckets.place, url=f"http://127.0.0.1:{bridge.port}")
    model = MemoryStore()
    try:
        with InfluxStore(place, tmp_path / "influx", 2**26, now, sleep=lambda _: asyncio.sleep(0.05)) as store:
            for number in range(60):
                if number % 20 == 5:
                    bridge.up()
                if number % 20 == 15:
                    bridge.down()
                points = range(500)
                batch = Readings.of(points, [T0 + number] * 500, [number / 3] * 500, [number % 3] * 500)
                assert store.append(batch) == model.append(batch) == Appended(500, 0)
            backlog = drained(store).backlog()
            assert (backlog.forwarded, backlog.dead_lettered, backlog.trouble) == (30_000, {}, "")
            window = (range(500), from_us(T0), from_us(T0 + 100))
            assert store.window(*window).equals(model.window(*window))
    finally:
        bridge.close()


def test_facts_beside_readings_are_no_readings_where_any_point_is_asked_for(buckets: Buckets) -> None:
    """They have no point, and some have texts: an answer that told of them could not be read."""
    at_us = to_us(now()) - 60_000_000
    buckets.write(f'rack,point=p power_kw=1 {at_us}\nalarm,site=titan title="a b",open=1 {at_us}\n')
    for question in (flux.presence(buckets.name, None, (at_us - 1, at_us + 1)), flux.newest(buckets.name)):
        told = flux.answered(buckets.ask(lambda server, asked=question: server.query(asked, 30.0)))  # type: ignore[misc]
        assert told["point"].to_list() == ["p"]

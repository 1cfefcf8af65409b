"""The way from the spool to the server under everything that a server does: at the end nothing that was acknowledged is
missing, nothing was written over, the order is kept, and the books balance."""

from __future__ import annotations

import asyncio
import json
import math
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcim.core.errors import Transient
from dcim.core.ledger import DeadLetter
from dcim.core.ports import Appended
from dcim.core.readings import Readings
from dcim.core.times import from_us, to_us
from dcim.store import forwarder, influx, influx_client
from dcim.store.influx import InfluxStore, Place
from dcim.store.line_protocol import Lines, Series
from tests import certificates
from tests.influx_faults import BREAK, BREAK_LATE, HANG, HANG_LATE, INTERNAL, UNAVAILABLE, Answer, InfluxFaults, told

T0 = to_us(datetime(2026, 3, 1, 3, 0, tzinfo=UTC))
AT = from_us(T0)
PATIENCE_S = 60.0
MIB = 2**20


class Rig:
    """A store before a server that fails, and what it said that it keeps."""

    def __init__(self, folder: Path, server: InfluxFaults) -> None:
        self.folder, self.server = folder, server
        self.kept: list[tuple[int, int, float, int]] = []
        self.slept: list[float] = []
        self.spool_bytes = 64 * MIB
        self.recent_rows = 100_000
        self.token = "secret"
        self.ca_file: Path | None = None
        self.handed_on = 0
        """By stores that are closed."""
        self.store = self.open()

    def open(self) -> InfluxStore:
        async def sleep(wait_s: float) -> None:
            self.slept.append(wait_s)
            await asyncio.sleep(0.001)

        place = Place(self.server.url, "org", "bucket", lambda: self.token, self.ca_file)
        return InfluxStore(place, self.folder, self.spool_bytes, lambda: AT, recent_rows=self.recent_rows, sleep=sleep)

    def append(self, *rows: tuple[int, int, float, int]) -> Appended:
        appended = self.store.append(Readings.of(*zip(*rows, strict=True)))
        assert appended.stored + appended.duplicate + len(appended.refused) == len(rows)
        return appended

    def fill(self, batches: int, points: int = 10, start: int = 0) -> None:
        """So many batches of new readings, a second apart."""
        for number in range(start, start + batches):
            rows = [(point, T0 + number * 1_000_000, number + point / 100, 0) for point in range(points)]
            assert self.append(*rows) == Appended(points, 0)
            self.kept += rows

    def reopen(self) -> None:
        self._count()
        self.store.close()
        self.store = self.open()

    def crash(self) -> None:
        """What kill -9 leaves: files as they are, and no bookmark of this moment."""
        self.store._note = lambda: None  # type: ignore[method-assign]
        self._count()
        self.store.close()
        self.store = self.open()

    def _count(self) -> None:
        backlog = self.store.backlog()
        self.handed_on += backlog.forwarded + backlog.overtaken

    def drain(self) -> None:
        assert self.store.drain(PATIENCE_S), self.store.backlog()

    def check(self, *, dead: int = 0) -> None:
        """Everything is handed on: what was kept is there, once, as it was given, in order, but for dead letters."""
        self.drain()
        backlog = self.store.backlog()
        assert (backlog.waiting, backlog.bytes, backlog.oldest_us, backlog.trouble) == (0, 0, None, "")
        assert sum(backlog.dead_lettered.values()) == dead
        expected = Lines().block(Readings.of(*zip(*self.kept, strict=True))).decode().splitlines()
        letters = [letter.line for letter in self.store.dead_readings()]
        assert len(letters) == dead
        assert self.server.order == [line for line in expected if line not in set(letters)]
        assert self.server.changed == []

    def balance(self, stored: int) -> None:
        """Of stores that were not ended in the middle of a record, which is then sent again: each reading counted as
        stored is accounted for."""
        self._count()
        dead = sum(self.store.backlog().dead_lettered.values())
        assert self.handed_on + dead + self.store.backlog().waiting == stored


@pytest.fixture
def server() -> Iterator[InfluxFaults]:
    with InfluxFaults() as server:
        yield server


@pytest.fixture
def rig(tmp_path: Path, server: InfluxFaults) -> Iterator[Rig]:
    rig = Rig(tmp_path / "influx", server)
    yield rig
    rig.store.close()


def every(count: int, *answers: Answer) -> Callable[[int, list[str]], Answer | None]:
    """Each write with a number divisible by `count` is answered with these in turn."""
    return lambda number, lines: answers[number // count % len(answers)] if number % count == 0 else None


# --- what passes


@pytest.mark.parametrize(
    "answer",
    [INTERNAL, UNAVAILABLE, told(429, "too many requests", "slow down"), BREAK, BREAK_LATE, Answer(502, b"<html>", {})],
    ids=["500", "503", "429", "broken", "broken after it was written", "a proxy's 502"],
)
def test_a_failure_of_every_third_write(rig: Rig, server: InfluxFaults, answer: Answer) -> None:
    server.schedule = every(3, answer)
    rig.fill(15)
    rig.check()
    rig.balance(150)
    assert len(rig.slept) >= server.writes // 3


@pytest.mark.parametrize("answer", [HANG, HANG_LATE], ids=["unread", "written"])
def test_a_server_that_does_not_answer(
    rig: Rig, server: InfluxFaults, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(influx_client, "WRITE_S", 0.05)
    server.schedule = every(4, answer)
    rig.fill(10)
    rig.check()


def test_it_waits_as_long_as_it_is_asked_to_and_ever_longer(rig: Rig, server: InfluxFaults) -> None:
    asked = told(429, "too many requests", "slow down", Retry_After="7")
    without_end = told(503, "unavailable", "later", Retry_After="999999999999")
    server.schedule = lambda number, lines: [asked, without_end, *[UNAVAILABLE] * 10, None][min(number, 12)]
    rig.fill(1)
    rig.check()
    waits = rig.slept
    assert waits[:2] == [7, influx_client.RETRY_AFTER_S_MAX]
    for number, wait_s in enumerate(waits[2:], 2):
        longest_s = min(forwarder.FIRST_WAIT_S * 2**number, forwarder.LONGEST_WAIT_S)
        assert longest_s / 2 <= wait_s <= longest_s


def test_a_server_that_is_away_for_long(rig: Rig, server: InfluxFaults) -> None:
    """Ingest goes on, the backlog tells, and all of it comes in order when the server is back."""
    rig.fill(5)
    rig.drain()
    server.stop()
    rig.fill(60, start=5)
    backlog = rig.store.backlog()
    assert backlog.waiting == 600
    assert backlog.bytes > 0
    assert backlog.oldest_us == T0
    rig.reopen()
    assert rig.store.backlog().waiting == 600
    server.start()
    rig.check()
    rig.balance(650)


def test_what_is_wrong_is_told_until_somebody_mends_it(rig: Rig, server: InfluxFaults) -> None:
    cases = [
        (told(401, "unauthorized", "unauthorized access"), "token_file"),
        (told(403, "forbidden", "insufficient permissions for write"), "right to read and write"),
        (told(404, "not found", 'bucket "bucket" not found'), "dcim store init"),
        (told(404, "not found", 'organization name "org" not found'), "store.influx.org"),
        (Answer(400, b"Client sent an HTTP request to an HTTPS server.\n", {}), "store.influx.url"),
        (Answer(307, b"", {"Location": "http://127.0.0.1:1/"}), "it answers 307"),
    ]
    for number, (answer, words) in enumerate(cases):
        mended = asyncio.Event()
        server.schedule = lambda write, lines, answer=answer, mended=mended: None if mended.is_set() else answer
        rig.fill(1, start=number)
        _until(lambda words=words: words in rig.store.backlog().trouble)
        assert rig.store.backlog().waiting == 10
        mended.set()
        rig.check()


def test_a_new_token_needs_no_restart(rig: Rig, server: InfluxFaults) -> None:
    server.token = "changed"
    rig.fill(1)
    _until(lambda: "token" in rig.store.backlog().trouble)
    rig.token = "changed"
    rig.check()


@pytest.mark.slow
def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    ours = certificates.make(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(ours.server, ours.server_key)
    with InfluxFaults(tls=tls) as server:
        rig = Rig(tmp_path / "influx", server)
        rig.fill(1)
        _until(lambda: "ca_file" in rig.store.backlog().trouble)
        rig.ca_file = ours.ca
        rig.reopen()
        rig.check()
        rig.store.close()


# --- what the server will never take


@pytest.mark.slow
def test_a_poisoned_line_in_every_batch(rig: Rig, server: InfluxFaults) -> None:
    server.malformed = lambda line: "point=#3 " in line
    server.schedule = every(3, INTERNAL)
    rig.fill(12)
    rig.check(dead=12)
    rig.balance(120)
    assert rig.store.backlog().dead_lettered == {DeadLetter.MALFORMED: 12}
    letters = rig.store.dead_readings()
    assert all("point=#3 " in letter.line and letter.line in letter.message for letter in letters)
    rig.reopen()
    assert rig.store.dead_readings() == letters


class OddNames:
    """Points with names that hold what some take for the end of a line."""

    def series(self, points: Sequence[int]) -> Mapping[int, Series]:
        return {number: Series("rack", (("point", f"p\u2028\x85{number}"),), "power_kw") for number in points}

    def changed(self) -> Sequence[int]:
        return ()


def test_a_poisoned_line_with_an_odd_name(tmp_path: Path, server: InfluxFaults) -> None:
    server.malformed = lambda line: True
    place = Place(server.url, "org", "bucket", lambda: "secret")
    with InfluxStore(place, tmp_path / "influx", 64 * MIB, lambda: AT, series=lambda _: OddNames()) as store:
        store.append(Readings.of([0, 1], [T0, T0], [1.0, 2.0], [0, 0]))
        assert store.drain(PATIENCE_S)
        assert [letter.line.split(" ")[0] for letter in store.dead_readings()] == [
            f"rack,point=p\u2028\x85{number}" for number in range(2)
        ]


@pytest.mark.slow
def test_lines_of_another_type(rig: Rig, server: InfluxFaults) -> None:
    server.conflict = lambda line: "point=#3 " in line or "point=#7 " in line
    rig.fill(5)
    rig.check(dead=10)
    assert rig.store.backlog().dead_lettered == {DeadLetter.TYPE_CONFLICT: 10}
    assert "already exists as type integer" in rig.store.dead_readings()[0].message


def test_a_whole_batch_that_is_too_old_costs_one_request(rig: Rig, server: InfluxFaults) -> None:
    message = "failure writing points to database: partial write: points beyond retention policy dropped="
    server.schedule = lambda number, lines: told(422, "unprocessable entity", f"{message}{len(lines)}")
    rig.fill(1, points=500)
    rig.check(dead=500)
    assert server.writes == 1
    assert rig.store.backlog().dead_lettered == {DeadLetter.BEYOND_RETENTION: 500}


def test_a_server_that_takes_less_at_once(rig: Rig, server: InfluxFaults) -> None:
    server.lines_max = 7
    rig.fill(5)
    rig.check()
    server.lines_max = 0
    rig.fill(1, start=5)
    rig.check(dead=10)
    assert rig.store.backlog().dead_lettered == {DeadLetter.TOO_LARGE: 10}


@pytest.mark.slow
def test_a_crash_puts_nothing_aside_twice(rig: Rig, server: InfluxFaults) -> None:
    server.malformed = lambda line: "point=#3 " in line
    rig.fill(5)
    rig.drain()
    rig.crash()
    rig.crash()
    rig.check(dead=5)


@pytest.mark.slow
def test_dead_letters_are_bounded_and_the_counts_go_on(
    rig: Rig, server: InfluxFaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.store._letters, "_file_max", 8)
    server.malformed = lambda line: True
    rig.fill(4)
    rig.drain()
    assert rig.store.backlog().dead_lettered == {DeadLetter.MALFORMED: 40}
    kept = rig.store.dead_readings()
    assert len(kept) == 16
    rig.reopen()
    assert rig.store.backlog().dead_lettered == {DeadLetter.MALFORMED: 40}
    assert rig.store.dead_readings() == kept
    for file in rig.folder.glob("dead_letters*.jsonl"):
        assert all(json.loads(line) for line in file.read_text().splitlines())


# --- idempotence


def test_the_first_value_stays_whatever_the_server_does(rig: Rig, server: InfluxFaults) -> None:
    """Late rows that neither memory nor the server can tell of are kept, and settled when their turn comes."""
    rig.fill(3)
    rig.drain()
    rig.reopen()
    server.stop()
    late = [(point, T0, -1.0, 0) for point in range(10)]
    new = [(0, T0 - 1, -2.0, 0), (1, T0 - 1, math.nan, 2)]
    assert rig.append(*late, *new) == Appended(12, 0), "nobody can tell now"
    assert rig.append(*late, *new) == Appended(0, 12), "but what memory holds it knows"
    rig.kept += new
    server.start()
    rig.check()
    assert rig.store.backlog().overtaken == 10
    assert rig.append(*late, *new) == Appended(0, 12)
    rig.balance(42)


def test_memory_is_bounded_and_nothing_is_written_twice(tmp_path: Path, server: InfluxFaults) -> None:
    """More waits than memory holds; rows come again that have left it."""
    rig = Rig(tmp_path / "influx", server)
    rig.store.close()
    rig.recent_rows = 50
    rig.store = rig.open()
    server.stop()
    rig.fill(20)
    again = rig.kept[:30]
    assert rig.append(*((point, time, value + 1, quality) for point, time, value, quality in again)).stored == 30
    server.start()
    rig.check()
    assert rig.store.backlog().overtaken == 30
    rig.balance(230)
    rig.store.close()


def test_late_rows_are_asked_for_at_the_server(rig: Rig, server: InfluxFaults) -> None:
    rig.fill(3)
    rig.drain()
    rig.reopen()
    new = (4, T0 + 500_000, 9.0, 1)
    assert rig.append((4, T0, 7.0, 0), new, (4, T0 + 1_000_000, 7.0, 0)) == Appended(1, 2)
    rig.kept.append(new)
    rig.check()
    assert rig.store.backlog().overtaken == 0


@pytest.mark.slow
def test_a_crash_repeats_and_loses_nothing(rig: Rig, server: InfluxFaults) -> None:
    rig.fill(20)
    rig.crash()
    rig.fill(20, start=20)
    rig.drain()
    rig.crash()
    assert rig.append(*rig.kept[-10:]) == Appended(0, 10)
    assert rig.append(*rig.kept[:10]) == Appended(0, 10)
    rig.check()
    assert rig.store.latest().height == 10


def test_a_lost_bookmark_costs_counts_and_no_value(rig: Rig, server: InfluxFaults) -> None:
    rig.fill(3)
    rig.drain()
    rig.store.close()
    (rig.folder / "bookmark").write_bytes(b"nonsense")
    server.stop()
    rig.store = rig.open()
    assert "bookmark" in (rig.store.damage or "")
    assert rig.append(*((point, time, -1.0, 0) for point, time, _, _ in rig.kept)).stored == 30
    server.start()
    rig.check()
    assert rig.store.backlog().overtaken == 30


# --- the spool


@pytest.mark.slow
def test_a_full_spool_takes_nothing_and_says_so(tmp_path: Path, server: InfluxFaults) -> None:
    rig = Rig(tmp_path / "influx", server)
    rig.store.close()
    rig.spool_bytes = 30_000
    rig.store = rig.open()
    server.stop()
    with pytest.raises(Transient, match="spool is full"):
        rig.fill(100)
    taken = len(rig.kept)
    assert 0 < taken < 1000
    assert rig.store.backlog().waiting == taken
    assert rig.store.latest([0])["time"].item() == from_us(rig.kept[-1][1])
    server.start()
    rig.check()
    rig.fill(10, start=500)
    rig.check()
    rig.store.close()


def test_windows_bring_together_what_is_here_and_there(rig: Rig, server: InfluxFaults) -> None:
    rig.fill(3)
    rig.drain()
    server.schedule = lambda number, lines: UNAVAILABLE
    rig.fill(3, start=3)
    window = rig.store.window([2, 5], AT, from_us(T0 + 60_000_000))
    assert window.select("point", "value").rows() == [
        (point, number + point / 100) for point in (2, 5) for number in range(6)
    ]
    server.stop()
    with pytest.raises(Transient, match="cannot be reached"):
        rig.store.window([2], AT, from_us(T0 + 60_000_000))


def test_windows_read_the_spool_where_memory_does_not_reach(
    tmp_path: Path, server: InfluxFaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path / "influx", server)
    rig.store.close()
    rig.recent_rows = 50
    rig.store = rig.open()
    server.schedule = lambda number, lines: UNAVAILABLE
    rig.fill(20)
    end = from_us(T0 + 60_000_000)
    assert rig.store.window([3], AT, end)["value"].to_list() == [number + 0.03 for number in range(20)]
    monkeypatch.setattr(influx, "SCAN_BYTES_MAX", 1_000)
    with pytest.raises(Transient, match="too many readings wait"):
        rig.store.window([3], AT, end)
    rig.store.close()


# --- anything at all

ANSWERS = st.sampled_from([None, None, None, INTERNAL, UNAVAILABLE, BREAK, BREAK_LATE])
BATCHES = st.lists(
    st.tuples(
        st.lists(
            st.tuples(
                st.integers(0, 5), st.integers(0, 8), st.sampled_from((1.0, 2.0, math.nan)), st.sampled_from((0, 1, 2))
            ),
            min_size=1,
            max_size=8,
        ),
        st.sampled_from(["on", "on", "reopen", "crash", "drain"]),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.slow
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(BATCHES, st.lists(ANSWERS, max_size=12), st.sets(st.integers(0, 5), max_size=2))
def test_the_books_balance(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[tuple[list[tuple[int, int, float, int]], str]],
    answers: list[Answer | None],
    poisoned: set[int],
) -> None:
    """Any batches, any failures, poison, restarts and crashes: stored = on the server + overtaken + dead letters."""
    with InfluxFaults() as server:
        server.schedule = lambda number, lines: answers[number] if number < len(answers) else None
        server.malformed = lambda line: any(f"point=#{point} " in line for point in poisoned)
        rig = Rig(tmp_path_factory.mktemp("influx"), server)
        model: dict[tuple[int, int], tuple[float, int]] = {}
        ended, stored = False, 0
        for batch, step in batches:
            appended = rig.append(*((point, T0 + offset, value, quality) for point, offset, value, quality in batch))
            before = len(model)
            stored += appended.stored
            for point, offset, value, quality in batch:
                model.setdefault((point, T0 + offset), (value, quality))
            assert appended.stored >= len(model) - before, "what is new is never a duplicate"
            if step == "reopen":
                rig.reopen()
            elif step == "crash":
                rig.crash()
            elif step == "drain":
                rig.drain()
            ended |= step in {"reopen", "crash"}
        rig.drain()
        expected = {key: row for key, row in model.items() if key[0] not in poisoned}
        on_server = {(int(point), time) for point in range(6) for time in server.has(f"#{point}")}
        assert on_server == expected.keys()
        assert server.changed == []
        for (point, time), (value, quality) in expected.items():
            line = Lines().block(Readings.of([point], [time], [value], [quality])).decode()
            fields = dict(pair.split("=") for pair in line.split(" ")[1].split(","))
            assert server.has(f"#{point}")[time] == fields
        # What the server refused it does not know, so that a second reading of that instant is refused again.
        assert sum(rig.store.backlog().dead_lettered.values()) >= len(model) - len(expected)
        if not ended:
            rig.balance(stored)
        rig.store.close()


def _until(so: Callable[[], bool]) -> None:
    """Waits until the forwarder has come so far."""
    deadline = time.monotonic() + PATIENCE_S
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.005)

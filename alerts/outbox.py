"""The outbox: news on its way, from the journal to every receiver, once and in order, whatever happens in between.

    journal ──follow──▶ entries ──compose──▶ message ──send──▶ sent, with its proof
                        (routing)                     └──▶ tried again, or dead with a reason

It follows the journal by a mark: entries, who has been told, who is still waited for and the mark are written in one
transaction; so is each step of an escalation. What a message
is made of is written before it is sent. So a process that dies anywhere goes on where it was, and what may have been
sent already is sent again as the same message with the same key.

Lives here: what is kept of it, the order of things, when something is tried again, bounds. Not here: who is told
(routing.py), the words (notices.py), how it travels (notify)."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec
import sqlalchemy as sa
import structlog

from alerts.journal import SqlJournal, mark_table, outbox_table, told_table, unanswered_table
from alerts.lifecycle import Priority
from alerts.notices import Item, Later, Notice, Notifier, clean
from alerts.routing import Book, Describe, Duty, Entry, Ladder, Receiver, Route, Told, Unanswered, nobody
from dcim.core.assets import AssetKey
from dcim.core.errors import Permanent, Transient
from dcim.core.times import from_us, to_us

log = structlog.get_logger()

LOOK_S = 0.2
"""So often it is asked whether there is something new. Also what gathers a flood."""
FOLLOW_ROWS = 500
"""Transitions that are taken in at once."""
THREADS_APART = 4
"""Where more threads than this have news for a receiver, one message has them all."""
PACE_S = 0.5
"""Between two messages to one receiver, at least."""
BUDGET, BUDGET_SPAN = 10, timedelta(minutes=1)
"""So many messages in such a time to one receiver; beyond, only what is critical goes at once, and the rest gathers."""
RETRY_FIRST_S, RETRY_CAP_S = 2.0, 60.0
"""The first and the longest pause before something is tried again."""
GIVE_UP = timedelta(days=3)
"""What could not be sent for so long is given up."""
WAITING_MAX = 100_000
"""Entries that may wait for one receiver; newcomers beyond it are dead at once, and counted."""
DONE_MAX = 200_000
"""Entries that are kept after they were sent or given up; the oldest beyond it are forgotten."""
LETTERS_MAX = 1_000
"""Entries that are listed, or taken up again, at once."""
CLIMB_S = 5.0
"""So often it is asked whether somebody has waited for too long: steps are minutes apart."""
RECOUNT_S = 5.0
"""So often it is counted anew what waits: another process may have taken something up again."""
_SWEEP_EVERY = timedelta(minutes=10)
_WAITING, _SENT = "waiting", "sent"
_ITEM = msgspec.json.Decoder(Item)


class DeadNotice(StrEnum):
    """Why news was not sent and never will be. A closed list."""

    REFUSED = "refused"
    """The receiver will never take it."""
    GIVEN_UP = "given_up"
    """It could not be sent for three days."""
    TOO_MANY = "too_many"
    """Too much waited for its receiver already."""
    NO_RECEIVER = "no_receiver"
    """Its receiver is no longer in the settings."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message that is about to be sent, and since when its first entry waits."""

    notice: Notice
    since_us: int
    tries: int


@dataclass(frozen=True, slots=True)
class Sending:
    """What has become of entries, since the start and by receiver."""

    sent: Mapping[str, int]
    retried: Mapping[str, int]
    """Messages that were tried again."""
    dead: Mapping[tuple[str, DeadNotice], int]
    waiting: Mapping[str, int]
    """At present."""


@dataclass(frozen=True, slots=True)
class Failing:
    """Nothing reaches a receiver."""

    since: datetime
    """The first try that failed after the last that did not, or after the start."""
    why: str
    """What the last one failed by."""


class Outcome(StrEnum):
    """What has become of news, in few words. A closed list."""

    PENDING = "pending"
    """It is to be sent, or to be tried again."""
    DELIVERED = "delivered"
    """Its receiver took it."""
    DEAD = "dead"
    """It was not sent and will not be, for one of the reasons of DeadNotice."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A piece of news as the outbox keeps it."""

    number: int
    key: str
    receiver: str
    item: Item
    state: str
    """"waiting", "sent", or a DeadNotice."""
    message: str
    """Key of the message that it was, or will be, part of; "" while there is none."""
    made: datetime
    due: datetime
    done: datetime | None
    """When it was taken, or given up."""
    tries: int
    said: str
    """What the other end said when it took it: the proof. Or the last error."""

    @property
    def outcome(self) -> Outcome:
        """The state in few words."""
        return {_WAITING: Outcome.PENDING, _SENT: Outcome.DELIVERED}.get(self.state, Outcome.DEAD)


class Outbox:
    """The outbox of one service. One process writes; it shares the journal's database."""

    def __init__(
        self,
        journal: SqlJournal,
        receivers: Sequence[tuple[Receiver, Notifier]],
        routes: Sequence[Route],
        describe: Describe,
        clock: Callable[[], datetime],
        *,
        head: Callable[[], int],
        console: str = "",
        ladders: Sequence[Ladder] = (),
        duty: Duty = nobody,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """head: number of the journal's last transition. console: where the console is, ending in "/". draw: uniform in
        [0, 1), for pauses. ladders: what is done about alarms that nobody acknowledges. duty: who is on call."""
        self._journal, self._routes, self._describe = journal, routes, describe
        self._receivers = [receiver for receiver, _ in receivers]
        self._zones = {receiver.name: receiver.zone for receiver in self._receivers}
        self._items_max = {receiver.name: receiver.items_max for receiver in self._receivers}
        self._ladders, self._duty = tuple(ladders), duty
        self._failing: dict[str, Failing] = {}
        self._pauses: dict[str, float] = {}
        """By receiver: how long the other end wants to be left alone, seconds."""
        self._notifiers = {receiver.name: notifier for receiver, notifier in receivers}
        self._clock, self._head, self._console, self._draw = clock, head, console, draw
        self._book, self._mark, self._number = Book(), 0, 0
        self._lock = asyncio.Lock()  # what is counted and what is written change together
        self._stale = False  # a write failed in a way that leaves open whether it is there
        self._swept_at: datetime | None = None
        self._counted_at: datetime | None = None
        self._climbed_at: datetime | None = None
        self._step_at: datetime | None = None
        """When the next step may be due, as far as `_step_known`."""
        self._step_known = False
        self._news = {receiver.name: asyncio.Event() for receiver in self._receivers}
        self._sent: Counter[str] = Counter()
        self._retried: Counter[str] = Counter()
        self._dead: Counter[tuple[str, DeadNotice]] = Counter()
        self._waiting: Counter[str] = Counter()

    async def open(self) -> None:
        """Takes up what an earlier run left. Where there was none, or it had nobody to tell, what the journal holds by
        now is nobody's news. Raises Transient and Permanent as the journal does."""
        at_us = to_us(self._clock())
        names = [receiver.name for receiver in self._receivers]
        gone = outbox_table.c.receiver.not_in(names)
        idle = not (names and self._ladders)
        told_gone = told_table.c.receiver.not_in(names)
        async with self._journal.transaction("the outbox was not opened") as connection:
            of_gone = sa.select(outbox_table.c.receiver, sa.func.count()).where(gone, outbox_table.c.state == _WAITING)
            orphans = (await connection.execute(of_gone.group_by(outbox_table.c.receiver))).all()
            forgotten = (await connection.execute(sa.select(told_table.c.receiver).where(told_gone).limit(1))).first()
            marked = (await connection.execute(sa.select(mark_table.c.seq))).scalar()
            leftover = idle and (await connection.execute(sa.select(unanswered_table.c.alarm).limit(1))).first()
        # Nothing is written where nothing changes: a service has to start on a full disk too.
        if orphans or forgotten or leftover or (marked is None) == bool(names):
            async with self._journal.transaction("the outbox was not opened", writes=True) as connection:
                await connection.execute(sa.delete(told_table).where(told_gone))
                if leftover:
                    await connection.execute(sa.delete(unanswered_table))
                done = {"state": DeadNotice.NO_RECEIVER.value, "done_us": at_us}
                await connection.execute(
                    sa.update(outbox_table).where(gone, outbox_table.c.state == _WAITING).values(**done)
                )
                if not names:
                    await connection.execute(sa.delete(mark_table))
                elif marked is None:
                    await connection.execute(sa.insert(mark_table), [{"seq": self._head()}])
        for name, count in orphans:
            self._dead[name, DeadNotice.NO_RECEIVER] += count
            log.error("news for a receiver that is no longer in the settings", receiver=name, entries=count)
        await self._load()

    async def close(self) -> None:
        """Lets the notifiers' connections go."""
        for notifier in self._notifiers.values():
            await notifier.close()

    async def run(self) -> None:
        """Follows the journal and sends, until cancelled. Raises Permanent as the journal does."""
        if not self._receivers:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._following(), name="outbox")
            for receiver in self._receivers:
                group.create_task(self._sending(receiver.name), name=f"notices to {receiver.name}")

    @property
    def sending(self) -> Sending:
        """How it stands. Answered from memory."""
        waiting = {receiver.name: self._waiting[receiver.name] for receiver in self._receivers}
        return Sending(self._sent, self._retried, self._dead, waiting)

    async def follow(self) -> bool:
        """Takes in what the journal has after the mark, up to FOLLOW_ROWS; answers whether there was something. Raises
        Transient when nothing of it was written, or that is unclear: call again."""
        async with self._lock:
            if self._stale:
                await self._load()
            return self._head() > self._mark and await self._take_in()

    async def climb(self) -> bool:
        """Takes in which alarms have waited for an acknowledgement for too long; answers whether there were some.
        Raises Transient as `follow` does."""
        async with self._lock:
            if self._stale:
                await self._load()
            at = self._clock()
            if not self._step_known:  # what has changed since is looked at once, not at every look
                self._step_at, self._step_known = self._book.next_step(self._ladders), True
            if self._step_at is None or at < self._step_at:
                return False
            book = self._book.copy()
            entries = book.climb(at, self._receivers, self._ladders, self._duty)
            touched = [
                alarm for alarm, one in book.unanswered.items() if one.climbed != self._book.unanswered[alarm].climbed
            ]
            if touched:
                await self._keep(book, entries, touched, self._mark, at)
            return bool(touched)

    async def compose(self, receiver: str, *, urgent: bool = False) -> Parcel | None:
        """The next message for a receiver, written down as it is to be sent; None where nothing is due. urgent: only
        of threads in which something critical is due; what is composed already goes on first in any case. Raises as the
        journal does."""
        if not self._waiting[receiver]:
            return None
        table, at_us = outbox_table.c, to_us(self._clock())
        of = (table.receiver == receiver) & (table.state == _WAITING)
        begun = sa.select(outbox_table).where(of, table.message != "").order_by(table.number)
        due = sa.select(table.thread, table.priority).where(of, table.due_us <= at_us).order_by(table.number)
        async with self._journal.transaction("the outbox cannot be read", writes=True) as connection:
            rows = (await connection.execute(begun)).all()
            if not rows:
                found = (await connection.execute(due.limit(self._items_max[receiver]))).all()
                if urgent:
                    found = [row for row in found if row.priority == Priority.CRITICAL]
                threads = list(dict.fromkeys(row.thread for row in found))
                if not threads:
                    return None
                threads = threads if len(threads) > THREADS_APART else threads[:1]
                # Also what waits for a later time: an alarm's news goes out in order, and the message wakes anyway.
                whole = sa.select(outbox_table).where(of, table.thread.in_(threads)).order_by(table.number)
                rows = (await connection.execute(whole.limit(self._items_max[receiver]))).all()
                begin = sa.update(outbox_table).where(table.number.in_([row.number for row in rows]))
                await connection.execute(begin.values(message=rows[0].key))
        try:
            items = tuple(_ITEM.decode(row.item) for row in rows)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Permanent(
                f"row {rows[0].number} of notice_outbox cannot be understood: {error}", where="alarms.journal"
            ) from error
        alike = len({row.thread for row in rows}) == 1
        notice = Notice(
            rows[0].key, receiver, rows[0].thread if alike else "", items, self._console, self._zones[receiver]
        )
        return Parcel(notice, min(row.made_us for row in rows), rows[0].tries)

    async def deliver(self, parcel: Parcel) -> bool:
        """Sends a message once, and writes down what became of it; answers whether it is done with. Raises as the
        journal does; the message is then sent again."""
        notice = parcel.notice
        try:
            proof = await self._notifiers[notice.receiver].send(notice)
        except Transient as error:
            log.warning("a notice was not sent", receiver=notice.receiver, key=notice.key, error=str(error))
            self._retried[notice.receiver] += 1
            since = self._failing.get(notice.receiver, Failing(self._clock(), "")).since
            self._failing[notice.receiver] = Failing(since, str(error))
            if isinstance(error, Later):
                self._pauses[notice.receiver] = error.after_s
            if to_us(self._clock()) - parcel.since_us < GIVE_UP / timedelta(microseconds=1):
                await self._settle(notice, _WAITING, str(error))
                return False
            await self._bury(notice, DeadNotice.GIVEN_UP, str(error))
        except Permanent as error:
            self._failing.pop(notice.receiver, None)  # it speaks with us
            await self._bury(notice, DeadNotice.REFUSED, str(error))
        else:
            self._failing.pop(notice.receiver, None)
            await self._settle(notice, _SENT, proof)
            self._sent[notice.receiver] += len(notice.items)
        return True

    async def letters(
        self,
        receiver: str | None = None,
        outcome: Outcome | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Letter]:
        """As `letters`."""
        return await letters(self._journal, receiver, outcome, before, limit)

    async def retry(self, numbers: Sequence[int]) -> list[int]:
        """As `take_up_again`, for receivers that there are; they are sent at once."""
        names = [receiver.name for receiver in self._receivers]
        async with self._lock:
            taken = await take_up_again(self._journal, numbers, names, self._clock())
        await self._recount()
        return taken

    async def trial(self, notice: Notice) -> str:
        """Sends a notice straight to its receiver, past everything that waits, and keeps nothing of it; answers the
        proof. Raises KeyError for a receiver that there is not, Transient and Permanent as its notifier does."""
        return await self._notifiers[notice.receiver].send(replace(notice, zone=self._zones[notice.receiver]))

    @property
    def failing(self) -> Mapping[str, Failing]:
        """Receivers that nothing reaches at present, by name. Answered from memory."""
        return self._failing

    @property
    def console(self) -> str:
        """Where the console is, ending in "/"; "" where nobody said."""
        return self._console

    @property
    def receivers(self) -> Sequence[Receiver]:
        """Whoever can be told."""
        return tuple(self._receivers)

    async def _recount(self) -> None:
        """Counts what waits, for another process may have taken something up again."""
        table = outbox_table.c
        async with self._lock, self._journal.transaction("the outbox cannot be read") as connection:
            for receiver in self._receivers:
                of = (table.receiver == receiver.name) & (table.state == _WAITING)
                found = (await connection.execute(sa.select(sa.func.count()).where(of))).scalar() or 0
                if found > self._waiting[receiver.name]:
                    self._news[receiver.name].set()
                self._waiting[receiver.name] = found

    async def sweep(self) -> None:
        """Forgets the oldest of what is done, beyond DONE_MAX."""
        done = outbox_table.c.state != _WAITING
        oldest = sa.select(outbox_table.c.number).where(done).order_by(outbox_table.c.number.desc())
        async with self._journal.transaction("old notices were not forgotten", writes=True) as connection:
            last = (await connection.execute(oldest.offset(DONE_MAX).limit(1))).scalar()
            if last is not None:
                await connection.execute(sa.delete(outbox_table).where(done, outbox_table.c.number <= last))

    async def _take_in(self) -> bool:
        rows = await self._journal.after(self._mark, FOLLOW_ROWS)
        if not rows:
            return False
        at, book, entries = self._clock(), self._book.copy(), list[Entry]()
        for transition in rows:
            entries += book.take(
                transition, at, self._receivers, self._routes, self._describe, self._ladders, self._duty
            )
        touched = dict.fromkeys(row.occurrence for row in rows)
        await self._keep(book, entries, list(touched), rows[-1].seq, at)
        return True

    async def _keep(self, book: Book, entries: Sequence[Entry], touched: Sequence[str], seq: int, at: datetime) -> None:
        """Writes what the book says by now of the alarms `touched`, and the entries; then it is our book."""
        kept, waiting = self._rows(entries, to_us(at))
        told = [one for alarm in touched for one in book.told.get(alarm, {}).values()]
        unanswered = [book.unanswered[alarm] for alarm in touched if alarm in book.unanswered]
        try:
            await self._write(kept, told, unanswered, touched, seq)
        except BaseException:
            self._stale = True
            raise
        self._book, self._mark, self._number = book, seq, self._number + len(kept)
        self._step_known = False
        for entry, row in zip(entries, kept, strict=True):
            if row["state"] == _WAITING:
                self._news[entry.receiver].set()
            else:
                self._dead[entry.receiver, DeadNotice.TOO_MANY] += 1
        self._waiting = waiting

    async def _following(self) -> None:
        while True:
            try:
                more = await self.follow()
                at = self._clock()
                if not more and _long_ago(self._climbed_at, at, CLIMB_S):
                    self._climbed_at = at
                    await self.climb()
                if _long_ago(self._counted_at, at, RECOUNT_S):
                    self._counted_at = at
                    await self._recount()
                if self._swept_at is None or at - self._swept_at >= _SWEEP_EVERY:
                    self._swept_at = at
                    await self.sweep()
            except Transient as error:
                log.error("news was not taken into the outbox", error=str(error))
                more = False
            await asyncio.sleep(0 if more else LOOK_S)

    async def _sending(self, receiver: str) -> None:
        """The loop of one receiver: one message at a time, in order. It looks when there is news, and each second for
        what has come to be due."""
        failures, sent_at = 0, deque[datetime](maxlen=BUDGET)
        while True:
            pause_s = PACE_S
            try:
                at = self._clock()
                spent = len(sent_at) == BUDGET and at - sent_at[0] < BUDGET_SPAN
                parcel = await self.compose(receiver, urgent=spent)
                if parcel is None:
                    await self._until_news(receiver)
                    continue
                if await self.deliver(parcel):
                    failures = 0
                    sent_at.append(at)
                else:
                    pause_s = max(retry_s(failures, self._draw()), self._pauses.pop(receiver, 0.0))
                    failures += 1
            except Transient as error:
                log.error("the outbox cannot be read or written", receiver=receiver, error=str(error))
                pause_s = retry_s(failures, self._draw())
                failures += 1
            await asyncio.sleep(pause_s)

    async def _until_news(self, receiver: str) -> None:
        news = self._news[receiver]
        try:
            async with asyncio.timeout(1.0):
                await news.wait()
        except TimeoutError:
            return
        news.clear()

    async def _bury(self, notice: Notice, why: DeadNotice, said: str) -> None:
        log.error("a notice will not be sent", receiver=notice.receiver, key=notice.key, reason=why.value, error=said)
        await self._settle(notice, why.value, said)
        self._dead[notice.receiver, why] += len(notice.items)

    async def _settle(self, notice: Notice, state: str, said: str) -> None:
        table = outbox_table.c
        done_us = None if state == _WAITING else to_us(self._clock())
        of = (table.receiver == notice.receiver) & (table.state == _WAITING) & (table.message == notice.key)
        change = sa.update(outbox_table).where(of)
        change = change.values(state=state, said=clean(said), done_us=done_us, tries=table.tries + 1)
        async with self._lock:
            try:
                async with self._journal.transaction("what became of a notice was not written", writes=True) as on:
                    await on.execute(change)
            except BaseException:
                self._stale = True
                raise
            if state != _WAITING:
                self._waiting[notice.receiver] -= len(notice.items)

    def _rows(self, entries: Sequence[Entry], at_us: int) -> tuple[list[dict[str, object]], Counter[str]]:
        """The entries as rows, and what then waits."""
        waiting, rows = Counter(self._waiting), list[dict[str, object]]()
        for number, entry in enumerate(entries, self._number + 1):
            full = waiting[entry.receiver] >= WAITING_MAX
            waiting[entry.receiver] += not full
            rows.append(
                {
                    "number": number,
                    "key": entry.key,
                    "receiver": entry.receiver,
                    "thread": entry.thread,
                    "priority": int(entry.item.priority),
                    "item": msgspec.json.encode(entry.item).decode(),
                    "due_us": to_us(entry.due),
                    "made_us": at_us,
                    "state": DeadNotice.TOO_MANY.value if full else _WAITING,
                    "message": "",
                    "tries": 0,
                    "said": "",
                    "done_us": at_us if full else None,
                }
            )
        return rows, waiting

    async def _write(
        self,
        rows: Sequence[Mapping[str, object]],
        told: Sequence[Told],
        unanswered: Sequence[Unanswered],
        touched: Sequence[str],
        seq: int,
    ) -> None:
        async with self._journal.transaction("news was not taken into the outbox", writes=True) as connection:
            if rows:
                await connection.execute(sa.insert(outbox_table), rows)
            for table in (told_table, unanswered_table) if self._ladders else (told_table,):
                gone = sa.delete(table).where(table.c.alarm == sa.bindparam("over"))
                await connection.execute(gone, [{"over": alarm} for alarm in touched])
            if told:
                await connection.execute(sa.insert(told_table), [_told_row(one) for one in told])
            if unanswered:
                await connection.execute(sa.insert(unanswered_table), [_unanswered_row(one) for one in unanswered])
            await connection.execute(sa.update(mark_table).values(seq=seq))

    async def _load(self) -> None:
        table = outbox_table.c
        book = Book()
        counted = sa.select(table.receiver, sa.func.count()).where(table.state == _WAITING).group_by(table.receiver)
        async with self._journal.transaction("the outbox cannot be read") as connection:
            for row in (await connection.execute(sa.select(told_table))).all():
                try:
                    place = AssetKey(row.site, row.asset)
                    book.put(Told(row.receiver, row.alarm, place, row.thread, _ITEM.decode(row.item)))
                except (msgspec.DecodeError, msgspec.ValidationError) as error:
                    raise Permanent(
                        f"what {row.receiver} was told of {row.alarm} cannot be understood: {error}",
                        where="alarms.journal",
                    ) from error
            for row in (await connection.execute(sa.select(unanswered_table))).all() if self._ladders else ():
                try:
                    book.unanswered[row.alarm] = Unanswered(
                        row.alarm,
                        AssetKey(row.site, row.asset),
                        row.first,
                        from_us(row.since_us),
                        _ITEM.decode(row.item),
                        timedelta(microseconds=row.climbed_us),
                    )
                except (msgspec.DecodeError, msgspec.ValidationError) as error:
                    raise Permanent(
                        f"the unanswered alarm {row.alarm} cannot be understood: {error}", where="alarms.journal"
                    ) from error
            self._mark = (await connection.execute(sa.select(mark_table.c.seq))).scalar() or 0
            self._number = (await connection.execute(sa.select(sa.func.max(table.number)))).scalar() or 0
            self._waiting = Counter({row[0]: row[1] for row in (await connection.execute(counted)).all()})
        self._book, self._stale, self._step_known = book, False, False


def retry_s(failures: int, drawn: float) -> float:
    """The pause before the next try, seconds: it doubles with each failure, and half of it is drawn, so that many
    services do not come back in step. failures: those before. drawn: uniform in [0, 1).

    >>> [retry_s(failures, 1.0) for failures in (0, 1, 4, 5, 900)]
    [2.0, 4.0, 32.0, 60.0, 60.0]
    """
    longest = min(RETRY_CAP_S, RETRY_FIRST_S * 2.0 ** min(failures, 30))
    return longest * (0.5 + drawn / 2)


def _long_ago(before: datetime | None, at: datetime, span_s: float) -> bool:
    """Whether a span has passed, by a clock that may have been set."""
    return before is None or abs((at - before).total_seconds()) >= span_s


def _told_row(told: Told) -> dict[str, object]:
    return {
        "receiver": told.receiver,
        "alarm": told.alarm,
        "site": told.place.site,
        "asset": told.place.id,
        "thread": told.thread,
        "item": msgspec.json.encode(told.item).decode(),
    }


def _unanswered_row(one: Unanswered) -> dict[str, object]:
    return {
        "alarm": one.alarm,
        "site": one.place.site,
        "asset": one.place.id,
        "first": one.first,
        "since_us": to_us(one.since),
        "climbed_us": one.climbed // timedelta(microseconds=1),
        "item": msgspec.json.encode(one.item).decode(),
    }


async def letters(
    journal: SqlJournal,
    receiver: str | None = None,
    outcome: Outcome | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[Letter]:
    """What is in the outbox, newest first; what is left out does not narrow. before: number of the last one of the page
    before. limit: LETTERS_MAX at most. Raises as the journal does."""
    table = outbox_table.c
    rows = sa.select(outbox_table).order_by(table.number.desc()).limit(min(limit, LETTERS_MAX))
    if receiver is not None:
        rows = rows.where(table.receiver == receiver)
    if outcome is Outcome.DEAD:
        rows = rows.where(table.state.in_([reason.value for reason in DeadNotice]))
    elif outcome is not None:
        rows = rows.where(table.state == (_WAITING if outcome is Outcome.PENDING else _SENT))
    if before is not None:
        rows = rows.where(table.number < before)
    async with journal.transaction("the outbox cannot be read") as connection:
        found = (await connection.execute(rows)).all()
    try:
        return [
            Letter(
                row.number, row.key, row.receiver, _ITEM.decode(row.item), row.state, row.message,
                from_us(row.made_us), from_us(row.due_us), from_us(row.done_us) if row.done_us is not None else None,
                row.tries, row.said,
            )
            for row in found
        ]  # fmt: skip
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Permanent(f"a row of notice_outbox cannot be understood: {error}", where="alarms.journal") from error


async def take_up_again(
    journal: SqlJournal, numbers: Sequence[int], receivers: Sequence[str], at: datetime
) -> list[int]:
    """Puts what is dead back among what waits, to be sent at once with the key that it had; answers which of `numbers`
    that were. Its three days begin anew. receivers: those that there are. Raises as the journal does."""
    table = outbox_table.c
    dead = (
        table.number.in_(list(numbers)[:LETTERS_MAX])
        & table.state.in_([reason.value for reason in DeadNotice])
        & table.receiver.in_(list(receivers))
    )
    async with journal.transaction("nothing was taken up again", writes=True) as connection:
        taken = [row.number for row in (await connection.execute(sa.select(table.number).where(dead))).all()]
        again = {"state": _WAITING, "message": "", "due_us": to_us(at), "made_us": to_us(at), "done_us": None}
        if taken:
            await connection.execute(sa.update(outbox_table).where(table.number.in_(taken)).values(**again))
    return sorted(taken)

"""A journal in memory that can be made to fail, findings to feed an engine with, and a person who acts on one alarm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from alerts.engine import Acted, Engine
from alerts.journal import LOG_ROWS_MAX, HistoryQuery, Recalled, TooMany
from alerts.lifecycle import Acknowledge, AlarmKey, Delay, Reset, State, Transition
from alerts.silences import Noted, Silence
from alerts.suppression import Window
from dcim.core.errors import Transient
from dcim.core.findings import Evidence, Finding, FindingKind, Subject

T0 = datetime(2026, 3, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def finding(kind: FindingKind, subject: Subject, confidence: float = 0.5, score: float = 1.0) -> Finding:
    return Finding(kind, subject, T0, f"{kind} at {subject.asset}", score, confidence, (Evidence("sensor", "on"),))


async def acknowledge(engine: Engine, alarm_id: str, by: str, comment: str, when: datetime) -> Transition:
    return _only(await engine.act([(alarm_id, None)], Acknowledge(by, comment), when))


async def reset(engine: Engine, alarm_id: str, by: str, comment: str, when: datetime) -> Transition:
    return _only(await engine.act([(alarm_id, None)], Reset(by, comment), when))


def _only(done: Acted) -> Transition:
    """What became of a wish about one alarm."""
    if done.refused:
        raise done.refused[0][1]
    return done.transitions[0]


class MemoryJournal:
    """Keeps rows in lists. `fails` says what the next appends do: "before" fails with nothing written, "after" writes
    and fails all the same, as a connection does that breaks during the commit."""

    def __init__(self) -> None:
        self.rows: list[Transition] = []
        self.running: dict[AlarmKey, Delay] = {}
        self.noted: list[Window] = []
        self.wished: list[Noted] = []
        self.fails: list[str] = []
        self.writes = 0

    async def append(
        self,
        transitions: Sequence[Transition],
        delays: Mapping[AlarmKey, Delay | None],
        silences: Sequence[Noted] = (),
    ) -> None:
        how = self.fails.pop(0) if self.fails else ""
        if how == "before":
            raise Transient("the disk is full")
        if transitions and transitions[0].seq != len(self.rows) + 1:
            raise Transient("the numbers do not follow")
        self.writes += 1
        self.rows.extend(transitions)
        self.wished.extend(silences)
        for key, delay in delays.items():
            if delay is None:
                self.running.pop(key, None)
            else:
                self.running[key] = delay
        if how == "after":
            raise Transient("the connection was lost")

    async def recall(self) -> Recalled:
        turns: dict[str, int] = {}
        for row in self.rows:
            turns[row.occurrence] = (
                turns.get(row.occurrence, 0) + (row.before is State.NORMAL) - (row.after is State.NORMAL)
            )
        standing = [row for row in self.rows if turns[row.occurrence] > 0]
        return Recalled(len(self.rows), standing, list(self.running.values()))

    async def after(self, seq: int) -> Sequence[Transition]:
        return self.rows[seq:]

    async def history(self, query: HistoryQuery) -> Sequence[Transition]:
        rows = [
            row
            for row in reversed(self.rows)
            if (query.occurrence is None or row.occurrence == query.occurrence)
            and (query.site is None or row.key.subject.site == query.site)
            and (query.asset is None or row.key.subject.asset == query.asset)
            and (query.start is None or row.at >= query.start)
            and (query.end is None or row.at < query.end)
            and (query.before is None or row.seq < query.before)
            and (query.after is None or row.seq > query.after)
        ]
        return rows[: query.limit]

    async def log(self, start: datetime, end: datetime, rows_max: int = LOG_ROWS_MAX) -> Sequence[Transition]:
        over = {row.occurrence for row in self.rows if row.after is State.NORMAL and row.at < start}
        found = [row for row in self.rows if row.at < end and (row.at >= start or row.occurrence not in over)]
        if len(found) > rows_max:
            raise TooMany(rows_max)
        return [replace(row, finding=None) for row in found]

    async def note(self, window: Window, by: str, origin: str, at: datetime) -> None:
        self.noted.append(window)

    async def windows(self, since: datetime) -> Sequence[Window]:
        latest = {window.id: window for window in self.noted}
        return sorted((one for one in latest.values() if one.until > since), key=lambda one: (one.start, one.id))

    async def silences(self, since: datetime) -> Sequence[Silence]:
        latest = {noted.silence.id: noted.silence for noted in self.wished}
        return sorted((one for one in latest.values() if one.ends_at > since), key=lambda one: one.ends_at)

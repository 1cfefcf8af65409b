"""The engine under whatever comes: what it holds is what its journal says, and a restart anywhere shows nothing."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts import rules
from alerts.engine import Engine
from alerts.journal import Journal, SqlJournal
from alerts.lifecycle import (
    CHANGE_OF,
    Alarm,
    AlarmKey,
    Assign,
    Change,
    Close,
    ClosingCause,
    Shelve,
    State,
    Transition,
    fold,
    resume,
)
from alerts.suppression import Standing, Window
from dcim.core.assets import Asset, AssetKey, Placement
from dcim.core.errors import Transient
from dcim.core.findings import Detection, FindingKind, Subject, Unknown
from dcim.core.topology import Topology
from tests.alarms import MemoryJournal, at, finding
from tests.examples import examples

WET, STALE, SILENT = FindingKind.LEAK_WET, FindingKind.POINT_STALE, FindingKind.SOURCE_SILENT
LIMIT, HOT = FindingKind.LIMIT, FindingKind.GPU_HOT
KINDS = frozenset(FindingKind)

_WHY = """
[rule.rationale]
cause = "c"
consequence = "d"
action = ["e"]
respond_within_min = 5
"""
_WET = """
name = "wet"
finding = "leak_wet"
priority = "high"
off_delay_s = 5
escalate = { priority = "critical", after_s = 10, confidence = 0.9 }
"""
_WARM = """
name = "warm"
limit = { quantity = "RackPower", above = 1.0 }
priority = "medium"
on_delay_s = 10
off_delay_s = 10
latch = true
group = "heat"
remind_after_s = 20
"""
_HOT = """
name = "hot"
finding = "gpu_hot"
priority = "low"
explained_by = ["warm"]
needs_running = true
group = "heat"
"""
_SILENT = """
name = "silent"
finding = "source_silent"
priority = "high"
"""
_STALE = """
name = "stale"
finding = "point_stale"
priority = "low"
on_delay_s = 5
masked_by = ["source_silent"]
"""
RULES = rules.parse(
    "".join(f'[[rule]]\ntitle = "t"{body}{_WHY}' for body in (_WET, _WARM, _HOT, _SILENT, _STALE)), "rules.toml"
)

WHERE = [
    (WET, Subject("oslo", "a")),
    (WET, Subject("oslo", "b")),
    (LIMIT, Subject("oslo", "a", "warm|x")),
    (STALE, Subject("oslo", "a", "x")),
    (SILENT, Subject("oslo", "bms")),
    (HOT, Subject("oslo", "gpu")),
]
ASSETS = {
    AssetKey("oslo", "gpu"): Asset("oslo", "gpu", "gpu", "Gpu", True, Placement(), (), within="a"),
    AssetKey("oslo", "a"): Asset("oslo", "a", "a", "Rack", True, Placement(), ()),
}

said = st.sampled_from(["stands", "surely", "gone", "gone", "between", "unknown"])
worlds = st.tuples(*(said for _ in WHERE))
looks = st.tuples(st.just("look"), worlds, st.none() | st.sets(st.integers(0, len(WHERE) - 1)))
acts = st.tuples(st.sampled_from(list(CHANGE_OF)), st.integers(0, 5), st.integers(5, 60))
works = st.tuples(st.sampled_from(["open", "end"]), st.integers(0, 5), st.integers(5, 60))
ticks = st.tuples(st.just("tick"), st.just(None), st.just(None))
stories = st.lists(st.tuples(st.integers(0, 12), st.one_of(looks, looks, looks, acts, works, ticks)), max_size=25)


def detection(world: tuple[str, ...], looked_at: set[int] | None) -> Detection:
    names = list(zip(WHERE, world, strict=True))
    if looked_at is not None:
        names = [names[place] for place in sorted(looked_at)]
    return Detection(
        findings=tuple(
            finding(kind, subject, 0.95 if word == "surely" else 0.5)
            for (kind, subject), word in names
            if word in ("stands", "surely")
        ),
        unknown=tuple(Unknown(*where, "no reading") for where, word in names if word == "unknown"),
        between=frozenset(where for where, word in names if word == "between"),
        looked_at=None if looked_at is None else frozenset(where for where, _ in names),
    )


async def act(engine: Engine, told: tuple[object, object, object], now: int) -> list[Transition]:
    verb, what, scope = told
    if verb == "look":
        return await engine.apply(detection(what, scope), KINDS, at(now))  # type: ignore[arg-type]  # a look's parts
    if verb == "tick":
        return await engine.elapse(at(now))
    number, seconds = int(what), int(scope)  # type: ignore[call-overload]  # an act's numbers
    if verb == "open":
        assets = (("a",), ("b",), ())[number % 3]
        window = Window("", "oslo", assets, True, at(now), at(now + seconds), "work", "ana", "", at(now))
        await engine.open_window(window, at(now))
        return []
    if verb == "end":
        windows = [window for window in await engine.windows(at(now)) if window.until > at(now)]
        if windows:
            await engine.end_window(windows[number % len(windows)].id, "ana", "", at(now))
        return []
    standing = sorted([*engine.standing(), *engine.suppressed()], key=lambda view: view.id)
    if not standing:
        return []
    alarm_id = standing[number % len(standing)].id
    extra = {Shelve: {"until": at(now + seconds)}, Assign: {"to": "ben"}, Close: {"cause": ClosingCause.FIXED}}
    event = verb(by="ana", comment="why", **extra.get(verb, {}))  # type: ignore[operator, call-overload]  # an act
    return list((await engine.act([(alarm_id, None)], event, at(now))).transitions)


def held(engine: Engine) -> dict[AlarmKey, Alarm]:
    """What a restart must bring back: all but what the next look tells anew, see test_lifecycle.durable."""
    return {key: durable(alarm) for key, alarm in engine._alarms.items()}


def durable(alarm: Alarm) -> Alarm:
    mask = alarm.mask if alarm.turned_at is not None and alarm.present else None
    return replace(alarm, finding=None, doubt=None, mask=mask)


async def opened(journal: Journal, now: int) -> Engine:
    engine = Engine(RULES, journal, off_of=lambda key: "it is off" if key.id == "off" else "")
    await engine.open(at(now))
    engine.follow(Topology(), ASSETS)
    return engine


def consistent(engine: Engine) -> None:
    """All ways to an alarm lead to the same alarms."""
    keys = {key for subjects in engine._keys.values() for found in subjects.values() for key in found}
    assert keys == set(engine._alarms)
    assert set(engine._due) <= keys
    assert {key for key, alarm in engine._alarms.items() if alarm.occurrence} == set(engine._ids.values())
    assert not any(alarm.idle for alarm in engine._alarms.values())
    assert set(engine._versions) == set(engine._ids)
    assert +engine._masks == Counter(alarm.mask.by for alarm in engine._alarms.values() if alarm.mask)
    assert {one for group in engine._groups.values() for one in group.ids} == set(engine._first_out)
    assert set(engine._first_out) <= set(engine._ids)
    fresh = Standing(RULES)
    for alarm in engine._alarms.values():
        fresh.take(alarm)
    assert engine._standing._at == fresh._at
    assert not any(alarm.state is State.SUPPRESSED for alarm in engine._alarms.values() if alarm.kind is WET)


@settings(max_examples=examples(150), deadline=None)
@given(stories)
def test_what_the_engine_holds_is_what_the_journal_says(story: list[tuple[int, tuple[object, object, object]]]) -> None:
    async def run() -> None:
        journal, now, told = MemoryJournal(), 0, list[Transition]()
        engine = await opened(journal, 0)
        for wait, what in story:
            now += wait
            told += await act(engine, what, now)
            alarms = fold(journal.rows, lambda key: RULES[key.rule].policy)
            for delay in journal.running.values():
                new = Alarm(delay.key, delay.kind, RULES[delay.key.rule].policy)
                alarms[delay.key] = resume(alarms.get(delay.key) or new, delay)
            assert {key: durable(one) for key, one in alarms.items()} == held(engine)
            consistent(engine)
        told += await engine.elapse(at(now))
        assert sorted(told, key=lambda made: made.seq) == journal.rows  # each told once, none lost
        assert [row.seq for row in journal.rows] == list(range(1, len(journal.rows) + 1))

    asyncio.run(run())


@settings(max_examples=examples(150), deadline=None)
@given(stories, st.integers(0, 25))
def test_a_restart_anywhere_brings_the_same_back(
    story: list[tuple[int, tuple[object, object, object]]], cut: int
) -> None:
    async def run() -> None:
        journal, now = MemoryJournal(), 0
        engine = await opened(journal, 0)
        for number, (wait, what) in enumerate(story):
            now += wait
            if number == cut:
                before = held(engine)
                books = dict(engine._versions), dict(engine._first_out)
                engine = await opened(journal, now)
                assert held(engine) == before
                assert (engine._versions, engine._first_out) == books
            await act(engine, what, now)
        rows = list(journal.rows)
        twice = await opened(journal, now)
        assert held(twice) == held(engine)
        assert journal.rows == rows  # a start writes nothing, so it can tell nothing twice

    asyncio.run(run())


@settings(max_examples=examples(100), deadline=None)
@given(stories)
def test_the_same_detection_again_changes_nothing(story: list[tuple[int, tuple[object, object, object]]]) -> None:
    async def run() -> None:
        journal, now = MemoryJournal(), 0
        engine = await opened(journal, 0)
        for wait, what in story:
            now += wait
            await act(engine, what, now)
            if what[0] == "look":
                before, writes = held(engine), journal.writes
                await act(engine, what, now)
                assert (held(engine), journal.writes) == (before, writes)

    asyncio.run(run())


@settings(max_examples=examples(150), deadline=None)
@given(stories, st.lists(st.sampled_from(["", "before", "after"]), max_size=30))
def test_a_journal_that_fails_costs_nothing_but_time(
    story: list[tuple[int, tuple[object, object, object]]], fails: list[str]
) -> None:
    """Whoever is told of a failure tries the same again, and the journal then reads as if there had been none."""

    async def run(fails: list[str]) -> tuple[list[Transition], list[Transition], dict[AlarmKey, Alarm]]:
        journal, now, told = MemoryJournal(), 0, list[Transition]()
        engine = await opened(journal, 0)
        journal.fails = list(fails)
        for wait, what in story:
            now += wait
            while True:
                try:
                    told += await act(engine, what, now)
                    break
                except Transient:
                    continue
        journal.fails = []
        told += await engine.elapse(at(now))
        return journal.rows, sorted(told, key=lambda made: made.seq), held(engine)

    # A person's second try chooses among what stands then, so people are left out of the comparison.
    story = [(wait, what) for wait, what in story if what[0] in ("look", "tick")]
    rows, told, alarms = asyncio.run(run(fails))
    assert told == rows
    plain_rows, _, plain_alarms = asyncio.run(run([]))
    assert rows == plain_rows
    assert alarms == plain_alarms


@settings(max_examples=examples(100), deadline=None)
@given(stories)
def test_nothing_critical_without_its_reason(story: list[tuple[int, tuple[object, object, object]]]) -> None:
    async def run() -> None:
        journal, now = MemoryJournal(), 0
        engine = await opened(journal, 0)
        for wait, what in story:
            now += wait
            await act(engine, what, now)
        since: dict[AlarmKey, timedelta] = {}
        for row in journal.rows:
            if row.change is Change.ACTIVATED:
                since[row.key] = row.at - at(0)
            if row.change is Change.ESCALATED:
                stood = row.at - at(0) - since[row.key]
                assert row.finding is not None
                assert stood >= timedelta(seconds=10) or row.finding.confidence >= 0.9
                assert row.before not in (State.NORMAL, State.RETURNED)

    asyncio.run(run())


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(stories, st.integers(0, 25))
def test_the_same_holds_on_a_real_database(story: list[tuple[int, tuple[object, object, object]]], cut: int) -> None:
    async def run(folder: str) -> None:
        memory, now = MemoryJournal(), 0
        url = f"sqlite+aiosqlite:///{Path(folder) / 'alarms.sqlite'}"
        journal = SqlJournal(url)
        await journal.open()
        engine, beside = await opened(journal, 0), await opened(memory, 0)
        for number, (wait, what) in enumerate(story):
            now += wait
            if number == cut:
                await journal.close()
                journal = SqlJournal(url)
                await journal.open()
                engine, beside = await opened(journal, now), await opened(memory, now)
            if what[0] in ("open", "end"):
                continue  # windows get their own ids
            assert await act(engine, what, now) == await act(beside, what, now)
            assert held(engine) == held(beside)
        assert list(await journal.after(0)) == memory.rows
        assert not (await journal.audit()).broken
        await journal.close()

    with TemporaryDirectory() as folder:
        asyncio.run(run(folder))


@settings(max_examples=examples(100), deadline=None)
@given(stories, st.randoms(use_true_random=False))
def test_the_order_of_what_is_found_at_once_makes_no_difference(
    story: list[tuple[int, tuple[object, object, object]]], dice: random.Random
) -> None:
    async def run(shuffle: bool) -> tuple[dict[AlarmKey, Alarm], set[Transition], dict[str, tuple[str, AlarmKey]]]:
        journal, now = MemoryJournal(), 0
        engine = await opened(journal, 0)
        for wait, what in story:
            now += wait
            if what[0] == "look" and shuffle:
                seen = detection(what[1], what[2])  # type: ignore[arg-type]  # a look's parts
                findings, unknown = list(seen.findings), list(seen.unknown)
                dice.shuffle(findings)
                dice.shuffle(unknown)
                await engine.apply(replace(seen, findings=tuple(findings), unknown=tuple(unknown)), KINDS, at(now))
            elif what[0] not in ("open", "end"):
                await act(engine, what, now)
        return held(engine), {replace(row, seq=0) for row in journal.rows}, engine._first_out

    assert asyncio.run(run(shuffle=False)) == asyncio.run(run(shuffle=True))

"""Whatever happens to an alarm: who was told of it hears how it ends, once, and nobody else hears of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.lifecycle import (
    Acknowledge,
    Alarm,
    AlarmKey,
    BringBack,
    Clear,
    Close,
    ClosingCause,
    Elapse,
    Escalation,
    Event,
    Mask,
    MaskCause,
    Policy,
    Priority,
    Raise,
    Reset,
    Shelve,
    State,
    TakeOut,
    Unshelve,
    step,
)
from alerts.notices import News, Notice
from alerts.notify.pagerduty import events_of
from alerts.routing import Book, Entry, Ladder, Receiver, Route
from dcim.core.findings import FindingKind, Subject
from tests.alarms import at, finding
from tests.contract.test_notices import describe
from tests.examples import examples

SUBJECT = Subject("oslo", "7", "rope")
FINDING = finding(FindingKind.LEAK_WET, SUBJECT)
RECEIVERS = (Receiver("desk"), Receiver("boss"), Receiver("other"))
ROUTES = (
    Route(("desk",)),
    Route(("boss",), priority=Priority.CRITICAL),
    Route(("other",), sites=frozenset({"bergen"})),
)
OFTEN: list[Event] = [Raise(FINDING), Clear(), Acknowledge("ana"), Elapse()]
SELDOM: list[Event] = [
    Raise(FINDING, Mask(MaskCause.MAINTENANCE, "w1", "work")), Reset("ana"), Shelve("ana", "work", at(10_000)),
    Unshelve("ana"), TakeOut("ana", "torn"), BringBack("ana"), Close("ana", ClosingCause.FIXED),
]  # fmt: skip
EVENTS: st.SearchStrategy[Event] = st.sampled_from(OFTEN) | st.sampled_from(SELDOM)


@pytest.mark.slow
@settings(max_examples=examples(600))
@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 60, 500]), EVENTS), min_size=10, max_size=40),
    st.booleans(),
    st.sampled_from([0, 30]),
)
def test_a_story_is_told_to_its_end_to_whoever_heard_its_beginning(
    events: list[tuple[int, Event]], latch: bool, delay_s: int
) -> None:
    policy = Policy(
        Priority.MEDIUM, timedelta(seconds=delay_s), timedelta(seconds=delay_s), latch,
        Escalation(Priority.CRITICAL, timedelta(seconds=400)), timedelta(seconds=500),
    )  # fmt: skip
    alarm, book, seconds, seq = Alarm(AlarmKey("leak-wet", SUBJECT), FindingKind.LEAK_WET, policy), Book(), 0, 0
    open_for: dict[str, News] = {}
    for pause_s, event in events:
        seconds += pause_s
        stepped = step(alarm, event, at(seconds))
        alarm = stepped.alarm
        for transition in stepped.transitions:
            seq += 1
            before = book.copy()
            entries = book.take(transition, at(seconds), RECEIVERS, ROUTES, describe)
            assert before.copy().take(transition, at(seconds), RECEIVERS, ROUTES, describe) == entries
            assert entries == [] or not transition.hidden
            for entry in entries:
                last, news = open_for.get(entry.receiver), entry.item.news
                assert entry.receiver != "other"
                assert entry.receiver != "boss" or last or entry.item.priority is Priority.CRITICAL
                assert news is not News.CLEARED or last not in (None, News.CLEARED), "a clear without a beginning"
                open_for[entry.receiver] = news
            if transition.after is State.UNACKNOWLEDGED and transition.before is not State.UNACKNOWLEDGED:
                assert open_for.get("desk") not in (None, News.CLEARED)
            if transition.after is State.NORMAL:
                assert set(open_for.values()) <= {News.CLEARED}
                assert book == Book()
                open_for = {}


PAGER = Receiver("pager", hears_acknowledged=True)
LADDERS = (
    Ladder(((timedelta(seconds=200), Route(("boss",))), (timedelta(seconds=900), Route(("boss", "pager"))))),
    Ladder(((timedelta(seconds=60), Route(("boss",), priority=Priority.CRITICAL)),)),
)
PLACES = (Subject("oslo", "7", "rope"), Subject("oslo", "7", "tray"), Subject("oslo", "8", "rope"))


@pytest.mark.slow
@settings(max_examples=examples(400))
@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 60, 500]), st.integers(0, 2), EVENTS), min_size=10, max_size=40),
    st.booleans(),
    st.lists(st.integers(1, 4), min_size=1, max_size=20),
)
def test_incidents_follow_their_threads_and_steps_are_told_once(
    events: list[tuple[int, int, Event]], latch: bool, sizes: list[int]
) -> None:
    """Whatever happens to several alarms, and however news is packed into messages: once all is over no incident is
    open; while something stands that was told, one is; and no news has the key of another."""
    policy = Policy(Priority.HIGH, latch=latch, escalation=Escalation(Priority.CRITICAL, timedelta(seconds=400)))
    alarms = [Alarm(AlarmKey("leak-wet", place), FindingKind.LEAK_WET, policy) for place in PLACES]
    book, seconds, seq, entries = Book(), 0, 0, list[Entry]()
    routes = [Route(("pager",))]

    def happens(number: int, event: Event) -> None:
        nonlocal seq
        stepped = step(alarms[number], event, at(seconds))
        alarms[number] = stepped.alarm
        for made in stepped.transitions:
            seq += 1
            told = replace(made, seq=seq)
            entries.extend(book.take(told, at(seconds), (PAGER, *RECEIVERS), routes, describe, LADDERS))
        standing = {one.occurrence.id for one in alarms if one.occurrence and one.state is State.UNACKNOWLEDGED}
        assert book.unanswered.keys() == standing

    for pause_s, number, event in events:
        seconds += pause_s
        wet = finding(FindingKind.LEAK_WET, alarms[number].key.subject)
        happens(number, Raise(wet, event.mask) if isinstance(event, Raise) else event)
        before = book.copy()
        climbed = book.climb(at(seconds), (PAGER, *RECEIVERS), LADDERS)
        assert before.climb(at(seconds), (PAGER, *RECEIVERS), LADDERS) == climbed
        assert book.climb(at(seconds), (PAGER, *RECEIVERS), LADDERS) == []
        assert {entry.item.alarm for entry in climbed} <= book.unanswered.keys()
        entries.extend(climbed)
    keys = [entry.key for entry in entries]
    assert len(set(keys)) == len(keys)
    for end in (Unshelve("ana"), BringBack("ana"), Clear(), Acknowledge("ana"), Reset("ana")):
        for number in range(len(alarms)):
            happens(number, end)
            happens(number, Elapse())
    open_incidents: dict[str, str] = {}
    stands: dict[str, set[str]] = {}
    waiting = [entry for entry in entries if entry.receiver == "pager"]
    while waiting:
        size = sizes[len(waiting) % len(sizes)]
        packed, waiting = waiting[:size], waiting[size:]
        items = tuple(entry.item for entry in packed)
        for event in events_of(Notice(packed[0].key, "pager", "", items)):
            if event["event_action"] == "resolve":
                open_incidents.pop(event["dedup_key"], None)
            elif event["event_action"] == "trigger":
                open_incidents.setdefault(event["dedup_key"], "triggered")
            elif event["dedup_key"] in open_incidents:
                open_incidents[event["dedup_key"]] = "acknowledged"
        for item in items:
            stands.setdefault(item.thread, set()).discard(item.alarm)
            stands[item.thread] |= {item.alarm} - ({item.alarm} if item.news is News.CLEARED else set())
            assert item.thread_standing == len(stands[item.thread])
        last = {item.thread: item for item in items}
        for thread, item in last.items():
            assert (f"dcim-{thread}" in open_incidents) is (item.thread_standing > 0)
    assert {alarm.state for alarm in alarms} == {State.NORMAL}
    assert open_incidents == {} and book == Book()

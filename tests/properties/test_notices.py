"""Whatever happens to an alarm: who was told of it hears how it ends, once, and nobody else hears of it."""

from __future__ import annotations

from datetime import timedelta

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
from alerts.notices import News
from alerts.routing import Book, Receiver, Route
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

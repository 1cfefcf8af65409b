"""The step of one alarm: every pair of the table, and what holds for whatever happens in whatever order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.lifecycle import (
    CHANGE_OF,
    NEXT,
    Acknowledge,
    Act,
    Alarm,
    AlarmKey,
    Assign,
    BringBack,
    Change,
    Clear,
    Close,
    ClosingCause,
    Comment,
    Delay,
    Elapse,
    Escalation,
    Event,
    Hold,
    Mask,
    MaskCause,
    Policy,
    Priority,
    Quiet,
    Raise,
    Reprioritise,
    Reset,
    Shelve,
    State,
    TakeOut,
    Transition,
    Unshelve,
    advance,
    due,
    fold,
    resume,
    running,
    step,
)
from dcim.core.findings import FindingKind, Subject
from tests.alarms import at, finding
from tests.examples import examples

KEY = AlarmKey("leak", Subject("oslo", "rack-7", "rope"))
KIND = FindingKind.LEAK_WET
WET = finding(KIND, KEY.subject, confidence=0.5)
SURE = finding(KIND, KEY.subject, confidence=0.95)

PLAIN = Policy(Priority.HIGH)
LATCHING = Policy(Priority.HIGH, latch=True)
RISING = Policy(Priority.HIGH, escalation=Escalation(Priority.CRITICAL, timedelta(seconds=30), 0.9))

LEFT = Mask(MaskCause.SITE, "cause", "it follows")

WAY: dict[State, list[Event]] = {
    State.NORMAL: [],
    State.UNACKNOWLEDGED: [Raise(WET)],
    State.ACKNOWLEDGED: [Raise(WET), Acknowledge("ana")],
    State.RETURNED: [Raise(WET), Clear()],
    State.LATCHED_UNACKNOWLEDGED: [Raise(WET), Clear()],
    State.LATCHED_ACKNOWLEDGED: [Raise(WET), Acknowledge("ana"), Clear()],
    State.SHELVED: [Raise(WET), Shelve("ana", "known", at(3600))],
    State.SUPPRESSED: [Raise(WET, LEFT)],
    State.OUT_OF_SERVICE: [Raise(WET), TakeOut("ana", "broken")],
}
"""How each state is reached."""


def alarm_in(state: State) -> Alarm:
    alarm = Alarm(KEY, KIND, LATCHING if state.startswith("latched") else PLAIN)
    for second, event in enumerate(WAY[state]):
        alarm = step(alarm, event, at(second)).alarm
    assert alarm.state is state
    return alarm


# The whole of the behaviour without delays: where each event leads from each state.
N, U, A, R, LU, LA, SH, SU, OO = State
STAYS = {state: state for state in State}
EXPECTED: dict[str, dict[State, State]] = {
    "Raise": {N: U, U: U, A: A, R: U, LU: U, LA: U, SH: SH, SU: U, OO: OO},
    "Raise masked": {N: SU, U: U, A: A, R: R, LU: LU, LA: LA, SH: SH, SU: SU, OO: OO},
    "Clear": {N: N, U: R, A: N, R: R, LU: LU, LA: LA, SH: SH, SU: N, OO: OO},
    "Acknowledge": STAYS | {U: A, R: N, LU: LA},
    "Reset": STAYS | {LA: N},
    "Hold": STAYS,
    "Elapse": STAYS,
    "Reprioritise": STAYS | {A: U, SH: U},
    "Comment": STAYS,
    "Assign": STAYS,
    "Shelve": STAYS | {U: SH, A: SH, R: SH, LU: SH, LA: SH},
    "Unshelve": STAYS | {SH: U},
    "TakeOut": STAYS | {U: OO, A: OO, R: OO, LU: OO, LA: OO, SH: OO, SU: OO},
    "BringBack": STAYS | {OO: U},
    "Close": STAYS | {R: N, LU: N, LA: N},
}
EVENTS: dict[str, Event] = {
    "Raise": Raise(WET),
    "Raise masked": Raise(WET, LEFT),
    "Clear": Clear(),
    "Acknowledge": Acknowledge("ben"),
    "Reset": Reset("ben"),
    "Hold": Hold("no reading"),
    "Elapse": Elapse(),
    "Reprioritise": Reprioritise(Priority.CRITICAL, "it spreads"),
    "Comment": Comment("ben", "the third time"),
    "Assign": Assign("ben", "ana"),
    "Shelve": Shelve("ben", "known", at(7200)),
    "Unshelve": Unshelve("ben"),
    "TakeOut": TakeOut("ben", "broken"),
    "BringBack": BringBack("ben"),
    "Close": Close("ben", ClosingCause.FIXED),
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", State)
def test_every_event_in_every_state(state: State, event: str) -> None:
    before = alarm_in(state)
    after = step(before, EVENTS[event], at(10))
    assert after.alarm.state is EXPECTED[event][state]
    if not after.transitions:
        assert after.alarm.state is state
    for transition in after.transitions:
        assert transition.after in NEXT[transition.before, transition.change]
        assert transition.at == at(10)
    assert (after.alarm.occurrence is None) == (after.alarm.state is State.NORMAL)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("change", Change)
def test_every_pair_of_the_table_is_either_a_row_or_refused(state: State, change: Change) -> None:
    alarm = alarm_in(state)
    occurrence = alarm.occurrence.id if alarm.occurrence else "new"
    ways = NEXT.get((state, change), ())
    transition = Transition(at(10), KEY, KIND, occurrence, change, state, state, Priority.HIGH)
    for after in State:
        if after in ways:
            assert advance(alarm, replace(transition, after=after)).state is after
        else:
            with pytest.raises(ValueError, match="does not follow"):
                advance(alarm, replace(transition, after=after))


def test_a_transition_of_another_occurrence_is_refused() -> None:
    stray = Transition(
        at(10), KEY, KIND, "another", Change.RETURNED, State.UNACKNOWLEDGED, State.RETURNED, Priority.HIGH
    )
    with pytest.raises(ValueError, match="belongs to occurrence another"):
        advance(alarm_in(State.UNACKNOWLEDGED), stray)


LETTERS = dict(zip(State, "ABCDEFGHI", strict=True))


def test_the_table_in_the_readme_is_the_table() -> None:
    readme = (Path(__file__).parents[2] / "alerts" / "README.md").read_text(encoding="utf-8")
    head = ["change", *(LETTERS[state] for state in State)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for change in Change:
        cells = ("".join(LETTERS[after] for after in NEXT.get((state, change), ())) for state in State)
        lines.append(f"| `{change}` | " + " | ".join(cells) + " |")
    assert "\n".join(lines) in readme
    for state, letter in LETTERS.items():
        assert f"| {letter} | `{state}` |" in readme


def test_a_priority_that_a_person_eased_does_not_rise_by_itself_again() -> None:
    alarm = step(Alarm(KEY, KIND, RISING), Raise(WET), at(0)).alarm
    eased = step(alarm, Reprioritise(Priority.LOW, "a known drip", by="ana"), at(1))
    assert [(made.change, made.priority, made.by) for made in eased.transitions] == [
        (Change.EASED, Priority.LOW, "ana")
    ]
    assert due(eased.alarm) is None
    later = step(eased.alarm, Raise(SURE), at(60))
    assert later.transitions == ()
    gone = step(later.alarm, Clear(), at(61)).alarm
    again = step(gone, Raise(SURE), at(62))
    assert [(made.change, made.priority) for made in again.transitions] == [(Change.ACTIVATED, Priority.LOW)]


def test_the_evidence_is_kept_at_activation_and_at_escalation_alone() -> None:
    alarm = Alarm(KEY, KIND, RISING)
    made: list[Transition] = []
    for second, event in enumerate([Raise(WET), Acknowledge("ana"), Raise(SURE), Clear(), Acknowledge("ana")]):
        stepped = step(alarm, event, at(second))
        alarm = stepped.alarm
        made += stepped.transitions
    assert [(one.change, one.finding) for one in made] == [
        (Change.ACTIVATED, WET),
        (Change.ACKNOWLEDGED, None),
        (Change.ESCALATED, SURE),
        (Change.RETURNED, None),
        (Change.ACKNOWLEDGED, None),
    ]


def test_a_clock_that_steps_back_starts_the_delay_anew_and_never_blocks_it() -> None:
    slow = Policy(Priority.LOW, on_delay=timedelta(seconds=60))
    alarm = step(Alarm(KEY, KIND, slow), Raise(WET), at(3600)).alarm
    alarm = step(alarm, Raise(WET), at(0)).alarm
    assert due(alarm) == at(60)
    assert step(alarm, Elapse(), at(60)).alarm.state is State.UNACKNOWLEDGED


def test_a_returned_alarm_that_is_acknowledged_while_its_on_delay_runs_begins_a_new_occurrence() -> None:
    slow = Policy(Priority.LOW, on_delay=timedelta(seconds=10))
    alarm = Alarm(KEY, KIND, slow)
    for second, event in ((0, Raise(WET)), (10, Elapse()), (20, Clear()), (30, Raise(WET)), (35, Acknowledge("ana"))):
        alarm = step(alarm, event, at(second)).alarm
    assert (alarm.state, alarm.present, due(alarm)) == (State.NORMAL, True, at(40))
    again = step(alarm, Elapse(), at(40))
    assert [(made.change, made.before) for made in again.transitions] == [(Change.ACTIVATED, State.NORMAL)]
    assert again.alarm.occurrence is not None
    assert (again.alarm.occurrence.opened_at, again.alarm.occurrence.activations) == (at(40), 1)


def test_a_re_alarm_keeps_the_beginning_and_forgets_who_acknowledged() -> None:
    alarm = Alarm(KEY, KIND, LATCHING)
    for second, event in ((0, Raise(WET)), (1, Acknowledge("ana")), (2, Clear()), (3, Raise(WET))):
        alarm = step(alarm, event, at(second)).alarm
    occurrence = alarm.occurrence
    assert occurrence is not None
    assert (occurrence.opened_at, occurrence.since, occurrence.activations) == (at(0), at(3), 2)
    assert (occurrence.returned_at, occurrence.acknowledged) == (None, None)


def test_an_escalation_asks_whoever_acknowledged_again() -> None:
    alarm = step(step(Alarm(KEY, KIND, RISING), Raise(WET), at(0)).alarm, Acknowledge("ana"), at(1)).alarm
    assert alarm.occurrence is not None
    assert alarm.occurrence.acknowledged is not None
    alarm = step(alarm, Elapse(), at(30)).alarm
    assert alarm.state is State.UNACKNOWLEDGED
    assert alarm.occurrence is not None
    assert alarm.occurrence.acknowledged is None


def test_doubt_counts_from_its_beginning_and_stops_the_delay() -> None:
    slow = Policy(Priority.LOW, on_delay=timedelta(seconds=10))
    alarm = Alarm(KEY, KIND, slow)
    for second, event in ((0, Raise(WET)), (4, Hold("no reading")), (6, Hold("the gateway is silent"))):
        alarm = step(alarm, event, at(second)).alarm
    assert alarm.doubt is not None
    assert (alarm.doubt.since, alarm.doubt.why) == (at(4), "the gateway is silent")
    assert due(alarm) is None
    assert step(alarm, Elapse(), at(99)).transitions == ()
    assert due(step(alarm, Hold(), at(7)).alarm) == at(10)


def test_a_delay_that_no_longer_fits_is_left_out() -> None:
    standing = alarm_in(State.UNACKNOWLEDGED)
    assert resume(standing, Delay(KEY, KIND, True, at(0), WET)) == standing


# --- Whatever happens -------------------------------------------------------------------------------------------------

seconds = st.sampled_from([0, 1, 5, 30])
policies = st.builds(
    Policy,
    priority=st.sampled_from([Priority.HIGH, Priority.MEDIUM]),
    on_delay=seconds.map(lambda s: timedelta(seconds=s)),
    off_delay=seconds.map(lambda s: timedelta(seconds=s)),
    latch=st.booleans(),
    escalation=st.none()
    | st.builds(
        Escalation,
        priority=st.just(Priority.CRITICAL),
        after=st.none() | st.just(timedelta(seconds=10)),
        confidence=st.none() | st.just(0.9),
    ),
    remind=st.none() | st.just(timedelta(seconds=15)),
)
OTHER = Mask(MaskCause.MAINTENANCE, "window", "somebody works there")
PEOPLE: list[Act] = [
    Acknowledge("ana"), Reset("ana"), Comment("ana", "again"), Assign("ana", "ben"), Unshelve("ana"),
    TakeOut("ana", "broken"), BringBack("ana"), Close("ana", ClosingCause.PASSED, "gone"),
]  # fmt: skip
events: st.SearchStrategy[Event] = st.one_of(
    st.sampled_from([Raise(WET), Raise(SURE), Raise(WET, LEFT), Raise(WET, OTHER), Clear(), Elapse(), Hold()]),
    st.sampled_from([Raise(WET), Clear(), Hold("no reading"), Reprioritise(Priority.LOW, "known", "ana")]),
    st.sampled_from(PEOPLE),
    st.sampled_from([20, 50, 100]).map(lambda second: Shelve("ana", "known", at(second))),
)
stories = st.lists(st.tuples(st.integers(0, 20), events), max_size=40)


def play(policy: Policy, story: list[tuple[int, Event]]) -> tuple[Alarm, list[Transition], list[tuple[int, Event]]]:
    """The alarm at the end, all transitions, and the story in absolute seconds."""
    alarm, made, now, told = Alarm(KEY, KIND, policy), list[Transition](), 0, list[tuple[int, Event]]()
    for wait, event in story:
        now += wait
        stepped = step(alarm, event, at(now))
        alarm, made = stepped.alarm, made + list(stepped.transitions)
        told.append((now, event))
    return alarm, made, told


def durable(alarm: Alarm) -> Alarm:
    """What a restart must bring back: all but the latest evidence, whether it can be told at present, and what hides
    now what was hidden by something else at first: the next look tells all of it."""
    mask = alarm.mask if alarm.turned_at is not None and alarm.present else None
    return replace(alarm, finding=None, doubt=None, mask=mask)


@settings(max_examples=examples(200), deadline=None)
@given(policies, stories)
def test_no_activation_before_its_delay_and_no_return_before_its_own(
    policy: Policy, story: list[tuple[int, Event]]
) -> None:
    alarm, now, said, since = Alarm(KEY, KIND, policy), 0, False, 0
    for wait, event in story:
        now += wait
        stepped = step(alarm, event, at(now))
        says = isinstance(event, Raise) if isinstance(event, Raise | Clear) else said
        for made in stepped.transitions:
            # What the detector said before this event has stood until now; what it says with it stands from now on.
            stood = {said: at(now) - at(since)}
            if says != said:
                stood[says] = timedelta(0)
            if made.change in (Change.ACTIVATED, Change.SUPPRESSED):
                assert stood[True] >= policy.on_delay
            if made.change in (Change.RETURNED, Change.LATCHED):
                assert stood[False] >= policy.off_delay
        if says != said:
            said, since = says, now
        alarm = stepped.alarm


@settings(max_examples=examples(200), deadline=None)
@given(policies, stories)
def test_the_same_event_again_changes_nothing(policy: Policy, story: list[tuple[int, Event]]) -> None:
    alarm, now = Alarm(KEY, KIND, policy), 0
    for wait, event in story:
        now += wait
        alarm = step(alarm, event, at(now)).alarm
        again = step(alarm, event, at(now))
        if isinstance(event, tuple(CHANGE_OF)):
            continue  # what a person does twice is said twice, or refused
        assert again.transitions == ()
        assert again.alarm == alarm


@settings(max_examples=examples(200), deadline=None)
@given(policies, stories)
def test_transitions_alone_bring_the_alarm_back(policy: Policy, story: list[tuple[int, Event]]) -> None:
    alarm, made, _ = play(policy, story)
    back = fold(made, lambda _: policy).get(KEY, Alarm(KEY, KIND, policy))
    delay: Delay | None = running(alarm)
    if delay is not None:
        back = resume(back, delay)
    assert durable(back) == durable(alarm)
    assert due(replace(back, doubt=alarm.doubt)) == due(alarm)


@settings(max_examples=examples(200), deadline=None)
@given(policies, stories, st.integers(0, 40))
def test_a_restart_anywhere_changes_nothing_that_comes_after(
    policy: Policy, story: list[tuple[int, Event]], cut: int
) -> None:
    _, whole, told = play(policy, story)
    alarm, made = Alarm(KEY, KIND, policy), list[Transition]()
    for number, (now, event) in enumerate(told):
        if number == cut:
            held = alarm.doubt, alarm.finding, alarm.mask
            back = fold(made, lambda _: policy).get(KEY, Alarm(KEY, KIND, policy))
            delay = running(alarm)
            back = resume(back, delay) if delay else back
            alarm = replace(back, doubt=held[0], finding=held[1], mask=held[2])
        stepped = step(alarm, event, at(now))
        alarm, made = stepped.alarm, made + list(stepped.transitions)
    assert made == whole


@settings(max_examples=examples(200), deadline=None)
@given(policies, stories)
def test_transitions_join_without_a_gap(policy: Policy, story: list[tuple[int, Event]]) -> None:
    alarm, made, _ = play(policy, story)
    state = State.NORMAL
    for transition in made:
        assert transition.before is state
        assert transition.after in NEXT[transition.before, transition.change]
        state = transition.after
    assert state is alarm.state
    occurrences = [one.occurrence for one in made if one.before is State.NORMAL]
    ends = [one.occurrence for one in made if one.after is State.NORMAL]
    assert occurrences[: len(ends)] == ends


@settings(max_examples=examples(200), deadline=None)
@given(policies, stories)
def test_another_priority_is_a_transition_of_the_same_alarm(policy: Policy, story: list[tuple[int, Event]]) -> None:
    """Escalated, eased, or come again with what it then is; never an alarm of its own, and never without a row."""
    alarm, now = Alarm(KEY, KIND, policy), 0
    for wait, event in story:
        now += wait
        before, stepped = alarm.occurrence, step(alarm, event, at(now))
        alarm = stepped.alarm
        priority = before.priority if before is not None else None
        for made in stepped.transitions:
            if made.before is State.NORMAL:
                assert made.change in (Change.ACTIVATED, Change.SUPPRESSED)
            elif made.priority != priority:
                assert made.change in (Change.ESCALATED, Change.EASED, Change.ACTIVATED, Change.SUPPRESSED)
                assert (made.change is Change.EASED) == (priority is not None and made.priority > priority)
            if made.change in (Change.ESCALATED, Change.EASED):
                assert made.priority != priority
                assert made.after is not State.NORMAL
            priority = None if made.after is State.NORMAL else made.priority
        assert priority == (alarm.occurrence.priority if alarm.occurrence is not None else None)


@settings(max_examples=examples(200), deadline=None)
@given(policies, stories)
def test_ticks_between_change_when_it_is_said_but_not_whether(policy: Policy, story: list[tuple[int, Event]]) -> None:
    """But for what counts from when something was said: escalation by time and reminders."""
    calm = replace(policy, escalation=None, remind=None)
    coarse, made, told = play(calm, story)
    alarm, fine, last = Alarm(KEY, KIND, calm), list[Transition](), 0
    for now, event in told:
        for second in range(last, now):
            stepped = step(alarm, Elapse(), at(second))
            alarm, fine = stepped.alarm, fine + list(stepped.transitions)
        stepped = step(alarm, event, at(now))
        alarm, fine, last = stepped.alarm, fine + list(stepped.transitions), now
    assert [(one.change, one.after) for one in fine] == [(one.change, one.after) for one in made]
    assert alarm.state is coarse.state


def silent(now: int) -> Quiet | None:
    """A silence from 30 s to 150 s."""
    shelf = Shelve("ana", "a test", at(150), "here", "silence")
    return (lambda _, __: shelf) if 30 <= now < 150 else None


@settings(max_examples=examples(200), deadline=None)
@given(policies, stories, st.integers(0, 40))
def test_beneath_a_silence_nothing_begins_for_everybody_to_see_and_a_restart_changes_nothing(
    policy: Policy, story: list[tuple[int, Event]], cut: int
) -> None:
    _, _, told = play(policy, story)
    whole, made = list[Transition](), list[Transition]()
    alarm = again = Alarm(KEY, KIND, policy)
    for number, (now, event) in enumerate(told):
        if number == cut:
            held = again.doubt, again.finding, again.mask
            back = fold(made, lambda _: policy).get(KEY, Alarm(KEY, KIND, policy))
            delay = running(again)
            back = resume(back, delay) if delay else back
            again = replace(back, doubt=held[0], finding=held[1], mask=held[2])
        stepped, other = step(alarm, event, at(now), silent(now)), step(again, event, at(now), silent(now))
        alarm, again = stepped.alarm, other.alarm
        whole += stepped.transitions
        made += other.transitions
        for one in stepped.transitions:
            out = one.change is Change.ACTIVATED and one.before in (State.NORMAL, State.SUPPRESSED)
            assert not (out and silent(now))
            assert (one.change is not Change.SILENCED) or (
                silent(now) and one.after is State.SHELVED and (one.by, one.detail) == ("ana", "silence")
            )
    assert made == whole
    assert again == alarm


def test_a_silence_is_asked_with_the_priority_that_the_alarm_would_have() -> None:
    asked: list[Priority] = []

    def quiet(_: Alarm, priority: Priority) -> None:
        asked.append(priority)

    step(Alarm(KEY, KIND, RISING), Raise(SURE), at(0), quiet)
    step(Alarm(KEY, KIND, RISING), Raise(WET, LEFT), at(0), quiet)  # begins hidden: nobody is asked
    step(alarm_in(State.RETURNED), Raise(WET), at(20), quiet)  # goes on
    assert asked == [Priority.CRITICAL]


def test_what_begins_beneath_a_silence_that_is_over_begins_for_everybody() -> None:
    stepped = step(Alarm(KEY, KIND, PLAIN), Raise(WET), at(9), lambda _, __: Shelve("ana", "a test", at(9)))
    assert [made.change for made in stepped.transitions] == [Change.ACTIVATED]


def test_what_was_hidden_comes_out_although_it_was_gone_for_a_moment_when_its_mask_ended() -> None:
    slow = Policy(Priority.LOW, on_delay=timedelta(seconds=10), off_delay=timedelta(seconds=30))
    alarm = Alarm(KEY, KIND, slow)
    for second, event in ((0, Raise(WET, LEFT)), (10, Elapse()), (20, Raise(WET)), (25, Clear()), (28, Raise(WET))):
        alarm = step(alarm, event, at(second)).alarm
    assert (alarm.state, alarm.mask, due(alarm)) == (State.SUPPRESSED, None, at(38))
    assert step(alarm, Elapse(), at(38)).alarm.state is State.UNACKNOWLEDGED


def test_a_re_alarm_waits_for_its_mask_to_end_and_leaves_what_has_returned_in_the_list() -> None:
    slow = Policy(Priority.LOW, on_delay=timedelta(seconds=10))
    alarm = Alarm(KEY, KIND, slow)
    for second, event in ((0, Raise(WET)), (10, Clear()), (20, Raise(WET, LEFT))):
        alarm = step(alarm, event, at(second)).alarm
    assert (alarm.state, due(alarm)) == (State.RETURNED, None)
    assert step(alarm, Elapse(), at(1_000)).transitions == ()
    back = running(alarm)
    assert back is not None
    assert resume(replace(alarm, present=False, turned_at=None, mask=None), back) == alarm  # a restart knows it too
    alarm = step(alarm, Raise(WET), at(1_000)).alarm
    assert due(alarm) == at(1_010)
    assert step(alarm, Elapse(), at(1_010)).alarm.state is State.UNACKNOWLEDGED


@settings(max_examples=examples(200), deadline=None)
@given(policies, stories)
def test_nothing_stays_hidden_without_something_that_hides_it(policy: Policy, story: list[tuple[int, Event]]) -> None:
    alarm, _, told = play(policy, story)
    if alarm.state is State.SUPPRESSED and alarm.mask is None and alarm.doubt is None:
        when = due(alarm)
        assert when is not None
        assert step(alarm, Elapse(), max(when, at(told[-1][0]))).alarm.state is not State.SUPPRESSED
    if alarm.state is State.SHELVED:
        assert alarm.occurrence is not None
        assert alarm.occurrence.aside is not None
        assert alarm.occurrence.aside.until is not None


@settings(max_examples=examples(200), deadline=None)
@given(policies, stories)
def test_due_tells_exactly_when_time_alone_would_change_something(
    policy: Policy, story: list[tuple[int, Event]]
) -> None:
    alarm, _, told = play(policy, story)
    now = at(told[-1][0] if told else 0)
    when = due(alarm)
    if when is None:
        assert step(alarm, Elapse(), now + timedelta(days=1)).transitions == ()
    else:
        assert when > now  # what is due has happened
        assert step(alarm, Elapse(), when - timedelta(microseconds=1)).transitions == ()
        assert step(alarm, Elapse(), when).transitions != ()

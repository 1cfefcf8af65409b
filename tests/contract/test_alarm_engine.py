"""The engine: what is written before it is told, what a failing journal may do, and who is refused why."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime

import pytest

from alerts import rules
from alerts.engine import AlreadyAcknowledged, Engine, NotLatched, UnknownAlarm
from alerts.journal import HistoryQuery
from alerts.lifecycle import Acknowledge, Change, Mask, MaskCause, Priority, State, Transition
from dcim.core.assets import Asset, AssetKey, Placement
from dcim.core.errors import Permanent, Transient
from dcim.core.findings import Detection, FindingKind, Subject, Unknown
from tests.alarms import MemoryJournal, acknowledge, at, finding, reset

WET, STALE, SILENT = FindingKind.LEAK_WET, FindingKind.POINT_STALE, FindingKind.SOURCE_SILENT
LOST, STUCK = FindingKind.SOURCE_LOST, FindingKind.NOTHING_KEPT
KINDS = frozenset({WET})
RULES = rules.default()


def seen(*assets: str, kind: FindingKind = WET, confidence: float = 0.5) -> Detection:
    return Detection(tuple(finding(kind, Subject("oslo", asset), confidence) for asset in assets))


def play(story: Callable[[Engine, MemoryJournal], Awaitable[None]], **options: object) -> None:
    async def run() -> None:
        journal = MemoryJournal()
        engine = Engine(RULES, journal, **options)  # type: ignore[arg-type]  # handed through
        await engine.open(at(0))
        await story(engine, journal)

    asyncio.run(run())


def changes(transitions: Sequence[Transition]) -> list[tuple[int, str, Change]]:
    return [(made.seq, made.key.subject.asset, made.change) for made in transitions]


def test_what_is_told_is_written_and_numbered() -> None:
    async def story(engine: Engine, journal: MemoryJournal) -> None:
        first = await engine.apply(seen("a", "b"), KINDS, at(0))
        assert changes(first) == [(1, "a", Change.ACTIVATED), (2, "b", Change.ACTIVATED)]
        assert journal.rows == first
        assert await engine.apply(seen("a", "b"), KINDS, at(1)) == []
        assert journal.writes == 1

    play(story)


def test_evidence_is_renewed_without_a_word_in_the_journal() -> None:
    async def story(engine: Engine, journal: MemoryJournal) -> None:
        await engine.apply(seen("a"), KINDS, at(0))
        await engine.apply(seen("a", confidence=0.7), KINDS, at(1))
        (view,) = engine.standing()
        assert view.finding is not None
        assert view.finding.confidence == 0.7
        assert journal.writes == 1

    play(story)


def test_a_finding_of_a_kind_that_the_detector_does_not_answer_for_is_a_defect() -> None:
    async def story(engine: Engine, journal: MemoryJournal) -> None:
        with pytest.raises(ValueError, match="a finding of leak_wet from a detector of flow_lost"):
            await engine.apply(seen("a"), frozenset({FindingKind.FLOW_LOST}), at(0))
        assert engine.standing() == []
        assert journal.rows == []

    play(story)


def test_only_what_was_looked_at_is_cleared() -> None:
    async def story(engine: Engine, _: MemoryJournal) -> None:
        await engine.apply(seen("a", "b", "c"), KINDS, at(0))
        await engine.apply(Detection(), frozenset({FindingKind.FLOW_LOST}), at(1))  # another detector
        await engine.elapse(at(60))
        assert {view.state for view in engine.standing()} == {State.UNACKNOWLEDGED}
        looked_at = frozenset({(WET, Subject("oslo", "a"))})
        await engine.apply(Detection(looked_at=looked_at), KINDS, at(61))
        made = await engine.elapse(at(70))
        assert changes(made)[-1:] == [(7, "a", Change.RETURNED)]
        assert [view.asset for view in engine.standing() if view.state is State.RETURNED] == ["a"]

    play(story)


def test_a_finding_wins_over_unknown_and_between_of_the_same_subject() -> None:
    async def story(engine: Engine, _: MemoryJournal) -> None:
        subject = Subject("oslo", "a")
        both = replace(seen("a"), unknown=(Unknown(WET, subject, "no reading"),), between=frozenset({(WET, subject)}))
        await engine.apply(both, KINDS, at(0))
        (view,) = engine.standing()
        assert view.cannot_tell == ""

    play(story)


# --- The journal fails ------------------------------------------------------------------------------------------------


def test_when_the_journal_fails_nothing_has_changed_and_the_same_again_succeeds() -> None:
    async def story(engine: Engine, journal: MemoryJournal) -> None:
        journal.fails = ["before", "before"]
        for _ in range(2):
            with pytest.raises(Transient):
                await engine.apply(seen("a", "b"), KINDS, at(0))
            assert engine.standing() == []
        made = await engine.apply(seen("a", "b"), KINDS, at(0))
        assert changes(made) == [(1, "a", Change.ACTIVATED), (2, "b", Change.ACTIVATED)]
        assert journal.rows == made

    play(story)


def test_what_was_written_although_it_failed_is_told_with_the_next_answer_and_once() -> None:
    async def story(engine: Engine, journal: MemoryJournal) -> None:
        journal.fails = ["after"]
        with pytest.raises(Transient):
            await engine.apply(seen("a"), KINDS, at(0))
        assert engine.standing() == []
        made = await engine.apply(seen("a", "b"), KINDS, at(1))
        assert changes(made) == [(1, "a", Change.ACTIVATED), (2, "b", Change.ACTIVATED)]
        assert await engine.apply(seen("a", "b"), KINDS, at(2)) == []
        assert journal.rows == made

    play(story)


def test_an_acknowledgement_that_was_written_although_it_failed_is_not_made_twice() -> None:
    async def story(engine: Engine, journal: MemoryJournal) -> None:
        (raised,) = await engine.apply(seen("a"), KINDS, at(0))
        journal.fails = ["after"]
        with pytest.raises(Transient):
            await acknowledge(engine, raised.occurrence, "ana", "", at(1))
        with pytest.raises(AlreadyAcknowledged, match="by ana at 2026-03-01 00:00:01 UTC"):
            await acknowledge(engine, raised.occurrence, "ana", "", at(2))
        assert changes(await engine.elapse(at(3))) == [(2, "a", Change.ACKNOWLEDGED)]

    play(story)


def test_a_call_that_is_cancelled_while_it_writes_loses_nothing() -> None:
    class Slow(MemoryJournal):
        async def append(self, transitions, delays, silences=()):  # type: ignore[no-untyped-def]
            await super().append(transitions, delays)
            await asyncio.sleep(3600)

    async def run() -> None:
        journal = Slow()
        engine = Engine(RULES, journal)
        await engine.open(at(0))
        task = asyncio.ensure_future(engine.apply(seen("a"), KINDS, at(0)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert changes(await engine.apply(seen("a"), KINDS, at(1))) == [(1, "a", Change.ACTIVATED)]
        assert len(engine.standing()) == 1

    asyncio.run(run())


def test_another_writer_is_told_and_not_believed() -> None:
    async def story(engine: Engine, journal: MemoryJournal) -> None:
        (raised,) = await engine.apply(seen("a"), KINDS, at(0))
        journal.rows.append(replace(raised, seq=2))  # somebody else activates what is active
        with pytest.raises(Transient):
            await engine.apply(seen("a", "b"), KINDS, at(1))
        with pytest.raises(Permanent, match=r"row 2 is not ours.*one process alone"):
            await engine.apply(seen("a", "b"), KINDS, at(2))

    play(story)


def test_a_journal_that_contradicts_itself_stops_the_start() -> None:
    async def run() -> None:
        journal = MemoryJournal()
        engine = Engine(RULES, journal)
        await engine.open(at(0))
        (raised,) = await engine.apply(seen("a"), KINDS, at(0))
        journal.rows.append(replace(raised, seq=2))
        with pytest.raises(Permanent, match=r"row 2: .* does not follow.*Move the file aside"):
            await Engine(RULES, journal).open(at(1))

    asyncio.run(run())


# --- People -----------------------------------------------------------------------------------------------------------


def test_who_may_not_acknowledge_is_told_why() -> None:
    async def story(engine: Engine, _: MemoryJournal) -> None:
        (raised,) = await engine.apply(seen("a"), KINDS, at(0))
        with pytest.raises(UnknownAlarm, match="there is no alarm nonsense"):
            await acknowledge(engine, "nonsense", "ana", "", at(1))
        for by, comment in (
            ("", ""),
            ("  ", ""),
            ("x" * 201, ""),
            ("ana", "x" * 2_001),
            ("a\x00", ""),
            ("ana", "\ud800"),
        ):
            with pytest.raises(Permanent):
                await acknowledge(engine, raised.occurrence, by, comment, at(1))
        done = await acknowledge(engine, raised.occurrence, "ana", "on my way", at(2))
        assert (done.by, done.comment, done.after) == ("ana", "on my way", State.ACKNOWLEDGED)
        with pytest.raises(AlreadyAcknowledged):
            await acknowledge(engine, raised.occurrence, "ben", "", at(3))
        await engine.apply(Detection(), KINDS, at(4))
        await engine.elapse(at(10))
        assert engine.standing() == []
        assert engine.find(raised.occurrence) is None
        with pytest.raises(AlreadyAcknowledged, match="by ana"):  # it is over, and the phone did not know yet
            await acknowledge(engine, raised.occurrence, "ben", "", at(11))
        with pytest.raises(UnknownAlarm):
            await reset(engine, raised.occurrence, "ben", "", at(12))

    play(story)


def test_of_two_who_acknowledge_at_once_one_is_first() -> None:
    async def story(engine: Engine, journal: MemoryJournal) -> None:
        (raised,) = await engine.apply(seen("a"), KINDS, at(0))
        answers = await asyncio.gather(
            *(acknowledge(engine, raised.occurrence, by, "", at(1)) for by in ("ana", "ben")), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [Transition, AlreadyAcknowledged]
        assert len(journal.rows) == 2

    play(story)


def test_many_are_acknowledged_in_one_write_and_each_answered() -> None:
    async def story(engine: Engine, journal: MemoryJournal) -> None:
        made = await engine.apply(seen(*"abc"), KINDS, at(0))
        ids = [one.occurrence for one in made]
        await acknowledge(engine, ids[1], "ana", "", at(1))
        wishes = [(alarm_id, None) for alarm_id in [*ids, "nonsense", ids[0]]]
        done = await engine.act(wishes, Acknowledge("ben"), at(2))
        assert [one.key.subject.asset for one in done.transitions] == ["a", "c"]
        assert [(alarm_id, type(why)) for alarm_id, why in done.refused] == [
            (ids[1], AlreadyAcknowledged),
            ("nonsense", UnknownAlarm),
            (ids[0], AlreadyAcknowledged),
        ]
        assert journal.writes == 3

    play(story)


def test_what_time_does_during_a_persons_call_is_told_by_the_next_look() -> None:
    async def story(engine: Engine, _: MemoryJournal) -> None:
        (raised,) = await engine.apply(seen("a"), KINDS, at(0))
        done = await acknowledge(engine, raised.occurrence, "ana", "", at(31))  # no tick since: it escalates first
        assert (done.seq, done.priority) == (3, Priority.CRITICAL)
        assert changes(await engine.elapse(at(32))) == [(2, "a", Change.ESCALATED)]

    play(story)


def test_only_what_is_latched_and_acknowledged_is_reset() -> None:
    async def story(engine: Engine, _: MemoryJournal) -> None:
        (raised,) = await engine.apply(seen("a"), KINDS, at(0))
        with pytest.raises(NotLatched, match="is unacknowledged"):
            await reset(engine, raised.occurrence, "ana", "", at(1))

    play(story)


# --- Views ------------------------------------------------------------------------------------------------------------


def test_the_most_urgent_stand_first_and_among_equals_the_newest() -> None:
    async def story(engine: Engine, _: MemoryJournal) -> None:
        await engine.apply(seen("old"), KINDS, at(0))
        await engine.apply(seen("old", "new"), KINDS, at(5))
        await engine.apply(seen("low", kind=STALE), frozenset({STALE}), at(5))
        await engine.elapse(at(29))
        await engine.apply(seen("old", "new", "sure", confidence=0.95), KINDS, at(6))
        await engine.elapse(at(200))
        assert [(view.asset, view.priority.word) for view in engine.standing()] == [
            ("sure", "critical"),
            ("new", "critical"),
            ("old", "critical"),
            ("low", "low"),
        ]

    play(story)


def test_a_view_says_everything_that_a_person_needs() -> None:
    racks = {AssetKey("oslo", "a"): Asset("oslo", "a", "C07", "Rack", True, Placement(), ())}

    async def story(engine: Engine, _: MemoryJournal) -> None:
        (raised,) = await engine.apply(seen("a"), KINDS, at(0))
        await acknowledge(engine, raised.occurrence, "ana", "on my way", at(3))
        unknown = Detection(unknown=(Unknown(WET, Subject("oslo", "a"), "no reading for 15 s"),))
        await engine.apply(unknown, KINDS, at(4))
        await engine.apply(unknown, KINDS, at(5))
        view = engine.find(raised.occurrence)
        assert view is not None
        assert (view.title, view.rule, view.summary) == ("Leak sensor wet at C07", "rack-leak-wet", "leak_wet at a")
        assert (view.since, view.opened_at, view.activations) == (at(0), at(0), 1)
        assert (view.acknowledged_at, view.acknowledged_by, view.acknowledged_comment) == (at(3), "ana", "on my way")
        assert (view.cannot_tell, view.cannot_tell_since) == ("no reading for 15 s", at(4))
        assert view.rationale is not None
        assert view.rationale.respond_within_min == 5
        history = await engine.history(HistoryQuery(occurrence=view.id))
        assert [(row.change, row.by) for row in history] == [(Change.ACKNOWLEDGED, "ana"), (Change.ACTIVATED, "")]

    play(story, asset_of=racks.get)


def test_after_a_start_nothing_is_shown_as_known_until_somebody_looked() -> None:
    async def run() -> None:
        journal = MemoryJournal()
        engine = Engine(RULES, journal)
        await engine.open(at(0))
        await engine.apply(seen("a"), KINDS, at(0))
        again = Engine(RULES, journal)
        await again.open(at(100))
        (view,) = again.standing()
        assert (view.cannot_tell, view.cannot_tell_since) == ("not looked at since the start", at(100))
        assert view.finding == finding(WET, Subject("oslo", "a"))
        await again.apply(seen("a"), KINDS, at(101))
        assert again.standing()[0].cannot_tell == ""

    asyncio.run(run())


# --- Rules and limits -------------------------------------------------------------------------------------------------


def test_an_alarm_keeps_its_rule_while_its_asset_becomes_known() -> None:
    racks: dict[AssetKey, Asset] = {}

    async def story(engine: Engine, _: MemoryJournal) -> None:
        await engine.apply(seen("a"), KINDS, at(0))
        racks[AssetKey("oslo", "a")] = Asset("oslo", "a", "C07", "Rack", True, Placement(), ())
        assert await engine.apply(seen("a", "b"), KINDS, at(1)) != []
        assert {(view.asset, view.rule) for view in engine.standing()} == {("a", "leak-wet"), ("b", "leak-wet")}

    play(story, asset_of=racks.get)


def test_an_alarm_whose_rule_is_gone_returns_when_it_is_looked_at_and_the_new_rule_takes_over() -> None:
    other = rules.Ruleset(tuple(rule for rule in RULES.rules if rule.name != "leak-wet"))
    renamed = rules.Ruleset((*other.rules, replace(RULES["leak-wet"], name="wet")))

    async def run() -> None:
        journal = MemoryJournal()
        engine = Engine(RULES, journal)
        await engine.open(at(0))
        await engine.apply(seen("a"), KINDS, at(0))
        again = Engine(renamed, journal)
        await again.open(at(10))
        (view,) = again.standing()
        assert (view.title, view.rationale) == ("leak_wet at a", None)
        made = await again.apply(seen("a"), KINDS, at(11))
        assert [(one.key.rule, one.change) for one in made] == [
            ("wet", Change.ACTIVATED),
            ("leak-wet", Change.RETURNED),
        ]
        last = Engine(other, journal)
        await last.open(at(20))
        assert changes(await last.apply(seen("a"), KINDS, at(21))) == [(4, "a", Change.RETURNED)]
        assert last.counts.unmatched == 1

    asyncio.run(run())


def test_beyond_the_limit_newcomers_are_refused_and_counted_and_what_stands_stands() -> None:
    async def story(engine: Engine, _: MemoryJournal) -> None:
        made = await engine.apply(seen(*"abcde"), KINDS, at(0))
        assert [one.key.subject.asset for one in made] == ["a", "b", "c"]
        await engine.apply(seen(*"abcde"), KINDS, at(1))
        assert (engine.counts.standing, engine.counts.refused) == (3, 4)
        for one in made:
            await acknowledge(engine, one.occurrence, "ana", "", at(2))
        await engine.apply(seen(*"de"), KINDS, at(3))
        await engine.elapse(at(10))
        assert changes(await engine.apply(seen(*"de"), KINDS, at(11)))[-2:] == [
            (10, "d", Change.ACTIVATED),
            (11, "e", Change.ACTIVATED),
        ]

    play(story, alarms_max=3)


def test_a_cause_masks_what_masks_others_in_whatever_order_they_are_found() -> None:
    kinds = frozenset({STALE, SILENT, LOST, STUCK})
    everything = [
        finding(STALE, Subject("oslo", "rack", "point")),
        finding(SILENT, Subject("oslo", "bms")),
        finding(LOST, Subject("oslo", "", "bus")),
        finding(LOST, Subject("bergen", "", "bus")),
        finding(SILENT, Subject("bergen", "bms")),
    ]

    async def story(engine: Engine, journal: MemoryJournal) -> None:
        await engine.apply(Detection(tuple(everything)), kinds, at(0))
        assert sorted((view.rule, view.site, view.masks) for view in engine.standing()) == [
            ("source-lost", "bergen", 1),
            ("source-lost", "oslo", 2),
        ]
        service = finding(STUCK, Subject("", ""))
        await engine.apply(Detection((service,), looked_at=frozenset({(STUCK, service.subject)})), kinds, at(20))
        await engine.elapse(at(30))
        await engine.apply(Detection((*everything, finding(SILENT, Subject("rome", "bms")), service)), kinds, at(40))
        assert sorted((view.rule, view.site) for view in engine.standing()) == [
            ("nothing-kept", ""),
            ("source-lost", "bergen"),
            ("source-lost", "oslo"),
        ], "what is about the service has every site beneath it"
        assert {view.site for view in engine.suppressed()} == {"oslo", "bergen", "rome"}

    play(story)


@pytest.mark.slow
def test_a_silent_source_masks_a_thousand_points_of_its_site_alone_and_says_so_when_it_returns() -> None:
    kinds = frozenset({STALE, SILENT})

    def world(silent: bool) -> Detection:
        stale = [finding(STALE, Subject("oslo", "rack", f"point {number}")) for number in range(1_000)]
        elsewhere = finding(STALE, Subject("bergen", "rack", "point"))
        source = [finding(SILENT, Subject("oslo", "bms"))] if silent else []
        return Detection((*stale, elsewhere, *source))  # the mask comes last on purpose

    async def story(engine: Engine, journal: MemoryJournal) -> None:
        for second in range(0, 130, 10):
            await engine.apply(world(silent=True), kinds, at(second))
            await engine.elapse(at(second))
        assert [(view.rule, view.site, view.masks) for view in engine.standing()] == [
            ("source-silent", "oslo", 1_000),
            ("point-stale", "bergen", 0),
        ]
        assert engine.counts.masked == 1_000
        first = engine.suppressed()[0]
        assert (first.rule, first.state, first.since) == ("point-stale", State.SUPPRESSED, at(120))
        assert first.mask == Mask(MaskCause.SITE, engine.standing()[0].id, "source_silent stands at oslo")
        await engine.apply(world(silent=False), kinds, at(140))
        await engine.elapse(at(150))
        assert (journal.rows[-1].key.rule, journal.rows[-1].why) == (
            "source-silent",
            "it masked 1000 findings while it stood",
        )
        await engine.apply(Detection(), kinds, at(160))
        await engine.elapse(at(170))
        assert engine.counts.masked == 0
        assert Counter((row.key.rule, row.key.subject.site, row.change) for row in journal.rows) == {
            ("source-silent", "oslo", Change.ACTIVATED): 1,
            ("source-silent", "oslo", Change.RETURNED): 1,
            ("point-stale", "oslo", Change.SUPPRESSED): 1_000,
            ("point-stale", "oslo", Change.RETURNED): 1_000,
            ("point-stale", "bergen", Change.ACTIVATED): 1,
            ("point-stale", "bergen", Change.RETURNED): 1,
        }

    play(story)


def test_times_must_be_aware() -> None:
    async def story(engine: Engine, _: MemoryJournal) -> None:
        with pytest.raises(TypeError):
            await engine.apply(seen("a"), KINDS, datetime(2026, 3, 1))  # noqa: DTZ001  the mistake itself

    play(story)

"""Silences in the engine: what stands and what comes is shelved, as long as our rules allow, and survives a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from alerts.engine import Engine
from alerts.external import external, finding_of, with_external
from alerts.journal import HistoryQuery, Journal, SqlJournal
from alerts.kpis import of_transitions
from alerts.lifecycle import Change, Mistaken, Priority, State, Transition, Unshelve
from alerts.matchers import parse
from alerts.notices import News, news_of
from alerts.rules import default
from alerts.silences import Silence, SilencePhase, UnknownSilence, from_json, to_json
from dcim.core.errors import Transient
from dcim.core.findings import Detection, Finding, FindingKind, Subject
from tests.alarms import MemoryJournal, at, finding

RULES = with_external(default())
FLOW, FROZEN, WET = FindingKind.FLOW_LOST, FindingKind.SENSOR_FROZEN, FindingKind.LEAK_WET
HOUR = 3_600.0


def wish(
    *matchers: str, start: float = 0, end: float = HOUR, silence_id: str = "", comment: str = "pump test"
) -> Silence:
    return Silence(
        silence_id, tuple(parse(one) for one in matchers), at(start), at(end), "shift lead", comment, "10.0.0.7", at(0)
    )


def rack(name: str, kind: FindingKind = FLOW) -> Finding:
    return finding(kind, Subject("oslo", name))


async def look(engine: Engine, when: float, *found: Finding) -> list[tuple[str, str, str]]:
    """All that was looked at is all that there is. What changed: asset, change, state."""
    kinds = frozenset({FLOW, FROZEN, WET, FindingKind.EXTERNAL_ALERT})
    return told(await engine.apply(Detection(found), kinds, at(when)))


def told(transitions: tuple[Transition, ...] | list[Transition]) -> list[tuple[str, str, str]]:
    return [(one.key.subject.asset, one.change.value, one.after.value) for one in transitions]


def run(scenario: Callable[[Engine, MemoryJournal], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        journal = MemoryJournal()
        engine = Engine(RULES, journal)
        await engine.open(at(0))
        await scenario(engine, journal)

    asyncio.run(all_of_it())


FLOW_S = 30.0
"""Seconds after which an alarm of flow-lost has certainly begun."""


async def begin(engine: Engine, when: float, *found: Finding) -> list[tuple[str, str, str]]:
    """Two looks, so far apart that what is found begins."""
    return [*await look(engine, when, *found), *await look(engine, when + FLOW_S, *found)]


def test_what_stands_is_shelved_and_what_comes_begins_on_the_shelf() -> None:
    async def scenario(engine: Engine, journal: MemoryJournal) -> None:
        await begin(engine, 0, rack("R1"), rack("Q1"))
        made = await engine.silence(wish('asset=~"R.*"', start=100, end=100 + HOUR), at(100))
        assert told(made.transitions) == [("R1", "shelved", "shelved")]
        assert made.silence.phase(at(100)) is SilencePhase.ACTIVE
        began = await begin(engine, 200, rack("R1"), rack("Q1"), rack("R2"), rack("Q2"))
        assert sorted(began) == [("Q2", "activated", "unacknowledged"), ("R2", "silenced", "shelved")]
        (view,) = [view for view in engine.standing() if view.asset == "R2"]
        assert view.aside is not None and view.finding is not None
        assert (view.aside.by, view.aside.reason, view.aside.until, view.aside.silence) == (
            "shift lead", "pump test", at(100 + HOUR), made.silence.id,
        )  # fmt: skip
        (row,) = await journal.history(HistoryQuery(occurrence=view.id))
        assert (row.change, row.by, row.comment, row.origin, row.detail) == (
            Change.SILENCED, "shift lead", "pump test", "10.0.0.7", made.silence.id,
        )  # fmt: skip
        assert news_of(row) is None  # nobody is told
        assert of_transitions([row])["event"].to_list() == ["shelved"]  # and it is no load
        back = told(await engine.elapse(at(100 + HOUR)))
        assert sorted(back) == [("R1", "unshelved", "unacknowledged"), ("R2", "unshelved", "unacknowledged")]
        assert ("R3", "activated", "unacknowledged") in await begin(engine, 4_000, rack("R3"))

    run(scenario)


def test_beneath_a_silence_the_condition_is_followed() -> None:
    async def scenario(engine: Engine, _: MemoryJournal) -> None:
        await engine.silence(wish("alertname=flow-lost"), at(0))
        assert await begin(engine, 1, rack("R1")) == [("R1", "silenced", "shelved")]
        await look(engine, 300)
        await look(engine, 900)
        assert await begin(engine, 901, rack("R1")) == [("R1", "activated", "shelved")]
        (row,) = [view for view in engine.standing() if view.asset == "R1"]
        assert (row.activations, row.active, row.state) == (2, True, State.SHELVED)

    run(scenario)


def test_one_that_is_to_come_begins_in_its_time_and_what_is_ended_lets_go() -> None:
    async def scenario(engine: Engine, journal: MemoryJournal) -> None:
        await begin(engine, 0, rack("R1"))
        made = await engine.silence(wish('asset="R1"', start=600, end=600 + HOUR), at(100))
        assert (made.transitions, made.silence.phase(at(100))) == ((), SilencePhase.PENDING)
        assert await engine.elapse(at(599)) == []
        assert told(await engine.elapse(at(601))) == [("R1", "shelved", "shelved")]
        assert await engine.elapse(at(602)) == []
        gone = await engine.expire(made.silence.id, "operator", "10.0.0.8", at(700))
        assert told(gone.transitions) == [("R1", "unshelved", "unacknowledged")]
        assert gone.silence.phase(at(700)) is SilencePhase.EXPIRED
        assert (await engine.expire(made.silence.id, "operator", "", at(701))).transitions == ()
        assert [(noted.change, noted.by) for noted in journal.wished] == [
            ("made", "shift lead"), ("begun", ""), ("ended", "operator"),
        ]  # fmt: skip
        with pytest.raises(UnknownSilence):
            await engine.expire("nowhere", "operator", "", at(702))

    run(scenario)


def test_a_person_who_takes_an_alarm_off_the_shelf_is_not_overruled() -> None:
    async def scenario(engine: Engine, _: MemoryJournal) -> None:
        await begin(engine, 0, rack("R1"))
        await engine.silence(wish('asset="R1"', start=100, end=100 + HOUR), at(100))
        (view,) = engine.standing()
        await engine.act([(view.id, None)], Unshelve("operator"), at(200))
        assert await look(engine, 300, rack("R1")) == []
        assert engine.standing()[0].state is State.UNACKNOWLEDGED

    run(scenario)


def test_an_update_keeps_its_id_where_only_its_end_is_another() -> None:
    async def scenario(engine: Engine, _: MemoryJournal) -> None:
        await begin(engine, 0, rack("R1"), rack("R2"))
        made = (await engine.silence(wish('asset=~"R."', start=100, end=1_000), at(100))).silence
        later = await engine.silence(wish('asset=~"R."', start=100, end=2_000, silence_id=made.id), at(200))
        assert (later.silence.id, later.silence.ends_at) == (made.id, at(2_000))
        assert sorted(told(later.transitions)) == [("R1", "shelved", "shelved"), ("R2", "shelved", "shelved")]
        assert {view.aside.until for view in engine.standing() if view.aside} == {at(2_000)}
        other = await engine.silence(wish('asset="R1"', start=100, end=2_000, silence_id=made.id), at(300))
        assert other.silence.id != made.id
        assert sorted(told(other.transitions)) == [
            ("R1", "shelved", "shelved"), ("R2", "unshelved", "unacknowledged"),
        ]  # fmt: skip
        assert {one.id: one.phase(at(300)).value for one in engine.silences()} == {
            made.id: "expired", other.silence.id: "active",
        }  # fmt: skip
        with pytest.raises(UnknownSilence):
            await engine.silence(wish('asset="R1"', silence_id="nowhere"), at(400))

    run(scenario)


REFUSED: list[tuple[Silence, str, str]] = [
    (wish('asset="R1"', comment=" "), "comment", "a comment is wanted"),
    (replace(wish('asset="R1"'), by=" "), "by", "a name of 1 to"),
    (wish('asset=""'), "matchers", "must not match the empty string"),
    (wish('asset=~".*"', 'site!="oslo"'), "matchers", "must not match the empty string"),
    (wish(*["asset=R1"] * 33), "matchers", "32 matchers at most"),
    (wish('asset="R1"', start=10, end=10), "endsAt", "start time must be before end time"),
    (wish('asset="R1"', start=-20, end=-10), "endsAt", "in the past"),
    (wish('asset="R1"', start=32 * 86_400, end=32 * 86_400 + 60), "startsAt", "31 days ahead at most"),
    (wish('asset="R1"', end=HOUR + 1), "endsAt", "priority critical, and that is shelved for 1 h at most"),
    (wish('severity="critical"', end=2 * HOUR), "endsAt", "shelved for 1 h at most"),
    (wish('severity="high"', end=5 * HOUR), "endsAt", "priority high, and that is shelved for 4 h at most"),
    (
        wish('severity!~"critical|high|medium"', 'site="oslo"', end=73 * HOUR),
        "endsAt",
        "priority low, and that is shelved for 72 h",
    ),
    (wish('alertname="leak-wet"'), "matchers", "contact leak sensor"),
    (wish('kind=~"leak_wet|leak_sensor_fault"'), "matchers", "contact leak sensor"),
    (wish('severity="page"', end=2 * HOUR), "endsAt", "priority critical"),
    (wish('severity="disastrous"', end=13 * HOUR), "endsAt", "priority medium"),
]


@pytest.mark.parametrize(("wanted", "field", "words"), REFUSED, ids=[words for _, _, words in REFUSED])
def test_what_our_rules_do_not_allow_is_refused_in_words(wanted: Silence, field: str, words: str) -> None:
    async def scenario(engine: Engine, journal: MemoryJournal) -> None:
        with pytest.raises(Mistaken, match=words) as refused:
            await engine.silence(wanted, at(0))
        assert refused.value.where == field
        assert journal.wished == []

    run(scenario)


ALLOWED = [
    wish('asset="R1"', end=HOUR),
    wish('severity="low"', end=72 * HOUR),
    wish('alertname="sensor-frozen"', end=4 * HOUR),
    wish('severity="info"', end=72 * HOUR),
    wish('asset="R1"', start=30 * 86_400, end=30 * 86_400 + HOUR),
]


@pytest.mark.parametrize("wanted", ALLOWED, ids=[" ".join(map(str, one.matchers)) for one in ALLOWED])
def test_what_they_allow_is_allowed(wanted: Silence) -> None:
    async def scenario(engine: Engine, _: MemoryJournal) -> None:
        made = (await engine.silence(wanted, at(0))).silence
        assert made.id
        assert from_json(to_json(made)) == made

    run(scenario)


def test_what_a_contact_leak_sensor_tells_is_never_silenced() -> None:
    async def scenario(engine: Engine, _: MemoryJournal) -> None:
        await look(engine, 0, rack("R1", WET))
        await look(engine, 60, rack("R1", WET))
        assert (await engine.silence(wish('asset=~"R."', start=100, end=200), at(100))).transitions == ()
        await look(engine, 110, rack("R1", WET), rack("R2", WET))
        await look(engine, 170, rack("R1", WET), rack("R2", WET))
        assert {view.asset: view.state for view in engine.standing()} == {
            "R1": State.UNACKNOWLEDGED, "R2": State.UNACKNOWLEDGED,
        }  # fmt: skip

    run(scenario)


def test_no_silence_shelves_longer_than_a_shelf_may_last() -> None:
    """A word for a severity that a matcher meets by chance must not hide what is critical for a day."""

    async def scenario(engine: Engine, _: MemoryJournal) -> None:
        await engine.silence(wish('alertname="sensor-frozen"', end=4 * HOUR), at(0))
        alert = external({"alertname": "sensor-frozen", "severity": "critical"}, {}, at(0), at(9 * HOUR))
        await look(engine, 1, finding_of(alert))
        (view,) = engine.standing()
        assert view.priority is Priority.CRITICAL
        assert view.aside is not None and view.aside.until == at(1 + HOUR)

    run(scenario)


def test_a_write_that_fails_changes_nothing_and_one_that_seemed_to_fail_counts() -> None:
    async def scenario(engine: Engine, journal: MemoryJournal) -> None:
        await begin(engine, 0, rack("R1"))
        journal.fails = ["before"]
        with pytest.raises(Transient):
            await engine.silence(wish('asset="R1"', start=100, end=200), at(100))
        assert (engine.silences(), engine.standing()[0].state) == ([], State.UNACKNOWLEDGED)
        journal.fails = ["after"]
        with pytest.raises(Transient):
            await engine.silence(wish('asset="R1"', start=110, end=200), at(110))
        assert told(await engine.elapse(at(120))) == [("R1", "shelved", "shelved")]
        assert [silence.begun for silence in engine.silences()] == [True]

    run(scenario)


@pytest.mark.parametrize("begins", [0.0, 120.0])
def test_a_silence_survives_a_restart_also_one_that_began_meanwhile(tmp_path: Path, begins: float) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/alarms.sqlite"

    async def scenario() -> None:
        journal: Journal = SqlJournal(url)
        assert isinstance(journal, SqlJournal)
        await journal.open()
        engine = Engine(RULES, journal)
        await engine.open(at(0))
        await begin(engine, 0, rack("R1"))
        await engine.silence(wish('asset=~"R."', start=begins, end=begins + HOUR), at(FLOW_S))
        before = engine.silences()
        await journal.close()

        await journal.open()
        engine = Engine(RULES, journal)
        await engine.open(at(200))
        assert engine.silences() == before
        await engine.elapse(at(201))
        await begin(engine, 202, rack("R1"), rack("R2"))
        assert {view.asset: view.state for view in engine.standing()} == {"R1": State.SHELVED, "R2": State.SHELVED}
        audit = await journal.audit()
        assert audit.broken == ""
        rows = await journal.history(HistoryQuery(asset="R1"))
        assert [row.change for row in rows].count(Change.SHELVED) == 1
        await journal.close()

    asyncio.run(scenario())


def test_when_a_silence_ends_whoever_is_told_of_alarms_is_told() -> None:
    async def scenario(engine: Engine, _: MemoryJournal) -> None:
        await engine.silence(wish('asset="R1"', end=600), at(0))
        await begin(engine, 1, rack("R1"))
        (back,) = await engine.elapse(at(600))
        assert news_of(back) is News.AGAIN

    run(scenario)


def test_a_flood_under_many_silences_is_silenced() -> None:
    async def scenario(engine: Engine, _: MemoryJournal) -> None:
        for number in range(20):
            await engine.silence(wish(f'asset=~"R{number}[0-9]+"'), at(0))
        flood = [rack(f"R{number}") for number in range(100, 300)]
        began = await begin(engine, 1, *flood)
        assert len(began) == 200
        assert {change for _, change, _ in began} == {"silenced"}

    run(scenario)


@pytest.mark.slow
def test_silences_have_an_end_in_number() -> None:
    async def scenario(engine: Engine, _: MemoryJournal) -> None:
        for number in range(500):
            await engine.silence(wish(f'asset="R{number}"'), at(0))
        with pytest.raises(Mistaken, match="500 silences already"):
            await engine.silence(wish('asset="X"'), at(1))
        await engine.elapse(at(2 * HOUR))
        await engine.silence(wish('asset="X"', start=2 * HOUR, end=3 * HOUR), at(2 * HOUR))
        await engine.elapse(at(2 * HOUR + timedelta(hours=130).total_seconds()))
        assert engine.silences() == []

    run(scenario)

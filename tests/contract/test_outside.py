"""Alerts from outside: how long one stands, how many may, what a failing journal means, and what a restart brings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from alerts.alertmanager import RESOLVE_AFTER
from alerts.engine import Engine
from alerts.external import (
    ANNOTATION_TEXT_MAX,
    BadAlert,
    ExternalAlert,
    alert_of,
    external,
    finding_of,
    priority_of,
    with_external,
)
from alerts.lifecycle import Priority, State, Transition
from alerts.rules import default, parse
from dcim.app import outside
from dcim.app.outside import AlertRefusal, Outside
from dcim.core.errors import Permanent, Transient
from tests.alarms import MemoryJournal, acknowledge, at

RULES = with_external(default())


def alert(name: str = "DiskFull", ends_s: float = 300, starts_s: float = 0, **labels: str) -> ExternalAlert:
    return external({"alertname": name, **labels}, {"summary": f"{name}!"}, at(starts_s), at(ends_s))


class Rig:
    """An engine over a journal in memory, and what was put onto the stream."""

    def __init__(self, journal: MemoryJournal) -> None:
        self.journal, self.said = journal, list[Transition]()
        self.engine = Engine(RULES, journal)
        self.outside = Outside(self.engine, self.said.extend, lambda: at(0))

    async def open(self, when: float) -> None:
        await self.engine.open(at(when))
        self.outside.resume(at(when))

    def states(self) -> dict[str, State]:
        return {view.title: view.state for view in self.engine.standing()}


def run(scenario: Callable[[Rig], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        rig = Rig(MemoryJournal())
        await rig.open(0)
        await scenario(rig)

    asyncio.run(all_of_it())


def test_it_stands_until_its_end_unless_it_is_told_again() -> None:
    async def scenario(rig: Rig) -> None:
        assert await rig.outside.take([alert(ends_s=300)], at(0)) == 0
        assert [row.change.value for row in rig.said] == ["activated"]
        await rig.outside.end(at(299))
        await rig.outside.take([alert(ends_s=600)], at(299))
        await rig.outside.end(at(599))
        assert rig.states() == {"DiskFull": State.UNACKNOWLEDGED}
        await rig.outside.end(at(600))
        assert rig.states() == {"DiskFull": State.RETURNED}  # nobody had said that they know
        assert len(rig.outside) == 0
        await rig.outside.take([alert(ends_s=900)], at(700))
        assert rig.states() == {"DiskFull": State.UNACKNOWLEDGED}
        assert [row.change.value for row in rig.said] == ["activated", "returned", "activated"]

    run(scenario)


def test_its_sender_ends_it() -> None:
    async def scenario(rig: Rig) -> None:
        await rig.outside.take([alert(), alert("Slow")], at(0))
        (first, second) = sorted(rig.engine.standing(), key=lambda view: view.title)
        await acknowledge(rig.engine, first.id, "operator", "", at(1))
        await rig.outside.take([alert(ends_s=2), alert("NeverHeardOf", ends_s=2)], at(5))
        assert rig.states() == {"Slow": second.state}

    run(scenario)


def test_labels_tell_alerts_apart_and_annotations_do_not() -> None:
    async def scenario(rig: Rig) -> None:
        same = external({"alertname": "DiskFull"}, {"summary": "other words"}, at(9), at(400))
        await rig.outside.take([alert(), alert(instance="h1"), alert(severity="critical"), same], at(0))
        views = {(view.title, view.priority): view for view in rig.engine.standing()}
        assert set(views) == {
            ("DiskFull", Priority.MEDIUM), ("DiskFull: h1", Priority.MEDIUM), ("DiskFull", Priority.CRITICAL),
        }  # fmt: skip
        assert views["DiskFull", Priority.MEDIUM].summary == "other words"

    run(scenario)


def test_too_many_are_refused_and_counted_and_what_stands_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "STANDING_MAX", 3)

    async def scenario(rig: Rig) -> None:
        assert await rig.outside.take([alert(f"A{number}") for number in range(5)], at(0)) == 2
        assert sorted(rig.states()) == ["A0", "A1", "A2"]
        assert rig.outside.refused[AlertRefusal.TOO_MANY] == 2
        assert await rig.outside.take([alert("A1", ends_s=900)], at(1)) == 0  # it stands, so it may go on
        assert await rig.outside.take([alert("A0", ends_s=1)], at(2)) == 0
        assert await rig.outside.take([alert("A9")], at(3)) == 0

    run(scenario)


def test_when_the_journal_fails_nothing_has_changed() -> None:
    async def scenario(rig: Rig) -> None:
        rig.journal.fails = ["before"]
        with pytest.raises(Transient):
            await rig.outside.take([alert()], at(0))
        assert (len(rig.outside), rig.outside.taken, rig.states()) == (0, 0, {})
        await rig.outside.take([alert()], at(1))
        rig.journal.fails = ["before"]
        with pytest.raises(Transient):
            await rig.outside.end(at(300))
        assert len(rig.outside) == 1
        await rig.outside.end(at(301))
        assert rig.states() == {"DiskFull": State.RETURNED}

    run(scenario)


def test_a_restart_brings_it_back_and_gives_its_sender_time() -> None:
    async def scenario(rig: Rig) -> None:
        await rig.outside.take([alert("Soon", ends_s=100, instance="h1"), alert("Late", ends_s=7_200)], at(0))
        later = Rig(rig.journal)
        await later.open(50)
        known = later.outside.get(alert("Soon", instance="h1").subject)
        assert known is not None
        assert known[0].labels == {"alertname": "Soon", "instance": "h1"}
        assert known[0].annotations == {"summary": "Soon!"}
        await later.outside.end(at(50) + RESOLVE_AFTER - timedelta(seconds=1))
        assert set(later.states().values()) == {State.UNACKNOWLEDGED}
        await later.outside.end(at(50) + RESOLVE_AFTER)
        assert later.states() == {"Soon: h1": State.RETURNED, "Late": State.UNACKNOWLEDGED}
        await later.outside.end(at(7_200))
        assert set(later.states().values()) == {State.RETURNED}

    run(scenario)


def test_what_the_journal_keeps_is_the_alert() -> None:
    whole = external(
        {"alertname": "DiskFull", "severity": "page", "site": "oslo", "asset": "R1", "n": 'a"|{}\\'},
        {"summary": "x", "description": "y" * 900},
        at(0), at(60), "https://prom.example/graph?a=b",
    )  # fmt: skip
    back = alert_of(whole.subject, finding_of(whole), at(5))
    assert back == whole
    assert (whole.subject.site, whole.subject.asset) == ("oslo", "R1")
    assert len(whole.annotations["description"]) == ANNOTATION_TEXT_MAX
    assert dict(alert_of(whole.subject, None, at(5)).labels) == dict(whole.labels)


@pytest.mark.parametrize(
    ("severity", "wanted"),
    [("critical", 1), ("page", 1), ("Error", 2), (" warning ", 3), ("info", 4), ("none", 4), ("", 3), ("odd", 3)],
)
def test_priority_follows_severity(severity: str, wanted: int) -> None:
    assert priority_of({"severity": severity}) == wanted
    assert priority_of({}) == Priority.MEDIUM


@pytest.mark.parametrize("link", ["javascript:alert(1)", "data:text/html,x", "http:///x", "http://a b", "//x", "x\n"])
def test_an_address_that_nobody_should_open_is_left_out_and_said(link: str) -> None:
    made = external({"alertname": "A"}, {}, at(0), at(1), link)
    assert (made.link, made.unlinked) == ("", True)
    assert [line.what for line in finding_of(made).evidence] == ["link", "ends at"]


def test_what_begins_after_its_end_is_refused() -> None:
    with pytest.raises(BadAlert, match="start time must be before end time"):
        external({"alertname": "A"}, {}, at(2), at(1))


def test_no_rule_of_a_file_has_the_name_of_those_for_alerts_from_outside() -> None:
    text = """
    [[rule]]
    name = "external-high"
    title = "x"
    finding = "leak_wet"
    priority = "high"
    [rule.rationale]
    cause = "x"
    consequence = "x"
    action = ["x"]
    respond_within_min = 5
    """
    with pytest.raises(Permanent, match="are those of alerts from outside"):
        parse(text, "rules.toml")
    assert [RULES[f"external-{priority.word}"].policy.priority for priority in Priority] == list(Priority)

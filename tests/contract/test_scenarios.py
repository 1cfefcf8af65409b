"""Scenarios: every mistake in words, a library that runs, and plans of faults that can be told apart."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcim.core.errors import Permanent
from dcim.sim import scenario
from dcim.sim.faults import KINDS, Fault, FittingLeak, PumpChangeover, PumpTrip
from dcim.sim.hall import Hall, HallSettings
from dcim.sim.plan import APART_S, CALM_S, SMALL, plan
from dcim.sim.run import simulate
from dcim.sim.state import Effects
from dcim.sim.timetable import Event
from dcim.sim.workload import MIX, Idle, Inference, Training

CASES = sorted((Path(__file__).parents[1] / "cases" / "scenarios").iterdir())
START = datetime(2026, 5, 1, tzinfo=UTC)
DAY_S, HOUR_S = 86_400.0, 3_600.0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_mistake_is_told_in_words(case: Path) -> None:
    assert {file.name for file in case.iterdir()} == {"scenario.toml", "error.txt"}
    with pytest.raises(Permanent) as caught:
        scenario.find(str(case / "scenario.toml"))
    said = str(caught.value).replace(str(case / "scenario.toml"), "scenario.toml")
    assert said == (case / "error.txt").read_text().rstrip("\n")


@given(st.text(max_size=300))
@settings(max_examples=25, deadline=None)
def test_no_text_does_more_than_be_refused(text: str) -> None:
    with pytest.raises(Permanent):
        scenario.parse(text, "any", "any")


def test_what_is_not_there_is_not_found_but_guessed_at(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match=r"Did you mean burst\?"):
        scenario.find("brust")
    huge = tmp_path / "huge.toml"
    huge.write_bytes(b"#" * (scenario.FILE_BYTES_MAX + 1))
    with pytest.raises(Permanent, match="larger than"):
        scenario.find(str(huge))
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(Permanent, match="cannot be read"):
        scenario.find(str(binary))


def test_a_scenario_says_all_that_there_is(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        """
        title = "Mine"
        about = "Two racks."
        lasts_s = 600
        again = true

        [hall]
        racks = 2
        supply_c = 32
        fill_below_pct = 50

        [[jobs]]
        kind = "training"
        level = 0.8
        together = 4

        [[jobs]]
        kind = "inference"
        level = 0.5
        swing = 0.1

        [[jobs]]
        kind = "idle"

        [[events]]
        kind = "fitting_leak"
        onset_s = 60
        lasts_s = 120.5
        rack = "H1-B01"
        flow_lpm = 2
        rope_s = 30
        """
    )
    told = scenario.find(str(file))
    assert (told.name, told.title, told.lasts_s) == ("mine", "Mine", 600.0)
    assert told.hall == HallSettings(racks=2, supply_c=32.0, fill_below_pct=50.0)
    assert told.jobs == [(Training(0.8), 4), (Inference(0.5, 0.1), 1), (Idle(), 2)]
    assert told.timetable.events == (Event(60.0, 120.5, (FittingLeak("H1-B01", 2.0, 30.0),)),)
    assert told.timetable.round_s == 600.0


def test_the_library_shows_every_kind_and_says_what_for() -> None:
    shown = set()
    for name in scenario.names():
        told = scenario.find(name)
        assert told.title[0].isupper() and len(told.about) > 80
        assert "To practise" in told.about or name == "ordinary-day"
        shown |= {fault.kind for event in told.timetable.events for fault in event.turns}
        ends = [event.onset_s + event.lasts_s for event in told.timetable.events]
        assert told.lasts_s - 3_600 < max(ends) <= told.lasts_s
    assert shown == set(KINDS)


@pytest.mark.parametrize("name", scenario.names())
def test_a_scenario_of_the_library_starts(name: str) -> None:
    told = scenario.find(name)
    hall = Hall(told.hall)
    first = next(simulate(hall, START, 1, timetable=told.timetable, jobs=told.jobs))
    assert first.messages
    assert {truth.kind for truth in told.timetable.truths(hall, START, told.lasts_s)} == {
        event.turns[0].kind for event in told.timetable.events
    }


def test_a_scenario_without_jobs_has_the_usual_ones() -> None:
    assert scenario.find("burst").jobs == MIX


# Plans.


def planned(hall: Hall, seed: int, days: float, kinds: list[str] | None = None) -> list[tuple[float, float, Fault]]:
    events = plan(hall, seed, days * DAY_S, kinds).events
    return [(event.onset_s, event.onset_s + event.lasts_s, event.turns[0]) for event in events]


def loops(hall: Hall, fault: Fault) -> set[int]:
    place = fault.place.rsplit("-TAP-", 1)[0]
    if place in hall.racks:
        return {int(hall.cdu_of_rack[hall.racks.index(place)])}
    return {hall.cdus.index(place)} if place in hall.cdus else set(range(len(hall.cdus)))


@pytest.mark.parametrize(("racks", "cdus", "days"), [(64, 4, 30.0), (8, 1, 30.0), (16, 2, 10.0), (64, 4, 3.0)])
@pytest.mark.parametrize("seed", [1, 7])
def test_a_plan_has_every_kind_and_half_of_it_is_no_fault(racks: int, cdus: int, days: float, seed: int) -> None:
    hall = Hall(HallSettings(racks=racks, cdus=cdus))
    events = planned(hall, seed, days)
    assert {fault.kind for _, _, fault in events} == set(KINDS)
    assert sum(not fault.harmful for _, _, fault in events) >= len(events) / 2
    none = Effects.none(hall)
    for onset_s, ends_s, fault in events:
        assert CALM_S <= onset_s < ends_s <= days * DAY_S
        assert onset_s % 10 == 0 and ends_s % 10 == 0
        fault.act(hall, none, 0.0)
    for one, other in itertools.combinations(events, 2):
        if not loops(hall, one[2]) & loops(hall, other[2]):
            continue
        apart = max(one[0], other[0]) - min(one[1], other[1])
        if {one[2].kind, other[2].kind} & {"filling"}:
            assert apart > 0 or "quick_connect_swap" in {one[2].kind, other[2].kind}
            continue
        lengths = sorted((one[1] - one[0], other[1] - other[0]))
        beside = lengths[0] <= 0.75 * DAY_S < lengths[1]
        quick = min(one, other, key=lambda event: event[1] - event[0])[2]
        if beside and (quick.kind in SMALL or len(loops(hall, quick)) > 1):
            continue
        assert apart >= APART_S, (one, other)


def test_a_plan_trips_the_pump_that_is_on_duty() -> None:
    hall = Hall()
    events = planned(hall, 3, 60.0, ["pump_trip", "pump_changeover"])
    duty = 1
    turns = [fault for _, _, fault in events if isinstance(fault, PumpTrip | PumpChangeover)]
    assert len(turns) > 3
    for fault in turns:
        assert (fault.pump if isinstance(fault, PumpTrip) else 3 - fault.to_pump) == duty
        duty = 3 - duty


def test_a_plan_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    hall = Hall(HallSettings(racks=16, cdus=2))
    assert plan(hall, 5, 10 * DAY_S) == plan(hall, 5, 10 * DAY_S)
    assert plan(hall, 5, 10 * DAY_S) != plan(hall, 6, 10 * DAY_S)


def test_a_plan_of_some_kinds_has_them_and_as_many_that_are_no_faults() -> None:
    hall = Hall()
    events = planned(hall, 1, 20.0, ["fitting_leak", "pump_trip"])
    kinds = [fault.kind for _, _, fault in events]
    assert {kind for kind in kinds if KINDS[kind].harmful} == {"fitting_leak", "pump_trip"}
    assert sum(not KINDS[kind].harmful for kind in kinds) >= len(kinds) / 2
    leak = next(ends_s for _, ends_s, fault in events if fault.kind == "fitting_leak")
    assert any(fault.kind == "filling" and 0 < onset_s - leak < HOUR_S for onset_s, _, fault in events)


@pytest.mark.parametrize(
    ("days", "kinds", "said"),
    [(0.5, None, "0.5 days have no room for a"), (30.0, ["leek"], "leek: there is no such kind of fault")],
)
def test_a_plan_that_cannot_be_is_refused(days: float, kinds: list[str] | None, said: str) -> None:
    with pytest.raises(Permanent, match=said):
        plan(Hall(), 1, days * DAY_S, kinds)

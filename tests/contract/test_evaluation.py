"""The evaluation in small: its timetables, and the page that is made of what was heard."""

from __future__ import annotations

import itertools
import math
from datetime import timedelta

from dcim.detect.scoring import Alarm, Event
from dcim.sim.faults import KINDS
from dcim.sim.hall import Hall
from tests.evaluation import campaigns, page
from tests.evaluation.campaigns import DEVICES, FAST, HALL, HARMLESS, LAST, LOOPS, PAIR, SMALL, START, Heard

SEEDS = (1_000, 1_001, 1_002)


def test_every_kind_of_fault_is_tried() -> None:
    tried = {step.kind for steps in (FAST, DEVICES, LAST, *LOOPS) for step in steps}
    assert set(KINDS) == tried


def test_one_thing_at_a_time_in_each_loop_and_severities_cover_their_range() -> None:
    hall = Hall(PAIR)
    leaks = []
    for seed in SEEDS:
        told, span_s = campaigns._in_turn(hall, LOOPS, LAST, seed, SEEDS, 3_600.0)
        for loop in range(2):
            own = [one for one in told.events if campaigns._loop(hall, one.turns[0].place) in (loop, None)]
            for one, after in itertools.pairwise(own):
                assert one.onset_s + one.lasts_s < after.onset_s
        assert max(one.onset_s + one.lasts_s for one in told.events) < span_s
        leaks += [one.turns[0].severity for one in told.events if one.turns[0].kind == "make_up_leak"]
    of = KINDS["make_up_leak"].severity_of
    assert of is not None
    thirds = [int(3 * math.log(size / of.low) / math.log(of.high / of.low)) for size in leaks if size]
    assert thirds == [0, 1, 2]


def test_what_stays_well_has_each_thing_that_is_no_fault_in_each_loop() -> None:
    hall = Hall(HALL)
    loops = [list(HARMLESS)] * len(hall.cdus)
    told, _ = campaigns._in_turn(hall, loops, (), 1_000, SEEDS, 3_600.0)
    assert not any(one.turns[0].harmful for one in told.events)
    harmless = {kind for kind, of in KINDS.items() if not of.harmful}
    for loop in range(len(hall.cdus)):
        here = [one for one in told.events if campaigns._loop(hall, one.turns[0].place) in (loop, None)]
        assert {one.turns[0].kind for one in here} == harmless


def test_the_same_seed_gives_the_same_timetable_and_another_one_another() -> None:
    hall = Hall(SMALL)
    one, again, other = (
        campaigns._in_turn(hall, [FAST], (), seed, SEEDS, 900.0)[0] for seed in (10_000, 10_000, 10_001)
    )
    assert one == again != other


def heard(alarms: list[Alarm], events: list[Event], days: float = 30.0) -> Heard:
    return Heard("fast", 1_000, events, alarms, alarms, 8, START, START + timedelta(days=days))


def event(kind: str, onset_s: float, severity: float | None = None, *, harmful: bool = True) -> Event:
    onset = START + timedelta(seconds=onset_s)
    end = onset + timedelta(minutes=5)
    return Event(kind, "R1", harmful, onset, end, frozenset({"R1"}), frozenset({"leak_wet"}), severity=severity)


def alarm(kind: str, began_s: float) -> Alarm:
    began = START + timedelta(seconds=began_s)
    return Alarm(kind, "R1", began, began + timedelta(minutes=1), frozenset({"R1"}))


def bars(told: list[Heard]) -> dict[str, bool | None]:
    written = page.write({"simulated": told}, SEEDS, 60.0)
    assert all(bar.what in written.text for bar in written.bars)
    return {bar.what.split(":")[0]: bar.met for bar in written.bars}


def test_bars_are_met_and_missed() -> None:
    found = [heard([alarm("leak_wet", 1_030.0)], [event("fitting_leak", 1_000.0, 2.0)])]
    late = [heard([alarm("leak_wet", 1_070.0)], [event("fitting_leak", 1_000.0, 2.0)])]
    assert bars(found)["bursts and fittings (≥ 0.5 L/min)"] is True
    assert bars(late)["bursts and fittings (≥ 0.5 L/min)"] is False
    assert bars(found)["loss of flow"] is None, "not measured is not met"


def test_what_is_missed_stands_on_the_page() -> None:
    text = page.write({"simulated": [heard([], [event("fitting_leak", 1_000.0, 2.0)])]}, SEEDS, 60.0).text
    assert "**missed**" in text and "0 of 1, never" in text


def test_false_alarms_count_over_the_time_without_faults() -> None:
    # Eight racks for thirty days are eight rack-months, less the 35 minutes of the fault and what follows it.
    told = [heard([alarm("pump_worn", 50_000.0)], [event("fitting_leak", 1_000.0, 2.0)])]
    all_ = page.gather(told)
    assert len(all_.false) == 1 and math.isclose(all_.rack_months, 8.0 * (1 - 35 / (30 * 1_440)), rel_tol=1e-6)


def test_an_alarm_at_what_is_no_fault_is_told_with_it() -> None:
    told = [heard([alarm("limit", 1_060.0)], [event("load_step", 1_000.0, harmful=False)])]
    assert "| `load_step` | 1 | 1 (`limit`) |" in page.write({"simulated": told}, SEEDS, 60.0).text


def test_real_parts_say_when_they_were_not_done() -> None:
    written = page.write({"skab": None, "gpu": None, "ipmi": None}, SEEDS, 60.0)
    assert [bar.met for bar in written.bars] == [None, None, None]
    assert written.text.count("Not done: DCIM_DATA is not set") == 3

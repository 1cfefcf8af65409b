"""Scoring against figures that were worked out by hand, and what holds for any of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcim.detect import scoring
from dcim.detect.scoring import Alarm, Event, Points

T0 = datetime(2026, 3, 1, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


def event(kind: str, place: str, onset: float, end: float, **more: object) -> Event:
    told: dict[str, object] = {"harmful": True, "scope": frozenset({place}), **more}
    return Event(kind, place, onset=at(onset), end=at(end), **told)  # type: ignore[arg-type]


def alarm(kind: str, place: str, began: float, ended: float | None = None) -> Alarm:
    return Alarm(kind, place, at(began), None if ended is None else at(ended), frozenset({place}))


LEAK = event("leak", "R1", 10, 40, names=frozenset({"wet"}), follows=frozenset({"flow"}))


def test_an_alarm_that_names_it_finds_it() -> None:
    told = scoring.score([LEAK], [alarm("wet", "R1", 12)])
    (one,) = told.outcomes
    assert (one.found, one.named, one.exact, one.delay_s, one.alarms) == (True, True, True, 120.0, 1)
    assert not told.false and not told.misnamed


def test_what_follows_from_it_finds_it_and_does_not_name_it() -> None:
    (one,) = scoring.score([LEAK], [alarm("flow", "R1", 11)]).outcomes
    assert (one.found, one.named, one.delay_s) == (True, False, 60.0)


def test_delay_is_that_of_the_first_and_the_name_may_come_later() -> None:
    (one,) = scoring.score([LEAK], [alarm("wet", "R1", 30), alarm("flow", "R1", 11)]).outcomes
    assert (one.named, one.delay_s, one.alarms) == (True, 60.0, 2)
    assert one.alarm is not None and one.alarm.kind == "wet"


@pytest.mark.parametrize(
    ("said", "false", "misnamed"),
    [
        (alarm("wet", "R2", 12), 1, 0),  # elsewhere
        (alarm("wet", "R1", 9), 1, 0),  # before
        (alarm("wet", "R1", 71), 1, 0),  # more than half an hour after its end
        (alarm("pump", "R1", 12), 0, 1),  # there and then, and something else
    ],
)
def test_what_does_not_belong_to_it_leaves_it_missed(said: Alarm, false: int, misnamed: int) -> None:
    told = scoring.score([LEAK], [said])
    assert not told.outcomes[0].found and told.outcomes[0].delay_s is None
    assert (len(told.false), len(told.misnamed)) == (false, misnamed)


def test_an_alarm_after_the_end_may_still_be_its_doing() -> None:
    assert scoring.score([LEAK], [alarm("wet", "R1", 70)]).outcomes[0].found


def test_of_two_that_fit_the_one_it_names_has_it_and_then_the_later_one() -> None:
    trip = event("trip", "R1", 20, 30, names=frozenset({"flow"}))
    again = event("leak", "R1", 25, 40, names=frozenset({"wet"}))
    told = scoring.score([LEAK, trip, again], [alarm("flow", "R1", 26), alarm("wet", "R1", 27)])
    assert [(one.event.kind, one.alarms) for one in told.outcomes] == [("leak", 0), ("trip", 1), ("leak", 1)]


def test_an_alarm_at_what_is_no_fault_is_false_and_says_at_what() -> None:
    step = event("load step", "R1", 10, 20, harmful=False)
    told = scoring.score([step], [alarm("wet", "R1", 12), alarm("wet", "R9", 12)])
    assert len(told.false) == 2
    assert [(one.place, what.kind) for one, what in told.cried] == [("R1", "load step")]


def test_what_has_no_scope_is_everywhere() -> None:
    told = scoring.score([event("room", "H1", 0, 10, scope=frozenset())], [alarm("damp", "R1", 5)])
    assert told.outcomes[0].found and not told.outcomes[0].exact


def test_rates() -> None:
    # Three false alarms at eight racks in fifteen days: 3 / (8 × 0.5).
    assert scoring.per_month(3, 8, 15 * 86_400.0) == pytest.approx(0.75)
    assert scoring.per_month(0, 0, 86_400.0) is None
    assert scoring.alarm_minutes([alarm("a", "R1", 0, 5), alarm("a", "R1", 10)], at(30)) == pytest.approx(25.0)


def test_points_by_hand() -> None:
    alarmed = np.array([1, 1, 0, 0, 1, 0, 1, 0], bool)
    labelled = np.array([1, 0, 0, 1, 1, 0, 0, 0], bool)
    told = scoring.points(alarmed, labelled)
    assert told == Points(hits=2, misses=1, false=2, quiet=3)
    assert told.f1 == pytest.approx(2 * 2 / (2 * 2 + 2 + 1))
    assert (told.far, told.mar) == (pytest.approx(2 / 5), pytest.approx(1 / 3))


def test_runs_by_hand() -> None:
    #          0  1  2  3  4  5  6  7  8  9
    labelled = np.array([0, 0, 1, 1, 1, 0, 0, 1, 1, 0], bool)
    alarmed = np.array([1, 0, 0, 0, 1, 1, 0, 0, 0, 1], bool)
    told = scoring.spans(alarmed, labelled, np.arange(0.0, 20.0, 2.0))
    assert (told.events, told.found, told.delays_s) == (2, 1, (4.0,))
    assert told.false == 2  # rows 0 and 9; the run over rows 4 and 5 begins in a label
    assert told.healthy_s == pytest.approx(10.0)
    assert told.recall == pytest.approx(0.5) and told.false_per_hour == pytest.approx(2 * 3_600.0 / 10.0)


def test_trivial_ones() -> None:
    train = np.array([[0.0], [1.0], [2.0], [1.0]])  # mean 1, sigma 0.7071
    rows = np.array([[1.0], [3.2], [-1.2], [np.nan]])
    assert scoring.three_sigma(train, rows).tolist() == [False, True, True, False]
    assert scoring.clock(rows, 2).tolist() == [False, False, True, True]
    assert scoring.always(rows).all() and not scoring.never(rows).any()


def test_principal_components_see_what_breaks_a_relation() -> None:
    dice = np.random.default_rng(1)
    load = dice.standard_normal(500)
    train = np.stack([load, 2.0 * load + 0.01 * dice.standard_normal(500)], axis=1)
    judge = scoring.Principal(train)
    # Each value alone is usual; together they are not.
    assert judge.judge(np.array([[1.0, 2.0], [1.0, -1.0], [np.nan, 0.0]])).tolist() == [False, True, False]
    with pytest.raises(ValueError, match="two whole rows"):
        scoring.Principal(np.full((5, 2), np.nan))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_points_and_runs_agree_about_nothing(rows: list[tuple[bool, bool]]) -> None:
    alarmed, labelled = (np.array([row[which] for row in rows], bool) for which in (0, 1))
    told, runs = scoring.points(alarmed, labelled), scoring.spans(alarmed, labelled, np.arange(len(rows), dtype=float))
    assert told.hits + told.misses + told.false + told.quiet == len(rows)
    assert (runs.found > 0) == (told.hits > 0)
    assert runs.found <= runs.events and len(runs.delays_s) == runs.found
    assert 0.0 <= told.f1 <= 1.0 and 0.0 <= told.far <= 1.0 and 0.0 <= told.mar <= 1.0

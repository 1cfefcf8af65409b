"""Leaks of a loop as incident reports: every signal by itself and together, and all that only looks like one.

Levels and pressures are made from litres by the gas law, so that what one shows the other does. Lives here: loops
written down by hand. Not here: the simulated hall (test_leaks_simulated.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from dcim.core.findings import Bearing, Detection, Finding, FindingKind
from dcim.core.readings import Quality
from dcim.core.times import to_us
from dcim.detect.leaks import Leaks
from dcim.detect.norms import FORGET_S, Norms
from dcim.physics.fluids import PG25
from tests.scenarios.loop import Loops, Series, at, history, window

RESERVOIR_L, NORMAL_L, LOOP_L = 50.0, 30.0, 500.0
Given = Mapping[tuple[str, str], Series | float]
HOUR_S = 3_600.0
PACE_S = 20.0
DAY = np.arange(0.0, 8 * HOUR_S, PACE_S)
ONSET_S = 1.5 * HOUR_S


def holding(litres: Series, *, level: bool = True, pressure: bool = True) -> dict[tuple[str, str], Series]:
    """Level and suction pressure of a reservoir that holds so much, 20 L of gas at 250 kPa over it when it is normal.
    What is not to be there says nothing."""
    nothing = np.full(litres.shape, np.nan)
    absolute = 250.0 * (RESERVOIR_L - NORMAL_L) / (RESERVOIR_L - litres)
    return {
        ("cdu-0", "level"): 100.0 * litres / RESERVOIR_L if level else nothing,
        ("cdu-0", "suction"): absolute - 101.3 if pressure else nothing,
    }


def told(
    loops: Loops, detector: Leaks, frame: pl.DataFrame, seconds: Iterator[float]
) -> Iterator[tuple[float, Detection]]:
    """What is said at each of these seconds; norms learn meanwhile."""
    for second in seconds:
        yield second, detector.detect(window(frame, detector, loops.plant, second), loops.plant, at(second))
        detector.learn(frozenset())


def minutes(
    given: Given, *, lasts_s: float = 600.0, seed: int = 0, since_s: float = 200.0, detector: Leaks | None = None
) -> list[tuple[float, Detection]]:
    """Everything that is said every 5 s of ten minutes at a reading every 5 s."""
    loops = Loops()
    frame = history(loops, lasts_s, given, seed=seed)
    return list(told(loops, detector or Leaks(), frame, iter(np.arange(since_s, lasts_s, 5.0).tolist())))


def hours(given: Given, *, seed: int = 0, norms: Norms | None = None) -> list[tuple[float, Detection]]:
    """Everything that is said every 5 minutes of eight hours at a reading every 20 s."""
    loops = Loops(racks=1)
    frame = history(loops, float(DAY[-1] + PACE_S), given, pace_s=PACE_S, seed=seed)
    return list(told(loops, Leaks(norms), frame, iter(np.arange(300.0, float(DAY[-1]), 300.0).tolist())))


def first(said: list[tuple[float, Detection]], kind: FindingKind = FindingKind.LEAK_SUSPECTED) -> tuple[float, Finding]:
    """The first finding, which is of this kind, and when. Fails where there is none."""
    second, finding = next((second, one) for second, answer in said for one in answer.findings)
    assert finding.kind is kind
    return second, finding


def nothing(said: list[tuple[float, Detection]]) -> bool:
    return not any(answer.findings for _, answer in said)


def reasons(said: list[tuple[float, Detection]]) -> set[str]:
    """Why a leak of the loop could not be told."""
    return {
        unknown.why for _, answer in said for unknown in answer.unknown if unknown.kind is FindingKind.LEAK_SUSPECTED
    }


def closed(loops: Loops, share: float = 1.0) -> Norms:
    """Norms of a loop whose pressure was seen to follow its level by so much, and whose meters agree but for 1 %."""
    rows = {"cushion": (loops["cdu-0", "suction"], share), "flow mismatch": (loops["cdu-0", "flow"], 0.01)}
    return Norms.from_frame(
        pl.DataFrame(
            {
                "statistic": list(rows),
                "point": [point for point, _ in rows.values()],
                "value": [value for _, value in rows.values()],
                "learned_s": [FORGET_S] * len(rows),
            }
        )
    )


TIMES = np.arange(0.0, 600.0, 5.0)
LEAK_S = 300.0


def lost(lpm: float, times: Series = TIMES, onset_s: float = LEAK_S) -> Series:
    """Litres in the reservoir with a leak from the onset on."""
    return NORMAL_L - lpm * np.maximum(times - onset_s, 0.0) / 60.0


# --- minutes ---


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_pressure_shows_half_a_litre_a_minute_within_a_minute_and_the_level_makes_it_sure(seed: int) -> None:
    said = minutes(holding(lost(0.5)), seed=seed)
    second, finding = first(said)
    assert 30 <= second - LEAK_S <= 60
    assert finding.confidence < 0.9
    assert abs((finding.since - at(LEAK_S)).total_seconds()) <= 40
    sure_s, sure = next((second, one) for second, answer in said for one in answer.findings if one.confidence > 0.9)
    assert sure_s - LEAK_S <= 240
    assert any("drifts" in line.what for line in sure.evidence if line.bearing is Bearing.RULED_OUT)


@pytest.mark.slow
def test_a_loop_without_a_level_is_judged_by_its_pressure() -> None:
    second, finding = first(minutes(holding(lost(1.0), level=False)))
    assert second - LEAK_S <= 60
    assert finding.time_to_limit_s is None  # how much is left, only a level tells


@pytest.mark.slow
def test_gas_that_is_lost_is_no_coolant() -> None:
    gas = holding(lost(1.0))
    said = minutes({("cdu-0", "suction"): gas["cdu-0", "suction"], ("cdu-0", "level"): 60.0}, lasts_s=600.0)
    late = [(second, answer) for second, answer in said if second > LEAK_S + 180]
    assert nothing(late)  # by then a level would have shown it
    assert any("gas" in why for why in reasons(late))


@pytest.mark.slow
@pytest.mark.parametrize("lpm", [20.0, 60.0, 120.0])
@pytest.mark.parametrize("signals", [{}, {"level": False}, {"pressure": False}], ids=["both", "pressure", "level"])
def test_a_burst_is_found_within_seconds(lpm: float, signals: dict[str, bool]) -> None:
    second, finding = first(minutes(holding(np.maximum(lost(lpm), 0.0), **signals), since_s=290.0))
    assert second - LEAK_S <= (25 if signals else 15)
    assert "pours" in finding.summary
    assert (finding.confidence > 0.9) is not bool(signals)


@pytest.mark.slow
def test_two_and_a_half_litres_that_are_drained_at_once_do_not_pour() -> None:
    said = minutes(holding(np.where(TIMES < LEAK_S, NORMAL_L, NORMAL_L - 2.4)))
    assert not any("pours" in one.summary for _, answer in said for one in answer.findings)


@pytest.mark.slow
def test_weak_signs_of_level_and_pressure_make_a_suspicion_together() -> None:
    """At 45 s neither is sure of 0.25 L/min; a wet rope beside them is."""
    alone = first(minutes(holding(lost(2.0), pressure=False)))
    together = first(
        minutes(holding(lost(2.0), pressure=False) | {("r-1", "rope"): (TIMES > LEAK_S + 10).astype(float)})
    )
    assert together[0] <= alone[0]
    assert alone[1].confidence < 0.9 < together[1].confidence
    assert "wet at r-1" in together[1].summary


@pytest.mark.slow
def test_one_leak_is_one_finding_with_all_its_evidence() -> None:
    flow = 179.0 * 4 + np.where(TIMES > LEAK_S, 30.0, 0.0)
    given = holding(np.maximum(lost(30.0), 6.0)) | {
        ("cdu-0", "flow"): flow,
        ("r-2", "rope"): (TIMES > LEAK_S + 5).astype(float),
    }
    said = [one for one in minutes(given, detector=Leaks(closed(Loops()))) if one[0] <= LEAK_S + 45]
    assert all(len(answer.findings) <= 1 for _, answer in said)
    last = said[-1][1].findings[0]
    words = " ".join(line.what for line in last.evidence if line.bearing is Bearing.FOR)
    assert all(word in words for word in ("Level", "Pressure", "rope" if "rope" in words else "RackLeakDetect"))
    assert last.confidence > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("until_s", [LEAK_S + 20.0, np.inf], ids=["a blip", "condensate that stands"])
def test_a_rope_that_is_wet_over_a_loop_that_loses_nothing_is_the_ropes_own_business(until_s: float) -> None:
    wet = ((TIMES > LEAK_S) & (until_s > TIMES)).astype(float)
    assert nothing(minutes(holding(lost(0.0)) | {("r-1", "rope"): wet}))


# --- flow ---


@pytest.mark.slow
def test_flow_that_does_not_come_back_counts_where_nothing_else_tells() -> None:
    flow = 1.01 * 179.0 * 4 + np.where(TIMES > LEAK_S, 40.0, 0.0)
    mute = holding(lost(0.0), level=False, pressure=False)
    second, finding = first(minutes(mute | {("cdu-0", "flow"): flow}, detector=Leaks(closed(Loops()))))
    assert second - LEAK_S <= 60
    assert finding.confidence < 0.9
    assert nothing(minutes(mute | {("cdu-0", "flow"): flow}))  # the meters' error has not been learned


@pytest.mark.slow
def test_a_flow_meter_that_is_off_is_no_leak_while_the_level_stands() -> None:
    flow = 1.01 * 179.0 * 4 * np.where(TIMES > LEAK_S, 1.08, 1.0)
    assert nothing(minutes({("cdu-0", "flow"): flow} | holding(lost(0.0)), detector=Leaks(closed(Loops()))))


# --- hours ---


def expanding(mean_k: Series) -> tuple[Series, Given]:
    """Litres in the reservoir when the loop is so much warmer than at 35 and 45 °C, and its temperatures."""
    grown = PG25.expansion_l(np.full(mean_k.shape, LOOP_L), np.full(mean_k.shape, 40.0), 40.0 + mean_k)
    return NORMAL_L + grown, {("cdu-0", "supply"): 35.0 + mean_k, ("cdu-0", "return"): 45.0 + mean_k}


WORKING_DAY, TEMPERATURES = expanding(-3.0 - 3.0 * np.cos(2 * np.pi * DAY / (8 * HOUR_S)))


@pytest.mark.slow
@pytest.mark.parametrize("lpm", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("signals", [{}, {"level": False}, {"pressure": False}], ids=["both", "pressure", "level"])
def test_a_pinhole_is_found_within_hours_on_a_working_day(lpm: float, signals: dict[str, bool]) -> None:
    litres = WORKING_DAY + lost(lpm, DAY, ONSET_S) - NORMAL_L
    second, finding = first(hours(TEMPERATURES | holding(litres, **signals)))
    assert 0.0 < second - ONSET_S <= (30 * 60 if lpm == 0.1 else 2.5 * HOUR_S)
    assert finding.time_to_limit_s is None or finding.time_to_limit_s > HOUR_S


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_working_day_alone_is_no_leak(seed: int) -> None:
    assert nothing(hours(TEMPERATURES | holding(WORKING_DAY), seed=seed))


@pytest.mark.slow
def test_air_that_finds_its_way_out_after_service_is_no_leak() -> None:
    purged = NORMAL_L - 2.0 * (1.0 - np.exp(-np.maximum(DAY - ONSET_S, 0.0) / 2_400.0))
    said = hours(holding(purged))
    assert nothing(said)
    assert any("air" in why for why in reasons(said))


def test_a_level_that_drifts_on_after_air_has_gone_is_not_believed_before_the_pressure_falls_too() -> None:
    purged = NORMAL_L - 2.0 * (1.0 - np.exp(-np.maximum(DAY - ONSET_S, 0.0) / 2_400.0))
    drifts = holding(lost(0.02, DAY, ONSET_S))["cdu-0", "level"]
    given = {("cdu-0", "suction"): holding(purged)["cdu-0", "suction"], ("cdu-0", "level"): drifts}
    assert nothing(hours(given))
    # An open loop's pressure says nothing of how a loss goes on.
    assert first(hours(given, norms=closed(Loops(racks=1), share=0.0)))


@pytest.mark.slow
def test_a_leak_that_is_closed_is_over_within_half_an_hour() -> None:
    closed_s = ONSET_S + 2.5 * HOUR_S
    said = hours(holding(lost(0.04, np.minimum(DAY, closed_s), ONSET_S)))
    assert first(said)[0] < closed_s
    late = [(second, answer) for second, answer in said if second > closed_s + 30 * 60]
    assert late
    assert nothing(late)
    assert not reasons(late)


@pytest.mark.slow
def test_litres_that_were_taken_out_are_a_step_and_no_leak() -> None:
    assert nothing(hours(holding(NORMAL_L - np.where(ONSET_S < DAY, 1.5, 0.0))))


@pytest.mark.slow
def test_a_level_sensor_that_drifts_is_told_by_the_pressure() -> None:
    drifts = holding(lost(0.02, DAY, ONSET_S), pressure=False)["cdu-0", "level"]
    said = hours({("cdu-0", "level"): drifts}, norms=closed(Loops(racks=1)))
    assert nothing(said)
    assert any("sensor drifts" in why for why in reasons(said))
    # Where the loop is open its pressure says nothing, and the level is all that there is.
    assert first(hours({("cdu-0", "level"): drifts}, norms=closed(Loops(racks=1), share=0.0)))


@pytest.mark.slow
def test_gas_that_seeps_out_is_told_by_the_level() -> None:
    seeps = holding(lost(0.02, DAY, ONSET_S))["cdu-0", "suction"]
    said = hours({("cdu-0", "suction"): seeps, ("cdu-0", "level"): 60.0})
    late = [(second, answer) for second, answer in said if second > ONSET_S + 3 * HOUR_S]
    assert nothing(late)
    assert any("gas" in why for why in reasons(late))


def filled(lpm: float) -> tuple[Series, Series]:
    """Litres of a leak behind automatic make-up between 25 and 60 per cent, and when the fill pump runs."""
    litres, runs, held, running = np.empty(DAY.shape), np.zeros(DAY.shape), NORMAL_L, False
    for number in range(len(DAY)):
        held -= lpm * PACE_S / 60.0 * (DAY[number] > ONSET_S)
        running = held < 12.5 or (running and held < NORMAL_L)
        held += 6.0 * PACE_S / 60.0 * running
        litres[number], runs[number] = held, running
    return litres, runs


@pytest.mark.slow
def test_a_leak_behind_make_up_is_found_before_the_first_filling_and_through_it() -> None:
    litres, runs = filled(0.2)
    said = hours(holding(litres) | {("cdu-0", "fill"): runs})
    second, _ = first(said)
    assert second - ONSET_S <= 30 * 60
    since_s = [second for second, answer in said if answer.findings]
    assert len(since_s) >= 0.8 * sum(1 for each, _ in said if each >= second)
    filled_s = float(DAY[np.flatnonzero(runs)[0]])
    last = next(answer.findings[0] for each, answer in reversed(said) if answer.findings)
    assert last.since < at(filled_s - 600.0)  # what was filled in hides nothing


@pytest.mark.slow
def test_too_many_fillings_are_a_leak_where_no_level_tells() -> None:
    litres, runs = filled(0.25)
    assert np.count_nonzero(np.diff(runs) > 0) >= 4
    mute = holding(litres, level=False, pressure=False) | {("cdu-0", "fill"): runs}
    second, finding = first(hours(mute))
    assert second > ONSET_S
    assert "again and again" in finding.summary
    assert any("starts in a day" in line.shows for line in finding.evidence)


@pytest.mark.slow
def test_a_reservoir_that_somebody_fills_up_is_no_leak() -> None:
    litres = np.clip(26.0 + np.maximum(DAY - ONSET_S, 0.0) * 6.0 / 60.0, 26.0, NORMAL_L)
    runs = (ONSET_S < DAY) & (litres < NORMAL_L)
    assert nothing(hours(holding(litres) | {("cdu-0", "fill"): runs.astype(float)}))


def with_conductivity() -> tuple[Loops, int]:
    loops = Loops(racks=1)
    number = loops.add("cdu-0", "conductivity", "CDU", "LiquidConductivity", areas=("Secondary",))
    loops.survey()
    return loops, number


@pytest.mark.slow
def test_water_that_comes_in_is_found_and_conductivity_makes_it_sure() -> None:
    gained = NORMAL_L + 0.03 * np.maximum(DAY - ONSET_S, 0.0) / 60.0
    second, finding = first(hours(holding(gained)), FindingKind.EXCHANGER_LEAK)
    assert second - ONSET_S <= 2 * HOUR_S
    assert "comes into" in finding.summary
    loops, number = with_conductivity()
    thinned = 4_400.0 - 7.0 * (gained - NORMAL_L)
    frame = history(
        loops,
        float(DAY[-1] + PACE_S),
        holding(gained, pressure=False) | {("cdu-0", "conductivity"): thinned},
        pace_s=PACE_S,
    )
    said = list(told(loops, Leaks(), frame, iter(np.arange(300.0, float(DAY[-1]), 300.0).tolist())))
    last = said[-1][1].findings[0]
    assert last.confidence > 0.9
    assert any(line.point == number and line.bearing is Bearing.FOR for line in last.evidence)


# --- the record ---


def test_the_same_instant_twice_and_a_clock_that_goes_back_are_borne() -> None:
    loops = Loops(racks=1)
    litres = lost(0.1, DAY, ONSET_S)
    frame = history(loops, float(DAY[-1] + PACE_S), holding(litres), pace_s=PACE_S)
    detector = Leaks()
    late = [7_000.0, 7_200.0, 7_500.0, 7_500.0, 8_000.0]
    answers = [answer for _, answer in told(loops, detector, frame, iter(late))]
    assert answers[2] == answers[3]
    assert nothing(list(told(loops, detector, frame, iter([600.0, 900.0, 4_000.0, 5_000.0]))))


def test_loops_that_are_added_leave_the_record_of_the_others() -> None:
    loops = Loops(racks=1)
    frame = history(loops, float(DAY[-1] + PACE_S), holding(lost(0.1, DAY, ONSET_S)), pace_s=PACE_S)
    detector = Leaks()
    before = iter(np.arange(300.0, ONSET_S + 900.0, 300.0).tolist())
    assert nothing(list(told(loops, detector, frame, before)))
    loops.add("cdu-9", "level", "CDU", "LiquidLevel", areas=("Reservoir",))
    loops.survey()
    after = iter(np.arange(ONSET_S + 900.0, ONSET_S + 1_800.0, 300.0).tolist())
    _, finding = first(list(told(loops, detector, frame, after)))
    assert finding.subject.asset == "cdu-0"
    assert finding.since < at(ONSET_S) + timedelta(minutes=15)


@pytest.mark.slow
def test_readings_that_are_bad_are_no_fall() -> None:
    loops = Loops(racks=1)
    frame = history(loops, 600.0, {})
    late = (pl.col("time").dt.epoch("us") > to_us(at(LEAK_S))) & (pl.col("point") == loops["cdu-0", "level"])
    frame = frame.with_columns(
        value=pl.when(late).then(pl.col("value") - 20.0).otherwise(pl.col("value")),
        quality=pl.when(late).then(pl.lit(int(Quality.BAD), pl.UInt8)).otherwise(pl.col("quality")),
    )
    said = list(told(loops, Leaks(), frame, iter(np.arange(200.0, 595.0, 5.0).tolist())))
    assert nothing(said)

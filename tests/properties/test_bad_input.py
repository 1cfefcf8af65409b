"""Bad input, over every detector: nothing raises, nothing is claimed without an argument, and order plays no part.

What is wrong with the input is drawn: gaps, points that say nothing, constants, one row, unsorted and doubled times,
wrong units, mixed sampling, clocks that are ahead. Whoever adds a detector is in here without a word."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcim.core.findings import Detection, FindingKind
from dcim.core.plant import Plant
from dcim.core.ports import Learner
from dcim.core.readings import Quality, Readings
from dcim.detect.norms import Norms
from tests.contract.test_detectors import DETECTORS, made
from tests.examples import examples
from tests.scenarios.full import Full, told
from tests.scenarios.loop import at, window

FULL = Full(racks=4, gpus=2)
UNTIL_S = 599.0
NUMBERS = sorted(FULL.numbers.values())
UNITS = {
    "percent": lambda value: 100.0 * value,
    "thousandths": lambda value: value / 1_000.0,
    "thousands": lambda value: 1_000.0 * value,
    "fahrenheit": lambda value: 1.8 * value + 32.0,
    "kelvin": lambda value: value + 273.15,
    "psi": lambda value: value / 6.895,
    "gallons": lambda value: value / 3.785,
    "sign": lambda value: -value,
}


@cache
def healthy(pace_s: float = 5.0, seed: int = 0) -> pl.DataFrame:
    return told(FULL, UNTIL_S + 1.0, pace_s=pace_s, seed=seed)


@cache
def known(kind: type[Any]) -> Norms:
    """What a detector learned of the plant while it was healthy."""
    detector = made(kind)
    detector.detect(window(healthy(seed=99), detector, FULL.plant, UNTIL_S), FULL.plant, at(UNTIL_S))
    norms: Norms = detector.study.norms
    for _ in range(200):
        norms = norms.learn(list(detector.study._looked), 600.0)
    return norms


def experienced(kind: type[Any]) -> Any:
    """A detector that knows what is usual."""
    return kind(known(kind)) if isinstance(made(kind), Learner) else made(kind)


def said(kind: type[Any], frame: pl.DataFrame) -> Detection:
    detector = experienced(kind)
    answer: Detection = detector.detect(window(frame, detector, FULL.plant, UNTIL_S), FULL.plant, at(UNTIL_S))
    return answer


def check(answer: Detection) -> None:
    """What every answer keeps to, whatever it is an answer to."""
    for finding in answer.findings:
        assert finding.evidence, finding.summary
        assert finding.summary
        assert finding.check_first or finding.kind is FindingKind.LIMIT, finding.summary  # a limit's rule has the steps
        assert 0.0 < finding.confidence < 1.0
        assert finding.since <= at(UNTIL_S)
        assert not math.isnan(finding.score)
        assert finding.time_to_limit_s is None or finding.time_to_limit_s >= 0.0
        assert "nan" not in " ".join((finding.summary, *(line.shows for line in finding.evidence))).split()
    places = [(finding.kind, finding.subject) for finding in answer.findings]
    assert len(places) == len(set(places))
    assert not set(places) & {(unknown.kind, unknown.subject) for unknown in answer.unknown}
    assert not set(places) & answer.between
    assert all(unknown.why for unknown in answer.unknown)


POINTS = st.sets(st.sampled_from(NUMBERS), min_size=1, max_size=12)


@st.composite
def damaged(draw: st.DrawFn, *, doubled: bool = True) -> pl.DataFrame:
    """Ten minutes of the plant, with up to three things wrong with what some of its points say."""
    frame = healthy()
    dice = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    for _ in range(draw(st.integers(1, 3))):
        own = pl.col("point").is_in(sorted(draw(POINTS | st.just(set(NUMBERS)))))
        how = draw(
            st.sampled_from(["gap", "null", "constant", "unit", "wild", "bad", "seldom", "one", "ahead", "doubled"])
        )
        chance = pl.Series(dice.random(frame.height))
        if how == "gap":
            begin_s = draw(st.integers(0, 550))
            gone = pl.col("time").is_between(at(begin_s), at(begin_s + draw(st.integers(5, 600))))
            frame = frame.filter(~(own & gone))
        elif how == "null":
            frame = frame.with_columns(
                value=pl.when(own & (chance < draw(st.sampled_from([0.3, 2.0])))).then(None).otherwise("value")
            )
        elif how == "constant":
            frame = frame.with_columns(
                value=pl.when(own).then(pl.col("value").first().over("point")).otherwise("value")
            )
        elif how == "unit":
            into = UNITS[draw(st.sampled_from(sorted(UNITS)))]
            frame = frame.with_columns(value=pl.when(own).then(into(pl.col("value"))).otherwise("value"))
        elif how == "wild":
            worth = draw(st.sampled_from([0.0, -1.0, 1e-300, 1e60, -1e60, math.inf, -math.inf, 2.0**60]))
            frame = frame.with_columns(value=pl.when(own & (chance < 0.2)).then(worth).otherwise("value"))
        elif how == "bad":
            worth = pl.lit(draw(st.sampled_from([int(Quality.UNCERTAIN), int(Quality.BAD)])), pl.UInt8)
            frame = frame.with_columns(quality=pl.when(own & (chance < 0.5)).then(worth).otherwise("quality"))
        elif how == "seldom":
            frame = frame.filter(~own | (chance < draw(st.sampled_from([0.02, 0.2, 0.6]))))
        elif how == "one":
            frame = frame.filter(~own | (pl.col("time") == pl.col("time").max()))
        elif how == "ahead":
            frame = frame.with_columns(time=pl.when(own).then(pl.col("time").dt.offset_by("90s")).otherwise("time"))
        elif doubled:
            again = frame.filter(own & (chance < 0.3)).with_columns(value=pl.col("value") + 1.0)
            frame = pl.concat([frame, again])
    return frame.sort("point", "time", maintain_order=True)


@pytest.mark.parametrize("kind", DETECTORS)
@settings(max_examples=examples(25), deadline=None)
@given(frame=damaged())
def test_nothing_raises_and_every_finding_has_its_argument(kind: type[Any], frame: pl.DataFrame) -> None:
    check(said(kind, frame))


@pytest.mark.parametrize("kind", DETECTORS)
@settings(max_examples=examples(10), deadline=None)
@given(frame=damaged(doubled=False), seed=st.integers(0, 1_000))
def test_the_same_readings_in_any_order_have_the_same_answer(kind: type[Any], frame: pl.DataFrame, seed: int) -> None:
    answer = said(kind, frame)
    assert said(kind, frame) == answer
    shuffled = frame[np.random.default_rng(seed).permutation(frame.height)]
    assert said(kind, shuffled) == answer


@pytest.mark.parametrize("kind", DETECTORS)
@pytest.mark.parametrize("pace_s", [1.0, 5.0, 10.0])
def test_nothing_is_found_in_a_healthy_plant_at_any_pace(kind: type[Any], pace_s: float) -> None:
    answer = said(kind, healthy(pace_s, seed=5))
    check(answer)
    assert answer.findings == ()


@pytest.mark.parametrize("kind", DETECTORS)
def test_nothing_is_found_where_each_point_has_a_pace_of_its_own(kind: type[Any]) -> None:
    frame = healthy(1.0, seed=6)
    second = frame["time"].to_physical() // 1_000_000
    mixed = frame.filter(second % pl.Series(np.array([1, 2, 5, 10, 30])[frame["point"].to_numpy() % 5]) == 0)
    assert said(kind, mixed).findings == ()


@pytest.mark.parametrize("kind", DETECTORS)
def test_a_plant_of_which_nothing_was_heard_is_unknown_and_no_plant_is_nothing(kind: type[Any]) -> None:
    empty = Readings.empty().to_frame()
    answer = experienced(kind).detect(empty, FULL.plant, at(UNTIL_S))
    check(answer)
    assert answer.findings == ()
    assert answer.unknown
    assert experienced(kind).detect(healthy(), Plant(), at(UNTIL_S)).findings == ()

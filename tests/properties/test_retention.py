"""Which tier answers, and from which parts: what must hold for any range, width and ages."""

from __future__ import annotations

import doctest
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcim.core.ports import Aggregate
from dcim.core.readings import Tier
from dcim.core.times import to_us
from dcim.store import retention
from dcim.store.retention import KEPT, STEP_US, Choice, Retention, parts, pick
from tests.examples import examples

QUICK = settings(max_examples=examples(100), deadline=None)
MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000
NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
NOW_US = to_us(NOW)

TIMES = st.one_of(
    st.integers(0, 20 * DAY), st.integers(0, 20 * 24 * 60).map(lambda minute: minute * MINUTE), st.integers(0, 5 * HOUR)
)
WIDTHS = st.one_of(
    st.none(),
    st.integers(1, 3 * DAY),
    st.integers(1, 5000).map(lambda count: count * MINUTE),
    st.integers(1, 100).map(lambda count: count * HOUR),
)
HOWS: st.SearchStrategy[Aggregate] = st.sampled_from(get_args(Aggregate))


@st.composite
def floors(draw: st.DrawFn) -> dict[Tier, int]:
    ordered = sorted(draw(st.lists(st.integers(0, 20), min_size=3, max_size=3)))
    return {tier: day * DAY for tier, day in zip(reversed(Tier), ordered, strict=True)}


@st.composite
def rolled(draw: st.DrawFn) -> dict[Tier, int]:
    minute = draw(st.integers(0, 20 * 24 * 60)) * MINUTE
    return {Tier.MINUTE: minute, Tier.HOUR: draw(st.integers(0, minute // HOUR)) * HOUR}


def test_examples() -> None:
    outcome = doctest.testmod(retention)
    assert outcome.attempted >= 5
    assert outcome.failed == 0


@QUICK
@given(TIMES, TIMES, WIDTHS, HOWS, floors())
def test_what_is_picked_is_exact_or_the_finest_that_is_left(
    start: int, end: int, every: int | None, how: Aggregate, kept: dict[Tier, int]
) -> None:
    choice = pick(start, end, every, how, kept)
    if choice.tier is Tier.RAW:
        assert choice.every_us == every
        reaches = kept[Tier.RAW] <= max(start, kept[Tier.HOUR])
        assert reaches or (how not in KEPT and every is not None)
        return
    step = STEP_US[choice.tier]
    assert choice.every_us is not None
    assert choice.every_us % step == 0
    assert kept[choice.tier] <= max(start, kept[Tier.HOUR])
    if every is None or choice.every_us != every:
        finer = list(Tier)[: list(Tier).index(choice.tier)]
        assert all(kept[tier] > start for tier in finer), "a finer one would have done"
        assert choice.every_us - (every or 1) < step, "no wider than need be"
    else:
        coarser = list(Tier)[list(Tier).index(choice.tier) + 1 :]
        whole = [tier for tier in coarser if every % STEP_US[tier] == 0 and end - start >= 2 * STEP_US[tier]]
        assert not whole, "a coarser one would have done"


@QUICK
@given(st.sampled_from(Tier), TIMES, TIMES, rolled())
def test_parts_are_the_range_without_a_seam(tier: Tier, start: int, end: int, done: dict[Tier, int]) -> None:
    whole = parts(tier, start, end, done, dict.fromkeys(Tier, 0))
    if start >= end:
        assert whole == []
        return
    assert (whole[0].start_us, whole[-1].end_us) == (start, end)
    assert all(part.start_us < part.end_us for part in whole)
    assert all(one.end_us == following.start_us for one, following in pairwise(whole))
    for part in whole:
        if part.tier is not Tier.RAW:
            assert part.end_us <= done[part.tier]
            assert part.start_us % STEP_US[part.tier] == part.end_us % STEP_US[part.tier] == 0


@QUICK
@given(st.sampled_from((Tier.MINUTE, Tier.HOUR)), TIMES, TIMES, TIMES)
def test_ranges_that_meet_share_no_step_and_miss_none(tier: Tier, one: int, two: int, three: int) -> None:
    """Where nothing finer is left, also when the range cuts a step."""
    first, middle, last = sorted((one, two, three))
    done, gone = dict.fromkeys(Tier, 30 * DAY), {**dict.fromkeys(Tier, 30 * DAY), tier: 0}

    def steps(start: int, end: int) -> list[int]:
        whole = [part for part in parts(tier, start, end, done, gone) if part.tier is tier]
        return [at for part in whole for at in range(part.start_us, part.end_us, STEP_US[tier])]

    assert steps(first, middle) + steps(middle, last) == steps(first, last)


def test_ages_of_a_day() -> None:
    kept = Retention(timedelta(days=7), timedelta(days=30), None)
    assert kept.floors(NOW) == {Tier.RAW: NOW_US - 7 * DAY, Tier.MINUTE: NOW_US - 30 * DAY, Tier.HOUR: 0}
    pick_at = lambda days, every: kept.pick(NOW - timedelta(days=days), NOW, every, "mean", NOW)  # noqa: E731
    assert pick_at(7, None) == Choice(Tier.RAW, None)
    assert pick_at(8, None) == Choice(Tier.MINUTE, MINUTE)
    assert pick_at(31, None) == Choice(Tier.HOUR, HOUR)
    assert pick_at(1, timedelta(minutes=90)) == Choice(Tier.MINUTE, 90 * MINUTE)
    assert pick_at(31, timedelta(minutes=90)) == Choice(Tier.HOUR, 2 * HOUR)
    assert pick_at(8, timedelta(seconds=7)) == Choice(Tier.MINUTE, MINUTE)
    assert kept.pick(NOW - timedelta(days=90), NOW, timedelta(hours=1), "last", NOW) == Choice(Tier.RAW, HOUR)


@pytest.mark.parametrize(
    "ages",
    [
        (timedelta(days=2), timedelta(days=1), None),
        (None, timedelta(days=1), None),
        (timedelta(days=1), None, timedelta(days=9)),
        (timedelta(0), None, None),
    ],
)
def test_ages_that_make_no_sense(ages: tuple[timedelta | None, ...]) -> None:
    with pytest.raises(ValueError, match=r"age must|finer tier"):
        Retention(*ages)


def test_for_ever() -> None:
    assert set(Retention().floors(NOW).values()) == {0}
    assert set(Retention(*[timedelta(days=200_000)] * 3).floors(NOW).values()) == {0}

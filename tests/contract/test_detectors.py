"""What every detector promises, asked of every one: frames unchanged, nothing raised, ignorance is not health.

Lives here: the contract. Not here: what is found when (tests/scenarios)."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dcim.detect
from alerts import rules
from dcim.core.ledger import Ledger
from dcim.core.live import Latest
from dcim.core.plant import Plant
from dcim.core.readings import Quality, Readings
from dcim.core.times import to_us
from dcim.detect.keeping import Keeping
from dcim.detect.limits import Limits
from dcim.detect.silence import Silence
from dcim.detect.unusual import Unusual
from dcim.detect.ways import Way, Ways
from tests.examples import examples
from tests.learned import trained
from tests.scenarios.full import Full, told
from tests.scenarios.loop import SITE, START, Loops, at, healthy, history, now, taken, window


def _classes(verb: str) -> list[type[Any]]:
    found = []
    for module in pkgutil.iter_modules(dcim.detect.__path__):
        for _, member in inspect.getmembers(importlib.import_module(f"dcim.detect.{module.name}"), inspect.isclass):
            if member.__module__ == f"dcim.detect.{module.name}" and hasattr(member, verb) and hasattr(member, "kinds"):
                found.append(member)
    return found


LIMITS = rules.default().limits
DETECTORS, SENTINELS, VIGILS = _classes("detect"), _classes("look"), _classes("watch")


def made(kind: type[Any]) -> Any:
    """One of the kind, with its defaults."""
    if kind is Limits:
        return Limits(LIMITS)
    if kind is Ways:
        ledger = Ledger()
        ledger.open("bus", "dsx", START)
        return Ways(START, [Way(Subscribed(), SITE)], ledger)
    if kind is Unusual:
        return Unusual([trained()])
    if kind is Keeping:
        return Keeping(Ledger())
    return Silence(START) if kind is Silence else kind()


class Subscribed:
    """A source whose connection stands."""

    name, connected, since, trouble = "bus", True, None, ""


def test_every_detector_is_found_and_their_kinds_do_not_overlap() -> None:
    assert (len(DETECTORS), len(SENTINELS), len(VIGILS)) == (8, 2, 4)
    kinds = [kind for one in (*DETECTORS, *SENTINELS, *VIGILS) for kind in one.kinds]
    assert len(kinds) == len(set(kinds))


EMPTY = Readings.empty().to_frame()
FULL = Full(racks=2, gpus=2)
SMALL = Loops(racks=2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", DETECTORS)
def test_an_empty_window_is_not_health(kind: type[Any]) -> None:
    answer = made(kind).detect(EMPTY, FULL.plant, START)
    assert answer.findings == ()
    assert answer.unknown
    assert made(kind).detect(EMPTY, Plant(), START).findings == ()


@pytest.mark.parametrize("kind", DETECTORS)
def test_the_frame_is_left_as_it_was_and_the_answer_depends_on_nothing_else(kind: type[Any]) -> None:
    for loops, frame in ((Loops(), history(Loops(), 400, {})), (FULL, told(FULL, 400))):
        shown = window(frame, made(kind), loops.plant, 395)
        before = shown.clone()
        first = made(kind).detect(shown, loops.plant, at(395))
        assert shown.equals(before)
        assert made(kind).detect(shown, loops.plant, at(395)) == first
        assert first.findings == ()


@pytest.mark.parametrize("kind", DETECTORS)
@settings(max_examples=examples(40))
@given(data=st.data())
def test_no_frame_makes_a_detector_raise(kind: type[Any], data: st.DataObject) -> None:
    loops = data.draw(st.sampled_from([SMALL, FULL]))
    rows = data.draw(
        st.lists(
            st.tuples(
                st.sampled_from(sorted(loops.numbers.values())),
                st.integers(0, 400),
                st.none() | st.floats(-1e9, 1e9) | st.sampled_from([0.0, 1.0, 50.0]),
                st.sampled_from([0, 0, 0, 1, 2]),
            ),
            max_size=40,
        )
    )
    frame = pl.DataFrame(
        {
            "point": pl.Series([row[0] for row in rows], dtype=pl.UInt32),
            "time": pl.Series([at(row[1]) for row in rows], dtype=pl.Datetime("us", "UTC")),
            "value": pl.Series([row[2] for row in rows], dtype=pl.Float64),
            "quality": pl.Series([row[3] for row in rows], dtype=pl.UInt8),
        }
    ).sort("point", "time", maintain_order=True)
    detector = made(kind)
    detector.detect(window(frame, detector, loops.plant, 400), loops.plant, at(400))


@pytest.mark.parametrize("kind", DETECTORS)
@pytest.mark.parametrize("how", ["constant", "null", "bad", "gaps", "one row", "backwards", "huge"])
def test_odd_signals_are_no_exception_and_no_alarm(kind: type[Any], how: str) -> None:
    frame = told(FULL, 600)
    frame = {
        "constant": lambda: frame.with_columns(value=pl.col("value").first().over("point")),
        "null": lambda: frame.with_columns(value=pl.lit(None, pl.Float64)),
        "bad": lambda: frame.with_columns(quality=pl.lit(int(Quality.BAD), pl.UInt8)),
        "gaps": lambda: frame.filter(pl.col("time").dt.minute() % 3 != 0),
        "one row": lambda: frame.head(1),
        "backwards": lambda: frame.sort("point", "time", descending=[False, True]),
        "huge": lambda: frame.with_columns(value=pl.col("value") * 1e60),
    }[how]()
    detector = made(kind)
    answer = detector.detect(window(frame, detector, FULL.plant, 599), FULL.plant, at(599))
    if how not in {"huge", "backwards"} and not (kind is Unusual and how == "constant"):
        # A rack whose signals all stand still is unusual to a model that never saw one do so.
        assert answer.findings == ()
    if how in {"null", "bad"}:
        assert answer.unknown


@pytest.mark.parametrize("kind", SENTINELS)
def test_a_sentinel_speaks_only_of_what_it_looked_at(kind: type[Any]) -> None:
    loops, latest = Loops(), Latest()
    answer = made(kind).look(taken(latest, now(healthy(loops)), 0), latest, loops.plant, at(0))
    assert answer.findings == ()
    assert answer.looked_at is not None
    named = {(finding.kind, finding.subject) for finding in answer.findings} | set(answer.between)
    named |= {(unknown.kind, unknown.subject) for unknown in answer.unknown}
    assert named <= answer.looked_at
    nothing = made(kind).look(Readings.empty(), latest, loops.plant, at(0))
    assert not nothing.looked_at


@pytest.mark.parametrize("kind", SENTINELS)
def test_missing_and_bad_are_unknown_and_never_fine(kind: type[Any]) -> None:
    loops, latest = Loops(), Latest()
    answer = made(kind).look(taken(latest, now(dict.fromkeys(healthy(loops))), 0), latest, loops.plant, at(0))
    assert answer.findings == ()
    assert answer.unknown


@pytest.mark.parametrize("kind", SENTINELS)
@given(data=st.data())
def test_no_reading_makes_a_sentinel_raise(kind: type[Any], data: st.DataObject) -> None:
    loops, latest = Loops(racks=2, gpus=1), Latest()
    values = {
        number: data.draw(st.none() | st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, 100.0]))
        for number in data.draw(st.sets(st.sampled_from(sorted(loops.numbers.values()))))
    }
    arrived = taken(latest, now(values, quality=data.draw(st.sampled_from(list(Quality)))), 0)
    made(kind).look(arrived, latest, loops.plant, at(data.draw(st.integers(0, 600))))


@pytest.mark.parametrize("kind", VIGILS)
def test_a_vigil_of_nothing_finds_nothing(kind: type[Any]) -> None:
    assert made(kind).watch(Latest(), Plant(), START).findings == ()
    early = made(kind).watch(Latest(), Loops().plant, START + timedelta(seconds=1))
    assert early.findings == ()
    assert early.unknown or kind is Keeping  # which asks nobody but ourselves


def test_a_window_gives_back_what_it_was_given() -> None:
    dice = np.random.default_rng(1)
    from dcim.detect.window import Window

    kept = Window(timedelta(seconds=100))
    everything = []
    for _ in range(30):
        rows = int(dice.integers(0, 50))
        batch = Readings(
            dice.integers(0, 5, rows).astype(np.uint32),
            to_us(START) + dice.integers(0, 100_000_000, rows),
            dice.random(rows),
            np.zeros(rows, np.uint8),
        )
        everything.append(batch)
        kept.offer(batch)
        if dice.random() < 0.5:
            kept.snapshot().frame(None, to_us(START), to_us(at(100)))
    expected = Readings.concat(everything).to_frame().sort("point", "time", maintain_order=True)
    got = kept.snapshot().frame(None, to_us(START), to_us(at(100)))
    assert got.sort("point", "time", "value").equals(expected.sort("point", "time", "value"))
    some = kept.frame([1, 3], to_us(at(20)), to_us(at(60)))
    wanted = pl.col("point").is_in([1, 3]) & pl.col("time").is_between(at(20), at(60))
    assert some.height == expected.filter(wanted).height

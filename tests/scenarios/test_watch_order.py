"""The watch's own part in detection: what is distrusted, how often each looks, and when norms are learned."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import cast

import polars as pl

from alerts.engine import Engine
from dcim.app.hub import Hub
from dcim.app.watch import Watch
from dcim.core.assets import AssetKey
from dcim.core.findings import Detection, FindingKind
from dcim.core.live import Latest
from dcim.core.plant import Plant
from dcim.core.points import PointIndex
from dcim.core.ports import Needs
from dcim.core.readings import Quality
from dcim.detect.window import Window
from tests.scenarios.loop import START, Loops, at, healthy, now

LOOPS = Loops(racks=2)
LIAR = LOOPS["r-0", "RackPower"]


class Looker:
    """Says what it is told to say, and remembers what it was shown."""

    kinds = frozenset({FindingKind.HEAT_UNBALANCED})

    def __init__(self, name: str, *, every_s: float = 0.0, distrusts: AbstractSet[int] = frozenset()) -> None:
        self.name, self.distrusts = name, frozenset(distrusts)
        self.needs = Needs(frozenset({"RackPower"}), timedelta(seconds=60), timedelta(seconds=every_s))
        self.shown: list[pl.DataFrame] = []
        self.exempt: list[AbstractSet[AssetKey]] = []

    def detect(self, window: pl.DataFrame, plant: Plant, at: datetime) -> Detection:
        self.shown.append(window)
        return Detection(distrusted=self.distrusts)

    def learn(self, exempt: AbstractSet[AssetKey]) -> None:
        self.exempt.append(exempt)

    @property
    def believed(self) -> set[int]:
        last = self.shown[-1]
        return set(last.filter(pl.col("quality") < int(Quality.BAD))["point"].to_list())


class Standing:
    """An engine with one alarm standing."""

    def troubled(self) -> set[AssetKey]:
        return {AssetKey("s", "r-1")}


def watch(*lookers: Looker, in_turn: int | None = None) -> Watch:
    return Watch(
        index=PointIndex(),
        placements={},
        latest=Latest(),
        window=Window(timedelta(seconds=60)),
        sentinels=(),
        detectors=lookers,
        vigils=(),
        engine=cast("Engine", Standing()),
        hub=Hub(),
        clock=lambda: START,
        tick_s=2.0,
        in_turn=in_turn,
    )


def survey(watching: Watch, second: float) -> int:
    window = Window(timedelta(seconds=60))
    window.offer(now(healthy(LOOPS), second))
    watching._rounds.know(watching._rounds.needs(LOOPS.plant))
    return len(watching._survey(window, LOOPS.plant, at(second)))


def test_what_is_distrusted_is_shown_as_bad_to_those_after_it_alone() -> None:
    before, doubter, after = Looker("limits"), Looker("sensors", distrusts={LIAR}), Looker("heat")
    survey(watch(before, doubter, after), 0.0)
    assert LIAR in before.believed
    assert LIAR in doubter.believed
    assert after.believed == {LOOPS["r-1", "RackPower"]}


def test_who_looks_at_the_same_time_is_shown_what_was_distrusted_before_and_answers_in_order() -> None:
    doubter = Looker("sensors", distrusts={LIAR})
    others = [Looker(f"other {number}", distrusts={LOOPS["r-1", "RackPower"]}) for number in range(5)]
    watching = watch(doubter, *others, in_turn=1)
    window = Window(timedelta(seconds=60))
    window.offer(now(healthy(LOOPS), 0.0))
    watching._rounds.know(watching._rounds.needs(LOOPS.plant))
    said = watching._rounds.look(window, LOOPS.plant, at(0.0))
    assert [detection.distrusted for _, detection in said] == [one.distrusts for one in (doubter, *others)]
    assert all(other.believed == {LOOPS["r-1", "RackPower"]} for other in others)


def test_each_looks_as_often_as_it_needs_and_its_distrust_lasts_until_it_looks_again() -> None:
    doubter, after = Looker("sensors", every_s=10.0, distrusts={LIAR}), Looker("heat")
    watching = watch(doubter, after)
    answers = [survey(watching, 2.0 * tick) for tick in range(10)]
    assert answers == [2, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    assert len(after.shown) == 10
    assert LIAR not in after.believed
    doubter.distrusts = frozenset()
    survey(watching, 20.0)
    assert LIAR in after.believed


def test_learners_learn_but_not_where_an_alarm_stands() -> None:
    looker = Looker("heat")
    watch(looker)._learn()
    assert looker.exempt == [{AssetKey("s", "r-1")}]

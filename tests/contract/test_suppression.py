"""What hides an alarm: who depends on whom, windows, and the order in which causes are found."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts import rules, suppression
from alerts.engine import Changed, Engine, NotNow, UnknownWindow
from alerts.lifecycle import Acknowledge, Change, Comment, Mistaken, Raise, Shelve, State, Transition
from alerts.suppression import Phase, Reach, Window, Windows, check_window, ended, reach
from dcim.core.assets import Asset, AssetKey, Placement
from dcim.core.findings import Detection, FindingKind, Subject
from dcim.core.topology import Edge, Medium, Topology
from tests.alarms import MemoryJournal, at, finding

FLOW, STALE, SILENT = FindingKind.FLOW_LOST, FindingKind.POINT_STALE, FindingKind.SOURCE_SILENT
WET = FindingKind.LEAK_WET


def key(name: str) -> AssetKey:
    return AssetKey("oslo", name)


def topology(*edges: tuple[str, str], medium: Medium = Medium.COOLANT) -> Topology:
    down: dict[tuple[Medium, AssetKey], tuple[AssetKey, ...]] = {}
    up: dict[tuple[Medium, AssetKey], tuple[AssetKey, ...]] = {}
    for feeder, fed in edges:
        down[medium, key(feeder)] = (*down.get((medium, key(feeder)), ()), key(fed))
        up[medium, key(fed)] = (*up.get((medium, key(fed)), ()), key(feeder))
    return Topology(tuple(Edge(key(feeder), key(fed), medium) for feeder, fed in edges), (), down, up)


def asset(name: str, within: str = "") -> Asset:
    return Asset("oslo", name, name, "Rack", True, Placement(), (), within)


# --- The reach --------------------------------------------------------------------------------------------------------


def cut_off(found: Reach, name: str, failed: set[str]) -> bool:
    """Whether these failures leave the asset without a medium, as the reach has it."""
    gone = {key(one) for one in failed}
    return any(all(way & gone for way in ways) for ways in found.ways.get(key(name), ()))


graphs = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=14).map(
    lambda pairs: list(dict.fromkeys((min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]))
)


def served(name: str, feeders: dict[str, list[str]], failed: set[str]) -> bool:
    """Whether anything that has not failed still reaches it."""
    return name not in failed and (name not in feeders or any(served(one, feeders, failed) for one in feeders[name]))


def feeders_of(names: list[tuple[str, str]]) -> dict[str, list[str]]:
    feeders: dict[str, list[str]] = {}
    for feeder, fed in names:
        feeders.setdefault(fed, []).append(feeder)
    return feeders


@given(graphs)
def test_of_one_failure_the_reach_says_what_a_walk_would(edges: list[tuple[int, int]]) -> None:
    """What is fed at all is cut off by one failure when no way to it avoids that."""
    names = [(str(feeder), str(fed)) for feeder, fed in edges]
    feeders, found = feeders_of(names), reach(topology(*names), {})
    for asked in feeders:
        for failed in {str(number) for number in range(8)} - {asked}:
            assert cut_off(found, asked, {failed}) != served(asked, feeders, {failed})


@given(graphs, st.sets(st.integers(0, 7)))
def test_of_several_failures_the_reach_never_hides_what_is_still_served(
    edges: list[tuple[int, int]], failed: set[int]
) -> None:
    names = [(str(feeder), str(fed)) for feeder, fed in edges]
    feeders, found = feeders_of(names), reach(topology(*names), {})
    for asked in feeders:
        gone = {str(one) for one in failed} - {asked}
        if served(asked, feeders, gone):
            assert not cut_off(found, asked, gone)


def test_a_chain_of_whatever_length_stays_within_its_bound() -> None:
    names = [f"{number}" for number in range(5_000)]
    found = reach(topology(*pairwise(names)), {})
    assert max(len(way) for ways in found.ways.values() for sets in ways for way in sets) <= suppression.NEEDS_MAX
    assert cut_off(found, "4000", {"3999"})
    assert found.level[key("4999")] == 4_999
    assert len(found.under(key("0"), downstream=True)) == 5_000


def test_what_feeds_comes_before_what_is_fed_and_what_contains_before_what_is_contained() -> None:
    found = reach(topology(("feed", "cdu"), ("cdu", "rack")), {key("gpu"): asset("gpu", within="rack")})
    order = sorted(("gpu", "rack", "cdu", "feed"), key=lambda name: found.level_of(key(name)))
    assert order == ["feed", "cdu", "rack", "gpu"]
    assert found.under(key("cdu"), downstream=False) == {key("cdu")}
    assert found.under(key("cdu"), downstream=True) == {key("cdu"), key("rack"), key("gpu")}
    assert found.under(key("rack"), downstream=False) == {key("rack"), key("gpu")}


# --- Windows ----------------------------------------------------------------------------------------------------------

WINDOW = Window("1", "oslo", ("cdu",), True, at(100), at(200), "work", "ana", "", at(0))


def test_a_window_is_open_from_its_start_until_before_its_end() -> None:
    found = [WINDOW.phase(at(second)) for second in (0, 99, 100, 199, 200)]
    assert found == [Phase.PLANNED, Phase.PLANNED, Phase.OPEN, Phase.OPEN, Phase.OVER]
    assert ended(WINDOW, "ben", "", at(150)).phase(at(150)) is Phase.OVER
    cancelled = ended(WINDOW, "ben", "", at(50))
    assert [cancelled.phase(at(second)) for second in (50, 100, 150)] == [Phase.OVER] * 3
    with pytest.raises(Mistaken, match="is over since"):
        ended(WINDOW, "ben", "", at(200))


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (replace(WINDOW, end=at(100)), "end"),
        (replace(WINDOW, start=at(-200), end=at(-100)), "end"),
        (replace(WINDOW, end=at(40 * 86_400)), "end"),
        (replace(WINDOW, assets=("x",) * 1_001), "assets"),
        (replace(WINDOW, site=""), "site"),
    ],
)
def test_a_window_that_cannot_be_meant_is_refused_with_its_field(wrong: Window, field: str) -> None:
    with pytest.raises(Mistaken) as caught:
        check_window(wrong, at(0))
    assert caught.value.where == field


def test_windows_cover_what_is_fed_as_the_topology_grows_and_are_forgotten_when_over() -> None:
    windows = Windows([WINDOW, replace(WINDOW, id="2", site="bergen", assets=(), end=at(150))])
    assert windows.over(key("rack"), at(100)) is None
    windows.follow(reach(topology(("cdu", "rack")), {}))
    assert windows.over(key("rack"), at(100)) == WINDOW
    assert windows.over(key("rack"), at(200)) is None
    assert windows.over(AssetKey("bergen", "anything"), at(100)) is not None
    windows.forget(at(150))
    assert len(windows) == 1
    assert windows.over(AssetKey("bergen", "anything"), at(100)) is None


# --- In the engine ----------------------------------------------------------------------------------------------------


async def opened(journal: MemoryJournal, **options: int) -> Engine:
    engine = Engine(rules.default(), journal, **options)  # type: ignore[arg-type]  # bounds
    await engine.open(at(0))
    return engine


def seen(*where: tuple[FindingKind, str]) -> Detection:
    return Detection(tuple(finding(kind, Subject("oslo", name)) for kind, name in where))


def test_what_is_hidden_takes_no_room_from_what_stands_and_is_counted_beyond_its_bound() -> None:
    async def run() -> None:
        engine = await opened(MemoryJournal(), hidden_max=2, alarms_max=5)
        kinds = frozenset({STALE, SILENT, WET})
        await engine.apply(seen((SILENT, "bms"), *((STALE, f"point-{number}") for number in range(6))), kinds, at(0))
        assert (engine.counts.masked, engine.counts.unlisted, engine.counts.refused) == (2, 4, 0)
        everything = (SILENT, "bms"), (WET, "a"), (WET, "b")
        made = await engine.apply(seen(*everything, (STALE, "point-0")), kinds, at(1))
        assert [(row.key.subject.asset, row.change) for row in made] == [
            ("a", Change.ACTIVATED),
            ("b", Change.ACTIVATED),
        ]

    asyncio.run(run())


def test_windows_outlive_a_restart_and_end_once() -> None:
    async def run() -> None:
        journal = MemoryJournal()
        engine = await opened(journal)
        window = await engine.open_window(replace(WINDOW, id="", assets=("rack",), start=at(0)), at(0))
        again = await opened(journal)
        kinds = frozenset({FLOW, WET})
        made = await again.apply(seen((FLOW, "rack"), (WET, "rack")), kinds, at(10))
        assert {(row.key.rule, row.after) for row in made} == {
            ("leak-wet", State.UNACKNOWLEDGED),
            ("flow-lost", State.SUPPRESSED),
        }
        assert again.hides(window.id) == 1
        await again.end_window(window.id, "ben", "::1", at(20))
        with pytest.raises(UnknownWindow):
            await again.end_window(window.id, "ben", "::1", at(21))
        made = await again.apply(seen((FLOW, "rack"), (WET, "rack")), kinds, at(22))
        assert [(row.key.rule, row.after) for row in made] == [("flow-lost", State.UNACKNOWLEDGED)]
        assert again.hides(window.id) == 0
        assert (await opened(journal)).hides(window.id) == 0

    asyncio.run(run())


def test_an_act_on_a_version_that_is_gone_is_refused_and_changes_nothing() -> None:
    async def run() -> None:
        journal = MemoryJournal()
        engine = await opened(journal)
        (made,) = await engine.apply(seen((WET, "a")), frozenset({WET}), at(0))
        alarm = made.occurrence
        first, second = await asyncio.gather(
            *(engine.act([(alarm, 1)], Comment(by, "mine"), at(1)) for by in ("ana", "ben"))
        )
        assert [row.by for row in first.transitions] == ["ana"]
        ((_, why),) = second.refused
        assert isinstance(why, Changed)
        assert why.version == 1
        assert len(journal.rows) == 2
        done = await engine.act([(alarm, 2)], Shelve("ben", "known", at(100)), at(2))
        assert isinstance(done.transitions[0], Transition)
        ((_, why),) = (await engine.act([(alarm, 3)], Acknowledge("ana"), at(3))).refused
        assert isinstance(why, NotNow)

    asyncio.run(run())


def test_of_a_rule_that_explains_itself_what_is_further_up_is_the_cause_in_whatever_order_it_is_found() -> None:
    async def run(*order: str) -> list[tuple[str, State]]:
        engine = await opened(MemoryJournal())
        engine.follow(topology(("cdu", "rack-1"), ("cdu", "rack-2")), {})
        made = await engine.apply(seen(*((FLOW, name) for name in order)), frozenset({FLOW}), at(0))
        return sorted((row.key.subject.asset, row.after) for row in made)

    expected = [("cdu", State.UNACKNOWLEDGED), ("rack-1", State.SUPPRESSED), ("rack-2", State.SUPPRESSED)]
    assert asyncio.run(run("rack-1", "cdu", "rack-2")) == expected
    assert asyncio.run(run("cdu", "rack-2", "rack-1")) == expected


def test_a_mask_says_nothing_of_what_a_rope_tells() -> None:
    hidden = suppression.Suppression(rules.default())
    hidden.windows.put(replace(WINDOW, assets=(), start=at(0)))
    shipped = rules.default()
    standing = suppression.Standing(shipped)
    subject = Subject("oslo", "rack")
    for rule in shipped.rules:
        rope = rule.kind in (FindingKind.LEAK_WET, FindingKind.LEAK_SENSOR_FAULT)
        assert (hidden.mask(rule, subject, standing, at(50)) is None) == rope
        assert hidden.may_hide(rule) != rope
    assert Raise(finding(WET, subject)).mask is None

"""The inventory: what several say of one thing becomes one, and where they differ that is told."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from dcim.core.assets import AssetKey
from dcim.core.claims import Claim, claims_of, differences, merge
from dcim.core.inventory import Conflict, Inventory, Named, Origin, Place, ThingKind

RACK, FEED, COOLING = ThingKind.RACK, ThingKind.FEED, ThingKind.COOLING


def say(kind: ThingKind, thing: str, origin: Origin = Origin.TOML, **figures: Any) -> list[Claim]:
    return [Claim(Named(kind, "titan", thing, field), value, origin) for field, value in figures.items()] or [
        Claim(Named(kind, "titan", thing, ""), None, origin)
    ]


def test_the_settings_count_before_netbox_and_the_bus_and_every_difference_is_listed() -> None:
    claims = [
        *say(RACK, "r1", Origin.BUS, name="R1", rated_power_kw=100.0),
        *say(RACK, "r1", Origin.NETBOX, name="R1", rated_power_kw=120.0, height_u=48),
        *say(RACK, "r1", rated_power_kw=132.0),
    ]
    for order in permutations(range(3)):
        found = merge([claim for part in order for claim in (claims[:2], claims[2:5], claims[5:])[part]])
        rack = found.racks[AssetKey("titan", "r1")]
        assert (rack.name, rack.rated_power_kw, rack.height_u) == ("R1", 132.0, 48)
        assert found.origin(RACK, "titan", "r1", "rated_power_kw") is Origin.TOML
        assert found.origin(RACK, "titan", "r1", "height_u") is Origin.NETBOX
        assert found.origin(RACK, "titan", "r1", "position") is None
        (conflict,) = found.conflicts
        assert conflict == Conflict(
            Named(RACK, "titan", "r1", "rated_power_kw"),
            ((Origin.TOML, "132"), (Origin.NETBOX, "120"), (Origin.BUS, "100")),
            "they differ on rated power kw of rack r1; what toml says counts until it is put right",
        )


def test_numbers_that_are_the_same_in_another_spelling_are_no_conflict() -> None:
    assert merge([*say(FEED, "f", rated_a=400), *say(FEED, "f", Origin.BUS, rated_a=400.0)]).conflicts == ()


def test_who_feeds_whom_is_added_up() -> None:
    found = merge([*say(FEED, "f", serves=("r1", "r2")), *say(FEED, "f", Origin.BUS, serves=("r2", "r3"))])
    assert found.feeds[AssetKey("titan", "f")].serves == ("r1", "r2", "r3")
    assert found.conflicts == ()


def test_a_circle_is_cut_and_told() -> None:
    found = merge([*say(FEED, "a", serves=("b",)), *say(FEED, "b", serves=("c",)), *say(FEED, "c", serves=("a", "r"))])
    assert [found.feeds[AssetKey("titan", one)].serves for one in "abc"] == [("b",), ("c",), ("r",)]
    (conflict,) = found.conflicts
    assert "circle" in conflict.why and conflict.what.id == "c"


def test_a_chain_longer_than_the_stack_is_walked() -> None:
    chain = [claim for n in range(5_000) for claim in say(FEED, f"f{n:05}", serves=(f"f{(n + 1) % 5_000:05}",))]
    assert len(merge(chain).conflicts) == 1


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        (
            [*say(RACK, "r1", hall="H", row="A", position=1), *say(RACK, "r2", hall="H", row="A", position=1)],
            "r1 and r2 both stand at position 1 of row H/A",
        ),
        (
            [*say(ThingKind.ROW, "H/A", positions=2), *say(RACK, "r1", hall="H", row="A", position=3)],
            "r1 stands at position 3 of row H/A, which has 2",
        ),
        ([*say(RACK, "x"), *say(FEED, "x")], "x is listed as a rack and as a feed"),
        (
            [*say(COOLING, "c1", group="g", n_plus=1), *say(COOLING, "c2", group="g", n_plus=2)],
            "c1 and c2 of group g have different n_plus",
        ),
    ],
)
def test_what_cannot_all_be_so_is_listed(claims: list[Claim], why: str) -> None:
    assert [conflict.why for conflict in merge(claims).conflicts] == [why]


def test_halls_rows_and_sites_are_there_where_only_racks_name_them() -> None:
    found = merge(say(RACK, "r1", hall="Hall 1", row="A"))
    assert list(found.sites) == ["titan"]
    assert list(found.halls) == [Place("titan", "Hall 1")]
    assert list(found.rows) == [Place("titan", "Hall 1", "A")]


def test_an_inventory_says_what_it_was_made_of() -> None:
    found = merge(
        [
            *say(RACK, "r1", Origin.NETBOX, hall="H", row="A", position=1, rated_power_kw=120.0),
            *say(ThingKind.ROW, "H/A", positions=12, feeds=("bus",)),
            *say(FEED, "bus", rated_a=400.0, serves=("r1",)),
            *say(COOLING, "c1", rated_kw=960.0),
            Claim(Named(ThingKind.SITE, "titan", "titan", "contract_kw"), 4_000.0, Origin.TOML),
            Claim(Named(ThingKind.PRODUCT, "", "GPU X", "tdp_w"), 1_000.0, Origin.TOML),
        ]
    )
    assert merge(claims_of(found)) == found
    assert differences(found, found) == []


def test_differences_in_lines() -> None:
    before = merge([*say(RACK, "r1", rated_power_kw=120.0), *say(RACK, "gone")])
    after = merge([*say(RACK, "r1", rated_power_kw=132.0, height_u=48), *say(RACK, "new")])
    assert differences(before, after) == [
        "- rack titan/gone",
        "+ rack titan/new",
        "~ rack titan/r1: height_u nothing → 48",
        "~ rack titan/r1: rated_power_kw 120 → 132",
    ]
    assert merge([]) == Inventory()

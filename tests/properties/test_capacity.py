"""What holds of every network: nothing is lost when a feed is, the quick way is the plain way, what fits fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcim.capacity.failover import lose, worst
from dcim.capacity.headroom import POWER, Level, fill, headroom, units
from dcim.capacity.limits import Resource, find_limits
from dcim.capacity.loads import Loads, sums
from dcim.capacity.network import Network, connect
from dcim.capacity.placement import Wanted, place
from dcim.core.claims import Claim, claims_of, merge
from dcim.core.inventory import Inventory, Named, Origin, ThingKind
from tests.capacity import SITE, loads, pod, say

CONTRACT = [
    Claim(Named(ThingKind.SITE, SITE, SITE, "contract_kw"), 50_000.0, Origin.TOML),
    *say(ThingKind.HALL, "H", air_kw=5_000.0),
]


@st.composite
def halls(draw: st.DrawFn) -> tuple[Inventory, Network, Loads]:
    """A hall of one to three rows, with racks of one or two feeds, a UPS over some busways, and loads by phase."""
    racks = draw(st.integers(1, 10))
    more = list(CONTRACT)
    inventory = pod(racks, per_row=4)
    buses = sorted(feed.id for feed in inventory.feeds.values() if feed.id.startswith("bus"))
    over = draw(st.lists(st.sampled_from(buses), unique=True))
    if over:
        more += say(ThingKind.FEED, "ups", rated_kw=2_000.0, volts=415.0, phases=3, serves=tuple(over))
    lone = draw(st.booleans())
    if lone:
        more += say(ThingKind.RACK, "lone", hall="H", row="001", position=5, rated_power_kw=50.0, liquid_share=0.5)
        more += say(ThingKind.FEED, buses[0], serves=("lone",))
    inventory = pod(racks, per_row=4, more=more)
    network = connect(inventory)
    size = len(network.cord_rack)
    kva = np.array(draw(st.lists(st.floats(0.0, 40.0), min_size=3 * size, max_size=3 * size))).reshape(size, 3)
    now = loads(network, 100.0)
    dead = np.zeros(len(network.feeds), np.bool_)
    kw = np.bincount(network.cord_rack, kva.sum(axis=1), minlength=len(network.racks)).astype(np.float64)
    return inventory, network, replace(now, cord_kva=kva, rack_kw=kw, feed_kva=sums(network, kva, ~dead))


@given(halls(), st.data())
def test_power_is_neither_lost_nor_made_when_feeds_are(
    drawn: tuple[Inventory, Network, Loads], data: st.DataObject
) -> None:
    _, network, now = drawn
    gone = data.draw(st.lists(st.integers(0, len(network.feeds) - 1), max_size=3))
    after = lose(network, now, gone)
    before = np.zeros((len(network.racks), 3))
    np.add.at(before, network.cord_rack, now.cord_kva)
    then = np.zeros((len(network.racks), 3))
    np.add.at(then, network.cord_rack, after.cord_kva)
    assert then[~after.dark] == pytest.approx(before[~after.dark])
    assert (then[after.dark] == 0.0).all()
    roots = network.roots & after.alive
    assert after.feed_kva[roots].sum() == pytest.approx(then.sum())


@pytest.mark.slow
@given(halls())
def test_the_worst_is_the_worst_of_all_losses(drawn: tuple[Inventory, Network, Loads]) -> None:
    _, network, now = drawn
    found = worst(network, now)
    plain = now.feed_kva.copy()
    for feed in range(len(network.feeds)):
        after = lose(network, now, [feed])
        plain = np.where(after.alive[:, None], np.maximum(plain, after.feed_kva), plain)
    assert found.kva == pytest.approx(plain)
    assert worst(replace_tree(network), now).kva == pytest.approx(plain), "and so the way for what has several feeders"


def replace_tree(network: Network) -> Network:
    return replace(network, tree=False)


@pytest.mark.slow
@given(halls())
def test_headroom_that_is_used_up_overloads_nothing(drawn: tuple[Inventory, Network, Loads]) -> None:
    inventory, network, now = drawn
    limits = find_limits(inventory, network, now, worst(network, now))
    for level in (Level.ROW, Level.SITE):
        for unit in units(inventory, network, level):
            together = fill(unit.racks, limits, POWER) or 0.0
            alone = sum(fill((rack,), limits, POWER) or 0.0 for rack in unit.racks)
            assert 0.0 <= together <= alone * (1 + 1e-9)
            for strain in headroom(unit, limits, now).strains:
                one = strain.headroom.value
                assert one is None or strain.resource is Resource.SPACE or together <= one * (1 + 1e-9)
            # What is filled in is carried: no limit is passed by what each rack of the unit may draw.
            assert together <= sum(max(0.0, limits.limits[rack].spare or 0.0) for rack in unit.racks) * (1 + 1e-9)


@pytest.mark.slow
@given(halls(), st.integers(1, 12), st.floats(1.0, 150.0))
def test_racks_that_are_placed_fit_in_fact(drawn: tuple[Inventory, Network, Loads], racks: int, kw: float) -> None:
    inventory, network, now = drawn
    limits = find_limits(inventory, network, now, worst(network, now))
    found = place(inventory, network, limits, Wanted(racks, kw), inventory.rows)
    assert len(found.chosen) <= racks
    assert len({(seat.row, seat.position) for seat in found.chosen}) == len(found.chosen)
    assert [seat.fits for seat in found.seats] == sorted((seat.fits for seat in found.seats), reverse=True)
    if not found.chosen:
        assert not any(seat.fits for seat in found.seats)
    fewer = place(inventory, network, limits, Wanted(racks, kw / 2), inventory.rows)
    assert len(fewer.chosen) >= len(found.chosen), "smaller racks fit where larger ones do"


@given(halls())
def test_an_inventory_is_what_it_says(drawn: tuple[Inventory, Network, Loads]) -> None:
    inventory = drawn[0]
    assert merge(claims_of(inventory)) == inventory

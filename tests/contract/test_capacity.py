"""Capacity by hand: loads after a loss, headroom, places for new racks, what-if, redundancy, stranded power.

Volts are 415, three phases, power factor 1: a breaker of 1,600 A carries √3 · 415 · 1,600 · 0.8 = 920.07 kW for hours,
one of 250 A 143.76 kW."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from dcim.capacity.failover import Worst, lose, worst
from dcim.capacity.headroom import Headroom, Level, headroom, units
from dcim.capacity.limits import Limits, Resource, find_limits, way
from dcim.capacity.loads import Loads, phase_amps
from dcim.capacity.network import Network, connect
from dcim.capacity.placement import Placed, Redundancy, Wanted, place
from dcim.capacity.provenance import FigureKind
from dcim.capacity.redundancy import Holds, cooling, halls, power
from dcim.capacity.stranded import Cause, Stranded, stranded
from dcim.capacity.what_if import Added, at_rating, what_if
from dcim.core.assets import AssetKey
from dcim.core.claims import Claim, merge
from dcim.core.inventory import Cooling, Inventory, Named, Origin, Place, ThingKind
from tests.capacity import SITE, loads, pod, say

BUS_KW = math.sqrt(3.0) * 415 * 1_600 * 0.8 / 1_000
TAP_KW = math.sqrt(3.0) * 415 * 250 * 0.8 / 1_000
CONTRACT = [Claim(Named(ThingKind.SITE, SITE, SITE, "contract_kw"), 5_000.0, Origin.TOML)]
AIRY = [*CONTRACT, *say(ThingKind.HALL, "H", air_kw=300.0)]


def limits_of(inventory: Inventory, network: Network, now: Loads) -> Limits:
    return find_limits(inventory, network, now, worst(network, now))


def told(inventory: Inventory, now: Loads, network: Network, level: Level) -> dict[str, Headroom]:
    limits = limits_of(inventory, network, now)
    return {unit.id: headroom(unit, limits, now) for unit in units(inventory, network, level)}


def by_resource(found: Headroom) -> dict[Resource, float | None]:
    return {strain.resource: strain.headroom.value for strain in found.strains}


def feed_kw(network: Network, kva: np.ndarray) -> dict[str, float]:
    return {feed.id: float(kva[number].sum()) for number, feed in enumerate(network.feeds)}


def test_the_other_feed_takes_all_when_one_is_lost() -> None:
    network = connect(pod(4))
    now = loads(network, 100.0, split=0.6)
    assert feed_kw(network, now.feed_kva) == pytest.approx(
        {
            "bus-001-A": 240,
            "bus-001-B": 160,
            **{f"r000{n}-A": 60 for n in (1, 2, 3, 4)},
            **{f"r000{n}-B": 40 for n in (1, 2, 3, 4)},
        }
    )
    after = lose(network, now, [network.feed_of[AssetKey(SITE, "bus-001-A")]])
    kw = feed_kw(network, after.feed_kva)
    assert kw["bus-001-B"] == pytest.approx(400) and kw["r0001-B"] == pytest.approx(100) and kw["r0001-A"] == 0
    assert not after.dark.any()


def test_phases_move_as_they_are() -> None:
    network = connect(pod(1))
    now = loads(network, 100.0)
    uneven = np.array([[10.0, 20.0, 30.0], [5.0, 15.0, 20.0]])
    now = replace(now, cord_kva=uneven, feed_kva=np.array([[10.0, 20.0, 30.0], [5.0, 15.0, 20.0]] * 2))
    found = worst(network, now)
    for number in range(4):
        assert found.kva[number] == pytest.approx([15.0, 35.0, 50.0])


def test_a_rack_on_one_feed_goes_dark_and_moves_nothing() -> None:
    inventory = pod(
        2,
        more=[
            *say(ThingKind.RACK, "lone", hall="H"),
            *say(ThingKind.FEED, "lone-A", rated_a=250.0, volts=415.0, phases=3, serves=("lone",)),
            *say(ThingKind.FEED, "bus-001-A", serves=("lone-A",)),
        ],
    )
    network = connect(inventory)
    now = loads(network, {"r0001": 100.0, "r0002": 100.0, "lone": 50.0})
    after = lose(network, now, [network.feed_of[AssetKey(SITE, "bus-001-A")]])
    assert [network.racks[n].id for n in np.flatnonzero(after.dark)] == ["lone"]
    assert feed_kw(network, after.feed_kva)["bus-001-B"] == pytest.approx(200)


def test_of_three_feeders_two_take_over() -> None:
    claims = [*say(ThingKind.RACK, "r", rated_power_kw=90.0)]
    for side in "XYZ":
        claims += say(ThingKind.FEED, side, rated_a=250.0, volts=415.0, phases=3, serves=("r",))
    network = connect(merge(claims))
    now = loads(network, 90.0)
    now = replace(now, cord_kva=np.full((3, 3), 10.0), feed_kva=np.full((3, 3), 10.0))
    assert worst(network, now).kva.sum(axis=1) == pytest.approx([45.0, 45.0, 45.0])
    assert list(way(network, [0, 1, 2]).values()) == [pytest.approx((1 / 3, 0.5))] * 3


def test_a_single_phase_tap_carries_all_of_its_rack_and_fills_one_phase_above() -> None:
    more = [
        *say(ThingKind.RACK, "edge", hall="H", rated_power_kw=10.0),
        *say(ThingKind.FEED, "edge-A", rated_a=63.0, volts=240.0, phases=1, serves=("edge",)),
        *say(ThingKind.FEED, "bus-001-A", serves=("edge-A",)),
        *AIRY,
    ]
    inventory = pod(1, more=more)
    network = connect(inventory)
    now = loads(network, {"r0001": 90.0, "edge": 6.0})
    tap, bus = (network.feed_of[AssetKey(SITE, one)] for one in ("edge-A", "bus-001-A"))
    assert phase_amps(network, now, tap, now.feed_kva[tap]) == pytest.approx([25.0])
    breaker = limits_of(inventory, network, now).feed_breaker
    limit = limits_of(inventory, network, now).limits[breaker + tap]
    assert (limit.capacity, limit.load) == pytest.approx((240.0 * 63.0 * 0.8 / 1_000, 6.0))
    assert way(network, [tap])[bus] == (3.0, 3.0)


def test_ups_in_parallel_share_what_one_of_them_carried() -> None:
    ups = [
        claim
        for n in "123"
        for claim in say(ThingKind.FEED, f"ups-{n}", rated_kw=500.0, volts=415.0, phases=3, serves=("bus-001-A",))
    ]
    inventory = pod(4, more=ups)
    network = connect(inventory)
    now = loads(network, 100.0)
    found = worst(network, now)
    number = network.feed_of[AssetKey(SITE, "ups-1")]
    assert now.feed_kva[number].sum() == pytest.approx(200 / 3)
    # Worst is the loss of busway B, which moves 200 kW to A and its three units; losing one unit makes it 100.
    assert found.kva[number].sum() == pytest.approx(400 / 3)
    limits = limits_of(inventory, network, now)
    standing = {one.id: one for one in power(network, now, limits)}
    assert standing["r0001"].has == "2N", "a unit of three is no single point"


def test_loads_of_which_nobody_knows_where_they_go_make_failover_unknown() -> None:
    inventory = pod(2, more=say(ThingKind.FEED, "bus-001-A", serves=("unheard-of",)))
    network = connect(inventory)
    found = worst(network, loads(network, 100.0))
    assert found.unsure[network.feed_of[AssetKey(SITE, "bus-001-A")]]
    (rack,) = [
        one for one in told(inventory, loads(network, 100.0), network, Level.RACK).values() if one.unit.id == "r0001"
    ]
    failover = next(strain for strain in rack.strains if strain.resource is Resource.FAILOVER)
    assert "some of its racks are not described" in failover.unknown[0]


def test_headroom_by_hand() -> None:
    inventory = pod(4, more=AIRY)
    network = connect(inventory)
    racks = told(inventory, loads(network, 100.0), network, Level.RACK)
    assert by_resource(racks["r0001"]) == pytest.approx(
        {
            Resource.RATING: 20.0,
            Resource.BREAKER: (TAP_KW - 50.0) / 0.5,
            Resource.FAILOVER: TAP_KW - 100.0,
            Resource.FLOW: (900.0 - 600.0) / 1.5,
            Resource.COOLING: (600.0 - 360.0) / 0.9,
            Resource.AIR: (300.0 - 40.0) / 0.1,
            Resource.SPACE: None,
        }
    )
    assert racks["r0001"].headroom.value == pytest.approx(20.0)
    assert racks["r0001"].binding is not None and racks["r0001"].binding.resource is Resource.RATING

    (row,) = told(inventory, loads(network, 100.0), network, Level.ROW).values()
    assert by_resource(row) == pytest.approx(
        {
            Resource.RATING: 80.0,
            Resource.BREAKER: 4 * (TAP_KW - 50.0) / 0.5,
            Resource.FAILOVER: 4 * (TAP_KW - 100.0),
            Resource.FLOW: 200.0,
            Resource.COOLING: 240.0 / 0.9,
            Resource.AIR: 2_600.0,
            Resource.SPACE: 2.0,
        }
    )


def test_the_busway_binds_a_row_that_its_racks_could_overload() -> None:
    inventory = pod(4, bus_a=800.0, rated_kw=200.0, more=AIRY)
    network = connect(inventory)
    (row,) = told(inventory, loads(network, 100.0), network, Level.ROW).values()
    assert by_resource(row)[Resource.FAILOVER] == pytest.approx(BUS_KW / 2 - 400.0)
    assert row.headroom.value == pytest.approx(BUS_KW / 2 - 400.0)
    assert row.binding is not None and row.binding.tightest is not None
    assert row.binding.tightest.at == "bus-001-A"


def test_a_rack_draws_no_more_coolant_than_its_branch_carries() -> None:
    inventory = pod(2, more=[*AIRY, *say(ThingKind.RACK, "r0001", flow_lpm_max=165.0)])
    network = connect(inventory)
    racks = told(inventory, loads(network, 100.0), network, Level.RACK)
    assert by_resource(racks["r0001"])[Resource.FLOW] == pytest.approx((165.0 - 150.0) / 1.5)
    assert by_resource(racks["r0002"])[Resource.FLOW] == pytest.approx((900.0 - 300.0) / 1.5)


def test_a_missing_rating_is_no_number() -> None:
    inventory = pod(1, more=AIRY)
    bare = replace(inventory, racks={key: replace(rack, rated_power_kw=None) for key, rack in inventory.racks.items()},
                   sites={SITE: replace(inventory.sites[SITE], contract_kw=None)})  # fmt: skip
    network = connect(bare)
    (rack,) = told(bare, loads(network, 100.0), network, Level.RACK).values()
    rating = next(strain for strain in rack.strains if strain.resource is Resource.RATING)
    assert rating.headroom.kind is FigureKind.MISSING and rating.headroom.value is None
    assert rating.unknown == (
        "nobody gives the rated power or contract of r0001", f"nobody gives the rated power or contract of {SITE}",
    )  # fmt: skip
    assert rack.headroom.kind is FigureKind.ESTIMATED and "may be less" in rack.headroom.why


def test_a_rack_without_a_reading_has_no_headroom() -> None:
    inventory = pod(1, more=AIRY)
    network = connect(inventory)
    now = loads(network, 100.0)
    now = replace(now, rack_kw=np.array([np.nan]), cord_kva=now.cord_kva * np.nan, feed_kva=now.feed_kva * np.nan,
                  liquid_kw=np.array([np.nan]), flow_lpm=np.array([np.nan]))  # fmt: skip
    (rack,) = told(inventory, now, network, Level.RACK).values()
    assert rack.headroom.kind is FigureKind.MISSING
    assert {strain.headroom.value for strain in rack.strains} == {None}


def put(inventory: Inventory, now: float, wanted: Wanted) -> Placed:
    network = connect(inventory)
    return place(inventory, network, limits_of(inventory, network, loads(network, now)), wanted, inventory.rows)


def test_free_positions_are_ranked_by_what_is_left_of_what_binds() -> None:
    found = put(pod(4, more=AIRY), 100.0, Wanted(1, 100.0))
    assert [(seat.position, seat.fits, seat.binding, seat.at) for seat in found.seats] == [
        (5, True, Resource.FLOW, "cdu-001"),
        (6, True, Resource.FLOW, "cdu-001"),
    ]
    # 1.493 L/min per kW of the 90 kW that go into liquid: 134.37 of the 300 that are left of 900.
    assert found.seats[0].margin_pct == pytest.approx(100 * (300 - 134.37) / 900, rel=1e-4)


def test_several_racks_use_up_what_they_share() -> None:
    found = put(pod(4, more=AIRY, cdu_lpm=850.0), 100.0, Wanted(2, 100.0))
    assert [seat.position for seat in found.chosen] == [5]
    assert found.stopped is not None and found.stopped.binding is Resource.FLOW
    assert [seat.fits for seat in found.seats] == [True, True], "each of them on its own"


def test_what_redundancy_takes() -> None:
    tight = pod(4, bus_a=850.0, more=AIRY)  # 488.8 kW: 88.8 left after the loss of the other
    double = put(tight, 100.0, Wanted(1, 100.0, Cooling.AIR))
    assert not double.seats[0].fits and double.seats[0].binding is Resource.FAILOVER
    small = put(tight, 100.0, Wanted(1, 88.0, Cooling.AIR))
    assert small.seats[0].fits
    single = put(tight, 100.0, Wanted(1, 100.0, Cooling.AIR, Redundancy.NONE))
    assert not single.seats[0].fits, "who hangs on one feed is in the way of whoever counts on it"


def test_no_redundancy_where_both_ways_come_from_one() -> None:
    joined = pod(4, more=[*AIRY, *say(ThingKind.FEED, "ups", rated_kw=5_000.0, serves=("bus-001-A", "bus-001-B"))])
    assert put(joined, 100.0, Wanted(1, 50.0)).seats[0].why == "its ways all come through ups, so nothing here is 2N"
    assert put(joined, 100.0, Wanted(1, 50.0, redundancy=Redundancy.NONE)).seats[0].fits


def test_what_is_not_known_does_not_fit() -> None:
    (seat, _) = put(pod(4, more=CONTRACT), 100.0, Wanted(1, 10.0)).seats
    assert not seat.fits and seat.unknown == ("nobody gives the cooling by air of H",)


def test_spare_cooling_is_asked_of_the_group() -> None:
    spare = [*AIRY, *say(ThingKind.COOLING, "cdu-001", group="g", n_plus=1), *say(
        ThingKind.COOLING, "cdu-x", group="g", n_plus=1, rated_kw=600.0, flow_lpm_max=900.0, serves=("r0001",)
    )]  # fmt: skip
    assert put(pod(4, more=spare), 100.0, Wanted(1, 50.0, spare_cooling=True)).seats[0].fits
    refused = put(pod(4, more=AIRY), 100.0, Wanted(1, 50.0, spare_cooling=True)).seats[0]
    assert refused.why == "no group with a spare unit cools row H/001"


def test_losing_a_busway_overloads_the_other_and_says_what_to_shed() -> None:
    inventory = pod(4, bus_a=600.0, rated_kw=120.0, more=AIRY)  # 345 kW for hours
    network = connect(inventory)
    now = loads(network, {"r0001": 110.0, "r0002": 100.0, "r0003": 90.0, "r0004": 80.0})
    found = what_if(inventory, network, now, [AssetKey(SITE, "bus-001-A")], [])
    (over,) = found.overloads
    assert over.feed == "bus-001-B"
    assert (over.load_kw, over.before_kw) == pytest.approx((380.0, 190.0))
    assert over.usable_kw == pytest.approx(BUS_KW * 600 / 1_600)
    assert over.fullest_a == pytest.approx(380_000 / (math.sqrt(3) * 415)) and not over.trips
    (shed,) = found.shed
    assert shed.racks == ("r0001",) and shed.excess_kw == pytest.approx(380.0 - BUS_KW * 600 / 1_600)
    assert shed.cap_pct == pytest.approx(100 * shed.excess_kw / 380.0)
    assert found.dark == () and found.hot == () and found.unknown == ()


def test_losing_the_only_cdu_leaves_seconds() -> None:
    inventory = pod(4, more=AIRY)
    network = connect(inventory)
    found = what_if(inventory, network, loads(network, 100.0), [AssetKey(SITE, "cdu-001")], [])
    (hot,) = found.hot
    assert hot.racks == ("r0001", "r0002", "r0003", "r0004") and hot.lost_kw == pytest.approx(360.0)
    assert hot.slowdown_s == pytest.approx((89.0 - 70.0) * 500.0 / 1_000.0)
    assert "500 J/K for want of the product's own" in hot.why


def test_too_little_cooling_warms_the_loop() -> None:
    racks = ("r0001", "r0002", "r0003", "r0004")
    spare = [*AIRY, *say(ThingKind.COOLING, "cdu-001", group="g"),
             *say(ThingKind.COOLING, "cdu-x", group="g", rated_kw=300.0, loop_l=0.0, serves=racks)]  # fmt: skip
    inventory = pod(4, more=spare)
    network = connect(inventory)
    found = what_if(inventory, network, loads(network, 100.0), [AssetKey(SITE, "cdu-001")], [])
    (hot,) = found.hot
    # 360 kW come, 300 go; 250 L of PG25 hold 250 · 1.01447 · 3.9622 = 1,004.9 kJ/K: 3.58 K/min over 19 K.
    assert hot.lost_kw == pytest.approx(60.0)
    assert hot.slowdown_s == pytest.approx(19.0 * 1_004.9 / 60.0, rel=1e-3)
    (shed,) = found.shed
    assert shed.excess_kw == pytest.approx(60.0) and shed.racks == ("r0001",)


def test_racks_that_are_added_count() -> None:
    inventory = pod(4, bus_a=800.0, more=AIRY)
    network = connect(inventory)
    added = [Added(Place(SITE, "H", "001"), 4, 100.0, 0.9)]
    found = what_if(inventory, network, loads(network, 100.0), [AssetKey(SITE, "bus-001-B")], added)
    (over,) = found.overloads
    assert over.feed == "bus-001-A" and over.load_kw == pytest.approx(800.0)
    (hot,) = found.hot
    assert hot.lost_kw == pytest.approx(720.0 - 600.0)


def test_what_is_lost_twice_goes_dark() -> None:
    inventory = pod(4, more=AIRY)
    network = connect(inventory)
    found = what_if(
        inventory, network, loads(network, 100.0), [AssetKey(SITE, "bus-001-A"), AssetKey(SITE, "r0002-B")], []
    )
    assert found.dark == (f"{SITE}/r0002",)


def test_a_cdu_without_power_cools_nothing() -> None:
    inventory = pod(
        4, more=[*AIRY, *say(ThingKind.FEED, "panel", rated_a=100.0, volts=415.0, phases=3, serves=("cdu-001",))]
    )
    network = connect(inventory)
    assert [
        one.group for one in what_if(inventory, network, loads(network, 100.0), [AssetKey(SITE, "panel")], []).hot
    ] == ["cdu-001"]


def test_at_rated_power() -> None:
    network = connect(pod(4))
    full, left = at_rating(network, loads(network, 100.0))
    assert full.rack_kw.tolist() == [120.0] * 4 and left == []
    assert feed_kw(network, full.feed_kva)["bus-001-A"] == pytest.approx(240.0)


def test_redundancy_right_now() -> None:
    inventory = pod(4, more=AIRY)
    network = connect(inventory)
    now = loads(network, 100.0)
    standing = power(network, now, limits_of(inventory, network, now))
    assert {(one.has, one.holds) for one in standing} == {("2N", Holds.YES)}
    assert standing[0].weakest.at == "r0001-A" and standing[0].weakest.margin_pct == pytest.approx(
        100 * (1 - 100 / TAP_KW)
    )

    heavy = loads(network, {"r0001": 150.0, "r0002": 100.0, "r0003": 100.0, "r0004": 100.0})
    standing = power(network, heavy, limits_of(inventory, network, heavy))
    assert [one.holds for one in standing] == [Holds.NO, Holds.YES, Holds.YES, Holds.YES]
    ((_, worst_first),) = halls(standing)
    assert worst_first[0].id == "r0001"

    dead = replace(now, dead=np.array([feed.id == "r0003-B" for feed in network.feeds]))
    third = power(network, dead, limits_of(inventory, network, dead))[2]
    assert (third.has, third.holds, third.weakest.at) == ("N", Holds.NO, "r0003-A")
    assert third.weakest.why == "r0003-B has no power, so this one is alone"


def test_one_feed_behind_both_is_named() -> None:
    inventory = pod(2, more=[*AIRY, *say(ThingKind.FEED, "ups", rated_kw=5_000.0, serves=("bus-001-A", "bus-001-B"))])
    network = connect(inventory)
    now = loads(network, 100.0)
    first = power(network, now, limits_of(inventory, network, now))[0]
    assert (first.has, first.holds, first.weakest.at) == ("N", Holds.NO, "ups")


def test_redundancy_of_cooling() -> None:
    inventory = pod(4, more=AIRY)
    network = connect(inventory)
    now = loads(network, 100.0)
    (alone,) = cooling(network, limits_of(inventory, network, now))
    assert (alone.has, alone.holds, alone.weakest.why) == ("N", Holds.NO, "cdu-001 stands alone")
    spare = [*AIRY, *say(ThingKind.COOLING, "cdu-001", group="g", n_plus=1),
             *say(ThingKind.COOLING, "cdu-x", group="g", n_plus=1, rated_kw=400.0, medium=Cooling.LIQUID)]  # fmt: skip
    inventory = pod(4, more=spare)
    network = connect(inventory)
    for kw, holds in ((100.0, Holds.YES), (112.0, Holds.NO)):  # 0.9 · 4 · 112 = 403.2 of 400 without the larger one
        now = loads(network, kw)
        (group,) = cooling(network, limits_of(inventory, network, now))
        assert (group.has, group.holds) == ("N+1", holds)


def test_stranded_power_adds_up_by_cause() -> None:
    inventory = pod(4, bus_a=1_600.0, cdu_lpm=850.0, more=AIRY)
    network = connect(inventory)
    now = loads(network, 100.0)
    found = stranded(inventory, network, limits_of(inventory, network, now), Wanted(1, 100.0), inventory.rows)
    assert isinstance(found, Stranded)
    # Busways are the heads: 920.07 − 400 free. The CDU leaves 250 L/min, 1.86 racks of 134.37; one whole rack fits.
    assert found.free_kw == pytest.approx(BUS_KW - 400.0)
    assert (found.racks, found.usable_kw) == (1, 100.0)
    racks = {cause: kw / 100.0 for cause, kw in found.by_cause.items()}
    assert racks[Cause.FEEDS] == 0.0
    assert racks[Cause.COOLING] == pytest.approx((BUS_KW - 400.0) / 100 - 240.0 / 90.0)
    assert racks[Cause.FLOW] == pytest.approx(240.0 / 90.0 - 250.0 / 134.37, rel=1e-3)
    assert racks[Cause.SPACE] == 0.0
    assert racks[Cause.SIZE] == pytest.approx(250.0 / 134.37 - 1.0, rel=1e-3)
    assert sum(found.by_cause.values()) == pytest.approx(found.free_kw - found.usable_kw)


def test_a_full_hall_leaves_its_power_for_want_of_space() -> None:
    inventory = pod(4, positions=4, more=AIRY)
    network = connect(inventory)
    now = loads(network, 100.0)
    found = stranded(inventory, network, limits_of(inventory, network, now), Wanted(1, 100.0), inventory.rows)
    assert isinstance(found, Stranded)
    assert found.racks == 0 and found.by_cause[Cause.SPACE] > 0.0
    assert sum(found.by_cause.values()) == pytest.approx(found.free_kw)


def test_worst_is_a_copy() -> None:
    network = connect(pod(2))
    now = loads(network, 100.0)
    before = now.feed_kva.copy()
    assert isinstance(worst(network, now), Worst)
    assert (now.feed_kva == before).all()

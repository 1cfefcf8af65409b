"""What was used day by day, and what there is to grow into."""

from __future__ import annotations

import numpy as np
import pytest

from dcim.capacity.failover import worst
from dcim.capacity.growth import HOURS, Days, Growing, basis, ceiling
from dcim.capacity.headroom import Level, Unit, units
from dcim.capacity.limits import Limits, find_limits
from dcim.capacity.loads import Loads
from dcim.capacity.network import Network, connect
from dcim.core.inventory import Inventory, ThingKind
from dcim.core.plant import Plant, survey
from dcim.core.points import Loop, Point, PointIndex, Side
from tests.capacity import SITE, loads, pod, say

NAN = np.nan


def hours(*days: float) -> np.ndarray:
    return np.repeat(np.array([days], np.float64), HOURS, axis=1)


def test_a_meter_counts_from_its_first_hour_on_and_silence_after_it_is_not_known() -> None:
    days = Days(4)
    days.add(hours(10, 10, 10, 10))
    days.add(hours(NAN, NAN, 5, NAN))
    assert days.highest().tolist()[:3] == [10, 10, 15]
    assert np.isnan(days.highest()[3])
    assert days.standing().tolist() == [1, 1, 2, 2]
    assert days.standing(3).tolist() == [4, 4, 5, 5]


def test_half_a_day_is_enough_and_less_is_none() -> None:
    value = hours(1.0, 1.0)
    value[0, :11] = 7.0
    value[0, 20:24] = NAN
    value[0, 24 + 11 :] = NAN
    days = Days(2)
    days.add(value)
    assert days.highest()[0] == 7.0
    assert np.isnan(days.highest()[1]), "11 hours"


def test_before_anything_was_heard_and_where_something_never_was_nothing_is_known() -> None:
    days = Days(2)
    days.add(hours(NAN, 3))
    assert np.isnan(days.highest()[0]) and np.isnan(days.standing()[0])
    days.add(hours(NAN, NAN))
    assert np.isnan(days.highest()).all()
    assert (days.standing()[1], days.silent) == (1, 1)


def test_meters_may_come_in_pieces() -> None:
    dice = np.random.default_rng(5)
    value = dice.uniform(0.0, 9.0, (7, 3 * HOURS))
    value[dice.random(value.shape) < 0.1] = NAN
    value[2, : 2 * HOURS] = NAN
    whole, pieces = Days(3), Days(3)
    whole.add(value)
    for begin in range(0, 7, 3):
        pieces.add(value[begin : begin + 3])
    np.testing.assert_allclose(whole.highest(), pieces.highest())
    np.testing.assert_array_equal(whole.standing(), pieces.standing())
    assert value.shape == (7, 3 * HOURS) and np.isnan(value[2, 0]), "what is handed over is not changed"


def asked(
    inventory: Inventory, kw: float = 60.0, level: Level = Level.ROW
) -> tuple[Network, Loads, Limits, list[Unit]]:
    network = connect(inventory)
    now = loads(network, kw)
    return network, now, find_limits(inventory, network, now, worst(network, now)), units(inventory, network, level)


def test_what_there_is_to_grow_into() -> None:
    network, now, limits, (row,) = asked(pod())
    cooling = ceiling(network, now, limits, row, Growing.COOLING)
    assert (cooling.used, cooling.value) == (pytest.approx(4 * 60 * 0.9), pytest.approx(600.0))
    assert ceiling(network, now, limits, row, Growing.SPACE).value == 6
    assert ceiling(network, now, limits, row, Growing.SPACE).used == 4
    power = ceiling(network, now, limits, row, Growing.POWER)
    assert power.used == 240 and power.free is not None and power.free > 0
    flow = ceiling(network, now, limits, row, Growing.FLOW)
    assert (flow.value, flow.coverage_pct) == (900.0, 0.0), "its flow is a sum of what its racks say"


def test_one_rack_of_a_group_grows_into_what_the_others_leave() -> None:
    network, now, limits, found = asked(pod(), level=Level.RACK)
    one = ceiling(network, now, limits, found[0], Growing.COOLING)
    assert (one.used, one.free) == (pytest.approx(54.0), pytest.approx(600.0 - 4 * 54.0))
    space = ceiling(network, now, limits, found[0], Growing.SPACE)
    assert space.value is None and "a rack has no free positions" in space.why


def test_an_overloaded_group_leaves_nothing_and_an_unrated_one_is_not_known() -> None:
    network, now, limits, (row,) = asked(pod(cdu_kw=100.0))
    assert ceiling(network, now, limits, row, Growing.COOLING).free == 0.0
    nameless = pod(more=say(ThingKind.COOLING, "c2", serves=("r0001",)))
    network, now, limits, (row,) = asked(nameless)
    told = ceiling(network, now, limits, row, Growing.COOLING)
    assert told.value is None and told.why == "nobody gives the rated kW of each unit of c2"


def plant(*what: tuple[str, str, Loop | None, Side | None]) -> Plant:
    """Points as (asset, quantity, loop, side)."""
    index = PointIndex()
    for asset, quantity, loop, side in what:
        number = index.locate(f"{asset}|{quantity}|{loop}|{side}")
        kind = "CDU" if asset.startswith("cdu") else "Rack"
        index.describe(
            Point(number, index.key(number), SITE, asset, kind, asset, quantity, unit="", loop=loop, side=side)
        )
    return survey(index, {})


LIQUID = ("RackLiquidFlow", "RackLiquidSupplyTemperature", "RackLiquidReturnTemperature")


def test_the_racks_tell_or_else_the_units_that_cool_them_and_no_others() -> None:
    network, _, _, (row,) = asked(pod())
    names = [rack.id for rack in network.racks]
    of_racks = [(name, quantity, None, None) for name in names for quantity in LIQUID]
    of_cdu = [
        ("cdu-001", "LiquidFlow", Loop.PRIMARY, None),
        ("cdu-001", "LiquidFlow", Loop.SECONDARY, None),
        ("cdu-001", "LiquidTemperature", Loop.SECONDARY, Side.SUPPLY),
        ("cdu-001", "LiquidTemperature", Loop.SECONDARY, Side.RETURN),
    ]
    whole = basis(plant(*of_racks, *of_cdu), network, row, Growing.COOLING)
    assert [one.asset.id for one in whole.meters] == names and not whole.lacking
    some = plant(*of_racks[:-3], *of_cdu)
    told = basis(some, network, row, Growing.FLOW)
    assert [(one.asset.id, one.points) for one in told.meters] == [("cdu-001", (len(of_racks) - 3 + 1,))]
    rack = units(pod(), network, Level.RACK)[-1]
    assert basis(some, network, rack, Growing.FLOW).lacking == "nothing measures the coolant of r0004"
    assert basis(plant(*of_cdu), network, row, Growing.POWER).lacking == (
        "nothing measures the power of r0001 and 3 more"
    )
    bare = basis(plant(("r0001", "RackPower", None, None)), network, row, Growing.SPACE)
    assert (len(bare.meters), bare.unmetered, bare.lacking) == (1, 3, "")

"""Meters that measure one thing: which are compared, and how far they are apart."""

from __future__ import annotations

import numpy as np
import pytest

from dcim.app import history
from dcim.capacity.checks import Agreement, compare, pairs
from dcim.capacity.provenance import FigureKind, Period
from dcim.capacity.scopes import Layout, Scope, lay_out
from dcim.capacity.spans import Grid, Lattice
from dcim.core.bus_inventory import said_by_bus
from dcim.core.claims import merge
from dcim.core.plant import survey
from dcim.core.points import Loop, Point, PointIndex, Side
from dcim.core.times import from_us
from dcim.physics.fluids import PG25
from dcim.physics.hydraulics import heat_carried_kw
from dcim.store.memory import MemoryStore
from tests.contract.inside import Inside, inside, value
from tests.contract.test_efficiency_api import metered
from tests.contract.test_recorded_energy import LASTS_S, T0_MS, pod  # noqa: F401  the recording, as a fixture
from tests.contract.test_utilization_api import period

STEPS = 4
SITE = Scope("site", "s")
VALUES = {
    ("BUS", "ActivePower"): 100.0,
    ("TAP-A", "ActivePower"): 60.0,
    ("TAP-B", "ActivePower"): 39.0,
    ("R1", "RackPower"): 60.0,
    ("R2", "RackPower"): 30.0,
    ("CDU", "LiquidFlow"): 200.0,
    ("R1", "RackLiquidFlow"): 110.0,
    ("R2", "RackLiquidFlow"): 90.0,
    ("CDU", "LiquidTemperature supply"): 35.0,
    ("CDU", "LiquidTemperature return"): 45.0,
}
for _rack in ("R1", "R2"):
    VALUES |= {(_rack, "RackLiquidSupplyTemperature"): 35.0, (_rack, "RackLiquidReturnTemperature"): 44.0}
SERVES = {"BUS": ("TAP-A", "TAP-B"), "TAP-A": ("R1",), "TAP-B": ("R2",), "CDU": ("R1", "R2")}


def told(
    scope: Scope = SITE,
    values: dict[tuple[str, str], float] = VALUES,
    serves: dict[str, tuple[str, ...]] = SERVES,
    gap: str = "",
) -> list[Agreement]:
    """gap: of this asset the second half is missing."""
    index = PointIndex()
    for asset, name in values:
        quantity, _, side = name.partition(" ")
        number = index.locate(f"{asset}/{name}")
        kind = "Rack" if asset.startswith("R") else "CDU" if asset == "CDU" else "PowerMeter"
        index.describe(
            Point(
                number, index.key(number), "s", asset, kind, asset, quantity, "",
                loop=Loop.SECONDARY if kind == "CDU" else None, side=Side(side) if side else None,
                serves=serves.get(asset, ()),
            )
        )  # fmt: skip
    plant = survey(index, {})
    layout = lay_out(plant, merge(said_by_bus(plant, {})))
    found = pairs(layout, scope)
    points = sorted({point for pair in found for point in pair.points})
    mean = np.array([[list(values.values())[point]] * STEPS for point in points]).reshape(-1, STEPS)
    for row, point in enumerate(points):
        if plant.points[point].asset == gap:
            mean[row, STEPS // 2 :] = np.nan
    cover = np.where(np.isnan(mean), 0.0, 1.0)
    grid = Grid(Lattice(0, 1_000_000, STEPS), np.ones(STEPS), mean, cover, mean)
    return compare(found, points, grid, Period(from_us(0), from_us(STEPS * 1_000_000)))


def named(found: list[Agreement]) -> dict[str, Agreement]:
    return {f"{one.pair.checked} {'+'.join(key.id for key in one.pair.upper)}": one for one in found}


def test_by_hand() -> None:
    found = named(told())
    assert set(found) == {"power BUS", "power TAP-A", "power TAP-B", "heat CDU", "flow CDU"}
    bus = found["power BUS"]
    assert (bus.upper.value, bus.lower.value) == (100.0, 99.0)
    assert bus.difference_pct.value == pytest.approx(-1.0)
    assert (bus.difference_pct.kind, bus.difference_pct.coverage_pct) == (FigureKind.MEASURED, 100.0)
    assert found["power TAP-A"].difference_pct.value == 0.0
    assert found["power TAP-B"].difference_pct.value == pytest.approx(100 * (30 - 39) / 39)
    racks = sum(heat_carried_kw(lpm, 35.0, 44.0, PG25) for lpm in (110.0, 90.0))
    assert found["heat CDU"].lower.value == pytest.approx(racks)
    assert found["flow CDU"].difference_pct.value == 0.0
    assert next(iter(found)) == "power TAP-B", "the farthest apart first"


def test_a_gap_in_one_meter_is_left_out_of_both_sides() -> None:
    found = named(told(gap="TAP-B"))
    assert found["power BUS"].difference_pct.value == pytest.approx(-1.0)
    assert found["power BUS"].difference_pct.coverage_pct == 50.0
    assert found["power TAP-A"].difference_pct.coverage_pct == 100.0


def test_what_is_not_metered_is_named_and_nothing_is_made_up() -> None:
    found = named(told(serves={**SERVES, "BUS": ("TAP-A", "TAP-B", "TAP-C", "TAP-D")}))
    bus = found["power BUS"]
    assert (bus.difference_pct.value, bus.pair.unmetered) == (None, ("TAP-C", "TAP-D"))
    assert bus.difference_pct.why == "nothing measures TAP-C and 1 more"
    still = named(told(values={**VALUES, ("CDU", "LiquidFlow"): 0.0}))
    assert still["flow CDU"].difference_pct.value is None
    assert still["flow CDU"].difference_pct.why == "CDU says 0 L/min: nothing can be divided by it"
    assert still["flow CDU"].lower.value == 200.0


def test_feeds_that_share_what_hangs_on_them_are_one_side() -> None:
    """Two ways straight to the same racks: which gives what to whom nobody can tell; their sum is the racks'."""
    both = {"TAP-A": ("R1", "R2"), "TAP-B": ("R1", "R2")}
    found = named(told(serves=both))
    assert found["power TAP-A+TAP-B"].upper.value == 99.0
    assert found["power TAP-A+TAP-B"].lower.value == 90.0
    assert "power BUS" not in found, "it serves nobody any more"


@pytest.mark.parametrize(
    ("scope", "names"),
    [
        (Scope("asset", "s", asset="R1"), {"power TAP-A", "heat CDU", "flow CDU"}),
        (Scope("asset", "s", asset="BUS"), {"power BUS"}),
        (Scope("site", "elsewhere"), set()),
        (Scope("hall", "s", "H"), set()),
    ],
)
def test_what_belongs_to_a_scope(scope: Scope, names: set[str]) -> None:
    assert set(named(told(scope))) == names


def test_the_recorded_pod(pod: tuple[Layout, MemoryStore]) -> None:  # noqa: F811
    bare, store = pod
    layout = lay_out(bare.plant, merge(said_by_bus(bare.plant, {})))
    found = pairs(layout, Scope("site", "titan"))
    points = sorted({point for pair in found for point in pair.points})
    of = Period(from_us(T0_MS * 1000), from_us((T0_MS + 1000 * LASTS_S) * 1000))
    agreed = named(compare(found, points, history.read(store, points, of, peaks=False).grid, of))
    rack = agreed["power C-E05-TAP-E1+C-E05-TAP-E2"]
    assert rack.pair.lower[0].id == "Pod1C-E05"
    assert rack.difference_pct.value == pytest.approx(0.0, abs=0.01)
    assert rack.difference_pct.coverage_pct > 90
    flow = agreed["flow C-F00-CDU-05"]
    assert flow.difference_pct.value is None, "its pump stands, and its racks have flow"
    told = [one for name, one in agreed.items() if name.startswith("power C-E-BUS")]
    assert told and all("nothing measures" in one.difference_pct.why for one in told), "five taps are never described"


@pytest.mark.slow
def test_over_the_api() -> None:
    async def scenario(hall: Inside) -> None:
        await metered(hall)
        body = await hall.get(f"/api/v1/capacity/checks?scope=site/titan&{period()}")
        assert (body["total"], body["compared"]) == (1, 0), "the tap of the rack was never read"
        (check,) = body["items"]
        assert (check["checked"], check["upper"], check["lower"]) == ("power", ["asset/titan/TAP"], ["asset/titan/R1"])
        assert check["difference_pct"]["value"] is None and "no step" in check["difference_pct"]["why"]
        for ago in range(600, -1, -50):
            await hall.send(value("PowerMeter", "ActivePower", "tap", 102, ago_s=ago))
        again = await hall.get(f"/api/v1/capacity/checks?scope=asset/titan/R1&{period(9)}")
        (check,) = again["items"]
        assert check["difference_pct"]["value"] == pytest.approx(100 * (100 - 102) / 102, abs=1e-3)
        assert check["difference_pct"]["unit"] == "%"
        problem = (await hall.client.get("/api/v1/capacity/checks?scope=site/nowhere")).json()
        assert (problem["status"], problem["errors"][0]["field"]) == (404, "query.scope")

    inside(scenario)

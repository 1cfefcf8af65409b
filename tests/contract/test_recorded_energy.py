"""A real pod: its racks' power against the tap-offs that feed them, and its CDU's heat against its racks', with how far
they really are apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.codecs.dsx import DsxCodec
from collectors.replay import read
from dcim.app import history
from dcim.capacity.meters import Resource
from dcim.capacity.provenance import FigureKind, Period
from dcim.capacity.scopes import Layout, Scope, counted_twice, lay_out
from dcim.capacity.utilization import Usage, survey, together, usages
from dcim.core.inventory import Inventory
from dcim.core.plant import survey as survey_plant
from dcim.core.points import PointIndex
from dcim.core.ports import Message
from dcim.core.times import from_us
from dcim.core.topology import Medium
from dcim.store.memory import MemoryStore

T0_MS = 1_743_620_423_000
LASTS_S = 99
RACKS = tuple(f"Pod1C-E0{n}" for n in range(2, 7))
TAPS = ("C-E05-TAP-E1", "C-E05-TAP-E2")


@pytest.fixture(scope="module")
def pod(recordings: Path) -> tuple[Layout, MemoryStore]:
    index, store = PointIndex(), MemoryStore()
    said = [
        Message(
            each.topic.encode(),
            each.payload.replace(b"{{timestamp_ms}}", str(T0_MS + round(1000 * each.offset_s)).encode()),
        )
        for each in read(recordings / "dsx" / "dsx_exemplar.csv")
    ]
    store.append(DsxCodec(index, site="titan", bus="bms").decode(said, (T0_MS + 200_000) * 1000).readings)
    return lay_out(survey_plant(index, {}), Inventory()), store


def ask(pod: tuple[Layout, MemoryStore], resource: Resource, *assets: str, total: bool = False) -> list[Usage]:
    layout, store = pod
    of = survey(layout, resource, [Scope("asset", "titan", asset=name) for name in assets])
    of = together(of) if total else of
    period = Period(from_us(T0_MS * 1000), from_us((T0_MS + 1000 * LASTS_S) * 1000))
    return usages(of, history.read(store, of.points, period).grid).usages


def test_a_rack_and_its_two_tap_offs_agree_to_a_hundredth_of_a_percent(pod):
    (rack,) = ask(pod, "power", "Pod1C-E05")
    (taps,) = ask(pod, "power", *TAPS, total=True)
    assert (rack.kind, taps.kind) == (FigureKind.MEASURED, FigureKind.MEASURED)  # they begin within one step
    assert rack.mean == pytest.approx(47.83, abs=0.01)
    assert abs(taps.mean / rack.mean - 1) < 1e-4
    assert rack.coverage_pct > 90


def test_the_racks_that_are_recorded_stay_below_the_busways(pod):
    """The busways feed more racks than the recording has, so what is left is those, and no less than nothing."""
    (racks,) = ask(pod, "power", "Pod1C-E01", *RACKS, total=True)
    (busways,) = ask(pod, "power", "C-E-BUS-E1", "C-E-BUS-E2", total=True)
    assert racks.mean == pytest.approx(214.07, abs=0.1)
    assert abs(busways.mean / racks.mean - 1) < 1e-3


def test_the_liquid_takes_all_but_a_few_percent_of_each_racks_power(pod):
    power = {usage.scope.asset: usage.mean for usage in ask(pod, "power", *RACKS)}
    heat = {usage.scope.asset: usage.mean for usage in ask(pod, "liquid_cooling", *RACKS)}
    shares = {name: heat[name] / power[name] for name in RACKS}
    assert all(0.95 < share < 0.985 for share in shares.values()), shares


def test_the_cdu_that_is_recorded_is_not_the_one_that_carries_the_racks_heat(pod):
    """It says that it serves them, and its secondary pump stands: another one carries them. So the heat of a CDU that
    serves racks is not the heat of these racks, and no figure is made of the one for the other."""
    (cdu,) = ask(pod, "liquid_cooling", "C-F00-CDU-05")
    (racks,) = ask(pod, "liquid_cooling", *RACKS, total=True)
    assert cdu.mean == 0.0
    assert racks.mean == pytest.approx(207.0, abs=0.5)


def test_a_busway_and_a_tap_behind_it_are_found_to_be_one_power(pod):
    layout, _ = pod
    scopes = [Scope("asset", "titan", asset=name) for name in ("C-E-BUS-E1", *TAPS)]
    twice = counted_twice(layout, scopes, Medium.POWER)
    assert twice is not None
    assert (twice.one.asset, twice.other.asset) == ("C-E-BUS-E1", "C-E05-TAP-E1")
    assert counted_twice(layout, scopes[1:], Medium.POWER) is None

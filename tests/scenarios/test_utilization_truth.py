"""What is told of a simulated hall against what is true of it: within 1 %, through bus, codec and store."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import pytest

from collectors.codecs.mixed import MixedCodec
from dcim.app import history
from dcim.capacity.efficiency import Boundary, figures
from dcim.capacity.efficiency import survey as survey_energy
from dcim.capacity.meters import Resource
from dcim.capacity.provenance import Period
from dcim.capacity.scopes import Layout, Scope, groups, lay_out
from dcim.capacity.utilization import Usage, survey, usages
from dcim.core.bus_inventory import said_by_placements
from dcim.core.claims import merge
from dcim.core.plant import survey as survey_plant
from dcim.core.points import PointIndex
from dcim.core.ports import Message
from dcim.core.times import to_us
from dcim.sim.hall import Hall, HallSettings, placements
from dcim.sim.run import simulate
from dcim.sim.sensors import BIAS, DRIFT, FLOW_SHARE, TEMPERATURE_K
from dcim.store.memory import MemoryStore
from tests.scenarios.rig import START

LASTS_S, PACE_S = 1_200, 4.0
SITE = Scope("site", "demo")
PERIOD = Period(START, START + timedelta(seconds=LASTS_S))


class Told:
    """The hall's twenty minutes: what is stored of them, and what was true."""

    def __init__(self, settings: HallSettings, only: str = "") -> None:
        """only: part of the topics that are kept; all of them when left out."""
        self.hall = Hall(settings)
        index, self.store = PointIndex(), MemoryStore()
        codec = MixedCodec(index, site="demo", bus="bms")
        rack_kw, gpu_kw, heat_kw, rise_k = [], [], [], []
        for tick in simulate(self.hall, START, 1, pace_s=PACE_S):
            if tick.at >= PERIOD.end:
                break
            said = [Message(out.topic.encode(), out.payload) for out in tick.messages if only in out.topic]
            self.store.append(codec.decode(said, to_us(tick.at)).readings)
            state = tick.state
            rack_kw.append(state.rack_kw)
            gpu_kw.append(state.gpu_kw.sum(axis=1))
            supply_c = state.pipe_c[self.hall.cdu_of_rack, 2]
            heat_kw.append(state.return_lpm / 60.0 * self.hall.heat_kj_l_k * (state.rack_c - supply_c))
            rise_k.append(float(state.pipe_c[0, 4] - state.pipe_c[0, 0]))
        self.rack_kw, self.gpu_kw, self.heat_kw = np.array(rack_kw), np.array(gpu_kw), np.array(heat_kw)
        self.rise_k = float(np.mean(rise_k))
        """Of the CDU's return over its supply."""
        plant = survey_plant(index, placements(self.hall))
        self.layout: Layout = lay_out(plant, merge(said_by_placements(plant, placements(self.hall))))

    def ask(self, resource: Resource, *scopes: Scope) -> list[Usage]:
        of = survey(self.layout, resource, scopes)
        return usages(of, history.read(self.store, of.points, PERIOD).grid).usages


@pytest.fixture(scope="module")
def told() -> Told:
    return Told(HallSettings(racks=4))


@pytest.fixture(scope="module")
def exact() -> Told:
    """The same hall with meters that have noise, but are not off and do not drift."""
    return Told(HallSettings(racks=4, spread=0.0, flaws=0.0), only="Liquid")


@pytest.mark.slow
def test_power_of_racks_and_of_all(told):
    (site,) = told.ask("power", SITE)
    assert site.mean == pytest.approx(told.rack_kw.sum(axis=1).mean(), rel=0.01)
    low, high = np.quantile(told.rack_kw.sum(axis=1), (0.93, 0.97))  # a job that starts is a step
    assert 0.99 * low <= site.p95 <= 1.01 * high
    racks = told.ask("power", *groups(told.layout, SITE, "rack"))
    for number, usage in enumerate(racks):
        assert usage.scope.asset == told.hall.racks[number]
        assert usage.mean == pytest.approx(told.rack_kw[:, number].mean(), rel=0.01)
        assert usage.coverage_pct > 99
    assert sum(usage.mean or 0 for usage in racks) == pytest.approx(site.mean, rel=1e-6)


def test_what_meters_feed_is_no_more_than_they_carry(told):
    feeds = [Scope("asset", "demo", asset=told.hall.busway(feed)) for feed in range(2)]
    busways = told.ask("power", *feeds)
    (site,) = told.ask("power", SITE)
    assert site.mean <= 1.01 * sum(usage.mean or 0 for usage in busways)
    assert site.mean == pytest.approx(sum(usage.mean or 0 for usage in busways), rel=0.01)


def test_heat_in_the_liquid(told):
    (racks,) = told.ask("liquid_cooling", Scope("row", "demo", "Hall 1", "A"))
    row = [number for number, name in enumerate(told.hall.row_of_rack) if name == "A"]
    assert racks.mean == pytest.approx(told.heat_kw[:, row].sum(axis=1).mean(), rel=0.01)
    all_racks = told.ask("liquid_cooling", *groups(told.layout, SITE, "rack"))
    assert sum(usage.mean or 0 for usage in all_racks) == pytest.approx(told.heat_kw.sum(axis=1).mean(), rel=0.01)


@pytest.mark.slow
def test_heat_at_the_cdu_is_right_to_a_fifth_of_a_percent_where_its_meters_are(exact):
    """So density, heat capacity, averaging and sampling take next to nothing of the 1 %: the rest is the meters'."""
    (of_cdu,) = exact.ask("liquid_cooling", SITE)
    assert of_cdu.mean == pytest.approx(exact.heat_kw.sum(axis=1).mean(), rel=0.002)


def test_heat_at_one_cdu_is_as_right_as_its_three_meters(told):
    """Noise averages out over twenty minutes; what a meter is off by, and how far it has drifted, does not."""
    (of_cdu,) = told.ask("liquid_cooling", SITE)
    stays = math.hypot(BIAS, DRIFT)
    sigma = math.hypot(stays * FLOW_SHARE, math.sqrt(2.0) * stays * TEMPERATURE_K / told.rise_k)
    assert 0.005 < sigma < 0.01, "so one CDU in six is off by more than 1 %"
    assert of_cdu.mean == pytest.approx(told.heat_kw.sum(axis=1).mean(), rel=2.0 * sigma)


@pytest.mark.slow
def test_gpus(told):
    (power,) = told.ask("gpu_power", SITE)
    assert power.mean == pytest.approx(told.gpu_kw.sum(axis=1).mean(), rel=0.01)


@pytest.mark.slow
def test_efficiency(told):
    busways = tuple(told.hall.busway(feed) for feed in range(2))
    of = survey_energy(told.layout, Boundary(SITE, busways))
    past = history.read(told.store, of.points, PERIOD, peaks=False)
    found = {one.name: one.figure for one in figures(of, past.grid, PERIOD)}
    it, compute = told.rack_kw.sum(), told.gpu_kw.sum()
    assert found["PUE"].value == pytest.approx(1.0, rel=0.01), "nothing but racks is behind the busways"
    assert found["ITUE"].value == pytest.approx(it / compute, rel=0.01)
    assert found["TUE"].value == pytest.approx(it / compute, rel=0.01)
    assert found["it_energy"].value == pytest.approx(it * PACE_S / 3600, rel=0.01)
    assert found["liquid_share"].value == pytest.approx(told.heat_kw.sum() / it, rel=0.01)

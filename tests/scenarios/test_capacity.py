"""Capacity against the simulated hall, which knows the truth: what is carried, what a loss does, how soon it is hot.

Meters are as good as bought (spread 1) but without dropouts; a figure agrees when it is within 1 % of the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from collectors.codecs.mixed import MixedCodec
from dcim.app.planning import Picture, Planning
from dcim.capacity.failover import lose
from dcim.capacity.redundancy import Holds, power
from dcim.capacity.what_if import what_if
from dcim.core.assets import AssetKey
from dcim.core.claims import Claim
from dcim.core.inventory import Named, Origin, ThingKind
from dcim.core.live import Latest
from dcim.core.plant import survey
from dcim.core.points import PointIndex
from dcim.core.ports import Message
from dcim.core.times import to_us
from dcim.sim.cooling import FlowLost
from dcim.sim.hall import Hall, HallSettings, placements
from dcim.sim.power import FeedLost
from dcim.sim.run import simulate
from dcim.sim.state import State
from dcim.sim.timetable import Event, Timetable
from tests.scenarios.rig import START

WITHIN = 0.01
HALL = Hall(HallSettings(racks=4, hosts_per_rack=3, gpus_per_host=4, gpu_power_kw=8.0, flaws=0.0, spread=1.0))


@dataclass
class Moment:
    at_s: float
    state: State
    picture: Picture


def played(hall: Hall, lasts_s: float, fault: Event | None = None, looks: tuple[float, ...] = ()) -> Iterator[Moment]:
    """The hall, with a picture of it at each of these seconds."""
    site = hall.settings.site
    index, latest = PointIndex(), Latest()
    codec = MixedCodec(index, site=site, bus="bms")
    said = [
        Claim(Named(ThingKind.COOLING, site, cdu, field), value, Origin.TOML)
        for cdu in hall.cdus
        for field, value in (("flow_lpm_max", 1_000.0), ("loop_l", 250.0))
    ]
    said += [
        Claim(Named(ThingKind.RACK, site, rack, field), value, Origin.TOML)
        for rack in hall.racks
        for field, value in (("liquid_share", 0.96), ("gpu_product", "X"))
    ]
    said.append(Claim(Named(ThingKind.PRODUCT, "", "X", "heat_capacity_j_k"), 760.0, Origin.TOML))
    said.append(Claim(Named(ThingKind.SITE, site, site, "contract_kw"), 600.0, Origin.TOML))
    at, plant = START, survey(index, {})
    planning = Planning(said, placements(hall), lambda: plant, lambda: latest, lambda: at)
    timetable = Timetable((fault,)) if fault else Timetable()
    due = list(looks)
    for tick in simulate(hall, START, 1, timetable=timetable):
        at = tick.at
        at_s = (at - START).total_seconds()
        latest.take(
            codec.decode([Message(m.topic.encode(), m.payload) for m in tick.messages], to_us(at)).readings, to_us(at)
        )
        if plant.version != index.version:
            plant = survey(index, placements(hall))
        if due and at_s >= due[0]:
            due.pop(0)
            yield Moment(at_s, tick.state, planning.picture())
        if at_s >= lasts_s:
            return


@pytest.mark.slow
def test_loads_and_limits_are_the_truth() -> None:
    (moment,) = played(HALL, 120.0, looks=(120.0,))
    loads, network, state = moment.picture.loads, moment.picture.network, moment.state
    assert [rack.id for rack in network.racks] == list(HALL.racks)
    assert loads.rack_measured.all() and loads.feed_measured.all()
    assert loads.rack_kw == pytest.approx(state.rack_kw, rel=WITHIN)
    # kW by phase of each busway: apparent power times the power factor that the tap shows.
    for feed, name in enumerate("AB"):
        number = network.feed_of[AssetKey(HALL.settings.site, HALL.busway(feed))]
        truth = (state.rack_kw[:, None] * state.power_share[:, :, feed].T).sum(axis=0)
        assert loads.feed_kva[number] * HALL.POWER_FACTOR == pytest.approx(truth, rel=WITHIN), name
    rating = next(
        one for one in moment.picture.limits.limits if one.resource == "rating" and one.at == HALL.settings.site
    )
    assert rating.load == pytest.approx(float(state.rack_kw.sum()), rel=WITHIN)


@pytest.mark.slow
def test_heat_is_the_truth_over_a_minute() -> None:
    moments = list(played(HALL, 120.0, looks=tuple(np.arange(60.0, 121.0).tolist())))
    truth = [
        moment.state.return_lpm.sum()
        / 60.0
        * HALL.heat_kj_l_k
        * (moment.state.pipe_c[0, 4] - moment.state.pipe_c[0, 0])
        for moment in moments
    ]
    # At 3 K one reading is good to 3 %; that is noise, and a minute takes it out.
    told = [moment.picture.loads.group_kw[0] for moment in moments]
    assert float(np.mean(told)) == pytest.approx(float(np.mean(truth)), rel=WITHIN)


@pytest.mark.slow
def test_what_is_foretold_of_a_lost_feed_is_what_happens() -> None:
    lost = Event(60.0, 600.0, (FeedLost(HALL.busway(0)),))
    before, after = played(HALL, 75.0, lost, looks=(58.0, 75.0))
    site = HALL.settings.site
    told = what_if(
        before.picture.inventory, before.picture.network, before.picture.loads, [AssetKey(site, HALL.busway(0))], []
    )
    network = before.picture.network
    foretold = lose(network, before.picture.loads, [network.feed_of[AssetKey(site, HALL.busway(0))]]).feed_kva
    truth = after.state.rack_kw[:, None] * after.state.power_share[:, :, 1].T  # rack × phase
    # The work goes on, so racks draw about what they drew; the load is compared at the same draw.
    drift = after.state.rack_kw / before.state.rack_kw
    for rack, name in enumerate(HALL.racks):
        number = network.feed_of[AssetKey(site, HALL.tap(rack, 1))]
        assert foretold[number] * HALL.POWER_FACTOR * drift[rack] == pytest.approx(truth[rack], rel=WITHIN), name
    assert told.dark == () and told.overloads == ()
    worst = before.picture.worst
    number = network.feed_of[AssetKey(site, HALL.busway(1))]
    assert network.feeds[int(worst.by[number])].id == HALL.busway(0)

    standing = power(before.picture.network, before.picture.loads, before.picture.limits)
    assert {(one.has, one.holds) for one in standing} == {("2N", Holds.YES)}
    gone = power(after.picture.network, after.picture.loads, after.picture.limits)
    assert {(one.has, one.holds) for one in gone} == {("N", Holds.NO)}


@pytest.mark.slow
def test_small_breakers_are_told_before_a_feed_is_lost() -> None:
    hall = Hall(replace(HALL.settings, breaker_share=0.25))
    (moment,) = played(hall, 60.0, looks=(60.0,))
    standing = power(moment.picture.network, moment.picture.loads, moment.picture.limits)
    over = 3.0 * moment.state.rack_kw[:, None] * moment.state.power_share.sum(axis=2).T  # by rack and phase, all on one
    usable_kw = (
        np.sqrt(3.0)
        * hall.settings.voltage_v
        * hall.breakers_a[2 : 2 + len(hall.racks)]
        * 0.8
        * hall.POWER_FACTOR
        / 1e3
    )
    truth = over.max(axis=1) > usable_kw
    assert truth.any()
    for rack, one in enumerate(standing):
        if truth[rack]:
            assert one.holds is Holds.NO


@pytest.mark.slow
def test_how_soon_gpus_slow_down_without_flow() -> None:
    lost = Event(60.0, 600.0, (FlowLost(HALL.cdus[0]),))
    moments = list(played(HALL, 90.0, lost, looks=(60.0, *np.arange(61.0, 90.0).tolist())))
    before = moments[0].picture
    (hot,) = what_if(
        before.inventory, before.network, before.loads, [AssetKey(HALL.settings.site, HALL.cdus[0])], []
    ).hot
    reached = next(m.at_s for m in moments if m.state.die_c.max() >= HALL.SLOWDOWN_C) - 60.0
    assert hot.slowdown_s is not None
    # Adiabatic, from whole-degree temperatures: the pumps run down for a second or two, and dies lead their plates.
    assert hot.slowdown_s == pytest.approx(reached, abs=3.0)

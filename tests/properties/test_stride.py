"""The long stride against the short step: the same plant, the same loads, ten seconds at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from dcim.physics.heat import counterflow_effectiveness
from dcim.sim.faults import (
    AirInLoop,
    BranchBlocked,
    Burst,
    ExchangerLeak,
    FacilityWater,
    Fault,
    FeedLost,
    FittingLeak,
    FlowLost,
    LoadStep,
    PinholeLeak,
    PowerCap,
    PumpTrip,
    SetpointChange,
    ValveHunting,
    ValveStuck,
)
from dcim.sim.hall import Floats, Hall, HallSettings
from dcim.sim.plant import _exchanger, steady, step, stored_in_coolant_kj, stored_in_racks_kj, stride
from dcim.sim.state import Effects, Load, State
from dcim.sim.workload import Workload

HALL = Hall(HallSettings())
CDU = "H1-CDU-1"
WORK = Workload(HALL, 3)
Way = Callable[[Hall, State, Load, Effects, float], State]

READ = {
    "supply": lambda state: state.pipe_c[:, 0],
    "return": lambda state: state.pipe_c[:, 4],
    "die": lambda state: state.die_c,
    "flow": lambda state: 100.0 * state.return_lpm / HALL.settings.rack_flow_lpm,
    "level": lambda state: state.tank_l,
    "suction": lambda state: state.suction_kpa,
    "power": lambda state: state.rack_kw,
}
"""What is compared: °C, °C, °C, % of the design flow, L, kPa, kW."""


def play(way: Way, faults: Sequence[Fault], lasts_s: float, until_s: float = 280.0) -> list[State]:
    """States every ten seconds, with faults from 100 s until until_s."""
    state, none = steady(HALL, WORK.at(0.0)), Effects.none(HALL)
    states = []
    for at_s in np.arange(0.0, lasts_s, 10.0).tolist():
        effects = none
        for fault in faults if 100.0 <= at_s < until_s else ():
            effects = fault.act(HALL, effects, at_s - 100.0)
        state = way(HALL, state, WORK.at(at_s), effects, 10.0)
        states.append(state)
    return states


def differences(faults: Sequence[Fault], lasts_s: float = 400.0) -> dict[str, Floats]:
    """Of the long stride from the short step, in each moment."""
    short, long = play(step, faults, lasts_s), play(stride, faults, lasts_s)
    return {
        name: np.array([np.abs(read(a) - read(b)).max() for a, b in zip(short, long, strict=True)])
        for name, read in READ.items()
    }


# Tolerances: the largest difference of any moment in °C, °C, °C, %, L, kPa, kW. Where effects themselves change within
# ten seconds (air, a hunting valve, water that warms up) both hold them for ten, and react to that at other instants.
QUIET = {"supply": 0.05, "return": 0.05, "die": 0.05, "flow": 0.01, "level": 0.01, "suction": 0.1, "power": 0.01}
LIVELY = {"supply": 0.8, "return": 0.25, "die": 1.0, "flow": 2.0, "level": 0.05, "suction": 0.6, "power": 0.01}


@pytest.mark.parametrize(
    ("faults", "tolerances"),
    [
        ([], QUIET),
        ([LoadStep(CDU, -0.6)], LIVELY),
        pytest.param([PinholeLeak("H1-A01", 0.1)], QUIET | {"suction": 0.3}, marks=pytest.mark.slow),
        pytest.param([ExchangerLeak(CDU, 0.05)], QUIET | {"suction": 0.3}, marks=pytest.mark.slow),
        pytest.param([PowerCap("H1-A02", 0.4)], QUIET | {"supply": 0.1}, marks=pytest.mark.slow),
        pytest.param(
            [BranchBlocked("H1-A02", 2.0, over_s=50.0)], QUIET | {"flow": 0.3, "die": 0.1}, marks=pytest.mark.slow
        ),
        pytest.param([FeedLost("H1-BUS-A")], QUIET, marks=pytest.mark.slow),
        pytest.param([ValveStuck(CDU), LoadStep(CDU, -0.6)], LIVELY, marks=pytest.mark.slow),
        pytest.param([SetpointChange(CDU, 3.0)], LIVELY, marks=pytest.mark.slow),
        pytest.param([FacilityWater(CDU, 8.0)], LIVELY, marks=pytest.mark.slow),
        pytest.param([ValveHunting(CDU, 2.0, 120.0)], LIVELY, marks=pytest.mark.slow),
        pytest.param([AirInLoop(CDU, 8.0)], LIVELY, marks=pytest.mark.slow),
        pytest.param([FittingLeak("H1-A02", 3.0, 30.0)], LIVELY, marks=pytest.mark.slow),
        pytest.param([PumpTrip(CDU, 1)], LIVELY, marks=pytest.mark.slow),
    ],
    ids=lambda value: "+".join(fault.kind for fault in value) or "none" if isinstance(value, list) else "",
)
def test_a_long_stride_is_near_the_short_steps(faults: list[Fault], tolerances: dict[str, float]) -> None:
    found = differences(faults)
    assert {name: largest for name, far in found.items() if (largest := far.max()) > tolerances[name]} == {}


@pytest.mark.slow
@pytest.mark.parametrize("fault", [FlowLost(CDU), Burst("H1-A03", 60.0)], ids=lambda fault: fault.kind)
def test_what_is_over_within_seconds_is_stepped_through(fault: Fault) -> None:
    """While it lasts the two are the same; how fast GPUs recover afterwards hangs on the instant of their restart."""
    short, long = play(step, [fault], 200.0), play(stride, [fault], 200.0)
    for a, b in zip(short[10:], long[10:], strict=True):
        np.testing.assert_allclose(b.return_lpm, a.return_lpm, atol=0.5)
        np.testing.assert_allclose(b.die_c, a.die_c, atol=0.5)
        np.testing.assert_array_equal(b.gpu_off, a.gpu_off)


def test_a_stride_of_any_length_conserves_as_well() -> None:
    start = steady(HALL, WORK.at(0.0))
    for dt_s in (3.0, 10.0, 47.0):
        state = start
        for number in range(round(200 / dt_s)):
            effects = LoadStep(CDU, -0.5).act(HALL, Effects.none(HALL), 0.0)
            state = stride(HALL, state, WORK.at(number * dt_s), effects, dt_s)
        passed = state.account
        in_racks = stored_in_racks_kj(HALL, state) - stored_in_racks_kj(HALL, start)
        given = passed["to_air_kj"] + passed["to_coolant_kj"] + in_racks
        np.testing.assert_allclose(passed["drawn_kj"], given, rtol=1e-9)
        in_loop = stored_in_coolant_kj(HALL, state) - stored_in_coolant_kj(HALL, start)
        breathed = HALL.heat_kj_l_k * (state.tank_l - start.tank_l) * state.tank_c
        np.testing.assert_allclose(
            passed["to_coolant_kj"] - passed["to_facility_kj"], in_loop - breathed, atol=0.002 * passed["drawn_kj"][0]
        )


def test_a_stride_does_not_overshoot_in_a_hall_of_short_pipes() -> None:
    hall = Hall(HallSettings(loop_l_per_rack=12.0))
    work = Workload(hall, 3)
    state = steady(hall, work.at(0.0))
    for number in range(40):
        effects = LoadStep(CDU, -0.8).act(hall, Effects.none(hall), 0.0)
        state = stride(hall, state, work.at(10.0 * number), effects, 10.0)
        assert state.pipe_c.min() > 30.0 and state.pipe_c.max() < 45.0
    assert state.pipe_c[0, 0] == pytest.approx(35.0, abs=0.3)


def test_the_exchanger_is_a_counterflow_one() -> None:
    exchange = _exchanger(HALL, Effects.none(HALL), np.array([1432.0]), np.array([27.0]))
    for valve in (0.1, 0.3, 0.599, 0.6, 0.601, 1.0):
        exchanged_kw, primary_lpm, out_c = exchange(np.array([valve]), np.array([45.0]))
        loop, primary = 1432.0 / 60.0 * HALL.heat_kj_l_k, primary_lpm / 60.0 * HALL.facility_kj_l_k
        small, large = np.minimum(loop, primary), np.maximum(loop, primary)
        films = (1432.0 / HALL.design_lpm) ** -0.7 + (primary_lpm / HALL.primary_design_lpm) ** -0.7
        share = counterflow_effectiveness(2.0 * HALL.exchanger_kw_k / films / small, small / large)
        np.testing.assert_allclose(exchanged_kw, share * small * 18.0, rtol=1e-5)
        np.testing.assert_allclose(primary * (out_c - 27.0), exchanged_kw, rtol=1e-12)

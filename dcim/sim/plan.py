"""A plan of faults for a span of time: what happens where and when, by chance and by seed.

Every kind that is asked for is there, at least half of the events are no faults, and events can be told apart: in one
loop only one thing happens at a time, but for small things beside one that takes days, and nothing that befalls the
whole hall begins within an hour of anything else.

Lives here: the choice. Not here: what the kinds are and how bad they get (faults.py), what they do."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from dcim.core.errors import Permanent
from dcim.sim.fault import DAY_S, HOUR_S, Fault
from dcim.sim.faults import KINDS, Filling, PumpChangeover, PumpTrip
from dcim.sim.hall import Hall
from dcim.sim.leaks import Burst, FittingLeak
from dcim.sim.routine import QuickConnectSwap
from dcim.sim.timetable import Event, Timetable
from dcim.sim.workload import dice as chance

CALM_S = 3 * HOUR_S
"""The first hours are an ordinary day, for whoever has to learn what that is; and so is the last one."""
APART_S = 0.5 * HOUR_S
"""Between the end of one thing and the beginning of the next in one loop: time to come to rest."""
SLOW_S = 0.75 * DAY_S
"""What lasts longer is slow: it grows over days, and small things may happen beside it."""
FILL_AFTER_S = (600.0, 1_800.0)
"""So long after a leak is repaired somebody fills up what was lost."""
TRIES = 400
LOSES = (FittingLeak.kind, Burst.kind, QuickConnectSwap.kind)
"""Kinds after which the reservoir is filled up."""
SMALL = frozenset({"load_step", "power_cap", "temperature_bias", "flow_meter", "rope_fault", "tray_drip", "phase_lost"})
"""Kinds that do not hide what is slow, nor does that hide them."""


@dataclass(slots=True)
class _Placed:
    onset_s: float
    lasts_s: float
    fault: Fault
    loops: frozenset[int]
    """CDUs whose loops it befalls; all of them for what befalls the hall."""

    @property
    def ends_s(self) -> float:
        return self.onset_s + self.lasts_s

    @property
    def slow(self) -> bool:
        return self.lasts_s > SLOW_S


def plan(hall: Hall, seed: int, span_s: float, kinds: Iterable[str] | None = None, grid_s: float = 10.0) -> Timetable:
    """A timetable for span_s seconds with every one of these kinds (all of the catalogue when None; the kinds that are
    no faults come with them in any case), in this hall, by this seed. Onsets and ends fall on multiples of grid_s.

    Raises Permanent for a kind that there is none of, and where the span is too short for all of it.
    """
    chosen = list(KINDS) if kinds is None else list(dict.fromkeys(kinds))
    for kind in chosen:
        if kind not in KINDS:
            raise Permanent("there is no such kind of fault", where=kind, todo=f"Choose from {', '.join(KINDS)}.")
    dice = chance(seed, "plan")
    harmful = [kind for kind in chosen if KINDS[kind].harmful]
    harmless = [kind for kind in chosen if not KINDS[kind].harmful]
    looks = harmless or [kind for kind, fault in KINDS.items() if not fault.harmful]
    # A long span has room for each fault more than once; what is no fault is at least as frequent.
    rounds = max(1, round(span_s / (30 * DAY_S)))
    wanted = harmful * rounds
    wanted += [looks[number % len(looks)] for number in range(max(len(wanted) + 2, len(harmless)))]
    wanted = [kind for kind in wanted if kind != Filling.kind]  # these follow what has lost something
    placing = _place_all(hall, dice, span_s, grid_s, wanted)
    placing.fill_up()
    placing.settle_pumps()
    events = sorted(placing.placed, key=lambda one: one.onset_s)
    return Timetable(tuple(Event(one.onset_s, one.lasts_s, (one.fault,)) for one in events))


def _place_all(hall: Hall, dice: np.random.Generator, span_s: float, grid_s: float, kinds: list[str]) -> _Placing:
    """A place for each; where there is no room the next attempt lets things be shorter. Raises Permanent."""
    for shrink in (1.0, 0.7, 0.5, 0.35, 0.25, 0.15, 0.1):
        placing = _Placing(hall, dice, span_s, grid_s, shrink)
        # The longest first: what is short finds room between.
        stuck = next((k for k in sorted(kinds, key=lambda k: -KINDS[k].lasts_s[1]) if not placing.place(k)), None)
        if stuck is None:
            return placing
    raise Permanent(
        f"{span_s / DAY_S:g} days have no room for a {stuck} beside {len(placing.placed)} of {len(kinds)} events",
        where="plan of faults",
        todo="Ask for more days, more CDUs, or fewer kinds.",
    )


class _Placing:
    """What has found its place so far."""

    def __init__(
        self, hall: Hall, dice: np.random.Generator, span_s: float, grid_s: float, shrink: float = 1.0
    ) -> None:
        self.hall, self.dice, self.span_s, self.grid_s, self.shrink = hall, dice, span_s, grid_s, shrink
        self.placed: list[_Placed] = []

    def place(self, kind: str) -> bool:
        """One more of a kind, if there is room."""
        fault_type, dice = KINDS[kind], self.dice
        room_s = self.span_s - CALM_S - HOUR_S
        least_s = min(120.0, fault_type.lasts_s[0])
        shortest_s, longest_s = (min(max(self.shrink * s, least_s), 0.3 * room_s) for s in fault_type.lasts_s)
        if shortest_s < least_s:
            return False
        for _ in range(TRIES):
            lasts_s = self._on_grid(math.exp(dice.uniform(math.log(shortest_s), math.log(longest_s))))
            places = fault_type.places(self.hall)
            place = places[int(dice.integers(len(places)))]
            onset_s = self._on_grid(dice.uniform(CALM_S, self.span_s - HOUR_S - lasts_s))
            one = _Placed(onset_s, lasts_s, fault_type.draw(self.hall, dice, place, lasts_s), self._loops(kind, place))
            if all(self._told_apart(one, other) for other in self.placed):
                self.placed.append(one)
                return True
        return False

    def fill_up(self) -> None:
        """Somebody fills up after everything that has lost something."""
        for loss in [one for one in self.placed if one.fault.kind in LOSES]:
            after_s = float(self.dice.uniform(*FILL_AFTER_S))
            begins_s = loss.ends_s if loss.fault.kind != QuickConnectSwap.kind else loss.ends_s - APART_S
            (loop,) = loss.loops
            filling = Filling(self.hall.cdus[loop])
            lasts_s = self._on_grid(float(self.dice.uniform(300.0, 600.0)))
            self.placed.append(_Placed(self._on_grid(begins_s + after_s), lasts_s, filling, loss.loops))

    def settle_pumps(self) -> None:
        """Trips and changeovers are of the pump that is on duty by then, or nobody would notice."""
        duty = dict.fromkeys(range(len(self.hall.cdus)), 1)
        for one in sorted(self.placed, key=lambda one: one.onset_s):
            (loop, *_) = one.loops
            if isinstance(one.fault, PumpTrip):
                one.fault = replace(one.fault, pump=duty[loop])
            elif isinstance(one.fault, PumpChangeover):
                one.fault = replace(one.fault, to_pump=3 - duty[loop])
            else:
                continue
            duty[loop] = 3 - duty[loop]

    def _told_apart(self, one: _Placed, other: _Placed) -> bool:
        """Whether the two can be told apart."""
        if not one.loops & other.loops:
            return True
        everywhere = len(self.hall.cdus) > 1 and len(one.loops | other.loops) == len(self.hall.cdus)
        gap_s = HOUR_S if everywhere else APART_S
        if one.fault.kind in LOSES or other.fault.kind in LOSES:
            gap_s += FILL_AFTER_S[1] + 600.0  # room for the filling, too
        apart = one.onset_s >= other.ends_s + gap_s or other.onset_s >= one.ends_s + gap_s
        if apart or one.slow == other.slow:
            return apart
        quick = other if one.slow else one
        return quick.fault.kind in SMALL or len(quick.loops) == len(self.hall.cdus) > 1

    def _loops(self, kind: str, place: str) -> frozenset[int]:
        hall = self.hall
        if KINDS[kind].place_field == "tap":
            place = place.rsplit("-TAP-", 1)[0]
        if place in hall.racks:
            return frozenset({int(hall.cdu_of_rack[hall.racks.index(place)])})
        if place in hall.cdus:
            return frozenset({hall.cdus.index(place)})
        return frozenset(range(len(hall.cdus)))

    def _on_grid(self, seconds: float) -> float:
        return round(seconds / self.grid_s) * self.grid_s

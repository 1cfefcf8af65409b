"""Timetables: what happens when, as data, and the truth about it that detectors are judged by.

Lives here: events, rounds, truths, and the demo's timetable. Not here: what a fault does (faults.py)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from dcim.core.errors import Permanent
from dcim.sim.faults import BranchBlocked, Fault, Filling, FittingLeak, LoadStep, PumpTrip, TemperatureBias
from dcim.sim.hall import Hall
from dcim.sim.state import Effects


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens in every round, in force for onset_s ≤ time < onset_s + lasts_s of it."""

    onset_s: float
    lasts_s: float
    turns: tuple[Fault, ...]
    """One a round, in turn, and then from the first again."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What really happened, for judging who claims to have seen it. Instants are UTC."""

    kind: str
    place: str
    harmful: bool
    onset: datetime
    detectable: datetime
    """From here on a perfect watcher could know; never after `end`."""
    end: datetime
    """When it stops acting. What it leaves behind (a low level, a wet rope, another pump on duty) may stay longer."""
    fault: Fault
    maintenance: bool = False
    """Whether somebody is at work there, and a work order says so."""
    severity: float | None = None
    severity_unit: str = ""


@dataclass(frozen=True, slots=True)
class Timetable:
    """Events of one round, which begins anew every round_s seconds; None: there is one round only. Raises Permanent for
    events that would not fit into a round. Time is in seconds since the simulation's start."""

    events: tuple[Event, ...] = ()
    round_s: float | None = None

    def __post_init__(self) -> None:
        for event in self.events:
            ends_s = event.onset_s + event.lasts_s
            if not event.turns or event.onset_s < 0 or event.lasts_s <= 0 or ends_s > (self.round_s or math.inf):
                raise Permanent(
                    f"an event from {event.onset_s:g} to {ends_s:g} s does not fit into a round of {self.round_s} s",
                    where="timetable",
                    todo="Let it begin at 0 or later, last, end within the round, and have a turn.",
                )

    def effects(self, hall: Hall, time_s: float) -> Effects:
        """What acts on the plant at an instant."""
        effects = Effects.none(hall)
        number, into_s = divmod(time_s, self.round_s) if self.round_s else (0.0, time_s)
        for event in self.events:
            if event.onset_s <= into_s < event.onset_s + event.lasts_s:
                fault = event.turns[int(number) % len(event.turns)]
                effects = fault.act(hall, effects, into_s - event.onset_s)
        return effects

    def truths(self, hall: Hall, start: datetime, until_s: float) -> list[Truth]:
        """What happens with an onset before until_s, in the order of onset."""
        told = [
            Truth(
                kind=fault.kind,
                place=fault.place,
                harmful=fault.harmful,
                onset=start + timedelta(seconds=onset_s),
                detectable=start + timedelta(seconds=onset_s + min(fault.detectable_after_s(hall), lasts_s)),
                end=start + timedelta(seconds=onset_s + lasts_s),
                fault=fault,
                maintenance=fault.maintenance,
                severity=fault.severity,
                severity_unit=fault.severity_of.unit if fault.severity_of else "",
            )
            for onset_s, lasts_s, fault in self._occurrences(until_s)
        ]
        return sorted(told, key=lambda truth: truth.onset)

    def _occurrences(self, until_s: float) -> Iterator[tuple[float, float, Fault]]:
        for number in range(math.ceil(until_s / self.round_s) if self.round_s else 1):
            for event in self.events:
                onset_s = number * (self.round_s or 0.0) + event.onset_s
                if onset_s < until_s:
                    yield onset_s, event.lasts_s, event.turns[number % len(event.turns)]


def demo(hall: Hall) -> Timetable:
    """Half an hour that shows what there is to see, again and again: after 75 s a fitting at a rack lets go, wets the
    rope 55 s later and is repaired after five minutes, and the reservoir is filled up; a training job halts for two
    minutes, which is no fault; a pump trips and the standby takes over; a branch of a rack blocks; a temperature sensor
    is off. Each round takes other racks, and the pump that is on duty by then."""
    racks, first = hall.racks, len(hall.racks) // 2 + 1

    def turn(ahead: int) -> list[int]:
        return [(first + ahead + number) % len(racks) for number in range(len(racks))]

    leaks = tuple(FittingLeak(racks[rack], flow_lpm=2.0, rope_s=55.0) for rack in turn(0))
    fillings = tuple(Filling(hall.cdus[int(hall.cdu_of_rack[rack])]) for rack in turn(0))
    blocked = tuple(BranchBlocked(racks[rack], more=2.0, over_s=60.0) for rack in turn(2))
    biased = tuple(TemperatureBias(racks[rack], bias_k=1.5) for rack in turn(5))
    return Timetable(
        (
            Event(75.0, 300.0, leaks),
            Event(465.0, 180.0, fillings),
            Event(720.0, 120.0, (LoadStep(hall.cdus[0], change=-0.5),)),
            Event(960.0, 180.0, tuple(PumpTrip(hall.cdus[0], pump) for pump in (1, 2))),
            Event(1_230.0, 240.0, blocked),
            Event(1_530.0, 240.0, biased),
        ),
        round_s=1_800.0,
    )

"""Timetables: what happens when, as data, and the truth about it that detectors are judged by.

Lives here: events, rounds, truths, and the demo's timetable. Not here: what a fault does (faults.py)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from dcim.core.errors import Permanent
from dcim.sim.faults import Fault, Filling, FittingLeak, PumpTrip
from dcim.sim.hall import Hall
from dcim.sim.plant import Effects


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
    fault: Fault


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
                effects = event.turns[int(number) % len(event.turns)].act(hall, effects)
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
    """Twenty minutes that show what there is to see, again and again: a pump trips after 40 s and the standby takes
    over; a fitting at a rack lets go after 75 s, wets the rope 40 s later, is repaired after five minutes, and the
    reservoir is filled up; then quiet. Each round takes another rack, and the pump that is on duty by then."""
    first = len(hall.racks) // 2 + 1
    racks = [(first + turn) % len(hall.racks) for turn in range(len(hall.racks))]
    leaks = tuple(FittingLeak(hall.racks[rack], flow_lpm=2.0, rope_s=40.0) for rack in racks)
    fillings = tuple(Filling(hall.cdus[int(hall.cdu_of_rack[rack])]) for rack in racks)
    trips = tuple(PumpTrip(hall.cdus[0], pump) for pump in (1, 2))
    return Timetable(
        (
            Event(onset_s=40.0, lasts_s=300.0, turns=trips),
            Event(onset_s=75.0, lasts_s=300.0, turns=leaks),
            Event(onset_s=465.0, lasts_s=180.0, turns=fillings),
        ),
        round_s=1200.0,
    )

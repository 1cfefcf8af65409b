"""A running simulation: the hall, its jobs, its faults, its meters and its bus, tick by tick.

Lives here: the order in which they take their turns. Not here: any of them, the clock, and the way to a broker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count

from dcim.core.errors import Permanent
from dcim.core.times import to_us
from dcim.sim.bus import Bus, Outgoing
from dcim.sim.hall import Hall
from dcim.sim.plant import steady, step
from dcim.sim.sensors import Sensors
from dcim.sim.state import State
from dcim.sim.timetable import Timetable
from dcim.sim.workload import MIX, Jobs, Workload


@dataclass(frozen=True, slots=True, eq=False)
class Tick:
    """One moment of a simulation."""

    at: datetime
    """UTC; the timestamp of every message."""
    messages: list[Outgoing]
    """In the order in which they are to be published."""
    state: State
    """What is behind them."""


def simulate(
    hall: Hall,
    start: datetime,
    seed: int,
    *,
    pace_s: float = 1.0,
    timetable: Timetable | None = None,
    jobs: Jobs = MIX,
) -> Iterator[Tick]:
    """Ticks at start, start + pace_s, … without end; never slept for. The hall is healthy and settled at the start.

    The same hall, start, seed, pace and timetable give the same bytes. Up to an event's onset, that tick included, they
    are those of a run without the event. pace_s: 0.1 to 10. start: aware. Raises Permanent otherwise, and TypeError for
    a naive start.
    """
    if not 0.1 <= pace_s <= 10.0:
        raise Permanent(f"a pace of {pace_s:g} s", where="simulated hall", todo="Choose 0.1 to 10 s.")
    return _ticks(hall, start, to_us(start), seed, pace_s, timetable or Timetable(), jobs)


def _ticks(
    hall: Hall, start: datetime, start_us: int, seed: int, pace_s: float, timetable: Timetable, jobs: Jobs
) -> Iterator[Tick]:
    workload, sensors = Workload(hall, seed, jobs), Sensors(hall, seed)
    bus = Bus(hall, sensors)
    state, sent, shown = steady(hall, workload.at(0.0)), bus.never, None
    for number in count():
        elapsed_s = number * pace_s
        time_ms = start_us // 1000 + round(1000 * elapsed_s)
        shown = sensors.show(state, shown)
        sent, messages = bus.messages(sent, shown, state, time_ms)
        yield Tick(start + timedelta(seconds=elapsed_s), messages, state)
        state = step(hall, state, workload.at(elapsed_s), timetable.effects(hall, elapsed_s), pace_s)

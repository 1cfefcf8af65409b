"""The simulated hall as the command line asks for it, and on its way to a broker or to our own ear.

Lives here: a hall by its number of racks, scenarios by name, faults by word, and a simulation's ticks as messages that
are due in real time. Not here: the plant (dcim.sim), the wire (collectors.publish), files (record.py)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial

from collectors.publish import Outgoing
from dcim.app.record import Asked
from dcim.core.errors import Permanent
from dcim.sim import scenario as scenarios
from dcim.sim.hall import Hall, HallSettings
from dcim.sim.plan import plan
from dcim.sim.recording import Pace
from dcim.sim.run import Tick
from dcim.sim.run import simulate as ticks
from dcim.sim.timetable import Timetable
from dcim.sim.timetable import demo as demo_timetable

DAY_S = 86_400.0
RACKS = 8
"""Where nobody says how many."""


def live(start: datetime, seed: int, racks: int | None, scenario: str | None) -> Iterator[Tick]:
    """A running simulation: of a scenario, or of the demo's day in a hall of so many racks. Raises Permanent."""
    if scenario is None:
        hall = _hall(racks, seed)
        return ticks(hall, start, seed, timetable=demo_timetable(hall))
    told = _told(scenario, racks)
    return ticks(Hall(told.hall), start, seed, timetable=told.timetable, jobs=told.jobs)


def recorded(
    start: datetime,
    seed: int,
    *,
    days: float | None,
    racks: int | None,
    faults: str | None,
    scenario: str | None,
    pace: Pace,
) -> Asked:
    """What is to be recorded. faults: "catalogue", "none", or kinds with commas between. Raises Permanent."""
    if scenario is not None:
        if faults is not None:
            raise Permanent("a scenario has its own faults", where="--faults", todo="Leave out one of the two.")
        told = _told(scenario, racks)
        span_s = told.lasts_s if days is None else _span_s(days)
        return Asked(Hall(told.hall), seed, start, span_s, pace, told.timetable, told.jobs, f"scenario {told.name}")
    if days is None:
        raise Permanent("nobody says how long", where="--days", todo="Give --days, or a scenario.")
    hall, span_s, faults = _hall(racks, seed), _span_s(days), faults or "catalogue"
    if faults == "none":
        timetable = Timetable()
    else:
        kinds = None if faults == "catalogue" else [kind.strip() for kind in faults.split(",") if kind.strip()]
        timetable = plan(hall, seed, span_s, kinds, grid_s=pace.every_s)
    return Asked(hall, seed, start, span_s, pace, timetable, title=faults)


def library() -> list[str]:
    """One line a scenario: its name, and what it is."""
    names = scenarios.names()
    width = max(map(len, names))
    return [f"{name:<{width}}  {scenarios.find(name).title}" for name in names]


def outgoing(ticks: Iterator[Tick]) -> Iterator[Outgoing]:
    """The messages of a simulation, each due as long after the start as its tick is after the first one. The payloads
    carry the simulation's own time, which is real time when it is started now."""
    first = None
    for tick in ticks:
        first = first or tick.at
        due_s = (tick.at - first).total_seconds()
        for message in tick.messages:
            yield Outgoing(message.topic, partial(_as_it_is, message.payload), due_s, message.retain)


def _as_it_is(payload: bytes, _: int) -> bytes:
    return payload


def _hall(racks: int | None, seed: int) -> Hall:
    number = RACKS if racks is None else racks
    return Hall(HallSettings(racks=number, rows=max(2, number // 32), cdus=-(-number // 16), serial=seed))


def _told(name: str, racks: int | None) -> scenarios.Scenario:
    if racks is not None:
        raise Permanent("a scenario has its own hall", where="--racks", todo="Leave out one of the two.")
    return scenarios.find(name)


def _span_s(days: float) -> float:
    if not 0.0 < days <= 400.0:
        raise Permanent(f"{days:g} days", where="--days", todo="Choose more than 0, and 400 at the most.")
    return days * DAY_S

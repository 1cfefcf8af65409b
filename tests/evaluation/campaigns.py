"""Campaigns: simulated halls with what happens to them, recorded and shown to the detectors of the service.

Each hall is first healthy for a day and more, in which norms are learned, as after commissioning. Then one thing after
another happens in each loop, with time to come to rest between. Severities cover their range: of n events of a kind
over all seeds, one falls into each nth of it, log-uniform within."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from alerts import rules
from dcim.app.build import detecting, watching
from dcim.app.judging import alarms_of, events_of, findings_of
from dcim.app.playback import Played, even, play
from dcim.app.record import Asked, record
from dcim.app.recorded import Recording, simulated
from dcim.detect.norms import Norms
from dcim.detect.scoring import Alarm, Event
from dcim.sim.fault import Fault
from dcim.sim.faults import KINDS
from dcim.sim.hall import Hall, HallSettings
from dcim.sim.recording import Pace
from dcim.sim.timetable import Event as Happening
from dcim.sim.timetable import Timetable

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR_S = 3_600.0
KNOWN_H = 30.0
"""Hours of healthy life in which norms are learned, looked at every 300 s."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens, and the calm after it."""

    kind: str
    lasts_s: float
    calm_s: float
    part: tuple[float, float] = (0.0, 1.0)
    """Share of the range of severities that it is drawn from."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What one campaign gave."""

    name: str
    seed: int
    events: list[Event]
    alarms: list[Alarm]
    findings: list[Alarm]
    racks: int
    start: datetime
    """From when on it counts: what is learned before does not."""
    end: datetime
    cannot_tell: dict[str, float] = field(default_factory=dict)


SMALL = HallSettings(racks=8, hosts_per_rack=3, rack_power_kw=40.0, rack_flow_lpm=60.0)
PAIR = replace(SMALL, racks=16, cdus=2)
"""Racks of a third of the baseline's size, with a third of its GPUs: a third of the work, and the same shares."""
HALL = replace(SMALL, racks=32, cdus=4, rows=4)
"""For what is no fault: many racks, so that 0.2 false alarms per rack and month can be told from none."""

FAST: Sequence[Step] = (
    Step("load_step", 180.0, 420.0),
    Step("fitting_leak", 420.0, 300.0, (0.0, 0.34)),
    Step("filling", 300.0, 420.0),
    Step("power_cap", 480.0, 240.0),
    Step("pump_trip", 300.0, 420.0),
    Step("fitting_leak", 300.0, 300.0, (0.34, 1.0)),
    Step("filling", 400.0, 420.0),
    Step("phase_lost", 900.0, 300.0),
    Step("bms_offline", 150.0, 420.0),
    Step("feed_lost", 300.0, 300.0),
    Step("pump_changeover", 120.0, 300.0),
    Step("flow_lost", 45.0, 900.0),
    Step("burst", 240.0, 60.0),
)
LOOPS: Sequence[Sequence[Step]] = (
    (
        Step("pinhole_leak", 5.0 * HOUR_S, HOUR_S, (0.30, 0.50)),
        Step("temperature_bias", 3.0 * HOUR_S, HOUR_S, (0.0, 0.5)),
        Step("make_up_leak", 20.0 * HOUR_S, HOUR_S),
        Step("valve_hunting", 1.0 * HOUR_S, HOUR_S),
        Step("pinhole_leak", 2.0 * HOUR_S, HOUR_S, (1.0, 1.0)),
        Step("filter_clogging", 16.0 * HOUR_S, HOUR_S),
        Step("flow_meter", 3.0 * HOUR_S, HOUR_S, (0.0, 0.5)),
        Step("quick_connect_swap", 4.0 * HOUR_S, HOUR_S),
        Step("tray_drip", 1.5 * HOUR_S, HOUR_S),
        Step("setpoint_change", 2.0 * HOUR_S, HOUR_S),
        Step("valve_stuck", 5.0 * HOUR_S, HOUR_S),
        Step("air_in_loop", 2.0 * HOUR_S, HOUR_S),
    ),
    (
        Step("exchanger_fouling", 18.0 * HOUR_S, HOUR_S),
        Step("flow_meter", 3.0 * HOUR_S, HOUR_S, (0.5, 1.0)),
        Step("pinhole_leak", 4.0 * HOUR_S, HOUR_S, (0.50, 0.95)),
        Step("temperature_bias", 3.0 * HOUR_S, HOUR_S, (0.5, 1.0)),
        Step("exchanger_leak", 10.0 * HOUR_S, HOUR_S),
        Step("load_step", 1.5 * HOUR_S, HOUR_S),
        Step("pump_wear", 18.0 * HOUR_S, HOUR_S),
        Step("rope_fault", 2.0 * HOUR_S, HOUR_S),
        Step("facility_water", 0.5 * HOUR_S, HOUR_S),
        Step("quick_connect_swap", 4.0 * HOUR_S, HOUR_S),
        Step("pump_changeover", 180.0, HOUR_S),
    ),
)
LAST: Sequence[Step] = (Step("condensation", 2.0 * HOUR_S, HOUR_S),)
DEVICES: Sequence[Step] = (
    Step("interface_ageing", 9.0 * HOUR_S, HOUR_S),
    Step("branch_blocked", 9.0 * HOUR_S, HOUR_S),
    Step("power_cap", 1.0 * HOUR_S, HOUR_S),
)
HARMLESS: Sequence[Step] = (
    Step("load_step", 1.5 * HOUR_S, HOUR_S),
    Step("quick_connect_swap", 4.0 * HOUR_S, HOUR_S),
    Step("pump_changeover", 180.0, HOUR_S),
    Step("setpoint_change", 2.0 * HOUR_S, HOUR_S),
    Step("filling", 600.0, HOUR_S),
    Step("power_cap", 2.0 * HOUR_S, HOUR_S),
)
TURNS = 8
"""How often each loop has them: a little over five days, so that one false alarm is 0.18 in a rack and month."""
GROWING = {"interface_ageing", "branch_blocked", "filter_clogging", "pump_wear", "exchanger_fouling", "make_up_leak"}
"""Kinds that grow, over the first half of their time here: weeks become hours."""


def devices(seed: int, seeds: Sequence[int], folder: Path) -> tuple[Heard, dict[str, Norms]]:
    """GPUs at full pace, looked at every two minutes; and the norms of the healthy time, for the same hall."""
    hall = Hall(replace(SMALL, serial=seed))
    known_s = KNOWN_H * HOUR_S
    happening, span_s = _in_turn(hall, [DEVICES], (), seed, seeds, known_s)
    asked = Asked(hall, seed, START, span_s, Pace(10.0, 10.0), happening, title="devices")
    return _heard("devices", asked, folder, seed, known_s, tick_s=120.0)


def fast(seed: int, turn: int, seeds: Sequence[int], folder: Path, norms: dict[str, Norms]) -> Heard:
    """What happens within seconds and minutes, read every second, looked at every five."""
    hall = Hall(replace(SMALL, serial=seed))
    happening, span_s = _in_turn(hall, [FAST], (), seed * 10 + turn, seeds, 900.0)
    asked = Asked(hall, seed * 10 + turn, START, span_s, Pace(1.0, 10.0), happening, title="fast")
    return _heard("fast", asked, folder, seed, 600.0, tick_s=5.0, norms=norms)[0]


def slow(seed: int, seeds: Sequence[int], folder: Path) -> Heard:
    """What takes hours and days, in two loops, read every ten seconds, looked at every two minutes."""
    hall = Hall(replace(PAIR, serial=seed))
    known_s = KNOWN_H * HOUR_S
    happening, span_s = _in_turn(hall, LOOPS, LAST, seed, seeds, known_s)
    asked = Asked(hall, seed, START, span_s, Pace(10.0, 600.0), happening, title="slow")
    return _heard("slow", asked, folder, seed, known_s, tick_s=120.0)[0]


def harmless(seed: int, seeds: Sequence[int], folder: Path) -> Heard:
    """Four loops that are well, in which one thing after another happens that is no fault; looked at every five
    minutes."""
    hall = Hall(replace(HALL, serial=seed))
    known_s = KNOWN_H * HOUR_S
    loops = [[*HARMLESS[loop:], *HARMLESS[:loop]] * TURNS for loop in range(len(hall.cdus))]
    happening, span_s = _in_turn(hall, loops, (), seed, seeds, known_s)
    asked = Asked(hall, seed, START, span_s, Pace(10.0, 600.0), happening, title="harmless")
    return _heard("harmless", asked, folder, seed, known_s, tick_s=300.0)[0]


def _in_turn(
    hall: Hall, loops: Sequence[Sequence[Step]], last: Sequence[Step], seed: int, seeds: Sequence[int], begins_s: float
) -> tuple[Timetable, float]:
    """Each loop's steps one after the other, and then what befalls all of it. Answers the timetable and its span."""
    dice = np.random.default_rng([seed, 6])
    placed: list[Happening] = []
    ends_s = begins_s
    duty = dict.fromkeys(range(len(hall.cdus)), 1)
    for loop, steps in enumerate(loops):
        now_s = begins_s
        for step in steps:
            placed.append(Happening(now_s, step.lasts_s, (_draw(hall, dice, step, loop, seed, seeds, duty),)))
            now_s = _even(now_s + step.lasts_s + step.calm_s)
        ends_s = max(ends_s, now_s)
    for step in last:
        placed.append(Happening(ends_s, step.lasts_s, (_draw(hall, dice, step, 0, seed, seeds, duty),)))
        ends_s = _even(ends_s + step.lasts_s + step.calm_s)
    return Timetable(tuple(sorted(placed, key=lambda one: one.onset_s))), ends_s


def _draw(
    hall: Hall,
    dice: np.random.Generator,
    step: Step,
    loop: int,
    seed: int,
    seeds: Sequence[int],
    duty: dict[int, int],
) -> Fault:
    kind = KINDS[step.kind]
    here = [place for place in kind.places(hall) if _loop(hall, place) in (loop, None)]
    told = kind.draw(hall, dice, here[int(dice.integers(len(here)))], step.lasts_s)
    own: dict[str, object] = {}
    if kind.severity_of is not None:
        of = kind.severity_of
        rank = (seeds.index(seed if seed in seeds else seed // 10) + float(dice.random())) / len(seeds)
        share = step.part[0] + (step.part[1] - step.part[0]) * rank
        size = math.exp(math.log(of.low) + share * (math.log(of.high) - math.log(of.low)))
        size = min(max(size, of.low), of.high)
        own[of.field] = math.copysign(size, getattr(told, of.field))
    if step.kind in GROWING and hasattr(told, "over_s"):
        own["over_s"] = step.lasts_s / 2.0
    if step.kind == "pump_trip":
        own["pump"] = duty[loop]
        duty[loop] = 3 - duty[loop]
    if step.kind == "pump_changeover":
        own["to_pump"] = 3 - duty[loop]
        duty[loop] = 3 - duty[loop]
    return replace(told, **own)  # type: ignore[type-var]  # every fault is a dataclass


def _loop(hall: Hall, place: str) -> int | None:
    rack = place.rsplit("-TAP-", 1)[0]
    if rack in hall.racks:
        return int(hall.cdu_of_rack[hall.racks.index(rack)])
    return hall.cdus.index(place) if place in hall.cdus else None


def _even(seconds: float) -> float:
    return math.ceil(seconds / 10.0) * 10.0


def _heard(
    name: str,
    asked: Asked,
    folder: Path,
    seed: int,
    counts_s: float,
    tick_s: float,
    norms: dict[str, Norms] | None = None,
) -> tuple[Heard, dict[str, Norms]]:
    """Records, plays back, and forgets the recording. Norms are learned first where none are given."""
    where = Path(tempfile.mkdtemp(prefix=f"{name}-{seed}-", dir=folder)) / "recording"
    try:
        record(asked, where)
        recording = simulated(where)
        from_ = recording.start + timedelta(seconds=counts_s)
        known = norms
        ruleset = rules.default()
        if known is None:
            looking = detecting(ruleset, {})
            ticks = even(recording.start, from_, 300.0)
            play(_until(recording, from_), recording.plant, ruleset, sentinels=(), detectors=looking.detectors,
                 start=recording.start, ticks=ticks)  # fmt: skip
            known = looking.norms()
        played = look(recording, known, from_ - timedelta(minutes=20), tick_s)
    finally:
        shutil.rmtree(where.parent)
    return _told(name, seed, asked, recording, played, from_), known


def look(recording: Recording, norms: dict[str, Norms], start: datetime, tick_s: float) -> Played:
    """Everything that the service has, over a recording from an instant on."""
    watch = watching(rules.default(), replace(recording, start=start), norms)
    return watch.look(recording, start, even(start, recording.end, tick_s))


def _until(recording: Recording, end: datetime) -> Iterable:
    for stretch in recording.stretches():
        yield stretch
        if stretch.until_us >= end.timestamp() * 1e6:
            return


def _told(name: str, seed: int, asked: Asked, recording: Recording, played: Played, counts: datetime) -> Heard:
    plant = recording.plant
    assert recording.truth is not None
    return Heard(
        name=name,
        seed=seed,
        events=events_of(recording.truth, plant),
        alarms=[one for one in alarms_of(played.alarms, plant) if one.began >= counts],
        findings=[one for one in findings_of(played.findings, plant) if one.began >= counts],
        racks=asked.hall.settings.racks,
        start=counts,
        end=recording.end,
        cannot_tell={str(kind): share for kind, share in played.cannot_tell.items()},
    )

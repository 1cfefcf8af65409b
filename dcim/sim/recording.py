"""A simulation for days and months: no bus and no clock, but the same plant and the same meters, block by block.

A meter is read at the recording's pace, or once a minute where it hardly changes, and its reading is kept when it
differs from the last one that was kept and again 100 s after it, as the bus would send it. GPUs are read now and then,
and at full pace in racks that are in trouble; what says why a clock is held back is kept whenever it changes.

Lives here: that walk, and which readings are kept. Not here: the plant's stride (plant.py), points and files
(dcim.app.record)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcim.core.errors import Permanent
from dcim.sim.bus import HEARTBEAT_S, REPUBLISH_S
from dcim.sim.gpus import ALWAYS, ON_CHANGE, ONCE, gpu_fields
from dcim.sim.hall import Floats, Hall
from dcim.sim.plant import STRIDE_S, steady, stride
from dcim.sim.sensors import MISSING, Sensors, Shown
from dcim.sim.state import State, without_gpus
from dcim.sim.timetable import Timetable
from dcim.sim.workload import MONTH, Jobs, Workload

XID = 230
SLOW_S = 60.0
"""Pace of the meters that hardly change."""
GPU_EVERY_S = 600.0
BLOCK_STEPS = 360
"""So many moments are made before they are read."""
FILE_GRID_S = 600.0
"""Files may begin at multiples of this, and then with readings of all GPUs."""

Marks = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Pace:
    """How often is recorded what. Raises Permanent for a pace that makes no sense."""

    every_s: float = 10.0
    gpu_every_s: float = GPU_EVERY_S

    def __post_init__(self) -> None:
        if not 1.0 <= self.every_s <= 60.0 or self.every_s != round(self.every_s):
            raise Permanent(f"a pace of {self.every_s:g} s", where="recording", todo="Choose 1 to 60 whole seconds.")
        if self.gpu_every_s < self.every_s or self.gpu_every_s % self.every_s:
            raise Permanent(
                f"GPUs every {self.gpu_every_s:g} s at a pace of {self.every_s:g} s",
                where="recording",
                todo="Choose a multiple of the pace.",
            )


@dataclass(frozen=True, slots=True, eq=False)
class GpuRows:
    """Readings of one DCGM field at one moment."""

    time_s: float
    field: int
    gpus: npt.NDArray[np.intp]
    """Numbers of the GPUs: rack by rack, host by host."""
    values: Floats
    """As DCGM gives them; NaN where blank."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """What was read in a stretch of time."""

    times_s: Floats
    shown: Shown
    """By moment and meter: in units of the last digit, or MISSING."""
    kept: Marks
    """Which of these are readings of the recording."""
    heartbeats: tuple[Floats, Floats]
    """Instants of the heartbeats of the BMS and of the integration."""
    gpus: tuple[GpuRows, ...]


def walk(
    hall: Hall, seed: int, span_s: float, pace: Pace, *, jobs: Jobs = MONTH, timetable: Timetable | None = None
) -> Iterator[list[State]]:
    """States at 0, every_s, … below span_s, a block at a time; those whose GPUs nobody reads are without them.

    The hall is healthy and settled at the start; the same arguments give the same states, and up to an event's onset,
    that moment included, those of a run without it."""
    workload, timetable = Workload(hall, seed, jobs), timetable or Timetable()
    steps = math.ceil(span_s / pace.every_s - 1e-9)
    block = max(1, min(BLOCK_STEPS, 4_000_000 // (len(hall.racks) * hall.gpus_per_rack)))  # of jitter, drawn at once
    pieces = math.ceil(pace.every_s / STRIDE_S - 1e-9)
    state = None
    for first in range(0, steps, block):
        states = []
        for number, load in enumerate(
            workload.during(first * pace.every_s, pace.every_s, min(block, steps - first)), first
        ):
            state = steady(hall, load) if state is None else state
            states.append(state if _looks_at_gpus(hall, state, pace) else without_gpus(state))
            for piece in range(pieces):
                at_s = (number + piece / pieces) * pace.every_s
                state = stride(hall, state, load, timetable.effects(hall, at_s), pace.every_s / pieces)
        yield states


def _due(time_s: float, every_s: float, pace: Pace) -> bool:
    """Whether something that is read every so often is read now."""
    return math.fmod(time_s + 1e-6, every_s) < pace.every_s - 1e-9


def _in_trouble(hall: Hall, state: State) -> Marks:
    """Racks that have lost half their flow, or have GPUs that are slowed down or off."""
    hot = state.die_c.max(axis=1) >= hall.SLOWDOWN_C - 2.0
    marks: Marks = (state.return_lpm < 0.5 * hall.settings.rack_flow_lpm) | hot | state.gpu_off.any(axis=1)
    return marks


def _looks_at_gpus(hall: Hall, state: State, pace: Pace) -> bool:
    time_s = float(state.time_s)
    due = _due(time_s, pace.gpu_every_s, pace) or _due(time_s, FILE_GRID_S, pace)
    return due or bool(state.gpu_capped.any() or _in_trouble(hall, state).any())


class Reader:
    """Reads blocks of states in their order, and knows what it kept of the ones before."""

    def __init__(self, hall: Hall, seed: int, pace: Pace) -> None:
        self.sensors = Sensors(hall, seed)
        self._hall, self._pace = hall, pace
        self._by_bms = np.array([not gauge.integration for gauge in self.sensors.gauges for _ in gauge.places])
        self._every = np.where(self.sensors.slow, max(SLOW_S, pace.every_s), pace.every_s)
        self._shown: Shown | None = None
        self._kept: Shown | None = None
        self._kept_s = np.full(len(self._by_bms), -np.inf)
        self._offline = False
        self._told: dict[int, npt.NDArray[np.float64]] = {}
        self._once_told = False

    def start_anew(self) -> None:
        """Forgets what it has kept, so that the next block stands for itself: for a new file."""
        self._kept_s = np.full(len(self._by_bms), -np.inf)
        self._told, self._once_told = {}, False

    def read(self, states: Sequence[State]) -> Block:
        """What is read of a block."""
        times_s = np.array([state.time_s for state in states])
        offline = np.array([state.offline for state in states])
        shown = self.sensors.show_all(states, self._shown)
        self._shown = shown[-1]
        kept = self._keep(times_s, shown, offline)
        beats = np.floor(times_s / HEARTBEAT_S + 1e-9) * HEARTBEAT_S > times_s - self._pace.every_s + 1e-9
        gpus = tuple(rows for state in states for rows in self._gpus(state))
        return Block(times_s, shown, kept, (times_s[beats & ~offline], times_s[beats]), gpus)

    def _keep(self, times_s: Floats, shown: Shown, offline: Marks) -> Marks:
        """Which readings the bus would send: what has changed, what is due again, and all of it after a silence."""
        kept = np.zeros(shown.shape, bool)
        last, last_s, was_offline = self._kept, self._kept_s, self._offline
        last = np.full(shown.shape[1], MISSING) if last is None else last
        for row, time_s in enumerate(times_s.tolist()):
            read = np.mod(time_s + 1e-6, self._every) < self._pace.every_s - 1e-9
            due = read & ((shown[row] != last) | (time_s - last_s >= REPUBLISH_S - 1e-6))
            if offline[row]:
                due &= ~self._by_bms
            elif was_offline:
                due |= self._by_bms
            was_offline = bool(offline[row])
            kept[row] = due
            last, last_s = np.where(due, shown[row], last), np.where(due, time_s, last_s)
        self._kept, self._kept_s, self._offline = last, last_s, was_offline
        return kept

    def _gpus(self, state: State) -> Iterator[GpuRows]:
        """GPUs of all racks when their time has come, of racks in trouble at any time; changes where something holds
        GPUs back."""
        if not state.die_c.size:
            return
        hall, time_s = self._hall, float(state.time_s)
        racks = _in_trouble(hall, state)
        if _due(time_s, self._pace.gpu_every_s, self._pace) or not self._once_told:
            racks = np.ones(len(hall.racks), bool)
        elif not (racks.any() or state.gpu_capped.any()):
            return
        fields = {field: column.ravel().astype(np.float64) for field, column in gpu_fields(hall, state).items()}
        off = state.gpu_off.ravel()
        chosen = np.repeat(racks, hall.gpus_per_rack)
        everyone = np.ones(len(off), bool)
        for field, column in fields.items():
            if field != XID:
                column[off] = np.nan
            if field in ALWAYS:
                rows = chosen
            elif field in ON_CHANGE:
                told = self._told.get(field)
                rows = everyone if told is None else ~((column == told) | (np.isnan(column) & np.isnan(told)))
                self._told[field] = column
            else:
                rows = everyone if field in ONCE and not self._once_told else np.zeros(len(off), bool)
            if rows.any():
                gpus = np.flatnonzero(rows)
                yield GpuRows(time_s, field, gpus, column[gpus])
        self._once_told = True

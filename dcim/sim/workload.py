"""Workload and weather: what the racks are asked to do, what water and air come in. Functions of seed and time alone.

Lives here: the kinds of jobs and two mixes of them. Not here: what the plant makes of it (plant.py)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np

from dcim.core.errors import Permanent
from dcim.sim.hall import Floats, Hall
from dcim.sim.state import Load

GPU_JITTER = 0.015
"""1σ of a GPU's power about its share of the rack's work, from one moment to the next."""
GPU_IMBALANCE = 0.02
"""1σ of what a GPU gets of the work for good."""


def dice(seed: int, purpose: str, time_s: float = 0.0) -> np.random.Generator:
    """Random numbers that depend on what they are for and on the moment, and on nothing that was drawn before: so a
    fault changes what it acts on and no noise elsewhere."""
    return np.random.default_rng([seed, int.from_bytes(purpose.encode()), round(time_s * 1000)])


class Job(Protocol):
    """What a rack does."""

    def utilization(self, time_s: Floats, phase: float) -> Floats:
        """Share of the GPUs' power range that is used at each instant, about 0 to 1. phase: 0 to 1, shifts the job in
        its periods."""
        ...


@dataclass(frozen=True, slots=True)
class Training:
    """Flat out in steps that all racks of the job take together: at the end of each they exchange what they learned,
    and power dips. Now and then a checkpoint: power halves within a second, and comes back as fast. After days the run
    is over, and the racks wait for the next one."""

    level: float
    checkpoint_level: float = 0.35
    every_s: float = 420.0
    lasts_s: float = 14.0
    step_s: float = 9.5
    exchange_s: float = 1.2
    exchange_dip: float = 0.05
    run_s: float = math.inf
    """How long a run goes on; forever where it is infinite."""
    pause_s: float = 5_400.0

    def __post_init__(self) -> None:
        _check("training", self.level, (self.every_s, self.step_s, self.run_s, self.pause_s))

    def utilization(self, time_s: Floats, phase: float) -> Floats:
        """Steps between levels, with a slow wander of 2 % on the upper one."""
        used = self.level + 0.02 * np.sin(2 * np.pi * (time_s / 190.0 + phase))
        used = used - self.exchange_dip * ((time_s + phase * self.step_s) % self.step_s < self.exchange_s)
        used = np.where((time_s + phase * self.every_s) % self.every_s < self.lasts_s, self.checkpoint_level, used)
        if math.isinf(self.run_s):
            return used
        round_s = self.run_s + self.pause_s
        return np.where((time_s + phase * round_s) % round_s < self.run_s, used, 0.03)


@dataclass(frozen=True, slots=True)
class Inference:
    """Follows its users: a slow swing with a faster one on it, and more by day than by night."""

    level: float
    swing: float
    period_s: float = 660.0
    day_swing: float = 0.0

    def __post_init__(self) -> None:
        _check("inference", self.level, (self.period_s,))

    def utilization(self, time_s: Floats, phase: float) -> Floats:
        """Sines of unrelated periods. The day's is at its top in the afternoon of a simulation that starts at
        midnight."""
        slow = np.sin(2 * np.pi * (time_s / self.period_s + phase))
        fast = np.sin(2 * np.pi * (time_s / (0.31 * self.period_s) + 3.0 * phase))
        day = np.sin(2 * np.pi * (time_s / 86_400.0 - 0.38))
        return self.level + self.swing * (0.7 * slow + 0.3 * fast) + self.day_swing * day


@dataclass(frozen=True, slots=True)
class Idle:
    """Waits for work."""

    level: float = 0.0

    def __post_init__(self) -> None:
        _check("idle", self.level, ())

    def utilization(self, time_s: Floats, phase: float) -> Floats:  # noqa: ARG002  there is nothing to shift
        """Always the same."""
        return np.full_like(time_s, self.level)


def _check(job: str, level: float, times_s: tuple[float, ...]) -> None:
    if not 0.0 <= level <= 1.0 or any(time_s <= 0.0 for time_s in times_s):
        raise Permanent(
            f"a job of level {level:g} with times of {', '.join(f'{time_s:g}' for time_s in times_s) or 'nothing'} s",
            where=job,
            todo="Choose a level from 0 to 1, and times above 0.",
        )


JOBS: MappingProxyType[str, type[Training] | type[Inference] | type[Idle]] = MappingProxyType(
    {"training": Training, "inference": Inference, "idle": Idle}
)
"""Kinds of jobs, by the name that scenarios give them."""

Jobs = Sequence[tuple[Job, int]]
"""Jobs, rack by rack and then from the first again; racks with the same number work on one job and keep its time."""

MIX: Jobs = (
    (Training(0.91), 0),
    (Training(0.91), 0),
    (Inference(0.55, 0.14), 1),
    (Training(0.86, every_s=610.0), 2),
    (Inference(0.66, 0.10, period_s=840.0), 3),
    (Training(0.86, every_s=610.0), 2),
    (Inference(0.10, 0.03), 4),
    (Inference(0.42, 0.16, period_s=500.0), 5),
)
"""For an hour: racks draw between 30 and 95 % of their rating; one is hardly used, so that its rise is too small to
reckon with."""

MONTH: Jobs = (
    (Training(0.91, every_s=1_800.0, lasts_s=40.0, run_s=2.6 * 86_400.0), 0),
    (Training(0.91, every_s=1_800.0, lasts_s=40.0, run_s=2.6 * 86_400.0), 0),
    (Inference(0.52, 0.08, period_s=2_700.0, day_swing=0.16), 1),
    (Training(0.86, every_s=3_600.0, lasts_s=60.0, run_s=5.3 * 86_400.0, pause_s=10_800.0), 2),
    (Inference(0.62, 0.06, period_s=3_900.0, day_swing=0.12), 3),
    (Training(0.86, every_s=3_600.0, lasts_s=60.0, run_s=5.3 * 86_400.0, pause_s=10_800.0), 2),
    (Inference(0.12, 0.03, day_swing=0.04), 4),
    (Inference(0.42, 0.10, period_s=1_900.0, day_swing=0.15), 5),
)
"""For days and weeks: the same with checkpoints every half hour and hour, runs that end, and nights."""

SECONDS_MAX = 16
"""So many instants of a stretch are looked at for its mean."""


class Workload:
    """The jobs of a hall under one seed."""

    def __init__(self, hall: Hall, seed: int, jobs: Jobs = MIX) -> None:
        self._hall, self._seed = hall, seed
        phases = dice(seed, "phases").random(max(number for _, number in jobs) + 1)
        racks = range(len(hall.racks))
        self._jobs = [(jobs[rack % len(jobs)][0], float(phases[jobs[rack % len(jobs)][1]])) for rack in racks]
        shape = (len(hall.racks), hall.gpus_per_rack)
        self._share = 1.0 + GPU_IMBALANCE * dice(seed, "imbalance").standard_normal(shape)

    def at(self, time_s: float) -> Load:
        """What is asked of the hall time_s seconds after its start."""
        return next(self.during(time_s, 0.0, 1))

    def during(self, start_s: float, pace_s: float, count: int) -> Iterator[Load]:
        """What is asked of the hall on average in count stretches of pace_s seconds from start_s on; at that instant
        where pace_s is 0. Jitter depends on start_s, and is the less the longer a stretch is."""
        hall, s = self._hall, self._hall.settings
        looks = min(max(math.ceil(pace_s), 1), SECONDS_MAX)
        begins_s = start_s + pace_s * np.arange(count)
        instants = (begins_s[:, None] + pace_s * np.arange(looks) / looks).ravel()
        used = np.stack([job.utilization(instants, phase) for job, phase in self._jobs], axis=1)
        used = used.reshape(count, looks, -1).mean(axis=1)
        other = hall.OTHER_IDLE_SHARE + (1.0 - hall.OTHER_IDLE_SHARE) * np.clip(used, 0.0, 1.0)
        jitter = dice(self._seed, "jitter", start_s).standard_normal((count, *self._share.shape))
        jitter *= GPU_JITTER / math.sqrt(max(pace_s, 1.0))
        for number, time_s in enumerate(begins_s.tolist()):
            per_gpu = used[number][:, None] * self._share * (1.0 + jitter[number])
            per_gpu = hall.GPU_IDLE_SHARE + (1.0 - hall.GPU_IDLE_SHARE) * per_gpu
            yield Load(
                gpu_kw=s.gpu_power_kw * np.maximum(per_gpu, 0.0),
                other_kw=hall.other_full_kw * other[number],
                facility_c=s.facility_c + 0.3 * _wave(time_s, 1_500.0) + 0.7 * _wave(time_s, 86_400.0),
                dew_c=11.0 + 0.6 * _wave(time_s, 2_400.0) + 1.2 * _wave(time_s, 3.7 * 86_400.0),
            )


def _wave(time_s: float, period_s: float) -> float:
    return math.sin(2 * math.pi * time_s / period_s)

"""Workload and weather: what the racks are asked to do, what water and air come in. Functions of seed and time alone.

Lives here: the mix of jobs. Not here: what the plant makes of it (plant.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dcim.sim.hall import Hall
from dcim.sim.plant import Load

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

    def utilization(self, time_s: float, phase: float) -> float:
        """Share of the GPUs' power range that is used, about 0 to 1. phase: 0 to 1, shifts the job in its period."""
        ...


@dataclass(frozen=True, slots=True)
class Training:
    """Flat out, but for a checkpoint now and then: power halves within a second, and comes back as fast."""

    level: float
    checkpoint_level: float = 0.35
    every_s: float = 420.0
    lasts_s: float = 14.0

    def utilization(self, time_s: float, phase: float) -> float:
        """Steps between two levels, with a slow wander of 2 % on the upper one."""
        if (time_s + phase * self.every_s) % self.every_s < self.lasts_s:
            return self.checkpoint_level
        return self.level + 0.02 * math.sin(2 * math.pi * (time_s / 190.0 + phase))


@dataclass(frozen=True, slots=True)
class Inference:
    """Follows its users: a slow swing with a faster one on it."""

    level: float
    swing: float
    period_s: float = 660.0

    def utilization(self, time_s: float, phase: float) -> float:
        """Two sines of unrelated periods."""
        slow = math.sin(2 * math.pi * (time_s / self.period_s + phase))
        fast = math.sin(2 * math.pi * (time_s / (0.31 * self.period_s) + 3.0 * phase))
        return self.level + self.swing * (0.7 * slow + 0.3 * fast)


MIX: tuple[tuple[Job, int], ...] = (
    (Training(0.91), 0),
    (Training(0.91), 0),
    (Inference(0.55, 0.14), 1),
    (Training(0.86, every_s=610.0), 2),
    (Inference(0.66, 0.10, period_s=840.0), 3),
    (Training(0.86, every_s=610.0), 2),
    (Inference(0.10, 0.03), 4),
    (Inference(0.42, 0.16, period_s=500.0), 5),
)
"""Jobs, rack by rack and then from the first again; racks with the same number work on one job and keep its time. Racks
draw between 30 and 95 % of their rating; one is hardly used, so that its rise is too small to reckon with."""


class Workload:
    """The jobs of a hall under one seed."""

    def __init__(self, hall: Hall, seed: int) -> None:
        self._hall, self._seed = hall, seed
        phases = dice(seed, "phases").random(len(MIX))
        racks = range(len(hall.racks))
        self._jobs = [(MIX[rack % len(MIX)][0], float(phases[MIX[rack % len(MIX)][1]])) for rack in racks]
        shape = (len(hall.racks), hall.gpus_per_rack)
        self._share = 1.0 + GPU_IMBALANCE * dice(seed, "imbalance").standard_normal(shape)

    def at(self, time_s: float) -> Load:
        """What is asked of the hall time_s seconds after its start."""
        hall, s = self._hall, self._hall.settings
        used = np.array([job.utilization(time_s, phase) for job, phase in self._jobs])
        jitter = 1.0 + GPU_JITTER * dice(self._seed, "jitter", time_s).standard_normal(self._share.shape)
        per_gpu = hall.GPU_IDLE_SHARE + (1.0 - hall.GPU_IDLE_SHARE) * used[:, None] * self._share * jitter
        other = hall.OTHER_IDLE_SHARE + (1.0 - hall.OTHER_IDLE_SHARE) * np.clip(used, 0.0, 1.0)
        return Load(
            gpu_kw=s.gpu_power_kw * np.maximum(per_gpu, 0.0),
            other_kw=hall.other_full_kw * other,
            facility_c=s.facility_c + 0.3 * math.sin(2 * math.pi * time_s / 1500.0),
            dew_c=11.0 + 0.6 * math.sin(2 * math.pi * time_s / 2400.0),
        )

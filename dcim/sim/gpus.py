"""What the GPUs' own sensors show of a state, by DCGM field id.

Lives here: the fields. Not here: the state (plant.py), their messages (bus.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dcim.sim.hall import Floats, Hall
from dcim.sim.state import State

FALLEN_OFF = 79
"""XID of a GPU that has switched itself off: it has fallen off the bus, and nothing else is known of it."""
ALWAYS, ON_CHANGE, ONCE = (150, 140, 155, 203, 100), (112, 164, 230, 1420, 1422, 1423), (158, 159)
"""Fields that a recording has each time, those that it has when they change, and those that never do. 157 is what 155
is, and it has that once."""
_NS = 1e9


def gpu_fields(hall: Hall, state: State) -> dict[int, npt.NDArray[Any]]:
    """By field id, each by rack and GPU (stacked states: by moment before that): temperatures in whole °C, power in W
    to a tenth, utilization in %, clock in MHz, bits that say why a clock is held back (0x1 idle, 0x4 power cap, 0x20
    software thermal, 0x40 hardware thermal), the last XID, times in ns.

    Power that holds over a second is its own mean, so 155 and 157 are the same. What is blank (`gpu_off`, of all fields
    but 230) is for the caller to leave out.
    """
    s = hall.settings
    used = np.clip((state.gpu_kw / s.gpu_power_kw - hall.GPU_IDLE_SHARE) / (1.0 - hall.GPU_IDLE_SHARE), 0.0, 1.0)
    idle = used < 0.02
    too_hot_k = state.die_c - (hall.SLOWDOWN_C - 2.0)
    clock = np.where(idle, 345.0, 1980.0 - 150.0 * used - 140.0 * np.clip(too_hot_k, 0.0, 7.0))
    bits = 0x1 * idle + 0x4 * state.gpu_capped + 0x20 * (too_hot_k >= 0.0) + 0x40 * (too_hot_k >= 2.0)
    memory_c = state.plate_c + 0.018 * 1000.0 * state.gpu_kw
    power_w = np.rint(10_000.0 * state.gpu_kw) / 10.0

    def whole(column: Floats) -> npt.NDArray[np.int64]:
        return np.rint(column).astype(np.int64)

    return {
        150: whole(state.die_c),
        140: whole(memory_c),
        155: power_w,
        157: power_w,
        203: whole(100.0 * used),
        100: whole(clock),
        112: bits,
        164: np.broadcast_to(np.rint(1e4 * state.gpu_limit_kw)[..., None] / 10.0, used.shape),
        230: FALLEN_OFF * state.gpu_off,
        1420: whole(_NS * state.capped_s),
        1422: whole(_NS * state.soft_s),
        1423: whole(_NS * state.hard_s),
        158: np.full(used.shape, round(hall.SLOWDOWN_C)),
        159: np.full(used.shape, round(hall.SHUTDOWN_C)),
    }

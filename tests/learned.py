"""Models of racks, trained on a healthy plant of tests.scenarios.full, for tests."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl

from dcim.app.training import means_of
from dcim.detect.learned.classes import Columns, Trained, columns_of, train
from tests.scenarios.full import Full, told
from tests.scenarios.loop import START

BINS = 400


def means(frame: pl.DataFrame, columns: Columns, bins: int = BINS) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """By bin of a minute."""
    return means_of(iter([frame]), columns.points, START, bins)


@cache
def trained(racks: int = 2, seed: int = 1, kind: str = "Rack") -> Trained:
    """What racks of a plant of so many do in six hours and more. Bins of a minute."""
    full = plant(racks)
    columns = columns_of(full.plant, kind)
    usual = np.ones((len(columns.assets), BINS), np.bool_)
    frame = told(full, BINS * 60.0, pace_s=60.0, seed=7)
    return train(columns, means(frame, columns), usual, 60.0, seed, {"start": "then", "end": "later"})


@cache
def plant(racks: int = 2) -> Full:
    """The plant that it is trained on."""
    return Full(racks=racks, gpus=2)

"""A process that writes to a store while upkeep rolls up and drops beside it, without a pause; killed by the tests that
start it. It tells each batch that was acknowledged.

Arguments: the file, the first batch."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from datetime import timedelta
from pathlib import Path

import numpy as np

from dcim.core.readings import Readings
from dcim.core.times import from_us, now
from dcim.store.embedded import EmbeddedStore
from dcim.store.retention import Retention

T0 = 1_772_334_000_000_000
STEP_US = 60_000_000
POINTS = 20
AGES = Retention(timedelta(hours=1), timedelta(hours=3), None)
LATE = 30
"""Every seventh batch brings readings of half an hour ago besides: rolled up already, and not dropped yet."""


def batch(number: int) -> Readings:
    """The readings of batch `number`: some missing, some bad, some of an earlier batch again, some late."""
    parts = [_scan(number, T0 + number * STEP_US)]
    if number:
        parts.append(_scan(number - 1, T0 + (number - 1) * STEP_US).take(np.arange(9)))
    if number % 7 == 0 and number > LATE:
        parts.append(_scan(number, T0 + (number - LATE) * STEP_US + 7_000_000).take(np.arange(5)))
    return Readings.concat(parts)


def _scan(number: int, time: int) -> Readings:
    rng = np.random.default_rng(number)
    value = np.round(rng.normal(30, 5, POINTS), 2)
    value[rng.random(POINTS) < 0.05] = np.nan
    quality = rng.choice(np.array([0, 0, 0, 0, 1, 2], np.uint8), POINTS)
    return Readings(np.arange(POINTS, dtype=np.uint32), np.full(POINTS, time, np.int64), value, quality)


def main(path: str, first: int) -> None:
    """Appends for ever. It ends without a word to the store."""
    store = EmbeddedStore(Path(path), now, AGES)
    reached = T0 + first * STEP_US

    def keep_up() -> None:
        try:
            while True:
                store.maintain(from_us(reached))
        finally:
            os._exit(1)  # whatever failed is written to stderr first

    threading.Thread(target=keep_up, daemon=True).start()
    for number in itertools.count(first):
        store.append(batch(number))
        reached = T0 + number * STEP_US
        os.write(1, b"%d\n" % number)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

"""A process that writes to a store and tells each batch that was acknowledged; killed by the tests that start it.

Arguments: the file, points in a batch, the first batch, how many batches (0: without end)."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import numpy as np

from dcim.core.readings import Readings
from dcim.core.times import now
from dcim.store.embedded import EmbeddedStore

T0 = 1_772_334_000_000_000


def batch(number: int, points: int) -> Readings:
    """The readings of batch `number`: told apart by their time, and every value says where it belongs."""
    point = np.arange(points, dtype=np.uint32)[::-1]
    time = np.full(points, T0 + number * 1_000_000, np.int64)
    return Readings(point, time, point + number * 0.001, np.zeros(points, np.uint8))


def main(path: str, points: int, first: int, count: int) -> None:
    """Appends, holds and releases. It ends without a word to the store, as a killed process does."""
    store = EmbeddedStore(Path(path), now)
    for number in range(first, first + count) if count else itertools.count(first):
        store.append(batch(number, points), lambda _: b"%d" % number)  # noqa: B023  called at once
        store.hold(Readings.of([points], [T0 + number * 1_000_000], [float(number)], [0]))
        if number % 5 == 0:
            store.release([points], lambda readings: readings)
        os.write(1, b"%d\n" % number)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

"""What tiers save a long query, what rolling up costs, and how long a writer waits beside it, in one run.

    python -m tests.benchmarks.bench_tiers [--points 20] [--days 30]

A plant of 1 000 points that are read every 10 s has 259 million readings in 30 days; this takes a part of the points,
and says which. Raw readings are searched through whoever asks, so with all points the ratio is so much greater."""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np

from dcim.app.upkeep import PAUSE_S
from dcim.core.readings import Readings
from dcim.core.times import from_us, now
from dcim.store.embedded import EmbeddedStore
from dcim.store.retention import Retention
from tests.benchmarks.bench_store import Seconds, machine, several, tell, timed

PLANT_POINTS = 1_000
PACE_US = 10_000_000
DAY_US = 86_400_000_000
BATCH = 20_000
T0 = 1_772_323_200_000_000


def month(points: int, days: int) -> Iterator[Readings]:
    """Every point's readings, one scan after the other."""
    rng = np.random.default_rng(1)
    value = rng.uniform(10, 500, points)
    scans, each = days * DAY_US // PACE_US, BATCH // points
    for first in range(0, scans, each):
        count = min(each, scans - first)
        walk = value + np.cumsum(rng.normal(0, 0.2, (count, points)), axis=0)
        value = walk[-1]
        stamps = T0 + (first + np.arange(count)) * PACE_US
        yield Readings(
            np.tile(np.arange(points, dtype=np.uint32), count),
            np.repeat(stamps, points),
            np.round(walk, 2).ravel(),
            np.zeros(count * points, np.uint8),
        )


class Live:
    """A plant's batches of now, appended one after the other: a minute's worth of its 1 000 points every six."""

    def __init__(self, store: EmbeddedStore, at_us: int) -> None:
        self.store, self.at_us = store, at_us

    def beside(self, work: Callable[[], object] | None, batches: int) -> Seconds:
        """How long each append took, while `work` ran and at least for so many batches."""
        thread = threading.Thread(target=work) if work else None
        if thread:
            thread.start()
        took: list[float] = []
        while len(took) < batches or (thread and thread.is_alive()):
            self.at_us += PACE_US
            point = np.arange(PLANT_POINTS, 2 * PLANT_POINTS, dtype=np.uint32)
            stamps = np.full(PLANT_POINTS, self.at_us)
            rows = Readings(point, stamps, point.astype(np.float64), np.zeros(PLANT_POINTS, np.uint8))
            took.append(timed(self.store.append, rows))
            time.sleep(0.005)  # a plant has pauses, too
        if thread:
            thread.join()
        return np.array(took)

    def keep_up(self, until: Callable[[], bool] = lambda: True) -> Seconds:
        """How long each piece took: all that is due, then again until `until`."""
        took = []
        while True:
            start = time.perf_counter()
            more = self.store.maintain(from_us(self.at_us)).more
            took.append(time.perf_counter() - start)
            if not more and until():
                return np.array(took)
            time.sleep(PAUSE_S)  # as the service does


def main() -> None:
    """Runs all of it and prints a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=20, help="points of the plant's 1 000 (default: %(default)s)")
    parser.add_argument("--days", type=int, default=30, help="(default: %(default)s)")
    given = parser.parse_args()
    points, days = given.points, given.days
    rows = points * days * DAY_US // PACE_US
    print(machine())
    whole = PLANT_POINTS * 30 * DAY_US // PACE_US
    print(
        f"scale: {rows:,} readings, {points} points for {days} days at 10 s; 1 of {whole / rows:.0f} of the whole plant"
    )
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "telemetry.duckdb"
        _measure(path, points, days)


def _measure(path: Path, points: int, days: int) -> None:
    end_us = T0 + days * DAY_US
    span, hour = (from_us(T0), from_us(end_us)), timedelta(hours=1)
    with EmbeddedStore(path, now) as store:
        for batch in month(points, days):
            store.append(batch)
        live = Live(store, end_us)
        alone = live.beside(None, 800)
        one, every_point = several(store.window, [3], *span, hour), several(store.window, range(points), *span, hour)
        pieces: list[Seconds] = []
        beside_backlog = live.beside(lambda: pieces.append(live.keep_up()), 50)
        hours_one = several(store.window, [3], *span, hour)
        hours_every_point = several(store.window, range(points), *span, hour)
        tell("window, 1 point, 30 d by the hour, out of raw", one)
        tell("  out of the hours", hours_one)
        tell(f"window, {points} points, 30 d by the hour, out of raw", every_point)
        tell("  out of the hours", hours_every_point)
        tell(
            "window, 1 point, 30 d by 5 min, out of the minutes",
            several(store.window, [3], *span, timedelta(minutes=5)),
        )
        ratio = np.median(one) / np.median(hours_one)
        ratio_every_point = np.median(every_point) / np.median(hours_every_point)
        print(f"ratio raw to hours:      {ratio:.0f} for one point, {ratio_every_point:.0f} for {points}")
        rate = points * days * DAY_US / PACE_US / pieces[0].sum()
        print(f"rolled up:               {rate:,.0f} readings/s in {len(pieces[0])} pieces")
        goal_us = live.at_us + 2 * 3600 * 1_000_000
        beside_minutes = live.beside(lambda: live.keep_up(lambda: live.at_us > goal_us), 800)
        at_us = live.at_us
    with EmbeddedStore(path, now, Retention(timedelta(days=1), timedelta(days=2), None)) as store:
        live = Live(store, at_us)
        dropped: list[Seconds] = []
        beside_dropping = live.beside(lambda: dropped.append(live.keep_up()), 50)
    tell("append of 1 000 rows, alone", alone)
    tell("  beside the upkeep of each minute, for 2 hours", beside_minutes)
    tell("  beside rolling up 30 days at once", beside_backlog)
    tell(f"  beside dropping 29 days at once, {len(dropped[0])} pieces", beside_dropping)
    print(f"ratio of p99:            {np.quantile(beside_minutes, 0.99) / np.quantile(alone, 0.99):.1f}, each minute")
    print(f"bytes of the file:       {path.stat().st_size:,} at the end")


if __name__ == "__main__":
    main()

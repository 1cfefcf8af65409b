"""What writing line protocol costs, and how many times faster whole columns are than the client's points, in one run.

    python -m tests.benchmarks.bench_line_protocol [--batches 20]

Batches as a store writes them: 20 000 points of a plant with tags of usual length, sorted by point, one in a thousand
not good. Times are CPU time of the whole process, its threads included, so that a busy machine disturbs little."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import numpy.typing as npt
from influxdb_client import Point as ClientPoint
from influxdb_client import WritePrecision

from dcim.core.assets import Asset, AssetKey, Placement
from dcim.core.points import Point
from dcim.core.readings import Quality, Readings
from dcim.store.line_protocol import QUALITY_FIELD, Lines, Series, series_of
from dcim.store.sift import sift

T0 = 1_772_334_000_000_000
POINTS = 20_000
QUANTITIES = (
    ("RackPower", "kW"),
    ("RackLiquidFlow", "L/min"),
    ("RackLiquidSupplyTemperature", "°C"),
    ("RackLiquidReturnTemperature", "°C"),
)


def plant() -> list[Series]:
    """The series of a hall's racks, as the store computes them."""
    series = []
    for number in range(POINTS):
        quantity, unit = QUANTITIES[number % len(QUANTITIES)]
        rack = f"Pod1C-{'ABCDEFGH'[number // 4 % 8]}{number // 32:03}"
        place = Placement("Pod 1C", "ABCDEFGH"[number // 4 % 8])
        asset = Asset("titan", rack, rack, "Rack", described=True, placement=place, points=(number,))
        path = f"nvidia/titan/pod1C/{rack}/info/{quantity[4:]}/value"
        key = f"titan|bms|Rack/{quantity}/{path}"
        point = Point(number, key, "titan", rack, "Rack", rack, quantity, unit, object_type="Rack")
        series.append(series_of(point, {AssetKey("titan", rack): asset}))
    return series


def scan(number: int) -> Readings:
    """One reading of each point, as sifted for a store."""
    rng = np.random.default_rng(number)
    quality = np.where(rng.random(POINTS) < 0.001, Quality.UNCERTAIN, Quality.GOOD).astype(np.uint8)
    order = rng.permutation(POINTS)
    times = T0 + number * 5_000_000 + rng.integers(0, 1000, POINTS) * 1000
    values = np.round(rng.normal(80, 20, POINTS), 2)
    return sift(Readings(order.astype(np.uint32), times[order], values[order], quality[order])).rows


def point_by_point(series: list[Series], readings: Readings) -> bytes:
    """The same lines, by the client's objects."""
    lines = []
    columns = (readings.point.tolist(), readings.time.tolist(), readings.value.tolist(), readings.quality.tolist())
    for number, at, value, quality in zip(*columns, strict=True):
        of = series[number]
        point = ClientPoint(of.measurement)
        for key, tag in of.tags:
            point.tag(key, tag)
        point.field(of.field, value)
        if quality:
            point.field(QUALITY_FIELD, quality)
        lines.append(point.time(at, WritePrecision.US).to_line_protocol())
    return "\n".join(lines).encode()


def timed(call: Callable[[Readings], bytes], batches: list[Readings]) -> npt.NDArray[np.float64]:
    """CPU seconds of each batch."""
    taken = []
    for batch in batches:
        start = time.process_time()
        call(batch)
        taken.append(time.process_time() - start)
    return np.array(taken)


def tell(what: str, seconds: npt.NDArray[np.float64], rows: int) -> float:
    """One line; answers rows per CPU-second."""
    rate = rows * len(seconds) / seconds.sum()
    best = rows / seconds.min()
    print(f"{what:<30}{rate:>12,.0f} rows per CPU-second, in the best batch {best:,.0f}", flush=True)
    return float(rate)


def main() -> None:
    """Runs all of it and prints a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=20, help="batches of 20 000 rows (default: %(default)s)")
    batches = [scan(number) for number in range(parser.parse_args().batches)]
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "polars", "influxdb-client"))
    print(f"{versions}; load {os.getloadavg()[0]:.1f}")
    series, lines = plant(), Lines()
    start = time.process_time()
    for number, one in enumerate(series):
        lines.learn(number, one)
    first = lines.block(batches[0])
    took = time.process_time() - start
    print(
        f"first batch: {took:.2f} CPU-seconds, {POINTS:,} series learnt in it; {len(first) / POINTS:.0f} bytes a line"
    )
    few = batches[0].take(np.arange(2_000))
    ours = tell("columns", timed(lines.block, batches), POINTS)
    slow = timed(lambda rows: point_by_point(series, rows), [few] * 3)
    theirs = tell("influxdb_client.Point", slow, 2_000)
    same = point_by_point(series, few).splitlines() == lines.block(few).replace(b".0 ", b" ").splitlines()
    print(f"ratio: {ours / theirs:.0f} times as many rows; {'the same lines' if same else 'lines that differ'}")


if __name__ == "__main__":
    main()

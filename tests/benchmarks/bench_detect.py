"""What one round of all window detectors costs, over the racks of a plant: 20 signals a rack and its CDU, ten minutes.

    python -m tests.benchmarks.bench_detect [--racks 250 1000 4000] [--pace 5] [--looks 5]

The plant is healthy and its norms are learned, so every statistic is computed and judged. Told are the detectors, by
name and together, in processor time, which a busy machine stretches least, with the cutting of their frames out of the
window; and a whole round as the service makes it, by the clock."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from alerts import rules
from dcim.app.rounds import Rounds
from dcim.core.ports import Detector, Learner
from dcim.core.readings import Readings
from dcim.core.times import to_us
from dcim.detect.cooling import Cooling
from dcim.detect.damp import Damp
from dcim.detect.electrical import Electrical
from dcim.detect.leaks import Leaks
from dcim.detect.limits import Limits
from dcim.detect.sensors import Sensors
from dcim.detect.thermal import Heat
from dcim.detect.window import BYTES_MAX, Window
from tests.benchmarks.__main__ import machine
from tests.scenarios.full import NOISE, SHARED, Full
from tests.scenarios.loop import START, at

LASTS_S = 600.0
RACKS_PER_CDU = 8
RACK_SIGNALS = frozenset(
    {
        *("RackPower", "RackLiquidFlow", "RackLiquidSupplyTemperature", "RackLiquidReturnTemperature"),
        *("RackLiquidDifferentialPressure", "RackControlValvePosition"),
        *("phase A", "phase B", "phase C", "power"),
        *("GpuTemperature", "GpuPower", "GpuClockEventReasons"),
    }
)
"""Six of the rack, four of each of its two taps, three of each of two GPUs: 20. Limits are told once."""


def plant(racks: int) -> Full:
    """Blocks of eight racks, each with its CDU, as one plant."""
    whole = Full(racks=0, gpus=0)
    whole.numbers.clear()
    for block in range(-(-racks // RACKS_PER_CDU)):
        part = Full(racks=min(RACKS_PER_CDU, racks - block * RACKS_PER_CDU), gpus=2)
        for (asset, name), number in part.numbers.items():
            point = part.index[number]
            if point is None or (name not in RACK_SIGNALS and point.asset_kind not in {"CDU", "Sensor", "PowerMeter"}):
                continue
            about = {
                field: getattr(point, field)
                for field in ("areas", "loop", "side", "phase", "part", "setpoint", "states")
            }
            serves = tuple(f"{block}-{served}" for served in point.serves)
            within = f"{block}-{point.within}" if point.within else ""
            whole.add(f"{block}-{asset}", name, point.asset_kind, point.quantity, serves=serves, within=within, **about)
    whole.survey()
    return whole


def frame_of(full: Full, pace_s: float) -> pl.DataFrame:
    """Ten minutes of every point, column by column."""
    dice = np.random.default_rng(1)
    stamps = to_us(START) + (np.arange(0.0, LASTS_S, pace_s) * 1e6).astype(np.int64)
    places = sorted(full.numbers.items(), key=lambda item: item[1])
    value = np.empty((len(places), len(stamps)))
    full.racks = [""] * RACKS_PER_CDU  # as many as each block has: values of CDUs and busways go by it
    for row, ((asset, name), _) in enumerate(places):
        own = asset.split("-", 1)[1]
        sigma = NOISE.get(name, 0.0) + (
            0.005 * full.value(own, name) if name in SHARED or name.startswith("phase") else 0.0
        )
        value[row] = full.value(own, name) + sigma * dice.standard_normal(len(stamps))
        if name == "GpuTemperature":
            np.rint(value[row], out=value[row])
    numbers = np.array([number for _, number in places], np.uint32)
    return Readings(
        np.repeat(numbers, len(stamps)),
        np.tile(stamps, len(places)),
        value.reshape(-1),
        np.zeros(value.size, np.uint8),
    ).to_frame()


def filled(full: Full, frame: pl.DataFrame, detectors: Sequence[Detector], until_s: float, pace_s: float) -> Window:
    """A window as it is when it has run for long: sorted but for what came in the last minute."""
    columns = (frame[name].to_physical().to_numpy() for name in ("point", "time", "value", "quality"))
    readings = Readings(*columns)
    window = Window(max(detector.needs.look_back for detector in detectors), 2 * BYTES_MAX)
    for since_s, beyond_s in (
        (0.0, until_s - 60.0),
        (until_s - 60.0, until_s - pace_s / 2.0),
        (until_s - pace_s / 2.0, 1e6),
    ):
        window.offer(readings.take((readings.time >= to_us(at(since_s))) & (readings.time < to_us(at(beyond_s)))))
        if beyond_s < until_s:
            window.frame([], 0, to_us(at(beyond_s)))
    return window


def tell(racks: int, pace_s: float, looks: int) -> None:
    full = plant(racks)
    frame = frame_of(full, pace_s)
    until_s = LASTS_S - pace_s
    detectors: Sequence[Detector] = (
        Limits(rules.default().limits), Sensors(), Leaks(), Heat(), Cooling(), Damp(), Electrical(),
    )  # fmt: skip
    print(
        f"{racks:>6,} racks, {len(full.plant.points):>7,} points every {pace_s:g} s, {frame.height:>10,} rows",
        flush=True,
    )
    window = filled(full, frame, detectors, until_s, pace_s)
    del frame
    _peak_mb(anew=True)
    together = np.zeros(looks)
    for detector in detectors:
        points = [point.id for point in full.plant.of(*sorted(detector.needs.quantities))]
        cut, took = np.zeros(looks), np.zeros(looks)
        for number in range(-1, looks):
            began = time.process_time()
            shown = window.frame(points, to_us(at(until_s) - detector.needs.look_back), to_us(at(until_s)))
            then = time.process_time()
            answer = detector.detect(shown, full.plant, at(until_s))
            if number >= 0:
                cut[number], took[number] = then - began, time.process_time() - then
            elif isinstance(detector, Learner):
                detector.learn(frozenset())
                study = detector.study  # type: ignore[attr-defined]  # of every Learner
                study._learned_at = at(until_s) - timedelta(days=1)  # as if for a day
                study.norms = study.norms.learn(list(study._looked), 600.0)
        together += cut + took
        said = f"{len(answer.findings)} found, {len(answer.unknown):,} unknown"
        print(
            f"       {detector.name:<12}{shown.height:>12,} rows   {1000 * np.median(took):>7,.0f} ms   "
            f"and {1000 * np.median(cut):>5,.0f} ms to cut them out   {said}",
            flush=True,
        )
        del shown
    wall = np.zeros(looks)
    for number in range(looks):
        rounds = Rounds(detectors, 1.0, in_turn=2)
        rounds.know(rounds.needs(full.plant))
        began = time.perf_counter()
        rounds.look(window, full.plant, at(until_s))
        wall[number] = time.perf_counter() - began
    median_s = float(np.median(together))
    print(
        f"       together    {median_s:.2f} s of processor time, {1e6 * median_s / racks:,.0f} µs a rack; "
        f"a round {np.median(wall):.2f} s by the clock, least {wall.min():.2f} s; "
        f"most memory {_peak_mb():,.0f} MB\n",
        flush=True,
    )


def _peak_mb(*, anew: bool = False) -> float:
    """The most memory that this process had since it was last asked to begin anew."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    told = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(told.split()[1]) / 1024.0


def main() -> None:
    """Prints a table for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--racks", type=int, nargs="*", default=[250, 1_000, 4_000])
    parser.add_argument("--pace", type=float, default=5.0, help="seconds between readings (default: %(default)s)")
    parser.add_argument("--looks", type=int, default=5)
    chosen = parser.parse_args()
    print(f"{machine()}; Polars {pl.__version__}, numpy {np.__version__}")
    for racks in chosen.racks:
        tell(racks, chosen.pace, chosen.looks)
    if chosen.racks == [250, 1_000, 4_000]:
        tell(2_000, 1.0, chosen.looks)


if __name__ == "__main__":
    main()

"""Works out the thresholds of the slow test for leaks (dcim/detect/seepage.py) on healthy simulated halls.

    python -m tests.benchmarks.calibrate_leaks [--seeds 1 2 3] [--days 4] [--records 20000]

Halls of eight CDUs run for some days of work without a fault; load steps, new set-points and pump changeovers are part
of it. Their minutes are cut into blocks of two hours, which keep what is not independent together, and half-days are
put together out of them at random (block bootstrap). The CUSUM at the end of each is the statistic; beyond its highest
two per cent the tail is taken to be exponential. Told is what a loop passes once in ten years, when a look every half
hour is an independent one. What follows the CUSUM (it goes on, for long enough, two sensors agree) is not reckoned: it
is to spare.

Seeds are below 1,000; those of the evaluation are not, so nothing is tuned on what is reported."""

from __future__ import annotations

import argparse
import math

import numpy as np

from dcim.detect.loops import ATMOSPHERE_KPA, StockSettings
from dcim.detect.seepage import SeepageSettings, tide
from dcim.detect.traces import Floats
from dcim.detect.wide import Bools
from dcim.sim.faults import Fault, LoadStep, PumpChangeover, SetpointChange
from dcim.sim.hall import Hall, HallSettings
from dcim.sim.recording import Pace, walk
from dcim.sim.sensors import MISSING, Sensors
from dcim.sim.timetable import Event, Timetable
from tests.benchmarks.__main__ import machine

CDUS, RACKS = 8, 2
RESERVOIR_L = 12.5
"""A quarter of the baseline's, for a quarter of its racks: all that counts are shares of it."""
BLOCK_MIN = 120
LOOKS_IN_TEN_YEARS = 10 * 365 * 48
TAIL_SHARE = 0.02
WANTED = {
    "level": ("GenericPoint", "Level"),
    "suction": ("LiquidPressure", "Return"),
    "supply": ("LiquidTemperature", "Supply"),
    "return": ("LiquidTemperature", "Return"),
    "pump 1": ("PumpSpeed", "Pump1"),
    "pump 2": ("PumpSpeed", "Pump2"),
}


def everyday(hall: Hall, seed: int, days: float) -> Timetable:
    """Three things a day that are no fault, in every loop."""
    dice = np.random.default_rng(seed)
    events = []
    for number, cdu in enumerate(hall.cdus):
        for slot in range(math.floor(3 * days)):
            onset_s = slot * 28_800.0 + 3_600.0 + float(dice.integers(0, 10_800))
            change_k = float(dice.uniform(0.5, 3.0) * dice.choice([-1.0, 1.0]))
            fault: Fault = (
                LoadStep(cdu, float(dice.uniform(0.2, 0.8)) * float(dice.choice([-1.0, 1.0]))),
                SetpointChange(cdu, change_k),
                PumpChangeover(cdu, 1 + (slot // 3 + 1) % 2),
            )[(slot + number) % 3]
            events.append(Event(round(onset_s, -1), 60.0 if isinstance(fault, PumpChangeover) else 7_200.0, (fault,)))
    return Timetable(tuple(events))


def minutes(hall: Hall, seed: int, days: float) -> dict[str, Floats]:
    """[loops, minutes] of what the meters show."""
    sensors = Sensors(hall, seed)
    columns, first = {}, 0
    for gauge in sensors.gauges:
        for name, (point_type, area) in WANTED.items():
            if (
                gauge.point_type == point_type
                and area in gauge.area
                and not gauge.setpoint
                and "Primary" not in gauge.area
            ):
                columns[name] = (slice(first, first + len(gauge.places)), 10.0**-gauge.decimals)
        first += len(gauge.places)
    parts: dict[str, list[Floats]] = {name: [] for name in WANTED}
    before = None
    for states in walk(hall, seed, days * 86_400.0, Pace(10.0, 3_600.0), timetable=everyday(hall, seed, days)):
        shown = sensors.show_all(states, before)
        before = shown[-1]
        for name, (where, digit) in columns.items():
            raw = shown[:, where]
            parts[name].append(np.where(raw == MISSING, np.nan, raw * digit))
    whole = {name: np.concatenate(part).T for name, part in parts.items()}
    count = min(column.shape[1] for column in whole.values()) // 6
    return {name: np.nanmean(column[:, : 6 * count].reshape(CDUS, count, 6), axis=2) for name, column in whole.items()}


def blocks(seeds: list[int], days: float) -> tuple[Floats, Floats, Floats, Bools]:
    """[blocks, minutes]: litres by level and by pressure, expansion, and when a pump moved the level."""
    stock = StockSettings()
    found: list[tuple[Floats, ...]] = []
    for seed in seeds:
        settings = HallSettings(
            racks=RACKS * CDUS,
            cdus=CDUS,
            hosts_per_rack=1,
            gpus_per_host=2,
            gpu_power_kw=36.0,
            reservoir_l=RESERVOIR_L,
            fill_lpm=1.5,
            serial=seed,
        )
        hall = Hall(settings)
        read = minutes(hall, seed, days)
        level_l = read["level"] / 100.0 * settings.reservoir_l
        absolute = read["suction"] + ATMOSPHERE_KPA
        charge = np.nanmedian(absolute * (settings.reservoir_l - level_l), axis=1, keepdims=True)
        mean_c = (read["supply"] + read["return"]) / 2.0
        volume_l = np.full(mean_c.shape, RACKS * settings.loop_l_per_rack)
        expansion_l = stock.fluid.expansion_l(volume_l, np.full(mean_c.shape, 40.0), mean_c)
        step = np.zeros(mean_c.shape)
        for pump in ("pump 1", "pump 2"):
            step[:, 1:] = np.maximum(step[:, 1:], np.abs(np.diff(read[pump], axis=1)))
        columns = (level_l, settings.reservoir_l - charge / absolute, expansion_l, step)
        number = mean_c.shape[1] // BLOCK_MIN
        found.append(tuple(column[:, : number * BLOCK_MIN].reshape(-1, BLOCK_MIN) for column in columns))
        print(f"  seed {seed}: {CDUS} loops, {days:g} days", flush=True)
    level_l, pressure_l, expansion_l, step = (np.concatenate(column) for column in zip(*found, strict=True))
    return level_l, pressure_l, expansion_l, step > stock.pump_step_pct


def bootstrap(litres: Floats, expansion: Floats, moved: Bools, records: int, settings: SeepageSettings) -> Floats:
    """[spans, records]: the CUSUM at the end of half-days put together out of blocks, each joined on to the one before
    it where that ended."""
    dice = np.random.default_rng(0)
    minutes_ = settings.record_min
    per = minutes_ // BLOCK_MIN + 1  # one more, so that an end may lie anywhere in a block
    answers = []
    for _ in range(-(-records // 500)):
        chosen = dice.integers(0, len(litres), (500, per))
        cut = dice.integers(0, BLOCK_MIN, (500, 1)) + np.arange(minutes_)
        joined = []
        for column in (litres, expansion):
            steps = np.diff(column, axis=1, prepend=column[:, :1])
            joined.append(np.take_along_axis(np.cumsum(steps[chosen].reshape(500, -1), axis=1), cut, axis=1))
        shifted = np.take_along_axis(moved[chosen].reshape(500, -1), cut, axis=1)
        answers.append(tide(joined[0], joined[1], shifted, np.full(500, RESERVOIR_L), settings).fall_l)
    return np.concatenate(answers, axis=1)[:, :records]


def once_in_ten_years(statistic: Floats) -> float:
    """What so many independent looks pass once, by an exponential tail over the highest two per cent."""
    ranked = np.sort(statistic[np.isfinite(statistic)])
    tail = ranked[-max(10, int(TAIL_SHARE * len(ranked))) :]
    return float(tail[0] + (tail - tail[0]).mean() * math.log(LOOKS_IN_TEN_YEARS * TAIL_SHARE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--days", type=float, default=4.0)
    parser.add_argument("--records", type=int, default=20_000)
    asked = parser.parse_args()
    if max(asked.seeds) >= 1_000:
        parser.error("seeds from 1,000 on are those of the evaluation; choose lower ones")
    print(machine())
    level_l, pressure_l, expansion_l, moved = blocks(asked.seeds, asked.days)
    settings = SeepageSettings()
    print(f"{len(level_l)} blocks of {BLOCK_MIN} minutes, {asked.records} half-days out of them")
    per_pct, per_kpa = 0.01 * RESERVOIR_L, 0.4 * RESERVOIR_L / 250.0
    for name, litres, chosen, unit, unit_l in (
        ("level", level_l, settings.level_pct, "%", per_pct),
        ("pressure", pressure_l, settings.pressure_kpa, "kPa", per_kpa),
    ):
        found = bootstrap(litres, expansion_l, moved, asked.records, settings)
        for span, statistic in zip(settings.spans_min, found, strict=True):
            told = (np.median(statistic), np.quantile(statistic, 0.99), statistic.max(), once_in_ten_years(statistic))
            figures = ", ".join(
                f"{word} {passed / unit_l:.2f} {unit}"
                for word, passed in zip(("median", "99 %", "most", "once in ten years"), told, strict=True)
            )
            print(f"{name:>9}, {span:>4} min: {figures}; set is {chosen:g} {unit}")


if __name__ == "__main__":
    main()

"""A loop for scenarios: one CDU with its racks as points, and series of readings written down by hand.

What a case does not give is healthy. Nothing sleeps; noise is seeded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from dcim.core.assets import AssetKey, Placement
from dcim.core.live import Latest
from dcim.core.plant import Plant, survey
from dcim.core.points import Loop, Point, PointIndex, Side
from dcim.core.ports import Detector
from dcim.core.readings import Quality, Readings
from dcim.core.times import to_us

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SITE = "s"
LEAK_WORDS = ((0, "NoLeak"), (1, "Leak"))
FAULT_WORDS = ((0, "NoFault"), (1, "Fault"))
RACK_POINTS = (
    "RackPower",
    "RackLiquidFlow",
    "RackControlValvePosition",
    "RackLiquidSupplyTemperature",
    "RackLiquidReturnTemperature",
)


class Loops:
    """A plant of CDUs, each with racks of its own: cdu-0 feeds r-0, r-1 … Points are found by asset and name."""

    def __init__(self, racks: int = 4, cdus: int = 1, rated_kw: float | None = 120.0, gpus: int = 0) -> None:
        self.index = PointIndex()
        self.numbers: dict[tuple[str, str], int] = {}
        self.placements: dict[AssetKey, Placement] = {}
        for cdu in range(cdus):
            own = tuple(f"r-{rack}" for rack in range(cdu * racks, (cdu + 1) * racks))
            self._cdu(f"cdu-{cdu}", own)
            for rack in own:
                self._rack(rack, gpus)
                self.placements[AssetKey(SITE, rack)] = Placement(rated_power_kw=rated_kw)
        self.plant: Plant = survey(self.index, self.placements)

    def __getitem__(self, place: tuple[str, str]) -> int:
        """Number of a point, by asset and the name it was added by."""
        return self.numbers[place]

    def add(self, asset: str, name: str, kind: str, quantity: str, **fields: object) -> int:
        """Adds a point; the plant is not surveyed anew."""
        key = f"{SITE}|t|{asset}/{name}"
        number = self.index.locate(key)
        about: dict[str, object] = {"asset_kind": kind, "asset_name": asset, "object_type": kind, **fields}
        unit = about.pop("unit", None)
        point = Point(id=number, key=key, site=SITE, asset=asset, quantity=quantity, unit="", **about)  # type: ignore[arg-type]  # a test's shorthand
        unit = point.measures.unit if unit is None else unit
        self.index.describe(
            Point(id=number, key=key, site=SITE, asset=asset, quantity=quantity, unit=str(unit), **about)  # type: ignore[arg-type]
        )
        self.numbers[asset, name] = number
        return number

    def survey(self) -> Plant:
        """The plant after points were added."""
        self.plant = survey(self.index, self.placements)
        return self.plant

    def _cdu(self, cdu: str, serves: tuple[str, ...]) -> None:
        def add(
            name: str, quantity: str, loop: Loop = Loop.SECONDARY, side: Side | None = None, **fields: object
        ) -> None:
            areas = (loop.value.title(), *((side.value.title(),) if side else ()), *fields.pop("also", ()))  # type: ignore[misc]  # areas are texts
            self.add(cdu, name, "CDU", quantity, loop=loop, side=side, areas=areas, serves=serves, **fields)

        add("supply", "LiquidTemperature", side=Side.SUPPLY)
        add("return", "LiquidTemperature", side=Side.RETURN)
        add("flow", "LiquidFlow")
        add("primary flow", "LiquidFlow", Loop.PRIMARY)
        add("suction", "LiquidPressure", side=Side.RETURN)
        add("pump 1", "PumpSpeed", also=("Pump1",))
        add("pump 2", "PumpSpeed", also=("Pump2",))
        add("fill", "PumpSpeedState", also=("Fill",), states=((0, "Off"), (1, "On")))
        add("level", "LiquidLevel", also=("Reservoir",))
        add("rope", "LeakDetect", states=LEAK_WORDS)

    def _rack(self, rack: str, gpus: int) -> None:
        for quantity in RACK_POINTS:
            self.add(rack, quantity, "Rack", quantity)
        self.add(rack, "rope", "Rack", "RackLeakDetect", states=LEAK_WORDS)
        self.add(rack, "tray", "Rack", "RackLeakDetectTray", states=LEAK_WORDS, integration="MGR")
        self.add(rack, "fault", "Rack", "RackLeakSensorFault", states=FAULT_WORDS)
        isolated = ((0, "NotIsolated"), (1, "Isolated"))
        self.add(rack, "isolation", "Rack", "RackLiquidIsolationStatus", states=isolated)
        for gpu in range(gpus):
            for quantity in ("GpuTemperature", "GpuPower", "GpuSlowdownTemperature"):
                self.add(f"{rack}-gpu{gpu}", quantity, "Gpu", quantity, within=rack, part=str(gpu))


HEALTHY: Mapping[str, float] = {
    "supply": 35.0,
    "return": 45.0,
    "suction": 148.0,
    "pump 1": 80.0,
    "pump 2": 0.0,
    "fill": 0.0,
    "level": 60.0,
    "rope": 0.0,
    "tray": 0.0,
    "fault": 0.0,
    "isolation": 0.0,
    "RackPower": 100.0,
    "RackLiquidFlow": 179.0,
    "RackControlValvePosition": 70.0,
    "RackLiquidSupplyTemperature": 35.0,
    "RackLiquidReturnTemperature": 45.0,
    "GpuTemperature": 70.0,
    "GpuPower": 1.0,
    "GpuSlowdownTemperature": 89.0,
}
NOISE: Mapping[str, float] = {"supply": 0.05, "return": 0.05, "suction": 0.5, "level": 0.5, "RackPower": 0.2}


def healthy(loops: Loops, racks: int = 4) -> dict[int, float]:
    """A value for every point, by number: everything as it should be."""
    values = {}
    for (_, name), number in loops.numbers.items():
        values[number] = {"flow": 179.0 * racks, "primary flow": 160.0 * racks}.get(name, HEALTHY.get(name, 0.0))
    return values


Series = npt.NDArray[np.float64]


def history(
    loops: Loops, lasts_s: float, given: Mapping[tuple[str, str], Series | float], *, pace_s: float = 5.0, seed: int = 0
) -> pl.DataFrame:
    """Readings of every point every pace_s, as a detector gets them: what is given, healthy values for the rest, and
    the domain's noise on both. A series that is given has one value for each instant."""
    dice = np.random.default_rng(seed)
    times = np.arange(0.0, lasts_s, pace_s)
    stamps = to_us(START) + (times * 1e6).astype(np.int64)
    base = healthy(loops)
    parts = []
    for (asset, name), number in sorted(loops.numbers.items(), key=lambda item: item[1]):
        values = np.broadcast_to(np.asarray(given.get((asset, name), base[number]), np.float64), times.shape)
        if ("low" in name.lower() and "rack" in name.lower()) or name == "flow":
            values = values * (1.0 + 0.005 * dice.standard_normal(len(times)))
        values = values + NOISE.get(name, 0.0) * dice.standard_normal(len(times))
        numbers = np.full(len(times), number, np.uint32)
        parts.append(Readings(numbers, stamps, values, np.zeros(len(times), np.uint8)))
    return Readings.concat(parts).to_frame().sort("point", "time", maintain_order=True)


def at(second: float) -> datetime:
    """The instant of a second of the scenario."""
    return START + timedelta(seconds=float(second))


def window(frame: pl.DataFrame, detector: Detector, plant: Plant, second: float) -> pl.DataFrame:
    """What a detector is shown at a second: its quantities, its look-back."""
    points = [point.id for point in plant.of(*detector.needs.quantities)]
    recent = pl.col("time").is_between(at(second) - detector.needs.look_back, at(second))
    return frame.filter(recent & pl.col("point").is_in(pl.Series(points, dtype=pl.UInt32).implode()))


def now(values: Mapping[int, float | None], second: float = 0.0, quality: Quality = Quality.GOOD) -> Readings:
    """One reading of each point at a second; None is a missing value of bad quality."""
    return Readings.of(
        list(values),
        [to_us(at(second))] * len(values),
        [float("nan") if value is None else value for value in values.values()],
        [Quality.BAD if value is None else quality for value in values.values()],
    )


def taken(latest: Latest, readings: Readings, second: float) -> Readings:
    """Puts readings into live state at a second, and hands them on."""
    latest.take(readings, to_us(at(second)))
    return readings


def numbers(loops: Loops, places: Sequence[tuple[str, str]]) -> list[int]:
    """Numbers of several points."""
    return [loops[place] for place in places]

"""A loop with everything that a plant may publish: Loops, and besides it facility water, valves, filters, pressure
differences, power meters, air, and all that GPUs tell. Its healthy values are in balance with one another."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import polars as pl

from dcim.core.findings import Detection, Finding, FindingKind
from dcim.core.points import Loop, Side
from dcim.core.ports import Detector
from dcim.core.readings import Readings
from dcim.core.times import to_us
from dcim.detect.norms import FORGET_S, Norms
from dcim.physics.electrical import line_current_a
from dcim.physics.fluids import PG25, WATER
from dcim.physics.hydraulics import heat_carried_kw
from tests.scenarios.loop import START, Loops, Series, at, window

RATING_A = 250.0
GPU_K_W = 0.035
POWER_KW = 110.0
FLOW_LPM, DROP_KPA = 179.0, 100.0
HEAT_KW = heat_carried_kw(FLOW_LPM, 35.0, 45.0, PG25)
LEARNED_S = 30 * 86_400.0


class Full(Loops):
    """Racks of nodes with eight GPUs each, fed by two busways through two taps a rack."""

    def __init__(self, racks: int = 4, nodes: int = 1, gpus: int = 8) -> None:
        super().__init__(racks=racks)
        self.racks = [f"r-{rack}" for rack in range(racks)]
        cdu = partial(self.add, "cdu-0", kind="CDU")
        for name, side in (("primary in", Side.SUPPLY), ("primary out", Side.RETURN)):
            cdu(name, quantity="LiquidTemperature", loop=Loop.PRIMARY, side=side, areas=("Primary",))
        two = Loop.SECONDARY
        cdu("dp", quantity="LiquidDifferentialPressure", loop=two, areas=("Secondary",))
        cdu("filter", quantity="LiquidDifferentialPressure", loop=two, areas=("Secondary", "Filter1"))
        cdu("valve", quantity="ValvePosition", loop=Loop.PRIMARY, areas=("Primary",))
        cdu("valve command", quantity="ValvePosition", loop=Loop.PRIMARY, areas=("Primary",), setpoint=True)
        cdu("setpoint", quantity="LiquidTemperature", loop=two, side=Side.SUPPLY, areas=("Secondary",), setpoint=True)
        for twin in (1, 2):
            cdu(f"twin {twin}", quantity="LiquidTemperature", loop=two, areas=("Tank",), part=str(twin))
        for feed in "AB":
            self.meter(f"bus-{feed}", tuple(f"{rack}-tap-{feed}" for rack in self.racks))
            for rack in self.racks:
                self.meter(f"{rack}-tap-{feed}", (rack,))
        self.add("env", "air", "Sensor", "AirTemperature", areas=("ColdAisle",))
        self.add("env", "humidity", "Sensor", "AirRelativeHumidity", areas=("ColdAisle",))
        self.gpus = []
        for rack in self.racks:
            self.add(rack, "RackLiquidDifferentialPressure", "Rack", "RackLiquidDifferentialPressure")
            for node in range(nodes):
                for gpu in range(gpus):
                    self.gpus.append(f"{rack}-n{node}-gpu{gpu}")
                    for quantity in GPU_VALUES:
                        self.add(self.gpus[-1], quantity, "Gpu", quantity, within=rack, part=str(gpu))
        self.survey()

    def meter(self, name: str, serves: tuple[str, ...]) -> None:
        add = partial(self.add, name, kind="PowerMeter", serves=serves)
        for phase in "ABC":
            add(f"phase {phase}", quantity="PhaseCurrent", phase=phase)
        add("limit", quantity="CurrentLimit")
        add("power", quantity="ActivePower")

    def value(self, asset: str, name: str) -> float:
        """What is healthy."""
        racks = len(self.racks)
        share = 0.5 * (racks if asset.startswith("bus") else 1)
        if name.startswith("phase"):
            return share * line_current_a(POWER_KW, 415.0, 0.98)
        per_rack = {"flow": FLOW_LPM, "primary flow": 160.0}
        if name in per_rack:
            return racks * per_rack[name]
        special = {
            "limit": RATING_A * (racks if asset.startswith("bus") else 1),
            "power": share * POWER_KW,
            "primary out": 27.0 + HEAT_KW / heat_carried_kw(160.0, 31.5, 32.5, WATER),
        }
        return special.get(name, VALUES.get(name, 0.0))


GPU_VALUES: Mapping[str, float] = {
    "GpuTemperature": 35.0 + GPU_K_W * 900.0,
    "GpuPower": 0.9,
    "GpuPowerLimit": 1.0,
    "GpuSlowdownTemperature": 89.0,
    "GpuClockEventReasons": 0.0,
    "GpuSoftwareThermalSlowdownTime": 12.0,
}
VALUES: Mapping[str, float] = {
    **GPU_VALUES,
    "supply": 35.0,
    "return": 45.0,
    "suction": 148.0,
    "pump 1": 80.0,
    "level": 60.0,
    "RackPower": POWER_KW,
    "RackLiquidFlow": FLOW_LPM,
    "RackControlValvePosition": 70.0,
    "RackLiquidSupplyTemperature": 35.0,
    "RackLiquidReturnTemperature": 45.0,
    "RackLiquidDifferentialPressure": DROP_KPA,
    "primary in": 27.0,
    "dp": DROP_KPA,
    "filter": 8.0,
    "valve": 60.0,
    "valve command": 60.0,
    "setpoint": 35.0,
    "twin 1": 40.0,
    "twin 2": 40.3,
    "air": 24.0,
    "humidity": 45.0,
}
NOISE: Mapping[str, float] = {
    **dict.fromkeys(("supply", "return", "primary in", "primary out", "twin 1", "twin 2", "air"), 0.05),
    **dict.fromkeys(("RackLiquidSupplyTemperature", "RackLiquidReturnTemperature"), 0.05),
    **dict.fromkeys(("suction", "level", "dp", "RackLiquidDifferentialPressure"), 0.5),
    **dict.fromkeys(("humidity", "power"), 0.2),
    "RackPower": 0.3,
    "filter": 0.1,
    "GpuPower": 0.003,
    "GpuTemperature": 0.4,
}
"""1σ, in the point's unit; flows and currents have half a percent."""
SHARED = {"flow", "primary flow", "RackLiquidFlow"}

Given = Mapping[tuple[str, str], Series | float]


def times(lasts_s: float, pace_s: float = 5.0) -> Series:
    return np.arange(0.0, lasts_s, pace_s)


def told(full: Full, lasts_s: float, given: Given | None = None, *, pace_s: float = 5.0, seed: int = 0) -> pl.DataFrame:
    """Readings of every point, with noise on all that is not given as "exact"."""
    dice = np.random.default_rng(seed)
    instants = times(lasts_s, pace_s)
    stamps = to_us(START) + (instants * 1e6).astype(np.int64)
    parts = []
    for (asset, name), number in sorted(full.numbers.items(), key=lambda item: item[1]):
        values = np.broadcast_to(np.asarray((given or {}).get((asset, name), full.value(asset, name))), instants.shape)
        noise = dice.standard_normal(len(instants))
        share = 0.005 if name in SHARED or name.startswith("phase") else 0.0
        values = values * (1.0 + share * noise) + NOISE.get(name, 0.0) * noise
        if name == "GpuTemperature":
            values = np.rint(values)
        parts.append(
            Readings(np.full(len(instants), number, np.uint32), stamps, values, np.zeros(len(instants), np.uint8))
        )
    return Readings.concat(parts).to_frame()


def look(
    detector: Detector, full: Full, given: Given | None = None, *, lasts_s: float = 600.0, seed: int = 0
) -> Detection:
    """What a detector says at the end of so many seconds in which what is given was so."""
    end_s = lasts_s - 1.0
    frame = told(full, lasts_s, given, seed=seed)
    return detector.detect(window(frame, detector, full.plant, end_s), full.plant, at(end_s))


def only(answer: Detection, kind: FindingKind) -> Finding:
    """The one finding, which is of this kind. Fails where there are others."""
    assert [finding.kind for finding in answer.findings] == [kind], [finding.summary for finding in answer.findings]
    return answer.findings[0]


def learned(detector: Detector, full: Full, seconds: float = LEARNED_S, given: Given | None = None) -> Norms:
    """The norms of a healthy plant: what one look at it measures, as if it had been so for so long."""
    fresh = type(detector)()
    look(fresh, full, given, seed=99)
    norms = fresh.study.norms  # type: ignore[attr-defined]  # of a Learner
    for _ in range(2):
        norms = norms.learn(list(fresh.study._looked), 600.0)  # type: ignore[attr-defined]
    frame = norms.to_frame().with_columns(learned_s=pl.lit(min(seconds, FORGET_S)))
    return Norms.from_frame(frame)

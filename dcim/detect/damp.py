"""Damp: the margin between the coldest coolant and the dew point of the air around it, hall by hall.

Lives here: the detector. Not here: dew points (dcim.physics.psychrometrics), limits on humidity (rules)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from dcim.core.assets import AssetKey
from dcim.core.findings import Bearing, Detection, Evidence, Finding, FindingKind, Subject
from dcim.core.plant import Plant
from dcim.core.points import Point, Side
from dcim.core.ports import Needs
from dcim.core.times import to_us
from dcim.detect.figures import duration, figure
from dcim.detect.roster import Answer, Roster, beyond
from dcim.detect.traces import Floats, Grid
from dcim.detect.wide import Numbers, Wide, recent, widen
from dcim.physics.psychrometrics import dew_point_c


@dataclass(frozen=True, slots=True)
class DampSettings:
    """Margins as CDU manuals have them: 5 K warns, 2 K is the error of the sensors together."""

    look_back_s: float = 600.0
    bin_s: float = 10.0
    hold_s: float = 125.0
    every_s: float = 10.0
    near_k: float = 5.0
    at_k: float = 2.0
    deadband_k: float = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class _Zone:
    """One hall of one site; all of a site where no hall is told."""

    name: str
    pipes: Numbers
    air: Numbers
    humidity: Numbers


@dataclass(frozen=True, slots=True, eq=False)
class _Map:
    plant: Plant
    zones: tuple[_Zone, ...]
    near: Roster
    at_dew: Roster

    @classmethod
    def of(cls, plant: Plant) -> _Map:
        def hall(point: Point) -> tuple[str, str]:
            asset = plant.assets.get(AssetKey(point.site, point.asset))
            return point.site, asset.placement.hall if asset else ""

        pipes: dict[tuple[str, str], list[int]] = {}
        for point in plant.of("LiquidTemperature", "RackLiquidSupplyTemperature"):
            cold = point.quantity == "RackLiquidSupplyTemperature" or point.side is Side.SUPPLY
            if cold and not point.setpoint and point.unit_known:
                pipes.setdefault(hall(point), []).append(point.id)
        damp: dict[tuple[str, str, tuple[str, ...]], Point] = {
            (point.site, point.asset, point.areas): point
            for point in plant.of("AirRelativeHumidity")
            if not point.setpoint and point.unit_known
        }
        air: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for point in plant.of("AirTemperature"):
            twin = damp.get((point.site, point.asset, point.areas))
            if twin and not point.setpoint and point.unit_known:
                air.setdefault(hall(point), []).append((point.id, twin.id))
        zones, subjects = [], []
        for site, name in sorted(pipes):
            # A sensor whose hall is not told may stand anywhere on the site.
            pairs = air.get((site, name), []) + (air.get((site, ""), []) if name else [])
            columns = np.array(pairs, np.intp).reshape(-1, 2)
            zones.append(_Zone(name or site, np.array(pipes[site, name], np.intp), columns[:, 0], columns[:, 1]))
            subjects.append(Subject(site, name or site))
        return cls(
            plant,
            tuple(zones),
            Roster(FindingKind.CONDENSATION_NEAR, subjects),
            Roster(FindingKind.CONDENSATION, subjects),
        )


class Damp:
    """Detector: condensation on cold pipes."""

    name = "damp"
    kinds = frozenset({FindingKind.CONDENSATION_NEAR, FindingKind.CONDENSATION})

    def __init__(self, settings: DampSettings | None = None) -> None:
        self.settings = settings or DampSettings()
        self.needs = Needs(
            frozenset({"LiquidTemperature", "RackLiquidSupplyTemperature", "AirTemperature", "AirRelativeHumidity"}),
            timedelta(seconds=self.settings.look_back_s),
            timedelta(seconds=self.settings.every_s),
        )
        self._map = _Map.of(Plant())

    def detect(self, window: pl.DataFrame, plant: Plant, at: datetime) -> Detection:
        """Judges every hall that has a cold pipe. One without a sensor of temperature and humidity together is
        unknown."""
        if self._map.plant is not plant:
            self._map = _Map.of(plant)
        settings, plan = self.settings, self._map
        grid = Grid(to_us(at), settings.bin_s, round(settings.look_back_s / settings.bin_s), settings.hold_s)
        wide = widen(window, grid)
        margins = [_margin(zone, wide) for zone in plan.zones]
        now = np.array([margin.now_k for margin in margins])
        at_dew, nearly_at = beyond(-now, -settings.at_k, -settings.at_k - settings.deadband_k)
        near, nearly = beyond(-now, -settings.near_k, -settings.near_k - settings.deadband_k)

        def make(roster: Roster, row: int) -> Finding:
            zone, margin = plan.zones[row], margins[row]
            pipe, sensor = plant.points[margin.coldest], plant.points[margin.dampest]
            left_s = None
            lines = [
                Evidence(f"Coldest: {pipe.asset_name}, {pipe.name}", figure(margin.pipe_c, "°C"), point=margin.coldest),
                Evidence(
                    f"Dew point: {sensor.asset_name}, {sensor.name}", figure(margin.dew_c, "°C"), point=margin.dampest
                ),
            ]
            if margin.falls_k_s > 0.0 and margin.now_k > 0.0:
                left_s = margin.now_k / margin.falls_k_s
                lines.append(Evidence("The margin falls", f"it is gone in {duration(left_s)} at this pace"))
            elif margin.now_k > 0.0:
                lines.append(Evidence("The margin", "does not fall at present", Bearing.AGAINST))
            return Finding(
                roster.kind,
                roster.subjects[row],
                since=at,
                summary=f"{zone.name}: the coldest coolant is {figure(margin.now_k, 'K')} over the dew point",
                score=settings.near_k - margin.now_k,
                confidence=0.9,
                evidence=tuple(lines),
                time_to_limit_s=0.0 if margin.now_k <= 0.0 else left_s,
                check_first=(
                    f"Look for sweating at {pipe.asset_name} first, then along the facility water's pipes.",
                    "Close outside air, stop humidifiers, look at doors.",
                    "Have the supply set-point raised until the margin is over 5 K again.",
                ),
            )

        no_air = np.array([not len(zone.air) for zone in plan.zones], np.bool_)
        unknown = [
            (no_air, "no sensor tells temperature and humidity of its air together"),
            (np.isnan(now), "its air or its coolant is not heard"),
        ]
        answer = Answer()
        answer.judge(plan.at_dew, at_dew, nearly_at, unknown, lambda row: make(plan.at_dew, row))
        answer.judge(plan.near, near & ~at_dew, nearly | at_dew, unknown, lambda row: make(plan.near, row))
        return answer.detection()


@dataclass(frozen=True, slots=True)
class _Margin:
    now_k: float
    pipe_c: float
    dew_c: float
    coldest: int
    dampest: int
    falls_k_s: float


def _margin(zone: _Zone, wide: Wide) -> _Margin:
    pipes = wide.means(zone.pipes)
    dew: Floats = dew_point_c(wide.means(zone.air), wide.means(zone.humidity))
    pipe, damp = recent(pipes, 3), recent(dew, 3)
    if not len(dew) or np.isnan(pipe).all() or np.isnan(damp).all():
        return _Margin(np.nan, np.nan, np.nan, -1, -1, 0.0)
    coldest, dampest = int(np.nanargmin(pipe)), int(np.nanargmax(damp))
    line = pipes[coldest] - dew[dampest]
    half = len(line) // 2
    falls_k_s = 0.0
    if not np.isnan(line[:half]).all() and not np.isnan(line[half:]).all():
        earlier, later = float(np.nanmedian(line[:half])), float(np.nanmedian(line[half:]))
        falls_k_s = max(0.0, (earlier - later) / (half * wide.grid.bin_s))
    return _Margin(
        float(pipe[coldest] - damp[dampest]),
        float(pipe[coldest]),
        float(damp[dampest]),
        int(zone.pipes[coldest]),
        int(zone.humidity[dampest]),
        falls_k_s if falls_k_s > 1e-4 else 0.0,
    )

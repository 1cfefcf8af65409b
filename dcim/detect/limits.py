"""Limits: values beyond the bounds that rules set. Looked at on the tick.

Lives here: the detector. Not here: the bounds and their reasons (rule files), how long a value must stand there before
anybody is told (the alarm's delays)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from dcim.core.assets import AssetKey
from dcim.core.findings import Bearing, Detection, Evidence, Finding, FindingKind, Subject, Unknown
from dcim.core.limits import Limit
from dcim.core.plant import Plant
from dcim.core.points import Loop, Point, Side
from dcim.core.ports import Needs
from dcim.core.readings import Quality
from dcim.core.times import SECOND_US, from_us, to_us
from dcim.core.topology import Medium
from dcim.detect.figures import duration, figure
from dcim.detect.moment import STALE_AFTER_S
from dcim.detect.traces import Floats, Traces

SETPOINTS = frozenset({"LiquidTemperature", "LiquidTemperatureSpRequest"})
"""Quantities in which CDUs tell what their supply is to be."""


@dataclass(frozen=True, slots=True)
class LimitsSettings:
    """How values are held against limits."""

    look_back_s: float = STALE_AFTER_S
    """A point that has not spoken for so long is stale, and what it would say is not known."""
    sure: float = 0.95
    """Confidence in a good reading: the sensor may still be wrong."""
    doubtful: float = 0.5
    """Confidence in one that is kept as uncertain, say because it lies outside what is plausible."""


@dataclass(frozen=True, slots=True)
class _Map:
    """Every limit at every point that it is for, as columns of equal length."""

    plant: Plant
    points: tuple[Point, ...]
    limits: tuple[Limit, ...]
    subjects: tuple[Subject, ...]
    point: npt.NDArray[np.uint32]
    above: Floats
    """Infinite where there is none; so is below, the other way."""
    below: Floats
    deadband: Floats
    follows: tuple[tuple[int, npt.NDArray[np.uint32], float], ...]
    """(row, set-points of its coolant, how far over the highest of them `above` is at least)."""
    unknowable: tuple[Unknown, ...]
    """What no reading could decide: a bound that is a share of a rating that nobody gave, a unit that nobody knows."""

    @classmethod
    def of(cls, plant: Plant, limits: Sequence[Limit]) -> _Map:
        rows: list[tuple[Point, Limit, Subject, float, float, float]] = []
        unknowable: list[Unknown] = []
        for limit in limits:
            for point in plant.of(limit.quantity):
                if not _is_for(limit, point, plant) or (limit.per_rated_power and _by_current(point, plant)):
                    continue
                subject = Subject(point.site, point.asset, f"{limit.name}|{point.name}")
                per = _rating_kw(plant, point) if limit.per_rated_power else 1.0
                if per is None:
                    unknowable.append(Unknown(FindingKind.LIMIT, subject, "the settings give no rated power"))
                elif not point.unit_known:
                    unknowable.append(Unknown(FindingKind.LIMIT, subject, f"its unit {point.unit!r} is not known"))
                else:
                    above = np.inf if limit.above is None else limit.above * per
                    below = -np.inf if limit.below is None else limit.below * per
                    rows.append((point, limit, subject, above, below, limit.deadband * per))
        return cls(
            plant,
            tuple(row[0] for row in rows),
            tuple(row[1] for row in rows),
            tuple(row[2] for row in rows),
            np.array([row[0].id for row in rows], np.uint32),
            np.array([row[3] for row in rows], np.float64),
            np.array([row[4] for row in rows], np.float64),
            np.array([row[5] for row in rows], np.float64),
            tuple(
                (number, setpoints, limit.over_setpoint)
                for number, (point, limit, *_) in enumerate(rows)
                if limit.over_setpoint is not None and len(setpoints := _setpoints(plant, point))
            ),
            tuple(unknowable),
        )


class Limits:
    """Detector: the last value of every point against every limit that is for it."""

    name = "limits"
    kinds = frozenset({FindingKind.LIMIT})

    def __init__(self, limits: Sequence[Limit], settings: LimitsSettings | None = None) -> None:
        self.settings = settings or LimitsSettings()
        self.adopt(limits)

    def adopt(self, limits: Sequence[Limit]) -> None:
        """Looks at these limits from now on. Not to be called while it looks."""
        quantities = frozenset(limit.quantity for limit in limits)
        if any(limit.over_setpoint is not None for limit in limits):
            quantities |= SETPOINTS
        self.needs = Needs(quantities, timedelta(seconds=self.settings.look_back_s))
        self._limits = tuple(limits)
        self._map = _Map.of(Plant(), ())

    def detect(self, window: pl.DataFrame, plant: Plant, at: datetime) -> Detection:
        """Beyond a bound: a finding, since the first reading of the run that never came back inside by the deadband.
        Back inside by the deadband: absent. Between: neither. No usable reading: unknown, however good the one before
        was. Set-points are not held against limits."""
        if self._map.plant is not plant:
            self._map = _Map.of(plant, self._limits)
        rows, traces = self._map, Traces(window)
        place = np.searchsorted(traces.points, rows.point)
        place = np.minimum(place, max(len(traces.points) - 1, 0))
        heard = traces.points[place] == rows.point if len(traces.points) else np.zeros(len(rows.point), np.bool_)
        last = traces.ends[place] - 1 if len(traces.points) else np.zeros(len(rows.point), np.intp)
        value = np.full(len(rows.point), np.nan)
        value[heard] = traces.value[last[heard]]
        usable = ~np.isnan(value)
        above = _above(rows, traces)
        beyond = usable & ((value > above) | (value < rows.below))
        inside = usable & (value <= above - rows.deadband) & (value >= rows.below + rows.deadband)
        between = np.flatnonzero(usable & ~beyond & ~inside)
        findings = [
            self._beyond(row, traces, int(place[row]), float(above[row]), at) for row in np.flatnonzero(beyond).tolist()
        ]
        unknown = [
            Unknown(FindingKind.LIMIT, rows.subjects[row], self._why(bool(heard[row])))
            for row in np.flatnonzero(~usable).tolist()
        ]
        return Detection(
            tuple(findings),
            rows.unknowable + tuple(unknown),
            frozenset((FindingKind.LIMIT, rows.subjects[row]) for row in between.tolist()),
        )

    def _why(self, heard: bool) -> str:
        return "its last reading is missing or bad" if heard else f"no reading for {self.settings.look_back_s:.0f} s"

    def _beyond(self, row: int, traces: Traces, place: int, above: float, at: datetime) -> Finding:
        rows, point = self._map, self._map.points[row]
        run = slice(int(traces.starts[place]), int(traces.ends[place]))
        values, times = traces.value[run], traces.time[run]
        value, high = float(values[-1]), bool(values[-1] > above)
        bound = float(above if high else rows.below[row])
        back = values <= bound - rows.deadband[row] if high else values >= bound + rows.deadband[row]
        out = values > bound if high else values < bound
        cleared = np.flatnonzero(back)
        onset = int(np.flatnonzero(out[cleared[-1] + 1 if len(cleared) else 0 :])[0])
        onset += int(cleared[-1]) + 1 if len(cleared) else 0
        since = min(from_us(int(times[onset])), at)
        lasted_s = (to_us(at) - to_us(since)) / SECOND_US
        seen = "at least " if onset == 0 else ""
        doubtful = traces.quality[run][-1] == Quality.UNCERTAIN
        shows = point.word(value) if point.states else figure(value, point.unit)
        word = "above" if high else "below"
        evidence = [
            Evidence(point.name, f"{shows}, {word} {figure(bound, point.unit)}", point=point.id),
            Evidence("Beyond the limit", f"for {seen}{duration(lasted_s)}", point=point.id),
        ]
        if doubtful:
            evidence.append(Evidence("The reading", "marked as uncertain", Bearing.AGAINST, point.id))
        asset = rows.plant.assets[AssetKey(point.site, point.asset)]
        return Finding(
            FindingKind.LIMIT,
            rows.subjects[row],
            since=since,
            summary=f"{asset.name}: {point.name} {shows}, {word} {figure(bound, point.unit)}",
            score=abs(value - bound) / max(abs(bound), 1.0),
            confidence=self.settings.doubtful if doubtful else self.settings.sure,
            evidence=tuple(evidence),
        )


def _above(rows: _Map, traces: Traces) -> Floats:
    """The upper bounds as they are now. The highest set-point of the window counts: a loop that is asked to be cooler
    needs its minutes."""
    if not rows.follows:
        return rows.above
    above = rows.above.copy()
    for row, setpoints, over in rows.follows:
        for point in setpoints.tolist():
            asked = traces.of(point).value
            above[row] = max(above[row], np.max(asked, where=~np.isnan(asked), initial=-np.inf) + over)
    return above


def _setpoints(plant: Plant, point: Point) -> npt.NDArray[np.uint32]:
    """What the CDUs that feed a point's asset are asked for."""
    found = [
        setpoint.id
        for cdu in plant.topology.feeders(AssetKey(point.site, point.asset), Medium.COOLANT)
        for quantity in sorted(SETPOINTS)
        for setpoint in plant.at(cdu, quantity)
        if (setpoint.setpoint or setpoint.measures.setpoint)
        and setpoint.unit_known
        and setpoint.loop is not Loop.PRIMARY
        and setpoint.side is not Side.RETURN
    ]
    return np.array(found, np.uint32)


def _is_for(limit: Limit, point: Point, plant: Plant) -> bool:
    """Whether a limit is for this point. A part is matched against the point's part and its areas, without regard to
    case and to a number at the end: "filter" is for Filter1 and Filter2."""
    if point.setpoint or point.measures.setpoint:
        return False
    if limit.loop is not None and point.loop != limit.loop:
        return False
    if limit.side is not None and point.side != limit.side:
        return False
    if limit.asset_kind is not None and plant.assets[AssetKey(point.site, point.asset)].kind != limit.asset_kind:
        return False
    if limit.part is None:
        return True
    part = limit.part.casefold()
    return any(
        part in (name.casefold(), name.casefold().rstrip("0123456789 -_#")) for name in (point.part, *point.areas)
    )


def _by_current(point: Point, plant: Plant) -> bool:
    """Whether a feed is judged by its phase currents against its breaker (electrical.py). That is nearer to what trips
    than its power against a rating, and one cause is one alarm."""
    key = AssetKey(point.site, point.asset)
    phases = {current.phase for current in plant.at(key, "PhaseCurrent") if current.unit_known and not current.setpoint}
    return (
        point.quantity == "ActivePower"
        and phases >= {"A", "B", "C"}
        and any(current.unit_known for current in plant.at(key, "CurrentLimit"))
    )


def _rating_kw(plant: Plant, point: Point) -> float | None:
    return plant.assets[AssetKey(point.site, point.asset)].placement.rated_power_kw

"""Judging: the truth of a simulation and the alarms of a playback, in the words that scoring takes.

Lives here: which findings name which kind of fault, and which only follow from it; how far an asset's traces reach. Not
here: matching and figures (dcim.detect.scoring), the walk (playback.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import polars as pl

from dcim.app.playback import Raised, Seen
from dcim.core.assets import AssetKey
from dcim.core.findings import FindingKind as F
from dcim.core.plant import Plant
from dcim.core.topology import Medium
from dcim.detect.scoring import Alarm, Event

NAMES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "pinhole_leak": frozenset({F.LEAK_SUSPECTED, F.LEAK_WET}),
        "fitting_leak": frozenset({F.LEAK_SUSPECTED, F.LEAK_WET}),
        "burst": frozenset({F.LEAK_SUSPECTED, F.LEAK_WET}),
        "tray_drip": frozenset({F.LEAK_WET}),
        "exchanger_leak": frozenset({F.LEAK_SUSPECTED, F.EXCHANGER_LEAK}),
        "make_up_leak": frozenset({F.LEAK_SUSPECTED}),
        "filter_clogging": frozenset({F.FILTER_CLOGGED, F.FILTER_BLOCKED}),
        "pump_trip": frozenset({F.FLOW_LOST}),
        "flow_lost": frozenset({F.FLOW_LOST}),
        "pump_wear": frozenset({F.PUMP_WORN}),
        "air_in_loop": frozenset({F.AIR_IN_LOOP}),
        "branch_blocked": frozenset({F.BRANCH_BLOCKED}),
        "interface_ageing": frozenset({F.GPU_HOT, F.GPU_RESISTANCE_HIGH, F.GPU_RESISTANCE_VERY_HIGH}),
        "valve_stuck": frozenset({F.VALVE_STUCK}),
        "valve_hunting": frozenset({F.VALVE_HUNTING}),
        "exchanger_fouling": frozenset({F.EXCHANGER_FOULED}),
        "facility_water": frozenset({F.FACILITY_WATER}),
        "condensation": frozenset({F.CONDENSATION, F.CONDENSATION_NEAR}),
        "temperature_bias": frozenset({F.SENSOR_BIAS, F.SENSORS_DISAGREE}),
        "flow_meter": frozenset({F.SENSOR_BIAS, F.SENSORS_DISAGREE, F.SENSOR_FROZEN}),
        "rope_fault": frozenset({F.LEAK_SENSOR_FAULT}),
        "phase_lost": frozenset({F.PHASE_LOST, F.PHASE_IMBALANCE}),
        "feed_lost": frozenset({F.FEED_LOST}),
        "bms_offline": frozenset({F.SOURCE_SILENT}),
    }
)
"""Kind of a simulated fault → findings that name it. Names that are not here yet (a detector of later) are added with
it; a test holds that every harmful kind has some."""

_WARM = frozenset({F.LIMIT, F.GPU_THROTTLED})
_STARVED = _WARM | {F.FLOW_LOST}
_COOLANT = frozenset({F.HEAT_UNBALANCED, F.SENSORS_DISAGREE})
FOLLOWS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "pinhole_leak": frozenset({F.LIMIT}),
        "fitting_leak": frozenset({F.LIMIT, F.FLOW_LOST, F.AIR_IN_LOOP}),
        "burst": _STARVED | {F.AIR_IN_LOOP, F.PUMP_WORN, F.HEAT_UNBALANCED, F.VALVE_STUCK},
        "exchanger_leak": frozenset({F.LIMIT}),
        "make_up_leak": frozenset({F.LIMIT, F.LEAK_WET}),
        "filter_clogging": frozenset({F.LIMIT}),
        "pump_trip": _STARVED,
        "flow_lost": _STARVED | {F.HEAT_UNBALANCED, F.VALVE_STUCK, F.AIR_IN_LOOP},
        "air_in_loop": frozenset({F.LIMIT, F.GPU_HOT, F.FLOW_LOST}),
        "branch_blocked": _WARM | {F.GPU_HOT, F.GPU_RESISTANCE_HIGH, F.GPU_RESISTANCE_VERY_HIGH, F.HEAT_UNBALANCED},
        "interface_ageing": _WARM,
        "valve_stuck": _WARM,
        "valve_hunting": _WARM,
        "exchanger_fouling": _WARM | {F.VALVE_STUCK},
        "facility_water": _WARM | {F.VALVE_STUCK, F.GPU_HOT},
        "condensation": frozenset({F.LEAK_WET, F.LIMIT}),
        "temperature_bias": _COOLANT | {F.LIMIT, F.VALVE_STUCK},
        "flow_meter": _COOLANT | {F.LIMIT, F.FLOW_LOST},
        "rope_fault": frozenset({F.LEAK_WET}),
        "phase_lost": frozenset({F.BREAKER_LOADED, F.BREAKER_OVERLOADED, F.FEED_LOST, F.SENSOR_FROZEN}),
        "feed_lost": frozenset({F.BREAKER_LOADED, F.BREAKER_OVERLOADED, F.PHASE_LOST, F.SENSOR_FROZEN}),
        "bms_offline": frozenset({F.POINT_STALE, F.SENSOR_FROZEN}),
    }
)
"""Kind of a simulated fault → findings that are right about what follows from it: no false alarms, and no names."""


UNUSUAL: frozenset[str] = frozenset({F.UNUSUAL_BEHAVIOUR})
"""What is right about any fault, and names none."""


def events_of(truth: pl.DataFrame, plant: Plant) -> list[Event]:
    """The rows of a simulation's truth."""
    scopes = _Scopes(plant)
    return [
        Event(
            kind=row["kind"],
            place=row["place"],
            harmful=row["harmful"],
            onset=row["onset"],
            end=row["end"],
            scope=scopes.of(row["place"]),
            names=NAMES.get(row["kind"], frozenset()),
            follows=FOLLOWS.get(row["kind"], frozenset()) | UNUSUAL,
            detectable=row["detectable"],
            severity=row["severity"],
            severity_unit=row["severity_unit"],
        )
        for row in truth.iter_rows(named=True)
    ]


def alarms_of(raised: Iterable[Raised], plant: Plant) -> list[Alarm]:
    """Alarms as scoring takes them."""
    scopes = _Scopes(plant)
    return [
        Alarm(str(one.kind), one.subject.asset, one.began, one.ended, scopes.of(one.subject.asset)) for one in raised
    ]


def findings_of(seen: Iterable[Seen], plant: Plant) -> list[Alarm]:
    """Findings likewise, before any rule's delay."""
    scopes = _Scopes(plant)
    return [Alarm(str(one.kind), one.subject.asset, one.began, one.ended, scopes.of(one.subject.asset)) for one in seen]


class _Scopes:
    """How far the traces of each asset reach: itself, what contains it, and the racks and CDUs of its coolant. What
    feeds no coolant and stands in no rack reaches everywhere: a room, a busway, the building management."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._by_id: dict[str, list[AssetKey]] = {}
        for key in plant.assets:
            self._by_id.setdefault(key.id, []).append(key)
        self._known: dict[str, frozenset[str]] = {}

    def of(self, asset: str) -> frozenset[str]:
        """Ids that share in it; empty for everywhere."""
        if asset not in self._known:
            self._known[asset] = self._reach(asset)
        return self._known[asset]

    def _reach(self, asset: str) -> frozenset[str]:
        keys = self._by_id.get(asset, [])
        topology, homes = self._plant.topology, set()
        for key in keys:
            found = self._plant.assets[key]
            home = AssetKey(key.site, found.within) if found.within else key
            fed = topology.fed_by(home, Medium.POWER)
            racks = [one for one in (home, *fed) if self._kind(one) == "Rack"]
            if self._kind(home) == "PowerMeter" and len(fed) == 1:
                racks = list(fed)
            for place in racks or [home]:
                cdus = topology.feeders(place, Medium.COOLANT)
                if self._kind(place) in {"Rack", "CDU"}:
                    homes |= {asset, place.id, *(cdu.id for cdu in cdus)}
                elif topology.fed_by(place, Medium.COOLANT) or cdus:
                    homes |= {asset, place.id, *(one.id for one in (*topology.fed_by(place, Medium.COOLANT), *cdus))}
            if len(racks) > 1 and self._kind(home) != "CDU":
                return frozenset()
        return frozenset(homes)

    def _kind(self, key: AssetKey) -> str:
        found = self._plant.assets.get(key)
        return found.kind if found else ""

"""Circuits: which CDUs and racks share one body of coolant.

Lives here: the grouping, out of the topology. Not here: who feeds whom (dcim.core.topology), what flows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from dcim.core.assets import AssetKey
from dcim.core.plant import Plant
from dcim.core.points import Loop, Point
from dcim.core.topology import Medium

_ON_THE_WAY = frozenset({"Valve", "Pump", "Sensor"})
"""What may stand at the end of a servesId without taking heat."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """The secondary side of one CDU, or of several that feed the same racks together."""

    cdus: tuple[AssetKey, ...]
    racks: tuple[AssetKey, ...]
    """What is fed and feeds nothing itself. Those that publish nothing are in it too: their share is not known."""
    members: frozenset[AssetKey]
    """Everything that this coolant can reach: CDUs, racks, and the valves and pumps between."""


def circuits(plant: Plant) -> Mapping[AssetKey, Circuit]:
    """The circuit of each member, by asset. What no CDU feeds is in none."""
    groups: list[tuple[set[AssetKey], set[AssetKey]]] = []
    for asset in plant.assets.values():
        if asset.kind == "CDU":
            cdus, members = {asset.key}, {asset.key, *plant.topology.downstream(asset.key, Medium.COOLANT)}
            for group in [group for group in groups if group[1] & members]:
                groups.remove(group)
                cdus |= group[0]
                members |= group[1]
            groups.append((cdus, members))
    found: dict[AssetKey, Circuit] = {}
    for cdus, members in groups:
        racks = sorted(
            member
            for member in members - cdus
            if not plant.topology.fed_by(member, Medium.COOLANT) and plant.assets[member].kind not in _ON_THE_WAY
        )
        circuit = Circuit(tuple(sorted(cdus)), tuple(racks), frozenset(members))
        found |= dict.fromkeys(members, circuit)
    return MappingProxyType(found)


def secondary_flow(plant: Plant, cdu: AssetKey) -> Point | None:
    """The meter of what a CDU sends to its racks: its secondary flow, on the supply side where there are two."""
    found = [point for point in plant.at(cdu, "LiquidFlow") if point.loop is not Loop.PRIMARY and not point.setpoint]
    found.sort(key=lambda point: (point.loop is None, point.side is not None, point.side != "supply", point.id))
    return found[0] if found else None


def secondary_pumps(plant: Plant, cdu: AssetKey) -> list[Point]:
    """Speeds and states of the pumps that move a CDU's secondary coolant; a fill pump does not."""
    return [
        point
        for quantity in ("PumpSpeed", "PumpSpeedRpm", "PumpSpeedState")
        for point in plant.at(cdu, quantity)
        if point.loop is not Loop.PRIMARY and not point.setpoint and not fills(point)
    ]


def fills(point: Point) -> bool:
    """Whether a pump's point says that it tops the loop up."""
    return any("fill" in area.casefold() or "make" in area.casefold() for area in point.areas)

"""Topology: who feeds whom, with power and with coolant, as the bus's servesId says.

Lives here: the two graphs and the walks along them. Not here: what a failure upstream explains (alerts). The graphs are
a few thousand edges, walked off the hot path; forty lines of our own keep a graph library out of the core."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from dcim.core.assets import ELECTRICAL, AssetKey
from dcim.core.points import Point


class Medium(StrEnum):
    """What is fed."""

    POWER = "power"
    COOLANT = "coolant"


class Edge(NamedTuple):
    """`feeder` feeds `fed` with `medium`."""

    feeder: AssetKey
    fed: AssetKey
    medium: Medium


@dataclass(frozen=True, slots=True)
class Topology:
    """Two acyclic graphs over the same assets."""

    edges: tuple[Edge, ...] = ()
    refused: tuple[Edge, ...] = ()
    """Edges that would have closed a circle; nothing feeds itself, so the one that came last is left out."""
    _down: Mapping[tuple[Medium, AssetKey], tuple[AssetKey, ...]] = field(default_factory=dict, repr=False)
    _up: Mapping[tuple[Medium, AssetKey], tuple[AssetKey, ...]] = field(default_factory=dict, repr=False)

    def fed_by(self, feeder: AssetKey, medium: Medium) -> tuple[AssetKey, ...]:
        """What an asset feeds directly."""
        return self._down.get((medium, feeder), ())

    def feeders(self, fed: AssetKey, medium: Medium) -> tuple[AssetKey, ...]:
        """What feeds an asset directly."""
        return self._up.get((medium, fed), ())

    def downstream(self, feeder: AssetKey, medium: Medium) -> list[AssetKey]:
        """Everything that an asset feeds, directly or not, nearest first; without the asset itself."""
        return _reach(self._down, feeder, medium)

    def upstream(self, fed: AssetKey, medium: Medium) -> list[AssetKey]:
        """Everything that feeds an asset, directly or not, nearest first; without the asset itself."""
        return _reach(self._up, fed, medium)


def connect(points: Iterable[Point]) -> Topology:
    """The topology that the points' `serves` tell, edges in the order in which the points come."""
    down: dict[tuple[Medium, AssetKey], list[AssetKey]] = {}
    up: dict[tuple[Medium, AssetKey], list[AssetKey]] = {}
    kept: dict[Edge, None] = {}
    refused: dict[Edge, None] = {}
    for point in points:
        medium = Medium.POWER if point.asset_kind in ELECTRICAL else Medium.COOLANT
        feeder = AssetKey(point.site, point.asset)
        for served in point.serves:
            edge = Edge(feeder, AssetKey(point.site, served), medium)
            if edge in kept or edge in refused:
                continue
            if edge.fed == feeder or feeder in _reach(down, edge.fed, medium):
                refused[edge] = None
                continue
            kept[edge] = None
            down.setdefault((medium, feeder), []).append(edge.fed)
            up.setdefault((medium, edge.fed), []).append(feeder)
    return Topology(
        tuple(kept),
        tuple(refused),
        {key: tuple(value) for key, value in down.items()},
        {key: tuple(value) for key, value in up.items()},
    )


def _reach(
    graph: Mapping[tuple[Medium, AssetKey], Iterable[AssetKey]], start: AssetKey, medium: Medium
) -> list[AssetKey]:
    found: dict[AssetKey, None] = {}
    frontier = [start]
    while frontier:
        onward = [
            nxt for here in frontier for nxt in graph.get((medium, here), ()) if nxt not in found and nxt != start
        ]
        frontier = list(dict.fromkeys(onward))
        found.update(dict.fromkeys(frontier))
    return list(found)

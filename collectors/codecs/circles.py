"""Circles: notices when a description makes an asset feed itself, the moment it is told.

Lives here: who is said to feed whom, kept in step description by description. Not here: the topology that is used
(dcim.core.topology), which leaves a closing edge out; this only lets it be counted. A circle that two codecs tell
together is not seen."""

from __future__ import annotations

from collections.abc import Iterable

from dcim.core.assets import ELECTRICAL
from dcim.core.points import Point

_Node = tuple[bool, str]
"""Whether power flows (else coolant), and an asset's id."""


class Circles:
    """The edges of one site. Many points of an asset tell the same edges, so each is counted."""

    def __init__(self, site: str, points: Iterable[Point]) -> None:
        """points: what is known at the start, of all sites."""
        self._site = site
        self._fed: dict[_Node, dict[_Node, int]] = {}
        for point in points:
            if point.site == site and point.serves:
                self._add(point)

    def closed_by(self, old: Point | None, new: Point) -> bool:
        """Takes in that `new` replaces `old`; whether an edge that nobody had told before closes a circle."""
        if old is not None and (old.asset, old.asset_kind, old.serves) == (new.asset, new.asset_kind, new.serves):
            return False
        if old is not None:
            self._drop(old)
        fresh = self._add(new) if new.serves else []
        return bool(fresh) and self._reaches(fresh, _feeder(new))

    def _add(self, point: Point) -> list[_Node]:
        """The fed whose edge is new."""
        feeder = _feeder(point)
        edges = self._fed.setdefault(feeder, {})
        fresh = []
        for served in point.serves:
            node = (feeder[0], served)
            if node not in edges:
                fresh.append(node)
            edges[node] = edges.get(node, 0) + 1
        return fresh

    def _drop(self, point: Point) -> None:
        feeder = _feeder(point)
        edges = self._fed.get(feeder, {})
        for served in point.serves:
            node = (feeder[0], served)
            left = edges.pop(node, 0) - 1  # 0: another codec over the same index told it, and we never heard
            if left > 0:
                edges[node] = left
        if not edges:
            self._fed.pop(feeder, None)

    def _reaches(self, start: list[_Node], goal: _Node) -> bool:
        seen, frontier = set(start), list(start)
        while frontier:
            node = frontier.pop()
            if node == goal:
                return True
            onward = [nxt for nxt in self._fed.get(node, ()) if nxt not in seen]
            seen.update(onward)
            frontier.extend(onward)
        return False


def _feeder(point: Point) -> _Node:
    return point.asset_kind in ELECTRICAL, point.asset

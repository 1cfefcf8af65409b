"""Which series of a time-series server each point is written to, in step with what is known of the plant.

Lives here: when a series may be another. Not here: what a series is made of (dcim.store.line_protocol), who writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from dcim.core.assets import AssetKey, Placement, assemble
from dcim.core.plant import Plant
from dcim.core.points import PointIndex
from dcim.store.line_protocol import Series, series_of


class SeriesBook:
    """Reads the index as any thread may; to be asked by one thread at a time."""

    def __init__(self, index: PointIndex, placements: Mapping[AssetKey, Placement]) -> None:
        self._index, self._placements = index, placements
        self._plant: Callable[[], Plant] = Plant
        self._seen = Plant()
        self._given: dict[str, int] = {}
        """How many numbers were given for a key, among those that are looked through."""
        self._generations: list[int] = []
        """By number: how many were given for its key before it."""

    def follow(self, plant: Callable[[], Plant]) -> None:
        """Looks at this from now on for what is known of assets. Until then each point speaks for itself."""
        self._plant = plant

    def move(self, placements: Mapping[AssetKey, Placement]) -> None:
        """Things stand elsewhere from now on."""
        self._placements = placements

    def series(self, points: Sequence[int]) -> Mapping[int, Series]:
        """The series of those of these points that are described."""
        self._look_through()
        found = {}
        for number in points:
            point = self._index[number] if number < len(self._generations) else None
            if point is not None:
                assets = self._seen.assets
                if AssetKey(point.site, point.asset) not in assets:
                    assets = assemble([point], self._placements)
                found[number] = series_of(point, assets, self._generations[number])
        return found

    def changed(self) -> Sequence[int]:
        """Points that are described otherwise, or whose asset is, than at the last call."""
        plant, before = self._plant(), self._seen
        if plant is before:
            return ()
        self._seen = plant
        points = {number for number, point in plant.points.items() if before.points.get(number) != point}
        for key, asset in plant.assets.items():
            if before.assets.get(key) != asset:
                points.update(asset.points)
        return sorted(points)

    def _look_through(self) -> None:
        for number in range(len(self._generations), len(self._index)):
            key = self._index.key(number)
            self._generations.append(self._given.get(key, 0))
            self._given[key] = self._generations[-1] + 1

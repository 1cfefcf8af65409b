"""What planners ask of: the inventory as it is known now, and the loads, limits and losses of this moment over it.

Lives here: what is kept from one question to the next, and when it is made anew. Not here: any of it (dcim.core.claims,
dcim.capacity), HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Lock, RLock

from dcim.capacity.failover import Worst, worst
from dcim.capacity.limits import Limits, find_limits
from dcim.capacity.loads import Gauges, Loads, find_gauges, read
from dcim.capacity.network import Network, connect
from dcim.core.assets import AssetKey, Placement
from dcim.core.bus_inventory import said_by_bus, said_by_placements
from dcim.core.claims import Claim, merge
from dcim.core.inventory import Inventory
from dcim.core.live import Latest
from dcim.core.plant import Plant

KEPT_S = 1.0
"""Loads of less than a second ago are those of now."""


class Picture:
    """Everything that an answer about capacity is made of, at one moment. Any thread may ask; what one makes the others
    wait for. What a question does not need is not made: of 1,000 racks, limits take ten times as long as a what-if."""

    def __init__(self, inventory: Inventory, network: Network, loads: Loads) -> None:
        self.inventory, self.network, self.loads = inventory, network, loads
        self._making = RLock()
        self._worst: Worst | None = None
        self._limits: Limits | None = None

    @property
    def worst(self) -> Worst:
        """The loads after the worst loss of any one feed."""
        with self._making:
            if self._worst is None:
                self._worst = worst(self.network, self.loads)
            return self._worst

    @property
    def limits(self) -> Limits:
        """Every limit, and what it carries."""
        with self._making:
            if self._limits is None:
                self._limits = find_limits(self.inventory, self.network, self.loads, self.worst)
            return self._limits


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    plant: Plant
    limits_a: Mapping[AssetKey, float]
    claims: tuple[Claim, ...]
    inventory: Inventory
    network: Network
    gauges: Gauges
    version: int


class Planning:
    """The inventory and the picture of now. Any thread may ask; what one makes the others wait for, but for the limits:
    those hold up only who wants limits."""

    def __init__(
        self,
        claims: Sequence[Claim],
        placements: Mapping[AssetKey, Placement],
        plant: Callable[[], Plant],
        latest: Callable[[], Latest],
        clock: Callable[[], datetime],
    ) -> None:
        """claims: of settings, files and NetBox, until others are adopted. placements: of the settings, from before
        there was an inventory."""
        self._claims, self._placements = tuple(claims), placements
        self._plant, self._latest, self._clock = plant, latest, clock
        self._lock = Lock()
        self._drawn: _Drawn | None = None
        self._picture: Picture | None = None

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What settings, files and NetBox say, as it is in force."""
        with self._lock:
            return self._claims

    def adopt(self, claims: Sequence[Claim]) -> None:
        """Settings, files and NetBox say this from now on. The inventory is made anew when it is asked for next."""
        with self._lock:
            self._claims = tuple(claims)

    @property
    def inventory(self) -> Inventory:
        """What is known to stand where, with what the bus says of it by now. The same object until that changes."""
        with self._lock:
            return self._draw().inventory

    @property
    def version(self) -> int:
        """Another one whenever the inventory is."""
        with self._lock:
            return self._draw().version

    def picture(self) -> Picture:
        """Everything of this moment."""
        with self._lock:
            drawn, at = self._draw(), self._clock()
            kept = self._picture
            if (
                kept is not None
                and kept.inventory is drawn.inventory
                and 0.0 <= (at - kept.loads.at).total_seconds() < KEPT_S
            ):
                return kept
            loads = read(drawn.network, drawn.gauges, self._latest(), at)
            self._picture = Picture(drawn.inventory, drawn.network, loads)
            return self._picture

    def _draw(self) -> _Drawn:
        plant, latest = self._plant(), self._latest()
        limits_a: dict[AssetKey, float] = {}
        for point in plant.of("CurrentLimit"):
            value = latest.value_of(point.id)
            if value is not None and value > 0.0:
                limits_a.setdefault(AssetKey(point.site, point.asset), value)
        kept = self._drawn
        if kept is not None and kept.plant is plant and kept.claims is self._claims and kept.limits_a == limits_a:
            return kept
        said = (*self._claims, *said_by_placements(plant, self._placements), *said_by_bus(plant, limits_a))
        inventory = merge(said)
        network = connect(inventory)
        version = kept.version + 1 if kept else 1
        gauges = find_gauges(plant, network)
        self._drawn = _Drawn(plant, limits_a, self._claims, inventory, network, gauges, version)
        return self._drawn


def placements_of(inventory: Inventory) -> dict[AssetKey, Placement]:
    """Where an inventory says that things stand, for whoever knows placements alone."""
    placed = {
        key: Placement(rack.hall, rack.row, rack.position, rack.rated_power_kw) for key, rack in inventory.racks.items()
    }
    for key, unit in inventory.cooling.items():
        placed[key] = Placement(unit.hall, rated_power_kw=unit.rated_kw)
    for key, feed in inventory.feeds.items():
        placed[key] = Placement(feed.hall)
    return placed

"""Points: measured quantities at assets, and the index that gives each its number.

A point's identity is where it comes from: site, bus and the sender's own path. It never contains a value, a unit or a
severity. What the point *is* (asset, quantity, unit) comes from its description, which may arrive later than its first
value and may change.

Lives here: the point, its record on disk, the index. Not here: how a description is read (collectors.codecs), assets
and who feeds whom (assets.py, topology.py)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum

from dcim.core.errors import Permanent
from dcim.core.quantities import QUANTITIES, Nature, Quantity
from dcim.core.readings import Quality, Readings
from dcim.core.scaling import Scale, Scaling


class Loop(StrEnum):
    """Which circuit of a heat exchanger: primary is the facility's, secondary the racks'."""

    PRIMARY = "primary"
    SECONDARY = "secondary"


class Side(StrEnum):
    """Where in a circuit, seen from what is cooled: supply is cold and comes in, return is warm and goes out."""

    SUPPLY = "supply"
    RETURN = "return"


@dataclass(frozen=True, slots=True)
class Point:
    """One measured quantity at one asset."""

    id: int
    key: str
    """Site, bus and the sender's path, joined by "|". Unique, and stable over restarts."""
    site: str
    asset: str
    """Id of the asset in its site."""
    asset_kind: str
    """DSX object type of that asset ("Rack", "CDU", …), "" where only a part of it was described."""
    asset_name: str
    quantity: str
    """Name of a row of QUANTITIES."""
    unit: str
    """Unit of the stored values: the quantity's own, or the sender's spelling where `unit_known` is false."""
    unit_known: bool = True
    scale: float = 1.0
    """stored = sent × scale + offset."""
    offset: float = 0.0
    object_type: str = ""
    """DSX object type of the thing that measures; a valve of a rack is a "Valve" at the rack's asset."""
    point_type: str = ""
    """The sender's name for the quantity."""
    path: str = ""
    """The sender's path; for people to read, never taken apart."""
    areas: tuple[str, ...] = ()
    """DSX processArea as it came."""
    loop: Loop | None = None
    side: Side | None = None
    phase: str = ""
    """A, B or C."""
    part: str = ""
    """What tells this point from its like at the same asset: a GPU's index, a pump's number."""
    setpoint: bool = False
    integration: str = ""
    """Who writes the value, where that is not the building management system."""
    scope: str = ""
    states: tuple[tuple[int, str], ...] = ()
    """(value, word) of a state quantity."""
    serves: tuple[str, ...] = ()
    """Ids of the assets that this point's asset feeds."""
    within: str = ""
    """Id of the asset that contains this point's asset: a GPU's rack."""
    retired: bool = False
    """Kept for its history only: its key belongs to a successor since its unit changed, or its device was replaced."""

    @property
    def measures(self) -> Quantity:
        """The row of the table of quantities."""
        return QUANTITIES[self.quantity]

    @property
    def name(self) -> str:
        """Readable, for lists: "Secondary Supply LiquidTemperature", "PhaseCurrent A", "GpuTemperature 3"."""
        words = [*self.areas, self.quantity]
        if self.object_type and self.object_type != self.asset_kind:
            words.insert(0, self.object_type)
        if self.phase:
            words.append(self.phase)
        if self.part:
            words.append(self.part)
        if self.setpoint and not self.quantity.endswith("Sp"):
            words.append("setpoint")
        return " ".join(words)

    def word(self, value: float) -> str:
        """The word for a state's value, or the number where nobody gave a word."""
        return next((word for state, word in self.states if state == value), f"{value:g}")

    @property
    def plausible(self) -> tuple[float, float]:
        """Lowest and highest plausible value, both included: the quantity's, widened to the states that the sender
        declares. In an unknown unit everything is plausible."""
        quantity = self.measures
        if not self.unit_known:
            return float("-inf"), float("inf")
        if quantity.nature is Nature.STATE and self.states:
            values = [value for value, _ in self.states]
            return min(quantity.low, *values), max(quantity.high, *values)
        return quantity.low, quantity.high


@dataclass(frozen=True, slots=True)
class PointRecord:
    """A point as it is kept on disk. `described` is None until the first description."""

    id: int
    key: str
    described: str | None
    """A point without id and key, as JSON. Written and read by `PointIndex` alone."""


class PointIndex:
    """Gives points their numbers and holds what is known of them.

    One thread writes (the one that decodes); any thread may read. Numbers are dense, start at 0 and are never reused.
    """

    def __init__(self, limit: int = 2_000_000) -> None:
        self.limit = limit
        self.scaling = Scaling()
        """How values of each point are converted; kept in step with the descriptions."""
        self.version = 0
        """Grows whenever a description changes; a snapshot made at the same version is still right."""
        self._ids: dict[str, int] = {}
        self._keys: list[str] = []
        self._points: list[Point | None] = []
        self._changed: dict[int, None] = {}
        self._recorded: dict[int, Point | None] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Point]:
        """Described points that are not retired, by id."""
        return (point for point in list(self._points) if point is not None and not point.retired)

    def __getitem__(self, number: int) -> Point | None:
        """The point with this number; None while nothing has described it. IndexError: never given."""
        return self._points[number]

    def key(self, number: int) -> str:
        """The key that a number was given for."""
        return self._keys[number]

    def find(self, key: str) -> int | None:
        """The number of a key, or None."""
        return self._ids.get(key)

    def locate(self, key: str) -> int:
        """The number of a key; a new key gets the next one. Raises Permanent when the limit of points is reached."""
        number = self._ids.get(key)
        if number is None:
            number = self._allocate(key)
        return number

    def describe(self, point: Point) -> None:
        """Sets what is known of `point.id`, replacing what was."""
        self._set(point)
        self._changed[point.id] = None
        self.version += 1

    def convert(self, sent: Readings) -> Readings:
        """Values as sent, in the units and with the quality of points that are described by now."""
        return self.scaling.convert(sent).readings

    def succeed(self, key: str) -> int:
        """Retires the point of this key and gives the key a new number: its stored unit is about to change."""
        number = self._ids[key]
        old = self._points[number]
        fresh = self._allocate(key)
        if old is not None:
            self.describe(replace(old, retired=True))
        return fresh

    def changed(self) -> list[PointRecord]:
        """Records that differ from what was last marked as kept."""
        self._recorded = {number: self._points[number] for number in self._changed}
        return [self._record(number, point) for number, point in self._recorded.items()]

    def kept(self, records: list[PointRecord]) -> None:
        """Marks records, which `changed` answered last, as safely on disk. One whose point has been described anew
        meanwhile stays changed."""
        for record in records:
            if record.id in self._recorded and self._points[record.id] is self._recorded.pop(record.id):
                self._changed.pop(record.id, None)

    def restore(self, records: Sequence[PointRecord]) -> None:
        """Fills an empty index from disk. Raises Permanent when the numbers are not 0, 1, 2 …"""
        for record in records:
            if record.id != len(self._keys):
                raise Permanent(f"the catalogue of points has a gap before number {record.id}", where="catalogue")
            self._keys.append(record.key)
            self._points.append(None)
            self._ids[record.key] = record.id
            if record.described is not None:
                self._set(_from_json(record))
        self.scaling.reserve(len(self._keys))
        self.version += 1

    def _set(self, point: Point) -> None:
        floor = Quality.GOOD if point.unit_known else Quality.UNCERTAIN
        self.scaling.set(point.id, Scale(point.scale, point.offset, *point.plausible, floor), retired=point.retired)
        self._points[point.id] = point

    def _allocate(self, key: str) -> int:
        number = len(self._keys)
        if number >= self.limit:
            raise Permanent(f"there are already {self.limit} points", where="points", todo="Raise store.points_max.")
        self.scaling.reserve(number + 1)
        self._keys.append(key)
        self._points.append(None)
        self._changed[number] = None
        self._ids[key] = number  # last: who finds the number in another thread finds the rest as well
        return number

    def _record(self, number: int, point: Point | None) -> PointRecord:
        return PointRecord(number, self._keys[number], None if point is None else _to_json(point))


_KEPT = tuple(field.name for field in fields(Point) if field.name not in {"id", "key"})
_write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _to_json(point: Point) -> str:
    return _write(
        {name: getattr(point, name) for name in _KEPT}
    )  # asdict copies all that is in them: five times the price


def _from_json(record: PointRecord) -> Point:
    told = json.loads(record.described or "{}")
    for name in ("areas", "serves"):
        told[name] = tuple(told[name])
    told["states"] = tuple((value, word) for value, word in told["states"])
    told["loop"] = Loop(told["loop"]) if told["loop"] else None
    told["side"] = Side(told["side"]) if told["side"] else None
    return Point(id=record.id, key=record.key, **told)

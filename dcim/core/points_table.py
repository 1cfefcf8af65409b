"""Points as a table, and a table as points: for recordings that carry their own catalogue.

Lives here: the columns. Not here: the catalogue of a running service (points.py, dcim.store), files."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from dcim.core.points import Loop, Point, Side

COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.UInt32,
    "key": pl.String,
    "site": pl.String,
    "asset": pl.String,
    "asset_kind": pl.String,
    "asset_name": pl.String,
    "quantity": pl.String,
    "unit": pl.String,
    "unit_known": pl.Boolean,
    "scale": pl.Float64,
    "offset": pl.Float64,
    "object_type": pl.String,
    "point_type": pl.String,
    "path": pl.String,
    "areas": pl.List(pl.String),
    "loop": pl.String,
    "side": pl.String,
    "phase": pl.String,
    "part": pl.String,
    "setpoint": pl.Boolean,
    "integration": pl.String,
    "scope": pl.String,
    "states": pl.List(pl.Struct({"value": pl.Int64, "word": pl.String})),
    "serves": pl.List(pl.String),
    "within": pl.String,
    "retired": pl.Boolean,
}
"""The fields of a Point; loop and side are null where they are not known."""


def to_table(points: Iterable[Point]) -> pl.DataFrame:
    """One row a point, in their order."""
    # Column by column: row by row costs ten times as much, and there are GPUs by the thousand.
    told = list(points)
    columns: dict[str, list[object]] = {name: [getattr(point, name) for point in told] for name in COLUMNS}
    columns["states"] = [[{"value": value, "word": word} for value, word in point.states] for point in told]
    return pl.DataFrame(columns, schema=COLUMNS)


def from_table(table: pl.DataFrame) -> list[Point]:
    """The points of a table, in its order. Raises TypeError for a table with other columns than a Point has fields.

    >>> point = Point(0, "a|b|c", "a", "R1", "Rack", "R1", "RackPower", "kW", states=((0, "Off"),))
    >>> from_table(to_table([point])) == [point]
    True
    """
    # Column by column here too: a dictionary for each row costs twice as much.
    told = {name: table[name].to_list() for name in table.columns}
    if set(told) != set(COLUMNS):
        raise TypeError("the table has other columns than a Point has fields")
    told["states"] = [tuple((state["value"], state["word"]) for state in states) for states in told["states"]]
    told["areas"], told["serves"] = list(map(tuple, told["areas"])), list(map(tuple, told["serves"]))
    told["loop"] = [Loop(loop) if loop else None for loop in told["loop"]]
    told["side"] = [Side(side) if side else None for side in told["side"]]
    return [Point(*row) for row in zip(*(told[name] for name in COLUMNS), strict=True)]

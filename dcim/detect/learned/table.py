"""Table: rows of measured columns, in the order in which they were measured, as a matrix; and what cannot be one.

Lives here: which columns a model can learn from, and refusals in words. Not here: any model, and time: no scorer is
shown when, where in a file, or in which file a row stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from dcim.core.errors import Permanent
from dcim.detect.traces import Floats

ROWS_MIN = 60
"""Fewer rows than this teach nothing about what is usual."""
COLUMNS_MAX = 512
"""More than these are not one machine."""
KNOWN_MIN = 0.5
"""A column of which fewer training rows than this share hold a value is left out."""
_LARGEST = 1e15
"""What is larger was not measured; arithmetic with it would overflow."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What of a table a model learns from."""

    columns: tuple[str, ...]
    values: Floats
    """[rows, columns], NaN where missing."""
    omitted: Mapping[str, str]
    """Columns that were asked for and are left out, and why, in words."""


def choose(frame: pl.DataFrame, columns: Sequence[str]) -> Chosen:
    """The columns that say something, out of training rows. Left out are those without values, that never change, or
    that rise by the same in every row: a number of a row tells where it stands, and nothing of the plant.

    Raises Permanent where a column is not there, is no number, is asked for twice or is a time, where there are fewer
    rows than ROWS_MIN, or where nothing is left to learn from.
    """
    if not columns or len(columns) > COLUMNS_MAX:
        raise Permanent(
            f"{len(columns)} columns are to be learned from, but a model takes 1 to {COLUMNS_MAX}",
            where="training rows",
            todo="Name the columns that belong to one machine.",
        )
    if frame.height < ROWS_MIN:
        raise Permanent(
            f"there are {frame.height} rows, and fewer than {ROWS_MIN} teach nothing about what is usual",
            where="training rows",
            todo="Train on more rows.",
        )
    values = matrix(frame, columns)
    omitted: dict[str, str] = {}
    for number, column in enumerate(columns):
        known = values[~np.isnan(values[:, number]), number]
        if len(known) < KNOWN_MIN * frame.height:
            omitted[column] = f"holds a value in {len(known)} of {frame.height} training rows"
        elif np.ptp(known) <= 1e-12 * max(1.0, float(np.abs(known).max())):
            omitted[column] = "never changes in the training rows, so that its scale is not known"
        elif _counts(known):
            omitted[column] = "rises by the same in every training row: it numbers the rows"
    kept = [number for number, column in enumerate(columns) if column not in omitted]
    if not kept:
        why = "; ".join(f"{column} {reason}" for column, reason in omitted.items())
        raise Permanent(f"no column can be learned from: {why}", where="training rows")
    return Chosen(tuple(columns[number] for number in kept), values[:, kept], omitted)


def matrix(frame: pl.DataFrame, columns: Sequence[str]) -> Floats:
    """[rows, columns] of a table, NaN where a value is missing or is not finite. Raises Permanent where a column is not
    there, is asked for twice, or is no number."""
    if len(set(columns)) < len(columns):
        twice = next(column for number, column in enumerate(columns) if column in columns[:number])
        raise Permanent("is asked for twice", where=f"column {twice}")
    for column in columns:
        if column not in frame.columns:
            raise Permanent(
                "is not in the table", where=f"column {column}", todo=f"There are {', '.join(frame.columns)}."
            )
        kind = frame.schema[column]
        if kind.is_temporal():
            raise Permanent("is a time, and no model is shown the time", where=f"column {column}", todo="Leave it out.")
        if not (kind.is_numeric() or kind in {pl.Boolean, pl.Null}):
            raise Permanent(f"holds {kind}, but a number is wanted", where=f"column {column}", todo="Leave it out.")
    values = np.empty((frame.height, len(columns)))
    for number, column in enumerate(columns):
        values[:, number] = frame[column].cast(pl.Float64).to_numpy()
    values[~(np.abs(values) <= _LARGEST)] = np.nan
    return values


def _counts(known: Floats) -> bool:
    steps = np.diff(known)
    return bool(np.ptp(steps) <= 1e-9 * abs(float(steps[0])))

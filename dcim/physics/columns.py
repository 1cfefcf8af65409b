"""Columns: what the functions of this package take and give.

A column is a float, a numpy array or a Polars series. Missing is NaN in the first two and null in a series; it goes in
missing and comes out missing, never as 0. All columns of one call are of one kind and one length.

Lives here: that kind, the check of lengths, the few operations that the three spell differently. Not here: physics."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

Column = TypeVar("Column", float, npt.NDArray[np.float64], pl.Series)

_SMALLEST = 1e-9
"""Nothing that is measured in our units is smaller and means anything; what is divided by it stays finite."""


def same_length(*columns: float | npt.NDArray[np.float64] | pl.Series) -> None:
    """Raises ValueError when series differ in length: Polars would stretch one of a single row without a word. numpy
    raises it by itself, and may broadcast what is one to a rack over the rack's GPUs."""
    lengths = {len(column) for column in columns if isinstance(column, pl.Series)}
    if len(lengths) > 1:
        raise ValueError(f"columns differ in length: {sorted(lengths)}")


def pick(inside: Column, outside: Column, by: Column, low: float, high: float) -> Column:
    """`inside` where low ≤ by ≤ high, `outside` elsewhere; `by` missing counts as elsewhere.

    >>> pick(1.0, 2.0, by=5.0, low=0.0, high=4.0)
    2.0
    """
    if isinstance(inside, pl.Series):
        return inside.zip_with(by.is_between(low, high).fill_null(value=False), outside)
    if isinstance(inside, np.ndarray):
        return np.where((by >= low) & (by <= high), inside, outside)
    return inside if low <= by <= high else outside


def within(column: Column, by: Column, low: float, high: float) -> Column:
    """`column` where low ≤ by ≤ high, missing elsewhere.

    >>> within(1.0, by=5.0, low=0.0, high=4.0)
    nan
    """
    if isinstance(column, pl.Series):
        return column.set(~by.is_between(low, high).fill_null(value=False), None)
    if isinstance(column, np.ndarray):
        return np.where((by >= low) & (by <= high), column, np.nan)
    return column if low <= by <= high else math.nan


def positive(column: Column) -> Column:
    """The column where it is above 0 (at least 1e-9), missing elsewhere: for what is divided by.

    >>> positive(2.0), positive(0.0)
    (2.0, nan)
    """
    return within(column, column, _SMALLEST, math.inf)


def power(column: Column, exponent: float) -> Column:
    """A column raised to an exponent above 0; missing where it is negative, which has no real power.

    >>> power(4.0, 0.5), power(-4.0, 0.5)
    (2.0, nan)
    """
    real = within(column, column, 0.0, math.inf)
    return math.pow(real, exponent) if isinstance(real, float) else real**exponent


def log(column: Column) -> Column:
    """Natural logarithm; missing where the column is not above 0.

    >>> round(log(2.0), 4), log(0.0)
    (0.6931, nan)
    """
    above = positive(column)
    if isinstance(above, pl.Series):
        return above.log()
    if isinstance(above, np.ndarray):
        return np.log(above)
    return math.log(above)


def exp(column: Column) -> Column:
    """Exponential function.

    >>> exp(0.0)
    1.0
    """
    if isinstance(column, pl.Series):
        return column.exp()
    if isinstance(column, np.ndarray):
        return np.exp(column)
    return math.exp(column)

"""Scorer: learns what is usual of a table's columns from some rows, and says of later rows how unusual they are.

Lives here: the interface, and the scorers that there are, by name. Not here: how they do it (shift.py, still.py), where
tables come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol, Self

import polars as pl

from dcim.detect.learned.models import MODELS
from dcim.detect.learned.shift import Shift
from dcim.detect.learned.still import Still


class Scorer(Protocol):
    """Two verbs. What it says of a row depends on the training rows and on the rows up to that one: never on later
    ones, nor on the time, a row's number or a file's name."""

    name: str
    omitted: Mapping[str, str]
    """Columns that it was asked to learn and left out, and why."""

    def fit(self, frame: pl.DataFrame, columns: Sequence[str]) -> Self:
        """Learns from rows of healthy operation, in the order in which they were measured, a fixed time apart. Raises
        Permanent, in words, where they teach nothing (table.choose). The same rows and seed make the same scorer."""
        ...

    def score(self, frame: pl.DataFrame) -> pl.DataFrame:
        """One row for each row of the frame, which goes on where the training rows ended; the scorer is not altered.

        score f64: 1 and more is unusual; null where it cannot be told, because too little is heard. found bool: whether
        something is found, null where that cannot be told. because: the column that speaks most for it, null where
        nothing is found. Raises Permanent where a learned column is not in the frame or is no number.
        """
        ...


SCORERS: Mapping[str, Callable[[], Scorer]] = {"shift": Shift} | {kind: partial(Still, kind) for kind in MODELS}
"""By name: what moved lately, and what does not fit a model of the training rows."""


def generic() -> Scorer:
    """The scorer for a table of which nothing is known but that its columns belong together."""
    return SCORERS["shift"]()

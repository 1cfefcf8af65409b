"""The testbed recordings of SKAB, cut and scored as `tests/contract/test_skab.py` and docs/learned.md say.

Protocols: published (the first 400 rows train, the rest is judged) and spliced (between the two comes a random number
of healthy rows, so that a place tells nothing: training rows gone over forth and back, which lead without a jump to
what follows). What a scorer is shown are eight columns of numbers; time, file and place in it are not.

`python -m tests.skab` prints the table of docs/learned.md."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from dcim.detect import scoring
from dcim.detect.learned.scorer import SCORERS, generic
from dcim.detect.scoring import NO_POINTS, NO_SPANS, Points, Spans, points, spans

TRAIN_ROWS = 400
SPLICED_ROWS = (100, 1_000)
TUNED = (*(f"other/{number}" for number in (5, 6, 7, 8, 9)), *(f"valve1/{number}" for number in range(8)))
"""Settings were chosen by looking at these."""
HELD_OUT = tuple(f"valve1/{number}" for number in range(8, 16))
"""And were not changed after these had been looked at."""
VALVE = tuple(f"valve1/{number}" for number in range(16))
LABELS = ("datetime", "anomaly", "changepoint")

Bools = npt.NDArray[np.bool_]
Judge = Callable[[pl.DataFrame, pl.DataFrame], Bools]
"""(training rows, rows) → where something is found. Columns of numbers alone."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One file, cut."""

    train: pl.DataFrame
    rows: pl.DataFrame
    labelled: Bools


def folder() -> Path | None:
    """Where the recordings are, if DCIM_DATA says so."""
    where = os.environ.get("DCIM_DATA")
    path = Path(where) / "skab" if where else None
    return path if path and path.is_dir() else None


def cut(path: Path, dice: np.random.Generator | None) -> Cut:
    """dice: for the spliced protocol."""
    frame = pl.read_csv(path, separator=";")
    labelled = frame["anomaly"].to_numpy() > 0.5
    values = frame.drop(LABELS)
    train, rows, labelled = values[:TRAIN_ROWS], values[TRAIN_ROWS:], labelled[TRAIN_ROWS:]
    if dice is not None:
        more = int(dice.integers(SPLICED_ROWS[0], SPLICED_ROWS[1] + 1))
        turn = np.concatenate([np.arange(TRAIN_ROWS)[::-1], np.arange(TRAIN_ROWS)])
        there = np.tile(turn, math.ceil(more / len(turn)))[-more:]
        rows = pl.concat([train[there.tolist()], rows])
        labelled = np.concatenate([np.zeros(more, np.bool_), labelled])
    return Cut(train, rows, labelled)


@dataclass(frozen=True, slots=True)
class Figures:
    """Points and events of some files. A row is a second."""

    points: Points = NO_POINTS
    spans: Spans = NO_SPANS

    @classmethod
    def of(cls, found: Bools, labelled: Bools) -> Figures:
        return cls(points(found, labelled), spans(found, labelled, np.arange(float(len(found)))))

    def __add__(self, other: Figures) -> Figures:
        return Figures(self.points + other.points, self.spans + other.spans)

    @property
    def delay_s(self) -> float:
        """The median of what was found."""
        return float(np.median(self.spans.delays_s)) if self.spans.delays_s else math.inf

    def __str__(self) -> str:
        at, of = self.points, self.spans
        hourly = "–" if of.false_per_hour is None else f"{of.false_per_hour:.2f}"
        return (
            f"{at.f1:.2f} | {at.far:.1%} | {at.mar:.1%} | {of.found}/{of.events} | {hourly} | {self.delay_s:.0f} s"
        ).replace("%", " %")


def scored(judge: Judge, names: Sequence[str], seeds: Sequence[int | None]) -> Figures:
    """Of these files, once for each seed; None is the published protocol."""
    where = folder()
    assert where is not None
    figures = Figures()
    for seed in seeds:
        dice = None if seed is None else np.random.default_rng(seed)
        for name in names:
            one = cut(where / f"{name}.csv", dice)
            figures += Figures.of(judge(one.train, one.rows), one.labelled)
    return figures


def by(name: str | None = None) -> Judge:
    """A scorer of ours; the one for any table where none is named."""

    def judge(train: pl.DataFrame, rows: pl.DataFrame) -> Bools:
        scorer = SCORERS[name]() if name else generic()
        found: Bools = scorer.fit(train, train.columns).score(rows)["found"].fill_null(value=False).to_numpy()
        return found

    return judge


def clock(after: int) -> Judge:
    """An alarm from a row on, whatever is measured: what position alone tells."""
    return lambda train, rows: scoring.clock(rows.to_numpy(), after)


TRIVIAL: dict[str, Judge] = {
    "always": lambda train, rows: scoring.always(rows.to_numpy()),
    "never": lambda train, rows: scoring.never(rows.to_numpy()),
    "a clock, from row 173 on": clock(173),
    "3 sigma": lambda train, rows: scoring.three_sigma(train.to_numpy(), rows.to_numpy()),
}


def main() -> None:
    """The table."""
    judges = {name: by(name) for name in SCORERS} | TRIVIAL
    for title, names in (("tuned on", TUNED), ("held out", HELD_OUT), ("valve1, all", VALVE)):
        for protocol, seeds in (("published", [None]), ("spliced", list(range(1, 6)))):
            print(f"\n{title}, {protocol}")
            print("| | F1 | FAR | MAR | events | false alarms an hour | median delay |\n|---|---|---|---|---|---|---|")
            for name, judge in judges.items():
                print(f"| {name} | {scored(judge, names, seeds)} |", flush=True)


if __name__ == "__main__":
    main()

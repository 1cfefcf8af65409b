"""The testbed recordings of SKAB, cut and scored as `tests/contract/test_skab.py` and docs/learned.md say.

Protocols: published (the first 400 rows train, the rest is judged) and spliced (between the two comes a random number
of healthy rows, so that a place tells nothing: training rows gone over forth and back, which lead without a jump to
what follows). What a scorer is shown are eight columns of numbers; time, file and place in it are not.

`python -m tests.skab` prints the table of docs/learned.md."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from dcim.detect.learned.scorer import SCORERS, generic

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


@dataclass(slots=True)
class Figures:
    """Points and events. A row is a second. An event is a run of labelled rows, found where an alarm stands in it; an
    alarm is false where none of its rows is labelled."""

    hits: int = 0
    misses: int = 0
    false: int = 0
    quiet: int = 0
    events: int = 0
    false_alarms: int = 0
    delays_s: list[int] = field(default_factory=list)

    def add(self, found: Bools, labelled: Bools) -> None:
        self.hits += int((found & labelled).sum())
        self.misses += int((~found & labelled).sum())
        self.false += int((found & ~labelled).sum())
        self.quiet += int((~found & ~labelled).sum())
        for begin, end in runs(labelled):
            self.events += 1
            at = np.flatnonzero(found[begin:end])
            self.delays_s += at[:1].tolist()
        self.false_alarms += sum(not labelled[begin:end].any() for begin, end in runs(found))

    @property
    def f1(self) -> float:
        return 2 * self.hits / max(1, 2 * self.hits + self.false + self.misses)

    @property
    def far(self) -> float:
        return self.false / max(1, self.false + self.quiet)

    @property
    def mar(self) -> float:
        return self.misses / max(1, self.hits + self.misses)

    @property
    def recall(self) -> float:
        return len(self.delays_s) / max(1, self.events)

    @property
    def false_per_hour(self) -> float:
        return 3_600.0 * self.false_alarms / max(1, self.false + self.quiet)

    @property
    def delay_s(self) -> float:
        return float(np.median(self.delays_s)) if self.delays_s else math.inf

    def __str__(self) -> str:
        return (
            f"{self.f1:.2f} | {self.far:.1%} | {self.mar:.1%} | {len(self.delays_s)}/{self.events} | "
            f"{self.false_per_hour:.2f} | {self.delay_s:.0f} s"
        ).replace("%", " %")


def runs(mask: Bools) -> list[tuple[int, int]]:
    """[begin, end) of each run."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def scored(judge: Judge, names: Sequence[str], seeds: Sequence[int | None]) -> Figures:
    """Of these files, once for each seed; None is the published protocol."""
    where = folder()
    assert where is not None
    figures = Figures()
    for seed in seeds:
        dice = None if seed is None else np.random.default_rng(seed)
        for name in names:
            one = cut(where / f"{name}.csv", dice)
            figures.add(judge(one.train, one.rows), one.labelled)
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
    return lambda train, rows: np.arange(rows.height) >= after


def three_sigma(train: pl.DataFrame, rows: pl.DataFrame) -> Bools:
    """A row is found where a column is three deviations off its mean in training."""
    usual, values = train.to_numpy(), rows.to_numpy()
    return np.asarray((np.abs(values - usual.mean(axis=0)) > 3.0 * usual.std(axis=0)).any(axis=1))


TRIVIAL: dict[str, Judge] = {
    "always": lambda train, rows: np.ones(rows.height, np.bool_),
    "never": lambda train, rows: np.zeros(rows.height, np.bool_),
    "a clock, from row 173 on": clock(173),
    "3 sigma": three_sigma,
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

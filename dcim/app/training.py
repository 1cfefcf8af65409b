"""Training: from history to a file of models. What `dcim train` does.

Lives here: histories (a recording of the simulator, a table of one's own, a store), what in them was not usual, and the
way from their readings to means by bin. Not here: what is learned (dcim.detect.learned), opening a store (build.py)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from alerts.journal import HistoryQuery, Journal
from alerts.lifecycle import State, Transition
from dcim.app import models
from dcim.core.assets import AssetKey
from dcim.core.errors import Permanent
from dcim.core.plant import Plant, survey
from dcim.core.points import Point, PointIndex
from dcim.core.points_table import from_table
from dcim.core.quantities import QUANTITIES
from dcim.core.readings import Quality
from dcim.core.times import SECOND_US, to_us
from dcim.detect.learned.classes import Columns, Trained, columns_of, train
from dcim.detect.traces import Floats
from dcim.detect.wide import Bools, Numbers

BIN_S = 60.0
"""Length of a bin."""
HOLD_BINS = 2
"""For so many bins a mean stands for those without a reading: the bus repeats what is unchanged every 100 s."""
JOURNAL_ROWS = 5_000
"""Rows of the journal that are read at once."""
CELLS_MAX = 20_000_000
"""Means of one kind that are held at once, 160 MB; of a longer history, the newest part is learned from."""
KINDS = ("Rack", "CDU", "PowerMeter", "Gpu")
"""What is trained where nobody says, as far as it is there."""
MARGIN = timedelta(minutes=15)
"""What was not usual is left out with so much before and after it."""
_ASSET = "the row's asset"
"""Name of a column that is added to a table."""
TABLE_BYTES_MAX = 4 * 1024**3
"""A larger table is not read."""


@dataclass(frozen=True, slots=True)
class Odd:
    """A time that is not learned from."""

    start: datetime
    end: datetime
    asset: AssetKey | None = None
    """None: of every asset."""


@dataclass(frozen=True, slots=True)
class History:
    """What happened, as far as it is kept."""

    source: str
    """Where it is from, for people."""
    plant: Plant
    start: datetime
    end: datetime
    """start ≤ time < end."""
    read: Callable[[Sequence[int], datetime], Iterator[pl.DataFrame]]
    """Readings of these points from an instant on, in any order and in as many frames as it likes: point, time, value,
    quality."""
    odd: Sequence[Odd] = field(default_factory=tuple)


def run(history: History, out: Path, kinds: Sequence[str], seed: int) -> list[str]:
    """Trains the kinds that are asked for, writes the file, and says in lines what was learned from.

    kinds: none for those of KINDS that are there and can be learned. Raises Permanent where one that was asked for
    cannot be learned, or none at all; Transient where the file cannot be written.
    """
    trained: list[Trained] = []
    lines: list[str] = []
    for kind in dict.fromkeys(kinds or KINDS):
        try:
            trained.append(train_kind(history, kind, seed))
        except Permanent as error:
            if kinds:
                raise
            lines.append(f"left out: {error}")
    if not trained:
        raise Permanent("; ".join(lines) or "nothing can be learned", where=history.source)
    models.save(out, trained)
    return [*models.describe(trained), *lines, f"written to {out}; name it in the settings as detection.models"]


def train_kind(history: History, kind: str, seed: int) -> Trained:
    """The models of one kind of asset. Raises Permanent where there is too little to learn from."""
    columns = columns_of(history.plant, kind)
    step = timedelta(seconds=BIN_S)
    begins = history.start - timedelta(microseconds=to_us(history.start) % int(BIN_S * SECOND_US))
    whole = -int((begins - history.end) // step)
    bins = min(whole, max(1, CELLS_MAX // columns.points.size))
    begins += (whole - bins) * step
    frames = history.read(columns.points[columns.points >= 0].tolist(), begins)
    means = means_of(frames, columns.points, begins, bins)
    told = np.flatnonzero(~np.isnan(means).all(axis=(0, 1)))  # from the first to the last minute of which anything is
    first, beyond = (int(told[0]), int(told[-1]) + 1) if len(told) else (0, bins)
    means, begins, bins = means[:, :, first:beyond], begins + first * step, beyond - first
    about: dict[str, Any] = {
        "source": history.source,
        "start": begins.isoformat(),
        "end": (begins + bins * step).isoformat(),
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "made_by": {name: version(name) for name in ("dcim", "numpy", "scikit-learn")},
        "odd_times_left_out": len(history.odd),
    }
    return train(columns, means, usual(history, columns, begins, bins), BIN_S, seed, about)


def means_of(frames: Iterator[pl.DataFrame], points: Numbers, start: datetime, bins: int) -> Floats:
    """[*points.shape, bins]: mean by bin of what is neither missing nor bad, held for HOLD_BINS; NaN elsewhere."""
    flat = points.ravel()
    row_of = np.full(int(flat.max(initial=-1)) + 2, -1, np.intp)
    row_of[flat[flat >= 0]] = np.flatnonzero(flat >= 0)
    total, count = np.zeros(len(flat) * bins), np.zeros(len(flat) * bins, np.int32)
    for frame in frames:
        row = row_of[np.minimum(frame["point"].to_numpy().astype(np.intp), len(row_of) - 1)]
        time_us = frame["time"].to_physical().to_numpy()
        value = frame["value"].cast(pl.Float64).to_numpy()
        key = (time_us - to_us(start)) // int(BIN_S * SECOND_US)
        good = (row >= 0) & (key >= 0) & (key < bins)
        good &= (np.abs(value) < 1e15) & (frame["quality"].to_numpy() < Quality.BAD)
        place = row[good] * bins + key[good]
        np.add.at(total, place, value[good])
        np.add.at(count, place, 1)
    means = np.where(count > 0, total / np.maximum(count, 1), np.nan).reshape(len(flat), bins)
    for _ in range(HOLD_BINS):
        empty = np.isnan(means[:, 1:])
        means[:, 1:][empty] = means[:, :-1][empty]
    return means.reshape(*points.shape, bins)


def usual(history: History, columns: Columns, start: datetime, bins: int) -> Bools:
    """[assets, bins]: what may be learned from."""
    may = np.ones((len(columns.assets), bins), np.bool_)
    row = {asset: number for number, asset in enumerate(columns.assets)}
    for odd in history.odd:
        first = max(0, int((odd.start - MARGIN - start).total_seconds() // BIN_S))
        beyond = max(0, int((odd.end + MARGIN - start).total_seconds() // BIN_S) + 1)
        if odd.asset is None:
            may[:, first:beyond] = False
        elif odd.asset in row:
            may[row[odd.asset], first:beyond] = False
    return may


async def transitions(journal: Journal, until: datetime) -> list[Transition]:
    """Everything that the journal holds of before `until`, oldest first. Raises what the journal raises."""
    found: list[Transition] = []
    before: int | None = None
    while rows := await journal.history(HistoryQuery(end=until, before=before, limit=JOURNAL_ROWS)):
        found += rows
        before = rows[-1].seq
    return found[::-1]


def stood(rows: Iterable[Transition], until: datetime) -> list[Odd]:
    """When and where alarms stood: from an occurrence's first transition to that in which it became normal, or until
    the end. Alarms about the service, which have no site, are of no asset."""
    begun: dict[str, Transition] = {}
    odd: list[Odd] = []
    for row in rows:
        first = begun.setdefault(row.occurrence, row)
        if row.after is State.NORMAL:
            odd.append(Odd(first.at, row.at, _asset(row)))
            del begun[row.occurrence]
    odd += [Odd(first.at, until, _asset(first)) for first in begun.values()]
    return [each for each in odd if each.asset and each.asset.site]


def _asset(row: Transition) -> AssetKey:
    return AssetKey(row.key.subject.site, row.key.subject.asset)


def recording(folder: Path) -> History:
    """The history in a folder that `dcim simulate --out` wrote. Times of harmful faults and of maintenance are odd:
    they act on all of a loop. Raises Permanent where it is not whole."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if manifest["format"] != 1:
            raise ValueError(f"it has format {manifest['format']}, and format 1 is read here")
        start = datetime.fromisoformat(manifest["start"])
        end = start + timedelta(seconds=float(manifest["span_s"]))
        points = from_table(pl.read_parquet(folder / "points.parquet"))
        truth = pl.read_parquet(folder / "truth.parquet", columns=["harmful", "maintenance", "onset", "end"])
        files = [folder / Path(str(name)).name for name in manifest["files"]]
        for file in files:
            file.stat()  # Polars does not say which one is missing
        schemas = [pl.read_parquet_schema(file) for file in files]
    except FileNotFoundError as error:
        raise Permanent(
            f"is not a whole recording: there is no {Path(str(error.filename)).name}",
            where=str(folder),
            todo="Name a folder that dcim simulate --out wrote.",
        ) from error
    except (OSError, ValueError, TypeError, KeyError, pl.exceptions.PolarsError) as error:
        raise Permanent(f"is not a recording that can be read: {error}", where=str(folder)) from error
    if any(set(schema) != {"point", "time", "value", "quality"} for schema in schemas):
        raise Permanent("its readings have other columns than point, time, value, quality", where=str(folder))
    odd = [Odd(onset, over or end) for harmful, maintenance, onset, over in truth.iter_rows() if harmful or maintenance]

    def read(wanted: Sequence[int], since: datetime) -> Iterator[pl.DataFrame]:
        numbers = pl.Series(sorted(wanted), dtype=pl.UInt32)
        for file in files:
            chosen = pl.col("point").is_in(numbers.implode()) & (pl.col("time") >= since)
            yield pl.scan_parquet(file).filter(chosen).select("point", "time", "value", "quality").collect()

    return History(str(folder), _plant(points), start, end, read, odd)


def table(file: Path, kind: str, time: str, asset: str | None, separator: str, site: str) -> History:
    """The history in a CSV or Parquet file: one row an instant (and asset), columns called as points are: a quantity,
    with words before it that tell it from its like ("Secondary Supply LiquidTemperature"). Values are in the
    quantities' own units. Other columns are left alone.

    time: the column of time, ISO 8601 with its zone, or without one for UTC. asset: the column of assets' ids; None
    where all rows are one asset's. Raises Permanent where it does not hold that.
    """
    where = str(file)
    try:
        if file.stat().st_size > TABLE_BYTES_MAX:
            raise Permanent(f"is larger than {TABLE_BYTES_MAX} bytes", where=where)
        frame = (
            pl.read_parquet(file)
            if file.suffix == ".parquet"
            else pl.read_csv(file, separator=separator, infer_schema_length=10_000)
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        raise Permanent(f"cannot be read: {error}", where=where) from error
    for column in (time, *([asset] if asset else [])):
        if column not in frame.columns:
            raise Permanent(
                f"has no column {column}", where=where, todo=f"There are {', '.join(frame.columns)}: name one of them."
            )
    frame = frame.with_columns(_times(frame[time], where).alias(time)).drop_nulls(time)
    if not frame.height:
        raise Permanent("holds no row with a time", where=where)
    assets = [str(each) for each in frame[asset].unique().drop_nulls().sort()] if asset else [file.stem]
    named = {column: told for column in frame.columns if column not in {time, asset} and (told := _named(column))}
    numeric = [column for column in named if frame.schema[column].is_numeric()]
    if not numeric:
        raise Permanent(
            "has no column that is called as a quantity is",
            where=where,
            todo='Name columns like "RackPower" or "Secondary Supply LiquidTemperature".',
        )
    points: list[Point] = []
    number: dict[tuple[str, str], int] = {}
    for each in assets:
        for column in numeric:
            number[each, column] = len(points)
            points.append(_point(len(points), site, kind, each, column, named[column]))
    owner = pl.lit(assets[0]) if asset is None else pl.col(asset).cast(pl.String)
    rows = frame.with_columns(owner.alias(_ASSET))

    def read(wanted: Sequence[int], since: datetime) -> Iterator[pl.DataFrame]:
        among = set(wanted)
        for column in numeric:
            numbers = {each: number[each, column] for each in assets if number[each, column] in among}
            if numbers:
                yield rows.filter(pl.col(_ASSET).is_in(list(numbers)) & (pl.col(time) >= since)).select(
                    pl.col(_ASSET).replace_strict(numbers, return_dtype=pl.UInt32).alias("point"),
                    pl.col(time).alias("time"),
                    pl.col(column).cast(pl.Float64).alias("value"),
                    pl.lit(int(Quality.GOOD), pl.UInt8).alias("quality"),
                )

    times = frame[time]
    start, end = times.min(), times.max()
    assert isinstance(start, datetime) and isinstance(end, datetime)  # noqa: S101, PT018  there are rows, and all have one
    return History(where, _plant(points), start, end + timedelta(microseconds=1), read)


def _point(
    number: int, site: str, kind: str, asset: str, column: str, named: tuple[tuple[str, ...], str, str]
) -> Point:
    areas, quantity, phase = named
    return Point(
        id=number,
        key=f"{site}|{asset}|{column}",
        site=site,
        asset=asset,
        asset_kind=kind,
        asset_name=asset,
        quantity=quantity,
        unit=QUANTITIES[quantity].unit,
        areas=areas,
        phase=phase,
    )


def _times(times: pl.Series, where: str) -> pl.Series:
    utc = pl.Datetime("us", "UTC")
    try:
        if times.dtype == pl.String:
            return times.str.to_datetime(time_unit="us", time_zone="UTC", strict=True)
        if isinstance(times.dtype, pl.Datetime):
            aware = times.dt.replace_time_zone("UTC") if times.dtype.time_zone is None else times
            return aware.cast(utc)
    except pl.exceptions.PolarsError as error:
        raise Permanent(f"column {times.name} holds what is no time: {error}", where=where) from error
    raise Permanent(f"column {times.name} holds {times.dtype}, but times are wanted", where=where)


def _named(column: str) -> tuple[tuple[str, ...], str, str] | None:
    """Words before the quantity, the quantity, and the phase after it; None where it is not called as a point is."""
    words = column.split(" ")
    at = next((place for place, word in enumerate(words) if word in QUANTITIES), None)
    if at is None or len(words) > at + 2 or (len(words) == at + 2 and words[-1] not in {"A", "B", "C"}):
        return None
    return tuple(words[:at]), words[at], "".join(words[at + 1 :])


def _plant(points: Sequence[Point]) -> Plant:
    index = PointIndex()
    for point in points:
        number = index.locate(point.key)
        if number != point.id:
            raise Permanent(f"point {point.id} is not where its number says", where="catalogue of points")
        index.describe(point)
    return survey(index, {})

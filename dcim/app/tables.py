r"""Tables of other people, CSV or Parquet: rows of measured columns with a time, as a frame or as points of a plant.

Lives here: reading them, what is put in order and told, and what is refused in words. A mapping in TOML says which
column is which point:

    time = "ts"                       # left out: the one column that holds times
    separator = "\\t"                  # of CSV; left out: the one that the first lines speak for
    site = "lab"
    asset = "node"                    # column that names the asset; or text in quotes under [[points]]
    sensor = "sensor"                 # long tables: column that names the sensor, …
    value = "value"                   # … and the one with its value

    [[points]]
    column = "Sys Power"              # or, in long tables, the sensor's name
    quantity = "RackPower"            # a row of the table of quantities
    unit = "W"                        # of the table; left out: the quantity's own
    asset = "R1"                      # left out: as `asset` above says
    kind = "Rack"                     # object type of the asset

Not here: playing it back, scoring."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dcim.app.playback import Stretch, missing_is_bad, usable
from dcim.app.recorded import Recording, plant_of
from dcim.core.errors import Permanent
from dcim.core.points import Loop, Point, Side
from dcim.core.quantities import QUANTITIES
from dcim.core.readings import Quality, Readings
from dcim.core.times import SECOND_US, from_us, to_us
from dcim.core.units import conversion

FILE_BYTES_MAX = 4 * 1024**3
ROWS_MAX, COLUMNS_MAX = 200_000_000, 4_096
MAPPING_BYTES_MAX = 1024 * 1024
HEAD_BYTES = 64 * 1024
SEPARATORS = (",", ";", "\t", "|")
GAP = 10.0
"""A step of so many usual ones is a gap."""
STRETCH = timedelta(hours=6)
TIME_NAMES = frozenset({"time", "timestamp", "datetime", "ts", "date", "date_time", "_time"})


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MappedPoint(_Strict):
    """One column, or one sensor of a long table."""

    column: str
    quantity: str
    unit: str | None = None
    asset: str | None = None
    kind: str = "GenericObject"
    areas: tuple[str, ...] = ()
    loop: Loop | None = None
    side: Side | None = None
    phase: str = ""
    within: str = ""
    setpoint: bool = False


class Mapping(_Strict):
    """How a table is read."""

    time: str | None = None
    separator: str | None = Field(default=None, min_length=1, max_length=1)
    site: str = "table"
    asset: str | None = None
    sensor: str | None = None
    value: str | None = None
    points: tuple[MappedPoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Rows in order of time."""

    file: Path
    frame: pl.DataFrame
    """The columns as they came, but for `time`: Datetime(us, UTC)."""
    time: str
    step_s: float
    """Usual time from one row to the next."""
    told: tuple[str, ...] = ()
    """What was put in order, or is doubtful, in words."""
    uncertain: bool = False
    """Whether a score of it is not worth much: mixed sampling, gaps."""

    @property
    def seconds(self) -> npt.NDArray[np.float64]:
        """Seconds since the first row, by row."""
        us = self.frame[self.time].to_physical().to_numpy()
        seconds: npt.NDArray[np.float64] = (us - us[0]) / SECOND_US
        return seconds


def mapping(file: Path) -> Mapping:
    """A mapping of a file. Raises Permanent, once, with every mistake on a line of its own."""
    try:
        if file.stat().st_size > MAPPING_BYTES_MAX:
            raise Permanent(f"is larger than {MAPPING_BYTES_MAX} bytes", where=str(file), todo="Shorten it.")
        told = Mapping.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Permanent(f"cannot be read: {error}", where=str(file), todo="Give a mapping in TOML.") from error
    except ValidationError as error:
        words = [f"{file}: {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise Permanent("\n".join(words)) from error
    mistakes = []
    for point in told.points:
        quantity = QUANTITIES.get(point.quantity)
        if quantity is None:
            mistakes.append(f"{file}: {point.column}: there is no quantity {point.quantity}")
        elif point.unit is not None and conversion(point.unit, (quantity.unit,)) is None:
            mistakes.append(f"{file}: {point.column}: {point.quantity} is not measured in {point.unit}")
    if (told.sensor is None) != (told.value is None):
        mistakes.append(f"{file}: sensor and value go together")
    if mistakes:
        raise Permanent("\n".join(mistakes))
    return told


def read(file: Path, how: Mapping) -> Table:
    """The rows of a file in order of time. Several rows of one instant stay, in their order, in a long table; else the
    first counts. Raises Permanent, in one line, for what cannot be read or has no usable time."""
    frame = _load(file, how)
    time = how.time or _time_column(frame, file)
    if time not in frame.columns:
        raise Permanent(
            f"has no column {time}", where=str(file), todo=f"It has {', '.join(frame.columns[:20])}. Say --time."
        )
    told: list[str] = []
    frame = frame.with_columns(_instants(frame[time], file).alias(time))
    bad = frame[time].null_count()
    if bad:
        told.append(f"{bad} rows without a time are left out")
        frame = frame.filter(pl.col(time).is_not_null())
    if frame.height < 2:
        raise Permanent(f"holds {frame.height} usable rows", where=str(file), todo="Two are the least.")
    if not frame[time].is_sorted():
        told.append("its times were not in order, and are put in order")
        frame = frame.sort(time, maintain_order=True)
    steps = frame[time].to_physical().diff().drop_nulls().to_numpy() / SECOND_US
    if how.sensor is None and (steps == 0).any():
        told.append(f"{np.count_nonzero(steps == 0)} rows of an instant that was there already are left out")
        frame = frame.unique(time, keep="first", maintain_order=True)
        steps = steps[steps > 0]
    moved = steps[steps > 0]
    if not len(moved):
        raise Permanent("all its rows are of one instant", where=str(file), todo="Say another --time.")
    step_s = float(np.median(moved))
    gaps = int(np.count_nonzero(moved > GAP * step_s))
    mixed = float(np.mean(np.abs(moved - step_s) > 0.5 * step_s))
    if gaps:
        told.append(f"{gaps} gaps longer than {GAP:g} usual steps of {step_s:g} s")
    if mixed > 0.1:
        told.append(f"sampling is mixed: {100 * mixed:.0f} % of its steps are not about {step_s:g} s")
    return Table(file, frame, time, step_s, tuple(told), uncertain=mixed > 0.1)


def columns_of(table: Table, asked: Sequence[str], labels: Sequence[str]) -> tuple[list[str], list[str]]:
    """The columns to look at, and what is told of those that are left out. Raises Permanent where none is left."""
    frame, told = table.frame, []
    candidates = list(asked) or [name for name in frame.columns if name != table.time and name not in labels]
    for name in asked:
        if name not in frame.columns:
            raise Permanent(f"has no column {name}", where=str(table.file), todo="Look at --columns.")
    kept = []
    for name in candidates:
        column = frame[name]
        if column.null_count() == len(column):
            told.append(f"column {name} holds nothing and is left out")
            continue
        if not (column.dtype.is_numeric() or column.dtype in {pl.Boolean, pl.Null}):
            if asked:
                raise Permanent(f"column {name} holds {column.dtype}, no numbers", where=str(table.file))
            continue
        if column.drop_nulls().n_unique() == 1:
            told.append(f"column {name} never changes and is left out")
        else:
            kept.append(name)
    if not kept:
        raise Permanent(
            f"no column says anything: {'; '.join(told) or 'none holds numbers'}",
            where=str(table.file),
            todo="Look at the separator, or say --columns.",
        )
    return kept, told


def as_recording(table: Table, how: Mapping) -> Recording:
    """The points of a mapping, with their readings. Raises Permanent where the table has none of them."""
    if not how.points:
        raise Permanent("its mapping names no points", where=str(table.file), todo="Add [[points]] tables.")
    points: dict[str, Point] = {}
    parts: list[Readings] = []
    for number, mapped in enumerate(how.points):
        for asset, rows in _rows_of(table, how, mapped, number):
            key = f"{how.site}|table|{asset}/{mapped.column}"
            point = points.setdefault(key, _point(len(points), key, how.site, asset, mapped, _part(how, mapped)))
            parts.append(_convert(rows, point))
    readings = usable(Readings.concat(parts))
    if not len(readings):
        raise Permanent(
            "holds no reading of the mapping's points", where=str(table.file), todo="Check column and asset."
        )
    start, end = from_us(int(readings.time.min())), from_us(int(readings.time.max()) + 1)
    step_us = STRETCH // timedelta(microseconds=1)

    def stretches() -> Iterator[Stretch]:
        for begins_us in range(to_us(start), to_us(end), step_us):
            inside = (readings.time >= begins_us) & (readings.time < begins_us + step_us)
            yield Stretch(readings.take(inside), min(begins_us + step_us, to_us(end)))

    plant = plant_of(points.values(), {}, str(table.file))
    return Recording(str(table.file), plant, start, end, stretches, pace_s=table.step_s)


def _rows_of(table: Table, how: Mapping, mapped: MappedPoint, number: int) -> Iterator[tuple[str, pl.DataFrame]]:
    """By asset, a frame of time and value."""
    frame = table.frame
    if how.sensor is not None and how.value is not None:
        for name in (how.sensor, how.value):
            if name not in frame.columns:
                raise Permanent(f"has no column {name}", where=str(table.file), todo="Correct the mapping.")
        frame = frame.filter(pl.col(how.sensor).cast(pl.String) == mapped.column)
        value = how.value
    elif mapped.column in frame.columns:
        value = mapped.column
    else:
        raise Permanent(f"has no column {mapped.column}", where=str(table.file), todo=f"Correct point {number + 1}.")
    picked = frame.select(pl.col(table.time).alias("time"), pl.col(value).cast(pl.Float64, strict=False).alias("value"))
    if mapped.asset is not None or how.asset is None:
        yield mapped.asset or how.site, picked
        return
    if how.asset not in frame.columns:
        raise Permanent(f"has no column {how.asset}", where=str(table.file), todo="Correct asset in the mapping.")
    named = picked.with_columns(frame[how.asset].cast(pl.String).alias("asset"))
    for (asset,), rows in named.group_by("asset", maintain_order=True):
        if asset is not None:
            yield str(asset), rows


def _part(how: Mapping, mapped: MappedPoint) -> str:
    """What tells a point from others at its asset: its column. A GPU's quantities have the GPU's own part in common,
    so of an asset with one column for each of them they have none."""
    like = [one for one in how.points if (one.quantity, one.asset) == (mapped.quantity, mapped.asset)]
    alone = mapped.quantity.startswith("Gpu") and len(like) == 1
    return "" if alone or mapped.column == mapped.quantity else mapped.column


def _point(number: int, key: str, site: str, asset: str, mapped: MappedPoint, part: str) -> Point:
    quantity = QUANTITIES[mapped.quantity]
    way = conversion(mapped.unit, (quantity.unit,)) if mapped.unit is not None else None
    return Point(
        id=number,
        key=key,
        site=site,
        asset=asset,
        asset_kind=mapped.kind,
        asset_name=asset,
        quantity=mapped.quantity,
        unit=quantity.unit,
        scale=way.scale if way else 1.0,
        offset=way.offset if way else 0.0,
        object_type=mapped.kind,
        point_type=mapped.column,
        path=mapped.column,
        areas=mapped.areas,
        loop=mapped.loop,
        side=mapped.side,
        phase=mapped.phase,
        part=part,
        setpoint=mapped.setpoint,
        within=mapped.within,
    )


def _convert(rows: pl.DataFrame, point: Point) -> Readings:
    value = rows["value"].fill_null(float("nan")).to_numpy() * point.scale + point.offset
    quality = missing_is_bad(value)
    low, high = point.plausible
    outside = (quality == Quality.GOOD) & ((value < low) | (value > high))
    quality[outside] = Quality.UNCERTAIN
    time = rows["time"].to_physical().to_numpy()
    return Readings(np.full(len(value), point.id, np.uint32), time, value, quality)


def _load(file: Path, how: Mapping) -> pl.DataFrame:
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            raise Permanent(f"is larger than {FILE_BYTES_MAX} bytes", where=str(file), todo="Cut it into pieces.")
        if file.suffix.casefold() in {".parquet", ".pq"}:
            frame = pl.read_parquet(file, memory_map=False)
        else:
            separator = how.separator or _separator(file)
            frame = pl.read_csv(
                file,
                separator=separator,
                try_parse_dates=True,
                infer_schema_length=10_000,
                ignore_errors=True,
                truncate_ragged_lines=True,
                encoding="utf8-lossy",
            )
    except FileNotFoundError as error:
        raise Permanent("there is no such file", where=str(file), todo="Check the path.") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Permanent(f"cannot be read: {words}", where=str(file), todo="Give CSV or Parquet.") from error
    frame = frame.rename({name: name.strip().lstrip("\ufeff") for name in frame.columns})
    if not frame.height:
        raise Permanent("holds 0 usable rows", where=str(file), todo="Two are the least.")
    if frame.height > ROWS_MAX or frame.width > COLUMNS_MAX:
        raise Permanent(
            f"has {frame.height} rows of {frame.width} columns", where=str(file), todo="Cut it into pieces."
        )
    return frame


def _separator(file: Path) -> str:
    with file.open("rb") as stream:
        head = stream.read(HEAD_BYTES).decode("utf-8", "replace").splitlines()[:20]
    lines = [line for line in head if line.strip()]
    counts = {sep: min((line.count(sep) for line in lines[:5]), default=0) for sep in SEPARATORS}
    best = max(counts, key=lambda sep: counts[sep])
    return best if counts[best] else ","


def _time_column(frame: pl.DataFrame, file: Path) -> str:
    temporal = [name for name in frame.columns if frame.schema[name].is_temporal()]
    named = [name for name in frame.columns if name.casefold() in TIME_NAMES]
    for found in (named if len(named) == 1 else [], temporal if len(temporal) == 1 else []):
        if found:
            return found[0]
    raise Permanent(
        "does not say which column is the time",
        where=str(file),
        todo=f"Say --time with one of {', '.join(frame.columns[:20])}.",
    )


def _instants(column: pl.Series, file: Path) -> pl.Series:
    """UTC, microseconds; null where there is none. Numbers count from 1970, in the unit that puts them near now."""
    utc = pl.Datetime("us", "UTC")
    kind = column.dtype
    if isinstance(kind, pl.Datetime):
        return (
            column.cast(pl.Datetime("us", kind.time_zone)).dt.replace_time_zone("UTC")
            if kind.time_zone is None
            else (column.dt.convert_time_zone("UTC").cast(utc))
        )
    if kind == pl.Date:
        return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if kind.is_numeric():
        middle = column.cast(pl.Float64).drop_nulls().median()
        known = float(middle) if isinstance(middle, (int, float)) else 0.0
        per_second = next((scale for scale in (1.0, 1e3, 1e6, 1e9) if abs(known) < 1e10 * scale), None)
        if per_second is None:
            raise Permanent(f"column {column.name} holds no times", where=str(file), todo="Say --time.")
        us = (column.cast(pl.Float64) / per_second * SECOND_US).round(0)
        return us.fill_nan(None).cast(pl.Int64, strict=False).cast(utc)
    if kind == pl.String:
        stripped = column.str.strip_chars()
        for form in (None, "%Y-%m-%d %H:%M:%S%.f", "%Y/%m/%d %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S"):
            try:
                parsed = stripped.str.to_datetime(form, time_unit="us", strict=False)
            except pl.exceptions.PolarsError:
                continue
            if 2 * parsed.null_count() < len(parsed):
                aware = isinstance(parsed.dtype, pl.Datetime) and parsed.dtype.time_zone is not None
                return parsed.dt.convert_time_zone("UTC") if aware else parsed.dt.replace_time_zone("UTC")
    raise Permanent(f"column {column.name} holds no times", where=str(file), todo="Say --time with another column.")


def instant(text: str) -> datetime:
    """A time with or without its zone; UTC where there is none. Raises ValueError."""
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def natural(name: str) -> list[object]:
    """A key that sorts 2 before 10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]

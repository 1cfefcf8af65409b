"""Questions to InfluxDB in Flux, and its answers as columns.

Lives here: text in both directions, and which fields mean what when they are read. Not here: sending
(influx_client.py), what lines look like (line_protocol.py), which question is asked (influx_reads.py, rollup.py).

The filters are such that the storage engine answers them itself: conditions on tags and fields right behind `range`,
and aggregates in windows over nothing but values that are usable."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

import polars as pl

from dcim.core.ports import Aggregate
from dcim.core.times import from_us
from dcim.store.line_protocol import BAD_SUFFIX, QUALITY_FIELD
from dcim.store.sift import END_US

Span = tuple[int, int]
"""[start, end), microseconds UTC."""

POINTS_MAX: Final = 400
"""So many points are named in one question."""

ANSWER: Final[Mapping[str, pl.DataType]] = {
    "point": pl.String(),
    "time": pl.Datetime("us", "UTC"),
    "value": pl.Float64(),
    "weight": pl.Float64(),
    "quality": pl.UInt8(),
}
"""What reading asks for. quality: as it is written."""
STEPS: Final[Mapping[str, pl.DataType]] = {
    "point": pl.String(),
    "time": pl.Datetime("us", "UTC"),
    "sum": pl.Float64(),
    "count": pl.Int64(),
    "min": pl.Float64(),
    "max": pl.Float64(),
    "quality": pl.UInt8(),
}
"""What a step is made of."""

_USABLE = f'r._field != "{QUALITY_FIELD}" and r._field !~ /{BAD_SUFFIX}$/'
_QUALITY = f'r._field == "{QUALITY_FIELD}"'
_READING = "exists r.point"
"""Facts for boards lie in the same bucket, and have no point."""
_TIME = pl.col("_time").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC").alias("time")


def text(value: str) -> str:
    r"""A string literal.

    >>> print(text('a "b" ${c}'))
    "a \"b\" \${c}"
    """
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${")
    return f'"{escaped}"'


def instant(us: int) -> str:
    """A time literal, cut to the times that a store holds.

    >>> instant(1_772_334_000_000_001)
    '2026-03-01T03:00:00.000001Z'
    """
    return from_us(min(max(us, 0), END_US)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def raw(bucket: str, points: Sequence[str], span: Span) -> str:
    """Every value and quality of these points. Answered by `answered`."""
    return f"""data = {_points(bucket, points, span)}
data |> filter(fn: (r) => not ({_QUALITY})) {_give("value")}
data |> filter(fn: (r) => {_QUALITY}) {_give("quality")}"""


def windows(bucket: str, points: Sequence[str], span: Span, every_us: int, how: Aggregate) -> str:
    """Usable values in windows of `every_us` that count from 1970, and the least quality of each. Where the span cuts
    the first window, its time is the start of the span. Answered by `answered`: for "mean" the sum as value and the
    number as weight; for "last" at the time of the last reading."""
    usable = f"data |> filter(fn: (r) => {_USABLE})"
    if how == "mean":
        values = f"""{usable} {_window(every_us, "sum")} {_give("value")}
{usable} {_window(every_us, "count")} {_give("weight")}"""
    elif how == "last":
        values = f"{usable} |> window(every: {every_us}us) |> last() {_give('value')}"
    else:
        values = f"{usable} {_window(every_us, how)} {_give('value')}"
    return f"""data = {_points(bucket, points, span)}
{values}
data |> filter(fn: (r) => {_QUALITY}) {_window(every_us, "min")} {_give("quality")}"""


def steps(bucket: str, points: Sequence[str], span: Span, how: Aggregate) -> str:
    """What a tier keeps of these points: one of its aggregates, with the number as weight for "mean", and the quality.
    Answered by `answered`."""
    weights = f"data |> filter(fn: (r) => r._field =~ /_count$/) {_give('weight')}" if how == "mean" else ""
    return f"""data = {_points(bucket, points, span)}
data |> filter(fn: (r) => r._field =~ /_{how}$/) {_give("value")}
{weights}
data |> filter(fn: (r) => {_QUALITY}) {_give("quality")}"""


def newest(bucket: str) -> str:
    """The last value and the last quality of every series. Answered by `answered`."""
    return f"""data = {_range(bucket, (0, END_US))} |> filter(fn: (r) => {_READING})
data |> filter(fn: (r) => not ({_QUALITY})) |> last() {_give("value")}
data |> filter(fn: (r) => {_QUALITY}) |> last() {_give("quality")}"""


def presence(bucket: str, points: Sequence[str] | None, span: Span) -> str:
    """The times of all that there is of these points, or of any point. Answered by `answered`, without values."""
    any_point = f"{_range(bucket, span)} |> filter(fn: (r) => {_READING})"
    data = any_point if points is None else _points(bucket, points, span)
    return f'{data} |> keep(columns: ["point", "_time"])'


def whole_steps(bucket: str, points: Sequence[str], span: Span, every_us: int) -> str:
    """All that a tier keeps of the steps in a span, out of the readings of these points. Answered by `answered` in the
    columns of STEPS."""
    usable = f"data |> filter(fn: (r) => {_USABLE})"
    kept = "\n".join(f"{usable} {_window(every_us, how)} {_give(how)}" for how in ("sum", "count", "min", "max"))
    return f"""data = {_points(bucket, points, span)}
{kept}
data |> filter(fn: (r) => {_QUALITY}) {_window(every_us, "min")} {_give("quality")}"""


def _range(bucket: str, span: Span) -> str:
    return f"from(bucket: {text(bucket)}) |> range(start: {instant(span[0])}, stop: {instant(span[1])})"


def _points(bucket: str, points: Sequence[str], span: Span) -> str:
    return f"{_range(bucket, span)} |> filter(fn: (r) => {_any([f'r.point == {text(point)}' for point in points])})"


def _any(conditions: Sequence[str]) -> str:
    """Any of these, in brackets within brackets: Flux takes a long row of "or" for one that is nested as deeply."""
    if len(conditions) == 1:
        return conditions[0]
    middle = len(conditions) // 2
    return f"({_any(conditions[:middle])} or {_any(conditions[middle:])})"


def _window(every_us: int, how: Aggregate | Literal["sum"]) -> str:
    return f'|> aggregateWindow(every: {every_us}us, fn: {how}, createEmpty: false, timeSrc: "_start")'


def _give(column: str) -> str:
    """The end of a question: its values under the name of a column."""
    return f"""|> keep(columns: ["point", "_time", "_value"])
  |> rename(columns: {{_value: "{column}"}}) |> yield(name: "{column}")"""


def answered(answer: bytes, columns: Mapping[str, pl.DataType] = ANSWER) -> pl.DataFrame:
    """These columns, of which point (the tag) and time are the first: a row for each value that was given, with null in
    the other columns. What was given of one point and time is not brought together yet."""
    types = {"point": pl.String(), "_time": pl.String(), **dict([*columns.items()][2:])}
    found = [pl.DataFrame(schema=columns)]
    for block in _blocks(answer):
        head = block.split(b"\r\n", 1)[0].decode().split(",")
        frame = pl.read_csv(
            io.BytesIO(block), schema_overrides=types, columns=[name for name in head if name in types]
        ).with_columns(_TIME)
        found.append(
            frame.select(
                pl.col(name) if name in frame.columns else pl.lit(None, dtype).alias(name)
                for name, dtype in columns.items()
            )
        )
    return pl.concat(found)


def _blocks(answer: bytes) -> Iterator[bytes]:
    """The tables of an answer that have a head of their own."""
    return (block.strip(b"\r\n") for block in answer.split(b"\r\n\r\n") if block.strip(b"\r\n"))


def chunks(points: Iterable[str]) -> Iterator[list[str]]:
    """Points as they are named in one question each."""
    named = list(points)
    return (named[start : start + POINTS_MAX] for start in range(0, len(named), POINTS_MAX))

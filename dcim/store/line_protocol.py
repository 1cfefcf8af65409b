r"""Readings as InfluxDB line protocol, whole columns at a time.

    rack,asset=E04,hall=Pod\ 1C,point=titan|bms|E04/flow,rack=E04,site=titan liquid_flow_lpm=42.5 1772334000000000

- measurement: the kind of the asset. Tags: where the asset stands, what of it is measured, and the point. Field: the
  quantity with its unit.
- `point` is what a reading is found by. Every other tag, and the measurement, may change when more is known of the
  asset; then the point goes on in another series under the same `point`.
- `quality` is a field, written where the reading is not good. A bad value stands in a field of its own, `_bad` behind
  its name: a mean over the other is right for anyone who asks, and no sum of nonsense. A missing value has no field
  but `quality`, which is then MISSING more than its quality.

Lives here: which series a point is, and the text of its readings. Not here: sending (influx.py), the alarms."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from dcim.core.assets import Asset, AssetKey, Placement
from dcim.core.names import snake
from dcim.core.points import Point
from dcim.core.readings import Quality, Readings

QUALITY_FIELD: Final = "quality"
"""Integer; where a reading has none it is good."""
BAD_SUFFIX: Final = "_bad"
"""Behind the name of the field of a value that is bad."""
MISSING: Final = 4
"""The quality of a missing value is written so much higher, so that of several the least is 1 exactly where a usable
value is uncertain."""
PRECISION: Final = "us"
"""Of all times, as the write API names it."""
TAG_BYTES_MAX: Final = 4096
"""A longer tag value is cut, and told apart by a hash of the whole. InfluxDB refuses series of 64 KiB."""

_UNKNOWN_UNIT = "unknown_unit"
_ANONYMOUS = "asset"
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f%\\\ud800-\udfff]")
_SPECIAL = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ "})


@dataclass(frozen=True, slots=True)
class Series:
    """Where the readings of a point are written to."""

    measurement: str
    tags: tuple[tuple[str, str], ...]
    """(key, value) by ascending key, without empty values; values as they are read back."""
    field: str

    @property
    def point(self) -> str:
        """What the point's readings are found by: the value of the tag `point`."""
        return dict(self.tags)["point"]

    @property
    def head(self) -> str:
        """A line up to its fields, the blank before them included."""
        tags = "".join(f",{key}={value.translate(_SPECIAL)}" for key, value in self.tags)
        return f"{self.measurement}{tags} "


def series_of(point: Point, assets: Mapping[AssetKey, Asset], generation: int = 0) -> Series:
    """The series of a described point.

    assets: those of the plant; one that is missing there is known by the point alone.
    generation: how many points had this point's key before it, retired since.
    """
    asset = assets.get(AssetKey(point.site, point.asset))
    kind = (asset.kind if asset else "") or point.asset_kind
    rack = point.asset if kind == "Rack" else point.within or (asset.within if asset else "")
    place = asset.placement if asset else Placement()
    if not (place.hall or place.row):
        container = assets.get(AssetKey(point.site, rack))
        place = container.placement if container else place
    gpu = kind == "Gpu"
    tags = {
        "site": point.site,
        "hall": place.hall,
        "row": place.row,
        "rack": rack,
        "asset": point.asset,
        "object": "" if point.object_type == kind else snake(point.object_type),
        "loop": point.loop or "",
        "side": point.side or "",
        "area": "" if point.loop and point.side else " ".join(point.areas),
        "phase": point.phase,
        "gpu": point.part if gpu else "",
        "part": "" if gpu else point.part,
        "unit": "" if point.unit_known else point.unit,
    }
    values = {key: tag_value(value) for key, value in tags.items() if value}
    values["point"] = point_tag(point.key, generation)
    return Series(snake(kind) or _ANONYMOUS, tuple(sorted(values.items())), _field(point))


def unknown(number: int) -> Series:
    """The series of a point of which nothing is known but its number. No key begins with "#", for no site does."""
    return Series(_ANONYMOUS, (("point", f"#{number}"),), "value")


def point_tag(key: str, generation: int = 0) -> str:
    """The value of the tag `point`: the same in every service that reads the same bus, and never that of another point.

    >>> point_tag("titan|bms|E04/flow"), point_tag("titan|bms|E04/flow", 1)
    ('titan|bms|E04/flow', '#1|titan|bms|E04/flow')
    """
    return tag_value(f"#{generation}|{key}" if generation else key)


def tag_value(text: str) -> str:
    r"""A text as line protocol can carry it, and nothing else's: what the protocol has no form for (control characters,
    a backslash) and the percent sign are written %XX.

    >>> tag_value("50 % of\\n")
    '50 %25 of%5Cn'
    """
    value = _UNWRITABLE.sub(_escape, text)
    raw = value.encode()
    if len(raw) <= TAG_BYTES_MAX:
        return value
    told = hashlib.sha256(raw).hexdigest()
    return f"{raw[: TAG_BYTES_MAX - len(told) - 1].decode(errors='ignore')}~{told}"


class Lines:
    """Formats readings. Holds what is the same in every line of a point, so that a line is three pieces put together.

    One thread at a time.
    """

    def __init__(self) -> None:
        self._series: dict[int, Series] = {}
        self._heads = pl.Series("head", [], pl.String)
        """Three for each number: a line up to the "=" of its first field: the value, a bad value, or the quality."""
        self._stale: list[int] = []

    def learn(self, number: int, series: Series) -> None:
        """Sets or changes the series of a point. Its number is small and dense, as PointIndex gives it."""
        if self._series.get(number) != series:
            self._series[number] = series
            self._stale.append(number)

    def series(self, number: int) -> Series:
        """The series that the point's readings are written to."""
        return self._series.get(number) or unknown(number)

    def block(self, readings: Readings) -> bytes:
        """One line for each row, in their order, each with its newline; UTF-8. A point that nobody told of goes to the
        series of `unknown`. Finite values are written so that reading them back gives the same bits."""
        if not len(readings):
            return b""
        self._refresh(int(readings.point.max()))
        missing = np.isnan(readings.value)
        parts = [pl.Series(readings.value).fill_nan(None).cast(pl.String).fill_null("")]
        if missing.any() or readings.quality.any():
            parts.append(_QUALITIES.gather(readings.quality + np.int64(256) * missing))
        parts += [pl.Series([" "]), pl.Series(readings.time)]
        head = np.where(missing, 2, readings.quality >= Quality.BAD)
        heads = self._heads.gather(readings.point.astype(np.int64) * 3 + head)
        # The long heads are copied once, by the writer of CSV: to it, "=" is what separates a head from the rest.
        text = io.BytesIO()
        pl.select(heads, pl.concat_str(parts)).write_csv(text, include_header=False, separator="=", quote_style="never")
        return text.getvalue()

    def steps(self, frame: pl.DataFrame) -> bytes:
        """One line for each row of what a tier keeps of a step: mean, least, greatest and number, in fields with these
        names behind that of the value; and the quality 1 where a value was uncertain.

        frame: columns start (microseconds), point u32, sum, count, min, max, uncertain; as Steps has them.
        """
        if frame.is_empty():
            return b""
        self._refresh(int(frame["point"].to_numpy().max()))
        head = self._heads.gather(frame["point"].cast(pl.Int64) * 3)
        field = head.str.extract(" ([^ ]*)$")
        lines = frame.select(
            pl.concat_str(
                head, pl.lit("_mean="), (pl.col("sum") / pl.col("count")).cast(pl.String),
                pl.lit(","), field, pl.lit("_min="), pl.col("min").cast(pl.String),
                pl.lit(","), field, pl.lit("_max="), pl.col("max").cast(pl.String),
                pl.lit(","), field, pl.lit("_count="), pl.col("count").cast(pl.String), pl.lit("i"),
                pl.when("uncertain").then(pl.lit(f",{QUALITY_FIELD}=1i ")).otherwise(pl.lit(" ")), pl.col("start"),
            )
        )  # fmt: skip
        text = io.BytesIO()
        lines.write_csv(text, include_header=False, quote_style="never")
        return text.getvalue()

    def _refresh(self, greatest: int) -> None:
        """Brings the heads up to date: new numbers are appended, changed ones cost a pass over all."""
        known = len(self._heads) // 3
        changed = [number for number in self._stale if number < known]
        if changed:
            positions = np.array(changed, np.int64)
            heads = [text for number in changed for text in _heads(self.series(number))]
            self._heads = self._heads.scatter((positions[:, None] * 3 + np.arange(3)).ravel(), heads)
        fresh = max(greatest + 1, max(self._stale, default=-1) + 1)
        if fresh > known:
            added = [text for number in range(known, fresh) for text in _heads(self.series(number))]
            self._heads = pl.concat([self._heads, pl.Series("head", added, pl.String)], rechunk=True)
        self._stale.clear()


def _heads(series: Series) -> tuple[str, str, str]:
    return (
        f"{series.head}{series.field}",
        f"{series.head}{series.field}{BAD_SUFFIX}",
        f"{series.head}{QUALITY_FIELD}",
    )


_QUALITIES = pl.Series(
    [f",{QUALITY_FIELD}={quality}i" if quality else "" for quality in range(256)]
    + [f"{quality + MISSING}i" for quality in range(256)]
)
"""What follows the value, by quality; then, what follows the "=" where the value is missing."""


def _field(point: Point) -> str:
    """The quantity with its unit. A value in a unit that nobody knows must not stand among those in ours."""
    if not point.unit_known:
        return f"{snake(point.quantity)}_{_UNKNOWN_UNIT}"
    setpoint = point.setpoint and not point.measures.setpoint
    return f"{point.measures.column}_setpoint" if setpoint else point.measures.column


def _escape(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass"))

"""Every GPU at one moment, as a table: temperature, power, what holds its clocks down, errors, thermal resistance.

Lives here: which points tell of a GPU, the table, its order, what it sums up to. Not here: HTTP, what is a fault
(dcim.detect). Pure: a plant and the latest values in, a frame out; missing is null, never 0."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from dcim.app.hall import STALE_AFTER_S
from dcim.app.relations import BUSY_SHARE
from dcim.core.assets import AssetKey
from dcim.core.clock_events import BITS, Slowdown, causes_of, mask
from dcim.core.live import NEVER, Latest
from dcim.core.plant import Plant
from dcim.core.readings import Quality
from dcim.core.times import SECOND_US
from dcim.physics.heat import cold_plate_resistance_k_w

QUANTITIES: Final = {
    "temperature_c": "GpuTemperature",
    "power_kw": "GpuPower",
    "limit_kw": "GpuPowerLimit",
    "slowdown_c": "GpuSlowdownTemperature",
    "busy_pct": "GpuUtilization",
    "reasons": "GpuClockEventReasons",
    "xid": "GpuXid",
}
"""Column → quantity."""
STEP_C: Final = 5
"""Width of the steps in which temperatures are counted."""
SORTS: Final = (
    "id", "rack", "temperature_c", "margin_k", "power_kw", "busy_pct", "resistance_k_w", "slowdowns", "xid", "age_s",
)  # fmt: skip
"""Columns that the table can be ordered by."""

Numbers = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """The GPUs of a plant, a row each. Made anew with the plant."""

    plant: Plant
    site: tuple[str, ...]
    gpu: tuple[str, ...]
    """Id of its asset; with its part where an asset has several."""
    rack: tuple[str, ...]
    """Id of the asset that contains it; "" where nobody says."""
    points: dict[str, Numbers]
    """Column → the number of each GPU's point, −1 where it has none."""
    supply: Numbers
    """The point of its rack's supply temperature."""


def lay_out(plant: Plant) -> Fleet:
    """The GPUs that have a point of any of our quantities, by site, rack and name."""
    found: dict[tuple[str, str, str, str], dict[str, int]] = {}
    for column, quantity in QUANTITIES.items():
        for point in plant.of(quantity):
            found.setdefault((point.site, point.within, point.asset, point.part), {}).setdefault(column, point.id)
    order = sorted(found)
    alike = Counter((site, asset) for site, _, asset, _ in order)
    supply: dict[AssetKey, int] = {}
    for point in plant.of("RackLiquidSupplyTemperature"):
        if not point.setpoint:
            supply.setdefault(AssetKey(point.site, point.asset), point.id)
    return Fleet(
        plant,
        site=tuple(site for site, *_ in order),
        gpu=tuple(f"{asset} {part}" if alike[site, asset] > 1 else asset for site, _, asset, part in order),
        rack=tuple(rack for _, rack, *_ in order),
        points={name: np.array([found[key].get(name, -1) for key in order], np.intp) for name in QUANTITIES},
        supply=np.array([supply.get(AssetKey(site, rack), -1) for site, rack, *_ in order], np.intp),
    )


def table(fleet: Fleet, latest: Latest, at_us: int) -> pl.DataFrame:
    """A row a GPU: site, id, rack; temperature_c; margin_k (until it slows down); power_kw; limit_kw; busy_pct; reasons
    (bits of DCGM 112); slowdowns (how many bits of those hold it down); xid (null: none); resistance_k_w of this
    moment, (T − supply)/P, where it draws at least 30 % of its limit; age_s of its temperature, or of its newest value
    where it tells none; stale.

    What is older than the stale limit, bad or never heard is null."""
    fresh_from = at_us - int(STALE_AFTER_S * SECOND_US)
    values = {name: _values(latest, points, fresh_from) for name, points in fleet.points.items()}
    supply = _values(latest, fleet.supply, fresh_from)
    heard = np.stack([_heard(latest, points) for points in fleet.points.values()])
    newest = heard.max(axis=0, initial=NEVER)
    age = np.where(newest == NEVER, np.nan, np.maximum(0, at_us - newest) / SECOND_US)
    busy = values["power_kw"] >= BUSY_SHARE * values["limit_kw"]
    resistance = np.where(busy, cold_plate_resistance_k_w(values["temperature_c"], supply, values["power_kw"]), np.nan)
    columns: dict[str, Any] = values | {"age_s": age, "resistance_k_w": resistance}
    frame = pl.DataFrame({"site": fleet.site, "id": fleet.gpu, "rack": fleet.rack, **columns}).with_columns(
        pl.col(pl.Float64).fill_nan(None)
    )
    whole = [pl.col(name).cast(pl.Int64) for name in ("reasons", "xid")]
    return (
        frame.with_columns(whole)
        .with_columns(
            (pl.col("slowdown_c") - pl.col("temperature_c")).alias("margin_k"),
            pl.when(pl.col("xid") != 0).then(pl.col("xid")).alias("xid"),
            pl.sum_horizontal((pl.col("reasons") & bit != 0).cast(pl.Int64) for bit, _ in BITS).alias("slowdowns"),
            (pl.col("age_s").is_null() | (pl.col("age_s") > STALE_AFTER_S)).alias("stale"),
        )
        .with_columns(pl.when(pl.col("reasons").is_not_null()).then(pl.col("slowdowns")).alias("slowdowns"))
    )


def held_down(frame: pl.DataFrame, *causes: Slowdown) -> pl.DataFrame:
    """The rows that one of these causes holds down; any cause where none is named."""
    return frame.filter(pl.col("reasons") & mask(*causes) != 0)


def ordered(frame: pl.DataFrame, by: str, *, descending: bool) -> pl.DataFrame:
    """The rows by a column, those that do not tell it last; equal ones by site, rack and id. by: one of SORTS."""
    whole = [by, *(name for name in ("site", "rack", "id") if name != by)]
    return frame.sort(whole, descending=[descending, *(False for _ in whole[1:])], nulls_last=True)


def summary(frame: pl.DataFrame) -> dict[str, Any]:
    """What the rows come to: gpus, heard (those that are not stale), hottest_c, power_kw with power_of (of how many
    that is the sum), by cause how many are held down, xid (with an error), temperatures ([from_c, count] in steps of
    5 °C)."""
    steps = (
        frame.drop_nulls("temperature_c")
        .group_by((pl.col("temperature_c") // STEP_C * STEP_C).cast(pl.Int64).alias("from_c"))
        .len()
        .sort("from_c")
    )
    power = frame["power_kw"]
    return {
        "gpus": len(frame),
        "heard": len(frame) - int(frame["stale"].sum()),
        "hottest_c": frame["temperature_c"].max(),
        "power_kw": power.sum() if power.count() else None,
        "power_of": power.count(),
        "slowed": {str(cause): len(held_down(frame, cause)) for cause in Slowdown},
        "xid": frame["xid"].count(),
        "temperatures": [list(row) for row in steps.rows()],
    }


def told(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """The rows as plain data, causes in words."""
    rows = frame.with_columns(
        pl.col(pl.Float64).round(4), pl.col("reasons").map_elements(_words, pl.List(pl.String)).alias("causes")
    )
    columns = ["site", "id", "rack", "temperature_c", "margin_k", "power_kw", "limit_kw", "busy_pct", "causes"]
    return [
        row | {"causes": row["causes"] if row["causes"] is not None else None}
        for row in rows.select(*columns, "xid", "resistance_k_w", "age_s", "stale").to_dicts()
    ]


def _words(reasons: int) -> list[str]:
    return [str(cause) for cause in causes_of(reasons)]


def _values(latest: Latest, points: Numbers, fresh_from: int) -> npt.NDArray[np.float64]:
    size = min(len(latest.value), len(latest.quality), len(latest.heard))
    there = (points >= 0) & (points < size)
    at = np.where(there, points, 0)
    if not size:
        return np.full(len(points), np.nan)
    good = there & (latest.quality[at] != Quality.BAD) & (latest.heard[at] >= fresh_from)
    return np.where(good, latest.value[at], np.nan)


def _heard(latest: Latest, points: Numbers) -> npt.NDArray[np.int64]:
    there = (points >= 0) & (points < len(latest.heard))
    if not len(latest.heard):
        return np.full(len(points), NEVER, np.int64)
    return np.where(there, latest.heard[np.where(there, points, 0)], NEVER)

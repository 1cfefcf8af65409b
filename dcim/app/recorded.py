"""Recordings to play back: a folder that `dcim simulate --out` wrote, and a store's history, both as stretches of
readings with the plant that they are of.

Lives here: opening them, and cutting history into stretches. Not here: tables of other people (tables.py), the walk
through time (playback.py)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from dcim.app.garbage import unsearched
from dcim.app.playback import Stretch, missing_is_bad, usable
from dcim.core.assets import AssetKey, Placement
from dcim.core.errors import Permanent
from dcim.core.plant import Plant, survey
from dcim.core.points import Point, PointIndex
from dcim.core.points_table import COLUMNS, from_table
from dcim.core.ports import TelemetryStore
from dcim.core.readings import Readings
from dcim.core.times import to_us

STORE_STEP = timedelta(hours=1)
"""History is asked for in pieces of this."""
TRUTH = ("kind", "place", "harmful", "severity", "severity_unit", "onset", "detectable", "end")
"""Columns of a truth that are used."""
FORMATS = frozenset({1})
"""Of recordings, that can be read."""


GPU_STALE_S = 400.0 * 86_400.0
"""Of GPUs a recording keeps what changes, and some fields never: whoever is not heard in it is not silent."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Something to play back."""

    title: str
    plant: Plant
    start: datetime
    end: datetime
    stretches: Callable[[], Iterator[Stretch]]
    """From the beginning, each time anew. Raises Permanent for what cannot be read."""
    truth: pl.DataFrame | None = None
    """What really happened, with the columns of TRUTH at least; None where nobody knows."""
    pace_s: float = 10.0
    """Usual time between two readings of a point."""
    stale_after_s: tuple[tuple[str, float], ...] = ()
    """Quantities by the beginning of their names, and after which silence they are stale, where not as on the bus."""
    seed: int | None = None
    """Of a simulation."""


def plant_of(points: Iterable[Point], placements: Mapping[AssetKey, Placement], where: str) -> Plant:
    """A plant that does not change. Raises Permanent where the points are not numbered 0, 1, 2 …"""
    index = PointIndex()
    for point in points:
        if index.locate(point.key) != point.id:
            raise Permanent(f"its point {point.id} is not in its place", where=where, todo="Record it anew.")
        index.describe(point)
    return survey(index, placements)


def simulated(folder: Path) -> Recording:
    """A recording of `dcim simulate --out`. Raises Permanent for a folder that is none, or is not whole."""
    manifest = _manifest(folder)
    table = _parquet(folder / "points.parquet")
    if set(table.columns) != set(COLUMNS):
        raise Permanent("its points have other columns", where=str(folder), todo="Record it anew with this version.")
    placements = {
        AssetKey(asset["site"], asset["id"]): Placement(
            **{field.name: asset[field.name] for field in fields(Placement) if field.name in asset}
        )
        for asset in manifest["assets"]
    }
    start = datetime.fromisoformat(manifest["start"])
    end = start + timedelta(seconds=float(manifest["span_s"]))
    files = [folder / name for name in manifest["files"]]

    def stretches() -> Iterator[Stretch]:
        begins = [_begins(file) for file in files]
        for file, until in zip(files, [*begins[1:], end], strict=True):
            yield Stretch(readings_of(_parquet(file)), to_us(until))

    with unsearched():
        plant = plant_of(from_table(table), placements, str(folder))
    return Recording(
        title=f"{folder} ({manifest['faults'] or 'no faults'}, seed {manifest['seed']})",
        plant=plant,
        start=start,
        end=end,
        stretches=stretches,
        truth=_parquet(folder / "truth.parquet"),
        pace_s=float(manifest["pace_s"]),
        stale_after_s=(("Gpu", GPU_STALE_S),),
        seed=int(manifest["seed"]),
    )


def history(store: TelemetryStore, plant: Plant, start: datetime, end: datetime, title: str) -> Recording:
    """What a store kept with start ≤ time < end. The store stays open for as long as the stretches are asked for."""
    wanted = sorted(plant.points)

    def stretches() -> Iterator[Stretch]:
        begins = start
        while begins < end:
            until = min(begins + STORE_STEP, end)
            yield Stretch(readings_of(store.window(wanted, begins, until)), to_us(until))
            begins = until

    return Recording(title, plant, start, end, stretches)


def oldest(store: TelemetryStore, plant: Plant, end: datetime) -> datetime:
    """About when a store's history begins: the day of its first reading in the year before `end`."""
    wanted, day = sorted(plant.points), timedelta(days=1)
    counts = store.window(wanted, end - 365 * day, end, every=day, how="count")
    first = counts["time"].min()
    return first if isinstance(first, datetime) else end


def readings_of(frame: pl.DataFrame) -> Readings:
    """The columns of a store's window: point, time, value, quality."""
    value = frame["value"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    quality = frame["quality"].to_numpy() if "quality" in frame.columns else missing_is_bad(value)
    point, time = frame["point"].cast(pl.UInt32).to_numpy(), frame["time"].to_physical().to_numpy()
    rows = Readings(point, time, value, quality)
    later = (point[1:] > point[:-1]) | ((point[1:] == point[:-1]) & (time[1:] > time[:-1]))
    return rows if later.all() else usable(rows)


def _manifest(folder: Path) -> dict[str, Any]:
    file = folder / "manifest.json"
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Permanent(
            "is no recording, or not a whole one: it has no manifest.json",
            where=str(folder),
            todo="Give a folder that dcim simulate --out has finished.",
        ) from error
    except (OSError, ValueError) as error:
        raise Permanent(f"cannot be read: {error}", where=str(file), todo="Record it anew.") from error
    wanted = {"format", "assets", "start", "span_s", "files", "faults", "seed", "pace_s"}
    if not isinstance(told, dict) or not wanted <= set(told) or told["format"] not in FORMATS:
        raise Permanent("is of another version", where=str(file), todo="Record it anew with this version.")
    return told


def _begins(file: Path) -> datetime:
    try:
        return datetime.strptime(file.stem + "+0000", "readings-%Y%m%dT%H%M%SZ%z")
    except ValueError as error:
        raise Permanent("has no time in its name", where=str(file), todo="Record it anew.") from error


def _parquet(file: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(file, memory_map=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise Permanent(f"cannot be read: {error}", where=str(file), todo="Record it anew.") from error

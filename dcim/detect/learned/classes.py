"""Classes: what is usual of all assets of one kind together, each from its own middle: racks, CDUs, GPUs.

A row is one asset in one bin of time: of each column how far its mean is from the asset's own usual value, and how far
from what it was in the bins before. Three models look at it. Lives here: what is kept of a kind, the way from readings
to rows, training, and the verdict on rows. Not here: models (models.py), findings (unusual.py), files (dcim.app)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dcim.core.assets import AssetKey
from dcim.core.errors import Permanent
from dcim.core.plant import Plant
from dcim.core.points import Point
from dcim.core.quantities import QUANTITIES, Nature
from dcim.detect.learned import form
from dcim.detect.learned.learning import ALONE, calibrated, learn
from dcim.detect.learned.models import MODELS, Model, from_arrays, measure, to_arrays
from dcim.detect.traces import Floats
from dcim.detect.wide import Bools, Numbers

BEFORE = 9
"""Bins before the present one, whose mean is what a column was."""
SUSTAINED = 5
"""Bins in a row that have to be unusual."""
FITTED = 2.0 / 3.0
"""The models are fitted to this share of the rows, the first ones in time; their limits come from the rest."""
MARGIN = 2.0
"""A limit is so many times the largest that stood in healthy rows. [E]"""
ROWS_MIN = 200
"""Rows that a kind needs. Fewer teach nothing about what is usual."""
SHARE_MIN = 0.5
"""A column is learned that so many of the kind's assets have, and tell in so many of the bins."""
COLUMNS_MAX = 64
"""Columns of a kind at most."""
_UNTOLD = frozenset({Nature.STATE, Nature.COUNTER})
"""States have no mean, and counters no usual value."""


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What was learned of one kind of asset, and from what."""

    kind: str
    """DSX object type, or "Gpu"."""
    columns: tuple[str, ...]
    """Names of points, as people read them: which point of an asset is meant."""
    quantities: tuple[str, ...]
    units: tuple[str, ...]
    bin_s: float
    assets: tuple[AssetKey, ...]
    """Those that were there."""
    centres: Floats
    """[assets, columns]: the usual value of each."""
    scale: Floats
    """[2 × columns]: a usual deviation; levels first, then changes."""
    models: tuple[Model, ...]
    about: Mapping[str, Any]
    """For people: span, rows, versions, seed, how limits were found."""

    def points(self, plant: Plant, asset: AssetKey) -> tuple[Point | None, ...]:
        """The point of each column at an asset; None where it has none. Of several with one name, none is meant."""
        found: dict[str, Point | None] = {}
        known = plant.assets.get(asset)
        for number in known.points if known else ():
            point = plant.points[number]
            found[column_of(point)] = None if column_of(point) in found else point
        return tuple(found.get(column) for column in self.columns)

    def centre(self, assets: Sequence[AssetKey]) -> Floats:
        """[assets, columns]: the usual values of these, NaN for those that were not there."""
        row = {asset: number for number, asset in enumerate(self.assets)}
        known = np.vstack([self.centres, np.full((1, len(self.columns)), np.nan)])
        return known[[row.get(asset, -1) for asset in assets]]

    def measures(self, rows: Floats) -> Floats:
        """[rows, models]: 1 and more is unusual to that model. rows: as `rows_of` makes them, NaN taken as usual."""
        whole = np.nan_to_num(rows / self.scale)
        return np.stack([measure(model, whole) for model in self.models], axis=1)

    def shares(self, row: Floats) -> Floats:
        """[columns]: how much each column has to do with it, by the model to which the row is the least usual."""
        whole = np.nan_to_num(row / self.scale)
        model = max(self.models, key=lambda one: float(measure(one, whole[None])[0]))
        both = model.shares(whole)
        return both[: len(self.columns)] + both[len(self.columns) :]


def column_of(point: Point) -> str:
    """What a point is called among its asset's. A GPU's number tells the asset, not the column."""
    return (replace(point, part="") if point.asset_kind == "Gpu" else point).name


def rows_of(means: Floats, centres: Floats) -> Floats:
    """[assets, bins − BEFORE, 2 × columns]: how far from usual, then how far from before.

    means: [assets, columns, bins], NaN where nothing was heard. centres: [assets, columns].
    """
    level = means[:, :, BEFORE:] - centres[:, :, None]
    heard = ~np.isnan(means)
    total = np.cumsum(np.where(heard, means, 0.0), axis=2)
    number = np.cumsum(heard, axis=2)
    summed = np.concatenate([np.zeros_like(total[:, :, :1]), total], axis=2)
    counted = np.concatenate([np.zeros_like(number[:, :, :1]), number], axis=2)
    of = counted[:, :, BEFORE:-1] - counted[:, :, : -BEFORE - 1]
    before = np.where(of > 0, (summed[:, :, BEFORE:-1] - summed[:, :, : -BEFORE - 1]) / np.maximum(of, 1), np.nan)
    both: Floats = np.concatenate([level, means[:, :, BEFORE:] - before], axis=1)
    return both.transpose(0, 2, 1)


def sustained(measures: Floats, bins: int = SUSTAINED) -> Floats:
    """[…, bins − some]: what a measure did not fall below for so many bins, along its last axis."""
    held: Floats = np.lib.stride_tricks.sliding_window_view(measures, bins, axis=-1).min(axis=-1)
    return held


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns a kind's assets have in common, and by which points."""

    kind: str
    assets: tuple[AssetKey, ...]
    names: tuple[str, ...]
    quantities: tuple[str, ...]
    units: tuple[str, ...]
    points: Numbers
    """[assets, columns]; −1 where an asset has none."""


def columns_of(plant: Plant, kind: str) -> Columns:
    """The columns of a kind: measured, no set-points or states, in a known unit, with the same unit everywhere, at half
    of the assets at least. Raises Permanent where there is no such asset, or no such column."""
    assets = tuple(asset.key for asset in plant.assets.values() if asset.kind == kind)
    if not assets:
        kinds = sorted({asset.kind for asset in plant.assets.values() if asset.kind})
        raise Permanent(
            f"there is no {kind} in this history", where=f"kind {kind}", todo=f"There are {', '.join(kinds)}."
        )
    named: dict[str, dict[AssetKey, Point | None]] = {}
    for asset in assets:
        for number in plant.assets[asset].points:
            there = plant.points[number]
            told = named.setdefault(column_of(there), {})
            told[asset] = None if asset in told else there
    kept: list[tuple[str, str, str]] = []
    for name, told in sorted(named.items()):
        points = [point for point in told.values() if point is not None]
        units = {(point.quantity, point.unit) for point in points}
        if len(points) < SHARE_MIN * len(assets) or len(units) != 1:
            continue
        first = points[0]
        if first.setpoint or not first.unit_known or QUANTITIES[first.quantity].nature in _UNTOLD:
            continue
        kept.append((name, first.quantity, first.unit))
    kept = kept[:COLUMNS_MAX]
    if not kept:
        raise Permanent("its assets have no measured points in common", where=f"kind {kind}")
    points_of = np.array(
        [[point.id if (point := named[name].get(asset)) else -1 for name, _, _ in kept] for asset in assets], np.intp
    )
    names, quantities, units_of = zip(*kept, strict=True)
    return Columns(kind, assets, names, quantities, units_of, points_of)


def train(columns: Columns, means: Floats, usual: Bools, bin_s: float, seed: int, about: Mapping[str, Any]) -> Trained:
    """Learns from the history of one kind.

    means: [assets, columns, bins]: mean by bin, NaN where nothing was heard. usual: [assets, bins]: where no alarm
    stood and no fault is known; nothing else is learned from. Raises Permanent where too little is left.
    """
    where = f"kind {columns.kind}"
    means = np.where(usual[:, None, :], means, np.nan)
    lasts = np.maximum(usual.sum(axis=1), 1)[:, None]
    told = (~np.isnan(means)).sum(axis=2) >= np.maximum(SHARE_MIN * lasts, 2.0)  # [assets, columns]
    varies = np.array([_moves(means[told[:, number], number]) for number in range(len(columns.names))], np.bool_)
    chosen = np.flatnonzero((told.mean(axis=0) >= SHARE_MIN) & varies)
    present = told[:, chosen].any(axis=1) if len(chosen) else np.zeros(len(columns.assets), np.bool_)
    if not len(chosen) or not present.any():
        raise Permanent("no column tells enough to learn from", where=where, todo="Train on a longer history.")
    means = means[present][:, chosen]
    centres = _middles(means)
    rows = rows_of(means, centres)
    cut = round(FITTED * rows.shape[1])
    early, late = _whole(rows[:, :cut]), rows[:, cut:]
    if len(early) < ROWS_MIN or late.shape[1] < SUSTAINED:
        raise Permanent(
            f"{len(early)} rows are left to learn from, and {ROWS_MIN} are needed",
            where=where,
            todo="Train on a longer history, or on one with fewer alarms and faults in it.",
        )
    scale = np.maximum(early.std(axis=0), 1e-6 + 1e-4 * np.abs(np.tile(np.nanmean(np.abs(centres), axis=0), 2)))
    early = early / scale
    judged = late / scale

    def hold(statistics: Floats) -> Floats:
        return sustained(statistics.reshape(judged.shape[:2])).ravel()

    models = tuple(
        calibrated(learn(kind, early, seed), judged.reshape(-1, judged.shape[2]), hold, MARGIN) for kind in MODELS
    )
    assets = tuple(asset for asset, here in zip(columns.assets, present, strict=True) if here)
    limits = (
        f"{MARGIN:g} times the largest value that stood for {SUSTAINED} bins in the last third of the time, to which "
        f"nothing was fitted, or that 1 in {round(1 / (1 - ALONE))} of its bins reaches alone, where that is more"
    )
    return Trained(
        kind=columns.kind,
        columns=tuple(columns.names[number] for number in chosen),
        quantities=tuple(columns.quantities[number] for number in chosen),
        units=tuple(columns.units[number] for number in chosen),
        bin_s=bin_s,
        assets=assets,
        centres=centres,
        scale=scale,
        models=models,
        about={
            **about,
            "rows": len(early),
            "rows_judged": int((~np.isnan(judged).any(axis=2)).sum()),
            "seed": seed,
            "limits": limits,
            "left_out": [name for number, name in enumerate(columns.names) if number not in set(chosen.tolist())],
        },
    )


def _moves(values: Floats) -> bool:
    """[assets, bins]: whether it changes over time at any of the assets."""
    heard = ~np.isnan(values)
    high = np.where(heard, values, -np.inf).max(axis=1, initial=-np.inf)
    low = np.where(heard, values, np.inf).min(axis=1, initial=np.inf)
    return bool((high > low).any())


def _middles(means: Floats) -> Floats:
    """[assets, columns]: median over time; where an asset tells nothing, that of its kind."""
    middles = np.full(means.shape[:2], np.nan)
    for row, column in np.argwhere(~np.isnan(means).all(axis=2)):
        middles[row, column] = np.nanmedian(means[row, column])
    kind = np.array([np.nanmedian(middles[:, column]) for column in range(means.shape[1])])
    return np.where(np.isnan(middles), kind, middles)


def _whole(rows: Floats) -> Floats:
    """[rows, …]: of all assets, those in which nothing is missing."""
    flat = rows.reshape(-1, rows.shape[2])
    return flat[~np.isnan(flat).any(axis=1)]


def to_bytes(trained: Sequence[Trained]) -> bytes:
    """All kinds in one file."""
    header: list[dict[str, Any]] = []
    arrays: dict[str, form.Array] = {}
    for number, one in enumerate(trained):
        header.append(
            {
                "kind": one.kind,
                "columns": one.columns,
                "quantities": one.quantities,
                "units": one.units,
                "bin_s": one.bin_s,
                "assets": [list(asset) for asset in one.assets],
                "models": [model.kind for model in one.models],
                "about": one.about,
            }
        )
        arrays |= {f"{number}.centres": one.centres, f"{number}.scale": one.scale}
        for model in one.models:
            arrays |= {f"{number}.{model.kind}.{name}": array for name, array in to_arrays(model).items()}
    return form.pack({"trained": header}, arrays)


def from_bytes(data: bytes, where: str) -> tuple[Trained, ...]:
    """What `to_bytes` wrote. Raises Permanent where it is damaged, of another version, or does not go together."""
    header, arrays = form.unpack(data, where)
    try:
        told = header["trained"]
        if not isinstance(told, list):
            raise TypeError("its header lists no kinds")
        trained = tuple(_read(one, f"{number}.", arrays) for number, one in enumerate(told))
    except (KeyError, TypeError, ValueError) as error:
        raise Permanent(f"does not go together: {error}", where=where, todo="Train anew: dcim train.") from error
    kinds = [one.kind for one in trained]
    if len(set(kinds)) < len(kinds) or not kinds:
        raise Permanent("holds no kind, or one twice", where=where, todo="Train anew: dcim train.")
    return trained


def _read(told: Mapping[str, Any], prefix: str, arrays: Mapping[str, form.Array]) -> Trained:
    """One kind. Raises KeyError, TypeError and ValueError."""
    mine = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    columns, quantities, units = (_words(told[name]) for name in ("columns", "quantities", "units"))
    assets = tuple(AssetKey(*_words(asset)) for asset in told["assets"])
    bin_s = float(told["bin_s"])
    if not (0 < len(columns) <= COLUMNS_MAX and len(columns) == len(quantities) == len(units) and assets):
        raise ValueError("columns, quantities and units are not as many")
    if unknown := set(quantities) - set(QUANTITIES):
        raise ValueError(f"there is no quantity {', '.join(sorted(unknown))}")
    for name, quantity, unit in zip(columns, quantities, units, strict=True):
        if QUANTITIES[quantity].unit != unit:
            raise ValueError(f"{name} is in {unit}, but {quantity} is kept in {QUANTITIES[quantity].unit}")
    if not (math.isfinite(bin_s) and 1.0 <= bin_s <= 3600.0):
        raise ValueError("bin_s is not within 1 to 3600")
    centres, scale = mine["centres"], mine["scale"]
    if centres.dtype != np.float64 or centres.shape != (len(assets), len(columns)):
        raise ValueError("centres are not those of its assets and columns")
    if scale.dtype != np.float64 or scale.shape != (2 * len(columns),):
        raise ValueError("scale is not that of its columns")
    if not (np.isfinite(centres).all() and np.isfinite(scale).all() and (np.asarray(scale, np.float64) > 0.0).all()):
        raise ValueError("centres and scale are not finite")
    kinds = _words(told["models"])
    if not kinds or len(set(kinds)) < len(kinds):
        raise ValueError("it holds no model, or one twice")
    models = tuple(
        from_arrays(
            kind,
            {name.removeprefix(f"{kind}."): array for name, array in mine.items() if name.startswith(f"{kind}.")},
            2 * len(columns),
        )
        for kind in kinds
    )
    (kind,) = _words([told["kind"]])
    about = told["about"]
    if not isinstance(about, dict):
        raise TypeError("it does not say what it was trained on")
    return Trained(
        kind, columns, quantities, units, bin_s, assets,
        np.asarray(centres, np.float64), np.asarray(scale, np.float64), models, about,
    )  # fmt: skip


def _words(told: object) -> tuple[str, ...]:
    if not isinstance(told, list) or not all(isinstance(word, str) for word in told):
        raise TypeError("words are wanted")
    return tuple(told)

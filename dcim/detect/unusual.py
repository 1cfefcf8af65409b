"""What is not as usual, by models that were trained on history: which asset, and which of its signals takes it there.

For what no rule was written for; what has a name is found by the other detectors, with more reason. The models never
learn while the service runs, and so learn nothing during an alarm. Lives here: the present rows, the verdict of the
models together, the finding. Not here: the models and how they are trained (dcim.detect.learned)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from dcim.core.assets import Asset
from dcim.core.findings import Bearing, Detection, Evidence, Finding, FindingKind, Subject
from dcim.core.plant import Plant
from dcim.core.points import Point
from dcim.core.ports import Needs
from dcim.core.times import to_us
from dcim.detect.figures import figure, percent
from dcim.detect.learned.classes import BEFORE, SUSTAINED, Trained, rows_of, sustained
from dcim.detect.roster import Answer, Roster, beyond
from dcim.detect.traces import Floats, Grid
from dcim.detect.wide import Bools, Numbers, all_of, any_of, widen


@dataclass(frozen=True, slots=True)
class UnusualSettings:
    """How it looks."""

    every_s: float = 30.0
    hold_s: float = 120.0
    """For so long a reading stands for the bins without one; the bus repeats what is unchanged every 100 s."""
    agree: int = 2
    """So many of the models have to find it unusual (all, where there are fewer)."""
    deadband: float = 0.8
    """Between this share of the limit and the limit, what stands goes on standing."""
    named: int = 3
    """Signals that a finding names at most."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """The assets of one trained kind, by row."""

    trained: Trained
    assets: tuple[Asset, ...]
    points: Numbers
    """[assets, columns]; −1 where there is none that fits."""
    centres: Floats
    roster: Roster
    misfits: tuple[tuple[Bools, str], ...]
    """Assets that the model cannot judge, whatever is heard, and why."""

    @classmethod
    def of(cls, trained: Trained, plant: Plant) -> _Kind:
        assets = tuple(asset for asset in plant.assets.values() if asset.kind == trained.kind)
        found = [trained.points(plant, asset.key) for asset in assets]
        centres = trained.centre([asset.key for asset in assets])
        misfits = [(any_of(np.isnan(centres)), "it was not there when its model was trained")]
        for number, (column, unit) in enumerate(zip(trained.columns, trained.units, strict=True)):
            points = [row[number] for row in found]
            missing = np.array([point is None for point in points], np.bool_)
            misfits.append((missing, f"its model was trained with {column}, which it does not have"))
            other = np.array([_misfit(point, trained.quantities[number], unit) for point in points], np.bool_)
            misfits.append((other, f"its model was trained with {column} in {unit or 'plain numbers'}, and it is not"))
        return cls(
            trained,
            assets,
            np.array(
                [[-1 if point is None else point.id for point in row] for row in found], np.intp
            ).reshape(len(assets), len(trained.columns)),
            centres,
            Roster(FindingKind.UNUSUAL_BEHAVIOUR, [Subject(asset.site, asset.id) for asset in assets]),
            tuple((rows, why) for rows, why in misfits if rows.any()),
        )  # fmt: skip


def _misfit(point: Point | None, quantity: str, unit: str) -> bool:
    return point is not None and not (point.unit_known and point.unit == unit and point.quantity == quantity)


class Unusual:
    """Detector: behaviour that trained models do not know."""

    name = "unusual"
    kinds = frozenset({FindingKind.UNUSUAL_BEHAVIOUR})

    def __init__(self, trained: Sequence[Trained], settings: UnusualSettings | None = None) -> None:
        """trained: one for each kind of asset that is to be judged."""
        self.settings = settings or UnusualSettings()
        self._trained = tuple(trained)
        bins = BEFORE + SUSTAINED
        longest_s = max((one.bin_s for one in self._trained), default=60.0)
        self.needs = Needs(
            frozenset(quantity for one in self._trained for quantity in one.quantities),
            timedelta(seconds=bins * longest_s + self.settings.hold_s),
            timedelta(seconds=self.settings.every_s),
        )
        self._plant = Plant()
        self._kinds: tuple[_Kind, ...] = ()

    def detect(self, window: pl.DataFrame, plant: Plant, at: datetime) -> Detection:
        """Judges every asset of a trained kind. One that lacks a column of its model, or of which one is not heard, is
        unknown."""
        if self._plant is not plant:
            self._plant = plant
            self._kinds = tuple(_Kind.of(trained, plant) for trained in self._trained)
        answer = Answer()
        for kind in self._kinds:
            if kind.assets:
                self._judge(kind, window, at, answer)
        return answer.detection()

    def _judge(self, kind: _Kind, window: pl.DataFrame, at: datetime, answer: Answer) -> None:
        trained, settings = kind.trained, self.settings
        bins = BEFORE + SUSTAINED
        means = widen(window, Grid(to_us(at), trained.bin_s, bins, settings.hold_s)).means(kind.points)
        rows = rows_of(means, kind.centres)
        measures = trained.measures(rows.reshape(-1, rows.shape[2])).reshape(*rows.shape[:2], -1)
        held = sustained(measures.transpose(0, 2, 1))[:, :, 0]  # [assets, models]
        agree = min(settings.agree, held.shape[1])
        score = np.sort(held, axis=1)[:, -agree]
        found, between = beyond(score, 1.0, settings.deadband)
        short = all_of(np.isnan(means[:, :, :BEFORE]))  # [assets, columns]
        gone = any_of(np.isnan(means[:, :, BEFORE:]))
        unknown = list(kind.misfits)
        unknown += [(gone[:, number], f"{column} is not heard") for number, column in enumerate(trained.columns)]
        minutes = round((bins - 1) * trained.bin_s / 60.0)
        unknown.append((any_of(short), f"it has not been heard for {minutes} minutes yet"))

        def make(row: int) -> Finding:
            asset = kind.assets[row]
            shares = trained.shares(rows[row, -1])
            order = np.argsort(-shares, kind="stable")[: settings.named]
            most = [int(number) for number in order if shares[number] >= 0.1] or [int(order[0])]
            votes = int((held[row] >= 1.0).sum())
            lines = [
                Evidence(
                    f"{trained.columns[number]} ({percent(float(shares[number]))} of it)",
                    f"{figure(means[row, number, -1], trained.units[number])}, "
                    f"usually {figure(kind.centres[row, number], trained.units[number])}",
                    point=int(kind.points[row, number]),
                )
                for number in most
            ]
            against = ", ".join(
                f"{model.kind} {value:.1f}" for model, value in zip(trained.models, held[row], strict=True)
            )
            lines.append(
                Evidence(
                    f"{votes} of {len(trained.models)} models find it unusual for {SUSTAINED} bins",
                    f"{against} times their limits",
                )
            )
            if votes < len(trained.models):
                lines.append(Evidence("The other models", "find it usual", Bearing.AGAINST))
            return Finding(
                FindingKind.UNUSUAL_BEHAVIOUR,
                kind.roster.subjects[row],
                since=at - timedelta(seconds=SUSTAINED * trained.bin_s),
                summary=f"{asset.name} does not behave as usual, {trained.columns[most[0]]} the most",
                score=float(score[row]),
                confidence=0.3 + 0.3 * votes / len(trained.models),
                evidence=tuple(lines),
                check_first=(
                    f"Look at the trend of {trained.columns[most[0]]} and of the other signals named.",
                    "Ask whether something was changed: load, set-points, valves, work on it.",
                    "If this is how it is to be from now on, train anew: dcim train --accept-unusual.",
                ),
            )

        answer.judge(kind.roster, found, between, unknown, make)

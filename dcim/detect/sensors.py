"""Sensors: meters that lie, found by what is measured twice: by a twin, by a balance, by their own past.

What is found here is distrusted: detectors that look later are shown it as bad. It goes that one way only, and never to
limits: a doubtful sensor may still be right about danger.

Lives here: the detector. Not here: silence (silence.py), clocks (clocks.py), leak sensors (contact.py)."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from dcim.core.assets import AssetKey
from dcim.core.findings import Bearing, Detection, Evidence, Finding, FindingKind, Subject
from dcim.core.plant import Plant
from dcim.core.points import Point
from dcim.core.ports import Needs
from dcim.core.quantities import Nature
from dcim.core.times import to_us
from dcim.detect.balance import FEEDS, QUANTITIES, Balance, BalanceSettings, Racks, measure
from dcim.detect.figures import duration, figure, percent
from dcim.detect.norms import Learned, Norms, where
from dcim.detect.roster import Answer, Roster, beyond
from dcim.detect.stillness import Stillness, stillness
from dcim.detect.study import Study
from dcim.detect.sums import Circuits, References, add_up
from dcim.detect.traces import Floats, Grid
from dcim.detect.wide import Bools, Numbers, Wide, all_of, any_of, by_group, recent, widen
from dcim.physics.hydraulics import FLOW_EXPONENT

VARYING = frozenset(
    {
        *("RackPower", "RackLiquidFlow", "RackLiquidSupplyTemperature", "RackLiquidReturnTemperature"),
        *("RackLiquidDifferentialPressure", "LiquidTemperature", "LiquidFlow", "LiquidPressure"),
        *("LiquidDifferentialPressure", "LiquidLevel", "AirTemperature", "AirRelativeHumidity", "ActivePower"),
    }
)
"""What never stays the same to the last digit while it is measured. Positions, speeds and states do."""
APART: dict[str, float] = {"LiquidTemperature": 1.0, "LiquidPressure": 10.0, "AirTemperature": 2.0}
"""How far sensors of the same thing may be apart, in the quantity's unit: 1 K for 30 s is in CDU manuals; the rest is
judgement."""
SHOWN = 5
_FLOW, _SUPPLY, _BACK, _POWER = range(4)


@dataclass(frozen=True, slots=True)
class SensorsSettings:
    """What counts as a fault. [E] unless a source is given."""

    look_back_s: float = 300.0
    bin_s: float = 10.0
    hold_s: float = 125.0
    every_s: float = 10.0
    balance: BalanceSettings = field(default_factory=BalanceSettings)
    ready_s: float = 3_600.0
    believed_after_s: float = 600.0
    """Who was found off is believed again when no window holds any more what it said then."""
    apart_bins: int = 3
    """30 s, as CDU manuals have it."""
    apart_back: float = 0.8
    """Of APART: below it sensors agree again."""
    strayed: float = 0.6
    """Of the distance between two twins: one that is so far from where other sensors have it is off, if its twin is
    not farther than `stayed`."""
    stayed: float = 0.3
    frozen_after_s: float = 120.0
    """More than one republish of the bus."""
    frozen_intervals: float = 20.0
    """So many of its usual intervals between two changes must have passed; by chance that is one look in 10⁸."""
    changes_min: float = 20.0
    """In the window, before it froze, where its usual interval is not known yet."""
    together_share: float = 0.3
    """Of a site's sensors: if so many freeze together, it is what reads them."""
    together_min: int = 20
    off_share: float = 0.04
    """By which a rack's heat balance must be off before it alone names a meter: means of ten minutes of healthy racks
    stay within 2.5 %, and where a load step leaves few of them, once in a rack-month came to over 3.5 %."""
    both_share: float = 0.03
    """By which two witnesses must be off that name the same meter: pressure against flow stays within 1 %, feeds and
    sums of flows within 0.7 %."""
    back_ratio: float = 0.7
    """A verdict on a meter ends below this part of what began it."""
    agree_share: float = 0.02
    agree_ratio: float = 0.4
    """Two balances agree about a meter when they differ by less than the larger of these."""
    sum_share: float = 0.006
    """Of a circuit's flow: so much must one rack's meter change the sum of all, to be seen in it."""
    supply_k: float = 0.3
    """Its supply against its circuit's others, from its usual distance: means of ten minutes, so many times their
    noise; the heat balance has to agree."""
    supply_alone_k: float = 1.0
    """So far from them it is off whatever the heat balance says, or its usual distance is."""


@dataclass(frozen=True, slots=True, eq=False)
class _Map:
    """What is looked up of one plant."""

    plant: Plant
    racks: Racks
    circuits: Circuits
    varying: Numbers
    varying_asset: Numbers
    asset_keys: tuple[AssetKey, ...]
    site_of_asset: Numbers
    sites: tuple[str, ...]
    measured: Numbers
    low: Floats
    high: Floats
    twins: tuple[tuple[Point, ...], ...]
    twin_points: Numbers
    twin_group: Numbers
    twin_keys: tuple[AssetKey, ...]
    references: References
    meters: Numbers
    """[4 · racks]: flow, supply, return and power of each rack."""
    bias: Roster
    cdu_flow: Roster
    """By circuit, the flow meter of its CDU."""
    odd: Roster
    """Each of several twins."""
    frozen: Roster
    frozen_site: Roster
    implausible: Roster
    disagree: Roster

    @classmethod
    def of(cls, plant: Plant) -> _Map:
        racks = Racks.of(plant)
        them = Circuits.of(plant, racks)
        varying = [point for point in plant.of(*sorted(VARYING)) if not point.setpoint and point.unit_known]
        keys = sorted({AssetKey(point.site, point.asset) for point in varying})
        number = {key: row for row, key in enumerate(keys)}
        sites = sorted({key.site for key in keys})
        measured = [
            point
            for point in plant.of(*sorted(VARYING | QUANTITIES))
            if not point.setpoint and point.unit_known and point.measures.nature is Nature.MEASURE
        ]
        groups: dict[tuple[object, ...], list[Point]] = {}
        for point in plant.of(*sorted(APART)):
            if not point.setpoint and point.unit_known:
                areas = tuple(area.casefold().rstrip("0123456789 -_#") for area in point.areas)
                same = (point.site, point.asset, point.quantity, point.loop, point.side, areas, point.object_type)
                groups.setdefault(same, []).append(point)
        twins = tuple(tuple(group) for group in groups.values() if len(group) > 1)
        flat = [(point, row) for row, group in enumerate(twins) for point in group]
        meters = np.concatenate([racks.flow, racks.supply, racks.back, racks.power])
        return cls(
            plant=plant,
            racks=racks,
            circuits=them,
            varying=_ids(varying),
            varying_asset=np.array([number[AssetKey(point.site, point.asset)] for point in varying], np.intp),
            asset_keys=tuple(keys),
            site_of_asset=np.array([sites.index(key.site) for key in keys], np.intp),
            sites=tuple(sites),
            measured=_ids(measured),
            low=np.array([point.plausible[0] for point in measured]),
            high=np.array([point.plausible[1] for point in measured]),
            twins=twins,
            twin_points=_ids([point for point, _ in flat]),
            twin_group=np.array([row for _, row in flat], np.intp),
            twin_keys=tuple(AssetKey(point.site, point.asset) for point, _ in flat),
            references=References.of(plant, racks, them, twins),
            meters=meters,
            cdu_flow=Roster(
                FindingKind.SENSOR_BIAS,
                [
                    Subject(asset.site, asset.id, plant.points[point].name if point >= 0 else "")
                    for asset, point in zip(them.assets, them.flow.tolist(), strict=True)
                ],
            ),
            bias=Roster(
                FindingKind.SENSOR_BIAS,
                [
                    Subject(
                        racks.assets[row % len(racks.assets)].site,
                        racks.assets[row % len(racks.assets)].id,
                        plant.points[point].name if point >= 0 else "",
                    )
                    for row, point in enumerate(meters.tolist())
                ],
            ),
            odd=Roster(FindingKind.SENSOR_BIAS, [Subject(p.site, p.asset, p.name) for p, _ in flat]),
            frozen=Roster(FindingKind.SENSOR_FROZEN, [Subject(key.site, key.id) for key in keys]),
            frozen_site=Roster(FindingKind.SENSOR_FROZEN, [Subject(site, site, "many at once") for site in sites]),
            implausible=Roster(FindingKind.SENSOR_IMPLAUSIBLE, [Subject(p.site, p.asset, p.name) for p in measured]),
            disagree=Roster(
                FindingKind.SENSORS_DISAGREE,
                [Subject(group[0].site, group[0].asset, _together(group)) for group in twins],
            ),
        )


class Sensors:
    """Detector: biased, frozen, implausible and disagreeing sensors. A Learner as well."""

    name = "sensors"
    kinds = frozenset(
        {
            FindingKind.SENSOR_BIAS,
            FindingKind.SENSOR_FROZEN,
            FindingKind.SENSOR_IMPLAUSIBLE,
            FindingKind.SENSORS_DISAGREE,
        }
    )

    def __init__(self, norms: Norms | None = None, settings: SensorsSettings | None = None) -> None:
        """norms: what is usual of each meter, learned before."""
        self.settings = settings or SensorsSettings()
        self.study = Study(norms or Norms())
        self.needs = Needs(
            QUANTITIES | FEEDS | VARYING | frozenset(APART),
            timedelta(seconds=self.settings.look_back_s),
            timedelta(seconds=self.settings.every_s),
        )
        self._map = _Map.of(Plant())
        self._named: dict[int, datetime] = {}
        """When each point that was found off was found so last."""

    @property
    def norms(self) -> Norms:
        """What is usual, as learned by now."""
        return self.study.norms

    def learn(self, exempt: AbstractSet[AssetKey]) -> None:
        """As Learner says."""
        self.study.learn(exempt)

    def detect(self, window: pl.DataFrame, plant: Plant, at: datetime) -> Detection:
        """Judges every meter of a rack, every set of twins, and every sensor that should vary. `distrusted` names the
        points that are, or of late were, found off, frozen or implausible; of twins that only disagree none."""
        if self._map.plant is not plant:
            self._map = _Map.of(plant)
        settings = self.settings
        grid = Grid(to_us(at), settings.bin_s, round(settings.look_back_s / settings.bin_s), settings.hold_s)
        look = _Look(settings, self._map, window, widen(window, grid), self.norms, at)
        # Who is named is no evidence for who looks next.
        learned = [look.frozen()]
        look.implausible()
        look.forget()
        learned.append(look.twins())
        look.forget()
        learned += look.balances()
        self.study.looked(at, learned)
        self._named |= dict.fromkeys(look.distrusted, at)
        long_s = settings.believed_after_s
        self._named = {point: when for point, when in self._named.items() if (at - when).total_seconds() < long_s}
        return look.answer.detection(frozenset(self._named))


class _Look:
    """One look at all sensors."""

    def __init__(
        self, settings: SensorsSettings, plan: _Map, window: pl.DataFrame, wide: Wide, norms: Norms, at: datetime
    ) -> None:
        self.settings, self.map, self.wide, self.norms, self.at = settings, plan, wide, norms, at
        self.since = at - timedelta(seconds=settings.look_back_s)
        self.still: Stillness = stillness(window, to_us(at))
        self.answer = Answer()
        self.distrusted: set[int] = set()

    def forget(self) -> None:
        """Takes what is distrusted by now out of what is looked at."""
        self.wide.forget(np.array(sorted(self.distrusted), np.intp))

    def _point(self, number: int) -> Point:
        return self.map.plant.points[number]

    # --- frozen ---

    def frozen(self) -> Learned:
        """Sensors that say the same to the last digit, where they used to vary; one finding for each asset."""
        settings, plan, still = self.settings, self.map, self.still
        row = still.at(plan.varying)

        def column(values: Floats) -> Floats:
            column: Floats = np.append(values, np.nan)[row]
            return column

        value, still_s, said = column(still.value), column(still.still_s), column(still.said)
        norm = self.norms.of("change interval", plan.varying, settings.ready_s)
        here = np.where(column(still.changes) >= settings.changes_min, column(still.interval_s), np.nan)
        interval_s = np.where(np.isnan(norm), here, norm)
        heard = column(still.heard_s) <= settings.hold_s
        # Nothing varies at nothing: a branch that is shut, a feed that is off.
        resting = (value == 0.0) | np.isnan(value)
        after_s = np.maximum(settings.frozen_after_s, settings.frozen_intervals * interval_s)
        too_slow = after_s > settings.look_back_s
        told = heard & ~resting & ~np.isnan(interval_s) & ~too_slow
        found = told & (still_s >= after_s) & (said >= 2.0)
        assets = len(plan.asset_keys)
        judged, number = (np.bincount(plan.varying_asset[mask], minlength=assets) for mask in (told, found))
        sites = len(plan.sites)
        judged_of, number_of = (
            np.bincount(plan.site_of_asset, weights=counted, minlength=sites) for counted in (judged, number)
        )
        together = (number_of >= settings.together_min) & (number_of >= settings.together_share * judged_of)
        swept = together[plan.site_of_asset] if sites else np.zeros(0, np.bool_)

        def make(asset: int) -> Finding:
            rows = np.flatnonzero(found & (plan.varying_asset == asset))
            points = [self._point(int(plan.varying[place])) for place in rows]
            name = plan.plant.assets[plan.asset_keys[asset]].name
            lines = [
                Evidence(
                    point.name,
                    f"{figure(float(value[place]), point.unit)} for {duration(float(still_s[place]))}, "
                    f"changes every {duration(float(interval_s[place]))} else",
                    point=point.id,
                )
                for point, place in list(zip(points, rows, strict=True))[:SHOWN]
            ]
            if len(points) > SHOWN:
                lines.append(Evidence("More of it like these", str(len(points) - SHOWN)))
            lines.append(Evidence("It has gone silent", "it still speaks, and repeats itself", Bearing.RULED_OUT))
            what = points[0].name if len(points) == 1 else f"{len(points)} sensors"
            return Finding(
                FindingKind.SENSOR_FROZEN,
                plan.frozen.subjects[asset],
                since=self.at - timedelta(seconds=float(still_s[rows].min())),
                summary=f"{name}: {what} frozen",
                score=float((still_s[rows] / interval_s[rows]).max()),
                confidence=0.9,
                evidence=tuple(lines),
                check_first=(
                    f"Read the value at {name} itself, on the device's own display.",
                    "Restart the controller or gateway that reads it; look at its cable and supply.",
                    "Until it varies again, believe nothing that depends on it.",
                ),
            )

        def site(row_of_site: int) -> Finding:
            here = int(number_of[row_of_site])
            return Finding(
                FindingKind.SENSOR_FROZEN,
                plan.frozen_site.subjects[row_of_site],
                since=self.at - timedelta(seconds=float(still_s[found].min())),
                summary=f"{here} of {int(judged_of[row_of_site])} sensors of {plan.sites[row_of_site]} froze together",
                score=float(here),
                confidence=0.95,
                evidence=(
                    Evidence("Sensors that repeat themselves", str(here)),
                    Evidence("Each sensor for itself", "so many at once have one cause", Bearing.RULED_OUT),
                ),
                check_first=(
                    "Look at the gateway or controller that reads them: it repeats what it read last.",
                    "Have the plant watched on its own panels until values move again.",
                ),
            )

        nothing = np.zeros(sites, np.bool_)
        self.answer.judge(
            plan.frozen_site, together, nothing, [(judged_of == 0, "no sensor of it can be judged")], site
        )
        self.answer.judge(
            plan.frozen,
            number > 0,
            np.zeros(assets, np.bool_),
            [
                (swept, "what reads it repeats itself, for many sensors at once"),
                ((judged == 0) & (number == 0), "none of its sensors has varied often enough yet, or none is heard"),
            ],
            make,
        )
        self.distrusted.update(plan.varying[found].tolist())
        usual = heard & ~found & (column(still.changes) >= 5.0)
        keys = [plan.asset_keys[asset] for asset in plan.varying_asset.tolist()]
        return Learned("change interval", plan.varying, where(column(still.interval_s), usual), keys)

    # --- implausible ---

    def implausible(self) -> None:
        """Values outside what the quantity can be, for all of the last half minute."""
        settings, plan = self.settings, self.map
        tail = self.wide.means(plan.measured)[:, -settings.apart_bins :]
        known = ~np.isnan(tail)
        outside = (tail < plan.low[:, None]) | (tail > plan.high[:, None])
        found = all_of(outside | ~known) & known[:, -1] if tail.shape[1] else np.zeros(len(plan.measured), np.bool_)

        def make(row: int) -> Finding:
            point = self._point(int(plan.measured[row]))
            value, low, high = float(tail[row, -1]), float(plan.low[row]), float(plan.high[row])
            return Finding(
                FindingKind.SENSOR_IMPLAUSIBLE,
                plan.implausible.subjects[row],
                since=self.at - timedelta(seconds=settings.apart_bins * settings.bin_s),
                summary=f"{point.asset_name}: {point.name} says {figure(value, point.unit)}, which cannot be",
                score=max(value - high, low - value) / max(high - low, 1.0),
                confidence=0.95,
                evidence=(
                    Evidence(point.name, figure(value, point.unit), point=point.id),
                    Evidence("What can be", f"{figure(low)} to {figure(high, point.unit)}"),
                ),
                check_first=(
                    f"Read the value at {point.asset_name} itself.",
                    "Look for a broken wire or a short: most sensors then go to the end of their range.",
                    "Check the unit and the scale in the building management system, if it was changed of late.",
                ),
            )

        self.answer.judge(
            plan.implausible,
            found,
            np.zeros(len(found), np.bool_),
            [(~known[:, -1] if tail.shape[1] else ~found, "it is not heard, or its reading is bad")],
            make,
        )
        self.distrusted.update(plan.measured[found].tolist())

    # --- twins ---

    def twins(self) -> Learned:
        """Sensors of the same thing at one asset: two that are apart disagree. Which of them is off is told by the
        others where there are more, and where there are two by what else can tell: the racks of the same coolant, the
        air around."""
        settings, plan = self.settings, self.map
        value = recent(self.wide.means(plan.twin_points), settings.apart_bins)
        groups = len(plan.twins)
        group = plan.twin_group
        allowed = np.array([APART[twins[0].quantity] for twins in plan.twins])
        known = ~np.isnan(value)
        number = np.bincount(group[known], minlength=groups)
        high, low = np.full(groups, -np.inf), np.full(groups, np.inf)
        np.maximum.at(high, group[known], value[known])
        np.minimum.at(low, group[known], value[known])
        apart = np.where(number >= 2, high - low, np.nan) / allowed if groups else np.zeros(0)
        middle = by_group(value, group, groups, least=3)
        off = np.abs(value - middle[group]) / allowed[group] if groups else np.zeros(0)
        odd, nearly = beyond(off, 1.0, settings.apart_back)
        several = np.bincount(group[odd], minlength=groups) > 1
        named = odd & ~several[group] if groups else odd
        reference = plan.references.values(self.wide, settings.apart_bins)
        distance = value - reference[group] if groups else value
        usual = self.norms.of("twin apart", plan.twin_points, settings.ready_s)
        moved = np.abs(distance - np.nan_to_num(usual))
        gap = (high - low)[group] if groups else value
        # Without a usual distance, what lies twice as far apart is far enough.
        far = gap >= np.where(np.isnan(usual), 2.0, 1.0) * allowed[group] if groups else odd
        strayed = far & (moved >= settings.strayed * gap)
        stayed = moved <= settings.stayed * gap
        by_reference = np.bincount(group[strayed], minlength=groups) == 1
        by_reference &= np.bincount(group[stayed], minlength=groups) == number - 1
        pointed = strayed & by_reference[group] & ~_any_of_group(named, group, groups) if groups else odd
        named = named | pointed

        def biased(row: int) -> Finding:
            point, others = self._point(int(plan.twin_points[row])), float(middle[group[row]])
            what = "Median of its twins"
            if pointed[row]:
                others = float(reference[group[row]] + np.nan_to_num(usual[row]))
                what = f"{plan.references.words[group[row]]}, at its usual distance from them"
            lines = [
                Evidence(point.name, figure(float(value[row]), point.unit), point=point.id),
                Evidence(what, figure(others, point.unit)),
            ]
            for other in np.flatnonzero(group == group[row]).tolist() if pointed[row] else ():
                if other != row:
                    twin = self._point(int(plan.twin_points[other]))
                    shows = f"{figure(float(value[other]), twin.unit)}, as far from them as usual"
                    lines.append(Evidence(f"{twin.name} is off", shows, Bearing.RULED_OUT, twin.id))
            return self._bias(
                point,
                plan.odd.subjects[row],
                float(value[row]) - others,
                point.unit if point.unit != "°C" else "K",
                float(apart[group[row]]),
                0.8 if pointed[row] else 0.85,
                lines,
            )

        untold = (number[group] < 3) & np.isnan(distance) if groups else np.zeros(0, np.bool_)
        fine = self.answer.judge(
            plan.odd,
            named,
            nearly,
            [(~known, "it is not heard"), (untold, "it has too few twins to name one, and nothing else tells")],
            biased,
        )
        self.distrusted.update(plan.twin_points[named].tolist())
        found, between = beyond(apart, 1.0, settings.apart_back)
        explained = np.bincount(group[named], minlength=groups) > 0

        def disagree(row: int) -> Finding:
            points = plan.twins[row]
            values = value[group == row]
            unit = points[0].unit if points[0].unit != "°C" else "K"
            lines = [
                Evidence(point.name, figure(float(said), point.unit), point=point.id)
                for point, said in zip(points, values, strict=True)
            ]
            tells = "what else tells does not name one" if plan.references.words[row] else "nothing else tells"
            lines.append(Evidence("Which of them is wrong", tells, Bearing.UNKNOWN))
            name = points[0].asset_name
            return Finding(
                FindingKind.SENSORS_DISAGREE,
                plan.disagree.subjects[row],
                since=self.at - timedelta(seconds=settings.apart_bins * settings.bin_s),
                summary=f"{name}: {len(points)} sensors of {_together(points)} are "
                f"{figure(float(high[row] - low[row]), unit)} apart",
                score=float(apart[row]),
                confidence=0.9,
                evidence=tuple(lines),
                check_first=(
                    f"Measure at {name} with a hand-held meter, and see which of them is right.",
                    "Look which of them the controller uses, and switch it to the right one.",
                ),
            )

        self.answer.judge(
            plan.disagree,
            found & ~explained,
            between & ~explained,
            [(np.isnan(apart), "fewer than two of them are heard")],
            disagree,
        )
        together = (apart < settings.apart_back)[group] if groups else fine
        return Learned("twin apart", plan.twin_points, where(distance, fine & together), plan.twin_keys)

    # --- balances ---

    def balances(self) -> list[Learned]:
        """Meters of racks that the heat balance and a second witness both name."""
        settings, plan, racks = self.settings, self.map, self.map.racks
        balance: Balance = measure(racks, self.wide, settings.balance)
        ready = settings.ready_s
        share = balance.share / self.norms.of("meter share", racks.power, ready) - 1.0
        k = balance.restriction / self.norms.of("meter restriction", racks.flow, ready)
        flow = np.power(k, -1.0 / FLOW_EXPONENT) - 1.0
        usual_apart = self.norms.of("meter supply", racks.supply, ready)
        supply_k = balance.supply_apart_k - np.nan_to_num(usual_apart)
        feeds = balance.feeds_share / self.norms.of("meter feeds", racks.power, ready) - 1.0
        by_supply = -supply_k / balance.rise_k
        small = settings.agree_share
        sums = add_up(plan.circuits, racks, self.wide, settings.balance.bins_min)
        sum_off = sums.ratio / self.norms.of("meter circuit", plan.circuits.flow, ready) - 1.0
        cdu_k = sums.restriction / self.norms.of("meter circuit restriction", plan.circuits.flow, ready)
        cdu_by_drop = np.power(cdu_k, -1.0 / FLOW_EXPONENT) - 1.0
        # What the sum would be off by, if this rack's meter is wrong by as much as its pressure difference says.
        wrong_lpm = balance.flow_lpm * flow / (1.0 + flow)
        of_circuit = np.append(sums.racks_lpm, np.nan)[plan.circuits.of_rack]
        by_rack = wrong_lpm / (of_circuit - wrong_lpm)
        sum_off_here = np.append(sum_off, np.nan)[plan.circuits.of_rack]
        allowed_sum = np.maximum(settings.agree_ratio * np.abs(by_rack), 0.5 * settings.sum_share)
        cdu_wrong = 1.0 / (1.0 + sum_off) - 1.0

        def agree(witness: Floats, said: Floats) -> Bools:
            allowed = np.maximum(settings.agree_share, settings.agree_ratio * np.abs(witness))
            close: Bools = np.abs(witness - said) <= allowed
            return close

        def verdict(ratio: float) -> Bools:
            """[4, racks]: which meter is off, with thresholds times a ratio."""
            off = np.abs(share) >= ratio * settings.off_share
            both = np.abs(share) >= ratio * settings.both_share
            by_flow = both & (np.abs(flow) >= ratio * settings.both_share) & agree(share, flow)
            # Without a heat balance: pressure against flow, and the sum of all racks against their CDU.
            by_flow |= (
                (np.abs(flow) >= ratio * settings.off_share)
                & (np.abs(by_rack) >= ratio * settings.sum_share)
                & (np.abs(sum_off_here - by_rack) <= allowed_sum)
                & (np.isnan(share) | agree(share, flow))
            )
            far_k = np.where(np.isnan(usual_apart), settings.supply_alone_k, settings.supply_k)
            flowing = balance.flow_lpm > 0.0
            alone = flowing & (np.abs(supply_k) >= ratio * settings.supply_alone_k)
            by_inlet = (flowing & (np.abs(supply_k) >= ratio * far_k) & agree(share, by_supply)) | alone
            by_feeds = both & (np.abs(feeds) >= ratio * settings.both_share) & agree(share, -feeds)
            rest = off & (np.abs(flow) < small) & (np.abs(feeds) < small)
            by_back = rest & (np.abs(supply_k) < 0.5 * settings.supply_k)
            return np.stack([by_flow & ~by_inlet, by_inlet, by_back & ~by_inlet, by_feeds & ~by_flow & ~by_inlet])

        found, standing = verdict(1.0), verdict(settings.back_ratio)
        count = len(racks.assets)
        strange = (found[_FLOW] | standing[_FLOW] | (np.abs(flow) >= small)) & (plan.circuits.of_rack >= 0)
        fed = plan.circuits.of_rack >= 0
        circuits = len(plan.circuits.assets)
        fine_racks = np.bincount(plan.circuits.of_rack[fed & (np.abs(flow) < small)], minlength=circuits)
        strange_racks = np.bincount(plan.circuits.of_rack[strange], minlength=circuits)

        def cdu_verdict(ratio: float) -> Bools:
            """[circuits]: whose flow meter is off: the sum of the racks says so, and the pressure difference as well,
            or where that is not told, each rack's for itself."""
            second = np.where(
                np.isnan(cdu_by_drop), (fine_racks >= 2) & (strange_racks == 0), agree(cdu_by_drop, cdu_wrong)
            )
            wrong: Bools = (np.abs(cdu_wrong) >= ratio * settings.both_share) & second
            return wrong

        cdu_found, cdu_standing = cdu_verdict(1.0), cdu_verdict(settings.back_ratio)

        def make(row: int) -> Finding:
            which, rack = divmod(row, count)
            point = self._point(int(plan.meters[row]))
            off, unit = {
                _FLOW: (float(flow[rack] * balance.flow_lpm[rack]), "L/min"),
                _SUPPLY: (float(supply_k[rack]), "K"),
                _BACK: (float(share[rack] * balance.rise_k[rack]), "K"),
                _POWER: (float(feeds[rack] * balance.power_kw[rack]), "kW"),
            }[which]
            witnesses = (
                (
                    which,
                    _FLOW,
                    "Pressure against flow",
                    flow[rack],
                    "of the flow that the pressure difference asks for",
                ),
                (which, _SUPPLY, "Supplies of the same coolant", supply_k[rack], "K from the others"),
                (which, _POWER, "Meters of its feeds", feeds[rack], "of the power that its feeds tell"),
            )
            lines = [
                Evidence(
                    "Heat balance of the rack",
                    f"{percent(float(share[rack]))} from usual" if np.isfinite(share[rack]) else "cannot be told",
                    Bearing.FOR if np.isfinite(share[rack]) else Bearing.UNKNOWN,
                    int(plan.meters[row]),
                )
            ]
            for named, meter, what, value, of_what in witnesses:
                if not np.isfinite(value):
                    lines.append(Evidence(what, "cannot be told", Bearing.UNKNOWN))
                    continue
                shows = (
                    f"{figure(float(value))} {of_what}" if meter == _SUPPLY else f"{percent(float(value))} {of_what}"
                )
                lines.append(Evidence(what, shows, Bearing.FOR if named == meter else Bearing.RULED_OUT))
            if which == _FLOW and np.isfinite(sum_off_here[rack] - by_rack[rack]):
                agrees = abs(sum_off_here[rack] - by_rack[rack]) <= allowed_sum[rack]
                shows = f"{percent(float(sum_off_here[rack]))} from usual; this meter would make it "
                shows += percent(float(by_rack[rack]))
                bearing = Bearing.FOR if agrees else Bearing.AGAINST
                lines.append(Evidence("All racks together against their CDU", shows, bearing))
            confidence = 0.7 if which == _BACK else 0.85 if np.isfinite(share[rack]) else 0.7
            return self._bias(point, plan.bias.subjects[row], off, unit, abs(float(off)), confidence, lines)

        def make_cdu(row: int) -> Finding:
            point = self._point(int(plan.circuits.flow[row]))
            wrong, drop_off = float(cdu_wrong[row]), float(cdu_by_drop[row])
            lines = [
                Evidence(
                    "Its racks' meters together",
                    f"{figure(float(sums.racks_lpm[row]), 'L/min')}; it is {percent(wrong)} off against them",
                    point=point.id,
                )
            ]
            if np.isfinite(drop_off):
                shows = f"{percent(drop_off)} of the flow that the pressure difference asks for"
                lines.append(Evidence("Pressure against flow", shows))
            else:
                lines.append(Evidence("Pressure against flow", "cannot be told", Bearing.UNKNOWN))
            shows = f"{int(fine_racks[row])} agree with their own pressure difference"
            lines.append(Evidence("The racks' meters are off", shows, Bearing.RULED_OUT))
            lines.append(
                Evidence("Coolant is lost on the way", "the pressure difference says no", Bearing.RULED_OUT)
                if np.isfinite(drop_off) and wrong > 0.0
                else Evidence("Coolant is lost on the way", "see the inventory of the loop", Bearing.UNKNOWN)
            )
            off = wrong * float(sums.racks_lpm[row])
            subject = plan.cdu_flow.subjects[row]
            return self._bias(point, subject, off, "L/min", abs(wrong), 0.85 if np.isfinite(drop_off) else 0.7, lines)

        cdu_fine = self.answer.judge(
            plan.cdu_flow,
            cdu_found,
            cdu_standing,
            [
                (plan.circuits.flow < 0, "it has no flow meter, or not each of its racks has one"),
                (np.isnan(sum_off), "what is usual here has not been learned yet, or a flow is not heard"),
            ],
            make_cdu,
        )
        cdu_fine |= ~np.isnan(sums.ratio) & np.isnan(sum_off)
        cdu_fine &= strange_racks == 0
        self.distrusted.update(plan.circuits.flow[cdu_found].tolist())
        measured = ~np.isnan(share)
        tells = measured & ~np.isnan(flow)
        powered = measured & ~np.isnan(feeds)
        told = np.stack(
            [tells | (~np.isnan(flow) & ~np.isnan(sum_off_here)), ~np.isnan(supply_k), tells & powered, powered]
        )
        told |= found
        self.answer.judge(
            plan.bias,
            found.reshape(-1),
            standing.reshape(-1),
            [
                (plan.meters < 0, "there is no such meter"),
                (~told.reshape(-1), "what is usual here has not been learned yet, or a balance cannot be told"),
            ],
            make,
        )
        fine = ~any_of((standing | found).T)
        self.distrusted.update(plan.meters[found.reshape(-1) & (plan.meters >= 0)].tolist())
        return [
            Learned("meter share", racks.power, where(balance.share, fine), racks.keys),
            Learned("meter restriction", racks.flow, where(balance.restriction, fine), racks.keys),
            Learned("meter supply", racks.supply, where(balance.supply_apart_k, fine), racks.keys),
            Learned("meter feeds", racks.power, where(balance.feeds_share, fine), racks.keys),
            Learned("meter circuit", plan.circuits.flow, where(sums.ratio, cdu_fine), plan.circuits.keys),
            Learned(
                "meter circuit restriction", plan.circuits.flow, where(sums.restriction, cdu_fine), plan.circuits.keys
            ),
        ]

    def _bias(
        self,
        point: Point,
        subject: Subject,
        off: float,
        unit: str,
        score: float,
        confidence: float,
        evidence: list[Evidence],
    ) -> Finding:
        word = "too high" if off > 0 else "too low"
        return Finding(
            FindingKind.SENSOR_BIAS,
            subject,
            since=self.since,
            summary=f"{point.asset_name}: {point.name} is {figure(abs(off), unit)} {word}",
            score=score,
            confidence=confidence,
            evidence=tuple(evidence),
            check_first=(
                f"Measure {point.name} at {point.asset_name} with a hand-held meter.",
                "Look whether the sensor sits in its pocket, and whether its meter was changed or set of late.",
                'Until it is right, what depends on it is shown as "cannot tell".',
            ),
        )


def _any_of_group(mask: Bools, group: Numbers, groups: int) -> Bools:
    """[…]: whether any of a member's group is in the mask."""
    found: Bools = (np.bincount(group[mask], minlength=groups) > 0)[group]
    return found


def _ids(points: list[Point]) -> Numbers:
    return np.array([point.id for point in points], np.intp)


def _together(points: tuple[Point, ...]) -> str:
    """What twins have in common, as a name."""
    words = [area.rstrip("0123456789 -_#") for area in points[0].areas]
    return " ".join([*words, points[0].quantity])

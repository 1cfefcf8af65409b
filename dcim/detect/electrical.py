"""Electrical: currents of meters against one another, against their breakers, and against what a failure would ask.

Lives here: the detector for power meters with phase currents. Not here: limits on active power (limits.py), racks over
their ratings (rules), what an outage upstream explains of other alarms (alerts)."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from dcim.core.assets import ELECTRICAL, Asset, AssetKey
from dcim.core.findings import Bearing, Detection, Evidence, Finding, FindingKind, Subject
from dcim.core.inventory import CONTINUOUS_SHARE
from dcim.core.plant import Plant
from dcim.core.ports import Needs
from dcim.core.times import SECOND_US, from_us, to_us
from dcim.core.topology import Medium
from dcim.detect.figures import figure, percent
from dcim.detect.norms import Learned, Norms, where
from dcim.detect.roster import Answer, Roster, beyond
from dcim.detect.study import Study
from dcim.detect.traces import Floats, Grid
from dcim.detect.wide import Bools, Numbers, Wide, all_of, any_of, over, recent, widen
from dcim.physics.electrical import phase_imbalance

PHASES = ("A", "B", "C")
SHOWN = 5
"""Feeds of the same loads that are named."""


@dataclass(frozen=True, slots=True)
class ElectricalSettings:
    """What counts as too much. Marked as in the domain notes: [S] read in a source, [E] judgement."""

    look_back_s: float = 300.0
    bin_s: float = 5.0
    hold_s: float = 125.0
    mean_bins: int = 12
    """Loads are means of a minute: a training job's steps are shorter, and so is what a breaker minds."""
    imbalance: float = 0.10
    """Largest distance of a phase from the mean. Phases of a healthy busway differ by some 2 %; one that carries 20 %
    more than the others stands 12.5 % over their mean. [E]"""
    imbalance_back: float = 0.08
    loaded: float = 0.75
    """Of the breaker's rating [S]; so is overloaded, the most that may be carried for long."""
    overloaded: float = 0.80
    deadband: float = 0.02
    dead_share: float = 0.02
    """Of the rating: below it a phase carries nothing."""
    live_share: float = 0.10
    """Of the rating: below it phases and feeds differ for reasons that mean nothing."""
    spare_back: float = 0.97
    """Below this share of what is left without the largest feed of a group, the group has its spare again."""
    standby_share: float = 0.05
    """A feed that usually carries less of its group's load than this is a standby."""
    ready_s: float = 600.0


@dataclass(frozen=True, slots=True, eq=False)
class _Map:
    """The meters of a plant with phase currents, as columns."""

    plant: Plant
    assets: tuple[Asset, ...]
    phase: Numbers
    """[meters, 3]."""
    limit: Numbers
    above: tuple[tuple[int, ...], ...]
    """Rows of the meters that feed each, directly or not."""
    group: Numbers
    """Which of the groups each is in; −1 where no other meter feeds the same."""
    groups: Numbers
    """[groups, meters]: feeds of the same loads, −1 after the last."""
    imbalance: Roster
    lost: Roster
    loaded: Roster
    overloaded: Roster
    failover: Roster
    """By group."""
    feed: Roster

    @classmethod
    def of(cls, plant: Plant) -> _Map:
        phases: dict[AssetKey, list[int]] = {}
        for point in plant.of("PhaseCurrent"):
            if point.phase in PHASES and point.unit_known and not point.setpoint:
                ids = phases.setdefault(AssetKey(point.site, point.asset), [-1, -1, -1])
                ids[PHASES.index(point.phase)] = point.id
        keys = [key for key in sorted(phases) if key in plant.assets]
        assets = tuple(plant.assets[key] for key in keys)
        number = {key: row for row, key in enumerate(keys)}
        limit = [next((point.id for point in plant.at(key, "CurrentLimit") if point.unit_known), -1) for key in keys]
        above = tuple(
            tuple(number[feeder] for feeder in plant.topology.upstream(key, Medium.POWER) if feeder in number)
            for key in keys
        )
        serving: dict[frozenset[AssetKey], list[int]] = {}
        for key, row in number.items():
            fed = plant.topology.downstream(key, Medium.POWER)
            loads = frozenset(load for load in fed if plant.assets[load].kind not in ELECTRICAL)
            if loads:
                serving.setdefault(loads, []).append(row)
        # Of meters that feed the same, those highest up are the feeds; the rest stand below one of them.
        found = [group for rows in serving.values() for group in _levels(rows, above) if len(group) > 1]
        group = np.full(len(keys), -1, np.intp)
        groups = np.full((len(found), max(map(len, found), default=0)), -1, np.intp)
        for place, members in enumerate(found):
            group[members], groups[place, : len(members)] = place, members
        own = [Subject(asset.site, asset.id) for asset in assets]
        together = [
            Subject(assets[first].site, assets[first].id, ", ".join(assets[other].name for other in others))
            for first, *others in found
        ]
        return cls(
            plant,
            assets,
            np.array([phases[key] for key in keys], np.intp).reshape(-1, 3),
            np.array(limit, np.intp),
            above,
            group,
            groups,
            Roster(FindingKind.PHASE_IMBALANCE, own),
            Roster(FindingKind.PHASE_LOST, own),
            Roster(FindingKind.BREAKER_LOADED, own),
            Roster(FindingKind.BREAKER_OVERLOADED, own),
            Roster(FindingKind.FAILOVER_OVERLOAD, together),
            Roster(FindingKind.FEED_LOST, own),
        )


class Electrical:
    """Detector: phases, breakers and feeds. A Learner as well: which feeds are standbys."""

    name = "electrical"
    kinds = frozenset(
        {
            FindingKind.PHASE_IMBALANCE,
            FindingKind.PHASE_LOST,
            FindingKind.BREAKER_LOADED,
            FindingKind.BREAKER_OVERLOADED,
            FindingKind.FAILOVER_OVERLOAD,
            FindingKind.FEED_LOST,
        }
    )

    def __init__(self, norms: Norms | None = None, settings: ElectricalSettings | None = None) -> None:
        """norms: what each feed usually carries of its group's load."""
        self.settings = settings or ElectricalSettings()
        self.study = Study(norms or Norms())
        self.needs = Needs(frozenset({"PhaseCurrent", "CurrentLimit"}), timedelta(seconds=self.settings.look_back_s))
        self._map = _Map.of(Plant())

    @property
    def norms(self) -> Norms:
        """What is usual, as learned by now."""
        return self.study.norms

    def learn(self, exempt: AbstractSet[AssetKey]) -> None:
        """As Learner says."""
        self.study.learn(exempt)

    def detect(self, window: pl.DataFrame, plant: Plant, at: datetime) -> Detection:
        """Judges every meter that has phase currents, and every group of meters that feed the same. Without a
        CurrentLimit nothing that depends on it can be told."""
        if self._map.plant is not plant:
            self._map = _Map.of(plant)
        settings = self.settings
        grid = Grid(to_us(at), settings.bin_s, round(settings.look_back_s / settings.bin_s), settings.hold_s)
        look = _Look(settings, self._map, widen(window, grid), self.norms, at)
        dead = look.phases()
        look.breakers()
        look.spares()
        self.study.looked(at, [look.feeds(dead)])
        return look.answer.detection()


class _Look:
    """One look at all meters."""

    def __init__(self, settings: ElectricalSettings, plan: _Map, wide: Wide, norms: Norms, at: datetime) -> None:
        self.settings, self.map, self.wide, self.norms, self.at = settings, plan, wide, norms, at
        self.answer = Answer()
        self.current_a: Floats = wide.means(plan.phase)
        self.minute_a = recent(self.current_a, settings.mean_bins)
        self.now_a: Floats = self.current_a[:, :, -1]
        rating = wide.lasts(plan.limit)
        self.rating_a = np.where(rating > 0.0, rating, np.nan)
        self.load = self.minute_a.max(axis=1, initial=-np.inf) / self.rating_a
        """The most loaded phase of each, against its breaker."""
        self.unheard = any_of(np.isnan(self.now_a))
        self.unrated = np.isnan(self.rating_a)
        self.cannot = [
            (any_of(plan.phase < 0), "not all three phase currents are published"),
            (self.unheard, "a phase current is not heard, or bad"),
            (self.unrated, "its breaker's rating (CurrentLimit) is not told"),
        ]
        self.usual_share = norms.of("feed share", plan.phase[:, 0], settings.ready_s)
        """Of what its group carries."""
        self.standby = self.usual_share < settings.standby_share

    def _others(self, row: int) -> list[int]:
        """The other meters that feed the same."""
        group = int(self.map.group[row])
        return [] if group < 0 else [int(other) for other in self.map.groups[group] if other >= 0 and other != row]

    def phases(self) -> Bools:
        """Lost phases, then imbalance where none is lost. Answers which meters carry nothing at all."""
        settings, plan = self.settings, self.map
        none = self.now_a < settings.dead_share * self.rating_a[:, None]
        live = self.now_a >= settings.live_share * self.rating_a[:, None]
        found = any_of(none) & any_of(live)
        found = self._uppermost(found)

        def lost(row: int) -> Finding:
            gone = [PHASES[phase] for phase in np.flatnonzero(none[row]).tolist()]
            word = " and ".join(gone)
            since = max(self._since(row, phase) for phase in np.flatnonzero(none[row]).tolist())
            name = plan.assets[row].name
            return Finding(
                FindingKind.PHASE_LOST,
                plan.lost.subjects[row],
                since=since,
                summary=f"{name}: phase {word} carries nothing",
                score=float(len(gone)),
                confidence=0.9,
                evidence=(*self._phase_lines(row, self.now_a), self._rating_line(row)),
                check_first=(
                    f"Look at the fuses and the breaker of {name}: one pole, or one fuse?",
                    "Measure the voltage of the dead phase before and behind it; treat it as live.",
                    "Look at the other two phases: they carry the three-phase loads now, and may be overloaded.",
                ),
            )

        self.answer.judge(plan.lost, found, np.zeros(len(found), np.bool_), self.cannot, lost)
        rating = np.where(self.unrated, 1.0, self.rating_a)
        share = self.minute_a / rating[:, None]
        ratio = phase_imbalance(share[:, 0], share[:, 1], share[:, 2], rating_a=1.0)
        uneven, between = beyond(np.where(any_of(none), np.nan, ratio), settings.imbalance, settings.imbalance_back)
        uneven = self._uppermost(uneven)

        def imbalance(row: int) -> Finding:
            name = plan.assets[row].name
            mean_a = float(self.minute_a[row].mean())
            worst = PHASES[int(np.argmax(np.abs(self.minute_a[row] - mean_a)))]
            return Finding(
                FindingKind.PHASE_IMBALANCE,
                plan.imbalance.subjects[row],
                since=self.at - timedelta(seconds=settings.mean_bins * settings.bin_s),
                summary=f"{name}: phase {worst} is {percent(float(ratio[row]))} off the mean of the three",
                score=float(ratio[row]),
                confidence=0.85,
                evidence=(
                    *self._phase_lines(row, self.minute_a),
                    Evidence("Mean of the phases", figure(mean_a, "A")),
                    Evidence("Too little load to tell", "over a tenth of the rating", Bearing.RULED_OUT),
                ),
                check_first=(
                    f"List what hangs on phase {worst} of {name}: the single-phase loads that were added last.",
                    "Move some of them to the phase that carries the least at the next maintenance.",
                    "If nobody changed anything, look for a power supply that has dropped a phase.",
                ),
            )

        self.answer.judge(plan.imbalance, uneven, between, self.cannot, imbalance)
        return all_of(none)

    def breakers(self) -> None:
        """The most loaded phase of each meter against its breaker."""
        settings, plan = self.settings, self.map
        load = self.load
        far, nearly_far = beyond(load, settings.overloaded, settings.overloaded - settings.deadband)
        up, nearly = beyond(load, settings.loaded, settings.loaded - settings.deadband)

        def make(roster: Roster, row: int) -> Finding:
            name, worst = plan.assets[row].name, int(np.argmax(self.minute_a[row]))
            lines = [*self._phase_lines(row, self.minute_a), self._rating_line(row)]
            for other in self._others(row)[:SHOWN]:
                other_a = float(self.now_a[other].max())
                what, shows = "Another feed of the same", f"{figure(other_a, 'A')} at {plan.assets[other].name}"
                if np.isfinite(other_a):
                    dead = other_a < settings.dead_share * self.rating_a[other]
                    lines.append(Evidence(what, shows, Bearing.FOR if dead else Bearing.RULED_OUT))
                else:
                    lines.append(Evidence(what, f"{plan.assets[other].name} is not heard", Bearing.UNKNOWN))
            return Finding(
                roster.kind,
                roster.subjects[row],
                since=self.at - timedelta(seconds=settings.mean_bins * settings.bin_s),
                summary=f"{name}: phase {PHASES[worst]} at {percent(float(load[row]))} of its breaker",
                score=float(load[row]),
                confidence=0.9,
                evidence=tuple(lines),
                check_first=(
                    "Look at the other feed of the same loads: has it lost its share?",
                    f"Find what rose last on phase {PHASES[worst]} of {name}.",
                    "Cap or move load before more is placed here.",
                ),
            )

        self.answer.judge(plan.overloaded, far, nearly_far, self.cannot, lambda row: make(plan.overloaded, row))
        self.answer.judge(plan.loaded, up & ~far, nearly | far, self.cannot, lambda row: make(plan.loaded, row))

    def spares(self) -> None:
        """For each group of feeds: if the largest of those that carry something failed, would the rest carry it all?
        A feed that carries nothing counts only where it is known to be a standby: else it is lost, and so is what it
        could carry."""
        settings, plan = self.settings, self.map
        rows, there = plan.groups, plan.groups >= 0
        capacity_a = np.where(there, CONTINUOUS_SHARE * self.rating_a[rows], 0.0)
        live = there & any_of(self.now_a[rows] >= settings.dead_share * self.rating_a[rows][:, :, None])
        counted = live | (there & self.standby[rows])
        left_a = (np.where(counted, capacity_a, 0.0)).sum(axis=1) - np.where(live, capacity_a, 0.0).max(
            axis=1, initial=0.0
        )
        carried_a = np.where(there[:, :, None], self.minute_a[rows], 0.0).sum(axis=1)
        told = (live.sum(axis=1) >= 1) & (counted.sum(axis=1) >= 2) & (left_a > 0.0)
        by_phase = carried_a / np.where(told, left_a, np.nan)[:, None]
        load = by_phase.max(axis=1, initial=-np.inf)
        found, between = beyond(load, 1.0, settings.spare_back)
        # One that carries all by itself and is over its own breaker: that is said of the breaker.
        alone = (live.sum(axis=1) == 1) & any_of(live & (self.load[rows] >= settings.overloaded))
        found, between = found & ~alone, between | (found & alone)

        def make(group: int) -> Finding:
            members = [int(meter) for meter in rows[group] if meter >= 0]
            names = [plan.assets[meter].name for meter in members]
            worst = int(np.argmax(by_phase[group]))
            lines = [
                Evidence(
                    f"{name}, phase {PHASES[worst]}",
                    figure(float(self.minute_a[meter, worst]), "A"),
                    point=int(plan.phase[meter, worst]),
                )
                for name, meter in zip(names[:SHOWN], members, strict=False)
            ]
            allowed_a, many = float(left_a[group]), len(members) > 2
            lines.append(
                Evidence(f"What {'the rest' if many else 'one'} of them may carry for long", figure(allowed_a, "A"))
            )
            idle = [plan.assets[meter].name for meter in members if not self.now_a[meter].max() > 0.0]
            if idle:
                lines.append(Evidence("Carries nothing at present", ", ".join(idle)))
            return Finding(
                FindingKind.FAILOVER_OVERLOAD,
                plan.failover.subjects[group],
                since=self.at - timedelta(seconds=settings.mean_bins * settings.bin_s),
                summary=f"{', '.join(names[:-1])} and {names[-1]}: if one fails, "
                f"{'the rest carry' if many else 'the other carries'} {percent(float(load[group]))} of what "
                f"{'they' if many else 'it'} may",
                score=float(load[group]),
                confidence=0.9,
                evidence=tuple(lines),
                check_first=(
                    "Do not place more load on any of these feeds.",
                    f"Cap or move load until phase {PHASES[worst]} of all together is under {figure(allowed_a, 'A')}.",
                    "Before work on one of them, do that first.",
                ),
            )

        cannot = [(any_of(there & why[0][rows]), why[1]) for why in self.cannot]
        self.answer.judge(plan.failover, found, between, cannot, make)

    def feeds(self, dead: Bools) -> Learned:
        """Feeds that carry nothing while the others of their group carry everything."""
        settings, plan = self.settings, self.map
        has = plan.group >= 0
        total = self.current_a.sum(axis=1)
        sums = np.zeros((len(plan.groups) + 1, total.shape[1]))
        np.add.at(sums, plan.group[has], total[has])
        together = sums[plan.group]
        loaded = has[:, None] & (together >= settings.live_share * 3.0 * self.rating_a[:, None])
        share = np.where(loaded, total / np.where(loaded, together, 1.0), np.nan)
        carried = (
            np.nanmax(np.where(np.isnan(share), -1.0, share), axis=1, initial=-1.0) >= 2.0 * settings.standby_share
        )
        live = any_of(self.now_a >= settings.live_share * self.rating_a[:, None])
        lives, deaf = np.zeros(len(plan.groups) + 1, np.intp), np.zeros(len(plan.groups) + 1, np.intp)
        np.add.at(lives, plan.group[has], live[has])
        np.add.at(deaf, plan.group[has], self.unheard[has])
        takes = has & (lives[plan.group] - live >= 1)
        candidate = dead & takes
        seen = carried | (self.usual_share >= settings.standby_share)
        found = self._uppermost(candidate & seen & ~(self.standby & ~carried))

        def make(row: int) -> Finding:
            name, others = plan.assets[row].name, self._others(row)
            most = max(others, key=lambda other: float(np.nan_to_num(self.now_a[other].max() / self.rating_a[other])))
            others_name = plan.assets[most].name if len(others) == 1 else f"the other {len(others)} feeds"
            since = self._since(row, 0)
            rise_a = float(np.nan_to_num(self.now_a[most]).max())
            margin = rise_a / float(self.rating_a[most])
            usual = float(self.usual_share[row])
            before = f"usually {percent(usual)} of what they carry together" if usual > 0.0 else "seen here"
            carries_on = margin < settings.overloaded
            verb = "carries" if len(others) == 1 else "carry"
            return Finding(
                FindingKind.FEED_LOST,
                plan.feed.subjects[row],
                since=since,
                summary=f"Feed {name} is lost: {others_name} {verb} everything",
                score=1.0,
                confidence=0.95,
                evidence=(
                    *self._phase_lines(row, self.now_a),
                    Evidence("What it carried before", before),
                    Evidence(
                        f"{plan.assets[most].name}, its most loaded phase",
                        f"{figure(rise_a, 'A')}, {percent(margin)} of its breaker",
                        Bearing.FOR,
                        int(plan.phase[most, 0]),
                    ),
                    Evidence("The loads were switched off", f"{others_name} {verb} them", Bearing.RULED_OUT),
                ),
                check_first=(
                    f"Tell the electrical shift that {name} is dead: breaker, transfer switch, UPS.",
                    f"{plan.assets[most].name} is within what it may carry: keep it there."
                    if carries_on
                    else f"{plan.assets[most].name} is over what it may carry: cap its load at once.",
                    "Do not start work on what is left.",
                ),
            )

        cannot = [
            *self.cannot,
            (~has, "no other meter is known that feeds the same"),
            (dead & ~takes & (deaf[plan.group] > 0), "it carries nothing, and the others of the same are not heard"),
            (candidate & ~seen & ~self.standby, "it carries nothing, and it is not known whether it usually does"),
        ]
        self.answer.judge(plan.feed, found, np.zeros(len(found), np.bool_), cannot, make)
        typical = over(share, np.ones(share.shape, np.bool_), 1)
        typical[candidate & ~self.standby & seen] = np.nan
        keys = [asset.key for asset in plan.assets]
        return Learned("feed share", plan.phase[:, 0], where(typical, ~np.isnan(share[:, -1])), keys)

    # --- what several need ---

    def _uppermost(self, found: Bools) -> Bools:
        """Without those that a meter above explains: one cause is one finding."""
        kept = found.copy()
        for row in np.flatnonzero(found).tolist():
            kept[row] = not any(found[above] for above in self.map.above[row])
        return kept

    def _since(self, row: int, phase: int) -> datetime:
        """End of the last bin in which a phase carried something; the window's start where it never did."""
        carried = np.flatnonzero(self.current_a[row, phase] >= self.settings.dead_share * self.rating_a[row])
        last = int(carried[-1]) + 1 if len(carried) else 0
        behind_s = (self.wide.grid.bins - last) * self.settings.bin_s
        return min(self.at, from_us(self.wide.grid.until_us - int(behind_s * SECOND_US)))

    def _phase_lines(self, row: int, current_a: Floats) -> list[Evidence]:
        return [
            Evidence(f"Phase {name}", figure(float(current_a[row, phase]), "A"), point=int(self.map.phase[row, phase]))
            for phase, name in enumerate(PHASES)
        ]

    def _rating_line(self, row: int) -> Evidence:
        limit = int(self.map.limit[row])
        return Evidence("Rating of its breaker", figure(float(self.rating_a[row]), "A"), point=limit)


def _levels(rows: list[int], above: tuple[tuple[int, ...], ...]) -> list[list[int]]:
    """Meters that feed the same loads, by how many of their like stand above them: a busway's two feeds are one level,
    the two taps beneath them another."""
    levels: dict[int, list[int]] = {}
    for row in rows:
        levels.setdefault(sum(other in above[row] for other in rows), []).append(row)
    return list(levels.values())

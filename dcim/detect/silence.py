"""Silence: points that have not been heard for too long, and sources whose heartbeat has stopped; judged on the tick.

Silence is counted by our clock, from when a reading arrived: a sender's clock may be wrong, and its values may be old.
Lives here: the vigil. Not here: windows, for no window is long enough; what depends on a silent point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from dcim.core.assets import AssetKey
from dcim.core.findings import Bearing, Detection, Evidence, Finding, FindingKind, Subject, Unknown
from dcim.core.live import NEVER, Latest
from dcim.core.plant import Plant
from dcim.core.points import Point
from dcim.core.quantities import HEARTBEATS
from dcim.core.times import SECOND_US, from_us, to_us
from dcim.detect.figures import duration, figure
from dcim.detect.moment import STALE_AFTER_S

SHOWN = 3
"""Points of an asset that are named; the rest is a number."""


@dataclass(frozen=True, slots=True)
class SilenceSettings:
    """How long is too long."""

    stale_after_s: float = STALE_AFTER_S
    """A point. The bus sends everything again every 100 s; set-points and requests too."""
    stale_after_s_by_prefix: tuple[tuple[str, float], ...] = ()
    """Other times for quantities whose name begins so; the first that fits counts. GPUs speak every second."""
    silent_after_s: float = 30.0
    """A source: three heartbeats of the bus, one every 10 s."""
    together_min: int = 10
    """So many assets of a site, and half of those that were ever heard, are one silence: what they have in common."""
    together_share: float = 0.5
    together_back: float = 0.25
    """Below this share the rest is told one by one again."""
    together_s: float = 180.0
    """Within so much time of each other."""
    skew_s: float = 5.0
    """From here on a difference between the sender's clock and ours is worth a word. [E]"""


@dataclass(frozen=True, slots=True)
class _Group:
    """The points of one asset that one sender speaks for: a rack's own points are one group, its GPUs another."""

    subject: Subject
    who: str
    """Name for people."""
    points: list[Point]


@dataclass(frozen=True, slots=True)
class _Map:
    """What is watched of one plant, as columns of equal length, group by group."""

    plant: Plant
    groups: tuple[_Group, ...]
    ends: npt.NDArray[np.intp]
    """Row after the last one of each group."""
    point: npt.NDArray[np.intp]
    stale_after_us: npt.NDArray[np.int64]
    promised: npt.NDArray[np.bool_]
    """False where nobody has promised to write: an integration that may not be there at all."""
    by_site: tuple[tuple[str, npt.NDArray[np.intp]], ...]
    """Numbers of the groups of each site."""
    heartbeats: tuple[Point, ...]
    deaf: tuple[Unknown, ...]
    """Sites of which no heartbeat was ever described."""

    @classmethod
    def of(cls, plant: Plant, settings: SilenceSettings) -> _Map:
        groups: dict[Subject, _Group] = {}
        for point in plant.points.values():
            if point.quantity not in HEARTBEATS:
                subject, who = _speaker(point, plant)
                groups.setdefault(subject, _Group(subject, who, [])).points.append(point)
        rows = [point for group in groups.values() for point in group.points]
        heartbeats = tuple(plant.of(*sorted(HEARTBEATS)))
        deaf = sorted({point.site for point in plant.points.values()} - {point.site for point in heartbeats})
        why = "no heartbeat was ever described here, so nothing promises to go on"
        return cls(
            plant,
            tuple(groups.values()),
            np.cumsum([len(group.points) for group in groups.values()], dtype=np.intp),
            np.array([point.id for point in rows], np.intp),
            np.array([_stale_after_us(point, settings) for point in rows], np.int64),
            np.array([not point.integration for point in rows], np.bool_),
            _by_site(groups),
            heartbeats,
            tuple(Unknown(FindingKind.SOURCE_SILENT, Subject(site, ""), why) for site in deaf),
        )


class Silence:
    """Vigil: stale points, one finding for each asset; and silent sources, one for each heartbeat, or, where no
    heartbeat tells, one for the many assets of a site that fell silent together.

    It remembers one thing: since when it knows each point, for a point cannot be late before it was announced.
    """

    name = "silence"
    kinds = frozenset({FindingKind.POINT_STALE, FindingKind.SOURCE_SILENT})

    def __init__(self, started: datetime, settings: SilenceSettings | None = None) -> None:
        """started: from when on arrivals would have been heard; nothing is late before its time from then is up."""
        self.settings = settings or SilenceSettings()
        self._started_us = to_us(started)
        self._met = False
        self._known_us: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._map = _Map.of(Plant(), self.settings)

    def watch(self, latest: Latest, plant: Plant, at: datetime) -> Detection:
        """Stale: not heard for longer than its time. Unknown: never heard, and its time is not up or nobody promised to
        write it. Silent: no heartbeat for its time; for one that was never heard, for the time of a stale point."""
        at_us = to_us(at)
        if self._map.plant is not plant:
            self._map = _Map.of(plant, self.settings)
            self._meet(plant, at_us)
        findings: list[Finding] = []
        unknown: list[Unknown] = list(self._map.deaf)
        self._watch_points(latest, at_us, findings, unknown)
        for heartbeat in self._map.heartbeats:
            self._watch_heartbeat(heartbeat, latest, at_us, findings, unknown)
        explained = {finding.subject.site for finding in findings if finding.kind is FindingKind.SOURCE_SILENT}
        between: set[tuple[FindingKind, Subject]] = set()
        self._watch_together(latest, at_us, explained, findings, between)
        return Detection(tuple(findings), tuple(unknown), frozenset(between))

    def _watch_together(
        self,
        latest: Latest,
        at_us: int,
        explained: set[str],
        findings: list[Finding],
        between: set[tuple[FindingKind, Subject]],
    ) -> None:
        """Sites where many assets fell silent at about the same time, and no heartbeat says why: one cause, not many.
        explained: sites of which a heartbeat is missing."""
        rows, settings = self._map, self.settings
        if not len(rows.ends):
            return
        begins = np.append(0, rows.ends[:-1])
        last_us = np.maximum.reduceat(_heard(latest, rows.point), begins)
        quickest_us = np.minimum.reduceat(rows.stale_after_us, begins)
        known = last_us != NEVER
        gone = known & (at_us - last_us > quickest_us)
        for site, members in rows.by_site:
            here = members[gone[members]]
            heard = int(np.count_nonzero(known[members]))
            if site in explained or len(here) < settings.together_min:
                continue
            near = np.abs(last_us[here] - np.median(last_us[here])) <= settings.together_s / 2 * SECOND_US
            together = here[near]
            subject = Subject(site, site, "together")
            if len(together) < settings.together_min or len(together) < settings.together_back * heard:
                continue
            if len(together) < settings.together_share * heard:
                between.add((FindingKind.SOURCE_SILENT, subject))
                continue
            findings.append(self._together(subject, together, last_us[together], heard, at_us))

    def _together(
        self, subject: Subject, groups: npt.NDArray[np.intp], last_us: npt.NDArray[np.int64], heard: int, at_us: int
    ) -> Finding:
        """groups: those that fell silent; last_us: when each was heard last; heard: how many ever were."""
        since_us = int(last_us.min())
        span_s = (int(last_us.max()) - since_us) / SECOND_US
        named = ", ".join(self._map.groups[number].who for number in groups[:SHOWN].tolist())
        going = heard - len(groups)
        bearing = Bearing.AGAINST if going else Bearing.FOR
        return Finding(
            FindingKind.SOURCE_SILENT,
            subject,
            since=from_us(since_us),
            summary=f"{len(groups)} of {heard} assets of {subject.site} fell silent within {duration(span_s)}",
            score=len(groups) / heard,
            confidence=0.9,
            evidence=(
                Evidence("Assets that fell silent together", f"{len(groups)} of {heard}: {named} …"),
                Evidence("When they were heard last", f"{duration((at_us - since_us) / SECOND_US)} ago"),
                Evidence("The rest", f"{going} are heard, or fell silent at another time", bearing),
                Evidence("Each by itself", "they would not stop within minutes of each other", Bearing.RULED_OUT),
            ),
            check_first=(
                "Look at what they have in common: the collector or gateway that asks them, its network, its password.",
                "Look at one of them at its own panel: is it without power, or only not heard?",
                "Until it is back, have the plant watched on its own panels: nothing from them is watched here.",
            ),
        )

    def _meet(self, plant: Plant, at_us: int) -> None:
        """Notes when points were first seen. Those of the first plant were there when we started."""
        size = max(plant.points, default=-1) + 1
        first = at_us if self._met else self._started_us
        self._met = True
        if size > len(self._known_us):
            self._known_us = np.append(self._known_us, np.full(size - len(self._known_us), NEVER, np.int64))
        numbers = np.fromiter(plant.points, np.intp, len(plant.points))
        fresh = numbers[self._known_us[numbers] == NEVER]
        self._known_us[fresh] = first

    def _watch_points(self, latest: Latest, at_us: int, findings: list[Finding], unknown: list[Unknown]) -> None:
        rows = self._map
        heard_us = _heard(latest, rows.point)
        never = heard_us == NEVER
        since_us = np.maximum(heard_us, self._known_us[rows.point])
        late = at_us - since_us > rows.stale_after_us
        stale, waiting = late & (rows.promised | ~never), never & ~(late & rows.promised)
        for row in np.unique(np.searchsorted(rows.ends, np.flatnonzero(stale | waiting), side="right")).tolist():
            group = rows.groups[row]
            members = slice(int(rows.ends[row]) - len(group.points), int(rows.ends[row]))
            late_ones = np.flatnonzero(stale[members])
            if len(late_ones):
                late_ones = late_ones[np.argsort(since_us[members][late_ones], kind="stable")]
                oldest = [(group.points[at], int(since_us[members][at]), bool(never[members][at])) for at in late_ones]
                findings.append(self._stale(group, oldest, int(np.count_nonzero(waiting[members])), at_us))
            else:
                why = f"{np.count_nonzero(waiting[members])} of {len(group.points)} points have not been heard yet"
                unknown.append(Unknown(FindingKind.POINT_STALE, group.subject, why))

    def _stale(self, group: _Group, oldest: Sequence[tuple[Point, int, bool]], waiting: int, at_us: int) -> Finding:
        """oldest: the stale points with when they were heard last (or first expected, for those that never were)."""
        count, total = len(oldest), len(group.points)
        longest_s = (at_us - oldest[0][1]) / SECOND_US
        evidence = [Evidence("Points that have gone silent", f"{count} of {total}")]
        for point, since_us, never in oldest[:SHOWN]:
            age = duration((at_us - since_us) / SECOND_US)
            shows = f"never heard in {age}" if never else f"last heard {age} ago"
            evidence.append(Evidence(point.name, shows, point=point.id))
        if count + waiting < total:
            going = f"{total - count - waiting} are heard"
            evidence.append(Evidence("The whole of it is silent", going, Bearing.RULED_OUT))
        if waiting:
            evidence.append(Evidence("Points that were never heard", f"{waiting}, not due yet", Bearing.UNKNOWN))
        whole = count == total
        return Finding(
            FindingKind.POINT_STALE,
            group.subject,
            since=from_us(oldest[0][1]),
            summary=f"{group.who}: {count} of {total} points silent, the longest for {duration(longest_s)}",
            score=count / total,
            confidence=0.95,
            evidence=tuple(evidence),
            check_first=(
                f"Look at the controller or gateway that speaks for {group.who}: power, network, its own alarms."
                if whole
                else f"Look at the sensors that are named, at {group.who}: plug, supply, mapping in the source.",
                "Until they speak again, nothing that depends on them can be told: look at the local panel.",
            ),
        )

    def _watch_heartbeat(
        self, heartbeat: Point, latest: Latest, at_us: int, findings: list[Finding], unknown: list[Unknown]
    ) -> None:
        subject = _source(heartbeat)
        heard_us = latest.heard_of(heartbeat.id)
        since_us = max(int(self._known_us[heartbeat.id]), NEVER if heard_us is None else heard_us)
        silent_s = (at_us - since_us) / SECOND_US
        if heard_us is None and (heartbeat.integration or silent_s <= self.settings.stale_after_s):
            unknown.append(Unknown(FindingKind.SOURCE_SILENT, subject, "its heartbeat has never been heard"))
        elif silent_s > self.settings.silent_after_s:
            findings.append(self._silent(heartbeat, subject, heard_us, since_us, latest, at_us))

    def _silent(
        self, heartbeat: Point, subject: Subject, heard_us: int | None, since_us: int, latest: Latest, at_us: int
    ) -> Finding:
        silent_s = (at_us - since_us) / SECOND_US
        if heard_us is None:
            evidence = [
                Evidence("Heartbeat", f"described, but never heard in {duration(silent_s)}", point=heartbeat.id)
            ]
        else:
            last = from_us(heard_us).strftime("%H:%M:%S UTC")
            shows = f"last at {last}, {duration(silent_s)} ago; due every 10 s"
            evidence = [Evidence("Heartbeat", shows, point=heartbeat.id), *self._clocks(heartbeat, heard_us, latest)]
        depends = np.array([point.id for point in self._depending(heartbeat)], np.intp)
        going = int(
            np.count_nonzero(_heard(latest, depends) > since_us + int(self.settings.silent_after_s * SECOND_US))
        )
        if len(depends):
            shows = f"{going} of {len(depends)} heard since"
            evidence.append(Evidence("Its points", shows, Bearing.AGAINST if going else Bearing.FOR))
        return Finding(
            FindingKind.SOURCE_SILENT,
            subject,
            since=from_us(since_us),
            summary=f"{heartbeat.asset_name}: no heartbeat for {duration(silent_s)}, for {len(depends)} points",
            score=silent_s / self.settings.silent_after_s,
            confidence=0.6 if going else 0.95,
            evidence=tuple(evidence),
            check_first=(
                f"Ask whoever runs {heartbeat.asset_name} whether it works and can reach the broker.",
                "Look at the broker and at our connection to it: GET /ledger tells when each source was heard last.",
                "Until it is back, have the plant watched on its own panels: nothing from it is watched here.",
            ),
        )

    def _clocks(self, heartbeat: Point, heard_us: int, latest: Latest) -> list[Evidence]:
        """The sender's clock against ours, out of its last heartbeat, whose value is what its clock said."""
        sent_ms = latest.value_of(heartbeat.id)
        if sent_ms is None:
            return [Evidence("The sender's clock", "its heartbeat has no usable value", Bearing.UNKNOWN, heartbeat.id)]
        ahead_s = (sent_ms * 1000 - heard_us) / SECOND_US
        shows = f"{figure(abs(ahead_s), 's')} {'ahead of' if ahead_s > 0 else 'behind'} ours; silence is told by ours"
        bearing = Bearing.RULED_OUT if abs(ahead_s) < self.settings.skew_s else Bearing.UNKNOWN
        return [Evidence("A wrong clock", shows, bearing, heartbeat.id)]

    def _depending(self, heartbeat: Point) -> list[Point]:
        """The points that this heartbeat speaks for: an integration's own, or everything of the site that the building
        management publishes; which of several scopes a point is in, the bus does not say."""
        return [
            point
            for point in self._map.plant.points.values()
            if point.site == heartbeat.site
            and point.quantity not in HEARTBEATS
            and point.integration == heartbeat.integration
            and point.asset_kind != "Gpu"
        ]


def _speaker(point: Point, plant: Plant) -> tuple[Subject, str]:
    """Whose silence it is when this point is silent, and its name."""
    if point.within:
        rack = plant.assets[AssetKey(point.site, point.within)]
        return Subject(point.site, rack.id, f"{point.asset_kind}s"), f"{point.asset_kind}s of {rack.name}"
    return Subject(point.site, point.asset), plant.assets[AssetKey(point.site, point.asset)].name


def _by_site(groups: Iterable[Subject]) -> tuple[tuple[str, npt.NDArray[np.intp]], ...]:
    numbers: dict[str, list[int]] = {}
    for number, subject in enumerate(groups):
        numbers.setdefault(subject.site, []).append(number)
    return tuple((site, np.array(found, np.intp)) for site, found in numbers.items())


def _source(heartbeat: Point) -> Subject:
    return Subject(heartbeat.site, heartbeat.asset, " ".join(filter(None, (heartbeat.scope, heartbeat.part))))


def _stale_after_us(point: Point, settings: SilenceSettings) -> int:
    for prefix, after_s in settings.stale_after_s_by_prefix:
        if point.quantity.startswith(prefix):
            return int(after_s * SECOND_US)
    return int(settings.stale_after_s * SECOND_US)


def _heard(latest: Latest, points: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
    """When each point was heard last, NEVER where it was not. The column is taken once, for it may be replaced."""
    column = latest.heard
    heard = np.full(len(points), NEVER, np.int64)
    known = points < len(column)
    heard[known] = column[points[known]]
    return heard

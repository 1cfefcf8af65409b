"""Clocks: senders whose time is not ours, judged on the tick: ahead, behind, or standing still.

Every window is cut by the senders' times, so a wrong clock blinds what looks at windows. A sender is judged by its
freshest point, for old values may be sent again with their old times. Lives here: the vigil. Not here: senders that
are silent (silence.py)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from dcim.core.assets import AssetKey
from dcim.core.findings import Bearing, Detection, Evidence, Finding, FindingKind, Subject, Unknown
from dcim.core.live import NEVER, Latest
from dcim.core.plant import Plant
from dcim.core.points import Point
from dcim.core.quantities import Nature
from dcim.core.times import SECOND_US, from_us, to_us
from dcim.detect.figures import duration, figure
from dcim.detect.moment import STALE_AFTER_S
from dcim.detect.wide import Numbers


@dataclass(frozen=True, slots=True)
class ClocksSettings:
    """What counts as wrong. [E]"""

    ahead_s: float = 5.0
    """Readings that are ahead are kept for later, so a finding would come later by as much."""
    behind_s: float = 30.0
    """More than any way over the network takes, and a third of the republish of the bus."""
    back: float = 0.5
    """Of these: below it a clock is right again."""
    stands_s: float = 30.0
    """A sender that goes on speaking for so long while its time does not advance has a clock that stands still."""


@dataclass(frozen=True, slots=True, eq=False)
class _Map:
    plant: Plant
    points: Numbers
    sender: Numbers
    subjects: tuple[Subject, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, plant: Plant) -> _Map:
        senders: dict[Subject, int] = {}
        names: list[str] = []
        rows = []
        for point in plant.points.values():
            subject, name = _sender(point, plant)
            if subject not in senders:
                names.append(name)
            sender = senders.setdefault(subject, len(senders))
            # What changes seldom may be sent again with the time of its change.
            if point.measures.nature is not Nature.STATE and not point.setpoint and not point.measures.setpoint:
                rows.append((point.id, sender))
        table = np.array(rows, np.intp).reshape(-1, 2)
        return cls(plant, table[:, 0], table[:, 1], tuple(senders), tuple(names))


class Clocks:
    """Vigil: the clocks of senders, against ours. It remembers each sender's newest time, and since when it is that."""

    name = "clocks"
    kinds = frozenset({FindingKind.CLOCK_WRONG})

    def __init__(self, settings: ClocksSettings | None = None) -> None:
        self.settings = settings or ClocksSettings()
        self._map = _Map.of(Plant())
        self._newest: dict[Subject, tuple[int, int]] = {}

    def watch(self, latest: Latest, plant: Plant, at: datetime) -> Detection:
        """One finding for each sender: a bus's building management, an integration, the GPUs of a rack. One of which
        nothing that varies has been heard for a while is unknown: its clock may be right."""
        if self._map.plant is not plant:
            self._map = _Map.of(plant)
        settings, plan, at_us = self.settings, self._map, to_us(at)
        time, heard = latest.time, latest.heard
        known = plan.points < min(len(time), len(heard))
        times = np.full(len(plan.points), NEVER, np.int64)
        arrivals = times.copy()
        times[known], arrivals[known] = time[plan.points[known]], heard[plan.points[known]]
        recent = arrivals >= at_us - int(STALE_AFTER_S * SECOND_US)
        senders = len(plan.subjects)
        newest = np.full(senders, NEVER, np.int64)
        arrived = np.full(senders, NEVER, np.int64)
        ahead = np.full(senders, NEVER, np.int64)
        np.maximum.at(newest, plan.sender[recent], times[recent])
        np.maximum.at(arrived, plan.sender[recent], arrivals[recent])
        np.maximum.at(ahead, plan.sender[recent], times[recent] - arrivals[recent])
        findings, unknown, between = [], [], set()
        why = "nothing that varies has been heard from it of late"
        for row, subject in enumerate(plan.subjects):
            if arrived[row] == NEVER or newest[row] == NEVER:
                unknown.append(Unknown(FindingKind.CLOCK_WRONG, subject, why))
                continue
            before, since_us = self._newest.get(subject, (int(newest[row]), int(arrived[row])))
            if newest[row] != before:
                since_us = int(arrived[row])
            self._newest[subject] = int(newest[row]), since_us
            stood_s = (int(arrived[row]) - since_us) / SECOND_US
            ahead_s = int(ahead[row]) / SECOND_US
            behind_s = -ahead_s
            if stood_s >= settings.stands_s and behind_s >= settings.stands_s:
                word = f"its clock has stood still for {duration(stood_s)}"
            elif ahead_s >= settings.ahead_s:
                word = f"its clock is {duration(ahead_s)} ahead of ours"
            elif behind_s >= settings.behind_s:
                word = f"its clock is {duration(behind_s)} behind ours"
            else:
                if ahead_s >= settings.back * settings.ahead_s or behind_s >= settings.back * settings.behind_s:
                    between.add((FindingKind.CLOCK_WRONG, subject))
                continue
            points = int(np.count_nonzero(plan.sender == row))
            findings.append(
                self._finding(plan.names[row], subject, word, ahead_s, points, from_us(min(since_us, at_us)))
            )
        return Detection(tuple(findings), tuple(unknown), frozenset(between))

    def _finding(self, name: str, subject: Subject, word: str, ahead_s: float, points: int, since: datetime) -> Finding:
        side = "ahead" if ahead_s > 0 else "behind"
        return Finding(
            FindingKind.CLOCK_WRONG,
            subject,
            since=since,
            summary=f"{name}: {word}",
            score=abs(ahead_s),
            confidence=0.9,
            evidence=(
                Evidence("Its freshest value against its arrival", f"{figure(abs(ahead_s), 's')} {side}"),
                Evidence("Points that it speaks for", str(points)),
                Evidence("A slow network", "values come as they are sent, only with another time", Bearing.RULED_OUT)
                if ahead_s > 0
                else Evidence("A queue that is being worked off", "looks the same until it is empty", Bearing.UNKNOWN),
            ),
            check_first=(
                f"Look at the time server that {name} asks, and whether it reaches it.",
                "Compare our own clock with another machine's: if several senders are wrong by as much, it is ours.",
                "Until it is right, trends and windows of these points are shifted by as much.",
            ),
        )


def _sender(point: Point, plant: Plant) -> tuple[Subject, str]:
    """Whose clock a point's times come from, and its name."""
    if point.within:
        rack = plant.assets.get(AssetKey(point.site, point.within))
        name = rack.name if rack else point.within
        return Subject(point.site, point.within, f"{point.asset_kind}s"), f"{point.asset_kind}s of {name}"
    if point.integration:
        return Subject(point.site, point.integration), point.integration
    return Subject(point.site, point.site), f"Building management of {point.site}"

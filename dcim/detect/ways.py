"""Ways in: sources that bring nothing any more, because their connection is gone or they have fallen silent.

A heartbeat that stops tells of a sender behind a connection that stands (silence.py); this tells of the connection, and
of sources that have no heartbeat. How long is too long, each source teaches by its own pace, or the settings say.
Lives here: the vigil, and what it learns. Not here: what is lost with a source; single points."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt

from dcim.core.findings import Bearing, Detection, Evidence, Finding, FindingKind, Subject, Unknown
from dcim.core.ledger import Ledger, Tally
from dcim.core.live import Latest
from dcim.core.plant import Plant
from dcim.core.ports import SourceStatus, Trouble
from dcim.core.times import SECOND_US, from_us, to_us
from dcim.detect.figures import duration
from dcim.detect.moment import STALE_AFTER_S


@dataclass(frozen=True, slots=True)
class WaysSettings:
    """How long is too long."""

    gone_after_s: float = 10.0
    """A connection: it comes back by itself within a second or two when the other end was only started anew. [E]"""
    silent_after_s: float = 20.0
    """A source that never pauses: less than the three heartbeats after which the senders behind it count as silent, so
    that the cause is told before what follows from it."""
    silent_at_first_s: float = STALE_AFTER_S
    """One whose pace is not known yet."""
    learn_s: float = 60.0
    """The pace is known once a source has been heard over so long a time."""
    pauses: float = 3.0
    """So many of its usual pauses are too long."""
    remember_s: float = 21_600.0
    """A pause counts for so long."""


@dataclass(frozen=True, slots=True)
class Way:
    """One configured source."""

    status: SourceStatus
    site: str
    silent_after_s: float | None = None
    """What the settings say; None: it is learned."""


@dataclass(slots=True)
class _Pace:
    """What is known of one source's pauses. Short ones are not kept: they could not make the time longer."""

    first_us: int | None = None
    last_us: int | None = None
    pauses: deque[tuple[int, float, bool]] = field(default_factory=lambda: deque(maxlen=64))
    """(when it ended, how long it was in seconds, whether it was within what was usual then)."""

    def hear(self, received_us: int, connected_us: int, settings: WaysSettings) -> None:
        """Takes note of the last receipt. A pause in which the connection was gone teaches nothing."""
        if self.last_us is None:
            self.first_us = received_us
        elif received_us > self.last_us >= connected_us:
            pause_s = (received_us - self.last_us) / SECOND_US
            if pause_s * settings.pauses > settings.silent_after_s:
                self.pauses.append((received_us, pause_s, pause_s <= self.silent_after_s(received_us, settings)))
        self.last_us = received_us

    def silent_after_s(self, at_us: int, settings: WaysSettings) -> float:
        """After how long its silence is news. One outage must not make it deaf for the next: three pauses of a length
        are a habit, and fewer count only when they were within what was usual."""
        if self.first_us is None or self.last_us is None:
            return settings.silent_at_first_s
        recent = [pause for pause in self.pauses if pause[0] > at_us - settings.remember_s * SECOND_US]
        if len(recent) >= 3:
            usual_s = sorted((pause_s for _, pause_s, _ in recent), reverse=True)[2]
        else:
            usual_s = max((pause_s for _, pause_s, within in recent if within), default=0.0)
        learned_s = max(settings.silent_after_s, settings.pauses * usual_s)
        known = self.last_us - self.first_us >= settings.learn_s * SECOND_US
        return learned_s if known else max(learned_s, settings.silent_at_first_s)


class Ways:
    """Vigil: one finding for each source that brings nothing, whatever the number of points beneath it."""

    name = "ways"
    kinds = frozenset({FindingKind.SOURCE_LOST})

    def __init__(
        self,
        started: datetime,
        ways: Sequence[Way],
        ledger: Ledger,
        trouble: Callable[[], Trouble | None] = lambda: None,
        settings: WaysSettings | None = None,
    ) -> None:
        """started: from when on anything would have been heard. trouble: why nothing can be made durable, for then
        nothing is booked as received either."""
        self.settings = settings or WaysSettings()
        self._started_us, self._ways, self._ledger, self._trouble = to_us(started), tuple(ways), ledger, trouble
        self._paces: Mapping[str, _Pace] = {way.status.name: _Pace() for way in ways}
        self._plant, self._points = Plant(), dict[str, npt.NDArray[np.intp]]()
        self._before = {tally.source: tally.last_received for tally in ledger.tallies()}
        """When an earlier run heard each source last: it may lie ahead of our clock, if that was set back since."""

    def watch(self, latest: Latest, plant: Plant, at: datetime) -> Detection:
        """Lost: no connection for a while, or nothing received for longer than its pace allows. Unknown: never heard
        at all, or nothing can be booked at present."""
        at_us, trouble = to_us(at), self._trouble()
        tallies = {tally.source: tally for tally in self._ledger.tallies()}
        findings: list[Finding] = []
        unknown: list[Unknown] = []
        for way in self._ways:
            judged = self._judge(way, tallies.get(way.status.name), trouble, at_us)
            if isinstance(judged, Finding):
                findings.append(self._with_points(judged, way, latest, plant))
            elif judged:
                unknown.append(Unknown(FindingKind.SOURCE_LOST, _subject(way), judged))
        return Detection(tuple(findings), tuple(unknown))

    def _judge(self, way: Way, tally: Tally | None, trouble: Trouble | None, at_us: int) -> Finding | str:
        """A finding, why nobody can tell, or "" where all is well."""
        status, pace = way.status, self._paces[way.status.name]
        since_us = self._started_us if status.since is None else max(status.since, self._started_us)
        last = tally.last_received if tally is not None else None
        last_us = None if last is None else to_us(last)
        heard = last != self._before.get(status.name)
        if last_us is not None and heard:
            pace.hear(last_us, since_us if status.connected else at_us, self.settings)
        if not status.connected:
            if (at_us - since_us) / SECOND_US <= self.settings.gone_after_s:
                return "its connection has just been lost; it may be back at once"
            return self._gone(way, since_us, last_us, at_us)
        if trouble is not None:
            return "nothing that comes can be made durable, so nobody can tell whether it comes"
        if last_us is None:
            return "nothing has ever been received from it"
        after_s = way.silent_after_s or pace.silent_after_s(at_us, self.settings)
        quiet_us = max(last_us, since_us) if heard else since_us
        if (at_us - quiet_us) / SECOND_US <= after_s:
            return ""
        return self._silent(way, pace, quiet_us, last_us, after_s, at_us)

    def _gone(self, way: Way, since_us: int, last_us: int | None, at_us: int) -> Finding:
        gone_s = (at_us - since_us) / SECOND_US
        evidence = [
            Evidence("Connection", f"none for {duration(gone_s)}"),
            _last(last_us, at_us),
        ]
        if way.status.trouble:
            evidence.insert(1, Evidence("What was said of it", way.status.trouble))
        return Finding(
            FindingKind.SOURCE_LOST,
            _subject(way),
            since=from_us(since_us),
            summary=f"{way.status.name}: no connection for {duration(gone_s)}",
            score=gone_s / self.settings.gone_after_s,
            confidence=0.99,
            evidence=tuple(evidence),
            check_first=(
                "Is the broker running, and can this machine reach it? Its log says who was refused, and why.",
                *_UNTIL,
            ),
        )

    def _silent(self, way: Way, pace: _Pace, quiet_us: int, last_us: int, after_s: float, at_us: int) -> Finding:
        silent_s = (at_us - quiet_us) / SECOND_US
        told = "the settings say" if way.silent_after_s else "its own pauses say"
        if not way.silent_after_s and pace.last_us is None:
            told = "its pace is not known since the start"
        return Finding(
            FindingKind.SOURCE_LOST,
            _subject(way),
            since=from_us(quiet_us),
            summary=f"{way.status.name}: nothing received for {duration(silent_s)}",
            score=silent_s / after_s,
            confidence=0.9,
            evidence=(
                _last(last_us, at_us),
                Evidence("Too long for it", f"more than {duration(after_s)}: {told}"),
                Evidence("Its connection is gone", "it stands", Bearing.RULED_OUT),
            ),
            check_first=(
                "Ask whoever runs what publishes there whether it works: our connection stands.",
                *_UNTIL,
            ),
        )

    def _with_points(self, finding: Finding, way: Way, latest: Latest, plant: Plant) -> Finding:
        """The finding with what lies beneath it: how many points of the site have been heard since."""
        points = self._points_of(way.site, plant)
        if not len(points):
            return finding
        heard = latest.heard
        known = points[points < len(heard)]
        since = int(np.count_nonzero(heard[known] > to_us(finding.since)))
        shows = f"{since} of {len(points)} heard since"
        bearing = Bearing.AGAINST if since else Bearing.FOR
        beneath = Evidence("Points of the site, from any source", shows, bearing)
        return replace(finding, evidence=(*finding.evidence, beneath))

    def _points_of(self, site: str, plant: Plant) -> npt.NDArray[np.intp]:
        """The points of a site; gathered once for each plant, for a large one has 200,000."""
        if self._plant is not plant:
            self._plant, self._points = plant, {}
        if site not in self._points:
            numbers = [point.id for point in plant.points.values() if point.site == site]
            self._points[site] = np.array(numbers, np.intp)
        return self._points[site]


_UNTIL = (
    "GET /ledger, or the console's data quality page, tells when each source was heard last, and its faults.",
    "Until it is back, have the plant watched on its own panels: nothing from this source is watched here.",
)


def _subject(way: Way) -> Subject:
    return Subject(way.site, "", way.status.name)


def _last(last_us: int | None, at_us: int) -> Evidence:
    if last_us is None:
        return Evidence("Last received", "nothing, ever", Bearing.UNKNOWN)
    ago = duration(max(0, at_us - last_us) / SECOND_US)
    return Evidence("Last received", f"{from_us(last_us):%H:%M:%S} UTC, {ago} ago")

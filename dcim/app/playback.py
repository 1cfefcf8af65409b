"""Playback: readings of the past, shown to the detectors of the service as if they came now, and alarms made of what
they find by the service's own engine and rules. Causal: nothing at one instant depends on a reading after it.

What differs from the service: arrival is the reading's own time; there are no sources and nothing to keep, so nothing
speaks of those; ticks come when they are asked for, which may be seldom; whoever watches acknowledges each alarm at
once. Between two ticks a sentinel is shown an arrival where a state changed, or a value fell by a quarter, since the
last tick or the last reading; at each tick it is shown everything.

Lives here: the walk through time. Not here: how readings are laid out for it (laying.py), where they come from
(recorded.py, tables.py), which detectors there are (build.py), what is made of the alarms (scoring)."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from alerts.engine import Engine
from alerts.journal import HistoryQuery, Recalled
from alerts.lifecycle import Acknowledge, AlarmKey, Change, Delay, Priority, Reset, State, Transition
from alerts.rules import Ruleset
from alerts.silences import Noted, Silence
from alerts.suppression import Window
from dcim.app.equipment import off
from dcim.app.laying import Arrivals, Layout, Ticks, Times, behind
from dcim.core.assets import AssetKey
from dcim.core.findings import Detection, FindingKind, Subject
from dcim.core.live import Latest
from dcim.core.plant import Plant
from dcim.core.ports import Detector, Learner, Sentinel, Vigil
from dcim.core.quantities import Nature
from dcim.core.readings import Quality, Readings
from dcim.core.times import SECOND_US, from_us, to_us
from dcim.detect.window import doubt

NEWS_SHARE = 0.25
"""A value that has fallen by so much since the last tick, or the last reading, is looked at when it arrives: what is
judged on arrival is loss."""
WATCHER = "backtest"
"""Who acknowledges."""
SOON = timedelta(seconds=1)
"""A detector that is due so soon after a tick looks at that tick."""

_KIND_OF = operator.attrgetter("kind")


@dataclass(frozen=True, slots=True)
class Stretch:
    """The readings of a stretch of time, of all points. Stretches follow each other without a gap."""

    readings: Readings
    """Sorted by point, then time."""
    until_us: int
    """Everything before this instant is here or was in a stretch before."""


@dataclass(frozen=True, slots=True)
class Raised:
    """One alarm, from when it was raised until it returned."""

    rule: str
    kind: FindingKind
    subject: Subject
    priority: Priority
    """When it was raised."""
    began: datetime
    ended: datetime | None
    """None: it stands at the end."""
    summary: str


@dataclass(frozen=True, slots=True)
class Seen:
    """One finding, from the look that found it first until the one that did not any more."""

    kind: FindingKind
    subject: Subject
    began: datetime
    ended: datetime | None


@dataclass(slots=True)
class Played:
    """What came of it."""

    start: datetime
    end: datetime
    alarms: list[Raised] = field(default_factory=list)
    """In the order in which they were raised."""
    findings: list[Seen] = field(default_factory=list)
    rows: int = 0
    ticks: int = 0
    looks: int = 0
    """Of detectors; those of sentinels on arrivals are not counted."""
    cannot_tell: dict[FindingKind, float] = field(default_factory=dict)
    """Kind → share of the looks after which it was not known of at least one place."""


def even(start: datetime, end: datetime, stride_s: float) -> Times:
    """Ticks every stride_s seconds, after the start and up to the end."""
    begins_us, stride_us = to_us(start), max(1, round(stride_s * SECOND_US))
    return np.arange(begins_us + stride_us, to_us(end) + 1, stride_us, dtype=np.int64)


def play(
    stretches: Iterable[Stretch],
    plant: Plant,
    ruleset: Ruleset,
    *,
    sentinels: Sequence[Sentinel] = (),
    detectors: Sequence[Detector] = (),
    vigils: Sequence[Vigil] = (),
    start: datetime,
    ticks: Times,
    progress: Callable[[float], None] = lambda _: None,
    hear: Callable[[Sequence[Transition]], None] = lambda _: None,
) -> Played:
    """Walks through all stretches. ticks: microseconds UTC, ascending, after the start. progress: is told the share
    that is done. hear: is told every transition in order, but for those of whoever watches. Raises what the stretches
    raise, and nothing else."""
    walk = _Walk(plant, ruleset, sentinels, detectors, vigils, start, ticks, hear)
    return asyncio.run(walk.through(stretches, progress))


class Forgetting:
    """A journal that remembers nothing: the walk keeps what it needs."""

    async def append(
        self,
        transitions: Sequence[Transition],
        delays: Mapping[AlarmKey, Delay | None],
        silences: Sequence[Noted] = (),
    ) -> None:
        """Forgets them."""

    async def recall(self) -> Recalled:
        """Nothing stands."""
        return Recalled(0, (), ())

    async def after(self, seq: int) -> Sequence[Transition]:  # noqa: ARG002  there are none
        """None."""
        return ()

    async def history(self, query: HistoryQuery) -> Sequence[Transition]:  # noqa: ARG002  there is none
        """None."""
        return ()

    async def log(self, start: datetime, end: datetime, rows_max: int = 0) -> Sequence[Transition]:  # noqa: ARG002
        """None."""
        return ()

    async def note(self, window: Window, by: str, origin: str, at: datetime) -> None:
        """Forgets it."""

    async def windows(self, since: datetime) -> Sequence[Window]:  # noqa: ARG002  there are none
        """None."""
        return ()

    async def silences(self, since: datetime) -> Sequence[Silence]:  # noqa: ARG002  there are none
        """None."""
        return ()


class _Walk:
    """One pass. Everything that looks is its own: what it learns stays with it."""

    def __init__(
        self,
        plant: Plant,
        ruleset: Ruleset,
        sentinels: Sequence[Sentinel],
        detectors: Sequence[Detector],
        vigils: Sequence[Vigil],
        start: datetime,
        ticks: Times,
        hear: Callable[[Sequence[Transition]], None],
    ) -> None:
        self.plant, self.ticks, self.hear = plant, Ticks(ticks), hear
        self.sentinels, self.detectors, self.vigils = sentinels, detectors, vigils
        self.latest = Latest()
        self._now_us = to_us(start)
        self.engine = Engine(
            ruleset,
            Forgetting(),
            asset_of=plant.assets.get,
            off_of=lambda key: off(plant, self.latest, key, self._now_us),
        )
        self.engine.follow(plant.topology, plant.assets)
        self.played = Played(start, start)
        self._size = max(plant.points, default=-1) + 1
        self._waking = [self._mask(sentinel.quantities) for sentinel in sentinels]
        self._wakes = np.logical_or.reduce([*self._waking, np.zeros(self._size, np.bool_)])
        self._needed = [self._mask(detector.needs.quantities) for detector in detectors]
        states = [point.id for point in plant.points.values() if point.measures.nature is Nature.STATE]
        self._states = np.zeros(self._size, np.bool_)
        self._states[states] = True
        self._looked: dict[str, tuple[datetime, frozenset[int]]] = {}
        self._open: dict[str, int] = {}  # occurrence → its place among the alarms
        self._seen: dict[tuple[FindingKind, Subject], int] = {}
        self._told: dict[FindingKind, list[int]] = {}
        self._look_back_us = max((round(d.needs.look_back.total_seconds() * SECOND_US) for d in detectors), default=0)

    async def through(self, stretches: Iterable[Stretch], progress: Callable[[float], None]) -> Played:
        """All of it."""
        await self.engine.open(self.played.start)
        ended_us = to_us(self.played.start)
        with ThreadPoolExecutor(1, "layout") as layout:  # lays out the next stretch while this one is looked at
            laid = self._lay_out(iter(stretches))
            following = layout.submit(next, laid, None)
            while (now := following.result()) is not None:
                following = layout.submit(next, laid, None)
                self.played.rows += now.rows
                ended_us = max(ended_us, now.until_us)
                if now.layout is None:
                    self.latest.take(now.fresh, now.fresh.time)
                else:
                    await self._stretch(now.layout, progress)
        last = from_us(int(self.ticks.times[-1])) if len(self.ticks) else self.played.start
        self.played.end = max(from_us(ended_us), last)
        self.played.ticks = len(self.ticks)
        self.played.cannot_tell = {kind: told[0] / told[1] for kind, told in self._told.items() if told[1]}
        progress(1.0)
        return self.played

    def _lay_out(self, stretches: Iterator[Stretch]) -> Iterator[_Laid]:
        """Each stretch, and after the last one what is left of the ticks. Depends on readings alone, and on nothing
        that was found in them."""
        done, kept = 0, Readings.empty()
        needed = np.logical_or.reduce([*self._needed, np.zeros(self._size, np.bool_)])
        for stretch in stretches:
            fresh = _known(stretch.readings, self._size)
            beyond = int(np.searchsorted(self.ticks.times, stretch.until_us, side="left"))
            rows, layout = behind(kept, fresh), None
            if beyond > done:
                layout = self._laid_out(rows, done, beyond)
                done = beyond
                kept = self._reached(rows, int(self.ticks.times[done - 1]), needed)
            elif done < len(self.ticks):
                kept = rows.take(rows.time >= self.ticks.times[done] - self._look_back_us)
            else:
                fresh = Readings.empty()  # after the last tick nobody looks
            yield _Laid(len(stretch.readings), stretch.until_us, fresh, layout)
        if done < len(self.ticks):
            yield _Laid(0, int(self.ticks.times[-1]), Readings.empty(), self._laid_out(kept, done, len(self.ticks)))

    def _laid_out(self, rows: Readings, first: int, beyond: int) -> _LaidOut:
        layout = Layout(rows, self.ticks, first, beyond, self._needed, self._wakes)
        return _LaidOut(layout, self._news(layout.arrivals))

    def _reached(self, rows: Readings, tick_us: int, needed: npt.NDArray[np.bool_]) -> Readings:
        """The rows that a tick after this one may still ask for."""
        late = np.flatnonzero(rows.time >= tick_us - self._look_back_us)
        return rows.take(late[needed[rows.point[late]] | (rows.time[late] > tick_us)])

    async def _stretch(self, laid: _LaidOut, progress: Callable[[float], None]) -> None:
        """The ticks of a stretch."""
        layout, arrivals = laid.layout, laid.layout.arrivals
        every = max(1, (layout.beyond - layout.first) // 50)
        for tick in range(layout.first, layout.beyond):
            at = from_us(int(self.ticks.times[tick]))
            await self._arrive(arrivals, laid.news, tick)
            came = layout.came(tick)
            self.latest.take(came, came.time)
            for sentinel, waking in zip(self.sentinels, self._waking, strict=True):
                woken = np.unique(came.point[waking[came.point]]).astype(np.intp)
                if len(woken):
                    detection = sentinel.look(self.latest.readings(woken), self.latest, self.plant, at)
                    await self._apply(detection, sentinel.kinds, at)
            for kinds, detection in self._survey(layout, tick, at):
                await self._apply(detection, kinds, at)
            await self._note(await self.engine.elapse(at), at)
            self._learn()
            if (tick - layout.first) % every == 0:
                progress((tick + 1) / len(self.ticks))

    def _news(self, arrivals: Arrivals) -> npt.NDArray[np.bool_]:
        """Which arrivals are worth a look before the next tick."""
        rows = arrivals.rows
        if not len(rows):
            return np.zeros(0, np.bool_)
        same = np.append(False, rows.point[1:] == rows.point[:-1])
        previous = np.where(same, np.arange(-1, len(rows) - 1), -1)
        return self._far(rows, arrivals.before()) | self._far(rows, previous)

    def _far(self, rows: Readings, other: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """Which rows say something else than those of these numbers; all for which there is none, −1."""
        than = np.maximum(other, 0)
        value, earlier = rows.value, rows.value[than]
        fallen = earlier - value
        far = np.where(self._states[rows.point], fallen != 0.0, fallen > NEWS_SHARE * np.abs(earlier))
        unlike: npt.NDArray[np.bool_] = (
            (other < 0) | (rows.quality != rows.quality[than]) | (np.isnan(value) != np.isnan(earlier)) | far
        )
        return unlike

    async def _arrive(self, arrivals: Arrivals, news: npt.NDArray[np.bool_], tick: int) -> None:
        """What sentinels see between the tick before and this one."""
        order = arrivals.of(tick)
        worth = order[news[order]]
        if not len(worth):
            return
        times, taken = arrivals.rows.time[order], 0
        for instant in np.unique(arrivals.rows.time[worth]).tolist():
            if instant >= self.ticks.times[tick]:
                return  # the tick itself looks at all
            begin, end = np.searchsorted(times, (instant, instant + 1)).tolist()
            before = arrivals.rows.take(order[taken:end])
            self.latest.take(before, before.time)
            taken = end
            arrived, at = arrivals.rows.take(order[begin:end]), from_us(instant)
            for sentinel, waking in zip(self.sentinels, self._waking, strict=True):
                woken = np.unique(arrived.point[waking[arrived.point]]).astype(np.intp)
                if len(woken):
                    detection = sentinel.look(self.latest.readings(woken), self.latest, self.plant, at)
                    await self._apply(detection, sentinel.kinds, at)

    def _survey(self, layout: Layout, tick: int, at: datetime) -> Iterator[tuple[frozenset[FindingKind], Detection]]:
        """As the watch does it on a tick."""
        distrusted: set[int] = set()
        answers: list[tuple[frozenset[FindingKind], Detection]] = []
        for number, detector in enumerate(self.detectors):
            if not self._needed[number].any():
                continue  # the plant has nothing for it to look at
            looked = self._looked.get(detector.name)
            if looked is None or at - looked[0] + SOON >= detector.needs.every:
                frame = layout.window(number, tick, round(detector.needs.look_back.total_seconds() * SECOND_US))
                detection = detector.detect(doubt(frame, distrusted), self.plant, at)
                answers.append((detector.kinds, detection))
                looked = self._looked[detector.name] = (at, detection.distrusted)
                self.played.looks += 1
                unknown = set(map(_KIND_OF, detection.unknown))
                for kind in detector.kinds:
                    told = self._told.setdefault(kind, [0, 0])
                    told[0] += kind in unknown
                    told[1] += 1
            distrusted |= looked[1]
        answers.extend((vigil.kinds, vigil.watch(self.latest, self.plant, at)) for vigil in self.vigils)
        return iter(answers)

    async def _apply(self, detection: Detection, kinds: frozenset[FindingKind], at: datetime) -> None:
        self._now_us = to_us(at)
        self._remember(detection, kinds, at)
        await self._note(await self.engine.apply(detection, kinds, at), at)

    def _remember(self, detection: Detection, kinds: frozenset[FindingKind], at: datetime) -> None:
        """When each finding came and went."""
        found = {(finding.kind, finding.subject) for finding in detection.findings}
        standing = {kind for kind, _ in self._seen}
        held = set(detection.between)
        if standing & kinds:  # a large plant tells of tens of thousands of unknowns
            held |= {(unknown.kind, unknown.subject) for unknown in detection.unknown if unknown.kind in standing}
        for where in [*self._seen]:
            judged = where[0] in kinds and (detection.looked_at is None or where in detection.looked_at)
            if judged and where not in found and where not in held:
                place = self._seen.pop(where)
                self.played.findings[place] = replace(self.played.findings[place], ended=at)
        for where in found:
            if where not in self._seen:
                self._seen[where] = len(self.played.findings)
                self.played.findings.append(Seen(*where, began=at, ended=None))

    async def _note(self, transitions: Sequence[Transition], at: datetime) -> None:
        """Takes down what was raised and what returned, and acknowledges it."""
        self.hear(transitions)
        for made in transitions:
            if made.change is Change.ACTIVATED and made.occurrence not in self._open:
                self._open[made.occurrence] = len(self.played.alarms)
                summary = made.finding.summary if made.finding else ""
                self.played.alarms.append(
                    Raised(made.key.rule, made.kind, made.key.subject, made.priority, made.at, None, summary)
                )
            elif made.change in (Change.RETURNED, Change.LATCHED):
                place = self._open.pop(made.occurrence, None)
                if place is not None:
                    self.played.alarms[place] = replace(self.played.alarms[place], ended=made.at)
        waiting = {made.occurrence for made in transitions if made.after is State.UNACKNOWLEDGED}
        latched = {made.occurrence for made in transitions if made.change is Change.LATCHED}
        if waiting:
            await self.engine.act([(one, None) for one in sorted(waiting)], Acknowledge(WATCHER), at)
        if latched:
            await self.engine.act([(one, None) for one in sorted(latched)], Reset(WATCHER), at)

    def _learn(self) -> None:
        alarms = [*self.engine.standing(), *self.engine.suppressed()]
        exempt = {AssetKey(view.site, view.asset) for view in alarms}
        for detector in self.detectors:
            if isinstance(detector, Learner):
                detector.learn(exempt)

    def _mask(self, quantities: Iterable[str]) -> npt.NDArray[np.bool_]:
        mask = np.zeros(self._size, np.bool_)
        mask[[point.id for point in self.plant.of(*sorted(quantities))]] = True
        return mask


@dataclass(frozen=True, slots=True, eq=False)
class _LaidOut:
    """The ticks of a stretch, and which arrivals are worth a look before the next of them."""

    layout: Layout
    news: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class _Laid:
    """A stretch, ready to be walked through."""

    rows: int
    until_us: int
    fresh: Readings
    layout: _LaidOut | None
    """None where no tick falls into it."""


def _known(readings: Readings, size: int) -> Readings:
    """Those of points that the plant has."""
    return readings if not len(readings) or int(readings.point.max()) < size else readings.take(readings.point < size)


def usable(readings: Readings) -> Readings:
    """Sorted by point and time; of several of one point at one instant the first one that came, as a store keeps it."""
    order = np.lexsort((readings.time, readings.point))
    rows = readings.take(order)
    if not len(rows):
        return rows
    first = np.append(True, (rows.point[1:] != rows.point[:-1]) | (rows.time[1:] != rows.time[:-1]))
    return rows if first.all() else rows.take(first)


def missing_is_bad(value: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """The quality of values that come without one."""
    return np.where(np.isfinite(value), Quality.GOOD, Quality.BAD).astype(np.uint8)

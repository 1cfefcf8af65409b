"""Scoring: alarms against what really happened, and points against labels. Pure: plain data in, figures out.

Lives here: which alarm belongs to which event, delays, rates, F1/FAR/MAR, and the trivial detectors that every figure
is to be held against. Not here: how the alarms came about (dcim.app.playback), pages and pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

MONTH_S = 30.0 * 86_400.0
AFTER = timedelta(minutes=30)
"""An alarm that begins so long after an event's end may still be its doing: the level is low, the rope is wet."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that really happened."""

    kind: str
    place: str
    harmful: bool
    onset: datetime
    end: datetime
    scope: frozenset[str] = frozenset()
    """Ids of assets where its traces may be found; empty: everywhere."""
    names: frozenset[str] = frozenset()
    """Kinds of alarms that name it. Empty: nobody says which do, so none is wrong."""
    follows: frozenset[str] = frozenset()
    """Kinds of alarms that are right about what follows from it, and do not name it."""
    detectable: datetime | None = None
    """From when on a perfect watcher could know; the onset where nobody says."""
    severity: float | None = None
    severity_unit: str = ""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that was said to have happened."""

    kind: str
    place: str
    began: datetime
    ended: datetime | None
    """None: it stood at the end."""
    scope: frozenset[str] = frozenset()
    """Ids of assets that it speaks of; empty: everywhere."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one event."""

    event: Event
    alarm: Alarm | None
    """The first alarm that names it, or else the first that follows from it; None: missed."""
    named: bool
    exact: bool
    """Whether an alarm that counts is at the very place."""
    delay_s: float | None
    alarms: int
    """All that belong to it."""

    @property
    def found(self) -> bool:
        """Whether any alarm belongs to it."""
        return self.alarm is not None


@dataclass(slots=True)
class Score:
    """A whole run."""

    outcomes: list[Outcome] = field(default_factory=list)
    """Of harmful events."""
    false: list[Alarm] = field(default_factory=list)
    """Alarms that belong to no harmful event."""
    cried: list[tuple[Alarm, Event]] = field(default_factory=list)
    """Those of them that stood while something harmless happened there, with what."""
    misnamed: list[tuple[Alarm, Event]] = field(default_factory=list)
    """Alarms during a harmful event, at its place, that neither name it nor follow from it."""


def score(events: Iterable[Event], alarms: Iterable[Alarm], after: timedelta = AFTER) -> Score:
    """Every alarm to the event that it belongs to.

    An alarm belongs to a harmful event when it began from the onset until `after` its end, where their scopes meet, and
    its kind names the event or follows from it; where several fit, to one that it names, and of those to the latest. An
    alarm that meets no such event, but a harmful one of which it names nothing, is misnamed; any other is false.
    """
    harmful = sorted((event for event in events if event.harmful), key=lambda event: event.onset)
    harmless = [event for event in events if not event.harmful]
    told = Score()
    belong: dict[int, list[Alarm]] = {}
    for alarm in sorted(alarms, key=lambda alarm: alarm.began):
        near = [
            (number, event)
            for number, event in enumerate(harmful)
            if event.onset <= alarm.began <= event.end + after and _meet(event.scope, alarm.scope)
        ]
        fitting = [number for number, event in near if not event.names or alarm.kind in event.names]
        fitting = fitting or [number for number, event in near if alarm.kind in event.follows]
        if fitting:
            belong.setdefault(fitting[-1], []).append(alarm)
        elif near:
            told.misnamed.append((alarm, near[-1][1]))
        else:
            told.false.append(alarm)
            by = [
                event
                for event in harmless
                if event.onset <= alarm.began <= event.end + after and _meet(event.scope, alarm.scope)
            ]
            if by:
                told.cried.append((alarm, by[-1]))
    for number, event in enumerate(harmful):
        own = belong.get(number, [])
        naming = [alarm for alarm in own if not event.names or alarm.kind in event.names]
        first = next(iter(naming or own), None)
        earliest = min((alarm.began for alarm in own), default=None)
        told.outcomes.append(
            Outcome(
                event=event,
                alarm=first,
                named=bool(naming),
                exact=any(alarm.place == event.place for alarm in own),
                delay_s=None if earliest is None else (earliest - event.onset).total_seconds(),
                alarms=len(own),
            )
        )
    return told


def _meet(one: frozenset[str], other: frozenset[str]) -> bool:
    return not one or not other or bool(one & other)


def quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that so much of all is not above; None of nothing.

    >>> quantile([3.0, 1.0, 2.0], 0.5), quantile([1.0, 2.0], 0.95), quantile([], 0.5)
    (2.0, 2.0, None)
    """
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)] if ranked else None


def alarm_minutes(alarms: Iterable[Alarm], until: datetime) -> float:
    """How long alarms stood, all together, in minutes."""
    return sum(((alarm.ended or until) - alarm.began).total_seconds() for alarm in alarms) / 60.0


def per_month(count: int, things: float, lasted_s: float) -> float | None:
    """So many a thing and month of 30 days; None where there was nothing or no time.

    >>> per_month(3, 10, 30 * 86_400.0)
    0.3
    """
    months = things * lasted_s / MONTH_S
    return count / months if months > 0.0 else None


# --- points ---


@dataclass(frozen=True, slots=True)
class Points:
    """Alarms against labels, row by row."""

    hits: int
    misses: int
    false: int
    quiet: int

    @property
    def f1(self) -> float:
        """2·hits over 2·hits + false + misses; 0 where nothing was to be found and nothing was."""
        return 2 * self.hits / max(1, 2 * self.hits + self.false + self.misses)

    @property
    def far(self) -> float:
        """False alarm rate: share of the healthy rows."""
        return self.false / max(1, self.false + self.quiet)

    @property
    def mar(self) -> float:
        """Missed alarm rate: share of the anomalous rows."""
        return self.misses / max(1, self.misses + self.hits)

    def __add__(self, other: Points) -> Points:
        return Points(
            self.hits + other.hits, self.misses + other.misses, self.false + other.false, self.quiet + other.quiet
        )


NO_POINTS = Points(0, 0, 0, 0)


def points(alarmed: Bools, labelled: Bools) -> Points:
    """Both by row, of one length.

    >>> points(np.array([True, True, False]), np.array([True, False, True]))
    Points(hits=1, misses=1, false=1, quiet=0)
    """
    return Points(
        int(np.count_nonzero(alarmed & labelled)),
        int(np.count_nonzero(~alarmed & labelled)),
        int(np.count_nonzero(alarmed & ~labelled)),
        int(np.count_nonzero(~alarmed & ~labelled)),
    )


@dataclass(frozen=True, slots=True)
class Spans:
    """Alarms against labels, run by run."""

    found: int
    events: int
    delays_s: tuple[float, ...]
    false: int
    """Runs of alarm that touch no label."""
    healthy_s: float

    @property
    def recall(self) -> float | None:
        """Share of the events that were found; None of none."""
        return self.found / self.events if self.events else None

    @property
    def false_per_hour(self) -> float | None:
        """Of healthy time; None where there was none."""
        return self.false * 3_600.0 / self.healthy_s if self.healthy_s > 0 else None

    def __add__(self, other: Spans) -> Spans:
        return Spans(
            self.found + other.found,
            self.events + other.events,
            self.delays_s + other.delays_s,
            self.false + other.false,
            self.healthy_s + other.healthy_s,
        )


NO_SPANS = Spans(0, 0, (), 0, 0.0)


def spans(alarmed: Bools, labelled: Bools, time_s: Floats) -> Spans:
    """An event is a run of labelled rows, found where an alarm stands in it. A run of alarm is false where none of its
    rows is labelled. time_s: ascending; a row lasts until the next one, the last one as long as the median.

    >>> spans(np.array([1, 0, 0, 1], bool), np.array([0, 0, 1, 1], bool), np.arange(4.0))
    Spans(found=1, events=1, delays_s=(1.0,), false=1, healthy_s=2.0)
    """
    steps = np.diff(time_s)
    lasts = np.append(steps, np.median(steps) if len(steps) else 0.0)
    found, delays = 0, []
    events = _runs(labelled)
    for begin, end in events:
        hits = np.flatnonzero(alarmed[begin:end])
        if len(hits):
            found += 1
            delays.append(float(time_s[begin + hits[0]] - time_s[begin]))
    false = sum(not labelled[begin:end].any() for begin, end in _runs(alarmed))
    return Spans(found, len(events), tuple(delays), false, float(lasts[~labelled].sum()))


def _runs(mask: Bools) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(begin), int(end)) for begin, end in zip(edges[::2], edges[1::2], strict=True)]


# --- the trivial ones ---


def always(rows: Floats) -> Bools:
    """Alarm at every row."""
    return np.ones(len(rows), np.bool_)


def never(rows: Floats) -> Bools:
    """Alarm at none."""
    return np.zeros(len(rows), np.bool_)


def clock(rows: Floats, after: int) -> Bools:
    """Alarm from a row on, whatever is in it: what position alone can tell."""
    return np.arange(len(rows)) >= after


def three_sigma(train: Floats, rows: Floats) -> Bools:
    """Alarm where any column is three standard deviations off its mean of training. [rows, columns]; NaN is none."""
    mean, sigma = _moments(train)
    with np.errstate(invalid="ignore"):
        far = np.abs(rows - mean) > 3.0 * sigma
    alarmed: Bools = np.any(far, axis=1)
    return alarmed


class Principal:
    """T² and Q of principal components, as the literature has them: components until 90 % of the variance of training
    rows, limits at a quantile of what training rows show. The reference that recordings are published with."""

    VARIANCE, QUANTILE = 0.9, 0.99

    def __init__(self, train: Floats) -> None:
        """train: [rows, columns]; rows with NaN are left out. Raises ValueError where fewer than two are left."""
        rows = train[~np.isnan(train).any(axis=1)]
        if len(rows) < 2:
            raise ValueError("principal components need two whole rows")
        self._mean, self._sigma = _moments(rows)
        _, size, axes = np.linalg.svd((rows - self._mean) / self._sigma, full_matrices=False)
        share = np.cumsum(size**2) / max(float((size**2).sum()), 1e-300)
        kept = min(int(np.searchsorted(share, self.VARIANCE)) + 1, len(size))
        self._axes, self._variance = axes[:kept], np.maximum(size[:kept] ** 2 / (len(rows) - 1), 1e-12)
        t2, q = self._measure(rows)
        self._t2, self._q = float(np.quantile(t2, self.QUANTILE)), float(np.quantile(q, self.QUANTILE))

    def _measure(self, rows: Floats) -> tuple[Floats, Floats]:
        scaled = (rows - self._mean) / self._sigma
        along = scaled @ self._axes.T
        t2: Floats = (along**2 / self._variance).sum(axis=1)
        q: Floats = ((scaled - along @ self._axes) ** 2).sum(axis=1)
        return t2, q

    def judge(self, rows: Floats) -> Bools:
        """Alarm where either is over its limit; NaN is no alarm."""
        t2, q = self._measure(rows)
        with np.errstate(invalid="ignore"):
            over: Bools = (t2 > self._t2) | (q > self._q)
        return over


def _moments(train: Floats) -> tuple[Floats, Floats]:
    known = ~np.isnan(train)
    number = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, train, 0.0).sum(axis=0) / number
    sigma = np.sqrt(np.where(known, (train - mean) ** 2, 0.0).sum(axis=0) / number)
    return mean, np.where(sigma > 0.0, sigma, np.inf)


def counts_by(outcomes: Iterable[Outcome]) -> Mapping[str, list[Outcome]]:
    """Outcomes by kind of event, in the order in which kinds come."""
    by: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by.setdefault(outcome.event.kind, []).append(outcome)
    return by

"""Backtest: what the detectors would have said of readings of the past, held against what is known of them.

Lives here: the command's work: opening the input, playing it back or scoring its rows, and what is printed, written and
drawn. Not here: the walk (playback.py), inputs (recorded.py, tables.py), figures (dcim.detect.scoring), which detectors
there are (build.py)."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl
from rich.console import Console
from rich.table import Table as Printed

from alerts.lifecycle import Transition
from alerts.rules import Ruleset
from dcim.app import tables
from dcim.app.garbage import settled
from dcim.app.judging import alarms_of, events_of, findings_of
from dcim.app.laying import Times
from dcim.app.playback import Played, even, play
from dcim.app.recorded import Recording
from dcim.app.three_sigma import ThreeSigma
from dcim.app.timeline import Bar, draw
from dcim.core.errors import Permanent, Transient
from dcim.core.plant import Plant
from dcim.core.ports import Detector, Sentinel, Vigil
from dcim.detect import scoring
from dcim.detect.scoring import Alarm, Event, Outcome, Points, Score

TICKS_MAX = 4_500
"""Where nobody says how far ticks are apart, there are no more of them than this: a month is looked at every ten
minutes."""
TICK_S_MIN = 10.0
CLOCK = timedelta(hours=1)
"""The trivial clock raises an alarm each time it strikes."""
PRINCIPAL = "T²+Q"
TRAIN_ROWS = 400
PREFIX_ROWS = (100, 1_000)
"""How many rows of healthy data go before each file, at random."""


class Judge(Protocol):
    """Says of rows whether something is wrong, from healthy rows alone. It is shown values: no time, no row number, no
    name of a file."""

    def __call__(self, train: pl.DataFrame, rows: pl.DataFrame, columns: Sequence[str]) -> npt.NDArray[np.bool_]:
        """By row of `rows`, which follow on `train`. Causal. Raises Permanent in words for what it cannot learn."""
        ...


@dataclass(frozen=True, slots=True)
class Watching:
    """Who looks, new for this run."""

    ruleset: Ruleset
    sentinels: Sequence[Sentinel]
    detectors: Sequence[Detector]
    vigils: Sequence[Vigil]

    def look(
        self,
        recording: Recording,
        start: datetime,
        ticks: Times,
        progress: Callable[[float], None] = lambda _: None,
        hear: Callable[[Sequence[Transition]], None] = lambda _: None,
    ) -> Played:
        """Everyone over a recording, from an instant on; see `play`."""
        return play(
            recording.stretches(),
            recording.plant,
            self.ruleset,
            sentinels=self.sentinels,
            detectors=self.detectors,
            vigils=self.vigils,
            start=start,
            ticks=ticks,
            progress=progress,
            hear=hear,
        )

    def answering(self) -> list[tuple[str, frozenset[str]]]:
        """Everyone's name, and the kinds of findings that they answer for."""
        told = [(one.name, one.kinds) for one in self.sentinels]
        told += [(one.name, one.kinds) for one in self.detectors]
        told += [(one.name, one.kinds) for one in self.vigils]
        return [(name, frozenset(str(kind) for kind in kinds)) for name, kinds in told]


@dataclass(slots=True)
class Line:
    """One line of the answer."""

    name: str
    events: int | None = None
    found: int | None = None
    delays_s: list[float] = field(default_factory=list)
    false: int = 0
    per_rack_month: float | None = None
    per_hour: float | None = None
    minutes: float | None = None
    points: Points | None = None
    healthy_h: float = 0.0
    """Hours without a label, where rows are judged."""

    def told(self) -> dict[str, Any]:
        """As data."""
        return {
            "name": self.name,
            "events": self.events,
            "found": self.found,
            "missed": None if self.events is None or self.found is None else self.events - self.found,
            "delay_median_s": scoring.quantile(self.delays_s, 0.5),
            "delay_p95_s": scoring.quantile(self.delays_s, 0.95),
            "false_alarms": self.false,
            "false_per_rack_month": self.per_rack_month,
            "false_per_hour": self.per_hour,
            "alarm_minutes": self.minutes,
            "f1": None if self.points is None else self.points.f1,
            "far": None if self.points is None else self.points.far,
            "mar": None if self.points is None else self.points.mar,
        }


@dataclass(slots=True)
class Answer:
    """What a backtest found."""

    title: str
    start: datetime
    end: datetime
    lines: list[Line] = field(default_factory=list)
    kinds: list[dict[str, Any]] = field(default_factory=list)
    """By kind of event, where the truth is known."""
    alarms: list[dict[str, Any]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """What people ought to know about the input and the figures."""
    uncertain: bool = False
    picture: str = ""
    """SVG."""

    def told_all(self) -> dict[str, Any]:
        """As data, for --json."""
        return {
            "title": self.title,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "quality": "uncertain" if self.uncertain else "good",
            "told": self.told,
            "detectors": [line.told() for line in self.lines],
            "kinds": self.kinds,
            "alarms": self.alarms,
        }


# --- plants ---


def ticks_over(recording: Recording, stride_s: float | None) -> tuple[Times, float]:
    """The ticks of a recording, and how many seconds they are apart: as said, or by the span where nobody says. Raises
    Permanent where there are none."""
    span_s = (recording.end - recording.start).total_seconds()
    if stride_s is None:
        stride_s = max(TICK_S_MIN, recording.pace_s, 10.0 * math.ceil(span_s / TICKS_MAX / 10.0))
    ticks = even(recording.start, recording.end, stride_s)
    if not len(ticks):
        raise Permanent(
            f"lasts {span_s:g} s, less than the {stride_s:g} s from tick to tick",
            where=recording.title,
            todo="Say a shorter --stride.",
        )
    return ticks, stride_s


def run_plant(
    recording: Recording,
    watching: Watching,
    *,
    stride_s: float | None = None,
    counts_from: datetime | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> Answer:
    """Plays a recording back and judges it. counts_from: alarms before are not counted, nor events that began before.
    stride_s: time between two ticks; chosen by the span where nobody says."""
    ticks, stride_s = ticks_over(recording, stride_s)
    since = counts_from or recording.start
    plain = ThreeSigma(recording, ticks, since)
    known = recording.truth is not None
    shown = replace(recording, stretches=lambda: plain.beside(recording.stretches())) if known else recording
    with settled():
        played = watching.look(shown, recording.start, ticks, progress)
    answer = Answer(recording.title, since, recording.end)
    answer.told.append(
        f"{played.rows} readings of {len(recording.plant.points)} points; a tick every {stride_s:g} s, "
        f"{played.looks} looks of detectors"
    )
    alarms = [one for one in alarms_of(played.alarms, recording.plant) if one.began >= since]
    seen = [one for one in findings_of(played.findings, recording.plant) if one.began >= since]
    events = [] if recording.truth is None else events_of(recording.truth, recording.plant)
    events = [event for event in events if event.onset >= since]
    if not known:
        answer.told.append("nobody says what really happened: alarms are listed, and none is called false")
    racks = max(1, sum(asset.kind == "Rack" for asset in recording.plant.assets.values()))
    lasted_s = (recording.end - since).total_seconds()
    told = scoring.score(events, alarms)
    _by_detector(answer, watching, told, alarms, racks, lasted_s, known=known)
    if known:
        _by_kind(answer, told, scoring.score(events, seen))
        _trivial(answer, recording, events, plain, since, racks)
    blind = sorted(str(kind) for kind, share in played.cannot_tell.items() if share > 0.99)
    if blind:
        answer.told.append(f"never judged everywhere, for want of readings or of norms: {', '.join(blind)}")
    answer.alarms = _listed(played, told, since)
    answer.picture = _plant_picture(answer, events, told, alarms)
    return answer


def _by_detector(
    answer: Answer,
    watching: Watching,
    told: Score,
    alarms: Sequence[Alarm],
    racks: int,
    lasted_s: float,
    *,
    known: bool,
) -> None:
    def line(name: str, outcomes: Sequence[Outcome], own: Sequence[Alarm], false: Sequence[Alarm]) -> Line:
        found = [outcome for outcome in outcomes if outcome.found]
        return Line(
            name,
            events=len(outcomes) if known else None,
            found=len(found) if known else None,
            delays_s=[outcome.delay_s for outcome in found if outcome.delay_s is not None],
            false=len(false) if known else 0,
            per_rack_month=scoring.per_month(len(false), racks, lasted_s) if known else None,
            per_hour=len(false) * 3_600.0 / lasted_s if known and lasted_s else None,
            minutes=scoring.alarm_minutes(own, answer.end),
        )

    events = [outcome.event for outcome in told.outcomes]
    for name, kinds in watching.answering():
        own = [alarm for alarm in alarms if alarm.kind in kinds]
        outcomes = scoring.score([event for event in events if event.names & kinds], own).outcomes
        false = [alarm for alarm in told.false if alarm.kind in kinds]
        answer.lines.append(line(name, outcomes, own, false))
    answer.lines.append(line("all together", told.outcomes, alarms, told.false))


def _by_kind(answer: Answer, told: Score, seen: Score) -> None:
    findings = scoring.counts_by(seen.outcomes)
    for kind, outcomes in scoring.counts_by(told.outcomes).items():
        found = [outcome for outcome in outcomes if outcome.found]
        delays = [outcome.delay_s for outcome in found if outcome.delay_s is not None]
        answer.kinds.append(
            {
                "kind": kind,
                "events": len(outcomes),
                "found": len(found),
                "named": sum(outcome.named for outcome in outcomes),
                "at_the_place": sum(outcome.exact for outcome in found),
                "delay_median_s": scoring.quantile(delays, 0.5),
                "delay_p95_s": scoring.quantile(delays, 0.95),
                "found_before_any_delay": sum(outcome.found for outcome in findings.get(kind, [])),
            }
        )


def _trivial(
    answer: Answer, recording: Recording, events: Sequence[Event], plain: ThreeSigma, since: datetime, racks: int
) -> None:
    """What needs no detector, on the same recording."""
    nameless = [Event(event.kind, event.place, event.harmful, event.onset, event.end, event.scope) for event in events]
    harmful = [event for event in nameless if event.harmful]
    lasted_s = (answer.end - since).total_seconds()
    answer.lines.append(Line("always", len(harmful), len(harmful), [0.0] * len(harmful), racks, None, None,
                             racks * lasted_s / 60.0))  # fmt: skip
    answer.lines.append(Line("never", len(harmful), 0, [], 0, 0.0, 0.0, 0.0))
    strikes = [since + number * CLOCK for number in range(1, int(lasted_s // CLOCK.total_seconds()) + 1)]
    clock = [Alarm("clock", "", at, at + timedelta(minutes=1)) for at in strikes]
    for name, alarms in (("clock", clock), ("3 sigma", _three_sigma(plain, recording))):
        told = scoring.score(nameless, alarms, timedelta(0))
        found = [outcome for outcome in told.outcomes if outcome.found]
        answer.lines.append(
            Line(
                name,
                len(told.outcomes),
                len(found),
                [outcome.delay_s for outcome in found if outcome.delay_s is not None],
                len(told.false),
                scoring.per_month(len(told.false), racks, lasted_s),
                len(told.false) * 3_600.0 / lasted_s if lasted_s else None,
                scoring.alarm_minutes(alarms, answer.end),
            )
        )


def _three_sigma(plain: ThreeSigma, recording: Recording) -> list[Alarm]:
    scopes = {one.place: one.scope for one in _at_assets(plain.names, recording.plant, recording.start)}
    return [Alarm("3 sigma", name, began, ended, scopes[name]) for name, began, ended in plain.spans()]


def _at_assets(names: Sequence[str], plant: Plant, at: datetime) -> list[Event]:
    table = pl.DataFrame(
        {"kind": "", "place": names, "harmful": True, "onset": at, "detectable": at, "end": at},
        strict=False,
    ).with_columns(severity=None, severity_unit=pl.lit(""))
    return events_of(table, plant)


def _listed(played: Played, told: Score, since: datetime) -> list[dict[str, Any]]:
    false = {(alarm.kind, alarm.place, alarm.began) for alarm in told.false}
    return [
        {
            "rule": one.rule,
            "kind": str(one.kind),
            "asset": one.subject.asset,
            "qualifier": one.subject.qualifier,
            "priority": one.priority.name.lower(),
            "began": one.began.isoformat(),
            "ended": None if one.ended is None else one.ended.isoformat(),
            "summary": one.summary,
            "false": (str(one.kind), one.subject.asset, one.began) in false,
        }
        for one in played.alarms
        if one.began >= since
    ]


def _plant_picture(answer: Answer, events: Sequence[Event], told: Score, alarms: Sequence[Alarm]) -> str:
    bars = [
        Bar(
            "what really happened" if event.harmful else "no fault",
            event.onset,
            event.end,
            "truth" if event.harmful else "harmless",
            f"{event.kind} at {event.place}, {event.onset:%m-%d %H:%M}",
        )
        for event in sorted(events, key=lambda event: (not event.harmful, event.onset))
    ]
    false = {id(alarm) for alarm in told.false}
    misnamed = {id(alarm) for alarm, _ in told.misnamed}
    for alarm in sorted(alarms, key=lambda alarm: (alarm.kind, alarm.began)):
        colour = "false" if id(alarm) in false and events else "other" if id(alarm) in misnamed else "hit"
        title = f"{alarm.kind} at {alarm.place}, {alarm.began:%m-%d %H:%M:%S}"
        bars.append(Bar(alarm.kind, alarm.began, alarm.ended or answer.end, colour, title))
    return draw(answer.title, bars, answer.start, answer.end)


# --- tables ---


def run_tables(
    files: Sequence[Path],
    judge: Judge,
    name: str,
    how: tables.Mapping,
    *,
    columns: Sequence[str] = (),
    labels: str | None = None,
    train_rows: int = TRAIN_ROWS,
    train_until: datetime | None = None,
    prefix: bool = False,
    seed: int = 1,
    progress: Callable[[float], None] = lambda _: None,
) -> Answer:
    """Trains on the first rows of each file, healthy by declaration, and judges the rest. prefix: so many healthy rows
    as chance will have it, taken from the training rows, are put between the two and are scored with the rest, so that
    position tells nothing. Raises Permanent for what cannot be read or learned."""
    dice = np.random.default_rng(seed)
    parts: list[_Part] = []
    told: list[str] = []
    uncertain = False
    for number, file in enumerate(files):
        table = tables.read(file, how)
        uncertain |= table.uncertain
        told += [f"{file.name}: {words}" for words in table.told]
        kept, left = tables.columns_of(table, columns, _like_labels(table, labels))
        told += [f"{file.name}: {words}" for words in left]
        parts.append(_part(table, kept, labels, train_rows, train_until, dice if prefix else None))
        progress((number + 0.1) / len(files))
    answer = Answer(
        f"{files[0] if len(files) == 1 else f'{len(files)} files of {files[0].parent.name}'}",
        min(part.start for part in parts),
        max(part.end for part in parts),
        told=told,
        uncertain=uncertain,
    )
    labelled = labels is not None
    alarmed: dict[str, list[npt.NDArray[np.bool_]]] = {}
    after = _best_clock(parts) if labelled else 0
    for number, part in enumerate(parts):
        train, rows = _matrix(part.train, part.columns), _matrix(part.rows, part.columns)
        alarmed.setdefault(name, []).append(judge(part.train, part.rows, part.columns))
        if name != PRINCIPAL:
            with contextlib.suppress(ValueError):  # too little to learn from: then there is no such line
                alarmed.setdefault(PRINCIPAL, []).append(scoring.Principal(train).judge(rows))
        alarmed.setdefault("3 sigma", []).append(scoring.three_sigma(train, rows))
        alarmed.setdefault("always", []).append(scoring.always(rows))
        alarmed.setdefault("never", []).append(scoring.never(rows))
        if labelled:
            alarmed.setdefault("clock", []).append(scoring.clock(rows, after))
        progress((number + 1.0) / len(parts))
    for one, masks in alarmed.items():
        if len(masks) == len(parts):
            answer.lines.append(_table_line(one, masks, parts, labelled=labelled))
    if labelled and not prefix:
        answer.told.append("a clock that knows when anomalies usually begin is among the lines: see --prefix random")
    answer.picture = _table_picture(answer, name, parts, alarmed[name])
    return answer


@dataclass(frozen=True, slots=True)
class _Part:
    """One file, cut."""

    name: str
    columns: list[str]
    train: pl.DataFrame
    rows: pl.DataFrame
    labelled: npt.NDArray[np.bool_]
    time_s: npt.NDArray[np.float64]
    start: datetime
    end: datetime


def _matrix(frame: pl.DataFrame, columns: Sequence[str]) -> npt.NDArray[np.float64]:
    """[rows, columns], NaN where missing."""
    values: npt.NDArray[np.float64] = frame.select(
        pl.col(list(columns)).cast(pl.Float64).fill_null(float("nan"))
    ).to_numpy()
    return values


def _part(
    table: tables.Table,
    columns: list[str],
    labels: str | None,
    train_rows: int,
    train_until: datetime | None,
    dice: np.random.Generator | None,
) -> _Part:
    frame = table.frame
    cut = train_rows
    if train_until is not None:
        cut = int((frame[table.time] < train_until).sum())
    if not 1 <= cut < frame.height:
        raise Permanent(
            f"has {frame.height} rows, and {cut} of them are to train on",
            where=str(table.file),
            todo="Say --train-rows or --train-until so that both parts have rows.",
        )
    train, rows = frame[:cut], frame[cut:]
    marked = np.zeros(rows.height, np.bool_)
    if labels is not None:
        if labels not in frame.columns:
            raise Permanent(f"has no column {labels}", where=str(table.file), todo="Correct --labels.")
        if not (frame[labels].dtype.is_numeric() or frame[labels].dtype == pl.Boolean):
            raise Permanent(f"column {labels} holds no labels", where=str(table.file), todo="Labels are 0 and 1.")
        marked = rows[labels].cast(pl.Float64).fill_null(0.0).to_numpy() > 0.5
    if dice is not None:
        more = int(dice.integers(PREFIX_ROWS[0], PREFIX_ROWS[1] + 1))
        at = _wander(cut, more)
        rows = pl.concat([train[at.tolist()], rows])
        marked = np.concatenate([np.zeros(more, np.bool_), marked])
    time_s: npt.NDArray[np.float64] = table.seconds[cut:]
    if dice is not None:
        time_s = np.arange(rows.height, dtype=np.float64) * table.step_s
    return _Part(
        table.file.name,
        columns,
        train,
        rows,
        marked,
        time_s,
        frame[table.time][cut],
        frame[table.time][-1],
    )


def _wander(length: int, more: int) -> npt.NDArray[np.intp]:
    """Row numbers below length that go forth and back without a jump and end at the last one: healthy rows for as long
    as one wants, that lead over to what follows."""
    back = np.arange(length)[::-1]
    forth = np.arange(length)
    turn = np.concatenate([back, forth])
    turns = np.tile(turn, math.ceil(more / len(turn)) + 1)
    found: npt.NDArray[np.intp] = turns[len(turns) - more :]
    return found


def _like_labels(table: tables.Table, labels: str | None) -> list[str]:
    """Columns that tell the answer are never looked at."""
    known = {"anomaly", "changepoint", "label", "labels", "is_anomaly"}
    return [name for name in table.frame.columns if name == labels or (labels and name.casefold() in known)]


def _best_clock(parts: Sequence[_Part]) -> int:
    """The row from which on an alarm scores best over all files: what position alone gives away."""
    longest = max(len(part.labelled) for part in parts)
    tried = range(0, longest, max(1, longest // 200))

    def f1(after: int) -> float:
        total = scoring.NO_POINTS
        for part in parts:
            total += scoring.points(scoring.clock(np.zeros((len(part.labelled), 1)), after), part.labelled)
        return total.f1

    return max(tried, key=f1)


def _table_line(name: str, masks: Sequence[npt.NDArray[np.bool_]], parts: Sequence[_Part], *, labelled: bool) -> Line:
    total, runs = scoring.NO_POINTS, scoring.NO_SPANS
    minutes = 0.0
    for mask, part in zip(masks, parts, strict=True):
        total += scoring.points(mask, part.labelled)
        runs += scoring.spans(mask, part.labelled, part.time_s)
        steps = np.diff(part.time_s)
        minutes += float(np.count_nonzero(mask) * (np.median(steps) if len(steps) else 0.0)) / 60.0
    if not labelled:
        return Line(name, false=0, minutes=minutes)
    return Line(
        name, runs.events, runs.found, list(runs.delays_s), runs.false, None, runs.false_per_hour, minutes, total,
        runs.healthy_s / 3_600.0,
    )  # fmt: skip


def _table_picture(answer: Answer, name: str, parts: Sequence[_Part], masks: Sequence[npt.NDArray[np.bool_]]) -> str:
    start = answer.start
    longest = max(float(part.time_s[-1] - part.time_s[0]) for part in parts)
    bars = []
    for part, mask in zip(parts, masks, strict=True):
        for words, what in (("labelled", part.labelled), (name, mask)):
            edges = np.flatnonzero(np.diff(np.concatenate([[False], what, [False]]).astype(np.int8)))
            for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
                hit = "truth" if what is part.labelled else "hit" if part.labelled[begin:end].any() else "false"
                first = start + timedelta(seconds=float(part.time_s[begin] - part.time_s[0]))
                last = start + timedelta(seconds=float(part.time_s[end - 1] - part.time_s[0]) + 1.0)
                bars.append(Bar(f"{part.name} {words}", first, last, hit, f"{words}, rows {begin} to {end}"))
    return draw(answer.title, bars, start, start + timedelta(seconds=longest))


# --- telling ---


def tell(answer: Answer, console: Console) -> None:
    """Prints it."""
    console.print(f"{answer.title}: {answer.start:%Y-%m-%d %H:%M} to {answer.end:%Y-%m-%d %H:%M} UTC", highlight=False)
    for words in answer.told:
        console.print(f"  {words}", highlight=False)
    if answer.uncertain:
        console.print("  quality: uncertain", highlight=False)
    printed = Printed(box=None, pad_edge=False)
    heads = ("", "found", "missed", "median", "p95", "false", "/rack-month", "/h", "alarm min", "F1", "FAR %", "MAR %")
    for head in heads:
        printed.add_column(head, justify="left" if not head else "right")
    for line in answer.lines:
        told = line.told()
        printed.add_row(
            line.name,
            "–" if line.events is None else f"{line.found}/{line.events}",
            _number(told["missed"], "{:.0f}"),
            _seconds(told["delay_median_s"]),
            _seconds(told["delay_p95_s"]),
            f"{line.false}" if line.events is not None else "–",
            _number(line.per_rack_month, "{:.2f}"),
            _number(line.per_hour, "{:.2f}"),
            _number(line.minutes, "{:.0f}"),
            _number(told["f1"], "{:.2f}"),
            _number(told["far"], "{:.1%}").rstrip("%"),
            _number(told["mar"], "{:.1%}").rstrip("%"),
        )
    console.print(printed)
    if answer.kinds:
        by_kind = Printed(box=None, pad_edge=False)
        for head in ("kind", "found", "named", "at the place", "median", "p95"):
            by_kind.add_column(head, justify="left" if head == "kind" else "right")
        for one in answer.kinds:
            by_kind.add_row(
                one["kind"], f"{one['found']}/{one['events']}", str(one["named"]), str(one["at_the_place"]),
                _seconds(one["delay_median_s"]), _seconds(one["delay_p95_s"]),
            )  # fmt: skip
        console.print(by_kind)


def write(text: str, file: Path) -> None:
    """Raises Transient where it cannot be written."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Transient(
            f"cannot be written: {error}", where=str(file), todo="Check the path and its rights."
        ) from error


def dumped(answer: Answer) -> str:
    """JSON."""
    return json.dumps(answer.told_all(), indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f} s" if value < 600 else f"{value / 60:.0f} min" if value < 36_000 else f"{value / 3600:.1f} h"

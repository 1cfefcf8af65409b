"""Alarm load: what alarms a rule set would have made of readings of the past, in the figures of EEMUA 191; several rule
sets side by side.

The service's own detectors, engine and rules see the readings in their order, and nothing that came later. Whoever
watches acknowledges at once, so there is nothing to say of acknowledging and shelving.

Lives here: the command's work, and what is printed. Not here: inputs (inputs.py), the walk (playback.py), what the
figures mean (alerts.kpis, kpis.py), logs of other systems (kpis.py)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from alerts import kpis as figures
from alerts import rules
from alerts.lifecycle import Change, Transition
from alerts.rules import Ruleset
from dcim.app import inputs, kpis, recorded
from dcim.app.backtest import ticks_over
from dcim.app.build import rules_of, watching
from dcim.app.kpis import KpisBody
from dcim.app.norms import NormsFile
from dcim.app.playback import Raised
from dcim.app.progress import shown
from dcim.app.recorded import Recording
from dcim.app.settings import load
from dcim.core.errors import Permanent

SHIPPED = "shipped"
"""The name of the rules that come with the product."""
SETS_MAX = 4
LISTED = 50
"""Alarms of each rule set that are printed; --json has all."""
MEANINGLESS = frozenset({"acknowledging", "shelved", "shelved_total"})
"""Figures of what people do: nobody did anything."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says."""

    input: Path | None
    config: Path | None = None
    from_store: bool = False
    rules: Sequence[str] = ()
    """Files, or SHIPPED. None: those of the settings of a store, else the shipped ones."""
    since: str | None = None
    until: str | None = None
    norms: Path | None = None
    stride_s: float | None = None
    operators: int = 1


@dataclass(frozen=True, slots=True)
class Made:
    """What one rule set made of it."""

    name: str
    rules: int
    kpis: KpisBody
    hidden: int
    """Alarms that began hidden by design, and are no load."""
    alarms: Sequence[Raised]
    """Those that were raised in the period, in order."""

    @property
    def by_rule(self) -> Counter[str]:
        """How often each rule raised one."""
        return Counter(alarm.rule for alarm in self.alarms)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it."""

    title: str
    start: datetime
    end: datetime
    made: Sequence[Made]
    told: Sequence[str]
    """What people ought to know of the input and the figures."""


@dataclass(slots=True)
class _Heard:
    """The log of a walk, and what was hidden meanwhile."""

    parts: list[pl.DataFrame] = field(default_factory=lambda: [figures.LOG.to_frame()])
    hidden: list[datetime] = field(default_factory=list)

    def take(self, transitions: Sequence[Transition]) -> None:
        """What happened just now."""
        if transitions:
            self.parts.append(figures.of_transitions(transitions))
            self.hidden += [made.at for made in transitions if made.change is Change.SUPPRESSED]


def run(asked: Asked) -> Answer:
    """Plays it back once for each rule set. Raises Permanent and Transient, in one line."""
    since, until = inputs.instant(asked.since, "--since"), inputs.instant(asked.until, "--until")
    if len(asked.rules) > SETS_MAX:
        raise Permanent(f"{len(asked.rules)} rule sets are too many", where="--rules", todo=f"Give {SETS_MAX} at most.")
    if asked.from_store:
        if asked.config is None:
            raise Permanent("nobody says which store", where="--from-store", todo="Give the settings by --config.")
        settings = load(asked.config)
        own = [(settings.alarms.rules.name if settings.alarms.rules else SHIPPED, rules_of(settings))]
        sets = _sets(asked.rules) or own
        with inputs.history(settings, str(asked.config), since, until) as recording:
            return _answer(asked, recording, sets, recording.start, recording.end, [])
    if asked.input is None:
        raise Permanent("nobody says of what", where="INPUT", todo="Give a recording or a table, or --from-store.")
    sets = _sets(asked.rules) or [(SHIPPED, rules.default())]
    recording, told = _of_file(asked.input, asked.config)
    start, end = since or recording.start, until or recording.end
    if not recording.start <= start < end <= recording.end:
        raise Permanent(
            f"reaches from {recording.start:%Y-%m-%dT%H:%M:%SZ} to {recording.end:%Y-%m-%dT%H:%M:%SZ}",
            where=recording.title,
            todo="Choose --since and --until within it.",
        )
    return _answer(asked, recording, sets, start, end, told)


def _sets(names: Sequence[str]) -> list[tuple[str, Ruleset]]:
    return [(name, rules.default() if name == SHIPPED else rules.load(Path(name))) for name in names]


def _of_file(source: Path, config: Path | None) -> tuple[Recording, list[str]]:
    if inputs.is_recording(source):
        return recorded.simulated(source), []
    how = inputs.mapping(config)
    if not how.points:
        raise Permanent(
            "does not say which column is which point",
            where=str(source),
            todo="Give a mapping by --config; for a log of alarms, --log.",
        )
    recording, table = inputs.table(source, how)
    return recording, list(table.told)


def _answer(
    asked: Asked,
    recording: Recording,
    sets: Sequence[tuple[str, Ruleset]],
    start: datetime,
    end: datetime,
    told: Sequence[str],
) -> Answer:
    ticks, stride_s = ticks_over(recording, asked.stride_s)
    known = NormsFile(asked.norms).load() if asked.norms is not None else {}
    made: list[Made] = []
    rows = 0
    for number, (name, ruleset) in enumerate(sets, 1):
        heard = _Heard()
        words = name if len(sets) == 1 else f"{name}, {number} of {len(sets)}"
        with shown(words) as progress:
            # Who looks is new for each rule set: what one learns must not be known to the next.
            look = watching(ruleset, recording, known).look
            played = look(recording, recording.start, ticks, progress, heard.take)
        rows = played.rows
        made.append(
            Made(
                name,
                len(ruleset.rules),
                kpis.report(pl.concat(heard.parts), start, end, asked.operators),
                sum(start <= at < end for at in heard.hidden),
                [alarm for alarm in played.alarms if start <= alarm.began < end],
            )
        )
    coarse = "what comes and goes between two of them is seen only by what looks on arrival"
    read = f"{rows} readings of {len(recording.plant.points)} points; a tick every {stride_s:g} s: {coarse}"
    notes = [read, *told]
    if (end - start).days < 30:
        notes.append("less than the 30 days over which alarm systems are judged")
    return Answer(recording.title, start, end, made, notes)


# --- telling ---


def words(answer: Answer) -> list[str]:
    """Lines for a terminal."""
    lines = [f"{answer.title}: {answer.start:%Y-%m-%d %H:%M} to {answer.end:%Y-%m-%d %H:%M} UTC"]
    lines += [f"  {note}" for note in answer.told]
    lines += ["", *_side_by_side(answer.made)]
    for made in answer.made:
        lines += ["", f"alarms under {made.name}: {len(made.alarms)}"]
        lines += [_line(alarm) for alarm in made.alarms[:LISTED]]
        if len(made.alarms) > LISTED:
            lines.append(f"  and {len(made.alarms) - LISTED} more: --json has them all")
    return [kpis.plain(line) for line in lines]


def dumped(answer: Answer) -> str:
    """JSON: every figure and every alarm."""
    told = {
        "title": answer.title,
        "start": answer.start.isoformat(),
        "end": answer.end.isoformat(),
        "told": list(answer.told),
        "rule_sets": [_told(made) for made in answer.made],
    }
    return json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False)


FIGURES: Sequence[tuple[str, Callable[[Made], str]]] = (
    ("rules", lambda made: str(made.rules)),
    ("alarms", lambda made: str(made.kpis.load.alarms)),
    ("  a day", lambda made: f"{made.kpis.load.per_day:.1f}"),
    ("  an hour", lambda made: f"{made.kpis.load.per_hour:.2f}"),
    ("  ten minutes", lambda made: f"{made.kpis.load.per_10min:.3f}"),
    ("  most in a day", lambda made: f"{made.kpis.load.peak_day:g}"),
    ("  most in an hour", lambda made: f"{made.kpis.load.peak_hour:g}"),
    ("  most in ten minutes", lambda made: f"{made.kpis.load.peak_10min:g}"),
    ("windows over ten", lambda made: f"{made.kpis.load.windows_over_ten} of {made.kpis.load.windows}"),
    ("floods", lambda made: f"{made.kpis.floods_total}, {made.kpis.flood_share:.2%}"),
    ("standing at the end", lambda made: str(made.kpis.standing_total)),
    ("  for more than a day", lambda made: str(made.kpis.stale_total)),
    ("tags that chatter", lambda made: str(made.kpis.chattering_total)),
    ("cleared within 60 s", lambda made: _share(made.kpis.fleeting_share)),
    ("ten worst tags", lambda made: _share(made.kpis.bad_actors[-1].running if made.kpis.bad_actors else None)),
    ("low and medium", lambda made: _priorities(made, 3, 4)),
    ("high", lambda made: _priorities(made, 2)),
    ("critical", lambda made: _priorities(made, 1)),
    ("hidden by design", lambda made: str(made.hidden)),
)
"""What is shown of each rule set."""


def _side_by_side(made: Sequence[Made]) -> list[str]:
    width = max(14, *(len(one.name) + 2 for one in made))
    lines = [f"{'':28}" + "".join(f"{one.name:>{width}}" for one in made)]
    lines += [f"{name:28}" + "".join(f"{show(one):>{width}}" for one in made) for name, show in FIGURES]
    counts = [one.by_rule for one in made]
    by_load = sorted(set().union(*counts), key=lambda rule: (-max(count[rule] for count in counts), rule))
    if by_load:
        lines += ["", "alarms by rule"]
        longest = max(28, *(len(rule) + 2 for rule in by_load))
        lines += [f"{rule:{longest}}" + "".join(f"{count[rule]:>{width}}" for count in counts) for rule in by_load]
    for one in made:
        if one.kpis.bad_actors:
            lines += ["", f"bad actors under {one.name}"]
            lines += [f"{actor.alarms:>7} {actor.share:>6.1%}  {actor.tag}" for actor in one.kpis.bad_actors]
    return lines


def _line(alarm: Raised) -> str:
    ended = "stands" if alarm.ended is None else f"{(alarm.ended - alarm.began).total_seconds():.0f} s"
    qualifier = alarm.subject.qualifier.removeprefix(f"{alarm.rule}|")
    where = " ".join(part for part in (alarm.subject.asset, qualifier) if part)
    return f"  {alarm.began:%Y-%m-%d %H:%M:%S} {alarm.priority.word:9}{ended:>9}  {alarm.rule} {where}: {alarm.summary}"


def _told(made: Made) -> dict[str, Any]:
    return {
        "rules": made.name,
        "kpis": made.kpis.model_dump(mode="json", exclude=set(MEANINGLESS)),
        "hidden": made.hidden,
        "by_rule": dict(made.by_rule.most_common()),
        "alarms": [
            {
                "rule": alarm.rule,
                "kind": str(alarm.kind),
                "site": alarm.subject.site,
                "asset": alarm.subject.asset,
                "qualifier": alarm.subject.qualifier,
                "priority": alarm.priority.word,
                "began": alarm.began.isoformat(),
                "ended": None if alarm.ended is None else alarm.ended.isoformat(),
                "summary": alarm.summary,
            }
            for alarm in made.alarms
        ],
    }


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _priorities(made: Made, *wanted: int) -> str:
    return f"{sum(one.share for one in made.kpis.priorities if one.priority in wanted):.1%}"

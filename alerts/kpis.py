"""How well an alarm system works: the figures of EEMUA 191 and ISA-18.2, from a log of what people were shown.

A *log* is a frame of LOG's columns, in any order: one row for each time that an alarm was raised, cleared,
acknowledged, shelved or taken off the shelf. A row that is there twice counts twice, until `deduplicated` has been
asked: what an operator is shown twice is load. A *spell* is one time that a tag stood: from the first raise to the
next clear, raises between them included. Windows are `[start, end)`.

Lives here: pure functions from frames to frames and figures, and what duplicates, delays and deadbands made of them.
Not here: where a log comes from (journal.py, dcim.app.kpis), advice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice

import polars as pl

from alerts.lifecycle import HIDDEN, Change, State, Transition
from dcim.core.times import to_us

TIME = pl.Datetime("us", "UTC")
LOG = pl.Schema(
    {
        "time": TIME,
        "tag": pl.String(),
        "priority": pl.Int8(),
        "event": pl.String(),
        "who": pl.String(),
        "note": pl.String(),
        "until": TIME,
    }
)
"""tag: what identifies the alarm. priority: 1 the most urgent, null where the log has none. event: of `Event`.
who, note, until: of acknowledging and shelving; may be null."""

WINDOW = timedelta(minutes=10)
"""In which the standards count."""
FLOOD_BEGINS, FLOOD_ENDS = 10, 5
"""Alarms per operator within the ten minutes before: a flood begins with more, and ends with fewer (ISA-18.2)."""
STALE = timedelta(hours=24)
CHATTER_TIMES, CHATTER_WITHIN = 3, timedelta(minutes=1)
"""Raised so often in that time, an alarm chatters."""
FLEETING = timedelta(seconds=60)
"""Cleared within that, before anybody could have done something."""
BAD_ACTORS = 10


class Event(StrEnum):
    """What a row of a log says. A closed list."""

    __hash__ = str.__hash__
    RAISED = "raised"
    CLEARED = "cleared"
    ACKNOWLEDGED = "acknowledged"
    SHELVED = "shelved"
    UNSHELVED = "unshelved"
    """Also where it ends because somebody took the alarm out of service or closed it."""


@dataclass(frozen=True, slots=True)
class Load:
    """How many alarms, for one operator."""

    alarms: int
    """Of all operators together."""
    per_day: float
    per_hour: float
    per_10min: float
    peak_day: float
    peak_hour: float
    peak_10min: float
    """The fullest day, hour and ten minutes of the calendar, in UTC."""
    windows: int
    """Ten minutes of the calendar that the period touches."""
    windows_over_ten: int
    """Of these, with more than ten alarms for each operator."""


@dataclass(frozen=True, slots=True)
class Waits:
    """How long acknowledgements took, in seconds; None where there was none."""

    acknowledged: int
    median_s: float | None
    p95_s: float | None
    longest_s: float | None
    never: int
    """Spells that began in the period and were not acknowledged by its end, cleared or not."""


@dataclass(frozen=True, slots=True)
class Lateness:
    """What delays would have cost: what became of the spells that somebody could have acted on, those that were not
    cleared within FLEETING."""

    real: int
    """All of them."""
    late: int
    """Told later than they were."""
    late_median_s: float | None
    late_longest_s: float | None
    """Of these, how much later; None where there are none."""
    lost: int
    """Never told, though they lasted that long."""


def of_transitions(changes: Iterable[Transition]) -> pl.DataFrame:
    """The log of the journal's rows, in their order: what people were shown.

    Raised is what came up to be acknowledged: activations, and what came back from a shelf or into service still
    standing. Not what was hidden or put aside meanwhile; not escalations and reminders, which are of the same alarm.
    """
    rows = (row for change in changes for row in _rows(change))
    parts = [LOG.to_frame()]
    while part := list(islice(rows, _PIECE)):
        parts.append(pl.DataFrame(part, schema=LOG, orient="row"))
    return pl.concat(parts)


def deduplicated(log: pl.DataFrame) -> pl.DataFrame:
    """The log without rows that say what another row says of the same tag at the same instant."""
    return log.unique(["time", "tag", "event"], keep="first", maintain_order=True)


def delayed(log: pl.DataFrame, on_delay: timedelta, off_delay: timedelta, end: datetime) -> pl.DataFrame:
    """The raises and clears that the log would have had under these delays, as lifecycle.step applies them.

    on_delay: a tag must stand that long without a break to be raised. off_delay: it must be gone that long to be
    cleared. end: where the log ends: delays that had not run out then have no effect. What people did is left out.
    """
    told = pl.lit(end).cast(TIME)
    runs = (
        _runs(log, on_delay, off_delay, end)
        .group_by("tag", "run", maintain_order=True)
        .agg(
            pl.col("priority").filter("lasting").first(),
            raised=pl.col("start").filter("lasting").first() + on_delay,
            cleared=pl.when(pl.col("cleared").null_count() == 0).then(pl.col("cleared").max() + off_delay),
        )
        .drop_nulls("raised")
    )
    turns = runs.select(  # of one tag in their order, which those at one instant keep
        "tag",
        "priority",
        time=pl.concat_list("raised", "cleared"),
        event=pl.lit([Event.RAISED.value, Event.CLEARED.value], pl.List(pl.String)),
    ).explode("time", "event")
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in LOG.items() if name not in turns.columns]
    return _sorted(turns.filter(pl.col("time") <= told).with_columns(missing).select(LOG.names()))


def lateness(log: pl.DataFrame, on_delay: timedelta, off_delay: timedelta, end: datetime) -> Lateness:
    """What `delayed` would have cost. A spell that is joined to one before it, by the off-delay, is not late: what
    stood already went on standing."""
    took = pl.col("cleared").fill_null(pl.lit(end).cast(TIME)) - pl.col("start")
    raised = pl.col("start").filter("lasting").first() + on_delay
    real = (
        _runs(log, on_delay, off_delay, end)
        .with_columns(raised=raised.over("run"))
        .filter(took > FLEETING)
        .with_columns(late_s=(pl.col("raised") - pl.col("start")).dt.total_microseconds() / 1e6)
        .with_columns(late_s=pl.when(pl.col("raised") <= pl.lit(end).cast(TIME)).then("late_s"))
    )
    late = real["late_s"].filter(real["late_s"] > 0).sort()
    some = len(late) > 0
    return Lateness(
        real=len(real),
        late=len(late),
        late_median_s=float(late[(len(late) - 1) // 2]) if some else None,
        late_longest_s=float(late[-1]) if some else None,
        lost=real["late_s"].null_count(),
    )


def deadbanded(log: pl.DataFrame, margin: pl.Series, deadband: float) -> pl.DataFrame:
    """The log whose alarms are cleared only when the value has gone so far beyond the limit.

    margin: how far the value was from the limit, row by row, in the deadband's unit; null where it is not known, and
    such a clear holds. An estimate: of values between two rows a log knows nothing, so a value that went on beyond the
    deadband without a row counts as if it had not, and the alarm as standing until the next clear that goes far enough.
    """
    held = (pl.col("event") == Event.CLEARED) & (pl.lit(margin).abs() < deadband).fill_null(value=False)
    return log.filter(~held)


def spells(log: pl.DataFrame) -> pl.DataFrame:
    """One row for each time that a tag stood: tag, priority (of the first raise), start, cleared (null: it still
    stands), acknowledged (the first time, null: never before the next spell of its tag), in order of start."""
    turns = (
        _sorted(log)
        .filter(pl.col("event").is_in([Event.RAISED, Event.CLEARED, Event.ACKNOWLEDGED]))
        .with_columns(standing=pl.when(pl.col("event") != Event.ACKNOWLEDGED).then(pl.col("event") == Event.RAISED))
        .with_columns(before=pl.col("standing").forward_fill().shift(1).over("tag").fill_null(value=False))
        .with_columns(begins=pl.col("standing").fill_null(value=False) & ~pl.col("before"))
        .with_columns(spell=pl.col("begins").cum_sum().over("tag"))
        .filter(pl.col("spell") > 0)
    )
    return (
        turns.group_by("tag", "spell", maintain_order=True)
        .agg(
            pl.col("priority").first(),
            start=pl.col("time").first(),
            cleared=pl.col("time").filter(pl.col("event") == Event.CLEARED).first(),
            acknowledged=pl.col("time").filter(pl.col("event") == Event.ACKNOWLEDGED).first(),
        )
        .drop("spell")
        .sort("start", maintain_order=True)
    )


def load(log: pl.DataFrame, start: datetime, end: datetime, operators: int = 1) -> Load:
    """How many alarms one operator had. start < end; operators: at least 1, on duty at the same time."""
    raised = _raised(log, start, end)
    alarms, days = len(raised) / operators, (end - start) / timedelta(days=1)
    tens = _per(raised, "10m")
    first, last = to_us(start) // _WINDOW_US, (to_us(end) - 1) // _WINDOW_US
    return Load(
        alarms=len(raised),
        per_day=alarms / days,
        per_hour=alarms / days / 24,
        per_10min=alarms / days / 144,
        peak_day=_most(_per(raised, "1d")) / operators,
        peak_hour=_most(_per(raised, "1h")) / operators,
        peak_10min=_most(tens) / operators,
        windows=last - first + 1,
        windows_over_ten=len(tens.filter(pl.col("alarms") > FLOOD_BEGINS * operators)),
    )


def floods(log: pl.DataFrame, start: datetime, end: datetime, operators: int = 1) -> pl.DataFrame:
    """Floods that began in the period: start, end, alarms, peak (within ten minutes, of all operators), peak_at.

    One begins when more than ten alarms for each operator came within ten minutes, and `start` is the first of them;
    it ends when the last ten minutes hold fewer than five. The ten minutes slide; they are not the calendar's. A flood
    that goes on at the end of the period ends there.
    """
    least, span = FLOOD_ENDS * operators, pl.lit(WINDOW)
    rows = _raised(log, start, end).select("time")
    times, place = pl.col("time"), pl.int_range(0, pl.len())
    first = times.search_sorted(times - span, side="right")  # place of the first alarm of the ten minutes
    rows = rows.with_columns(
        within=place + 1 - first,
        opened=times.gather(first),
        thins=times.shift(least - 1) + span,  # when the last ten minutes hold one fewer than `least`
    )
    thinned = (pl.col("thins").is_null() | (times.shift(-1) > pl.col("thins"))).shift(1).fill_null(value=True)
    over = pl.col("within") > FLOOD_BEGINS * operators
    found = (
        rows.with_columns(stretch=thinned.cum_sum())
        .group_by("stretch", maintain_order=True)
        .agg(
            opened=pl.col("opened").filter(over).first(),
            end=pl.min_horizontal(pl.col("thins").last(), pl.lit(end).cast(TIME)),
            peak=pl.col("within").max(),
            peak_at=times.get(pl.col("within").arg_max()),
        )
        .drop_nulls("opened")
        .with_columns(start=pl.max_horizontal("opened", pl.col("end").shift(1)))
    )
    begins, ends = (rows["time"].search_sorted(found[column], side="left") for column in ("start", "end"))
    return found.with_columns(alarms=ends - begins).select("start", "end", "alarms", "peak", "peak_at")


def standing(log: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """What stood at this instant, oldest first: tag, priority, start, acknowledged, age."""
    instant = pl.lit(at).cast(TIME)
    stood = (pl.col("start") <= instant) & (pl.col("cleared").is_null() | (pl.col("cleared") > instant))
    return (
        spells(log.filter(pl.col("time") <= instant)).filter(stood).drop("cleared")
        .with_columns(age=instant - pl.col("start"))
    )  # fmt: skip


def stale(log: pl.DataFrame, at: datetime, after: timedelta = STALE) -> pl.DataFrame:
    """Of what stood at this instant, what had stood for longer than that; as `standing`."""
    return standing(log, at).filter(pl.col("age") > after)


def chattering(log: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """Tags that were raised three times or more within one minute: tag, bursts, alarms (in bursts), worst (most within
    one minute); most alarms first. A burst goes on while raises of its tag are less than a minute apart."""
    time, minute = pl.col("time"), pl.lit(CHATTER_WITHIN)
    third = (time - time.shift(CHATTER_TIMES - 1) < minute).fill_null(value=False)
    near = pl.any_horizontal(
        third, *(third.shift(-later).fill_null(value=False) for later in range(1, CHATTER_TIMES))
    )  # the two before the third are of the burst too
    apart = ((time - time.shift(1) >= minute) | ~near.shift(1)).fill_null(value=True)
    within = pl.int_range(1, pl.len() + 1) - time.search_sorted(time - minute, side="right")
    return (
        _raised(log, start, end)
        .group_by("tag")
        .agg(bursts=(near & apart).sum(), alarms=near.sum(), worst=within.max())
        .filter(pl.col("bursts") > 0)
        .sort("alarms", "tag", descending=[True, False])
    )


def fleeting(log: pl.DataFrame, start: datetime, end: datetime, within: timedelta = FLEETING) -> pl.DataFrame:
    """Tags with spells that began in the period and were cleared within that time: tag, fleeting, cleared (all that
    were cleared), share; most first."""
    lasted = pl.col("cleared") - pl.col("start")
    return (
        _begun(log, start, end).drop_nulls("cleared")
        .group_by("tag")
        .agg(fleeting=(lasted <= within).sum(), cleared=pl.len())
        .filter(pl.col("fleeting") > 0)
        .with_columns(share=pl.col("fleeting") / pl.col("cleared"))
        .sort("fleeting", "tag", descending=[True, False])
    )  # fmt: skip


def fleeting_share(log: pl.DataFrame, start: datetime, end: datetime, within: timedelta = FLEETING) -> float | None:
    """Share of the spells that began in the period and were cleared, that were cleared within that time; None where
    none was cleared."""
    cleared = _begun(log, start, end).drop_nulls("cleared")
    return len(cleared.filter(pl.col("cleared") - pl.col("start") <= within)) / len(cleared) if len(cleared) else None


def bad_actors(log: pl.DataFrame, start: datetime, end: datetime, count: int = BAD_ACTORS) -> pl.DataFrame:
    """The tags that were raised most: tag, alarms, share, running (share of it and of those before it)."""
    return (
        _shares(_raised(log, start, end), "tag")
        .sort("alarms", "tag", descending=[True, False])
        .with_columns(running=pl.col("share").cum_sum())
        .head(count)
    )


def priorities(log: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """How alarms divide among priorities: priority (null where the log has none), alarms, share; most urgent first."""
    return _shares(_raised(log, start, end), "priority").sort("priority", nulls_last=True)


def waits(log: pl.DataFrame, start: datetime, end: datetime) -> Waits:
    """How long it took until spells that began in the period were acknowledged."""
    begun = _begun(log, start, end)
    by_then = pl.col("acknowledged") < pl.lit(end).cast(TIME)
    took = begun.filter(by_then).select(took=(pl.col("acknowledged") - pl.col("start")).dt.total_microseconds() / 1e6)
    median, p95, longest = took.select(
        median=pl.col("took").quantile(0.5, "linear"),
        p95=pl.col("took").quantile(0.95, "linear"),
        longest=pl.col("took").max(),
    ).row(0)
    return Waits(len(took), median, p95, longest, len(begun) - len(took))


def shelved(log: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """Every shelf that was there at some time of the period, in order: tag, priority, start, ended (null: it was there
    still at the end), until (as it was meant), who, note. One that was given another time is a row of its own."""
    last = pl.lit(end).cast(TIME)
    rows = (
        _sorted(log).filter((pl.col("time") < last) & pl.col("event").is_in([Event.SHELVED, Event.UNSHELVED]))
        .with_columns(ended=pl.col("time").shift(-1).over("tag"))
        .filter(pl.col("event") == Event.SHELVED)
    )  # fmt: skip
    return rows.filter(pl.col("ended").is_null() | (pl.col("ended") > pl.lit(start).cast(TIME))).select(
        "tag", "priority", "ended", "until", "who", "note", start="time"
    )


_PIECE = 1_000
"""Rows that are made a frame of at once: nothing else in the process runs meanwhile."""
_WINDOW_US = WINDOW // timedelta(microseconds=1)


def _rows(change: Transition) -> Iterator[tuple[object, ...]]:
    rule, (site, asset, qualifier) = change.key
    tag = " ".join(part for part in (rule, site, asset, qualifier) if part)
    for event in _events(change):
        until = change.until if event is Event.SHELVED else None
        yield change.at, tag, int(change.priority), event.value, change.by or None, change.comment or None, until


def _events(change: Transition) -> Iterator[Event]:
    if change.change in (Change.RETURNED, Change.LATCHED):
        yield Event.CLEARED
    elif change.change is Change.ACKNOWLEDGED:
        yield Event.ACKNOWLEDGED
    elif change.change in (Change.SHELVED, Change.SILENCED):
        yield Event.SHELVED
    elif change.before is State.SHELVED and change.after is not State.SHELVED:
        yield Event.UNSHELVED
    if change.after is State.UNACKNOWLEDGED and (change.change is Change.ACTIVATED or change.before in HIDDEN):
        yield Event.RAISED


def _runs(log: pl.DataFrame, on_delay: timedelta, off_delay: timedelta, end: datetime) -> pl.DataFrame:
    """The spells, by tag and start, with `run`: one number for those that the off-delay joins; and with `lasting`:
    whether the on-delay ran out."""
    gap = pl.col("start") - pl.col("cleared").shift(1).over("tag")
    return (
        spells(log)
        .sort("tag", "start")
        .with_columns(run=(gap.is_null() | (gap >= off_delay)).cum_sum())
        .with_columns(lasting=(pl.col("cleared").fill_null(pl.lit(end).cast(TIME)) - pl.col("start")) >= on_delay)
    )


def _sorted(log: pl.DataFrame) -> pl.DataFrame:
    return log.sort("time", maintain_order=True)


def _raised(log: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    return _sorted(log.filter((pl.col("event") == Event.RAISED) & _during("time", start, end)))


def _begun(log: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    return spells(log.filter(pl.col("time") < pl.lit(end).cast(TIME))).filter(_during("start", start, end))


def _during(column: str, start: datetime, end: datetime) -> pl.Expr:
    return pl.col(column).is_between(pl.lit(start).cast(TIME), pl.lit(end).cast(TIME), closed="left")


def _per(raised: pl.DataFrame, every: str) -> pl.DataFrame:
    return raised.group_by(pl.col("time").dt.truncate(every)).agg(alarms=pl.len())


def _most(counts: pl.DataFrame) -> int:
    most: int = counts.select(pl.col("alarms").max().fill_null(0)).item() if len(counts) else 0
    return most


def _shares(raised: pl.DataFrame, by: str) -> pl.DataFrame:
    return raised.group_by(by).agg(alarms=pl.len()).with_columns(share=pl.col("alarms") / pl.col("alarms").sum())

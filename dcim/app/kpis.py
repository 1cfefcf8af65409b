"""The figures of how well the alarm system works, put together for the API and the command line; logs from CSV files.

Lives here: the body, its lines for a terminal, the way from a CSV file to a log. Not here: what the figures mean, and
how they are counted (alerts.kpis)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from polars.exceptions import PolarsError
from pydantic import BaseModel, Field

from alerts import kpis
from alerts.kpis import Event
from dcim.core.errors import Permanent
from dcim.core.times import from_us
from dcim.detect.figures import duration

FILE_BYTES_MAX = 1_000_000_000
"""A log that is larger is refused."""
ROWS_MAX = 1_000
"""Rows of each list in an answer."""


class LoadBody(BaseModel):
    """How many alarms came up. Rates and peaks are for one operator."""

    alarms: int = Field(description="Of all operators together.")
    per_day: float
    per_hour: float
    per_10min: float = Field(description="Very likely acceptable: 1; the most that can be managed: 2.")
    peak_day: float
    peak_hour: float
    peak_10min: float
    windows: int = Field(description="Ten minutes of the calendar in the period.")
    windows_over_ten: int = Field(description="Of these, with more than ten alarms for each operator.")


class FloodBody(BaseModel):
    """More than ten alarms for each operator within ten minutes, until they are fewer than five."""

    start: datetime
    end: datetime
    alarms: int
    peak: int = Field(description="Most within ten minutes.")
    peak_at: datetime


class StandingBody(BaseModel):
    """An alarm whose condition stood at the end of the period."""

    tag: str
    priority: int | None
    start: datetime
    acknowledged: datetime | None
    age_s: float


class ChatteringBody(BaseModel):
    """A tag that was raised three times or more within a minute."""

    tag: str
    bursts: int
    alarms: int = Field(description="In these bursts.")
    worst: int = Field(description="Most within a minute.")


class FleetingBody(BaseModel):
    """A tag with alarms that were cleared within 60 s."""

    tag: str
    fleeting: int
    cleared: int = Field(description="All that were cleared.")
    share: float


class ActorBody(BaseModel):
    """One of the ten tags that were raised most."""

    tag: str
    alarms: int
    share: float
    running: float = Field(description="Share of it and of those before it.")


class PriorityBody(BaseModel):
    """How much of the load has this priority."""

    priority: int | None
    alarms: int
    share: float


class WaitsBody(BaseModel):
    """How long acknowledging took."""

    acknowledged: int
    median_s: float | None
    p95_s: float | None
    longest_s: float | None
    never: int = Field(description="Not acknowledged by the end of the period.")


class ShelvedBody(BaseModel):
    """One shelf that was there at some time of the period."""

    tag: str
    priority: int | None
    start: datetime
    ended: datetime | None = Field(description="null: it was there at the end of the period.")
    until: datetime | None = Field(description="As it was meant.")
    by: str
    reason: str


class KpisBody(BaseModel):
    """Figures of EEMUA 191 and ISA-18.2 over [start, end). Each list has 1,000 entries at most, its total all."""

    start: datetime
    end: datetime
    operators: int
    load: LoadBody
    floods: list[FloodBody]
    floods_total: int
    flood_share: float = Field(description="Of the time; the aim is less than 0.01.")
    standing: list[StandingBody] = Field(description="At the end, oldest first, shelved ones too.")
    standing_total: int
    stale_total: int = Field(description="Of these, for longer than 24 h; the aim is fewer than 5.")
    chattering: list[ChatteringBody] = Field(description="The aim is none.")
    chattering_total: int
    fleeting: list[FleetingBody]
    fleeting_total: int
    fleeting_share: float | None = Field(description="Of all that were cleared; null where none was.")
    bad_actors: list[ActorBody] = Field(description="The ten worst; the aim is 1 to 5 % of the load together.")
    priorities: list[PriorityBody] = Field(description="The aim is about 80/15/5 from low to high.")
    acknowledging: WaitsBody
    shelved: list[ShelvedBody]
    shelved_total: int


def report(log: pl.DataFrame, start: datetime, end: datetime, operators: int = 1) -> KpisBody:
    """All figures of a log, of kpis.LOG's columns, over [start, end)."""
    floods, standing = kpis.floods(log, start, end, operators), kpis.standing(log, end)
    chattering, fleeting = kpis.chattering(log, start, end), kpis.fleeting(log, start, end)
    shelved = kpis.shelved(log, start, end)
    flooded = floods.select((pl.col("end") - pl.col("start")).sum()).item() if len(floods) else timedelta(0)
    aged = standing.with_columns(age_s=pl.col("age").dt.total_microseconds() / 1e6)
    named = shelved.with_columns(by=pl.col("who").fill_null(""), reason=pl.col("note").fill_null(""))
    return KpisBody(
        start=start,
        end=end,
        operators=operators,
        load=LoadBody(**asdict(kpis.load(log, start, end, operators))),
        floods=_some(FloodBody, floods),
        floods_total=len(floods),
        flood_share=flooded / (end - start),
        standing=_some(StandingBody, aged),
        standing_total=len(standing),
        stale_total=len(kpis.stale(log, end)),
        chattering=_some(ChatteringBody, chattering),
        chattering_total=len(chattering),
        fleeting=_some(FleetingBody, fleeting),
        fleeting_total=len(fleeting),
        fleeting_share=kpis.fleeting_share(log, start, end),
        bad_actors=_some(ActorBody, kpis.bad_actors(log, start, end)),
        priorities=_some(PriorityBody, kpis.priorities(log, start, end)),
        acknowledging=WaitsBody(**asdict(kpis.waits(log, start, end))),
        shelved=_some(ShelvedBody, named),
        shelved_total=len(shelved),
    )


def words(told: KpisBody) -> list[str]:
    """The report in lines for a terminal. What a log may have of control characters is not passed on."""
    load, waits = told.load, told.acknowledging
    who = "1 operator" if told.operators == 1 else f"{told.operators} operators, figures for each of them"
    mean = f"{load.per_day:.1f}, {load.per_hour:.2f}, {load.per_10min:.2f}"
    most = f"{load.peak_day:g}, {load.peak_hour:g}, {load.peak_10min:g}"
    lines = [
        f"{told.start:%Y-%m-%d %H:%M} to {told.end:%Y-%m-%d %H:%M} UTC, {who}",
        f"load         {load.alarms} alarms",
        f"             in a day, an hour, ten minutes: {mean}; at most {most}",
        f"windows      {load.windows_over_ten} of {load.windows} ten-minute windows with more than ten",
        f"floods       {told.floods_total}, {told.flood_share:.2%} of the time",
    ]
    lines += [
        f"             {flood.start:%Y-%m-%d %H:%M:%S} to {flood.end:%Y-%m-%d %H:%M:%S}: {flood.alarms}, "
        f"at most {flood.peak} in ten minutes"
        for flood in sorted(told.floods, key=lambda flood: -flood.peak)[:5]
    ]
    lines += [
        f"standing     {told.standing_total} at the end, {told.stale_total} for more than a day",
        f"chattering   {told.chattering_total} tags",
        f"fleeting     {told.fleeting_total} tags; "
        + (
            "nothing was cleared"
            if told.fleeting_share is None
            else f"{told.fleeting_share:.1%} of what was cleared, within 60 s"
        ),
    ]
    if told.bad_actors:
        lines.append(f"bad actors   {told.bad_actors[-1].running:.1%} of the load from {len(told.bad_actors)} tags")
        lines += [f"             {one.alarms:>7} {one.share:>6.1%}  {_plain(one.tag)}" for one in told.bad_actors]
    lines += [f"priority {'?' if one.priority is None else one.priority:<4}{one.share:.1%}" for one in told.priorities]
    if waits.median_s is not None and waits.p95_s is not None and waits.longest_s is not None:
        lines.append(
            f"acknowledged {waits.acknowledged}: half within {duration(waits.median_s)}, 95 % within "
            f"{duration(waits.p95_s)}, all within {duration(waits.longest_s)}; {waits.never} never"
        )
    else:
        lines.append("acknowledged none")
    lines.append(f"shelved      {told.shelved_total}")
    lines += [
        f"             {one.start:%Y-%m-%d %H:%M}  {_plain(one.tag)}: {_plain(one.reason)} ({_plain(one.by)})"
        for one in told.shelved[:10]
    ]
    return lines


def remedies(
    log: pl.DataFrame, start: datetime, end: datetime, operators: int, delays: Sequence[tuple[float, float]]
) -> list[str]:
    """What a log is as it is, without duplicates, and under on- and off-delays in seconds: a table in lines."""
    versions = [("as logged", log), ("no duplicates", kpis.deduplicated(log))]
    for on_s, off_s in delays:
        on, off = timedelta(seconds=on_s), timedelta(seconds=off_s)
        versions.append((f"on {on_s:g} s, off {off_s:g} s", kpis.delayed(log, on, off, end)))
    lines = [f"{'':24}{'alarms':>9}{'a day':>9}{'over ten':>9}{'floods':>9}{'chatter':>9}{'top ten':>9}"]
    for name, version in versions:
        load = kpis.load(version, start, end, operators)
        worst = kpis.bad_actors(version, start, end)
        lines.append(
            f"{name:24}{load.alarms:>9}{load.per_day:>9.1f}{load.windows_over_ten:>9}"
            f"{len(kpis.floods(version, start, end, operators)):>9}{len(kpis.chattering(version, start, end)):>9}"
            f"{worst['share'].sum():>9.1%}"
        )
    return lines


class Columns(NamedTuple):
    """Which columns of a CSV file say what."""

    time: str = "time"
    tag: tuple[str, ...] = ("tag",)
    """Joined with "/" where there are several."""
    event: str = "event"
    priority: str | None = None
    raised: str = Event.RAISED.value
    """What the column of events says of an alarm that came."""
    cleared: str = Event.CLEARED.value
    acknowledged: str = Event.ACKNOWLEDGED.value


@dataclass(frozen=True, slots=True)
class Told:
    """A log and the time that it spans: from its first row to just after its last."""

    log: pl.DataFrame
    start: datetime
    end: datetime


def read(file: Path, columns: Columns) -> Told:
    """The log in a CSV file with a header. Times without a zone are UTC.

    Raises Permanent, with the line, for what cannot be read: a time, a priority outside 1 to 127, an unknown event.
    """
    where = str(file)
    wanted = [columns.time, *columns.tag, columns.event, *([columns.priority] if columns.priority else [])]
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            raise Permanent(f"is larger than {FILE_BYTES_MAX} bytes", where=where, todo="Split it.")
        raw = pl.read_csv(file, infer_schema=False)
    except (OSError, PolarsError) as error:
        raise Permanent(f"cannot be read as CSV: {_plain(str(error))}", where=where) from error
    for name in wanted:
        if name not in raw.columns:
            names = ", ".join(_plain(one) for one in raw.columns[:20])
            raise Permanent(f"has no column {name}", where=where, todo=f"Its columns are {names}.")
    if raw.is_empty():
        raise Permanent("has no rows", where=where)
    words = {columns.raised: Event.RAISED, columns.cleared: Event.CLEARED, columns.acknowledged: Event.ACKNOWLEDGED}
    log = raw.select(
        time=_instants(raw[columns.time]),
        tag=pl.concat_str([pl.col(name).fill_null("") for name in columns.tag], separator="/"),
        priority=pl.col(columns.priority).cast(pl.Int8, strict=False) if columns.priority else pl.lit(None, pl.Int8),
        event=pl.col(columns.event).replace_strict(
            list(words), [event.value for event in words.values()], default=None, return_dtype=pl.String
        ),
        who=pl.lit(None, pl.String),
        note=pl.lit(None, pl.String),
        until=pl.lit(None, kpis.TIME),
    )
    _demand(log["time"].is_not_null(), raw[columns.time], where, "is no time such as 2026-11-23T12:00:00Z")
    _demand(log["event"].is_not_null(), raw[columns.event], where, f"is none of {', '.join(words)}")
    if columns.priority:
        of = raw[columns.priority]
        _demand((log["priority"] > 0).fill_null(value=False) | of.is_null(), of, where, "is no priority such as 1")
    times = log["time"].cast(pl.Int64).sort()
    first, last = from_us(times[0]), from_us(times[-1] + 1)
    return Told(log, first, last)


def _instants(texts: pl.Series) -> pl.Series:
    """Times with and without a zone, and with a blank in place of the T."""
    text = pl.col("text").str.strip_chars().str.replace(" ", "T", literal=True).str.replace(r"[zZ]$", "+00:00")
    whole = pl.when(text.str.contains(r"[+-]\d\d:?\d\d$")).then(text).otherwise(text + "+00:00")
    parsed = whole.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", time_zone="UTC", strict=False)
    return pl.DataFrame({"text": texts}).select(parsed).to_series()


def _demand(good: pl.Series, raw: pl.Series, where: str, what: str) -> None:
    if not good.all():
        row = (~good).arg_max() or 0
        raise Permanent(f"{raw.name} {_plain(str(raw[row]))!r} {what}", where=f"{where}, row {row + 1}")


def _some(body: type[Any], rows: pl.DataFrame) -> list[Any]:
    return [body(**row) for row in rows.head(ROWS_MAX).select(*_known(body, rows)).iter_rows(named=True)]


def _known(body: type[BaseModel], rows: pl.DataFrame) -> list[str]:
    return [name for name in rows.columns if name in body.model_fields]


def _plain(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)

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
from pydantic import BaseModel, Field, TypeAdapter

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
        lines += [f"             {one.alarms:>7} {one.share:>6.1%}  {plain(one.tag)}" for one in told.bad_actors]
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
        f"             {one.start:%Y-%m-%d %H:%M}  {plain(one.tag)}: {plain(one.reason)} ({plain(one.by)})"
        for one in told.shelved[:10]
    ]
    return lines


class RemedyBody(BaseModel):
    """A log as it would have been under other settings."""

    name: str
    on_delay_s: float
    off_delay_s: float
    deadband_percent: float | None
    alarms: int
    per_day: float
    windows_over_ten: int
    floods_total: int
    chattering_total: int
    bad_actors_share: float = Field(description="Of the load, from the ten worst tags.")
    real: int = Field(description="Alarms that stood for more than 60 s: somebody could have acted.")
    late: int = Field(description="Of these, how many would have been told later.")
    late_median_s: float | None
    late_longest_s: float | None
    lost: int = Field(description="Of these, how many would not have been told at all.")


DELAYS = ((10.0, 0.0), (0.0, 60.0), (10.0, 60.0), (30.0, 120.0), (60.0, 300.0), (300.0, 300.0))
"""On- and off-delays in seconds that are tried where nobody says which."""
DEADBANDS = (1.0, 2.0, 5.0)
"""Deadbands, in percent of the limit, where nobody says which."""
NO_VALUES = (
    "deadband: the log holds no measured values and limits, so nothing can be said of one; name their columns by "
    "--value and --limit where there are some"
)


def remedies(
    log: pl.DataFrame,
    start: datetime,
    end: datetime,
    operators: int,
    delays: Sequence[tuple[float, float]],
    margin: pl.Series | None = None,
    deadbands: Sequence[float] = (),
) -> list[RemedyBody]:
    """What a log is as it is, without duplicates, under on- and off-delays in seconds, and under deadbands. margin: of
    each row, how far its value was from the limit, as a share of the limit. deadbands: in percent of it."""
    none = timedelta(0)
    found: list[RemedyBody] = []

    def add(
        name: str, version: pl.DataFrame, on_s: float = 0.0, off_s: float = 0.0, deadband: float | None = None
    ) -> None:
        on, off = timedelta(seconds=on_s), timedelta(seconds=off_s)
        cost = kpis.lateness(log, on, off, end)
        load = kpis.load(version, start, end, operators)
        told = RemedyBody(
            name=name,
            on_delay_s=on_s,
            off_delay_s=off_s,
            deadband_percent=deadband,
            alarms=load.alarms,
            per_day=load.per_day,
            windows_over_ten=load.windows_over_ten,
            floods_total=len(kpis.floods(version, start, end, operators)),
            chattering_total=len(kpis.chattering(version, start, end)),
            bad_actors_share=kpis.bad_actors(version, start, end)["share"].sum(),
            **asdict(cost),
        )
        found.append(told)

    add("as logged", log)
    add("no duplicates", kpis.deduplicated(log))
    for on_s, off_s in delays:
        on, off = timedelta(seconds=on_s), timedelta(seconds=off_s)
        add(f"on {on_s:g} s, off {off_s:g} s", kpis.delayed(log, on, off, end), on_s, off_s)
    if margin is not None:
        for deadband in deadbands:
            held = kpis.deadbanded(log, margin, deadband / 100.0)
            add(f"deadband {deadband:g} %", kpis.delayed(held, none, none, end), deadband=deadband)
    return found


def remedies_json(told: Sequence[RemedyBody]) -> str:
    """The table as JSON: settings in a list."""
    return TypeAdapter(list[RemedyBody]).dump_json(list(told), indent=1).decode()


def remedy_words(told: Sequence[RemedyBody]) -> list[str]:
    """The table in lines for a terminal."""
    heads = ("alarms", "a day", "over ten", "floods", "chatter", "top ten", "late", "median", "longest", "lost")
    lines = [f"{'':24}" + "".join(f"{head:>9}" for head in heads)]
    for one in told:
        late = (
            ("–", "–")
            if one.late_median_s is None or one.late_longest_s is None
            else (duration(one.late_median_s), duration(one.late_longest_s))
        )
        cells = (
            str(one.alarms), f"{one.per_day:.1f}", str(one.windows_over_ten), str(one.floods_total),
            str(one.chattering_total), f"{one.bad_actors_share:.1%}", str(one.late), *late, str(one.lost),
        )  # fmt: skip
        lines.append(f"{one.name:24}" + "".join(f"{cell:>9}" for cell in cells))
    if told:
        lines.append(f"late, lost: of the {told[0].real} alarms that stood for more than 60 s")
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
    value: str | None = None
    """What was measured when the row was written."""
    limit: str | None = None
    """What it was held against."""


@dataclass(frozen=True, slots=True)
class Told:
    """A log and the time that it spans: from its first row to just after its last."""

    log: pl.DataFrame
    start: datetime
    end: datetime
    margin: pl.Series | None = None
    """Of each row, how far the value was from the limit, as a share of the limit; null where one of them is missing,
    no finite number, or the limit 0. None where the log has no such columns."""


def read(file: Path, columns: Columns) -> Told:
    """The log in a CSV file with a header. Times without a zone are UTC.

    Raises Permanent, with the line, for what cannot be read: a time, a priority outside 1 to 127, an unknown event.
    """
    where = str(file)
    optional = (columns.priority, columns.value, columns.limit)
    wanted = [columns.time, *columns.tag, columns.event, *(name for name in optional if name)]
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            raise Permanent(f"is larger than {FILE_BYTES_MAX} bytes", where=where, todo="Split it.")
        raw = pl.read_csv(file, infer_schema=False)
    except (OSError, PolarsError) as error:
        raise Permanent(f"cannot be read as CSV: {plain(str(error))}", where=where) from error
    for name in wanted:
        if name not in raw.columns:
            names = ", ".join(plain(one) for one in raw.columns[:20])
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
    return Told(log, first, last, _margin(raw, columns))


def _margin(raw: pl.DataFrame, columns: Columns) -> pl.Series | None:
    if not (columns.value and columns.limit):
        return None
    value, limit = (
        pl.col(name).str.strip_chars().cast(pl.Float64, strict=False) for name in (columns.value, columns.limit)
    )
    share = (value - limit).abs() / limit.abs()
    return raw.select(margin=pl.when(share.is_finite()).then(share)).to_series()


def _instants(texts: pl.Series) -> pl.Series:
    """Times with and without a zone, and with a blank in place of the T."""
    text = pl.col("text").str.strip_chars().str.replace(" ", "T", literal=True).str.replace(r"[zZ]$", "+00:00")
    whole = pl.when(text.str.contains(r"[+-]\d\d:?\d\d$")).then(text).otherwise(text + "+00:00")
    parsed = whole.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", time_zone="UTC", strict=False)
    return pl.DataFrame({"text": texts}).select(parsed).to_series()


def _demand(good: pl.Series, raw: pl.Series, where: str, what: str) -> None:
    if not good.all():
        row = (~good).arg_max() or 0
        raise Permanent(f"{raw.name} {plain(str(raw[row]))!r} {what}", where=f"{where}, row {row + 1}")


def _some(body: type[Any], rows: pl.DataFrame) -> list[Any]:
    return [body(**row) for row in rows.head(ROWS_MAX).select(*_known(body, rows)).iter_rows(named=True)]


def _known(body: type[BaseModel], rows: pl.DataFrame) -> list[str]:
    return [name for name in rows.columns if name in body.model_fields]


def plain(text: str) -> str:
    """The text on one line, with a "?" for whatever would command a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)

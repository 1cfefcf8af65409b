"""Queries of the boards, in InfluxQL: what is read, of what, by what.

Lives here: the text of a query and what it reads, so that a test can hold both against a store. Not here: how the
answer is shown (panels.py). Names of measurements, tags and fields are those of docs/influx.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Source(StrEnum):
    """Data sources of the boards, by the uid under which they are provisioned. A closed list."""

    READINGS = "dcim-readings"
    """As they came, with the facts that the service adds."""
    MINUTES = "dcim-minutes"
    """Mean, least, greatest and number of each minute: for long ranges."""
    ALARMS = "dcim-alarms"
    """The service's own Alertmanager API."""


@dataclass(frozen=True, slots=True)
class Read:
    """One field that a query needs. where: tags that must have these values."""

    measurement: str
    field: str
    where: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Query:
    """One question of a panel."""

    text: str
    reads: tuple[Read, ...]
    alias: str = ""
    """Legend, in Grafana's words: $tag_rack is the value of that tag."""
    table: bool = False
    source: Source = Source.READINGS
    alone: bool = True
    """Whether it returns rows on a plant where nothing is wrong."""


OF_RATING: Final = '100 * mean("power_kw") / mean("rated_power_kw")'
"""Of a rack, in %. Ratings are written once a minute: steps of less have none."""
PLACE: Final = ("site", "hall", "row", "rack")
"""Variables by which a rack and what is in it is chosen."""


def chosen(*variables: str, **renamed: str) -> str:
    """The condition that tags have the values that are chosen above the board. renamed: tag = variable, where the two
    are called differently.

    >>> chosen("site", asset="cdu")
    '"site" =~ /^$site$/ AND "asset" =~ /^$cdu$/'
    """
    pairs = [(name, name) for name in variables] + list(renamed.items())
    return " AND ".join(f'"{tag}" =~ /^${variable}$/' for tag, variable in pairs)


def _where(scope: str, where: Mapping[str, str] | None) -> str:
    """The condition: what is chosen above the board, tags that must have these values, and the time."""
    conditions = [scope, *(f"\"{tag}\" = '{value}'" for tag, value in (where or {}).items()), "$timeFilter"]
    return " AND ".join(condition for condition in conditions if condition)


def over(
    measurement: str,
    field: str,
    *,
    scope: str,
    by: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
    how: str = "mean",
    alias: str = "",
    expression: str = "",
    fields: Sequence[str] = (),
    source: Source = Source.READINGS,
    fill: str = "none",
) -> Query:
    """A field over time, one line for each combination of `by`. expression: what is selected, where it is more than
    how(field); it may read `fields` too."""
    where = where or {}
    selected = expression or f'{how}("{field}")'
    groups = "".join(f', "{tag}"' for tag in by)
    return Query(
        f'SELECT {selected} FROM "{measurement}" WHERE {_where(scope, where)} '
        f"GROUP BY time($__interval){groups} fill({fill})",
        tuple(Read(measurement, name, where) for name in (field, *fields)),
        alias,
        source=source,
    )


def total(
    measurement: str,
    field: str,
    *,
    scope: str,
    of: Sequence[str],
    by: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
    inner: str = "",
    how: str = "sum",
    times: float = 1.0,
    fields: Sequence[str] = (),
    alias: str = "",
    source: Source = Source.READINGS,
) -> Query:
    """The sum over `of` of a field's means over time, one line for each combination of `by`. inner: what is summed,
    where it is more than the mean.

    For what is written all at once: facts, minutes. Of readings the newest step never has all yet, and the sum would be
    less than the truth; nor can it be filled with what was before, for within a subquery InfluxQL's fill(previous)
    gives rows out of order, and sums of single series."""
    where = where or {}
    grouped = "".join(f', "{tag}"' for tag in dict.fromkeys((*by, *of)))
    outer = "".join(f', "{tag}"' for tag in by)
    factor = "" if times == 1.0 else f" * {times:g}"
    selected = inner or f'mean("{field}")'
    return Query(
        f'SELECT {how}("v"){factor} FROM (SELECT {selected} AS "v" FROM "{measurement}" '
        f"WHERE {_where(scope, where)} GROUP BY time($__interval){grouped} fill(none)) "
        f"WHERE $timeFilter GROUP BY time($__interval){outer} fill(none)",
        tuple(Read(measurement, name, where) for name in (field, *fields)),
        alias,
        source=source,
    )


def ratio(
    measurement: str,
    above: str,
    under: str,
    *,
    scope: str,
    of: Sequence[str],
    by: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
    times: float = 1.0,
    alias: str = "",
    source: Source = Source.READINGS,
) -> Query:
    """The sum of one field over `of`, divided by that of another, over time."""
    where = where or {}
    grouped = "".join(f', "{tag}"' for tag in dict.fromkeys((*by, *of)))
    outer = "".join(f', "{tag}"' for tag in by)
    return Query(
        f'SELECT {times:g} * sum("a") / sum("u") FROM (SELECT mean("{above}") AS "a", mean("{under}") AS "u" '
        f'FROM "{measurement}" WHERE {_where(scope, where)} GROUP BY time($__interval){grouped} fill(none)) '
        f"WHERE $timeFilter GROUP BY time($__interval){outer} fill(none)",
        (Read(measurement, above, where), Read(measurement, under, where)),
        alias,
        source=source,
    )


def together(
    parts: Mapping[str, Read],
    expression: str,
    *,
    scope: str,
    by: Sequence[str],
    alias: str = "",
) -> Query:
    """An expression over fields that differ in their tags: each is given the name it has in `parts`, and is read as
    mean("name") in the expression. All parts are of one measurement."""
    (measurement,) = {part.measurement for part in parts.values()}
    sources = ", ".join(
        f'(SELECT "{part.field}" AS "{name}" FROM "{measurement}" WHERE {_where(scope, part.where)})'
        for name, part in parts.items()
    )
    groups = "".join(f', "{tag}"' for tag in by)
    return Query(
        f"SELECT {expression} FROM {sources} WHERE $timeFilter GROUP BY time($__interval){groups} fill(none)",
        tuple(parts.values()),
        alias,
    )


def latest(
    measurement: str,
    fields: Mapping[str, str],
    *,
    scope: str,
    by: Sequence[str],
    where: Mapping[str, str] | None = None,
    how: str = "last",
    source: Source = Source.READINGS,
    alone: bool = True,
) -> Query:
    """A table: the newest of each field, a row for each combination of `by`. fields: column's name → field. how: what
    is shown instead of the newest, over the time of the board."""
    where = where or {}
    selected = ", ".join(f'{how}("{field}") AS "{name}"' for name, field in fields.items())
    groups = ", ".join(f'"{tag}"' for tag in by)
    return Query(
        f'SELECT {selected} FROM "{measurement}" WHERE {_where(scope, where)} GROUP BY {groups}',
        tuple(Read(measurement, field, where) for field in fields.values()),
        table=True,
        source=source,
        alone=alone,
    )


def values(tag: str, measurement: str, scope: str = "") -> str:
    """What a variable can be: the values of a tag."""
    where = f" WHERE {scope}" if scope else ""
    return f'SHOW TAG VALUES FROM "{measurement}" WITH KEY = "{tag}"{where}'

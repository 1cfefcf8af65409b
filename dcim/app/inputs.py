"""What people give to be played back: a recording, a table whose columns are points, a store's history.

Lives here: telling which one it is, and opening it. Not here: how each is read (recorded.py, tables.py), what is made
of it (hindsight.py, alarm_load.py)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from dcim.app import recorded, tables
from dcim.app.build import opened_store
from dcim.app.recorded import Recording
from dcim.app.settings import Settings
from dcim.core.errors import Permanent

TABLES = frozenset({".csv", ".tsv", ".txt", ".parquet", ".pq"})
FILES_MAX = 10_000


def is_recording(source: Path) -> bool:
    """Whether it is a folder that `dcim simulate --out` wrote. Raises Permanent where there is nothing."""
    if not source.exists():
        raise Permanent("there is no such file or folder", where=str(source), todo="Check the path.")
    return (source / "manifest.json").exists()


def mapping(file: Path | None, time: str | None = None, separator: str | None = None) -> tables.Mapping:
    """How tables are read: what the file says, and over it what is said here."""
    how = tables.mapping(file) if file is not None else tables.Mapping()
    said = {name: value for name, value in (("time", time), ("separator", separator)) if value}
    return how.model_copy(update=said)


def files(source: Path) -> list[Path]:
    """The tables of a folder by name, or the file itself. Raises Permanent for a folder without any, or with more than
    FILES_MAX."""
    if source.is_file():
        return [source]
    found = sorted(
        (file for file in source.iterdir() if file.suffix.casefold() in TABLES and file.is_file()),
        key=lambda file: tables.natural(file.name),
    )
    if not found or len(found) > FILES_MAX:
        raise Permanent(
            f"holds {len(found)} tables", where=str(source), todo="Give a folder with CSV or Parquet, or a recording."
        )
    return found


def table(source: Path, how: tables.Mapping) -> tuple[Recording, tables.Table]:
    """The one table that is there, as a recording of the mapping's points. Raises Permanent where there are several."""
    found = files(source)
    if len(found) > 1:
        raise Permanent(f"holds {len(found)} files", where=str(source), todo="Give one of them.")
    read = tables.read(found[0], how)
    return tables.as_recording(read, how), read


@contextlib.contextmanager
def history(settings: Settings, title: str, since: datetime | None, until: datetime | None) -> Iterator[Recording]:
    """What the store of these settings kept with since ≤ time < until, while no service has it open; all of the year
    before its newest reading where neither is said."""
    with opened_store(settings) as (store, plant):
        newest = store.latest()
        if not newest.height:
            raise Permanent("the store holds nothing", where=title)
        end = until or newest["time"].max()
        if not isinstance(end, datetime):
            raise Permanent("the store's readings have no time", where=title)
        start = since or recorded.oldest(store, plant, end)
        if start >= end:
            raise Permanent("nothing lies between", where="--since, --until", todo="Let it begin before it ends.")
        yield recorded.history(store, plant, start, end, f"store of {title}")


def instant(text: str | None, option: str) -> datetime | None:
    """A time out of an option; UTC where it names no zone. Raises Permanent."""
    if text is None:
        return None
    try:
        return tables.instant(text)
    except ValueError as error:
        raise Permanent(f"{text!r} is no time", where=option, todo="Write it as 2026-11-23T12:00:00Z.") from error

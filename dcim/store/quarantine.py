"""Opening a database that may be damaged. What DuckDB will not read is set aside, never deleted, and reported.

Two things can be damaged. The log holds what was committed since the last checkpoint, some 16 MB at most: without it
the database is as it was then, and what stands in the log before the damaged place is kept too. The database file holds
the rest: without it a new one is begun.

Lives here: what counts as damage, setting aside, the report. Not here: what the tables hold (embedded.py), and errors
that are no damage, such as a file that another process has open (duckdb_errors.py)."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import duckdb

from dcim.core.errors import Permanent
from dcim.core.times import from_us
from dcim.store.duckdb_errors import plain, translate


@dataclass(frozen=True, slots=True)
class Damage:
    """What was found damaged at opening, where it lies now, and what is lost."""

    what: str
    """What was wrong, in plain words."""
    set_aside: tuple[Path, ...]
    """The damaged files under their new names. Empty where there was nothing left to set aside."""
    bytes: int
    """Their size together."""
    lost: int | None
    """Acknowledged rows that are no longer there; None where that cannot be told."""
    newest: datetime | None
    """Time of the newest reading that survived; None where none did."""
    found: datetime

    def __str__(self) -> str:
        aside = f" and was set aside as {', '.join(map(str, self.set_aside))} ({self.bytes} bytes)"
        lost = "an unknown number of" if self.lost is None else str(self.lost)
        survived = (
            f"the newest that survived is of {self.newest:%Y-%m-%dT%H:%M:%SZ}" if self.newest else "none survived"
        )
        return f"{self.what}{aside if self.set_aside else ''}. Lost: {lost} acknowledged readings; {survived}"


class Survivors(NamedTuple):
    """What a database holds after it was opened."""

    rows: int
    """Acknowledged rows that are there."""
    newest: int | None
    """Time of the newest reading, microseconds UTC."""


Connect = Callable[[], duckdb.DuckDBPyConnection]
Load = Callable[[duckdb.DuckDBPyConnection], Survivors]


def open_database(
    path: Path, connect: Connect, load: Load, acknowledged: int | None, at: datetime
) -> tuple[duckdb.DuckDBPyConnection, Damage | None]:
    """Opens the database at `path` and loads it, setting aside what is damaged.

    connect: opens the file. load: makes or reads the tables and says what is there; it may be called more than once.
    acknowledged: rows that must be there, None where nobody knows. at: names the files that are set aside.
    Raises Permanent or Transient when it cannot be opened for a reason that is not damage.
    """
    log, found = path.with_name(path.name + ".wal"), _Found(at)
    if acknowledged is None:
        _refuse_foreign(path)
    missing = not path.exists()
    if missing and log.exists():
        # DuckDB would begin a new database and delete the log.
        found.set_aside(log, f"{path} is missing, and its log {log.name} is of no use without it")
    while True:
        try:
            con, survivors = _attempt(connect, load)
            break
        except duckdb.Error as error:
            if _REPLAY in str(error) and log.exists():
                _set_log_aside(log, error, found)
            elif damages_file(error) and path.exists():
                found.set_aside(path, f"{path} is damaged ({plain(error)})")
                if log.exists():
                    found.set_aside(log)
            else:
                raise translate(error, path) from error
    lost = None if acknowledged is None else max(0, acknowledged - survivors.rows)
    if lost and not found.what:
        # DuckDB took what it could make sense of and said nothing. Before the next write it cuts the rest off.
        found.what = f"{path} is missing" if missing else f"{log} ends before the last acknowledged reading"
        if log.exists() and not missing:
            try:
                found.copy_aside(log)
            except OSError:
                con.close()
                raise
    if not found.what:
        return con, None
    newest = None if survivors.newest is None else from_us(survivors.newest)
    size = sum(file.stat().st_size for file in found.files)
    return con, Damage(found.what, tuple(found.files), size, lost, newest, at)


def damages_file(error: BaseException) -> bool:
    """Whether an error says that the database file itself is damaged."""
    return isinstance(error, duckdb.Error) and any(phrase in str(error) for phrase in _FILE_DAMAGE)


_REPLAY = "Failure while replaying WAL file"
_POSITION = re.compile(r"Corrupt WAL file: entry at byte position (\d+) ")
_FILE_DAMAGE = (
    "Corrupt database file",
    "not a valid DuckDB database file",
    "Could not read enough bytes from file",
    "Failed to deserialize",
    "Failed to decode",
)


class _Found:
    """The damage as far as it is known while the database is being opened."""

    def __init__(self, at: datetime) -> None:
        self.what = ""
        self.files: list[Path] = []
        self._suffix = f"damaged-{at:%Y%m%dT%H%M%SZ}"

    def set_aside(self, file: Path, what: str = "") -> Path:
        target = self._name(file)
        file.rename(target)
        self._add(target, what)
        return target

    def copy_aside(self, file: Path, what: str = "") -> None:
        """A full disk leaves everything as it was: the original is touched only when there is a copy."""
        target = self._name(file)
        try:
            shutil.copyfile(file, target)
        except OSError:
            target.unlink(missing_ok=True)
            raise
        self._add(target, what)

    def _add(self, target: Path, what: str) -> None:
        self.files.append(target)
        self.what = self.what or what

    def _name(self, file: Path) -> Path:
        """A name beside the file that nothing has yet."""
        target, number = file.with_name(f"{file.name}.{self._suffix}"), 1
        while target.exists():
            number += 1
            target = file.with_name(f"{file.name}.{self._suffix}-{number}")
        return target


def _attempt(connect: Connect, load: Load) -> tuple[duckdb.DuckDBPyConnection, Survivors]:
    con = connect()
    try:
        return con, load(con)
    except BaseException:
        con.close()
        raise


def _set_log_aside(log: Path, error: duckdb.Error, found: _Found) -> None:
    """Sets the log aside; what it holds before the damaged place stays in use."""
    if found.files:  # the sound part of a log that lies aside already; it turned out not to be
        log.unlink()
        return
    reason = plain(error).partition('": ')[2]
    what = f"{log} is damaged ({reason})"
    position = _POSITION.search(str(error))
    if position:
        found.copy_aside(log, what)
        os.truncate(log, int(position[1]))
    else:
        found.set_aside(log, what)


def _refuse_foreign(path: Path) -> None:
    """Raises Permanent for a file that has no mark and no signature: a slip in the settings must not move it away."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        return
    except OSError:
        return  # opening it as a database fails in the same way, and says so in the words of duckdb_errors.py
    if head[8:12] != b"DUCK" and any(head):
        raise Permanent("this is not a database of ours", where=str(path), todo="Name another file in store.path")

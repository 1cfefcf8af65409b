"""DuckDB's errors in this product's words: the one place where they are translated.

Lives here: which family each of DuckDB's exceptions belongs to, and the cases that a person can do something about.
Not here: damaged files (quarantine.py), which are not an error but an event."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb

from dcim.core.errors import DcimError, Permanent, Transient

FAMILIES: dict[type[duckdb.Error], type[DcimError]] = {
    # The world: disks, memory, other transactions. A database that broke is opened anew before the next call.
    duckdb.IOException: Transient,
    duckdb.HTTPException: Transient,
    duckdb.OperationalError: Transient,
    duckdb.OutOfMemoryException: Transient,
    duckdb.TransactionException: Transient,
    duckdb.ConnectionException: Transient,
    duckdb.ResourceInUseException: Transient,
    duckdb.InterruptException: Transient,
    duckdb.FatalException: Transient,
    duckdb.InternalException: Transient,
    duckdb.InternalError: Transient,
    # The input, the file or our own statement: the same call fails again.
    duckdb.Error: Permanent,
    duckdb.DatabaseError: Permanent,
    duckdb.DataError: Permanent,
    duckdb.IntegrityError: Permanent,
    duckdb.NotSupportedError: Permanent,
    duckdb.ProgrammingError: Permanent,
    duckdb.BinderException: Permanent,
    duckdb.CatalogException: Permanent,
    duckdb.ConstraintException: Permanent,
    duckdb.ConversionException: Permanent,
    duckdb.DependencyException: Permanent,
    duckdb.InvalidInputException: Permanent,
    duckdb.InvalidTypeException: Permanent,
    duckdb.NotImplementedException: Permanent,
    duckdb.OutOfRangeException: Permanent,
    duckdb.ParserException: Permanent,
    duckdb.PermissionException: Permanent,
    duckdb.SequenceException: Permanent,
    duckdb.SerializationException: Permanent,
    duckdb.SyntaxException: Permanent,
    duckdb.TypeMismatchException: Permanent,
}
"""Each class by itself, not by its parents: a class that DuckDB adds must be thought about (a contract test asks)."""

_KNOWN: tuple[tuple[str, type[DcimError], str, str], ...] = (
    (
        "No space left on device",
        Transient,
        "the disk is full",
        "Free some space on it; nothing is acknowledged until there is room",
    ),
    (
        "Could not set lock on file",
        Permanent,
        "another process has it open{pid}",
        "Stop that process, or give this one a store of its own in store.path",
    ),
    (
        "different configuration than existing connections",
        Permanent,
        "this process has it open already",
        "Open a store once",
    ),
    ("Permission denied", Permanent, "it may not be read and written", "Give this user access to the file and folder"),
    ("Is a directory", Permanent, "it is a folder", "Name a file in store.path"),
    (
        "storage version greater than",
        Permanent,
        "it was written by a newer DuckDB",
        "Start the version of this software that wrote it, or a newer one",
    ),
    ("Interrupted!", Transient, "the query was cut short, for the store is being closed", "It can be asked again"),
    (
        "Corrupt database file",
        Permanent,
        "a part of the file is damaged",
        "Check the disk. What lies in that part cannot be read, all else can",
    ),
)
"""(phrase in DuckDB's message, family, what, todo). The first that fits wins."""


def translate(error: duckdb.Error, path: Path) -> DcimError:
    """The error of ours that says what DuckDB's error means for the store at `path`."""
    message = plain(error)
    for phrase, family, what, todo in _KNOWN:
        if phrase in message:
            pid = re.search(r"\(PID (\d+)\)", message)
            return family(what.format(pid=f" (PID {pid[1]})" if pid else ""), where=str(path), todo=todo)
    family = FAMILIES.get(type(error), Permanent)
    todo = "It is tried again" if family is Transient else "Report this; the message is DuckDB's"
    return family(message, where=str(path), todo=todo)


def plain(error: duckdb.Error) -> str:
    """The first line of DuckDB's message, bounded, without its trailing stop."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:300].rstrip(" .")

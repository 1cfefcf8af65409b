"""The mark: how many rows were acknowledged, in a small file beside the database.

DuckDB opens without a word when its log is gone, cut off, or damaged in its first bytes; the mark is how the store
notices. It is written after each commit and before the acknowledgement, and never synced: after a power cut it may be
too low, which hides a loss but never invents one.

Lives here: the file. Not here: what is done about a loss (quarantine.py)."""

from __future__ import annotations

from pathlib import Path

from dcim.core.errors import Transient

_DIGITS = 20


class Mark:
    """The mark of one database. Safe to use from one thread at a time."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".mark")
        self._file = None if not self.path.exists() else self.path.open("r+b", buffering=0)

    def read(self) -> int | None:
        """Rows acknowledged so far; None where the mark is missing or not readable as one."""
        if self._file is None:
            return None
        self._file.seek(0)
        content = self._file.read(_DIGITS + 2)
        if len(content) != _DIGITS + 1 or not content[:_DIGITS].isdigit():
            return None
        return int(content)

    def write(self, rows: int) -> None:
        """Sets the mark. Raises Transient when the file cannot be written."""
        try:
            if self._file is None:
                self._file = self.path.open("w+b", buffering=0)
            self._file.seek(0)
            self._file.write(b"%0*d\n" % (_DIGITS, rows))
        except OSError as error:
            raise Transient(
                f"cannot be written: {error.strerror}", where=str(self.path), todo="Check the disk; it is tried again"
            ) from error

    def close(self) -> None:
        """Closes the file. Writing again opens it anew."""
        if self._file is not None:
            self._file.close()
            self._file = None

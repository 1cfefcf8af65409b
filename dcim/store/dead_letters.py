"""Dead letters: readings that a server will never take, with what it said of them, in a file that people can read.

    FOLDER/dead_letters.jsonl     the younger ones, one a line; the first line counts those of files that are gone
    FOLDER/dead_letters.1.jsonl   the older ones

Lives here: the files, their bound, the counts. Not here: what makes a letter dead (forwarder.py)."""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Final, NamedTuple

from dcim.core.errors import Permanent, Transient
from dcim.core.ledger import DeadLetter
from dcim.core.ports import DeadReading

LETTERS_MAX: Final = 10_000
"""So many are kept; then the older half of them goes. The counts go on."""
LINE_CHARACTERS_MAX: Final = 4_096
"""Of a line, and of what the server said, so much is kept."""


class Letter(NamedTuple):
    """A dead reading, and where in the spool it stood: (number of its record, row in it). After a crash records are
    sent again, and what was put aside is not put aside twice."""

    number: int
    row: int
    reading: DeadReading

    @property
    def identity(self) -> tuple[int, int, str]:
        """Where it stood, and what it says, for a spool that somebody emptied counts from 0 again."""
        return self.number, self.row, self.reading.line[:LINE_CHARACTERS_MAX]


class DeadLetters:
    """See the module. Any method may be called from any thread.

    Raises Permanent when the folder cannot be used. A line that cannot be read, such as one cut short by a crash, is
    left out.
    """

    def __init__(self, folder: Path, letters_max: int = LETTERS_MAX) -> None:
        self._path, self._older = folder / "dead_letters.jsonl", folder / "dead_letters.1.jsonl"
        self._file_max = max(1, letters_max // 2)
        self._lock = Lock()
        self._kept: deque[Letter] = deque()
        self._there: set[tuple[int, int, str]] = set()
        self._gone: Counter[DeadLetter] = Counter()
        self._in_file = 0
        self._torn = False
        """The file's last line was cut short."""
        try:
            self._load()
        except OSError as error:
            raise Permanent(f"it cannot be read: {error.strerror}", where=str(self._path)) from error

    def put(self, letters: Iterable[Letter]) -> list[Letter]:
        """Puts letters aside, durable on return; those that are there already are left out. Answers the new ones.

        Raises Transient when the disk fails: the same call works later.
        """
        with self._lock:
            fresh = {letter.identity: letter for letter in letters if letter.identity not in self._there}
            new = list(fresh.values())
            try:
                for start in range(0, len(new), self._file_max):
                    self._write(new[start : start + self._file_max])
            except OSError as error:
                raise Transient(
                    f"dead letters cannot be written: {error.strerror}", where=str(self._path), todo="Look at the disk"
                ) from error
            return new

    def counts(self) -> Mapping[DeadLetter, int]:
        """How many there ever were, by reason."""
        with self._lock:
            return self._gone + Counter(letter.reading.reason for letter in self._kept)

    def kept(self) -> list[DeadReading]:
        """Those that are still there, oldest first."""
        with self._lock:
            return [letter.reading for letter in self._kept]

    def _write(self, letters: list[Letter]) -> None:
        if self._in_file + len(letters) > self._file_max:
            self._turn()
        fresh = not self._path.exists()
        with self._path.open("ab") as file:
            end = file.tell()
            try:
                if fresh:
                    file.write(_line({"gone": self._gone}))
                elif self._torn:
                    file.write(b"\n")
                file.write(b"".join(map(_letter_line, letters)))
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.truncate(file.fileno(), end)
                raise
        self._torn = False
        self._in_file += len(letters)
        self._keep(letters)

    def _turn(self) -> None:
        """Begins a new file: the older half goes."""
        older = len(self._kept) - self._in_file
        if self._path.exists():
            self._path.replace(self._older)
            self._torn = False
        for _ in range(older):
            letter = self._kept.popleft()
            self._gone[letter.reading.reason] += 1
            self._there.discard(letter.identity)
        self._in_file = 0

    def _keep(self, letters: Iterable[Letter]) -> None:
        for letter in letters:
            self._kept.append(letter)
            self._there.add(letter.identity)

    def _load(self) -> None:
        for path in (self._older, self._path):
            self._in_file = 0
            if not path.exists():
                continue
            raw = path.read_bytes()
            self._torn = not raw.endswith(b"\n")
            for line in raw.splitlines():
                told = _parse(line)
                if isinstance(told, Letter):
                    self._keep([told])
                    self._in_file += 1
                elif told is not None:
                    self._gone = told


def _letter_line(letter: Letter) -> bytes:
    reading = letter.reading
    return _line(
        {
            "number": letter.number,
            "row": letter.row,
            "at_us": reading.at_us,
            "reason": reading.reason,
            "message": reading.message[:LINE_CHARACTERS_MAX],
            "line": reading.line[:LINE_CHARACTERS_MAX],
        }
    )


def _line(told: Mapping[str, object]) -> bytes:
    return json.dumps(told, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _parse(line: bytes) -> Letter | Counter[DeadLetter] | None:
    """A letter, or the counts of what is gone; None for what is neither."""
    try:
        told: Any = json.loads(line)
        if "gone" in told:
            return Counter({DeadLetter(reason): int(count) for reason, count in told["gone"].items()})
        reading = DeadReading(DeadLetter(told["reason"]), str(told["line"]), str(told["message"]), int(told["at_us"]))
        return Letter(int(told["number"]), int(told["row"]), reading)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None

"""Files that people change while the service runs: looked at once a second, taken in when they have changed and are
right.

Lives here: the loop, and what is told of a file that is wrong. Not here: any format, and what is done with what the
files say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import structlog

from dcim.core.errors import Permanent, Transient

log = structlog.get_logger()

PACE_S = 1.0
"""Seconds between two looks."""

Found = TypeVar("Found")


class _Stamp(NamedTuple):
    """What tells a file from itself before it was changed."""

    changed_ns: int
    size: int
    inode: int


class Followed(Generic[Found]):
    """Keeps in force what some files say together. Files that are wrong change nothing."""

    def __init__(self, what: str, files: Sequence[Path], read: Callable[[], Found], pace_s: float = PACE_S) -> None:
        """what: of the files, as logs call it, such as "rule file". read: reads all of them, in a worker thread; raises
        Permanent with what is wrong. Make it before the files are read for the first time: what is changed since then
        is taken in."""
        self._what, self._files, self._read, self._pace_s = what, tuple(files), read, pace_s
        self._seen = self._stamps()
        self.failing = ""
        """What is wrong with a file, a line for each mistake with its place; "" where nothing is."""

    async def run(self, adopt: Callable[[Found], Awaitable[None]]) -> None:
        """Runs until cancelled. adopt: puts what was read in force; may raise Transient, and is then tried again."""
        while True:
            await asyncio.sleep(self._pace_s)
            await self.look(adopt)

    async def look(self, adopt: Callable[[Found], Awaitable[None]]) -> bool:
        """Takes the files in if one is another than at the last look; whether something was put in force."""
        stamps = await asyncio.to_thread(self._stamps)
        if stamps == self._seen:
            return False
        files = [str(file) for file in self._files]
        try:
            await adopt(await asyncio.to_thread(self._read))
        except Permanent as error:
            self._seen, self.failing = stamps, str(error)
            log.error(f"the {self._what} is wrong; what was in force before it stays", told=self.failing)
            return False
        except Transient as error:
            log.error(f"the changed {self._what} was not put in force; it is tried again", told=str(error))
            return False
        self._seen, self.failing = stamps, ""
        log.info(f"the changed {self._what} is in force", files=files)
        return True

    def _stamps(self) -> tuple[_Stamp | None, ...]:
        return tuple(_stamp(file) for file in self._files)


def _stamp(file: Path) -> _Stamp | None:
    """None where there is no file, or none that may be looked at."""
    try:
        told = file.stat()
    except OSError:
        return None
    return _Stamp(told.st_mtime_ns, told.st_size, told.st_ino)

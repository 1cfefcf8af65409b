"""The rule file while the service runs: looked at once a second, taken in when it has changed and is right.

Lives here: the loop, and what is told of a file that is wrong. Not here: the format (alerts.rules), what the engine and
the detector of limits make of other rules."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import structlog

from alerts import rules
from alerts.rules import Ruleset
from dcim.core.errors import Permanent, Transient

log = structlog.get_logger()

PACE_S = 1.0
"""Seconds between two looks."""


class _Stamp(NamedTuple):
    """What tells a file from itself before it was changed."""

    changed_ns: int
    size: int
    inode: int


class RuleFile:
    """Keeps the rules in force what the file says. A file that is wrong changes nothing."""

    def __init__(self, file: Path, pace_s: float = PACE_S) -> None:
        """Make it before the file is read for the first time: what is changed since then is taken in."""
        self._file, self._pace_s = file, pace_s
        self._seen = _stamp(file)
        self.failing = ""
        """What is wrong with the file, a line for each mistake with its place; "" where nothing is."""

    async def run(self, adopt: Callable[[Ruleset], Awaitable[None]]) -> None:
        """Runs until cancelled. adopt: puts rules in force; may raise Transient, and is then tried again."""
        while True:
            await asyncio.sleep(self._pace_s)
            await self.look(adopt)

    async def look(self, adopt: Callable[[Ruleset], Awaitable[None]]) -> bool:
        """Takes the file in if it is another than at the last look; whether rules were put in force."""
        stamp = await asyncio.to_thread(_stamp, self._file)
        if stamp == self._seen:
            return False
        try:
            ruleset = await asyncio.to_thread(rules.load, self._file)
            await adopt(ruleset)
        except Permanent as error:
            self._seen, self.failing = stamp, str(error)
            log.error("the rule file is wrong; the rules before it stay in force", told=self.failing)
            return False
        except Transient as error:
            log.error("the rules were not put in force; it is tried again", told=str(error))
            return False
        self._seen, self.failing = stamp, ""
        log.info("the rules of the changed file are in force", file=str(self._file), rules=len(ruleset.rules))
        return True


def _stamp(file: Path) -> _Stamp | None:
    """None where there is no file, or none that may be looked at."""
    try:
        told = file.stat()
    except OSError:
        return None
    return _Stamp(told.st_mtime_ns, told.st_size, told.st_ino)

"""Upkeep of the store: once a minute it rolls readings up and drops what is past its retention, a piece at a time.

Lives here: the loop, what it tells, and its figures. Not here: how a piece is done (dcim.store), how long things are
kept (settings.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from dcim.core.errors import DcimError
from dcim.core.ports import Maintained, Upkept
from dcim.core.readings import Tier

log = structlog.get_logger()

PACE_S = 60.0
"""Seconds between two rounds."""
PAUSE_S = 0.01
"""Seconds between two pieces of a round: so that a writer who waits comes first."""


class Upkeep:
    """The loop, over a store that has to be asked. Pieces run in a worker thread."""

    def __init__(self, store: Upkept, clock: Callable[[], datetime], pace_s: float = PACE_S) -> None:
        self._store, self._clock, self._pace_s = store, clock, pace_s
        self.dropped: dict[Tier, int] = dict.fromkeys(Tier, 0)
        """Rows that the retention has dropped since the start, by tier."""
        self.behind = timedelta(0)
        """How much time is due to be rolled up and is not, as of the last piece."""
        self.failing = ""
        """What was wrong the last time, in words; empty where nothing was."""

    async def run(self) -> None:
        """Runs until cancelled. What fails is told, and tried again a minute later: ingest does not depend on it."""
        while True:
            try:
                await self._round()
                self.failing = ""
            except DcimError as error:
                self.failing = str(error)
                log.error("upkeep of the store did not come to an end; it is tried again", error=self.failing)
            await asyncio.sleep(self._pace_s)

    async def _round(self) -> None:
        more = True
        rolled, dropped = dict.fromkeys(Tier, 0), dict.fromkeys(Tier, 0)
        try:
            while more:
                done = await asyncio.to_thread(self._store.maintain, self._clock())
                self._count(done, rolled, dropped)
                more = done.more
                await asyncio.sleep(PAUSE_S)
        finally:
            if any(dropped.values()):
                log.info("dropped what is past its retention", **{str(tier): rows for tier, rows in dropped.items()})
            if any(rolled.values()):
                log.debug("rolled up", minutes=rolled[Tier.MINUTE], hours=rolled[Tier.HOUR])

    def _count(self, done: Maintained, rolled: dict[Tier, int], dropped: dict[Tier, int]) -> None:
        self.behind = done.behind
        for tier, rows in done.rolled.items():
            rolled[tier] += rows
        for tier, rows in done.dropped.items():
            dropped[tier] += rows
            self.dropped[tier] += rows

"""Checkpoints of the journal: one whenever enough has been written since the last, so that a start after a crash reads
few rows.

One is made on a thread of its own with a connection of its own: alarms wait neither for it nor because of it.

Lives here: the loop. Not here: what a checkpoint is (alerts.checkpoint), how it is kept (alerts.journal)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from alerts.journal import SqlJournal
from dcim.core.errors import DcimError

log = structlog.get_logger()

ROWS = 10_000
"""Rows of the journal between two checkpoints: a start reads so many in a few tenths of a second."""
PACE_S = 5.0
"""Seconds between two looks."""
AGAIN_S = 60.0
"""Seconds after which it is tried again where one was not made."""


class Checkpoints:
    """The loop over the journal of this URL."""

    def __init__(self, url: str, head: Callable[[], int], *, rows: int = ROWS, pace_s: float = PACE_S) -> None:
        """head: number of the journal's last row."""
        self._url, self._head, self._rows, self._pace_s = url, head, rows, pace_s
        self.last: int | None = None
        """The row of the latest one; None before the first look."""

    async def run(self) -> None:
        """Runs until cancelled. One that is not made is told, and tried again: nothing but a start depends on it."""
        while True:
            try:
                await self.look()
            except DcimError as error:
                log.error("no checkpoint of the journal was made; it is tried again", error=str(error))
                await asyncio.sleep(AGAIN_S)
            await asyncio.sleep(self._pace_s)

    async def look(self) -> bool:
        """Makes one if it is time; whether one was made. Raises Transient and Permanent as the journal does."""
        if self.last is None:
            self.last = await asyncio.to_thread(lambda: asyncio.run(self._latest()))
        if self._head() - self.last < self._rows:
            return False
        self.last = await asyncio.to_thread(lambda: asyncio.run(self._make()))
        return True

    async def _latest(self) -> int:
        journal = SqlJournal(self._url)
        try:
            await journal.open(existing=True)
            return await journal.checkpointed()
        finally:
            await journal.close()

    async def _make(self) -> int:
        journal = SqlJournal(self._url)
        try:
            await journal.open(existing=True)
            return await journal.checkpoint()
        finally:
            await journal.close()

"""NetBox, read again and again while the service runs, into the file that the inventory is taken from.

Lives here: the loop, what is told where it fails, and what changed in lines. Not here: NetBox (collectors.netbox), the
file and its way in (inventory_file.py, followed.py): what NetBox says comes in as if somebody had imported it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from dcim.core.claims import differences
from dcim.core.errors import DcimError
from dcim.core.inventory import Inventory
from dcim.core.ports import Trouble

log = structlog.get_logger()

AGAIN = timedelta(minutes=1)
"""After this it is tried again where it failed, or sooner where it is read more often than that."""
LINES_MAX = 50
"""So many changes of one reading are told; the last line counts the others."""


class NetboxReading:
    """The loop. It reads at once, and then from time to time."""

    def __init__(
        self,
        take_in: Callable[[Callable[[], bool]], list[str]],
        every: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        """take_in: reads NetBox into the file, and answers what changed in lines; asks what it is handed whether nobody
        waits any longer. It runs in a worker thread, and raises Permanent or Transient."""
        self._take_in, self._every, self._clock = take_in, every, clock
        self.trouble: Trouble | None = None
        """Why it could not be read, and since when; None where it was, the last time."""

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            done = await self.read()
            await asyncio.sleep((self._every if done else min(self._every, AGAIN)).total_seconds())

    async def read(self) -> bool:
        """Reads it once; whether it could be. What stood in the file before stays there otherwise."""
        given_up = threading.Event()
        try:
            lines = await asyncio.to_thread(self._take_in, given_up.is_set)
        except asyncio.CancelledError:
            given_up.set()  # the thread goes on until its next page, and whoever ends us would wait for it
            raise
        except DcimError as error:
            since = self.trouble.since if self.trouble is not None else self._clock()
            self.trouble = Trouble(since, str(error))
            log.error("NetBox was not read; what it said before stays in force", told=str(error))
            return False
        self.trouble = None
        log.info("NetBox was read", told=cut(lines))
        return True


def cut(lines: list[str]) -> list[str]:
    """Lines for a log, LINES_MAX at the most, with how many more there are."""
    more = len(lines) - LINES_MAX
    return lines if more <= 0 else [*lines[:LINES_MAX], f"and {more} more"]


def tell_changes(before: Inventory, after: Inventory) -> None:
    """Tells, in the log, what is another in the inventory that is in force now, and how many conflicts it has."""
    log.info(
        "the inventory in force is another",
        changes=cut(differences(before, after)),
        conflicts=len(after.conflicts),
    )

"""From the queue of a source to the store: hands over batch after batch, and acknowledges what has become durable.

Lives here: the one loop between `Intake` and `deliver`, its retries, and how a source's loops run as one. Not here:
what is in a batch and when it is due (intake.py), sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from collectors.mqtt.backoff import Backoff
from collectors.mqtt.intake import Intake
from dcim.core.errors import Transient
from dcim.core.ledger import Fault, Ledger
from dcim.core.ports import Batch, Deliver

_log = structlog.get_logger(__name__)


class Delivery:
    """Delivers what an intake holds, in order, one batch at a time."""

    def __init__(self, intake: Intake, ledger: Ledger, backoff: Backoff) -> None:
        self._intake, self._ledger, self._backoff = intake, ledger, backoff
        self._ring = asyncio.Event()
        intake.wake = self._ring.set

    async def run(self, deliver: Deliver) -> None:
        """Runs until cancelled. A batch that cannot be made durable is tried again until it can: nothing is dropped
        for it, nothing acknowledged, and the intake, once full, stops the connections that fill it. Raises what
        `deliver` raises beside Transient."""
        while True:
            await self._until_due()
            handover = self._intake.take()
            await self._persist(handover.batch, deliver)
            for owner, ids in handover.receipts:
                owner.acknowledge(ids)
            self._intake.settle()

    async def _until_due(self) -> None:
        loop = asyncio.get_running_loop()
        while (due := self._intake.due()) is None or due > loop.time():
            self._ring.clear()
            timer = None if due is None else loop.call_at(due, self._ring.set)
            try:
                await self._ring.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    async def _persist(self, batch: Batch, deliver: Deliver) -> None:
        while True:
            try:
                await deliver(batch)
            except Transient as error:
                self._ledger.fault(batch.source, Fault.DELIVERY_FAILED)
                if not self._backoff.failures:
                    _log.warning(
                        "cannot make messages durable; they are kept and tried again, and not acknowledged",
                        source=batch.source,
                        messages=len(batch.messages),
                        error=str(error),
                    )
                await asyncio.sleep(self._backoff.next_s())
            else:
                if self._backoff.failures:
                    _log.info("messages are durable again", source=batch.source, attempts=self._backoff.failures)
                self._backoff.reset()
                return


async def run_together(*loops: Coroutine[Any, Any, None]) -> None:
    """Runs loops that never return, until one raises or all are cancelled; then stops the others and raises that error
    as it is, which a TaskGroup would wrap."""
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

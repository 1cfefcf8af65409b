"""A subscriber at a real broker, with a store and an account of its own, for tests.

Lives here: what tests of every broker share. Not here: brokers (mosquitto.py, nats.py), what is expected of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from collectors.mqtt.fields import V5
from collectors.mqtt.subscriber import Subscriber, SubscriberSettings
from dcim.core.ledger import Fault, Ledger
from tests.broker import Broker
from tests.mqtt_rig import PATIENCE_S, Store


class Collector:
    """A subscriber at a broker, with a store and an account of its own."""

    def __init__(self, broker: Broker, version: int = V5, **settings: object) -> None:
        self.store, self.ledger = Store(), Ledger()
        self.ledger.open("bus", "none", datetime.now(UTC))
        defaults = {"client_id": "dcim", "filters": ("t/#",), "retry_base_s": 0.05, "retry_cap_s": 0.2}
        merged = {"host": broker.host, "port": broker.port, "version": version} | defaults | settings
        self.subscriber = Subscriber(SubscriberSettings(name="bus", **merged), self.ledger)

    def faults(self) -> dict[Fault, int]:
        return self.ledger.tallies()[0].faults

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110  neither ledger nor status ring a bell
                await asyncio.sleep(0.01)

    async def ready(self) -> None:
        """Waits until the broker has it subscribed: a retained message is what tells."""
        await self.until(lambda: any(message.topic == b"t/ready" for message in self.store.messages))

    def numbers(self, topic: bytes = b"t/n") -> list[int]:
        return [int(message.payload) for message in self.store.messages if message.topic == topic]


@asynccontextmanager
async def collecting(collector: Collector) -> AsyncIterator[Collector]:
    run = asyncio.create_task(collector.subscriber.run(collector.store.deliver))
    try:
        yield collector
        if run.done():
            run.result()
    finally:
        run.cancel()
        await asyncio.wait([run])

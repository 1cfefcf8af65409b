"""The whole service inside a test: everything in memory, real HTTP, messages handed straight to the way in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from dcim.app.build import build
from dcim.app.clock import Clock
from dcim.app.service import Service
from dcim.app.settings import Alarms, BrokerSource, Http, ListenerSource, Notices, PlacedAsset, Settings, Store
from dcim.core.ports import Batch, Message
from dcim.core.times import now, to_us

SITE = "titan"
MEMORY = Store(kind="memory")
EAR = ListenerSource(kind="listener", name="ear", site=SITE, bind="127.0.0.1:0")


@dataclass
class Inside:
    """A running service and a client of its API."""

    service: Service
    client: httpx.AsyncClient

    async def send(self, *messages: tuple[str, object]) -> None:
        """Delivers messages (topic, JSON or bytes) as the source "ear" would, and waits until they are durable."""
        batch = [
            Message(topic.encode(), body if isinstance(body, bytes) else json.dumps(body).encode())
            for topic, body in messages
        ]
        await self.service.intake.deliver(Batch("ear", batch, self.service.context.clock.us()))

    async def get(self, path: str, status: int = 200) -> Any:
        """The JSON answer, after checking the status."""
        answer = await self.client.get(path)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def until(self, check: Callable[[], Awaitable[Any]], patience_s: float = 15) -> Any:
        """The first truthy answer of `check`."""
        async with asyncio.timeout(patience_s):
            while True:
                answer = await check()
                if answer:
                    return answer
                await asyncio.sleep(0.02)


def inside(
    scenario: Callable[[Inside], Awaitable[None]],
    journal: str = "sqlite+aiosqlite:///:memory:",
    tick_s: float = 0.2,
    store: Store = MEMORY,
    clock: Clock | None = None,
    sources: tuple[BrokerSource | ListenerSource, ...] = (EAR,),
    rules: Path | None = None,
    notices: Notices | None = None,
    **more: Any,
) -> None:
    """Runs a scenario against a service that lives as long as it. more: other tables of the settings."""
    settings = Settings(
        sources=sources,
        store=store,
        alarms=Alarms(journal=journal, tick_s=tick_s, rules=rules),
        http=Http(bind="127.0.0.1:0"),
        notices=notices or Notices(),
        assets=(PlacedAsset(site=SITE, id="R1", hall="Hall 2", row="C", position=7, rated_power_kw=120),),
        **more,
    )

    async def run() -> None:
        service = await build(settings, clock)

        async def alongside() -> None:
            for source in sources:
                if isinstance(source, ListenerSource):
                    await service.address_of(source.name)
            async with httpx.AsyncClient(base_url=service.url, timeout=10) as client:
                try:
                    await scenario(Inside(service, client))
                finally:
                    service.stop()

        await service.run(alongside)

    asyncio.run(run())


def metadata(kind: str, point: str, path: str, **fields: object) -> tuple[str, object]:
    """A metadata message of the bus."""
    return f"BMS/v1/PUB/Metadata/{kind}/{point}/{path}", {"objectType": kind, "pointType": point, **fields}


def rack_metadata(point: str, rack: str = "R1", **fields: object) -> tuple[str, object]:
    """Metadata of a rack's point."""
    return metadata("Rack", point, f"{rack}/{point}", rackLocationId=rack, rackLocationName=rack, **fields)


def value(
    kind: str, point: str, path: str, number: object, *, ago_s: float = 0, quality: int = 1
) -> tuple[str, object]:
    """A value message of the bus."""
    at_ms = to_us(now() - timedelta(seconds=ago_s)) // 1000
    return f"BMS/v1/PUB/Value/{kind}/{point}/{path}", {"value": number, "timestamp": at_ms, "quality": quality}


def rack_value(point: str, number: object, rack: str = "R1", **how: Any) -> tuple[str, object]:
    """A value of a rack's point."""
    return value("Rack", point, f"{rack}/{point}", number, **how)


LEAK_WORDS = [{"value": 0, "text": "NoLeak"}, {"value": 1, "text": "Leak"}]

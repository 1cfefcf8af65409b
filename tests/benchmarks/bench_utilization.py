"""What a question about a month costs: 1,000 racks, 30 days, the site's use with p95 by rack, from the embedded store.

    python -m tests.benchmarks.bench_utilization [--racks 1000] [--days 30]

The racks are read once a minute here, so that filling the store takes a minute and not an hour; what is measured is
answered from the hours, which are as many at any pace."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np

from dcim.app.build import build
from dcim.app.settings import Alarms, Http, ListenerSource, Settings, Store
from dcim.core.ports import Batch, Message
from dcim.core.readings import Readings
from dcim.core.times import to_us
from dcim.store.embedded import EmbeddedStore
from tests.benchmarks.bench_store import machine

MINUTE_US = 60_000_000
CLOCK = time.process_time if os.environ.get("DCIM_BUSY_MACHINE") else time.perf_counter
EAR = ListenerSource(kind="listener", name="ear", site="demo", bind="127.0.0.1:0")


def month(racks: int, start_us: int, minutes: int) -> Iterator[Readings]:
    """Every rack's power, once a minute."""
    rng = np.random.default_rng(1)
    level = rng.uniform(40, 110, racks)
    each = max(1, 200_000 // racks)
    for first in range(0, minutes, each):
        count = min(each, minutes - first)
        values = np.round(level * rng.uniform(0.8, 1.1, (count, racks)), 2)
        yield Readings(
            np.tile(np.arange(racks, dtype=np.uint32), count),
            np.repeat(start_us + (first + np.arange(count)) * MINUTE_US, racks),
            values.ravel(),
            np.zeros(count * racks, np.uint8),
        )


async def ask(folder: Path, racks: int, days: int) -> None:
    """Fills a store, and asks a service over it."""
    settings = Settings(
        sources=(EAR,),
        store=Store(path=folder / "t.duckdb"),
        alarms=Alarms(journal="sqlite+aiosqlite:///:memory:", tick_s=60),
        http=Http(bind="127.0.0.1:0"),
    )
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    service = await build(settings)
    described = [
        Message(
            f"BMS/v1/PUB/Metadata/Rack/RackPower/R{n:04}/p".encode(),
            (
                '{"objectType":"Rack","pointType":"RackPower","engUnit":"kW",'
                f'"rackLocationId":"R{n:04}","rackLocationName":"R{n:04}"}}'
            ).encode(),
        )
        for n in range(racks)
    ]

    async def measure() -> None:
        await service.address_of("ear")
        await service.intake.deliver(Batch("ear", described, service.context.clock.us()))
        store = service.context.store
        assert isinstance(store, EmbeddedStore)
        start_us = to_us(end - timedelta(days=days))
        for batch in month(racks, start_us, days * 1_440):
            await asyncio.to_thread(store.append, batch)
        while (await asyncio.to_thread(store.maintain, end)).more:
            pass
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
            async with asyncio.timeout(30):
                while (await client.get("/api/v1/scopes?limit=1")).json()["total"] < racks:  # noqa: ASYNC110
                    await asyncio.sleep(0.5)
            await questions(client, end, days)
        service.stop()

    await service.run(measure)


async def questions(client: httpx.AsyncClient, end: datetime, days: int) -> None:
    """The questions, each cold and then kept."""
    start = end - timedelta(days=days)
    base = f"/api/v1/utilization?start={start:%Y-%m-%dT%H:%M:%SZ}&end={end:%Y-%m-%dT%H:%M:%SZ}&scope=site/demo"
    for what, query in (
        ("site, p95 by rack", f"{base}&group_by=rack&stat=p95"),
        ("site, all figures by rack", f"{base}&group_by=rack"),
        ("site alone", base),
        ("site, compared with the month before", f"{base}&compare=true&stat=mean"),
    ):
        cold = await timed(client, query)
        kept = sorted([await timed(client, query) for _ in range(50)])
        each_s = await rate(str(client.base_url), query)
        print(f"{what:40} cold {cold * 1e3:7.1f} ms   kept {kept[25] * 1e3:6.2f} ms, {each_s:,.0f}/s a core")


CLIENT = """
import socket, sys
port, path, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
ask = f"GET {path} HTTP/1.1\\r\\nHost: localhost\\r\\nAccept-Encoding: gzip\\r\\n\\r\\n".encode()
with socket.create_connection(("127.0.0.1", port)) as link:
    answers = link.makefile("rb")
    for _ in range(count):
        link.sendall(ask)
        assert answers.readline().startswith(b"HTTP/1.1 200"), path
        length = 0
        while (line := answers.readline()) != b"\\r\\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        assert len(answers.read(length)) == length
"""


async def rate(url: str, query: str, count: int = 200) -> float:
    """Answers that are kept, in a second of this process's processor, to a client in a process of its own."""
    port = url.rstrip("/").rpartition(":")[2]
    begun = time.process_time()
    asking = await asyncio.create_subprocess_exec(sys.executable, "-c", CLIENT, port, query, str(count))
    if await asking.wait():
        raise RuntimeError("the client failed")
    return count / (time.process_time() - begun)


async def timed(client: httpx.AsyncClient, query: str) -> float:
    """Seconds until the whole answer was there; of the processor, where others want it too."""
    begun = CLOCK()
    answer = await client.get(query)
    answer.raise_for_status()
    return CLOCK() - begun


def main() -> None:
    """Runs it and prints a line for each question."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--racks", type=int, default=1_000, help="(default: %(default)s)")
    parser.add_argument("--days", type=int, default=30, help="(default: %(default)s)")
    given = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(ask(Path(name), given.racks, given.days))


if __name__ == "__main__":
    main()

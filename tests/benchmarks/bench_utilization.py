"""What a question about a month costs: 1,000 racks, 30 days, the site's use with p95 by rack, from the embedded store.

    python -m tests.benchmarks.bench_utilization [--racks 1000] [--days 30] [--every 60]

The racks are read once a minute here, so that filling the store takes minutes and not an hour; what is measured is
answered from the hours, which are as many at any pace. Readings go in through `append` and are rolled up by `maintain`,
as a service does it. Then `dcim serve` answers in a process of its own: counted is the CPU time of that process, with
all that it does besides, and the time until the client here has the whole answer."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from dcim.app.build import build
from dcim.app.settings import Alarms, Http, ListenerSource, Settings, Store
from dcim.core.ports import Batch, Message
from dcim.core.readings import Readings
from dcim.core.times import to_us
from dcim.store.embedded import EmbeddedStore
from tests.benchmarks.bench_line import cpu_s, source
from tests.benchmarks.bench_store import machine
from tests.e2e.running import Running, free_port, serving, wait_for

DAY_S = 86_400
BATCH = 200_000
EAR = ListenerSource(kind="listener", name="ear", site="bench", bind="127.0.0.1:0")
COLD, KEPT, RATE, LINKS = 5, 50, 2_000, 8
"""How often a question is asked that nothing is kept for, and that is kept; how often by how many connections."""


# --- the month -------------------------------------------------------------------------------------------------------


def day(racks: int, start_us: int, every_s: int, seed: int) -> Iterator[Readings]:
    """Every rack's power through one day, batch by batch."""
    rng = np.random.default_rng(seed)
    level, scans = 40.0 + 70.0 * (np.arange(racks) / racks), DAY_S // every_s
    each = max(1, BATCH // racks)
    for first in range(0, scans, each):
        count = min(each, scans - first)
        values = np.round(level * rng.uniform(0.8, 1.1, (count, racks)), 2)
        yield Readings(
            np.tile(np.arange(racks, dtype=np.uint32), count),
            np.repeat(start_us + (first + np.arange(count)) * every_s * 1_000_000, racks),
            values.ravel(),
            np.zeros(count * racks, np.uint8),
        )


async def fill(folder: Path, racks: int, end: datetime, days: int, every_s: int) -> None:
    """A store in which the racks are described, and each has its readings of so many days."""
    settings = Settings(
        sources=(EAR,),
        store=Store(path=folder / "telemetry.duckdb"),
        alarms=Alarms(journal="sqlite+aiosqlite:///:memory:", tick_s=60),
        http=Http(bind="127.0.0.1:0"),
    )
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

    async def work() -> None:
        store = service.context.store
        assert isinstance(store, EmbeddedStore)
        await service.intake.deliver(Batch("ear", described, service.context.clock.us()))
        began, spent = time.monotonic(), time.process_time()
        for number in range(days):
            start = end - timedelta(days=days - number)
            for batch in day(racks, to_us(start), every_s, number):
                await asyncio.to_thread(store.append, batch)
            while (await asyncio.to_thread(store.maintain, start + timedelta(days=1))).more:
                pass
            print(
                f"  day {number + 1} of {days}: {(number + 1) * racks * DAY_S // every_s:,} readings, "
                f"{time.monotonic() - began:.0f} s, {time.process_time() - spent:.0f} s of CPU",
                flush=True,
            )
        service.stop()

    await service.run(work)


# --- the questions ---------------------------------------------------------------------------------------------------


class Took(NamedTuple):
    """One answer, or the median of several: by the clock, and CPU of the service."""

    wall_ms: float
    cpu_ms: float
    tag: str = ""


def asked(service: Running, path: str) -> Took:
    """Asks once, until the whole answer is there. The connection is made before, and is a new one: on a busy machine
    one that has rested may be gone."""
    link, pid = http.client.HTTPConnection("127.0.0.1", service.port, timeout=600), service.process.pid
    link.connect()
    with contextlib.closing(link):
        spent, began = cpu_s(pid), time.perf_counter()
        link.request("GET", path, headers={"Accept-Encoding": "gzip"})
        with link.getresponse() as answer:
            answer.read()
        took_s = time.perf_counter() - began
    if answer.status != 200:
        raise RuntimeError(f"{answer.status} for {path}")
    return Took(took_s * 1e3, (cpu_s(pid) - spent) * 1e3, answer.headers["ETag"])


def middle(taken: list[Took]) -> Took:
    return Took(median(one.wall_ms for one in taken), median(one.cpu_ms for one in taken))


CLIENT = """
import socket, sys
port, path, status, tag = int(sys.argv[1]), sys.argv[2], sys.argv[3].encode(), sys.argv[4]
count, wide = int(sys.argv[5]), int(sys.argv[6])
told = {"Host": "localhost", "Accept-Encoding": "gzip", "If-None-Match": tag}
ask = "\\r\\n".join([f"GET {path} HTTP/1.1", *(": ".join(one) for one in told.items()), "", ""]).encode()
links = [socket.create_connection(("127.0.0.1", port)) for _ in range(wide)]
answers = [link.makefile("rb") for link in links]
for _ in range(count // wide):
    for link in links:
        link.sendall(ask)
    for answer in answers:
        assert (line := answer.readline()).startswith(b"HTTP/1.1 " + status), line
        length = 0
        while (line := answer.readline()) != b"\\r\\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        assert len(answer.read(length)) == length
"""
"""A client that costs little. It is a process of its own, and of some connections, as those of a service are."""


def rate(service: Running, path: str, status: int, tag: str) -> float:
    """Answers that are kept, in a second of one processor."""
    spent = cpu_s(service.process.pid)
    subprocess.run(
        [sys.executable, "-c", CLIENT, str(service.port), path, str(status), tag, str(RATE), str(LINKS)], check=True
    )
    return RATE / (cpu_s(service.process.pid) - spent)


def questions(service: Running, end: datetime, days: int) -> None:
    """A line for each question: first, when nothing is kept for it, and when it is."""
    start = end - timedelta(days=days)
    base = f"/api/v1/utilization?start={start:%Y-%m-%dT%H:%M:%SZ}&end={end:%Y-%m-%dT%H:%M:%SZ}&scope=site/bench"
    print(f"{'':40}{'first':>9}{'anew':>18}{'kept':>10}{'200':>12}{'304':>10}")
    print(f"{'':40}{'ms':>9}{'ms':>9}{'CPU ms':>9}{'ms':>10}{'a CPU-s':>12}{'a CPU-s':>10}")
    for what, query in (
        ("site, p95 by rack", f"{base}&group_by=rack&stat=p95"),
        ("site, all figures by rack", f"{base}&group_by=rack"),
        ("site alone", base),
        ("site, against the month before", f"{base}&compare=true&stat=mean"),
    ):
        first = asked(service, query)
        anew = middle([asked(service, f"{query}&again={number}") for number in range(COLD)])
        tag = asked(service, query).tag
        kept = middle([asked(service, query) for _ in range(KEPT)])
        whole, short = rate(service, query, 200, '"other"'), rate(service, query, 304, tag)
        print(
            f"{what:40}{first.wall_ms:9.0f}{anew.wall_ms:9.0f}{anew.cpu_ms:9.0f}{kept.wall_ms:10.2f}"
            f"{whole:12,.0f}{short:10,.0f}",
            flush=True,
        )


def main() -> None:
    """Fills a store, and asks a service over it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--racks", type=int, default=1_000, help="(default: %(default)s)")
    parser.add_argument("--days", type=int, default=30, help="(default: %(default)s)")
    parser.add_argument("--every", type=int, default=60, metavar="SECONDS", help="between readings (%(default)s)")
    parser.add_argument("--folder", type=Path, help="fill a store there, or ask one that is there already")
    given = parser.parse_args()
    print(machine())
    print(", ".join(f"{name} {version(name)}" for name in ("uvicorn", "httptools", "fastapi", "polars")), flush=True)
    with tempfile.TemporaryDirectory(prefix="dcim-bench-") as name:
        folder = given.folder or Path(name)
        stamp = folder / "end.txt"
        if not stamp.exists():
            end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
            asyncio.run(fill(folder, given.racks, end, given.days, given.every))
            stamp.write_text(end.isoformat())
        ear = source("ear", "listener", f'bind = "127.0.0.1:{free_port()}"')
        with serving(folder, ear) as service:
            wait_for("the racks", lambda: service.get("/api/v1/scopes?limit=1")["total"] >= given.racks)
            questions(service, datetime.fromisoformat(stamp.read_text()), given.days)


if __name__ == "__main__":
    main()

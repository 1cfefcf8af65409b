"""What handing readings on to InfluxDB costs us, and how fast it goes, in one run.

    python -m tests.benchmarks.bench_influx [--batches 50]

Into a server that says yes to everything at once, in a process of its own: what our side can do. And, where
DCIM_TEST_INFLUX_URL, _TOKEN and _ORG name a real one, into that: what it takes. CPU is that of this process alone."""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from dcim.core.readings import Readings
from dcim.core.times import now
from dcim.store.influx import InfluxStore, Place
from tests.benchmarks.bench_store import BATCH, machine, scans, tell
from tests.influx_real import URL, Buckets


def sink(told: Connection) -> None:
    """A server that takes every write and answers no question."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                await reader.readexactly(int(length.split(b":")[1]))
                writer.write(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
        except asyncio.IncompleteReadError:
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def yes() -> Iterator[Place]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=sink, args=(there,), daemon=True)
    process.start()
    try:
        yield Place(f"http://127.0.0.1:{here.recv()}", "org", "bucket", lambda: "token")
    finally:
        process.terminate()
        process.join()


def hand_on(place: Place, batches: list[Readings], what: str) -> None:
    """Appends as fast as it goes while the forwarder hands on, and waits for that to end."""
    rows = sum(len(batch) for batch in batches)
    with tempfile.TemporaryDirectory() as folder, InfluxStore(place, Path(folder) / "influx", 2**30, now) as store:
        began, cpu = time.perf_counter(), time.process_time()
        appends = []
        for batch in batches:
            start = time.perf_counter()
            store.append(batch)
            appends.append(time.perf_counter() - start)
        assert store.drain(3600)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    tell(f"append, while {what} takes it", np.array(appends), BATCH)
    print(
        f"{f'handed on to {what}':<52}{rows / seconds:>11,.0f} rows/s   {cpu / rows * 1e6:.2f} s of our CPU a million"
    )


def main() -> None:
    """Runs all of it and prints a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=50, help="batches of 20 000 rows (default: %(default)s)")
    batches = list(scans(parser.parse_args().batches))
    print(machine(), f"load {os.getloadavg()[0]:.1f}")
    with yes() as place:
        hand_on(place, batches, "a server that says yes")
    if URL:
        with Buckets() as buckets:
            hand_on(buckets.place, batches, "InfluxDB")
    else:
        print("DCIM_TEST_INFLUX_URL names no InfluxDB: only our own side was measured")


if __name__ == "__main__":
    main()

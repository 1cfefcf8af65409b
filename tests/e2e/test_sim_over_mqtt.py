"""The simulated hall over a real broker: what was made arrives, once, in order, and its metadata stays."""

from __future__ import annotations

import asyncio
import itertools
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import aiomqtt
import pytest

from collectors.publish import Broker, Outgoing, publish
from dcim.sim.hall import Hall, HallSettings
from dcim.sim.run import simulate

HALL = Hall(HallSettings(racks=2, hosts_per_rack=1, gpus_per_host=2, rack_power_kw=5.0))


@pytest.fixture
def broker() -> Iterator[Broker]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with subprocess.Popen(
        ["mosquitto", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline and process.poll() is None, "mosquitto does not listen"
                time.sleep(0.05)
        yield Broker("127.0.0.1", port)
        process.terminate()


@pytest.mark.slow
@pytest.mark.mosquitto
def test_all_of_it_arrives_and_the_metadata_stays(broker: Broker) -> None:
    start = datetime(2026, 5, 1, tzinfo=UTC)
    made = [m for tick in itertools.islice(simulate(HALL, start, 3), 5) for m in tick.messages]

    async def collect(client: aiomqtt.Client, count: int) -> list[tuple[str, bytes]]:
        arrived = []
        async for message in client.messages:
            arrived.append((str(message.topic), bytes(message.payload)))
            if len(arrived) == count:
                return arrived
        raise AssertionError("the broker hung up")

    async def run() -> None:
        outgoing = (Outgoing(m.topic, lambda _, payload=m.payload: payload, None, m.retain) for m in made)
        async with aiomqtt.Client(broker.host, broker.port) as watcher:
            await watcher.subscribe([("BMS/v1/#", 1), ("dcim/v1/#", 1)])
            collecting = asyncio.create_task(collect(watcher, len(made)))
            assert await publish(outgoing, broker, qos=1) == len(made)
            arrived = await asyncio.wait_for(collecting, 30)
        assert arrived == [(m.topic, m.payload) for m in made]
        async with aiomqtt.Client(broker.host, broker.port) as late:
            await late.subscribe("BMS/v1/#", 1)
            metadata = {(m.topic, m.payload) for m in made if m.retain}
            assert set(await asyncio.wait_for(collect(late, len(metadata)), 30)) == metadata

    asyncio.run(run())

"""What a message costs on its way in: our subscriber and our listener against aiomqtt's receive loop.

    python -m tests.benchmarks.bench_ingest

The same messages (144 bytes of JSON, QoS 1) over the same Mosquitto; the publisher is a process of its own. Counted is
the CPU time of the receiving process, so that the broker's pace does not matter; the ratios are what can be compared.
Nothing is decoded or stored: it is the price of MQTT alone, TCP and acknowledgements included."""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import aiomqtt

from collectors.mqtt.fields import V5, V311
from collectors.mqtt.listener import Listener, ListenerSettings
from collectors.mqtt.packets import Connect, write_connect
from collectors.mqtt.subscriber import Subscriber, SubscriberSettings
from collectors.mqtt.wire import Bounds, Cut, Cutter, write_pubacks
from dcim.core.ledger import Ledger
from dcim.core.ports import Batch, Source
from tests.benchmarks.__main__ import machine
from tests.mosquitto import Mosquitto
from tests.mqtt_peer import publish

TOPICS = [b"BMS/v1/PUB/Value/Rack/RackPower/Hall1/Pod%02d/Rack%03d/power" % (n % 8, n) for n in range(400)]
PAYLOAD = b'{"value":117.25,"timestamp":1743620423000,"quality":1,"note":"'.ljust(142, b"x") + b'"}'
RING = 20_000
"""Messages prepared in advance; the publisher goes round and round."""
UNDER_WAY = 10_000
READ_BYTES = 262_144


def ring(level: int, qos: int) -> list[bytes]:
    """The messages as PUBLISH."""
    return [publish(TOPICS[n % len(TOPICS)], PAYLOAD, qos, n + 1, level) for n in range(RING)]


def send(host: str, port: int, count: int) -> None:
    """Publishes at QoS 1 as fast as it is acknowledged. The publisher's process runs this."""
    packets = ring(V5, 1)
    with socket.create_connection((host, port)) as sock:
        sock.sendall(write_connect(Connect(V5, "publisher")))
        cutter, sent, acknowledged = Cutter(Bounds(), V5), 0, -1  # CONNACK comes before the first
        while acknowledged < count:
            room = min(count - sent, UNDER_WAY - (sent - acknowledged), RING - sent % RING)
            if room >= 1_000 or (room and room in {count - sent, RING - sent % RING}):
                sock.sendall(b"".join(packets[sent % RING : sent % RING + room]))
                sent += room
                continue
            data = sock.recv(READ_BYTES)
            if not data:
                raise ConnectionError("the other end hung up")
            cutter.feed(data)
            while cutter.cut(Cut()) is not None:
                acknowledged += 1


def wire_alone(level: int, qos: int, rounds: int = 10) -> float:
    """Microseconds of CPU for a message that is cut, and for its share of the acknowledgement. The best of some."""
    stream = memoryview(b"".join(ring(level, qos)))
    best = float("inf")
    for _ in range(rounds):
        cutter = Cutter(Bounds(), level)
        cutter.takes_publish = True
        taken, began = 0, time.process_time()
        for at in range(0, len(stream), READ_BYTES):
            cutter.feed(stream[at : at + READ_BYTES])
            cut = Cut()
            cutter.cut(cut)
            write_pubacks(cut.ids)
            taken += len(cut.messages)
        if taken != RING:
            raise AssertionError(f"{taken} of {RING} messages came out")
        best = min(best, (time.process_time() - began) / RING)
    return best * 1e6


class Counter:
    """A `deliver` that only counts."""

    def __init__(self, count: int) -> None:
        self.left, self.done = count, asyncio.Event()

    async def deliver(self, batch: Batch) -> None:
        self.left -= len(batch.messages)
        if self.left <= 0:
            self.done.set()


async def publisher(host: str, port: int, count: int) -> asyncio.subprocess.Process:
    command = ["-m", "tests.benchmarks.bench_ingest", "--publish", host, str(port), str(count)]
    return await asyncio.create_subprocess_exec(sys.executable, *command)


async def of_source(source: Source, address: tuple[str, int], counter: Counter, count: int) -> float:
    """CPU seconds that a source of ours takes for so many messages."""
    run = asyncio.create_task(source.run(counter.deliver))
    while not source.connected:  # type: ignore[attr-defined]  # noqa: ASYNC110  both sources say so
        await asyncio.sleep(0.01)
    process = await publisher(*address, count)
    began = time.process_time()
    await counter.done.wait()
    took = time.process_time() - began
    await process.wait()
    run.cancel()
    await asyncio.wait([run])
    return took


async def of_subscriber(broker: Mosquitto, count: int) -> float:
    ledger = Ledger()
    ledger.open("ours", "none", datetime.now(UTC))
    settings = SubscriberSettings("ours", broker.host, broker.port, "ours", ("BMS/#",))
    counter = Counter(count)
    return await of_source(Subscriber(settings, ledger), (broker.host, broker.port), counter, count)


async def of_listener(count: int) -> float:
    ledger = Ledger()
    ledger.open("ours", "none", datetime.now(UTC))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    listener = Listener(ListenerSettings("ours", "127.0.0.1", port), ledger)
    return await of_source(listener, ("127.0.0.1", port), Counter(count), count)


async def of_aiomqtt(broker: Mosquitto, count: int) -> float:
    spoken = aiomqtt.ProtocolVersion.V5
    async with aiomqtt.Client(broker.host, broker.port, identifier="theirs", protocol=spoken) as client:
        await client.subscribe("BMS/#", qos=1)
        process = await publisher(broker.host, broker.port, count)
        began, left = time.process_time(), count
        async for _message in client.messages:
            left -= 1
            if not left:
                break
        took = time.process_time() - began
        await process.wait()
    return took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000, help="to our sources; aiomqtt gets a fifth")
    parser.add_argument("--publish", nargs=3, metavar=("HOST", "PORT", "COUNT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.publish:
        send(args.publish[0], int(args.publish[1]), int(args.publish[2]))
        return 0

    print(f"bench_ingest: {machine()}")
    print(f"aiomqtt {version('aiomqtt')}, paho-mqtt {version('paho-mqtt')}, payload {len(PAYLOAD)} bytes")
    print("\nthe wire alone, messages a CPU-second:")
    for level, name in ((V311, "3.1.1"), (V5, "5")):
        for qos in (0, 1):
            took_us = wire_alone(level, qos)
            print(f"  MQTT {name:5} QoS {qos} {1e6 / took_us:>12,.0f}   {took_us:6.2f} µs each")

    print("\nMQTT 5, QoS 1, sockets and acknowledgements included:", flush=True)
    theirs_count = args.messages // 5
    with tempfile.TemporaryDirectory() as folder, Mosquitto(Path(folder), "max_inflight_messages 0") as broker:
        theirs = asyncio.run(of_aiomqtt(broker, theirs_count)) / theirs_count
        _row("aiomqtt at Mosquitto", theirs, theirs)
        _row("our subscriber there", asyncio.run(of_subscriber(broker, args.messages)) / args.messages, theirs)
    _row("our listener", asyncio.run(of_listener(args.messages)) / args.messages, theirs)
    return 0


def _row(name: str, each_s: float, theirs_s: float) -> None:
    print(f"  {name:22}{1 / each_s:>12,.0f}   {each_s * 1e6:6.2f} µs each   × {theirs_s / each_s:5.1f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

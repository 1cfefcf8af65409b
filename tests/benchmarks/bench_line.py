"""What a message costs one collector process, all told: `dcim serve` from the socket to the disk and the PUBACK.

    python -m tests.benchmarks.bench_line [--points 20000] [--messages 200000] [--rounds 3] [--soak 600 --warm 720]
        [--hold RATE]

The messages are those of tests/load.py: racks and their meters, 144 bytes of JSON each, QoS 1. Counted is the CPU time
of the service's process with all its threads: decoding, the commit in DuckDB, the ledger, detectors, alarms, API. It
is held against what aiomqtt spends on merely receiving the same messages from the same Mosquitto. Rounds take turns, so
that what else the machine does strikes all alike; a figure is the median of its rounds, with the least and the most.

--soak holds half of the pace that was reached for so many seconds and prints a line a minute; it is off by default.
--warm holds it for so long before: detectors look back ten minutes, and memory grows until as much is there."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple

import aiomqtt
import numpy as np

from tests.benchmarks.__main__ import machine
from tests.e2e.running import Running, free_port, serving, wait_for
from tests.load import PAYLOAD_BYTES, Sender, Values, describe
from tests.mosquitto import Mosquitto

FEW = 1_000
"""Points of the small plant that the large one is held against."""
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
REST_S = 10.0
"""So long a service is left to itself, and then watched: what it costs when nothing comes."""
ASK_S = 0.25


class Round(NamedTuple):
    """One measurement: CPU of the receiver and pace of the sender, for each message."""

    cpu_us: float
    rate: float
    rest_us: float = 0.0
    """Of it, what the receiver spends in the same time when nothing comes: its detectors look at the plant anyhow."""


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used, user and system, all threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def rss_mb(pid: int) -> float:
    """Megabytes of a process that are in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1e6


def now_ms() -> int:
    return int(time.time() * 1000)


# --- the service -----------------------------------------------------------------------------------------------------


def source(name: str, kind: str, where: str) -> str:
    return f'[[sources]]\nname = "{name}"\nkind = "{kind}"\nsite = "bench"\n{where}\n'


@contextlib.contextmanager
def listening(points: int) -> Iterator[tuple[Running, Sender]]:
    """A service with our own ear, that many points described, and a device that is connected to it."""
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="dcim-bench-") as folder,
        serving(Path(folder), source("bus", "listener", f'bind = "127.0.0.1:{port}"')) as service,
    ):
        wait_for("the listener", lambda: service.ledger("bus")["connected"])
        describe("127.0.0.1", port, points)
        with Sender("127.0.0.1", port, Values(points, 1)) as sender:
            sender.run(max(points, 20_000), now_ms(), follow_clock=True)  # topics are learned at the first message
            yield service, sender


@contextlib.contextmanager
def subscribed(broker: Mosquitto, points: int) -> Iterator[tuple[Running, Sender]]:
    """The same through a broker."""
    with (
        tempfile.TemporaryDirectory(prefix="dcim-bench-") as folder,
        serving(Path(folder), source("bus", "broker", f'url = "mqtt://127.0.0.1:{broker.port}"')) as service,
    ):
        wait_for("the subscription", lambda: service.ledger("bus")["connected"])
        describe("127.0.0.1", broker.port, points)
        with Sender("127.0.0.1", broker.port, Values(points, 1)) as sender:
            sender.run(max(points, 20_000), now_ms(), follow_clock=True)
            arrived(service, points + sender.sent)
            yield service, sender


def arrived(service: Running, items: int) -> None:
    """Waits until so many items are booked in all. Asks seldom: each question costs the service that is measured."""
    wait_for(f"{items} items", lambda: service.ledger("bus")["received"] >= items, 600, ASK_S)


def measure(service: Running, sender: Sender, points: int, messages: int, rest: float = 0.0) -> Round:
    """Sends as fast as it is taken, and waits until all of it is durable. rest: CPU seconds a second without it."""
    began, before = time.monotonic(), cpu_s(service.process.pid)
    sender.run(messages, now_ms(), follow_clock=True)
    arrived(service, points + sender.sent)
    took = time.monotonic() - began
    return Round((cpu_s(service.process.pid) - before) / messages * 1e6, messages / took, rest * took / messages * 1e6)


def at_rest(service: Running) -> float:
    """CPU seconds a second of a service to which nothing comes, once it has done what it began when something did."""
    time.sleep(REST_S)  # nothing is waited for: that nothing happens is what is measured
    before = cpu_s(service.process.pid)
    time.sleep(REST_S)
    return (cpu_s(service.process.pid) - before) / REST_S


# --- aiomqtt ---------------------------------------------------------------------------------------------------------


async def receive(port: int, count: int, level: int) -> None:
    """What the receiving process of aiomqtt does: it says when it is ready, counts messages, tells its CPU seconds."""
    async with aiomqtt.Client(
        "127.0.0.1", port, identifier="theirs", protocol=aiomqtt.ProtocolVersion(level)
    ) as client:
        await client.subscribe("BMS/#", qos=1)
        print("ready", flush=True)
        began, left = time.process_time(), count
        async for _message in client.messages:
            left -= 1
            if not left:
                break
        print(time.process_time() - began, flush=True)


def of_aiomqtt(broker: Mosquitto, points: int, messages: int, level: int) -> Round:
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.bench_line",
        "--receive",
        str(broker.port),
        str(messages),
        str(level),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        if receiver.stdout.readline() != "ready\n":
            raise RuntimeError("aiomqtt does not connect")
        began = time.monotonic()
        with Sender("127.0.0.1", broker.port, Values(points, 1), client_id="for-theirs") as sender:
            sender.run(messages, now_ms(), follow_clock=True)
            spent_s = float(receiver.stdout.readline())
        return Round(spent_s / messages * 1e6, messages / (time.monotonic() - began))


# --- the parts -------------------------------------------------------------------------------------------------------


def take_turns(ways: dict[str, Callable[[], Round]], rounds: int) -> dict[str, list[Round]]:
    """Every way once, then every way again."""
    taken: dict[str, list[Round]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            taken[name].append(way())
    return taken


def against_aiomqtt(points: int, messages: int, rounds: int) -> None:
    """Prints what each receiver costs."""
    theirs_messages = max(5_000, messages // 20)
    with contextlib.ExitStack() as stack:
        # Two of a kind: what one of them is sent for aiomqtt shall not reach the service.
        theirs, ours = (
            stack.enter_context(Mosquitto(folder, "max_inflight_messages 0", "autosave_interval 0"))
            for folder in (Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2))
        )
        at_broker = stack.enter_context(subscribed(ours, points))
        straight = stack.enter_context(listening(points))
        taken = take_turns(
            {
                "aiomqtt at Mosquitto, MQTT 3.1.1": lambda: of_aiomqtt(theirs, points, theirs_messages, 4),
                "aiomqtt at Mosquitto, MQTT 5": lambda: of_aiomqtt(theirs, points, theirs_messages, 5),
                "dcim serve at Mosquitto, MQTT 5": lambda: measure(*at_broker, points, messages),
                "dcim serve, its own listener": lambda: measure(*straight, points, messages),
            },
            rounds,
        )
    least = min(median(one.cpu_us for one in taken[name]) for name in taken if name.startswith("aiomqtt"))
    print(f"\n{points:,} points; ratios are to the cheaper of the two aiomqtts")
    for name, rows in taken.items():
        tell(name, rows, f"× {least / median(one.cpu_us for one in rows):5.1f}")


def against_fewer_points(points: int, messages: int, rounds: int) -> float:
    """Prints what a message costs at few and at many points; answers the pace at many, messages a second.

    A service watches its plant whether messages come or not, and a large plant is more to watch. So what it spends at
    rest is measured and told apart; what is left is what the messages cost, and that is held against each other."""
    with listening(FEW) as small, listening(points) as large:
        for plant, count in ((small, FEW), (large, points)):  # it is laid out before anything counts
            measure(*plant, count, messages)
        resting = [at_rest(service) for service, _ in (small, large)]
        taken = take_turns(
            {
                f"dcim serve, {FEW:,} points": lambda: measure(*small, FEW, messages, resting[0]),
                f"dcim serve, {points:,} points": lambda: measure(*large, points, messages, resting[1]),
            },
            rounds,
        )
    first, *_ = (median(one.cpu_us - one.rest_us for one in rows) for rows in taken.values())
    print("\nfew points and many, our listener; the last column holds what is left without the rest against each other")
    for (name, rows), rest in zip(taken.items(), resting, strict=True):
        net = median(one.cpu_us - one.rest_us for one in rows)
        tell(name, rows, f"at rest {rest:.3f} CPU; without it {net:.2f} µs {net / first - 1:+5.0%}")
    return median(one.rate for one in rows)


def tell(name: str, rows: list[Round], ratio: str) -> None:
    """One line."""
    costs = sorted(one.cpu_us for one in rows)
    each, rate = median(costs), median(one.rate for one in rows)
    print(
        f"  {name:34}{each:8.2f} µs each ({costs[0]:.2f} … {costs[-1]:.2f}){1e6 / each:>11,.0f} a CPU-second  {ratio}"
        f"   {rate:>9,.0f}/s",
        flush=True,
    )


class Gauge:
    """A process's memory, read every second by a thread of its own: what detectors work on comes and goes."""

    def __init__(self, pid: int) -> None:
        self.sizes_mb: list[float] = []
        self._pid, self._over = pid, threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while not self._over.wait(1.0):
            self.sizes_mb.append(rss_mb(self._pid))

    def take(self) -> tuple[float, float]:
        """Median and greatest since the last time."""
        sizes, self.sizes_mb = self.sizes_mb, []
        return median(sizes), max(sizes)

    def stop(self) -> None:
        """Reads no more."""
        self._over.set()
        self._reader.join()


def hold(points: int, rate: float, seconds: float, line_s: float, warm_s: float) -> None:
    """Prints how long messages wait for their PUBACK at this pace, and what memory does, line by line. What comes of
    the first `warm_s` seconds is printed and not judged."""
    print(f"\nheld at {rate:,.0f} messages a second, {points:,} points, our listener: from PUBLISH to PUBACK, memory")
    with listening(points) as (service, sender):
        pid, lines = service.process.pid, round(warm_s / line_s)
        gauge, usual, greatest = Gauge(pid), [], []
        for number in range(lines + max(1, round(seconds / line_s))):
            sender.waits_s.clear()
            before = cpu_s(pid)
            count = int(rate * line_s)
            sender.run(count, now_ms(), rate, follow_clock=True)
            waits_ms = np.array(sender.waits_s) * 1000
            p50, p99 = np.quantile(waits_ms, [0.5, 0.99])
            cpu_us = (cpu_s(pid) - before) / count * 1e6
            size, peak = gauge.take()
            if number >= lines:
                usual.append(size)
                greatest.append(peak)
            print(
                f"  {(number + 1) * line_s:5.0f} s   p50 {p50:5.0f} ms   p99 {p99:5.0f} ms   "
                f"longest {waits_ms.max():5.0f} ms   {cpu_us:5.2f} µs each   "
                f"{size:6.0f} MB, at most {peak:.0f}"
                f"{'' if number >= lines else '   (warming up)'}",
                flush=True,
            )
        gauge.stop()
        for what, sizes in (("median of each line", usual), ("greatest of each line", greatest)):
            middle = median(sizes)
            print(
                f"  memory, {what}: {min(sizes) / middle - 1:+.1%} … {max(sizes) / middle - 1:+.1%} "
                f"around {middle:.0f} MB"
            )
        account = service.ledger("bus")
        print(f"  ledger: received {account['received']:,}, balance {account['balance']}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=20_000, help="of the large plant (default: %(default)s)")
    parser.add_argument("--messages", type=int, default=200_000, help="a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--soak", type=float, default=0.0, metavar="SECONDS", help="hold half of the pace for so long")
    parser.add_argument("--warm", type=float, default=0.0, metavar="SECONDS", help="before that, so long")
    parser.add_argument("--hold", type=float, metavar="RATE", help="hold this pace, messages a second, and no more")
    parser.add_argument("--receive", nargs=3, metavar=("PORT", "COUNT", "LEVEL"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.receive:
        asyncio.run(receive(*map(int, args.receive)))
        return 0
    names = ("aiomqtt", "paho-mqtt", "duckdb", "msgspec", "numpy", "polars")
    print(f"bench_line: {machine()}")
    print(", ".join(f"{name} {version(name)}" for name in names) + f"; payload {PAYLOAD_BYTES} bytes, QoS 1")
    print(subprocess.run(["mosquitto", "-h"], capture_output=True, text=True, check=False).stdout.splitlines()[0])
    if args.hold:
        hold(args.points, args.hold, args.soak or 10.0, 60.0 if args.soak else 5.0, args.warm)
        return 0
    against_aiomqtt(FEW, args.messages, args.rounds)
    rate = against_fewer_points(args.points, args.messages, args.rounds)
    hold(args.points, rate / 2, args.soak or 10.0, 60.0 if args.soak else 5.0, args.warm)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""From PUBLISH of a wet sensor to whoever is told, beside a background of messages: `dcim serve` with its own ear, one
process, from the socket to the event stream and to a webhook.

    python -m tests.benchmarks.bench_alarm_latency [--samples 40] [--rate 20000] [--points 20000]

Each sample is another rack, whose sensor says wet once, at a random moment against the service's own rhythms. Counted
is from just before the message is written to the socket until the event has been read, and until the POST's body has
been. The rule is critical without delays: what is less urgent may wait for the budget of its receiver, by design. The
background is that of tests/load.py, 144 bytes of JSON each, QoS 1, from the process that measures: what that costs in
turns of its threads is in the figures."""

from __future__ import annotations

import argparse
import json
import random
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from collectors.mqtt.fields import V311
from collectors.mqtt.packets import Connect, write_connect
from tests.benchmarks.__main__ import machine
from tests.benchmarks.bench_line import cpu_s, now_ms, source
from tests.e2e.running import Running, free_port, serving, wait_for
from tests.load import Sender, Values, describe
from tests.mqtt_peer import publish

PATIENCE_S = 30.0
BETWEEN_S = 1.0, 2.0
"""Between two samples, at random: longer than the pause between two messages to one receiver."""
SETTLE_S = 5.0
"""The background runs so long before anything is measured: it catches up with its pace first."""
RULES = """
[[rule]]
name = "wet"
title = "Leak sensor wet at {asset}"
finding = "leak_wet"
priority = "critical"

[rule.rationale]
cause = "c"
consequence = "d"
action = ["e"]
respond_within_min = 5
"""
WORDS = [{"value": 0, "text": "NoLeak"}, {"value": 1, "text": "Leak"}]


class Heard:
    """When something was first told of each rack."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._changed = threading.Condition()

    def take(self, rack: str) -> None:
        """It is told of now."""
        with self._changed:
            self._at.setdefault(rack, time.monotonic())
            self._changed.notify_all()

    def wait(self, rack: str) -> float | None:
        """When it was told of; None where that is not so after PATIENCE_S."""
        with self._changed:
            self._changed.wait_for(lambda: rack in self._at, PATIENCE_S)
            return self._at.get(rack)


@contextmanager
def hooked(heard: Heard) -> Iterator[int]:
    """A webhook's other end; its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            for item in body["news"]:
                heard.take(item["asset"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def follow(service: Running, heard: Heard) -> None:
    """Reads the event stream until the service ends."""
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/api/v1/stream?include=alarms") as stream:
        name = b""
        try:
            for line in stream:
                if line.startswith(b"event:"):
                    name = line[6:].strip()
                elif line.startswith(b"data:") and name == b"alarm":
                    heard.take(json.loads(line[5:])["asset"])
        except (OSError, ValueError):
            return  # it is stopped


@contextmanager
def beside(port: int, points: int, rate: float) -> Iterator[Sender]:
    """The background, from its fifth second on: topics are learned at the first message."""
    stop = threading.Event()
    with Sender("127.0.0.1", port, Values(points, 1)) as sender:
        sender.run(max(points, 20_000), now_ms(), follow_clock=True)
        thread = threading.Thread(
            target=sender.run, args=(1 << 40, now_ms(), rate), kwargs={"follow_clock": True, "stop": stop}, daemon=True
        )
        thread.start()
        time.sleep(SETTLE_S)  # no event says that a pace is kept
        try:
            yield sender
        finally:
            stop.set()
            thread.join(PATIENCE_S)


class Sensors:
    """A connection with the sensors of many racks, which are dry until they are told otherwise."""

    def __init__(self, port: int, racks: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(write_connect(Connect(V311, "sensors", clean=True)))
        self._acknowledged(1)
        for rack in range(racks):
            what = {"objectType": "Rack", "pointType": "RackLeakDetect", "rackLocationId": f"wet-{rack}"}
            body = json.dumps(what | {"stateText": WORDS}).encode()
            self._send(f"BMS/v1/PUB/Metadata/Rack/RackLeakDetect/wet-{rack}/leak", body)
            self.say(rack, 0)

    def say(self, rack: int, value: int) -> float:
        """Publishes one value, and waits for its acknowledgement; answers when it began."""
        body = json.dumps({"value": value, "timestamp": now_ms(), "quality": 1}).encode()
        return self._send(f"BMS/v1/PUB/Value/Rack/RackLeakDetect/wet-{rack}/leak", body)

    def _send(self, topic: str, body: bytes) -> float:
        packet = publish(topic.encode(), body, 1, 1, V311)
        began = time.monotonic()
        self._socket.sendall(packet)
        self._acknowledged(1)
        return began

    def _acknowledged(self, count: int) -> None:
        left = 4 * count
        while left:
            data = self._socket.recv(left)
            if not data:
                raise ConnectionError("the service hung up")
            left -= len(data)

    def close(self) -> None:
        """Says goodbye."""
        with self._socket:
            self._socket.sendall(b"\xe0\0")


def measure(sensors: Sensors, samples: int, stream: Heard, hook: Heard) -> dict[str, list[float]]:
    """Milliseconds until each was told, by way; NaN for what never was."""
    dice = random.Random(1)
    took: dict[str, list[float]] = {"acknowledged": [], "on the stream": [], "at the webhook": []}
    for rack in range(samples):
        time.sleep(dice.uniform(*BETWEEN_S))  # at random, so that no sample keeps step with commits and ticks
        began = sensors.say(rack, 1)
        took["acknowledged"].append((time.monotonic() - began) * 1e3)
        for name, heard in (("on the stream", stream), ("at the webhook", hook)):
            at = heard.wait(f"wet-{rack}")
            took[name].append(float("nan") if at is None else (at - began) * 1e3)
    return took


def tell(took: dict[str, list[float]]) -> None:
    """A line each."""
    print(f"  {'from PUBLISH until':24}{'p50':>9}{'p95':>9}{'p99':>9}{'longest':>9} ms   never")
    for name, all_ms in took.items():
        ms = np.array(all_ms)
        told = ms[~np.isnan(ms)]
        if not len(told):
            print(f"  {name:24}{len(ms)} were never told")
            continue
        p50, p95, p99 = np.quantile(told, [0.5, 0.95, 0.99])
        print(f"  {name:24}{p50:>9.0f}{p95:>9.0f}{p99:>9.0f}{told.max():>9.0f}{len(ms) - len(told):>11}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--rate", type=float, default=20_000.0, help="of the background, messages a second")
    parser.add_argument("--points", type=int, default=20_000, help="of the background (default: %(default)s)")
    args = parser.parse_args()
    print(f"bench_alarm_latency: {machine()}")
    print(f"{args.rate:,.0f} messages a second of {args.points:,} points beside; {args.samples} samples")
    stream, hook = Heard(), Heard()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="dcim-bench-") as name, hooked(hook) as at:
        folder = Path(name)
        (folder / "rules.toml").write_text(RULES)
        (folder / "secret").write_text("open sesame")
        (folder / "secret").chmod(0o600)
        settings = (
            f'rules = "{folder / "rules.toml"}"\n' + source("bus", "listener", f'bind = "127.0.0.1:{port}"')
            + f'[[notices.receivers]]\nname = "hook"\nkind = "webhook"\nurl = "http://127.0.0.1:{at}/"\n'
            f'secret_file = "{folder / "secret"}"\n[[notices.routes]]\nreceivers = ["hook"]\n'
        )  # fmt: skip
        with serving(folder, settings) as service:
            wait_for("the listener", lambda: service.ledger("bus")["connected"])
            describe("127.0.0.1", port, args.points)
            sensors = Sensors(port, args.samples)
            threading.Thread(target=follow, args=(service, stream), daemon=True).start()
            with beside(port, args.points, args.rate) as load:
                before, sent, began = cpu_s(service.process.pid), load.acknowledged, time.monotonic()
                took = measure(sensors, args.samples, stream, hook)
                lasted = time.monotonic() - began
                share = (cpu_s(service.process.pid) - before) / lasted
                rate = (load.acknowledged - sent) / lasted
            sensors.close()
            tell(took)
            print(f"  beside it {rate:,.0f} messages a second were acknowledged; the service used {share:.2f} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())

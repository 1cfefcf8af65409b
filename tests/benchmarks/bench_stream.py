"""What the event stream costs the service: its CPU time with and without many clients, by the tick.

The demo's hall runs in a process of its own; the clients are plain sockets here that read whatever comes. Each event is
put into words once, and what is said in one second is put together once, so a client costs one write a second.

CPU seconds are counted, not the clock's, and by the pulses that came: on a busy machine ticks come late, and a share of
the clock would flatter. At a pulse a second, µs a client and tick are millionths of a core a client."""

from __future__ import annotations

import argparse
import os
import selectors
import socket
import tempfile
import time
from pathlib import Path

from tests.e2e.running import Running, free_port

ASK = b"GET /api/v1/stream?include=alarms,hall HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
PULSE = b"event: pulse"
AIM_PCT = 5.0
SETTLE_S = 10.0
"""The demo runs so long before anything is counted: its plant is surveyed, and what is learned at the start is over."""


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def watch(clients: list[socket.socket], seconds: float) -> tuple[int, int]:
    """Reads all that the clients are sent; answers how many bytes and how many pulses."""
    read = pulses = 0
    ends = dict.fromkeys(clients, b"")
    with selectors.DefaultSelector() as waiting:
        for client in clients:
            waiting.register(client, selectors.EVENT_READ)
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for key, _ in waiting.select(left):
                client: socket.socket = key.fileobj  # type: ignore[assignment]
                came = client.recv(1 << 20)
                read += len(came)
                pulses += (ends[client] + came).count(PULSE)
                ends[client] = came[1 - len(PULSE) :]
    return read, pulses


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--clients", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=20)
    chosen = parser.parse_args()
    print(f"load {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        demo = Running(Path(folder), ["demo", "--port", str(port), "--data", folder], port)
        demo.start()
        clients: list[socket.socket] = []
        try:
            time.sleep(SETTLE_S)
            spent: dict[int, float] = {}
            for count in (1, chosen.clients):
                while len(clients) < count:
                    client = socket.create_connection(("127.0.0.1", port), timeout=30)
                    client.sendall(ASK)
                    clients.append(client)
                watch(clients, 5)
                before, began = cpu_s(demo.process.pid), time.monotonic()
                read, pulses = watch(clients, chosen.seconds)
                took, used = time.monotonic() - began, cpu_s(demo.process.pid) - before
                ticks = pulses / count
                spent[count] = used / ticks
                print(
                    f"{count:4d} clients: {used:.2f} CPU-s in {took:.0f} s and {ticks:.1f} ticks, "
                    f"{1000 * spent[count]:.1f} ms of CPU a tick, {read / count / ticks:,.0f} bytes a client and tick"
                )
            others = chosen.clients - 1
            each_us = 1e6 * (spent[chosen.clients] - spent[1]) / others
            print(f"{others} clients more cost {each_us:.0f} µs of CPU a client and tick, so {chosen.clients} of them")
            print(f"{chosen.clients * each_us / 1e4:.1f} % of a core; aim {AIM_PCT:g} %")
        finally:
            for client in clients:
                client.close()
            demo.stop()


if __name__ == "__main__":
    main()

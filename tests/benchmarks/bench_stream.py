"""What the event stream costs the service: its CPU time with and without many clients, as shares of one core.

The demo's hall runs in a process of its own; the clients are plain sockets here that read whatever comes. Each event is
put into words once, so a client costs one write a second. How busy this machine is besides matters little: CPU time is
counted, not the clock's."""

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


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def watch(clients: list[socket.socket], seconds: float) -> int:
    """Reads all that the clients are sent; answers how many bytes."""
    read = 0
    with selectors.DefaultSelector() as waiting:
        for client in clients:
            waiting.register(client, selectors.EVENT_READ)
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for key, _ in waiting.select(left):
                read += len(key.fileobj.recv(1 << 20))  # type: ignore[union-attr]
    return read


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--clients", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=20)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        demo = Running(Path(folder), ["demo", "--port", str(port), "--data", folder], port)
        demo.start()
        clients: list[socket.socket] = []
        try:
            time.sleep(10)  # what is new at the start is over
            shares: dict[int, float] = {}
            for count in (1, chosen.clients):
                while len(clients) < count:
                    client = socket.create_connection(("127.0.0.1", port), timeout=30)
                    client.sendall(ASK)
                    clients.append(client)
                watch(clients, 5)
                before, began = cpu_s(demo.process.pid), time.monotonic()
                read = watch(clients, chosen.seconds)
                took = time.monotonic() - began
                shares[count] = (cpu_s(demo.process.pid) - before) / took
                rate = read / count / took
                print(f"{count:4d} clients: service {100 * shares[count]:5.1f} % of a core, {rate:,.0f} B/s a client")
            more = shares[chosen.clients] - shares[1]
            print(f"{chosen.clients - 1} clients more cost {100 * more:.1f} % of a core")
        finally:
            for client in clients:
                client.close()
            demo.stop()


if __name__ == "__main__":
    main()

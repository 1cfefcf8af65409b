"""A publisher that does not give up: QoS 1 over a plain socket, in a thread of its own. What is not acknowledged when a
connection breaks is sent again on the next one, as a device does.

Lives here: the connection and who has acknowledged what. Not here: the messages."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from collectors.mqtt.fields import PACKET_IDS, V5, PacketType
from collectors.mqtt.packets import Connect, write_connect
from collectors.mqtt.wire import Bounds, Cut, Cutter
from tests.mqtt_peer import publish

RETRY_S = 0.05


class Publisher:
    """Publishes message after message, numbered from 0, as long as the context lasts or until `finish`."""

    def __init__(self, port: int, message: Callable[[int], tuple[bytes, bytes]], window: int) -> None:
        """message: topic and payload of a number, the same whenever it is asked. window: how many may be under way."""
        self.acknowledged: set[int] = set()
        self.sent = 0
        """Numbers below this were sent at least once."""
        self.at_rest = threading.Event()
        """While it is set, a connection that breaks is not made again."""
        self._port, self._message, self._window = port, message, window
        self._under_way: dict[int, int] = {}  # packet identifier → number, in the order of sending
        self._last: int | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Publisher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)

    def finish(self) -> int:
        """Sends nothing new, and waits until everything that was sent is acknowledged: so many messages."""
        self._last = self.sent + self._window
        self._thread.join(60)
        assert not self._thread.is_alive(), f"{len(self._under_way)} messages are not acknowledged"
        return self.sent

    def _run(self) -> None:
        while not self._over.is_set() and not self._done():
            if self.at_rest.is_set():
                self._over.wait(RETRY_S)
                continue
            try:
                with socket.create_connection(("127.0.0.1", self._port), 10) as sock:
                    self._converse(sock)
            except OSError:
                self._over.wait(RETRY_S)

    def _done(self) -> bool:
        return self._last is not None and self.sent >= self._last and not self._under_way

    def _converse(self, sock: socket.socket) -> None:
        sock.sendall(write_connect(Connect(V5, "insistent")))
        cutter = Cutter(Bounds(), V5)
        again = [self._packet(number, packet_id, again=True) for packet_id, number in self._under_way.items()]
        let_in = False
        while not self._over.is_set() and not self._done():
            if let_in:
                sock.sendall(b"".join([*again, *self._more()]))
                again = []
            data = sock.recv(65_536)
            if not data:
                return
            cutter.feed(data)
            while (packet := cutter.cut(Cut())) is not None:
                if packet.type is PacketType.PUBACK:
                    number = self._under_way.pop(int.from_bytes(packet.body[:2], "big"), None)
                    if number is not None:
                        self.acknowledged.add(number)
                let_in = let_in or packet.type is PacketType.CONNACK

    def _more(self) -> list[bytes]:
        packets = []
        while len(self._under_way) < self._window and (self._last is None or self.sent < self._last):
            number, packet_id = self.sent, self.sent % PACKET_IDS + 1
            self._under_way[packet_id] = number
            self.sent += 1
            packets.append(self._packet(number, packet_id))
        return packets

    def _packet(self, number: int, packet_id: int, *, again: bool = False) -> bytes:
        topic, payload = self._message(number)
        return publish(topic, payload, 1, packet_id, again=again)

"""The other end of an MQTT connection, for tests: writes PUBLISH, and talks over a real socket packet by packet."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque

from collectors.mqtt.fields import V5, PacketType, write_binary, write_varint
from collectors.mqtt.packets import Connect, write_connect
from collectors.mqtt.wire import Bounds, Cut, Cutter, Packet


def publish(
    topic: bytes,
    payload: bytes = b"",
    qos: int = 0,
    packet_id: int = 1,
    version: int = V5,
    *,
    retain: bool = False,
    again: bool = False,
    properties: bytes = b"",
) -> bytes:
    """PUBLISH, which the product itself never writes. `properties` are already encoded, without their length."""
    body = write_binary(topic)
    if qos:
        body += packet_id.to_bytes(2, "big")
    if version == V5:
        body += write_varint(len(properties)) + properties
    body += payload
    first = PacketType.PUBLISH << 4 | again << 3 | qos << 1 | retain
    return bytes([first]) + write_varint(len(body)) + body


class Peer:
    """Reads packets from a socket one by one, writes raw bytes to it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: int = V5) -> None:
        self.reader, self.writer = reader, writer
        self._cutter = Cutter(Bounds(), version)
        self._ready: deque[Packet] = deque()

    @classmethod
    async def dial(cls, host: str, port: int, version: int = V5, **tls: object) -> Peer:
        reader, writer = await asyncio.open_connection(host, port, **tls)
        return cls(reader, writer, version)

    @classmethod
    async def connect(cls, host: str, port: int, connect: Connect) -> Peer:
        """A client that has been let in."""
        peer = await cls.dial(host, port, connect.version)
        peer.send(write_connect(connect))
        connack = await peer.expect(PacketType.CONNACK)
        assert connack.body[1] == 0, f"refused with {connack.body[1]:#x}"
        return peer

    def send(self, *packets: bytes) -> None:
        self.writer.write(b"".join(packets))

    async def next(self) -> Packet | None:
        """The next packet; None at the end of the stream."""
        while not self._ready:
            data = await asyncio.wait_for(self.reader.read(65_536), 10)
            if not data:
                return None
            self._cutter.feed(data)
            while (packet := self._cutter.cut(Cut())) is not None:
                self._ready.append(packet)
        return self._ready.popleft()

    async def expect(self, kind: PacketType) -> Packet:
        packet = await self.next()
        assert packet is not None, f"the connection ended, but {kind.name} was expected"
        assert packet.type is kind, f"{packet.type.name} {packet.body!r} came, but {kind.name} was expected"
        return packet

    async def pubacks(self, count: int) -> list[int]:
        """Packet identifiers of the next `count` PUBACKs."""
        return [int.from_bytes((await self.expect(PacketType.PUBACK)).body[:2], "big") for _ in range(count)]

    async def silent(self, seconds: float) -> bool:
        """Whether nothing comes for so long."""
        try:
            await asyncio.wait_for(self.next(), seconds)
        except TimeoutError:
            return True
        return False

    async def ended(self) -> bool:
        """Whether the other end closes the connection next."""
        try:
            return await self.next() is None
        except (ConnectionError, ssl.SSLError):
            return True

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:  # it was closed from the other end
            return

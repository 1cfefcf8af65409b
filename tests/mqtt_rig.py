"""A source with its other end, over real sockets on the loopback: the listener with a device, the subscriber with a
broker of a few lines. Both look the same from outside, so one suite holds both to one promise."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from collectors.mqtt import packets
from collectors.mqtt.fields import V5, PacketType
from collectors.mqtt.listener import Check, Listener, ListenerSettings
from collectors.mqtt.packets import Connack, Connect
from collectors.mqtt.subscriber import Subscriber, SubscriberSettings
from dcim.core.errors import Transient
from dcim.core.ledger import Fault, Ledger
from dcim.core.ports import Batch, Message
from tests.mqtt_peer import Peer

PATIENCE_S = 10.0


class Store:
    """Stands for everything behind `deliver`: keeps batches, fails on demand, waits behind a gate."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.attempts: list[Batch] = []
        self.failures = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self._changed = asyncio.Condition()

    async def deliver(self, batch: Batch) -> None:
        async with self._changed:
            self.attempts.append(batch)
            self._changed.notify_all()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        if self.failures:
            self.failures -= 1
            raise Transient("the disk is full")
        async with self._changed:
            self.batches.append(batch)
            self._changed.notify_all()

    @property
    def messages(self) -> list[Message]:
        return [message for batch in self.batches for message in batch.messages]

    @property
    def overflowed(self) -> int:
        return sum(batch.overflowed for batch in self.batches)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until something that follows from a delivery is so."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(condition)

    async def holds(self, count: int) -> None:
        await self.until(lambda: len(self.messages) >= count)


class Rig(ABC):
    """A running source."""

    role: str

    def __init__(self, version: int = V5) -> None:
        self.version = version
        self.store = Store()
        self.ledger = Ledger()
        self.ledger.open("bus", "none", datetime.now(UTC))
        self.run: asyncio.Task[None] | None = None
        self.connections: list[Peer] = []
        """The other ends."""
        self.source: Subscriber | Listener

    @abstractmethod
    async def peer(self) -> Peer:
        """The other end of a connection that stands: the first, or the next one."""

    @abstractmethod
    async def start(self, **settings: object) -> None:
        """Builds the source and begins."""

    async def stop(self) -> None:
        """Cancels the source, as the service does."""
        if self.run is not None:
            self.run.cancel()
            await asyncio.sleep(0)
            await self.let_go()
            done, _ = await asyncio.wait([self.run], timeout=PATIENCE_S)
            assert done, "the source does not stop"
            self.run = None

    async def let_go(self) -> None:
        """Closes what the other end holds open; a peer that stays costs the source a second of patience."""
        for peer in self.connections:
            await peer.close()

    def faults(self) -> dict[Fault, int]:
        (tally,) = self.ledger.tallies()
        return tally.faults

    async def fault(self, fault: Fault, count: int = 1) -> None:
        """Waits until it is counted."""
        async with asyncio.timeout(PATIENCE_S):
            while self.faults().get(fault, 0) < count:  # noqa: ASYNC110  the ledger rings no bell
                await asyncio.sleep(0.005)

    def _begin(self) -> None:
        self.run = asyncio.get_running_loop().create_task(self.source.run(self.store.deliver))


class ListenerRig(Rig):
    """Our listener, and a device."""

    role = "listener"
    check: Check | None = None
    address = ("", 0)
    _count = 0

    async def start(self, **settings: object) -> None:
        defaults = {"delivery_retry_base_s": 0.01, "delivery_retry_cap_s": 0.02, "quiet_s": 0.005, "batch_s": 0.02}
        merged = defaults | settings
        self.source = Listener(
            ListenerSettings("bus", "127.0.0.1", 0, **merged),
            self.ledger,
            self.check,
        )
        self._begin()
        self.address = await self.source.started()

    async def peer(self, **connect: object) -> Peer:
        self._count += 1
        hello = {"client_id": f"device-{self._count}"} | connect
        peer = await Peer.connect(*self.address, Connect(self.version, **hello))
        self.connections.append(peer)
        return peer


class SubscriberRig(Rig):
    """Our subscriber, and a broker that does as it is told."""

    role = "subscriber"

    def __init__(self, version: int = V5) -> None:
        super().__init__(version)
        self.connacks: list[Connack] = []
        """Answers to the next CONNECTs; a plain yes when there are none."""
        self.codes: list[bytes] = []
        """Answers to the next SUBSCRIBEs; all granted when there are none."""
        self.session_present = False
        self.hellos: list[Connect] = []
        self.subscribed: list[list[tuple[str, int]]] = []
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()
        self._server: asyncio.Server | None = None

    async def start(self, **settings: object) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        defaults = {
            "client_id": "dcim-bus",
            "filters": ("#",),
            "retry_base_s": 0.01,
            "retry_cap_s": 0.02,
            "delivery_retry_cap_s": 0.02,
            "quiet_s": 0.005,
            "batch_s": 0.02,
        }
        merged = defaults | settings
        self.source = Subscriber(
            SubscriberSettings("bus", "127.0.0.1", port, version=self.version, **merged),
            self.ledger,
        )
        self._begin()

    async def peer(self) -> Peer:
        return await asyncio.wait_for(self._peers.get(), PATIENCE_S)

    async def stop(self) -> None:
        await super().stop()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        await self.let_go()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer, self.version)
        self.connections.append(peer)
        self.hellos.append(packets.read_connect((await peer.expect(PacketType.CONNECT)).body))
        connack = self.connacks.pop(0) if self.connacks else Connack(0, session_present=self.session_present)
        peer.send(packets.write_connack(connack, self.version))
        if connack.code:
            await peer.close()
            return
        await self.answer_subscribe(peer)
        self._peers.put_nowait(peer)

    async def answer_subscribe(self, peer: Peer) -> None:
        subscribe = await peer.expect(PacketType.SUBSCRIBE)
        packet_id, filters = packets.read_subscribe(subscribe.body, self.version)
        self.subscribed.append(filters)
        codes = self.codes.pop(0) if self.codes else bytes(options & 3 for _, options in filters)
        peer.send(packets.write_suback(packet_id, codes, self.version))


@asynccontextmanager
async def running(rig: Rig, **settings: object) -> AsyncIterator[Rig]:
    """A rig that is started, and stopped in the end; a source that fell over shows."""
    await rig.start(**settings)
    try:
        yield rig
        if rig.run is not None and rig.run.done():
            rig.run.result()
    finally:
        await rig.stop()

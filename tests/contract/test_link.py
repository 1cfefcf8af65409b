"""When a connection is read and when it rests, and that a batch is thanked for in one write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from collectors.mqtt.fields import V311
from collectors.mqtt.intake import Intake, Limits
from collectors.mqtt.link import COALESCE_S, READ_BYTES, Link
from collectors.mqtt.packets import Connect, write_connect
from collectors.mqtt.session import Asked, ListenerSession
from collectors.mqtt.wire import Bounds
from tests.mqtt_peer import publish


class Transport(asyncio.Transport):
    """Notes what is done with it."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def pause_reading(self) -> None:
        self.done.append("pause")

    def resume_reading(self) -> None:
        self.done.append("resume")


class Bench:
    """A connection without a socket, on a clock that stands still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, limits: Limits | None = None) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "time", lambda: self.now)
        monkeypatch.setattr(
            loop, "call_later", lambda after, call, *args: self.timers.append((after, lambda: call(*args)))
        )
        self.buffer = memoryview(bytearray(READ_BYTES))
        self.intake = Intake("s", limits or Limits())
        session = ListenerSession(Bounds(), 65_535, self.now, messages_max=10_000, connect_s=5.0)
        self.link = Link(session, self.intake, self.buffer, lambda: 0, lambda *_: None)
        self.transport = Transport()
        self.link.connection_made(self.transport)
        (asked,) = session.receive(write_connect(Connect(V311, "c")), self.now)
        assert isinstance(asked, Asked)
        self.link.handle(session.admit("c", self.now))
        self.transport.written.clear()

    def read(self, *packets: bytes) -> None:
        data = b"".join(packets)
        self.buffer[: len(data)] = data
        self.link.buffer_updated(len(data))


def message(number: int, size: int = 1) -> bytes:
    return publish(b"t", bytes(size), 1, number, V311)


def test_a_connection_that_says_more_within_5_ms_is_read_again_when_they_are_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        bench = Bench(monkeypatch)
        bench.read(message(1))
        assert bench.transport.done == []  # the first of it is taken at once
        bench.now += 0.001
        bench.read(message(2))
        assert bench.transport.done == ["pause"]
        ((after_s, call),) = bench.timers
        assert after_s == COALESCE_S == 0.005
        call()
        assert bench.transport.done == ["pause", "resume"]
        bench.now += 0.006
        bench.read(message(3))
        assert bench.transport.done == ["pause", "resume", "pause"]  # a stream: one read every 5 ms
        bench.timers[-1][1]()
        bench.now += 0.011
        bench.read(message(4))
        assert bench.transport.done == ["pause", "resume"] * 2  # it had fallen quiet: it is taken at once
        assert bench.intake.messages == 4

    asyncio.run(scenario())


def test_a_read_that_fills_the_buffer_is_followed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        bench = Bench(monkeypatch)
        stream = b"".join(message(1, 1_000) for _ in range(1_000))
        for at in range(0, 3 * READ_BYTES, READ_BYTES):
            bench.read(stream[at : at + READ_BYTES])
        assert bench.transport.done == []

    asyncio.run(scenario())


def test_a_batch_is_thanked_for_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        bench = Bench(monkeypatch)
        bench.read(*(message(number) for number in range(1, 1_001)))
        bench.read(*(message(number) for number in range(1_001, 2_001)))
        assert bench.transport.written == []
        ((owner, ids),) = bench.intake.take().receipts
        owner.acknowledge(ids)
        (written,) = bench.transport.written
        assert written == b"".join(b"\x40\x02" + number.to_bytes(2, "big") for number in range(1, 2_001))

    asyncio.run(scenario())


def test_a_full_queue_stops_the_reading_and_room_starts_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        bench = Bench(monkeypatch, Limits(messages_max=10))
        bench.read(*(message(number) for number in range(1, 12)))
        assert bench.transport.done == ["pause"]
        bench.intake.take()
        assert bench.transport.done == ["pause"]  # taken is not yet durable
        bench.intake.settle()
        assert bench.transport.done == ["pause", "resume"]

    asyncio.run(scenario())

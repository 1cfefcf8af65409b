"""What every source promises, asked of both over real sockets: the subscriber at a broker, the listener with a device.

Acknowledged only after `deliver` returned; a failed delivery is tried again, not dropped; order is kept; nothing comes
twice or is missing at QoS 1; bounded in memory; a clean end."""

from __future__ import annotations

import asyncio
import gc

import pytest
from structlog.testing import capture_logs

from collectors.mqtt import packets
from collectors.mqtt.fields import V5, V311, PacketType, Reason
from dcim.core.ledger import Fault
from dcim.core.ports import Message, Oversized
from tests.mqtt_peer import Peer, publish
from tests.mqtt_rig import ListenerRig, Rig, SubscriberRig, running

SOURCES = pytest.mark.parametrize("kind", [SubscriberRig, ListenerRig], ids=["subscriber", "listener"])
VERSIONS = pytest.mark.parametrize("version", [V311, V5], ids=["3.1.1", "5"])
A_MOMENT_S = 0.05
"""So long nothing comes where nothing may come: a source that breaks the promise is caught most of the time."""


@SOURCES
@VERSIONS
def test_acknowledged_only_after_deliver_returned(kind: type[Rig], version: int) -> None:
    async def scenario() -> None:
        async with running(kind(version)) as rig:
            peer = await rig.peer()
            rig.store.gate.clear()
            peer.send(*(publish(b"t", b"%d" % n, 1, n, version) for n in (1, 2, 3)))
            await rig.store.until(lambda: bool(rig.store.attempts))
            assert await peer.silent(A_MOMENT_S)
            rig.store.gate.set()
            assert await peer.pubacks(3) == [1, 2, 3]
            assert [message.payload for message in rig.store.messages] == [b"1", b"2", b"3"]
            await peer.close()

    asyncio.run(scenario())


@SOURCES
@VERSIONS
def test_a_failed_delivery_is_tried_again_and_not_acknowledged(kind: type[Rig], version: int) -> None:
    async def scenario() -> None:
        async with running(kind(version)) as rig:
            peer = await rig.peer()
            rig.store.failures = 3
            peer.send(publish(b"t", b"1", 1, 1, version))
            await rig.store.until(lambda: len(rig.store.attempts) == 2)
            peer.send(publish(b"t", b"2", 1, 2, version))  # comes while the first is being tried again
            assert await peer.pubacks(2) == [1, 2]
            first = rig.store.attempts[0]
            assert rig.store.attempts[:4] == [first] * 4
            assert rig.store.messages == [Message(b"t", b"1", 1), Message(b"t", b"2", 1)]
            assert rig.faults() == {Fault.DELIVERY_FAILED: 3}
            await peer.close()

    with capture_logs() as logs:
        asyncio.run(scenario())
    assert [entry["event"] for entry in logs if "durable" in entry["event"]] == [
        "cannot make messages durable; they are kept and tried again, and not acknowledged",
        "messages are durable again",
    ]


@pytest.mark.slow
@SOURCES
@VERSIONS
def test_every_message_comes_once_and_in_order(kind: type[Rig], version: int) -> None:
    count = 20_000

    async def scenario() -> None:
        async with running(kind(version), batch_messages_max=3_000) as rig:
            peer = await rig.peer()
            acknowledged = asyncio.create_task(peer.pubacks(count))
            for start in range(0, count, 500):
                peer.send(*(publish(b"t/%d" % n, b"%d" % n, 1, n + 1, version) for n in range(start, start + 500)))
                await peer.writer.drain()
            assert await acknowledged == list(range(1, count + 1))
            assert [int(message.payload) for message in rig.store.messages] == list(range(count))
            assert max(len(batch.messages) for batch in rig.store.batches) <= 3_000
            received = [batch.received for batch in rig.store.batches]
            assert received == sorted(received)
            assert not rig.faults()
            await peer.close()

    asyncio.run(scenario())


@SOURCES
@VERSIONS
def test_qos_0_is_taken_and_not_acknowledged(kind: type[Rig], version: int) -> None:
    async def scenario() -> None:
        async with running(kind(version)) as rig:
            peer = await rig.peer()
            peer.send(publish(b"a", b"1", 0, 0, version), publish(b"b", b"2", 0, 0, version, retain=True))
            await rig.store.holds(2)
            assert rig.store.messages == [Message(b"a", b"1"), Message(b"b", b"2", 0, True)]
            assert await peer.silent(A_MOMENT_S)
            await peer.close()

    asyncio.run(scenario())


@SOURCES
def test_a_payload_too_large_and_a_topic_that_is_no_utf8_cost_no_neighbour(kind: type[Rig]) -> None:
    async def scenario() -> None:
        async with running(kind(), payload_bytes_max=1_000) as rig:
            peer = await rig.peer()
            peer.send(publish(b"a", b"1", 1, 1), publish(b"big", bytes(3_000_000), 1, 2))
            peer.send(publish(b"\xff\xfe", b"3", 1, 3), publish(b"c", b"4", 1, 4))
            assert await peer.pubacks(4) == [1, 2, 3, 4]
            assert [message.topic for message in rig.store.messages] == [b"a", b"\xff\xfe", b"c"]
            assert [one for batch in rig.store.batches for one in batch.oversized] == [Oversized(b"big", 3_000_000)]
            assert not rig.faults()
            await peer.close()

    asyncio.run(scenario())


@pytest.mark.slow
@SOURCES
def test_qos_1_beyond_the_window_holds_its_sender_back_and_loses_nothing(kind: type[Rig]) -> None:
    count, payload = 2_000, bytes(10_000)

    async def scenario() -> None:
        async with running(kind(V311), window=100) as rig:
            peer = await rig.peer()
            rig.store.gate.clear()
            peer.writer.transport.set_write_buffer_limits(0)
            acknowledged = asyncio.create_task(peer.pubacks(count))
            sent = asyncio.create_task(
                _send_all(peer, [publish(b"t", payload, 1, n, V311) for n in range(1, count + 1)])
            )
            await rig.store.until(lambda: bool(rig.store.attempts))
            with pytest.raises(TimeoutError):  # 20 MB do not fit into the kernel's buffers: somebody reads, or nobody
                await asyncio.wait_for(asyncio.shield(sent), 0.5)
            rig.store.gate.set()
            assert await acknowledged == list(range(1, count + 1))
            await sent
            assert len(rig.store.messages) == count
            assert max(len(batch.messages) for batch in rig.store.batches) <= 100
            await peer.close()

    asyncio.run(scenario())


async def _send_all(peer: Peer, pieces: list[bytes]) -> None:
    for piece in pieces:
        peer.writer.write(piece)
        await peer.writer.drain()


@SOURCES
def test_qos_0_beyond_the_window_gives_way_oldest_first_and_is_counted(kind: type[Rig]) -> None:
    async def scenario() -> None:
        async with running(kind(), window=10) as rig:
            peer = await rig.peer()
            rig.store.gate.clear()
            peer.send(publish(b"t", b"first"))
            await rig.store.until(lambda: bool(rig.store.attempts))
            peer.send(*(publish(b"t", b"%d" % n) for n in range(50)))
            peer.send(publish(b"t", b"last", 1, 1))
            assert await peer.silent(A_MOMENT_S)  # all is read by now, and the last waits with the rest
            rig.store.gate.set()
            assert await peer.pubacks(1) == [1]
            kept = [message.payload for message in rig.store.messages]
            assert kept[0] == b"first"  # under way, so it stays
            assert kept[-1] == b"last"
            assert kept[1:-1] == [b"%d" % n for n in range(50 - len(kept) + 2, 50)]
            assert len(kept) + rig.store.overflowed == 52
            assert 0 < rig.store.overflowed < 50
            await peer.close()

    asyncio.run(scenario())


@SOURCES
def test_an_acknowledgement_belongs_to_the_connection_that_its_message_came_on(kind: type[Rig]) -> None:
    async def scenario() -> None:
        async with running(kind()) as rig:
            old = await rig.peer()
            rig.store.gate.clear()
            old.send(publish(b"t", b"1", 1, 7))
            await rig.store.until(lambda: bool(rig.store.attempts))
            await old.close()
            await rig.fault(Fault.CONNECTION_LOST)
            new = await rig.peer()
            rig.store.gate.set()
            assert await new.silent(A_MOMENT_S)
            new.send(publish(b"t", b"1", 1, 7, again=True))  # as whoever has no PUBACK does
            assert await new.pubacks(1) == [7]
            assert rig.store.messages == [Message(b"t", b"1", 1)] * 2
            await new.close()

    asyncio.run(scenario())


@SOURCES
def test_what_is_sent_again_while_it_waits_is_kept_and_acknowledged_once(kind: type[Rig]) -> None:
    async def scenario() -> None:
        async with running(kind(V311)) as rig:
            peer = await rig.peer()
            rig.store.gate.clear()
            peer.send(publish(b"t", b"1", 1, 7, V311))
            await rig.store.until(lambda: bool(rig.store.attempts))
            waiting = publish(b"t", b"2", 1, 8, V311)
            again = [publish(b"t", b"%d" % n, 1, n + 6, V311, again=True) for n in (1, 2)]
            peer.send(waiting, *again, *again)  # as a NATS gateway does after its ack_wait
            peer.send(publish(b"t", b"3", 1, 9, V311))
            assert await peer.silent(A_MOMENT_S)
            rig.store.gate.set()
            assert await peer.pubacks(3) == [7, 8, 9]
            assert await peer.silent(A_MOMENT_S)
            peer.send(publish(b"t", b"4", 1, 7, V311, again=True))  # it is free again: this is another message
            assert await peer.pubacks(1) == [7]
            assert [message.payload for message in rig.store.messages] == [b"1", b"2", b"3", b"4"]
            await peer.close()

    asyncio.run(scenario())


@SOURCES
def test_a_protocol_error_ends_that_connection_with_its_code_and_is_counted(kind: type[Rig]) -> None:
    async def scenario() -> None:
        async with running(kind()) as rig:
            peer = await rig.peer()
            peer.send(publish(b"t", b"good", 0), publish(b"t/#", b"bad", 0), publish(b"t", b"beyond", 0))
            farewell = await peer.expect(PacketType.DISCONNECT)
            assert packets.read_disconnect(farewell.body, V5)[0] == Reason.MALFORMED_PACKET
            assert await peer.ended()
            await peer.close()
            await rig.store.holds(1)
            assert [message.payload for message in rig.store.messages] == [b"good"]
            assert rig.faults()[Fault.PROTOCOL_ERROR] == 1
            again = await rig.peer()
            again.send(publish(b"t", b"next", 1, 1))
            assert await again.pubacks(1) == [1]
            await again.close()

    asyncio.run(scenario())


@SOURCES
@VERSIONS
def test_it_stops_clean(kind: type[Rig], version: int) -> None:
    async def scenario() -> None:
        rig = kind(version)
        await rig.start()
        peer = await rig.peer()
        peer.send(publish(b"t", b"1", 1, 1, version))
        assert await peer.pubacks(1) == [1]
        assert rig.source.connected
        since = rig.source.since
        assert since is not None
        assert rig.run is not None
        rig.run.cancel()
        if rig.role == "subscriber" or version == V5:  # a server of 3.1.1 has no word for it
            await peer.expect(PacketType.DISCONNECT)
        assert await peer.ended()
        await peer.close()
        await rig.stop()
        assert not rig.source.connected
        assert rig.source.since is not None
        assert rig.source.since >= since
        assert not rig.faults()
        del rig, peer
        gc.collect()
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

    asyncio.run(scenario())


@SOURCES
def test_it_stops_clean_in_the_middle_of_a_delivery(kind: type[Rig]) -> None:
    async def scenario() -> None:
        async with running(kind()) as rig:
            peer = await rig.peer()
            rig.store.gate.clear()
            peer.send(publish(b"t", b"1", 1, 1))
            await rig.store.until(lambda: bool(rig.store.attempts))
            await asyncio.gather(rig.stop(), _read_to_the_end(peer))
            assert rig.store.messages == []

    asyncio.run(scenario())


async def _read_to_the_end(peer: Peer) -> None:
    while (packet := await peer.next()) is not None:
        assert packet.type is not PacketType.PUBACK
    await peer.close()


@pytest.mark.slow
@SOURCES
def test_what_deliver_may_not_raise_ends_the_source(kind: type[Rig]) -> None:
    async def scenario() -> None:
        rig = kind()
        await rig.start()
        peer = await rig.peer()
        rig.store.error = ZeroDivisionError("a defect")
        peer.send(publish(b"t", b"1", 1, 1))
        assert rig.run is not None
        with pytest.raises(ZeroDivisionError, match="a defect"):
            await rig.run
        await peer.close()
        await rig.stop()

    asyncio.run(scenario())

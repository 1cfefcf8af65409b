"""What the subscriber alone promises: how it comes back, and how it tells what a broker refuses."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from structlog.testing import capture_logs

from collectors.mqtt import packets, tls
from collectors.mqtt.fields import V5, V311, PacketType, Reason
from collectors.mqtt.packets import Connack
from collectors.mqtt.subscriber import Subscriber, SubscriberSettings
from dcim.core.errors import Permanent
from dcim.core.ledger import Fault
from tests import certificates
from tests.mqtt_peer import Peer, publish
from tests.mqtt_rig import SubscriberRig, running

VERSIONS = pytest.mark.parametrize("version", [V311, V5], ids=["3.1.1", "5"])


def warnings(logs: list[Any]) -> list[str]:
    return [entry["event"] for entry in logs if entry["log_level"] == "warning"]


@VERSIONS
def test_it_asks_for_its_session_and_its_filters(version: int) -> None:
    async def scenario() -> None:
        rig = SubscriberRig(version)
        shared = "$share/dcim/BMS/v1/#"
        async with running(rig, filters=(shared, "dcim/v1/#"), window=5_000, user="me", password=b"secret"):
            await rig.peer()
            (hello,) = rig.hellos
            assert (hello.client_id, hello.clean, hello.user, hello.password) == ("dcim-bus", False, "me", b"secret")
            assert [name for name, _ in rig.subscribed[0]] == [shared, "dcim/v1/#"]
            assert [options & 3 for _, options in rig.subscribed[0]] == [1, 1]
            if version == V5:
                assert hello.session_expiry_s == 604_800
                assert hello.receive_max == 5_000
                assert hello.packet_bytes_max == 67_108_864

    asyncio.run(scenario())


@VERSIONS
def test_it_comes_back_and_asks_for_retained_messages_only_once(version: int) -> None:
    async def scenario() -> None:
        async with running(rig := SubscriberRig(version)):
            rig.session_present = True
            for _ in range(3):
                peer = await rig.peer()
                peer.send(publish(b"t", b"x", 1, 1, version))
                await peer.pubacks(1)
                await peer.close()
            await rig.fault(Fault.CONNECTION_LOST, 3)
            again = 0x10 if version == V5 else 0
            assert [options & 0x30 for ((_, options),) in rig.subscribed[:3]] == [0, again, again]
            assert len(rig.store.messages) == 3

    asyncio.run(scenario())


@VERSIONS
def test_refused_credentials_are_counted_told_once_and_tried_again(version: int) -> None:
    async def scenario() -> None:
        rig = SubscriberRig(version)
        rig.connacks = [Connack(0x86 if version == V5 else 4)] * 3
        async with running(rig):
            await rig.peer()
            assert rig.faults() == {Fault.CREDENTIALS_REFUSED: 3}
            assert len(rig.hellos) == 4
            assert rig.source.connected

    with capture_logs() as logs:
        asyncio.run(scenario())
    (entry,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert entry["event"] == "the broker refused us: user or password is wrong"
    assert entry["todo"].startswith("Check user, password")


@pytest.mark.slow
@VERSIONS
def test_a_refused_filter_is_asked_for_again_and_costs_no_other(version: int) -> None:
    async def scenario() -> None:
        rig = SubscriberRig(version)
        refused = 0x87 if version == V5 else 0x80
        rig.codes = [bytes([1, refused]), bytes([refused]), bytes([1])]
        async with running(rig, filters=("good/#", "bad/#")):
            peer = await rig.peer()
            peer.send(publish(b"good/1", b"x", 1, 1, version))
            await peer.pubacks(1)
            assert "bad/# (0x8" in rig.source.trouble
            await rig.answer_subscribe(peer)
            await rig.answer_subscribe(peer)
            peer.send(publish(b"bad/1", b"x", 1, 2, version))
            await peer.pubacks(1)
            assert [[name for name, _ in filters] for filters in rig.subscribed] == [
                ["good/#", "bad/#"],
                ["bad/#"],
                ["bad/#"],
            ]
            assert rig.faults() == {Fault.SUBSCRIBE_REFUSED: 2}
            assert len(rig.hellos) == 1
            assert rig.source.trouble == ""

    with capture_logs() as logs:
        asyncio.run(scenario())
    assert len(warnings(logs)) == 1


def test_a_lower_qos_than_asked_for_is_told_once() -> None:
    async def scenario() -> None:
        rig = SubscriberRig()
        rig.codes = [b"\0", b"\0"]
        async with running(rig):
            rig.session_present = True
            await (await rig.peer()).close()
            await rig.peer()
            assert Fault.SUBSCRIBE_REFUSED not in rig.faults()

    with capture_logs() as logs:
        asyncio.run(scenario())
    assert warnings(logs).count("the broker grants a lower QoS") == 1


def test_a_session_that_the_broker_has_lost_is_told() -> None:
    async def scenario() -> None:
        async with running(rig := SubscriberRig()):
            await (await rig.peer()).close()
            await rig.peer()

    with capture_logs() as logs:
        asyncio.run(scenario())
    assert any("had not kept our session" in event for event in warnings(logs))


def test_a_broker_that_throws_us_out_says_why() -> None:
    async def scenario() -> None:
        async with running(rig := SubscriberRig()):
            peer = await rig.peer()
            peer.send(packets.write_disconnect(V5, Reason.SESSION_TAKEN_OVER, "somebody else"))
            await rig.fault(Fault.CONNECTION_LOST)
            await rig.peer()

    # The line is read from the log: `trouble` is empty again as soon as the next connection stands.
    with capture_logs() as logs:
        asyncio.run(scenario())
    (told,) = [event for event in warnings(logs) if "disconnected us" in event]
    assert "another client came with our client id" in told
    assert "'somebody else'" in told


def test_it_goes_on_trying_while_nobody_listens() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        rig = SubscriberRig()
        await rig.start()
        assert rig.run is not None
        await rig.stop()
        settings = SubscriberSettings("bus", "127.0.0.1", port, "c", ("#",), retry_base_s=0.001, retry_cap_s=0.002)
        draws: list[float] = []

        def draw() -> float:
            draws.append(1.0)
            return 1.0

        subscriber = Subscriber(settings, rig.ledger, draw=draw)
        run = asyncio.create_task(subscriber.run(rig.store.deliver))
        await rig.fault(Fault.CONNECTION_REFUSED, 3)
        assert not subscriber.connected
        assert subscriber.since is not None
        assert subscriber.trouble.startswith("nobody listens there")
        run.cancel()
        await asyncio.wait([run])
        assert len(draws) >= 2

    with capture_logs() as logs:
        asyncio.run(scenario())
    assert len(warnings(logs)) == 1


def test_a_broker_that_never_answers_is_given_up() -> None:
    async def scenario() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        rig = SubscriberRig()
        port = server.sockets[0].getsockname()[1]
        settings = SubscriberSettings("bus", "127.0.0.1", port, "c", ("#",), answer_s=0.05, retry_base_s=0.001)
        run = asyncio.create_task(Subscriber(settings, rig.ledger).run(rig.store.deliver))
        await rig.fault(Fault.CONNECTION_LOST)
        run.cancel()
        await asyncio.wait([run])
        server.close()
        await server.wait_closed()

    asyncio.run(scenario())


@pytest.mark.slow
def test_the_connection_that_stands_is_pinged() -> None:
    async def scenario() -> None:
        async with running(rig := SubscriberRig(), keep_alive_s=1):
            peer = await rig.peer()
            await peer.expect(PacketType.PINGREQ)
            peer.send(packets.PINGRESP)

    asyncio.run(scenario())


def test_tls_and_what_is_said_when_it_fails(tmp_path_factory: pytest.TempPathFactory) -> None:
    pem = certificates.make(tmp_path_factory.mktemp("pem"))

    async def scenario() -> None:
        arrived: asyncio.Queue[Peer] = asyncio.Queue()

        async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = Peer(reader, writer)
            await peer.expect(PacketType.CONNECT)
            peer.send(packets.write_connack(Connack(0), V5))
            await arrived.put(peer)

        context = tls.server_context(pem.server, pem.server_key)
        server = await asyncio.start_server(broker, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        for trust, fault in ((tls.client_context(pem.ca), None), (tls.client_context(), Fault.CONNECTION_REFUSED)):
            rig = SubscriberRig()
            settings = SubscriberSettings("bus", "localhost", port, "c", ("#",), tls=trust, retry_base_s=0.001)
            subscriber = Subscriber(settings, rig.ledger)
            run = asyncio.create_task(subscriber.run(rig.store.deliver))
            if fault is None:
                peer = await arrived.get()
                await peer.expect(PacketType.SUBSCRIBE)
                peer.send(publish(b"t", bytes(200_000), 1, 1))
                assert await peer.pubacks(1) == [1]
            else:
                await rig.fault(fault)
                assert "certificate is not trusted" in subscriber.trouble
            run.cancel()
            if fault is None:
                await peer.expect(PacketType.DISCONNECT)
                await peer.close()
            await asyncio.wait([run])
        server.close()
        await server.wait_closed()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"filters": ("a#",)}, "cannot be subscribed to: a#"),
        ({"filters": ()}, "cannot be subscribed to: no filter"),
        ({"filters": ("$share//a",)}, r"\$share//a"),
        ({"qos": 2}, "qos 2"),
        ({"version": 3}, "version 3"),
        ({"window": 0}, "window 0"),
        ({"client_id": ""}, "has no client_id"),
    ],
)
def test_settings_that_no_broker_could_take_are_refused(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(Permanent, match=said):
        SubscriberSettings(**{"name": "s", "host": "h", "port": 1, "client_id": "c", "filters": ("#",)} | setting)


def test_a_password_is_not_shown() -> None:
    settings = SubscriberSettings("s", "h", 1, "c", ("#",), user="me", password=b"hunter2")
    assert "hunter2" not in repr(settings)

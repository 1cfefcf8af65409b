"""What the listener alone promises: who is let in, how many, what becomes of a will, and how trouble is told."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from collectors.mqtt import packets, tls
from collectors.mqtt.fields import V5, V311, PacketType, Reason
from collectors.mqtt.listener import SPARE_CONNECTIONS, Listener, ListenerSettings
from collectors.mqtt.packets import Connect
from dcim.core.errors import Permanent
from dcim.core.ledger import Fault, Ledger
from dcim.core.ports import Message, Oversized
from tests import certificates
from tests.mqtt_peer import Peer, publish
from tests.mqtt_rig import ListenerRig, running

VERSIONS = pytest.mark.parametrize("version", [V311, V5], ids=["3.1.1", "5"])


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    return certificates.make(tmp_path_factory.mktemp("pem"))


def checked(version: int = V5) -> ListenerRig:
    rig = ListenerRig(version)
    rig.check = lambda user, password: (user, password) == ("dev", b"secret")
    return rig


async def answer_to(rig: ListenerRig, connect: Connect) -> int:
    """Code of the CONNACK that a client gets."""
    peer = await Peer.dial(*rig.address, connect.version)
    peer.send(packets.write_connect(connect))
    connack = await peer.expect(PacketType.CONNACK)
    if connack.body[1]:
        assert await peer.ended()
    await peer.close()
    return connack.body[1]


@VERSIONS
def test_only_the_right_user_and_password_are_let_in(version: int) -> None:
    async def scenario() -> None:
        async with running(rig := checked(version)):
            wrong, nobody = (0x86, 0x87) if version == V5 else (4, 5)
            assert await answer_to(rig, Connect(version, "c", user="dev", password=b"secret")) == 0
            assert await answer_to(rig, Connect(version, "c", user="dev", password=b"guess")) == wrong
            assert await answer_to(rig, Connect(version, "c", user="dev")) == wrong
            assert await answer_to(rig, Connect(version, "c")) == nobody
            assert rig.faults()[Fault.CREDENTIALS_REFUSED] == 3

    asyncio.run(scenario())


def test_a_slow_check_holds_nobody_else_up() -> None:
    answer = threading.Event()

    async def scenario() -> None:
        rig = ListenerRig()
        rig.check = lambda user, _password: user != "slow" or answer.wait(10)
        async with running(rig):
            peer = await rig.peer(user="quick")
            slow = await Peer.dial(*rig.address)
            slow.send(packets.write_connect(Connect(V5, "slow", user="slow")), publish(b"t", b"early", 1, 1))
            peer.send(publish(b"t", b"1", 1, 1))
            assert await peer.pubacks(1) == [1]
            answer.set()
            await slow.expect(PacketType.CONNACK)
            assert await slow.pubacks(1) == [1]  # what it sent meanwhile was kept
            await peer.close()
            await slow.close()

    asyncio.run(scenario())


@VERSIONS
def test_a_client_that_comes_again_takes_over(version: int) -> None:
    async def scenario() -> None:
        async with running(rig := ListenerRig(version)):
            will = Message(b"dead", b"x")
            first = await rig.peer(client_id="same", will=will)
            second = await rig.peer(client_id="same")
            if version == V5:
                farewell = await first.expect(PacketType.DISCONNECT)
                assert packets.read_disconnect(farewell.body, V5)[0] == Reason.SESSION_TAKEN_OVER
            assert await first.ended()
            second.send(publish(b"t", b"1", 1, 1, version))
            assert await second.pubacks(1) == [1]
            assert rig.store.messages[0] == will  # before anything of its successor
            assert isinstance(rig.source, Listener)
            assert rig.source.clients == 1
            await first.close()
            await second.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(("goodbye", "left"), [(packets.write_disconnect(V311), False), (b"", True)])
def test_a_will_is_delivered_for_a_client_that_is_lost(goodbye: bytes, left: bool) -> None:
    async def scenario() -> None:
        async with running(rig := ListenerRig(V311)):
            peer = await rig.peer(will=Message(b"dead", b"x"))
            peer.send(publish(b"t", b"1", 1, 1, V311))
            await peer.pubacks(1)
            peer.send(goodbye)
            await peer.close()
            other = await rig.peer()
            if left:
                await rig.fault(Fault.CONNECTION_LOST)
            other.send(publish(b"t", b"2", 1, 1, V311))
            await other.pubacks(1)
            assert [message.topic for message in rig.store.messages] == (
                [b"t", b"dead", b"t"] if left else [b"t", b"t"]
            )
            assert (Fault.CONNECTION_LOST in rig.faults()) is left
            await other.close()

    asyncio.run(scenario())


def test_senders_that_come_again_and_again_while_nothing_can_be_kept_do_not_fill_memory() -> None:
    async def scenario() -> None:
        async with running(rig := ListenerRig(), window=20):
            assert isinstance(rig.source, Listener)
            rig.store.gate.clear()
            packets_of_one = [publish(b"t", b"%d" % n, 1, n + 1) for n in range(20)]
            for _ in range(10):
                peer = await rig.peer(client_id="same", will=Message(b"dead", b"x", 1))
                peer.send(*packets_of_one)
                intake = rig.source._intake
                async with asyncio.timeout(10):
                    while not intake.full and intake.messages < 20:  # noqa: ASYNC110  the queue rings no bell
                        await asyncio.sleep(0)
            # 20 under way, and 20 of the connection that stands; of the others nothing, and of their wills the last.
            assert intake.messages <= 41
            rig.store.gate.set()
            assert await peer.pubacks(20) == list(range(1, 21))
            wills = [message for message in rig.store.messages if message.topic == b"dead"]
            assert len(wills) + rig.store.overflowed == 9
            assert intake.messages == 0

    asyncio.run(scenario())


def test_a_will_is_bounded_like_any_message() -> None:
    async def scenario() -> None:
        async with running(rig := ListenerRig(), payload_bytes_max=10):
            peer = await rig.peer(will=Message(b"dead", bytes(11)))
            await peer.close()
            await rig.store.until(lambda: bool(rig.store.batches))
            assert rig.store.batches[0].oversized == [Oversized(b"dead", 11)]

    asyncio.run(scenario())


@VERSIONS
def test_more_clients_than_allowed_are_told_so(version: int) -> None:
    async def scenario() -> None:
        async with running(rig := ListenerRig(version), connections_max=2):
            peers = [await rig.peer(), await rig.peer()]
            assert await answer_to(rig, Connect(version, "third")) == (0x97 if version == V5 else 3)
            assert rig.faults()[Fault.TOO_MANY_CONNECTIONS] == 1
            peers.append(await rig.peer(client_id="device-1"))  # in the place of its own former connection
            for peer in peers:
                await peer.close()

    asyncio.run(scenario())


def test_connections_that_never_speak_are_bounded_too() -> None:
    async def scenario() -> None:
        async with running(rig := ListenerRig(), connections_max=1):
            silent = [await Peer.dial(*rig.address) for _ in range(1 + SPARE_CONNECTIONS)]
            beyond = await Peer.dial(*rig.address)
            assert await beyond.ended()
            await rig.fault(Fault.TOO_MANY_CONNECTIONS)
            for peer in [*silent, beyond]:
                await peer.close()

    asyncio.run(scenario())


@pytest.mark.slow
def test_whoever_does_not_introduce_itself_is_let_go() -> None:
    async def scenario() -> None:
        async with running(rig := ListenerRig(), connect_s=0.01):
            peer = await Peer.dial(*rig.address)
            assert await peer.ended()
            await rig.fault(Fault.PROTOCOL_ERROR)
            await peer.close()

    asyncio.run(scenario())


def test_whoever_only_looks_whether_the_port_is_open_is_no_fault() -> None:
    async def scenario() -> None:
        async with running(rig := ListenerRig()):
            peer = await Peer.dial(*rig.address)
            await peer.close()
            other = await rig.peer()
            other.send(publish(b"t", b"1", 1, 1))
            await other.pubacks(1)
            assert not rig.faults()
            await other.close()

    asyncio.run(scenario())


def test_several_connections_feed_one_batch_and_each_gets_its_own_acknowledgements() -> None:
    async def scenario() -> None:
        async with running(rig := ListenerRig(), quiet_s=0.1, batch_s=0.1):
            peers = [await rig.peer() for _ in range(5)]
            for number, peer in enumerate(peers):
                peer.send(*(publish(b"t/%d" % number, b"", 1, number * 100 + k) for k in (1, 2)))
            for number, peer in enumerate(peers):
                assert await peer.pubacks(2) == [number * 100 + 1, number * 100 + 2]
            assert len(rig.store.batches) < 5
            for peer in peers:
                await peer.close()

    asyncio.run(scenario())


def test_a_connection_that_breaks_the_rules_costs_no_other() -> None:
    async def scenario() -> None:
        async with running(rig := ListenerRig()):
            good, bad = await rig.peer(), await rig.peer()
            bad.send(publish(b"t", b"", 2, 1))
            farewell = await bad.expect(PacketType.DISCONNECT)
            assert packets.read_disconnect(farewell.body, V5)[0] == Reason.QOS_NOT_SUPPORTED
            good.send(publish(b"t", b"1", 1, 1))
            assert await good.pubacks(1) == [1]
            await good.close()
            await bad.close()

    asyncio.run(scenario())


def test_a_port_that_is_taken_is_told_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        async def scenario() -> None:
            ledger = Ledger()
            listener = Listener(ListenerSettings("ear", "127.0.0.1", port), ledger)
            started = asyncio.create_task(listener.started())
            with pytest.raises(Permanent, match=rf"source ear: port {port} is taken\. Choose another one in bind"):
                await listener.run(_nothing)
            with pytest.raises(Permanent, match="is taken"):
                await started
            assert not listener.connected
            assert "is taken" in listener.trouble

        asyncio.run(scenario())


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_told(host: str) -> None:
    with pytest.raises(Permanent, match=r"Check bind"):
        asyncio.run(Listener(ListenerSettings("ear", host, 0), Ledger()).run(_nothing))


async def _nothing(_batch: object) -> None:
    raise AssertionError("nothing can have come")


def test_one_device_that_comes_back_and_back_is_told_of_once() -> None:
    async def scenario() -> None:
        async with running(rig := checked()):
            for _ in range(5):
                await answer_to(rig, Connect(V5, "c", user="dev", password=b"guess"))
            assert rig.faults()[Fault.CREDENTIALS_REFUSED] == 5

    with capture_logs() as logs:
        asyncio.run(scenario())
    assert len([entry for entry in logs if entry["log_level"] == "warning"]) == 1


@pytest.mark.slow
def test_tls_with_client_certificates_lets_nobody_else_in(pem: certificates.Certificates) -> None:
    async def scenario() -> None:
        context = tls.server_context(pem.server, pem.server_key, pem.ca)
        async with running(rig := ListenerRig(), tls=context):
            theirs = tls.client_context(pem.ca, pem.client, pem.client_key)
            peer = await Peer.dial(*rig.address, V5, ssl=theirs)
            peer.send(packets.write_connect(Connect(V5, "c")), publish(b"t", b"1" * 100_000, 1, 1))
            await peer.expect(PacketType.CONNACK)
            assert await peer.pubacks(1) == [1]
            await peer.close()

            stranger = await Peer.dial(*rig.address, V5, ssl=tls.client_context(pem.ca))
            stranger.send(packets.write_connect(Connect(V5, "c")))
            assert await stranger.ended()
            await rig.fault(Fault.CREDENTIALS_REFUSED)
            await stranger.close()

            plain = await Peer.dial(*rig.address)
            plain.send(packets.write_connect(Connect(V5, "c")))
            assert await plain.ended()
            await rig.fault(Fault.PROTOCOL_ERROR)
            await plain.close()

    asyncio.run(scenario())


def test_it_stops_clean_in_the_middle_of_a_handshake(pem: certificates.Certificates) -> None:
    async def scenario() -> None:
        async with running(rig := ListenerRig(), tls=tls.server_context(pem.server, pem.server_key)):
            peer = await Peer.dial(*rig.address)
            assert await peer.silent(0.05)
            await rig.stop()
            assert await peer.ended()
            await peer.close()

    asyncio.run(scenario())


def test_files_that_are_no_use_are_told(tmp_path: Path, pem: certificates.Certificates) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    with pytest.raises(Permanent, match=r"junk\.pem: holds no certificate"):
        tls.client_context(junk)
    with pytest.raises(Permanent, match=r"missing\.pem: cannot be read: No such file"):
        tls.client_context(tmp_path / "missing.pem")
    with pytest.raises(Permanent, match=r"server\.pem: is no certificate in PEM, or does not fit its key"):
        tls.server_context(pem.server, pem.client_key)
    with pytest.raises(Permanent, match=r"missing\.key: cannot be read"):
        tls.server_context(pem.server, tmp_path / "missing.key")

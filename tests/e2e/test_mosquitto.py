"""Both sources against the real thing: the subscriber at a Mosquitto, the listener with its clients and aiomqtt."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import aiomqtt
import pytest
from structlog.testing import capture_logs

from collectors.mqtt import tls
from collectors.mqtt.fields import V5, V311
from dcim.core.ledger import Fault
from dcim.core.ports import Message, Oversized
from tests import certificates
from tests.mosquitto import Mosquitto
from tests.mqtt_collector import Collector, collecting
from tests.mqtt_rig import PATIENCE_S, ListenerRig, running

pytestmark = pytest.mark.mosquitto
VERSIONS = pytest.mark.parametrize("version", [V311, V5], ids=["3.1.1", "5"])
SPOKEN = {V311: "mqttv311", V5: "mqttv5"}


def make_ready(broker: Mosquitto) -> None:
    broker.publish("t/ready", "x", "-r")


async def publish(broker: Mosquitto, numbers: range, *options: str, qos: int = 1) -> None:
    lines = [str(number) for number in numbers]
    await asyncio.to_thread(broker.publish_lines, "t/n", lines, "-q", str(qos), "-V", "mqttv5", *options)


@VERSIONS
def test_messages_come_as_they_were_published(tmp_path: Path, version: int) -> None:
    async def scenario(broker: Mosquitto) -> None:
        make_ready(broker)
        async with collecting(Collector(broker, version)) as collector:
            await collector.ready()
            await asyncio.to_thread(broker.publish, "t/a", "1", "-q", "1")
            await asyncio.to_thread(broker.publish, "t/b", "2", "-q", "0")
            await asyncio.to_thread(broker.publish, "t/c", "3", "-q", "2")
            await collector.store.holds(4)
            assert collector.store.messages == [
                Message(b"t/ready", b"x", 0, True),
                Message(b"t/a", b"1", 1),
                Message(b"t/b", b"2", 0),
                Message(b"t/c", b"3", 1),
            ]
            assert collector.faults() == {}

    with Mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker))


@pytest.mark.slow
@VERSIONS
def test_what_was_sent_while_we_were_away_arrives_once(tmp_path: Path, version: int) -> None:
    async def scenario(broker: Mosquitto) -> None:
        make_ready(broker)
        async with collecting(Collector(broker, version)) as first:
            await first.ready()
            await publish(broker, range(10))
            await first.until(lambda: first.numbers() == list(range(10)))
        await publish(broker, range(10, 60))
        async with collecting(Collector(broker, version)) as second:
            await second.until(lambda: len(second.numbers()) >= 50)
            assert second.numbers() == list(range(10, 60))
            assert second.faults() == {}

    with Mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker))


@pytest.mark.slow
@VERSIONS
def test_a_broker_that_dies_and_comes_back_is_found_again_with_our_session(tmp_path: Path, version: int) -> None:
    async def scenario(broker: Mosquitto) -> None:
        make_ready(broker)
        async with collecting(Collector(broker, version)) as collector:
            await collector.ready()
            await publish(broker, range(5))
            await collector.until(lambda: len(collector.numbers()) == 5)
            broker.stop()
            await collector.until(lambda: not collector.subscriber.connected)
            await collector.until(lambda: collector.faults().get(Fault.CONNECTION_REFUSED, 0) >= 1)
            broker.start()
            await publish(broker, range(5, 20))
            await collector.until(lambda: len(collector.numbers()) == 20)
            assert collector.numbers() == list(range(20))
            assert collector.subscriber.connected
            assert collector.faults()[Fault.CONNECTION_LOST] == 1

    with Mosquitto(tmp_path) as broker, capture_logs() as logs:
        asyncio.run(scenario(broker))
    assert not [entry for entry in logs if "had not kept our session" in entry["event"]]


STUBBORN = """
import asyncio, sys
from datetime import datetime, UTC
from collectors.mqtt.subscriber import Subscriber, SubscriberSettings
from dcim.core.ledger import Ledger
async def main():
    ledger = Ledger()
    ledger.open("bus", "none", datetime.now(UTC))
    async def deliver(batch):
        if any(message.topic == b"t/n" for message in batch.messages):
            print("taken", flush=True)
            await asyncio.sleep(3600)
        else:
            print("ready", flush=True)
    await Subscriber(SubscriberSettings("bus", "127.0.0.1", int(sys.argv[1]), "dcim", ("t/#",)), ledger).run(deliver)
asyncio.run(main())
"""


@pytest.mark.slow
def test_what_a_killed_collector_had_not_acknowledged_comes_again(tmp_path: Path) -> None:
    async def scenario(broker: Mosquitto) -> None:
        async with collecting(Collector(broker)) as collector:
            await collector.until(lambda: collector.numbers() == [1, 2, 3])
            assert collector.faults() == {}

    with Mosquitto(tmp_path) as broker:
        make_ready(broker)
        command = [sys.executable, "-c", STUBBORN, str(broker.port)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
            assert killed.stdout is not None
            while "ready" not in killed.stdout.readline():
                assert killed.poll() is None
            broker.publish_lines("t/n", ["1", "2", "3"], "-q", "1")
            while "taken" not in killed.stdout.readline():
                assert killed.poll() is None
            killed.send_signal(signal.SIGKILL)
        asyncio.run(scenario(broker))


@VERSIONS
def test_two_collectors_share_the_load(tmp_path: Path, version: int) -> None:
    async def scenario(broker: Mosquitto) -> None:
        options = {"filters": ("$share/dcim/t/#",)}
        first = Collector(broker, version, client_id="dcim-1", **options)
        second = Collector(broker, version, client_id="dcim-2", **options)
        async with collecting(first), collecting(second):
            start = 0
            while not (first.numbers() and second.numbers()):  # SUBACK of both is not to be seen from here
                await publish(broker, range(start, start + 10))
                start += 10
            await first.until(lambda: bool(first.store.batches) and bool(second.store.batches))
            before = len(first.numbers()) + len(second.numbers())
            await publish(broker, range(1_000, 1_200))
            await first.until(lambda: len(first.numbers()) + len(second.numbers()) >= before + 200)
            shared = [number for number in first.numbers() + second.numbers() if number >= 1_000]
            assert sorted(shared) == list(range(1_000, 1_200))
            assert min(len([n for n in one.numbers() if n >= 1_000]) for one in (first, second)) > 20

    with Mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker))


@pytest.mark.slow
@VERSIONS
def test_ten_megabytes_are_skipped_and_cost_no_neighbour(tmp_path: Path, version: int) -> None:
    async def scenario(broker: Mosquitto) -> None:
        make_ready(broker)
        async with collecting(Collector(broker, version)) as collector:
            await collector.ready()
            await publish(broker, range(3))
            await asyncio.to_thread(broker.publish, "t/big", bytes(10_000_000), "-q", "1")
            await publish(broker, range(3, 6))
            await collector.until(lambda: len(collector.numbers()) == 6)
            assert collector.numbers() == list(range(6))
            assert [one for batch in collector.store.batches for one in batch.oversized] == [
                Oversized(b"t/big", 10_000_000)
            ]
        async with collecting(Collector(broker, version)) as again:  # it was acknowledged: it does not come back
            await again.ready()
            assert not [one for batch in again.store.batches for one in batch.oversized]

    with Mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker))


@pytest.mark.slow
def test_the_window_is_ours_and_not_the_brokers_default(tmp_path: Path) -> None:
    async def scenario(broker: Mosquitto) -> None:
        make_ready(broker)
        async with collecting(Collector(broker, V5)) as collector:
            await collector.ready()
            collector.store.gate.clear()
            await publish(broker, range(500))
            collector.store.gate.set()
            await collector.until(lambda: len(collector.numbers()) == 500)
            # With Mosquitto's 20 in flight no batch could hold more than that.
            assert max(len(batch.messages) for batch in collector.store.batches) > 100

    with Mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker))


@pytest.mark.slow
@VERSIONS
def test_a_wrong_password_and_a_forbidden_topic_are_told(tmp_path: Path, version: int) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "me", "right"], check=True, capture_output=True)
    passwords.chmod(0o644)
    allowed = tmp_path / "acl"
    allowed.write_text("user me\ntopic readwrite t/#\n")
    allowed.chmod(0o644)

    async def scenario(broker: Mosquitto) -> None:
        async with collecting(Collector(broker, version, user="me", password=b"wrong")) as collector:
            await collector.until(lambda: collector.faults().get(Fault.CREDENTIALS_REFUSED, 0) >= 2)
            assert not collector.subscriber.connected
            assert "Check user, password" in collector.subscriber.trouble
        async with collecting(Collector(broker, version, user="me", password=b"right")) as collector:
            await collector.ready()
            assert collector.faults() == {}

    me = ("-u", "me", "-P", "right")
    with Mosquitto(
        tmp_path, f"password_file {passwords}", f"acl_file {allowed}", access="allow_anonymous false"
    ) as broker:
        broker.publish("t/ready", "x", "-r", *me)
        asyncio.run(scenario(broker))


@pytest.mark.slow
def test_tls_both_ways(tmp_path: Path) -> None:
    pem = certificates.make(tmp_path)

    async def scenario(broker: Mosquitto) -> None:
        ours = tls.client_context(pem.ca, pem.client, pem.client_key)
        async with collecting(Collector(broker, tls=ours, host="localhost")) as collector:
            await collector.ready()
            assert collector.faults() == {}
        nameless = tls.client_context(pem.ca)
        async with collecting(Collector(broker, tls=nameless, host="localhost")) as collector:
            await collector.until(lambda: bool(collector.faults()))
            assert not collector.store.messages
            assert not collector.subscriber.connected

    secure = (f"cafile {pem.ca}", f"certfile {pem.server}", f"keyfile {pem.server_key}", "require_certificate true")
    with Mosquitto(tmp_path, *secure) as broker:
        client = ("--cafile", str(pem.ca), "--cert", str(pem.client), "--key", str(pem.client_key))
        broker.publish("t/ready", "x", "-r", *client)
        asyncio.run(scenario(broker))


# --- the listener and clients of others ------------------------------------------------------------------------------


async def client(program: str, rig: ListenerRig, *options: str, stdin: bytes = b"") -> tuple[int | None, str]:
    """Exit status and output of one of Mosquitto's clients."""
    host, port = rig.address
    command = [program, "-h", host, "-p", str(port), "-V", SPOKEN[rig.version], *options]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(stdin), PATIENCE_S)
    return process.returncode, output.decode()


@VERSIONS
@pytest.mark.parametrize("qos", [0, 1])
def test_mosquitto_pub_publishes_to_the_listener(version: int, qos: int) -> None:
    async def scenario() -> None:
        async with running(rig := ListenerRig(version)):
            lines = "".join(f"{number}\n" for number in range(300)).encode()
            status, said = await client("mosquitto_pub", rig, "-t", "t/n", "-q", str(qos), "-l", stdin=lines)
            assert (status, said) == (0, "")
            await rig.store.holds(300)
            assert [int(message.payload) for message in rig.store.messages] == list(range(300))
            assert {message.qos for message in rig.store.messages} == {qos}
            assert not rig.faults()

    asyncio.run(scenario())


@VERSIONS
def test_mosquitto_pub_with_a_wrong_password_is_told(version: int) -> None:
    async def scenario() -> None:
        rig = ListenerRig(version)
        rig.check = lambda user, password: (user, password) == ("dev", b"right")
        async with running(rig):
            status, said = await client("mosquitto_pub", rig, "-t", "t", "-m", "x", "-u", "dev", "-P", "wrong")
            assert status != 0
            assert "user name or password" in said.lower()
            status, said = await client("mosquitto_pub", rig, "-t", "t", "-m", "x", "-u", "dev", "-P", "right")
            assert (status, said) == (0, "")

    asyncio.run(scenario())


@VERSIONS
def test_mosquitto_sub_is_refused_and_told_so(version: int) -> None:
    async def scenario() -> None:
        async with running(rig := ListenerRig(version)):
            _, said = await client("mosquitto_sub", rig, "-t", "t/#")
            assert "All subscription requests were denied" in said

    with capture_logs() as logs:
        asyncio.run(scenario())
    (entry,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert entry["todo"] == "Run a broker for whoever subscribes, and make it a source here."


@pytest.mark.slow
@VERSIONS
def test_mosquitto_pub_over_tls_with_a_client_certificate(tmp_path: Path, version: int) -> None:
    pem = certificates.make(tmp_path)

    async def scenario() -> None:
        context = tls.server_context(pem.server, pem.server_key, pem.ca)
        async with running(rig := ListenerRig(version), tls=context):
            ours = ("--cafile", str(pem.ca), "--cert", str(pem.client), "--key", str(pem.client_key))
            message = ("-t", "t", "-q", "1", "-s")
            status, said = await client("mosquitto_pub", rig, *message, *ours, stdin=b"x" * 500_000)
            assert (status, said) == (0, "")
            assert rig.store.messages == [Message(b"t", b"x" * 500_000, 1)]
            status, _ = await client("mosquitto_pub", rig, *message, *ours[:2], stdin=b"x")
            assert status != 0
            assert len(rig.store.messages) == 1

    asyncio.run(scenario())


def test_qos_2_is_announced_away() -> None:
    async def scenario() -> None:
        async with running(rig := ListenerRig(V5)):
            _, said = await client("mosquitto_pub", rig, "-t", "t", "-m", "x", "-q", "2")
            assert "QoS not supported" in said
            assert rig.store.messages == []

    asyncio.run(scenario())


@pytest.mark.slow
@VERSIONS
def test_aiomqtt_publishes_to_the_listener(version: int) -> None:
    spoken = aiomqtt.ProtocolVersion.V5 if version == V5 else aiomqtt.ProtocolVersion.V311

    async def scenario() -> None:
        async with running(rig := ListenerRig(version)):
            host, port = rig.address
            will = aiomqtt.Will("dead", b"x", qos=1)
            async with aiomqtt.Client(host, port, protocol=spoken, identifier="agent", will=will) as agent:
                for number in range(60):
                    await agent.publish("t/n", str(number), qos=number % 2)
            await rig.store.holds(60)
            assert [int(message.payload) for message in rig.store.messages] == list(range(60))
            assert rig.faults() == {}

    asyncio.run(scenario())

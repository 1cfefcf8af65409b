"""The subscriber at a real NATS gateway, the broker of DSX Exchange: MQTT 3.1.1 over JetStream, with its own ways."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from collectors.mqtt.fields import V311
from collectors.mqtt.intake import Intake
from dcim.core.ledger import Fault
from dcim.core.ports import Message
from tests.mqtt_collector import Collector, collecting
from tests.nats import Nats

pytestmark = [pytest.mark.nats, pytest.mark.mosquitto]  # mosquitto_pub publishes


def make_ready(gateway: Nats) -> None:
    gateway.publish("t/ready", "x", "-r", "-q", "1")


async def publish(gateway: Nats, numbers: range, qos: int = 1) -> None:
    await asyncio.to_thread(gateway.publish_lines, "t/n", [str(number) for number in numbers], "-q", str(qos))


def test_retained_and_live_messages_come_as_they_were_published(tmp_path: Path) -> None:
    async def scenario(gateway: Nats) -> None:
        make_ready(gateway)
        async with collecting(Collector(gateway, V311, filters=("t/#", "u/#"))) as collector:
            await collector.ready()
            await asyncio.to_thread(gateway.publish, "t/a", "1", "-q", "1")
            await asyncio.to_thread(gateway.publish, "u/b", "2", "-q", "0")
            await collector.store.holds(3)
            assert collector.store.messages == [
                Message(b"t/ready", b"x", 1, True),
                Message(b"t/a", b"1", 1),
                Message(b"u/b", b"2", 0),
            ]
            assert collector.faults() == {}

    with Nats(tmp_path) as gateway:
        asyncio.run(scenario(gateway))


@pytest.mark.slow
def test_what_was_sent_while_we_were_away_arrives_once(tmp_path: Path) -> None:
    async def scenario(gateway: Nats) -> None:
        make_ready(gateway)
        async with collecting(Collector(gateway, V311)) as first:
            await first.ready()
            await publish(gateway, range(10))
            await first.until(lambda: first.numbers() == list(range(10)))
        await publish(gateway, range(10, 60))
        async with collecting(Collector(gateway, V311)) as second:
            await second.until(lambda: len(second.numbers()) >= 50)
            assert second.numbers() == list(range(10, 60))
            assert second.faults() == {}

    with Nats(tmp_path) as gateway:
        asyncio.run(scenario(gateway))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_gateway_that_comes_back_is_found_again_with_our_session(tmp_path: Path, how: signal.Signals) -> None:
    async def scenario(gateway: Nats) -> None:
        make_ready(gateway)
        async with collecting(Collector(gateway, V311)) as collector:
            await collector.ready()
            await publish(gateway, range(5))
            await collector.until(lambda: len(collector.numbers()) == 5)
            gateway.stop(how)
            await collector.until(lambda: not collector.subscriber.connected)
            gateway.start()
            await publish(gateway, range(5, 20))
            # At the moment of the kill an acknowledgement may not have been written: then what it was for comes again.
            await collector.until(lambda: set(collector.numbers()) == set(range(20)))
            assert collector.subscriber.connected

    with Nats(tmp_path) as gateway, capture_logs() as logs:
        asyncio.run(scenario(gateway))
    assert not [entry for entry in logs if "had not kept our session" in entry["event"]]


@pytest.mark.slow
def test_a_small_window_of_the_gateway_costs_pace_and_nothing_else(tmp_path: Path) -> None:
    async def scenario(gateway: Nats) -> None:
        make_ready(gateway)
        async with collecting(Collector(gateway, V311)) as collector:
            await collector.ready()
            await publish(gateway, range(200))
            await collector.until(lambda: len(collector.numbers()) == 200)
            assert collector.numbers() == list(range(200))
            assert (
                max(len(batch.messages) for batch in collector.store.batches) <= 10
            )  # a full window is not waited out

    with Nats(tmp_path, "max_ack_pending: 10") as gateway:
        asyncio.run(scenario(gateway))


@pytest.mark.slow
def test_what_is_sent_again_because_we_take_long_is_kept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repeated = asyncio.Event()
    drop_repeats = Intake._drop_repeats

    def noticed(intake: Intake, *args: object) -> None:
        drop_repeats(intake, *args)  # type: ignore[arg-type]
        repeated.set()

    monkeypatch.setattr(Intake, "_drop_repeats", noticed)

    async def scenario(gateway: Nats) -> None:
        make_ready(gateway)
        async with collecting(Collector(gateway, V311)) as collector:
            await collector.ready()
            collector.store.gate.clear()
            await publish(gateway, range(20))
            await asyncio.wait_for(repeated.wait(), 30)  # after its ack_wait
            await publish(gateway, range(20, 40))
            collector.store.gate.set()
            await collector.until(lambda: len(collector.numbers()) >= 40)
            assert collector.numbers() == list(range(40))
            assert collector.faults() == {}
        async with collecting(Collector(gateway, V311)) as again:  # all was acknowledged: nothing is left to come
            await again.ready()
            assert again.numbers() == []

    with Nats(tmp_path, 'ack_wait: "1s"') as gateway:
        asyncio.run(scenario(gateway))


def test_a_filter_that_it_does_not_take_is_told(tmp_path: Path) -> None:
    async def scenario(gateway: Nats) -> None:
        make_ready(gateway)
        async with collecting(Collector(gateway, V311, filters=("t/#", "a.b/#"))) as collector:
            await collector.ready()
            await collector.until(lambda: collector.faults().get(Fault.SUBSCRIBE_REFUSED, 0) >= 1)
            assert "a.b/#" in collector.subscriber.trouble

    with Nats(tmp_path) as gateway:
        asyncio.run(scenario(gateway))


def test_a_shared_subscription_over_3_1_1_is_warned_of_for_the_gateway_says_nothing(tmp_path: Path) -> None:
    async def scenario(gateway: Nats) -> None:
        async with collecting(Collector(gateway, V311, filters=("$share/g/t/#", "u/#"))) as collector:
            await collector.until(lambda: collector.subscriber.connected)
            await collector.until(lambda: bool([entry for entry in logs if "shared" in entry["event"]]))
            assert collector.faults() == {}  # it is granted, and nothing comes of it

    with Nats(tmp_path) as gateway, capture_logs() as logs:
        asyncio.run(scenario(gateway))

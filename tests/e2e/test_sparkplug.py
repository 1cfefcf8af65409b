"""Sparkplug at a real broker: a node whose birth we missed is asked for it, its values come, and its will ends them."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from collectors.codecs.sparkplug_payload import PAYLOAD
from dcim.app.settings import BrokerSource
from dcim.core.times import now, to_us
from tests import forms
from tests.broker import PATIENCE_S
from tests.contract.inside import SITE, Inside, inside
from tests.mosquitto import Mosquitto

pytestmark = pytest.mark.mosquitto

BD_SEQ = {"name": "bdSeq", "datatype": 8, "long_value": 7}
REBIRTH = {"name": "Node Control/Rebirth", "datatype": 11, "boolean_value": False}
SUPPLY = {"name": "Secondary/Supply/LiquidTemperature", "alias": 4, "datatype": 9}


def said(seq: int, *metrics: dict[str, Any]) -> bytes:
    return forms.sparkplug({"timestamp": to_us(now()) // 1_000, "seq": seq, "metrics": list(metrics)})


class Node:
    """An edge node: one connection with its death for a will, on which commands come; it publishes beside it."""

    def __init__(self, broker: Mosquitto, process: asyncio.subprocess.Process) -> None:
        self._broker, self._process = broker, process

    async def publish(self, verb: str, payload: bytes) -> None:
        await asyncio.to_thread(self._broker.publish, f"spBv1.0/G/{verb}/gw", payload)

    async def command(self) -> tuple[str, bytes]:
        """The next command: its topic and payload."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE_S)
        topic, payload = line.decode().split()
        return topic, bytes.fromhex(payload)

    def die(self) -> None:
        """At once, without a word: the broker carries out the will."""
        self._process.kill()


@asynccontextmanager
async def node(broker: Mosquitto) -> AsyncIterator[Node]:
    will = forms.sparkplug({"metrics": [BD_SEQ]})
    command = broker.command("mosquitto_sub", "spBv1.0/G/NCMD/gw", "-F", "%t %x", "-q", "0")
    options = ["--will-topic", "spBv1.0/G/NDEATH/gw", "--will-payload", will.decode(), "--will-qos", "1"]
    process = await asyncio.create_subprocess_exec(*command, *options, stdout=subprocess.PIPE)
    try:
        yield Node(broker, process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def source(broker: Mosquitto, *, rebirth: bool) -> BrokerSource:
    return BrokerSource.model_validate(
        {
            "kind": "broker",
            "name": "bus",
            "site": SITE,
            "url": f"mqtt://{broker.host}:{broker.port}",
            "codecs": ["sparkplug"],
            "sparkplug": {"rebirth": rebirth, "assets": [{"match": "G/gw", "asset": "C1", "kind": "CDU"}]},
        }
    )


async def rows(service: Inside) -> list[tuple[str, float | None, str]]:
    found = (await service.get("/api/v1/readings/latest"))["items"]
    return [(row["asset"], row["value"], row["quality"]) for row in found]


async def account(service: Inside) -> dict[str, Any]:
    (item,) = (await service.get("/api/v1/ledger"))["items"]
    return dict(item)


async def connected(service: Inside) -> bool:
    return bool((await account(service))["connected"])


@pytest.mark.slow
def test_a_node_whose_birth_we_missed_is_asked_for_it_and_its_will_ends_its_values(tmp_path: Path) -> None:
    async def scenario(service: Inside) -> None:
        await service.until(lambda: connected(service))
        async with node(broker) as edge:
            asked = asyncio.create_task(edge.command())
            seq = 0
            while not asked.done():  # whether the service and the node have subscribed is not to be seen from here
                seq += 1
                await edge.publish("NDATA", said(seq % 256, {"alias": 4, "float_value": 1.0}))
                await asyncio.wait([asked], timeout=0.05)
            topic, payload = asked.result()
            command = PAYLOAD.FromString(payload)
            assert topic == "spBv1.0/G/NCMD/gw"
            assert [(each.name, each.boolean_value) for each in command.metrics] == [(b"Node Control/Rebirth", True)]
            assert not command.HasField("seq")
            assert await rows(service) == []

            told = SUPPLY | {"float_value": 95.0, "properties": {"engUnit": "degF"}}
            await edge.publish("NBIRTH", said(0, BD_SEQ, REBIRTH, told))
            await edge.publish("NDATA", said(1, {"alias": 4, "float_value": 104.0}))

            async def arrived() -> bool:
                return await rows(service) == [("C1", 40.0, "good")]

            await service.until(arrived)
            edge.die()

            async def ended() -> bool:
                return await rows(service) == [("C1", None, "bad")]

            await service.until(ended)
        told = await account(service)
        assert told["balanced"]
        assert set(told["reasons"]) == {"birth_missing"}

    with Mosquitto(tmp_path) as broker:
        inside(scenario, sources=(source(broker, rebirth=True),))


@pytest.mark.slow
def test_nothing_is_sent_to_the_bus_where_the_settings_do_not_say_so(tmp_path: Path) -> None:
    async def scenario(service: Inside) -> None:
        await service.until(lambda: connected(service))
        async with node(broker) as edge:
            seq = 0

            async def missed() -> bool:
                nonlocal seq
                seq += 1
                await edge.publish("NDATA", said(seq % 256, {"alias": 4, "float_value": 1.0}))
                return "birth_missing" in (await account(service))["reasons"]

            await service.until(missed)
            await edge.publish("NCMD", b"mine")  # would be behind a request of ours, had there been one
            assert await edge.command() == ("spBv1.0/G/NCMD/gw", b"mine")

    with Mosquitto(tmp_path) as broker:
        inside(scenario, sources=(source(broker, rebirth=False),))

"""Notices from end to end: a wet sensor comes in over the bus, and a signed webhook goes out."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from dcim.app.build import build, check
from dcim.app.settings import NoticeRoute, Notices, Settings, WebhookReceiver
from dcim.core.errors import Permanent
from tests import certificates
from tests.contract.inside import LEAK_WORDS, MEMORY, SITE, Inside, inside, rack_metadata, rack_value
from tests.receivers import WebServer, secret


def hook(folder: Path, ca: Path | None, port: int) -> WebhookReceiver:
    return WebhookReceiver(
        name="night", kind="webhook", url=f"https://localhost:{port}/", secret_file=folder / "secret", ca_file=ca
    )


def test_a_wet_sensor_becomes_a_webhook_once_somebody_is_there(tmp_path: Path) -> None:
    certs = certificates.make(tmp_path)
    secret(tmp_path, "open sesame")
    # The port must be in the settings before the service is built, and the server lives in the service's loop.
    journal = f"sqlite+aiosqlite:///{tmp_path / 'alarms.sqlite'}"

    async def reserve() -> int:
        async with WebServer(certs) as probe:
            return probe.port

    port = asyncio.run(reserve())
    server = WebServer(certs, port=port)
    told = Notices(
        console_url="https://dcim.example",
        receivers=(hook(tmp_path, certs.ca, port),),
        routes=(NoticeRoute(receivers=("night",), kinds=("leak_wet",)),),
    )

    async def scenario(hall: Inside) -> None:
        await hall.send(rack_metadata("RackLeakDetect", stateText=LEAK_WORDS), rack_value("RackLeakDetect", 0, ago_s=1))
        await hall.send(rack_value("RackLeakDetect", 1))

        async def waits() -> Any:
            return 'dcim_notices_retried_total{receiver="night"} 1.0' in (await hall.client.get("/metrics")).text

        await hall.until(waits)  # nobody is there yet
        async with server:

            async def arrived() -> Any:
                return server.taken

            (taken,) = await hall.until(arrived)
            (news,) = json.loads(taken.body)["news"]
            (alarm,) = (await hall.get("/api/v1/alarms"))["items"]
            assert (news["site"], news["hall"], news["row"], news["position"], news["rack"]) == (
                SITE, "Hall 2", "C", 7, "R1",
            )  # fmt: skip
            assert news["link"] == f"https://dcim.example/#/alarms/{alarm['id']}"
            assert (news["title"], news["priority"]) == (alarm["title"], "high")

            async def counted() -> Any:
                metrics = (await hall.client.get("/metrics")).text
                return 'sent_total{receiver="night"} 1.0' in metrics and 'waiting{receiver="night"} 0.0' in metrics

            await hall.until(counted)

    inside(scenario, journal=journal, notices=told)


def test_a_set_up_that_cannot_work_is_told_at_the_start(tmp_path: Path) -> None:
    route = (NoticeRoute(receivers=("night",)),)
    lost = Settings(store=MEMORY, notices=Notices(receivers=(hook(tmp_path, None, 1),), routes=route))
    with pytest.raises(Permanent, match="the secret cannot be read"):
        check(lost)
    with pytest.raises(Permanent, match="the secret cannot be read"):
        asyncio.run(build(lost))
    secret(tmp_path, "open sesame")
    wrong = Settings(store=MEMORY, notices=Notices(receivers=(hook(tmp_path, tmp_path / "no", 1),), routes=route))
    with pytest.raises(Permanent, match="receiver night: the authorities cannot be used"):
        check(wrong)
    assert "receiver night: webhook at localhost" in check(
        Settings(store=MEMORY, notices=Notices(receivers=(hook(tmp_path, None, 1),), routes=route))
    )

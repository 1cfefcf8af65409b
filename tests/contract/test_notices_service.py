"""Notices from end to end: a wet sensor comes in over the bus, and a signed webhook goes out."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dcim.app.build import build, check
from dcim.app.cli import app
from dcim.app.clock import Clock
from dcim.app.settings import (
    EscalationStep,
    NoticeCalendar,
    NoticeEscalation,
    NoticeRoute,
    Notices,
    PagerDutyReceiver,
    Settings,
    WebhookReceiver,
)
from dcim.core.errors import Permanent
from dcim.core.times import now
from tests import certificates
from tests.contract.inside import LEAK_WORDS, MEMORY, SITE, Inside, inside, rack_metadata, rack_value
from tests.receivers import WebServer, secret


def hook(folder: Path, ca: Path | None, port: int) -> WebhookReceiver:
    return WebhookReceiver(
        name="night", kind="webhook", url=f"https://localhost:{port}/", secret_file=folder / "secret", ca_file=ca
    )


@pytest.mark.slow
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
        (warning,) = (await hall.get("/readyz"))["warnings"]
        assert warning.startswith("No notice reaches night since ") and "webhook at localhost: ConnectError" in warning
        (receiver,) = await hall.get("/api/v1/notices/receivers")
        assert receiver["failing_since"] and receiver["failing"].startswith("webhook at localhost: ConnectError")
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
            assert (await hall.get("/readyz"))["warnings"] == []
            assert 'dcim_notices_failing{receiver="night"} 0.0' in (await hall.client.get("/metrics")).text

    inside(scenario, journal=journal, notices=told)


@pytest.mark.slow
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


@pytest.mark.slow
def test_what_was_refused_is_listed_and_sent_after_all(tmp_path: Path) -> None:
    certs = certificates.make(tmp_path)
    secret(tmp_path, "open sesame")

    async def reserve() -> int:
        async with WebServer(certs) as probe:
            return probe.port

    port = asyncio.run(reserve())
    server = WebServer(certs, mood="never", port=port)
    rota = tmp_path / "rota.ics"
    shift = (
        "BEGIN:VEVENT\r\nUID:n\r\nSUMMARY:Night\r\nDTSTART;VALUE=DATE:20200101\r\nRRULE:FREQ=DAILY\r\nEND:VEVENT\r\n"
    )
    rota.write_text(f"BEGIN:VCALENDAR\r\n{shift}END:VCALENDAR\r\n")
    calendar = NoticeCalendar(name="first", file=rota, people={"night": "night"}, fallback=("night",))
    told = Notices(
        receivers=(hook(tmp_path, certs.ca, port),),
        routes=(NoticeRoute(on_call=("first",), kinds=("leak_wet",)),),
        calendars=(calendar,),
        calendar_folder=tmp_path / "copies",
    )
    journal = f"sqlite+aiosqlite:///{tmp_path / 'alarms.sqlite'}"
    settings = tmp_path / "site.toml"
    settings.write_text(
        f"""
        [alarms]
        journal = "{journal}"
        [[notices.receivers]]
        name = "night"
        kind = "webhook"
        url = "https://localhost:{port}/"
        secret_file = "{tmp_path / "secret"}"
        ca_file = "{certs.ca}"
        [[notices.routes]]
        on_call = ["first"]
        [[notices.calendars]]
        name = "first"
        file = "{rota}"
        people = {{ night = "night" }}
        fallback = ["night"]
        """
    )

    async def cli(*args: str) -> str:
        """What the command says, in a thread, for it has a loop of its own."""
        result = await asyncio.to_thread(CliRunner().invoke, app, ["notices", *args, "--config", str(settings)])
        assert result.exit_code == 0, result.output
        return result.output

    async def scenario(hall: Inside) -> None:
        async with server:
            await hall.send(
                rack_metadata("RackLeakDetect", stateText=LEAK_WORDS), rack_value("RackLeakDetect", 0, ago_s=1)
            )
            await hall.send(rack_value("RackLeakDetect", 1))

            async def dead() -> Any:
                return (await hall.get("/api/v1/notices?outcome=dead"))["items"]

            (letter,) = await hall.until(dead)
            assert (letter["receiver"], letter["reason"], letter["said"]) == (
                "night", "refused", "webhook at localhost: answered 410 bye!",
            )  # fmt: skip
            assert (letter["news"], letter["asset"], letter["tries"]) == ("began", "R1", 1)
            assert (await hall.get("/api/v1/notices?outcome=delivered"))["items"] == []
            (receiver,) = await hall.get("/api/v1/notices/receivers")
            assert (receiver["waiting"], receiver["dead"]) == (0, {"refused": 1})
            assert "dead, refused, 1 tries\n    webhook at localhost: answered 410 bye!\n" in await cli("list")

            trial = "/api/v1/notices/receivers/night/test"
            answer = await hall.client.post(trial, json={"by": "ana"})
            assert (answer.status_code, answer.json()["title"]) == (502, "Not taken")
            answer = await hall.client.post("/api/v1/notices/receivers/noon/test", json={"by": "ana"})
            assert answer.status_code == 404
            server.mood = "takes"
            answer = await hall.client.post(trial, json={"by": "ana"})
            assert (answer.status_code, answer.json()["said"]) == (200, "202 bye!")
            assert server.taken.pop().key == answer.json()["key"]
            assert "night took it: 202 bye!" in await cli("test", "night", "--by", "ben")
            assert "Asked for by ben" in server.taken.pop().text

            number = letter["number"]
            answer = await hall.client.post("/api/v1/notices/retry", json={"by": "ana", "numbers": [number, 99]})
            assert answer.json() == {"taken": [number], "left": [99]}

            async def arrived() -> Any:
                return (await hall.get("/api/v1/notices?outcome=delivered&receiver=night"))["items"]

            (sent,) = await hall.until(arrived)
            assert (sent["key"], sent["said"], sent["reason"]) == (letter["key"], "202 bye!", None)
            assert [taken.key for taken in server.taken] == [letter["key"]]
            assert f"{number} is left" in await cli("retry", str(number))

            server.mood = "never"
            await hall.send(rack_value("RackLeakDetect", 0))
            assert len(await hall.until(dead, 60)) == 1
            server.mood = "takes"
            assert "1 of 1 will be sent again" in await cli("retry", "--all")

            async def both() -> Any:
                return len(server.taken) > 1

            await hall.until(both, 30)  # another process did that; it is seen within seconds
            assert "nothing is dead" in await cli("retry", "--all")

            (first,) = await hall.get("/api/v1/notices/calendars")
            assert (first["receivers"], first["remark"], first["failing"], first["events"]) == (["night"], "", "", 1)
            assert await cli("on-call") == "first: night\n"
            assert 'dcim_calendar_failing{calendar="first"} 0.0' in (await hall.client.get("/metrics")).text
            assert (tmp_path / "copies" / "first.ics").read_text() == rota.read_text()
            rota.unlink()
            await hall.service.context.duty.look("first")
            (warning,) = (await hall.get("/readyz"))["warnings"]
            assert warning.startswith("The calendar first cannot be read; its last copy is used where there is one: ")
            (first,) = await hall.get("/api/v1/notices/calendars")
            assert first["receivers"] == ["night"] and first["remark"].endswith("a copy is used.")

    inside(scenario, journal=journal, notices=told)


@pytest.mark.slow
def test_what_nobody_acknowledges_becomes_an_incident_until_somebody_does(tmp_path: Path) -> None:
    certs = certificates.make(tmp_path)
    secret(tmp_path, "0" * 32)

    async def reserve() -> int:
        async with WebServer(certs) as probe:
            return probe.port

    ports = asyncio.run(reserve()), asyncio.run(reserve())
    desk, pager = (WebServer(certs, port=port) for port in ports)
    lead = PagerDutyReceiver(
        name="lead",
        kind="pagerduty",
        url=f"https://localhost:{ports[1]}/v2/enqueue",
        key_file=tmp_path / "secret",
        ca_file=certs.ca,
    )
    told = Notices(
        receivers=(hook(tmp_path, certs.ca, ports[0]), lead),
        routes=(NoticeRoute(receivers=("night",), kinds=("leak_wet",)),),
        escalations=(
            NoticeEscalation(kinds=("leak_wet",), steps=(EscalationStep(after_min=10, receivers=("lead",)),)),
        ),
    )
    ahead = timedelta(0)

    def actions() -> list[str]:
        return [json.loads(taken.body)["event_action"] for taken in pager.taken]

    async def scenario(hall: Inside) -> None:
        nonlocal ahead

        async def arrived() -> Any:
            return desk.taken

        async def called() -> Any:
            return actions() == ["trigger"]

        async def known() -> Any:
            return actions() == ["trigger", "acknowledge"]

        async def over() -> Any:
            return actions() == ["trigger", "acknowledge", "resolve"]

        async with desk, pager:
            await hall.send(
                rack_metadata("RackLeakDetect", stateText=LEAK_WORDS), rack_value("RackLeakDetect", 0, ago_s=1)
            )
            await hall.send(rack_value("RackLeakDetect", 1))
            await hall.until(arrived)
            assert pager.taken == []
            ahead = timedelta(minutes=1)  # clocks jump ahead, and are followed

            async def worse() -> Any:
                return [news["news"] for taken in desk.taken for news in json.loads(taken.body)["news"]][1:]

            assert await hall.until(worse, 30) == ["worse"]  # it counts from here
            ahead = timedelta(minutes=11)
            await hall.until(called, 30)
            event = json.loads(pager.taken[0].body)
            (alarm,) = [one for one in (await hall.get("/api/v1/alarms"))["items"] if one["kind"] == "leak_wet"]
            assert event["dedup_key"] == f"dcim-{alarm['id']}"
            assert "Nobody has acknowledged it within 10 min." in event["payload"]["custom_details"]["text"]
            assert event["links"][0]["href"].endswith(f"#/alarms/{alarm['id']}")
            done = await hall.client.post(f"/api/v1/alarms/{alarm['id']}/acknowledge", json={"by": "ana"})
            assert done.status_code == 200
            await hall.until(known, 30)
            await hall.send(rack_value("RackLeakDetect", 0, ago_s=-ahead.total_seconds()))
            await hall.until(over, 60)

    journal = f"sqlite+aiosqlite:///{tmp_path / 'alarms.sqlite'}"
    inside(scenario, journal=journal, notices=told, clock=Clock(lambda: now() + ahead))

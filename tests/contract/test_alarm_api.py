"""Alarms over the API: what is listed, what people do and who is refused why, what is hidden, what the stream tells."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from dcim.core.times import now
from tests.contract.inside import LEAK_WORDS, Inside, inside, metadata, rack_metadata, rack_value, value

RACKS = ("R1", "R2", "R3")
WET = [rack_metadata("RackLeakDetect", rack=rack, stateText=LEAK_WORDS) for rack in RACKS]
STATUS = [{"value": 0, "text": "Off"}, {"value": 1, "text": "On"}]


def iso(**ahead: float) -> str:
    return (now() + timedelta(**ahead)).isoformat().replace("+00:00", "Z")


async def alarms(hall: Inside, query: str = "") -> list[dict[str, Any]]:
    return list((await hall.get(f"/api/v1/alarms{query}"))["items"])


async def wet(hall: Inside, *racks: str) -> dict[str, dict[str, Any]]:
    """Wet sensors, and the alarms that they make, by rack."""
    await hall.send(*WET, *(rack_value("RackLeakDetect", 0, rack=rack, ago_s=1) for rack in RACKS))
    await hall.send(*(rack_value("RackLeakDetect", 1, rack=rack) for rack in racks))

    async def all_there() -> Any:
        found = {alarm["asset"]: alarm for alarm in await alarms(hall)}
        return found if found.keys() >= set(racks) else None

    return dict(await hall.until(all_there))


async def do(hall: Inside, alarm: dict[str, Any], verb: str, status: int = 200, **body: Any) -> Any:
    answer = await hall.client.post(f"/api/v1/alarms/{alarm['id']}/{verb}", json={"by": "ana", **body})
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.mark.slow
def test_what_people_do_is_done_once_and_kept_for_good() -> None:
    async def scenario(hall: Inside) -> None:
        alarm = (await wet(hall, "R1"))["R1"]
        assert (alarm["version"], alarm["active"], alarm["aside"], alarm["assigned"]) == (1, True, None, None)
        assigned = await do(hall, alarm, "assign", to="ben", version=1)
        assert (assigned["assigned"], assigned["version"]) == ("ben", 2)
        await do(hall, alarm, "comment", comment="<b>condensate</b>\r\n=1+1")
        shelved = await do(hall, alarm, "shelve", reason="being wiped", for_s=600)
        assert (shelved["state"], shelved["aside"]["by"], shelved["aside"]["reason"]) == (
            "shelved",
            "ana",
            "being wiped",
        )
        assert shelved["aside"]["until"] > iso(seconds=500)
        back = await do(hall, alarm, "unshelve")
        assert (back["state"], back["aside"]) == ("unacknowledged", None)
        out = await do(hall, alarm, "out-of-service", reason="torn")
        assert (out["state"], out["aside"]["until"]) == ("out_of_service", None)
        await do(hall, alarm, "return-to-service")
        history = await hall.get(f"/api/v1/alarms/{alarm['id']}/history")
        assert [(change["change"], change["by"], change["origin"], change["detail"]) for change in history] == [
            ("activated", "", "", ""),
            ("assigned", "ana", "127.0.0.1", "ben"),
            ("commented", "ana", "127.0.0.1", ""),
            ("shelved", "ana", "127.0.0.1", ""),
            ("unshelved", "ana", "127.0.0.1", ""),
            ("taken_out", "ana", "127.0.0.1", ""),
            ("brought_back", "ana", "127.0.0.1", ""),
        ]
        assert (
            history[2]["comment"] == "<b>condensate</b>\r\n=1+1"
        )  # as it was said; whoever shows it makes it harmless

        await do(hall, alarm, "close", 409, cause="false")  # it still stands
        await hall.send(rack_value("RackLeakDetect", 0))
        await hall.until(lambda: alarms(hall, "?state=returned"), patience_s=20)
        closed = await do(hall, alarm, "close", cause="false", comment="wiped")
        assert closed["state"] == "normal"
        assert await alarms(hall) == []
        journal = await hall.get("/api/v1/transitions?asset=R1&limit=2")
        assert [(row["change"], row["detail"]) for row in journal["items"]] == [("closed", "false"), ("returned", "")]
        older = await hall.get(f"/api/v1/transitions?asset=R1&before={journal['next_cursor']}")
        assert [row["change"] for row in older["items"]][-1] == "activated"
        assert older["next_cursor"] is None
        assert len(await hall.get(f"/api/v1/alarms/{alarm['id']}/history")) == 9
        assert "is over" in (await do(hall, alarm, "comment", 404, comment="late"))["detail"]

    inside(scenario)


@pytest.mark.slow
def test_of_two_operators_the_second_is_told_what_has_changed() -> None:
    async def scenario(hall: Inside) -> None:
        alarm = (await wet(hall, "R1"))["R1"]
        await do(hall, alarm, "comment", by="ben", comment="I am there", version=1)
        problem = await do(hall, alarm, "shelve", 409, reason="nobody there", for_s=60, version=1)
        assert problem["title"] == "Changed since"
        assert [(change["change"], change["by"]) for change in problem["changes"]] == [("commented", "ben")]
        assert (problem["alarm"]["version"], problem["alarm"]["state"]) == (2, "unacknowledged")
        await do(hall, alarm, "shelve", reason="he is there", for_s=60, version=2)
        problem = await do(hall, alarm, "acknowledge", 409)
        assert (problem["title"], problem["alarm"]["state"]) == ("Not in this state", "shelved")

    inside(scenario)


@pytest.mark.slow
def test_what_cannot_be_meant_is_refused_with_its_field() -> None:
    async def scenario(hall: Inside) -> None:
        alarm = (await wet(hall, "R1"))["R1"]
        wrong: list[tuple[str, dict[str, Any], str]] = [
            ("shelve", {"for_s": 60}, "body.reason"),
            ("shelve", {"reason": " ", "for_s": 60}, "body.reason"),
            ("shelve", {"reason": "x", "for_s": 5 * 3600}, "body.for_s"),
            ("shelve", {"reason": "x", "for_s": 0}, "body.for_s"),
            ("out-of-service", {"reason": " "}, "body.reason"),
            ("comment", {"comment": " "}, "body.comment"),
            ("comment", {"comment": "\x00"}, "body.comment"),
            ("assign", {"to": "x" * 201}, "body.to"),
            ("close", {"cause": "gremlins"}, "body.cause"),
            ("acknowledge", {"by": " "}, "body.by"),
        ]
        for verb, body, field in wrong:
            problem = await do(hall, alarm, verb, 422, **body)
            assert [entry["field"] for entry in problem["errors"]] == [field], (verb, body)
        for verb in ("unshelve", "return-to-service", "reset"):
            assert (await do(hall, alarm, verb, 409))["title"] == "Not in this state"
        assert (await alarms(hall))[0]["version"] == 1

    inside(scenario)


@pytest.mark.slow
def test_many_are_acknowledged_at_once_but_nothing_that_nobody_has_seen() -> None:
    async def scenario(hall: Inside) -> None:
        found = await wet(hall, "R1", "R2")
        seen_at = iso()
        found |= await wet(hall, "R3")

        async def many(status: int = 200, **body: Any) -> Any:
            answer = await hall.client.post("/api/v1/alarms/acknowledge", json={"by": "ana", **body})
            assert answer.status_code == status, answer.text
            return answer.json()

        await many(422)
        await many(422, ids=[], seen_at=seen_at)
        ids = [found["R1"]["id"], "nonsense"]
        done = await many(ids=ids)
        assert (done["done"], [refused["id"] for refused in done["refused"]]) == (1, ["nonsense"])
        assert (await many(seen_at=seen_at, priority=1))["done"] == 0
        assert (await many(seen_at=seen_at))["done"] == 1
        states = {alarm["asset"]: alarm["state"] for alarm in await alarms(hall)}
        assert states == {"R1": "acknowledged", "R2": "acknowledged", "R3": "unacknowledged"}

        oldest = [alarm["asset"] for alarm in await alarms(hall, "?sort=oldest")]
        assert (set(oldest[:2]), oldest[2]) == ({"R1", "R2"}, "R3")
        assert [alarm["asset"] for alarm in await alarms(hall, f"?sort=newest&start={seen_at}")] == ["R3"]
        await do(hall, found["R3"], "shelve", reason="x", for_s=60)
        seen, path = [], "?limit=1"
        while path:
            page = await hall.get(f"/api/v1/alarms{path}")
            seen += [alarm["asset"] for alarm in page["items"]]
            path = f"?limit=1&cursor={page['next_cursor']}" if page["next_cursor"] else ""
        assert (len(seen), set(seen), seen[-1]) == (3, set(RACKS), "R3")  # what was put aside comes last
        only = await alarms(hall, "?state=shelved&state=returned&priority=1&priority=2&site=titan&asset=R3")
        assert [alarm["asset"] for alarm in only] == ["R3"]

    inside(scenario)


@pytest.mark.slow
def test_work_hides_what_begins_there_and_is_on_record_but_hides_no_rope() -> None:
    power = rack_metadata("RackPower", engUnit="kW")  # over its rating of 120 kW: an alarm of its own, after 60 s

    async def scenario(hall: Inside) -> None:
        await hall.send(*WET, power, rack_value("RackPower", 50))
        await hall.until(lambda: hall.get("/api/v1/sites"))

        async def post(path: str, status: int, **body: Any) -> Any:
            answer = await hall.client.post(f"/api/v1/maintenance{path}", json=body)
            assert answer.status_code == status, answer.text
            return answer.json()

        told = {"by": "ana", "reason": "new hoses", "site": "titan", "end": iso(hours=2)}
        for wrong, field in (
            ({"site": "nowhere"}, "body.site"),
            ({"assets": ["nobody"]}, "body.assets"),
            ({"end": iso(hours=-1)}, "body.end"),
            ({"end": iso(days=40)}, "body.end"),
            ({"start": iso(hours=3)}, "body.end"),
            ({"reason": "  "}, "body.reason"),
        ):
            problem = await post("", 422, **told | wrong)
            assert [entry["field"] for entry in problem["errors"]] == [field], wrong
        window = await post("", 201, **told, assets=["R1"], downstream=True)
        assert (window["phase"], window["origin"], window["hides"]) == ("open", "127.0.0.1", 0)
        planned = await post("", 201, **told, start=iso(hours=1))
        assert planned["phase"] == "planned"
        assert {one["id"] for one in await hall.get("/api/v1/maintenance")} == {window["id"], planned["id"]}

        found = await wet(hall, "R1")
        assert (found["R1"]["state"], found["R1"]["hidden_by"]) == ("unacknowledged", None)

        ended = await post(f"/{window['id']}/end", 200, by="ben")
        assert (ended["phase"], ended["ended_by"]) == ("over", "ben")
        await post(f"/{window['id']}/end", 404, by="ben")
        assert [one["id"] for one in await hall.get("/api/v1/maintenance")] == [planned["id"]]
        since = await hall.get(f"/api/v1/maintenance?since={iso(hours=-1)}&site=titan")
        assert {one["id"] for one in since} == {window["id"], planned["id"]}

    inside(scenario)


@pytest.mark.slow
def test_what_is_hidden_is_listed_where_it_is_asked_for_and_told_on_the_stream() -> None:
    status = metadata("CDU", "Status", "c/s", objectId="C1", objectName="CDU one", stateText=STATUS)

    async def scenario(hall: Inside) -> None:
        await hall.send(status, value("CDU", "Status", "c/s", 1))
        await hall.until(lambda: hall.get("/api/v1/sites"))
        engine = hall.service.context.engine
        (rule,) = [rule for rule in engine.ruleset.rules if rule.name == "filter-clogged"]
        answer = await hall.client.post(
            "/api/v1/maintenance",
            json={"by": "ana", "reason": "a filter", "site": "titan", "assets": ["C1"], "end": iso(hours=1)},
        )
        assert answer.status_code == 201, answer.text
        window = answer.json()
        heard: list[Any] = []

        async def listen() -> None:
            async with hall.client.stream("GET", "/api/v1/stream?include=alarms") as stream:
                name = ""
                async for line in stream.aiter_lines():
                    if line.startswith("event: "):
                        name = line.removeprefix("event: ")
                        if name == "hello":
                            ready.set()
                    elif line.startswith("data: ") and name in ("transitions", "alarm"):
                        heard.append((name, json.loads(line.removeprefix("data: "))))
                        if name == "transitions":
                            return

        from dcim.core.findings import Detection, FindingKind, Subject
        from tests.alarms import finding

        ready = asyncio.Event()
        listening = asyncio.create_task(listen())
        await ready.wait()
        kinds = frozenset({FindingKind.FILTER_CLOGGED})
        seen = Detection((finding(FindingKind.FILTER_CLOGGED, Subject("titan", "C1", "x")),))
        at = hall.service.context.clock()
        await engine.apply(seen, kinds, at)
        made = await engine.apply(seen, kinds, at + rule.policy.on_delay)
        hall.service.context.watch.say(made)
        await asyncio.wait_for(listening, 10)
        assert [(name, row["items"][0]["change"], row["items"][0]["hidden_how"]) for name, row in heard] == [
            ("transitions", "suppressed", "maintenance")
        ]
        assert await alarms(hall) == []
        (hidden,) = await alarms(hall, "?state=suppressed")
        assert (hidden["hidden_by"], hidden["hidden_how"]) == (window["id"], "maintenance")
        assert hidden["hidden_why"] == "maintenance by ana: a filter"
        (told,) = await hall.get("/api/v1/maintenance")
        assert told["hides"] == 1
        assert (await hall.get(f"/api/v1/alarms/{hidden['id']}"))["history"][0]["hidden_by"] == window["id"]

    inside(scenario)


@pytest.mark.slow
def test_the_rules_are_told_with_why_they_are_there() -> None:
    async def scenario(hall: Inside) -> None:
        told = {rule["name"]: rule for rule in await hall.get("/api/v1/rules")}
        rack = told["rack-leak-wet"]
        assert (rack["kind"], rack["asset_kind"], rack["priority"]) == ("leak_wet", "Rack", 2)
        assert rack["escalate"] == {"priority": 1, "after_s": 30, "confidence": 0.9}
        assert rack["rationale"]["respond_within_min"] == 5
        assert "flow-lost" in told["rack-supply-temperature-high"]["explained_by"]
        assert told["rack-supply-temperature-high"]["limit"]["quantity"] == "RackLiquidSupplyTemperature"
        assert told["pump-worn"]["needs_running"]

    inside(scenario)


@pytest.mark.slow
def test_equipment_is_off_where_its_status_says_so_well_and_lately() -> None:
    from dcim.core.assets import AssetKey

    key = AssetKey("titan", "C1")
    status = metadata("CDU", "Status", "c/s", objectId="C1", objectName="CDU one", stateText=STATUS)

    async def scenario(hall: Inside) -> None:
        watch = hall.service.context.watch
        await hall.send(status, value("CDU", "Status", "c/s", 1))
        await hall.until(lambda: hall.get("/api/v1/sites"))
        assert watch.off(key) == ""
        await hall.send(value("CDU", "Status", "c/s", 0))

        async def off() -> str:
            return watch.off(key)

        assert "says Off" in await hall.until(off)
        await hall.send(value("CDU", "Status", "c/s", 0, quality=0))
        await hall.until(lambda: not_off(watch))
        assert watch.off(AssetKey("titan", "nobody")) == ""

    async def not_off(watch: Any) -> bool:
        return watch.off(key) == ""

    inside(scenario)

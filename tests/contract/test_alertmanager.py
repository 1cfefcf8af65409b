"""Alertmanager's API: the same calls to a real Alertmanager and to us, amtool against us, and what ours alone does."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from alerts import alertmanager as am
from alerts.engine import Engine
from alerts.lifecycle import Priority, State
from alerts.rules import default
from dcim.app.api.alertmanager import BODY_MAX
from dcim.app.settings import NoticeCalendar, NoticeRoute, Notices, WebhookReceiver
from dcim.core.findings import Detection, FindingKind, Subject
from dcim.core.times import now
from tests.alarms import MemoryJournal, at, finding
from tests.contract.inside import Inside, inside
from tests.contract.test_alarm_api import do, wet
from tests.servers import alertmanager

JSON = {"Content-Type": "application/json"}
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NOWHERE = "00000000-0000-4000-8000-000000000000"


def ahead(**time: float) -> str:
    return am.stamp(now() + timedelta(**time))


def form(value: object) -> object:
    """What a value looks like: names, types, and of texts those that have a form of their own."""
    if isinstance(value, dict):
        return {name: form(inner) for name, inner in sorted(value.items())}
    if isinstance(value, list):
        return [form(inner) for inner in value]
    if isinstance(value, str):
        return "time" if STAMP.fullmatch(value) else "uuid" if UUID.fullmatch(value) else "text"
    return type(value).__name__


def silence(*matchers: tuple[str, str], **fields: object) -> dict[str, object]:
    """A silence that is to be made."""
    told = [{"name": name, "value": value, "isRegex": False} for name, value in matchers]
    return {
        "matchers": told, "startsAt": ahead(), "endsAt": ahead(minutes=30), "createdBy": "operator",
        "comment": "pump test", **fields,
    }  # fmt: skip


# --- Beside a real one ------------------------------------------------------------------------------------------------


@dataclass
class Pair:
    """Both of them, asked the same."""

    ours: httpx.AsyncClient
    theirs: httpx.AsyncClient
    ids: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By a name in braces: the id that a silence has with us, and with them."""

    async def ask(
        self, method: str, path: str, body: object = None, **how: Any
    ) -> tuple[httpx.Response, httpx.Response]:
        """Their answers, after checking that status and kind of content are the same."""
        answers = []
        for client, which in ((self.ours, 0), (self.theirs, 1)):
            url, told = path, None if body is None else json.dumps(body)
            for name, ids in self.ids.items():
                url = url.replace(name, ids[which])
                told = told.replace(name, ids[which]) if told is not None else None
            headers = JSON if told is not None else {}
            given = {"content": told, "headers": headers} | how
            answers.append(await client.request(method, url, **given))
        mine, real = answers
        assert mine.status_code == real.status_code, (method, path, body, mine.text, real.text)
        kinds = [each.headers.get("content-type", "").partition(";")[0] for each in answers]
        assert kinds[0] == kinds[1], (method, path, kinds)
        return mine, real

    async def same(self, method: str, path: str, body: object = None, **how: Any) -> Any:
        """Our content, after checking that theirs has the same form."""
        mine, real = await self.ask(method, path, body, **how)
        if not real.content:
            assert mine.content == b""
            return None
        assert form(mine.json()) == form(real.json()), (method, path, mine.text, real.text)
        return mine.json()


def beside_a_real_one(folder: Path, scenario: Callable[[Pair], Awaitable[None]]) -> None:
    with alertmanager(folder) as real:

        async def both(hall: Inside) -> None:
            async with httpx.AsyncClient(base_url=f"{real.url}/api/v2", timeout=10) as theirs:
                base = f"{hall.client.base_url}alertmanager/api/v2"
                async with httpx.AsyncClient(base_url=base, timeout=10) as ours:
                    await scenario(Pair(ours, theirs))

        inside(both)


REFUSED: list[tuple[str, str, object]] = [
    ("GET", "/alerts?filter=bad", None),
    ("GET", "/alerts?filter=a%3D%22x", None),
    ("GET", "/alerts?filter=a%3D~%28", None),
    ("GET", "/alerts?receiver=%28", None),
    ("GET", "/alerts/groups?filter=bad", None),
    ("GET", "/silences?filter=bad", None),
    ("GET", "/silence/nope", None),
    ("GET", f"/silence/{NOWHERE}", None),
    ("DELETE", "/silence/nope", None),
    ("DELETE", f"/silence/{NOWHERE}", None),
    ("DELETE", "/silences", None),
    ("PUT", "/alerts", []),
    ("POST", "/status", {}),
    ("GET", "/nothing", None),
    ("POST", "/alerts", {}),
    ("POST", "/alerts", [{}]),
    ("POST", "/alerts", [{"labels": {}}]),
    ("POST", "/alerts", [{"labels": {"a": ""}}]),
    ("POST", "/alerts", [{"labels": {"1x": "y"}}]),
    ("POST", "/alerts", [{"labels": {"a": 5}}]),
    ("POST", "/alerts", [{"labels": {"a": "b"}, "annotations": {"1x": "y"}}]),
    ("POST", "/alerts", [{"labels": {"a": "b"}, "annotations": []}]),
    ("POST", "/alerts", [{"labels": {"a": "b"}, "generatorURL": "::nope"}]),
    ("POST", "/alerts", [{"labels": {"a": "b"}, "startsAt": "yesterday"}]),
    (
        "POST", "/alerts",
        [{"labels": {"a": "b"}, "startsAt": "2026-01-02T00:00:00Z", "endsAt": "2026-01-01T00:00:00Z"}],
    ),
    ("POST", "/silences", {}),
    ("POST", "/silences", []),
    *(
        ("POST", "/silences", {key: value for key, value in silence(("a", "b")).items() if key != missing})
        for missing in ("matchers", "startsAt", "endsAt", "createdBy", "comment")
    ),
    ("POST", "/silences", silence()),
    ("POST", "/silences", silence(("a", ""))),
    ("POST", "/silences", silence(("a-b", "c"))),
    ("POST", "/silences", silence(matchers=[{"name": "a", "value": "("}])),
    ("POST", "/silences", silence(matchers=[{"name": "a", "value": "(", "isRegex": True}])),
    ("POST", "/silences", silence(matchers=[{"name": "a", "value": "b", "isRegex": "no"}])),
    ("POST", "/silences", silence(("a", "b"), endsAt="2020-01-01T00:00:00Z")),
    ("POST", "/silences", silence(("a", "b"), startsAt="2020-01-01T00:00:00Z", endsAt="2020-01-02T00:00:00Z")),
    ("POST", "/silences", silence(("a", "b"), startsAt="soon")),
    ("POST", "/silences", silence(("a", "b"), id=NOWHERE)),
    ("POST", "/silences", silence(("a", "b"), id="x")),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.alertmanager
def test_what_a_real_one_refuses_we_refuse_in_the_same_form(tmp_path: Path) -> None:
    async def scenario(pair: Pair) -> None:
        for method, path, body in REFUSED:
            mine, real = await pair.ask(method, path, body)
            assert real.status_code >= 400, (method, path, body)
            if not real.content:
                assert mine.content == b""
                continue
            assert form(mine.json()) == form(real.json()), (method, path, body, mine.text, real.text)
            if isinstance(real.json(), dict):
                assert mine.json()["code"] == real.json()["code"], (method, path, body, mine.text, real.text)
            allowed = [set(each.headers.get("allow", "").split(",")) for each in (mine, real)]
            assert allowed[0] == allowed[1], (method, path)
        for how in (
            {"content": b"{", "headers": JSON},
            {"content": b"", "headers": JSON},
            {"content": b"null", "headers": JSON},
            {"content": b"[]", "headers": {"Content-Type": "text/plain"}},
            {"content": b"[]", "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        ):
            for path in ("/alerts", "/silences"):
                mine, real = await pair.ask("POST", path, **how)
                if real.content:
                    assert mine.json()["code"] == real.json()["code"], (path, how, mine.text, real.text)

    beside_a_real_one(tmp_path, scenario)


@pytest.mark.slow
@pytest.mark.alertmanager
def test_what_a_real_one_answers_we_answer_field_by_field(tmp_path: Path) -> None:
    starts, ends = ahead(minutes=-5), ahead(minutes=20)
    alerts = [
        {
            "labels": {"alertname": "DiskFull", "severity": "page", "instance": "h1", "site": "oslo", "none": ""},
            "annotations": {"summary": "disk <b>full</b>", "runbook_url": "https://wiki.example/disk"},
            "startsAt": starts, "endsAt": ends, "generatorURL": "http://prom.example/graph?g0.expr=x",
        },
        {"labels": {"alertname": "Watchdog"}, "startsAt": starts, "endsAt": ends},
        {"labels": {"alertname": "Slow", "site": "oslo", "asset": "R1"}},
        {"labels": {"alertname": "Over"}, "startsAt": starts, "endsAt": starts},
    ]  # fmt: skip

    def told(answer: httpx.Response, *, timed: bool = True) -> list[Any]:
        """Alerts without what each side makes itself."""
        own = {"fingerprint", "updatedAt"} | (set() if timed else {"startsAt", "endsAt"})
        found = [{name: value for name, value in one.items() if name not in own} for one in answer.json()]
        return sorted(found, key=lambda one: str(one["labels"]))

    async def scenario(pair: Pair) -> None:
        await pair.same("GET", "/status")
        await pair.same("GET", "/receivers")
        for path in ("/alerts", "/alerts/groups", "/silences"):
            assert await pair.same("GET", path) == []
        await pair.same("POST", "/alerts", [])
        await pair.same("POST", "/alerts", alerts)
        mine, real = await pair.ask("GET", "/alerts")
        assert form(sorted(mine.json(), key=lambda one: str(one["labels"]))) == form(
            sorted(real.json(), key=lambda one: str(one["labels"]))
        )
        assert [one["labels"]["alertname"] for one in told(mine)] == ["DiskFull", "Slow", "Watchdog"]
        without = "Slow"  # of it neither said when it began
        assert [one for one in told(mine) if one["labels"]["alertname"] != without] == [
            one for one in told(real) if one["labels"]["alertname"] != without
        ]
        assert told(mine, timed=False) == told(real, timed=False)
        assert all(re.fullmatch(r"[0-9a-f]{16}", one["fingerprint"]) for one in mine.json())
        assert [one["fingerprint"] for one in mine.json()] == sorted(one["fingerprint"] for one in mine.json())

        for query in FILTERS:
            mine, real = await pair.ask("GET", f"/alerts?{query}")
            assert told(mine, timed=False) == told(real, timed=False), query

        async with asyncio.timeout(20):
            while True:  # a real one groups in its own time
                grouped = (await pair.theirs.get("/alerts/groups")).json()
                if len(grouped) == 3:
                    break
                await asyncio.sleep(0.05)
        mine, real = await pair.ask("GET", "/alerts/groups")
        for answer in (mine, real):
            assert all(group["receiver"] == {"name": "dcim"} for group in answer.json())
        gathered = [
            {
                json.dumps(group["labels"], sort_keys=True): sorted(
                    one["labels"]["alertname"] for one in group["alerts"]
                )
                for group in answer.json()
            }
            for answer in (mine, real)
        ]
        assert gathered[0] == gathered[1]
        assert gathered[0] == {
            "{}": ["Watchdog"], '{"site": "oslo"}': ["DiskFull"], '{"asset": "R1", "site": "oslo"}': ["Slow"],
        }  # fmt: skip

        for name, body in (
            ("{act}", silence(("alertname", "Watchdog"))),
            ("{later}", silence(("site", "oslo"), startsAt=ahead(minutes=5), endsAt=ahead(minutes=20))),
            (
                "{regex}",
                silence(matchers=[{"name": "asset", "value": "R1|R2", "isRegex": True}], endsAt=ahead(minutes=35)),
            ),
        ):
            mine, real = await pair.ask("POST", "/silences", body)
            assert form(mine.json()) == form(real.json()) == {"silenceID": "uuid"}
            pair.ids[name] = mine.json()["silenceID"], real.json()["silenceID"]
        for name in pair.ids:
            mine, real = await pair.ask("GET", f"/silence/{name}")
            own = {"id", "updatedAt", "startsAt"}
            assert form(mine.json()) == form(real.json())
            assert {key: value for key, value in mine.json().items() if key not in own} == {
                key: value for key, value in real.json().items() if key not in own
            }
        mine, real = await pair.ask("GET", "/silences")
        assert [one["matchers"] for one in mine.json()] == [one["matchers"] for one in real.json()]
        assert [one["status"] for one in mine.json()] == [one["status"] for one in real.json()]
        for query in ("filter=alertname%3DWatchdog", "filter=alertname%3D~.*", "filter=site%21%3Doslo", "filter=x%3Dy"):
            mine, real = await pair.ask("GET", f"/silences?{query}")
            assert [one["matchers"] for one in mine.json()] == [one["matchers"] for one in real.json()], query

        for query in ("", "silenced=false", "active=false", "active=no&silenced=yes", "inhibited=false"):
            mine, real = await pair.ask("GET", f"/alerts?{query}")
            states = [
                sorted(
                    (one["labels"]["alertname"], one["status"]["state"], len(one["status"]["silencedBy"]))
                    for one in answer.json()
                )
                for answer in (mine, real)
            ]
            assert states[0] == states[1], query

        # Another end is the same silence; another matcher is another one, and the one of before is over.
        mine, real = await pair.ask("GET", "/silence/{later}")
        longer = silence(("site", "oslo"), id="{later}", startsAt=ahead(minutes=6), endsAt=ahead(minutes=25))
        mine, real = await pair.ask("POST", "/silences", longer)
        assert (mine.json()["silenceID"], real.json()["silenceID"]) == pair.ids["{later}"]
        mine, real = await pair.ask("POST", "/silences", silence(("alertname", "Slow"), id="{act}"))
        assert mine.json()["silenceID"] != pair.ids["{act}"][0]
        assert real.json()["silenceID"] != pair.ids["{act}"][1]
        assert (await pair.same("GET", "/silence/{act}"))["status"] == {"state": "expired"}
        assert await pair.same("DELETE", "/silence/{later}") is None
        assert await pair.same("DELETE", "/silence/{later}") is None  # once more does no harm
        assert (await pair.same("GET", "/silence/{later}"))["status"] == {"state": "expired"}
        mine, real = await pair.ask("GET", "/silences")
        assert [one["status"]["state"] for one in mine.json()] == [one["status"]["state"] for one in real.json()]

        over = [{"labels": {"alertname": "Watchdog"}, "startsAt": starts, "endsAt": ahead(seconds=-1)}]
        await pair.same("POST", "/alerts", over)
        mine, real = await pair.ask("GET", "/alerts?filter=alertname%3DWatchdog")
        assert (mine.json(), real.json()) == ([], [])

    beside_a_real_one(tmp_path, scenario)


FILTERS = [
    "filter=alertname%3D%22DiskFull%22",
    "filter=alertname%3DDiskFull",
    "filter=alertname%21%3D%22DiskFull%22",
    "filter=alertname%3D~%22Disk.*%22",
    "filter=alertname%3D~Disk",  # as a whole
    "filter=alertname%21~%22Disk.%2B%7CSlow%22",
    "filter=site%3D%22%22",
    "filter=site%21%3D%22%22",
    "filter=site%3Doslo&filter=instance%3D%22h1%22",
    "filter=%20alertname%20%3D%20%22Watchdog%22%20",
    "receiver=dcim",
    "receiver=dc.*",
    "receiver=dc",
    "active=false",
    "active=maybe",
    "active=TRUE&silenced=false&inhibited=false&unprocessed=false",
]


# --- amtool -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.alertmanager
def test_amtool_shows_and_silences_as_the_page_says() -> None:
    async def scenario(hall: Inside) -> None:
        url = f"{hall.client.base_url}alertmanager"

        async def amtool(*words: str, status: int = 0) -> str:
            program = await asyncio.create_subprocess_exec(
                "amtool", f"--alertmanager.url={url}", *words,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            said, _ = await program.communicate()
            assert program.returncode == status, said.decode()
            return said.decode()

        await wet(hall, "R1", "R2")
        assert re.findall(r"R\d", await amtool("alert", "query")) == ["R2", "R1"]
        assert "Leak sensor wet at R1" in await amtool("alert", "query", "asset=R1")
        assert await amtool("alert", "query", "asset=~R3|R4") == await amtool("alert", "query", "asset=R9")
        (alert,) = json.loads(await amtool("alert", "query", "-o", "json", "asset=R2"))
        assert alert["labels"]["alertname"] == "rack-leak-wet"

        await amtool("alert", "add", "Foo", "instance=h1", "severity=warning", "--annotation=summary=slow disk")
        assert "slow disk" in await amtool("alert", "query", "alertname=Foo")
        made = (await amtool("silence", "add", "alertname=Foo", "-a", "shift lead", "-c", "disk is changed")).strip()
        assert UUID.fullmatch(made)
        assert "disk is changed" in await amtool("silence", "query")
        assert "Foo" not in await amtool("alert", "query")
        assert "suppressed" in await amtool("alert", "query", "--silenced")
        assert await amtool("silence", "update", "-q", "-d", "20m", made)
        await amtool("silence", "expire", (await amtool("silence", "query", "-q")).strip())
        assert await amtool("silence", "query", "-q") == ""
        assert "Foo" in await amtool("alert", "query")

        said = await amtool("silence", "add", "asset=R1", "-a", "shift lead", "-c", "work", "-d", "3h", status=1)
        assert "is shelved for 1 h at most" in said
        said = await amtool("silence", "add", "alertname=rack-leak-wet", "-a", "me", "-c", "work", status=1)
        assert "contact leak sensor" in said
        assert "silence not found" in await amtool("silence", "expire", NOWHERE, status=1)
        assert "receiver: dcim" in await amtool("config", "show")
        assert "default-route  receiver: dcim" in await amtool("config", "routes")
        assert (await amtool("config", "routes", "test", "site=titan")).strip() == "dcim"
        assert "disabled" in await amtool("cluster", "show")

    inside(scenario)


@pytest.mark.slow
@pytest.mark.alertmanager
def test_amtool_reads_whom_alarms_go_to(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not to be told\n")
    secret.chmod(0o600)
    notices = Notices(
        receivers=tuple(
            WebhookReceiver(kind="webhook", name=name, url="https://hidden.example/", secret_file=secret)
            for name in ("shift", "oslo.team")
        ),
        routes=(
            NoticeRoute(receivers=("shift",), priority="high"),
            NoticeRoute(receivers=("oslo.team",), sites=("oslo.1",)),
            NoticeRoute(on_call=("night",), sites=("bergen",)),
        ),
        calendars=(
            NoticeCalendar(
                name="night", file=tmp_path / "night.ics", people={"night shift": "shift"}, fallback=("shift",)
            ),
        ),
    )

    async def scenario(hall: Inside) -> None:
        url = f"{hall.client.base_url}alertmanager"
        told = (await hall.get("/alertmanager/api/v2/status"))["config"]["original"]
        assert "hidden.example" not in told and "not to be told" not in told
        assert await hall.get("/alertmanager/api/v2/receivers") == [
            {"name": "dcim"}, {"name": "shift"}, {"name": "oslo.team"}, {"name": "night"},
        ]  # fmt: skip
        for labels, wanted in (
            (("severity=critical", "site=oslo.1"), "shift,oslo.team"),
            (("severity=low", "site=oslo.1"), "oslo.team"),
            (("severity=low", "site=oslox1"), "dcim"),
            (("severity=low", "site=bergen"), "night"),
        ):
            program = await asyncio.create_subprocess_exec(
                "amtool", f"--alertmanager.url={url}", "config", "routes", "test", *labels,
                stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            said, _ = await program.communicate()
            assert said.decode().strip() == wanted

    inside(scenario, notices=notices)


# --- What ours alone does ---------------------------------------------------------------------------------------------

API = "/alertmanager/api/v2"


async def post(hall: Inside, path: str, body: object, status: int = 200) -> Any:
    answer = await hall.client.post(f"{API}{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


async def states(hall: Inside, query: str = "") -> dict[str, tuple[str, list[str], list[str]]]:
    """By alertname and asset: state, and by what it is hidden."""
    return {
        " ".join(one["labels"].get(name, "") for name in ("alertname", "asset")).strip(): (
            one["status"]["state"], one["status"]["silencedBy"], one["status"]["inhibitedBy"],
        )
        for one in await hall.get(f"{API}/alerts{query}")
    }  # fmt: skip


@pytest.mark.slow
def test_nothing_else_answers_below_it_and_asking_changes_nothing() -> None:
    async def scenario(hall: Inside) -> None:
        await wet(hall, "R1")
        await post(hall, "/silences", silence(("asset", "R9")))
        engine = hall.service.context.engine
        before = (engine.seq, engine.silences())
        for path in ("", "/", "/-/healthy", "/-/ready", "/api/v1/alerts", "/api/v1/status", "/api/v2", "/api/v2/",
                     "/alertmanager/api/v2/status", "/api/v2/status/", "/api/prom/configs", "/index.html"):  # fmt: skip
            answer = await hall.client.get(f"/alertmanager{path}", follow_redirects=True)
            assert answer.status_code == 404, path
        for path in ("/status", "/receivers", "/alerts", "/alerts/groups", "/silences", f"/silence/{NOWHERE}"):
            answer = await hall.client.get(f"{API}{path}")
            assert answer.headers["cache-control"] == "no-store"
            head = await hall.client.head(f"{API}{path}")
            assert head.status_code == 405
        told = (await hall.client.get("/alertmanager/metrics")).text
        assert f'version="{am.API_VERSION}"}} 1\n' in told
        assert (engine.seq, engine.silences()) == before

    inside(scenario)


@pytest.mark.slow
def test_a_shelf_of_the_console_is_a_silence_and_ends_like_one() -> None:
    async def scenario(hall: Inside) -> None:
        found = await wet(hall, "R1", "R2")
        await do(hall, found["R1"], "shelve", reason="being wiped", for_s=600)
        await do(hall, found["R2"], "out-of-service", reason="torn")
        (shelf, gone) = await hall.get(f"{API}/silences")
        assert (shelf["createdBy"], shelf["comment"], gone["comment"]) == ("ana", "being wiped", "torn")
        assert gone["endsAt"].startswith("9999-")
        assert {row["name"]: row["value"] for row in shelf["matchers"]} == {
            "alertname": "rack-leak-wet", "asset": "R1", "kind": "leak_wet", "qualifier": "RackLeakDetect",
            "site": "titan",
        }  # fmt: skip
        told = await states(hall)
        assert told["rack-leak-wet R1"] == ("suppressed", [shelf["id"]], [])
        assert told["rack-leak-wet R2"] == ("suppressed", [gone["id"]], [])
        assert await hall.get(f"{API}/silence/{shelf['id']}") == shelf

        longer = {**shelf, "endsAt": ahead(minutes=50), "comment": "still wet"}
        assert await post(hall, "/silences", longer) == {"silenceID": shelf["id"]}
        assert (await hall.get(f"{API}/silence/{shelf['id']}"))["comment"] == "still wet"
        said = await post(hall, "/silences", {**shelf, "endsAt": ahead(hours=9)}, 400)
        assert "shelved for" in said
        said = await post(hall, "/silences", {**longer, "matchers": silence(("a", "b"))["matchers"]}, 400)
        assert "shelf of one alarm" in said
        assert "return it to service" in await post(hall, "/silences", {**gone, "endsAt": ahead(minutes=5)}, 400)

        for one in (shelf, gone):
            assert (await hall.client.delete(f"{API}/silence/{one['id']}")).status_code == 200
        assert await hall.get(f"{API}/silences") == []
        assert {state for state, _, _ in (await states(hall)).values()} == {"active"}
        history = await hall.get(f"/api/v1/alarms/{found['R1']['id']}/history")
        assert [(row["change"], row["by"], row["comment"]) for row in history] == [
            ("activated", "", ""),
            ("shelved", "ana", "being wiped"),
            ("shelved", "ana", "still wet"),
            ("unshelved", "Alertmanager API", ""),
        ]

    inside(scenario)


@pytest.mark.slow
def test_what_the_design_hides_is_inhibited() -> None:
    async def scenario(hall: Inside) -> None:
        end = (now() + timedelta(minutes=5)).isoformat()
        await wet(hall, "R1")
        window = (
            await hall.client.post(
                "/api/v1/maintenance", json={"by": "day shift", "reason": "filter", "site": "titan", "end": end}
            )
        ).json()
        await post(hall, "/alerts", [{"labels": {"alertname": "Slow", "site": "titan", "asset": "R1"}}])
        assert await states(hall, "?filter=alertname%3DSlow") == {"Slow R1": ("suppressed", [], [window["id"]])}
        assert await states(hall, "?inhibited=false") == {"rack-leak-wet R1": ("active", [], [])}

    inside(scenario)


def test_what_follows_from_an_alarm_names_its_fingerprint() -> None:
    async def scenario() -> None:
        engine = Engine(default(), MemoryJournal())
        await engine.open(at(0))
        lost, stale = FindingKind.SOURCE_LOST, FindingKind.POINT_STALE
        found = (finding(lost, Subject("oslo", "gateway")), finding(stale, Subject("oslo", "R1")))
        for second in (0, 3_600):
            await engine.apply(Detection(found), frozenset({lost, stale}), at(second))
        (cause,), (hidden,) = engine.standing(), engine.suppressed()
        told = am.alert(
            hidden, am.labels(hidden, None), at(0), came=None, find=engine.find, destinations=(), console=""
        )
        assert told["status"] == {"inhibitedBy": [am.fingerprint(cause)], "silencedBy": [], "state": "suppressed"}
        assert told["annotations"]["hidden_by"] == "source_lost stands at oslo"
        assert "generatorURL" not in told
        # a change of priority is the same alert; another asset is another one
        assert am.fingerprint(replace(cause, priority=Priority.CRITICAL, id="another")) == am.fingerprint(cause)
        assert am.fingerprint(replace(cause, asset="R2")) != am.fingerprint(cause)
        # what has returned is no alert, what is latched is
        assert [am.shows(replace(cause, active=False, state=state)) for state in State] == [
            state in (State.LATCHED_UNACKNOWLEDGED, State.LATCHED_ACKNOWLEDGED) for state in State
        ]

    asyncio.run(scenario())


@pytest.mark.slow
def test_an_alert_from_outside_becomes_an_alarm_like_any_other() -> None:
    async def scenario(hall: Inside) -> None:
        alert = {
            "labels": {"alertname": "DiskFull", "severity": "error", "instance": "h1", "job": "node"},
            "annotations": {
                "summary": "disk full", "description": "98 % of /var", "runbook_url": "https://wiki.example/disk",
            },
            "generatorURL": "http://prom.example/graph",
        }  # fmt: skip
        await post(hall, "/alerts", [alert])
        (alarm,) = (await hall.get("/api/v1/alarms"))["items"]
        assert (alarm["title"], alarm["summary"], alarm["site"], alarm["asset"], alarm["priority_word"]) == (
            "DiskFull: h1", "disk full", "external", "h1", "high",
        )  # fmt: skip
        assert (alarm["rule"], alarm["kind"], alarm["check_first"]) == (
            "external-high", "external_alert", ["Runbook: https://wiki.example/disk"],
        )  # fmt: skip
        assert alarm["rationale"]["cause"] == "98 % of /var"
        assert {row["what"]: row["shows"] for row in alarm["evidence"]}["generator URL"] == alert["generatorURL"]
        await do(hall, alarm, "acknowledge")
        await post(hall, "/alerts", [alert])  # told again: the same alarm
        (again,) = (await hall.get("/api/v1/alarms"))["items"]
        assert (again["id"], again["state"]) == (alarm["id"], "acknowledged")
        await post(hall, "/alerts", [{**alert, "endsAt": ahead(seconds=-1), "startsAt": ahead(minutes=-1)}])
        assert (await hall.get("/api/v1/alarms"))["items"] == []
        assert 'dcim_external_alerts_total{what="taken"} 3.0' in (await hall.client.get("/metrics")).text
        assert {rule["name"] for rule in await hall.get("/api/v1/rules")} >= {"external-high"}

    inside(scenario)


HOSTILE: list[tuple[dict[str, Any], int, str]] = [
    ({"labels": {"alertname": "x" * 3_000}}, 400, "2048 characters"),
    ({"labels": {f"l{number}": "v" for number in range(65)}}, 400, "64 labels"),
    ({"labels": {"a": "b"}, "annotations": {f"n{number}": "v" for number in range(25)}}, 400, "24 annotations"),
    ({"labels": {"alertname": "a\x00b"}}, 400, "cannot be kept"),
    ({"labels": {"a": "b"}, "generatorURL": 5}, 400, "is no string"),
    ({"labels": {"a": "b"}, "startsAt": "2026-13-01T00:00:00Z"}, 400, "no time"),
    ({"labels": {"a": "b"}, "startsAt": "0001-01-01T00:00:00+14:00"}, 400, "no time"),
    ({"labels": {"a": "b"}, "startsAt": 5}, 400, "no time"),
    ({"labels": {"a\nb": "c"}}, 400, "invalid name"),
]


@pytest.mark.slow
def test_hostile_alerts_are_refused_in_words_or_made_harmless() -> None:
    async def scenario(hall: Inside) -> None:
        for body, status, words in HOSTILE:
            said = json.dumps(await post(hall, "/alerts", [body], status))
            assert words in said, said
            assert len(said) < 2_500
        good = {"labels": {"alertname": "Good"}}
        said = await post(hall, "/alerts", [{"labels": {"1": "x"}}, good], 400)
        assert "invalid name" in said
        assert list(await states(hall)) == ["Good"]  # what can be read is taken in, whatever is wrong with the rest
        odd = {
            "labels": {"alertname": "<script>", "site": "\x1b[31m", "instance": "=1+1\r\nBcc: x", "n": "{}|\"'"},
            "annotations": {"summary": "<img src=x>\r\n\x1b[2J" + "y" * 9_000},
            "generatorURL": "javascript:alert(1)",
        }
        await post(hall, "/alerts", [odd])
        (alarm,) = [each for each in (await hall.get("/api/v1/alarms"))["items"] if "script" in each["title"]]
        assert (alarm["site"], alarm["asset"]) == ("external", "")
        assert {row["what"]: row["shows"] for row in alarm["evidence"]}["link"].startswith("left out")
        (alert,) = [one for one in await hall.get(f"{API}/alerts") if one["labels"]["alertname"] == "<script>"]
        assert "generatorURL" not in alert
        assert alert["labels"] == odd["labels"]
        assert len(alert["annotations"]["summary"]) == 500
        answer = await hall.client.post(f"{API}/alerts", json=[{"labels": {"a": "b"}, "x": "y" * 200_000}])
        assert answer.status_code == 200  # larger than what the rest of the API takes
        answer = await hall.client.post(f"{API}/alerts", content=b"[" + b" " * BODY_MAX + b"]", headers=JSON)
        assert answer.status_code == 413
        deep = await hall.client.post(f"{API}/alerts", content=b"[" * 100_000, headers=JSON)
        assert deep.status_code == 400
        metrics = (await hall.client.get("/metrics")).text
        assert 'dcim_external_alerts_total{what="not_valid"} 11.0' in metrics

    inside(scenario)


def nonsense(draw: random.Random, depth: int = 0) -> Any:
    """Something in JSON that an alert or a silence might begin with."""
    keys = ["labels", "annotations", "startsAt", "endsAt", "generatorURL", "matchers", "createdBy", "comment", "id",
            "name", "value", "isRegex", "isEqual", "alertname", "", "\x00", "ü"]  # fmt: skip
    leaf = [None, True, 0, -1, 1e308, "", "x", "a" * 5_000, "2026-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
            "0000-00-00T00:00:00Z", "(", "(a+)+$", "\ud800", "\x1b[31m", "http://[", "//"]  # fmt: skip
    kind = draw.random()
    if depth > 3 or kind < 0.4:
        return draw.choice(leaf)
    if kind < 0.6:
        return [nonsense(draw, depth + 1) for _ in range(draw.randrange(3))]
    return {draw.choice(keys): nonsense(draw, depth + 1) for _ in range(draw.randrange(6))}


@pytest.mark.slow
def test_no_nonsense_breaks_it() -> None:
    draw = random.Random(7)

    async def scenario(hall: Inside) -> None:
        answered = set()
        for _ in range(100):
            body = nonsense(draw)
            whole = silence(("alertname", "x")) | (body if isinstance(body, dict) else {})
            for path, told in (("/alerts", [{"labels": {"a": "b"}} | (body if isinstance(body, dict) else {})]),
                               ("/alerts", body), ("/silences", body), ("/silences", whole)):  # fmt: skip
                answer = await hall.client.post(f"{API}{path}", content=json.dumps(told), headers=JSON)
                assert answer.status_code in {200, 400, 404, 422}, (told, answer.text)
                answered.add((path, answer.status_code))
        assert {("/alerts", 200), ("/alerts", 400), ("/silences", 200), ("/silences", 400)} <= answered
        for path in ("/alerts", "/alerts/groups", "/silences"):
            await hall.get(f"{API}{path}")

    inside(scenario)


@pytest.mark.slow
def test_what_stands_and_what_is_silenced_survives_a_restart(tmp_path: Path) -> None:
    journal = f"sqlite+aiosqlite:///{tmp_path}/alarms.sqlite"
    kept: dict[str, Any] = {}

    async def before(hall: Inside) -> None:
        alerts = [
            {"labels": {"alertname": name, "instance": "h1"}, "annotations": {"summary": "x"}, "endsAt": ahead(hours=5),
             "generatorURL": "https://prom.example/"}
            for name in ("Kept", "Hidden")
        ]  # fmt: skip
        await post(hall, "/alerts", alerts)
        await post(hall, "/silences", silence(("alertname", "Hidden")))
        await post(hall, "/silences", silence(("asset", "R2")))
        kept["alerts"] = await hall.get(f"{API}/alerts")
        kept["silences"] = await hall.get(f"{API}/silences")
        assert await states(hall) == {
            "Hidden": ("suppressed", [kept["silences"][0]["id"]], []), "Kept": ("active", [], []),
        }  # fmt: skip

    async def after(hall: Inside) -> None:
        own = {"updatedAt"}
        assert [{key: value for key, value in one.items() if key not in own} for one in kept["alerts"]] == [
            {key: value for key, value in one.items() if key not in own} for one in await hall.get(f"{API}/alerts")
        ]
        assert await hall.get(f"{API}/silences") == kept["silences"]
        await hall.client.delete(f"{API}/silence/{kept['silences'][0]['id']}")
        assert (await states(hall))["Hidden"][0] == "active"

    inside(before, journal=journal)
    inside(after, journal=journal)

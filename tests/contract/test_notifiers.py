"""Whatever carries a notice: one suite for all of them, over TLS, against servers of ours that misbehave on demand."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import smtplib
import socket
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from alerts.lifecycle import Priority
from alerts.notices import Item, Later, News, Notice, Notifier, clean, trial
from alerts.notify import mail, pagerduty, post, services, slack, teams
from alerts.notify.chat import Chat
from alerts.notify.mail import Mail
from alerts.notify.pagerduty import PagerDuty, events_of
from alerts.notify.post import retry_after_s
from alerts.notify.services import Services
from alerts.notify.webhook import Webhook
from dcim.app.settings import read_secret
from dcim.core.errors import Permanent, Transient
from dcim.core.findings import FindingKind
from tests import certificates
from tests.certificates import Certificates
from tests.receivers import RETRY_AFTER_S, MailServer, WebServer, secret

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
ITEM = Item(
    alarm="a1", step=7, news=News.BEGAN, at=NOW, rule="leak-wet", kind=FindingKind.LEAK_WET, priority=Priority.CRITICAL,
    title="Leak at C07", summary="The rope is wet", site="oslo", asset="0071", name="C07", hall="Hall 2", row="C",
    position=7, rack="C07", since=NOW, confidence=0.9, time_to_limit_s=600, check_first=("Look below the manifold",),
    respond_within_min=5, link="https://dcim.example/#/alarms/a1", thread="a1",
)  # fmt: skip
NOTICE = Notice("0123456789abcdef", "night", "a1", (ITEM,), "https://dcim.example/", "Europe/Oslo")
KINDS = ["webhook", "mail", "slack", "teams", "pagerduty", "apprise"]
HUGE = Notice(
    "fedcba9876543210",
    "night",
    "",
    tuple(
        replace(
            ITEM, alarm=f"a{number}", thread=f"a{number}", check_first=("ø" * 300,) * 5, title="ø" * 300,
            summary="&" * 300, site="ø" * 300, hall="ø" * 300, row="ø" * 300, rack="ø" * 300,
        )
        for number in range(30)
    ),
    "https://dcim.example/",
)  # fmt: skip
"""As large as texts can become."""


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.make(tmp_path_factory.mktemp("certs"))


class Rig:
    """One notifier and its server."""

    def __init__(self, name: str, certs: Certificates, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.name, self.certs, self.folder = name, certs, folder
        self.server: WebServer | MailServer = MailServer(certs) if name == "mail" else WebServer(certs)
        self.closing = AsyncExitStack()
        self.monkeypatch = monkeypatch
        self.secret = "open sesame"

    def notifier(
        self, port: int | None = None, *, trust: bool = True, to: tuple[str, ...] = ("a@b.example",)
    ) -> Notifier:
        context = ssl.create_default_context(cafile=self.certs.ca if trust else None)
        port = port or self.server.port
        url = f"https://localhost:{port}/hook/s3cret"
        made: Notifier
        match self.name:
            case "webhook":
                made = Webhook(url, self.told, lambda: NOW, context)
            case "mail":
                made = Mail(
                    "localhost", port, "starttls", "dcim@oslo.example", to, lambda: NOW, "dcim", self.told, context
                )
            case "pagerduty":
                made = PagerDuty(self.told, lambda: NOW, url, context)
            case "slack" | "teams":
                self.secret = url
                body_of = slack.body_of if self.name == "slack" else teams.body_of
                made = Chat(self.name, body_of, self.told, lambda: NOW, context)
            case _:
                self.secret = url.replace("https:", "jsons:")
                # Apprise takes the system's authorities, and whom the environment names.
                self.monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(self.certs.ca if trust else self.certs.client))
                self.keep()
                made = Services(self.told)
        self.keep()
        self.closing.push_async_callback(made.close)
        return made

    def keep(self) -> None:
        """Puts the secret where it is read."""
        self.file = secret(self.folder, self.secret)

    def told(self) -> str:
        return read_secret(self.file)


Scenario = Callable[[Rig], Awaitable[None]]


@pytest.fixture(params=KINDS)
def run(
    request: pytest.FixtureRequest, certs: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Scenario], None]:
    def runner(scenario: Scenario) -> None:
        async def whole() -> None:
            rig = Rig(request.param, certs, tmp_path, monkeypatch)
            async with asyncio.timeout(20), rig.server, rig.closing:
                await scenario(rig)

        asyncio.run(whole())

    return runner


@pytest.fixture(autouse=True)
def discreet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever is done here, no secret gets into a log."""
    caplog.set_level(logging.DEBUG)
    yield
    said = [record.getMessage() for record in caplog.get_records("call")]
    assert [line for line in said if "s3cret" in line or "sesame" in line] == []


Run = Callable[[Scenario], None]


def test_what_was_taken_is_proven_and_says_all(run: Run) -> None:
    async def scenario(rig: Rig) -> None:
        proof = await rig.notifier().send(NOTICE)
        assert proof == {"mail": "250 queued as 17", "apprise": "taken by JSON"}.get(rig.name, "202 bye!")
        (taken,) = rig.server.taken
        assert taken.key == ("" if rig.name == "apprise" else events_key(rig.name))
        for words in (
            "CRITICAL: Leak at C07", "site oslo, hall Hall 2, row C, position 7, rack C07",
            "2026-03-01 04:00:00 UTC+01:00",
            "How sure: 90%", "Time to limit: 10 min", "1. Look below the manifold", "https://dcim.example/#/alarms/a1",
        ):  # fmt: skip
            assert words in taken.text

    run(scenario)


def events_key(name: str) -> str:
    """One message may be several events at PagerDuty."""
    return f"{NOTICE.key}-0" if name == "pagerduty" else NOTICE.key


def test_a_repetition_can_be_told(run: Run) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.notifier().send(NOTICE)
        await rig.notifier().send(NOTICE)  # after a restart
        first, again = rig.server.taken
        assert first.key == again.key
        if rig.name == "pagerduty":
            assert json.loads(first.body)["dedup_key"] == json.loads(again.body)["dedup_key"] == "dcim-a1"

    run(scenario)


@pytest.mark.parametrize(
    ("mood", "family"),
    [("never", Permanent), ("echoes", Permanent), ("later", Transient), ("busy", Transient), ("drops", Transient)],
)
def test_what_is_not_taken_is_of_one_family_and_says_no_secret(run: Run, mood: str, family: type[Exception]) -> None:
    async def scenario(rig: Rig) -> None:
        rig.server.mood = mood  # type: ignore[assignment]
        with pytest.raises(family) as caught:
            await rig.notifier().send(NOTICE)
        assert "s3cret" not in str(caught.value) and "sesame" not in str(caught.value)
        if mood == "busy" and rig.name not in ("mail", "apprise"):  # they do not tell when
            assert isinstance(caught.value, Later) and caught.value.after_s == RETRY_AFTER_S
        rig.server.mood = "takes"
        await rig.notifier().send(NOTICE)
        assert len(rig.server.taken) == 1

    run(scenario)


def test_silence_is_given_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((post, "SEND_S"), (mail, "STEP_S"), (services, "SEND_S")):
        monkeypatch.setattr(module, name, 0.2)

    async def scenario(rig: Rig) -> None:
        rig.server.mood = "hangs"
        with pytest.raises(Transient):
            await rig.notifier().send(NOTICE)

    run(scenario)


def test_nobody_there_passes_by_itself(run: Run) -> None:
    async def scenario(rig: Rig) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        with pytest.raises(Transient):
            await rig.notifier(port).send(NOTICE)

    run(scenario)


def test_a_stranger_is_told_nothing(run: Run) -> None:
    async def scenario(rig: Rig) -> None:
        told = "did not take it" if rig.name == "apprise" else "CERTIFICATE_VERIFY_FAILED"
        with pytest.raises(Transient, match=told):
            await rig.notifier(trust=False).send(NOTICE)
        assert rig.server.taken == []

    run(scenario)


def test_a_secret_that_is_gone_costs_no_alarm(run: Run) -> None:
    async def scenario(rig: Rig) -> None:
        notifier = rig.notifier()
        rig.file.unlink()
        with pytest.raises(Transient, match="secret cannot be read"):
            await notifier.send(NOTICE)
        rig.keep()
        await notifier.send(NOTICE)

    run(scenario)


WILD = (
    "x\r\nBcc: all@b.example\r\n\r\n.\r\nMAIL FROM:<x@y>", "<!channel> <@U1> <https://evil.example|here>",
    "\x1b[2J\x9b",
    "<script>alert(1)</script>", "@everyone **bold** [a](https://evil.example)", "<at>all</at>", "\u202egone\u2066",
)  # fmt: skip


@pytest.mark.parametrize("wild", WILD)
def test_what_things_are_called_commands_nobody(run: Run, wild: str) -> None:
    async def scenario(rig: Rig) -> None:
        item = replace(
            ITEM, title=clean(wild), summary=clean(f"{wild} end"), rack=clean(wild), check_first=(clean(wild),)
        )
        await rig.notifier().send(replace(NOTICE, items=(item,)))
        (taken,) = rig.server.taken
        assert "bcc" not in dict(taken.headers)
        assert "end" in taken.text
        assert not {"\x1b", "\x9b", "\u202e"} & set(taken.text)
        if rig.name == "mail":
            assert dict(taken.headers)["content-type"].startswith("text/plain")
            return
        told = json.loads(taken.body)
        if rig.name == "slack":
            marked = [told["text"], *(e["text"] for b in told["blocks"] for e in b.get("elements", ()))]
            assert all("<!" not in text and "<@" not in text and "<https://evil" not in text for text in marked)
            assert {b["text"]["type"] for b in told["blocks"] if b["type"] == "section"} == {"plain_text"}
        elif rig.name == "teams":
            card = told["attachments"][0]["content"]
            assert {block["type"] for block in card["body"]} == {"RichTextBlock", "ActionSet"}
            assert "entities" not in card["msteams"]
            assert [a["url"] for b in card["body"] for a in b.get("actions", ())] == [ITEM.link]
        elif rig.name == "apprise":
            assert "@everyone" not in taken.text and "<!channel>" not in taken.text

    run(scenario)


def test_the_largest_message_is_within_what_each_bears(run: Run) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.notifier().send(HUGE)
        assert rig.server.taken
        for taken in rig.server.taken:
            told = {} if rig.name == "mail" else json.loads(taken.body)
            if rig.name == "slack":
                assert len(told["blocks"]) <= 50
                sections = [block["text"]["text"] for block in told["blocks"] if block["type"] == "section"]
                assert max(map(len, sections)) == slack.TEXT_MAX
            elif rig.name == "teams":
                assert len(taken.body) <= teams.BODY_BYTES_MAX
                assert "There is more than fits in here." in taken.text
            elif rig.name == "pagerduty":
                assert len(told["payload"]["summary"]) <= pagerduty.SUMMARY_MAX
                assert len(told["dedup_key"]) <= 255 and len(taken.body) <= 512_000

    run(scenario)


def test_a_test_says_that_it_is_one(run: Run) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.notifier().send(trial("night", "0" * 32, NOW, "night shift", "https://dcim.example/"))
        assert rig.server.taken[0].text.count("TEST: a notice to try out this receiver; there is no alarm")
        assert "night shift" in rig.server.taken[0].text
        if rig.name == "pagerduty":  # it must not leave an incident behind
            assert [json.loads(taken.body)["event_action"] for taken in rig.server.taken] == ["trigger", "resolve"]
            assert json.loads(rig.server.taken[0].body)["payload"]["severity"] == "info"

    run(scenario)


class TestPagerDuty:
    def actions(self, *items: Item) -> list[tuple[str, str]]:
        events = events_of(replace(NOTICE, items=items))
        return [(event["event_action"], event["dedup_key"]) for event in events]

    def test_an_incident_goes_with_its_thread(self) -> None:
        began = ITEM
        second = replace(ITEM, alarm="a2", thread_standing=2, thread_unacknowledged=2)
        known = replace(ITEM, news=News.ACKNOWLEDGED, thread_unacknowledged=0)
        one_left = replace(ITEM, news=News.CLEARED, thread_standing=1, thread_unacknowledged=1)
        over = replace(ITEM, news=News.CLEARED, thread_standing=0, thread_unacknowledged=0)
        assert self.actions(began) == [("trigger", "dcim-a1")]
        assert self.actions(second) == [("trigger", "dcim-a1")]
        assert self.actions(known) == [("acknowledge", "dcim-a1")]
        assert self.actions(one_left) == [("trigger", "dcim-a1")]
        assert self.actions(over) == [("resolve", "dcim-a1")]
        assert self.actions(began, over) == [("trigger", "dcim-a1"), ("resolve", "dcim-a1")]

    def test_what_becomes_worse_or_stands_for_too_long_calls_again(self) -> None:
        joins = replace(ITEM, thread_standing=3, thread_unacknowledged=1)
        assert [action for action, _ in self.actions(joins)] == ["resolve", "trigger"]
        for news in (News.WORSE, News.STILL, News.AGAIN):
            assert [action for action, _ in self.actions(replace(ITEM, news=news))] == ["resolve", "trigger"]
        assert [action for action, _ in self.actions(replace(ITEM, news=News.UNANSWERED))] == ["trigger"]

    def test_threads_are_incidents_of_their_own(self) -> None:
        assert self.actions(ITEM, replace(ITEM, alarm="b1", thread="b1")) == [
            ("trigger", "dcim-a1"), ("trigger", "dcim-b1"),
        ]  # fmt: skip

    def test_an_open_incident_is_told_of_more_once_a_minute(self) -> None:
        taken: list[str] = []
        now = [NOW]

        def answer(request: httpx.Request) -> httpx.Response:
            taken.append(json.loads(request.content)["event_action"])
            return httpx.Response(202, stream=httpx.ByteStream(b"ok"))

        async def whole() -> None:
            pager = PagerDuty(lambda: "0" * 32, lambda: now[0], transport=httpx.MockTransport(answer))
            more = replace(ITEM, thread_standing=2, thread_unacknowledged=2)
            over = replace(ITEM, news=News.CLEARED, thread_standing=0, thread_unacknowledged=0)
            low = replace(ITEM, priority=Priority.LOW)
            steps: list[tuple[float, Item, list[str]]] = [
                (0, low, ["trigger"]), (1, low, []), (2, more, ["trigger"]), (3, more, []), (70, more, ["trigger"]),
                (71, over, ["resolve"]), (72, ITEM, ["trigger"]),
                (73, replace(ITEM, news=News.WORSE), ["resolve", "trigger"]),
            ]  # fmt: skip
            for number, (seconds, item, wanted) in enumerate(steps):
                now[0] = NOW + timedelta(seconds=seconds)
                taken.clear()
                proof = await pager.send(replace(NOTICE, key=f"k{number}", items=(item,)))
                assert (taken, bool(proof)) == (wanted, True), number
            await pager.close()

        asyncio.run(whole())

    def test_a_second_try_goes_on_where_the_first_ended(self) -> None:
        taken: list[str] = []
        broken = [False, True, False, False]

        def answer(request: httpx.Request) -> httpx.Response:
            if broken.pop(0):
                return httpx.Response(503, stream=httpx.ByteStream(b""))
            taken.append(json.loads(request.content)["dedup_key"])
            return httpx.Response(202, stream=httpx.ByteStream(b"ok"))

        async def whole() -> None:
            notice = replace(NOTICE, items=tuple(replace(ITEM, alarm=name, thread=name) for name in "abc"))
            pager = PagerDuty(lambda: "0" * 32, lambda: NOW, transport=httpx.MockTransport(answer))
            with pytest.raises(Transient):
                await pager.send(notice)
            assert await pager.send(notice) == "202 ok (3 events)"
            await pager.close()

        asyncio.run(whole())
        assert taken == ["dcim-a", "dcim-b", "dcim-c"]


@pytest.mark.parametrize(
    ("told", "after_s"),
    [("0", 0.0), ("Sun, 01 Mar 2026 03:00:30 GMT", 30.0), ("Sun, 01 Mar 2020 00:00:00 GMT", 0.0), ("-1", None),
     ("1e9", None), ("", None), ("Sun, 01 Mar 2099 00:00:00 GMT", 3600.0), ("\u0663", None)],
)  # fmt: skip
def test_when_to_come_back_is_read_with_care(told: str, after_s: float | None) -> None:
    assert retry_after_s(told, NOW) == after_s


@pytest.mark.slow
def test_apprise_is_imported_only_where_a_receiver_wants_it() -> None:
    asked = "import sys, dcim.app.build, dcim.app.cli; sys.exit('apprise' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0


def test_apprise_with_an_address_of_nobody_is_told_at_the_start() -> None:
    for address in ("pigeon://coop", "", "https"):
        with pytest.raises(Permanent, match="none that Apprise understands"):
            Services(lambda address=address: address)  # type: ignore[misc]


def test_a_signature_is_of_time_and_body(certs: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def whole() -> None:
        rig = Rig("webhook", certs, tmp_path, monkeypatch)
        async with rig.server, rig.closing:
            await rig.notifier().send(NOTICE)
            headers, body = dict(rig.server.taken[0].headers), rig.server.taken[0].body
            signed = headers["x-dcim-timestamp"].encode() + b"." + body
            assert headers["x-dcim-timestamp"] == str(int(NOW.timestamp()))
            assert headers["x-dcim-signature"] == "v1=" + hmac.new(b"open sesame", signed, hashlib.sha256).hexdigest()
            told = json.loads(body)
            assert (told["key"], told["thread"], told["priority"]) == (NOTICE.key, "a1", "critical")
            assert told["news"][0]["since"] == "2026-03-01T03:00:00Z"

    asyncio.run(whole())


def test_an_answer_without_an_end_is_not_read_to_it(
    certs: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def whole() -> None:
        rig = Rig("webhook", certs, tmp_path, monkeypatch)
        rig.server.mood = "babbles"
        async with asyncio.timeout(5), rig.server, rig.closing:
            assert len(await rig.notifier().send(NOTICE)) < 1_000

    asyncio.run(whole())


def test_a_redirect_is_not_followed() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(302, headers={"Location": "https://elsewhere.example/"}, stream=httpx.ByteStream(b""))

    async def whole() -> None:
        hook = Webhook("https://b.example/", lambda: "s", lambda: NOW, transport=httpx.MockTransport(answer))
        with pytest.raises(Permanent, match="302"):
            await hook.send(NOTICE)
        await hook.close()

    asyncio.run(whole())


def test_an_address_that_is_not_taken_is_named_in_the_proof(
    certs: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def whole() -> None:
        rig = Rig("mail", certs, tmp_path, monkeypatch)
        async with rig.server, rig.closing:
            proof = await rig.notifier(to=("nobody@b.example", "a@b.example")).send(NOTICE)
            assert proof == "250 queued as 17; not nobody@b.example: 550 no"
            with pytest.raises(Permanent, match="550"):
                await rig.notifier(to=("nobody@b.example",)).send(NOTICE)

    asyncio.run(whole())


def test_a_wrong_password_is_no_fault_of_the_message(
    certs: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def whole() -> None:
        rig = Rig("mail", certs, tmp_path, monkeypatch)
        rig.secret = "wrong"
        async with rig.server, rig.closing:
            with pytest.raises(Transient, match="535 who are you"):
                await rig.notifier().send(NOTICE)

    asyncio.run(whole())


def _all(of: type[BaseException]) -> set[type[BaseException]]:
    return {of} | {deep for one in of.__subclasses__() for deep in _all(one)}


@pytest.mark.slow
def test_every_error_of_the_libraries_has_a_family() -> None:
    for error in _all(httpx.HTTPError) | {httpx.InvalidURL}:

        def fails(request: httpx.Request, error: type[BaseException] = error) -> httpx.Response:
            if error is httpx.HTTPStatusError:
                raise httpx.HTTPStatusError("x", request=request, response=httpx.Response(500))
            raise error("x")

        async def whole(fails: Callable[[httpx.Request], httpx.Response] = fails) -> None:
            hook = Webhook("https://b.example/", lambda: "s", lambda: NOW, transport=httpx.MockTransport(fails))
            with pytest.raises((Transient, Permanent)):
                await hook.send(NOTICE)
            await hook.close()

        asyncio.run(whole())
    assert all(issubclass(error, smtplib.SMTPException | OSError) for error in _all(smtplib.SMTPException))

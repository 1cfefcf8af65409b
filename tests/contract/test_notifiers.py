"""Whatever carries a notice: one suite for all of them, over TLS, against servers of ours that misbehave on demand."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import smtplib
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from alerts.lifecycle import Priority
from alerts.notices import Item, News, Notice, Notifier
from alerts.notify import mail, webhook
from alerts.notify.mail import Mail
from alerts.notify.webhook import Webhook
from dcim.app.settings import read_secret
from dcim.core.errors import Permanent, Transient
from dcim.core.findings import FindingKind
from tests import certificates
from tests.certificates import Certificates
from tests.receivers import MailServer, WebServer, secret

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
ITEM = Item(
    alarm="a1", step=7, news=News.BEGAN, at=NOW, rule="leak-wet", kind=FindingKind.LEAK_WET, priority=Priority.CRITICAL,
    title="Leak at C07", summary="The rope is wet", site="oslo", asset="0071", name="C07", hall="Hall 2", row="C",
    position=7, rack="C07", since=NOW, confidence=0.9, time_to_limit_s=600, check_first=("Look below the manifold",),
    respond_within_min=5, link="https://dcim.example/#/alarms/a1",
)  # fmt: skip
NOTICE = Notice("0123456789abcdef", "night", "a1", (ITEM,), "https://dcim.example/")


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.make(tmp_path_factory.mktemp("certs"))


class Rig:
    """One notifier and its server."""

    def __init__(self, name: str, certs: Certificates, folder: Path) -> None:
        self.certs, self.file = certs, secret(folder, "open sesame")
        self.server: WebServer | MailServer = WebServer(certs) if name == "webhook" else MailServer(certs)
        self.closing = AsyncExitStack()

    def notifier(
        self, port: int | None = None, *, trust: bool = True, to: tuple[str, ...] = ("a@b.example",)
    ) -> Notifier:
        context = ssl.create_default_context(cafile=self.certs.ca if trust else None)
        port = port or self.server.port
        made: Webhook | Mail
        if isinstance(self.server, WebServer):
            made = Webhook(f"https://localhost:{port}/hook/s3cret", self.password, lambda: NOW, context)
        else:
            made = Mail(
                "localhost", port, "starttls", "dcim@oslo.example", to, lambda: NOW, "dcim", self.password, context
            )
        self.closing.push_async_callback(made.close)
        return made

    def password(self) -> str:
        return read_secret(self.file)


Scenario = Callable[[Rig], Awaitable[None]]


@pytest.fixture(params=["webhook", "mail"])
def run(request: pytest.FixtureRequest, certs: Certificates, tmp_path: Path) -> Callable[[Scenario], None]:
    def runner(scenario: Scenario) -> None:
        async def whole() -> None:
            rig = Rig(request.param, certs, tmp_path)
            async with asyncio.timeout(20), rig.server, rig.closing:
                await scenario(rig)

        asyncio.run(whole())

    return runner


Run = Callable[[Scenario], None]


def test_what_was_taken_is_proven_and_says_all(run: Run) -> None:
    async def scenario(rig: Rig) -> None:
        proof = await rig.notifier().send(NOTICE)
        assert proof in ("202 bye!", "250 queued as 17")
        (taken,) = rig.server.taken
        assert taken.key == NOTICE.key
        for words in (
            "CRITICAL: Leak at C07", "site oslo, hall Hall 2, row C, position 7, rack C07", "2026-03-01 03:00:00 UTC",
            "How sure: 90%", "Time to limit: 10 min", "1. Look below the manifold", "https://dcim.example/#/alarms/a1",
        ):  # fmt: skip
            assert words in taken.text

    run(scenario)


def test_a_repetition_can_be_told(run: Run) -> None:
    async def scenario(rig: Rig) -> None:
        notifier = rig.notifier()
        await notifier.send(NOTICE)
        await notifier.send(NOTICE)
        assert [taken.key for taken in rig.server.taken] == [NOTICE.key] * 2

    run(scenario)


@pytest.mark.parametrize(("mood", "family"), [("never", Permanent), ("later", Transient), ("drops", Transient)])
def test_what_is_not_taken_is_of_one_family(run: Run, mood: str, family: type[Exception]) -> None:
    async def scenario(rig: Rig) -> None:
        rig.server.mood = mood  # type: ignore[assignment]
        with pytest.raises(family) as caught:
            await rig.notifier().send(NOTICE)
        assert "s3cret" not in str(caught.value)
        rig.server.mood = "takes"
        await rig.notifier().send(NOTICE)
        assert len(rig.server.taken) == 1

    run(scenario)


def test_silence_is_given_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "SEND_S", 0.2)
    monkeypatch.setattr(mail, "STEP_S", 0.2)

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
        with pytest.raises(Transient, match="CERTIFICATE_VERIFY_FAILED"):
            await rig.notifier(trust=False).send(NOTICE)
        assert rig.server.taken == []

    run(scenario)


def test_a_secret_that_is_gone_costs_no_alarm(run: Run) -> None:
    async def scenario(rig: Rig) -> None:
        notifier = rig.notifier()
        rig.file.unlink()
        with pytest.raises(Transient, match="secret cannot be read"):
            await notifier.send(NOTICE)
        secret(rig.file.parent, "open sesame")
        await notifier.send(NOTICE)

    run(scenario)


def test_what_things_are_called_makes_no_header(run: Run) -> None:
    async def scenario(rig: Rig) -> None:
        wild = replace(ITEM, title="x\r\nBcc: all@b.example\r\n\r\n.\r\nMAIL FROM:<x@y>", summary=".\r\n\x1b[2Jgone")
        await rig.notifier().send(replace(NOTICE, items=(wild,)))
        (taken,) = rig.server.taken
        assert "bcc" not in dict(taken.headers)
        assert "gone" in taken.text

    run(scenario)


def test_a_signature_is_of_time_and_body(certs: Certificates, tmp_path: Path) -> None:
    async def whole() -> None:
        rig = Rig("webhook", certs, tmp_path)
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


def test_an_answer_without_an_end_is_not_read_to_it(certs: Certificates, tmp_path: Path) -> None:
    async def whole() -> None:
        rig = Rig("webhook", certs, tmp_path)
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


def test_an_address_that_is_not_taken_is_named_in_the_proof(certs: Certificates, tmp_path: Path) -> None:
    async def whole() -> None:
        rig = Rig("mail", certs, tmp_path)
        async with rig.server, rig.closing:
            proof = await rig.notifier(to=("nobody@b.example", "a@b.example")).send(NOTICE)
            assert proof == "250 queued as 17; not nobody@b.example: 550 no"
            with pytest.raises(Permanent, match="550"):
                await rig.notifier(to=("nobody@b.example",)).send(NOTICE)

    asyncio.run(whole())


def test_a_wrong_password_is_no_fault_of_the_message(certs: Certificates, tmp_path: Path) -> None:
    async def whole() -> None:
        rig = Rig("mail", certs, tmp_path)
        rig.file = secret(tmp_path, "wrong")
        async with rig.server, rig.closing:
            with pytest.raises(Transient, match="535 who are you"):
                await rig.notifier().send(NOTICE)

    asyncio.run(whole())


def _all(of: type[BaseException]) -> set[type[BaseException]]:
    return {of} | {deep for one in of.__subclasses__() for deep in _all(one)}


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

"""Answers that are kept: how old one may be, when it is made anew, and what HTTP says beside it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dcim.app import planning
from dcim.app.api import places
from dcim.app.api.answers import ANSWER_BYTES_MAX, ARROW, JSON, Answers, Body, KeptFirst, answer, has, takes_gzip

MINUTE_S, TEN_S = 60.0, 10.0


@dataclass
class Plant:
    """A service of one question, with a clock that is set by hand. An answer says how many were made before it."""

    at_s: float = 1_000.0
    version: int = 1
    inventory: int = 1
    made: int = 0
    media: str = JSON
    bytes_least: int = 10
    gate: threading.Event = field(default_factory=threading.Event)
    """Answers are made while it is set."""
    routed: int = 0
    """Requests that came as far as the route."""
    came: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    """Let go of once by each of them."""

    def __post_init__(self) -> None:
        self.gate.set()

    def us(self) -> int:
        return int(self.at_s * 1e6)

    def make(self) -> tuple[bytes, str]:
        assert self.gate.wait(30)
        self.made += 1
        return str(self.made - 1).ljust(self.bytes_least).encode(), self.media

    async def route(self, request: Request) -> Response:
        self.routed += 1
        self.came.release()
        return await answer(request, self.inventory, self.version, self.us(), MINUTE_S, self.make, blind_s=TEN_S)


Ask = Callable[..., Awaitable[httpx.Response]]


def served(scenario: Callable[[Plant, Ask], Awaitable[None]], **how: Any) -> None:
    """Runs a scenario against an app of that one route."""
    plant = Plant(**how)
    app = Starlette(
        routes=[Route("/use", plant.route)], middleware=[Middleware(KeptFirst, headers={"X-Own": "always"})]
    )
    app.state.answers = Answers()
    app.state.context = SimpleNamespace(
        clock=plant, watch=SimpleNamespace(plant=plant)
    )  # the two that are asked of a context

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:

            async def ask(path: str = "/use", **headers: str) -> httpx.Response:
                named = {name.replace("_", "-"): value for name, value in headers.items()}
                return await client.get(path, headers={"accept-encoding": "identity", **named})

            await scenario(plant, ask)

    asyncio.run(run())


def test_no_answer_is_older_than_it_may_be_however_it_comes() -> None:
    async def scenario(plant: Plant, ask: Ask) -> None:
        told = []
        for at_s in (
            0,
            9,
            11,
            20,
            55,
            59.9,
            60,
            64,
            119,
            120.1,
        ):  # 55: given unseen from then on, but not for ten seconds
            plant.at_s = 1_000.0 + at_s
            told.append(int((await ask()).text))
        assert told == [0, 0, 0, 0, 0, 0, 1, 1, 1, 2]

    served(scenario)


def test_what_is_kept_does_not_come_as_far_as_the_route() -> None:
    async def scenario(plant: Plant, ask: Ask) -> None:
        for at_s in (0, 1, 9.9, 10.0, 19):
            plant.at_s = 1_000.0 + at_s
            await ask()
        assert plant.routed == 2

    served(scenario)


def test_another_plant_is_seen_at_once_and_another_inventory_after_ten_seconds() -> None:
    async def scenario(plant: Plant, ask: Ask) -> None:
        assert (await ask()).text.strip() == "0"
        plant.inventory = 2
        assert (await ask()).text.strip() == "0"
        plant.at_s += TEN_S
        assert (await ask()).text.strip() == "1"
        plant.version, plant.inventory = 2, 3
        assert (await ask()).text.strip() == "2"

    served(scenario)


def test_an_answer_made_of_a_plant_that_changes_meanwhile_is_not_given_for_the_new_one() -> None:
    async def scenario(plant: Plant, ask: Ask) -> None:
        plant.gate.clear()
        asked = asyncio.create_task(ask())
        await plant.came.acquire()
        plant.version, plant.inventory = 2, 2
        plant.gate.set()
        assert (await asked).text.strip() == "0"
        assert (await ask()).text.strip() == "1"

    served(scenario)


def test_who_asks_for_what_is_being_made_waits_for_it() -> None:
    async def scenario(plant: Plant, ask: Ask) -> None:
        plant.gate.clear()
        asked = [asyncio.create_task(ask()) for _ in range(5)]
        for _ in asked:
            await plant.came.acquire()
        asked[0].cancel()
        plant.gate.set()
        texts = [one.text.strip() for one in await asyncio.gather(*asked[1:])]
        assert (texts, plant.made) == (["0"] * 4, 1)

    served(scenario)


def test_who_asks_too_late_for_what_is_being_made_gets_one_of_his_own() -> None:
    async def scenario(plant: Plant, ask: Ask) -> None:
        plant.gate.clear()
        early = asyncio.create_task(ask())
        await plant.came.acquire()
        plant.at_s += MINUTE_S
        late = asyncio.create_task(ask())
        await plant.came.acquire()
        plant.gate.set()
        assert {(await early).text.strip(), (await late).text.strip()} == {"0", "1"}

    served(scenario)


def test_other_questions_have_other_answers() -> None:
    async def scenario(_: Plant, ask: Ask) -> None:
        texts = [(await ask(path)).text.strip() for path in ("/use", "/use?a=1", "/use?a=2", "/use?a=1", "/use")]
        assert texts == ["0", "1", "2", "1", "0"]

    served(scenario)


def test_an_answer_that_is_too_large_is_made_each_time() -> None:
    async def scenario(plant: Plant, ask: Ask) -> None:
        await ask()
        await ask()
        assert plant.made == 2

    served(scenario, bytes_least=ANSWER_BYTES_MAX + 1, media=ARROW)


@pytest.mark.parametrize("bytes_least", [10, 5_000])
def test_a_new_answer_and_a_kept_one_say_the_same_beside_it(bytes_least: int) -> None:
    async def scenario(plant: Plant, ask: Ask) -> None:
        for wanted in ("gzip", "identity"):
            plant.version, plant.inventory = plant.version + 1, plant.inventory + 1
            new, kept = await ask(accept_encoding=wanted), await ask(accept_encoding=wanted)
            assert plant.routed == plant.made
            assert kept.headers.pop("x-own") == "always"
            assert (kept.headers, kept.content) == (new.headers, new.content)
            assert new.headers["vary"] == "Accept-Encoding"
            assert ("content-encoding" in new.headers) == (wanted == "gzip" and bytes_least > 1_024)
            assert int(new.headers["content-length"]) == new.num_bytes_downloaded

    served(scenario, bytes_least=bytes_least)


@pytest.mark.parametrize("kept", [False, True])
def test_who_has_the_answer_already_is_told_so(kept: bool) -> None:
    async def scenario(plant: Plant, ask: Ask) -> None:
        etag = (await ask()).headers["etag"]
        assert etag.startswith('W/"'), "squeezed or not, it is one answer; a strong tag would promise the same bytes"
        for said in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
            if not kept:
                plant.at_s += TEN_S  # past what is given unseen, with time of the minute left
            again = await ask(if_none_match=said)
            assert (again.status_code, again.content) == (304, b"")
            assert (again.headers["etag"], again.headers["vary"]) == (etag, "Accept-Encoding")
            assert "content-type" not in again.headers and "content-encoding" not in again.headers
        assert (await ask(if_none_match='"other"')).status_code == 200
        assert plant.made == 1
        assert plant.routed == (1 if kept else 5)

    served(scenario, bytes_least=5_000)


def test_what_is_said_of_now_is_two_seconds_old_at_most() -> None:
    assert places.KEEP_S + planning.KEPT_S <= 2.0


def test_the_same_content_has_the_same_tag_after_it_was_made_anew() -> None:
    one, other, changed = Body.of(b"{}", JSON), Body.of(b"{}", JSON), Body.of(b"[]", JSON)
    assert one.etag == other.etag != changed.etag


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("gzip;q=0.001", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, *", False),
        ("br, *;q=0", False),
        ("identity", False),
        ("notgzip", False),
        ("", False),
    ],
)
def test_whether_gzip_is_wanted(said: str, wanted: bool) -> None:
    assert takes_gzip(said) is wanted


@pytest.mark.parametrize(
    ("said", "known"),
    [('"a"', True), ('W/"a"', True), (' "b" ,W/"a"', True), ('"b"', False), ("a", False), ("", False)],
)
def test_whether_a_tag_is_known(said: str, known: bool) -> None:
    assert has(said, 'W/"a"') is known

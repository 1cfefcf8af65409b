"""A real Chromium, a stand-in for the service, and a console that is watched: an error in its log, or a request to
anywhere else, fails the test that caused it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.browser.stand_in import Served, StandIn

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 30_000
"""Spent by a failure alone, and a busy machine is none."""


expect.set_options(timeout=PATIENCE_MS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever opens a page is a browser test, and a browser takes its time."""
    for item in items:
        if Path(__file__).parent in item.path.parents and "console" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.browser)
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason="needs chromium on the PATH"))


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """One browser for the whole package; it ends with it, because its event loop must not outlive these tests."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Watched:
    """A console in a browser, and all that it said and asked for."""

    page: Page
    hall: StandIn
    url: str
    refused: set[int] = field(default_factory=set)
    """Statuses that this test provokes: Chromium logs each as an error."""
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Listens to the page's log, its uncaught errors and its requests."""
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.said.append(f"uncaught: {error}"))
        self.page.on("request", self._went)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type not in {"error", "warning"}:
            return
        if any(f"status of {status}" in message.text for status in self.refused):
            return
        self.said.append(message.text)

    def _went(self, request: Request) -> None:
        self.asked.append(request.url)

    def tile(self, key: str) -> Any:
        """The tile of a rack or CDU, by its key."""
        return self.page.locator(f'.hall [data-key="{key}"]')


Open = Callable[..., Watched]


@pytest.fixture
def console(chromium: Browser) -> Iterator[Open]:
    """Opens the console over a stand-in: `console(hall, "/#/alarms", operator="night shift", color_scheme="dark")`.

    controlled: the page's clocks can be put forward by `page.clock`. live: wait until the event stream has begun.
    refused: a status that the very first requests provoke."""
    opened: list[Watched] = []
    served: list[Served] = []
    contexts = []

    def begin(
        hall: StandIn | None = None,
        path: str = "/",
        *,
        operator: str = "",
        controlled: bool = False,
        live: bool = True,
        refused: int | None = None,
        **context: Any,
    ) -> Watched:
        hall = hall or StandIn()
        server = Served(hall)
        server.__enter__()
        served.append(server)
        settings = {"viewport": {"width": 1440, "height": 900}, "timezone_id": "Europe/Berlin", "locale": "en-GB"}
        made = chromium.new_context(**(settings | context))
        contexts.append(made)
        made.set_default_timeout(PATIENCE_MS)
        page = made.new_page()
        if operator:
            page.add_init_script(f"localStorage.setItem('dcim.operator', {operator!r})")
        if controlled:
            page.clock.install()
        one = Watched(page, hall, server.url, {refused} if refused else set())
        one.watch()
        opened.append(one)
        page.goto(server.url + path)
        if live:
            page.locator("#live b").wait_for()
        return one

    yield begin
    for made in contexts:
        made.close()
    for server in served:
        server.__exit__()
    for one in opened:
        assert one.said == []
        assert [url for url in one.asked if not url.startswith(one.url + "/")] == []

"""The demo as a new user meets it: started, opened in a browser, and within three minutes a leak to deal with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.running import Running, free_port

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LEAK_WITHIN_MS = 180_000
VIEWS = {
    "#/overview": ".halls .ai",
    "#/loop/demo%2FH1-CDU-1": ".mimic .mark",
    "#/rack/demo%2FH1-B02?span=30m": ".plot .scatterlayer .trace",
    "#/rack/demo%2FH1-A01": ".gpu[data-q]",
    "#/alarms?show=history": "tbody tr:visible",
    "#/kpis?days=1": "tbody tr:visible",
    "#/capacity": "main tbody tr",
    "#/power": ".ways tbody tr",
    "#/gpus": ".fleet tbody tr",
    "#/efficiency": ".figures tbody tr:not(.lacking)",
    "#/quality": ".ledger .sum",
}
"""Views, and what shows that each has live data."""


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Running]:
    port = free_port()
    running = Running(tmp_path, ["demo", "--port", str(port), "--data", str(tmp_path)], port)
    running.start()
    yield running
    assert running.stop() == 0


@pytest.mark.timeout(420)
def test_within_three_minutes_the_leak_stands_in_the_list_and_is_acknowledged_there(
    demo: Running, chromium: Browser
) -> None:
    began = time.monotonic()
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"http://127.0.0.1:{demo.port}/")

    expect(page.locator('.hall [data-key^="demo/H1-"]').first).to_be_visible(timeout=30_000)
    expect(page.locator('.hall .rack[data-key^="demo/"]')).to_have_count(8)

    leak = page.locator(".side .alarm", has_text="H1-B02").filter(has_text="eak").first
    left_ms = LEAK_WITHIN_MS - (time.monotonic() - began) * 1000
    expect(leak).to_be_visible(timeout=left_ms)
    leak.get_by_role("button", name="Acknowledge").click()
    page.get_by_role("textbox").first.fill("night shift")
    page.keyboard.press("Enter")
    expect(page.locator(".side .alarm.acked", has_text="H1-B02").first).to_be_visible(timeout=15_000)

    alarms = demo.get("/api/v1/alarms?asset=H1-B02")["items"]
    (acknowledged,) = [alarm for alarm in alarms if alarm["acknowledged_by"] == "night shift"]
    assert acknowledged["kind"] in {"leak_wet", "leak_suspected"}
    assert acknowledged["evidence"]
    assert demo.ledger("hall")["rejected"] == 0

    for path, sign in VIEWS.items():
        page.goto(f"http://127.0.0.1:{demo.port}/{path}")
        expect(page.locator(sign).first).to_be_visible(timeout=60_000)
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"http://127.0.0.1:{demo.port}/#/alarm/{acknowledged['id']}")
    expect(page.locator(".goto")).to_have_text("H1-B02", timeout=30_000)
    expect(page.locator("main")).to_contain_text("Acknowledged by night shift at")
    assert said == []
    context.close()

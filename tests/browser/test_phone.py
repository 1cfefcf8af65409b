"""The page behind the link of a message: one alarm, on a phone, over a slow line."""

from __future__ import annotations

import gzip
import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from dashboards.console import PAGES
from tests.browser.conftest import Open, Watched
from tests.browser.stand_in import StandIn
from tests.browser.test_hall import boxes
from tests.browser.test_looks import EVIL, FAINT, THEMES

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "live": False}
BYTES_MAX = 200_000
THUMB_PX = 48
LEAK = "/#/alarm/leak-H1-A03"


def bytes_of(seen: Watched) -> int:
    """What the files that were asked for come to, as the service compresses them."""
    names = {urlsplit(url).path.rpartition("/")[2] for url in seen.asked if "/console/" in url}
    return sum(len(gzip.compress((PAGES / name).read_bytes())) for name in names)


def test_it_leads_there_and_is_acknowledged_with_a_thumb(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    seen = console(hall, LEAK, operator="night shift", **PHONE)
    page, main = seen.page, seen.page.locator("main")
    expect(main.locator("h1")).to_have_text("Leak at rack H1-A03")
    expect(main.locator(".goto")).to_have_text("H1-A03")
    expect(main).to_contain_text("demo · Hall 1 · row A · position 3")
    expect(main).to_contain_text("Low-level trip in about 41 min · confidence 0.97")
    expect(main).to_contain_text("standing 3 min · critical, unacknowledged")
    expect(main.locator(".trend")).to_contain_text("Coolant inventory, L")
    expect(main.locator(".ev")).to_contain_text("Tray sensor")
    expect(main).to_contain_text(re.compile(r"Updated \d s ago\. Feeds of H1-A03 stay live: treat wet parts as energ"))
    sizes = page.evaluate(
        "() => [...document.querySelectorAll('main *')].filter(n => n.checkVisibility() && n.innerText)"
        ".map(n => [parseFloat(getComputedStyle(n).fontSize), n.className])"
    )
    assert max(sizes)[1] == "goto", "where to go is the largest on the page"
    small = [box for box in boxes(page, "button, a, ol.check label, summary") if 0 < box["height"] < THUMB_PX - 0.1]
    assert small == []
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["viewport"]["width"]
    button = page.get_by_role("button", name="Acknowledge: I am on it")
    assert button.bounding_box()["y"] + THUMB_PX <= PHONE["viewport"]["height"], "without scrolling"
    button.click()
    expect(main).to_contain_text("Acknowledged by night shift at")
    expect(button).to_be_hidden()
    assert hall.posted == [{"id": "leak-H1-A03", "by": "night shift"}]
    assert not [path for path in hall.requests if path in {"/api/v1/stream", "/api/v1/hall"}], "it polls"
    # With what the browser had begun to fetch of the console before it was sent on; trend and alarm want their part.
    assert bytes_of(seen) < BYTES_MAX / 3


def test_steps_comment_and_handing_over(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    seen = console(hall, LEAK, operator="night shift", **PHONE)
    page, main = seen.page, seen.page.locator("main")
    main.get_by_role("checkbox").first.check()
    page.reload()
    expect(main.get_by_role("checkbox").first).to_be_checked()
    expect(main.get_by_role("checkbox").nth(1)).not_to_be_checked()
    page.get_by_role("button", name="Comment…").click()
    page.get_by_role("textbox").fill("<b>valve closed</b>")
    page.keyboard.press("Enter")
    expect(page.locator("#notice")).to_contain_text("Commented by night shift")
    page.get_by_role("button", name="Hand over…").click()
    page.get_by_role("dialog").locator("[name=to]").fill("day shift")
    page.get_by_role("dialog").get_by_role("button", name="Hand over").click()
    page.get_by_text("Why it matters, and its history").click()
    expect(main.locator(".log")).to_contain_text("commented by night shift: “<b>valve closed</b>”")
    expect(main.locator(".log")).to_contain_text("assigned by night shift")
    assert [(said["verb"], said.get("to")) for said in hall.posted] == [("comment", None), ("assign", "day shift")]


def test_it_says_how_old_it_is_and_when_it_is_over(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    seen = console(hall, LEAK, controlled=True, **PHONE)
    seen.refused.update({503, 404})
    main = seen.page.locator("main")
    expect(main.locator("h1")).to_have_text("Leak at rack H1-A03")
    hall.refusing = True
    seen.page.clock.run_for(6_000)
    expect(main.get_by_role("alert")).to_contain_text(
        re.compile(r"What stands here is \d+ s old\. The store is not ready: Try again shortly\. Trying again\.")
    )
    hall.refusing = False
    seen.page.clock.run_for(6_000)
    expect(main.get_by_role("alert")).to_be_hidden()
    hall.end("leak-H1-A03")
    seen.page.clock.run_for(6_000)
    expect(main).to_contain_text("This alarm is over since")
    expect(main).to_contain_text("cleared, priority 1: it is gone")
    expect(main.get_by_role("button", name="Acknowledge: I am on it")).to_be_hidden()


def test_links_from_messages_open_it(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    seen = console(hall, "/#/alarms/leak-H1-A03", refused=404, **PHONE)
    expect(seen.page.locator(".goto")).to_have_text("H1-A03")
    seen.page.get_by_role("link", name="Open the console").click()
    expect(seen.page.locator(".side h2")).to_have_text("Leak at rack H1-A03")
    seen.page.evaluate("location.hash = '#/alarm/leak-H1-A03'")
    expect(seen.page.locator(".goto")).to_have_text("H1-A03")
    seen.page.goto("about:blank")
    seen.page.goto(seen.url + "/#/alarm/no%20such%2Fone")
    expect(seen.page.locator("main")).to_contain_text("There is no alarm no such/one: the link was cut")
    seen.page.goto(seen.url + "/console/phone.html")
    expect(seen.page.locator("main")).to_contain_text("This link names no alarm.")


@pytest.mark.parametrize("theme", THEMES)
def test_what_the_bus_says_stays_text_and_none_is_faint(console: Open, theme: str) -> None:
    hall = StandIn()
    words = dict.fromkeys(("title", "summary", "where", "asset_name", "priority_word", "cannot_tell", "site"), EVIL)
    hall.leak(
        "H1-A03", **words, check_first=[EVIL], evidence=[{"what": EVIL, "shows": EVIL, "bearing": EVIL, "point": 1}]
    )
    seen = console(hall, LEAK, color_scheme=theme, **PHONE)
    expect(seen.page.locator(".goto")).to_have_text(EVIL)
    expect(seen.page.locator(".trend")).to_be_visible()
    assert seen.page.evaluate(FAINT) == []
    assert seen.page.evaluate("[window.pwned ?? null, document.images.length]") == [None, 0]
    assert seen.page.evaluate("document.scrollingElement.scrollWidth") <= 360

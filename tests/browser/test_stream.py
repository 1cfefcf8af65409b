"""The event stream: its loss is shown within seconds and for as long as it lasts, and nothing old passes for new."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from playwright.sync_api import expect

from tests.browser.conftest import Open, Watched
from tests.browser.stand_in import StandIn


def shown_age(seen: Watched) -> int:
    found = re.search(r"(\d+) s old", seen.page.locator("#lost-age").inner_text())
    assert found, seen.page.locator("#lost-age").inner_text()
    return int(found[1])


def test_a_lost_stream_is_a_banner_with_a_growing_clock(console: Open) -> None:
    seen = console(controlled=True)
    page, hall = seen.page, seen.hall
    seen.refused.add(503)
    expect(page.locator("#lost")).to_be_hidden()
    hall.silent = hall.refusing = True
    page.clock.fast_forward(6_000)
    expect(page.locator("#lost")).to_be_visible()
    expect(page.locator("#lost")).to_contain_text("The event stream is lost: nothing here is live.")
    expect(page.locator("#live")).to_have_text("stream lost")
    assert page.title() == "? stream lost · Hall 1"
    first = shown_age(seen)
    page.clock.fast_forward(30_000)
    expect(page.locator("#lost-age")).to_contain_text("s old")
    assert shown_age(seen) >= first + 30
    assert page.locator("#lost").bounding_box()["y"] == 0
    hall.silent = hall.refusing = False
    page.clock.fast_forward(15_000)
    expect(page.locator("#lost")).to_be_hidden()
    expect(page.locator("#live")).to_contain_text("live")
    assert page.title() == "Hall 1"


def test_after_the_stale_limit_everything_is_hatched_and_after_recovery_nothing(console: Open) -> None:
    seen = console(controlled=True)
    page, hall = seen.page, seen.hall
    seen.refused.add(503)
    expect(page.locator(".rack")).to_have_count(8)
    hall.silent = hall.refusing = True
    page.clock.fast_forward(20_000)
    expect(page.locator("#lost")).to_be_visible()
    expect(page.locator(".rack.stale")).to_have_count(0)
    page.clock.fast_forward(300_000)
    expect(page.locator(".rack.stale")).to_have_count(8)
    expect(page.locator(".cdu.stale")).to_have_count(2)
    expect(page.locator("#app")).to_have_class(re.compile("untrusted"))
    hall.change("demo/H1-A01", tell=False, power_pct=21.0)
    hall.silent = hall.refusing = False
    page.clock.fast_forward(15_000)
    expect(page.locator(".rack.stale")).to_have_count(0)
    expect(seen.tile("demo/H1-A01").locator("b")).to_have_text("21")
    expect(page.locator("#app")).not_to_have_class(re.compile("untrusted"))


def test_without_a_stream_the_service_is_asked_instead(console: Open) -> None:
    seen = console(controlled=True)
    page, hall = seen.page, seen.hall
    expect(page.locator(".rack")).to_have_count(8)
    hall.silent = True
    hall.change("demo/H1-A01", power_pct=21.0)
    hall.leak("H1-A03")
    page.clock.fast_forward(6_000)
    expect(page.locator("#lost")).to_contain_text("The service is asked every 5 s instead.")
    expect(seen.tile("demo/H1-A01").locator("b")).to_have_text("21")
    expect(page.locator(".side .alarm").first).to_contain_text("Leak at rack H1-A03")


def test_a_restart_of_the_service_is_bridged_and_everything_fetched_again(console: Open) -> None:
    seen = console()
    seen.refused.add(404)  # the history of an alarm that has just ended
    expect(seen.page.locator(".rack")).to_have_count(8)
    before = seen.hall.requests.count("/api/v1/hall")
    seen.hall.change("demo/H1-A01", tell=False, power_pct=21.0)
    seen.hall.leak("H1-A03")
    seen.hall.end("leak-H1-A03")
    seen.hall.leak("H1-B02")
    seen.hall.cut()
    expect(seen.tile("demo/H1-A01").locator("b")).to_have_text("21")
    expect(seen.page.locator(".side .alarm")).to_have_count(1)
    assert seen.hall.requests.count("/api/v1/hall") == before + 1
    expect(seen.page.locator("#lost")).to_be_hidden()


def test_a_stream_that_is_held_back_is_no_live_one(console: Open) -> None:
    """A proxy that buffers brings pulses, but brings them a minute late."""
    hall = StandIn(pulse_s=0.05)
    hall.held_back_s = 60
    seen = console(hall, controlled=True, live=False)
    expect(seen.page.locator(".rack")).to_have_count(8)
    for _ in range(3):
        seen.page.clock.run_for(6_000)
        seen.page.wait_for_timeout(200)  # for a few pulses, which come in real time
        seen.page.clock.run_for(1_000)
        expect(seen.page.locator("#lost")).to_be_visible()
        expect(seen.page.locator("#lost")).to_contain_text("The service is asked every 5 s instead.")
    here = seen.page.locator("#clock").get_attribute("datetime")
    assert datetime.fromisoformat(here) > datetime.now(UTC) - timedelta(seconds=30)
    hall.held_back_s = 0
    seen.page.clock.run_for(15_000)
    expect(seen.page.locator("#lost")).to_be_hidden()


def test_ages_come_from_the_service_and_not_from_a_wrong_browser_clock(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03", minutes=3)
    seen = console(hall, live=False)
    seen.page.clock.set_system_time(datetime.now(UTC) + timedelta(hours=5))
    seen.page.reload()
    expect(seen.page.locator(".side .alarm time-since")).to_have_text("3 min")
    expect(seen.page.locator("#clock")).not_to_have_text("—")
    here = seen.page.locator("#clock").get_attribute("datetime")
    assert abs(datetime.fromisoformat(here) - datetime.now(UTC)) < timedelta(minutes=2)
    expect(seen.page.locator("#live")).to_contain_text("live")


def test_times_are_the_viewers_and_utc_on_hover(console: Open) -> None:
    hall = StandIn()
    alarm = hall.leak("H1-A03", minutes=3)
    since = datetime.fromisoformat(alarm["since"])
    seen = console(hall, "/#/alarms/leak-H1-A03", timezone_id="Asia/Kolkata")
    local = (since + timedelta(hours=5, minutes=30)).strftime("%H:%M:%S")
    onset = seen.page.locator(".side .drawer time").first
    expect(onset).to_have_text(re.compile(rf"{local} UTC\+5:30|\d+ \w+ {local[:5]} UTC\+5:30"))
    expect(onset).to_have_attribute("title", since.strftime("%Y-%m-%d %H:%M:%S UTC"))


def test_who_reads_too_slowly_begins_anew(console: Open) -> None:
    """The service says that this screen missed events: what it shows may be wrong until everything is fetched again."""
    seen = console()
    expect(seen.page.locator(".side")).to_contain_text("No alarm stands.")
    leak = seen.hall.leak("H1-A03")
    expect(seen.page.locator(".side .alarm")).to_have_count(1)
    seen.refused.add(404)  # the screen may be asking for the alarm's evidence at this very moment
    del seen.hall.alarms[leak["id"]]
    seen.hall.change("demo/H1-A01", tell=False, power_pct=21.0)
    seen.hall.publish("lost", {"events": 300})
    expect(seen.page.locator(".side .alarm")).to_have_count(0)
    expect(seen.tile("demo/H1-A01").locator("b")).to_have_text("21")

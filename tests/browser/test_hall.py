"""The hall map: what an operator sees of racks and CDUs, and how it follows what the service says."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Open
from tests.browser.stand_in import StandIn, rack_values


def test_hall_is_seen_with_its_values(console: Open) -> None:
    seen = console()
    expect(seen.page.get_by_role("heading", name="Hall 1")).to_be_visible()
    expect(seen.page.locator(".rack")).to_have_count(8)
    expect(seen.tile("demo/H1-A01").locator("b")).to_have_text(f"{rack_values(0)['power_pct']:.0f}")
    expect(seen.tile("demo/H1-CDU-1")).to_contain_text("supply 35.0 °C")
    expect(seen.page.locator("#power")).to_have_text(re.compile(r"^\d+ kW of 960 kW rated$"))
    expect(seen.page.locator("main")).to_contain_text("8 racks · 2 CDUs · 16 feeds · readings 100 % of expected")
    expect(seen.page.locator("#live")).to_contain_text("live")
    assert seen.page.title() == "Hall 1"


def test_rows_stand_as_on_the_floor_and_cdus_above_the_first_row_that_they_serve(console: Open) -> None:
    hall = StandIn(8, 2)
    hall.halls[0]["rows"][1]["cdus"] = []
    for i in range(1, 5):
        hall.racks[f"demo/H1-B0{i}"]["cdus"] = ["H1-CDU-1"]
    del hall.racks["demo/H1-B02"]
    hall.halls[0]["rows"][1]["racks"].remove("H1-B02")
    seen = console(hall)
    expect(seen.page.locator(".cdu")).to_have_count(1)
    expect(seen.tile("demo/H1-CDU-1")).to_contain_text("rows A, B")
    above, below = (seen.tile(f"demo/H1-{row}03").bounding_box() for row in "AB")
    assert above["x"] == below["x"], "an empty place keeps its column"
    assert seen.tile("demo/H1-CDU-1").bounding_box()["y"] < above["y"] < below["y"]


def test_lightness_follows_the_quantity_that_the_address_remembers(console: Open) -> None:
    hall = StandIn()
    hall.change("demo/H1-A01", tell=False, flow_lpm=61.0, power_pct=99.0)
    seen = console(hall)
    expect(seen.tile("demo/H1-A01")).to_have_attribute("data-q", "4")
    seen.page.get_by_label("colour by").select_option("flow_lpm")
    expect(seen.tile("demo/H1-A01")).to_have_attribute("data-q", "0")
    expect(seen.tile("demo/H1-A01").locator("b")).to_have_text("61.0")
    expect(seen.page.locator(".legend")).to_have_text("60180 L/min")
    assert "by=flow_lpm" in seen.page.url
    seen.page.reload()
    expect(seen.tile("demo/H1-A01").locator("b")).to_have_text("61.0")


def test_values_change_in_place(console: Open) -> None:
    seen = console()
    tile = seen.tile("demo/H1-A02")
    tile.evaluate("node => { node.mine = true }")
    seen.hall.change("demo/H1-A02", power_pct=23.4)
    expect(tile.locator("b")).to_have_text("23")
    expect(tile).to_have_attribute("data-q", "0")
    assert tile.evaluate("node => node.mine"), "the tile was replaced, not patched"


def test_stale_is_hatched_and_missing_is_a_dash(console: Open) -> None:
    hall = StandIn()
    hall.change("demo/H1-A01", tell=False, power_pct=None)
    seen = console(hall)
    missing = seen.tile("demo/H1-A01")
    expect(missing.locator("b")).to_have_text("—")
    assert missing.get_attribute("data-q") is None
    stale = seen.tile("demo/H1-A02")
    assert "gradient" not in stale.evaluate("n => getComputedStyle(n).backgroundImage")
    seen.hall.set("demo/H1-A02", stale=True, age_s=611.0)
    expect(stale).to_have_class(re.compile("stale"))
    assert "gradient" in stale.evaluate("n => getComputedStyle(n).backgroundImage")
    assert "?" in stale.locator("b").evaluate("n => getComputedStyle(n, '::after').content")
    expect(seen.page.locator("main")).to_contain_text("1 stale")
    expect(seen.page.locator("#power")).to_contain_text("without 1 rack")


def test_coverage_never_rounds_up_to_all(console: Open) -> None:
    seen = console()
    seen.hall.publish("hall", {"at": seen.hall.hall()["at"], "coverage": {"expected": 9999, "fresh": 9998}})
    expect(seen.page.locator("main")).to_contain_text("readings 99.9 % of expected")


def test_unplaced_racks_are_grouped_by_what_cools_them(console: Open) -> None:
    hall = StandIn(0)
    hall.place_unplaced("pod", {f"Pod1C-E0{i}": ["C-F00-CDU-05"] for i in range(1, 7)} | {"Pod1C-X1": []})
    seen = console(hall)
    expect(seen.page.get_by_role("heading", name="Racks without a place")).to_be_visible()
    expect(seen.tile("pod/C-F00-CDU-05")).to_be_visible()
    expect(seen.tile("pod/Pod1C-E03").locator("span")).to_have_text("E03")
    expect(seen.page.locator("main")).to_contain_text("No CDU is known to cool these")
    expect(seen.page.locator("#power")).to_have_text(re.compile(r"^\d+ kW$"))


def test_several_halls_are_chosen_from(console: Open) -> None:
    hall = StandIn()
    hall.build("demo", "Hall 2", 4, 1)
    seen = console(hall)
    seen.page.get_by_label("Hall", exact=True).select_option("demo/Hall 2")
    expect(seen.page.locator(".rack")).to_have_count(4)
    expect(seen.page.get_by_role("heading", name="Hall 2")).to_be_visible()
    expect(seen.page.locator("main")).to_contain_text("all halls: readings")
    assert seen.page.title() == "Hall 2"


def test_selected_rack_shows_its_indicators(console: Open) -> None:
    seen = console()
    seen.tile("demo/H1-B02").click()
    card = seen.page.locator(".below > .card").first
    expect(card).to_contain_text("H1-B02 · selected")
    expect(card).to_contain_text("Hall 1 · row B · position 2 · rated 120 kW · 72 GPUs")
    expect(card).to_contain_text("H1-B02-TAP-A, H1-B02-TAP-B")
    supply = card.locator(".ai", has_text="Supply temperature")
    seen.hall.change("demo/H1-B02", supply_c=43.7)
    expect(supply).to_contain_text("43.7")
    band, pointer = (supply.locator(f".{part}").bounding_box() for part in ("band", "pt"))
    assert pointer["x"] > band["x"] + band["width"], "it stands above the other racks of its hall"
    expect(supply).to_have_attribute("title", re.compile(r"other racks 34\.\d to 35\.\d"))
    expect(card.locator(".ai", has_text="kW")).to_have_attribute("title", re.compile("rating 120"))
    expect(seen.tile("demo/H1-B02")).to_have_attribute("aria-current", "true")
    assert "at=demo%2FH1-B02" in seen.page.url
    card.get_by_text("All points").click()
    expect(card.locator("tbody tr")).to_have_count(7)
    expect(card.locator("tbody tr", has_text="Rack liquid supply temperature")).to_contain_text("43.7")


def test_no_band_is_invented_where_too_few_racks_make_one(console: Open) -> None:
    seen = console(StandIn(4, 1), "/#/?at=demo/H1-A02")
    card = seen.page.locator(".below > .card").first
    expect(card).to_contain_text("H1-A02 · selected")
    expect(card.locator(".band:visible")).to_have_count(0)
    expect(card.locator(".pt:visible")).to_have_count(8)


def test_card_beside_the_pointer(console: Open) -> None:
    seen = console()
    seen.tile("demo/H1-A03").hover()
    expect(seen.page.locator(".hover")).to_contain_text("H1-A03")
    expect(seen.page.locator(".hover")).to_contain_text("Hottest GPU")
    seen.page.mouse.move(5, 400)
    expect(seen.page.locator(".hover")).to_be_hidden()


def test_a_new_layout_is_fetched_and_keeps_the_focus(console: Open) -> None:
    seen = console()
    seen.tile("demo/H1-A02").focus()
    seen.hall.add_rack("demo", "H1-A05", hall="Hall 1", row="A", position=5, cdus=["H1-CDU-1"])
    seen.hall.halls[0]["rows"][0]["racks"].append("H1-A05")
    seen.hall.publish("plant", {})
    expect(seen.tile("demo/H1-A05")).to_be_visible()
    expect(seen.tile("demo/H1-A02")).to_be_focused()


def test_an_asset_that_is_not_known_yet_makes_the_hall_be_fetched(console: Open) -> None:
    seen = console()
    expect(seen.page.locator(".rack")).to_have_count(8)
    seen.hall.add_rack("demo", "H1-B05", hall="Hall 1", row="B", position=5, cdus=["H1-CDU-2"])
    seen.hall.halls[0]["rows"][1]["racks"].append("H1-B05")
    seen.hall.tell_hall(["demo/H1-B05"])
    expect(seen.tile("demo/H1-B05")).to_be_visible()


def test_before_the_first_reading_it_says_what_it_waits_for(console: Open) -> None:
    seen = console(StandIn(0))
    blank = seen.page.locator(".blank")
    expect(blank).to_contain_text("Waiting for the first readings. Sources: bms (connected, last heard")
    expect(blank).to_contain_text("gpus (not connected, nothing received yet)")
    seen.hall.build("demo", "Hall 1", 8, 2)
    seen.hall.publish("plant", {})
    expect(seen.page.locator(".rack")).to_have_count(8)
    expect(blank).to_be_hidden()


def test_a_service_that_fails_is_said_to_fail(console: Open) -> None:
    hall = StandIn()
    hall.refusing = True
    seen = console(hall, controlled=True, live=False)
    seen.refused.add(503)
    seen.page.clock.fast_forward(6_000)
    expect(seen.page.locator(".blank")).to_contain_text("The store is not ready: Try again shortly. Trying again")
    hall.refusing = False
    seen.page.clock.fast_forward(6_000)
    expect(seen.page.locator(".rack")).to_have_count(8)


def test_a_thousand_racks_fit_one_screen_and_only_what_changed_is_touched(console: Open) -> None:
    thousand = StandIn(1000, 20)
    thousand.change("demo/H1-T50", tell=False, power_pct=99.0)
    seen = console(thousand)
    expect(seen.page.locator(".rack")).to_have_count(1000)
    map_box = seen.page.locator(".hall").bounding_box()
    assert map_box["y"] + map_box["height"] < 900
    expect(seen.page.locator(".hall")).to_have_class(re.compile("cells"))
    seen.page.evaluate(
        """() => {
          window.touched = new Set();
          new MutationObserver((changes) => {
            for (const change of changes) {
              const node = change.target.nodeType === 1 ? change.target : change.target.parentElement;
              window.touched.add(node.closest("[data-key]")?.dataset.key ?? node.className);
            }
          }).observe(document.querySelector(".hall"),
            {subtree: true, childList: true, attributes: true, characterData: true});
        }"""
    )
    thousand.change("demo/H1-T50", tell=False, power_pct=22.0)
    thousand.tell_hall(list(thousand.racks))
    expect(seen.tile("demo/H1-T50")).to_have_attribute("data-q", "0")
    assert seen.page.evaluate("[...window.touched]") == ["demo/H1-T50"]
    for key in thousand.racks:
        thousand.change(key, tell=False, power_pct=99.0)
    thousand.tell_hall(list(thousand.racks))
    expect(seen.page.locator('.rack[data-q="4"]')).to_have_count(1000)
    thousand.leak("H1-J25")
    expect(seen.tile("demo/H1-J25").locator(".pri")).to_be_visible()


@pytest.mark.parametrize("path", ["/", "/#/alarms/leak-H1-A03?full=1", "/#/quality"])
def test_it_can_be_used_at_360_pixels(console: Open, path: str) -> None:
    hall = StandIn(64, 4)
    hall.leak("H1-A03")
    seen = console(hall, path, viewport={"width": 360, "height": 760}, has_touch=True)
    expect(seen.page.locator("main h1")).to_be_visible()
    if path.startswith("/#/alarms"):
        expect(seen.page.locator(".side h2")).to_have_text("Leak at rack H1-A03")
    if path == "/":
        expect(seen.page.locator(".rack")).to_have_count(64)
        assert min(box["height"] for box in boxes(seen.page, ".rack")) >= 30
        side = seen.page.locator(".side").bounding_box()
        assert side["y"] > seen.page.locator("main").bounding_box()["y"]
    assert seen.page.evaluate("document.scrollingElement.scrollWidth") <= 360


def test_what_can_be_pressed_is_large_enough(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    seen = console(hall)
    expect(seen.page.locator(".side .alarm")).to_be_visible()
    for path in ("/", "/#/alarms/leak-H1-A03"):
        seen.page.goto(seen.url + path)
        expect(seen.page.locator(".drawer h2", has_text="Leak at rack")).to_be_visible()
        small = [
            box
            for box in boxes(seen.page, "button, select, input:not([type=checkbox]), a:not(.skip), label, summary")
            if box["height"] and min(box["height"], box["width"]) < 29.9
        ]
        assert small == []


def boxes(page, selector: str) -> list[dict]:
    return page.locator(selector).evaluate_all(
        "nodes => nodes.map(n => ({what: n.outerHTML.slice(0, 80), width: n.getBoundingClientRect().width,"
        " height: n.getBoundingClientRect().height}))"
    )


def test_racks_that_another_alarm_explains_are_shown_as_masked(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    hall.raise_alarm(
        "low", asset="H1-A04", title="Flow low", state="suppressed", hidden_how="upstream", hidden_why="Leak at H1-A03"
    )
    hall.raise_alarm("work", asset="H1-B01", state="suppressed", hidden_how="maintenance", hidden_why="pump work")
    seen = console(hall)
    tile = seen.tile("demo/H1-A04")
    expect(tile).to_have_attribute("data-masked", "")
    assert tile.evaluate("n => getComputedStyle(n).borderTopStyle") == "dashed"
    tile.hover()
    expect(seen.page.locator(".hover")).to_contain_text("Masked: Leak at H1-A03")
    for other in ("H1-A03", "H1-B01"):
        assert seen.tile(f"demo/{other}").get_attribute("data-masked") is None, "an alarm of its own, or work"

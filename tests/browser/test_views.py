"""The views beside hall and alarms: overview, loop, rack, trend, figures. What each shows, and what it says instead."""

from __future__ import annotations

import csv
import re
from datetime import UTC, datetime
from functools import partial
from urllib.parse import quote

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Open
from tests.browser.stand_in import StandIn, transition
from tests.browser.test_looks import EVIL, FAINT, THEMES, paper

RACK = "/#/rack/demo%2FH1-A03"
LIBRARY = "/console/lib/plotly.js"

# What a person who does not see or does not point would stumble over: rules of WCAG 2.2 that can be checked by looking.
# It returns what breaks one, by the rule's number.
BARRIERS = """() => {
  const found = [];
  const seen = (node) => node.checkVisibility({visibilityProperty: true});
  const tell = (rule, node) => found.push([rule, node.outerHTML.slice(0, 120)]);
  const named = (node) =>
    (node.getAttribute("aria-label") ?? "").trim() ||
    document.getElementById(node.getAttribute("aria-labelledby"))?.textContent.trim() ||
    [...(node.labels ?? [])].map((label) => label.textContent.trim()).join("") ||
    (node.matches("input, select") ? "" : node.textContent.trim()) || node.title;
  for (const node of document.querySelectorAll("button, a[href], input, select, [role=img], [role=group], dialog")) {
    if (seen(node) && !named(node)) tell("4.1.2 name", node);
    const tall = node.getBoundingClientRect();
    const inText = node.matches("a") && getComputedStyle(node).display === "inline";
    if (seen(node) && tall.width && node.matches("button, a[href], select") && !inText && !node.closest("svg, .skip") &&
        Math.min(tall.width, tall.height) < 24) tell("2.5.8 target", node);
  }
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  for (const id of new Set(ids)) if (ids.filter((one) => one === id).length > 1) found.push(["4.1.1 id", id]);
  const heads = [...document.querySelectorAll("main :is(h1, h2, h3)")].filter(seen).map((node) => +node.tagName[1]);
  if (heads.filter((level) => level === 1).length !== 1) found.push(["1.3.1 one h1", heads]);
  heads.forEach((level, i) => { if (i && level > heads[i - 1] + 1) found.push(["1.3.1 headings", heads]); });
  for (const node of document.querySelectorAll("svg[role=img], img, canvas"))
    if (seen(node) && !node.getAttribute("aria-label") && !node.alt) tell("1.1.1 picture", node);
  for (const node of document.querySelectorAll("table"))
    if (seen(node) && !node.querySelector("th")) tell("1.3.1 table", node);
  for (const node of document.querySelectorAll("[tabindex]")) if (node.tabIndex > 0) tell("2.4.3 order", node);
  if (!document.documentElement.lang) found.push(["3.1.1 language"]);
  if (!document.title) found.push(["2.4.2 title"]);
  return found;
}"""
VIEWS = {
    "/": ".rack",
    "/#/overview": ".halls .ai",
    "/#/loop/demo%2FH1-CDU-1": ".mimic .val",
    RACK: ".plot .main-svg",
    "/#/trend?point=12,13": ".plot .main-svg",
    "/#/alarms/leak-H1-A03?full=1": ".side .trend svg",
    "/#/alarms?show=history": "tbody tr:visible",
    "/#/kpis": "tbody tr:visible",
    "/#/quality": ".ledger .sum",
    "/#/power": ".ways tbody tr",
    "/#/gpus": ".fleet tbody tr",
    "/#/efficiency": ".figures tbody tr",
}


def plant() -> StandIn:
    hall = StandIn()
    hall.leak("H1-A03")
    hall.raise_alarm("back", title="Condensation margin 4.6 K", state="returned", returned_at=hall.hall()["at"])
    return hall


@pytest.mark.parametrize("path", VIEWS)
def test_every_view_is_legible_labelled_and_fits_a_phone(console: Open, path: str) -> None:
    seen = console(plant(), path)
    expect(seen.page.locator(VIEWS[path]).first).to_be_visible()
    for theme in THEMES:
        seen.page.emulate_media(color_scheme=theme)
        assert seen.page.evaluate(FAINT) == [], theme
    assert seen.page.evaluate(BARRIERS) == []
    seen.page.set_viewport_size({"width": 360, "height": 740})
    assert seen.page.evaluate("document.scrollingElement.scrollWidth") <= 360


def test_the_barriers_are_found(console: Open) -> None:
    seen = console()
    seen.page.evaluate(
        """() => {
          const main = document.querySelector("main");
          const put = (tag, more) => main.append(Object.assign(document.createElement(tag), more));
          put("button", {}); put("h1", {textContent: "second"}); put("div", {id: "main"}); put("i", {tabIndex: 3});
        }"""
    )
    rules = {rule for rule, *_ in seen.page.evaluate(BARRIERS)}
    assert {"4.1.2 name", "1.3.1 one h1", "4.1.1 id", "2.4.3 order"} <= rules


def test_the_overview_tells_all_halls_at_a_glance(console: Open) -> None:
    hall = plant()
    hall.build("demo", "Hall 2", 4, 1)
    hall.cdus["demo/H1-CDU-1"]["rated_power_kw"] = 400
    hall.racks["demo/H2-A01"] |= {"stale": True}
    seen = console(hall, "/#/overview")
    one, two = (seen.page.locator(".halls > .card").nth(i) for i in (0, 1))
    expect(one).to_contain_text("8 racks · 2 CDUs")
    expect(one).to_contain_text(re.compile(r"\d\s% of 960 kW rated power"))
    expect(one).to_contain_text(re.compile(r"\d\s% of 400 kW cooling"))
    expect(two).to_contain_text("without 1 rack that is missing or stale")
    expect(one.locator(".tally .pri").first).to_have_class(re.compile("unack"))
    expect(two.locator(".tally")).to_have_text("10203040")
    expect(seen.page.locator("main")).to_contain_text("gpus (not connected, nothing received yet)")
    hall.leak("H2-A02")
    expect(two).to_contain_text("Leak at rack H2-A02")
    two.get_by_role("link", name="demo · Hall 2").click()
    expect(seen.page.locator("main h1")).to_have_text("Hall 2")


def test_the_loop_is_drawn_from_what_there_is(console: Open) -> None:
    hall = plant()
    del hall.cdus["demo/H1-CDU-1"]["values"]["primary_flow_lpm"]
    seen = console(hall, "/#/loop")
    page, mimic = seen.page, seen.page.locator(".mimic")
    expect(page.locator("main h1")).to_have_text("Loop of H1-CDU-1")
    expect(mimic).to_contain_text("no flow")
    expect(mimic).to_contain_text("10.9 K")
    expect(mimic).to_contain_text("61.3 kW/K")
    expect(mimic).to_contain_text("39.1 L")
    expect(mimic.locator(".kit.run")).to_have_count(1)
    expect(mimic.locator("a")).to_have_count(4)
    expect(mimic.locator(".mark")).to_have_text(["3", "1"])
    hall.change("demo/H1-CDU-1", supply_c=36.4)
    expect(mimic).to_contain_text("36.4 °C")
    expect(page.locator(".below .card").first).to_contain_text("Leak at rack H1-A03")
    expect(page.locator(".trend:visible")).to_have_count(6)
    exchanger = page.locator(".card", has=page.get_by_role("heading", name="Exchanger"))
    expect(exchanger).to_contain_text(re.compile(r"Conductance UA, kW/K\s*6[12]"))
    expect(exchanger).to_contain_text("Not measured here: Facility return.")
    hall.change("demo/H1-CDU-1", ua_kw_per_k=None, approach_k=7.7)
    expect(mimic).to_contain_text("7.7 K")
    expect(mimic).not_to_contain_text("kW/K")
    expect(page.locator("main")).to_contain_text("CDU less its racks, L/min")
    page.get_by_label("Loop", exact=True).select_option("demo/H1-CDU-2")
    expect(page.locator("main")).to_contain_text("No alarm stands at this CDU")
    page.goto(seen.url + "/#/loop/demo%2Fnone")
    expect(page.locator("main")).to_contain_text("There is no CDU demo/none here")
    page.goto(seen.url + "/#/loop/demo%2FH1-CDU-1")
    mimic.locator("a").nth(2).click()
    expect(page.locator("main h1")).to_have_text("H1-A03")


def test_the_rack_tells_failover_gpus_and_history(console: Open) -> None:
    hall = plant()
    hall.racks["demo/H1-A03"]["values"]["power_kw"] = 100.0
    hall.racks["demo/H1-A04"]["unlimited"] = True
    seen = console(hall, RACK)
    page, main = seen.page, seen.page.locator("main")
    expect(main).to_contain_text(
        "Without H1-A03-TAP-A, H1-A03-TAP-B carries 148 A of 250 A on phase C (59 %): 102 A left."
    )
    expect(main.locator(".gpu")).to_have_count(72)
    expect(main.locator(".gpu").nth(5)).to_have_attribute("title", re.compile("throttle reasons 4"))
    expect(main).to_contain_text("Leak at rack H1-A03")
    plot = page.locator(".plot")
    expect(plot).to_have_attribute("aria-label", re.compile("between 45.* and 48"))
    main.locator(".gpu").nth(2).click()
    expect(page.get_by_label("What the history shows")).to_have_value("gpu")
    assert "gpu=H1-A03-N1-gpu2" in page.url
    expect(plot.locator(".scatterlayer .trace")).to_have_count(3)
    page.get_by_label("Range").select_option("24h")
    expect(main).to_contain_text("drag to zoom")
    assert "span=24h" in page.url
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 120)
    expect(plot.locator(".hoverlayer")).to_contain_text("UTC")
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 150, box["y"] + 125, steps=4)
    page.mouse.up()
    expect(page.get_by_label("From", exact=True)).to_be_visible()
    assert "from=" in page.url and "span" not in page.url
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    lines = list(csv.reader(download.value.path().read_text("utf-8-sig").splitlines()))
    assert lines[0][:4] == ["time_utc", "site", "asset", "point"] and len(lines) > 100
    page.goto(seen.url + "/#/rack/demo%2FH1-A04")
    expect(main).to_contain_text("whether H1-A04-TAP-B bears it is not known: its limit is not told")
    page.goto(seen.url + "/#/rack/demo%2Fnone")
    expect(main).to_contain_text("There is no rack demo/none here")


def test_the_chart_library_comes_late_and_its_trouble_is_told(console: Open) -> None:
    hall = plant()
    seen = console(hall, "/")
    seen.refused.update({404, 503})
    page, main = seen.page, seen.page.locator("main")
    assert seen.url + LIBRARY not in seen.asked
    page.route(f"**{LIBRARY}", lambda route: route.fulfill(status=503))
    page.goto(seen.url + "/#/trend?point=12")
    expect(main).to_contain_text("The chart library could not be fetched.")
    page.unroute(f"**{LIBRARY}")
    hall.silent_points = True
    page.goto(seen.url + "/#/trend?point=12&from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z")
    expect(main).to_contain_text("The link asks for a range that cannot be")
    page.goto(seen.url + "/#/trend?point=12&from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z")
    expect(main).to_contain_text("There are no readings from 1 Jan 01:00 to 2 Jan 01:00 UTC+1. Choose another range.")
    hall.gone = {12}
    page.goto(seen.url + "/#/trend?point=12&span=24h")
    expect(main).to_contain_text("A point of this link is not known here")
    page.goto(seen.url + "/#/trend")
    expect(main).to_contain_text("No point is chosen.")


def test_a_chart_is_not_drawn_while_its_readings_are_on_their_way(console: Open) -> None:
    """Hiding it changes the size of its card: drawing an empty chart for that is work for nothing, and a flash."""
    seen = console(plant(), "/#/trend?point=12,13")
    page, main = seen.page, seen.page.locator("main")
    expect(main).to_contain_text("drag to zoom")
    page.evaluate(
        """() => {
          const react = window.Plotly.react;
          window.drawn = [];
          window.Plotly.react = (node, lines, ...more) => {
            window.drawn.push(lines.length);
            return react(node, lines, ...more);
          };
        }"""
    )
    for span in ("24h", "30m"):
        page.get_by_label("Range").select_option(span)
        expect(page.locator(".plot .scatterlayer .trace")).to_have_count(2)
        expect(main).to_contain_text("drag to zoom")
    drawn = page.evaluate("window.drawn")
    assert drawn and set(drawn) == {2}


def test_what_the_bus_says_stays_text_in_every_view(console: Open) -> None:
    hall = plant()
    evil = EVIL.replace("/", "")  # ids have no slash
    hall.racks["demo/H1-A01"] |= {"name": EVIL, "feeds": [evil], "hall": EVIL, "row": EVIL}
    hall.cdus["demo/H1-CDU-1"] |= {"name": EVIL}
    hall.halls[0] |= {"hall": EVIL}
    hall.raise_alarm(
        "evil",
        **dict.fromkeys(("title", "where", "asset_name", "rule"), EVIL),
        history=[
            transition("evil", 1, datetime.now(UTC), "activated", "normal", EVIL, 1, by=EVIL, comment=EVIL, why=EVIL)
        ],
    )
    seen = console(hall, "/#/overview")
    main = seen.page.locator("main")
    expect(main.locator(".halls")).to_contain_text(EVIL)
    for path, text in {
        "/#/loop/demo%2FH1-CDU-1": f"Loop of {EVIL}",
        "/#/rack/demo%2FH1-A01": f"There is one feed alone: {evil}.",
        "/#/alarms?show=history": EVIL,
        f"/#/rack/{quote(EVIL, safe='')}": f"There is no rack {EVIL} here",
        f"/#/trend?point={quote(EVIL, safe='')}": "No point is chosen.",
    }.items():
        seen.page.goto(seen.url + path)
        expect(main).to_contain_text(text)
    link = '<a href="javascript:window.pwned=1">x</a><b>y</b>'
    hall.names = {77: EVIL, 78: link}
    seen.page.goto(seen.url + "/#/trend?point=77,78")
    expect(main.locator(".plot .legend")).to_contain_text(link)
    assert main.locator(".plot a").count() == 0
    planted = "document.querySelectorAll('img, main script').length"
    assert seen.page.evaluate(f"[window.pwned ?? null, {planted}]") == [None, 0]


def test_figures_stand_against_their_aims(console: Open) -> None:
    hall = plant()
    for i in range(12):
        hall.leak(f"H1-A{i:02d}")
    seen = console(hall, "/#/kpis?days=1")
    rows = seen.page.locator("tbody tr", has_text="Fullest ten minutes")
    expect(rows).to_contain_text("12")
    expect(rows).to_contain_text("not met")
    expect(seen.page.locator("main")).to_contain_text("12 alarms from")
    expect(seen.page.get_by_label("Range")).to_have_value("1")
    with seen.page.expect_download() as download:
        seen.page.get_by_role("button", name="CSV").click()
    assert "Fullest ten minutes,12,10 or fewer" in download.value.path().read_text("utf-8-sig")


def told(value: float | None, kind: str = "measured") -> dict[str, object]:
    return {"value": value, "unit": "kW", "kind": kind, "coverage_pct": 100.0, "boundary": "", "why": "no rating"}


CAPACITY = {
    "/capacity": {
        "items": [
            {
                "scope": "hall/demo/Hall 1",
                "racks": 8,
                "headroom": told(212.4),
                "binding": {"resource": "failover", "at": "H1-BUS-A"},
                "resources": [
                    {"resource": "failover", "headroom": told(212.4), "unknown": []},
                    {"resource": "air", "headroom": told(None, "missing"), "unknown": ["what the hall's air can take"]},
                ],
                "feeds": [],
            }
        ],
        "total": 1,
        "next_cursor": None,
        "conflicts": 1,
    },
    "/redundancy": {
        "halls": [
            {
                "scope": "hall/demo/Hall 1",
                "power": "no",
                "cooling": "unknown",
                "racks": 8,
                "by_power": {"no": 1, "yes": 7},
                "weakest_power": {
                    "scope": "asset/demo/H1-A01",
                    "weakest": "H1-A01-TAP-A",
                    "margin_pct": -4.0,
                    "why": "",
                },
                "weakest_cooling": None,
            }
        ],
        "items": [{"holds": "no"}, {"holds": "yes"}],
        "total": 8,
    },
    "/utilization": {
        "unit": "kW",
        "answers": [
            {
                "scope": "hall/demo/Hall 1",
                "kind": "estimated",
                "coverage_pct": 99.2,
                "mean": 520.1,
                "p95": 611.0,
                "peak": 640.0,
                "against": [{"what": "rating", "p95_pct": 63.6}, {"what": "failover_safe", "p95_pct": None}],
                "why": "",
            }
        ],
    },
}


def give(answer: object, route: Route) -> None:
    """Answers a request of the page."""
    route.fulfill(json=answer)


def test_capacity_tells_headroom_redundancy_and_use(console: Open) -> None:
    seen = console(StandIn())
    seen.refused.add(404)
    page, main = seen.page, seen.page.locator("main")
    page.goto(seen.url + "/#/capacity")
    expect(main).to_contain_text("This service does not answer questions about capacity.")
    for path, answer in CAPACITY.items():
        page.route(f"**/api/v1{path}?*", partial(give, answer))
    page.goto(seen.url + "/#/capacity?level=row")
    row, redundancy, use = (main.locator("tbody").nth(i).locator("tr") for i in range(3))
    expect(row).to_have_text(
        re.compile("demo · Hall 18212 kWFailover at H1-BUS-AFailover 212 kW · Air —what the hall's air can take")
    )
    expect(main).to_contain_text("The inventory contradicts itself once")
    expect(redundancy).to_have_text("demo · Hall 1does not holdnot knownH1-A01-TAP-A: −4\xa0% left")
    expect(use).to_have_text("demo · Hall 1520 kW est.611 kW est.640 kW est.64\xa0%—99\xa0%")
    expect(page.get_by_label("Of what")).to_have_value("row")
    assert page.evaluate(FAINT) == []
    assert page.evaluate(BARRIERS) == []
    paper(seen)


@pytest.mark.parametrize("login", ["refused", "page"])
def test_an_expired_login_is_said(console: Open, login: str) -> None:
    hall = plant()
    seen = console(hall, operator="Ada")
    seen.refused.add(401)
    hall.login = login
    seen.page.locator(".side .alarm").first.get_by_role("button", name=re.compile("^Acknowledge ")).click()
    expect(seen.page.locator("#notice")).to_contain_text("Not acknowledged. The login is missing or has expired.")
    hall.login = ""


def test_a_wrong_clock_of_this_computer_is_said(console: Open) -> None:
    seen = console(controlled=True)
    expect(seen.page.locator("#own-clock")).to_be_hidden()
    seen.page.evaluate("() => { const now = Date.now; Date.now = () => now() - 10_800_000; }")
    seen.page.clock.run_for(1_500)
    expect(seen.page.locator("#own-clock")).to_contain_text(re.compile("This computer’s clock is [23] h slow"))

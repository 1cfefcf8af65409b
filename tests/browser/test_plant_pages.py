"""Way of power, GPUs, efficiency: what each page tells, live, by link, as a file, and of what is not known."""

from __future__ import annotations

import csv
import re
from urllib.parse import quote

from playwright.sync_api import Page, expect

from tests.browser import answers
from tests.browser.conftest import Open
from tests.browser.stand_in import StandIn
from tests.browser.test_looks import EVIL

NODES_MAX = 2_000
"""Of a document, whatever the fleet is."""


def saved(page: Page) -> list[list[str]]:
    """The rows of the file that the page saves."""
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    return list(csv.reader(download.value.path().read_text("utf-8-sig").splitlines()))


def test_gpus_are_sorted_filtered_and_turned_over(console: Open) -> None:
    seen = console(StandIn(), "/#/gpus")
    page, main, rows = seen.page, seen.page.locator("main"), seen.page.locator(".fleet tbody tr")
    expect(rows).to_have_count(50)
    expect(main).to_contain_text("1 to 50 of 576 GPUs")
    expect(main).to_contain_text("576, 8 not heard")
    expect(main.get_by_role("columnheader", name="°C")).to_have_attribute("aria-sort", "descending")
    page.get_by_role("button", name="50 after").click()
    expect(main).to_contain_text("51 to 100 of 576 GPUs")
    assert "from=50" in page.url
    page.get_by_role("button", name="K/W").click()
    expect(main.get_by_role("columnheader", name="K/W")).to_have_attribute("aria-sort", "descending")
    assert "sort=resistance_k_w" in page.url and "from" not in page.url
    page.get_by_role("button", name="K/W").press("Enter")
    expect(main.get_by_role("columnheader", name="K/W")).to_have_attribute("aria-sort", "ascending")
    page.get_by_label("Only", exact=True).select_option("thermal")
    expect(rows).to_have_count(8)
    expect(rows.first).to_contain_text("too hot, power limit")
    page.get_by_label("Only of the rack").fill("H1-A02")
    page.get_by_label("Only of the rack").press("Enter")
    expect(rows).to_have_count(1)
    assert "of=asset%2Fdemo%2FH1-A02" in page.url and "only=thermal" in page.url
    lines = saved(page)
    assert lines[0][:4] == ["site", "rack", "gpu", "temperature_c"]
    assert [line[2] for line in lines[1:]] == ["H1-A02-N1-gpu5"]
    rows.first.get_by_role("link").click()
    expect(page.locator("main h1")).to_have_text("H1-A02")


def test_gpus_live_silent_and_unknown(console: Open) -> None:
    hall = StandIn()
    seen = console(hall, "/#/gpus?of=asset/demo/H1-A01&sort=age_s")
    main, rows = seen.page.locator("main"), seen.page.locator(".fleet tbody tr")
    expect(rows.first).to_contain_text("? —")
    expect(rows.first).to_have_class("old")
    expect(rows.nth(1)).not_to_contain_text("95")
    hall.change("demo/H1-A01", gpu_c=99)
    expect(rows.nth(1)).to_contain_text("9")
    expect(main).to_contain_text("99 °C")
    hall.raise_alarm("throttled", asset="H1-A01-N9-gpu7", title="GPU is held down", priority=2)
    expect(rows.filter(has_text="H1-A01-N9-gpu7").locator('.pri[data-p="2"]')).to_be_visible()
    hall.end("throttled")
    expect(rows.locator(".pri")).to_have_count(0)
    seen.refused.add(404)
    seen.page.goto(seen.url + "/#/gpus?of=asset/demo/none")
    expect(main).to_contain_text("There is no 'asset/demo/none' here.")
    expect(rows.first).to_be_hidden()
    hall.racks.clear()
    seen.page.goto(seen.url + "/#/gpus")
    expect(main).to_contain_text("No GPU has been heard of here yet")


def test_eight_thousand_gpus_are_no_more_nodes_than_eighty(console: Open) -> None:
    seen = console(StandIn(112, 8), "/#/gpus?sort=id")
    expect(seen.page.locator("main")).to_contain_text("1 to 50 of 8,064 GPUs")
    assert seen.page.evaluate("document.querySelectorAll('*').length") < NODES_MAX


def test_power_tells_each_feed_and_what_its_loss_would_do(console: Open) -> None:
    hall = StandIn()
    hall.unrated = frozenset({"BUS-B"})
    seen = console(hall, "/#/power")
    page, main, rows = seen.page, seen.page.locator("main"), seen.page.locator(".ways tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(1)).to_contain_text("BUS-A")
    unrated = rows.filter(has_text="BUS-B")
    expect(unrated).to_have_attribute("title", "nobody gives its rating")
    expect(unrated.locator(".load")).to_be_hidden()
    expect(unrated).to_contain_text("est.")
    rows.nth(1).get_by_role("button", name="BUS-A").press("Enter")
    expect(main).to_contain_text("If BUS-A is lost")
    expect(main).to_contain_text(re.compile(r"BUS-B would carry \d+ of 437 kW"))
    expect(main).to_contain_text("Not known: BUS-X has no rating.")
    assert "feed=asset%2Fdemo%2FBUS-A" in page.url
    racks = main.locator("section", has_text="Racks behind BUS-A").locator("tbody tr")
    expect(racks).to_have_count(8)
    expect(racks.first).to_contain_text(re.compile(r"A H1-A01-TAP-A: \d+\s% → \d+\s%"))
    expect(racks.first).to_contain_text("2N: holds")
    lines = saved(page)
    assert [line[0] for line in lines[1:]] == ["asset/demo/PANEL-A", "asset/demo/BUS-A", "asset/demo/BUS-B"]
    before = rows.first.locator("td").nth(3).inner_text()
    for key in [*hall.racks]:
        hall.change(key, power_kw=10.0)
    expect(rows.first.locator("td").nth(3)).to_have_text("40.0")
    assert before != "40.0"
    racks.first.get_by_role("link").click()
    expect(page.locator("main h1")).to_have_text("H1-A01")


def test_power_of_a_feed_or_hall_that_is_not_there(console: Open) -> None:
    seen = console(StandIn(), "/#/power")
    seen.refused.add(404)
    main = seen.page.locator("main")
    seen.page.goto(seen.url + "/#/power?feed=asset/demo/none")
    expect(main).to_contain_text("There is no 'asset/demo/none' here.")
    seen.page.goto(seen.url + "/#/power?of=hall/demo/none")
    expect(main.locator("p").first).to_contain_text("There is no 'hall/demo/none' here.")
    expect(main.locator(".ways")).to_be_hidden()


def test_efficiency_tells_category_period_provenance_and_what_is_missing(console: Open) -> None:
    hall = StandIn()
    seen = console(hall, "/#/efficiency?window=7d")
    page, main = seen.page, seen.page.locator("main")
    expect(page.get_by_label("Over", exact=True)).to_have_value("7d")
    ratio = main.locator("tr", has_text="pPUE")
    expect(ratio).to_contain_text("interim: over 24 hours, not a year")
    expect(ratio).to_contain_text(re.compile(r"1\.18\s*measured\s*97\.4\s%"))
    water = main.locator("tr", has_text="WUE")
    expect(water).to_have_class("lacking")
    expect(water).to_contain_text("—missing—")
    expect(water).to_contain_text("no meter of it is named: set water for hall/demo/Hall 1 in [[boundaries]]")
    expect(main).to_contain_text("1 of 3 ratios cannot be told")
    expect(main).to_contain_text("0.142 EUR/kWh")
    expect(main).to_contain_text("519 kWhestimated")
    report = main.get_by_role("link", name="Yearly report")
    expect(report).to_have_attribute(
        "href", re.compile(r"^/api/v1/efficiency/report\?site=demo&year=\d{4}&format=html$")
    )
    lines = saved(page)
    assert lines[0][3:9] == ["figure", "label", "value", "unit", "kind", "coverage_pct"]
    assert [line[5] for line in lines[1:] if line[3] == "WUE"] == [""], "missing is empty, and never 0"
    page.get_by_label("Of what").select_option("site/demo")
    expect(main).to_contain_text("demo · 2")
    assert "of=site%2Fdemo" in page.url
    seen.refused.add(404)
    page.goto(seen.url + "/#/efficiency?of=hall/demo/none")
    expect(main).to_contain_text("There is no 'hall/demo/none' here.")


def test_names_stay_text_on_these_pages(console: Open) -> None:
    hall = StandIn()
    evil = EVIL.replace("/", "")  # ids have no slash
    hall.racks["demo/H1-A01"] |= {"id": evil, "name": EVIL, "feeds": [evil], "row": EVIL}
    hall.figures = (answers.named("PUE", f"{EVIL}, {EVIL}", None, "", EVIL), *hall.figures)
    seen = console(hall, "/#/power")
    main = seen.page.locator("main")
    for path, text in {
        "/#/power": EVIL,
        "/#/gpus?sort=rack": evil,
        "/#/efficiency": EVIL,
        f"/#/gpus?of={quote('asset/demo/' + EVIL, safe='')}": "There is no",
        f"/#/power?feed={quote('asset/demo/' + EVIL, safe='')}": "There is no",
    }.items():
        seen.refused.add(404)
        seen.page.goto(seen.url + path)
        expect(main).to_contain_text(text)
    planted = "document.querySelectorAll('img, main script').length"
    assert seen.page.evaluate(f"[window.pwned ?? null, {planted}]") == [None, 0]


def test_on_a_phone_the_page_that_is_shown_is_in_sight_among_the_pages(console: Open) -> None:
    seen = console(StandIn(), "/#/efficiency", viewport={"width": 360, "height": 740})
    expect(seen.page.locator("#nav").get_by_role("link", name="Efficiency")).to_be_in_viewport(ratio=1)
    seen.page.locator("#nav").get_by_role("link", name="Overview").click()
    expect(seen.page.locator("#nav").get_by_role("link", name="Overview")).to_be_in_viewport(ratio=1)

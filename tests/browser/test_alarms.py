"""Alarms in the list, in the table and in the card: how one appears, is read, is acknowledged and goes."""

from __future__ import annotations

import csv
import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.stand_in import StandIn

ACKNOWLEDGE = re.compile("^Acknowledge ")


def pump(hall: StandIn) -> None:
    hall.raise_alarm(
        "pump",
        title="Pump 2 tripped, standby running",
        asset="H1-CDU-2",
        where="H1-CDU-2",
        priority=2,
        priority_word="high",
    )


def test_a_leak_appears_without_reload_first_and_blinking(console: Open) -> None:
    hall = StandIn()
    pump(hall)
    seen = console(hall)
    page = seen.page
    expect(page.locator(".side .alarm")).to_have_count(1)
    page.evaluate("window.same = true")
    hall.leak("H1-A03")
    first = page.locator(".side .alarm").first
    expect(first).to_contain_text("Leak at rack H1-A03")
    expect(first).to_contain_text("Hall 1 · row A · position 3")
    expect(first).to_contain_text("Inventory −0.9 L/min · supply − return 0.8 L/min · tray sensor dry")
    expect(first).to_contain_text("Low-level trip in about 41 min")
    expect(first).to_contain_text("explains 11 more alarms, masked")
    expect(first.locator("time-since")).to_have_text("3 min")
    assert page.evaluate("window.same")
    mark = first.locator(".pri")
    expect(mark).to_have_text("1")
    beat = mark.evaluate("n => { const s = getComputedStyle(n); return [s.animationName, s.animationDuration] }")
    assert beat == ["blink", "1s"]
    expect(seen.tile("demo/H1-A03")).to_have_attribute("data-p", "1")
    expect(seen.tile("demo/H1-A03").locator(".pri")).to_have_text("1")
    expect(seen.tile("demo/H1-CDU-2").locator(".pri")).to_have_text("2")
    assert page.title() == "(1) 2 alarms · Hall 1"
    expect(page.locator("#tally-words")).to_have_text(
        "Standing alarms: 1 critical, 1 unacknowledged; 1 high, 1 unacknowledged"
    )
    expect(page.locator("#nav")).to_contain_text("Alarms2")


def test_all_marks_blink_together(console: Open) -> None:
    hall = StandIn()
    pump(hall)
    seen = console(hall)
    expect(seen.page.locator(".side .alarm")).to_have_count(1)
    hall.leak("H1-A03")
    expect(seen.page.locator(".side .alarm")).to_have_count(2)
    begun = seen.page.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() =>"
        " done([...document.querySelectorAll('.unack')].flatMap(n => n.getAnimations()).map(a => a.startTime)))))"
    )
    assert len(begun) >= 6
    assert set(begun) == {0}


def test_acknowledged_by_the_button(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    seen = console(hall)
    page = seen.page
    page.locator(".side .alarm").get_by_role("button", name=ACKNOWLEDGE).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Who is at this screen?")
    dialog.get_by_role("textbox").fill("night shift")
    dialog.get_by_role("button", name="Keep this name").click()
    alarm = page.locator(".side .alarm").first
    expect(alarm).to_have_attribute("data-state", "acknowledged")
    expect(alarm).to_contain_text("acknowledged by night shift")
    expect(alarm.get_by_role("button", name=ACKNOWLEDGE)).to_be_hidden()
    expect(alarm.locator(".pri")).not_to_have_class(re.compile("unack"))
    expect(page.locator("#notice")).to_contain_text("Acknowledged by night shift: Leak at rack H1-A03.")
    expect(page.locator("#operator")).to_have_text("night shift")
    assert hall.posted == [{"id": "leak-H1-A03", "by": "night shift"}]
    pump(hall)
    page.locator(".side .alarm", has_text="Pump 2").get_by_role("button", name=ACKNOWLEDGE).click()
    expect(page.locator(".side .alarm", has_text="Pump 2")).to_have_attribute("data-state", "acknowledged")
    assert hall.posted[1]["by"] == "night shift", "the name is asked for once"


def answer(page: Page, button: str, **said: str) -> None:
    """Fills the dialog that is open, and presses its button."""
    dialog = page.get_by_role("dialog")
    for name, words in said.items():
        field = dialog.locator(f"[name={name}]")
        if field.evaluate("n => n.tagName") == "SELECT":
            field.select_option(words)
        else:
            field.fill(words)
    dialog.get_by_role("button", name=button).click()


def test_an_alarm_is_put_aside_with_a_reason_and_brought_back(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    pump(hall)
    seen = console(hall, "/#/alarms/leak-H1-A03", operator="Ada")
    page = seen.page
    card = page.locator(".drawer .drawer").filter(has_text="Leak at rack H1-A03").last
    card.get_by_role("button", name="Shelve…").click()
    dialog = page.get_by_role("dialog")
    assert dialog.locator("option").all_text_contents() == ["15 min", "30 min", "1 h"], "what is critical: an hour"
    dialog.get_by_role("button", name="Shelve").click()
    expect(dialog.locator("[name=reason]")).to_be_focused()
    dialog.get_by_role("button", name="Cancel").click()
    assert hall.posted == []
    card.get_by_role("button", name="Comment…").click()
    answer(page, "Add it", comment="<b>a spill</b>")
    expect(card).to_contain_text("commented by Ada: “<b>a spill</b>”")
    card.get_by_role("button", name="Shelve…").click()
    answer(page, "Shelve", reason="a spill", for_s="1800")
    expect(card).to_contain_text("by Ada: a spill")
    expect(card).to_contain_text("Shelved until")
    expect(card.get_by_role("button", name="Shelve…")).to_be_hidden()
    assert [(said["verb"], said["version"]) for said in hall.posted] == [("comment", 1), ("shelve", 2)]
    assert hall.posted[1]["for_s"] == 1800
    expect(page.get_by_role("button", name="Standing 1")).to_be_visible()
    page.get_by_role("button", name="Shelved 1").click()
    row = page.locator("tbody tr")
    expect(row).to_contain_text("shelved")
    expect(row).to_contain_text("Ada: a spill")
    card.get_by_role("button", name="Unshelve").click()
    expect(page.get_by_role("button", name="Standing 2")).to_be_visible()
    card.get_by_role("button", name="Out of service…").click()
    answer(page, "Take out", reason="the rope is torn")
    expect(card).to_contain_text("Out of service by Ada: the rope is torn")
    expect(page.get_by_role("button", name="Out of service 1")).to_be_visible()
    card.get_by_role("button", name="Return to service").click()
    expect(page.get_by_role("button", name="Standing 2")).to_be_visible()
    card.get_by_role("button", name="Hand over…").click()
    answer(page, "Hand over", to="day shift")
    expect(card).to_contain_text("It is day shift’s.")


def test_several_are_ticked_and_dealt_with_at_once(console: Open) -> None:
    hall = StandIn()
    for i in (1, 2, 3):
        hall.raise_alarm(f"limit-{i}", title=f"Limit {i}", asset=f"H1-A0{4 - i}", where=f"position {4 - i}")
    hall.leak("H1-A03")
    seen = console(hall, "/#/alarms", operator="Ada")
    page, rows = seen.page, seen.page.locator("tbody tr")
    several = page.get_by_role("group", name="What to do with the ticked alarms")
    expect(rows).to_have_count(4)
    expect(several).to_be_hidden()
    page.keyboard.press("l")
    for key in ("ArrowDown", " ", "ArrowDown", " "):
        page.keyboard.press(key)
    expect(several).to_contain_text("2 ticked")
    hall.raise_alarm("limit-3", summary="news")
    expect(page.get_by_role("checkbox", checked=True)).to_have_count(2)
    page.keyboard.press("a")
    expect(page.locator("#notice")).to_have_text(re.compile("Acknowledged by Ada: 2 alarms."))
    expect(page.get_by_role("button", name="Unacknowledged 2")).to_be_visible()
    assert len(hall.posted[0]["ids"]) == 2
    page.get_by_label("Tick all that are shown").check()
    expect(several).to_contain_text("4 ticked")
    several.get_by_role("button", name="Shelve…").click()
    assert page.get_by_role("dialog").locator("option").last.text_content() == "1 h", "the most urgent decides"
    answer(page, "Shelve", reason="a drill")
    expect(page.locator("#notice")).to_contain_text("Shelved for 1 h by Ada: 4 alarms.")
    expect(several).to_be_hidden()
    expect(page.locator("main")).to_contain_text("No alarm stands.")
    page.get_by_role("button", name="Shelved 4").click()
    expect(rows).to_have_count(4)


def test_the_table_sorts_shows_what_is_masked_and_what_has_been(console: Open) -> None:
    hall = StandIn()
    pump(hall)
    hall.raise_alarm("b", title="B", where="row 10", since="2026-01-02T00:00:00Z")
    hall.raise_alarm("a", title="A", where="row 9", since="2026-01-01T00:00:00Z")
    hall.raise_alarm(
        "low", title="Flow low", state="suppressed", hidden_how="upstream", hidden_why="the pump explains it"
    )
    hall.leak("H1-A03")
    hall.end("leak-H1-A03")
    seen = console(hall, "/#/alarms?sort=-where")
    seen.refused.add(404)
    page, titles = seen.page, seen.page.locator("tbody .title:visible")
    expect(titles).to_have_text(["B", "A", "Pump 2 tripped, standby running"])
    expect(page.get_by_role("columnheader", name="Where")).to_have_attribute("aria-sort", "descending")
    page.get_by_role("button", name="Since").click()
    expect(titles).to_have_text(["Pump 2 tripped, standby running", "B", "A"])
    page.get_by_role("button", name="Since").click()
    expect(titles).to_have_text(["A", "B", "Pump 2 tripped, standby running"])
    assert "sort=-since" in page.url
    page.get_by_role("button", name="Masked 1").click()
    expect(page.locator("tbody tr:visible")).to_contain_text("the pump explains it")
    page.get_by_role("button", name="History").click()
    expect(page.locator("tbody tr:visible")).to_have_count(3)
    expect(page.locator("tbody tr:visible").first).to_contain_text("it is gone")
    page.get_by_role("searchbox").fill("two independent")
    expect(page.locator("tbody tr:visible")).to_have_count(1)
    page.locator("tbody tr:visible").get_by_role("button").click()
    expect(page.locator(".side")).to_contain_text("limit at H1-A01: over. What the journal tells of it:")
    expect(page.locator(".side .past")).to_contain_text("it is gone")
    assert "show=history" in page.url


def test_what_is_shown_is_saved_and_no_cell_is_a_formula(console: Open) -> None:
    hall = StandIn()
    hall.raise_alarm("evil", title='=HYPERLINK("x")', where="+1\n,2", confidence=0.5)
    hall.raise_alarm("other", title="not shown")
    seen = console(hall, "/#/alarms?filter=hyperlink")
    with seen.page.expect_download() as download:
        seen.page.get_by_role("button", name="CSV").click()
    assert download.value.suggested_filename == "alarms-standing.csv"
    lines = list(csv.reader(download.value.path().read_text("utf-8-sig").splitlines(keepends=True)))
    assert [line[1] for line in lines] == ["title", '\'=HYPERLINK("x")']
    assert lines[1][4] == "'+1\n,2"
    assert lines[1][8] == "0.5"


def test_a_new_critical_alarm_sounds_where_somebody_wants_it(console: Open) -> None:
    seen = console()
    page = seen.page
    page.evaluate(
        """() => {
          window.tones = 0;
          const start = OscillatorNode.prototype.start;
          OscillatorNode.prototype.start = function (...at) { window.tones += 1; return start.apply(this, at); };
        }"""
    )
    seen.hall.leak("H1-A03")
    expect(page.locator(".side .alarm")).to_have_count(1)
    assert page.evaluate("window.tones") == 0, "off by default"
    page.get_by_role("button", name="Sound for new critical alarms: off").click()
    heard = page.evaluate("window.tones")
    assert heard > 0, "one hears what one has chosen"
    seen.hall.raise_alarm("medium", priority=3)
    seen.hall.raise_alarm("leak-H1-A03", time_to_limit_s=60)
    expect(page.locator(".side")).to_contain_text("in about 60 s")
    assert page.evaluate("window.tones") == heard
    seen.hall.leak("H1-B01")
    expect(page.locator(".side .alarm")).to_have_count(3)
    assert page.evaluate("window.tones") == 2 * heard
    page.reload()
    expect(page.get_by_role("button", name="Sound for new critical alarms: on")).to_be_visible()


def test_the_second_of_two_operators_is_told_what_has_changed(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    seen = console(hall, "/#/alarms/leak-H1-A03", operator="Ada")
    page = seen.page
    expect(page.locator(".side h2")).to_have_text("Leak at rack H1-A03")
    seen.refused.add(409)
    hall.silent = True  # the news has not come yet
    hall.act("leak-H1-A03", "comment", "Ben", "I am there")
    page.locator(".side").get_by_role("button", name="Shelve…").click()
    answer(page, "Shelve", reason="a spill")
    expect(page.locator("#notice")).to_contain_text("has changed meanwhile (commented by Ben)")
    assert hall.alarms["leak-H1-A03"]["state"] == "unacknowledged"


def test_no_name_no_acknowledgement(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    seen = console(hall)
    seen.page.locator(".side .alarm").get_by_role("button", name=ACKNOWLEDGE).click()
    seen.page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(seen.page.get_by_role("dialog")).to_have_count(0)
    expect(seen.page.locator(".side .alarm")).to_have_attribute("data-state", "unacknowledged")
    assert hall.posted == []


def test_everything_by_keyboard(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    seen = console(hall)
    page, press = seen.page, seen.page.keyboard.press
    press("m")
    press("Home")
    expect(seen.tile("demo/H1-CDU-1")).to_be_focused()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp"):
        press(key)
    expect(seen.tile("demo/H1-CDU-2")).to_be_focused()
    for key in ("ArrowDown", "ArrowRight"):
        press(key)
    expect(seen.tile("demo/H1-B02")).to_be_focused()
    outline = seen.tile("demo/H1-B02").evaluate("n => getComputedStyle(n).outlineStyle")
    assert outline == "solid"
    expect(page.locator(".hover")).to_contain_text("H1-B02")
    press("Enter")
    expect(page.locator(".below > .card").first).to_contain_text("H1-B02 · selected")
    press("a")
    expect(page.locator("#notice")).to_contain_text("Selected: Leak at rack H1-A03. Press A again")
    assert hall.posted == [], "a key must not acknowledge what nobody has selected"
    expect(page.locator(".side .alarm").first).to_have_attribute("aria-current", "true")
    press("a")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.type("Ada")
    press("Enter")
    expect(page.locator(".side .alarm").first).to_have_attribute("data-state", "acknowledged")
    assert hall.posted[0]["by"] == "Ada"
    press("?")
    expect(page.get_by_role("dialog")).to_contain_text("acknowledge the ticked alarms, or the selected one")
    press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_map_is_one_stop_of_the_tab_key(console: Open) -> None:
    seen = console()
    expect(seen.page.locator(".rack")).to_have_count(8)
    assert seen.page.locator('.hall [tabindex="0"]').count() == 1


def test_single_keys_can_be_switched_off_and_rest_while_somebody_types(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    seen = console(hall, "/#/alarms/leak-H1-A03", operator="Ada")
    page = seen.page
    page.get_by_label("Comment on the acknowledgement").fill("")
    page.keyboard.type("alarm a")
    expect(page.get_by_label("Comment on the acknowledgement")).to_have_value("alarm a")
    page.get_by_role("button", name="Keys").click()
    page.get_by_role("checkbox", name="Single letters act as keys").uncheck()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("a")
    page.keyboard.press("l")
    expect(page.locator("#notice")).to_be_hidden()
    assert hall.posted == []


def test_somebody_was_faster(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    seen = console(hall, operator="day shift")
    seen.refused.add(409)
    hall.acknowledge("leak-H1-A03", "night shift", tell=False)
    seen.page.locator(".side .alarm").get_by_role("button", name=ACKNOWLEDGE).click()
    expect(seen.page.locator("#notice")).to_contain_text(
        "night shift was faster: Leak at rack H1-A03 was acknowledged at"
    )
    expect(seen.page.locator(".side .alarm")).to_have_attribute("data-state", "acknowledged")
    seen.page.get_by_role("button", name="Put this message away").click()
    expect(seen.page.locator("#notice")).to_be_hidden()


def test_an_acknowledgement_that_fails_is_not_shown_as_one(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    seen = console(hall, operator="day shift")
    seen.refused.add(503)
    hall.refusing = True
    seen.page.locator(".side .alarm").get_by_role("button", name=ACKNOWLEDGE).click()
    expect(seen.page.locator("#notice")).to_contain_text("Not acknowledged. The store is not ready")
    expect(seen.page.locator(".side .alarm")).to_have_attribute("data-state", "unacknowledged")
    hall.refusing = False


def test_what_stands_comes_before_what_has_returned(console: Open) -> None:
    hall = StandIn()
    at = hall.hall()["at"]
    hall.raise_alarm("flow", title="Flow lost", asset="H1-A01", priority=1, state="returned", returned_at=at)
    hall.leak("H1-A03", priority=2, priority_word="high")
    seen = console(hall)
    expect(seen.page.locator(".side .alarm").first).to_contain_text("Leak at rack H1-A03")
    borders = [
        seen.tile(f"demo/{rack}").evaluate("n => getComputedStyle(n).borderTopWidth") for rack in ("H1-A01", "H1-A03")
    ]
    assert borders == ["1px", "3px"], "what has returned keeps its mark, not its border"
    expect(seen.tile("demo/H1-A01").locator(".pri")).to_be_visible()


def test_a_returned_alarm_says_so_and_goes_when_it_is_over(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    seen = console(hall)
    alarm = seen.page.locator(".side .alarm")
    expect(alarm).to_have_count(1)
    hall.raise_alarm("leak-H1-A03", state="returned", returned_at=hall.hall()["at"])
    expect(alarm.locator(".tag")).to_be_visible()
    expect(alarm.locator("time-since")).to_have_text(re.compile(r"^back \d+ s$"))
    expect(alarm).not_to_contain_text("Low-level trip")
    expect(alarm.locator(".pri")).to_have_class(re.compile("unack"))
    hall.end("leak-H1-A03")
    expect(alarm).to_have_count(0)
    expect(seen.page.locator(".side")).to_contain_text("No alarm stands.")
    expect(seen.tile("demo/H1-A03").locator(".pri")).to_have_count(0)
    assert seen.page.title() == "Hall 1"


def test_marks_are_right_after_another_page_was_shown(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    seen = console(hall)
    expect(seen.tile("demo/H1-A03").locator(".pri")).to_have_count(1)
    seen.page.get_by_role("link", name="Data quality").click()
    expect(seen.page.get_by_role("heading", name="Data quality")).to_be_visible()
    hall.end("leak-H1-A03")
    hall.leak("H1-B01")
    expect(seen.page.locator("#nav")).to_contain_text("Alarms1")
    seen.page.get_by_role("link", name="Hall map").click()
    expect(seen.tile("demo/H1-B01").locator(".pri")).to_have_count(1)
    expect(seen.tile("demo/H1-A03").locator(".pri")).to_have_count(0)


def test_the_card_reads_like_an_argument(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    seen = console(hall, "/#/alarms/leak-H1-A03", operator="Ada")
    card = seen.page.locator(".side .drawer .drawer")
    expect(card.locator("h2")).to_have_text("Leak at rack H1-A03")
    expect(card).to_contain_text("confidence 0.97 · critical, unacknowledged")
    signs = card.locator(".ev dt span[aria-hidden]").all_text_contents()
    assert signs == ["+", "+", "−", "✕", "?"]
    expect(card.locator(".ev")).to_contain_text("−0.9 L/min")
    order = card.locator("h3:visible").all_text_contents()
    assert order == ["Evidence", "Why it matters", "Check first", "Then", "History"]
    expect(card).to_contain_text("Respond within 10 min.")
    expect(card.locator(".log")).to_contain_text("escalated, priority 1: two independent signals")
    trend = card.locator(".trend")
    expect(trend).to_contain_text("Coolant inventory, L")
    expect(trend).to_contain_text("last 30 min")
    expect(trend.locator("svg")).to_have_attribute(
        "aria-label", re.compile(r"Coolant inventory, last 30 min: from 48\.\d to 45\.\d L")
    )
    assert len(trend.locator("path:not(.onset, .cursor)").all()) >= 3, "a gap breaks the line, doubt dashes it"
    card.get_by_role("button", name="Supply − return").click()
    expect(trend).to_contain_text("Supply − return, L/min")
    card.get_by_role("checkbox").first.check()
    card.get_by_label("Comment on the acknowledgement").fill("on my way")
    hall.leak("H1-A03", evidence=[{"what": "Inventory", "shows": "−1.4 L/min", "bearing": "for", "point": 12}])
    expect(card.locator(".ev")).to_contain_text("−1.4 L/min")
    expect(card.get_by_role("checkbox").first).to_be_checked()
    card.get_by_role("button", name=ACKNOWLEDGE).click()
    expect(card.locator(".log")).to_contain_text("acknowledged by Ada: “on my way”")
    assert hall.posted[0]["comment"] == "on my way"


def test_choosing_an_alarm_shows_its_evidence_and_its_rack(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    pump(hall)
    seen = console(hall)
    below = seen.page.locator(".below > .card")
    expect(below.nth(1)).to_contain_text("Leak at rack H1-A03")
    seen.page.locator(".side .alarm", has_text="Pump 2").locator(".what").click()
    expect(below.nth(1)).to_contain_text("Pump 2 tripped")
    expect(below.nth(0)).to_contain_text("H1-CDU-2 · selected")
    seen.page.reload()
    expect(below.nth(1)).to_contain_text("Pump 2 tripped")


def test_the_table_filters_selects_and_links(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    pump(hall)
    hall.acknowledge("pump", "night shift", "watching it")
    seen = console(hall, "/#/alarms")
    page, rows = seen.page, seen.page.locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("Leak at rack H1-A03")
    expect(rows.nth(1)).to_contain_text("night shift: watching it")
    assert page.title() == "(1) 2 alarms · Alarms"
    page.keyboard.press("/")
    page.keyboard.type("NIGHT cdu-2")
    expect(rows).to_have_count(1)
    assert "filter=NIGHT+cdu-2" in page.url
    page.get_by_role("searchbox").fill("nothing of the kind")
    expect(page.locator("main")).to_contain_text("None of 2 alarms here matches the filter.")
    page.get_by_role("searchbox").fill("")
    page.get_by_role("button", name="Unacknowledged 1").click()
    expect(rows).to_have_count(1)
    page.get_by_role("button", name="Standing 2").click()
    page.keyboard.press("l")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator(".side h2")).to_have_text("Pump 2 tripped, standby running")
    assert page.url.endswith("#/alarms/pump")
    page.go_back()
    expect(page.locator(".side")).to_contain_text("Choose an alarm")


def test_an_alarm_that_ends_while_it_is_read_stays_readable(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    seen = console(hall, "/#/alarms/leak-H1-A03")
    seen.refused.add(404)
    side = seen.page.locator(".side")
    expect(side.locator(".log li")).to_have_count(2)
    hall.end("leak-H1-A03")
    expect(side).to_contain_text("This alarm is over")
    expect(side.get_by_role("button", name=ACKNOWLEDGE)).to_be_hidden()
    expect(side.locator(".log li")).to_have_count(2)


def test_links_to_what_does_not_stand(console: Open) -> None:
    seen = console(path="/#/alarms/no%20such%2Fone", refused=404)
    expect(seen.page.locator(".side")).to_contain_text("Alarm no such/one does not stand: it is over")
    seen.page.goto(seen.url + "/#/nowhere")
    expect(seen.page.locator("main")).to_contain_text("There is no such page.")


def test_a_latched_alarm_is_told_apart(console: Open) -> None:
    hall = StandIn()
    hall.raise_alarm("wet", title="Leak sensor wet", state="latched_unacknowledged", returned_at=hall.hall()["at"])
    seen = console(hall, "/#/alarms")
    expect(seen.page.locator("tbody tr")).to_contain_text("returned, latched, unacknowledged")
    expect(seen.page.locator("tbody .pri")).to_have_class(re.compile("unack"))
    hall.raise_alarm("wet", state="latched_acknowledged")
    expect(seen.page.locator("tbody tr")).to_contain_text("returned, latched: to be reset")
    expect(seen.page.locator("tbody .pri")).not_to_have_class(re.compile("unack"))


def test_a_flood_of_alarms_stays_readable(console: Open) -> None:
    hall = StandIn()
    for i in range(300):
        hall.raise_alarm(f"alarm-{i:03d}", title=f"Limit {i:03d}", priority=4, priority_word="low")
    hall.leak("H1-A03")
    seen = console(hall)
    expect(seen.page.locator(".side .alarm")).to_have_count(60)
    expect(seen.page.locator(".side .alarm").first).to_contain_text("Leak")
    expect(seen.page.locator(".side")).to_contain_text("and 241 more alarms")
    assert seen.page.title() == "(1) 301 alarms · Hall 1"

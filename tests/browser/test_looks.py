"""Themes, contrast, size and safety: what holds for every page."""

from __future__ import annotations

import base64
import gzip
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from playwright.sync_api import expect

from dashboards.console import PAGES, POLICY
from tests.browser.conftest import Open, Watched
from tests.browser.stand_in import BACKLOG, StandIn, transition

CSS = (PAGES / "console.css").read_text(encoding="utf-8")
TOKENS = {
    name: {"light": light, "dark": dark}
    for name, light, dark in re.findall(r"--([\w-]+): light-dark\((#\w+), (#\w+)\)", CSS)
}
THEMES = ("light", "dark")
TEXT = 4.5
MARKS = 3.0
FIRST_PAINT_BYTES = 75_000
"""Half of what may come before the first paint: the hall's own data want the other half."""
PAGE_BYTES = 150_000
"""Of a page's files and data, until it shows what it is about."""
LATER = {
    *("phone.html", "phone.js", "overview.js", "loop.js", "mimic.js", "rack.js", "chart.js", "range.js"),
    *("trend-page.js", "kpis.js", "capacity.js", "scope.js", "power.js", "gpus.js", "efficiency.js"),
}
"""What the hall does not need: fetched where it is looked at."""


def channels(colour: str) -> list[float]:
    """Red, green, blue and opacity of #rrggbb or #rrggbbaa, 0 to 1."""
    digits = colour.removeprefix("#")
    return [int(digits[i : i + 2], 16) / 255 for i in range(0, len(digits), 2)] + ([1.0] if len(digits) == 6 else [])


def contrast(one: list[float], other: list[float]) -> float:
    """Contrast ratio of two opaque colours (WCAG 2.2, relative luminance)."""

    def luminance(colour: list[float]) -> float:
        r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3])
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def token(name: str, theme: str, over: str | None = None) -> list[float]:
    """A token's colour in a theme; a translucent one laid over another."""
    colour = channels(TOKENS[name][theme])
    if over is None:
        return colour
    below, alpha = token(over, theme), colour[3]
    return [alpha * c + (1 - alpha) * b for c, b in zip(colour[:3], below[:3], strict=True)]


TEXT_ON = (
    [(ink, ground) for ink in ("ink", "ink-2", "ink-3") for ground in ("bg", "surface", "raised")]
    + [("ink", step) for step in ("q0", "q1", "q2")]
    + [("on-dark", step) for step in ("q3", "q4")]
    + [(f"p{n}-ink", f"p{n}") for n in (1, 2, 3, 4)]
    + [("raised", "ink"), ("raised", "ink-3")]
)
SEEN_ON = [(line, ground) for line in ("edge", "focus", "ink") for ground in ("bg", "surface", "raised")]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("ink", "ground"), TEXT_ON)
def test_text_has_contrast(theme: str, ink: str, ground: str) -> None:
    assert contrast(token(ink, theme), token(ground, theme)) >= TEXT


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(
    ("ink", "ground"),
    [("ink", g) for g in ("surface", "raised", "q0", "q1", "q2")]
    + [("ink-2", "raised"), ("on-dark", "q3"), ("on-dark", "q4")],
)
def test_text_on_hatching_has_contrast(theme: str, ink: str, ground: str) -> None:
    hatch = "hatch-on-dark" if ink == "on-dark" else "hatch"
    assert contrast(token(ink, theme), token(hatch, theme, ground)) >= TEXT


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("priority", [1, 2, 3, 4])
@pytest.mark.parametrize("ground", ["bg", "surface", "raised"])
def test_marks_have_contrast_by_their_fill_or_their_outline(theme: str, priority: int, ground: str) -> None:
    below = token(ground, theme)
    assert max(contrast(token(edge, theme), below) for edge in (f"p{priority}", "mark")) >= MARKS


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("line", "ground"), SEEN_ON)
def test_borders_and_focus_have_contrast(theme: str, line: str, ground: str) -> None:
    assert contrast(token(line, theme), token(ground, theme)) >= MARKS


@pytest.mark.parametrize("theme", THEMES)
def test_the_five_steps_go_one_way_and_have_no_hue(theme: str) -> None:
    steps = [token(f"q{i}", theme) for i in range(5)]
    brightness = [sum(step[:3]) for step in steps]
    assert brightness in (sorted(brightness), sorted(brightness, reverse=True))
    assert all(max(step[:3]) - min(step[:3]) < 0.12 for step in steps), "grey, with a breath of blue at most"


# Text nodes that are seen, with the contrast against what is painted behind them; blinking marks are left out.
FAINT = """() => {
  const parse = (c) => { const [r, g, b, a = 1] = c.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const luminance = (c) => {
    const [r, g, b] = c.slice(0, 3).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    if (!node) return [255, 255, 255, 1];
    const c = parse(getComputedStyle(node).backgroundColor);
    return c[3] === 1 ? c : over(c, ground(node.parentElement));
  };
  const seen = (node) => node.checkVisibility({opacityProperty: true, visibilityProperty: true});
  const faint = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const words = walk.currentNode.data.trim();
    const node = walk.currentNode.parentElement;
    if (!words || !seen(node) || node.closest(".pri, .unseen, option, .skip")) continue;
    const below = ground(node);
    const ink = over(parse(getComputedStyle(node).color), below);
    const [high, low] = [luminance(ink), luminance(below)].sort((x, y) => y - x);
    if ((high + 0.05) / (low + 0.05) < 4.5) faint.push([words, (high + 0.05) / (low + 0.05)]);
  }
  return faint;
}"""

# How far the most colourful pixel of a picture is from grey, 0 to 255.
HUE = """async (png) => {
  const image = new Image();
  image.src = "data:image/png;base64," + png;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
  let most = 0;
  for (let i = 0; i < data.length; i += 4) {
    const [r, g, b] = data.subarray(i, i + 3);
    most = Math.max(most, Math.max(r, g, b) - Math.min(r, g, b));
  }
  return most;
}"""


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("path", ["/", "/#/alarms/leak-H1-A03", "/#/quality"])
def test_no_text_on_a_page_is_faint(console: Open, theme: str, path: str) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    hall.raise_alarm("back", title="Condensation margin 4.6 K", state="returned", returned_at=hall.hall()["at"])
    hall.racks["demo/H1-A02"]["values"]["power_pct"] = None
    seen = console(hall, path, color_scheme=theme)
    expect(seen.page.locator("main h1")).to_be_visible()
    assert seen.page.evaluate(FAINT) == []


def ground(seen: Any) -> str:
    return seen.page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_dark_and_light_follow_the_system_until_chosen(console: Open) -> None:
    seen = console(color_scheme="dark")
    assert ground(seen) == "rgb(21, 25, 29)"
    toggle = seen.page.locator("#theme")
    toggle.click()
    assert ground(seen) == "rgb(223, 227, 230)"
    toggle.click()
    assert ground(seen) == "rgb(21, 25, 29)"
    toggle.click()
    toggle.click()
    seen.page.reload()
    assert ground(seen) == "rgb(223, 227, 230)", "the choice outlives a reload"


def test_a_hall_without_alarms_has_no_colour_in_it(console: Open) -> None:
    seen = console()
    expect(seen.page.locator(".rack")).to_have_count(8)
    seen.page.mouse.move(0, 899)
    seen.page.evaluate("document.activeElement.blur()")
    picture = base64.b64encode(seen.page.screenshot()).decode()
    quiet = seen.page.context.new_page()
    assert quiet.evaluate(HUE, picture) < 40
    seen.hall.leak("H1-A03")
    expect(seen.page.locator(".side .alarm")).to_be_visible()
    picture = base64.b64encode(seen.page.screenshot()).decode()
    assert quiet.evaluate(HUE, picture) > 100


def test_reduced_motion_has_an_outline_instead_of_blinking(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    seen = console(hall, reduced_motion="reduce")
    mark = seen.page.locator(".side .alarm .pri")
    style = mark.evaluate(
        "n => { const s = getComputedStyle(n); return [s.animationName, s.outlineStyle, s.clipPath] }"
    )
    assert style == ["none", "dashed", "none"], "a clipped mark would clip its outline away"


PRINTED = {
    "/#/overview": ".halls .ai",
    "/#/alarms?show=standing": "tbody tr:visible",
    "/#/efficiency": ".figures tbody tr",
    "/#/power": ".ways tbody tr",
    "/#/gpus": ".fleet tbody tr",
}
PAPER_PX = 703
"""Between the margins of A4, 210 − 2 · 12 mm at 96 px an inch."""
CUT = """() => {
  const cut = [];
  for (const node of document.querySelectorAll("main *, main")) {
    const style = getComputedStyle(node);
    if (!node.checkVisibility() || node.closest("svg, .unseen") || node.clientWidth === 0) continue;
    const hides = style.overflowX !== "visible" || style.overflowY !== "visible";
    if (hides && (node.scrollWidth > node.clientWidth + 1 || node.scrollHeight > node.clientHeight + 1))
      cut.push(node.outerHTML.slice(0, 100));
    if (node.getBoundingClientRect().right > innerWidth + 1) cut.push("wide: " + node.outerHTML.slice(0, 100));
  }
  return cut;
}"""


def paper(seen: Watched) -> None:
    """What has to hold of a page on paper."""
    page = seen.page
    page.set_viewport_size({"width": PAPER_PX, "height": 1000})
    page.emulate_media(media="print")
    for hidden in (".nav", "#theme", "#operator", "main select", "main button:not(.plain, .rack, .cdu)"):
        expect(page.locator(hidden).locator("visible=true")).to_have_count(0)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('main h1')).color") == "rgb(0, 0, 0)"
    assert page.evaluate(FAINT) == []
    assert page.evaluate(CUT) == []
    pages = len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4", prefer_css_page_size=True)))
    tall = page.evaluate("document.documentElement.scrollHeight")
    # What flows over a sheet goes on on the next one; a box that scrolls would have left the rest out.
    assert pages >= tall // 1100


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("path", PRINTED)
def test_on_paper_it_is_black_on_white_and_whole(console: Open, theme: str, path: str) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    for i in range(30):
        hall.raise_alarm(f"limit-{i}", asset="H1-A02", title=f"Supply temperature {i} over its limit")
    seen = console(hall, path, color_scheme=theme)
    expect(seen.page.locator(PRINTED[path]).first).to_be_visible()
    paper(seen)


def test_it_prints(console: Open) -> None:
    hall = StandIn()
    hall.leak("H1-A03")
    seen = console(hall)
    seen.page.emulate_media(media="print")
    expect(seen.page.locator(".nav")).to_be_hidden()
    expect(seen.page.locator(".side .alarm")).to_be_visible()
    expect(seen.page.locator(".side").get_by_role("button", name=re.compile("^Acknowledge"))).to_be_hidden()


# -- safety ------------------------------------------------------------------------------------------------------------

EVIL = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>"\'`${window.pwned=1}'


def test_what_the_bus_says_stays_text(console: Open) -> None:
    hall = StandIn(4, 1)
    hall.racks["demo/H1-A01"] |= {"name": EVIL, "feeds": [EVIL], "position": None, "hall": EVIL, "row": EVIL}
    hall.cdus["demo/H1-CDU-1"]["name"] = EVIL
    hall.halls[0] |= {"hall": EVIL, "rows": [hall.halls[0]["rows"][0] | {"row": EVIL}]}
    hall.reasons = {EVIL: 3}
    hall.warnings = [EVIL]
    evil_id = EVIL.replace("/", "")  # ids have no slash

    hall.leak("H1-A02")
    hall.raise_alarm(
        evil_id,
        **{
            **dict.fromkeys(("title", "summary", "where", "asset_name", "priority_word", "cannot_tell", "rule"), EVIL),
            "asset": "H1-A01",
            "priority": 1,
            "evidence": [{"what": EVIL, "shows": EVIL, "bearing": EVIL, "point": 12}],
            "check_first": [EVIL],
            "rationale": {"cause": EVIL, "consequence": EVIL, "action": [EVIL], "respond_within_min": 1},
            "history": [
                transition(evil_id, 1, datetime.now(UTC), EVIL, EVIL, EVIL, 1, by=EVIL, comment=EVIL, why=EVIL)
            ],
        },
    )
    seen = console(hall, operator="Ada")
    page = seen.page
    expect(page.locator(".side .alarm", has_text=EVIL).first).to_be_visible()
    expect(page.get_by_role("heading", name=EVIL, exact=True).first).to_be_visible()
    expect(seen.tile("demo/H1-CDU-1")).to_contain_text(EVIL)
    seen.tile("demo/H1-A01").click()
    seen.tile("demo/H1-A01").hover()
    expect(page.locator(".hover h3")).to_have_text(EVIL)
    hall.acknowledge(evil_id, EVIL, EVIL)
    page.locator(".side .alarm", has_text=EVIL).first.locator(".what").click()
    expect(page.locator(".below .log")).to_contain_text(EVIL)
    hall.raise_alarm(evil_id, confidence=0.5)
    expect(page.locator(".below > .card").nth(1)).to_contain_text("confidence 0.50")
    expect(page.locator(".below section", has_text="Why it matters").locator("p")).to_have_count(3)
    page.get_by_role("link", name="Alarms").click()
    page.locator("tbody tr", has_text=EVIL).first.click()
    expect(page.locator(".side .drawer h2")).to_have_text(EVIL)
    page.get_by_role("link", name="Data quality").click()
    expect(page.locator("main")).to_contain_text(EVIL)
    page.wait_for_timeout(100)
    assert page.evaluate("window.pwned") is None
    assert page.locator("img, main script, aside script").count() == 0


def test_the_policy_holds_even_against_ourselves(console: Open) -> None:
    seen = console()
    blocked = seen.page.evaluate(
        "() => { try { document.body.innerHTML = '<b>x</b>'; return false } catch { return true } }"
    )
    assert blocked, "no string becomes markup here, whoever writes it"
    assert "unsafe" not in POLICY
    seen.said.clear()


class Tags(HTMLParser):
    """All tags of a page with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_asks_for_nothing_from_outside_and_nothing_inline() -> None:
    page = Tags()
    page.feed((PAGES / "index.html").read_text(encoding="utf-8"))
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on")], (tag, attributes)
        assert tag != "style" and (tag != "script" or attributes.get("src"))
        for name in ("src", "href"):
            address = attributes.get(name) or ""
            if address.startswith("#") or not address:
                continue
            assert (PAGES / address.removeprefix("/console/")).is_file(), address
    for file in PAGES.iterdir():
        text = file.read_text(encoding="utf-8")
        assert "innerHTML" not in text and "eval(" not in text, file.name
        assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text), file.name


def test_every_view_and_key_stands_in_its_docs() -> None:
    told = (PAGES.parents[2] / "docs" / "console.md").read_text(encoding="utf-8")
    frame, app, keys = ((PAGES / name).read_text(encoding="utf-8") for name in ("frame.js", "app.js", "keys.js"))
    pages = re.findall(r'^  \["(\w+)", "([\w ]+)"\],$', frame[: frame.index("const WITHIN")], re.MULTILINE)
    named = [(page, name) for page, name in pages if not page.isdigit()]
    assert len(named) == 10
    for page, name in named:
        assert f"| {name} | `#/{'' if page == 'hall' else page}" in told, name
    for page in re.findall(r"^  (\w+): async \(\) => new", app, re.MULTILINE):
        assert f"`#/{page}" in told, page
    for key in re.findall(r'^  \["([A-Z/?]|Esc|Space|Enter)",', keys, re.MULTILINE):
        assert re.search(rf"^\|[^|]*(?<!\w){re.escape(key)}(?!\w)[^|]*\|", told, re.MULTILINE), key


def fetched(seen: Watched) -> set[str]:
    """The console's own files that a page asked for."""
    return {url.rsplit("/", 1)[1] for url in seen.asked if "/console/" in url} | {"index.html", "icon.svg"}


def test_everything_fits_the_first_paint(console: Open) -> None:
    seen = console()
    # The service compresses them so (test_api.py holds that).
    assert sum(len(gzip.compress((PAGES / name).read_bytes())) for name in fetched(seen)) <= FIRST_PAINT_BYTES
    assert not fetched(seen) & LATER


@pytest.mark.parametrize("page", ["power", "gpus", "efficiency"])
def test_a_page_of_a_large_plant_fits_its_first_paint(console: Open, page: str) -> None:
    """112 racks with 8,064 GPUs: files and answers together, as they come over the wire."""
    hall = StandIn(112, 8)
    seen = console(hall, f"/#/{page}")
    expect(seen.page.locator("main tbody tr").first).to_be_visible()
    files = sum(len(gzip.compress((PAGES / name).read_bytes())) for name in fetched(seen))
    answers = {url for url in seen.asked if "/api/v1/" in url and "/stream" not in url and "/what-if" not in url}
    data = sum(len(gzip.compress(seen.page.request.get(url).body(), 3)) for url in answers)
    assert files + data <= PAGE_BYTES


# -- data quality ------------------------------------------------------------------------------------------------------


def test_data_quality_tells_what_became_of_everything(console: Open) -> None:
    hall = StandIn()
    hall.set("demo/H1-A02", stale=True)
    seen = console(hall, "/#/quality")
    main = seen.page.locator("main")
    bms = main.locator(".card", has_text="bms · dsx, gpu")
    expect(bms.locator(".sum").first).to_contain_text(
        "4,791 received= 4,742 stored+ 40 duplicate+ 4 rejected+ 5 pending"
    )
    expect(bms).to_contain_text("gpu80 received= 80 stored+ 0 duplicate")
    expect(bms).to_contain_text("Last minute: lag 400 ms (99 of 100 within 1.2 s, at most 3.0 s); durable after 12 ms")
    expect(bms).to_contain_text("Balanced, from 4,711 messages.")
    expect(bms).to_contain_text("Malformed payload3")
    expect(bms).to_contain_text("Value implausible2")
    bms.get_by_text("Last rejects").click()
    expect(bms.locator("li").first).to_contain_text("Time ahead: 2099")
    expect(bms.locator("li").nth(1)).to_contain_text('{"value": oops')
    seen.hall.warnings = ["The store was damaged: 3 readings of 21:33 are lost."]
    expect(main.locator(".warnings")).to_contain_text("3 readings of 21:33 are lost")
    expect(main.locator(".card", has_text="gpus")).to_contain_text("Connection refused7")
    expect(main.locator(".card", has_text="Stale racks")).to_contain_text("H1-A02.")
    expect(main).to_contain_text("84 of 96 points fresh (87.5 %)")


def test_data_quality_tells_what_keeps_readings_from_being_kept(console: Open) -> None:
    hall = StandIn()
    seen = console(hall, "/#/quality")
    store = seen.page.locator("main .card", has=seen.page.get_by_role("heading", name="Store"))
    expect(seen.page.locator("main .card", has_text="bms")).to_be_visible()
    expect(store).to_be_hidden()
    since = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    hall.kept = {"trouble": "the disk is full. Free some space on it", "trouble_since": since, "backlog": None}
    expect(store).to_contain_text("Nothing is acknowledged for 5 min: the disk is full. Free some space on it")
    hall.kept = {"trouble": None, "trouble_since": None, "backlog": BACKLOG}
    expect(store).to_contain_text("influx: it does not answer.")
    expect(store).to_contain_text("Waiting for the server12,000 readings")
    expect(store).to_contain_text("Spool850 MB of 1,000 MB (85 %)")
    expect(store).to_contain_text("Oldest waiting7 min")
    expect(store).to_contain_text("Dead letters: Type conflict2")


# -- words -------------------------------------------------------------------------------------------------------------


def test_numbers_ages_and_names_are_written_as_people_write_them(console: Open) -> None:
    seen = console()
    written = seen.page.evaluate(
        """async () => {
          const f = await import("/console/format.js"), n = await import("/console/names.js");
          return {
            numbers: [null, NaN, 0, -0.04, 71, 81.23, 1204.4, -0.9].map((v) => f.number(v)),
            ages: [0.31, 12, 99, 100, 3600, 7200, 400000].map(f.age),
            shares: [[1230, 1234], [1234, 1234], [0, 0]].map(([part, whole]) => f.share(part, whole)),
            names: ["RackLiquidFlow", "Secondary LiquidFlow", "H1-CDU-1: Pump1 PumpSpeed"].map(n.plain),
            limits: [41, 2460, 7200].map((s) => n.timeToLimit({kind: "leak_suspected", time_to_limit_s: s})),
          };
        }"""
    )
    assert written == {
        "numbers": ["—", "—", "0", "0.0", "71", "81.2", "1,204", "−0.9"],
        "ages": ["0.3 s", "12 s", "99 s", "2 min", "60 min", "2 h", "4 d"],
        "shares": ["99.6\u00a0%", "100\u00a0%", "—"],
        "names": ["Rack liquid flow", "Secondary liquid flow", "H1-CDU-1: Pump1 pump speed"],
        "limits": [
            "Low-level trip in about 41 s",
            "Low-level trip in about 41 min",
            "Low-level trip in about 2 h",
        ],
    }

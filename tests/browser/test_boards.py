"""Every board in a real browser, out of a real Grafana over a real InfluxDB that a simulated hall has filled: no panel
is empty, none shows an error. With DCIM_SHOTS, a folder, a picture of each is left there to be looked at."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from dashboards.grafana.board import Board
from dashboards.grafana.build import BOARDS, bodies
from dashboards.grafana.sources import Places
from dcim.core.times import now
from tests import grafana, influx_real
from tests.boards import Filled, fill

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]
PATIENCE_MS = 120_000
"""Spent by a failure alone."""
GRID_PX = 38
"""Height of a row of Grafana's grid, with the gap below it."""
LOADING = ".panel-loading, [aria-label='Panel loading bar']"
ERRORS = "[aria-label='Panel header error'], [data-testid='data-testid Panel status error']"
"""As 9.4 marks a panel that waits or could not be asked, and as later releases do."""
UNNAMED = re.compile(r"^[\w.]+ \{\w+: ")
"""A legend that nobody has given a name."""
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture(scope="module")
def times() -> Iterator[str]:
    """The range of time in which there is something, as Grafana's address has it."""
    if not grafana.REAL_URL or not influx_real.URL:
        pytest.skip(f"{grafana.WHY_NOT}, and DCIM_TEST_INFLUX_URL one over which")
    span = timedelta(minutes=20)
    buckets = influx_real.Buckets()
    # Apart, for in this thread the browser's event loop runs.
    with ThreadPoolExecutor(1) as apart:
        filled = apart.submit(fill, (now() - span - timedelta(seconds=60)).replace(microsecond=0), span).result()
        apart.submit(buckets.__enter__).result()
        try:
            apart.submit(bring, buckets, filled).result()
            yield "&".join(
                f"{key}={round(at.timestamp() * 1000)}" for key, at in (("from", filled.start), ("to", filled.end))
            )
        finally:
            apart.submit(buckets.__exit__).result()


def bring(buckets: influx_real.Buckets, filled: Filled) -> None:
    """What the hall has said into InfluxDB, and data sources and boards into Grafana."""
    for content, suffix in ((filled.readings, ""), (filled.minutes, "_1m")):
        told = content.splitlines(keepends=True)
        for at in range(0, len(told), 20_000):
            buckets.write("".join(told[at : at + 20_000]), suffix)
    service = os.environ.get("DCIM_TEST_SERVICE_URL", "http://127.0.0.1:8080")
    grafana.bring(Places(buckets.place.url, buckets.name, service), buckets.place.token())


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_no_panel_is_empty_or_in_error(board: Board, times: str, chromium: Browser) -> None:
    high = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in bodies()[board.uid]["panels"])
    page = chromium.new_page(
        viewport={"width": 1600, "height": 40 + high * GRID_PX},  # what is out of sight is not asked for
        extra_http_headers={"Authorization": f"Bearer {grafana.REAL_TOKEN}"},
    )
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{grafana.REAL_URL}/d/{board.uid}?{times}&kiosk")
    for panel in board.panels:
        page.get_by_text(panel.title, exact=True).first.wait_for()
    page.wait_for_load_state("networkidle")
    expect(page.locator(LOADING)).to_have_count(0, timeout=PATIENCE_MS)
    page.evaluate(DRAWN)
    folder = os.environ.get("DCIM_SHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{board.uid}.png"))
    assert page.get_by_text("No data", exact=True).count() == 0
    assert page.get_by_text("Panel plugin not found").count() == 0
    assert page.locator(ERRORS).count() == 0
    assert page.get_by_text(UNNAMED).all_inner_texts() == []
    page.close()

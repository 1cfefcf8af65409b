"""Every board in a real browser, out of a real Grafana over a real InfluxDB that a simulated hall has filled: no panel
is empty, none shows an error. With DCIM_SHOTS, a folder, a picture of each is left there to be looked at."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from dashboards.grafana.board import Board
from dashboards.grafana.build import BOARDS
from dashboards.grafana.sources import Places
from dcim.core.times import now
from tests import grafana, influx_real
from tests.boards import fill

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def times() -> Iterator[str]:
    """The range of time in which there is something, as Grafana's address has it."""
    if not grafana.REAL_URL or not influx_real.URL:
        pytest.skip(f"{grafana.WHY_NOT}, and DCIM_TEST_INFLUX_URL one over which")
    span = timedelta(minutes=20)
    filled = fill((now() - span - timedelta(seconds=60)).replace(microsecond=0), span)
    with influx_real.Buckets() as buckets:
        for content, suffix in ((filled.readings, ""), (filled.minutes, "_1m")):
            told = content.splitlines(keepends=True)
            for at in range(0, len(told), 20_000):
                buckets.write("".join(told[at : at + 20_000]), suffix)
        service = os.environ.get("DCIM_TEST_SERVICE_URL", "http://127.0.0.1:8080")
        grafana.bring(Places(buckets.place.url, buckets.name, service), buckets.place.token())
        yield "&".join(
            f"{key}={round(at.timestamp() * 1000)}" for key, at in (("from", filled.start), ("to", filled.end))
        )


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_no_panel_is_empty_or_in_error(board: Board, times: str, chromium: Browser) -> None:
    page = chromium.new_page(
        viewport={"width": 1600, "height": 2600}, extra_http_headers={"Authorization": f"Bearer {grafana.REAL_TOKEN}"}
    )
    page.goto(f"{grafana.REAL_URL}/d/{board.uid}?{times}&kiosk", timeout=PATIENCE_MS)
    page.get_by_text(board.panels[0].title, exact=True).first.wait_for(timeout=PATIENCE_MS)
    page.wait_for_load_state("networkidle", timeout=PATIENCE_MS)
    page.wait_for_timeout(3_000)  # panels are drawn after their answers
    folder = os.environ.get("DCIM_SHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{board.uid}.png"))
    assert page.get_by_text("No data", exact=True).count() == 0
    assert page.locator("[aria-label='Panel header error'], .panel-info-corner--error").count() == 0
    page.close()

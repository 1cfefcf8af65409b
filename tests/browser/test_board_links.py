"""Where Grafana's boards lead: each address of theirs into the console opens the page that it means."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from dashboards.grafana.board import Board
from dashboards.grafana.build import BOARDS, bodies
from tests.browser.conftest import Open
from tests.browser.stand_in import StandIn

HALL = StandIn(racks=8)
CHOSEN = {
    "console": "",
    "rack": "H1-A02",
    "rack_site": "demo",
    "cdu": next(iter(HALL.cdus)).partition("/")[2],
    "cdu_site": "demo",
    "first_site": "demo",
    "first_hall": "Hall 1",
}
"""What a person has chosen above a board, as Grafana puts it into an address."""
SAYS = {
    "dcim-site": "Overview",
    "dcim-hall": "Hall 1",
    "dcim-rack": "H1-A02",
    "dcim-cdu": CHOSEN["cdu"],
    "dcim-gpus": "Hall 1",
    "dcim-power": "Hall 1",
    "dcim-alarms": "Alarms",
    "dcim-capacity": "Capacity",
    "dcim-data": "Data quality",
}
"""The board → what stands at the head of the page that it leads to."""


def filled(address: str) -> str:
    """An address of a board with the choices in it."""
    return re.sub(
        r"\$\{(\w+)(:percentencode)?\}",
        lambda found: CHOSEN[found[1]].replace(" ", "%20") if found[2] else CHOSEN[found[1]],
        address,
    )


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_a_board_s_link_opens_the_page_that_it_means(board: Board, console: Open) -> None:
    (link,) = [one for one in bodies()[board.uid]["links"] if one["title"] == "Console"]
    page = console(HALL, filled(link["url"]), refused=404).page  # the stand-in answers no questions about capacity
    expect(page.get_by_role("heading", name=SAYS[board.uid]).first).to_be_visible()
    expect(page.get_by_text("There is no such page.")).to_have_count(0)
    expect(page.locator(".blank:visible")).to_have_count(0)


def test_an_alarm_in_a_table_opens_in_the_console(console: Open) -> None:
    hall = StandIn()
    alarm = hall.leak()
    (address,) = re.findall(r'"url": "(\$\{console\}/#/alarms/[^"]+)"', str(bodies()["dcim-alarms"]).replace("'", '"'))
    page = console(hall, filled(address.replace("${__data.fields.id}", alarm["id"]))).page
    expect(page.get_by_role("heading", name=alarm["title"]).first).to_be_visible()

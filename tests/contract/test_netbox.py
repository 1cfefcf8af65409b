"""NetBox: what is read of it, in pages, and what a server that is none, or misbehaves, comes to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from collectors.netbox import ANSWER_BYTES_MAX, THINGS_MAX, Fields, Imported, Netbox
from dcim.app.cli import app
from dcim.core.assets import AssetKey
from dcim.core.claims import merge
from dcim.core.errors import DcimError, Permanent, Transient
from dcim.core.inventory import Cooling, Origin, Place, ThingKind
from tests.netbox import TOKEN, StandIn, ref, site, standing_in

FIELDS = Fields("rated_kw", "spot", "bus_id")


def read(box: StandIn, token: str = TOKEN, slug: str = "titan") -> Imported:
    server = Netbox(box.url, token)
    try:
        return server.read({"titan": slug}, FIELDS)
    finally:
        server.close()


def test_everything_is_read_page_by_page() -> None:
    with standing_in() as box:
        found = read(box)
        inventory = merge(found.claims)
    assert inventory.sites["titan"].zone == "Europe/Oslo" and inventory.sites["titan"].region == "North"
    assert Place("titan", "Hall 1", "Row A") in inventory.rows
    rack = inventory.racks[AssetKey("titan", "Pod1-r1")]
    assert (rack.name, rack.hall, rack.row, rack.position) == ("r1", "Hall 1", "Row A", 3)
    # 1 to 8, 10 once though a switch is at either face, and 11.5 to 12.5; what NetBox leaves out of use is no use.
    assert (rack.height_u, rack.used_u, rack.rated_power_kw) == (48, 10, 132.0)
    other = inventory.racks[AssetKey("titan", "r2")]
    assert (other.position, other.rated_power_kw) == (None, None), "what is no number is not said"
    feed = inventory.feeds[AssetKey("titan", "r1-a")]
    assert (feed.side, feed.rated_a, feed.volts, feed.phases) == ("A", 250.0, 415.0, 3)
    assert feed.continuous_share == 0.8 and feed.serves == ("Pod1-r1",)
    assert inventory.feeds[AssetKey("titan", "panel-1")].serves == ("r1-a", "r1-b")
    assert inventory.cooling[AssetKey("titan", "cdu-1")].medium is Cooling.LIQUID
    assert found.remarks == ["location 'un/wanted' of titan is left out: its name is too long, or has a / in it"]
    assert inventory.origin(ThingKind.RACK, "titan", "Pod1-r1", "rated_power_kw") is Origin.NETBOX
    assert inventory.conflicts == ()
    assert not any("elsewhere" in asked for asked in box.asked), "the token goes nowhere else"


def test_feeds_that_share_a_name_are_told_apart_by_their_panel() -> None:
    lists = site()
    lists["dcim/power-panels/"].append({"id": 51, "name": "panel-2", "location": None})
    lists["dcim/power-feeds/"].append({**lists["dcim/power-feeds/"][0], "id": 69, "power_panel": ref(51, "panel-2")})
    with standing_in(lists) as box:
        feeds = merge(read(box).claims).feeds
    assert sorted(key.id for key in feeds) == ["panel-1", "panel-1/r1-a", "panel-2", "panel-2/r1-a", "r1-b"]


@pytest.mark.parametrize(
    ("how", "family", "words"),
    [
        ({"status": 500}, Transient, "answers 500"),
        ({"status": 429}, Transient, "answers 429"),
        ({"status": 404}, Permanent, "answers 404"),
        ({"status": 301}, Permanent, "answers 301"),
        ({"body": b"<html>"}, Permanent, "no NetBox's"),
        ({"body": b"[" * 100_000}, Permanent, "no NetBox's"),
        ({"body": b'{"count": 1, "results": [{"id": "x"}]}'}, Permanent, "no NetBox's"),
        ({"body": b'{"count": 5, "results": []}'}, Transient, "changed while it was read"),
        ({"body": b'{"count": %d, "results": []}' % (THINGS_MAX + 1)}, Permanent, "are the most"),
        ({"body": b" " * (ANSWER_BYTES_MAX + 1)}, Permanent, "bytes"),
        ({"shrinks": True}, Transient, "changed while it was read"),
    ],
)
def test_a_server_that_misbehaves(how: dict[str, Any], family: type[DcimError], words: str) -> None:
    with standing_in(**how) as box, pytest.raises(family, match=words):
        read(box)


def test_a_token_that_is_refused_and_a_site_that_is_none() -> None:
    with standing_in() as box:
        with pytest.raises(Permanent, match="refuses the token"):
            read(box, token="wrong")
        with pytest.raises(Permanent, match="no site with the slug oslo"):
            read(box, slug="oslo")
    with pytest.raises(Transient):
        read(box)


def test_locations_that_lie_within_each_other_end() -> None:
    lists = site()
    lists["dcim/locations/"] = [
        {"id": 10, "name": "a", "parent": ref(11, "b")},
        {"id": 11, "name": "b", "parent": ref(10, "a")},
    ]
    with standing_in(lists) as box:
        assert any("lies within itself" in remark for remark in read(box).remarks)


@pytest.mark.slow
def test_import_export_and_diff(tmp_path: Path) -> None:
    token, file, config = tmp_path / "token", tmp_path / "netbox.toml", tmp_path / "site.toml"
    token.write_text(TOKEN)
    token.chmod(0o600)
    run = CliRunner()
    with standing_in() as box:
        config.write_text(
            f'[inventory]\nimported = "{file}"\n[inventory.netbox]\nurl = "{box.url}"\ntoken_file = "{token}"\n'
            'rated_power_field = "rated_kw"\nposition_field = "spot"\nid_field = "bus_id"\n'
            'sites = { titan = "titan" }\n'
            '[[inventory.racks]]\nsite = "titan"\nid = "Pod1-r1"\nrated_power_kw = 120\n'
        )
        tried = run.invoke(app, ["inventory", "import", "--config", str(config), "--dry-run"])
        assert tried.exit_code == 0 and "+ rack titan/Pod1-r1" in tried.output and not file.exists(), tried.output
        done = run.invoke(app, ["inventory", "import", "--config", str(config)])
        assert done.exit_code == 0 and f"written to {file}" in done.output and "left out" in done.output
        before = file.read_text()
        box.lists["dcim/racks/"][0]["custom_fields"]["rated_kw"] = 140
        again = run.invoke(app, ["inventory", "import", "--config", str(config)])
        assert "~ rack titan/Pod1-r1: rated_power_kw 132 → 140" in again.output
    exported = run.invoke(app, ["inventory", "export", "--config", str(config)])
    assert exported.exit_code == 0
    assert "rated_power_kw = 120.0  # toml" in exported.stdout and "height_u = 48  # netbox" in exported.stdout
    assert "conflict: they differ on rated power kw of rack Pod1-r1" in exported.stderr
    old = tmp_path / "old.toml"
    old.write_text(before)
    differ = run.invoke(app, ["inventory", "diff", str(old), str(file)])
    assert differ.exit_code == 1 and differ.output == "~ rack titan/Pod1-r1: rated_power_kw 132 → 140\n"
    assert run.invoke(app, ["inventory", "diff", str(old), str(old)]).exit_code == 0

"""The inventory while the service runs: files that change are taken in, NetBox is read again, what is wrong changes
nothing and is told with its line."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from collectors.netbox import Fields, Netbox
from dcim.app.followed import Followed
from dcim.app.inventory_file import load
from dcim.app.inventory_settings import InventorySettings
from dcim.app.netbox_reading import LINES_MAX, NetboxReading, cut
from dcim.core.errors import Permanent, Transient
from dcim.core.inventory import Origin
from dcim.core.ports import Trouble
from tests.contract.inside import Inside, inside, rack_metadata, rack_value
from tests.contract.test_watch import NOW
from tests.netbox import TOKEN, standing_in

RACK = '[[racks]]\nsite = "titan"\nid = "{id}"\nhall = "Hall 2"\nrow = "{row}"\nposition = 7\nliquid_share = {share}\n'


def write(file: Path, text: str, changed: int) -> None:
    """Its time of change is given, so that two writes within one tick of the disk's clock are two."""
    file.write_text(text)
    os.utime(file, ns=(changed, changed))


def test_a_file_that_is_wrong_is_told_with_the_line_of_each_mistake(tmp_path: Path) -> None:
    file = tmp_path / "inventory.toml"
    right, wrong = RACK.format(id="R1", row="C", share=0.9), RACK.format(id="R2", row="C", share=9)
    file.write_text(f"{right}\n{wrong}tdp = 3\n")
    with pytest.raises(Permanent) as told:
        load(file, Origin.TOML)
    assert str(told.value).splitlines() == [
        f"{file}:15: racks[1].liquid_share Input should be less than or equal to 1",
        f"{file}:16: racks[1].tdp Extra inputs are not permitted",
    ]
    file.write_text('[[racks]]\nsite = "titan\n')
    with pytest.raises(Permanent, match="at line 2"):
        load(file, Origin.TOML)


def test_several_files_are_taken_in_together_and_a_wrong_one_changes_nothing(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    fails, taken = list[bool](), list[str]()

    def read() -> str:
        text = one.read_text() + (other.read_text() if other.exists() else "")
        if "wrong" in text:
            raise Permanent("line 1 is wrong")
        return text

    async def adopt(text: str) -> None:
        if fails:
            raise Transient("not now")
        taken.append(text)

    async def story() -> None:
        write(one, "a", 1)
        kept = Followed("file", [one, other], read)
        assert not await kept.look(adopt)
        write(other, "b", 2)
        assert await kept.look(adopt)
        write(one, "wrong", 3)
        assert not await kept.look(adopt)
        assert kept.failing == "line 1 is wrong"
        other.unlink()
        assert not await kept.look(adopt)
        write(one, "c", 4)
        fails.append(True)
        assert not await kept.look(adopt), "what may pass by itself is tried again"
        fails.clear()
        assert await kept.look(adopt)
        assert (taken, kept.failing) == (["ab", "c"], "")

    asyncio.run(story())


@pytest.mark.slow
def test_the_service_takes_a_changed_inventory_in_and_answers_follow(tmp_path: Path) -> None:
    file = tmp_path / "inventory.toml"
    file.write_text(RACK.format(id="R2", row="D", share=0.9))

    async def scenario(hall: Inside) -> None:
        await hall.send(
            rack_metadata("RackPower", rack="R2", engUnit="kW"), rack_value("RackPower", 60, rack="R2"),
            rack_metadata("RackPower", engUnit="kW"), rack_value("RackPower", 40),
        )  # fmt: skip

        def rows_are(*rows: str) -> Callable[[], Awaitable[bool]]:
            async def so() -> bool:
                found = [one["scope"] for one in (await hall.get("/api/v1/scopes"))["items"] if one["kind"] == "row"]
                return found == [f"row/titan/Hall 2/{row}" for row in rows]

            return so

        def map_has(row: str) -> Callable[[], Awaitable[bool]]:
            async def so() -> bool:
                return any(one["row"] == row for one in (await hall.get("/api/v1/hall"))["racks"].values())

            return so

        await hall.until(rows_are("C", "D"))
        await hall.until(map_has("D"))
        old = "/api/v1/utilization?scope=row/titan/Hall%202/D&resource=space"
        assert (await hall.client.get(old)).status_code == 200
        before = await hall.client.get("/api/v1/inventory?kind=rack")
        file.write_text(RACK.format(id="R2", row="E", share=0.8) + "broken\n")

        async def told() -> list[str]:
            return [line for line in (await hall.get("/readyz"))["warnings"] if str(file) in line]

        (line,) = await hall.until(told)
        assert line.startswith("An inventory file is wrong; the inventory before it stays in force")
        assert "line 8" in line
        assert await rows_are("C", "D")()
        file.write_text(RACK.format(id="R2", row="E", share=0.8) + RACK.format(id="R1", row="D", share=0.7))
        await hall.until(rows_are("C", "E"))
        assert await told() == []
        after = await hall.client.get("/api/v1/inventory?kind=rack", headers={"If-None-Match": before.headers["ETag"]})
        assert after.status_code == 200, "nobody is told that nothing has changed"
        assert [one["figures"]["liquid_share"]["value"] for one in after.json()["items"]] == [0.7, 0.8]
        # [[assets]] of the settings say row C of R1: both are listed, and nothing is settled in silence.
        conflicts = (await hall.get("/api/v1/inventory/conflicts"))["items"]
        (conflict,) = [one for one in conflicts if one["figure"] == "row"]
        assert {one["value"] for one in conflict["said"]} == {"C", "D"}
        await hall.until(map_has("E"))

        async def old_is_gone() -> bool:
            return (await hall.client.get(old)).status_code == 404

        assert await hall.until(old_is_gone)

    inside(scenario, inventory={"file": str(file)})


@pytest.mark.slow
def test_the_service_reads_netbox_by_itself_and_says_when_it_cannot(tmp_path: Path) -> None:
    token, file = tmp_path / "token", tmp_path / "netbox.toml"
    token.write_text(TOKEN)
    token.chmod(0o600)

    with standing_in() as box:
        told = {"url": box.url, "token_file": str(token), "sites": {"titan": "titan"}, "every_min": 1}

        async def scenario(hall: Inside) -> None:
            async def racks() -> list[str]:
                return [one["id"] for one in (await hall.get("/api/v1/inventory?kind=rack"))["items"]]

            async def known() -> bool:
                return await racks() == ["r1", "r2", "spare"]

            assert await hall.until(known), "there was no file before"
            assert (await hall.get("/api/v1/inventory?kind=rack"))["items"][0]["figures"]["height_u"] == {
                "value": 48, "origin": "netbox",
            }  # fmt: skip
            said = file.read_text()
            file.unlink()

            async def gone() -> list[str]:
                return [line for line in (await hall.get("/readyz"))["warnings"] if "the file is gone" in line]

            assert await hall.until(gone)
            assert len(await racks()) == 3, "a file that is gone takes nothing away"
            file.write_text(said)

        inside(scenario, inventory={"imported": str(file), "netbox": told})
        assert "[[racks]]" in file.read_text()
        box.status = 500

        async def again(hall: Inside) -> None:
            async def warned() -> list[str]:
                return [line for line in (await hall.get("/readyz"))["warnings"] if line.startswith("NetBox was not")]

            (line,) = await hall.until(warned)
            assert "answers 500" in line and "what it said before stays in force" in line
            assert len((await hall.get("/api/v1/inventory?kind=rack"))["items"]) == 3

        inside(again, inventory={"imported": str(file), "netbox": told})


def test_a_reading_that_fails_says_since_when_and_one_that_comes_clears_it() -> None:
    outcomes = iter([Transient("away"), Permanent("refused"), ["1 changes"], Transient("away again")])
    times = iter([NOW, NOW + timedelta(minutes=9)])

    def take_in(stopped: Callable[[], bool]) -> list[str]:
        assert not stopped()
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def story() -> None:
        reading = NetboxReading(take_in, timedelta(hours=1), lambda: next(times))
        assert not await reading.read()
        assert not await reading.read()
        assert reading.trouble == Trouble(NOW, "refused")
        assert await reading.read()
        assert reading.trouble is None
        assert not await reading.read()
        assert reading.trouble == Trouble(NOW + timedelta(minutes=9), "away again")

    asyncio.run(story())


def test_a_reading_that_nobody_waits_for_ends_with_its_page() -> None:
    with standing_in() as box:
        server = Netbox(box.url, TOKEN, stopped=lambda: len(box.asked) >= 2)
        with pytest.raises(Transient, match="given up"):
            server.read({"titan": "titan"}, Fields())
        server.close()
    assert len(box.asked) == 2


def test_lines_for_a_log_are_bounded() -> None:
    assert cut(["a"] * LINES_MAX) == ["a"] * LINES_MAX
    assert cut(["a"] * (LINES_MAX + 3)) == [*["a"] * LINES_MAX, "and 3 more"]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"netbox": {"url": "http://n", "token_file": "t", "sites": {"a": "a"}, "every_min": 5}}, "into no file"),
        ({"file": "a", "imported": "a"}, "Name two"),
    ],
)
def test_files_that_cannot_be_so(told: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        InventorySettings.model_validate(told)

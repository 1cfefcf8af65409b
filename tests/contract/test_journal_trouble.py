"""A journal that takes nothing, under the whole service: it is said, nothing that was found is lost, and what was found
meanwhile is an alarm as soon as the journal takes it, whether a device says it again or not."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from alerts import journal as journals
from tests.contract.inside import LEAK_WORDS, Inside, inside, rack_metadata, rack_value
from tests.full_disk import small_disk


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Another process writes, and does not come to an end."""
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def impatient(connection: Any, record: object) -> None:
    """As the journal sets a connection up, but a lock is waited for a twentieth of a second only."""
    _set_up(connection, record)
    connection.execute("PRAGMA busy_timeout = 50")


_set_up = journals._set_up_sqlite


async def warned(hall: Inside, words: str) -> bool:
    """Whether the service says so."""
    return any(words in line for line in (await hall.get("/readyz"))["warnings"])


def told_once(trouble: Callable[[], AbstractContextManager[None]], file: Path, words: str) -> None:
    """A sensor says wet once, and another one that it is dry, while the journal is in trouble."""

    async def scenario(hall: Inside) -> None:
        for rack in ("R1", "R2"):
            await hall.send(rack_metadata("RackLeakDetect", rack, stateText=LEAK_WORDS))
        await hall.send(rack_value("RackLeakDetect", 1, rack="R2"))
        await hall.until(lambda: alarms(hall, "unacknowledged"))
        with trouble():
            await hall.send(rack_value("RackLeakDetect", 1, rack="R1"))
            await hall.send(rack_value("RackLeakDetect", 0, rack="R2"))
            await hall.until(lambda: warned(hall, words))
            assert await alarms(hall, "unacknowledged") == ["R2"], "nothing is shown that is not written"
            assert (await hall.get("/healthz"))["status"] == "ok"
        await hall.until(lambda: both(hall), patience_s=40)
        assert not await warned(hall, "journal does not take")
        rows = (await hall.get("/api/v1/transitions"))["items"]
        changes = [(row["asset"], row["change"]) for row in rows if row["change"] != "escalated"]
        assert sorted(changes) == [("R1", "activated"), ("R2", "activated"), ("R2", "returned")]

    async def both(hall: Inside) -> bool:
        return (await alarms(hall, "unacknowledged"), await alarms(hall, "returned")) == (["R1"], ["R2"])

    async def alarms(hall: Inside, state: str) -> list[str]:
        return [item["asset"] for item in (await hall.get(f"/api/v1/alarms?state={state}"))["items"]]

    inside(scenario, journal=f"sqlite+aiosqlite:///{file}")


@pytest.mark.slow
def test_a_locked_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "_set_up_sqlite", impatient)
    file = tmp_path / "alarms.sqlite"
    told_once(lambda: locked(file), file, "The alarms' journal does not take what was found since")


@pytest.mark.slow
def test_a_journal_on_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8) as disk:

        @contextmanager
        def full() -> Iterator[None]:
            disk.fill()
            try:
                yield
            finally:
                disk.make_room()

        told_once(full, disk.path / "alarms.sqlite", "The alarms' journal does not take what was found since")

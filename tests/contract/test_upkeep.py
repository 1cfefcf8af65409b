"""The loop of upkeep: piece after piece until there is no more, whatever fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from dcim.app.upkeep import Upkeep
from dcim.core.errors import DcimError, Permanent, Transient
from dcim.core.ports import Maintained
from dcim.core.readings import Tier

AT = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)


class Told:
    """A store whose upkeep does as it is told, one after the other, and then finds nothing to do."""

    def __init__(self, *script: Maintained | DcimError) -> None:
        self.script = list(script)
        self.asked: list[datetime] = []

    def maintain(self, at: datetime) -> Maintained:
        self.asked.append(at)
        done = self.script.pop(0) if self.script else Maintained()
        if isinstance(done, DcimError):
            raise done
        return done


def run(store: Told, pace_s: float, until: Callable[[Upkeep], bool]) -> Upkeep:
    async def scenario() -> Upkeep:
        upkeep = Upkeep(store, lambda: AT, pace_s)
        task = asyncio.create_task(upkeep.run())
        async with asyncio.timeout(15):
            while not until(upkeep):
                assert not task.done()
                await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return upkeep

    return asyncio.run(scenario())


def piece(rows: int, *, more: bool) -> Maintained:
    return Maintained({Tier.MINUTE: rows}, {Tier.RAW: 2 * rows}, timedelta(minutes=rows), more)


def test_a_round_goes_on_until_there_is_no_more() -> None:
    store = Told(piece(3, more=True), piece(2, more=True), piece(1, more=False))
    upkeep = run(store, 3600, lambda _: len(store.asked) == 3 and not store.script)
    assert store.asked == [AT] * 3
    assert upkeep.behind == timedelta(minutes=1)
    assert upkeep.dropped == {Tier.RAW: 12, Tier.MINUTE: 0, Tier.HOUR: 0}


def test_a_failure_is_told_and_tried_again() -> None:
    failures = [Transient("the disk is full", where="store"), Permanent("a part of the file is damaged")]
    store = Told(piece(1, more=True), failures[0], failures[1], piece(1, more=False))
    seen: set[str] = set()

    def over(upkeep: Upkeep) -> bool:
        seen.add(upkeep.failing)
        return len(store.asked) > 5

    upkeep = run(store, 0.01, over)
    assert "store: the disk is full" in seen
    assert upkeep.failing == ""
    assert upkeep.dropped[Tier.RAW] == 4

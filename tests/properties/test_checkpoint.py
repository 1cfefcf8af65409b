"""A start from a checkpoint is a start from all rows, wherever the checkpoint was made and wherever the start is."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.checkpoint import Kept, carry, pack, unpack
from alerts.journal import GENESIS, Recalled
from alerts.lifecycle import State, Transition
from tests.alarms import MemoryJournal
from tests.examples import examples
from tests.properties.test_alarm_engine import act, consistent, held, opened, stories

Story = list[tuple[int, tuple[object, object, object]]]


class Checkpointed(MemoryJournal):
    """Gives a start what a database would give it that has a checkpoint."""

    def __init__(self, rows: MemoryJournal, kept: list[Kept], seq: int) -> None:
        super().__init__()
        self.rows, self.running, self.noted = rows.rows, rows.running, rows.noted
        self.kept, self.seq = kept, seq

    async def recall(self) -> Recalled:
        return Recalled(len(self.rows), self.rows[self.seq :], list(self.running.values()), self.kept)


def standing(rows: list[Transition]) -> list[Transition]:
    """The rows of what has not ended, as a start reads them that has no checkpoint."""
    turns: dict[str, int] = {}
    for row in rows:
        turn = (row.before is State.NORMAL) - (row.after is State.NORMAL)
        turns[row.occurrence] = turns.get(row.occurrence, 0) + turn
    return [row for row in rows if turns[row.occurrence] > 0]


@settings(max_examples=examples(150), deadline=None)
@given(stories, st.floats(0, 1), st.floats(0, 1))
def test_a_start_from_a_checkpoint_is_a_start_from_all_rows(story: Story, first: float, second: float) -> None:
    async def run() -> None:
        journal, now = MemoryJournal(), 0
        engine = await opened(journal, 0)
        for wait, what in story:
            now += wait
            await act(engine, what, now)
        early, late = sorted(round(share * len(journal.rows)) for share in (first, second))
        # One checkpoint from the beginning, another that goes on from it; both through the bytes that are kept.
        before = unpack(pack(carry((), standing(journal.rows[:early])), GENESIS), GENESIS)
        kept = unpack(pack(carry(before, journal.rows[early:late]), GENESIS), GENESIS)
        assert kept == carry((), standing(journal.rows[:late])), "whatever is between, the same stands"
        plain, quick = await opened(journal, now), await opened(Checkpointed(journal, kept, late), now)
        assert quick._alarms == plain._alarms
        assert (quick._versions, quick._first_out) == (plain._versions, plain._first_out)
        assert {place: (group.first, group.ids) for place, group in quick._groups.items()} == {
            place: (group.first, group.ids) for place, group in plain._groups.items()
        }
        assert held(quick) == held(engine)
        consistent(quick)

    asyncio.run(run())

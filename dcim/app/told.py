"""Notices from the command line: what is in the outbox, dead news sent after all, a receiver tried out, who is on
call.

Lives here: the lines that are written. The service may be running: it shares the journal's database, and looks every
few seconds for what was taken up again. Not here: the outbox (alerts.outbox), the same over HTTP (api/notices.py)."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

from alerts import duty, notices
from alerts.calendars import fetched
from alerts.journal import SqlJournal
from alerts.outbox import LETTERS_MAX, Letter, Outcome, letters, take_up_again
from dcim.app import build
from dcim.app.settings import Settings
from dcim.core.errors import DcimError, Permanent
from dcim.core.times import now


async def listed(settings: Settings, receiver: str | None, outcome: Outcome | None, limit: int) -> list[str]:
    """The newest news of the outbox, a line or two each. Raises as the journal does."""
    async with _journal(settings) as journal:
        found = await letters(journal, receiver, outcome, None, limit)
    return [line for letter in found for line in _lines(letter)] or ["nothing"]


async def retried(settings: Settings, numbers: Sequence[int], *, everything: bool) -> list[str]:
    """Takes dead news up again: these, or all that there is. Raises as the journal does."""
    names = [receiver.name for receiver in settings.notices.receivers]
    lines: list[str] = []
    async with _journal(settings) as journal:
        before: int | None = None
        while everything:
            page = await letters(journal, None, Outcome.DEAD, before, LETTERS_MAX)
            if not page:
                break
            before = page[-1].number
            taken = await take_up_again(journal, [letter.number for letter in page], names, now())
            lines.append(f"{len(taken)} of {len(page)} will be sent again")
        if not everything:
            done = await take_up_again(journal, numbers, names, now())
            lines = [f"{number} will be sent again" for number in done]
            lines += [
                f"{number} is left: it is not dead, not there, or its receiver is gone"
                for number in numbers
                if number not in done
            ]
    return lines or ["nothing is dead"]


async def tried(settings: Settings, receiver: str, by: str) -> list[str]:
    """Sends a test to a receiver, and answers its proof. Raises Permanent for one that there is not, and as its
    notifier does."""
    found = [one for one in settings.notices.receivers if one.name == receiver]
    if not found:
        known = ", ".join(one.name for one in settings.notices.receivers) or "none"
        raise Permanent(f"there is no receiver {receiver}", where="notices.receivers", todo=f"There is: {known}.")
    carrying = build.notifier(found[0], now)
    try:
        console = build.console_of(settings)
        proof = await carrying.send(notices.trial(receiver, uuid.uuid4().hex, now(), by, console, found[0].zone))
    finally:
        await carrying.close()
    return [f"{receiver} took it: {proof}"]


async def on_call(settings: Settings) -> list[str]:
    """Who is on call by each calendar, read now; copies of before are left as they are."""
    lines: list[str] = []
    for one in settings.notices.calendars:
        watched, known = build.watched(one, None), duty.Known()
        try:
            known = duty.Known((await fetched(watched))[1], now())
        except DcimError as error:
            lines.append(f"{one.name} cannot be read: {error}")
        told = duty.on_call(watched.rota, known, now())
        lines.append(f"{one.name}: {', '.join(told.receivers)}" + (f" ({told.remark})" if told.remark else ""))
        lines += [f"  left out: {problem}" for problem in (known.calendar.problems if known.calendar else ())]
    return lines or ["no calendar: add [[notices.calendars]]"]


@asynccontextmanager
async def _journal(settings: Settings) -> AsyncIterator[SqlJournal]:
    journal = SqlJournal(settings.alarms.journal)
    await journal.open(existing=True)
    try:
        yield journal
    finally:
        await journal.close()


def _lines(letter: Letter) -> Iterator[str]:
    item = letter.item
    where = f"{item.site}/{item.asset}" if item.site else "this service"
    state = letter.outcome.value if letter.outcome is not Outcome.DEAD else f"dead, {letter.state}"
    yield (
        f"{letter.number}  {letter.made:%Y-%m-%d %H:%M:%S} UTC  {letter.receiver}  {item.priority.word}  "
        f"{item.news.value}  {where}  {item.title}: {state}, {letter.tries} tries"
    )
    if letter.said:
        yield f"    {notices.clean(letter.said)}"

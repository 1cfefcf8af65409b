"""Alarms as annotations in Grafana: opened when an alarm begins, closed when it is over.

Best effort, and never the truth: what Grafana does not take is tried again for a while, then let go and counted. The
alarm engine knows nothing of it; the journal is read at this loop's own pace. Annotations carry the alarm's id as a
tag, so that after a restart the one to be closed is found again.

Lives here: which transitions open and close, bounds, what is tried again. Not here: requests
(dashboards.grafana.client), facts in the store (chronicle.py)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol

import structlog

from alerts.engine import Engine
from alerts.lifecycle import Priority, State, Transition
from dashboards.grafana.board import ALARM_TAG
from dcim.core.assets import Asset, AssetKey
from dcim.core.errors import DcimError, Permanent, Transient
from dcim.core.times import to_us

log = structlog.get_logger()

LOOK_S: Final = 2.0
"""So often it is asked whether the journal has something new."""
ROWS_MAX: Final = 200
"""Rows of the journal that are read at once."""
WAITING_MAX: Final = 2_000
"""Annotations that may wait to be opened or closed; beyond it the oldest are let go, and counted."""
PATIENCE_S: Final = 60.0
"""After a failure nothing is tried for so long."""
TRIES: Final = 10
"""So often one is tried; then it is let go, and counted."""
OPEN_MAX: Final = 20_000
"""Open annotations whose number is remembered; others are found again by their tag."""
_LOOKED_FOR: Final = 20


class Outcome(StrEnum):
    """What became of annotations. A closed list."""

    OPENED = "opened"
    CLOSED = "closed"
    LET_GO = "let_go"
    """Not taken after all tries, refused, or too many waited."""
    NOT_FOUND = "not_found"
    """Its opening never came there, so there is nothing to be closed."""


class Annotations(Protocol):
    """Where they go."""

    async def annotate(self, body: dict[str, Any]) -> int:
        """Makes an annotation; its number. Raises Transient or Permanent."""
        ...

    async def change_annotation(self, number: int, body: dict[str, Any]) -> None:
        """Changes what is said of it. Raises Transient or Permanent."""
        ...

    async def annotations(self, tag: str, limit: int) -> list[dict[str, Any]]:
        """Those that have this tag. Raises Transient or Permanent."""
        ...


class Rows(Protocol):
    """The journal, as far as it is followed."""

    async def after(self, seq: int, limit: int | None = None) -> Sequence[Transition]:
        """The rows after this one, in order."""
        ...


@dataclass(slots=True)
class _Wish:
    """An annotation to be opened, or closed."""

    row: Transition
    opens: bool
    tries: int = 0


class Annotator:
    """The loop. What happened before it was made is left alone, but for what was open then and ends now."""

    def __init__(
        self,
        *,
        to: Annotations,
        journal: Rows,
        engine: Engine,
        asset_of: Callable[[AssetKey], Asset | None],
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._to, self._journal, self._engine = to, journal, engine
        self._asset_of, self._clock, self._sleep = asset_of, clock, sleep
        self._mark = engine.seq
        self._wishes: deque[_Wish] = deque()
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self._quiet_us = 0
        self.counts: dict[Outcome, int] = dict.fromkeys(Outcome, 0)
        """Since the service runs."""
        self.failing = ""
        """What was wrong the last time, in words; empty where nothing was."""

    @property
    def waiting(self) -> int:
        """How many are to be opened or closed."""
        return len(self._wishes)

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await self.look()
            await self._sleep(LOOK_S)

    async def look(self) -> None:
        """Takes in what is new and passes on what it can. Raises nothing of ours."""
        try:
            await self._follow()
        except DcimError as error:
            self._tell(str(error))
        at_us = to_us(self._clock())
        while self._wishes and at_us >= self._quiet_us:
            wish = self._wishes[0]
            try:
                await self._pass_on(wish)
            except Transient as error:
                wish.tries += 1
                if wish.tries >= TRIES:
                    self._drop()
                self._quiet_us = at_us + int(PATIENCE_S * 1_000_000)
                self._tell(str(error))
                return
            except Permanent as error:
                self._drop()
                self._quiet_us = at_us + int(PATIENCE_S * 1_000_000)
                self._tell(str(error))
                return
            self._wishes.popleft()
            self.failing = ""

    async def _follow(self) -> None:
        while self._engine.seq > self._mark:
            rows = await self._journal.after(self._mark, ROWS_MAX)
            if not rows:
                return
            self._mark = rows[-1].seq
            for row in rows:
                opens, closes = _turn(row)
                if opens or closes:
                    self._wishes.append(_Wish(row, opens))
            while len(self._wishes) > WAITING_MAX:
                self._drop()

    async def _pass_on(self, wish: _Wish) -> None:
        row = wish.row
        if wish.opens:
            number = await self._to.annotate(self._body(row))
            self._numbers[row.occurrence] = number
            while len(self._numbers) > OPEN_MAX:
                self._numbers.popitem(last=False)
            self.counts[Outcome.OPENED] += 1
            return
        known = self._numbers.pop(row.occurrence, None)
        if known is None:
            found = await self._to.annotations(_tag_of(row), _LOOKED_FOR)
            known = next((one["id"] for one in found if isinstance(one.get("id"), int)), None)
        if known is None:
            self.counts[Outcome.NOT_FOUND] += 1
            return
        self._numbers[row.occurrence] = known  # until it is closed indeed
        await self._to.change_annotation(known, {"timeEnd": to_us(row.at) // 1000})
        del self._numbers[row.occurrence]
        self.counts[Outcome.CLOSED] += 1

    def _body(self, row: Transition) -> dict[str, Any]:
        rule, subject = self._engine.ruleset.get(row.key.rule), row.key.subject
        asset = self._asset_of(AssetKey(subject.site, subject.asset))
        title = rule.headline(subject, asset.name if asset else subject.asset) if rule else row.key.rule
        place = [asset.placement.hall, asset.placement.row] if asset else []
        where = [f"{name}:{value}" for name, value in zip(("hall", "row"), place, strict=False) if value]
        return {
            "time": to_us(row.at) // 1000,
            "text": f"{_words(title)} ({Priority(row.priority).word})",
            "tags": [
                ALARM_TAG,
                _tag_of(row),
                f"priority:{Priority(row.priority).word}",
                *(_words(tag)[:100] for tag in (f"site:{subject.site}", *where, f"asset:{subject.asset}")),
            ],
        }

    def _drop(self) -> None:
        self._wishes.popleft()
        self.counts[Outcome.LET_GO] += 1

    def _tell(self, error: str) -> None:
        if not self.failing:
            log.warning("annotations are behind; alarms are not", error=error)
        self.failing = error


def _turn(row: Transition) -> tuple[bool, bool]:
    """Whether a transition begins what people see of an alarm, and whether it ends it."""
    unseen = {State.NORMAL, State.SUPPRESSED}
    return (
        row.before in unseen and row.after not in unseen,
        row.before not in unseen and row.after in unseen,
    )


def _tag_of(row: Transition) -> str:
    return f"alarm:{row.occurrence}"


def _words(text: str) -> str:
    """A foreign text as Grafana shows it: its annotations are HTML, so what could be markup is written another way."""
    return text.translate(str.maketrans("<>&", "‹›+"))[:500]

"""The chronicle: writes what boards want to know beside the readings into the store's server, and never in its way.

    journal ──rows──▶ alarm facts, as they come        whatever cannot be written: alarms are tried again,
    service ──once a minute──▶ all other facts         the rest is out of date and let go; both are counted

Lives here: the pace, the place in the journal, what is tried again. Not here: which facts there are (facts.py), how
they are written (dcim.store.facts), annotations (annotator.py). The alarm engine knows nothing of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, Protocol

import structlog

from alerts.engine import Engine
from alerts.lifecycle import State, Transition
from dcim.app import facts, relations
from dcim.app.watch import Watch
from dcim.core.assets import AssetKey
from dcim.core.errors import DcimError, Permanent, Transient
from dcim.core.facts import Fact
from dcim.core.ledger import Ledger
from dcim.core.pace import Pace
from dcim.core.ports import Backlog, SourceStatus
from dcim.core.readings import Tier
from dcim.core.times import to_us

log = structlog.get_logger()

LOOK_S: Final = 1.0
"""So often it is asked whether the journal has something new."""
EVERY_S: Final = 60.0
"""Between two rounds of all other facts."""
ROWS_MAX: Final = 500
"""Rows of the journal that are written at once."""
BEHIND_MAX: Final = 50_000
"""Rows that may wait; of more, the oldest are let go and counted. The journal has them all."""
PATIENCE_S: Final = 30.0
"""After a failure nothing is written for so long."""


class Writes(Protocol):
    """Where facts go."""

    async def write(self, facts: Sequence[Fact], tier: Tier = Tier.RAW) -> None:
        """Writes them all, or raises Transient or Permanent; writing the same again does no harm."""
        ...


class Rows(Protocol):
    """The journal, as far as it is followed."""

    async def after(self, seq: int, limit: int | None = None) -> Sequence[Transition]:
        """The rows after this one, in order."""
        ...


class Chronicle:
    """The loop. Made before the service runs, on the event loop that it runs on."""

    def __init__(
        self,
        *,
        to: Writes,
        journal: Rows,
        engine: Engine,
        watch: Watch,
        ledger: Ledger,
        pace: Pace,
        sources: Sequence[SourceStatus],
        backlog: Callable[[], Backlog | None],
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._to, self._journal, self._engine, self._watch = to, journal, engine, watch
        self._ledger, self._pace, self._sources, self._backlog = ledger, pace, sources, backlog
        self._clock, self._sleep = clock, sleep
        self._mark = engine.seq
        self._opened = {view.id: to_us(view.opened_at) for view in (*engine.standing(), *engine.suppressed())}
        self._round_us = 0
        self._quiet_us = 0
        self.written = 0
        """Facts that the server took since the service runs."""
        self.dropped = 0
        """Facts and rows of the journal that were let go, because they could not be written."""
        self.failing = ""
        """What was wrong the last time, in words; empty where nothing was."""

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await self.look()
            await self._sleep(LOOK_S)

    async def look(self) -> None:
        """Writes what is due. Raises nothing of ours: what fails is counted, told once, and tried again later."""
        at_us = to_us(self._clock())
        if at_us < self._quiet_us:
            return
        try:
            await self._follow()
            if at_us - self._round_us >= EVERY_S * 1_000_000:
                self._round_us = at_us
                await self._round(at_us)
            if self.failing:
                log.info("facts for boards are written again")
            self.failing = ""
        except DcimError as error:
            if not self.failing:
                log.warning("facts for boards were not written", error=str(error))
            self.failing = str(error)
            self._quiet_us = at_us + int(PATIENCE_S * 1_000_000)

    async def _follow(self) -> None:
        """Writes what is new in the journal; the mark moves when it is written."""
        behind = self._engine.seq - self._mark
        if behind > BEHIND_MAX:
            self.dropped += behind - BEHIND_MAX
            self._mark = self._engine.seq - BEHIND_MAX
        while self._engine.seq > self._mark:
            rows = await self._journal.after(self._mark, ROWS_MAX)
            if not rows:
                return
            for row in rows:
                if row.before is State.NORMAL:
                    self._opened[row.occurrence] = to_us(row.at)
            await self._write([self._told(row) for row in rows if not row.hidden], again=True)
            self._mark = rows[-1].seq
            for row in rows:
                if row.after is State.NORMAL:
                    self._opened.pop(row.occurrence, None)

    async def _round(self, at_us: int) -> None:
        """Writes everything that is told once a minute."""
        watch = self._watch
        plant, tallies = watch.plant, list(self._ledger.tallies())
        standing = self._engine.standing()
        rated = facts.ratings(plant, at_us)
        times = {source.name: self._pace.times(source.name, at_us) for source in self._sources}
        told: list[Fact] = [
            *rated,
            *facts.ledger(tallies, at_us),
            *facts.sources(self._sources, tallies, times, at_us),
            *facts.spool(self._backlog(), at_us),
            *facts.counted(plant, standing, len(self._engine.suppressed()), at_us),
            *facts.standing(plant, standing, at_us),
            # In a thread: it goes through all points, and the loop that runs this reads the sockets.
            *await asyncio.to_thread(self._points, at_us),
        ]
        await self._write(told)
        # What minutes are held against lies beside them: a board's query reads from one bucket.
        minute_us = at_us - at_us % 60_000_000
        await self._write(
            [Fact(fact.measurement, fact.tags, fact.fields, minute_us) for fact in rated], tier=Tier.MINUTE
        )

    def _points(self, at_us: int) -> list[Fact]:
        plant, hall, latest = self._watch.plant, self._watch.hall, self._watch.latest
        return [
            *facts.coverage(plant, hall, latest, at_us),
            *relations.feeds(plant, latest, at_us),
            *relations.failover(plant, latest, at_us),
            *relations.totals(plant, latest, at_us),
            *relations.circuits(plant, hall, latest, at_us),
        ]

    async def _write(self, told: Sequence[Fact], *, again: bool = False, tier: Tier = Tier.RAW) -> None:
        """again: what fails is tried again, as long as that may help; otherwise it is let go."""
        try:
            await self._to.write(told, tier)
            self.written += len(told)
        except Transient:
            self.dropped += 0 if again else len(told)
            raise
        except Permanent as error:
            self.dropped += len(told)
            log.error("facts for boards were refused", error=str(error), facts=len(told))

    def _told(self, row: Transition) -> Fact:
        rule, subject = self._engine.ruleset.get(row.key.rule), row.key.subject
        asset = self._watch.asset(AssetKey(subject.site, subject.asset))
        title = rule.headline(subject, asset.name if asset else subject.asset) if rule else row.key.rule
        return facts.changed(self._watch.plant, row, title, self._opened)

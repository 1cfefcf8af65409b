"""Alerts from outside while they stand: what other servers have told, and until when that holds.

An alert ends when its sender says so, or when it was not told again by its end. It becomes an alarm like any other, so
the journal brings it back after a restart; then it stands for a while for its sender to tell it again.

Lives here: what is known of them and the loop that lets them end. Not here: their form and bounds (alerts.external),
how they are posted (dcim.app.api.alertmanager)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from enum import StrEnum

import structlog

from alerts.alertmanager import RESOLVE_AFTER
from alerts.engine import Engine
from alerts.external import ExternalAlert, alert_of, finding_of
from alerts.lifecycle import Transition
from dcim.core.errors import Transient
from dcim.core.findings import Detection, FindingKind, Subject

log = structlog.get_logger()

STANDING_MAX = 10_000
"""Alerts from outside that may stand; so they take no room from what we find ourselves."""
LOOK_S = 1.0
"""So often it is asked whether one has ended."""
KIND = FindingKind.EXTERNAL_ALERT
_KINDS = frozenset({KIND})


class AlertRefusal(StrEnum):
    """Why an alert was not taken in. A closed list."""

    NOT_VALID = "not_valid"
    """It cannot be read, or goes beyond a bound."""
    TOO_MANY = "too_many"
    """As many stand as may."""


class Outside:
    """The alerts from outside. One event loop."""

    def __init__(
        self, engine: Engine, say: Callable[[Sequence[Transition]], None], clock: Callable[[], datetime]
    ) -> None:
        """say: puts transitions onto the event stream."""
        self._engine, self._say, self._clock = engine, say, clock
        self._alerts: dict[Subject, tuple[ExternalAlert, datetime]] = {}
        self._lock = asyncio.Lock()  # what is known and what the engine was told change together
        self.taken = 0
        """Alerts that were taken in since the start, each time that they were told."""
        self.refused: Counter[AlertRefusal] = Counter()

    def __len__(self) -> int:
        return len(self._alerts)

    def get(self, subject: Subject) -> tuple[ExternalAlert, datetime] | None:
        """An alert that stands, and when it was told last."""
        return self._alerts.get(subject)

    def resume(self, at: datetime) -> None:
        """Takes up what the journal says stands. It gets the time in which senders tell alerts again."""
        for alarm in self._engine.alarms(suppressed=True):
            if alarm.kind is KIND and alarm.active:
                known = alert_of(alarm.key.subject, alarm.finding, at)
                ends_at = max(known.ends_at, at + RESOLVE_AFTER)
                self._alerts[alarm.key.subject] = replace(known, ends_at=ends_at), at

    async def take(self, alerts: Sequence[ExternalAlert], at: datetime) -> int:
        """Takes alerts in, already written on return; those that are over end. How many there was no room for.

        Raises Transient when the journal did not take them: nothing has changed, so send them again.
        """
        async with self._lock:
            begun: dict[Subject, ExternalAlert] = {}
            over: set[Subject] = set()
            refused = 0
            room = STANDING_MAX - len(self._alerts)
            for alert in alerts:
                subject = alert.subject
                if alert.ends_at <= at:
                    over.add(subject)
                    begun.pop(subject, None)
                    continue
                before = self._alerts.get(subject)
                if before is None and subject not in begun:
                    if room <= 0:
                        refused += 1
                        continue
                    room -= 1
                starts_at = min(alert.starts_at, before[0].starts_at) if before is not None else alert.starts_at
                begun[subject] = replace(alert, starts_at=starts_at)
                over.discard(subject)
            await self._tell(begun, over, at)
            self._alerts |= {subject: (alert, at) for subject, alert in begun.items()}
            self.taken += len(alerts) - refused
            self.refused[AlertRefusal.TOO_MANY] += refused
            return refused

    async def end(self, at: datetime) -> None:
        """Lets go of what has come to its end. Raises as `take` does."""
        async with self._lock:
            over = {subject for subject, (alert, _) in self._alerts.items() if alert.ends_at <= at}
            if over:
                await self._tell({}, over, at)

    async def run(self) -> None:
        """The loop. Runs until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.end(self._clock())
            except Transient as error:
                log.error("the journal did not take that alerts ended; it is tried again", error=str(error))

    async def _tell(self, begun: dict[Subject, ExternalAlert], over: set[Subject], at: datetime) -> None:
        findings = tuple(finding_of(alert) for alert in begun.values())
        detection = Detection(findings, looked_at=frozenset((KIND, subject) for subject in over))
        self._say(await self._engine.apply(detection, _KINDS, at))
        for subject in over:
            self._alerts.pop(subject, None)

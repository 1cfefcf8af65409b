"""Asking: sends what codecs wish for to the broker of their source, seldom, and never on behalf of anybody else.

Lives here: how often at the most, and what becomes of a wish that cannot be sent. Not here: what is wished for (the
codecs), whether it may be sent at all (the settings), the wire (publish.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from collectors.publish import Broker, Outgoing, publish
from dcim.core.errors import DcimError
from dcim.core.ports import Wish

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AskingSettings:
    """How often. A wish that is not sent comes again, for its reason stays."""

    again_after_s: float = 60.0
    """Between two messages on one topic: a node may take its time for its births."""
    gap_s: float = 0.1
    """Between any two messages."""
    waiting_max: int = 1_000
    """Topics that may wait; further ones are let go."""
    patience_s: float = 10.0
    """How long a connection may take to come about."""


class Asking:
    """Sends wishes to one broker. One event loop."""

    def __init__(
        self,
        source: str,
        to: Broker,
        clock: Callable[[], float],
        settings: AskingSettings | None = None,
    ) -> None:
        """source: for logs. clock: seconds, of any origin; it never goes back."""
        self._source, self._to, self._clock = source, to, clock
        self._settings = settings or AskingSettings()
        self._waiting: dict[str, Wish] = {}
        self._asked: dict[str, float] = {}
        self._ring = asyncio.Event()
        self.sent = 0
        """Messages since the start."""

    def take(self, wishes: Sequence[Wish]) -> None:
        """Takes wishes in. Never waits; what was asked for lately, or waits already, is let go."""
        now = self._clock()
        for wish in wishes:
            if now - self._asked.get(wish.topic, float("-inf")) < self._settings.again_after_s:
                continue
            if len(self._waiting) < self._settings.waiting_max or wish.topic in self._waiting:
                self._waiting[wish.topic] = wish
                self._ring.set()

    async def run(self) -> None:
        """Runs until cancelled. Raises nothing: a broker that refuses is told of in the log."""
        while True:
            await self._ring.wait()
            self._ring.clear()
            wishes, self._waiting = list(self._waiting.values()), {}
            now = self._clock()
            self._asked = {
                topic: at for topic, at in self._asked.items() if now - at < self._settings.again_after_s
            } | {wish.topic: now for wish in wishes}
            outgoing = [
                Outgoing(wish.topic, _always(wish.payload), place * self._settings.gap_s)
                for place, wish in enumerate(wishes)
            ]
            try:
                self.sent += await publish(iter(outgoing), self._to, qos=0, patience_s=self._settings.patience_s)
            except DcimError as error:
                log.warning("cannot ask", source=self._source, error=str(error), what=wishes[0].what, of=len(wishes))
            else:
                log.info("asked", source=self._source, what=wishes[0].what, of=len(wishes))


def _always(payload: bytes) -> Callable[[int], bytes]:
    return lambda _: payload

"""The event stream's hub: what happened is put into words once and handed to every listener.

Lives here: the fan-out and its bounds. Not here: what is said (watch.py), the HTTP side (api/stream.py). One event loop
only; nothing here waits for a listener: whoever reads too slowly loses the oldest events, is told so, and fetches
anew."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import msgspec
from fastapi.sse import format_sse_event

EVENTS_WAITING_MAX = 256
"""Events kept for one slow listener."""
LISTENERS_MAX = 1_000


class Full(Exception):  # noqa: N818  a state, and an answer 503, rather than a fault
    """The hub has as many listeners as it takes."""


def event(name: str, data: object) -> bytes:
    """One server-sent event on the wire. datetimes become RFC 3339, NaN becomes null."""
    return format_sse_event(event=name, data_str=msgspec.json.encode(data).decode())


class Hub:
    """Topics in, bytes out."""

    def __init__(self) -> None:
        self._listeners: set[_Listener] = set()
        self.dropped = 0
        """Events that slow listeners lost, all together."""

    def __len__(self) -> int:
        return len(self._listeners)

    def wanted(self, topic: str) -> bool:
        """Whether anybody listens to this topic; spares the work of wording what nobody hears."""
        return any(topic in listener.topics for listener in self._listeners)

    def publish(self, topic: str, data: bytes) -> None:
        """Hands one event to everybody who listens to the topic. Returns at once."""
        for listener in self._listeners:
            if topic in listener.topics:
                self.dropped += listener.put(data)

    async def listen(self, topics: frozenset[str], first: list[bytes]) -> AsyncIterator[bytes]:
        """`first`, then everything published to the topics from now on. Raises Full at the limit of listeners."""
        if len(self._listeners) >= LISTENERS_MAX:
            raise Full
        listener = _Listener(topics)
        self._listeners.add(listener)
        try:
            for early in first:
                yield early
            while (data := await listener.get()) is not None:
                yield data
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """Ends every listener's stream, so that the server can stop."""
        for listener in list(self._listeners):
            listener.end()


class _Listener:
    def __init__(self, topics: frozenset[str]) -> None:
        self.topics = topics
        self._waiting: deque[bytes] = deque()
        self._lost = 0
        self._ended = False
        self._ready = asyncio.Event()

    def put(self, data: bytes) -> int:
        lost = 0
        if len(self._waiting) >= EVENTS_WAITING_MAX:
            self._waiting.popleft()
            lost = 1
            self._lost += 1
        self._waiting.append(data)
        self._ready.set()
        return lost

    def end(self) -> None:
        self._ended = True
        self._ready.set()

    async def get(self) -> bytes | None:
        """Everything that waits, as one piece; None when the service ends."""
        await self._ready.wait()
        if self._ended:
            return None
        self._ready.clear()
        parts = list(self._waiting)
        self._waiting.clear()
        if self._lost:
            parts.insert(0, event("lost", {"events": self._lost}))
            self._lost = 0
        return b"".join(parts)

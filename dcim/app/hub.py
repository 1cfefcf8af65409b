"""The event stream's hub: what happened is put into words once and handed to every listener.

Lives here: the fan-out and its bounds. Not here: what is said (watch.py), the HTTP side (api/stream.py). One event loop
only; nothing here waits for a listener: whoever reads too slowly loses the oldest events, is told so, and fetches
anew.

What is published in one turn of the loop reaches a listener as one piece: it is put together once for all who listen to
the same topics, and each of them is woken once."""

from __future__ import annotations

import asyncio
from collections import deque

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
        self._listeners: dict[frozenset[str], set[Listener]] = {}
        self._said: list[tuple[str, bytes]] = []
        """Published in this turn of the loop."""
        self.dropped = 0
        """Events that slow listeners lost, all together."""

    def __len__(self) -> int:
        return sum(map(len, self._listeners.values()))

    def wanted(self, topic: str) -> bool:
        """Whether anybody listens to this topic; spares the work of wording what nobody hears."""
        return any(topic in topics for topics in self._listeners)

    def publish(self, topic: str, data: bytes) -> None:
        """Hands one event to everybody who listens to the topic, with the others of this turn of the loop. Returns at
        once."""
        if not self._said:
            asyncio.get_running_loop().call_soon(self._hand_out)
        self._said.append((topic, data))

    def join(self, topics: frozenset[str]) -> Listener:
        """A listener, to whom everything is handed that is published to the topics from now on. Whoever joins leaves.
        Raises Full at the limit of listeners."""
        if len(self) >= LISTENERS_MAX:
            raise Full
        self._hand_out()  # what was said before is not for whoever comes now
        listener = Listener()
        self._listeners.setdefault(topics, set()).add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """Hands this listener nothing any more."""
        for topics, some in list(self._listeners.items()):
            some.discard(listener)
            if not some:
                del self._listeners[topics]

    def close(self) -> None:
        """Ends every listener's stream, so that the server can stop."""
        for some in self._listeners.values():
            for listener in some:
                listener.end()

    def _hand_out(self) -> None:
        said, self._said = self._said, []
        for topics, some in self._listeners.items():
            heard = [data for topic, data in said if topic in topics]
            if heard:
                piece = b"".join(heard)
                self.dropped += sum(listener.put(piece, len(heard)) for listener in some)


class Listener:
    """One who listens: pieces wait here until they are fetched."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._events = 0
        self._lost = 0
        self._ended = False
        self._ready: asyncio.Future[None] | None = None

    def put(self, piece: bytes, events: int) -> int:
        """Hands over a piece of so many events. Returns how many older ones had to give way to it."""
        self._waiting.append((piece, events))
        self._events += events
        lost = 0
        while self._events > EVENTS_WAITING_MAX and len(self._waiting) > 1:
            _, gone = self._waiting.popleft()
            self._events -= gone
            lost += gone
        self._lost += lost
        self._wake()
        return lost

    def end(self) -> None:
        """Nothing comes any more; what waits is not fetched."""
        self._ended = True
        self._wake()

    async def get(self) -> bytes | None:
        """Everything that waits, as one piece; None at the end. For one task alone."""
        while not self._waiting and not self._ended:
            self._ready = asyncio.get_running_loop().create_future()
            try:
                await self._ready
            finally:
                self._ready = None
        if self._ended:
            return None
        pieces = [piece for piece, _ in self._waiting]
        self._waiting.clear()
        self._events = 0
        if self._lost:
            pieces.insert(0, event("lost", {"events": self._lost}))
            self._lost = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _wake(self) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

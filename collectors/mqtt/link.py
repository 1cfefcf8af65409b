"""One TCP or TLS connection under a session: reads, writes, holds back.

Lives here: the way between a socket and a `Session`, when reading stops and goes on, how a connection is closed. Not
here: what the bytes mean (session.py), who connects (subscriber.py, listener.py).

Reads are coalesced: a connection that has more to say within 5 ms is not read again before they are over, so a stream
of small packets costs 200 wake-ups a second and not one each. A read that fills the buffer is followed by the next."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from enum import Flag, auto
from typing import Final, Generic, TypeVar, cast

from collectors.mqtt.intake import Intake
from collectors.mqtt.session import Event, Session
from collectors.mqtt.wire import Cut

READ_BYTES: Final = 262_144
"""Size of the receive buffer, one for all connections of a source: what is read is cut before the next read."""
COALESCE_S: Final = 0.005
LINGER_S: Final = 1.0
"""After our last packet the connection is read, and what comes thrown away, for so long: to close with unread bytes
resets it, and the other end would never see why."""
_KEEP_ALIVE_IDLE_S: Final = 60

S = TypeVar("S", bound=Session)


class Hold(Flag):
    """Why a connection is not being read."""

    NOT = 0
    COALESCE = auto()
    FULL = auto()
    """The intake has no room."""
    UNREAD = auto()
    """The other end does not read what we write to it."""
    CHECK = auto()
    """Its credentials are being checked."""


class Link(asyncio.BufferedProtocol, Generic[S]):
    """One connection. An owner of messages for the intake."""

    def __init__(
        self,
        session: S,
        intake: Intake,
        buffer: memoryview,
        clock: Callable[[], int],
        tell: Callable[[Link[S], Event], None],
    ) -> None:
        """buffer: receive buffer, shared by all links of a source. clock: microseconds UTC.
        tell: called with every event of the session but messages, which go to the intake."""
        self.session = session
        self._intake, self._buffer, self._clock, self._tell = intake, buffer, clock, tell
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._holds = Hold.NOT
        self._read_at = 0.0
        self._leaving = False
        self._cut_off: asyncio.TimerHandle | None = None
        self.gone: asyncio.Future[Exception | None] = self._loop.create_future()
        """Done when the socket is closed: with the reason when it was lost, None when it was closed in order."""

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands, TLS included."""
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            # A peer that vanished without a word and has no MQTT keep-alive is found out by TCP's.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if hasattr(socket, "TCP_KEEPIDLE"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEP_ALIVE_IDLE_S)
        self.flush()

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Where the next read goes."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes were read."""
        if self._leaving:
            return
        now = self._loop.time()
        self.handle(self.session.receive(self._buffer[:nbytes], now))
        # Within 5 ms, a rest not counted: else every other read of a stream would find that it had just been quiet.
        if nbytes < len(self._buffer) and now - self._read_at < 2 * COALESCE_S and not self._leaving:
            self.hold(Hold.COALESCE)
            self._loop.call_later(COALESCE_S, self.release, Hold.COALESCE)
        self._read_at = now

    def eof_received(self) -> None:
        """The other end has no more to say: the transport closes."""

    def pause_writing(self) -> None:
        """The other end does not read: whoever does not listen is not listened to."""
        self.hold(Hold.UNREAD)

    def resume_writing(self) -> None:
        """It reads again."""
        self.release(Hold.UNREAD)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._transport = None
        self._leaving = True
        if self._cut_off is not None:
            self._cut_off.cancel()
        if not self.gone.done():
            self.gone.set_result(exc)
        self._intake.forget(self)

    # --- called by the source

    @property
    def connected(self) -> bool:
        """Whether there is a socket under it."""
        return self._transport is not None

    @property
    def host(self) -> str:
        """Address of the other end; empty when there is none."""
        name = self._transport.get_extra_info("peername") if self._transport else None
        return str(name[0]) if name else ""

    def handle(self, events: Sequence[Event]) -> None:
        """Passes on what the session made of something, and sends what it wants to be sent."""
        for event in events:
            if type(event) is not Cut:
                self._tell(self, event)
                continue
            owed = len(event.ids)
            if not self._intake.put(self, event, self._loop.time(), self._clock()):
                self.hold(Hold.FULL)
            self.session.unacknowledged -= owed - len(event.ids)  # what came twice is acknowledged once
        self.flush()

    def tick(self) -> None:
        """Lets time pass for the session."""
        listening = not self._holds & ~Hold.COALESCE
        self.handle(self.session.tick(self._loop.time(), listening=listening))

    def acknowledge(self, ids: Sequence[bytes]) -> None:
        """Acknowledges messages that came on this connection; nothing when it is gone."""
        self.session.acknowledge(ids, self._loop.time())
        self.flush()

    def resume(self) -> None:
        """The intake has room again."""
        self.release(Hold.FULL)

    def hold(self, why: Hold) -> None:
        """Reads no more, until every hold is released."""
        if not self._holds and self._transport is not None and not self._leaving:
            self._transport.pause_reading()
        self._holds |= why

    def release(self, why: Hold) -> None:
        """Takes one hold away."""
        held, self._holds = self._holds, self._holds & ~why
        if held and not self._holds and self._transport is not None and not self._leaving:
            self._transport.resume_reading()

    def flush(self) -> None:
        """Writes what the session wants to be sent, and closes the connection when it is over."""
        data = self.session.to_send()
        if self._transport is None:
            return
        if data and not self._leaving:
            self._transport.write(data)
        if self.session.over:
            self._leave(linger=bool(data))

    def abort(self) -> None:
        """Closes the socket at once, whatever is still to be written."""
        if self._transport is not None:
            self._transport.abort()

    def _leave(self, *, linger: bool) -> None:
        """Closes. linger: so that the other end still gets our last packet; our side ends, and is read for a moment."""
        if self._leaving or self._transport is None:
            return
        self._leaving = True
        self._intake.forget(self)
        if self._holds:
            self._transport.resume_reading()
        self._cut_off = self._loop.call_later(LINGER_S, self.abort)
        if not linger or not self._transport.can_write_eof():  # TLS cannot, and lingers by itself
            self._transport.close()
            return
        try:
            self._transport.write_eof()
        except OSError:  # the other end was quicker: there is nobody left to linger for
            self._transport.abort()


async def close_all(links: Sequence[Link[S]]) -> None:
    """Waits until connections whose sessions are over are closed; cuts off those that take too long."""
    standing = [link.gone for link in links if link.connected]
    if standing:
        await asyncio.wait(standing, timeout=LINGER_S)
        for link in links:
            link.abort()
        await asyncio.wait(standing)

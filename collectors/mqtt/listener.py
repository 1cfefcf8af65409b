"""Our own ear: devices and agents connect straight to us, and our acknowledgement means "on disk".

Lives here: who is let in, how many, and what a failure counts as and is told as. Not here: MQTT (session.py), sockets
(link.py), batches (intake.py, delivery.py). It passes nothing on: whoever wants to subscribe needs a broker."""

from __future__ import annotations

import asyncio
import errno
import random
import secrets
import socket
import ssl
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import structlog

from collectors.mqtt.backoff import Backoff
from collectors.mqtt.delivery import Delivery, run_together
from collectors.mqtt.fields import PACKET_IDS, Reason
from collectors.mqtt.intake import Intake, Limits
from collectors.mqtt.link import READ_BYTES, Hold, Link, close_all
from collectors.mqtt.packets import Connect
from collectors.mqtt.session import Asked, Ended, Event, ListenerSession, SubscribeRefused
from collectors.mqtt.wire import Bounds, Cut
from dcim.core.errors import Permanent
from dcim.core.ledger import Fault, Ledger
from dcim.core.ports import Deliver, Oversized
from dcim.core.times import now as wall_clock
from dcim.core.times import to_us

_log = structlog.get_logger(__name__)

Check = Callable[[str, bytes], bool]
"""Whether user and password are right; a client that names none is asked about with "" and b"". Called in a thread of
its own, so it may take its time. Raises nothing."""

SPARE_CONNECTIONS: Final = 64
"""Connections beyond the bound that are still answered with a reason; more are closed without a word."""
_SWEEP_S: Final = 1.0
_BACKLOG: Final = 512
_SAY_AGAIN_S: Final = 60.0
_SAID_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """Where to listen, and within which bounds."""

    name: str
    """Names the source in the ledger and in logs."""
    host: str
    """Address, or name of one, to bind to."""
    port: int
    """0 takes any free one: see `Listener.started`."""
    tls: ssl.SSLContext | None = None
    """One that demands client certificates lets nobody else in: `collectors.mqtt.tls.server_context`."""
    connections_max: int = 1_000
    connect_s: float = 5.0
    """Within which a TLS handshake must be done, and again within which CONNECT must come."""
    window: int = PACKET_IDS
    """Messages in memory, of all connections together; each client of MQTT 5 is told it as Receive Maximum."""
    waiting_bytes_max: int = 67_108_864
    """Bytes in memory, of packets that are not durable yet; of all connections together."""
    topic_bytes_max: int = 1_024
    payload_bytes_max: int = 1_048_576
    packet_bytes_max: int = 67_108_864
    batch_messages_max: int = 20_000
    batch_s: float = 0.2
    quiet_s: float = 0.02
    delivery_retry_base_s: float = 0.5
    delivery_retry_cap_s: float = 5.0


class Listener:
    """A `Source`: the other end of many connections, which feed one batch."""

    def __init__(
        self,
        settings: ListenerSettings,
        ledger: Ledger,
        check: Check | None = None,
        clock: Callable[[], int] = lambda: to_us(wall_clock()),
        draw: Callable[[], float] = random.random,
    ) -> None:
        """ledger: where faults are counted; the source's account must be open. check: None lets in anybody whom TLS
        lets in. clock: microseconds UTC. draw: uniform in [0, 1), for the jitter of retries."""
        self.name = settings.name
        self.connected = False
        """Whether it listens."""
        self.since: int | None = None
        """Microseconds UTC since when that is so or not; None before `run`."""
        self.trouble = ""
        """What is wrong and what to do about it, in one line; empty while nothing is."""
        self._settings, self._ledger, self._check, self._clock = settings, ledger, check, clock
        self._bounds = Bounds(settings.topic_bytes_max, settings.payload_bytes_max, settings.packet_bytes_max)
        self._intake = Intake(settings.name)
        self._redeliver = Backoff(settings.delivery_retry_base_s, settings.delivery_retry_cap_s, draw)
        self._links: dict[Link[ListenerSession], None] = {}
        self._clients: dict[str, Link[ListenerSession]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._bound = asyncio.Event()
        self._address = ("", 0)
        self._failure: Permanent | None = None
        self._said: dict[tuple[str, str], float] = {}
        self._checker: ThreadPoolExecutor | None = None

    @property
    def clients(self) -> int:
        """How many clients are let in and connected."""
        return len(self._clients)

    async def started(self) -> tuple[str, int]:
        """Address and port that it listens on, once it does. Raises Permanent when it cannot."""
        await self._bound.wait()
        if self._failure is not None:
            raise self._failure
        return self._address

    async def run(self, deliver: Deliver) -> None:
        """Runs until cancelled; see `dcim.core.ports.Source`. Raises Permanent when the address cannot be had."""
        settings = self._settings
        self.since = self._clock()
        try:
            listening = await self._bind()
        except Permanent as error:
            self._failure, self.trouble = error, str(error)
            raise
        finally:
            self._bound.set()
        batch_messages_max = min(settings.batch_messages_max, settings.window)
        self._intake = Intake(
            self.name,
            Limits(settings.window, settings.waiting_bytes_max, batch_messages_max, settings.batch_s, settings.quiet_s),
        )
        delivery = Delivery(self._intake, self._ledger, self._redeliver)
        self._checker = ThreadPoolExecutor(1, thread_name_prefix=f"{self.name}-check")
        self.connected, self.since, self.trouble = True, self._clock(), ""
        try:
            await run_together(self._accept(listening), self._sweep(), delivery.run(deliver))
        finally:
            self.connected, self.since = False, self._clock()
            listening.close()
            self._checker.shutdown(wait=False, cancel_futures=True)
            await self._close()

    async def _bind(self) -> socket.socket:
        host, port = self._settings.host, self._settings.port
        where = f"source {self.name}"
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, _, _, _, address = found[0]
            dual = family == socket.AF_INET6 and host in {"", "::"} and socket.has_dualstack_ipv6()
            listening = socket.create_server(address, family=family, backlog=_BACKLOG, dualstack_ipv6=dual)
        except (socket.gaierror, UnicodeError) as error:
            raise Permanent(f"there is no address {host!r}", where=where, todo="Check bind.") from error
        except OSError as error:
            what, todo = _BINDING.get(error.errno or 0, (f"cannot listen: {error.strerror}", ""))
            raise Permanent(what.format(host=host, port=port), where=where, todo=todo) from error
        listening.setblocking(False)
        self._address = listening.getsockname()[:2]
        _log.info("listening", source=self.name, address=f"{self._address[0]}:{self._address[1]}")
        return listening

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        settings = self._settings
        buffer = memoryview(bytearray(READ_BYTES))
        messages_max = min(10_000, self._intake.limits.batch_messages_max)
        while True:
            try:
                sock, address = await loop.sock_accept(listening)
            except ConnectionAbortedError:  # it was gone before we got to it
                self._ledger.fault(self.name, Fault.CONNECTION_LOST)
                continue
            except OSError as error:  # of the machine as a whole: no descriptors, no memory
                todo = "Raise the limit of open files (ulimit -n), or lower connections_max."
                self._note("", Fault.TOO_MANY_CONNECTIONS, f"cannot accept connections: {error.strerror}", todo)
                await asyncio.sleep(_SWEEP_S)
                continue
            if len(self._links) >= settings.connections_max + SPARE_CONNECTIONS:
                sock.close()
                self._note(str(address[0]), Fault.TOO_MANY_CONNECTIONS, "too many connections", _RAISE_CONNECTIONS)
                continue
            session = ListenerSession(
                self._bounds, settings.window, loop.time(), messages_max=messages_max, connect_s=settings.connect_s
            )
            link = Link(session, self._intake, buffer, self._clock, self._on_event)
            self._links[link] = None
            self._spawn(self._serve(link, sock, str(address[0])))

    async def _serve(self, link: Link[ListenerSession], sock: socket.socket, host: str) -> None:
        """One connection, from the handshake to its end."""
        loop = asyncio.get_running_loop()
        tls = self._settings.tls
        try:
            await loop.connect_accepted_socket(
                lambda: link, sock, ssl=tls, ssl_handshake_timeout=self._settings.connect_s if tls else None
            )
            error = await link.gone
            if not link.session.over and link.session.client_id:
                what = f"client {link.session.client_id[:64]!r} is gone without a goodbye"
                self._note(host, Fault.CONNECTION_LOST, f"{what}: {error}" if error else what)
        except OSError as error:
            self._note(host, *_explain_handshake(error))
        finally:
            self._forget(link)
            del self._links[link]

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            for link in list(self._links):
                if link.connected:
                    link.tick()

    async def _close(self) -> None:
        """Ends every connection in order; what was not acknowledged is with its senders."""
        links = list(self._links)
        for link in links:
            link.session.take_will()  # we go, not they
            link.handle(link.session.end(Reason.SERVER_SHUTTING_DOWN, "the service stops"))
        await close_all(links)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # sockets of handshakes that were cut off close in the next turn of the loop

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_event(self, link: Link[ListenerSession], event: Event) -> None:
        match event:
            case Asked(connect):
                link.hold(Hold.CHECK)
                self._spawn(self._judge(link, connect))
            case SubscribeRefused(filters):
                if self._may_say(link.host, "subscribe"):
                    _log.warning(
                        "refused a subscription: this listener takes messages in and passes none on",
                        source=self.name,
                        client=link.session.client_id[:64],
                        filter=filters[0][:64],
                        todo="Run a broker for whoever subscribes, and make it a source here.",
                    )
            case Ended(fault, what, todo):
                self._forget(link)
                if fault is not None:
                    client_id = link.session.client_id
                    self._note(link.host, fault, f"client {client_id[:64]!r}: {what}" if client_id else what, todo)

    async def _judge(self, link: Link[ListenerSession], connect: Connect) -> None:
        """Lets a client in, or tells it why not."""
        session = link.session
        try:
            right = await self._is_right(connect.user or "", connect.password or b"")
        except BaseException:  # a check that fails lets nobody in
            link.abort()
            raise
        if not right:
            named = connect.user is not None
            reason = Reason.BAD_USER_OR_PASSWORD if named else Reason.NOT_AUTHORIZED
            what = f"wrong user or password (user {connect.user[:64]!r})" if connect.user else "no user and password"
            todo = "Give the device the user and password of this source."
            link.handle(session.end(reason, what, Fault.CREDENTIALS_REFUSED, todo))
        elif len(self._clients) >= self._settings.connections_max and connect.client_id not in self._clients:
            full = Fault.TOO_MANY_CONNECTIONS
            link.handle(session.end(Reason.QUOTA_EXCEEDED, "too many connections", full, _RAISE_CONNECTIONS))
        elif link.connected and not session.over:
            client_id = connect.client_id or f"dcim-{secrets.token_hex(8)}"
            self._take_over(client_id)
            self._clients[client_id] = link
            link.handle(session.admit(client_id, asyncio.get_running_loop().time()))
            link.release(Hold.CHECK)

    async def _is_right(self, user: str, password: bytes) -> bool:
        if self._check is None:
            return True
        return await asyncio.get_running_loop().run_in_executor(self._checker, self._check, user, password)

    def _take_over(self, client_id: str) -> None:
        """A client that comes again ends its former connection, which may be one that it has lost."""
        former = self._clients.get(client_id)
        if former is not None:
            what, todo = "it connected again", "If that goes on, two devices share one client id."
            former.handle(former.session.end(Reason.SESSION_TAKEN_OVER, what, Fault.CONNECTION_LOST, todo))

    def _forget(self, link: Link[ListenerSession]) -> None:
        """The client is gone. Its will, where it has left one, is a message like any other."""
        if self._clients.get(link.session.client_id) is link:
            del self._clients[link.session.client_id]
        will = link.session.take_will()
        if will is not None:
            size = len(will.topic) + len(will.payload)
            if len(will.payload) > self._bounds.payload_bytes_max or len(will.topic) > self._bounds.topic_bytes_max:
                topic = will.topic[: self._bounds.topic_bytes_max]
                cut = Cut(oversized=[Oversized(topic, len(will.payload))])
            else:
                cut = Cut(messages=[will._replace(qos=0)], size=size)  # nobody waits for its acknowledgement
            self._intake.put(None, cut, asyncio.get_running_loop().time(), self._clock())

    def _note(self, host: str, fault: Fault, what: str, todo: str = "") -> None:
        """Counts a fault; tells it, but not again and again for one device that comes back and back."""
        self._ledger.fault(self.name, fault)
        if self._may_say(host, what):
            _log.warning(what, source=self.name, peer=host, fault=fault.value, **({"todo": todo} if todo else {}))

    def _may_say(self, host: str, what: str) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._said.get((host, what), -_SAY_AGAIN_S) < _SAY_AGAIN_S:
            return False
        if len(self._said) >= _SAID_MAX:
            self._said.clear()
        self._said[host, what] = now
        return True


_RAISE_CONNECTIONS = "Raise connections_max, or find out who connects so often."
_BINDING = {
    errno.EADDRINUSE: ("port {port} is taken", "Choose another one in bind, or stop whoever has it."),
    errno.EACCES: ("may not listen on port {port}", "Choose a port above 1023 in bind."),
    errno.EADDRNOTAVAIL: ("{host} is not an address of this machine", "Check bind."),
}
"""What the operating system says about binding → what it means, what to do."""


def _explain_handshake(error: OSError) -> tuple[Fault, str, str]:
    """The one translation of what asyncio and ssl raise about a TLS handshake."""
    reason = error.reason or "" if isinstance(error, ssl.SSLError) else ""
    if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE" in reason:
        what = f"no client certificate that we trust: {reason}"
        return Fault.CREDENTIALS_REFUSED, what, "Give the device one that ca_file has signed."
    if isinstance(error, ssl.SSLError):
        what = f"no TLS handshake: {reason or error}"
        return Fault.PROTOCOL_ERROR, what, "Does the device speak TLS, and trust our certificate?"
    return Fault.CONNECTION_LOST, f"gone during the TLS handshake: {error}", ""

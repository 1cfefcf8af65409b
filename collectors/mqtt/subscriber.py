"""A subscription at a broker: connects, subscribes, receives, and comes back by itself.

Lives here: when to connect again, and what a failure counts as and is told as. Not here: MQTT (session.py), sockets
(link.py), batches (intake.py, delivery.py). Publishing is not done here at all."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from collectors.mqtt.backoff import Backoff
from collectors.mqtt.delivery import Delivery, run_together
from collectors.mqtt.fields import PACKET_IDS, V5, V311
from collectors.mqtt.intake import Intake, Limits
from collectors.mqtt.link import READ_BYTES, Link, close_all
from collectors.mqtt.packets import Connect, filter_is_valid
from collectors.mqtt.session import Ended, Event, Opened, State, Subscribed, SubscriberSession
from collectors.mqtt.wire import Bounds
from dcim.core.errors import Permanent
from dcim.core.ledger import Fault, Ledger
from dcim.core.ports import Deliver
from dcim.core.times import now as wall_clock
from dcim.core.times import to_us

_log = structlog.get_logger(__name__)

_TICK_S = 0.5


@dataclass(frozen=True, slots=True)
class SubscriberSettings:
    """Where to subscribe, as whom, and within which bounds. Raises Permanent for what no broker could take."""

    name: str
    """Names the source in the ledger and in logs."""
    host: str
    port: int
    client_id: str
    """Stable and of this collector alone: the broker keeps our session under it."""
    filters: tuple[str, ...]
    """"$share/group/filter" shares the load with every other collector of that group."""
    qos: int = 1
    """0 or 1, at most: the broker sends a message with the QoS that it was published with, if that is less."""
    version: int = V5
    """5, or 4 for MQTT 3.1.1."""
    keep_alive_s: int = 30
    """0 is none: a broker that has vanished is then noticed by TCP alone."""
    session_expiry_s: int = 604_800
    """MQTT 5: how long the broker keeps our session while we are away. With 3.1.1 the broker's settings say."""
    user: str | None = None
    password: bytes | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    window: int = PACKET_IDS
    """Messages in memory. MQTT 5 brokers are told it as Receive Maximum; with 3.1.1 reading stops beyond it."""
    waiting_bytes_max: int = 67_108_864
    """Bytes in memory, of packets that are not durable yet."""
    topic_bytes_max: int = 1_024
    payload_bytes_max: int = 1_048_576
    packet_bytes_max: int = 67_108_864
    batch_messages_max: int = 20_000
    batch_s: float = 0.2
    quiet_s: float = 0.02
    answer_s: float = 10.0
    """How long a broker may take over anything that we ask of it."""
    retry_base_s: float = 0.5
    retry_cap_s: float = 30.0
    delivery_retry_cap_s: float = 5.0

    def __post_init__(self) -> None:
        wrong = [topic_filter for topic_filter in self.filters if not filter_is_valid(topic_filter)]
        if not self.filters or wrong:
            raise Permanent(
                f"cannot be subscribed to: {', '.join(wrong) or 'no filter'}",
                where=f"source {self.name}",
                todo="+ stands alone between slashes, # stands alone at the end.",
            )
        if self.qos not in {0, 1} or self.version not in {V311, V5} or not 1 <= self.window <= PACKET_IDS:
            raise Permanent(
                f"qos {self.qos}, version {self.version}, window {self.window}",
                where=f"source {self.name}",
                todo="qos is 0 or 1, version 4 (3.1.1) or 5, window 1 to 65535.",
            )
        if not self.client_id:
            raise Permanent("has no client_id", where=f"source {self.name}", todo="A session cannot be kept without.")


class Subscriber:
    """A `Source`: one subscription at one broker."""

    def __init__(
        self,
        settings: SubscriberSettings,
        ledger: Ledger,
        clock: Callable[[], int] = lambda: to_us(wall_clock()),
        draw: Callable[[], float] = random.random,
    ) -> None:
        """ledger: where faults are counted; the source's account must be open. clock: microseconds UTC.
        draw: uniform in [0, 1), for the jitter of retries."""
        self.name = settings.name
        self.connected = False
        """Whether the broker has taken us and the connection stands."""
        self.since: int | None = None
        """Microseconds UTC since when that is so or not; None before `run`."""
        self.trouble = ""
        """What is wrong and what to do about it, in one line; empty while nothing is."""
        self._settings, self._ledger, self._clock = settings, ledger, clock
        self._bounds = Bounds(settings.topic_bytes_max, settings.payload_bytes_max, settings.packet_bytes_max)
        self._retry = Backoff(settings.retry_base_s, settings.retry_cap_s, draw)
        self._redeliver = Backoff(settings.retry_base_s, settings.delivery_retry_cap_s, draw)
        self._resubscribe = Backoff(settings.retry_base_s, settings.retry_cap_s, draw)
        self._refused: list[str] = []
        self._resubscribe_at = 0.0
        self._opened = 0
        self._ended = False
        self._lowered: set[tuple[str, int]] = set()

    async def run(self, deliver: Deliver) -> None:
        """Runs until cancelled; see `dcim.core.ports.Source`. The broker is told goodbye, and keeps our session."""
        settings = self._settings
        batch_messages_max = min(settings.batch_messages_max, settings.window)
        limits = Limits(
            settings.window, settings.waiting_bytes_max, batch_messages_max, settings.batch_s, settings.quiet_s
        )
        intake = Intake(self.name, limits)
        delivery = Delivery(intake, self._ledger, self._redeliver)
        self.since = self._clock()
        await run_together(self._stay_connected(intake), delivery.run(deliver))

    async def _stay_connected(self, intake: Intake) -> None:
        loop = asyncio.get_running_loop()
        buffer = memoryview(bytearray(READ_BYTES))
        while True:
            began = loop.time()
            try:
                await self._converse(intake, buffer)
            except (OSError, UnicodeError) as error:  # of connecting; UnicodeError is how a host name can be too odd
                self._note(*_explain_refusal(error))
            finally:
                self._set_connected(False)
            # Only a connection that stood proves anything: some brokers take a client and throw it out again at once.
            if loop.time() - began > self._settings.retry_cap_s:
                self._retry.reset()
            await asyncio.sleep(self._retry.next_s())

    async def _converse(self, intake: Intake, buffer: memoryview) -> None:
        """One connection from beginning to end. Raises OSError or UnicodeError when there never was one."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        hello = Connect(
            version=settings.version,
            client_id=settings.client_id,
            keep_alive_s=settings.keep_alive_s,
            user=settings.user,
            password=settings.password,
            session_expiry_s=settings.session_expiry_s,
            receive_max=settings.window,
            packet_bytes_max=self._bounds.closing_bytes,
        )

        def begin() -> Link[SubscriberSession]:
            session = SubscriberSession(
                hello,
                settings.filters,
                settings.qos,
                self._bounds,
                loop.time(),
                messages_max=min(10_000, intake.limits.batch_messages_max),
                answer_s=settings.answer_s,
                retained=not self._opened,
            )
            return Link(session, intake, buffer, self._clock, self._on_event)

        self._ended = False
        self._refused.clear()
        async with asyncio.timeout(settings.answer_s):
            _, link = await loop.create_connection(begin, settings.host, settings.port, ssl=settings.tls)
        try:
            while not link.gone.done():
                await asyncio.wait([link.gone], timeout=_TICK_S)
                link.tick()
                self._ask_again(link)
            if not self._ended:
                self._note(*_explain_loss(link.gone.result()))
        finally:
            link.session.leave(loop.time())
            link.flush()
            await close_all([link])

    def _on_event(self, link: Link[SubscriberSession], event: Event) -> None:
        match event:
            case Opened(session_present):
                self._set_connected(True)
                _log.info("connected", source=self.name, broker=link.host, session_present=session_present)
                if self._opened and not session_present:
                    _log.warning(
                        "the broker had not kept our session: what came while we were away is lost",
                        source=self.name,
                        todo="Switch persistence on at the broker, and let sessions expire later.",
                    )
                self._opened += 1
            case Subscribed(codes):
                self._on_subscribed(codes)
            case Ended(fault, what, todo):
                self._ended = True
                if fault is not None:
                    self._note(fault, what, todo)

    def _on_subscribed(self, codes: tuple[tuple[str, int], ...]) -> None:
        shared = [topic_filter for topic_filter, _ in codes if topic_filter.startswith("$share/")]
        if shared and self._settings.version == V311 and self._opened == 1:
            _log.warning(
                "shared subscriptions belong to MQTT 5; a broker of 3.1.1 may grant one and send nothing",
                source=self.name,
                filter=shared[0],
                todo="Mosquitto and EMQX do share. At a NATS gateway give each collector filters of its own.",
            )
        refused = [(topic_filter, code) for topic_filter, code in codes if code >= 0x80]
        for topic_filter, code in codes:
            if code < self._settings.qos and (topic_filter, code) not in self._lowered:
                self._lowered.add((topic_filter, code))
                _log.warning("the broker grants a lower QoS", source=self.name, filter=topic_filter, granted=code)
        if refused:
            self._refused = [topic_filter for topic_filter, _ in refused]
            self._resubscribe_at = asyncio.get_running_loop().time() + self._resubscribe.next_s()
            told = ", ".join(f"{topic_filter} ({code:#04x})" for topic_filter, code in refused)
            self._note(
                Fault.SUBSCRIBE_REFUSED,
                f"the broker refuses the subscription to {told}",
                "Allow this user to read them in the broker's access list, or take them out of filters.",
            )
        else:
            self._resubscribe.reset()
            self.trouble = ""

    def _ask_again(self, link: Link[SubscriberSession]) -> None:
        """Refused filters are asked for again on the same connection: the granted ones go on."""
        now = asyncio.get_running_loop().time()
        if self._refused and now >= self._resubscribe_at and link.session.state is State.OPEN:
            filters, self._refused = self._refused, []
            link.session.subscribe(filters, now)
            link.flush()

    def _note(self, fault: Fault, what: str, todo: str) -> None:
        """Counts a fault; tells it when it is another than the last."""
        self._ledger.fault(self.name, fault)
        line = f"{what}. {todo}" if todo else what
        if line != self.trouble:
            self.trouble = line
            address = f"{self._settings.host}:{self._settings.port}"
            _log.warning(what, source=self.name, broker=address, fault=fault.value, **({"todo": todo} if todo else {}))

    def _set_connected(self, connected: bool) -> None:
        if connected != self.connected:
            self.connected, self.since = connected, self._clock()


# The two translations of what asyncio, ssl and the operating system raise: about connecting, and about a connection.


def _explain_refusal(error: Exception) -> tuple[Fault, str, str]:
    if isinstance(error, ssl.SSLCertVerificationError):
        what = f"the broker's certificate is not trusted: {error.verify_message}"
        return Fault.CONNECTION_REFUSED, what, "Set ca_file to its authority, and host to a name in the certificate."
    if isinstance(error, ssl.SSLError):
        return Fault.CONNECTION_REFUSED, f"no TLS: {error.reason or error}", "Is this the broker's port for TLS?"
    if isinstance(error, socket.gaierror | UnicodeError):
        return Fault.CONNECTION_REFUSED, f"no such host: {error}", "Check host, and this machine's name service."
    if isinstance(error, TimeoutError):
        return Fault.CONNECTION_REFUSED, "the broker does not answer", "Check host and port, and firewalls between."
    if isinstance(error, ConnectionRefusedError):
        return Fault.CONNECTION_REFUSED, "nobody listens there", "Is the broker running, and on that port?"
    return Fault.CONNECTION_REFUSED, f"cannot connect: {error}", "Check host and port, and the network between."


def _explain_loss(error: Exception | None) -> tuple[Fault, str, str]:
    if isinstance(error, ssl.SSLError) and "CERTIFICATE" in (error.reason or ""):
        what = f"the broker refuses our certificate: {error.reason}"  # TLS 1.3 says so after the handshake
        return Fault.CREDENTIALS_REFUSED, what, "Set cert_file and key_file to what the broker wants."
    if error is None:
        return Fault.CONNECTION_LOST, "the broker closed the connection", "Its log says why."
    return Fault.CONNECTION_LOST, f"the connection was lost: {error}", ""

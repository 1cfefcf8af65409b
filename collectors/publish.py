"""Publishing over MQTT, for replay, the simulator and agents: in order, acknowledged, resumed after a lost connection.

Lives here: one bounded window of unacknowledged messages over aiomqtt. Not here: what is published (replay.py, the
simulator), receiving (collectors.mqtt). aiomqtt's errors are translated here and nowhere else."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import aiomqtt
import structlog

from dcim.core.errors import Permanent, Transient
from dcim.core.times import now, to_us

log = structlog.get_logger()

WINDOW = 1_000
"""Messages on their way at once. A broker may allow fewer: then the rest waits in the library, in order."""
PAUSE_S_MAX = 5.0
"""Longest pause between two attempts to connect: somebody is waiting at a terminal, or a hall is silent."""
REFUSALS = frozenset({1, 2, 4, 5, 132, 133, 134, 135})
"""CONNACK codes after which the same CONNECT fails again: version, client id, password, rights (3.1.1 and 5)."""


class Outgoing(NamedTuple):
    """One message to publish."""

    topic: str
    body: Callable[[int], bytes]
    """Makes the payload, given milliseconds since 1970 UTC at the moment of publishing. Called once, also when the
    message has to be sent again."""
    due_s: float | None = None
    """Seconds after the start at which to publish; None for at once."""
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Broker:
    """Where to publish."""

    host: str
    port: int = 1883
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        return f"mqtt{'s' if self.tls else ''}://{self.host}:{self.port}"


async def publish(
    outgoing: Iterator[Outgoing],
    to: Broker,
    *,
    qos: int = 1,
    patience_s: float | None = None,
    sent: Callable[[int], None] = lambda _: None,
) -> int:
    """Publishes everything in order and returns how many messages were acknowledged (QoS 0: handed to the socket).

    A lost connection is made again with jittered back-off, and what was not acknowledged is sent again, so that at QoS
    1 nothing is missing at the other end. patience_s: give up with Transient when no connection came about for so long;
    None never gives up. `sent` is told the running count. Raises Permanent when the broker refuses us for good."""
    run = _Run(outgoing, to, qos, sent)
    failed_since: float | None = None
    loop = asyncio.get_running_loop()
    pause_s = 0.5
    while True:
        before = run.acknowledged
        try:
            await run.connect_and_send()
        except (aiomqtt.MqttError, BaseExceptionGroup) as failure:
            error = _connection_error(failure)
        else:
            return run.acknowledged
        _refuse(error, to)
        if run.acknowledged > before:
            failed_since, pause_s = None, 0.5
        failed_since = failed_since if failed_since is not None else loop.time()
        if patience_s is not None and loop.time() - failed_since >= patience_s:
            raise Transient(
                f"cannot publish: {error}", where=str(to), todo="Check that something listens there."
            ) from error
        log.warning("connection lost, trying again", to=str(to), error=str(error), waiting=len(run.unacknowledged))
        await asyncio.sleep(random.uniform(0.1, pause_s))  # noqa: S311  jitter is no secret
        pause_s = min(2 * pause_s, PAUSE_S_MAX)


class _Run:
    """The state that outlives a connection."""

    def __init__(self, outgoing: Iterator[Outgoing], to: Broker, qos: int, sent: Callable[[int], None]) -> None:
        self._outgoing, self._to, self._qos, self._sent = outgoing, to, qos, sent
        self._started = asyncio.get_running_loop().time()
        self.unacknowledged: dict[int, tuple[Outgoing, bytes]] = {}
        self._number = 0
        self.acknowledged = 0

    async def connect_and_send(self) -> None:
        client = aiomqtt.Client(
            self._to.host,
            self._to.port,
            username=self._to.user,
            password=self._to.password,
            tls_context=self._to.tls,
            max_inflight_messages=WINDOW,
            keepalive=30,
            timeout=15,
        )
        client.pending_calls_threshold = WINDOW
        async with client, asyncio.TaskGroup() as group:
            room = asyncio.Semaphore(WINDOW)
            for number in list(self.unacknowledged):
                await self._start(client, group, room, number)
            while (following := await self._next()) is not None:
                await self._start(client, group, room, following)

    async def _next(self) -> int | None:
        """Takes the next message in, waits until it is due, and fixes its payload. None at the end."""
        upcoming = next(self._outgoing, None)
        if upcoming is None:
            return None
        self._number += 1
        # Before the wait: if the connection breaks meanwhile, the message is already among those to be sent again.
        self.unacknowledged[self._number] = (upcoming, b"")
        if upcoming.due_s is not None:
            wait_s = self._started + upcoming.due_s - asyncio.get_running_loop().time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
        return self._number

    async def _start(
        self, client: aiomqtt.Client, group: asyncio.TaskGroup, room: asyncio.Semaphore, number: int
    ) -> None:
        message, body = self.unacknowledged[number]
        if not body:
            body = message.body(to_us(now()) // 1000)
            self.unacknowledged[number] = (message, body)
        await room.acquire()
        group.create_task(self._send(client, room, number, message, body))
        await asyncio.sleep(0)  # lets the task hand its packet over before the next one does: order is kept

    async def _send(
        self, client: aiomqtt.Client, room: asyncio.Semaphore, number: int, message: Outgoing, body: bytes
    ) -> None:
        try:
            await client.publish(message.topic, body, qos=self._qos, retain=message.retain)
        finally:
            room.release()
        del self.unacknowledged[number]
        self.acknowledged += 1
        self._sent(self.acknowledged)


def _connection_error(failure: aiomqtt.MqttError | BaseExceptionGroup[BaseException]) -> aiomqtt.MqttError:
    """The library's own error out of a task group's; anything else in the group is a defect and goes on its way."""
    if isinstance(failure, aiomqtt.MqttError):
        return failure
    ours, others = failure.split(aiomqtt.MqttError)
    if others is not None or ours is None:
        raise failure
    first: BaseException = ours
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if not isinstance(first, aiomqtt.MqttError):
        raise failure
    return first


def _refuse(error: aiomqtt.MqttError, to: Broker) -> None:
    code = getattr(error, "rc", None)
    number = getattr(code, "value", code)
    if isinstance(error, aiomqtt.exceptions.MqttConnectError) and number in REFUSALS:
        raise Permanent(
            f"the broker refuses us: {error}", where=str(to), todo="Check --user and --password-file."
        ) from error

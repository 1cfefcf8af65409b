"""The event stream's hub: one piece a turn for each listener, bounds, and what a slow one is told."""

from __future__ import annotations

import asyncio

import pytest

from dcim.app.hub import EVENTS_WAITING_MAX, LISTENERS_MAX, Full, Hub, Listener, event

ALARMS, ALL = frozenset({"alarms"}), frozenset({"alarms", "hall"})


def test_what_is_said_in_one_turn_comes_as_one_piece() -> None:
    async def scenario() -> None:
        hub = Hub()
        one, other, third = hub.join(ALARMS), hub.join(ALL), hub.join(ALL)
        assert len(hub) == 3 and hub.wanted("hall") and not hub.wanted("latest")
        hub.publish("alarms", b"a")
        hub.publish("hall", b"h")
        hub.publish("latest", b"l")
        assert await one.get() == b"a"
        piece = await other.get()
        assert piece == b"ah"
        assert await third.get() is piece, "put together once for all who listen to the same"
        hub.publish("alarms", b"b")
        late = hub.join(ALARMS)
        hub.publish("alarms", b"c")
        assert await late.get() == b"c", "only what is said from then on"
        assert await one.get() == b"bc"
        hub.leave(one)
        hub.publish("alarms", b"d")
        assert await late.get() == b"d"
        assert len(hub) == 3

    asyncio.run(scenario())


def test_who_reads_too_slowly_loses_the_oldest_and_is_told() -> None:
    async def scenario() -> None:
        hub = Hub()
        slow = hub.join(ALARMS)
        for i in range(EVENTS_WAITING_MAX + 3):
            hub.publish("alarms", b"%d," % i)
            await asyncio.sleep(0)
        assert hub.dropped == 3
        first, _, rest = (await slow.get() or b"").partition(b"3,")
        assert first == event("lost", {"events": 3})
        assert rest.startswith(b"4,") and rest.endswith(b"%d," % (EVENTS_WAITING_MAX + 2))
        hub.publish("alarms", b"x")
        assert await slow.get() == b"x", "told once"

    asyncio.run(scenario())


def test_a_flood_in_one_turn_is_not_lost_to_who_keeps_up() -> None:
    async def scenario() -> None:
        hub = Hub()
        listener = hub.join(ALARMS)
        for _ in range(EVENTS_WAITING_MAX + 10):
            hub.publish("alarms", b".")
        assert await listener.get() == b"." * (EVENTS_WAITING_MAX + 10)
        assert hub.dropped == 0

    asyncio.run(scenario())


def test_the_end_and_the_limit() -> None:
    async def scenario() -> None:
        hub = Hub()
        listeners = [hub.join(ALARMS) for _ in range(LISTENERS_MAX)]
        with pytest.raises(Full):
            hub.join(ALL)
        waiting = asyncio.create_task(listeners[0].get())
        await asyncio.sleep(0)
        hub.close()
        assert await waiting is None
        assert await listeners[1].get() is None
        for listener in listeners:
            hub.leave(listener)
        assert len(hub) == 0 and not hub.wanted("alarms")

    asyncio.run(scenario())


def test_a_listener_that_is_given_up_while_it_waits_can_be_asked_again() -> None:
    async def scenario() -> None:
        listener = Listener()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(listener.get(), 0.001)
        listener.put(b"x", 1)
        assert await listener.get() == b"x"

    asyncio.run(scenario())

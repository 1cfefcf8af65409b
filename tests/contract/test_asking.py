"""Asking: one message a topic and minute, in order, none lost for want of a connection, and no more than may wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest
from structlog.testing import capture_logs

from collectors import asking
from collectors.asking import Asking, AskingSettings
from collectors.publish import Broker, Outgoing
from dcim.core.errors import Transient
from dcim.core.ports import Wish

TO = Broker("127.0.0.1", 1)


class Wire:
    """In the place of the publisher: what it was given, and whether it can."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, float | None]] = []
        self.down = False
        self.called = asyncio.Event()

    async def publish(self, outgoing: Iterator[Outgoing], to: Broker, *, qos: int, patience_s: float | None) -> int:
        assert (to, qos) == (TO, 0)
        self.called.set()
        if self.down:
            raise Transient("cannot publish", where=str(to))
        before = len(self.sent)
        self.sent += [(each.topic, each.body(0), each.due_s) for each in outgoing]
        return len(self.sent) - before


class Rig:
    """Asking with a clock that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, settings: AskingSettings | None = None) -> None:
        self.wire, self.now_s = Wire(), 0.0
        monkeypatch.setattr(asking, "publish", self.wire.publish)
        self.asking = Asking("bus", TO, lambda: self.now_s, settings)

    async def ask(self, wishes: Sequence[Wish]) -> list[str]:
        """The topics that this brings out."""
        before = len(self.wire.sent)
        self.wire.called.clear()
        self.asking.take(wishes)
        run = asyncio.create_task(self.asking.run())
        for _ in range(5):  # the loop turns: whatever is to be sent is sent at once
            await asyncio.sleep(0)
        run.cancel()
        await asyncio.wait([run])
        return [topic for topic, _, _ in self.wire.sent[before:]]


def wish(topic: str) -> Wish:
    return Wish(topic, topic.encode(), topic)


def test_a_topic_is_asked_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        rig = Rig(monkeypatch)
        assert await rig.ask([wish("a"), wish("a"), wish("b")]) == ["a", "b"]
        assert rig.wire.sent == [("a", b"a", 0.0), ("b", b"b", 0.1)]
        rig.now_s = 59.0
        assert await rig.ask([wish("a"), wish("c")]) == ["c"]
        rig.now_s = 60.0
        assert await rig.ask([wish("a"), wish("c")]) == ["a"]
        assert rig.asking.sent == 4

    asyncio.run(scenario())


def test_no_more_wait_than_may(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        rig = Rig(monkeypatch, AskingSettings(waiting_max=2))
        assert await rig.ask([wish(topic) for topic in "abcd"]) == ["a", "b"]
        assert await rig.ask([wish(topic) for topic in "abcd"]) == ["c", "d"]

    asyncio.run(scenario())


def test_a_broker_that_is_away_is_told_of_and_asked_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        rig = Rig(monkeypatch)
        rig.wire.down = True
        assert await rig.ask([wish("a")]) == []
        assert rig.wire.called.is_set()
        rig.wire.down, rig.now_s = False, 60.0
        assert await rig.ask([wish("a")]) == ["a"]

    with capture_logs() as logs:
        asyncio.run(scenario())
    assert [entry["event"] for entry in logs] == ["cannot ask", "asked"]


def test_what_was_asked_long_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        rig = Rig(monkeypatch)
        for minute in range(5):
            rig.now_s = 60.0 * minute
            await rig.ask([wish(f"{minute}-{n}") for n in range(10)])
        assert len(rig.asking._asked) == 10

    asyncio.run(scenario())

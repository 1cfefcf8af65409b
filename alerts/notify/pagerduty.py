"""PagerDuty: the state of each thread of alarms as an incident, through its Events API v2.

Lives here: which events a notice makes, their bodies, and what PagerDuty bears of them. Not here: how they travel
(post.py), when they are tried again (alerts.outbox), which alarms share a thread (alerts.routing)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

import httpx
import msgspec

from alerts.lifecycle import Priority
from alerts.notices import Item, News, Notice, cut, subject_of, text_of
from alerts.notify.post import Post, kept
from dcim.core.errors import Transient

URL = "https://events.pagerduty.com/v2/enqueue"
"""The service region of the United States. That of Europe has a host of its own: events.eu.pagerduty.com."""
SUMMARY_MAX, SOURCE_MAX, TEXT_MAX = 1_024, 512, 16_000
"""Characters of a summary that PagerDuty bears, and what we keep of a source and of the text: the whole event may have
512 KB."""
ITEMS_MAX = 10_000
"""Pieces of news in one message: however many they are, they are as many events as threads."""
UPDATE_S = 60.0
"""So often an open incident is told of what has joined it."""
OPEN_MAX = 10_000
"""Incidents that are known to be open."""
SENDING_S = 60.0
"""All events of a notice take no longer; what is left goes when it is tried again."""

Action: TypeAlias = Literal["trigger", "acknowledge", "resolve"]
_SAID: Sequence[Action] = ("trigger",)
_SEVERITIES = {
    Priority.CRITICAL: "critical",
    Priority.HIGH: "error",
    Priority.MEDIUM: "warning",
    Priority.LOW: "info",
}


class PagerDuty:
    """Keeps incidents of one PagerDuty service in step with what its receiver was told. `Notifier`.

    One thread is one incident. It is triggered while something stands and nobody knows, acknowledged once somebody
    does, resolved once nothing stands any more. What becomes more urgent, comes back, or was acknowledged and stands
    for too long, is an incident anew, and so is what joins alarms that are all acknowledged: PagerDuty calls nobody
    again for one that is acknowledged. An open incident is told once in UPDATE_S at most that more has joined it.
    """

    def __init__(
        self,
        key: Callable[[], str],
        clock: Callable[[], datetime],
        url: str = URL,
        ca: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """key: the integration's routing key; read anew for each message. ca: what to trust; the system's authorities
        when left out. transport: for tests."""
        self._key, self._url = key, url
        self._post = Post("PagerDuty", clock, ca, transport)
        self._clock = clock
        self._open: dict[str, tuple[str, datetime]] = {}
        """By incident: the severity that it was last triggered with, and when. What a restart forgets is told again."""
        self._reached = ("", 0)
        """Of the notice that is being tried: its key, and how many of its events were taken."""
        self._events: list[dict[str, Any]] = []

    async def send(self, notice: Notice) -> str:
        """As `Notifier.send`. The proof is what was said to the last event, and how many there were. A repetition goes
        on with the event that was not taken; events that were are taken as the same by their dedup_key."""
        key = kept(self._key)
        if self._reached[0] != notice.key:
            self._reached, self._events = (notice.key, 0), self._news(events_of(notice))
        events = self._events
        if not events:
            return "its incidents say so already"
        done = self._reached[1]
        proof = "nothing to tell"
        try:
            async with asyncio.timeout(SENDING_S):
                for number in range(min(done, len(events) - 1), len(events)):
                    body = msgspec.json.encode({"routing_key": key, **events[number]})
                    proof = await self._post.send(
                        self._url, body, {"Idempotency-Key": f"{notice.key}-{number}"}, (key,)
                    )
                    self._reached = notice.key, number + 1
                    self._keep(events[number])
        except TimeoutError as error:
            said = f"{self._reached[1]} of {len(events)} events in {SENDING_S:g} s"
            raise Transient(said, where="PagerDuty") from error
        return f"{proof} ({len(events)} events)" if len(events) > 1 else proof

    def _news(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Without what the incidents say already."""
        at, moved = self._clock(), {event["dedup_key"] for event in events if event["event_action"] != "trigger"}
        news = []
        for event in events:
            last = self._open.get(event["dedup_key"])
            same = last is not None and event["event_action"] == "trigger" and last[0] == event["payload"]["severity"]
            recent = last is not None and abs((at - last[1]).total_seconds()) < UPDATE_S
            if not (same and recent) or event["dedup_key"] in moved:
                news.append(event)
        return news

    def _keep(self, event: dict[str, Any]) -> None:
        """Takes in that an event was taken."""
        incident = event["dedup_key"]
        self._open.pop(incident, None)
        if event["event_action"] == "trigger":
            self._open[incident] = event["payload"]["severity"], self._clock()
            if len(self._open) > OPEN_MAX:
                del self._open[next(iter(self._open))]

    async def close(self) -> None:
        """As `Notifier.close`."""
        await self._post.close()


def events_of(notice: Notice) -> list[dict[str, Any]]:
    """The events that a notice makes, in order, without the routing key. Never empty."""
    threads: dict[str, list[Item]] = {}
    for item in notice.items:
        threads.setdefault(item.thread or item.alarm, []).append(item)
    return [event for thread, items in threads.items() for event in _of_thread(notice, thread, items)]


def _of_thread(notice: Notice, thread: str, items: Sequence[Item]) -> list[dict[str, Any]]:
    dedup, last = f"dcim-{thread}", items[-1]
    actions: list[Action] = []
    if any(item.news not in (News.CLEARED, News.ACKNOWLEDGED) for item in items):
        if any(map(_rings, items)):
            actions.append("resolve")
        actions.append("trigger")
    if last.thread_standing == 0:
        actions.append("resolve")
    elif last.thread_unacknowledged == 0:
        actions.append("acknowledge")
    told = Notice(notice.key, notice.receiver, thread, tuple(items), notice.console, notice.zone)
    # One of several that cleared leaves the incident as it is, but is said in it.
    return [_event(action, dedup, told) for action in actions or _SAID]


def _rings(item: Item) -> bool:
    """Whether people have to be called for it, also where the incident was acknowledged."""
    joins = item.news is News.BEGAN and item.thread_standing > item.thread_unacknowledged == 1
    return joins or item.news in (News.WORSE, News.STILL, News.AGAIN)


def _event(action: Action, dedup: str, told: Notice) -> dict[str, Any]:
    event: dict[str, Any] = {"event_action": action, "dedup_key": dedup}
    if action != "trigger":
        return event
    standing = [item for item in told.items if item.news is not News.CLEARED] or told.items
    worst = min(standing, key=lambda item: item.priority)
    details = {
        "text": cut(text_of(told), TEXT_MAX),
        "site": worst.site,
        "hall": worst.hall,
        "row": worst.row,
        "rack": worst.rack,
        "asset": worst.asset,
        "alarms": worst.thread_standing,
        "key": told.key,
    }
    event["payload"] = {
        "summary": cut(subject_of(told), SUMMARY_MAX),
        "source": cut(f"{worst.site}/{worst.asset}".strip("/") or "dcim", SOURCE_MAX),
        "severity": _SEVERITIES[worst.priority],
        "timestamp": worst.since.isoformat(),
        "component": worst.name or worst.asset or "dcim",
        "group": worst.hall or worst.site or "dcim",
        "class": worst.kind.value if worst.kind else "test",
        "custom_details": details,
    }
    event["client"] = "dcim"
    if told.console:
        event["client_url"] = told.console
    if worst.link:
        event["links"] = [{"href": worst.link, "text": "Open the alarm"}]
    return event

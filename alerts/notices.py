"""Notices: what one receiver is told in one message, in words.

Lives here: the news of one alarm (`Item`), a message made of several (`Notice`), its subject and text, and the protocol
of whoever sends it. All of it is pure: the same transition, rule and asset make the same words. Not here: who is told
and when (routing.py), how it is kept until it has arrived (outbox.py), how it travels (notify)."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol
from urllib.parse import quote
from zoneinfo import ZoneInfo

from alerts.lifecycle import Change, Priority, State, Transition
from alerts.rules import Rule
from dcim.core.assets import Asset
from dcim.core.errors import Transient
from dcim.core.findings import FindingKind

WORDS_MAX, STEPS_MAX = 300, 5
"""Characters of each text in a notice, and steps to check first."""
DETAILED_MAX = 10
"""Alarms that a text tells in full; of the rest it says how many they are."""


class News(StrEnum):
    """What has become of an alarm, as whoever is told needs to know it. A closed list."""

    BEGAN = "began"
    AGAIN = "again"
    """It came back, or came back from the shelf or into service, and stands."""
    WORSE = "worse"
    """Its priority rose."""
    STILL = "still"
    """It was acknowledged and has stood since for as long as its rule bears."""
    ACKNOWLEDGED = "acknowledged"
    """A person says that they know, or has put it aside. Only for receivers that go on calling until they hear it."""
    UNANSWERED = "unanswered"
    """Nobody has acknowledged it within the time of an escalation's step."""
    CLEARED = "cleared"
    """Its condition is gone, or a person has closed it."""
    TEST = "test"
    """There is no alarm: somebody tries out whether this receiver can be reached."""


@dataclass(frozen=True, slots=True)
class Item:
    """The news of one alarm. Texts hold no control characters and are WORDS_MAX long at most."""

    alarm: str
    """The occurrence."""
    step: int
    """The transition's number in the journal."""
    news: News
    at: datetime
    """When it was decided, UTC."""
    rule: str
    kind: FindingKind | None
    """None in a test."""
    priority: Priority
    title: str
    summary: str
    site: str
    asset: str
    name: str
    """The asset's own name."""
    hall: str
    row: str
    position: int | None
    rack: str
    """The rack that it is or stands in, "" where it is not in one."""
    since: datetime
    """Onset as far as the detector can tell."""
    confidence: float | None
    """0 to 1; None where nothing tells."""
    time_to_limit_s: float | None
    check_first: tuple[str, ...]
    respond_within_min: float | None
    link: str
    """Opens the alarm in the console; "" where nobody said where the console is."""
    rack_unit: int | None = None
    """Lowest unit of the rack that it takes up, where somebody said."""
    by: str = ""
    """Who acknowledged it."""
    unanswered_min: float | None = None
    """Minutes within which nobody acknowledged it."""
    remark: str = ""
    """Why this receiver is told, where that needs a word: nobody is on call, or a calendar cannot be read."""
    thread: str = ""
    """What this receiver was told about the same thing shares it."""
    thread_standing: int = 1
    """Alarms of the thread that stand after this, as far as this receiver was told of them."""
    thread_unacknowledged: int = 1
    """Those among them of which it was not told that somebody knows."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to one receiver."""

    key: str
    """The same for every attempt to send this message, and for no other message: whoever has seen it has had it."""
    receiver: str
    thread: str
    """Messages about the same thing share it. "" for one that gathers many things."""
    items: tuple[Item, ...]
    """In the order in which they happened; one alarm may be in it several times. Never empty."""
    console: str = ""
    """Where the console's alarms are; "" where nobody said."""
    zone: str = "UTC"
    """IANA name of the time zone that its texts speak in."""

    @property
    def priority(self) -> Priority:
        """The most urgent of what is in it."""
        return min(item.priority for item in self.items)


@dataclass(frozen=True, slots=True)
class Part:
    """A paragraph of a message, and the address that it is about, or "", with a word to show it by."""

    text: str
    link: str = ""
    word: str = "Open"


class Later(Transient):
    """The other end says when the same may work."""

    def __init__(self, what: str, *, after_s: float, where: str = "") -> None:
        """after_s: seconds from now, before which trying again is of no use."""
        self.after_s = after_s
        super().__init__(what, where=where)


class Notifier(Protocol):
    """Carries notices to one receiver. tests/contract/test_notifiers.py holds every implementation to this."""

    async def send(self, notice: Notice) -> str:
        """Returns when the other end has taken it, with what it said: the proof of delivery, in one line.

        Raises Transient where the same may work later (Later where it is known when), Permanent where it never will,
        and nothing else. It takes a bounded time, and may be asked to send the same notice again. No secret is in the
        proof, in an error or in a log.
        """
        ...

    async def close(self) -> None:
        """Lets connections go."""
        ...


def dedup_key(receiver: str, alarm: str, step: int, unanswered_min: float | None = None) -> str:
    """What tells one piece of news for one receiver from all others, whatever process works it out, and when."""
    late = "" if unanswered_min is None else f"\n{unanswered_min:g}"
    return hashlib.sha256(f"{receiver}\n{alarm}\n{step}{late}".encode()).hexdigest()[:32]


def trial(receiver: str, key: str, at: datetime, by: str, console: str, zone: str = "UTC") -> Notice:
    """A notice that says of itself that it is a test. key: its own, 32 characters. by: who asks for it."""
    item = Item(
        alarm=f"test-{key}",
        step=0,
        news=News.TEST,
        at=at,
        rule="test",
        kind=None,
        priority=Priority.LOW,
        title="a notice to try out this receiver; there is no alarm",
        summary=clean(f"Asked for by {by}" if by else ""),
        site="",
        asset="",
        name="",
        hall="",
        row="",
        position=None,
        rack="",
        since=at,
        confidence=None,
        time_to_limit_s=None,
        check_first=(),
        respond_within_min=None,
        link=f"{console}#/alarms" if console else "",
        by=clean(by),
        thread=f"test-{key}",
        thread_standing=0,
        thread_unacknowledged=0,
    )
    return Notice(key, receiver, item.thread, (item,), console, zone)


def item(
    transition: Transition,
    news: News,
    rule: Rule | None,
    asset: Asset | None,
    before: Item | None,
    console: str,
    within: Asset | None = None,
) -> Item:
    """The news of a transition.

    rule, asset: as they are known now; None where they are not. before: what was told of this alarm last, from which it
    has what the transition itself does not say. within: what contains the asset, as a rack contains a GPU: what nobody
    said of the asset's place is that of its rack. console: where the console is, ending in "/"; "" makes no link.
    """
    subject, finding = transition.key.subject, transition.finding
    name = asset.name if asset is not None else before.name if before is not None else subject.asset
    if asset is not None:
        place, around = asset.placement, within.placement if within is not None else asset.placement
        hall, row = place.hall or around.hall, place.row or around.row
        position = place.position if place.position is not None else around.position
        rack = asset.name if asset.kind == "Rack" else within.name if within is not None else asset.within
        unit = place.rack_unit
    elif before is not None:
        hall, row, position, rack = before.hall, before.row, before.position, before.rack
        unit = before.rack_unit
    else:
        hall, row, position, rack, unit = "", "", None, "", None
    confidence: float | None
    if finding is not None:
        since, summary, confidence = finding.since, finding.summary, finding.confidence
        limit_s, steps = finding.time_to_limit_s, finding.check_first
    elif before is not None:
        since, summary, confidence = before.since, before.summary, before.confidence
        limit_s, steps = before.time_to_limit_s, before.check_first
    else:
        since, summary, confidence, limit_s, steps = transition.at, "", None, None, ()
    if rule is not None:
        title = rule.headline(subject, name)
        steps = steps or rule.rationale.action
    else:
        title = before.title if before is not None else summary or transition.key.rule
    return Item(
        alarm=transition.occurrence,
        step=transition.seq,
        news=news,
        at=transition.at,
        rule=transition.key.rule,
        kind=transition.kind,
        priority=transition.priority,
        title=clean(title),
        summary=clean(summary),
        site=clean(subject.site),
        asset=clean(subject.asset),
        name=clean(name),
        hall=clean(hall),
        row=clean(row),
        position=position,
        rack=clean(rack),
        since=since,
        confidence=confidence,
        time_to_limit_s=limit_s,
        check_first=tuple(clean(line) for line in steps[:STEPS_MAX]),
        respond_within_min=rule.rationale.respond_within_min if rule is not None else None,
        link=f"{console}#/alarms/{quote(transition.occurrence, safe='')}" if console else "",
        rack_unit=unit,
        by=clean(transition.by),
    )


def news_of(transition: Transition) -> News | None:
    """What a transition is to whoever is told; None where it is no news: what the design hides, and most of what people
    do among themselves."""
    if transition.hidden:
        return None
    change, after = transition.change, transition.after
    if change in (Change.RETURNED, Change.LATCHED) or after is State.NORMAL:
        return News.CLEARED
    if change in _ANSWERS and transition.before in _WAITING:
        return News.ACKNOWLEDGED
    if after is not State.UNACKNOWLEDGED:
        return None
    if change is Change.ACTIVATED:
        return News.BEGAN if transition.before in (State.NORMAL, State.SUPPRESSED) else News.AGAIN
    return _ASKING.get(change)


def clean(text: str) -> str:
    """The text on one line, without anything that a terminal, a mail header or a reader's eye takes for a command:
    control, format and surrogate characters become spaces."""
    shown = text[: 4 * WORDS_MAX]
    if not shown.isprintable():
        shown = "".join(" " if unicodedata.category(each) in _UNSEEN else each for each in shown)
    return cut(" ".join(shown.split()), WORDS_MAX)


def subject_of(notice: Notice) -> str:
    """One line: how urgent, what, where."""
    latest = _latest(notice)
    if len(latest) == 1:
        told = latest[0]
        return f"{_head(told)}: {told.title} ({_site(told)})"
    standing = [told for told in latest if told.news is not News.CLEARED]
    first = min(standing or latest, key=_urgency)
    return f"{_head(first)}: {first.title} ({_site(first)}), and {len(latest) - 1} more"


def text_of(notice: Notice) -> str:
    """The whole message as plain text: what, where, since when, how sure, what to check first, time to limit, and a
    link for each alarm; the most urgent first."""
    parts = [f"{part.text}\n{part.word}: {part.link}" if part.link else part.text for part in parts_of(notice)]
    return "\n\n".join(parts) + "\n"


def parts_of(notice: Notice) -> list[Part]:
    """The message in parts, for those who show links apart: how many alarms, where they are several; each of the most
    urgent; how many more there are."""
    zone = ZoneInfo(notice.zone)
    latest = sorted(_latest(notice), key=lambda told: (told.news is News.CLEARED, *_urgency(told)))
    parts = [Part(_count(latest))] if len(latest) > 1 else []
    parts += [Part(_tell(told, zone), told.link) for told in latest[:DETAILED_MAX]]
    if len(latest) > DETAILED_MAX:
        link = f"{notice.console}#/alarms" if notice.console else ""
        parts.append(Part(f"And {len(latest) - DETAILED_MAX} more.", link, "All of them"))
    return parts


def fold(parts: Sequence[Part], keep: int) -> list[Part]:
    """The first `keep` of a message's parts, fewer than there are, and a last one that says that there is more."""
    link = next((part.link.partition("#")[0] for part in parts if part.link), "")
    return [*parts[:keep], Part("There is more than fits in here.", f"{link}#/alarms" if link else "", "All of them")]


def cut(text: str, length: int) -> str:
    """The text, or its beginning and "…", `length` characters at most."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


_ASKING = MappingProxyType(
    {
        Change.ESCALATED: News.WORSE,
        Change.REMINDED: News.STILL,
        Change.UNSHELVED: News.AGAIN,
        Change.BROUGHT_BACK: News.AGAIN,
    }
)
_ANSWERS = frozenset({Change.ACKNOWLEDGED, Change.SHELVED, Change.TAKEN_OUT})
_WAITING = frozenset({State.UNACKNOWLEDGED})
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def _tell(told: Item, zone: ZoneInfo) -> str:
    lines = [f"{_head(told)}: {told.title}"]
    if told.summary and told.summary != told.title:
        lines.append(told.summary)
    if told.news is News.TEST:
        return "\n".join([*lines, f"Sent: {_time(told.at, zone)}"])
    if told.unanswered_min is not None and told.news is News.UNANSWERED:
        lines.append(f"Nobody has acknowledged it within {_span(told.unanswered_min * 60)}.")
    if told.remark:
        lines.append(told.remark)
    lines.append(f"Where: {_where(told)}")
    lines.append(f"Since: {_time(told.since, zone)}")
    if told.news is News.CLEARED:
        lines.append(f"Cleared: {_time(told.at, zone)}")
    elif told.news is News.ACKNOWLEDGED:
        lines.append(f"Acknowledged: {_time(told.at, zone)}{f', by {told.by}' if told.by else ''}")
    else:
        if told.confidence is not None:
            lines.append(f"How sure: {told.confidence:.0%}")
        if told.time_to_limit_s is not None:
            lines.append(f"Time to limit: {_span(told.time_to_limit_s)}")
        if told.respond_within_min is not None:
            lines.append(f"Respond within: {_span(told.respond_within_min * 60)}")
        if told.check_first:
            lines.append("Check first:")
            lines += [f"  {number}. {line}" for number, line in enumerate(told.check_first, 1)]
    return "\n".join(lines)


def _latest(notice: Notice) -> list[Item]:
    """Of each alarm its last news, in the order in which the alarms came up."""
    return list({told.alarm: told for told in notice.items}.values())


def _urgency(told: Item) -> tuple[int, datetime, str]:
    return told.priority, told.since, told.alarm


def _head(told: Item) -> str:
    word = told.priority.word.upper()
    if told.news is News.CLEARED:
        return f"CLEARED, was {told.priority.word}"
    if told.news is News.TEST:
        return "TEST"
    return word if told.news is News.BEGAN else f"{word}, {told.news.value}"


def _site(told: Item) -> str:
    return told.site or "this service"


def _where(told: Item) -> str:
    words = [
        f"site {told.site}" if told.site else "this service",
        f"hall {told.hall}" if told.hall else "",
        f"row {told.row}" if told.row else "",
        f"position {told.position}" if told.position is not None else "",
        f"rack {told.rack}" if told.rack else "",
        f"unit {told.rack_unit}" if told.rack_unit is not None else "",
        told.name if told.name and told.name != told.rack else "",
    ]
    return ", ".join(word for word in words if word)


def _count(latest: Sequence[Item]) -> str:
    standing = Counter(told.priority for told in latest if told.news is not News.CLEARED)
    words = [f"{count} {priority.word}" for priority, count in sorted(standing.items())]
    cleared = len(latest) - standing.total()
    if cleared:
        words.append(f"{cleared} cleared")
    return f"{len(latest)} alarms: {', '.join(words)}"


def _time(at: datetime, zone: ZoneInfo) -> str:
    """The time by the clocks of the zone, with their distance from UTC: names of zones are ambiguous."""
    local = at.astimezone(zone)
    away = f"{local:%z}"
    words = "UTC" if away == "+0000" else f"UTC{away[:3]}:{away[3:]}"
    return f"{local:%Y-%m-%d %H:%M:%S} {words}"


def _span(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"

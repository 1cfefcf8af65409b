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

from alerts.lifecycle import Change, Priority, State, Transition
from alerts.rules import Rule
from dcim.core.assets import Asset
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
    CLEARED = "cleared"
    """Its condition is gone, or a person has closed it."""


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
    kind: FindingKind
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

    @property
    def priority(self) -> Priority:
        """The most urgent of what is in it."""
        return min(item.priority for item in self.items)


class Notifier(Protocol):
    """Carries notices to one receiver. tests/contract/test_notifiers.py holds every implementation to this."""

    async def send(self, notice: Notice) -> str:
        """Returns when the other end has taken it, with what it said: the proof of delivery, in one line.

        Raises Transient where the same may work later, Permanent where it never will, and nothing else. It takes a
        bounded time, and may be asked to send the same notice again.
        """
        ...

    async def close(self) -> None:
        """Lets connections go."""
        ...


def dedup_key(receiver: str, alarm: str, step: int) -> str:
    """What tells one piece of news for one receiver from all others, whatever process works it out, and when."""
    return hashlib.sha256(f"{receiver}\n{alarm}\n{step}".encode()).hexdigest()[:32]


def item(
    transition: Transition, news: News, rule: Rule | None, asset: Asset | None, before: Item | None, console: str
) -> Item:
    """The news of a transition.

    rule, asset: as they are known now; None where they are not. before: what was told of this alarm last, from which it
    has what the transition itself does not say. console: where the console is, ending in "/"; "" makes no link.
    """
    subject, finding = transition.key.subject, transition.finding
    name = asset.name if asset is not None else before.name if before is not None else subject.asset
    if asset is not None:
        place = asset.placement
        hall, row, position = place.hall, place.row, place.position
        rack = asset.name if asset.kind == "Rack" else asset.within
    elif before is not None:
        hall, row, position, rack = before.hall, before.row, before.position, before.rack
    else:
        hall, row, position, rack = "", "", None, ""
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
    )


def news_of(transition: Transition) -> News | None:
    """What a transition is to whoever is told; None where it is no news: what the design hides, and what people do
    among themselves."""
    if transition.hidden:
        return None
    change, after = transition.change, transition.after
    if change in (Change.RETURNED, Change.LATCHED) or after is State.NORMAL:
        return News.CLEARED
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
    words = " ".join(shown.split())
    return words if len(words) <= WORDS_MAX else f"{words[: WORDS_MAX - 1]}…"


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
    latest = sorted(_latest(notice), key=lambda told: (told.news is News.CLEARED, *_urgency(told)))
    parts = [_count(latest)] if len(latest) > 1 else []
    parts += [_tell(told) for told in latest[:DETAILED_MAX]]
    if len(latest) > DETAILED_MAX:
        more = f"And {len(latest) - DETAILED_MAX} more."
        parts.append(f"{more}\nAll of them: {notice.console}#/alarms" if notice.console else more)
    return "\n\n".join(parts) + "\n"


_ASKING = MappingProxyType(
    {
        Change.ESCALATED: News.WORSE,
        Change.REMINDED: News.STILL,
        Change.UNSHELVED: News.AGAIN,
        Change.BROUGHT_BACK: News.AGAIN,
    }
)
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def _tell(told: Item) -> str:
    lines = [f"{_head(told)}: {told.title}"]
    if told.summary and told.summary != told.title:
        lines.append(told.summary)
    lines.append(f"Where: {_where(told)}")
    lines.append(f"Since: {_time(told.since)}")
    if told.news is News.CLEARED:
        lines.append(f"Cleared: {_time(told.at)}")
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
    if told.link:
        lines.append(f"Open: {told.link}")
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


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _span(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"

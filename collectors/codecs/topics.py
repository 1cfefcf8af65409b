"""Topics: MQTT's filters, as a codec uses them to tell its own messages.

Lives here: what a filter matches, and what two of them match both. Not here: subscribing (collectors.mqtt)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest


def matcher(filters: Sequence[str]) -> re.Pattern[bytes]:
    """A pattern whose `match` is true of the topics that at least one of the filters matches. Filters are valid.

    >>> pattern = matcher(["plant/+/temp", "telegraf/#"])
    >>> [bool(pattern.match(topic)) for topic in (b"plant/a/temp", b"plant/a/b/temp", b"telegraf", b"telegraf/x/y")]
    [True, False, True, True]
    """
    return re.compile(b"(?:" + b"|".join(_pattern(topic_filter).encode() for topic_filter in filters) + rb")\Z")


def _pattern(topic_filter: str) -> str:
    levels = topic_filter.split("/")
    anything = levels[-1] == "#"
    # What begins with "$" is the broker's own: no wildcard in the first place matches it.
    head = "(?!\\$)" if levels[0] in {"+", "#"} else ""
    fixed = "/".join("[^/]*" if level == "+" else re.escape(level) for level in levels[: -1 if anything else None])
    if not anything:
        return head + fixed
    return head + ("(?s:.*)" if len(levels) == 1 else f"{fixed}(?:/(?s:.*))?")


def overlap(one: str, other: str) -> bool:
    """Whether there is a topic that both filters match.

    >>> overlap("plant/+/temp", "plant/a/#"), overlap("plant/+/temp", "plant/a/flow"), overlap("a/#", "a")
    (True, False, True)
    """
    for level, against in zip_longest(one.split("/"), other.split("/")):
        if "#" in {level, against}:
            return True
        if level is None or against is None:
            return False
        if level != against and "+" not in {level, against}:
            return False
    return True


def common(one: str, other: str) -> str | None:
    """The filter of the topics that both filters match; None where there is none.

    >>> common("a/+/#", "+/b/c"), common("#", "a/#"), common("a/b", "a/c"), common("a/#", "a"), common("a/+", "a")
    ('a/b/c', 'a/#', None, 'a', None)
    """
    ours, theirs, levels = one.split("/"), other.split("/"), list[str]()
    for place, (level, against) in enumerate(zip_longest(ours, theirs)):
        if level == "#":
            return "/".join(levels + theirs[place:])
        if against == "#":
            return "/".join(levels + ours[place:])
        if level is None or against is None or not (level == against or "+" in {level, against}):
            return None
        levels.append(against if level == "+" else level)
    return "/".join(levels)

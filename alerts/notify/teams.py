"""Microsoft Teams: a notice as an adaptive card, for the webhook of a workflow ("When a Teams webhook request is
received"). The older connectors' message cards are not spoken.

What alarms are called stands in text runs alone, in which Teams looks for no markup; who is mentioned is a list of its
own in a card, and ours has none.

Lives here: the message, and what Teams bears of it. Not here: how it is posted (chat.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from alerts.notices import Notice, Part, fold, parts_of, subject_of

BODY_BYTES_MAX = 27_000
"""Teams bears 28 KB of a message; what is above this is folded."""
CARD = "application/vnd.microsoft.card.adaptive"


def body_of(notice: Notice) -> bytes:
    """What is sent: JSON, BODY_BYTES_MAX at most."""
    parts, subject = parts_of(notice), subject_of(notice)
    body = msgspec.json.encode(_message(notice.key, subject, parts))
    for keep in range(len(parts) - 1, -1, -1):
        if len(body) <= BODY_BYTES_MAX:
            break
        body = msgspec.json.encode(_message(notice.key, subject, fold(parts, keep)))
    return body


def _message(key: str, subject: str, parts: Sequence[Part]) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = []
    for number, part in enumerate(parts):
        for line, text in enumerate(part.text.splitlines()):
            run = {"type": "TextRun", "text": text} | ({"weight": "Bolder"} if line == 0 else {})
            spacing = {"spacing": "None"} if line else {"separator": number > 0}
            blocks.append({"type": "RichTextBlock", "inlines": [run], **spacing})
        if part.link:
            action = {"type": "Action.OpenUrl", "title": part.word, "url": part.link}
            blocks.append({"type": "ActionSet", "actions": [action]})
    blocks[0]["id"] = key
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": subject,
        "msteams": {"width": "Full"},
        "body": blocks,
    }
    return {"type": "message", "attachments": [{"contentType": CARD, "contentUrl": None, "content": card}]}

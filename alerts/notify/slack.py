"""Slack: a notice as blocks, for an incoming webhook.

What alarms are called stands in `plain_text` alone, in which Slack looks for neither mentions nor markup nor links.

Lives here: the message, and what Slack bears of it. Not here: how it is posted (chat.py)."""

from __future__ import annotations

from typing import Any

import msgspec

from alerts.notices import Notice, cut, parts_of, subject_of

TEXT_MAX = 3_000
"""Characters of the text of one block, which Slack bears (Block Kit, section)."""


def body_of(notice: Notice) -> bytes:
    """What is sent: JSON, of at most 25 blocks of the 50 that Slack bears."""
    blocks: list[dict[str, Any]] = []
    for part in parts_of(notice):
        plain = {"type": "plain_text", "text": cut(part.text, TEXT_MAX), "emoji": False}
        blocks.append({"type": "section", "text": plain})
        if part.link:
            blocks.append(
                {"type": "context", "elements": [{"type": "mrkdwn", "text": f"<{_link(part.link)}|{part.word}>"}]}
            )
    blocks[0]["block_id"] = notice.key
    message = {
        "text": escaped(cut(subject_of(notice), TEXT_MAX // 5)),
        "mrkdwn": False,
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": blocks,
    }
    return msgspec.json.encode(message)


def escaped(text: str) -> str:
    """The text, with the three characters that mean something to Slack written so that they mean nothing.

    >>> escaped("<!channel> a & b")
    '&lt;!channel&gt; a &amp; b'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _link(address: str) -> str:
    return escaped(address).replace("|", "%7C")

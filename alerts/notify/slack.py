"""Slack: a notice as blocks, through an incoming webhook.

Lives here: the body, and what Slack bears of it. Not here: how it travels (post.py), when it is tried again
(alerts.outbox). An incoming webhook cannot change a message that it has posted, so each notice is one of its own."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx
import msgspec

from alerts.notices import Notice, cut, parts_of, subject_of
from alerts.notify.post import Post, kept

TEXT_MAX = 3_000
"""Characters of the text of one block, which Slack bears (Block Kit, section)."""


class Slack:
    """Posts notices into the channel of one incoming webhook. `Notifier`.

    What alarms are called stands in `plain_text` alone, in which Slack looks for neither mentions nor markup nor links.
    """

    def __init__(
        self,
        url: Callable[[], str],
        clock: Callable[[], datetime],
        ca: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """url: the webhook's address, which is its password too; read anew for each message. ca: what to trust; the
        system's authorities when left out. transport: for tests."""
        self._url = url
        self._post = Post("Slack", clock, ca, transport)

    async def send(self, notice: Notice) -> str:
        """As `Notifier.send`. The proof is the status and "ok"."""
        url = kept(self._url)
        return await self._post.send(url, msgspec.json.encode(body_of(notice)), {"Idempotency-Key": notice.key})

    async def close(self) -> None:
        """As `Notifier.close`."""
        await self._post.close()


def body_of(notice: Notice) -> dict[str, Any]:
    """What is sent, before it becomes JSON: at most 25 blocks of the 50 that Slack bears."""
    blocks: list[dict[str, Any]] = []
    for part in parts_of(notice):
        plain = {"type": "plain_text", "text": cut(part.text, TEXT_MAX), "emoji": False}
        blocks.append({"type": "section", "text": plain})
        if part.link:
            blocks.append(
                {"type": "context", "elements": [{"type": "mrkdwn", "text": f"<{_link(part.link)}|{part.word}>"}]}
            )
    blocks[0]["block_id"] = notice.key
    return {
        "text": escaped(cut(subject_of(notice), TEXT_MAX // 5)),
        "mrkdwn": False,
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": blocks,
    }


def escaped(text: str) -> str:
    """The text, with the three characters that mean something to Slack written so that they mean nothing.

    >>> escaped("<!channel> a & b")
    '&lt;!channel&gt; a &amp; b'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _link(address: str) -> str:
    return escaped(address).replace("|", "%7C")

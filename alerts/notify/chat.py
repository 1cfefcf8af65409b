"""Chats: a notice as one message, POSTed to an address that is its own password.

Lives here: that. Not here: what a chat takes for a message (slack.py, teams.py), how it travels (post.py), when it is
tried again (alerts.outbox). Neither chat lets such an address change what it has posted, so each notice is a message of
its own."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import datetime

import httpx

from alerts.notices import Notice
from alerts.notify.post import Post, kept


class Chat:
    """Posts notices into one channel. `Notifier`."""

    def __init__(
        self,
        what: str,
        body_of: Callable[[Notice], bytes],
        url: Callable[[], str],
        clock: Callable[[], datetime],
        ca: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """what: the chat's name, in errors. body_of: makes its message. url: read anew for each message. ca: what to
        trust; the system's authorities when left out. transport: for tests."""
        self._body_of, self._url = body_of, url
        self._post = Post(what, clock, ca, transport)

    async def send(self, notice: Notice) -> str:
        """As `Notifier.send`. The proof is the status and the beginning of the answer."""
        return await self._post.send(kept(self._url), self._body_of(notice), {"Idempotency-Key": notice.key})

    async def close(self) -> None:
        """As `Notifier.close`."""
        await self._post.close()

"""Webhooks: a notice as JSON in a signed POST.

Lives here: the body and the signature. Not here: how it travels (post.py), when it is tried again (alerts.outbox)."""

from __future__ import annotations

import hashlib
import hmac
import ssl
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

import httpx
import msgspec

from alerts.notices import Item, Notice, subject_of, text_of
from alerts.notify.post import Post, kept


class Webhook:
    """POSTs notices to one URL. `Notifier`.

    The header `X-Dcim-Signature` is "v1=" and the HMAC-SHA256, in hex, of `X-Dcim-Timestamp` (seconds since 1970), a
    dot and the body. `Idempotency-Key` is the notice's key, so a receiver can tell a repetition.
    """

    def __init__(
        self,
        url: str,
        secret: Callable[[], str],
        clock: Callable[[], datetime],
        ca: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """secret: read anew for each message, so that it can be changed. ca: what to trust; the system's authorities
        when left out. transport: for tests."""
        self._url, self._secret, self._clock = url, secret, clock
        self._post = Post("webhook", clock, ca, transport)

    async def send(self, notice: Notice) -> str:
        """As `Notifier.send`. The proof is the status and the beginning of the answer."""
        body = msgspec.json.encode(body_of(notice))
        stamp = str(int(self._clock().timestamp()))
        secret = kept(self._secret)
        headers = {
            "Idempotency-Key": notice.key,
            "X-Dcim-Timestamp": stamp,
            "X-Dcim-Signature": signature(secret, stamp, body),
        }
        return await self._post.send(self._url, body, headers, (secret,))

    async def close(self) -> None:
        """As `Notifier.close`."""
        await self._post.close()


def body_of(notice: Notice) -> dict[str, Any]:
    """What is sent, before it becomes JSON."""
    return {
        "version": 1,
        "key": notice.key,
        "receiver": notice.receiver,
        "thread": notice.thread,
        "priority": notice.priority.word,
        "subject": subject_of(notice),
        "text": text_of(notice),
        "news": [_news(told) for told in notice.items],
    }


def signature(secret: str, stamp: str, body: bytes) -> str:
    """What `X-Dcim-Signature` holds.

    >>> signature("secret", "1700000000", b"{}")[:12]
    'v1=b8569b787'
    """
    return "v1=" + hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _news(told: Item) -> dict[str, Any]:
    return asdict(told) | {"priority": told.priority.word}

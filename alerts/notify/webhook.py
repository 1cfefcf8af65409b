"""Webhooks: a notice as JSON in a signed POST.

Lives here: the body, the signature, and the translation of httpx's errors and of HTTP's answers. Not here: when it is
tried again (alerts.outbox)."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ssl
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

import httpx
import msgspec

from alerts.notices import Item, Notice, clean, subject_of, text_of
from dcim.core.errors import Permanent, Transient

SEND_S = 10.0
"""From the first byte to the last, a message takes no longer."""
ANSWER_BYTES = 4_096
"""So much of an answer is read; the rest is left."""
_LATER = frozenset({408, 425, 429})
"""Answers of the 4xx family that pass by themselves."""


class Webhook:
    """POSTs notices to one URL. `Notifier`.

    The header `X-Dcim-Signature` is "v1=" and the HMAC-SHA256, in hex, of `X-Dcim-Timestamp` (seconds since 1970), a
    dot and the body. `Idempotency-Key` is the notice's key, so a receiver can tell a repetition. Redirects are not
    followed, and neither proxies nor logins are taken from the environment.
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
        self._client = httpx.AsyncClient(
            verify=ca or ssl.create_default_context(),
            timeout=SEND_S,
            follow_redirects=False,
            trust_env=False,
            transport=transport,
        )

    async def send(self, notice: Notice) -> str:
        """As `Notifier.send`. The proof is the status and the beginning of the answer."""
        body = msgspec.json.encode(body_of(notice))
        stamp = str(int(self._clock().timestamp()))
        try:
            secret = self._secret()
        except Permanent as error:  # somebody will put the file right: no reason to give the alarm up
            raise Transient(error.what, where=error.where, todo=error.todo) from error
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "dcim",
            "Idempotency-Key": notice.key,
            "X-Dcim-Timestamp": stamp,
            "X-Dcim-Signature": signature(secret, stamp, body),
        }
        try:
            async with (
                asyncio.timeout(SEND_S),
                self._client.stream("POST", self._url, content=body, headers=headers) as answer,
            ):
                said = b""
                async for piece in answer.aiter_raw():
                    said += piece[: ANSWER_BYTES - len(said)]
                    if len(said) >= ANSWER_BYTES:
                        break
        except TimeoutError as error:
            raise Transient(f"no answer in {SEND_S:g} s", where=self._where) from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise Permanent(f"cannot be called: {error}", where=self._where, todo="Check its url.") from error
        except httpx.HTTPError as error:
            raise Transient(f"{type(error).__name__}: {error}", where=self._where) from error
        told = clean(f"{answer.status_code} {said.decode('utf-8', 'replace')}")
        if answer.is_success:
            return told
        if answer.status_code in _LATER or answer.status_code >= 500:
            raise Transient(f"answered {told}", where=self._where)
        raise Permanent(f"answered {told}", where=self._where)

    async def close(self) -> None:
        """As `Notifier.close`."""
        await self._client.aclose()

    @property
    def _where(self) -> str:
        """Host alone: the path of a webhook often is its password."""
        return f"webhook at {httpx.URL(self._url).host}"


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

"""JSON over HTTP: one POST to somebody who takes notices.

Lives here: the conversation, how long it may take, the translation of httpx's errors and of HTTP's answers, and that no
secret leaves by an error or a log. Not here: what is said (webhook.py, slack.py, teams.py, pagerduty.py), when it is
tried again (alerts.outbox)."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime

import httpx

from alerts.notices import Later, clean
from dcim.core.errors import Permanent, Transient

SEND_S = 10.0
"""From the first byte to the last, a message takes no longer."""
ANSWER_BYTES = 4_096
"""So much of an answer is read; the rest is left."""
LATER_S_MAX = 3_600.0
"""Whoever asks to be left alone for longer is asked again after this."""
LATER = frozenset({408, 425, 429})
"""Answers of the 4xx family that pass by themselves."""

# It logs each address at INFO, and the path of a webhook often is its password.
logging.getLogger("httpx").setLevel(logging.WARNING)


class Post:
    """A client that POSTs JSON.

    Redirects are not followed, and neither proxies nor logins are taken from the environment.
    """

    def __init__(
        self,
        what: str,
        clock: Callable[[], datetime],
        ca: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """what: a word for the other end, in errors: "webhook". ca: what to trust; the system's authorities when left
        out. transport: for tests."""
        self._what, self._clock = what, clock
        self._client = httpx.AsyncClient(
            verify=ca or ssl.create_default_context(),
            timeout=SEND_S,
            follow_redirects=False,
            trust_env=False,
            transport=transport,
        )

    async def send(self, url: str, body: bytes, headers: Mapping[str, str], secrets: Sequence[str] = ()) -> str:
        """Status and beginning of the answer, where it says that the message was taken.

        secrets: what must not be in that, nor in an error, should the other end say it back; the address is one of
        them. Raises Transient, Later where the other end says when, and Permanent.
        """
        where = self._where(url)
        hidden = (url, *_tail(url), *secrets)
        sent = {"Content-Type": "application/json", "User-Agent": "dcim", **headers}
        try:
            async with (
                asyncio.timeout(SEND_S),
                self._client.stream("POST", url, content=body, headers=sent) as answer,
            ):
                said = b""
                async for piece in answer.aiter_raw():
                    said += piece[: ANSWER_BYTES - len(said)]
                    if len(said) >= ANSWER_BYTES:
                        break
        except TimeoutError as error:
            raise Transient(f"no answer in {SEND_S:g} s", where=where) from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            words = without(str(error), hidden)
            raise Permanent(f"cannot be called: {words}", where=where, todo="Check its url.") from None
        except httpx.HTTPError as error:
            raise Transient(f"{type(error).__name__}: {without(str(error), hidden)}", where=where) from error
        told = clean(without(f"{answer.status_code} {said.decode('utf-8', 'replace')}", hidden))
        if answer.is_success:
            return told
        if answer.status_code in LATER or answer.status_code >= 500:
            after_s = retry_after_s(answer.headers.get("Retry-After", ""), self._clock())
            if after_s is not None:
                raise Later(f"answered {told}", after_s=after_s, where=where)
            raise Transient(f"answered {told}", where=where)
        raise Permanent(f"answered {told}", where=where)

    async def close(self) -> None:
        """Lets connections go."""
        await self._client.aclose()

    def _where(self, url: str) -> str:
        """Host alone: the path of a webhook often is its password."""
        try:
            return f"{self._what} at {httpx.URL(url).host}"
        except httpx.InvalidURL:
            return self._what


def retry_after_s(told: str, at: datetime) -> float | None:
    """What a Retry-After header says (RFC 9110, 10.2.3: seconds, or a date), in seconds from `at`, LATER_S_MAX at most;
    None where it says nothing that can be understood.

    >>> retry_after_s("30", datetime.min), retry_after_s("soon", datetime.min), retry_after_s("9" * 30, datetime.min)
    (30.0, None, 3600.0)
    """
    told = told.strip()[:64]
    if told.isascii() and told.isdigit():
        return min(LATER_S_MAX, float(told))
    try:
        until = parsedate_to_datetime(told)
    except ValueError:
        return None
    if until.tzinfo is None:
        return None
    return min(LATER_S_MAX, max(0.0, (until - at).total_seconds()))


def _tail(url: str) -> tuple[str, ...]:
    """What of an address may be a password: all that follows the host."""
    try:
        told = httpx.URL(url)
    except httpx.InvalidURL:
        return ()
    return tuple(
        part for part in (told.raw_path.decode("ascii"), told.path, told.query.decode("ascii")) if len(part) > 1
    )


def without(text: str, secrets: Sequence[str]) -> str:
    """The text with "***" where a secret stood."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def kept(secret: Callable[[], str]) -> str:
    """The secret, read now. Raises Transient where it cannot be read: somebody will put the file right, and that is no
    reason to give an alarm up."""
    try:
        return secret()
    except Permanent as error:
        raise Transient(error.what, where=error.where, todo=error.todo) from error

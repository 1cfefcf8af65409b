"""Answers that take long to make and are asked for again: kept for a while, with an ETag, in the form that is wanted.

Lives here: the cache, ETags, forms (JSON, CSV, Arrow, pages to print). Not here: what an answer says (the routes)."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from threading import Lock
from typing import Final, Literal, NamedTuple

import msgspec
import polars as pl
from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from dcim.app.api.context import Context

Form = Literal["json", "csv", "arrow"]

BYTES_MAX: Final = 64 * 1_048_576
"""Of answers that are kept; the one that was asked for longest ago goes first."""
ANSWER_BYTES_MAX: Final = 8 * 1_048_576
"""A larger answer is not kept."""
SQUEEZED_FROM: Final = 1_024
"""A smaller answer goes as it is."""

JSON, CSV, ARROW, HTML = (
    "application/json",
    "text/csv; charset=utf-8",
    "application/vnd.apache.arrow.stream",
    "text/html; charset=utf-8",
)


@dataclass(frozen=True, slots=True)
class Body:
    """An answer as it is sent."""

    content: bytes
    squeezed: bytes | None
    """By gzip."""
    media: str
    etag: str
    """Of the content, whether squeezed or not, and weak for that (RFC 9110, 8.8.1): who has the same is told so."""

    @classmethod
    def of(cls, content: bytes, media: str) -> Body:
        """With its ETag, and squeezed where that is worth it."""
        squeezed = gzip.compress(content, 3, mtime=0) if len(content) >= SQUEEZED_FROM and media != ARROW else None
        return cls(content, squeezed, media, f'W/"{hashlib.blake2b(content, digest_size=12).hexdigest()}"')

    def reply(self, if_none_match: str, accept_encoding: str) -> Reply:
        """What goes to a client that sent these two headers; empty where it sent none."""
        headers = [
            (b"etag", self.etag.encode()),
            (b"cache-control", b"no-cache"),
            (b"vary", b"Accept-Encoding"),
        ]
        if if_none_match and has(if_none_match, self.etag):
            return Reply(304, headers, b"")
        content = self.content
        if self.squeezed is not None and takes_gzip(accept_encoding):
            content = self.squeezed
            headers.append((b"content-encoding", b"gzip"))
        headers += (b"content-type", self.media.encode()), (b"content-length", b"%d" % len(content))
        return Reply(200, headers, content)


class Reply(NamedTuple):
    """Status, headers and body, as ASGI has them."""

    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes


class Kept(NamedTuple):
    """An answer, and until when it may be given."""

    body: Body
    until_us: int


class Answers:
    """Answers by what was asked, each until its time is over. Any thread may call."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()
        self.making: dict[Hashable, tuple[int, asyncio.Task[Kept]]] = {}
        """What is being made just now, and until when it may be given: who asks the same waits for it. The event loop's
        alone."""

    def find(self, key: Hashable, at_us: int) -> Kept | None:
        """The answer that is kept for a question, if its time is not over."""
        with self._lock:
            found = self._kept.get(key)
            if found is None or found.until_us <= at_us:
                return None
            self._kept.move_to_end(key)
            return found

    def keep(self, key: Hashable, kept: Kept) -> None:
        """Keeps an answer, and lets go of others where there is no room."""
        size = _size(kept.body)
        if size > ANSWER_BYTES_MAX:
            return
        with self._lock:
            if key in self._kept:
                self._bytes -= _size(self._kept.pop(key).body)
            self._kept[key] = kept
            self._bytes += size
            while self._bytes > BYTES_MAX:
                _, gone = self._kept.popitem(last=False)
                self._bytes -= _size(gone.body)


def _size(body: Body) -> int:
    return len(body.content) + len(body.squeezed or b"")


async def answer(
    request: Request,
    key: Hashable,
    version: int,
    at_us: int,
    keep_s: float,
    make: Callable[[], tuple[bytes, str]],
    *,
    blind_s: float = 0.0,
) -> Response:
    """The answer to a request: the one that is kept for it, or is being made for somebody else, or a new one, made in a
    thread. 304 where the client has it already.

    key: what of the service's state the answer depends on, beside path and query. version: of the plant that it is made
    of. keep_s: for how long after at_us it is right enough; no way to it gives it any longer. make: bytes and media
    type; what it raises goes to the client as a problem. blind_s: for so long after at_us `KeptFirst` may give it while
    the plant is the same, without asking whether `key` is."""
    answers: Answers = request.app.state.answers
    whole = (request.url.path, request.url.query, key)
    kept = answers.find(whole, at_us)
    if kept is None:
        kept = await _made(answers, whole, at_us, keep_s, make)
    if blind_s:
        until_us = min(kept.until_us, at_us + int(blind_s * 1e6))
        answers.keep(_blind(request.scope, version), Kept(kept.body, until_us))
    reply = kept.body.reply(request.headers.get("if-none-match", ""), request.headers.get("accept-encoding", ""))
    response = Response(reply.content, reply.status)
    response.raw_headers = reply.headers
    return response


async def _made(
    answers: Answers, whole: Hashable, at_us: int, keep_s: float, make: Callable[[], tuple[bytes, str]]
) -> Kept:
    until_us, task = answers.making.get(whole, (0, None))
    if task is None or until_us <= at_us:
        until_us = at_us + int(keep_s * 1e6)

        async def work() -> Kept:
            kept = Kept(await run_in_threadpool(lambda: Body.of(*make())), until_us)
            answers.keep(whole, kept)
            return kept

        task = asyncio.create_task(work(), name="answer")
        answers.making[whole] = until_us, task

        def over(done: asyncio.Task[Kept]) -> None:
            if answers.making.get(whole, (0, None))[1] is done:
                del answers.making[whole]

        task.add_done_callback(over)
    return await asyncio.shield(task)  # one client that goes away must not take it from the others


def _blind(scope: Scope, version: int) -> Hashable:
    return scope["path"], scope["query_string"], version


class KeptFirst:
    """Gives the answers that are kept before anything else looks at the question: what is asked for again and again
    costs next to nothing. Plain ASGI; every other request goes on as it came.

    Whatever decides who may ask, and counts who does, has to stand before it."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]) -> None:
        """headers: what every answer of ours carries besides."""
        self._app = app
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or whatever else the server hands over."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        state = scope["app"].state
        context: Context = state.context
        answers: Answers = state.answers
        kept = answers.find(_blind(scope, context.watch.plant.version), context.clock.us())
        if kept is None:
            await self._app(scope, receive, send)
            return
        told = {b"if-none-match": "", b"accept-encoding": ""}
        for name, value in scope["headers"]:
            if name in told:  # a header that comes twice is a list in two parts
                told[name] = f"{told[name]},{value.decode('latin-1')}" if told[name] else value.decode("latin-1")
        reply = kept.body.reply(*told.values())
        headers = [*reply.headers, *self._headers]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.content})


@lru_cache(maxsize=64)
def takes_gzip(accept_encoding: str) -> bool:
    """Whether a client that sends this header wants gzip (RFC 9110, 12.5.3).

    >>> takes_gzip("br, gzip;q=0.5"), takes_gzip("gzip;q=0, *"), takes_gzip("*"), takes_gzip("")
    (True, False, True, False)
    """
    wanted: dict[str, bool] = {}
    for one in accept_encoding.lower().split(","):
        name, _, weight = one.partition(";")
        wanted[name.strip()] = not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight)
    return wanted.get("gzip", wanted.get("x-gzip", wanted.get("*", False)))


def has(if_none_match: str, etag: str) -> bool:
    """Whether a client that sends this header has what the ETag stands for, compared weakly (RFC 9110, 13.1.2).

    >>> has('"a", W/"b"', 'W/"b"'), has("*", 'W/"b"'), has('"ab"', 'W/"b"')
    (True, True, False)
    """
    known = etag.removeprefix("W/")
    return if_none_match.strip() == "*" or any(
        one.strip().removeprefix("W/") == known for one in if_none_match.split(",")
    )


def as_json(told: object) -> bytes:
    """Plain data as JSON; times in RFC 3339."""
    return msgspec.json.encode(told)


def as_table(rows: pl.DataFrame, form: Form) -> tuple[bytes, str]:
    """A table as CSV (RFC 4180, empty where a value is missing) or as an Arrow IPC stream."""
    if form == "arrow":
        stream = BytesIO()
        rows.write_ipc_stream(stream)
        return stream.getvalue(), ARROW
    texts = [
        pl.when(pl.col(name).str.contains(r"^[=+\-@\t\r]")).then(pl.concat_str(pl.lit("'"), pl.col(name)))
        .otherwise(pl.col(name)).alias(name)
        for name, kind in rows.schema.items() if kind == pl.String
    ]  # fmt: skip  # a spreadsheet must not take a name for a formula
    return rows.with_columns(texts).write_csv(datetime_format="%Y-%m-%dT%H:%M:%SZ").encode(), CSV

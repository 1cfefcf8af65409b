"""Answers that take long to make and are asked for again: kept for a while, with an ETag, in the form that is wanted.

Lives here: the cache, ETags, forms (JSON, CSV, Arrow, pages to print). Not here: what an answer says (the routes)."""

from __future__ import annotations

import gzip
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from io import BytesIO
from threading import Lock
from typing import Final, Literal

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
    """Of the content: who has the same bytes already is told so."""

    @classmethod
    def of(cls, content: bytes, media: str) -> Body:
        """With its ETag, and squeezed where that is worth it."""
        squeezed = gzip.compress(content, 3, mtime=0) if len(content) >= SQUEEZED_FROM and media != ARROW else None
        return cls(content, squeezed, media, f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"')


class Answers:
    """Answers by what was asked, each until its time is over. Any thread may call."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, tuple[int, Body]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def find(self, key: Hashable, at_us: int) -> Body | None:
        """The answer that is kept for a question, if its time is not over."""
        with self._lock:
            found = self._kept.get(key)
            if found is None or found[0] <= at_us:
                return None
            self._kept.move_to_end(key)
            return found[1]

    def keep(self, key: Hashable, body: Body, until_us: int) -> None:
        """Keeps an answer, and lets go of others where there is no room."""
        size = _size(body)
        if size > ANSWER_BYTES_MAX:
            return
        with self._lock:
            if key in self._kept:
                self._bytes -= _size(self._kept.pop(key)[1])
            self._kept[key] = until_us, body
            self._bytes += size
            while self._bytes > BYTES_MAX:
                _, (_, gone) = self._kept.popitem(last=False)
                self._bytes -= _size(gone)


def _size(body: Body) -> int:
    return len(body.content) + len(body.squeezed or b"")


async def answer(
    request: Request,
    key: Hashable,
    at_us: int,
    keep_s: float,
    make: Callable[[], tuple[bytes, str]],
    *,
    blind_s: float = 0.0,
) -> Response:
    """The answer to a request: the one that is kept for it, or a new one, made in a thread. 304 where the client has it
    already. key: what of the service's state the answer depends on, beside path and query. keep_s: for how long it is
    right enough. make: bytes and media type; what it raises goes to the client as a problem. blind_s: for so long
    `KeptFirst` may give it while the plant is the same, without asking whether `key` is."""
    kept: Answers = request.app.state.answers
    context: Context = request.app.state.context
    whole = (request.url.path, request.url.query, key)
    body = kept.find(whole, at_us)
    if body is None:
        body = await run_in_threadpool(lambda: Body.of(*make()))
        kept.keep(whole, body, at_us + int(keep_s * 1e6))
    if blind_s:
        kept.keep(_blind(request.scope, context), body, at_us + int(blind_s * 1e6))
    return _respond(body, request.headers.get("if-none-match", ""), request.headers.get("accept-encoding", ""))


def _blind(scope: Scope, context: Context) -> Hashable:
    return scope["path"], scope["query_string"], context.watch.plant.version


class KeptFirst:
    """Gives the answers that are kept before anything else looks at the question: what is asked for again and again
    costs next to nothing. Plain ASGI; every other request goes on as it came."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or whatever else the server hands over."""
        if scope["type"] == "http" and scope["method"] == "GET":
            state = scope["app"].state
            context: Context = state.context
            kept: Answers = state.answers
            body = kept.find(_blind(scope, context), context.clock.us())
            if body is not None:
                told = {name: value.decode("latin-1") for name, value in scope["headers"]}
                response = _respond(body, told.get(b"if-none-match", ""), told.get(b"accept-encoding", ""))
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _respond(body: Body, if_none_match: str, accept_encoding: str) -> Response:
    headers = {"ETag": body.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if _has(if_none_match, body.etag):
        return Response(status_code=304, headers=headers)
    if body.squeezed is not None and "gzip" in accept_encoding:
        return Response(body.squeezed, media_type=body.media, headers={**headers, "Content-Encoding": "gzip"})
    return Response(body.content, media_type=body.media, headers=headers)


def _has(if_none_match: str, etag: str) -> bool:
    return if_none_match.strip() == "*" or etag in {one.strip().removeprefix("W/") for one in if_none_match.split(",")}


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

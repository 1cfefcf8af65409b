"""Pages of long lists: a cursor says where the next one begins, and outlives rows that come and go before it.

Lives here: the cursor and the cut. Not here: what is listed."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

from dcim.app.api.problems import bad

T = TypeVar("T")
PAGE_MAX = 10_000

Cursor = Annotated[
    str | None,
    Query(description="`next_cursor` of the page before; leave it out for the first page.", max_length=4_096),
]
Limit = Annotated[int, Query(description="How many items at most.", ge=1, le=PAGE_MAX)]


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T]
    total: int = Field(description="How many there are on all pages together.")
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next page; null at the end.")


def cut(
    rows: Sequence[T], key: Callable[[T], list[str | int]], cursor: str | None, limit: int
) -> tuple[list[T], str | None]:
    """The rows after the cursor, at most `limit`, and the cursor of the next page.

    rows: sorted by `key`, whose values are unique. Raises a 422 problem for a cursor that is not ours.
    """
    start = 0
    if cursor is not None:
        after = _read(cursor)
        while start < len(rows) and not _beyond(key(rows[start]), after):
            start += 1
    page = list(rows[start : start + limit])
    more = start + limit < len(rows)
    return page, _write(key(page[-1])) if more and page else None


def _beyond(key: list[str | int], after: list[str | int]) -> bool:
    try:
        return key > after
    except TypeError as error:
        raise bad("query.cursor", "This cursor is from another list. Begin without one.") from error


def _write(key: list[str | int]) -> str:
    return base64.urlsafe_b64encode(json.dumps(key, separators=(",", ":")).encode()).decode().rstrip("=")


def _read(cursor: str) -> list[str | int]:
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise bad("query.cursor", "This is no cursor of ours. Begin without one.") from error
    if not isinstance(key, list) or not all(isinstance(part, (str, int)) for part in key):
        raise bad("query.cursor", "This is no cursor of ours. Begin without one.")
    return key

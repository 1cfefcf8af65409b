"""The ledger: what became of everything that the sources sent.

Lives here: the account as bodies and its routes. Not here: the counting (dcim.core.ledger)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from dcim.app.api.context import Ctx
from dcim.app.api.problems import RESPONSES, not_found
from dcim.core.ledger import Counts, Kind, Tally
from dcim.core.pace import Spread, Times
from dcim.core.ports import Backlog, Forwarding, SourceStatus
from dcim.core.times import SECOND_US, from_us

router = APIRouter(tags=["ledger"], responses=RESPONSES)


class KindBody(BaseModel):
    """The items of one kind."""

    received: int = 0
    stored: int = 0
    duplicate: int = 0


class CountsBody(BaseModel):
    """What became of items. The unit is the item: a value of a point, a description of a point (metadata), or a message
    that could not be read at all.

    received + carried = stored + duplicate + rejected + pending, always.
    """

    received: int = Field(description="Items that came.", examples=[4711])
    stored: int = Field(description="Items that are durable because of this source.", examples=[4711])
    duplicate: int = Field(description="Items that were durable already; nothing was written.")
    rejected: int = Field(description="Items that were put aside.")
    pending: int = Field(description="Values that are durable and wait for the metadata of their point.")
    carried: int = Field(description="Pending values that were there already when the count began.")
    balance: int = Field(
        description="received + carried − stored − duplicate − rejected − pending; 0, or we are wrong."
    )
    balanced: bool
    kinds: dict[str, KindBody] = Field(description="The items by kind: value, metadata, unreadable.")
    reasons: dict[str, int] = Field(description="The rejected items by reason.")
    remarks: dict[str, int] = Field(description="What was kept, but not without a word.")


class SpreadBody(BaseModel):
    """Seconds: the middle one, the one that 99 of 100 do not exceed, and the longest."""

    p50_s: float
    p99_s: float
    max_s: float


class PaceBody(BaseModel):
    """How long the batches of the last minute took."""

    batches: int = Field(description="Batches in the last minute.")
    lag: SpreadBody | None = Field(
        description="From the newest value's own timestamp to its receipt; null where no values came."
    )
    ahead_s: float = Field(
        description="Seconds that a newest value was ahead of our clock, at most: a clock is wrong, theirs or ours."
    )
    durable: SpreadBody | None = Field(description="From receipt to durable; null where nothing came.")


class TallyBody(CountsBody):
    """The account of one source, all its codecs together and each apart."""

    source: str
    since: datetime = Field(description="When the count began.")
    configured: bool = Field(description="false: the settings name it no longer; its account stays.")
    connected: bool = Field(description="Whether messages can come in at the moment.")
    connected_since: datetime | None = Field(description="Since when that is so, or not so.")
    trouble: str = Field(description='What is wrong with its connection, and what to do; "" where nothing is.')
    messages: int = Field(description="MQTT messages that were made durable and acknowledged.", examples=[4711])
    codecs: dict[str, CountsBody] = Field(
        description='By codec; "" has what no codec was asked about: too large, or given way.'
    )
    faults: dict[str, int] = Field(description="What went wrong on connections.")
    last_received: datetime | None
    pace: PaceBody


class BacklogBody(BaseModel):
    """What the store has made durable and not yet handed on to the server behind it."""

    waiting: int = Field(description="Readings that the server does not have yet.")
    bytes: int = Field(description="What they take up in the spool.")
    bytes_max: int = Field(description="What they may take up; beyond it nothing is taken in.")
    oldest_s: float | None = Field(description="Age of the oldest of them, seconds.")
    forwarded: int = Field(description="Readings that the server took since the service started.")
    overtaken: int = Field(description="Readings that were counted as stored and were at the server already.")
    dead_lettered: dict[str, int] = Field(description="Readings that the server will never take, by reason.")
    damaged: int = Field(description="Records that the disk lost before they were handed on.")
    trouble: str = Field(description='Why nothing is handed on, and what to do; "" while all is well.')


class StoreBody(BaseModel):
    """Where what came in is made durable."""

    trouble: str | None = Field(description="Why nothing can be made durable or acknowledged; null while it can.")
    trouble_since: datetime | None
    backlog: BacklogBody | None = Field(description="null where no server is behind the store.")


class LedgerBody(BaseModel):
    """Every source's account."""

    items: list[TallyBody]
    store: StoreBody
    warnings: list[str] = Field(description="What a person has to know, such as a full disk or a damaged store.")
    unwatched: int = Field(
        description="Readings that were kept, but that detectors did not see, because they were behind."
    )


class DeadLetterBody(BaseModel):
    """A reading that the server behind the store will never take."""

    reason: str
    message: str = Field(description="What the server said.")
    line: str = Field(description="The reading as it was sent.")
    at: datetime = Field(description="When it was put aside.")


class RejectBody(BaseModel):
    """One item that was put aside. Topic and payload are the first bytes, with escapes for what is no text."""

    reason: str
    detail: str
    kind: str
    received: datetime
    topic: str
    payload: str


Since = Annotated[
    Literal["account", "start"],
    Query(description="What is counted: everything since the account began, or since the service started."),
]


@router.get("/ledger", summary="What became of everything")
def ledger(ctx: Ctx, since: Since = "account") -> LedgerBody:
    """The account of every source. It outlives restarts; the pace is that of the last minute."""
    at_us = ctx.clock.us()
    status = {source.name: source for source in ctx.sources}
    trouble = ctx.condition.trouble()
    return LedgerBody(
        items=[
            _body(tally, status.get(tally.source), ctx.pace.times(tally.source, at_us))
            for tally in ctx.ledger.tallies(of_this_run=since == "start")
        ],
        store=StoreBody(
            trouble=trouble.what if trouble else None,
            trouble_since=trouble.since if trouble else None,
            backlog=_backlog(ctx.condition.backlog(), at_us),
        ),
        warnings=ctx.condition.warnings(),
        unwatched=ctx.watch.offers_dropped,
    )


@router.get("/ledger/dead-letters", summary="What the server behind the store will not take")
def dead_letters(
    ctx: Ctx, limit: Annotated[int, Query(description="How many at most, the youngest.", ge=1, le=10_000)] = 1_000
) -> list[DeadLetterBody]:
    """Readings that the server refused for good, oldest first; a bounded number is kept. None where the store has no
    server behind it."""
    kept = ctx.store.dead_readings() if isinstance(ctx.store, Forwarding) else []
    return [
        DeadLetterBody(reason=dead.reason.value, message=dead.message, line=dead.line, at=from_us(dead.at_us))
        for dead in kept[-limit:]
    ]


@router.get("/ledger/{source}/rejects", summary="What was put aside")
def rejects(ctx: Ctx, source: str) -> list[RejectBody]:
    """The last items of a source that were put aside, oldest first; a bounded number is kept."""
    try:
        kept = ctx.ledger.rejects(source)
    except KeyError as error:
        raise not_found(f"source {source}", "GET /ledger lists them.") from error
    return [
        RejectBody(
            reason=reject.reason.value,
            detail=reject.detail,
            kind=reject.kind.value,
            received=from_us(reject.received),
            topic=reject.topic.decode("utf-8", "backslashreplace"),
            payload=reject.payload.decode("utf-8", "backslashreplace"),
        )
        for reject in kept
    ]


def _body(tally: Tally, status: SourceStatus | None, times: Times) -> TallyBody:
    since = None if status is None or status.since is None else from_us(status.since)
    return TallyBody(
        **_counts(tally),
        source=tally.source,
        since=tally.since,
        configured=status is not None,
        connected=status is not None and status.connected,
        connected_since=since,
        trouble=status.trouble if status else "",
        messages=tally.messages,
        codecs={codec: CountsBody(**_counts(counts)) for codec, counts in tally.codecs.items()},
        faults={fault.value: count for fault, count in tally.faults.items()},
        last_received=tally.last_received,
        pace=PaceBody(
            batches=times.batches,
            lag=_spread(times.lag),
            ahead_s=round(times.ahead_s, 3),
            durable=_spread(times.durable),
        ),
    )


def _counts(counts: Counts) -> dict[str, Any]:
    return {
        "received": sum(counts.received.values()),
        "stored": sum(counts.stored.values()),
        "duplicate": sum(counts.duplicate.values()),
        "rejected": sum(counts.rejected.values()),
        "pending": counts.pending,
        "carried": counts.carried,
        "balance": counts.balance,
        "balanced": counts.balance == 0,
        "kinds": {
            kind.value: KindBody(
                received=counts.received.get(kind, 0),
                stored=counts.stored.get(kind, 0),
                duplicate=counts.duplicate.get(kind, 0),
            )
            for kind in Kind
        },
        "reasons": {reason.value: count for reason, count in counts.rejected.items()},
        "remarks": {remark.value: count for remark, count in counts.remarks.items()},
    }


def _spread(spread: Spread | None) -> SpreadBody | None:
    if spread is None:
        return None
    return SpreadBody(p50_s=round(spread.p50_s, 3), p99_s=round(spread.p99_s, 3), max_s=round(spread.max_s, 3))


def _backlog(backlog: Backlog | None, at_us: int) -> BacklogBody | None:
    if backlog is None:
        return None
    oldest_us = backlog.oldest_us
    return BacklogBody(
        waiting=backlog.waiting,
        bytes=backlog.bytes,
        bytes_max=backlog.bytes_max,
        oldest_s=None if oldest_us is None else round(max(0, at_us - oldest_us) / SECOND_US, 1),
        forwarded=backlog.forwarded,
        overtaken=backlog.overtaken,
        dead_lettered={reason.value: count for reason, count in backlog.dead_lettered.items()},
        damaged=backlog.damaged,
        trouble=backlog.trouble,
    )

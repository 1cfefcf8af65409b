"""The ledger: what became of everything that the sources sent.

Lives here: the account as bodies and its routes. Not here: the counting (dcim.core.ledger)."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from dcim.app.api.context import Context, Ctx
from dcim.app.api.problems import RESPONSES, not_found
from dcim.core.ledger import Kind, Tally
from dcim.core.times import from_us

router = APIRouter(tags=["ledger"], responses=RESPONSES)


class KindBody(BaseModel):
    """The items of one kind."""

    received: int = 0
    stored: int = 0
    duplicate: int = 0


class TallyBody(BaseModel):
    """The account of one source since the service started. The unit is the item: a value of a point, a description of
    a point (metadata), or a message that could not be read at all.

    received + carried = stored + duplicate + rejected + pending, always.
    """

    source: str
    codec: str
    since: datetime
    connected: bool = Field(description="Whether messages can come in at the moment.")
    messages: int = Field(description="MQTT messages that were made durable and acknowledged.", examples=[4711])
    received: int = Field(description="Items that came.", examples=[4711])
    stored: int = Field(description="Items that are durable because of this source.", examples=[4711])
    duplicate: int = Field(description="Items that were durable already; nothing was written.")
    rejected: int = Field(description="Items that were put aside.")
    pending: int = Field(description="Values that are durable and wait for the metadata of their point.")
    carried: int = Field(description="Pending values that an earlier run left.")
    balance: int = Field(
        description="received + carried − stored − duplicate − rejected − pending; 0, or we are wrong."
    )
    balanced: bool
    kinds: dict[str, KindBody] = Field(description="The items by kind: value, metadata, unreadable.")
    reasons: dict[str, int] = Field(description="The rejected items by reason.")
    remarks: dict[str, int] = Field(description="What was kept, but not without a word.")
    faults: dict[str, int] = Field(description="What went wrong on connections.")
    last_received: datetime | None


class LedgerBody(BaseModel):
    """Every source's account."""

    items: list[TallyBody]
    warnings: list[str] = Field(description="What a person has to know since the start, such as a damaged store.")
    unwatched: int = Field(
        description="Readings that were kept, but that detectors did not see, because they were behind."
    )


class RejectBody(BaseModel):
    """One item that was put aside. Topic and payload are the first bytes, with escapes for what is no text."""

    reason: str
    detail: str
    kind: str
    received: datetime
    topic: str
    payload: str


@router.get("/ledger", summary="What became of everything")
def ledger(ctx: Ctx) -> LedgerBody:
    """The account of every source."""
    return LedgerBody(
        items=[_body(ctx, tally) for tally in ctx.ledger.tallies()],
        warnings=list(ctx.warnings),
        unwatched=ctx.watch.offers_dropped,
    )


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


def _body(ctx: Context, tally: Tally) -> TallyBody:
    connected = {source.name: source.connected for source in ctx.sources}
    return TallyBody(
        source=tally.source,
        codec=tally.codec,
        since=tally.since,
        connected=connected.get(tally.source, False),
        messages=tally.messages,
        received=sum(tally.received.values()),
        stored=sum(tally.stored.values()),
        duplicate=sum(tally.duplicate.values()),
        rejected=sum(tally.rejected.values()),
        pending=tally.pending,
        carried=tally.carried,
        balance=tally.balance,
        balanced=tally.balance == 0,
        kinds={
            kind.value: KindBody(
                received=tally.received.get(kind, 0),
                stored=tally.stored.get(kind, 0),
                duplicate=tally.duplicate.get(kind, 0),
            )
            for kind in Kind
        },
        reasons={reason.value: count for reason, count in tally.rejected.items()},
        remarks={remark.value: count for remark, count in tally.remarks.items()},
        faults={fault.value: count for fault, count in tally.faults.items()},
        last_received=tally.last_received,
    )

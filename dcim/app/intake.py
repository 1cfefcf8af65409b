"""The way in: one batch from a source to durable and counted. The order is all here, top to bottom, in `_keep`.

Lives here: the order, the retry of a half-kept batch, the account in the ledger, and values that wait for their
metadata. Not here: how messages are read (codecs), how they are kept (stores), who watches (watch.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import structlog

from dcim.core.ledger import Kind, Ledger, Reject, RejectReason
from dcim.core.points import PointIndex
from dcim.core.ports import Appended, Batch, Catalogue, Codec, Decoded, Holding, TelemetryStore
from dcim.core.readings import Readings
from dcim.core.times import from_us

log = structlog.get_logger()

HELD_MAX = 5_000_000
"""Readings that may wait for their metadata, all points together; more are refused and counted."""

Offer = Callable[[Readings, int], None]
"""Takes readings and the time of their arrival (microseconds UTC), and does not wait."""


@dataclass(slots=True)
class _Attempt:
    """A batch on its way, with what has been done of it: a retry goes on where the failure was."""

    batch: Batch
    decoded: Decoded
    appended: Appended | None = None
    held: Appended | None = None
    too_many: int = 0
    booked: bool = False


class Intake:
    """Makes batches durable, one after the other, in a thread of its own."""

    def __init__(
        self,
        *,
        codecs: Mapping[str, Codec],
        index: PointIndex,
        store: TelemetryStore,
        catalogue: Catalogue,
        holding: Holding,
        ledger: Ledger,
        convert: Callable[[Readings], Readings],
        offer: Offer,
        held_max: int = HELD_MAX,
    ) -> None:
        """codecs: by source name. convert: held readings, as sent, to the units of points described since."""
        self._codecs, self._index, self._ledger = codecs, index, ledger
        self._store, self._catalogue, self._holding = store, catalogue, holding
        self._convert, self._offer = convert, offer
        self._attempts: dict[str, _Attempt] = {}
        self._waiting: dict[int, dict[str, int]] = {}  # point → source → readings held for it
        self._held_max = held_max
        self._releasable: set[int] = set()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="intake")

    def resume(self, owner: Callable[[str], str | None]) -> None:
        """Takes over what an earlier run left waiting. owner: which source a point's key belongs to, None for none."""
        for point, count in self._holding.held().items():
            source = owner(self._index.key(point))
            owners = self._waiting.setdefault(point, {})
            if source is not None:
                self._ledger.carry(source, count)
                owners[source] = count
            if self._index[point] is not None:
                self._releasable.add(point)

    async def deliver(self, batch: Batch) -> None:
        """A source's `Deliver`: returns when the batch is durable and counted, raises Transient when it is not."""
        readings = await asyncio.get_running_loop().run_in_executor(self._worker, self._keep, batch)
        self._offer(readings, batch.received)

    def close(self) -> None:
        """Waits for the batch under way and ends the thread."""
        self._worker.shutdown(wait=True)

    def _keep(self, batch: Batch) -> Readings:
        attempt = self._attempt(batch)
        decoded = attempt.decoded
        records = self._index.changed()
        if records:
            self._catalogue.remember(records)
            self._index.kept(records)
        if attempt.appended is None:
            attempt.appended = self._store.append(decoded.readings)
        if attempt.held is None:
            room = max(0, self._held_max - sum(sum(owners.values()) for owners in self._waiting.values()))
            attempt.too_many = max(0, len(decoded.held) - room)
            attempt.held = self._holding.hold(decoded.held.take(np.arange(len(decoded.held)) < room))
        if not attempt.booked:
            self._book(attempt)
            attempt.booked = True
        released = self._release(decoded.bound)
        self._attempts.pop(batch.source, None)
        return Readings.concat([decoded.readings, released])

    def _attempt(self, batch: Batch) -> _Attempt:
        """The batch decoded, once: a source tries the same batch again until it is kept."""
        attempt = self._attempts.get(batch.source)
        if attempt is None or attempt.batch is not batch:
            attempt = _Attempt(batch, self._codecs[batch.source].decode(batch.messages, batch.received))
            attempt.decoded.rejects.extend(
                Reject(
                    RejectReason.PAYLOAD_TOO_LARGE,
                    oversized.topic[:512],
                    b"",
                    f"{oversized.size} bytes of payload were skipped",
                    batch.received,
                )
                for oversized in batch.oversized
            )
            self._attempts[batch.source] = attempt
        return attempt

    def _release(self, bound: list[int]) -> Readings:
        """Lets go what waited for descriptions that have come, and books it where it was received."""
        self._releasable.update(point for point in bound if point in self._waiting)
        if not self._releasable:
            return Readings.empty()
        points = sorted(self._releasable)
        readings, appended = self._holding.release(points, self._convert)
        self._releasable.clear()
        duplicate, refused = appended.duplicate, len(appended.refused)
        for owners in (self._waiting.pop(point, {}) for point in points):
            for source, count in owners.items():
                # Which row was whose is not kept; the sums are exact, and a point with two owners is a rare thing.
                twice, bad = min(duplicate, count), min(refused, max(0, count - duplicate))
                duplicate, refused = duplicate - twice, refused - bad
                self._ledger.settle(
                    source,
                    stored={Kind.VALUE: count - twice - bad},
                    duplicate={Kind.VALUE: twice},
                    refused={RejectReason.STORE_REFUSED: bad},
                )
        return readings

    def _book(self, attempt: _Attempt) -> None:
        batch, decoded = attempt.batch, attempt.decoded
        appended, held = attempt.appended or Appended(0, 0), attempt.held or Appended(0, 0)
        items = dict(decoded.items)
        if batch.overflowed:
            items[Kind.UNREADABLE] = items.get(Kind.UNREADABLE, 0) + batch.overflowed
        messages = len(batch.messages) + len(batch.oversized) + batch.overflowed
        self._ledger.receive(batch.source, messages, items, from_us(batch.received))
        refused = len(appended.refused) + len(held.refused)
        self._ledger.settle(
            batch.source,
            stored={Kind.VALUE: appended.stored, Kind.METADATA: decoded.described},
            duplicate={Kind.VALUE: appended.duplicate + held.duplicate, Kind.METADATA: decoded.repeated},
            rejects=decoded.rejects,
            refused={
                RejectReason.STORE_REFUSED: refused,
                RejectReason.TOO_MANY_HELD: attempt.too_many,
                RejectReason.OVERFLOW: batch.overflowed,
            },
        )
        self._ledger.remark(batch.source, decoded.remarks)
        if held.stored:
            self._wait(batch.source, decoded.held, held)
        for reject in decoded.rejects[:1]:
            log.warning(
                "put aside", source=batch.source, reason=str(reject.reason), detail=reject.detail,
                topic=reject.topic[:200].decode("utf-8", "backslashreplace"), more=len(decoded.rejects) - 1,
            )  # fmt: skip

    def _wait(self, source: str, rows: Readings, held: Appended) -> None:
        """Remembers whose the held rows are. Duplicates among them were settled already; which rows those are only the
        store knows, so when there are any, the counts are taken from the store."""
        points, counts = np.unique(rows.point, return_counts=True)
        if held.duplicate or held.refused:
            now = self._holding.held()
            for point in points.tolist():
                owners = self._waiting.setdefault(point, {})
                owners[source] = now.get(point, 0) - sum(n for name, n in owners.items() if name != source)
            return
        for point, count in zip(points.tolist(), counts.tolist(), strict=True):
            owners = self._waiting.setdefault(point, {})
            owners[source] = owners.get(source, 0) + count

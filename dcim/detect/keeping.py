"""Keeping: whether what comes can be kept, whether it is handed on, and whether every item is accounted for.

Lives here: the vigil over this service's own store and ledger. Not here: sources (ways.py), the plant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from dcim.core.findings import Bearing, Detection, Evidence, Finding, FindingKind, Subject
from dcim.core.ledger import Ledger
from dcim.core.live import Latest
from dcim.core.plant import Plant
from dcim.core.ports import Backlog, Trouble
from dcim.core.times import SECOND_US, to_us
from dcim.detect.figures import duration, figure


@dataclass(frozen=True, slots=True)
class KeepingSettings:
    """How full is too full."""

    full_from: float = 0.8
    """Share of the spool's room: at the pace of most outages that leaves time to mend the server. [E]"""
    room_below: float = 0.7
    """It is well again below this."""


class Keeping:
    """Vigil: over the service itself, so its findings have no site."""

    name = "keeping"
    kinds = frozenset({FindingKind.NOTHING_KEPT, FindingKind.SPOOL_FILLING, FindingKind.LEDGER_UNBALANCED})

    def __init__(
        self,
        ledger: Ledger,
        trouble: Callable[[], Trouble | None] = lambda: None,
        backlog: Callable[[], Backlog | None] = lambda: None,
        settings: KeepingSettings | None = None,
    ) -> None:
        """trouble: why nothing can be made durable. backlog: what the store has not handed on, None for a store that
        hands nothing on."""
        self.settings = settings or KeepingSettings()
        self._ledger, self._trouble, self._backlog = ledger, trouble, backlog
        self._since: dict[tuple[FindingKind, Subject], datetime] = {}

    def watch(self, latest: Latest, plant: Plant, at: datetime) -> Detection:  # noqa: ARG002  it looks at ourselves
        """Each of its kinds is always judged: nothing that it asks can be silent."""
        findings: list[Finding] = []
        trouble, backlog = self._trouble(), self._backlog()
        if trouble is not None:
            findings.append(_nothing_kept(trouble, at))
        between = frozenset[tuple[FindingKind, Subject]]()
        if backlog is not None:
            full = backlog.bytes / max(1, backlog.bytes_max)
            if full >= self.settings.full_from:
                findings.append(_filling(backlog, full, at))
            elif full >= self.settings.room_below:
                between = frozenset({(FindingKind.SPOOL_FILLING, SERVICE)})
        for tally in self._ledger.tallies():
            for codec, counts in tally.codecs.items():
                if counts.balance:
                    findings.append(_unbalanced(tally.source, codec, counts.balance, at))
        # Where nothing tells the onset, it is when it was first seen.
        places = [(finding.kind, finding.subject) for finding in findings]
        self._since = {
            place: self._since.get(place, finding.since) for place, finding in zip(places, findings, strict=True)
        }
        dated = (replace(finding, since=since) for finding, since in zip(findings, self._since.values(), strict=True))
        return Detection(tuple(dated), between=between)


SERVICE = Subject("", "")
"""This service."""


def _nothing_kept(trouble: Trouble, at: datetime) -> Finding:
    lasts_s = max(0.0, (at - trouble.since).total_seconds())
    return Finding(
        FindingKind.NOTHING_KEPT,
        SERVICE,
        since=min(trouble.since, at),
        summary=f"Nothing can be made durable for {duration(lasts_s)}: {trouble.what}",
        score=lasts_s,
        confidence=0.99,
        evidence=(
            Evidence("The store says", trouble.what),
            Evidence("What comes by QoS 1", "is not acknowledged: its senders keep it, as far as they have room"),
            Evidence("What comes by QoS 0", "waits in memory; when that is full the oldest gives way, counted"),
        ),
        check_first=(
            "Look at the disk of the store: df -h. Make room; nothing needs to be started anew.",
            "Until then nothing that comes is looked at: have the plant watched on its own panels.",
        ),
    )


def _filling(backlog: Backlog, full: float, at: datetime) -> Finding:
    oldest_s = None if backlog.oldest_us is None else max(0, to_us(at) - backlog.oldest_us) / SECOND_US
    evidence = [
        Evidence("Spool", f"{figure(backlog.bytes / 1e6)} of {figure(backlog.bytes_max / 1e6, 'MB')}"),
        Evidence("Waiting", f"{backlog.waiting:,} readings"),
    ]
    if oldest_s is not None:
        evidence.append(Evidence("The oldest of them", f"has waited {duration(oldest_s)}"))
    evidence.append(
        Evidence("The server", backlog.trouble)
        if backlog.trouble
        else Evidence("The server does not answer", "it takes readings, but fewer than come", Bearing.RULED_OUT)
    )
    return Finding(
        FindingKind.SPOOL_FILLING,
        SERVICE,
        since=at,
        summary=f"Spool {figure(100 * full, '%')} full; at 100 % nothing more is taken in",
        score=full,
        confidence=0.99,
        evidence=tuple(evidence),
        check_first=(
            "Is the time-series server running, and does it take writes? What is wrong with it stands in the evidence.",
            "If it will take longer, make the spool larger: its disk must have the room.",
        ),
    )


def _unbalanced(source: str, codec: str, balance: int, at: datetime) -> Finding:
    whose = f"{source}, {codec}" if codec else source
    return Finding(
        FindingKind.LEDGER_UNBALANCED,
        Subject("", "", whose),
        since=at,
        summary=f"{whose}: {abs(balance):,} items {'unaccounted for' if balance > 0 else 'too many accounted for'}",
        score=float(abs(balance)),
        confidence=0.99,
        evidence=(Evidence("received + carried − stored − duplicate − rejected − pending", figure(float(balance))),),
        check_first=(
            "This is a defect of the service. Save GET /ledger and the log, and report it.",
            "Readings may be missing, or counted twice; what is in the store is as it was written.",
        ),
    )

"""What the routes may reach of the running service, in one object.

Lives here: the object and how a route gets it. Not here: how it is put together (build.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Protocol

from fastapi import Depends, Request

from alerts.engine import Engine
from alerts.outbox import Outbox
from dcim.app.annotator import Annotator
from dcim.app.clock import Clock
from dcim.app.condition import Condition
from dcim.app.hub import Hub
from dcim.app.upkeep import Upkeep
from dcim.app.watch import Watch
from dcim.core.ledger import Ledger
from dcim.core.pace import Pace
from dcim.core.ports import SourceStatus, TelemetryStore


class FactsTold(Protocol):
    """What can be asked of whoever writes facts for boards."""

    written: int
    """Facts that the server took since the service runs."""
    dropped: int
    """Facts that were let go."""
    failing: str
    """What was wrong the last time, in words; empty where nothing was."""


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of the service that the API shows."""

    watch: Watch
    store: TelemetryStore
    ledger: Ledger
    pace: Pace
    condition: Condition
    engine: Engine
    hub: Hub
    sources: Sequence[SourceStatus]
    upkeep: Upkeep | None
    """None where the store does it by itself."""
    clock: Clock
    started: datetime
    outbox: Outbox
    chronicle: FactsTold | None = None
    """None where no server of the store's is asked by boards."""
    annotator: Annotator | None = None
    """None where no Grafana is told of alarms."""


def of(request: Request) -> Context:
    """The context of the app that serves this request."""
    context: Context = request.app.state.context
    return context


Ctx = Annotated[Context, Depends(of)]

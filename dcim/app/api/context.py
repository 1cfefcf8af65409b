"""What the routes may reach of the running service, in one object.

Lives here: the object and how a route gets it. Not here: how it is put together (build.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Protocol

from fastapi import Depends, Request

from alerts.engine import Engine
from dcim.app.hub import Hub
from dcim.app.watch import Watch
from dcim.core.ledger import Ledger
from dcim.core.ports import TelemetryStore


class SourceStatus(Protocol):
    """What can be asked of a source while it runs."""

    name: str

    @property
    def connected(self) -> bool:
        """Whether messages can come in: a subscription stands, or the listener listens."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of the service that the API shows."""

    watch: Watch
    store: TelemetryStore
    ledger: Ledger
    engine: Engine
    hub: Hub
    sources: Sequence[SourceStatus]
    clock: Callable[[], datetime]
    started: datetime
    warnings: Sequence[str]
    """What a person has to know since the start: a damaged store, for example."""


def of(request: Request) -> Context:
    """The context of the app that serves this request."""
    context: Context = request.app.state.context
    return context


Ctx = Annotated[Context, Depends(of)]

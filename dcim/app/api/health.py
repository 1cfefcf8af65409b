"""Whether the service lives, whether it is ready, and its metrics.

Lives here: three routes outside /api/v1, where probes look for them. Not here: the health of the plant."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from dcim.app.api.context import Ctx
from dcim.app.metrics import exposition

router = APIRouter(tags=["service"])


class Health(BaseModel):
    """Alive, or ready, with what is not."""

    status: str = Field(examples=["ok"])
    waiting_for: list[str] = Field(default=[], description="Sources that are not connected.")
    trouble: str | None = Field(default=None, description="Why nothing can be made durable or acknowledged.")
    warnings: list[str] = Field(default=[], description="What a person has to know.")


@router.get("/healthz", summary="Alive")
async def healthz() -> Health:
    """200 while the event loop turns."""
    return Health(status="ok")


@router.get("/readyz", summary="Ready", responses={503: {"model": Health}})
async def readyz(ctx: Ctx, response: Response) -> Health:
    """200 when every source can bring messages in and they can be made durable, else 503 with what is in the way."""
    waiting = [source.name for source in ctx.sources if not source.connected]
    trouble = ctx.condition.trouble()
    if waiting or trouble:
        response.status_code = 503
    return Health(
        status="waiting" if waiting else "trouble" if trouble else "ok",
        waiting_for=waiting,
        trouble=trouble.what if trouble else None,
        warnings=ctx.condition.warnings(),
    )


@router.get("/metrics", summary="Metrics", response_class=Response)
def metrics(ctx: Ctx) -> Response:
    """Metrics of the service itself, in Prometheus' text format."""
    return Response(exposition(ctx), media_type="text/plain; version=0.0.4; charset=utf-8")

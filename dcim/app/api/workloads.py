"""What the energy went into: jobs and tenants, pods, tokens and queries.

Lives here: the routes and their bodies. Nothing that is sent here is kept. Not here: reading of records and the join
(dcim.capacity.jobs, serving)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Body, Query
from pydantic import AwareDatetime, BaseModel, Field
from starlette.concurrency import run_in_threadpool

from dcim.app import history
from dcim.app.api.asking import FIRST_YEAR, LayoutNow, scopes_of, zone_of
from dcim.app.api.context import Context, Ctx
from dcim.app.api.efficiency import costs_of
from dcim.app.api.problems import RESPONSES, bad, not_found
from dcim.capacity.jobs import FIELDS, Job, JobEnergy, attribute, by_tenant, read_sacct, span_of
from dcim.capacity.periods import DAYS_MAX
from dcim.capacity.provenance import FigureKind, Period
from dcim.capacity.scopes import Layout, Scope
from dcim.capacity.serving import Served, held, served, tokens_per_joule
from dcim.capacity.utilization import survey, usages
from dcim.core.assets import AssetKey

router = APIRouter(tags=["efficiency"], responses=RESPONSES)

KWH_J = 3.6e6
Kind = Literal["measured", "estimated", "missing"]


class JobBody(BaseModel):
    """What the GPUs of one job drew."""

    id: str
    tenant: str = Field(description="Slurm's account.")
    partition: str
    energy_kwh: float | None = Field(description="Σ power of its GPUs × time, kWh; null where nobody can tell.")
    gpu_hours: float = Field(description="GPUs that it held × hours, within the period.")
    kind: Kind
    coverage_pct: float = Field(description="Of its time on all of its nodes, for how much their power is known, %.")
    why: str


class TenantBody(BaseModel):
    """What the GPUs of one tenant's jobs drew."""

    tenant: str
    jobs: int
    energy_kwh: float | None = Field(description="Of those jobs that can be told.")
    gpu_hours: float
    unknown: int = Field(description="Jobs whose energy nobody can tell.")


class MisreadBody(BaseModel):
    """A line that is no record of a job."""

    line: int
    why: str


class JobsBody(BaseModel):
    """Energy of jobs and tenants."""

    start: datetime
    end: datetime
    jobs: list[JobBody]
    tenants: list[TenantBody] = Field(description="The largest first.")
    misread: list[MisreadBody] = Field(description="Lines that were passed over, 100 at most.")
    misread_total: int


class TextsBody(BaseModel):
    """Two Prometheus texts of the same servers."""

    before: str = Field(description="The earlier one.", max_length=65_536)
    after: str = Field(description="The later one.", max_length=65_536)


class PodBody(BaseModel):
    """What the GPUs of one pod drew."""

    namespace: str
    pod: str
    container: str
    gpus: int
    energy_kwh: float


class PodsBody(BaseModel):
    """Energy between two texts of dcgm-exporter, by the labels that it takes from Kubernetes."""

    pods: list[PodBody] = Field(description="The largest first.")
    namespaces: dict[str, float] = Field(description="Namespace → kWh.")
    idle_kwh: float = Field(description="Of GPUs that no pod held, both times.")
    handed_over_kwh: float = Field(description="Of GPUs that changed hands in between: nobody can tell when.")
    gpus: int
    resets: int = Field(description="GPUs whose counter began again: of these, the least that it may have been.")


class ServingTextsBody(TextsBody):
    """Two Prometheus texts of inference servers, when they were taken, and where the servers run."""

    scope: str = Field(description="Whose GPUs serve: a site, hall, row or asset.", max_length=1_024)
    start: AwareDatetime = Field(description="When the earlier text was taken.")
    end: AwareDatetime = Field(description="When the later one was.")


class ServingBody(BaseModel):
    """Tokens and queries, what they took, and what they cost."""

    prompt_tokens: float | None
    generated_tokens: float | None
    queries: float | None
    resets: int = Field(description="Counters that began again: of these, at least what they stand at.")
    energy_kwh: float | None = Field(description="Of the scope's GPUs (DCGM 155), kWh over the time that is known.")
    kind: Kind
    coverage_pct: float
    boundary: str
    tokens_per_joule: float | None = Field(description="Generated tokens ÷ energy of the GPUs' boards, 1/J.")
    joules_per_query: float | None = Field(description="Energy of the GPUs' boards ÷ queries, J.")
    cost_per_query: float | None = Field(
        description="Cost of a GPU-hour × GPU-hours ÷ queries, in the tariff's currency; null where one is missing."
    )
    cost_per_million_tokens: float | None = Field(description="The same ÷ generated tokens × 10⁶.")
    cost_unit: str
    why: str


@router.post("/workloads/jobs", summary="Energy of jobs and tenants")
async def jobs(
    ctx: Ctx,
    layout: LayoutNow,
    site: Annotated[str, Query(description="Where the nodes stand.", examples=["demo"], max_length=64)],
    records: Annotated[
        str,
        Body(
            media_type="text/csv",
            description="Slurm's accounting, parted by | or commas: `sacct --allocations --parsable2 "
            f"--format={','.join(FIELDS)}`. Times go by the site's clocks.",
            max_length=65_536,
        ),
    ],
) -> JobsBody:
    """Energy of the GPUs of each job, and by account, out of records of Slurm's accounting and the power of GPUs over
    time. A node's GPUs are those that its host's telemetry names. Jobs that shared a node have equal parts for each GPU
    that they had, and are called estimated."""
    _known_site(layout, site)
    try:
        found, misread = read_sacct(records, ZoneInfo(zone_of(layout, AssetKey(site, ""))))
        now_us = ctx.clock.us()
        first, last = span_of(found, now_us)
    except ValueError as error:
        raise bad("body", f"{error}.") from error
    period = Period(first, min(last, ctx.clock()))
    if period.end <= period.start or period.end - period.start > timedelta(days=DAYS_MAX):
        raise bad("body", f"The jobs begin in the future, or span more than {DAYS_MAX} days.")
    energies = await run_in_threadpool(_attributed, ctx, layout, site, found, period, now_us)
    return JobsBody(
        start=period.start,
        end=period.end,
        jobs=[
            JobBody(
                id=one.job.id,
                tenant=one.job.tenant,
                partition=one.job.partition,
                energy_kwh=one.kwh,
                gpu_hours=one.gpu_hours,
                kind=one.kind.value,
                coverage_pct=one.coverage_pct,
                why=one.why,
            )
            for one in energies
        ],
        tenants=[
            TenantBody(
                tenant=one.tenant, jobs=one.jobs, energy_kwh=one.kwh, gpu_hours=one.gpu_hours, unknown=one.unknown
            )
            for one in by_tenant(energies)
        ],
        misread=[MisreadBody(line=line.line, why=line.why) for line in misread[:100]],
        misread_total=len(misread),
    )


def _attributed(
    ctx: Context, layout: Layout, site: str, found: Sequence[Job], period: Period, now_us: int
) -> list[JobEnergy]:
    wanted = {node for job in found for node in job.nodes}
    by_node: dict[str, list[int]] = {}
    for point in layout.plant.of("GpuPower"):
        node = point.asset.rpartition("-gpu")[0]
        if point.site == site and node in wanted:
            by_node.setdefault(node, []).append(point.id)
    points = sorted(number for own in by_node.values() for number in own)
    if history.step_s_of(len(points), period) is None:
        raise bad("body", f"{len(points)} GPUs over this time are too many. Send fewer jobs at a time.")
    past = history.read(ctx.store, points, period, peaks=False)
    row_of = {number: row for row, number in enumerate(points)}
    return attribute(found, {node: [row_of[n] for n in own] for node, own in by_node.items()}, past.grid, now_us)


@router.post("/workloads/pods", summary="Energy of pods")
async def pods(texts: TextsBody) -> PodsBody:
    """Energy of the GPUs of each pod between two texts of dcgm-exporter, which labels each GPU with the pod that holds
    it: what the energy counter (DCGM 156) grew by."""
    try:
        told = await run_in_threadpool(held, texts.before, texts.after)
    except ValueError as error:
        raise bad("body", f"{error}.") from error
    namespaces: dict[str, float] = {}
    for pod in told.pods:
        namespaces[pod.holder.namespace] = namespaces.get(pod.holder.namespace, 0.0) + pod.kwh
    return PodsBody(
        pods=[PodBody(**pod.holder._asdict(), gpus=pod.gpus, energy_kwh=pod.kwh) for pod in told.pods],
        namespaces=namespaces,
        idle_kwh=told.idle_kwh,
        handed_over_kwh=told.handed_over_kwh,
        gpus=told.gpus,
        resets=told.resets,
    )


@router.post("/workloads/serving", summary="Tokens per joule and cost per query")
async def serving(ctx: Ctx, layout: LayoutNow, texts: ServingTextsBody) -> ServingBody:
    """Tokens and queries between two Prometheus texts of inference servers (vLLM, SGLang, Text Generation Inference,
    llama.cpp; Triton counts queries alone), for the energy of the GPUs of a scope in that time, and what they cost."""
    (scope,) = scopes_of(layout, [texts.scope])
    if texts.start.year < FIRST_YEAR:
        raise bad("body.start", f"Nothing is kept of before {FIRST_YEAR}.")
    if texts.end <= texts.start or texts.end > ctx.clock() + timedelta(minutes=1):
        raise bad("body.end", "The later text has to be taken after the earlier one, and not in the future.")
    if texts.end - texts.start > timedelta(days=DAYS_MAX):
        raise bad("body.start", f"That is longer than {DAYS_MAX} days.")
    try:
        did = await run_in_threadpool(served, texts.before, texts.after)
    except ValueError as error:
        raise bad("body", f"{error}.") from error
    period = Period(texts.start, texts.end)
    return await run_in_threadpool(_serving, ctx, layout, scope, period, did)


def _serving(ctx: Context, layout: Layout, scope: Scope, period: Period, did: Served) -> ServingBody:
    of = survey(layout, "gpu_power", [scope])
    if history.step_s_of(len(of.points), period) is None:
        raise bad("body.scope", f"{len(of.points)} GPUs over this time are too many. Ask for less at a time.")
    past = history.read(ctx.store, of.points, period, peaks=False)
    (usage,) = usages(of, past.grid).usages
    joules = None if usage.integral_h is None else usage.integral_h * KWH_J
    home = Scope("site", scope.site)
    priced = next(one for one in costs_of(ctx, layout, home, period) if one.name == "cost_per_gpu_hour").figure
    hours = (period.end - period.start) / timedelta(hours=1) * len(of.points)
    spent = None if priced.value is None or not of.points else priced.value * hours
    whys = [usage.why] + ([f"no cost: {priced.why}"] if spent is None else [])
    return ServingBody(
        prompt_tokens=did.prompt_tokens,
        generated_tokens=did.generated_tokens,
        queries=did.queries,
        resets=did.resets,
        energy_kwh=usage.integral_h,
        kind=FigureKind(usage.kind).value,
        coverage_pct=usage.coverage_pct,
        boundary=usage.boundary,
        tokens_per_joule=tokens_per_joule(did.generated_tokens, usage.integral_h),
        joules_per_query=joules / did.queries if joules is not None and did.queries else None,
        cost_per_query=spent / did.queries if spent is not None and did.queries else None,
        cost_per_million_tokens=(
            1e6 * spent / did.generated_tokens if spent is not None and did.generated_tokens else None
        ),
        cost_unit=priced.unit.partition("/")[0],
        why="; ".join(why for why in whys if why),
    )


def _known_site(layout: Layout, site: str) -> None:
    if f"site/{site}" not in layout.scopes:
        raise not_found(f"site {site}", "GET /sites lists what there is.")

"""Work: which energy of GPUs went to which job and tenant.

Lives here: job records as Slurm's accounting tells them (`sacct --parsable2`) and as the labels of dcgm-exporter tell
them for Kubernetes, and the join with the power of GPUs over time. Not here: where texts and readings come from.

Slurm's accounting does not say which GPUs of a node a job had, only how many: a job that had all of a node has all of
its GPUs' energy, and jobs that shared it have equal parts for each GPU, called estimated."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from dcim.capacity.provenance import FigureKind
from dcim.capacity.spans import Grid
from dcim.core.times import from_us, to_us

JOBS_MAX: Final = 20_000
"""Records of one text."""
NODES_MAX: Final = 10_000
"""Nodes of one job."""
FIELDS: Final = ("JobID", "Account", "Partition", "Start", "End", "NodeList", "AllocTRES")
"""Columns that a text has to have: `sacct --parsable2 --allocations --format=JobID,Account,…`."""


class Job(NamedTuple):
    """One job that ran."""

    id: str
    tenant: str
    """The account."""
    partition: str
    start_us: int
    end_us: int | None
    """None while it runs."""
    nodes: tuple[str, ...]
    gpus: int
    """Allocated over all nodes; 0 where the record does not say, which counts as all of each node."""


class Misread(NamedTuple):
    """A line that is no record of a job."""

    line: int
    why: str


def read_sacct(text: str, zone: ZoneInfo) -> tuple[list[Job], list[Misread]]:
    """Jobs of Slurm's accounting: columns FIELDS, and others that are passed over, parted by | or by commas. Times are
    as Slurm prints them, without an offset, by the clocks of `zone`. Steps of jobs (12.batch) are passed over; what
    never ran or cannot be read is told, line by line. Raises ValueError for a text without these columns, or with more
    than JOBS_MAX records."""
    first = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text), delimiter="|" if "|" in first else ",")
    try:
        header = [name.strip() for name in next(rows, [])]
        lacking = [name for name in FIELDS if name not in header]
        if lacking:
            raise ValueError(f"the first line names no {', '.join(lacking)}; it takes {', '.join(FIELDS)}")
        at = {name: header.index(name) for name in FIELDS}
        jobs: list[Job] = []
        misread: list[Misread] = []
        for number, row in enumerate(rows, 2):
            if number > JOBS_MAX + 1:
                raise ValueError(f"there are more than {JOBS_MAX} records; send fewer at a time")
            if not row:
                continue
            try:
                told = {name: row[column].strip() for name, column in at.items()}
                if "." not in told["JobID"]:
                    jobs.append(_job(told, zone))
            except (ValueError, IndexError, OverflowError) as error:
                why = "it has too few columns" if isinstance(error, IndexError) else str(error)
                misread.append(Misread(number, why[:200]))
    except csv.Error as error:
        raise ValueError(f"this is no table: {error}") from error
    return jobs, misread


def _job(told: Mapping[str, str], zone: ZoneInfo) -> Job:
    if not told["JobID"]:
        raise ValueError("it names no job")
    start, end = _time(told["Start"], zone), _time(told["End"], zone)
    if start is None:
        raise ValueError("it never started")
    if end is not None and end < start:
        raise ValueError("it ends before it starts")
    nodes = tuple(expand(told["NodeList"]))
    if not nodes:
        raise ValueError("it names no node")
    counts = re.findall(r"(?:^|,)gres/gpu=(\d{1,6})", told["AllocTRES"])
    return Job(told["JobID"], told["Account"] or "(none)", told["Partition"], start, end, nodes,
               int(counts[0]) if counts else 0)  # fmt: skip


def _time(text: str, zone: ZoneInfo) -> int | None:
    if text in {"", "Unknown", "None"}:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text[:40]!r} is no time") from error
    return to_us(at if at.tzinfo else at.replace(tzinfo=zone))


def expand(nodes: str) -> Iterable[str]:
    """The names in a node list of Slurm. Raises ValueError for one that is none, or of more than NODES_MAX nodes.

    >>> list(expand("h[01-03,7],login"))
    ['h01', 'h02', 'h03', 'h7', 'login']
    """
    if nodes in {"", "None assigned", "(null)"}:
        return
    parts = re.findall(r"([A-Za-z0-9._-]+)(?:\[([0-9,-]+)\])?(?:,|$)", nodes)
    if len(nodes) > 65_536 or ",".join(stem + (f"[{within}]" if within else "") for stem, within in parts) != nodes:
        raise ValueError(f"{nodes[:60]!r} is no list of nodes")
    count = 0
    for stem, within in parts:
        for piece in within.split(",") if within else [""]:
            low, _, high = piece.partition("-")
            if not within:
                names: Iterable[str] = (stem,)
            elif not low or (high and int(high) - int(low) > NODES_MAX):
                raise ValueError(f"{nodes[:60]!r} is no list of nodes, or one of too many")
            else:
                names = (f"{stem}{number:0{len(low)}}" for number in range(int(low), int(high or low) + 1))
            for name in names:
                count += 1
                if count > NODES_MAX:
                    raise ValueError(f"it lists more than {NODES_MAX} nodes")
                yield name


@dataclass(frozen=True, slots=True)
class JobEnergy:
    """What the GPUs of one job drew."""

    job: Job
    kwh: float | None
    """None where nothing was read of its nodes' GPUs while it ran."""
    gpu_hours: float
    kind: FigureKind
    coverage_pct: float
    """Of its time on all of its nodes, for how much the power of their GPUs is known."""
    why: str


def attribute(jobs: Sequence[Job], nodes: Mapping[str, Sequence[int]], gpus: Grid, now_us: int) -> list[JobEnergy]:
    """What each job drew. nodes: by name, the rows of its GPUs in the grid of their power, kW. A job counts within the
    grid's time only; one that runs still, until `now_us`."""
    edges = gpus.steps.edges
    power: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
    for name, rows in nodes.items():
        own = gpus.mean[list(rows)]
        power[name] = np.where(np.isnan(own).any(axis=0), np.nan, own.sum(axis=0))
    overlaps = {job: _overlap_h(edges, job.start_us, job.end_us or now_us) for job in jobs}
    taken: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
    for job in jobs:
        for name in job.nodes:
            if name in power:
                share = _gpus_on(job, name, nodes) * overlaps[job]
                taken[name] = taken.get(name, np.zeros(gpus.steps.number)) + share
    return [_energy(job, nodes, power, taken, overlaps[job]) for job in jobs]


def _overlap_h(
    edges: np.ndarray[tuple[int], np.dtype[np.int64]], start_us: int, end_us: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Hours of each step in which a job ran."""
    low, high = np.maximum(edges[:-1], start_us), np.minimum(edges[1:], end_us)
    hours: np.ndarray[tuple[int], np.dtype[np.float64]] = np.maximum(high - low, 0) / 3.6e9
    return hours


def _gpus_on(job: Job, node: str, nodes: Mapping[str, Sequence[int]]) -> float:
    whole = len(nodes[node])
    return float(whole) if not job.gpus else min(job.gpus / len(job.nodes), whole)


def _energy(
    job: Job,
    nodes: Mapping[str, Sequence[int]],
    power: Mapping[str, np.ndarray[tuple[int], np.dtype[np.float64]]],
    taken: Mapping[str, np.ndarray[tuple[int], np.dtype[np.float64]]],
    hours: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> JobEnergy:
    ran_h = float(hours.sum())
    known_h, kwh, shared, gpu_hours = 0.0, 0.0, False, 0.0
    unknown = [name for name in job.nodes if name not in power]
    for name in job.nodes:
        if name in unknown:
            gpu_hours += (job.gpus / len(job.nodes)) * ran_h
            continue
        own, whole = _gpus_on(job, name, nodes), len(nodes[name])
        gpu_hours += own * ran_h
        # All of a node's GPUs that jobs hold; never more than there are, whatever the records say.
        with np.errstate(invalid="ignore", divide="ignore"):
            held = np.where(hours > 0, np.maximum(taken[name] / hours, own), own)
        part = own / np.maximum(held, whole)
        shared |= bool(own < whole)
        known = ~np.isnan(power[name]) & (hours > 0)
        kwh += float((power[name] * hours * part)[known].sum())
        known_h += float(hours[known].sum())
    coverage = 100.0 * known_h / (ran_h * len(job.nodes)) if ran_h else 0.0
    reasons = []
    if unknown:
        reasons.append(f"nothing is known of the GPUs of {', '.join(unknown[:5])}")
    if shared:
        reasons.append("it shared nodes: equal parts for each GPU")
    if not ran_h:
        return JobEnergy(job, None, 0.0, FigureKind.MISSING, 0.0, "it did not run in the period")
    if known_h <= 0.0:
        why = reasons[0] if reasons else "the power of its GPUs was not read while it ran"
        return JobEnergy(job, None, gpu_hours, FigureKind.MISSING, 0.0, why)
    exact = not reasons and coverage > 99.95
    kind = FigureKind.MEASURED if exact else FigureKind.ESTIMATED
    if coverage <= 99.95 and not unknown:
        reasons.append(f"over the {coverage:.1f} % of its time for which it is known")
    return JobEnergy(job, kwh, gpu_hours, kind, min(coverage, 100.0), "; ".join(reasons))


class TenantEnergy(NamedTuple):
    """What the GPUs of one tenant's jobs drew."""

    tenant: str
    jobs: int
    kwh: float | None
    """Of those that are known; None where none is."""
    gpu_hours: float
    unknown: int
    """Jobs whose energy nobody can tell."""


def by_tenant(energies: Sequence[JobEnergy]) -> list[TenantEnergy]:
    """The sums by tenant, the largest first."""
    grouped: dict[str, list[JobEnergy]] = {}
    for one in energies:
        grouped.setdefault(one.job.tenant, []).append(one)
    told = []
    for tenant, own in grouped.items():
        known = [one.kwh for one in own if one.kwh is not None]
        told.append(
            TenantEnergy(
                tenant,
                len(own),
                sum(known) if known else None,
                sum(one.gpu_hours for one in own),
                len(own) - len(known),
            )
        )
    return sorted(told, key=lambda one: (-(one.kwh or 0.0), one.tenant))


def span_of(jobs: Sequence[Job], now_us: int) -> tuple[datetime, datetime]:
    """From the first start to the last end. Raises ValueError for no jobs."""
    if not jobs:
        raise ValueError("there is no job that ran")
    return from_us(min(job.start_us for job in jobs)), from_us(max(job.end_us or now_us for job in jobs))

"""A thin client of the HTTP API, for programs: a method for each question, typed, over httpx.

    from dcim.client import Client

    with Client("http://127.0.0.1:8080") as dcim:
        for answer in dcim.utilization(["site/demo"], group_by="rack", window="7d")["answers"]:
            print(answer["scope"], answer["p95"], answer["kind"], answer["coverage_pct"])

Answers are the API's own JSON, as typed dicts: what a figure means, with formula and unit, stands in the API's
description (/api/v1/openapi.json), and a test holds these types to it. Answers with an ETag are kept, and asked for
again with it. Lives here: the questions, and the translation of what goes wrong. Not here: any figure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Literal, NotRequired, TypedDict, cast

import httpx

from dcim.core.errors import Permanent, Transient

Kind = Literal["measured", "estimated", "missing"]
Resource = Literal["power", "liquid_cooling", "air_cooling", "gpu", "gpu_sm", "gpu_memory", "gpu_power", "space"]
Grouping = Literal["none", "site", "hall", "row", "rack", "cdu"]
Stat = Literal["now", "mean", "p50", "p95", "peak"]

KEPT_MAX: Final = 64
"""Answers that are kept for their ETag."""
ANSWER_BYTES_MAX: Final = 256 * 1_048_576
"""A longer answer is refused."""


class Scope(TypedDict):
    """One scope that can be asked about."""

    scope: str
    kind: Literal["site", "hall", "row", "asset"]
    asset_kind: str
    racks: int


class Against(TypedDict):
    """What a use is compared with."""

    what: Literal["rating", "contract", "failover_safe"]
    value: float | None
    kind: Kind
    why: str
    mean_pct: float | None
    p95_pct: float | None
    peak_pct: float | None


class Previous(TypedDict):
    """The same of the period before."""

    start: str
    end: str
    mean: float | None
    p95: float | None
    peak: float | None
    coverage_pct: float
    change_pct: float | None


class Series(TypedDict):
    """Time-weighted means of equal steps."""

    step_s: int
    times: list[str]
    values: list[float]


class Usage(TypedDict):
    """What one scope uses."""

    scope: str
    kind: Kind
    coverage_pct: float
    boundary: str
    why: str
    parts: int
    missing: list[str]
    missing_total: int
    now: NotRequired[float | None]
    mean: NotRequired[float | None]
    p50: NotRequired[float | None]
    p95: NotRequired[float | None]
    peak: NotRequired[float | None]
    peak_at: NotRequired[str | None]
    energy_kwh: NotRequired[float | None]
    against: list[Against]
    previous: NotRequired[Previous | None]
    series: NotRequired[Series | None]


class Utilization(TypedDict):
    """Use of a resource."""

    resource: str
    unit: str
    start: str
    end: str
    zone: str
    resolution: str
    resolution_s: int
    answers: list[Usage]


class Figure(TypedDict):
    """One figure, with where it comes from."""

    name: str
    label: str
    value: float | None
    unit: str
    kind: Kind
    coverage_pct: float
    boundary: str
    why: str
    formula: str
    source: str


class Figures(TypedDict):
    """The figures of one scope."""

    scope: str
    role: str
    figures: list[Figure]


class Efficiencies(TypedDict):
    """Figures of scopes over a period."""

    start: str
    end: str
    zone: str
    resolution_s: int
    answers: list[Figures]


class ReportLine(TypedDict):
    """One figure of the yearly report."""

    symbol: str
    what: str
    text: str
    value: float | None
    unit: str
    kind: Kind
    coverage_pct: float
    boundary: str
    why: str


class Report(TypedDict):
    """The figures of one site and year."""

    site: str
    year: int
    start: str
    end: str
    complete: bool
    obliged: bool | None
    lines: list[ReportLine]


class JobEnergy(TypedDict):
    """What the GPUs of one job drew."""

    id: str
    tenant: str
    partition: str
    energy_kwh: float | None
    gpu_hours: float
    kind: Kind
    coverage_pct: float
    why: str


class TenantEnergy(TypedDict):
    """What the GPUs of one tenant's jobs drew."""

    tenant: str
    jobs: int
    energy_kwh: float | None
    gpu_hours: float
    unknown: int


class Misread(TypedDict):
    """A line that is no record of a job."""

    line: int
    why: str


class Jobs(TypedDict):
    """Energy of jobs and tenants."""

    start: str
    end: str
    jobs: list[JobEnergy]
    tenants: list[TenantEnergy]
    misread: list[Misread]
    misread_total: int


class Pod(TypedDict):
    """What the GPUs of one pod drew."""

    namespace: str
    pod: str
    container: str
    gpus: int
    energy_kwh: float


class Pods(TypedDict):
    """Energy by pod between two texts of dcgm-exporter."""

    pods: list[Pod]
    namespaces: dict[str, float]
    idle_kwh: float
    handed_over_kwh: float
    gpus: int
    resets: int


class Serving(TypedDict):
    """Tokens and queries, what they took, and what they cost."""

    prompt_tokens: float | None
    generated_tokens: float | None
    queries: float | None
    resets: int
    energy_kwh: float | None
    kind: Kind
    coverage_pct: float
    boundary: str
    tokens_per_joule: float | None
    joules_per_query: float | None
    cost_per_query: float | None
    cost_per_million_tokens: float | None
    cost_unit: str
    why: str


class Amount(TypedDict):
    """One number and how it was come by."""

    value: float | None
    unit: str
    kind: Kind
    coverage_pct: float
    start: str
    end: str
    boundary: str
    why: str


class Limit(TypedDict):
    """One limit, and what it carries."""

    resource: str
    at: str
    unit: str
    capacity: float | None
    load: float | None
    measured: bool
    why: str


class Strain(TypedDict):
    """Headroom over one resource."""

    resource: str
    headroom: Amount
    tightest: Limit | None
    unknown: list[str]


class Feed(TypedDict):
    """One feed of a rack, phase by phase, A."""

    id: str
    side: str
    now_a: list[float | None]
    failover_a: list[float | None]
    usable_a: float | None
    rated_a: float | None
    measured: bool
    worst_if: str


class Headroom(TypedDict):
    """Headroom of one place."""

    scope: str
    racks: int
    headroom: Amount
    binding: Limit | None
    resources: list[Strain]
    feeds: list[Feed]


class Capacity(TypedDict):
    """Headroom, place by place."""

    at: str
    level: str
    items: list[Headroom]
    total: int
    next_cursor: str | None
    conflicts: int


class Seat(TypedDict):
    """One free position."""

    row: str
    position: int
    fits: bool
    binding: str | None
    at: str
    margin_pct: float | None
    why: str
    unknown: list[str]
    assumed: str


class Silent(TypedDict):
    """A row without a seat."""

    row: str
    why: str


class Placement(TypedDict):
    """Where new racks fit."""

    at: str
    wanted: int
    placed: int
    chosen: list[Seat]
    stopped: Seat | None
    seats: list[Seat]
    seats_total: int
    fitting_total: int
    silent: list[Silent]


class Stranded(TypedDict):
    """Free power that cannot be used."""

    scope: str
    free: Amount
    usable: Amount
    stranded: Amount
    racks: int | None
    by_cause: dict[str, float]
    why: list[str]


class Overload(TypedDict):
    """A feed that would carry more than it may."""

    feed: str
    load: Amount
    usable_kw: float
    before_kw: float | None
    fullest_a: float | None
    usable_a: float | None
    rated_a: float | None
    trips: bool


class Hot(TypedDict):
    """Racks that would run hot."""

    group: str
    racks: list[str]
    lost: Amount
    slowdown: Amount
    first: str


class Shed(TypedDict):
    """What would have to go."""

    at: str
    excess_kw: float
    racks: list[str]
    racks_kw: float
    cap_pct: float


class WhatIf(TypedDict):
    """What becomes of it."""

    at: str
    loads: str
    overloads: list[Overload]
    dark: list[str]
    hot: list[Hot]
    shed: list[Shed]
    unknown: list[str]
    measured_pct: float


class Standing(TypedDict):
    """Redundancy of a rack's power or a group's cooling."""

    scope: str
    has: str
    wanted: str
    holds: str
    weakest: str
    margin_pct: float | None
    why: str
    measured_pct: float


class HallRedundancy(TypedDict):
    """Redundancy of one hall; racks that stand in none come under the empty name."""

    scope: str
    power: str
    cooling: str
    racks: int
    by_power: dict[str, int]
    weakest_power: Standing | None
    weakest_cooling: Standing | None


class Redundancy(TypedDict):
    """Whether 2N or N+1 is true right now."""

    at: str
    halls: list[HallRedundancy]
    items: list[Standing]
    total: int


class Check(TypedDict):
    """Two sides that measure one thing."""

    checked: str
    upper: list[str]
    lower: list[str]
    upper_mean: Amount
    lower_mean: Amount
    difference_pct: Amount
    unmetered: list[str]
    unmetered_total: int


class Checks(TypedDict):
    """How far meters are apart that measure one thing."""

    start: str
    end: str
    zone: str
    resolution_s: int
    items: list[Check]
    total: int
    compared: int


class Backtest(TypedDict):
    """How the method did on the last days, from the ones before."""

    days: int
    error: float
    bias: float
    within_pct: float


class Forecast(TypedDict):
    """When it is full."""

    scope: str
    resource: str
    unit: str
    capacity: Amount
    load: Amount
    growth_per_day: float | None
    growth_low: float | None
    growth_high: float | None
    exhausted: str | None
    earliest: str | None
    latest: str | None
    backtest: Backtest | None
    days: int
    why: str


class Refused(Permanent):
    """The service says that the question is wrong: `problem` is what it said (RFC 9457), `status` the HTTP status."""

    def __init__(self, status: int, problem: Mapping[str, Any], where: str) -> None:
        self.status, self.problem = status, problem
        super().__init__(str(problem.get("detail") or f"HTTP status {status}").rstrip("."), where=where)


class Client:
    """Asks one service. Not for several threads at a time.

    url: of the service, without /api. headers: sent with each question, as a proxy before it may want. transport:
    another way there than the network, for tests. What goes wrong is Refused where asking again is of no use, and
    Transient where it may be.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 30.0,
        headers: Mapping[str, str] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        try:
            self._http = httpx.Client(
                base_url=url.rstrip("/") + "/api/v1",
                timeout=timeout_s,
                headers=dict(headers or {}),
                transport=transport,
            )
        except (httpx.InvalidURL, TypeError) as error:
            raise Permanent(f"{url!r} is no address: {error}", todo="Write http://host:port.") from error
        self._kept: OrderedDict[str, tuple[str, Any]] = OrderedDict()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of its connections."""
        self._http.close()

    def scopes(self) -> Iterator[Scope]:
        """Everything that can be asked about, by name."""
        cursor: str | None = None
        while True:
            page = self.get("/scopes", cursor=cursor)
            yield from cast("list[Scope]", page["items"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def utilization(
        self,
        scopes: Sequence[str],
        resource: Resource = "power",
        *,
        window: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        group_by: Grouping = "none",
        stat: Sequence[Stat] | None = None,
        compare: bool = False,
        total: bool = False,
        step: str | None = None,
    ) -> Utilization:
        """How full it is: GET /utilization."""
        return cast(
            "Utilization",
            self.get(
                "/utilization", scope=list(scopes), resource=resource, window=window, start=start, end=end,
                group_by=group_by, stat=None if stat is None else list(stat), compare=compare, total=total, step=step,
            ),
        )  # fmt: skip

    def efficiency(
        self,
        scopes: Sequence[str],
        *,
        window: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Efficiencies:
        """How efficient it is: GET /efficiency."""
        return cast("Efficiencies", self.get("/efficiency", scope=list(scopes), window=window, start=start, end=end))

    def cost(
        self,
        scopes: Sequence[str],
        *,
        window: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Efficiencies:
        """What it costs: GET /cost."""
        return cast("Efficiencies", self.get("/cost", scope=list(scopes), window=window, start=start, end=end))

    def capacity(self, scope: str | None = None, level: str | None = None) -> Capacity:
        """What racks may draw more, and what stops them: GET /capacity, the first page of it."""
        return cast("Capacity", self.get("/capacity", scope=scope, level=level))

    def stranded(self, scope: str | None = None) -> list[Stranded]:
        """Free power that no rack can use: GET /capacity/stranded."""
        return cast("list[Stranded]", self.get("/capacity/stranded", scope=scope))

    def placement(self, racks: int, power_kw: float, **more: Any) -> Placement:
        """Where racks fit: POST /capacity/placement. more: its other fields, as the API names them."""
        body = {"racks": racks, "power_kw": power_kw, **more}
        return cast("Placement", self._ask("POST", "/capacity/placement", {}, json=body).json())

    def what_if(self, lose: Sequence[str] = (), add: Sequence[Mapping[str, Any]] = (), at: str = "now") -> WhatIf:
        """What becomes of it: POST /capacity/what-if. add: racks, with the fields that the API names."""
        body = {"lose": list(lose), "add": [dict(each) for each in add], "at": at}
        return cast("WhatIf", self._ask("POST", "/capacity/what-if", {}, json=body).json())

    def redundancy(self, scope: str | None = None) -> Redundancy:
        """Whether 2N or N+1 is true right now: GET /redundancy."""
        return cast("Redundancy", self.get("/redundancy", scope=scope))

    def checks(self, scope: str, *, window: str | None = None) -> Checks:
        """How far meters are apart that measure one thing: GET /capacity/checks."""
        return cast("Checks", self.get("/capacity/checks", scope=scope, window=window))

    def forecast(self, scope: str, resource: str = "power", days: int = 90) -> Forecast:
        """When it is full: GET /capacity/forecast. resource: power, cooling, flow or space."""
        return cast("Forecast", self.get("/capacity/forecast", scope=scope, resource=resource, days=days))

    def report(self, site: str, year: int) -> Report:
        """The yearly report: GET /efficiency/report."""
        return cast("Report", self.get("/efficiency/report", site=site, year=year))

    def jobs(self, site: str, records: str) -> Jobs:
        """Energy of jobs and tenants: POST /workloads/jobs. records: Slurm's accounting, 64 kB at most."""
        told = self._ask("POST", "/workloads/jobs", {"site": site}, content=records.encode(), media="text/csv")
        return cast("Jobs", told.json())

    def pods(self, before: str, after: str) -> Pods:
        """Energy of pods between two texts of dcgm-exporter: POST /workloads/pods."""
        return cast("Pods", self._ask("POST", "/workloads/pods", {}, json={"before": before, "after": after}).json())

    def serving(self, scope: str, before: str, after: str, start: datetime, end: datetime) -> Serving:
        """Tokens per joule and cost per query between two texts of inference servers: POST /workloads/serving."""
        body = {"scope": scope, "before": before, "after": after, "start": _said(start), "end": _said(end)}
        return cast("Serving", self._ask("POST", "/workloads/serving", {}, json=body).json())

    def get(self, path: str, **asked: Any) -> Any:
        """Any question of the API: its JSON answer. path: behind /api/v1. asked: its parameters; those that are None
        are left out."""
        query = {name: _said(value) for name, value in asked.items() if value is not None}
        answer = self._ask("GET", path, query)
        if answer.status_code == httpx.codes.NOT_MODIFIED:
            return self._kept[str(answer.request.url)][1]
        told = answer.json()
        if etag := answer.headers.get("etag"):
            self._kept[str(answer.request.url)] = etag, told
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        return told

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        *,
        content: bytes | None = None,
        media: str | None = None,
        json: object = None,
    ) -> httpx.Response:
        request = self._http.build_request(method, path, params=query, content=content, json=json)
        if media is not None:
            request.headers["content-type"] = media
        if method == "GET" and (kept := self._kept.get(str(request.url))):
            request.headers["if-none-match"] = kept[0]
        where = f"{method} {request.url.path}"
        try:
            answer = self._http.send(request, stream=True)
            try:
                body = bytearray()
                for piece in answer.iter_bytes():
                    body += piece
                    if len(body) > ANSWER_BYTES_MAX:
                        raise Permanent(f"the answer is longer than {ANSWER_BYTES_MAX} bytes", where=where)
            finally:
                answer.close()
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise Permanent(f"this is no address: {error}", where=where, todo="Write http://host:port.") from error
        except httpx.HTTPError as error:
            todo = "Is the service running there?"
            raise Transient(f"there is no answer: {error or type(error).__name__}", where=where, todo=todo) from error
        whole = httpx.Response(
            answer.status_code, headers={"content-type": answer.headers.get("content-type", ""),
                                         **({"etag": answer.headers["etag"]} if "etag" in answer.headers else {})},
            content=bytes(body), request=request,
        )  # fmt: skip
        if whole.status_code >= 400:
            raise _wrong(whole, where)
        return whole


def _wrong(answer: httpx.Response, where: str) -> Permanent | Transient:
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    problem = problem if isinstance(problem, dict) else {}
    if answer.status_code in {408, 429, 502, 503, 504}:
        return Transient(str(problem.get("detail") or f"HTTP status {answer.status_code}").rstrip("."), where=where)
    return Refused(answer.status_code, problem, where)


def _said(value: Any) -> Any:
    """A value as it stands in a query."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a time needs its zone")
        return value.isoformat()
    return value

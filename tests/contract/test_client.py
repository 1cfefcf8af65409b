"""The client and `dcim query`: typed as the API is described, errors in our words, tables and JSON."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from dcim import client as api
from dcim.app.api import capacity, checks, efficiency, figures, forecast, redundancy, utilization, workloads
from dcim.app.cli import app
from dcim.app.queries import RECORDS_BYTES_MAX, jobs_of
from dcim.core.errors import Permanent, Transient
from tests.contract.inside import Inside, inside
from tests.contract.test_efficiency_api import SET, metered

PAIRS: list[tuple[Any, type[BaseModel]]] = [
    (api.Scope, utilization.ScopeBody),
    (api.Against, utilization.AgainstBody),
    (api.Previous, utilization.PreviousBody),
    (api.Series, utilization.UsageSeriesBody),
    (api.Usage, utilization.UsageBody),
    (api.Utilization, utilization.UtilizationBody),
    (api.Figure, efficiency.NamedFigureBody),
    (api.Figures, efficiency.EfficiencyBody),
    (api.Efficiencies, efficiency.EfficienciesBody),
    (api.ReportLine, efficiency.ReportLineBody),
    (api.Report, efficiency.ReportBody),
    (api.JobEnergy, workloads.JobBody),
    (api.TenantEnergy, workloads.TenantBody),
    (api.Misread, workloads.MisreadBody),
    (api.Jobs, workloads.JobsBody),
    (api.Pod, workloads.PodBody),
    (api.Pods, workloads.PodsBody),
    (api.Serving, workloads.ServingBody),
    (api.Amount, figures.FigureBody),
    (api.Limit, capacity.LimitBody),
    (api.Strain, capacity.StrainBody),
    (api.Feed, capacity.FeedBody),
    (api.Headroom, capacity.HeadroomBody),
    (api.Capacity, capacity.CapacityBody),
    (api.Seat, capacity.SeatBody),
    (api.Silent, capacity.SilentBody),
    (api.Placement, capacity.PlacementBody),
    (api.Stranded, capacity.StrandedBody),
    (api.Overload, capacity.OverloadBody),
    (api.Hot, capacity.HotBody),
    (api.Shed, capacity.ShedBody),
    (api.WhatIf, capacity.WhatIfBody),
    (api.Standing, redundancy.StandingBody),
    (api.HallRedundancy, redundancy.HallRedundancyBody),
    (api.Redundancy, redundancy.RedundancyBody),
    (api.Check, checks.CheckBody),
    (api.Checks, checks.ChecksBody),
    (api.Backtest, forecast.BacktestBody),
    (api.Forecast, forecast.ForecastBody),
]


@pytest.mark.parametrize(("typed", "body"), PAIRS, ids=lambda one: one.__name__)
def test_types_are_those_of_the_api(typed: Any, body: type[BaseModel]) -> None:
    assert set(typed.__annotations__) == set(body.model_fields)


@pytest.mark.slow
def test_questions_and_tables(tmp_path: Path) -> None:
    async def scenario(hall: Inside) -> None:
        await metered(hall)
        await asyncio.to_thread(questions, hall.service.url, tmp_path)

    inside(scenario, **SET)


def questions(url: str, folder: Path) -> None:
    with api.Client(url) as dcim:
        assert {"site/titan", "asset/titan/R1"} <= {one["scope"] for one in dcim.scopes()}
        told = dcim.utilization(["site/titan"], window="1h", stat=["mean"])
        assert told["answers"][0]["mean"] == pytest.approx(100)
        assert dcim.utilization(["site/titan"], window="1h", stat=["mean"]) == told, "by its ETag"
        with pytest.raises(api.Refused, match="There is no 'site/elsewhere' here") as caught:
            dcim.utilization(["site/elsewhere"])
        assert (caught.value.status, caught.value.problem["title"]) == (404, "Not found")
        with pytest.raises(ValueError, match="zone"):
            dcim.utilization(["site/titan"], start=datetime(2026, 1, 1))  # noqa: DTZ001
    run = CliRunner()
    table = run.invoke(app, ["query", "utilization", "site/titan", "--window", "1h", "--url", url])
    assert table.exit_code == 0, table.output
    assert "site/titan" in table.output
    assert "100" in table.output
    plain = run.invoke(app, ["query", "efficiency", "site/titan", "--window", "1h", "--url", url, "--json"])
    figures = {one["name"]: one["value"] for one in json.loads(plain.output)["answers"][0]["figures"]}
    assert figures["PUE"] == pytest.approx(1.25)
    for command in (
        ["scopes"], ["cost", "site/titan"], ["report", "titan", "2026"], ["capacity", "site/titan"], ["redundancy"],
        ["placement", "2", "60"], ["what-if", "asset/titan/TAP"], ["checks", "site/titan"], ["forecast", "site/titan"],
        ["forecast", "site/titan", "--resource", "power", "--resource", "space"],
    ):  # fmt: skip
        answer = run.invoke(app, ["query", *command, "--url", url])
        assert (answer.exit_code, bool(answer.output.strip())) == (0, True), answer.output
    head = "JobID|Account|Partition|Start|End|NodeList|AllocTRES\n"
    line = "{}|physics|train|2026-01-01T00:00:00|2026-01-01T01:00:00|n1|gres/gpu=2\n"
    records = folder / "sacct.csv"
    lines = [line.format(number) for number in range(2 * RECORDS_BYTES_MAX // len(line))]
    records.write_text(head + "".join(lines) + "torn|\n")
    with api.Client(url) as dcim:
        told = jobs_of(dcim, "titan", records)
    assert [job["id"] for job in told["jobs"]] == [str(number) for number in range(len(lines))]
    assert [one["line"] for one in told["misread"]] == [len(lines) + 2]
    assert told["tenants"][0]["jobs"] == len(lines)
    shown = run.invoke(app, ["query", "jobs", "titan", str(records), "--url", url])
    assert "physics" in shown.output


def answering(status: int, body: object) -> httpx.MockTransport:
    return httpx.MockTransport(lambda _: httpx.Response(status, json=body))


def test_what_goes_wrong_is_said_in_our_words() -> None:
    with api.Client("http://x", transport=answering(503, {"detail": "Not now."})) as dcim, pytest.raises(Transient):
        dcim.cost(["site/x"])
    for body in ({"detail": "No."}, [], "?"):
        with api.Client("http://x", transport=answering(422, body)) as dcim, pytest.raises(api.Refused):
            dcim.cost(["site/x"])

    def gone(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with (
        api.Client("http://x", transport=httpx.MockTransport(gone)) as dcim,
        pytest.raises(Transient, match="Is the service running"),
    ):
        dcim.cost(["site/x"])
    with api.Client("x", transport=None) as dcim, pytest.raises((Permanent, Transient)):
        dcim.cost(["site/x"])
    with api.Client("http://x", transport=answering(200, {"a": "b" * 100})) as dcim:
        assert dcim.get("/anything", a=None)["a"].startswith("b")

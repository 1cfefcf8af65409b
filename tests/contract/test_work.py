"""Energy of jobs, tenants, pods and tokens, and cost: by hand, and what is no record is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from dcim.capacity.cost import HOURS_A_YEAR, Terms, costs
from dcim.capacity.efficiency import Boundary, survey
from dcim.capacity.jobs import attribute, by_tenant, expand, read_sacct
from dcim.capacity.provenance import FigureKind, Period
from dcim.capacity.scopes import Scope, lay_out
from dcim.capacity.serving import held, served, tokens_per_joule
from dcim.capacity.spans import Grid, lattice
from dcim.core.inventory import FactorStep, Inventory, Site
from dcim.core.plant import survey as survey_plant
from dcim.core.points import Point, PointIndex
from dcim.core.times import to_us

T0 = datetime(2026, 3, 1, tzinfo=UTC)
HOUR_US = 3_600_000_000
HEAD = "JobID|Account|Partition|Start|End|NodeList|AllocTRES|State"
SACCT = f"""{HEAD}
1|physics|train|2026-03-01T00:00:00|2026-03-01T02:00:00|h[1-2]|billing=64,gres/gpu=4,node=2|COMPLETED
1.batch|physics||2026-03-01T00:00:00|2026-03-01T02:00:00|h1|cpu=64|COMPLETED
2|serving|infer|2026-03-01T02:00:00|2026-03-01T04:00:00|h1|gres/gpu=1|COMPLETED
3|physics|train|2026-03-01T02:00:00|2026-03-01T04:00:00|h1|gres/gpu=1|FAILED
4|physics|train|Unknown|Unknown|None assigned||CANCELLED
5|serving|infer|2026-03-01T03:00:00|Unknown|h9|gres/gpu=8|RUNNING
"""


def power(kw: list[list[float]]) -> Grid:
    """By GPU and hour."""
    mean = np.array(kw)
    cover = np.where(np.isnan(mean), 0.0, 1.0)
    return Grid(
        lattice(to_us(T0), to_us(T0) + mean.shape[1] * HOUR_US, HOUR_US), np.ones(mean.shape[1]), mean, cover, mean
    )


def test_jobs_by_hand():
    jobs, misread = read_sacct(SACCT, ZoneInfo("UTC"))
    assert [job.id for job in jobs] == ["1", "2", "3", "5"]
    assert [(line.line, line.why) for line in misread] == [(6, "it never started")]
    # h1 has GPUs 0 and 1 of 1 and 0.5 kW; h2 has 2 and 3 of 0.4 kW, and the second hour of 3 was not read
    gpus = power([[1.0] * 4, [0.5] * 4, [0.4] * 4, [0.4, np.nan, 0.4, 0.4]])
    told = {one.job.id: one for one in attribute(jobs, {"h1": (0, 1), "h2": (2, 3)}, gpus, to_us(T0) + 4 * HOUR_US)}
    assert told["1"].kwh == pytest.approx(1.5 * 2 + 0.8 * 1)
    assert (told["1"].kind, told["1"].coverage_pct, told["1"].gpu_hours) == (FigureKind.ESTIMATED, 75, 8)
    assert told["2"].kwh == told["3"].kwh == pytest.approx(1.5 * 2 / 2)
    assert "shared" in told["2"].why
    assert (told["5"].kwh, told["5"].kind) == (None, FigureKind.MISSING)
    assert "h9" in told["5"].why
    first, second = by_tenant(list(told.values()))
    assert (first.tenant, first.jobs, first.kwh, first.unknown) == ("physics", 2, pytest.approx(3.8 + 1.5), 0)
    assert (second.tenant, second.kwh, second.unknown) == ("serving", pytest.approx(1.5), 1)


def test_jobs_of_a_node_never_get_more_than_it_drew():
    lines = "\n".join(f"{n}|a|p|2026-03-01T00:00:00|2026-03-01T02:00:00|h1|gres/gpu=2|COMPLETED" for n in range(3))
    jobs, _ = read_sacct(f"{HEAD}\n{lines}\n", ZoneInfo("UTC"))
    told = attribute(jobs, {"h1": (0, 1)}, power([[1.0] * 2, [1.0] * 2]), to_us(T0))
    assert sum(one.kwh or 0 for one in told) == pytest.approx(4.0)


def test_times_of_slurm_go_by_the_clocks_of_the_site():
    jobs, _ = read_sacct(SACCT, ZoneInfo("Europe/Oslo"))
    assert jobs[0].start_us == to_us(T0 - timedelta(hours=1))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("7|a|p|2026-03-01T02:00:00|2026-03-01T01:00:00|h1||X", "ends before it starts"),
        ("7|a|p|yesterday|Unknown|h1||X", "no time"),
        ("7|a|p|2026-03-01T02:00:00|Unknown|h[1-|", "no list of nodes"),
        ("7|a|p|2026-03-01T02:00:00|Unknown|h[1-99999999]||X", "too many"),
        ("7|a", "too few columns"),
        ("|a|p|2026-03-01T02:00:00|Unknown|h1||X", "names no job"),
    ],
)
def test_what_is_no_job_is_said(line, why):
    jobs, misread = read_sacct(f"{HEAD}\n{line}\n", ZoneInfo("UTC"))
    assert jobs == []
    assert why in misread[0].why


def test_a_text_of_something_else_is_refused():
    with pytest.raises(ValueError, match="names no JobID"):
        read_sacct("a,b\n1,2\n", ZoneInfo("UTC"))
    assert list(expand("None assigned")) == []


VLLM = """# TYPE vllm:prompt_tokens counter
vllm:prompt_tokens_total{{model_name="m",engine="0"}} {prompt}
# TYPE vllm:generation_tokens counter
vllm:generation_tokens_total{{model_name="m",engine="0"}} {generated}
# TYPE vllm:request_success counter
vllm:request_success_total{{finished_reason="stop",model_name="m"}} {stop}
vllm:request_success_total{{finished_reason="length",model_name="m"}} {length}
"""


def test_tokens_and_queries_between_two_texts():
    before = VLLM.format(prompt=1000, generated=500, stop=10, length=1)
    after = VLLM.format(prompt=4000, generated=7.2e6 + 500, stop=30, length=6)
    told = served(before, after)
    assert (told.prompt_tokens, told.generated_tokens, told.queries) == (3000, 7.2e6, 25)
    assert tokens_per_joule(told.generated_tokens, 2.0) == pytest.approx(1.0)
    again = served(before, VLLM.format(prompt=4000, generated=200, stop=30, length=6))
    assert (again.generated_tokens, again.resets) == (200, 1)
    assert tokens_per_joule(None, 2.0) is tokens_per_joule(5.0, 0.0) is None


def test_a_text_without_counters_is_refused():
    for text in ("", "up 1\n", '# TYPE x counter\nx{y="1" 3\n'):
        with pytest.raises(ValueError, match=r"no counter|no Prometheus"):
            served(VLLM.format(prompt=1, generated=1, stop=1, length=1), text)


def dcgm(*gpus: tuple[str, str, float]) -> str:
    lines = [
        f'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{gpu="{n}",UUID="GPU-{n}",Hostname="h1",namespace="{namespace}",'
        f'pod="{pod}",container="c"}} {mj}'
        for n, (namespace, pod, mj) in enumerate(gpus)
    ]
    return "# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter\n" + "\n".join(lines) + "\n"


def test_energy_of_pods_between_two_texts():
    before = dcgm(("ml", "train-0", 0), ("ml", "train-0", 3.6e9), ("", "", 0), ("web", "chat", 5e9), ("ml", "x", 9e9))
    after = dcgm(
        ("ml", "train-0", 3.6e9), ("ml", "train-0", 7.2e9), ("", "", 3.6e8), ("ml", "other", 8.6e9), ("ml", "x", 1.8e9)
    )
    told = held(before, after)
    assert [(pod.holder.pod, pod.gpus, pod.kwh) for pod in told.pods] == [
        ("train-0", 2, pytest.approx(2.0)), ("x", 1, pytest.approx(0.5)),
    ]  # fmt: skip
    assert (told.idle_kwh, told.handed_over_kwh) == (pytest.approx(0.1), pytest.approx(1.0))
    assert (told.gpus, told.resets) == (5, 1)
    with pytest.raises(ValueError, match="no GPU tells"):
        held(before, "up 1\n")


def test_cost_by_hand():
    index = PointIndex()
    for asset, kind, quantity in (("GRID", "PowerMeter", "ActivePower"), ("R1", "Rack", "RackPower")):
        number = index.locate(asset)
        index.describe(Point(number, asset, "s", asset, kind, asset, quantity, "kW"))
    site = Site("s", currency="EUR", tariff_per_kwh=(FactorStep(T0, 0.10), FactorStep(T0 + timedelta(hours=12), 0.20)))
    layout = lay_out(survey_plant(index, {}), Inventory(sites={"s": site}))
    period = Period(T0, T0 + timedelta(hours=24))
    grid = power([[150.0] * 24, [100.0] * 24])
    scope = Scope("site", "s")
    terms = Terms(gpu_capital=40_000, gpu_life_years=4, operation_per_gpu_year=2_000, availability=0.9)
    told = {one.name: one.figure for one in costs(survey(layout, Boundary(scope, ("GRID",))), grid, period, terms, 80)}
    assert (told["cost_per_kwh"].value, told["cost_per_kwh"].unit) == (pytest.approx(1.5 * 0.15), "EUR/kWh")
    energy = 1.5 * 0.15 * 100 / 80
    fixed = 12_000 / HOURS_A_YEAR
    assert told["energy_cost_per_gpu_hour"].value == pytest.approx(energy)
    assert told["cost_per_gpu_hour"].value == pytest.approx((energy + fixed) / 0.9)

    of = survey(layout, Boundary(scope))
    rows = grid.rows([1])
    assumed = {one.name: one.figure for one in costs(of, rows, period, Terms(pue_assumed=1.3), 80)}
    assert assumed["cost_per_kwh"].value == pytest.approx(1.3 * 0.15)
    assert (assumed["cost_per_kwh"].kind, "assumed" in assumed["cost_per_kwh"].why) == (FigureKind.ESTIMATED, True)
    assert "gpu_capital" in assumed["cost_per_gpu_hour"].why
    for nothing in (costs(of, rows, period, Terms(), 80), costs(of, rows, period, Terms(pue_assumed=1.3), 0)):
        figure = next(one.figure for one in nothing if one.name == "energy_cost_per_gpu_hour")
        assert (figure.value, bool(figure.why)) == (None, True)

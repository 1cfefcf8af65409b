"""`dcim query`: questions to a running service, as tables for people or JSON for programs.

Lives here: which columns a table has, and how figures are written. Not here: the questions (dcim.client), options
(cli.py)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dcim.client import Client, Figure, Usage
from dcim.core.errors import Permanent

WIDTH = 200
"""Columns where there is no terminal."""
RECORDS_BYTES_MAX = 60_000
"""Of job records that go out at once; the service takes 64 kB."""


def ask(url: str, question: Callable[[Client], Any], *, as_json: bool, show: Callable[[Any], None]) -> None:
    """Asks, and prints the answer: JSON as it came, or what `show` makes of it."""
    with Client(url) as client:
        answer = question(client)
    if as_json:
        json.dump(answer, sys.stdout, ensure_ascii=False, indent=1)
        sys.stdout.write("\n")
    else:
        show(answer)


def show_scopes(answer: Sequence[Any]) -> None:
    """Scopes with how many racks lie in each."""
    table = _table("scope", "kind", "racks")
    for one in answer:
        table.add_row(one["scope"], one["asset_kind"] or one["kind"], str(one["racks"]))
    _print(table)


def show_utilization(answer: Any) -> None:
    """A line for each scope: figures, how full it is, and where that comes from."""
    unit = answer["unit"]
    table = _table("scope", f"now {unit}", "mean", "p50", "p95", "peak", "when", "p95 of", "kind", "read")
    notes = []
    for one in answer["answers"]:
        when = (one.get("peak_at") or "")[:16].replace("T", " ")
        cells = [_number(one.get(name)) for name in ("now", "mean", "p50", "p95", "peak")]
        table.add_row(one["scope"], *cells, when, _against(one), one["kind"], f"{one['coverage_pct']:.0f} %")
        if one["kind"] != "measured" and one["why"]:
            notes.append(f"{one['scope']}: {one['why']}")
    _print(table, f"{answer['resource']}, {answer['start'][:16]} to {answer['end'][:16]} UTC, "
                  f"in steps of {answer['resolution_s']} s", notes)  # fmt: skip


def show_figures(answer: Any) -> None:
    """A line for each figure of each scope."""
    table = _table("scope", "figure", "value", "unit", "kind", "read", "note")
    for each in answer["answers"]:
        for one in each["figures"]:
            table.add_row(each["scope"], *_figure(one))
    _print(table, f"{answer['start'][:16]} to {answer['end'][:16]} UTC", [])


def show_capacity(answer: Any) -> None:
    """A line for each place: what its racks may draw more, and what stops them first."""
    table = _table("scope", "racks", "headroom kW", "kind", "stopped by", "at", "note")
    for one in answer["items"]:
        room, stops = one["headroom"], one["binding"] or {"resource": "–", "at": ""}
        cells = _number(room["value"]), room["kind"], stops["resource"], stops["at"], room["why"]
        table.add_row(one["scope"], str(one["racks"]), *cells)
    _print(table)


def show_checks(answer: Any) -> None:
    """A line for each group: both sums, how far they are apart, and how much of the time was read."""
    table = _table("what", "upper", "lower", "upper is", "lower is", "unit", "apart %", "read", "note")
    for one in answer["items"]:
        sides = [_several(one[side]) for side in ("upper", "lower")]
        means = [_number(one[side]["value"]) for side in ("upper_mean", "lower_mean")]
        apart = one["difference_pct"]
        cells = one["upper_mean"]["unit"], _number(apart["value"]), f"{apart['coverage_pct']:.0f} %", apart["why"]
        table.add_row(one["checked"], *sides, *means, *cells)
    told = f"{answer['compared']} of {answer['total']} groups can be compared"
    _print(table, f"{answer['start'][:16]} to {answer['end'][:16]} UTC, {told}", [])


def show_forecast(answer: Any) -> None:
    """A line for each resource: how it grows, when it is full, and how well that was told before."""
    table = _table("resource", "value", "of", "unit", "a day", "full", "earliest", "latest", "error before", "note")
    for one in answer:
        tested = one["backtest"]
        cells = [
            _number(one["load"]["value"]), _number(one["capacity"]["value"]), one["unit"],
            _number(one["growth_per_day"]), *((one[name] or "–")[:10] for name in ("exhausted", "earliest", "latest")),
            f"{_number(tested['error'])}, {tested['within_pct']:.0f} % within" if tested else "–", one["why"],
        ]  # fmt: skip
        table.add_row(one["resource"], *cells)
    _print(table, answer[0]["scope"] if answer else "")


def show_redundancy(answer: Any) -> None:
    """A line for each hall, then the weakest racks and cooling groups."""
    table = _table("hall", "racks", "power", "cooling")
    for one in answer["halls"]:
        table.add_row(one["scope"], str(one["racks"]), one["power"], one["cooling"])
    _print(table)
    weakest = _table("scope", "has", "holds", "weakest", "left %", "why")
    for one in answer["items"]:
        left = _number(one["margin_pct"])
        weakest.add_row(one["scope"], one["has"] or "–", one["holds"], one["weakest"], left, one["why"])
    _print(weakest)


def show_placement(answer: Any) -> None:
    """A line for each seat that was chosen, and what stopped the next."""
    table = _table("row", "position", "binding", "left %", "why")
    for one in answer["chosen"]:
        table.add_row(one["row"], str(one["position"]), one["binding"] or "–", _number(one["margin_pct"]), one["why"])
    stopped = answer["stopped"]
    notes = [f"the next one is stopped at {stopped['row']} position {stopped['position']}: {stopped['why']}"] if (
        stopped
    ) else []  # fmt: skip
    notes += [f"{one['row']}: {one['why']}" for one in answer["silent"]]
    _print(table, f"{answer['placed']} of {answer['wanted']} fit", notes)


def show_what_if(answer: Any) -> None:
    """What overloads, goes dark, runs hot, and what would have to go."""
    lines = [
        f"overloaded: {one['feed']} with {_number(one['load']['value'])} of {_number(one['usable_kw'])} kW"
        + (", and its breaker opens" if one["trips"] else "")
        for one in answer["overloads"]
    ]
    lines += [f"without power: {name}" for name in answer["dark"]]
    lines += [
        f"hot: {len(one['racks'])} racks of {one['group']}, {_number(one['lost']['value'])} kW without cooling; the "
        f"first GPU slows itself down after {_number(one['slowdown']['value'])} s, in {one['first']}"
        for one in answer["hot"]
    ]
    lines += [
        f"to shed at {one['at']}: {_number(one['excess_kw'])} kW, by {', '.join(one['racks'])}, or by capping all to "
        f"{_number(one['cap_pct'])} % less"
        for one in answer["shed"]
    ]
    lines += [f"not known: {why}" for why in answer["unknown"]]
    _print(_table(), "", lines or ["nothing overloads, goes dark or runs hot"])


def show_report(answer: Any) -> None:
    """A line for each figure of the yearly report."""
    table = _table("symbol", "figure", "value", "unit", "kind", "read", "note")
    for one in answer["lines"]:
        read = f"{one['coverage_pct']:.0f} %"
        value = one["text"] or _number(one["value"])
        table.add_row(one["symbol"], one["what"], value, one["unit"], one["kind"], read, one["why"])
    _print(table, f"{answer['site']}, {answer['year']}{'' if answer['complete'] else ', so far'}", [])


def show_jobs(answer: Any) -> None:
    """A line for each tenant, and one for each job."""
    table = _table("tenant", "jobs", "kWh", "GPU-hours", "unknown")
    for one in answer["tenants"]:
        cells = _number(one["energy_kwh"]), _number(one["gpu_hours"])
        table.add_row(one["tenant"], str(one["jobs"]), *cells, str(one["unknown"]))
    _print(table)
    jobs = _table("job", "tenant", "kWh", "GPU-hours", "kind", "read", "note")
    for one in answer["jobs"]:
        told = (_number(one["energy_kwh"]), _number(one["gpu_hours"]), one["kind"], f"{one['coverage_pct']:.0f} %")
        jobs.add_row(one["id"], one["tenant"], *told, one["why"])
    misread = [f"line {line['line']}: {line['why']}" for line in answer["misread"]]
    _print(jobs, "", misread)


def jobs_of(client: Client, site: str, file: Path) -> Any:
    """The answer about a file of job records, however long it is: asked for in pieces, and put together."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise Permanent(f"cannot be read: {error}", where=str(file)) from error
    if not lines:
        raise Permanent("there is nothing in it", where=str(file))
    head, pieces, size = lines[0], [[lines[0]]], len(lines[0].encode())
    begins = size
    for line in lines[1:]:
        length = len(line.encode())
        if begins + length > RECORDS_BYTES_MAX and len(pieces[-1]) > 1:
            pieces.append([head])
            begins = size
        pieces[-1].append(line)
        begins += length
    answers, before = [], 0
    for piece in pieces:
        told = client.jobs(site, "".join(piece))
        told["misread"] = [{"line": line["line"] + before, "why": line["why"]} for line in told["misread"]]
        before += len(piece) - 1
        answers.append(told)
    return _together(answers)


def _together(answers: Sequence[Any]) -> Any:
    tenants: dict[str, dict[str, Any]] = {}
    for one in (tenant for answer in answers for tenant in answer["tenants"]):
        sums = tenants.setdefault(
            one["tenant"], {"tenant": one["tenant"], "jobs": 0, "energy_kwh": None, "gpu_hours": 0.0, "unknown": 0}
        )
        for name in ("jobs", "gpu_hours", "unknown"):
            sums[name] += one[name]
        if one["energy_kwh"] is not None:
            sums["energy_kwh"] = (sums["energy_kwh"] or 0.0) + one["energy_kwh"]
    return {
        "start": min(answer["start"] for answer in answers),
        "end": max(answer["end"] for answer in answers),
        "jobs": [job for answer in answers for job in answer["jobs"]],
        "tenants": sorted(tenants.values(), key=lambda one: (-(one["energy_kwh"] or 0.0), one["tenant"])),
        "misread": [line for answer in answers for line in answer["misread"]],
        "misread_total": sum(answer["misread_total"] for answer in answers),
    }


def _several(scopes: Sequence[str]) -> str:
    names = [scope.split("/", 2)[-1] for scope in scopes]
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _against(one: Usage) -> str:
    for each in one["against"]:
        share = each["p95_pct"] if each["p95_pct"] is not None else each["mean_pct"]
        if share is not None and each["value"] is not None:
            return f"{share:.1f} % of {each['value']:,.6g} ({each['what'].replace('_', '-')})"
    return "–"


def _figure(one: Figure) -> tuple[str, ...]:
    read = f"{one['coverage_pct']:.0f} %"
    return one["label"], _number(one["value"]), one["unit"], one["kind"], read, one["why"]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    numbers = {
        "headroom kW",
        "left %",
        "position",
        "mean",
        "p50",
        "p95",
        "peak",
        "value",
        "kWh",
        "GPU-hours",
        "jobs",
        "racks",
        "unknown",
        "read",
    }
    for head in heads:
        table.add_column(head, justify="right" if head in numbers or head.startswith("now") else "left")
    return table


def _print(table: Table, title: str = "", notes: Sequence[str] = ()) -> None:
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDTH)
    if title:
        console.print(title)
    console.print(table)
    for note in notes:
        console.print(note)

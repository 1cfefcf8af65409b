"""dcim alarms replay: what rules would have made of readings of the past, and what other settings would have made of a
log of alarms; worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from alerts import kpis, rules
from dcim.app import alarm_load, tables
from dcim.app.alarm_load import SHIPPED, Answer, Asked, words
from dcim.app.cli import app
from dcim.core.errors import Permanent
from dcim.core.points import PointIndex
from dcim.store.embedded import EmbeddedStore
from tests.alarms import at
from tests.contract.test_kpis import log

START = datetime(2026, 3, 1, tzinfo=UTC)
SUPPLY, RETURN = "rack-supply-temperature-high", "return-high"
MAPPING = """
time = "time"
site = "lab"

[[points]]
column = "supply"
quantity = "RackLiquidSupplyTemperature"
asset = "R1"
kind = "Rack"

[[points]]
column = "return"
quantity = "RackLiquidReturnTemperature"
asset = "R1"
kind = "Rack"
"""
RATIONALE = """
[rule.rationale]
cause = "c"
consequence = "d"
action = ["e"]
respond_within_min = 5
"""
QUICK = f"""
[[rule]]
name = "{SUPPLY}"
title = "t"
limit = {{ quantity = "RackLiquidSupplyTemperature", above = 37.0, deadband = 1.0 }}
asset_kind = "Rack"
priority = "high"
off_delay_s = 30
{RATIONALE}
[[rule]]
name = "{RETURN}"
title = "t"
limit = {{ quantity = "RackLiquidReturnTemperature", above = 50.0 }}
asset_kind = "Rack"
priority = "low"
explained_by = ["{SUPPLY}"]
on_delay_s = 10
{RATIONALE}"""
"""The shipped rule without its on-delay, and one that it explains."""


def too_warm(second: int) -> bool:
    """For a minute, which is within the shipped on-delay of two, and for five minutes."""
    return 150 <= second < 210 or 400 <= second < 700


def table(folder: Path, lasts_s: int = 1_080) -> dict[str, Path]:
    """A reading every 10 s. The return is warm whenever the supply is, and once by itself."""
    seconds = range(0, lasts_s, 10)
    frame = pl.DataFrame(
        {
            "time": [START + timedelta(seconds=second) for second in seconds],
            "supply": [39.0 if too_warm(second) else 35.0 + 0.01 * (second % 70) for second in seconds],
            "return": [
                52.0 if too_warm(second) or 900 <= second < 960 else 45.0 + 0.01 * (second % 70) for second in seconds
            ],
        }
    )
    frame.write_parquet(folder / "table.parquet")
    (folder / "mapping.toml").write_text(MAPPING)
    (folder / "quick.toml").write_text(QUICK)
    return {
        name: folder / f"{name}{end}" for name, end in (("table", ".parquet"), ("mapping", ".toml"), ("quick", ".toml"))
    }


def played(folder: Path, **asked: Any) -> Answer:
    files = table(folder)
    told = {"input": files["table"], "config": files["mapping"], "stride_s": 10.0} | asked
    return alarm_load.run(Asked(**told))


def began(answer: Answer, which: int = 0) -> list[tuple[str, float, float | None]]:
    """(rule, second, how long) of alarms with a limit."""
    return [
        (
            one.rule,
            (one.began - START).total_seconds(),
            None if one.ended is None else (one.ended - one.began).total_seconds(),
        )
        for one in answer.made[which].alarms
        if one.rule in (SUPPLY, RETURN)
    ]


@pytest.mark.slow
def test_two_rule_sets_see_the_same_readings_side_by_side(tmp_path: Path) -> None:
    answer = played(tmp_path, rules=(SHIPPED, str(tmp_path / "quick.toml")))
    shipped, quick = answer.made
    # The shipped rule waits for two minutes, so the first time is none; either way it goes 30 s after the value.
    assert began(answer, 0) == [(SUPPLY, 520.0, 210.0)]
    assert began(answer, 1) == [(SUPPLY, 150.0, 90.0), (SUPPLY, 400.0, 330.0), (RETURN, 910.0, 50.0)]
    assert quick.hidden == 2, "the return follows from the supply twice, and is no load then"
    assert quick.by_rule == {SUPPLY: 2, RETURN: 1}
    assert (quick.kpis.load.alarms, quick.kpis.load.per_hour) == (3, pytest.approx(10.0, rel=0.02))
    assert quick.kpis.fleeting_share == pytest.approx(1 / 3)
    assert [(one.priority, one.alarms) for one in quick.kpis.priorities] == [(2, 2), (4, 1)]
    assert (shipped.rules, quick.rules) == (len(rules.default().rules), 2)
    lines = words(answer)
    assert any(line.split() == ["alarms", str(shipped.kpis.load.alarms), "3"] for line in lines)
    assert any(line.split() == [RETURN, "0", "1"] for line in lines)
    assert any(f"{SUPPLY} R1" in line and "90 s" in line for line in lines)


@pytest.mark.slow
def test_only_what_began_within_the_period_counts_and_what_was_before_is_known(tmp_path: Path) -> None:
    since, until = (START + timedelta(seconds=second) for second in (220, 800))
    own = {"rules": (str(tmp_path / "quick.toml"),), "since": since.isoformat(), "until": until.isoformat()}
    answer = played(tmp_path, **own)
    assert began(answer) == [(SUPPLY, 400.0, 330.0)]
    assert (answer.made[0].kpis.load.alarms, answer.made[0].hidden) == (1, 1)
    early = played(tmp_path, **(own | {"since": (since - timedelta(seconds=60)).isoformat()}))
    assert early.made[0].kpis.load.alarms == 1, "it began before, and is none of the period"


@pytest.mark.slow
def test_the_answer_is_data_too(tmp_path: Path) -> None:
    files = table(tmp_path)
    asked = (
        "replay",
        str(files["table"]),
        "-c",
        str(files["mapping"]),
        "--rules",
        str(files["quick"]),
        "--stride",
        "10",
    )
    answer = CliRunner().invoke(app, ["alarms", *asked, "--json"])
    assert answer.exit_code == 0, answer.output
    (told,) = json.loads(answer.stdout)["rule_sets"]
    assert told["by_rule"] == {SUPPLY: 2, RETURN: 1} and told["hidden"] == 2
    assert [one["priority"] for one in told["alarms"]] == ["high", "high", "low"]
    assert told["kpis"]["load"]["alarms"] == 3 and "acknowledging" not in told["kpis"]
    shown = CliRunner().invoke(app, ["alarms", *asked])
    assert "2026-03-01 00:02:30 high" in shown.stdout


@pytest.mark.slow
def test_what_comes_later_changes_nothing_that_was_said(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    (tmp_path / "cut").mkdir()
    whole = played(tmp_path / "all", rules=(str(tmp_path / "all" / "quick.toml"),))
    files = table(tmp_path / "cut", 600)
    cut = alarm_load.run(Asked(files["table"], files["mapping"], rules=(str(files["quick"]),), stride_s=10.0))
    assert began(cut) == [(SUPPLY, 150.0, 90.0), (SUPPLY, 400.0, None)]
    assert [row[:2] for row in began(cut)] == [row[:2] for row in began(whole)[:2]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"input": None}, "nobody says of what"),
        ({"input": Path("nowhere")}, "no such file"),
        ({"config": None}, "which column is which point"),
        ({"rules": ("nowhere.toml",)}, "there is no such file"),
        ({"rules": (SHIPPED,) * 5}, "5 rule sets are too many"),
        ({"since": "2026-03-02T00:00:00Z"}, "reaches from 2026-03-01T00:00:00Z"),
        ({"since": "soon"}, "'soon' is no time"),
        ({"from_store": True, "config": None}, "nobody says which store"),
        ({"stride_s": 7_200.0}, "less than the 7200 s"),
    ],
)
def test_what_cannot_be_played_is_said(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(Permanent, match=said):
        played(tmp_path, **change)


@pytest.mark.slow
def test_what_a_store_kept_is_played_under_the_rules_of_its_settings(tmp_path: Path) -> None:
    files = table(tmp_path)
    how = tables.mapping(files["mapping"])
    recording = tables.as_recording(tables.read(files["table"], how), how)
    index = PointIndex()
    for point in recording.plant.points.values():
        index.locate(point.key)
        index.describe(point)
    with EmbeddedStore(tmp_path / "t.duckdb", lambda: recording.end) as store:
        store.remember(index.changed())
        for stretch in recording.stretches():
            store.append(stretch.readings)
    site = tmp_path / "site.toml"
    site.write_text(f'[store]\npath = "{tmp_path / "t.duckdb"}"\n[alarms]\nrules = "{files["quick"]}"\n')
    asked = Asked(None, site, from_store=True, since=START.isoformat(), stride_s=10.0)
    answer = alarm_load.run(asked)
    assert answer.made[0].name == "quick.toml"
    assert began(answer) == [(SUPPLY, 150.0, 90.0), (SUPPLY, 400.0, 330.0), (RETURN, 910.0, 50.0)]


# --- logs of other systems ---


def cost(*rows: tuple[float, str, str], on_s: float, off_s: float, end: float = 10_000) -> kpis.Lateness:
    return kpis.lateness(log(*rows), timedelta(seconds=on_s), timedelta(seconds=off_s), at(end))


def spell(tag: str, start: float, end: float) -> tuple[tuple[float, str, str], tuple[float, str, str]]:
    return (start, tag, "raised"), (end, tag, "cleared")


def test_what_delays_cost_is_counted_of_what_somebody_could_have_acted_on() -> None:
    short, long, longer = spell("a", 0, 60), spell("a", 1_000, 1_100), spell("b", 0, 500)
    assert cost(*short, *long, *longer, on_s=0, off_s=0) == kpis.Lateness(2, 0, None, None, 0)
    assert cost(*short, *long, *longer, on_s=30, off_s=0) == kpis.Lateness(2, 2, 30.0, 30.0, 0)
    assert cost(*short, *long, *longer, on_s=200, off_s=0) == kpis.Lateness(2, 1, 200.0, 200.0, 1)


def test_what_an_off_delay_joins_is_neither_late_nor_lost() -> None:
    first, second = spell("a", 0, 300), spell("a", 320, 420)
    assert cost(*first, *second, on_s=100, off_s=60) == kpis.Lateness(2, 1, 100.0, 100.0, 0)
    # Apart, each waits for itself.
    assert cost(*first, *second, on_s=100, off_s=20) == kpis.Lateness(2, 2, 100.0, 100.0, 0)
    # The first of the two is told with the second, which lasts long enough.
    early, later = spell("a", 0, 70), spell("a", 80, 400)
    assert cost(*early, *later, on_s=100, off_s=60) == kpis.Lateness(2, 2, 100.0, 180.0, 0)


def test_what_stands_at_the_end_is_late_or_not_told_yet() -> None:
    assert cost((0, "a", "raised"), on_s=50, off_s=0, end=100) == kpis.Lateness(1, 1, 50.0, 50.0, 0)
    assert cost((0, "a", "raised"), on_s=150, off_s=0, end=100) == kpis.Lateness(1, 0, None, None, 1)


def test_a_deadband_holds_a_clear_that_went_not_far_enough() -> None:
    rows = log(*spell("a", 0, 10), *spell("a", 20, 30), *spell("b", 40, 50))
    margin = pl.Series([0.0, 0.01, 0.0, 0.03, 0.0, None])
    left = kpis.deadbanded(rows, margin, 0.02)
    assert [(one["tag"], one["event"]) for one in left.iter_rows(named=True)] == [
        ("a", "raised"), ("a", "raised"), ("a", "cleared"), ("b", "raised"), ("b", "cleared"),
    ]  # fmt: skip
    assert kpis.spells(left).height == 2


ALARMS = "time,tag,event,value,limit\n" + "".join(
    f"2026-03-01T00:{minute:02}:00Z,a,{event},{value},37.0\n"
    for minute, event, value in ((0, "raised", 37.2), (2, "cleared", 36.9), (3, "raised", 37.1), (9, "cleared", 35.0))
)


def remedies(folder: Path, text: str, *options: str) -> Callable[[str], dict[str, Any]]:
    file = folder / "alarms.csv"
    file.write_text(text)
    answer = CliRunner().invoke(app, ["alarms", "replay", "--log", str(file), "--json", *options])
    assert answer.exit_code == 0, answer.output
    told = {one["name"]: one for one in json.loads(answer.stdout)}
    return told.__getitem__


def test_settings_are_tried_on_a_log(tmp_path: Path) -> None:
    of = remedies(
        tmp_path, ALARMS, "--value", "value", "--limit", "limit", "--delays", "150:0", "--delays", "0:90",
        "--deadband", "2", "--deadband", "0.1",
    )  # fmt: skip
    assert [of(name)["alarms"] for name in ("as logged", "no duplicates", "on 150 s, off 0 s")] == [2, 2, 1]
    waits = of("on 150 s, off 0 s")
    assert (waits["real"], waits["late"], waits["late_longest_s"], waits["lost"]) == (2, 1, 150.0, 1)
    joined = of("on 0 s, off 90 s")
    assert (joined["alarms"], joined["late"], joined["lost"]) == (1, 0, 0)
    # 36.9 is 0.3 % below the limit: within a deadband of 2 %, beyond one of 0.1 %.
    assert (of("deadband 2 %")["alarms"], of("deadband 0.1 %")["alarms"]) == (1, 2)


@pytest.mark.slow
def test_a_log_without_values_says_so_of_deadbands(tmp_path: Path) -> None:
    file = tmp_path / "alarms.csv"
    file.write_text(ALARMS)
    shown = CliRunner().invoke(app, ["alarms", "replay", "--log", str(file)])
    assert shown.exit_code == 0, shown.output
    assert "holds no measured values and limits" in shown.stdout and "deadband 2 %" not in shown.stdout
    known = CliRunner().invoke(app, ["alarms", "replay", "--log", str(file), "--value", "value", "--limit", "limit"])
    assert "holds no measured values" not in known.stdout and "deadband 2 %" in known.stdout


@pytest.mark.slow
def test_a_limit_of_nothing_holds_no_clear(tmp_path: Path) -> None:
    text = ALARMS.replace("37.0\n", "0\n").replace("36.9", "nan")
    of = remedies(tmp_path, text, "--value", "value", "--limit", "limit", "--deadband", "5")
    assert of("deadband 5 %")["alarms"] == 2


def test_a_log_and_readings_do_not_go_together() -> None:
    answer = CliRunner().invoke(app, ["alarms", "replay", "month", "--log", "a.csv"])
    assert answer.exit_code == 2
    assert "goes without INPUT" in answer.output


def test_what_settings_would_have_cost_on_a_real_log(recordings: Path) -> None:
    answer = CliRunner().invoke(
        app,
        ["alarms", "replay", "--log", str(recordings / "alarms" / "alarm_log_2014_2016.csv"), "--time", "SYSTEM_TS",
         "--tag", "FAULT_FAMILY,FAULT_MEMBER,FAULT_CODE", "--event", "ACTIVE", "--raised", "Y", "--cleared", "N",
         "--delays", "10:60", "--delays", "300:300", "--json"],
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    told = {one["name"]: one for one in json.loads(answer.stdout)}
    calm, slow = told["on 10 s, off 60 s"], told["on 300 s, off 300 s"]
    assert (told["as logged"]["alarms"], calm["alarms"]) == (33_941, 4_943)
    assert (calm["real"], calm["late"], calm["late_longest_s"], calm["lost"]) == (3_522, 2_822, 10.0, 0)
    assert (slow["alarms"], slow["lost"]) == (1_418, 1_307)

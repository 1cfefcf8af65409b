"""Timelines that people write beside their rules: read, mistakes told by line, and played as the service would."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from alerts import cases, rules
from dcim.app.cli import app
from dcim.app.rehearsal import rehearse
from dcim.core.errors import Permanent

README = Path(__file__).parents[2] / "alerts" / "README.md"
TEXT = """
[[rule]]
name = "wet"
finding = "leak_wet"
priority = "high"
latch = true
on_delay_s = 2
WHY
[[rule]]
name = "flow"
finding = "flow_lost"
priority = "high"
masked_by = ["source_silent"]
WHY
[[rule]]
name = "silent"
finding = "source_silent"
priority = "low"
WHY
[[rule]]
name = "hot"
limit = { quantity = "GpuTemperature", above = 80, deadband = 2 }
priority = "low"
off_delay_s = 5
escalate = { priority = "high", after_s = 60 }
WHY
[[rule]]
name = "power"
asset_kind = "Rack"
limit = { quantity = "RackPower", above = 1.0, per_rated_power = true }
priority = "low"
WHY
"""
WHY = """title = "{asset}"
[rule.rationale]
cause = "c"
consequence = "d"
action = ["e"]
respond_within_min = 5
"""
RULES = rules.parse(TEXT.replace("WHY", WHY), "rules.toml")


def case(rule: str, *rows: str, more: str = "") -> str:
    tables = "\n".join(f"[[case.{row.partition(':')[0]}]]\n{row.partition(':')[2].strip()}" for row in rows)
    return f'[[case]]\nname = "it"\nrule = "{rule}"\n{more}\n{tables}\n'


def played(text: str) -> list[str]:
    lines, _ = rehearse(cases.parse(text, "cases.toml", RULES), RULES, "cases.toml")
    return lines


PLAYED = {
    "a delay, and a finding that goes within it": case(
        "wet",
        "step: at_s = 10\nvalue = 1",
        "step: at_s = 11\nvalue = 0",
        "step: at_s = 20\nvalue = 1",
        "expect: by_s = 0\nuntil_s = 21\nactive = false",
        'expect: by_s = 22\nactive = true\nstate = "unacknowledged"\npriority = "high"',
    ),
    "what latches is acknowledged, then reset": case(
        "wet",
        "step: at_s = 0\nvalue = 1",
        "step: at_s = 5\nvalue = 0",
        'step: at_s = 6\ndo = "acknowledge"',
        'step: at_s = 8\ndo = "reset"',
        'expect: by_s = 5\nstate = "latched_unacknowledged"',
        'expect: by_s = 6\nuntil_s = 7\nstate = "latched_acknowledged"\nactive = false',
        'expect: by_s = 8\nuntil_s = 100\nstate = "normal"',
    ),
    "a deadband, an off-delay and an escalation by time": case(
        "hot",
        "step: at_s = 0\nvalue = 81",
        "step: at_s = 30\nvalue = 79",
        "step: at_s = 90\nvalue = 77",
        'expect: by_s = 0\nuntil_s = 59\nstate = "unacknowledged"\npriority = "low"',
        'expect: by_s = 60\nuntil_s = 94\nactive = true\npriority = "high"',
        'expect: by_s = 95\nstate = "returned"',
    ),
    "what nobody can tell is held": case(
        "hot",
        "step: at_s = 0\nvalue = 81",
        "step: at_s = 10\nunknown = true",
        "expect: by_s = 0\nuntil_s = 3600\nactive = true",
    ),
    "another rule hides it": case(
        "flow",
        'step: at_s = 0\nrule = "silent"\nvalue = 1',
        "step: at_s = 5\nvalue = 1",
        'expect: by_s = 5\nstate = "suppressed"',
        'expect: by_s = 0\nuntil_s = 9\nrule = "silent"\nstate = "unacknowledged"',
    ),
    "a share of the rated power": case(
        "power",
        "step: at_s = 0\nvalue = 100",
        "step: at_s = 5\nvalue = 100.1",
        "expect: by_s = 4\nactive = false",
        "expect: by_s = 5\nactive = true",
        more="rated_power_kw = 100",
    ),
}


@pytest.mark.parametrize("text", PLAYED.values(), ids=PLAYED.keys())
def test_a_case_is_played_as_the_service_would(text: str) -> None:
    assert played(text) == ["ok      it"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            case("wet", "step: at_s = 10\nvalue = 1", 'expect: by_s = 11\nstate = "unacknowledged"'),
            "cases.toml:8: wet was to be unacknowledged by 11 s, but at 11 s it is not active, normal; so from 12 s on",
        ),
        (
            case("hot", "step: at_s = 0\nvalue = 81", "expect: by_s = 0\nuntil_s = 90\nactive = false"),
            "cases.toml:8: hot was to be not active from 0 to 90 s, but at 0 s it is active, unacknowledged, low",
        ),
        (
            case("hot", "step: at_s = 0\nvalue = 81", 'expect: by_s = 0\nuntil_s = 90\npriority = "low"'),
            "cases.toml:8: hot was to be low from 0 to 90 s, but from 60 s it is active, unacknowledged, high",
        ),
        (
            case("hot", "step: at_s = 0\nvalue = 81", 'expect: by_s = 1\nrule = "wet"\nactive = true'),
            "cases.toml:8: wet was to be active by 1 s, but at 1 s it is not active, normal; there were alarms of hot",
        ),
    ],
)
def test_what_came_otherwise_is_told_with_its_line(text: str, words: str) -> None:
    assert played(text) == ["FAILED  it", f"        {words}"]


STEP, EXPECT = "step: at_s = 0\nvalue = 1", "expect: by_s = 1\nactive = true"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[case]\n", "cases.toml:1: this is not TOML"),
        ("", "cases.toml:1: there is no case"),
        ("case = 1\n", "cases.toml:1: there is no case"),
        ("[[cases]]\n", "cases.toml:1: cases is not known here"),
        (case("wett", STEP, EXPECT), 'cases.toml:3: rule is "wett", but there is no such rule'),
        (case("wet", EXPECT), "cases.toml:1: step is missing: there is at least one [[case.step]]"),
        (case("wet", STEP, "expect: by_s = 1"), "cases.toml:8: it expects nothing"),
        (case("wet", STEP, "expect: by_s = 1.5\nactive = true"), "cases.toml:9: by_s is 1.5, but a time is a whole"),
        (case("wet", STEP, "expect: by_s = 200000\nactive = true"), "cases.toml:9: by_s is 200000, but a time"),
        (case("wet", STEP, "expect: by_s = 9\nuntil_s = 8\nactive = true"), "cases.toml:10: until_s is 8"),
        (case("wet", STEP, 'expect: by_s = 9\nstate = "up"'), 'cases.toml:10: state is "up", but a state is one of'),
        (case("wet", "step: at_s = 0", EXPECT), "cases.toml:5: a step has one of value"),
        (case("wet", STEP + "\nunknown = true", EXPECT), "cases.toml:5: a step has one of value"),
        (case("wet", "step: at_s = 0\nvalue = 7", EXPECT), "cases.toml:7: value is 7, but rule wet is about a finding"),
        (case("wet", "step: at_s = 0\nvalue = nan", EXPECT), "cases.toml:7: value is nan, but a value is a number"),
        (case("wet", STEP + "\nspeed = 1", EXPECT), "cases.toml:8: speed is not known here. at_s, rule,"),
        (case("wet", STEP, EXPECT, more='asset_kind = "Rak"'), 'cases.toml:4: asset_kind is "Rak", but there is no'),
        (case("power", STEP, EXPECT), "cases.toml:5: rule power is a share of the rated power"),
        (
            "[[case]]\nname = 'x'\nrule = 'wet'\nstep = [1]\nexpect = [1]\n",
            "cases.toml:4: step is 1, but it is a table",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line(text: str, words: str) -> None:
    with pytest.raises(Permanent) as raised:
        cases.parse(text, "cases.toml", RULES)
    assert words in str(raised.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(Permanent) as raised:
        cases.parse(case("wet", "step: at_s = 0", "expect: by_s = 1"), "cases.toml", RULES)
    assert [line.split(":")[1] for line in str(raised.value).splitlines()] == ["5", "7"]


def ask(*options: str) -> Any:
    return CliRunner().invoke(app, ["alarms", *options])


@pytest.mark.slow
def test_the_commands_tell_mistakes_and_what_failed(tmp_path: Path) -> None:
    file = tmp_path / "cases.toml"
    (example,) = [
        text for text in re.findall(r"```toml\n(.*?)```", README.read_text(), re.DOTALL) if "[[case]]" in text
    ]
    file.write_text(example)
    answer = ask("test", str(file))
    assert answer.exit_code == 0, answer.output
    assert "1 cases, 0 failed" in answer.output
    file.write_text(example.replace('priority = "medium"', 'priority = "high"').replace("supply too", "\\u001b[31m"))
    answer = ask("test", str(file))
    assert answer.exit_code == 1
    assert "was to be unacknowledged, high by 130 s" in answer.output
    assert "\x1b" not in answer.output
    shipped = Path(rules.__file__).with_name("default_rules.toml")
    assert "with a limit" in ask("check", str(shipped)).output
    file.write_text(shipped.read_text().replace('priority = "critical"', 'priority = "urgent"', 1))
    answer = ask("check", str(file))
    assert isinstance(answer.exception, Permanent)
    assert re.search(r"cases\.toml:\d+: rule .*: escalate.priority is \"urgent\"", str(answer.exception))
    assert isinstance(ask("test", str(tmp_path / "none.toml")).exception, Permanent)

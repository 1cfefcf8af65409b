"""The rule format: every mistake in its words and at its line, and the shipped rules."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from alerts import rules
from alerts.lifecycle import Priority
from dcim.core.assets import Asset, Placement
from dcim.core.errors import Permanent
from dcim.core.findings import FindingKind, Subject

CASES = sorted((Path(__file__).parents[1] / "cases" / "rules").iterdir())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_mistake_is_told_in_its_words(case: Path) -> None:
    assert {file.name for file in case.iterdir()} == {"rules.toml", "error.txt"}
    with pytest.raises(Permanent) as caught:
        rules.parse((case / "rules.toml").read_text(encoding="utf-8"), "rules.toml")
    assert f"{caught.value}\n" == (case / "error.txt").read_text(encoding="utf-8")


def test_there_are_cases() -> None:
    assert len(CASES) > 40


def test_every_kind_of_finding_has_a_shipped_rule() -> None:
    shipped = rules.default()
    for kind in FindingKind:
        if kind not in (FindingKind.LIMIT, FindingKind.EXTERNAL_ALERT):
            assert shipped.match(kind, Subject("oslo", "x"), None) is not None
    assert set(get_args(rules.Kind)) == {kind.value for kind in FindingKind} - {"limit", "external_alert"}


def test_the_shipped_rules_say_what_the_policy_of_leaks_says() -> None:
    for name in ("rack-leak-wet", "leak-wet"):
        policy = rules.default()[name].policy
        assert policy.priority is Priority.HIGH
        assert policy.on_delay.total_seconds() == 0
        assert policy.escalation is not None
        assert policy.escalation.priority is Priority.CRITICAL
        assert policy.escalation.after is not None
        assert policy.escalation.after.total_seconds() == 30


def test_critical_is_rare_and_means_act_within_minutes() -> None:
    for rule in rules.default().rules:
        if rule.policy.priority is Priority.CRITICAL:
            assert rule.rationale.respond_within_min <= 5
        assert len(rule.rationale.action) >= 2


def test_every_field_has_its_wording() -> None:
    tables: list[type[BaseModel]] = [rules.RuleTable, rules.LimitTable, rules.EscalateTable, rules.RationaleTable]
    for table in tables:
        for name, field in table.model_fields.items():
            assert field.description, f"{table.__name__}.{name}"
            assert any(f"{before}{name}" in README for before in ("`", "\n", "rule.")) or f"{name} = " in README, name


README = (Path(rules.__file__).parent / "README.md").read_text(encoding="utf-8")


def test_the_rule_in_the_readme_is_right() -> None:
    example = README.split("```toml\n")[1].split("```")[0]
    rule = rules.parse(example, "README.md").rules[0]
    assert rule.limit is not None
    assert rule.limit.above == 37.0


def test_a_finding_goes_to_the_first_rule_that_takes_it() -> None:
    shipped = rules.default()
    rack = Asset("oslo", "C07", "C07", "Rack", True, Placement(), ())
    cdu = Asset("oslo", "B", "CDU-B", "CDU", True, Placement(), ())

    def name(kind: FindingKind, qualifier: str, asset: Asset | None) -> str | None:
        rule = shipped.match(kind, Subject("oslo", "C07", qualifier), asset)
        return rule.name if rule else None

    assert name(FindingKind.LEAK_WET, "", rack) == "rack-leak-wet"
    assert name(FindingKind.LEAK_WET, "", cdu) == "leak-wet"
    assert name(FindingKind.LEAK_WET, "", None) == "leak-wet"
    assert name(FindingKind.LIMIT, "filter-restricted|Filter1", cdu) == "filter-restricted"
    assert name(FindingKind.LIMIT, "another|Filter1", cdu) is None
    assert name(FindingKind.LIMIT, "rack-leak-wet|x", rack) is None


def test_a_title_names_the_asset_and_what_follows_the_limits_name() -> None:
    shipped = rules.default()
    subject = Subject("oslo", "n5", "gpu-temperature-high|GpuTemperature 3")
    assert shipped["gpu-temperature-high"].headline(subject, "node 5") == "GPU hot at node 5: GpuTemperature 3"
    stale = shipped["point-stale"]
    assert stale.headline(Subject("oslo", "C07", "Gpus"), "C{what}07") == "No values from C{what}07: Gpus"
    assert stale.headline(Subject("oslo", "C07"), "C07") == "No values from C07"


def test_limits_carry_the_rules_name_and_the_assets_kind() -> None:
    limits = {limit.name: limit for limit in rules.default().limits}
    assert limits["cdu-supply-temperature-high"].asset_kind == "CDU"
    assert limits["cdu-supply-temperature-high"].above == 60.0
    assert limits["feed-loaded"].per_rated_power
    assert [limit.name for limit in rules.default().limits] == [
        rule.name for rule in rules.default().rules if rule.kind is FindingKind.LIMIT
    ]


def test_a_file_that_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match=r"there is no such file\. Check alarms\.rules\."):
        rules.load(tmp_path / "none.toml")
    latin = tmp_path / "latin.toml"
    latin.write_bytes('name = "Kühlung"'.encode("latin-1"))
    with pytest.raises(Permanent, match="UTF-8"):
        rules.load(latin)
    large = tmp_path / "large.toml"
    large.write_bytes(b"#" * (rules.FILE_BYTES_MAX + 1))
    with pytest.raises(Permanent, match=r"is larger than 4194304 bytes\. Split it\."):
        rules.load(large)


def test_the_shipped_file_loads_as_a_file_too() -> None:
    assert rules.load(Path(rules.__file__).with_name("default_rules.toml")) == rules.default()

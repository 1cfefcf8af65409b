"""Rules that change while the service runs: what stands goes on, what is wrong changes nothing and is told."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from alerts import rules
from alerts.engine import Engine
from alerts.lifecycle import State
from alerts.rules import Ruleset
from dcim.app.rule_file import RuleFile
from dcim.core.errors import Transient
from dcim.core.findings import Detection, FindingKind, Subject
from tests.alarms import MemoryJournal, acknowledge, at, finding
from tests.contract.inside import Inside, inside, rack_metadata, rack_value

WHY = '[rule.rationale]\ncause = "c"\nconsequence = "d"\naction = ["e"]\nrespond_within_min = 5\n'
WET, LOST = FindingKind.LEAK_WET, FindingKind.FLOW_LOST
KINDS = frozenset({WET, LOST})


def rule(name: str, finding: str = "leak_wet", more: str = "", priority: str = "high", title: str = "{asset}") -> str:
    return (
        f'[[rule]]\nname = "{name}"\ntitle = "{title}"\nfinding = "{finding}"\npriority = "{priority}"\n{more}\n{WHY}'
    )


def ruleset(*texts: str) -> Ruleset:
    return rules.parse("".join(texts), "rules.toml")


def seen(*kinds: FindingKind) -> Detection:
    return Detection(tuple(finding(kind, Subject("oslo", "a")) for kind in kinds))


def how(engine: Engine) -> list[tuple[str, State, int, str]]:
    return [
        (view.rule, view.state, int(view.priority), view.first_out and view.title)
        for view in [*engine.standing(), *engine.suppressed()]
    ]


def test_what_stands_goes_on_under_the_new_delays_with_the_priority_that_it_has() -> None:
    async def story() -> None:
        engine = Engine(ruleset(rule("wet", more="off_delay_s = 100"), rule("flow", "flow_lost")), MemoryJournal())
        await engine.open(at(0))
        await engine.apply(seen(WET, LOST), KINDS, at(0))
        (flow, wet) = sorted(engine.standing(), key=lambda view: view.rule)
        await acknowledge(engine, wet.id, "ana", "", at(1))
        await engine.apply(seen(LOST), KINDS, at(2))
        await engine.adopt(ruleset(rule("wet", more="off_delay_s = 5", priority="low", title="Wet: {asset}")), at(3))
        found = {view.rule: view for view in engine.standing()}
        assert (found["wet"].state, found["wet"].title, int(found["wet"].priority)) == ("acknowledged", "Wet: a", 2)
        assert (found["flow"].id, found["flow"].rationale) == (flow.id, None)
        await engine.elapse(at(6))
        assert "wet" in {view.rule for view in engine.standing()}
        assert [made.change for made in await engine.elapse(at(7))] == ["returned"]
        await engine.apply(seen(LOST), KINDS, at(8))
        assert [view.state for view in engine.standing()] == ["returned"], "its rule is gone: looked at, it leaves"

    asyncio.run(story())


def test_masks_and_groups_are_those_of_the_new_rules_as_after_a_restart() -> None:
    async def story() -> None:
        journal = MemoryJournal()
        engine = Engine(ruleset(rule("wet"), rule("flow", "flow_lost", more="on_delay_s = 10")), journal)
        await engine.open(at(0))
        await engine.apply(seen(WET), KINDS, at(0))
        await engine.apply(seen(WET, LOST), KINDS, at(5))
        new = ruleset(
            rule("wet", more='group = "water"'),
            rule("flow", "flow_lost", more='masked_by = ["leak_wet"]\ngroup = "water"'),
        )
        await engine.adopt(new, at(5))
        again = Engine(new, journal)
        await again.open(at(5))
        for one in (engine, again):
            one._journal = MemoryJournal()  # each goes on by itself
            one._journal.rows = list(journal.rows)
            one._journal.running = dict(journal.running)
            await one.apply(seen(WET, LOST), KINDS, at(6))
            await one.apply(seen(WET, LOST), KINDS, at(20))
        assert how(engine) == how(again)
        assert [row[:2] for row in how(engine)] == [("wet", "unacknowledged"), ("flow", "suppressed")]
        assert how(engine)[0][3], "it is the first of the group that it is in now"

    asyncio.run(story())


def test_a_file_that_is_wrong_changes_nothing_and_is_told_once(tmp_path: Path) -> None:
    file, taken, fails = tmp_path / "rules.toml", list[int](), list[bool]()

    async def adopt(found: Ruleset) -> None:
        if fails:
            raise Transient("the disk is full")
        taken.append(len(found.rules))

    def write(text: str, changed: int) -> None:
        file.write_text(text)
        os.utime(file, ns=(changed, changed))

    async def story() -> None:
        write(rule("wet"), 1)
        kept = RuleFile(file)
        assert not await kept.look(adopt)
        write(rule("wet") + rule("flow", "flow_lots"), 2)
        assert not await kept.look(adopt)
        assert kept.failing.startswith(f'{file}:15: rule "flow": finding is "flow_lots"')
        told = kept.failing
        assert not await kept.look(adopt)
        assert kept.failing == told
        file.unlink()
        assert not await kept.look(adopt)
        assert "there is no such file" in kept.failing
        write(rule("wet") + rule("flow", "flow_lost"), 3)
        fails.append(True)
        assert not await kept.look(adopt), "what may pass by itself is tried again"
        fails.clear()
        assert await kept.look(adopt)
        assert (taken, kept.failing) == ([2], "")

    asyncio.run(story())


LIMIT = f"""[[rule]]
name = "isolated"
title = "{{asset}}"
limit = {{ quantity = "RackElectricalIsolationStatus", above = 0.5 }}
priority = "low"
{WHY}"""


@pytest.mark.slow
def test_the_service_takes_changed_rules_in(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(rule("wet"))

    async def scenario(hall: Inside) -> None:
        words = [{"value": 0, "text": "Connected"}, {"value": 1, "text": "Isolated"}]  # of no interest to any detector
        await hall.send(rack_metadata("RackElectricalIsolationStatus", stateText=words))
        await hall.send(rack_value("RackElectricalIsolationStatus", 1))
        file.write_text(rule("wet", priority="urgent"))

        async def told() -> Any:
            return [line for line in (await hall.get("/readyz"))["warnings"] if f"{file}:5: rule" in line]

        assert "the rules before it stay in force" in (await hall.until(told))[0]
        in_force = [one["name"] for one in await hall.get("/api/v1/rules")]
        assert [name for name in in_force if not name.startswith("external-")] == ["wet"]
        file.write_text(LIMIT)

        async def alarmed() -> Any:
            return (await hall.get("/api/v1/alarms"))["items"]

        (alarm,) = await hall.until(alarmed)
        assert alarm["rule"] == "isolated", "told by a reading from before the rule was there"
        assert await told() == []
        file.write_text(rule("wet"))

        async def gone() -> Any:
            return [one["state"] for one in await alarmed()] == ["returned"]

        assert await hall.until(gone)

    inside(scenario, rules=file)

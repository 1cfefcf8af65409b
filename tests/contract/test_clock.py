"""Clocks that are set back: the service's own goes on, and nothing is lost, told twice or older than nothing."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcim.app.clock import PACE, Clock
from dcim.app.settings import Store
from dcim.core.times import now
from tests.contract.inside import LEAK_WORDS, Inside, inside, rack_metadata, rack_value

START = datetime(2026, 11, 26, 12, tzinfo=UTC)
FLOW = rack_metadata("RackLiquidFlow", engUnit="gpm")
LEAK = rack_metadata("RackLeakDetect", stateText=LEAK_WORDS)
HOUR = timedelta(hours=1)


class Machine:
    """A machine whose clock can be set, and whose seconds go by when they are told to."""

    def __init__(self) -> None:
        self.wall, self.seconds = START, 0.0
        self.clock = Clock(lambda: self.wall, lambda: self.seconds)

    def wait(self, seconds: float) -> datetime:
        self.wall += timedelta(seconds=seconds)
        self.seconds += seconds
        return self.clock()


def test_a_clock_that_is_set_back_is_caught_up_with() -> None:
    machine = Machine()
    assert machine.wait(10) == START + timedelta(seconds=10)
    machine.wall -= HOUR
    assert machine.clock() == START + timedelta(seconds=10)
    assert machine.clock.ahead_s() == 3600
    assert machine.wait(100) == START + timedelta(seconds=10 + 100 * PACE)
    assert machine.clock.ahead_s() == 3600 - 100 * (1 - PACE)
    for _ in range(5 * 60):
        machine.wait(60)
    assert machine.clock.ahead_s() == 0
    assert machine.clock() == machine.wall


def test_a_clock_that_is_set_forward_is_followed() -> None:
    machine = Machine()
    machine.wall += HOUR
    assert machine.clock() == START + HOUR
    assert machine.clock.ahead_s() == 0


@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(-1e5, 1e5)), max_size=30))
def test_it_never_goes_back_and_never_stands_still(steps: list[tuple[float, float]]) -> None:
    machine = Machine()
    for seconds, jump_s in steps:
        before = machine.clock()
        machine.wall += timedelta(seconds=jump_s)
        after = machine.wait(seconds)
        assert after - before >= timedelta(seconds=seconds * PACE) - timedelta(microseconds=2)
        assert after >= machine.wall


def numbers(told: object, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number of an answer, with where it stands."""
    if isinstance(told, dict):
        for key, value in told.items():
            yield from numbers(value, f"{path}.{key}")
    elif isinstance(told, list):
        for value in told:
            yield from numbers(value, path)
    elif isinstance(told, (int, float)) and not isinstance(told, bool):
        yield path, float(told)


async def expect_sane(hall: Inside) -> dict[str, Any]:
    """No age, lag or balance below nothing, anywhere that people and programs look. Answers the account."""
    ledger = await hall.get("/api/v1/ledger")
    for path, number in [*numbers(ledger), *numbers(await hall.get("/api/v1/hall"))]:
        assert number >= 0 or not math.isfinite(number), path
    (account,) = ledger["items"]
    assert account["balanced"]
    metrics = (await hall.client.get("/metrics")).text
    assert not re.findall(r"^dcim_\S*(?:age|lag|ahead|behind|durable)\S* -.*$", metrics, re.MULTILINE)
    return dict(account)


@pytest.mark.slow
def test_a_service_whose_machine_is_set_back_an_hour_while_readings_arrive() -> None:
    set_back = timedelta(0)
    clock = Clock(lambda: now() - set_back)

    async def scenario(hall: Inside) -> None:
        nonlocal set_back
        await hall.send(FLOW, LEAK, rack_value("RackLiquidFlow", 10), rack_value("RackLeakDetect", 1))
        (first,) = await hall.until(lambda: _alarms(hall))
        before = hall.service.context.clock()

        set_back = HOUR
        for number in range(5):  # the senders' clocks are right
            ahead_s = 0.01 * (1 + number)  # an instant of its own each, however fast they are sent
            flow = rack_value("RackLiquidFlow", 11 + number, ago_s=-ahead_s)
            await hall.send(flow, rack_value("RackLeakDetect", 1, ago_s=-ahead_s))
        account = await expect_sane(hall)
        assert account["rejected"] == 0, "nothing that comes is from the future"
        assert account["kinds"]["value"]["stored"] == 12
        assert hall.service.context.clock() >= before
        (still,) = await _alarms(hall)
        assert (still["id"], still["activations"]) == (first["id"], 1)
        (warning,) = (await hall.get("/readyz"))["warnings"]
        assert "clock was set back. Times told here run 60 min ahead" in warning
        metrics = (await hall.client.get("/metrics")).text
        assert float(re.findall(r"^dcim_clock_ahead_seconds (\S+)$", metrics, re.MULTILINE)[0]) > 3500

        path = f"/api/v1/alarms/{first['id']}"
        assert (await hall.client.post(f"{path}/acknowledge", json={"by": "night shift"})).status_code == 200
        history = (await hall.get(path))["history"]
        assert [row["change"] for row in history] == ["activated", "acknowledged"]
        assert history[0]["at"] < history[1]["at"]

    inside(scenario, clock=clock)


@pytest.mark.slow
def test_a_service_that_starts_on_a_machine_that_was_set_back(tmp_path: Path) -> None:
    """The restart takes the machine's time. What an earlier run wrote lies ahead of it."""
    store = Store(path=tmp_path / "telemetry.duckdb")
    journal = f"sqlite+aiosqlite:///{tmp_path / 'alarms.sqlite'}"
    ids: list[str] = []

    async def before(hall: Inside) -> None:
        await hall.send(FLOW, LEAK, rack_value("RackLiquidFlow", 10), rack_value("RackLeakDetect", 1))
        ids.extend(alarm["id"] for alarm in await hall.until(lambda: _alarms(hall)))

    async def after(hall: Inside) -> None:
        (warning,) = (await hall.get("/readyz"))["warnings"]
        assert "This machine's clock is behind: an earlier run received something at" in warning
        account = await expect_sane(hall)
        assert account["kinds"]["value"]["stored"] == 2
        await hall.send(rack_value("RackLeakDetect", 1, ago_s=3600), rack_value("RackLiquidFlow", 12, ago_s=3600))
        account = await expect_sane(hall)
        assert (account["rejected"], account["kinds"]["value"]["stored"]) == (0, 4)
        (alarm,) = await hall.until(lambda: _alarms(hall))
        assert (alarm["id"], alarm["activations"]) == (ids[0], 1)
        await hall.until(lambda: _escalated(hall))  # when it began cannot be told any more: rather now than in an hour

    inside(before, store=store, journal=journal)
    inside(after, store=store, journal=journal, clock=Clock(lambda: now() - HOUR))


async def _alarms(hall: Inside) -> list[dict[str, Any]]:
    return list((await hall.get("/api/v1/alarms"))["items"])


async def _escalated(hall: Inside) -> bool:
    return [alarm["priority_word"] for alarm in await _alarms(hall)] == ["critical"]


def test_numbers_are_found_wherever_they_stand() -> None:
    assert list(numbers(json.loads('{"a": [{"b": -1.5, "c": true}, 2], "d": null}'))) == [(".a.b", -1.5), (".a", 2.0)]

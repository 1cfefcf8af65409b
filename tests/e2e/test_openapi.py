"""The API held to its own description: whatever the description allows, no server error comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from tests.e2e.running import free_port, serving

STANDS = """
[[boundaries]]
site = "titan"
facility = ["bus-A"]
onsite = ["pv"]

[[inventory.sites]]
id = "titan"
contract_kw = 1000
refrigerants = "R-513A"
renewable_goo_share = 0.5

[[inventory.rows]]
site = "titan"
hall = "H"
id = "A"
positions = 4

[[inventory.racks]]
site = "titan"
id = "R1"
hall = "H"
row = "A"
position = 1
rated_power_kw = 120

[[inventory.feeds]]
site = "titan"
id = "bus-A"
rated_a = 400
volts = 415
phases = 3
serves = ["R1"]

[[inventory.cooling]]
site = "titan"
id = "C1"
rated_kw = 300
serves = ["R1"]
"""
"""Something for questions about places to find."""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_server_error_for_anything_that_the_description_allows(tmp_path: Path) -> None:
    ear = f'[[sources]]\nname = "ear"\nkind = "listener"\nsite = "titan"\nbind = "127.0.0.1:{free_port()}"\n'
    with serving(tmp_path, ear + STANDS) as service:
        base = f"http://127.0.0.1:{service.port}"
        schema = schemathesis.openapi.from_url(f"{base}/api/v1/openapi.json", timeout=60)
        # The stream has no end; it has a test of its own.
        schema = schema.exclude(path_regex="/stream$")
        asked = 0
        for result in schema.get_all_operations():
            operation = result.ok()

            @settings(
                max_examples=40, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck),
                derandomize=True,
            )  # fmt: skip
            @given(case=operation.as_strategy())
            def ask(case: schemathesis.Case) -> None:
                nonlocal asked
                asked += 1
                answer = case.call()
                assert answer.status_code < 500, answer.text

            ask()
        assert asked > 200

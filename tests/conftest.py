"""What every test may lean on: real parts when they are installed, and no silent skip where they must be.

A test marked by one of PROGRAMS needs that program; it is skipped where the program is missing, unless
DCIM_REQUIRE names it: then the want is a failure."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from tests import postgres
from tests.examples import examples

# How long an example takes says more about the machine's other work than about the code. The same examples are tried
# until a test changes, so that a red run was made so by the change before it; `make fuzz` tries new ones each time.
EXPLORE = bool(os.environ.get("DCIM_EXPLORE"))
settings.register_profile("dcim", deadline=None, max_examples=examples(100), derandomize=not EXPLORE)
settings.load_profile("dcim")

# The checks of stores assert in a module of their own, which several test modules import.
pytest.register_assert_rewrite("tests.contract.store_checks")

PROGRAMS = {
    "mosquitto": ("mosquitto", "mosquitto"),
    "nats": ("nats-server", "nats-server"),
    "browser": ("chromium", "chromium"),
    "victoria": ("victoria-metrics", "victoria-metrics"),
    "influxd": ("influxd", "influxd"),
    "postgres": ("postgresql", "initdb"),
    "alertmanager": ("prometheus-alertmanager", "prometheus-alertmanager"),
}
"""Marker → (name in DCIM_REQUIRE, program)."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    required = set(os.environ.get("DCIM_REQUIRE", "").split(","))
    for marker, (name, program) in PROGRAMS.items():
        if item.get_closest_marker(marker) and shutil.which(program) is None and postgres.program(program) is None:
            if name in required:
                pytest.fail(f"{program} is not installed, but DCIM_REQUIRE names {name}", pytrace=False)
            pytest.skip(f"{program} is not installed")


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of real recordings. They are not part of the project."""
    folder = os.environ.get("DCIM_DATA")
    if not folder:
        pytest.skip("DCIM_DATA is not set: the recordings are not here")
    return Path(folder)

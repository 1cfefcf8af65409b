"""The fixture that plays a timeline when its test is over, and fails it where it did not go as written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.timeline import Timeline


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Timeline]:
    timeline = Timeline(tmp_path)
    yield timeline
    wrong = timeline.run()
    if wrong:
        pytest.fail("\n".join(["it did not go as written:", *wrong]), pytrace=False)

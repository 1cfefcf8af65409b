"""Norms outlive a restart, and a file that is damaged is set aside and never taken for health."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from dcim.app.norms import NormsFile
from dcim.core.assets import AssetKey
from dcim.core.errors import Transient
from dcim.detect.norms import Learned, Norms
from tests.scenarios.loop import START
from tests.scenarios.test_watch_order import Looker, watch

POINT = np.array([7])
NORMS = Norms().learn([Learned("gpu resistance", POINT, np.array([0.035]), [AssetKey("s", "g")])], 600.0)


def test_what_was_saved_is_there_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "telemetry.norms.parquet"
    assert NormsFile(file).load() == {}
    NormsFile(file).save({"heat": NORMS, "cooling": Norms()})
    NormsFile(file).save({"heat": NORMS})
    again = NormsFile(file).load()
    assert again["heat"].of("gpu resistance", POINT, 600.0) == 0.035
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    file = tmp_path / "telemetry.norms.parquet"
    file.write_bytes(b"PAR1 and then nothing")
    assert NormsFile(file).load() == {}
    assert [path.name for path in tmp_path.iterdir()] == [f"{file.name}.damaged"]


def test_a_file_of_another_shape_is_set_aside(tmp_path: Path) -> None:
    file = tmp_path / "telemetry.norms.parquet"
    NORMS.to_frame().drop("value").write_parquet(file)
    assert NormsFile(file).load() == {}
    assert not file.exists()


def test_what_cannot_be_written_is_transient_and_nothing_is_kept_without_a_path(tmp_path: Path) -> None:
    with pytest.raises(Transient, match="cannot be written"):
        NormsFile(tmp_path / "missing" / "norms.parquet").save({"heat": NORMS})
    NormsFile(None).save({"heat": NORMS})
    assert NormsFile(None).load() == {}


def test_the_watch_keeps_norms_every_ten_minutes_and_goes_on_when_it_cannot() -> None:
    watching, calls = watch(Looker("heat")), []

    def keep() -> None:
        calls.append(1)
        raise Transient("the disk is full", where="norms", todo="Make room.")

    watching._keep = keep

    async def ticks() -> None:
        for minutes in (1, 9, 10, 11, 19, 20):
            await watching._keep_norms(START + timedelta(minutes=minutes))

    asyncio.run(ticks())
    assert len(calls) == 2

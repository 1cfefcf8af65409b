"""Writes docs/evaluation.md: how well the detectors of the service do, in figures that are made anew here.

    python -m tests.evaluation [--seeds 1000 1001 1002] [--out docs/evaluation.md] [--only simulated skab gpu ipmi]

Thresholds are chosen on seeds below 1000; the page is written from seeds of 1000 and more. Real recordings are read
from the folder that DCIM_DATA names; without it those parts say that they were not done."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.evaluation import campaigns, page, real
from tests.evaluation.campaigns import Heard

ROOT = Path(__file__).parents[2]
SEEDS = (1_000, 1_001, 1_002)
PARTS = ("simulated", "skab", "gpu", "ipmi")
FAST_TURNS = 2


def hall(seed: int, seeds: Sequence[int], folder: str) -> list[Heard]:
    """A hall's GPUs, and then what happens fast in it: the norms of the one serve the other."""
    devices, norms = campaigns.devices(seed, seeds, Path(folder))
    return [devices, *(campaigns.fast(seed, turn, seeds, Path(folder), norms) for turn in range(FAST_TURNS))]


def pair(seed: int, seeds: Sequence[int], folder: str) -> list[Heard]:
    """Two loops, slowly."""
    return [campaigns.slow(seed, seeds, Path(folder))]


def well(seed: int, seeds: Sequence[int], folder: str) -> list[Heard]:
    """What is no fault, in a larger hall."""
    return [campaigns.harmless(seed, seeds, Path(folder))]


def simulated(seeds: Sequence[int], workers: int) -> list[Heard]:
    """All campaigns of all seeds, in as many processes as there are workers."""
    heard: list[Heard] = []
    with (
        tempfile.TemporaryDirectory(prefix="evaluation-") as folder,
        ProcessPoolExecutor(workers) as pool,
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        ) as progress,
    ):
        jobs = [pool.submit(one, seed, seeds, folder) for seed in seeds for one in (hall, pair, well)]
        task = progress.add_task("simulated halls", total=len(jobs))
        for done in as_completed(jobs):
            heard += done.result()
            progress.advance(task)
    return sorted(heard, key=lambda one: (one.name, one.seed, str(one.events[0].place if one.events else "")))


def main() -> int:
    """Exit status 1 where a bar is missed and --strict is said."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "evaluation.md")
    parser.add_argument("--json", type=Path, help="every event and every alarm, for looking into")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--strict", action="store_true", help="exit status 1 where a bar is missed")
    chosen = parser.parse_args()
    began = time.monotonic()
    data = Path(os.environ["DCIM_DATA"]) if os.environ.get("DCIM_DATA") else None
    parts: dict[str, Any] = {}
    if "simulated" in chosen.only:
        parts["simulated"] = simulated(chosen.seeds, chosen.workers)
    for name, of in (("skab", real.skab), ("gpu", real.gpu), ("ipmi", real.ipmi)):
        if name in chosen.only:
            parts[name] = of(data / name) if data is not None and (data / name).exists() else None
    told = page.write(parts, chosen.seeds, time.monotonic() - began)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(told.text, encoding="utf-8")
    pictures = chosen.out.parent / "pictures"
    pictures.mkdir(exist_ok=True)
    for file, picture in told.pictures.items():
        (pictures / file).write_text(picture, encoding="utf-8")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(page.details(parts), indent=1, default=str), encoding="utf-8")
    for bar in told.bars:
        print(f"{'met   ' if bar.met else 'MISSED' if bar.met is not None else '-     '} {bar.what}: {bar.shows}")
    return int(chosen.strict and any(bar.met is False for bar in told.bars))


if __name__ == "__main__":
    sys.exit(main())

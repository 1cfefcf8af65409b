"""`make bench`: every benchmark, one after the other, each in a process of its own, with the machine described first.

Figures are ratios within one run wherever two things are compared; nothing here passes or fails."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path


def machine() -> str:
    """One line on what this runs on."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{model}, {os.cpu_count()} cores, load {load}; {platform.system()} {platform.release()}; "
        f"Python {platform.python_version()}"
    )


def main() -> int:
    """Runs what is there; the exit status is that of the worst."""
    print(f"machine: {machine()}\n", flush=True)
    worst = 0
    for file in sorted(Path(__file__).parent.glob("bench_*.py")):
        print(f"── {file.stem.removeprefix('bench_')} ".ljust(100, "─"), flush=True)
        worst = max(
            worst, subprocess.run([sys.executable, "-m", f"tests.benchmarks.{file.stem}"], check=False).returncode
        )
        print(flush=True)
    return worst


if __name__ == "__main__":
    sys.exit(main())

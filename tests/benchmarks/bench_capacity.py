"""What questions of planners cost: 1,000 racks of two feeds, 5,000 free positions.

    python -m tests.benchmarks.bench_capacity [--racks 1000] [--positions 5000]

With DCIM_BUSY_MACHINE set it counts the time of this process and not that of the wall."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

from dcim.capacity.failover import worst
from dcim.capacity.headroom import Level, headroom, units
from dcim.capacity.limits import find_limits
from dcim.capacity.network import connect
from dcim.capacity.placement import Wanted, place
from dcim.capacity.redundancy import power
from dcim.capacity.what_if import Added, what_if
from dcim.core.assets import AssetKey
from dcim.core.claims import Claim
from dcim.core.inventory import Named, Origin, ThingKind
from tests.benchmarks.bench_store import machine
from tests.capacity import SITE, loads, pod, say

CLOCK = time.process_time if os.environ.get("DCIM_BUSY_MACHINE") else time.perf_counter
PER_ROW = 20


def timed(what: str, ask: Callable[[], object], times: int = 5) -> None:
    """The median of some runs, milliseconds."""
    took = []
    for _ in range(times):
        began = CLOCK()
        ask()
        took.append(CLOCK() - began)
    print(f"{what:<40}{1000 * sorted(took)[len(took) // 2]:9.1f} ms")


def main() -> None:
    """Asks each question some times."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--racks", type=int, default=1_000)
    parser.add_argument("--positions", type=int, default=5_000)
    given = parser.parse_args()
    rows = -(-given.racks // PER_ROW)
    more = [
        Claim(Named(ThingKind.SITE, SITE, SITE, "contract_kw"), 1e6, Origin.TOML),
        *say(ThingKind.HALL, "H", air_kw=1e6),
    ]
    inventory = pod(
        given.racks, per_row=PER_ROW, positions=PER_ROW + -(-given.positions // rows), bus_a=16_000.0, cdu_kw=9_000.0,
        cdu_lpm=15_000.0, more=more,
    )  # fmt: skip
    network = connect(inventory)
    now = loads(network, 100.0)
    after = worst(network, now)
    limits = find_limits(inventory, network, now, after)
    print(f"{machine()}\n{given.racks} racks, {len(network.feeds)} feeds, {given.positions} free positions")
    timed("the worst of every single loss", lambda: worst(network, now))
    timed("every limit", lambda: find_limits(inventory, network, now, after))
    timed("headroom of the site", lambda: headroom(units(inventory, network, Level.SITE)[0], limits, now))
    timed("redundancy of every rack", lambda: power(network, now, limits))
    timed("placement of 20 racks", lambda: place(inventory, network, limits, Wanted(20, 100.0), inventory.rows))
    row = next(iter(inventory.rows))
    lost = [AssetKey(SITE, "bus-001-A"), AssetKey(SITE, "cdu-003")]
    timed("what if", lambda: what_if(inventory, network, now, lost, [Added(row, 4, 100.0, 0.9)]))


if __name__ == "__main__":
    main()

"""Halls for tests of capacity: an inventory in a few words, and loads as meters would give them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from dcim.capacity.loads import POWER_FACTOR, Loads, sums
from dcim.capacity.network import Network, connect
from dcim.core.claims import Claim, merge
from dcim.core.inventory import Cooling, Inventory, Named, Origin, ThingKind

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
SITE = "titan"


def say(kind: ThingKind, thing: str, **figures: Any) -> list[Claim]:
    return [Claim(Named(kind, SITE, thing, field), value, Origin.TOML) for field, value in figures.items()]


def pod(
    racks: int = 4,
    *,
    per_row: int = 4,
    positions: int = 6,
    rated_kw: float = 120.0,
    bus_a: float = 1_600.0,
    tap_a: float = 250.0,
    cdu_kw: float = 600.0,
    cdu_lpm: float = 900.0,
    more: list[Claim] | None = None,
) -> Inventory:
    """Rows of 2N racks: two busways a row, a tap of each to every rack; one CDU a row. 415 V, three phases."""
    claims: list[Claim] = []
    rows: dict[str, list[str]] = {}
    for number in range(racks):
        row = f"{number // per_row + 1:03}"
        name = f"r{number + 1:04}"
        rows.setdefault(row, []).append(name)
        claims += say(
            ThingKind.RACK, name, hall="H", row=row, position=number % per_row + 1, rated_power_kw=rated_kw,
            liquid_share=0.9,
        )  # fmt: skip
        for side in "AB":
            claims += say(
                ThingKind.FEED, f"{name}-{side}", hall="H", rated_a=tap_a, volts=415.0, phases=3, serves=(name,)
            )
    for row, names in rows.items():
        claims += say(ThingKind.ROW, f"H/{row}", positions=positions, rack_power_kw_max=rated_kw)
        claims += say(
            ThingKind.COOLING, f"cdu-{row}", hall="H", medium=Cooling.LIQUID, rated_kw=cdu_kw, flow_lpm_max=cdu_lpm,
            loop_l=62.5 * len(names), serves=tuple(names),
        )  # fmt: skip
        for side in "AB":
            claims += say(
                ThingKind.FEED, f"bus-{row}-{side}", hall="H", side=side, rated_a=bus_a, volts=415.0, phases=3,
                serves=tuple(f"{name}-{side}" for name in names),
            )  # fmt: skip
    return merge([*claims, *(more or [])])


def loads(network: Network, kw: Mapping[str, float] | float, *, split: float = 0.5, factor: float = 1.0) -> Loads:
    """Every tap metered, in balance; `split` of each rack on its first cord. Busways are not metered."""
    size = len(network.racks)
    rack_kw = np.array([kw if isinstance(kw, float) else kw[rack.id] for rack in network.racks])
    first = np.append(True, network.cord_rack[1:] != network.cord_rack[:-1])
    share = np.where(network.cords[network.cord_rack] == 1, 1.0, np.where(first, split, 1.0 - split))
    cord_kva = np.repeat((rack_kw[network.cord_rack] * share / factor / 3.0)[:, None], 3, axis=1)
    dead = np.zeros(len(network.feeds), np.bool_)
    return Loads(
        at=AT,
        volts=np.array([feed.volts or np.nan for feed in network.feeds]),
        rated_volts=np.array([feed.volts is not None for feed in network.feeds]),
        factor=np.full(len(network.feeds), factor),
        factor_measured=np.full(len(network.feeds), factor != POWER_FACTOR),
        feed_kva=sums(network, cord_kva, ~dead),
        feed_measured=network.tap.copy(),
        dead=dead,
        cord_kva=cord_kva,
        cord_measured=np.ones(len(network.cord_rack), np.bool_),
        rack_kw=rack_kw,
        rack_measured=np.ones(size, np.bool_),
        liquid_kw=0.9 * rack_kw,
        flow_lpm=1.5 * rack_kw,
        group_kw=np.full(len(network.groups), np.nan),
        group_lpm=np.full(len(network.groups), np.nan),
        gpu_c=tuple(np.array([70.0]) for _ in range(size)),
        gpu_kw=tuple(np.array([1.0]) for _ in range(size)),
        slowdown_c=tuple(np.array([89.0]) for _ in range(size)),
    )


__all__ = ["AT", "SITE", "connect", "loads", "pod", "say"]

"""What the made-up hall says of its way of power, its GPUs and its efficiency: answers in the shape of the API.

Lives here: those bodies. Not here: the hall itself (stand_in.py), what its assets measure (assets.py)."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

Json = dict[str, Any]

AMPS_PER_KW = 1000 / (math.sqrt(3) * 415 * 0.95)
BREAKER_A, TAP_A = 800.0, 250.0
SLOWED = {5: ["thermal", "power_cap"], 6: ["power_cap"]}
"""Number of a GPU in its rack → what holds it down."""
XID = {9: 79}
SILENT = {11}


def now() -> str:
    """This moment as the API writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def racks_of(racks: list[Json], scope: str | None) -> list[Json] | None:
    """The racks of a scope; None where there is none of that name."""
    if scope is None:
        return racks
    kind, _, rest = scope.partition("/")
    site, _, name = rest.partition("/")
    of = {
        "site": lambda rack: True,
        "hall": lambda rack: rack["hall"] == name,
        "asset": lambda rack: rack["id"] == name,
    }
    return [rack for rack in racks if rack["site"] == site and of[kind](rack)] or None


# -- GPUs ------------------------------------------------------------------------------------------------------------


def gpus(racks: list[Json]) -> list[Json]:
    """Every GPU of these racks, eight to a node."""
    return [_gpu(rack, i) for rack in racks for i in range(rack["gpus"])]


def _gpu(rack: Json, i: int) -> Json:
    silent = i in SILENT
    hot = float(round(rack["values"]["gpu_c"] or 0) - i % 9)
    power = round(0.5 + 0.005 * hot, 3)
    return {
        "site": rack["site"],
        "id": f"{rack['id']}-N{i // 8 + 1}-gpu{i % 8}",
        "rack": rack["id"],
        "temperature_c": None if silent else hot,
        "margin_k": None if silent else 89.0 - hot,
        "power_kw": None if silent else power,
        "limit_kw": None if silent else 1.0,
        "busy_pct": None if silent else 88.0,
        "causes": None if silent else SLOWED.get(i, []),
        "xid": XID.get(i),
        "resistance_k_w": None if silent else round((hot - rack["values"]["supply_c"]) / power / 1000, 4),
        "age_s": 900.0 if silent else 1.0,
        "stale": silent,
    }


def page_of_gpus(racks: list[Json], *, only: str | None, sort: str, order: str, offset: int, limit: int) -> Json:
    """The answer of GET /gpus."""
    whole = gpus(racks)
    kept = [gpu for gpu in whole if _matches(gpu, only)]

    def value(gpu: Json) -> Any:
        return len(gpu["causes"] or ()) if sort == "slowdowns" else gpu[sort]

    known = sorted(
        (gpu for gpu in kept if value(gpu) is not None),
        key=lambda gpu: (value(gpu), gpu["id"]),
        reverse=order == "desc",
    )
    found = known + [gpu for gpu in kept if value(gpu) is None]
    told = [gpu for gpu in whole if gpu["temperature_c"] is not None]
    steps: dict[int, int] = {}
    for gpu in told:
        step = int(gpu["temperature_c"] // 5 * 5)
        steps[step] = steps.get(step, 0) + 1
    causes = ("thermal", "power_cap", "power_brake", "hardware", "sync_boost")
    return {
        "at": now(),
        "total": len(found),
        "offset": offset,
        "items": found[offset : offset + limit],
        "fleet": {
            "gpus": len(whole),
            "heard": len(told),
            "hottest_c": max((gpu["temperature_c"] for gpu in told), default=None),
            "power_kw": sum(gpu["power_kw"] for gpu in told) if told else None,
            "power_of": len(told),
            "slowed": {cause: sum(cause in (gpu["causes"] or ()) for gpu in whole) for cause in causes},
            "xid": sum(gpu["xid"] is not None for gpu in whole),
            "temperatures": sorted(steps.items()),
        },
    }


def _matches(gpu: Json, only: str | None) -> bool:
    causes = gpu["causes"] or ()
    special = {None: True, "slowed": bool(causes), "xid": gpu["xid"] is not None, "stale": gpu["stale"]}
    return special.get(only, only in causes)


# -- power -----------------------------------------------------------------------------------------------------------


def way(site: str, feed: str, kw: float, usual_kw: float, rated_a: float | None, **more: Any) -> Json:
    """One feed. kw: now. usual_kw: after the worst loss."""
    usable = None if rated_a is None else 0.8 * rated_a

    def phases(load: float) -> list[float]:
        return [round(load * AMPS_PER_KW * share, 2) for share in (0.98, 1.04, 0.98)]

    def of(load: float) -> float | None:
        return None if usable is None else round(100 * max(phases(load)) / usable, 2)

    return {
        "scope": f"asset/{site}/{feed}",
        "name": feed,
        "hall": "Hall 1",
        "side": feed[-1] if feed[-1] in "AB" else "",
        "level": 0,
        "fed_by": [],
        "racks": 1,
        "power_kw": round(kw, 2),
        "now_a": phases(kw),
        "after_a": phases(usual_kw),
        "usable_a": usable,
        "rated_a": rated_a,
        "load_pct": of(kw),
        "after_pct": of(usual_kw),
        "worst_if": "",
        "imbalance_pct": 4.0,
        "measured": True,
        "dead": False,
        "why": "" if rated_a else "nobody gives its rating",
    } | more


def busways(racks: list[Json], unrated: frozenset[str] = frozenset()) -> list[Json]:
    """Two busways that share the load of each site's racks, and a panel above the first."""
    told = []
    for site in sorted({rack["site"] for rack in racks}):
        kw = sum(rack["values"]["power_kw"] for rack in racks if rack["site"] == site)
        count = sum(rack["site"] == site for rack in racks)
        told.append(way(site, "PANEL-A", kw / 2, kw, 1200.0, racks=count, worst_if="BUS-B"))
        for side, other in ("AB", "BA"):
            name = f"BUS-{side}"
            told.append(
                way(
                    site, name, kw / 2, kw, None if name in unrated else BREAKER_A, racks=count, level=side == "A",
                    fed_by=["PANEL-A"] if side == "A" else [], worst_if=f"BUS-{other}", measured=side == "A",
                )
            )  # fmt: skip
    return [one | {"level": int(one["level"])} for one in told]


def power(racks: list[Json], unrated: frozenset[str] = frozenset()) -> Json:
    """The answer of GET /power."""
    items = busways(racks, unrated)
    return {"at": now(), "items": items, "total": len(items), "taps": 2 * len(racks)}


def cords(racks: list[Json], limit: int) -> Json:
    """The answer of GET /power/racks: every rack hangs on both busways."""
    items = []
    for rack in racks[:limit]:
        kw = rack["values"]["power_kw"]
        taps = [way(rack["site"], name, kw / 2, kw, TAP_A, level=2) for name in rack["feeds"]]
        items.append(
            {
                "scope": f"asset/{rack['site']}/{rack['id']}",
                "name": rack["name"],
                "row": rack["row"],
                "position": rack["position"],
                "power_kw": kw,
                "measured": True,
                "has": "2N",
                "holds": "yes",
                "weakest": rack["feeds"][0],
                "why": "",
                "feeds": taps,
            }
        )
    return {"at": now(), "items": items, "total": len(racks)}


def figure(value: float | None, unit: str, why: str = "") -> Json:
    """A figure of this moment."""
    return {
        "value": value, "unit": unit, "kind": "missing" if value is None else "estimated", "coverage_pct": 100.0,
        "start": now(), "end": now(), "boundary": "", "why": why,
    }  # fmt: skip


def lost(racks: list[Json], lose: list[str]) -> Json:
    """The answer of POST /capacity/what-if: the other busway takes all."""
    (name,) = [scope.rpartition("/")[2] for scope in lose]
    other = "BUS-B" if name.endswith("A") else "BUS-A"
    kw = sum(rack["values"]["power_kw"] for rack in racks)
    usable = 0.8 * BREAKER_A / AMPS_PER_KW
    excess = max(0.0, kw - usable)
    return {
        "at": now(),
        "loads": "now",
        "overloads": [
            {
                "feed": f"asset/demo/{other}", "load": figure(kw, "kW"), "usable_kw": usable, "before_kw": kw / 2,
                "fullest_a": kw * AMPS_PER_KW, "usable_a": 640.0, "rated_a": BREAKER_A, "trips": kw > usable / 0.8,
            }
        ]
        if excess
        else [],
        "dark": [],
        "hot": [],
        "shed": [
            {
                "at": other, "excess_kw": excess, "racks": [racks[0]["id"]], "racks_kw": excess,
                "cap_pct": 100 * excess / kw,
            }
        ]
        if excess
        else [],
        "unknown": ["BUS-X has no rating"],
        "measured_pct": 100.0,
    }  # fmt: skip


# -- efficiency ------------------------------------------------------------------------------------------------------


def named(name: str, label: str, value: float | None, unit: str = "", why: str = "", kind: str = "measured") -> Json:
    """One figure of an answer about efficiency or cost."""
    return {
        "name": name, "label": label, "value": value, "unit": unit, "kind": "missing" if value is None else kind,
        "coverage_pct": 0.0 if value is None else 97.4, "boundary": "2 meters of facility ÷ 8 meters of IT", "why": why,
        "formula": "facility energy ÷ IT energy", "source": "ISO/IEC 30134-2",
    }  # fmt: skip


EFFICIENCY = (
    named("facility_energy", "all that is drawn", 612.4, "kWh"),
    named("it_energy", "what reaches the IT", 519.0, "kWh", "at the racks' own meters", "estimated"),
    named("pPUE", "pPUE, interim: over 24 hours, not a year", 1.18),
    named("WUE", "WUE, interim: over 24 hours, not a year", None, "L/kWh",
          "no meter of it is named: set water for hall/demo/Hall 1 in [[boundaries]]"),
    named("CUE", "CUE, interim: over 24 hours, not a year", 0.236, "kg/kWh"),
)  # fmt: skip
COST = (named("kwh", "cost of a kWh that reaches the IT", 0.1416, "EUR/kWh"),)


def period(scope: str, told: tuple[Json, ...], hours: int = 24) -> Json:
    """The answer of GET /efficiency or /cost."""
    end = datetime.now(UTC).replace(second=0, microsecond=0)
    return {
        "start": (end - timedelta(hours=hours)).isoformat().replace("+00:00", "Z"),
        "end": end.isoformat().replace("+00:00", "Z"),
        "zone": "UTC",
        "resolution_s": 60,
        "answers": [{"scope": scope, "role": "training_hub", "figures": list(told)}],
    }


def exchanger(cdu: Json, start: datetime, end: datetime, every_s: int) -> Json:
    """The answer of GET /exchangers/{asset}: steady, but for a step in which a part was not heard."""
    steps = int((end - start).total_seconds() // every_s)
    times = [(start + timedelta(seconds=every_s * i)).isoformat().replace("+00:00", "Z") for i in range(steps)]
    values = cdu["values"]
    approach, ua = values["approach_k"], values["ua_kw_per_k"]
    lacking = {steps // 2}
    return {
        "site": cdu["site"],
        "asset": cdu["id"],
        "start": start.isoformat(),
        "end": end.isoformat(),
        "every_s": every_s,
        "missing": [] if "primary_return_c" in values else ["primary_return_c"],
        "times": times,
        "approach_k": [None if i in lacking or approach is None else approach + 0.1 * (i % 3) for i in range(steps)],
        "ua_kw_per_k": [None if i in lacking or ua is None else ua + i % 2 for i in range(steps)],
        "heat_kw": [600.0] * steps,
    }

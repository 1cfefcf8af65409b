"""What the assets of the made-up hall measure, under the names that the bus has for it.

Lives here: points and last values of racks, meters, CDUs and GPUs, as bodies. Not here: the hall itself (stand_in.py).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]

RACK = {
    "power_kw": ("RackPower", "kW"),
    "supply_c": ("RackLiquidSupplyTemperature", "°C"),
    "return_c": ("RackLiquidReturnTemperature", "°C"),
    "flow_lpm": ("RackLiquidFlow", "L/min"),
    "dp_kpa": ("RackLiquidDifferentialPressure", "kPa"),
    "valve_pct": ("RackControlValvePosition", "%"),
    "leak": ("RackLeakDetect", ""),
}
CDU: dict[str, tuple[str, str, Json]] = {
    "primary_supply_c": ("LiquidTemperature", "°C", {"loop": "primary", "side": "supply"}),
    "primary_return_c": ("LiquidTemperature", "°C", {"loop": "primary", "side": "return"}),
    "supply_c": ("LiquidTemperature", "°C", {"loop": "secondary", "side": "supply"}),
    "return_c": ("LiquidTemperature", "°C", {"loop": "secondary", "side": "return"}),
    "primary_flow_lpm": ("LiquidFlow", "L/min", {"loop": "primary"}),
    "flow_lpm": ("LiquidFlow", "L/min", {"loop": "secondary"}),
    "supply_kpa": ("LiquidPressure", "kPa", {"loop": "secondary", "side": "supply"}),
    "return_kpa": ("LiquidPressure", "kPa", {"loop": "secondary", "side": "return"}),
    "valve_pct": ("ValvePosition", "%", {"loop": "primary"}),
    "level_pct": ("LiquidLevel", "%", {"loop": "secondary", "areas": ["Secondary", "Reservoir", "Level"]}),
}
FIRST = {"level_pct": 12}
"""Points that evidence names."""


def point(site: str, asset: str, number: int, quantity: str, unit: str, **more: Any) -> Json:
    """A described point."""
    return {
        "id": number,
        "site": site,
        "asset": asset,
        "quantity": quantity,
        "unit": unit,
        "unit_known": True,
        "name": quantity,
        "point_type": quantity,
        "object_type": "Rack",
        "path": f"x/{quantity}",
        "areas": [],
        "loop": None,
        "side": None,
        "phase": "",
        "part": "",
        "setpoint": False,
        "integration": "",
        "states": {},
    } | more


def reading(of: Json, value: float | None, state: str | None = None) -> Json:
    """The last value of a point."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "point": of["id"],
        **{key: of[key] for key in ("site", "asset", "quantity", "name", "unit")},
        "time": now,
        "heard": now,
        "age_s": 0.4,
        "value": value,
        "quality": "good",
        "state": state,
    }


def detail(asset: Json, number: int) -> Json:
    """A rack or a CDU, with its points and their last values. number: tells its points from those of others."""
    site, name, values = asset["site"], asset["id"], asset["values"]
    measured: list[tuple[Json, float | None, str | None]] = []

    def add(quantity: str, unit: str, value: float | None, state: str | None = None, **more: Any) -> None:
        own = more.pop("id", 1000 * number + len(measured))
        measured.append((point(site, name, own, quantity, unit, **more), value, state))

    if "serves" in asset:
        for key, (quantity, unit, more) in CDU.items():
            if key in values:
                add(quantity, unit, values[key], **more, **({"id": FIRST[key]} if key in FIRST else {}))
        for i, speed in enumerate(values.get("pump_pct", [])):
            add("PumpSpeed", "%", speed, loop="secondary", areas=["Secondary", f"Pump{i + 1}"])
        if "level_pct" in values:
            add("GenericPoint", "L", 50.0, areas=["Secondary", "Reservoir", "Capacity"])
            add("PumpSpeedState", "", 0.0, "Off", areas=["Fill"])
    else:
        for key, (quantity, unit) in RACK.items():
            if key in values:
                add(quantity, unit, values[key])
    return body(
        asset,
        "CDU" if "serves" in asset else "Rack",
        measured,
        fed_by={"power": asset.get("feeds", []), "coolant": asset.get("cdus", [])},
        feeds={"power": [], "coolant": asset.get("serves", [])},
    )


def meter(rack: Json, name: str, number: int) -> Json:
    """A tap-off meter of a rack: half of its power."""
    half = rack["values"]["power_kw"] / 2
    measured = [(point(rack["site"], name, number, "ActivePower", "kW"), half, None)]
    for i, phase in enumerate("ABC"):
        of = point(rack["site"], name, number + 1 + i, "PhaseCurrent", "A", phase=phase)
        measured.append((of, round(half * 1.44 + i, 1), None))
    if not rack.get("unlimited"):
        measured.append((point(rack["site"], name, number + 4, "CurrentLimit", "A"), 250.0, None))
    asset = {"site": rack["site"], "id": name, "name": name, "hall": rack["hall"], "row": rack["row"]}
    feeds = {"power": [rack["id"]], "coolant": []}
    return body(asset, "PowerMeter", measured, fed_by={"power": [], "coolant": []}, feeds=feeds)


def body(asset: Json, kind: str, measured: list[tuple[Json, float | None, str | None]], **topology: Json) -> Json:
    """The answer about one asset."""
    return {
        "site": asset["site"],
        "id": asset["id"],
        "name": asset["name"],
        "kind": kind,
        "described": True,
        "hall": asset["hall"],
        "row": asset["row"],
        "position": asset.get("position"),
        "rack_unit": None,
        "rated_power_kw": asset.get("rated_power_kw"),
        "within": "",
        "points": len(measured),
        "readings": [reading(of, value, state) for of, value, state in measured],
        "details": [of for of, _, _ in measured],
        **topology,
    }


def gpus(rack: Json, quantity: str) -> list[Json]:
    """One quantity of every GPU of a rack, eight to a node."""
    values = {
        "GpuTemperature": lambda i: round(rack["values"]["gpu_c"] or 0) - i % 9,
        "GpuPower": lambda i: 0.9,
        "GpuUtilization": lambda i: 88.0,
        "GpuClockEventReasons": lambda i: 4.0 if i == 5 else 0.0,
        "GpuXid": lambda i: 79.0 if i == 9 else 0.0,
    }[quantity]
    number = {"GpuTemperature": 1, "GpuPower": 2, "GpuUtilization": 3}.get(quantity, 4)
    return [
        reading(
            point(rack["site"], f"{rack['id']}-N{i // 8 + 1}-gpu{i % 8}", 900_000 + 10 * i + number, quantity, ""),
            values(i),
        )
        for i in range(rack["gpus"])
    ]

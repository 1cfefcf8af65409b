"""The demo: the whole service over a simulated hall, in one process, with nothing installed beside it.

Lives here: its settings, the simulator beside the service, what is printed. Not here: the service (build.py)."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path

from collectors.publish import Broker, publish
from dcim.app.build import build
from dcim.app.energy_settings import EnergyBoundary, SiteCosts
from dcim.app.inventory_settings import InventorySettings
from dcim.app.logs import log_to_stderr
from dcim.app.settings import Alarms, Http, ListenerSource, PlacedAsset, Settings, Store
from dcim.app.simulated import outgoing
from dcim.core.times import now
from dcim.sim.hall import Hall, HallSettings, placements
from dcim.sim.run import simulate
from dcim.sim.timetable import Truth
from dcim.sim.timetable import demo as demo_timetable

LEARNING_SPEED = 144.0
"""What is usual is known after ten minutes instead of a day, for this hall is new each time."""
SHOWN_S = 1_800
"""The printed timetable reaches so far ahead."""
REMARKS = {
    "filling": "somebody is at work: the level rises, and that is no alarm",
    "load_step": "no fault and no alarm: the racks' power tells why temperatures move, see their trends",
    "pump_trip": "the standby takes over within seconds",
    "branch_blocked": "found by the rack's restriction and by all GPUs of a node",
    "temperature_bias": "the sensor is named by its rack's balances, and no longer believed",
}
"""What is printed beside an event, by its kind."""


def run(*, port: int, data: Path | None, seed: int) -> None:
    """Runs until SIGINT or SIGTERM."""
    log_to_stderr(quiet=True)
    with contextlib.ExitStack() as stack:
        folder = data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dcim-demo-")))
        asyncio.run(_run(port, folder, seed))


async def _run(port: int, folder: Path, seed: int) -> None:
    hall = Hall(HallSettings(serial=seed))
    service = await build(_settings(hall, port, folder))
    timetable = demo_timetable(hall)

    async def hall_beside() -> None:
        host, listening = await service.address_of("hall")
        start = now()
        _tell(service.url, timetable.truths(hall, start, SHOWN_S))
        ticks = simulate(hall, start, seed, timetable=timetable)
        await publish(outgoing(ticks), Broker(host, listening), qos=1)

    await service.run(hall_beside)


def _settings(hall: Hall, port: int, folder: Path) -> Settings:
    return Settings(
        sources=(ListenerSource(kind="listener", name="hall", site=hall.settings.site, bind="127.0.0.1:0"),),
        store=Store(path=folder / "telemetry.duckdb"),
        alarms=Alarms(
            journal=f"sqlite+aiosqlite:///{(folder / 'alarms.sqlite').resolve()}", learning_speed=LEARNING_SPEED
        ),
        http=Http(bind=f"127.0.0.1:{port}"),
        inventory=_inventory(hall),
        boundaries=(  # of the hall alone: no plant that cools the facility's water is simulated
            EnergyBoundary(
                site=hall.settings.site,
                hall=hall.settings.name,
                facility=tuple(hall.busway(feed) for feed in range(len(hall.feeds))),
            ),
        ),
        costs=(
            SiteCosts(
                site=hall.settings.site,
                gpu_capital=40_000,
                gpu_life_years=5,
                operation_per_gpu_year=1_500,
                availability=0.98,
                pue_assumed=1.15,
            ),
        ),
        assets=tuple(
            PlacedAsset(
                site=key.site,
                id=key.id,
                hall=place.hall,
                row=place.row,
                position=place.position,
                rated_power_kw=place.rated_power_kw,
            )
            for key, place in placements(hall).items()
        ),
    )


def _inventory(hall: Hall) -> InventorySettings:
    """What no bus tells: figures to try questions on. A free position in each row; nobody pays the prices."""
    s = hall.settings
    return InventorySettings.model_validate(
        {
            "sites": [
                {"id": s.site, "role": "training_hub", "currency": "EUR", "tariff_per_kwh": 0.12,
                 "carbon_kg_per_kwh": 0.2, "contract_kw": 1_500, "installed_it_kw": s.racks * s.rack_power_kw}
            ],
            "halls": [{"site": s.site, "id": s.name, "air_kw": 0.2 * s.racks * s.rack_power_kw}],
            "rows": [
                {"site": s.site, "hall": s.name, "id": row, "positions": hall.row_of_rack.count(row) + 1,
                 "rack_power_kw_max": s.rack_power_kw}
                for row in dict.fromkeys(hall.row_of_rack)
            ],
            "cooling": [
                {"site": s.site, "id": cdu, "flow_lpm_max": 1.25 * racks * s.rack_flow_lpm,
                 "loop_l": racks * s.loop_l_per_rack}
                for cdu, racks in zip(hall.cdus, hall.racks_of_cdu.tolist(), strict=True)
            ],
            "feeds": [
                {"site": s.site, "id": meter, "side": side, "volts": s.voltage_v, "phases": 3}
                for feed, side in enumerate(hall.feeds)
                for meter in (hall.busway(feed), *(hall.tap(rack, feed) for rack in range(s.racks)))
            ],
        }
    )  # fmt: skip


def _tell(url: str, truths: list[Truth]) -> None:
    print(f"\n  The simulated hall is live at {url}   (Ctrl-C ends it)\n")
    for truth in truths:
        at = truth.onset.astimezone()
        remark = f"   {REMARKS[truth.kind]}" if truth.kind in REMARKS else ""
        print(f"  {at:%H:%M:%S}  {truth.kind} at {truth.place}{remark}")
    print(flush=True)

"""A service that stands in for the real one: the API as the console uses it, over a made-up hall that a test moves.

Lives here: the hall's state, the routes, a server in a thread. Not here: what the console must make of it (test_*.py).
By hand: `python -m tests.browser.stand_in --racks 1000` and a browser; a leak begins after twenty seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import polars as pl
import uvicorn
from fastapi import FastAPI, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response

from alerts.kpis import LOG
from dashboards.console import PAGES, POLICY
from dcim.app.api import library
from dcim.app.api.alarms import Assignment, Person, Reasoned, Remark, Said, Several, Shelf
from dcim.app.api.capacity import WhatIfAsk
from dcim.app.kpis import report
from tests.browser import answers, assets

Json = dict[str, Any]

QUANTITIES = [
    {"key": "power_kw", "name": "Power", "unit": "kW", "low": 0, "high": 120},
    {"key": "power_pct", "name": "Power, % of rating", "unit": "%", "low": 20, "high": 100},
    {"key": "supply_c", "name": "Supply temperature", "unit": "°C", "low": 30, "high": 40},
    {"key": "return_c", "name": "Return temperature", "unit": "°C", "low": 35, "high": 55},
    {"key": "flow_lpm", "name": "Flow", "unit": "L/min", "low": 60, "high": 180},
    {"key": "dp_kpa", "name": "Differential pressure", "unit": "kPa", "low": 60, "high": 140},
    {"key": "gpu_c", "name": "Hottest GPU", "unit": "°C", "low": 40, "high": 85},
]
EMPTY = {"site": "demo", "hall": "Hall 1", "rows": []}


def iso(at: datetime) -> str:
    """The way that the API writes a time."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def wave(i: int, turn: int = 0) -> float:
    """A number between 0 and 1 that differs from rack to rack and from turn to turn, the same in every run."""
    return (math.sin(i * 12.9898 + turn * 0.7) * 43758.5453) % 1.0


def rack_values(i: int, turn: int = 0) -> Json:
    """What rack number i shows: a load between 30 and 92 % and what follows from it."""
    share = 0.30 + 0.62 * wave(i) + 0.01 * wave(i, turn)
    power = 120 * share
    supply = 34.6 + 0.8 * wave(i + 31, turn)
    flow = max(60.0, 1.49 * power)
    return {
        "power_kw": round(power, 1),
        "power_pct": round(100 * share, 1),
        "supply_c": round(supply, 1),
        "return_c": round(supply + power / flow * 14.9, 1),
        "flow_lpm": round(flow, 1),
        "dp_kpa": round(84 + 30 * wave(i + 7, turn), 1),
        "gpu_c": round(52 + 28 * share),
        "valve_pct": round(30 + 50 * share),
        "leak": 0,
    }


class StandIn:
    """The made-up hall. Every method may be called from the test's own thread while the server runs."""

    def __init__(self, racks: int = 8, rows: int = 2, *, site: str = "demo", pulse_s: float = 0.25) -> None:
        self.pulse_s = pulse_s
        self.stale_after_s = 250.0
        self.silent = False  # the stream stays open and says nothing
        self.refusing = False  # every answer is 503
        self.login: str = ""  # "refused": every answer is 401; "page": a proxy answers with its own page
        self.held_back_s = 0.0  # what the stream says is so old when it comes
        self.requests: list[str] = []
        self.posted: list[Json] = []
        self.turn = 0
        self.alarms: dict[str, Json] = {}
        self.ended: dict[str, list[Json]] = {}
        self.gone: set[int] = set()  # points that are not described any more
        self.names = {12: "Coolant inventory"}  # of points; the others are a difference of flows
        self.silent_points = False  # no point has a reading in any range
        self.unrated: frozenset[str] = frozenset()  # busways whose breaker nobody gives
        self.figures = answers.EFFICIENCY
        self.racks: dict[str, Json] = {}
        self.cdus: dict[str, Json] = {}
        self.halls: list[Json] = []
        self.reasons: dict[str, int] = {"malformed_payload": 3, "time_ahead": 1}
        self.warnings: list[str] = []
        self.kept: Json = {"trouble": None, "trouble_since": None, "backlog": None}
        self._queues: dict[asyncio.Queue[tuple[str, str] | None], asyncio.AbstractEventLoop] = {}
        self._lock = threading.Lock()
        if racks:
            self.build(site, "Hall 1", racks, rows)

    # -- the hall ----------------------------------------------------------------------------------------------------

    def build(self, site: str, hall: str, racks: int, rows: int) -> None:
        """Adds a hall of so many racks in so many rows, one CDU per row."""
        per_row = math.ceil(racks / rows)
        number = "".join(c for c in hall if c.isdigit()) or "1"
        made: Json = {"site": site, "hall": hall, "rows": []}
        for r in range(rows):
            row = chr(ord("A") + r) if rows <= 26 else f"{r + 1:02d}"
            cdu = f"H{number}-CDU-{r + 1}"
            ids = [f"H{number}-{row}{i + 1:02d}" for i in range(min(per_row, racks - r * per_row))]
            made["rows"].append({"row": row, "cdus": [cdu], "racks": ids})
            for i, name in enumerate(ids):
                self.add_rack(site, name, hall=hall, row=row, position=i + 1, cdus=[cdu])
            self.add_cdu(site, cdu, hall=hall, row=row, serves=ids)
        self.halls.append(made)

    def add_rack(self, site: str, name: str, **more: Any) -> Json:
        """Adds a rack; `more` overrides any field."""
        i = len(self.racks)
        rack = {
            "site": site,
            "id": name,
            "name": name,
            "hall": "",
            "row": "",
            "position": None,
            "rated_power_kw": 120,
            "cdus": [],
            "feeds": [f"{name}-TAP-A", f"{name}-TAP-B"],
            "gpus": 72,
            "values": rack_values(i),
            "age_s": 1.2,
            "stale": False,
        } | more
        self.racks[f"{site}/{name}"] = rack
        return rack

    def add_cdu(self, site: str, name: str, **more: Any) -> Json:
        """Adds a CDU; `more` overrides any field."""
        values = {
            "supply_c": 35.0,
            "return_c": 44.8,
            "flow_lpm": 963.0,
            "primary_supply_c": 24.1,
            "primary_flow_lpm": 1204.0,
            "supply_kpa": 286.0,
            "return_kpa": 178.0,
            "dp_kpa": 108.0,
            "pump_pct": [71, 0],
            "valve_pct": 62,
            "level_pct": 78.1,
            "approach_k": 10.9,
            "ua_kw_per_k": 61.3,
        }
        cdu = {
            "site": site,
            "id": name,
            "name": name,
            "hall": "",
            "row": "",
            "values": values,
            "serves": [],
            "age_s": 0.8,
            "stale": False,
        } | more
        self.cdus[f"{site}/{name}"] = cdu
        return cdu

    def place_unplaced(self, site: str, racks: dict[str, list[str]]) -> None:
        """Adds a hall without a name: racks by the CDUs that serve them."""
        for name, cdus in racks.items():
            self.add_rack(site, name, cdus=cdus, rated_power_kw=None)
        for cdu in sorted({cdu for cdus in racks.values() for cdu in cdus}):
            self.add_cdu(site, cdu, serves=[name for name, cdus in racks.items() if cdu in cdus])
        every = sorted({cdu for cdus in racks.values() for cdu in cdus})
        self.halls.append({"site": site, "hall": "", "rows": [{"row": "", "cdus": every, "racks": list(racks)}]})

    def hall(self) -> Json:
        """The answer of GET /hall."""
        racks = list(self.racks.values())
        fresh = sum(not rack["stale"] for rack in racks)
        return {
            "at": iso(datetime.now(UTC)),
            "stale_after_s": self.stale_after_s,
            "quantities": QUANTITIES if self.racks else [],
            "halls": self.halls,
            "racks": self.racks,
            "cdus": self.cdus,
            "coverage": {"expected": 12 * len(racks), "fresh": 12 * fresh, "oldest_s": 1.2 if racks else None},
            "power_kw": sum(rack["values"]["power_kw"] or 0 for rack in racks),
            "rated_kw": sum(rack["rated_power_kw"] or 0 for rack in racks),
        }

    def change(self, key: str, *, tell: bool = True, **values: Any) -> None:
        """Changes values of a rack or CDU and tells the stream."""
        asset = self.racks.get(key) or self.cdus[key]
        asset["values"] |= values
        if tell:
            self.tell_hall([key])

    def set(self, key: str, **fields: Any) -> None:
        """Changes other fields of a rack (`stale`, `age_s`) and tells the stream."""
        self.racks[key] |= fields
        self.tell_hall([key])

    def tell_hall(self, keys: list[str]) -> None:
        """Sends a hall event with these assets."""
        news = {"at": iso(datetime.now(UTC)), "racks": {}, "cdus": {}}
        for key in keys:
            asset = self.racks.get(key) or self.cdus[key]
            kind = "racks" if key in self.racks else "cdus"
            news[kind][key] = {"values": asset["values"], "age_s": asset["age_s"], "stale": asset["stale"]}
        self.publish("hall", news)

    def breathe(self) -> None:
        """A second of plant life: every rack moves a little."""
        self.turn += 1
        for i, rack in enumerate(self.racks.values()):
            if not rack["stale"]:
                rack["values"] |= rack_values(i, self.turn) | {"leak": rack["values"]["leak"]}
        self.tell_hall([key for key, rack in self.racks.items() if not rack["stale"]])

    # -- alarms ------------------------------------------------------------------------------------------------------

    def leak(self, asset: str = "H1-A05", *, minutes: float = 3.0, **more: Any) -> Json:
        """Raises a leak at a rack, critical and unacknowledged, and tells the stream."""
        since = datetime.now(UTC) - timedelta(minutes=minutes)
        return self.raise_alarm(
            f"leak-{asset}",
            **{
                "rule": "leak-suspected",
                "kind": "leak_suspected",
                "title": f"Leak at rack {asset}",
                "summary": "Coolant is leaving the loop: two independent signals agree.",
                "asset": asset,
                "where": f"Hall 1 · row {asset[3]} · position {int(asset[4:])}",
                "priority": 1,
                "priority_word": "critical",
                "since": iso(since),
                "confidence": 0.97,
                "score": 14.0,
                "time_to_limit_s": 2460,
                "evidence": [
                    {"what": "Inventory", "shows": "−0.9 L/min", "bearing": "for", "point": 12},
                    {"what": "Supply − return", "shows": "0.8 L/min", "bearing": "for", "point": 13},
                    {"what": "Tray sensor", "shows": "dry", "bearing": "against", "point": None},
                    {"what": "Thermal expansion", "shows": "temperature steady", "bearing": "ruled_out", "point": None},
                    {"what": "Make-up valve", "shows": "no reading", "bearing": "unknown", "point": None},
                ],
                "check_first": [
                    f"Look at the manifold of {asset}: wet quick-connects, drip tray",
                    f"Close the two branch valves of {asset}",
                    "Watch the inventory: flat within 2 min after closing",
                ],
                "rationale": {
                    "cause": "A fitting or hose of the branch has opened.",
                    "consequence": "Coolant reaches live parts; below 10 % level the pumps trip and the row throttles.",
                    "action": ["Isolate the branch", "Drain and dry before power is restored"],
                    "respond_within_min": 10,
                },
                "masked": 11,
                "history": [
                    transition(f"leak-{asset}", 1, since, "activated", "normal", "unacknowledged", 2),
                    transition(
                        f"leak-{asset}",
                        2,
                        since + timedelta(seconds=45),
                        "escalated",
                        "unacknowledged",
                        "unacknowledged",
                        1,
                        why="two independent signals",
                    ),
                ],
                **more,
            },
        )

    def raise_alarm(self, alarm_id: str, **fields: Any) -> Json:
        """Raises or changes any alarm and tells the stream."""
        blank: Json = {
            "id": alarm_id,
            "rule": "limit",
            "kind": "limit",
            "title": alarm_id,
            "summary": "",
            "site": "demo",
            "asset": "H1-A01",
            "asset_name": None,
            "asset_kind": "Rack",
            "qualifier": "",
            "where": "Hall 1",
            "priority": 3,
            "priority_word": "medium",
            "state": "unacknowledged",
            "since": iso(datetime.now(UTC)),
            "opened_at": iso(datetime.now(UTC)),
            "activations": 1,
            "returned_at": None,
            "acknowledged_at": None,
            "acknowledged_by": None,
            "comment": None,
            "confidence": None,
            "score": None,
            "time_to_limit_s": None,
            "cannot_tell": None,
            "evidence": [],
            "check_first": [],
            "rationale": None,
            "masked": 0,
            "version": 1,
            "active": True,
            "aside": None,
            "assigned": None,
            "comments": 0,
            "hidden_by": None,
            "hidden_how": None,
            "hidden_why": None,
            "first_out": None,
            "history": [],
        }
        had = self.alarms.get(alarm_id, blank)
        alarm = had | fields
        alarm["asset_name"] = alarm["asset_name"] or alarm["asset"]
        self.alarms[alarm_id] = alarm
        self.publish("alarm", listed(alarm))
        return alarm

    def end(self, alarm_id: str) -> None:
        """The alarm is over."""
        alarm = self.alarms.pop(alarm_id)
        line = transition(
            alarm_id, 99, datetime.now(UTC), "cleared", alarm["state"], "normal", alarm["priority"], why="it is gone"
        )
        self.ended[alarm_id] = [*alarm["history"], line]
        self.publish("alarm", listed(alarm) | {"state": "normal"})

    def acknowledge(self, alarm_id: str, by: str, comment: str | None = None, *, tell: bool = True) -> Json:
        """Somebody acknowledges, here or on another screen."""
        now = datetime.now(UTC)
        alarm = self.alarms[alarm_id]
        seq = len(alarm["history"]) + 1
        line = transition(
            alarm_id,
            seq,
            now,
            "acknowledged",
            alarm["state"],
            "acknowledged",
            alarm["priority"],
            by=by,
            comment=comment or "",
        )
        changed = alarm | {
            "state": "acknowledged",
            "acknowledged_at": iso(now),
            "acknowledged_by": by,
            "comment": comment,
            "history": [*alarm["history"], line],
        }
        self.alarms[alarm_id] = changed
        if tell:
            self.publish("alarm", listed(changed))
        return changed

    def act(self, alarm_id: str, verb: str, by: str, words: str, *, to: str = "", for_s: float = 3600) -> Json:
        """Somebody does something else, here or on another screen."""
        alarm, now = self.alarms[alarm_id], datetime.now(UTC)
        change, state = {
            "comment": ("commented", alarm["state"]),
            "assign": ("assigned", alarm["state"]),
            "shelve": ("shelved", "shelved"),
            "unshelve": ("unshelved", "unacknowledged"),
            "out-of-service": ("taken_out", "out_of_service"),
            "return-to-service": ("brought_back", "unacknowledged"),
        }[verb]
        until = iso(now + timedelta(seconds=for_s)) if state == "shelved" else None
        aside = {"at": iso(now), "by": by, "reason": words, "until": until}
        seq = len(alarm["history"]) + 1
        line = transition(alarm_id, seq, now, change, alarm["state"], state, alarm["priority"], by=by, comment=words)
        changed = alarm | {
            "state": state,
            "version": alarm["version"] + 1,
            "assigned": to or alarm["assigned"],
            "aside": aside if state in {"shelved", "out_of_service"} else None,
            "history": [*alarm["history"], line],
        }
        self.alarms[alarm_id] = changed
        self.publish("alarm", listed(changed))
        return changed

    def log(self) -> pl.DataFrame:
        """What became of alarms, as the figures are worked out from it."""
        lines = [line for one in (*self.ended.values(), *(a["history"] for a in self.alarms.values())) for line in one]
        rows = [
            (
                datetime.fromisoformat(line["at"]),
                line["id"],
                line["priority"],
                LOGGED[line["change"]],
                line["by"],
                "",
                None,
            )
            for line in lines
            if line["change"] in LOGGED
        ]
        return pl.DataFrame(rows, schema=LOG, orient="row").sort("time")

    def standing(self, *, hidden: bool = False) -> list[Json]:
        """Alarms as the listing has them; hidden: with those that the design hides."""
        shown = [alarm for alarm in self.alarms.values() if hidden or alarm["state"] != "suppressed"]
        return [listed(alarm) for alarm in sorted(shown, key=lambda a: (a["priority"], a["since"]))]

    # -- the stream --------------------------------------------------------------------------------------------------

    def publish(self, event: str, data: Json) -> None:
        """Sends an event to every open stream."""
        frame = (event, json.dumps(data))
        with self._lock:
            for queue, loop in self._queues.items():
                loop.call_soon_threadsafe(queue.put_nowait, frame)

    def cut(self) -> None:
        """Ends every open stream, as a restart of the service does."""
        with self._lock:
            for queue, loop in self._queues.items():
                loop.call_soon_threadsafe(queue.put_nowait, None)

    def said_at(self) -> str:
        """When what the stream brings now was sent."""
        return iso(datetime.now(UTC) - timedelta(seconds=self.held_back_s))

    async def stream(self) -> AsyncIterator[str]:
        """One client's events, with its pulses."""
        queue: asyncio.Queue[tuple[str, str] | None] = asyncio.Queue()
        with self._lock:
            self._queues[queue] = asyncio.get_running_loop()
        try:
            if not self.silent:
                yield event("hello", {"at": self.said_at()})
                yield event("alarms", {"items": self.standing()})
            while True:
                try:
                    frame = await asyncio.wait_for(queue.get(), self.pulse_s)
                except TimeoutError:
                    if not self.silent:
                        yield event("pulse", {"at": self.said_at()})
                    continue
                if frame is None:
                    return
                if not self.silent:
                    yield f"event: {frame[0]}\ndata: {frame[1]}\n\n"
        finally:
            with self._lock:
                self._queues.pop(queue, None)


LOGGED = {"activated": "raised", "cleared": "cleared", "acknowledged": "acknowledged", "shelved": "shelved"}
"""Changes that count for the figures."""
QUANTITY = {12: "LiquidLevel", 900_001: "GpuTemperature"}
"""What some points measure; the others are nothing in particular."""

ACTS: dict[str, type[Person]] = {
    "comment": Remark,
    "assign": Assignment,
    "shelve": Shelf,
    "unshelve": Said,
    "out-of-service": Reasoned,
    "return-to-service": Said,
}
"""What people do besides acknowledging, and the body that the API declares for it."""


def transition(
    alarm: str,
    seq: int,
    at: datetime,
    change: str,
    before: str,
    after: str,
    priority: int,
    *,
    by: str = "",
    comment: str = "",
    why: str = "",
) -> Json:
    """One line of an alarm's history."""
    return {
        "seq": seq,
        "at": iso(at),
        "id": alarm,
        "rule": "limit",
        "site": "demo",
        "asset": "H1-A01",
        "qualifier": "",
        "change": change,
        "before": before,
        "after": after,
        "priority": priority,
        "by": by,
        "origin": "127.0.0.1" if by else "",
        "comment": comment,
        "why": why,
        "until": None,
        "detail": "",
        "hidden_by": None,
        "hidden_how": None,
    }


def listed(alarm: Json) -> Json:
    """An alarm as lists and events have it: without its history."""
    return alarm | {"history": None}


def event(name: str, data: Json) -> str:
    """One server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def problem(status: int, title: str, **more: Any) -> JSONResponse:
    """An error after RFC 9457."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": "", "instance": ""} | more
    return JSONResponse(body, status, media_type="application/problem+json")


def counts(reasons: Json, carried: int = 0, **kinds: tuple[int, int, int]) -> Json:
    """What became of items, by kind: (received, stored, duplicate). What is in none of them waits."""
    told = {
        kind: dict(zip(("received", "stored", "duplicate"), kinds.get(kind, (0, 0, 0)), strict=True))
        for kind in ("value", "metadata", "unreadable")
    }
    sums = {name: sum(kind[name] for kind in told.values()) for name in ("received", "stored", "duplicate")}
    rejected = sum(reasons.values())
    return {
        **sums,
        "rejected": rejected,
        "pending": sums["received"] + carried - sums["stored"] - sums["duplicate"] - rejected,
        "carried": carried,
        "balance": 0,
        "balanced": True,
        "kinds": told,
        "reasons": reasons,
        "remarks": {},
    }


def account(source: str, now: datetime, whole: Json, codecs: Json, **more: Any) -> Json:
    """A source's account: its counts, and those of its codecs."""
    return (
        whole
        | {
            "source": source,
            "since": iso(now - timedelta(hours=3)),
            "configured": True,
            "connected": False,
            "connected_since": iso(now - timedelta(hours=3)),
            "trouble": "",
            "messages": 0,
            "codecs": codecs,
            "faults": {},
            "last_received": None,
            "pace": {"batches": 0, "lag": None, "ahead_s": 0.0, "durable": None},
        }
        | more
    )


BACKLOG: Json = {
    "waiting": 12_000,
    "bytes": 850_000_000,
    "bytes_max": 1_000_000_000,
    "oldest_s": 420.0,
    "forwarded": 4_000_000,
    "overtaken": 0,
    "dead_lettered": {"type_conflict": 2},
    "damaged": 0,
    "trouble": "influx: it does not answer. Is it running?",
}
"""A spool that is filling, because the server behind it is gone."""


def application(hall: StandIn) -> FastAPI:
    """The routes of the API that the console uses, and its pages."""
    app = FastAPI()

    @app.middleware("http")
    async def rim(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        hall.requests.append(request.url.path)
        if hall.refusing and request.url.path.startswith("/api"):
            return problem(503, "The store is not ready", detail="Try again shortly.")
        if hall.login and request.url.path.startswith("/api"):
            return HTMLResponse("<h1>Log in</h1>", 401 if hall.login == "refused" else 200)
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Cache-Control"] = "no-cache"
        return response

    @app.get("/api/v1/hall")
    async def get_hall() -> JSONResponse:
        return JSONResponse(deepcopy(hall.hall()))

    @app.get("/api/v1/alarms")
    async def get_alarms(state: str | None = None) -> Json:
        items = [alarm for alarm in hall.standing(hidden=state is not None) if state in {None, alarm["state"]}]
        return {"items": items, "total": len(items), "next_cursor": None}

    @app.get("/api/v1/transitions")
    async def transitions(limit: int, start: datetime, before: int = 2**62) -> Json:
        changes = [*hall.ended.values(), *(alarm["history"] for alarm in hall.alarms.values())]
        told = sorted((line for lines in changes for line in lines), key=lambda line: line["at"], reverse=True)
        items = [line | {"seq": len(told) - i} for i, line in enumerate(told) if line["at"] >= iso(start)]
        items = [line for line in items if line["seq"] < before]
        following = items[limit - 1]["seq"] if len(items) > limit else None
        return {"items": items[:limit], "next_cursor": following}

    @app.get("/api/v1/alarms/{alarm_id}/history")
    async def get_history(alarm_id: str) -> Response:
        history = hall.ended.get(alarm_id) or hall.alarms.get(alarm_id, {}).get("history")
        return JSONResponse(history) if history else problem(404, "Not found", detail=f"There is no alarm {alarm_id}.")

    @app.post("/api/v1/alarms/acknowledge")
    async def acknowledge_several(said: Several) -> Json:
        hall.posted.append({"verb": "several"} | said.model_dump(mode="json", exclude_unset=True))
        known = [one for one in said.ids or [] if one in hall.alarms and not hall.alarms[one]["acknowledged_by"]]
        for one in known:
            hall.acknowledge(one, said.by, said.comment)
        refused = [{"id": one, "detail": "It is over."} for one in said.ids or [] if one not in known]
        return {"done": len(known), "refused": refused}

    @app.get("/api/v1/alarms/kpis")
    async def kpis(start: datetime, end: datetime, operators: int) -> Json:
        return json.loads(report(hall.log(), start, end, operators).model_dump_json())

    @app.get("/api/v1/alarms/{alarm_id}")
    async def get_alarm(alarm_id: str) -> Response:
        alarm = hall.alarms.get(alarm_id)
        return JSONResponse(alarm) if alarm else problem(404, "Not found", detail=f"There is no alarm {alarm_id}.")

    @app.post("/api/v1/alarms/{alarm_id}/acknowledge")
    async def acknowledge(alarm_id: str, request: Request) -> Response:
        said = await request.json()
        hall.posted.append({"id": alarm_id} | said)
        alarm = hall.alarms.get(alarm_id)
        if said.keys() - {"by", "comment"} or not said.get("by"):
            return problem(422, "The request is not valid")
        if alarm is None:
            return problem(404, "Not found", detail=f"Alarm {alarm_id} is over.")
        if alarm["acknowledged_by"]:
            return problem(409, "Already acknowledged", alarm=listed(alarm))
        return JSONResponse(hall.acknowledge(alarm_id, said["by"], said.get("comment")))

    async def act(alarm_id: str, request: Request) -> Response:
        said, verb = await request.json(), request.url.path.rpartition("/")[2]
        hall.posted.append({"id": alarm_id, "verb": verb} | said)
        ACTS[verb].model_validate(said)
        if said["version"] != hall.alarms[alarm_id]["version"]:
            change = hall.alarms[alarm_id]["history"][-1]
            return problem(409, "Changed since", alarm=listed(hall.alarms[alarm_id]), changes=[change])
        words = said.get("reason") or said.get("comment") or ""
        more = {name: said[name] for name in ("to", "for_s") if name in said}
        return JSONResponse(hall.act(alarm_id, verb, said["by"], words, **more))

    for verb in ACTS:
        app.post(f"/api/v1/alarms/{{alarm_id}}/{verb}")(act)

    @app.get("/api/v1/readings")
    async def readings(
        start: datetime,
        end: datetime,
        point: Annotated[list[int] | None, Query()] = None,
        quantity: str | None = None,
        every: str = "10s",
        points_max: int | None = None,
    ) -> Response:
        if hall.gone & set(point or ()):
            return problem(404, "Not found", detail="There is no point of this number.")
        chosen = [(number, "H1-CDU-1", QUANTITY.get(number, "GenericPoint")) for number in point or ()]
        if quantity:
            chosen = [(i, rack["id"], quantity) for i, rack in enumerate(hall.racks.values())]
        step = (end - start).total_seconds() / points_max if points_max else int(every.removesuffix("s"))
        times = [start + timedelta(seconds=step * i) for i in range(int((end - start).total_seconds() // step))]
        onset = len(times) - max(2, int(180 / step))

        def series(number: int, asset: str, name: str) -> Json:
            fall = 3.06 / (len(times) - onset)
            values = [round(48.2 + 0.2 * wave(i + number) - max(0, i - onset) * fall, 2) for i in range(len(times))]
            kept = {
                "times": [iso(t) for t in times],
                "values": values,
                "qualities": [1 if 100 <= i < 106 else 0 for i in range(len(times))],
            }
            for rows in kept.values():
                del rows[30:60]  # what nobody measured has no entry
            if hall.silent_points:
                kept = {name: [] for name in kept}
            said = hall.names.get(number, "Supply − return")
            unit = "L" if number == 12 else "L/min"
            return {
                "point": number,
                "site": "demo",
                "asset": asset,
                "quantity": name,
                "name": said,
                "unit": unit,
            } | kept

        return JSONResponse(
            {
                "start": iso(start),
                "end": iso(end),
                "every_s": None if points_max else step,
                "how": None if points_max else "mean",
                "resolution": "raw",
                "kept_since": None,
                "series": [series(*one) for one in chosen],
            }
        )

    @app.get("/api/v1/readings/latest")
    async def latest(site: str, within: str, quantity: str) -> Json:
        items = assets.gpus(hall.racks[f"{site}/{within}"], quantity)
        return {"items": items, "total": len(items), "next_cursor": None}

    @app.get("/api/v1/assets/{asset_id}")
    async def asset(asset_id: str, site: str) -> Response:
        key = f"{site}/{asset_id}"
        known = hall.racks.get(key) or hall.cdus.get(key)
        if known is not None:
            number = [*hall.racks, *hall.cdus].index(key) + 1
            return JSONResponse(assets.detail(known, number))
        for i, rack in enumerate(hall.racks.values()):
            if asset_id in rack["feeds"]:
                return JSONResponse(assets.meter(rack, asset_id, 500_000 + 10 * i))
        return problem(404, "No such asset")

    def here(scope: str | None) -> list[Json] | None:
        return answers.racks_of(list(hall.racks.values()), scope)

    def nowhere(scope: str | None) -> JSONResponse:
        return problem(404, "Not found", detail=f"There is no {scope!r} here.")

    @app.get("/api/v1/gpus")
    async def gpus(
        scope: str | None = None, only: str | None = None, sort: str = "temperature_c", order: str = "desc",
        offset: int = 0, limit: int = 100,
    ) -> Response:  # fmt: skip
        racks = here(scope)
        if racks is None:
            return nowhere(scope)
        found = answers.page_of_gpus(racks, only=only, sort=sort, order=order, offset=offset, limit=limit)
        return JSONResponse(found)

    @app.get("/api/v1/power")
    async def power(scope: str | None = None) -> Response:
        racks = here(scope)
        return nowhere(scope) if racks is None else JSONResponse(answers.power(racks, hall.unrated))

    @app.get("/api/v1/power/racks")
    async def cords(feed: str, limit: int = 200) -> Response:
        racks = list(hall.racks.values())
        if feed not in {one["scope"] for one in answers.busways(racks)}:
            return nowhere(feed)
        return JSONResponse(answers.cords(racks, limit))

    @app.post("/api/v1/capacity/what-if")
    async def what_if(ask: WhatIfAsk) -> Response:
        racks = list(hall.racks.values())
        if not set(ask.lose) <= {one["scope"] for one in answers.busways(racks)}:
            return nowhere(ask.lose[0])
        return JSONResponse(answers.lost(racks, ask.lose))

    @app.get("/api/v1/exchangers/{asset_id}")
    async def exchanger(asset_id: str, site: str, start: datetime, end: datetime, every_s: int) -> Json:
        return answers.exchanger(hall.cdus[f"{site}/{asset_id}"], start, end, every_s)

    @app.get("/api/v1/efficiency")
    async def efficiency(scope: str, window: str) -> Response:
        return nowhere(scope) if here(scope) is None else JSONResponse(answers.period(scope, hall.figures))

    @app.get("/api/v1/cost")
    async def cost(scope: str, window: str) -> Response:
        return nowhere(scope) if here(scope) is None else JSONResponse(answers.period(scope, answers.COST))

    @app.get("/api/v1/ledger")
    async def ledger() -> Json:
        now = datetime.now(UTC)
        dsx = counts(hall.reasons, value=(4545, 4496, 40), metadata=(166, 166, 0))
        gpu = counts({}, value=(80, 80, 0))
        whole = counts(hall.reasons, value=(4625, 4576, 40), metadata=(166, 166, 0))
        whole["remarks"] = dsx["remarks"] = {"value_implausible": 2}
        bus = account(
            "bms",
            now,
            whole,
            {"dsx": dsx, "gpu": gpu, "": counts({})},
            messages=4711,
            last_received=iso(now - timedelta(seconds=1)),
            connected=True,
            pace={
                "batches": 60,
                "lag": {"p50_s": 0.4, "p99_s": 1.2, "max_s": 3.0},
                "ahead_s": 0.0,
                "durable": {"p50_s": 0.012, "p99_s": 0.051, "max_s": 0.08},
            },
        )
        silent = account("gpus", now, counts({}), {"gpu": counts({})}, faults={"connection_refused": 7})
        return {"items": [bus, silent], "store": hall.kept, "warnings": hall.warnings, "unwatched": 0}

    @app.get("/api/v1/ledger/{source}/rejects")
    async def rejects(source: str) -> list[Json]:
        reject = {
            "reason": "malformed_payload",
            "detail": f"no JSON from {source}",
            "kind": "unreadable",
            "received": iso(datetime.now(UTC)),
            "topic": "BMS/v1/PUB/Value/Rack/RackPower/x",
            "payload": '{"value": oops',
        }
        return [reject, reject | {"reason": "time_ahead", "detail": "2099"}]

    @app.get("/api/v1/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(hall.stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    @app.get("/")
    async def index() -> FileResponse:
        return FileResponse(PAGES / "index.html")

    app.include_router(library.router)
    app.mount("/console", StaticFiles(directory=PAGES))
    return app


class Served:
    """A stand-in behind a port of the loopback, in a thread of its own, for as long as the context lasts."""

    def __init__(self, hall: StandIn, port: int = 0) -> None:
        self.hall = hall
        self._socket = socket.create_server(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(application(hall), log_level="warning", timeout_graceful_shutdown=2, lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def __enter__(self) -> Served:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.should_exit = True
        self.hall.cut()
        self._thread.join(timeout=10)
        self._socket.close()


def main() -> None:
    """Serves a stand-in by hand: values move every second, a leak begins after twenty seconds and grows."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--racks", type=int, default=64)
    parser.add_argument("--rows", type=int, default=4)
    chosen = parser.parse_args()
    hall = StandIn(chosen.racks, chosen.rows, pulse_s=1.0)
    pause = threading.Event()
    with Served(hall, chosen.port) as served:
        print(served.url)
        for second in range(10**9):
            if pause.wait(1.0):
                break
            hall.breathe()
            if second >= 20:
                hall.leak(time_to_limit_s=max(60, 2460 - second))


if __name__ == "__main__":
    main()

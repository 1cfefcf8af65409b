"""A stand-in for NetBox: its lists over HTTP, in pages, for whoever has the token; and it can be told to misbehave."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "0123456789abcdef"


def ref(number: int, name: str) -> dict[str, Any]:
    return {"id": number, "name": name, "url": f"http://elsewhere.example/{number}", "display": name}


@dataclass
class StandIn:
    """What it has, by path, and how it behaves."""

    lists: dict[str, list[dict[str, Any]]]
    url: str = ""
    asked: list[str] = field(default_factory=list)
    page_max: int = 2
    """Answers are cut to this, whatever is asked for."""
    status: int = 200
    body: bytes | None = None
    """Said instead of anything."""
    shrinks: bool = False
    """A thing goes away after each page."""


def choice(value: str) -> dict[str, str]:
    return {"value": value, "label": value.title()}


def model(number: int, name: str) -> dict[str, Any]:
    """A type of device as it stands within a device: it has a model, and no name."""
    url = f"http://elsewhere.example/{number}"
    maker = ref(1, "Maker") | {"slug": "maker", "description": "", "devicetype_count": 2}
    return {
        "id": number, "url": url, "display": name, "manufacturer": maker, "model": name, "slug": name,
        "description": "", "device_count": 3,
    }  # fmt: skip


def role(slug: str) -> dict[str, Any]:
    """A role as it stands within a device."""
    return ref(7, slug.upper()) | {"slug": slug, "description": "", "device_count": 1, "virtualmachine_count": 0,
                                   "_depth": 0}  # fmt: skip


def whole(number: int, name: str, **more: Any) -> dict[str, Any]:
    """What every thing of NetBox has beside what we read."""
    common = {
        "display_url": f"http://elsewhere.example/ui/{number}", "description": "", "owner": None, "comments": "",
        "tags": [], "custom_fields": {}, "created": "2026-01-01T00:00:00Z", "last_updated": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    return ref(number, name) | common | more


def site() -> dict[str, list[dict[str, Any]]]:
    """A hall with a row, three racks of which one stands nowhere, a panel with two feeds to the first rack, a CDU. In
    the shape of NetBox 4.6's serializers: choices have labels, what stands within another is brief, heights and
    positions are decimals, a blank choice is null."""
    here = {"site": ref(1, "Titan") | {"slug": "titan", "description": ""}}
    placed = {"status": choice("active"), "tenant": None, "facility": ""}
    return {
        "dcim/sites/": [
            whole(1, "Titan", slug="titan", time_zone="Europe/Oslo", region=ref(5, "North") | {"slug": "north"},
                  group=None, physical_address="", latitude=None, asns=[], rack_count=3, **placed),
            whole(2, "Other", slug="other", time_zone=None, region=None, group=None, **placed),
        ],
        "dcim/locations/": [
            whole(10, "Hall 1", slug="hall-1", parent=None, _depth=0, **placed, **here),
            whole(11, "Row A", slug="row-a", parent=ref(10, "Hall 1") | {"_depth": 0}, _depth=1, **placed, **here),
            whole(12, "un/wanted", slug="unwanted", parent=None, _depth=0, **placed, **here),
        ],
        "dcim/racks/": [
            whole(number, name, location=location and ref(*location), u_height=height, starting_unit=1, role=None,
                  rack_type=None, width={"value": 19, "label": "19 inches"}, form_factor=None, airflow=None,
                  custom_fields=custom, **placed, **here)
            for number, name, location, height, custom in (
                (20, "r1", (11, "Row A"), 48, {"rated_kw": 132, "spot": 3, "bus_id": "Pod1-r1"}),
                (21, "r2", (11, "Row A"), 48, {"rated_kw": "many", "spot": None, "bus_id": ""}),
                (22, "spare", None, 42, {}),
            )
        ],
        "dcim/device-types/": [
            whole(30, "node", model="node", u_height=4.0, is_full_depth=True, exclude_from_utilization=False),
            whole(31, "switch", model="switch", u_height=1.0, is_full_depth=False, exclude_from_utilization=False),
            whole(32, "shelf", model="shelf", u_height=2.0, is_full_depth=False, exclude_from_utilization=True),
        ],
        "dcim/devices/": [
            *(whole(number, name, rack=ref(20, "r1"), location=ref(11, "Row A"), device_type=model(kind, "node"),
                    role=role("it"), position=position, face=face and choice(face), airflow=None, **placed, **here)
              for number, name, kind, position, face in (
                  (40, "n1", 30, 1.0, "front"), (41, "n2", 30, 5.0, "front"), (42, "s1", 31, None, None),
                  (44, "s2", 31, 10.0, "front"), (45, "s3", 31, 10.0, "rear"), (46, "s4", 31, 11.5, "rear"),
                  (47, "spare-parts", 32, 20.0, "front"),
              )),
            whole(43, "cdu-1", rack=None, location=ref(10, "Hall 1"), device_type=model(30, "node"),
                  role=role("cdu"), position=None, face=None, **placed, **here),
        ],
        "dcim/power-panels/": [whole(50, "panel-1", location=ref(10, "Hall 1"), powerfeed_count=2, **here)],
        "dcim/power-feeds/": [
            whole(60 + number, name, power_panel=ref(50, "panel-1") | {"description": "", "powerfeed_count": 2},
                  rack=ref(20, "r1") | {"description": "", "device_count": 7}, status=choice("active"),
                  type=choice(kind), supply=choice("ac"), phase=choice("three-phase"), voltage=415, amperage=250,
                  max_utilization=80, cable=None, link_peers=[], tenant=None, _occupied=False)
            for number, (name, kind) in enumerate((("r1-a", "primary"), ("r1-b", "redundant")))
        ],
    }  # fmt: skip


@contextmanager
def standing_in(lists: dict[str, list[dict[str, Any]]] | None = None, **how: Any) -> Iterator[StandIn]:
    """The stand-in while it runs, on any port of this machine."""
    box = StandIn(site() if lists is None else lists, **how)

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            box.asked.append(self.path)
            status, body = box.status, box.body
            if self.headers.get("Authorization") != f"Token {TOKEN}":
                status, body = 403, b'{"detail": "Invalid token"}'
            elif status == 200 and body is None:
                body = self._list(parts.path.removeprefix("/api/"), parse_qs(parts.query))
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "http://127.0.0.1:1/api/")
            self.end_headers()
            self.wfile.write(body or b"{}")

        def _list(self, path: str, query: dict[str, list[str]]) -> bytes:
            found = box.lists[path]
            if "slug" in query:
                found = [one for one in found if one["slug"] == query["slug"][0]]
            offset, limit = int(query["offset"][0]), min(int(query["limit"][0]), box.page_max)
            page = found[offset : offset + limit]
            answer = {"count": len(found), "next": "http://elsewhere.example/", "previous": None, "results": page}
            if box.shrinks and found:
                found.pop()
            return json.dumps(answer).encode()

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    box.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield box
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

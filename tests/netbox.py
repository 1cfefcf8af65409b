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


def site() -> dict[str, list[dict[str, Any]]]:
    """A hall with a row, three racks of which one stands nowhere, a panel with two feeds to the first rack, a CDU."""
    here = {"site": ref(1, "Titan")}
    return {
        "dcim/sites/": [
            {"id": 1, "name": "Titan", "slug": "titan", "time_zone": "Europe/Oslo", "region": ref(5, "North")},
            {"id": 2, "name": "Other", "slug": "other", "time_zone": None, "region": None},
        ],
        "dcim/locations/": [
            {"id": 10, "name": "Hall 1", "parent": None, **here},
            {"id": 11, "name": "Row A", "parent": ref(10, "Hall 1"), **here},
            {"id": 12, "name": "un/wanted", "parent": None, **here},
        ],
        "dcim/racks/": [
            {"id": 20, "name": "r1", "location": ref(11, "Row A"), "u_height": 48,
             "custom_fields": {"rated_kw": 132, "spot": 3, "bus_id": "Pod1-r1"}, **here},
            {"id": 21, "name": "r2", "location": ref(11, "Row A"), "u_height": 48,
             "custom_fields": {"rated_kw": "many", "spot": None, "bus_id": ""}, **here},
            {"id": 22, "name": "spare", "location": None, "u_height": 42, "custom_fields": {}, **here},
        ],
        "dcim/device-types/": [
            {"id": 30, "model": "node", "u_height": 4.0},
            {"id": 31, "model": "switch", "u_height": 1.0},
        ],
        "dcim/devices/": [
            *({"id": number, "name": name, "rack": ref(20, "r1"), "device_type": ref(kind, ""), "role": {"slug": "it"},
               "position": position, **here}
              for number, name, kind, position in ((40, "n1", 30, 1.0), (41, "n2", 30, 5.0), (42, "s1", 31, None))),
            {"id": 43, "name": "cdu-1", "rack": None, "location": ref(10, "Hall 1"), "device_type": ref(30, ""),
             "role": {"slug": "cdu"}, "position": None, **here},
        ],
        "dcim/power-panels/": [{"id": 50, "name": "panel-1", "location": ref(10, "Hall 1"), **here}],
        "dcim/power-feeds/": [
            {"id": 60 + number, "name": name, "power_panel": ref(50, "panel-1"), "rack": ref(20, "r1"),
             "type": {"value": kind}, "phase": {"value": "three-phase"}, "voltage": 415, "amperage": 250,
             "max_utilization": 80, "custom_fields": {}}
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

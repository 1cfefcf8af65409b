"""A stand-in for Grafana: the calls that are made of it, with what it says to each, over httpx's own transport. And the
real one that DCIM_TEST_GRAFANA_URL and _TOKEN name."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import httpx

from dashboards.grafana.build import bodies
from dashboards.grafana.client import GrafanaServer
from dashboards.grafana.sources import Places, sources
from dashboards.grafana.sync import carry_out, plan

REAL_URL = os.environ.get("DCIM_TEST_GRAFANA_URL", "")
REAL_TOKEN = os.environ.get("DCIM_TEST_GRAFANA_TOKEN", "")
WHY_NOT = "DCIM_TEST_GRAFANA_URL names no Grafana to test against"
TOKEN = "glsa_test"


def bring(places: Places, influx_token: str) -> None:
    """Brings the real one to what the boards are, with data sources that lead to these places."""

    async def run() -> None:
        server = GrafanaServer(REAL_URL, lambda: REAL_TOKEN)
        await carry_out(server, await plan(server, bodies(), sources(places), renew=True), influx_token)
        await server.close()

    asyncio.run(run())


class StandIn(httpx.AsyncBaseTransport):
    """Keeps folders, data sources, boards and annotations as Grafana 9.4 does. `fails`: answers for the next calls,
    (status, message), or an exception; None lets one through."""

    def __init__(self) -> None:
        self.folders: dict[str, dict[str, Any]] = {}
        self.sources: dict[str, dict[str, Any]] = {}
        self.secrets: dict[str, dict[str, str]] = {}
        self.boards: dict[str, dict[str, Any]] = {}
        self.annotations: dict[int, dict[str, Any]] = {}
        self.fails: list[tuple[int, str] | Exception | None] = []
        self.calls: list[str] = []
        self.provisioned = False

    @property
    def writes(self) -> list[str]:
        return [call for call in self.calls if not call.startswith("GET")]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api")
        self.calls.append(f"{request.method} {path}")
        if self.fails and (wrong := self.fails.pop(0)) is not None:
            if isinstance(wrong, Exception):
                raise wrong
            return _say(wrong[0], {"message": wrong[1]})
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _say(401, {"message": "Invalid API key"})
        body = json.loads(await request.aread() or b"null")
        return self._answer(request.method, path.strip("/").split("/"), body, dict(request.url.params))

    def _answer(self, method: str, path: list[str], body: Any, params: dict[str, str]) -> httpx.Response:
        match method, path:
            case "GET", ["folders", uid]:
                return _found(self.folders.get(uid), "folder not found")
            case "POST", ["folders"]:
                self.folders[body["uid"]] = body | {"version": 1}
                return _say(200, self.folders[body["uid"]])
            case "PUT", ["folders", uid]:
                if body["version"] != self.folders[uid]["version"]:
                    return _say(412, {"message": "the folder has been changed by someone else"})
                self.folders[uid] |= {"title": body["title"], "version": body["version"] + 1}
                return _say(200, self.folders[uid])
            case "GET", ["datasources", "uid", uid]:
                return _found(self.sources.get(uid), "Data source not found")
            case ("POST", ["datasources"]) | ("PUT", ["datasources", "uid", _]):
                secrets = body.pop("secureJsonData", {})
                self.secrets.setdefault(body["uid"], {}).update(secrets)
                self.sources[body["uid"]] = body | {"id": 7, "typeLogoUrl": "", "readOnly": self.provisioned}
                return _say(200, {"datasource": self.sources[body["uid"]], "message": "Datasource added"})
            case "GET", ["dashboards", "uid", uid]:
                board = self.boards.get(uid)
                meta = {"folderUid": "dcim", "provisioned": self.provisioned}
                return _found(board and {"dashboard": board, "meta": meta}, "Dashboard not found")
            case "POST", ["dashboards", "db"]:
                board = body["dashboard"]
                there = self.boards.get(board["uid"])
                if there and not body["overwrite"] and board.get("version") != there["version"]:
                    return _say(412, {"message": "The dashboard has been changed by someone else"})
                version = there["version"] + 1 if there else 1
                self.boards[board["uid"]] = board | {"id": 3, "version": version, "added": "by the server"}
                return _say(200, {"uid": board["uid"], "version": version, "status": "success"})
            case "POST", ["annotations"]:
                number = len(self.annotations) + 1
                self.annotations[number] = body | {"id": number}
                return _say(200, {"id": number, "message": "Annotation added"})
            case "PATCH", ["annotations", number]:
                self.annotations[int(number)] |= body
                return _say(200, {"message": "Annotation patched"})
            case "GET", ["annotations"]:
                return _say(200, [one for one in self.annotations.values() if params["tags"] in one["tags"]])
        return _say(404, {"message": "Not found"})


def _found(thing: Any, otherwise: str) -> httpx.Response:
    return _say(200, thing) if thing else _say(404, {"message": otherwise})


def _say(status: int, content: Any) -> httpx.Response:
    return httpx.Response(status, json=content)

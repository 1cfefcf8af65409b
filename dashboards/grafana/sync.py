"""Bringing a Grafana server to what the boards are: what differs, and putting it right.

Lives here: the comparison, the plan, its execution, each safe to repeat. Not here: requests (client.py), the boards.
What is compared is what we say: whatever a server adds of its own, or brings up to date, is no difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dashboards.grafana.client import GrafanaServer
from dashboards.grafana.look import Json
from dashboards.grafana.sources import FOLDER_TITLE, FOLDER_UID, with_secret
from dcim.core.errors import Permanent

DIFFERENCES_MAX: Final = 5
"""So many places of a difference are named."""
_OWN: Final = frozenset({"id", "version", "schemaVersion", "uid"})
"""Keys of a board that are the server's."""
_HIDDEN: Final = frozenset({"secureJsonData"})


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not as it should be. kind: "folder", "data source" or "board"."""

    kind: str
    uid: str
    title: str
    there: Json | None
    """As the server has it; None where it has none."""
    wanted: Json
    places: tuple[str, ...] = ()
    """Where the two differ."""

    def __str__(self) -> str:
        if self.there is None:
            return f"make {self.kind} {self.uid}: {self.title}"
        shown = ", ".join(self.places[:DIFFERENCES_MAX])
        more = len(self.places) - DIFFERENCES_MAX
        return f"change {self.kind} {self.uid}: {shown}" + (f" and {more} more" if more > 0 else "")


async def plan(
    server: GrafanaServer, boards: Mapping[str, Json], sources: Mapping[str, Json], *, renew: bool = False
) -> list[Change]:
    """What is to be done, in order; nothing where all is as it should be. renew: data sources are written in any case,
    for whether their secret is the right one no server says."""
    changes = []
    folder = await server.folder(FOLDER_UID)
    wanted: Json = {"title": FOLDER_TITLE}
    places = () if folder is None else tuple(differences(wanted, folder))
    if folder is None or places:
        changes.append(Change("folder", FOLDER_UID, FOLDER_TITLE, folder, wanted, places))
    for uid, source in sources.items():
        there = await server.source(uid)
        places = () if there is None else tuple(differences(source, there, _HIDDEN))
        if there is None or places or (renew and source["type"] == "influxdb"):
            changes.append(Change("data source", uid, str(source["name"]), there, source, places or ("its secret",)))
    for uid, board in boards.items():
        found = await server.board(uid)
        if found is None:
            changes.append(Change("board", uid, str(board["title"]), None, board))
            continue
        places = tuple(differences(board, found.get("dashboard"), _OWN))
        if found.get("meta", {}).get("folderUid", FOLDER_UID) != FOLDER_UID:
            places = ("its folder", *places)
        if places:
            changes.append(Change("board", uid, str(board["title"]), found, board, places))
    return changes


async def carry_out(server: GrafanaServer, changes: list[Change], token: str | None) -> None:
    """Does what was planned. token: of InfluxDB, for data sources; without one those that are new cannot be made, and
    the others keep theirs. Raises Permanent before anything is done, where it could not be done whole."""
    for change in changes:
        if change.kind == "data source" and change.wanted["type"] == "influxdb" and change.there is None and not token:
            raise Permanent(
                f"{change} needs InfluxDB's token", where=server.url, todo="Name its file with --influx-token-file"
            )
        if change.kind == "data source" and change.there is not None and change.there.get("readOnly"):
            raise Permanent(
                f"{change}: it is provisioned from a file there", where=server.url, todo="Change that file instead"
            )
        if change.kind == "board" and change.there is not None and change.there.get("meta", {}).get("provisioned"):
            raise Permanent(
                f"{change}: it is provisioned from a file there", where=server.url, todo="Change that file instead"
            )
    for change in changes:
        if change.kind == "folder":
            await _put_folder(server, change)
        elif change.kind == "data source":
            body = with_secret(change.wanted, token)
            if change.there is None:
                await server.make_source(body)
            else:
                await server.change_source(change.uid, body)
        else:
            await server.put_board(_board(change), FOLDER_UID, "dcim grafana sync")


async def _put_folder(server: GrafanaServer, change: Change) -> None:
    if change.there is None:
        await server.make_folder(change.uid, change.title)
    else:
        await server.change_folder(change.uid, change.title, int(change.there.get("version", 0)))


def _board(change: Change) -> Json:
    """The board on top of the version that it was compared with, so that nobody's later change is lost unseen."""
    if change.there is None:
        return change.wanted
    there = change.there.get("dashboard", {})
    return change.wanted | {"id": there.get("id"), "version": there.get("version", 0)}


def differences(ours: Any, theirs: Any, ignored: frozenset[str] = frozenset(), path: str = "") -> Iterator[str]:
    """Where theirs is not what ours says, as paths; what theirs says beyond that does not count. None and a missing key
    are the same, and so are a whole number and its float.

    >>> list(differences({"a": 1, "b": [{"c": 2}]}, {"a": 1.0, "b": [{"c": 3}], "d": 4}))
    ['b[0].c']
    """
    if isinstance(ours, dict):
        if not isinstance(theirs, dict):
            yield path or "all of it"
            return
        for key, value in ours.items():
            if path or key not in ignored:
                yield from differences(value, theirs.get(key), ignored, f"{path}.{key}" if path else key)
    elif isinstance(ours, list):
        if not isinstance(theirs, list) or len(ours) != len(theirs):
            yield path
            return
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(one, other, ignored, f"{path}[{index}]")
    elif ours != theirs:
        yield path

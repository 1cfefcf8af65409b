"""The rim to a Grafana server: the few calls that are needed, and what its answers mean in plain words.

Lives here: requests, bounds, and `translate`, the one place that gives errors of httpx and of the server their family.
Not here: what is put there (sync.py), when (the caller)."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from dashboards.grafana.look import Json
from dcim.core.errors import DcimError, Permanent, Transient

ANSWER_S: Final = 20.0
"""From the first byte to the last, a call takes no longer."""
ANSWER_BYTES_MAX: Final = 8 * 2**20
"""A longer answer is refused: no board of ours is a tenth of it."""

CALLS: Final = (
    ("GET", "/folders/{folder_uid}"),
    ("POST", "/folders"),
    ("PUT", "/folders/{folder_uid}"),
    ("GET", "/datasources/uid/{uid}"),
    ("POST", "/datasources"),
    ("PUT", "/datasources/uid/{uid}"),
    ("GET", "/dashboards/uid/{uid}"),
    ("POST", "/dashboards/db"),
    ("GET", "/annotations"),
    ("POST", "/annotations"),
    ("PATCH", "/annotations/{annotation_id}"),
)
"""Every call that is made, in the words of Grafana's own description of its API."""


class Answered(Exception):  # noqa: N818  it is what the server answered, and `translate` says what that means
    """An answer that is no success."""

    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message
        super().__init__(f"{status} {message}")


FOREIGN: Final = (Answered, httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError, ValueError, RecursionError)
"""Everything that httpx, its transport and the server's answers raise."""


class GrafanaServer:
    """One server. To be used in one event loop. Every call raises what `translate` makes of errors, and nothing
    else."""

    def __init__(
        self,
        url: str,
        token: Callable[[], str],
        ca_file: Path | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """url: http://host:port, with a path where it is served below one. token: reads that of a service account;
        asked for each call, so that it can be changed. ca_file: authorities that the server must be signed by; the
        system's when None. transport: for tests. Raises Permanent where the authorities cannot be used."""
        self.url, self._token = url.rstrip("/"), token
        try:
            trust = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise Permanent(f"the authorities cannot be used: {error}", where=str(ca_file)) from error
        self._client = httpx.AsyncClient(
            verify=trust, timeout=ANSWER_S, follow_redirects=False, trust_env=False, transport=transport
        )

    async def close(self) -> None:
        """Closes its connections."""
        await self._client.aclose()

    async def folder(self, uid: str) -> Json | None:
        """The folder, or None where there is none."""
        return await self._found("GET", f"/folders/{uid}")

    async def make_folder(self, uid: str, title: str) -> None:
        """Makes a folder."""
        await self._ask("POST", "/folders", {"uid": uid, "title": title})

    async def change_folder(self, uid: str, title: str, version: int) -> None:
        """Gives the folder another title, if it is still of that version."""
        await self._ask("PUT", f"/folders/{uid}", {"title": title, "version": version})

    async def source(self, uid: str) -> Json | None:
        """The data source without its secrets, or None where there is none."""
        return await self._found("GET", f"/datasources/uid/{uid}")

    async def make_source(self, body: Json) -> None:
        """Makes a data source."""
        await self._ask("POST", "/datasources", body)

    async def change_source(self, uid: str, body: Json) -> None:
        """Makes the data source so; secrets that are not said stay."""
        await self._ask("PUT", f"/datasources/uid/{uid}", body)

    async def board(self, uid: str) -> Json | None:
        """{"dashboard": …, "meta": …}, or None where there is none."""
        return await self._found("GET", f"/dashboards/uid/{uid}")

    async def put_board(self, board: Json, folder_uid: str, message: str) -> None:
        """Makes a board, or makes it so, if it is still of the `version` that it says. message: for its history."""
        body = {"dashboard": board, "folderUid": folder_uid, "message": message, "overwrite": False}
        await self._ask("POST", "/dashboards/db", body)

    async def annotate(self, body: Json) -> int:
        """Makes an annotation; its number."""
        answer = await self._ask("POST", "/annotations", body)
        try:
            return int(answer["id"])
        except (KeyError, TypeError, ValueError) as error:
            raise _no_grafana(self.url) from error

    async def change_annotation(self, number: int, body: Json) -> None:
        """Changes what is said of it."""
        await self._ask("PATCH", f"/annotations/{number}", body)

    async def annotations(self, tag: str, limit: int) -> list[Json]:
        """Those that have this tag, newest first."""
        answer = await self._ask("GET", "/annotations", params={"tags": tag, "type": "annotation", "limit": str(limit)})
        if not isinstance(answer, list):
            raise _no_grafana(self.url)
        return [item for item in answer if isinstance(item, dict)]

    async def _found(self, method: str, path: str) -> Json | None:
        try:
            answer = await self._ask(method, path)
        except Permanent as error:
            if isinstance(error.__cause__, Answered) and error.__cause__.status == 404 and error.__cause__.message:
                return None
            raise
        if not isinstance(answer, dict):
            raise _no_grafana(self.url)
        return answer

    async def _ask(
        self, method: str, path: str, body: Json | None = None, params: Mapping[str, str] | None = None
    ) -> Any:
        headers = {"Authorization": f"Bearer {self._token()}", "Accept": "application/json", "User-Agent": "dcim"}
        try:
            async with (
                asyncio.timeout(ANSWER_S),
                self._client.stream(
                    method, f"{self.url}/api{path}", json=body, params=params, headers=headers
                ) as answer,
            ):
                said = b""
                async for piece in answer.aiter_bytes():
                    said += piece
                    if len(said) > ANSWER_BYTES_MAX:
                        raise Permanent(
                            f"the answer is longer than {ANSWER_BYTES_MAX >> 20} MiB",
                            where=self.url,
                            todo="Check --url",
                        )
            if not answer.is_success:
                raise Answered(answer.status_code, _message(said))
            return json.loads(said)
        except FOREIGN as error:
            raise translate(error, self.url, f"{method} {path}") from error


def translate(error: BaseException, url: str, call: str = "") -> DcimError:
    """An error of FOREIGN in our families and words. call: what was asked."""
    if isinstance(error, Answered):
        return _translate_answer(error, url, call)
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return Transient("it does not answer in time", where=url, todo="See what keeps it busy, and try again")
    if isinstance(error, httpx.ConnectError):
        if isinstance(error.__cause__, Exception) and "certificate" in str(error).lower():
            return Permanent(
                f"its certificate is not trusted: {_line(str(error))}", where=url, todo="Name its authority"
            )
        return Transient(f"it cannot be reached: {_line(str(error))}", where=url, todo="Start it, or check the address")
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return Permanent(f"this is no address: {_line(str(error))}", where=url, todo='Write "http://host:3000"')
    if isinstance(error, ValueError | RecursionError):
        return _no_grafana(url)
    return Transient(f"the connection broke: {_line(f'{type(error).__name__}: {error}')}", where=url, todo="Try again")


def _translate_answer(answer: Answered, url: str, call: str) -> DcimError:
    status, told = answer.status, answer.message or "no word of why"
    if status in _HELPS:
        what, todo = _HELPS[status]
        return Permanent(f"{what} ({call}: {told})", where=url, todo=todo)
    if status in {408, 425, 429} or status >= 500:
        return Transient(f"it answers {status} to {call}: {told}", where=url, todo="See its log, and try again")
    if 300 <= status < 400:
        return Permanent(f"it sends us elsewhere ({status})", where=url, todo="Give the address that it sends to")
    return Permanent(f"it answers {status} to {call}: {told}", where=url, todo="See its log")


_HELPS: Final[Mapping[int, tuple[str, str]]] = {
    401: ("it does not know the token", "Make a token for a service account there, and put it into the token's file"),
    403: (
        "the token may not do that",
        "Give the service account the role Admin, or Editor where data sources are provisioned from files",
    ),
    404: ("there is nothing of that kind", "Check the address: it should be Grafana 9.4 or newer that answers there"),
    409: ("something else has that name", "Rename or remove it there"),
    412: (
        "somebody else has changed it at the same time, or something else has that name",
        "Look at it there, and run this again",
    ),
}
"""Status → what that means, and what helps."""


def _no_grafana(url: str) -> Permanent:
    return Permanent(
        "it does not answer as Grafana does", where=url, todo="Check the address: no proxy, no other program"
    )


def _message(said: bytes) -> str:
    """What Grafana says of an error; "" where it is not Grafana that speaks."""
    try:
        told = json.loads(said)
    except (ValueError, RecursionError):
        return ""
    message = told.get("message") if isinstance(told, dict) else None
    return _line(message) if isinstance(message, str) else ""


def _line(text: str) -> str:
    """The beginning of a foreign text on one line."""
    return " ".join(text[:2_000].split())[:300]

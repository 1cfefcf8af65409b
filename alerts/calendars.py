"""Calendars of who is on call, while the service runs: fetched every few minutes, the last good copy kept on disk.

Lives here: where a calendar comes from (a file, or an address over HTTP), how long and how large it may be, whether an
address within the house may be called, and the translation of what goes wrong. Not here: what it says (icalendar.py),
whom that means (duty.py)."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar, TypeVarTuple
from zoneinfo import ZoneInfo

import httpx
import structlog

from alerts import icalendar
from alerts.duty import Known, Rota, on_call
from alerts.icalendar import BYTES_MAX
from alerts.notify.post import kept, without
from alerts.recurrence import Unreadable
from alerts.routing import OnCall
from dcim.core.errors import DcimError, Permanent, Transient
from dcim.core.times import from_us

log = structlog.get_logger()

FETCH_S = 10.0
"""From the first byte to the last, a calendar takes no longer."""

# Threads of their own: a resolver or a disk that hangs must not hold up the store, which uses the loop's.
_THREADS = ThreadPoolExecutor(2, "calendars")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Fetch: TypeAlias = Callable[[], Awaitable[bytes]]
"""The calendar as it is now. Raises Transient or Permanent."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A calendar, and how it is kept."""

    rota: Rota
    fetch: Fetch
    floating: ZoneInfo
    """Whose clocks a time without a zone is by."""
    every: timedelta
    """So often it is fetched."""
    copy: Path | None
    """Where its last good copy is kept; None: nowhere."""


class Calendars:
    """All calendars of a service. `alerts.routing.Duty` is `on_call`."""

    def __init__(self, watched: Sequence[Watched], clock: Callable[[], datetime]) -> None:
        self._watched = {each.rota.name: each for each in watched}
        self._known = {each.rota.name: Known() for each in watched}
        self._clock = clock

    @property
    def known(self) -> Mapping[str, Known]:
        """What is known of each, by its name."""
        return self._known

    @property
    def rotas(self) -> Sequence[Rota]:
        """All of them."""
        return [each.rota for each in self._watched.values()]

    def on_call(self, name: str, at: datetime) -> OnCall:
        """Who is told by a calendar at an instant. Answered from memory. Raises KeyError for one that there is not."""
        return on_call(self._watched[name].rota, self._known[name], at)

    async def open(self) -> None:
        """Takes up the copies of an earlier run, and reads everything once. A calendar that cannot be read fails
        nothing: it is said, and whoever is told is told so."""
        for each in self._watched.values():
            await self._take_up(each)
        await asyncio.gather(*(self.look(name) for name in self._watched))

    async def run(self) -> None:
        """Reads each calendar again and again, until cancelled."""
        if self._watched:
            async with asyncio.TaskGroup() as group:
                for name in self._watched:
                    group.create_task(self._keep(name), name=f"calendar {name}")

    async def look(self, name: str) -> None:
        """Reads one calendar now."""
        watched = self._watched[name]
        try:
            data, calendar = await fetched(watched)
        except DcimError as error:
            if self._known[name].failing != str(error):
                log.error("a calendar cannot be read; the last copy stays in force", calendar=name, told=str(error))
            self._known[name] = replace(self._known[name], failing=str(error))
            return
        before = self._known[name]
        if before.failing or before.calendar is None:
            log.info("a calendar was read", calendar=name, events=len(calendar.events), left_out=calendar.left_out)
        if calendar.problems and (before.calendar is None or before.calendar.problems != calendar.problems):
            log.warning("events of a calendar were not understood", calendar=name, told="; ".join(calendar.problems))
        self._known[name] = Known(calendar, self._clock())
        if watched.copy is not None:
            try:
                await _apart(_write, watched.copy, data)
            except OSError as error:
                log.error("a calendar's copy was not kept", calendar=name, told=str(error))

    async def _keep(self, name: str) -> None:
        while True:
            await asyncio.sleep(self._watched[name].every.total_seconds())
            await self.look(name)

    async def _take_up(self, watched: Watched) -> None:
        copy = watched.copy
        if copy is None or not await _apart(copy.is_file):
            return
        try:
            data, written_us = await _apart(_copied, copy)
            calendar = await _apart(_read, data, watched)
        except DcimError as error:
            log.error("a calendar's copy cannot be read", calendar=watched.rota.name, told=str(error))
            return
        self._known[watched.rota.name] = Known(calendar, from_us(written_us), "it was not read since the start")


async def fetched(watched: Watched) -> tuple[bytes, icalendar.Calendar]:
    """A calendar as it is now, and what is understood of it. Raises Transient and Permanent."""
    data = await watched.fetch()
    return data, await _apart(_read, data, watched)


def of_file(file: Path) -> Fetch:
    """A calendar that lies in a file."""

    async def fetch() -> bytes:
        return await _apart(_bytes_of, file)

    return fetch


def of_address(
    address: Callable[[], str],
    *,
    private: bool,
    ca: ssl.SSLContext | None = None,
    resolve: Callable[[str, int], Awaitable[Sequence[str]]] | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Fetch:
    """A calendar that lies at an http:// or https:// address, which may be a secret; read anew each time.

    private: whether it may lie at an address that the world does not reach: of this machine, this network, or a cloud's
    own services. It is called at the addresses that were looked at, so a name that answers otherwise the second time
    leads nowhere. Redirects are not followed. resolve, transport: for tests.
    """
    resolving = resolve or _resolve

    async def fetch() -> bytes:
        url = kept(address)
        try:
            told = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise Permanent("has an address that is none", where="calendar") from error
        where = f"calendar at {told.host}"
        secrets = [url, told.raw_path.decode("ascii")] if len(told.raw_path) > 1 else [url]
        try:
            async with asyncio.timeout(FETCH_S):
                reached = await resolving(told.host, told.port or (443 if told.scheme == "https" else 80))
                if not private:
                    _check_public(reached, where)
                return await _get(told, reached[0], where, ca, transport)
        except TimeoutError as error:
            raise Transient(f"no answer in {FETCH_S:g} s", where=where) from error
        except OSError as error:
            raise Transient(f"cannot be reached: {without(str(error), secrets)}", where=where) from error
        except httpx.HTTPError as error:
            raise Transient(f"{type(error).__name__}: {without(str(error), secrets)}", where=where) from error

    return fetch


async def _get(
    url: httpx.URL, address: str, where: str, ca: ssl.SSLContext | None, transport: httpx.AsyncBaseTransport | None
) -> bytes:
    """The body at an address of the URL's host. The certificate must be the host's all the same."""
    async with (
        httpx.AsyncClient(
            verify=ca or ssl.create_default_context(),
            timeout=FETCH_S,
            follow_redirects=False,
            trust_env=False,
            transport=transport,
        ) as client,
        client.stream(
            "GET",
            url.copy_with(host=address),
            headers={
                "Host": url.netloc.decode("ascii"),
                "User-Agent": "dcim",
                "Accept": "text/calendar",
                "Accept-Encoding": "identity",  # what is unpacked could be of any size
            },
            extensions={"sni_hostname": url.host},
        ) as answer,
    ):
        if answer.status_code != 200:
            family = Transient if answer.status_code >= 500 or answer.status_code in (408, 425, 429) else Permanent
            raise family(f"answered {answer.status_code}", where=where)
        data = bytearray()
        async for piece in answer.aiter_raw():
            data += piece
            if len(data) > BYTES_MAX:
                raise Permanent(f"has more than {BYTES_MAX} bytes", where=where)
        return bytes(data)


def _check_public(addresses: Sequence[str], where: str) -> None:
    for address in addresses:
        told = ipaddress.ip_address(address.partition("%")[0])
        inner = getattr(told, "ipv4_mapped", None) or told
        if not inner.is_global or inner.is_multicast:
            raise Permanent(
                "lies at an address that the world does not reach",
                where=where,
                todo="Set private_addresses = true where that is meant.",
            )


async def _apart(call: Callable[[*Ts], T], *args: *Ts) -> T:
    return await asyncio.get_running_loop().run_in_executor(_THREADS, call, *args)


async def _resolve(host: str, port: int) -> Sequence[str]:
    found = await _apart(partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM))
    return [str(each[4][0]) for each in found]


def _read(data: bytes, watched: Watched) -> icalendar.Calendar:
    try:
        return icalendar.read(data, watched.floating)
    except Unreadable as error:
        raise Permanent(str(error), where=f"calendar {watched.rota.name}") from error


def _bytes_of(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(BYTES_MAX + 1)
    except OSError as error:
        raise Transient(f"cannot be read: {error.strerror}", where=f"calendar {file}") from error
    if len(data) > BYTES_MAX:
        raise Permanent(f"has more than {BYTES_MAX} bytes", where=f"calendar {file}")
    return data


def _copied(copy: Path) -> tuple[bytes, int]:
    data = _bytes_of(copy)
    try:
        return data, copy.stat().st_mtime_ns // 1_000
    except OSError as error:
        raise Transient(f"cannot be read: {error.strerror}", where=f"calendar {copy}") from error


def _write(copy: Path, data: bytes) -> None:
    """Puts the copy in its place whole, for nobody but us to read: it names people."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    fresh = copy.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
    fresh.replace(copy)

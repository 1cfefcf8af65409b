"""A stand-in for InfluxDB 2 that fails as it is told: what a real server does once a year, a test needs every time.

It takes lines as InfluxDB does (an equal instant of a series overwrites, field by field), answers the questions that
the store asks about presence and raw readings, and nothing else of Flux. What a real server answers is held against
this one in test_influx_server.py."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any

from dcim.core.times import from_us, to_us

Lines = list[str]


@dataclass(frozen=True)
class Answer:
    """What a write is answered with. take: the lines are written all the same."""

    status: int = 204
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    take: bool = False


_FIELD = re.compile(r'([^,="]+)=("(?:\\.|[^"\\])*"|[^,]*)')

TAKE = Answer(take=True)
BREAK = Answer(0)
"""Takes nothing, and closes the connection."""
BREAK_LATE = Answer(0, take=True)
"""Takes the lines, and closes the connection without an answer."""
HANG = Answer(-1)
"""Never answers."""
HANG_LATE = Answer(-1, take=True)


def told(status: int, code: str, message: str, **headers: str) -> Answer:
    """An answer as InfluxDB words it."""
    body = json.dumps({"code": code, "message": message}).encode()
    return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


UNAVAILABLE = told(503, "unavailable", "try again")
INTERNAL = told(500, "internal error", "unexpected error writing points to database: timeout")


class InfluxFaults:
    """One server on a free port, in a thread of its own.

    schedule: what the write with this number (from 0 on) and these lines is answered with, before anything else is
    looked at; None for nothing special. malformed, conflict: whether a line cannot be read, or is of another type.
    lines_max: more at once are too many.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.schedule: Callable[[int, Lines], Answer | None] = lambda number, lines: None
        self.malformed: Callable[[str], bool] = lambda line: False
        self.conflict: Callable[[str], bool] = lambda line: False
        self.lines_max = 1_000_000
        self.token = "secret"
        self.writes = 0
        self.order: Lines = []
        """Lines in the order in which they were first taken."""
        self.rows: dict[tuple[str, int], dict[str, str]] = {}
        """(measurement and tags, time) → fields."""
        self.changed: Lines = []
        """Lines that gave a field another value than it had."""
        self.questions: list[str] = []
        self.port = 0
        self._tls = tls
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    def __enter__(self) -> InfluxFaults:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Listens, on the port that it had before."""
        listening = socket.create_server(("127.0.0.1", self.port))
        self.port = listening.getsockname()[1]
        ready = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._serve(listening, ready)), daemon=True)
        self._thread.start()
        assert ready.wait(10)

    def stop(self) -> None:
        """Is gone; what it has stays."""
        loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(self._end.set)
            self._thread.join(10)

    def has(self, point: str) -> dict[int, dict[str, str]]:
        """What it has of a point, by time in microseconds."""
        with self._lock:
            return {time: dict(fields) for (head, time), fields in self.rows.items() if f"point={point}" in head}

    async def _serve(self, listening: socket.socket, ready: Event) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        connections: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            try:
                while await self._request(reader, writer):
                    pass
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass  # the client went, or we are being stopped
            finally:
                connections.discard(task)
                writer.close()

        server = await asyncio.start_server(serve, sock=listening, ssl=self._tls)
        ready.set()
        await self._end.wait()
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        answer = self._answer(method, path, headers, body)
        if answer.status < 0:
            await self._end.wait()
        if answer.status <= 0:
            return False
        told_headers = {"Content-Length": str(len(answer.body)), "Content-Type": "application/json", **answer.headers}
        lines = [f"HTTP/1.1 {answer.status} X", *(f"{name}: {value}" for name, value in told_headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode() + answer.body)
        await writer.drain()
        return True

    def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if headers.get("authorization") != f"Token {self.token}":
            return told(401, "unauthorized", "unauthorized access")
        if method == "POST" and path.startswith("/api/v2/write?"):
            assert "precision=us" in path
            lines = gzip.decompress(body).decode().split("\n")[:-1]
            return self._write(lines)
        if method == "POST" and path.startswith("/api/v2/query?"):
            return Answer(200, self._query(json.loads(body)["query"]))
        return told(404, "not found", "path not found")

    def _write(self, lines: Lines) -> Answer:
        with self._lock:
            number, self.writes = self.writes, self.writes + 1
            answer = self.schedule(number, lines)
            if answer is not None and not answer.take:
                return answer
            if len(lines) > self.lines_max:
                return told(413, "request too large", "unable to read data: points batch is too large")
            bad = [line for line in lines if self.malformed(line)]
            if bad:
                return told(400, "invalid", f"unable to parse '{bad[0]}': missing field value")
            dropped = [line for line in lines if self.conflict(line)]
            for line in lines:
                if line not in dropped:
                    self._take(line)
            if dropped:
                message = (
                    "failure writing points to database: partial write: field type conflict: input field "
                    f'"value" on measurement "asset" is type float, already exists as type integer '
                    f"dropped={len(dropped)}"
                )
                return told(422, "unprocessable entity", message)
            return answer or TAKE

    def _take(self, line: str) -> None:
        head, rest = re.split(r"(?<!\\) ", line, maxsplit=1)
        fields, _, time = rest.rpartition(" ")
        given = dict(_FIELD.findall(fields))
        there = self.rows.setdefault((head, int(time)), {})
        if any(there.get(name, value) != value for name, value in given.items()):
            self.changed.append(line)
        if not there:
            self.order.append(line)
        there.update(given)

    def _query(self, flux: str) -> bytes:
        self.questions.append(flux)
        found = re.search(r"range\(start: (\S+), stop: (\S+)\)", flux)
        assert found is not None
        start, stop = (_us(found[1]), _us(found[2]))
        points = set(re.findall(r'r\.point == "([^"]+)"', flux))
        with self._lock:
            rows = [
                (re.search(r"point=([^,]+)", head)[1], time, dict(fields))  # type: ignore[index]
                for (head, time), fields in sorted(self.rows.items())
                if start <= time < stop and ",point=" in head  # facts for boards have none, and are no readings
            ]
        rows = [row for row in rows if not points or row[0] in points]
        if 'name: "value"' not in flux:
            return _csv("", [(point, time, "") for point, time, _ in rows])
        assert "window" not in flux, "only raw readings can be asked for here"
        assert not re.search(r'from\(bucket: "[^"]*_1[mh]"\)', flux), "there are no tiers here"
        values = [(p, t, value) for p, t, fields in rows for name, value in fields.items() if name != "quality"]
        qualities = [(p, t, fields["quality"].rstrip("i")) for p, t, fields in rows if "quality" in fields]
        return _csv("value", values) + _csv("quality", qualities)


def _csv(column: str, rows: list[Any]) -> bytes:
    if not rows:
        return b"\r\n"
    head = f",result,table,_time,point{',' * bool(column)}{column}"
    lines = [f",,0,{_text(time)},{point}{',' * bool(column)}{value}" for point, time, value in rows]
    return "\r\n".join([head, *lines, "", ""]).encode()


def _us(text: str) -> int:
    return to_us(datetime.fromisoformat(text))


def _text(us: int) -> str:
    return from_us(us).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

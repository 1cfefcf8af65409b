"""What HTTP asks of any server: HEAD, and heads of requests that have no end."""

from __future__ import annotations

import asyncio

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from dcim.app.requests import HEAD_BYTES_MAX, Requests
from tests.contract.inside import Inside, inside, rack_metadata


@pytest.mark.slow
def test_head_says_what_get_would_without_a_body() -> None:
    async def scenario(hall: Inside) -> None:
        await hall.send(*(rack_metadata("RackPower", rack=f"R{n:02}", engUnit="kW") for n in range(25)))
        await hall.until(lambda: hall.get("/api/v1/sites"))
        kept = "/api/v1/utilization?scope=site/titan&resource=space&group_by=rack"
        for path in (kept, "/api/v1/assets", "/healthz", "/metrics", "/console/console.css", "/"):
            whole = await hall.client.get(path)
            head = await hall.client.head(path)
            assert (head.status_code, head.content) == (200, b""), path
            if path != "/metrics":
                assert head.headers["content-length"] == whole.headers["content-length"], path
            assert head.headers.keys() == whole.headers.keys(), path
        known = {"if-none-match": (await hall.client.head(kept)).headers["etag"]}
        assert (await hall.client.head(kept, headers=known)).status_code == 304
        assert (await hall.client.head("/api/v1/assets/titan/nowhere")).status_code == 404

    inside(scenario)


@pytest.mark.slow
def test_head_of_the_stream_has_an_end_and_leaves_no_listener() -> None:
    async def scenario(hall: Inside) -> None:
        head = await hall.client.head("/api/v1/stream")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"].startswith("text/event-stream")

        async def gone() -> bool:
            return not len(hall.service.context.hub)

        await hall.until(gone)

    inside(scenario)


class Wire(asyncio.Transport):
    """A connection that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.closed = b"", False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def hello(_: Scope, __: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


async def fed(first: bytes, *more: bytes) -> Wire:
    """A connection to which these pieces came, each after what the one before brought about."""
    wire = Wire()
    connection = Requests(uvicorn.Config(hello, lifespan="off", log_config=None), ServerState(), {})
    connection.connection_made(wire)
    for piece in (first, *more):
        if wire.closed:
            break
        connection.data_received(piece)
        while connection.tasks:
            await asyncio.gather(*connection.tasks)
    connection.timeout_keep_alive_handler()
    return wire


ENDLESS = {
    "a line": (b"GET /", b"a" * 8_192),
    "one header": (b"GET / HTTP/1.1\r\nX-Long: ", b"a" * 8_192),
    "headers": (b"GET / HTTP/1.1\r\n", b"X-Short: a\r\n" * 700),
    "the head of a second request": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n", b"X-Short: a\r\n" * 700),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_a_head_without_end_is_refused(what: str) -> None:
    first, more = ENDLESS[what]
    enough = HEAD_BYTES_MAX // len(more) + 1
    wire = asyncio.run(fed(first, *[more] * (enough - 1)))
    assert b"400" not in wire.written
    wire = asyncio.run(fed(first, *[more] * enough))
    assert wire.written.split(b"HTTP/1.1 ")[-1].startswith(b"400 Bad Request")
    assert wire.written.endswith(b"Line and headers of a request are 65536 bytes at most.")
    assert wire.closed


def test_heads_of_one_connection_are_not_added_up() -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"a" * 30_000 + b"\r\n\r\n"
    pieces = [request[start : start + 8_192] for start in range(0, len(request), 8_192)]
    wire = asyncio.run(fed(*pieces * 5))
    assert wire.written.count(b"HTTP/1.1 200") == 5


@pytest.mark.slow
def test_a_long_head_and_a_long_body_behind_it_are_taken() -> None:
    async def scenario(hall: Inside) -> None:
        long = {"X-Long": "a" * (HEAD_BYTES_MAX - 2_000), "Content-Type": "application/json"}
        assert (await hall.client.get("/healthz", headers=long)).status_code == 200
        body = b" " * (2 * HEAD_BYTES_MAX)
        answer = await hall.client.post("/alertmanager/api/v2/alerts", content=body + b"[]", headers=long)
        assert answer.status_code == 200, answer.text

    inside(scenario)

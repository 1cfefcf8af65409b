"""Every error of the InfluxDB client, of its transport and of the server has its translation, and what people meet has
words of its own. Only what is known to be about a single line is for good."""

from __future__ import annotations

import inspect
import json
import ssl
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from influxdb_client.client import exceptions
from influxdb_client.rest import ApiException

from dcim.core.errors import DcimError, Permanent, Transient
from dcim.store.influx_client import (
    FOREIGN,
    RETRY_AFTER_S_MAX,
    Answered,
    Dropped,
    Malformed,
    TooLarge,
    Unavailable,
    raise_told_within,
    translate,
)

URL = "http://influx.titan.example:8086"
TRANSPORT = sorted(
    {kind for _, kind in inspect.getmembers(aiohttp, inspect.isclass) if issubclass(kind, aiohttp.ClientError)},
    key=lambda kind: kind.__name__,
)


def made(kind: type[BaseException]) -> BaseException:
    """An error as the transport raises it, without going through its many constructors."""
    error = kind.__new__(kind)
    key = SimpleNamespace(host="influx.titan.example", port=8086, ssl=True, is_ssl=True)
    error.args = (key, OSError(111, "Connection refused"))
    for name, value in {
        "_conn_key": key,
        "_os_error": OSError(111, "Connection refused"),
        "strerror": "refused",
    }.items():
        try:
            setattr(error, name, value)
        except AttributeError:
            continue
    for name in ("request_info", "history", "status", "message", "headers", "_certificate_error"):
        try:
            setattr(error, name, SimpleNamespace(real_url=URL, verify_message="self-signed"))
        except AttributeError:
            continue
    return error


def answer(status: int, body: Any = None, **headers: str) -> Answered:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answered(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def test_the_walk_finds_the_transports_errors() -> None:
    assert len(TRANSPORT) >= 20
    assert {aiohttp.ClientConnectorError, aiohttp.ServerDisconnectedError} <= set(TRANSPORT)


@pytest.mark.parametrize("kind", TRANSPORT, ids=lambda kind: kind.__name__)
def test_every_error_of_the_transport_may_pass(kind: type[BaseException]) -> None:
    assert issubclass(kind, FOREIGN)
    translated = translate(made(kind), URL)
    assert type(translated) is Unavailable
    assert translated.where == URL
    assert translated.todo
    assert "\n" not in str(translated)


def test_errors_of_the_library_and_the_system_may_pass() -> None:
    kinds = [kind for _, kind in inspect.getmembers(exceptions, inspect.isclass) if issubclass(kind, Exception)]
    assert exceptions.InfluxDBError in kinds
    errors: list[BaseException] = [
        *(kind(message="it broke") for kind in kinds),
        ApiException(status=0, reason="it broke"),
        TimeoutError(),
        ConnectionResetError(104, "reset"),
        OSError(113, "No route to host"),
        ssl.SSLError(1, "wrong version number"),
        ValueError("no such address"),
    ]
    for error in errors:
        assert isinstance(error, FOREIGN)
        translated = translate(error, URL)
        assert type(translated) is Unavailable, error
        assert translated.todo, error


@pytest.mark.parametrize(
    ("given_answer", "family", "words"),
    [
        (
            answer(400, {"code": "invalid", "message": "unable to parse 'x': missing fields"}),
            Malformed,
            "unable to parse",
        ),
        (answer(413, b"<html>"), TooLarge, "<html>"),
        (
            answer(422, {"code": "unprocessable entity", "message": "partial write: type conflict dropped=3"}),
            Dropped,
            "dropped=3",
        ),
        (answer(401, {"code": "unauthorized", "message": "unauthorized access"}), Unavailable, "token_file"),
        (answer(403, {"code": "forbidden", "message": "no"}), Unavailable, "the right to read and write"),
        (answer(404, {"code": "not found", "message": 'bucket "dcim" not found'}), Unavailable, "dcim store init"),
        (answer(404, b"404 page not found"), Unavailable, "store.influx.org and store.influx.url"),
        (answer(400, b"Bad Request"), Unavailable, "store.influx.url"),
        (answer(400, {"code": "something new", "message": "x"}), Unavailable, "store.influx.url"),
        (answer(422, b"what?"), Unavailable, "it answers 422"),
        (answer(301, b""), Unavailable, "it answers 301: status 301"),
        (answer(429, {"code": "too many requests", "message": "later"}), Unavailable, "it is tried again"),
        (answer(500, b"\xff\x00" * 5_000), Unavailable, "it answers 500"),
        (answer(503, b"[" * 200_000), Unavailable, "it answers 503"),
        (aiohttp.InvalidURL("http://["), Unavailable, "this is no address"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_what_people_meet(given_answer: BaseException, family: type[DcimError], words: str) -> None:
    translated = translate(given_answer, URL)
    assert type(translated) is family
    assert words in str(translated)
    assert len(str(translated)) < 900


def test_what_only_a_person_can_mend_is_said_to_be_so() -> None:
    standing = {status for status in range(300, 600) if _unavailable(answer(status, b"")).standing}
    assert standing == {400, 401, 403, 404}


def _unavailable(error: Answered) -> Unavailable:
    translated = translate(error, URL)
    return translated if isinstance(translated, Unavailable) else Unavailable("for good")


@pytest.mark.parametrize(
    ("told", "after_s"),
    [("7", 7.0), (" 0 ", 0.0), ("99999999999999999999", RETRY_AFTER_S_MAX), ("", None), ("-1", None), ("soon", None),
     ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("٣", None)],
)  # fmt: skip
def test_patience_that_is_asked_for(told: str, after_s: float | None) -> None:
    assert _unavailable(answer(503, b"", Retry_After=told)).after_s == after_s


@pytest.mark.parametrize(
    ("message", "dropped"),
    [("x dropped=12", 12), ("x dropped=3 for database: b", 3), ("dropped=,", 0), ("dropped=99999999999999999999", 0),
     ("nothing", 0), ("dropped=-4", 0), ("dropped=1 then dropped=2", 2)],
)  # fmt: skip
def test_how_many_were_dropped(message: str, dropped: int) -> None:
    translated = translate(answer(422, {"code": "unprocessable entity", "message": message}), URL)
    assert isinstance(translated, Dropped)
    assert translated.dropped == dropped


def test_an_error_within_an_answer_is_found() -> None:
    begun = b",result,table,_time,value,point\r\n,value,0,2026-03-01T03:00:00Z,1.5,#1\r\n\r\n"
    raise_told_within(begun, URL)
    with pytest.raises(Transient, match="gave the query up: panic: out of memory"):
        raise_told_within(begun + b",error,reference\r\n,panic: out of memory,\r\n", URL)


@settings(deadline=None)
@given(st.integers(100, 599), st.binary(max_size=200), st.text(max_size=30))
def test_whatever_a_server_says_has_a_family(status: int, body: bytes, retry_after: str) -> None:
    translated = translate(Answered(status, {"Retry-After": retry_after}, body), URL)
    assert isinstance(translated, Permanent | Transient)
    if status not in {400, 413, 422}:
        assert isinstance(translated, Unavailable)
